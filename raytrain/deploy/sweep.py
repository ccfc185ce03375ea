"""Bundles that nobody will ask for again leave the store."""

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from raytrain.deploy.of_run import FILE
from raytrain.errors import StoreCorrupt
from raytrain.evaluation.champions.journal import Standing, writing
from raytrain.evaluation.champions.promotions import RUN_WAITS_S

_KEY = re.compile("[0-9a-f]{32}")


def sweep_bundles(store: Path, keep_runs: int) -> int:
    """Remove bundles below `<store>/bundles`; to be called while the store is held.

    What stays: those of the newest runs; those of every recipe in production, to which a rollback leads and which
    challenges; of any other recipe that the journal knows, the newest. What has another name than `bundle_key` gives is
    not ours. A bundle is renamed before it is removed, so that half of one is never taken for a bundle; what a sweep
    that was killed has left, `ResultStore.sweep` removes when the next run starts.

    Args:
        store: the folder.
        keep_runs: how many runs that have bundles count as the newest.

    Returns:
        How many were removed.

    Raises:
        StoreCorrupt: the journal or a run's list of bundles is damaged; nothing is removed.
        StoreLocked: another process has been writing promotions for a minute.
    """
    # Held until all are renamed: nobody may name an old version meanwhile.
    with writing(store, "the sweep of bundles", RUN_WAITS_S) as journal:
        kept = {path for standing in journal.standings().values() for path in _reachable(standing)}
        kept |= {path for run in islice(_lists(store), keep_runs) for path in _listed(run)}
        found = [path for path in (store / "bundles").glob("*") if _KEY.fullmatch(path.name)]
        gone = [_put_aside(path) for path in found if str(path.relative_to(store)) not in kept]
    for folder in gone:
        shutil.rmtree(folder)
    return len(gone)


def _reachable(standing: Standing) -> Iterator[str]:
    """What a rollback or an alias leads to, and the newest bundle of each recipe for a person to name."""
    named = {*standing.champions, standing.challenger}
    newest: dict[str, str] = {}
    for key, entry in sorted(standing.versions.items(), key=lambda one: one[1].seq):
        if (path := entry.version.bundle) is not None:
            newest[entry.version.recipe] = path
            if key in named:
                yield path
    yield from newest.values()


def _lists(store: Path) -> Iterator[Path]:
    """The runs' lists of bundles, newest first: the names of their folders sort by time."""
    return reversed(sorted((store / "runs").glob(f"*/{FILE}")))


def _listed(path: Path) -> list[str]:
    try:
        return [one["bundle"] for one in json.loads(path.read_bytes()).values()]
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise StoreCorrupt(
            f"{path} must list a run's bundles, got {type(error).__name__}: {error}; restore it, or remove it and no "
            "bundle is kept for that run"
        ) from None


def _put_aside(folder: Path) -> Path:
    """Under a name that says who removes it; see `data.atomic.is_abandoned`."""
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.{os.getpid()}")
    os.rename(folder, aside)
    return aside

"""Who enters and leaves production: what a run promotes, and what a person rolls back or names."""

import getpass
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from raytrain.data.atomic import replacing
from raytrain.errors import UserError, did_you_mean
from raytrain.evaluation.champions.current import best_families
from raytrain.evaluation.champions.journal import FOLDER, Entry, Journal, Standing, Version, recipe_key, writing
from raytrain.evaluation.gates.decision import Decision
from raytrain.evaluation.scoring.pairs import NAIVE

RUN_WAITS_S = 60.0
"""A run is not failed by a person who rolls back at the same moment."""
_UNFINISHED = "unfinished.json"
_SHORTEST_KEY = 6


class CannotPromote(UserError):
    """There is no such version, or nothing to roll back to."""


@dataclass(frozen=True, kw_only=True)
class Refit:
    """What forecasts with a recipe: its fit on all rows."""

    fit: str
    """Its key."""
    bundle: str | None = None
    """Its folder below the store."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """What a run has to offer."""

    run_id: str
    decisions: Sequence[Decision]
    scores: pl.DataFrame
    """With the columns target, family and skill."""
    params: Mapping[str, Mapping[str, Any]]
    """Family -> all its parameters, as JSON values."""
    refits: Mapping[tuple[str, str], Refit]
    """(target, family) -> its fit on all rows, where there is one."""

    def version(self, decision: Decision) -> Version:
        """What the journal says of a candidate."""
        refit = self.refits.get((decision.target, decision.family))
        return Version(
            target=decision.target,
            family=decision.family,
            params=dict(self.params[decision.family]),
            fit=refit and refit.fit,
            bundle=refit and refit.bundle,
            run_id=self.run_id,
            reason=decision.reason,
            decision=asdict(decision),
        )

    def best(self, decisions: Sequence[Decision]) -> dict[str, Version]:
        """Target -> the most skilled of the best verdict."""
        best = best_families(decisions, self.scores)
        return {one.target: self.version(one) for one in decisions if best[one.target] == one.family}


@dataclass(frozen=True)
class Recorded:
    """What a run changed."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    """What a person should know: a recipe that would have been promoted and was not."""


def record(store: Path, run: Candidates) -> Recorded:
    """Promote the best recipe of each target that the gates let through, and name the challengers.

    The same recipe and fit are promoted once: a run that was killed here and is started again finds what it has done.
    A recipe that a person has rolled back is not promoted again until a person names a version of it.

    Raises:
        StoreLocked: another process has been writing promotions for a minute.
        StoreCorrupt: the journal is damaged.
    """
    with writing(store, f"run {run.run_id}", RUN_WAITS_S) as found:
        promoted, notes = _promote(found, run)
        journal = _challenge(promoted, run)
    return Recorded(journal.entries[len(found.entries) :], tuple(notes))


def _promote(journal: Journal, run: Candidates) -> tuple[Journal, list[str]]:
    standings = journal.standings()
    passed = [one for one in run.decisions if one.verdict == "PROMOTE"]
    barred = [one for one in passed if _is_barred(one, run.params, standings)]
    for target, version in run.best([one for one in passed if one not in barred]).items():
        if not _in_place(version, standings.get(target, Standing())):
            journal = journal.append("promote", version, f"run {run.run_id}")
    return journal, [_barred(standings[one.target], run.version(one)) for one in barred]


def not_left(
    store: Path, decisions: Sequence[Decision], params: Mapping[str, Mapping[str, Any]]
) -> tuple[Decision, ...]:
    """The decisions on recipes that no person has left: what a run may fit on all rows to be promoted.

    Args:
        store: the folder.
        decisions: of a run.
        params: family -> all its parameters, as JSON values.
    """
    standings = Journal.read(store).standings()
    return tuple(one for one in decisions if not _is_barred(one, params, standings))


def _is_barred(one: Decision, params: Mapping[str, Mapping[str, Any]], standings: Mapping[str, Standing]) -> bool:
    barred = standings.get(one.target, Standing()).barred
    return recipe_key(one.target, one.family, params[one.family]) in barred


def _in_place(version: Version, standing: Standing) -> bool:
    """Whether it is the champion already, with its bundle if there is one."""
    if version.key != standing.champion:
        return False
    return version.bundle is None or standing.versions[version.key].version.bundle is not None


def _barred(standing: Standing, version: Version) -> str:
    known = [number for number, entry in _numbered(standing) if entry.version.recipe == version.recipe]
    return (
        f"{version.family} passes the gates for {version.target} and is not promoted: a person has left that recipe; "
        f"`python -m raytrain.jobs.promote --to {max(known)} --target {version.target}` puts it back"
    )


def _challenge(journal: Journal, run: Candidates) -> Journal:
    """The best that was not rejected and is not in production challenges it."""
    standings = journal.standings()
    for target in dict.fromkeys(one.target for one in run.decisions):
        standing = standings.get(target, Standing())
        rivals = [one for one in run.decisions if one.target == target and _may_challenge(one, run, standing)]
        version = run.best(rivals).get(target)
        if version is not None and version.key != standing.challenger:
            journal = journal.append("challenge", version, f"run {run.run_id}")
        elif version is None and standing.challenger is not None:
            withdrawn = standing.versions[standing.challenger].version
            journal = journal.append("withdraw", withdrawn, f"run {run.run_id}")
    return journal


def _may_challenge(one: Decision, run: Candidates, standing: Standing) -> bool:
    if one.verdict == "REJECT" or one.family == NAIVE:
        return False
    if standing.champion is None:
        return True
    recipe = recipe_key(one.target, one.family, run.params[one.family])
    return recipe != standing.versions[standing.champion].version.recipe


def promote_to(store: Path, version: str, target: str = "") -> Entry | None:
    """Put a version into production, because a person says so.

    Args:
        store: the folder.
        version: its number, or the beginning of its key.
        target: needed where the number alone could mean several.

    Returns:
        The entry; None when that version is the champion already.

    Raises:
        CannotPromote: no such version, or several.
        StoreLocked: another process writes promotions.
    """
    with writing(store, f"promote --to {version}") as journal:
        found, standing = _find(journal.standings(), version, target)
        if standing.champion == found.key:
            return None
        return journal.append("to", found, _person()).entries[-1]


@contextmanager
def rolling_back(store: Path, target: str = "") -> Iterator[Entry]:
    """Put the champion before the present one back, and give the entry; the block is what belongs to the same command.

    A command that was killed within is finished by the next one: it does not roll back twice.

    Raises:
        CannotPromote: there is nothing to roll back to, or the target is not clear.
        StoreLocked: another process writes promotions.
    """
    note = store / FOLDER / _UNFINISHED
    with writing(store, "promote --rollback") as journal:
        entry = _unfinished(note, journal, target) or _roll_back(note, journal, target)
    yield entry
    note.unlink(missing_ok=True)


def _roll_back(note: Path, journal: Journal, target: str) -> Entry:
    standings = journal.standings()
    name = _one_target(standings, target)
    standing = standings[name]
    if len(standing.champions) < 2:
        champion = standing.champion
        only = "no champion" if champion is None else f"version {standing.number(champion)} and none before it"
        raise CannotPromote(
            f"a rollback needs a champion before the present one, got {only} for {name}; "
            "--list shows the versions, --to VERSION names one"
        )
    with replacing(note) as file:
        file.write(json.dumps({"seq": len(journal.entries) + 1, "target": name}).encode())
    former = standing.versions[standing.champions[-2]].version
    return journal.append("rollback", former, _person()).entries[-1]


def _unfinished(note: Path, journal: Journal, target: str) -> Entry | None:
    """The rollback of a command that did not come to its end, if that is what is asked for again."""
    if not note.exists():
        return None
    begun = json.loads(note.read_text())
    if target not in ("", begun["target"]):
        return None
    last = [entry for entry in journal.entries if entry.version.target == begun["target"] and entry.moves_champion][-1]
    return last if last.seq == begun["seq"] and last.action == "rollback" else None


def _one_target(standings: Mapping[str, Standing], target: str) -> str:
    with_champion = [name for name, standing in standings.items() if standing.champions]
    if target:
        if target not in standings:
            raise CannotPromote(f"`{target}` has no versions in this store; {did_you_mean(target, standings)}")
        return target
    if not with_champion:
        raise CannotPromote("a rollback needs a champion, got a store in which nothing was ever promoted")
    if len(with_champion) > 1:
        raise CannotPromote(
            f"a rollback is of one target, got {len(with_champion)} with a champion; add `--target` and one of: "
            f"{', '.join(sorted(with_champion))}"
        )
    return with_champion[0]


def _find(standings: Mapping[str, Standing], wanted: str, target: str) -> tuple[Version, Standing]:
    """The one version that a person means."""
    if target and target not in standings:
        raise CannotPromote(f"`{target}` has no versions in this store; {did_you_mean(target, standings)}")
    asked = {target: standings[target]} if target else standings
    found = [
        (entry.version, standing)
        for standing in asked.values()
        for number, entry in _numbered(standing)
        if wanted == str(number) or (len(wanted) >= _SHORTEST_KEY and entry.version.key.startswith(wanted))
    ]
    if not found:
        known = ", ".join(f"{name} 1 to {len(standing.versions)}" for name, standing in asked.items())
        raise CannotPromote(
            f"--to must name a version by its number or at least {_SHORTEST_KEY} characters of its key, got "
            f"`{wanted}`; there are: {known or 'none yet'}"
        )
    if len(found) > 1:
        names = ", ".join(sorted({version.target for version, _ in found}))
        raise CannotPromote(f"--to must name one version, got `{wanted}`, which {names} have; add `--target`")
    return found[0]


def _numbered(standing: Standing) -> Iterator[tuple[int, Entry]]:
    return enumerate(standing.versions.values(), start=1)


def _person() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}"

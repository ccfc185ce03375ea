"""Who was put into production when, by whom and why: `<store>/promotions/`, a file per entry, never changed.

The journal is the truth. The champions of a store are what its entries add up to, and MLflow's registry mirrors them.
An entry appears whole or not at all, and names the checksum of the one before it: a changed or missing one is noticed.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from raytrain.config import Section
from raytrain.data.atomic import replacing
from raytrain.errors import StoreCorrupt, StoreLocked
from raytrain.work.lock import hold
from raytrain.work.spec import canonical_json

FOLDER = "promotions"
FORMER_FILE = "champions.json"
"""What stores of raytrain 0.1 kept instead; it is taken into the journal and removed by the first entry."""

Action = Literal["promote", "challenge", "withdraw", "rollback", "to"]
BY_HAND: tuple[Action, ...] = ("rollback", "to")


class Version(Section):
    """A recipe for a target, and the fit of it that forecasts."""

    target: str
    family: str
    params: dict[str, Any]
    """All parameters, as JSON values."""
    fit: str | None = None
    """Key of the fit on all rows; None for a recipe that was not fitted on all rows."""
    bundle: str | None = None
    """Folder of the bundle below the store; None when none was made."""
    run_id: str
    """The run that brought it."""
    reason: str
    """The gate's."""
    decision: dict[str, Any] | None = None
    """Every rule, value and threshold."""

    @cached_property
    def key(self) -> str:
        """Hash of what makes it: the same recipe and fit are the same version, whichever run brings them."""
        return _digest(self.target, self.family, self.params, self.fit)

    @cached_property
    def recipe(self) -> str:
        """Hash of target, family and parameters: what stays the same when the recipe is fitted again."""
        return recipe_key(self.target, self.family, self.params)


def recipe_key(target: str, family: str, params: Mapping[str, Any]) -> str:
    """The key of a recipe that is not fitted on all rows."""
    return _digest(target, family, params, None)


def _digest(*parts: Any) -> str:
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:32]


class Entry(Section):
    """One change, as it stands in its file."""

    seq: int
    """1, 2, 3, ...: the order, whatever the clock says."""
    action: Action
    """`promote` and `challenge` are a run's; `withdraw` ends a challenge; `rollback` and `to` are a person's."""
    version: Version
    """Who is champion after it; the challenger of `challenge` and `withdraw`."""
    previous: str | None
    """Key of the champion before it."""
    at: str
    """UTC."""
    by: str
    """The run or the person."""
    chain: str
    """SHA-256 of the file before this one; empty in the first."""

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.seq:06d}-{self.version.key}.json"

    @property
    def moves_champion(self) -> bool:
        """Whether it says who is in production."""
        return self.action not in ("challenge", "withdraw")


@dataclass
class Standing:
    """What the entries of one target add up to."""

    versions: dict[str, Entry] = field(default_factory=dict)
    """Key -> the entry that promoted it last, or else brought it; numbered 1, 2, 3, ... in this order."""
    champions: list[str] = field(default_factory=list)
    """Keys, one for each recipe that took over, of its newest fit; the present one last. A rollback takes one off."""
    challenger: str | None = None
    barred: set[str] = field(default_factory=set)
    """Recipes that a person has left: no run promotes them until a person names a version of them."""

    @property
    def champion(self) -> str | None:
        """Key of the version in production."""
        return self.champions[-1] if self.champions else None

    def number(self, key: str) -> int:
        """1 for the first version of the target."""
        return list(self.versions).index(key) + 1

    def _is_champion_again(self, new: Version) -> bool:
        """Whether it is the recipe in production, fitted again: a rollback leaves the recipe, not yesterday's fit."""
        return self.champion is not None and self.versions[self.champion].version.recipe == new.recipe

    def add(self, entry: Entry) -> None:
        """Take in the next entry of the target."""
        new = entry.version
        if entry.action == "promote" or new.key not in self.versions:
            self.versions[new.key] = entry
        if not entry.moves_champion:
            self.challenger = new.key if entry.action == "challenge" else None
            return
        if entry.action in BY_HAND and self.champion is not None:
            self.barred.add(self.versions[self.champion].version.recipe)
        if entry.action == "rollback":
            self.champions.pop()
        elif entry.action == "promote" and self._is_champion_again(new):
            self.champions[-1] = new.key
        elif self.champion != new.key:
            self.champions.append(new.key)
        self.barred.discard(new.recipe)
        if self.challenger == new.key:
            self.challenger = None


@dataclass(frozen=True)
class Journal:
    """All entries of a store, in order."""

    store: Path
    entries: tuple[Entry, ...]
    chain: str = ""
    """SHA-256 of the newest file."""
    former: tuple[Version, ...] = ()
    """Champions of a store of raytrain 0.1 that have no entry yet."""

    @classmethod
    def read(cls, store: Path) -> "Journal":
        """The journal of a store; empty when nothing was ever promoted.

        Raises:
            StoreCorrupt: an entry is missing, was changed or cannot be read.
        """
        entries: list[Entry] = []
        chain = ""
        for path in sorted((store / FOLDER).glob("[0-9]*.json")):
            entry, digest = _entry(path)
            expected = len(entries) + 1
            if entry.seq != expected or entry.file != path.name or entry.chain != chain:
                raise StoreCorrupt(
                    f"{path} must be entry {expected} of an unbroken journal, got one that does not follow the entry "
                    "before it: an entry was changed, added or removed; restore the folder from a copy"
                )
            entries.append(entry)
            chain = digest
        known = {entry.version.target for entry in entries}
        former = tuple(version for version in _former(store) if version.target not in known)
        return cls(store, tuple(entries), chain, former)

    def standings(self) -> dict[str, Standing]:
        """Target -> what its entries add up to."""
        found: dict[str, Standing] = {}
        for entry in (*self.entries, *self._taken_over()):
            found.setdefault(entry.version.target, Standing()).add(entry)
        return found

    def _taken_over(self) -> Iterator[Entry]:
        """Entries for what stands in the former file, without their place in the chain."""
        for place, version in enumerate(self.former, start=len(self.entries) + 1):
            written = datetime.fromtimestamp((self.store / FORMER_FILE).stat().st_mtime, UTC)
            yield Entry(
                seq=place,
                action="promote",
                version=version,
                previous=None,
                at=written.isoformat(timespec="seconds"),
                by=FORMER_FILE,
                chain=self.chain,
            )

    def append(self, action: Action, version: Version, by: str) -> "Journal":
        """Write one entry, whole and on the disk; to be called within `writing`."""
        standing = self.standings().get(version.target, Standing())
        return self._write(
            Entry(
                seq=len(self.entries) + 1,
                action=action,
                version=version,
                previous=standing.champion,
                at=datetime.now(UTC).isoformat(timespec="seconds"),
                by=by,
                chain=self.chain,
            )
        )

    def take_over(self) -> "Journal":
        """Give the champions of the former file entries of their own, and remove the file; within `writing`."""
        journal = self
        for entry in self._taken_over():
            journal = journal._write(entry.model_copy(update={"chain": journal.chain}))
        (self.store / FORMER_FILE).unlink(missing_ok=True)
        return Journal(self.store, journal.entries, journal.chain)

    def _write(self, entry: Entry) -> "Journal":
        content = entry.model_dump_json(indent=1).encode()
        with replacing(self.store / FOLDER / entry.file) as file:
            file.write(content)
        _sync(self.store / FOLDER)
        return Journal(self.store, (*self.entries, entry), hashlib.sha256(content).hexdigest(), self.former)


@contextmanager
def writing(store: Path, what: str, wait_s: float = 0.0) -> Iterator[Journal]:
    """The journal, for this process alone: entries take milliseconds, so that a rollback need not wait for a run.

    Args:
        store: the folder.
        what: told to whoever comes meanwhile.
        wait_s: seconds to wait for another writer.

    Raises:
        StoreLocked: another process writes to it.
        StoreCorrupt: an entry is missing, was changed or cannot be read.
    """
    folder = store / FOLDER
    with ExitStack() as held:
        _enter(held, folder, what, time.monotonic() + wait_s)
        for left_over in folder.glob(".*.tmp"):
            left_over.unlink()
        journal = Journal.read(store)
        yield journal.take_over() if (store / FORMER_FILE).exists() else journal


def _enter(held: ExitStack, folder: Path, what: str, end: float) -> None:
    while True:
        try:
            held.enter_context(hold(folder, what))
            return
        except StoreLocked:
            if time.monotonic() >= end:
                raise
            time.sleep(0.05)


def _entry(path: Path) -> tuple[Entry, str]:
    """An entry and the checksum of its file."""
    try:
        content = path.read_bytes()
        return Entry.model_validate_json(content), hashlib.sha256(content).hexdigest()
    except (OSError, ValidationError) as error:
        raise StoreCorrupt(
            f"{path} must be an entry of the journal of promotions, got {_first(error)}; restore it from a copy"
        ) from None


class _Former(Section):
    """A champion in the former file."""

    family: str
    params: dict[str, Any]
    run_id: str
    reason: str


_FORMER_CONTENT = TypeAdapter(dict[str, _Former])


def _former(store: Path) -> Iterator[Version]:
    path = store / FORMER_FILE
    if not path.exists():
        return
    try:
        content = _FORMER_CONTENT.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise StoreCorrupt(
            f"{path} must be the list of champions, got {_first(error)}; restore it or move it away"
        ) from None
    for target, champion in sorted(content.items()):
        yield Version(target=target, **champion.model_dump())


def _first(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return str(error)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole file"
    return f"{first['msg']} at {where}"


def _sync(folder: Path) -> None:
    """A rename is on the disk once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Why a fit runs again: which parts of its key differ from those of the result that is nearest to it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Self

from raytrain.errors import ConfigError
from raytrain.work.compare import Comparison
from raytrain.work.dataset import Dataset
from raytrain.work.key_parts import OLDER, Values, changes, plain
from raytrain.work.models import ModelStore
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

NEVER = "never fitted"


@dataclass(frozen=True)
class Stored:
    """A result, as far as its key is concerned."""

    key: str
    spec: Values
    stored_at: str
    """When, ISO; empty where the result does not tell."""
    dataset: str
    """Name of the prepared dataset that it saw; empty where the result does not tell."""
    raytrain: str
    """The version that wrote it."""

    @property
    def label(self) -> str:
        """As `FitSpec.label`."""
        spec = self.spec
        return f"{spec['family']} {spec['target']} {spec['fold']['name']} s{spec['seed']}"

    @property
    def when(self) -> str:
        """For a sentence."""
        return f"stored on {self.stored_at[:16].replace('T', ' ')} UTC" if self.stored_at else "stored"


@dataclass(frozen=True)
class StoredFits:
    """Everything that was ever fitted into a store."""

    by_key: Mapping[str, Stored]
    by_recipe: Mapping[tuple[str, str], Sequence[Stored]]
    """(family, target) -> results."""

    @classmethod
    def of(cls, store: ResultStore) -> Self:
        """Read them all."""
        by_key, by_recipe = {}, defaultdict(list)
        for result in store.results():
            facts = {name: result.get(name, "") for name in ("stored_at", "dataset")}
            one = Stored(result["key"], result["spec"], raytrain=result["environment"]["raytrain"], **facts)
            by_key[one.key] = one
            by_recipe[one.spec["family"], one.spec["target"]].append(one)
        return cls(by_key, by_recipe)

    def nearest(self, spec: FitSpec) -> Stored | None:
        """The result of the same family, target, fold and seed that differs in the fewest parts, the newest of those.

        Where that fold was never fitted, one of another fold or seed; None where the target never was.
        """
        found = self.by_recipe.get((spec.family, spec.target), ())
        # Stable, so that of equals the newest stays first.
        newest_first = sorted(found, key=lambda one: one.stored_at, reverse=True)
        values = plain(spec.to_dict())
        return min(newest_first, key=lambda one: _distance(one.spec, values), default=None)


def _distance(one: Values, other: Values) -> tuple[bool, bool, int, int]:
    same_fold = one["fold"]["name"] == other["fold"]["name"]
    away = 0 if same_fold else abs(one["fold"]["test_start"] - other["fold"]["test_start"])
    parts = sum(one.get(name) != value for name, value in other.items())
    return not same_fold, one["seed"] != other["seed"], away, parts


def is_same_place(stored: Stored, spec: FitSpec) -> bool:
    """Whether a result is of the same family, target, fold and seed."""
    return stored.label == spec.label


def reason(spec: FitSpec, stored: StoredFits) -> str:
    """Why a fit that is not stored has to run, in a word or two."""
    nearest = stored.nearest(spec)
    if nearest is None or not is_same_place(nearest, spec):
        return NEVER
    found = changes(nearest.spec, spec.to_dict())
    return found[0].reason if found else OLDER


def explain(query: str, planned: Sequence[FitSpec], dataset: Dataset, store: ResultStore) -> list[str]:
    """What is to be said about a key, line by line.

    Args:
        query: a key or its beginning, or that of a label (`har return_1w 2021-01-01 s42`), of a planned fit or of a
            stored result.
        planned: today's fits.
        dataset: what they see.
        store: where results are.

    Raises:
        ConfigError: no key or label begins like that, or several do.
    """
    stored = StoredFits.of(store)
    key = find_key(query, {spec.key: spec.label for spec in planned}, stored)
    today = {spec.key: spec for spec in planned}
    if key in today and key in stored.by_key:
        return [f"{key} {today[key].label}", f"{stored.by_key[key].when}, nothing changed"]
    if key in today:
        lines = _of_planned(today[key], dataset, store, stored)
        return lines + _of_members(today[key], today, stored)
    return _of_stored(stored.by_key[key], planned, dataset, store)


def find_key(query: str, planned: Mapping[str, str], stored: StoredFits) -> str:
    """The one key that a person means; of several results of one label, today's.

    Raises:
        ConfigError: no key or label begins like that, or several do.
    """
    labels = {key: one.label for key, one in stored.by_key.items()} | dict(planned)
    for known in (planned, labels):
        found = [key for key, label in known.items() if key.startswith(query) or label.startswith(query)]
        if len(found) == 1:
            return found[0]
        if found:
            several = "; ".join(f"{key} {labels[key]}" for key in found[:5])
            raise ConfigError(f"`why` must begin one key only, got `{query}`, which begins {len(found)}: {several}")
    near = get_close_matches(query, {*labels, *labels.values()}, n=1, cutoff=0)
    named = [f"; the nearest is {key} {label}" for key, label in labels.items() if {key, label} & set(near)]
    hint = named[0] if named else ", and there is none"
    raise ConfigError(f"`why` must be a key of today's plan or of the store, or begin one, got `{query}`{hint}")


def _of_planned(spec: FitSpec, dataset: Dataset, store: ResultStore, stored: StoredFits) -> list[str]:
    head = [f"{spec.key} {spec.label}", "planned, not stored"]
    if ModelStore(store.root).has(spec.train_key):
        head.append("its model is kept: it is trained on the same rows, so only the forecast is made again")
    nearest = stored.nearest(spec)
    if nearest is None:
        return [*head, f"{NEVER}: the store has no result of {spec.family} on {spec.target}"]
    if not is_same_place(nearest, spec):
        head.append(f"{NEVER} on fold {spec.fold.name} with seed {spec.seed}")
    return head + _against(nearest, spec, dataset, store)


def _of_members(spec: FitSpec, today: Mapping[str, FitSpec], stored: StoredFits) -> list[str]:
    """Which of the fits that an ensemble mixes run again, and why each does."""
    anew = [today[key] for key in spec.members if key not in stored.by_key]
    return [f"it mixes {one.label}: {reason(one, stored)}" for one in anew]


def _of_stored(one: Stored, planned: Sequence[FitSpec], dataset: Dataset, store: ResultStore) -> list[str]:
    head = [f"{one.key} {one.label}", f"{one.when}, not of today's plan"]
    same = [spec for spec in planned if is_same_place(one, spec)]
    if not same:
        return [*head, "today's plan has no fit of this family, target, fold and seed"]
    return head + _against(one, same[0], dataset, store)


def _against(old: Stored, new: FitSpec, dataset: Dataset, store: ResultStore) -> list[str]:
    compared = _comparison(old, dataset, store)
    lines = [f"against {old.label}, {old.key}, {old.when}:"]
    for change in changes(old.spec, new.to_dict(), compared):
        lines += [f"  {change.reason}: {line}" for line in change.lines]
    if compared is None:
        lines.append("  the rows that it saw are not kept any more: which of them changed cannot be told")
    return lines


def _comparison(old: Stored, dataset: Dataset, store: ResultStore) -> Comparison | None:
    folder: Path = store.root / "prepared" / old.dataset
    return Comparison(Dataset.open(folder), dataset) if old.dataset and (folder / "meta.json").is_file() else None

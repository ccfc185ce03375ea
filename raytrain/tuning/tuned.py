"""The parameters that searches recommend, with their evidence: `<store>/tuned/<family>-<target>.json`.

A run has one set of parameters for each family, while a search looks at one target. So the recommendation of the
surest search counts, the one whose gain over the default has the highest lower bound, and it counts for all targets of
the run; the gates judge it on each. Parameters that a person gives win over recommended ones.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from raytrain import families
from raytrain.config import Section
from raytrain.data.atomic import replacing
from raytrain.errors import ConfigError, StoreCorrupt

FOLDER = "tuned"
Answer = Literal["better", "no better", "too few dates", "the default"]


class Gain(Section):
    """What the winner gained over the default on the folds that the search never saw."""

    gain: float | None
    """1 - loss / default's loss; above 0 is better."""
    low: float | None
    high: float | None
    """Its interval, by a block bootstrap over dates; None with too few dates."""
    confidence: float
    """Two-sided, of the interval."""
    loss: float
    default_loss: float
    rows: int
    dates: int


class Tuned(Section):
    """What a search found for one family on one target, and how sure it is."""

    family: str
    target: str
    answer: Answer
    """`better` alone recommends the parameters."""
    params: dict[str, Any]
    """The searched parameters of the winner, as JSON values."""
    default: dict[str, Any]
    """The searched parameters that the run had without the search."""
    metric: str
    value: float
    """Of the winner over the search folds."""
    default_value: float
    """Of the default over the same folds."""
    holdout: Gain | None
    """None when the winner is the default."""
    search_folds: list[str]
    holdout_folds: list[str]
    trials: dict[str, int]
    """`complete`, `stopped early`, `failed`."""
    dataset: str
    """Content hash of the features and labels."""
    versions: dict[str, str]
    found_at: str
    """Local time, ISO."""
    sweep: str
    """Folder below `sweeps`, with the study of all trials."""
    schema_version: int = Field(1, ge=1, le=1)

    @property
    def recommended(self) -> bool:
        """Whether the daily job should use it."""
        return self.answer == "better"

    def write(self, store: Path) -> Path:
        """Replace what the last search of the same family and target found, in one step."""
        path = _path(store, self.family, self.target)
        with replacing(path) as file:
            file.write(json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True).encode())
        return path


def read_tuned(store: Path, family: str, target: str) -> Tuned | None:
    """What the newest search found; None when there was none.

    Raises:
        StoreCorrupt: the file is there but cannot be read.
    """
    path = _path(store, family, target)
    if not path.exists():
        return None
    try:
        return Tuned.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise StoreCorrupt(
            f"{path} must hold what a search found, got {first['msg']} at {where}; tune again or remove it"
        ) from None


def last_point(store: Path, family: str, target: str) -> Mapping[str, Any]:
    """Yesterday's best parameters, recommended or not; none when there was no search or it cannot be read."""
    try:
        found = read_tuned(store, family, target)
    except StoreCorrupt:
        return {}  # this search writes the file anew
    return {} if found is None else found.params


def tuned_params(
    store: Path, names: Sequence[str], targets: Sequence[str]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What searches recommend for a run, to be laid under the parameters that its config gives.

    Args:
        store: the run's.
        names: its families.
        targets: its targets, by name.

    Returns:
        Family -> parameters, and a line for each family that says where they come from.

    Raises:
        ConfigError: a recommendation is no longer valid for its family.
        StoreCorrupt: a file cannot be read.
    """
    params, notes = {}, []
    for name in names:
        found = [one for target in targets if (one := read_tuned(store, name, target)) and one.recommended]
        if not found:
            continue
        surest = max(found, key=_sureness)
        params[name] = _checked(store, surest)
        notes.append(_note(surest, targets))
    return params, notes


def tried_before(store: Path, names: Sequence[str], targets: Sequence[str]) -> dict[str, int]:
    """Target -> trials of the last searches for it; whoever tries many recipes finds a lucky one."""
    found = {target: [read_tuned(store, name, target) for name in names] for target in targets}
    return {target: sum(sum(one.trials.values()) for one in ones if one) for target, ones in found.items()}


def _checked(store: Path, tuned: Tuned) -> dict[str, Any]:
    try:
        families.make_params(tuned.family, tuned.params)
    except ConfigError as error:
        path = _path(store, tuned.family, tuned.target)
        raise ConfigError(f"{path} must fit the family as it is now: {error}; tune again or remove it") from None
    return dict(tuned.params)


def _sureness(tuned: Tuned) -> float:
    low = None if tuned.holdout is None else tuned.holdout.low
    return float("-inf") if low is None else low


def _note(tuned: Tuned, targets: Sequence[str]) -> str:
    others = [target for target in targets if target != tuned.target]
    rest = f", used for {', '.join(others)} too" if others else ""
    return f"{tuned.family} has the parameters tuned on {tuned.target} ({tuned.found_at[:10]}){rest}"


def _path(store: Path, family: str, target: str) -> Path:
    return store / FOLDER / f"{family}-{target}.json"

"""Whether the accelerator computed what the CPU computes.

Accelerators have computed wrong numbers without a word (conv2d on MPS, pytorch#192212). So the model of each family's
newest block, which the store keeps while the block is open, is loaded on the CPU and forecasts its block again; nothing
is trained. `rescore` must run in a process of the family's engine; `parity_of` compares, anywhere.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

import numpy as np
import polars as pl

from raytrain.data.frame import DATE, SERIES
from raytrain.errors import FitError
from raytrain.work.dataset import Dataset
from raytrain.work.fit import TARGET, Control, is_open, run_fit
from raytrain.work.inputs import POSITION, PROBABILITY
from raytrain.work.models import ModelStore
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

CPU = "cpu"


@dataclass(frozen=True, kw_only=True)
class Parity:
    """What a device computed, beside what the CPU computes with the same model."""

    device: str
    """`cpu`, or the accelerator."""
    num_rows: int = 0
    """Forecasts compared; none for the CPU itself."""
    difference: float = 0.0
    """Largest |difference| of a forecast, as a fraction of the deviation of all forecasts; infinite where one of them
    is missing or not finite."""


def to_rescore(specs: Iterable[FitSpec], dataset: Dataset, store: ResultStore) -> list[FitSpec]:
    """Of each family, target and seed that an accelerator computed: the newest fit, where its model is kept."""
    models = ModelStore(store.root)
    newest: dict[tuple[str, str, int], FitSpec] = {}
    for spec in specs:
        place = (spec.family, spec.target, spec.seed)
        if spec.device == CPU or not is_open(spec, dataset) or not models.has(spec.train_key):
            continue
        if place not in newest or spec.fold.test_start > newest[place].fold.test_start:
            newest[place] = spec
    return list(newest.values())


def rescore(spec: FitSpec, dataset: Dataset, store: ResultStore) -> pl.DataFrame:
    """Forecast a fit's block with its kept model, on the CPU: a loaded net computes there whatever trained it.

    Returns:
        The columns of `FitResult.predictions`.

    Raises:
        FitError: the model is not there any more, or is damaged.
    """
    again = run_fit(spec, dataset, Control(), store) if ModelStore(store.root).has(spec.train_key) else None
    if again is None or again.trained_before is None:
        raise FitError(f"{spec.label}: the model that {spec.device} has trained must be kept to be checked, got none")
    return again.predictions


def parity_of(
    specs: Iterable[FitSpec], store: ResultStore, rescored: Mapping[str, pl.DataFrame]
) -> dict[tuple[str, str], Parity]:
    """(target, family) -> the worst of its fits; no entry where an accelerator computed and nothing was rescored.

    Args:
        specs: finished fits.
        store: with their results.
        rescored: key -> what `rescore` found.
    """
    worst: dict[tuple[str, str], Parity] = {}
    for spec in specs:
        again = rescored.get(spec.key)
        for target in spec.target_names:
            place = (target, spec.family)
            if spec.device == CPU:
                worst.setdefault(place, Parity(device=CPU))
            elif again is not None:
                found = _compare(spec, target, store.predictions(spec.key), again)
                before = worst.get(place)
                if before is None or before.device == CPU or before.difference <= found.difference:
                    worst[place] = found
    elsewhere = {(target, spec.family) for spec in specs if spec.device != CPU for target in spec.target_names}
    return {place: one for place, one in worst.items() if one.device != CPU or place not in elsewhere}


def _compare(spec: FitSpec, target: str, stored: pl.DataFrame, again: pl.DataFrame) -> Parity:
    mine, theirs = (table.filter(pl.col(TARGET) == target) for table in (stored, again))
    columns = [name for name in mine.columns if name[0] == "q" or name in (PROBABILITY, POSITION)]
    both = mine.join(theirs, on=[SERIES, DATE], how="left", suffix="_again", maintain_order="left")
    before = both.select(columns).cast(pl.Float64).to_numpy()
    after = both.select(f"{name}_again" for name in columns).cast(pl.Float64).to_numpy()
    difference = np.abs(after - before).max() / max(float(before.std()), np.finfo(np.float32).tiny)
    known = bool(np.isfinite(after).all()) and len(mine) == len(theirs) > 0
    return Parity(device=spec.device, num_rows=len(mine), difference=float(difference) if known else inf)

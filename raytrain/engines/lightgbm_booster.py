"""One LightGBM booster: bin, train, keep as text, predict."""

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from raytrain.engines.base import FitContext, FitData, FloatArray, Known, Needs, RowIndices, Samples, Shape
from raytrain.engines.native import Rounds, table, useful_threads
from raytrain.engines.training import relative_weights

Way = Literal["force_row_wise", "force_col_wise"]
"""How LightGBM sums gradients into histograms: row by row, or column by column. The numbers are the same to the bit."""

_PROBED_VALUES = 2**20
"""Tables of fewer values are summed row by row without a probe, which would cost more than it brings."""
_PROBED_ROUNDS = 3
_chosen: dict[tuple[int, ...], Way] = {}

_NUM_KEPT = 2
_kept: "dict[str, BinnedTable]" = {}
"""The tables that were binned last in this process, by content, oldest first."""


@dataclass(frozen=True)
class BinnedTable:
    """A table in bins, ready to lend any of its rows to any fit."""

    dataset: Any
    """The library's own."""
    zero: NDArray[np.float64]
    """(features,) the lowest value of each column, which counts as 0 inside the library; 0 for codes.

    Where 0 lies above the lowest bin, LightGBM rebuilds that bin of every histogram from all others, a quarter of the
    time of a fit.
    """

    @classmethod
    def of(cls, known: Known, categorical: Sequence[int], threads: int) -> "BinnedTable":
        """Bin a table, or find it among those binned last; either way the bins are the same.

        Args:
            known: the table.
            categorical: columns of codes.
            threads: to bin with.
        """
        x = known.read()
        content = hashlib.sha256(repr((x.shape, list(categorical))).encode())
        content.update(np.ascontiguousarray(x).data)
        key = content.hexdigest()
        found = _kept.pop(key, None)
        if found is None:
            zero = _lowest(x, categorical)
            # In float64 the difference of two float32 keeps values apart that lie close beside a distant lowest one.
            wide = x - zero
            del x
            found = cls(_constructed(wide, list(categorical), threads), zero)
        _kept[key] = found
        while len(_kept) > _NUM_KEPT:
            del _kept[next(iter(_kept))]
        return found

    def part(self, rows: RowIndices, data: FitData, places: RowIndices, threads: int) -> Any:
        """Rows as the library's own dataset.

        Args:
            rows: (k,) of the fit, which give the labels and weights.
            data: of the fit.
            places: (k,) where they stand in this table, rising.
            threads: to copy with.
        """
        part = self.dataset.subset(places, params=_BINNING | {"num_threads": threads}).construct()
        part.set_label(table(data, rows)[1])
        part.set_weight(relative_weights(data, rows))
        return part


def _lowest(x: FloatArray, categorical: Sequence[int]) -> NDArray[np.float64]:
    zero: NDArray[np.float64] = np.fmin.reduce(x, axis=0).astype(np.float64)
    zero[list(categorical)] = 0
    zero[~np.isfinite(zero)] = 0
    return zero


_BINNING: dict[str, Any] = {
    # Which rows of a very large table are looked at for the edges: not another matter for each seed of a fit.
    "data_random_seed": 1,
    "feature_pre_filter": False,
    "verbosity": -1,
}


def _constructed(x: NDArray[np.float64], categorical: list[int], threads: int) -> Any:
    import lightgbm

    params = _BINNING | {"num_threads": threads}
    return lightgbm.Dataset(x, np.zeros(len(x)), categorical_feature=categorical, params=params).construct()


class Binned:
    """Training rows and the rows kept aside in bins; serves any number of boosters.

    The edges of the bins are learned from all rows that are known at the cut-off, so that fits on other targets of the
    same fold find the same bins. Where nobody knows them, from the rows at hand. Columns of codes are split by sets of
    categories; a code that training has not seen belongs to no set.
    """

    def __init__(self, data: FitData, head: RowIndices, tail: RowIndices, context: FitContext) -> None:
        known = data.known or _at_hand(data, np.union1d(head, tail))
        binned = BinnedTable.of(known, context.categorical, context.threads)
        self.zero = binned.zero
        self.train = binned.part(head, data, known.train[head], context.threads)
        self.tail = binned.part(tail, data, known.train[tail], context.threads) if len(tail) else None
        self.common: dict[str, Any] = {
            **_BINNING,
            "num_threads": context.threads,
            "seed": context.seed,
            "deterministic": True,
        }

    def booster(self, params: dict[str, Any], way: Way) -> Any:
        """A booster without trees."""
        import lightgbm

        return lightgbm.Booster({**params, **self.common, way: True}, self.train)

    def quicker_way(self, params: dict[str, Any]) -> Way:
        """The quicker way to sum; tried once per process and shape of table."""
        rows, features, threads = self.train.num_data(), self.train.num_feature(), self.common["num_threads"]
        if rows * features < _PROBED_VALUES:
            return "force_row_wise"
        shape = (rows.bit_length(), features, threads)
        if shape not in _chosen:
            ways: tuple[Way, ...] = ("force_row_wise", "force_col_wise")
            _chosen[shape] = min(ways, key=lambda way: self._seconds(params, way))
        return _chosen[shape]

    def _seconds(self, params: dict[str, Any], way: Way) -> float:
        booster = self.booster(params, way)
        booster.update()
        # The CPU clock of a thread does not see what else is going on; that of several counts their waiting too.
        clock = time.thread_time if self.common["num_threads"] == 1 else time.perf_counter
        began = clock()
        for _ in range(_PROBED_ROUNDS):
            booster.update()
        return clock() - began


def _at_hand(data: FitData, rows: RowIndices) -> Known:
    """The rows of a fit that knows of no others."""
    train = np.zeros(len(data.y), dtype=np.intp)
    train[rows] = np.arange(len(rows))
    return Known(read=lambda: data.x[rows], train=train)


class TextBooster:
    """A trained booster in LightGBM's own text format, the only form it predicts from: a saved one is the same."""

    def __init__(self, text: str, threads: int = 1) -> None:
        import lightgbm

        self._text = text
        self._threads = threads
        self._booster = lightgbm.Booster(model_str=text)

    @classmethod
    def train(cls, binned: Binned, params: dict[str, Any], num_rounds: int, patience: int, context: FitContext) -> Self:
        """Boost until the loss of the rows kept aside has not fallen for `patience` rounds, or until asked to stop."""
        booster = binned.booster(params, binned.quicker_way(params))
        if binned.tail is not None:
            booster.add_valid(binned.tail, "tail")
        rounds = Rounds(num_rounds, patience, context)
        stop = False
        while not stop:
            booster.update()
            stop = rounds.stop_after(booster.eval_valid()[0][2] if binned.tail is not None else None)
        return cls(in_own_units(booster.model_to_string(num_iteration=rounds.best), binned.zero), context.threads)

    def predict(self, x: Samples) -> FloatArray:
        """(n,) the prediction of each row."""
        values = self._booster.predict(x[:], num_threads=self._threads)
        return np.asarray(values, dtype=np.float32)

    def save(self, path: Path) -> None:
        """Write the text."""
        path.write_text(self._text)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        return cls(path.read_text())


_END = "end of trees"


def in_own_units(text: str, zero: NDArray[np.float64]) -> str:
    """A model that was trained on `x - zero`, as the model that gives the same for `x`.

    Args:
        text: in LightGBM's own format.
        zero: (features,).
    """
    body, end, rest = text.partition(f"\n{_END}\n")
    head, *trees = re.split(r"(?m)^(?=Tree=\d+$)", body + "\n")
    trees = [_moved_tree(tree, zero) for tree in trees]
    head = _with_line(head, "tree_sizes", " ".join(str(len(tree)) for tree in trees))
    ranges = zip(_line(head, "feature_infos").split(), zero.tolist(), strict=True)
    head = _with_line(head, "feature_infos", " ".join(_moved_range(found, low) for found, low in ranges))
    return f"{head}{''.join(trees)}{end.lstrip()}{rest}"


def _moved_range(found: str, low: float) -> str:
    """`[lowest:highest]` of a column of numbers; others are not moved."""
    numbers = re.fullmatch(r"\[(.+):(.+)\]", found)
    return f"[{float(numbers[1]) + low!r}:{float(numbers[2]) + low!r}]" if numbers else found


def _moved_tree(tree: str, zero: NDArray[np.float64]) -> str:
    features, kinds = (np.array(_line(tree, name).split(), dtype=int) for name in ("split_feature", "decision_type"))
    thresholds = np.array(_line(tree, "threshold").split(), dtype=float)
    # The lowest bit marks a split by a set of codes, whose threshold is the number of the set.
    thresholds += np.where(kinds & 1, 0, zero[features])
    return _with_line(tree, "threshold", " ".join(map(repr, thresholds.tolist())))


def _line(text: str, name: str) -> str:
    found = re.search(rf"(?m)^{name}=(.*)$", text)
    assert found, f"LightGBM's text has no line {name}"
    return found[1]


def _with_line(text: str, name: str, values: str) -> str:
    return text.replace(f"\n{name}={_line(text, name)}\n", f"\n{name}={values}\n", 1)


def booster_needs(shape: Shape, num_rounds: float, num_leaves: int, num_boosters: int = 1) -> Needs:
    """Measured with LightGBM 4.7 from 4,000 x 50 to 30,000 x 400 values: the peak is while the table is binned."""
    values = shape.rows * shape.features
    round_s = 4e-5 * num_leaves + 3e-9 * values
    return Needs(
        max_threads=useful_threads(shape),
        memory_bytes=int(10 * 2**20 + 6.5 * shape.table_bytes),
        work=0.16e-6 * values + num_boosters * num_rounds * round_s,
    )

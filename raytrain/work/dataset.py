"""The feature table and the targets on disk, mapped into every process that works on them."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.features.build import FeatureTable
from raytrain.features.targets import TargetConfig, build_target
from raytrain.folds import Fold, train_rows

UNKNOWN_DATE = np.iinfo(np.int64).max
"""The label date of a row whose label is not known yet."""


@dataclass(frozen=True)
class Dataset:
    """A folder of memory-mapped arrays, row for row, ordered by series, then date."""

    folder: Path

    @cached_property
    def meta(self) -> dict[str, Any]:
        """Names of features, series and targets."""
        values: dict[str, Any] = json.loads((self.folder / "meta.json").read_text())
        return values

    def _array(self, name: str) -> NDArray[Any]:
        return np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)

    @cached_property
    def x(self) -> NDArray[np.float32]:
        """(rows, features)."""
        return self._array("x")

    @cached_property
    def date(self) -> NDArray[np.int64]:
        """(rows,) nanoseconds since 1970."""
        return self._array("date")

    @cached_property
    def series(self) -> NDArray[np.int32]:
        """(rows,) index into the series' names."""
        return self._array("series")

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """(rows,) False on warm-up rows."""
        return self._array("usable")

    def y(self, target: str) -> NDArray[np.float32]:
        """(rows,) the target; NaN while it is not known."""
        return self._array(f"y-{target}")

    def label_date(self, target: str) -> NDArray[np.int64]:
        """(rows,) the date on which the target became known; `UNKNOWN_DATE` while it is not."""
        return self._array(f"label_date-{target}")

    @property
    def series_names(self) -> list[str]:
        """The series, in order of their index."""
        names: list[str] = self.meta["series"]
        return names

    def train_rows(self, fold: Fold, target: str) -> NDArray[np.bool_]:
        """(rows,) the usable rows that the fold may train on."""
        return self.usable & train_rows(fold, self.date, self.label_date(target))

    @classmethod
    def prepare(cls, frame: Frame, features: FeatureTable, targets: Sequence[TargetConfig], root: Path) -> Self:
        """Write the arrays below `root`, in a folder named by their content; what exists is kept."""
        arrays: dict[str, NDArray[Any]] = {
            "x": features.x,
            "usable": features.usable,
            "date": frame.table[DATE].dt.timestamp("ns").to_numpy(),
            "series": _series_index(frame),
        }
        for target in targets:
            labels = build_target(frame, target)
            label_date = labels["label_date"].dt.timestamp("ns").fill_null(UNKNOWN_DATE)
            arrays[f"y-{target.name}"] = labels["y"].cast(pl.Float32).fill_null(float("nan")).to_numpy()
            arrays[f"label_date-{target.name}"] = label_date.to_numpy()
        meta = {"features": list(features.names), "series": frame.series, "targets": [t.name for t in targets]}
        return cls(_write_once(root, arrays, json.dumps(meta, sort_keys=True)))

    def seen_hashes(self, folds: Sequence[Fold]) -> dict[str, str]:
        """Fold name -> hash of all features dated before the end of its test block; every row is hashed once."""
        ends = sorted({fold.test_end for fold in folds})
        total = {end: hashlib.sha256(json.dumps(self.meta["features"]).encode()) for end in ends}
        starts = np.flatnonzero(np.diff(self.series, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(self.series)], strict=True):
            digest = hashlib.sha256(self.series_names[self.series[start]].encode())
            done = start
            for end in ends:
                upto = start + int(np.searchsorted(self.date[start:stop], end))
                for array in (self.date, self.usable, self.x):
                    digest.update(np.ascontiguousarray(array[done:upto]))
                done = upto
                if upto > start:
                    total[end].update(digest.digest())
        return {fold.name: total[fold.test_end].hexdigest() for fold in folds}

    def label_hash(self, fold: Fold, target: str) -> str:
        """Hash of the labels that the fold trains on."""
        return hashlib.sha256(np.ascontiguousarray(self.y(target)[self.train_rows(fold, target)])).hexdigest()


def _series_index(frame: Frame) -> NDArray[np.int32]:
    return frame.table[SERIES].rle_id().cast(pl.Int32).to_numpy()


def _write_once(root: Path, arrays: dict[str, NDArray[Any]], meta: str) -> Path:
    digest = hashlib.sha256(meta.encode())
    for name in sorted(arrays):
        arrays[name] = np.ascontiguousarray(arrays[name])
        digest.update(name.encode())
        digest.update(arrays[name])
    folder = root / digest.hexdigest()[:32]
    if folder.exists():
        return folder
    building = root / f".{folder.name}.{os.getpid()}"
    building.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(building / f"{name}.npy", array, allow_pickle=False)
    (building / "meta.json").write_text(meta)
    try:
        building.rename(folder)
    except OSError:
        # Another process wrote the same content first: its folder is as good as ours.
        shutil.rmtree(building)
        if not folder.exists():
            raise
    return folder

"""The feature table and the targets on disk, mapped into every process that works on them."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain.data.atomic import whole_folder
from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.features.build import FeatureTable
from raytrain.features.history import Ahead, PricePath
from raytrain.features.market import price_path
from raytrain.features.preprocess import PreprocessConfig
from raytrain.features.targets import Method, TargetConfig, build_target
from raytrain.folds import Fold, train_rows

PATH = ("change", "range", "implied")

UNKNOWN_DATE = np.iinfo(np.int64).max
"""The label date of a row whose label is not known yet."""


@dataclass(frozen=True)
class Dataset:
    """Arrays row for row, ordered by series, then date: in memory when built, memory-mapped when opened."""

    meta: Mapping[str, Any]
    """Names of the features, the series and the targets; which features are known in advance (`known`, indices) and
    which hold codes (`categories`, feature -> labels in the order of their codes); how inputs are preprocessed."""
    arrays: Mapping[str, NDArray[Any]]
    name: str = ""
    """Of the folder that it was opened from; empty for one in memory."""

    @classmethod
    def build(
        cls,
        frame: Frame,
        features: FeatureTable,
        targets: Sequence[TargetConfig],
        *,
        weight: NDArray[np.float32] | None = None,
        ahead: Ahead | None = None,
    ) -> Self:
        """Features, labels and price paths of a frame; nothing is written.

        Args:
            frame: the table.
            features: what `raytrain.features.build.build` made of it.
            targets: what is predicted.
            weight: (rows,) how much each training row counts; equally when not given.
            ahead: what is known of the rows to come, for families that look ahead.

        Raises:
            DataError: a target cannot be made of these prices.
        """
        arrays: dict[str, NDArray[Any]] = {
            "x": features.x,
            "usable": features.usable,
            "date": frame.table[DATE].dt.timestamp("ns").to_numpy(),
            "series": frame.table[SERIES].rle_id().cast(pl.Int32).to_numpy(),
        }
        if weight is not None:
            arrays["weight"] = weight
        if ahead is not None:
            arrays |= {"ahead": ahead.table, "ahead_at": ahead.at}
        for method in {target.method for target in targets}:
            path = price_path(frame, method)
            arrays |= {f"{name}-{method}": getattr(path, name) for name in PATH}
        for target in targets:
            labels = build_target(frame, target)
            label_date = labels["label_date"].dt.timestamp("ns").fill_null(UNKNOWN_DATE)
            arrays[f"y-{target.name}"] = labels["y"].cast(pl.Float32).fill_null(float("nan")).to_numpy()
            arrays[f"label_date-{target.name}"] = label_date.to_numpy()
        meta = {
            "features": list(features.names),
            "known": list(features.known),
            "categories": {name: list(labels) for name, labels in features.categories.items()},
            "preprocess": features.preprocess.model_dump(),
            "series": frame.series,
            "targets": [one.name for one in targets],
        }
        return cls(meta, {name: np.ascontiguousarray(array) for name, array in arrays.items()})

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map what `save` wrote; pages are shared by all processes of a machine."""
        meta = json.loads((folder / "meta.json").read_text())
        paths = sorted(folder.glob("*.npy"))
        return cls(meta, {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in paths}, folder.name)

    def save(self, root: Path) -> Path:
        """Write into a folder below `root` that is named by the content; what exists is kept."""
        meta = json.dumps(self.meta, sort_keys=True)
        digest = hashlib.sha256(meta.encode())
        for name in sorted(self.arrays):
            digest.update(name.encode())
            digest.update(self.arrays[name].data)
        folder = root / digest.hexdigest()[:32]
        if folder.exists():
            os.utime(folder)  # what nobody has used for long is swept away
        else:
            # Another process may write the same content first: its folder is as good as ours.
            with suppress(FileExistsError), whole_folder(folder) as building:
                for name, array in self.arrays.items():
                    np.save(building / f"{name}.npy", array, allow_pickle=False)
                (building / "meta.json").write_text(meta)
        return folder

    @property
    def x(self) -> NDArray[np.float32]:
        """(rows, features)."""
        return self.arrays["x"]

    @property
    def categorical(self) -> list[int]:
        """Indices of the features that hold codes."""
        return [self.meta["features"].index(name) for name in self.meta["categories"]]

    @property
    def preprocess(self) -> PreprocessConfig:
        """How inputs are prepared for the families that want them scaled."""
        return PreprocessConfig.model_validate(self.meta["preprocess"])

    @property
    def date(self) -> NDArray[np.int64]:
        """(rows,) nanoseconds since 1970."""
        return self.arrays["date"]

    @property
    def series(self) -> NDArray[np.int32]:
        """(rows,) index into the series' names."""
        return self.arrays["series"]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(rows,) False on warm-up rows."""
        return self.arrays["usable"]

    def y(self, target: str) -> NDArray[np.float32]:
        """(rows,) the target; NaN while it is not known."""
        return self.arrays[f"y-{target}"]

    def label_date(self, target: str) -> NDArray[np.int64]:
        """(rows,) the date on which the target became known; `UNKNOWN_DATE` while it is not."""
        return self.arrays[f"label_date-{target}"]

    @property
    def weight(self) -> NDArray[np.float32]:
        """(rows,) how much each training row counts."""
        given = self.arrays.get("weight")
        return np.ones(len(self.date), dtype=np.float32) if given is None else given

    def path(self, method: Method) -> PricePath:
        """What prices did, in the unit of targets made by `method`."""
        return PricePath(**{name: self.arrays[f"{name}-{method}"] for name in PATH}, series=self.series)

    @property
    def ahead(self) -> Ahead:
        """What is known of the rows to come; nothing when the dataset was built without."""
        rows = len(self.date)
        table = self.arrays.get("ahead", np.empty((rows, 0), dtype=np.float32))
        return Ahead(table, self.arrays.get("ahead_at", np.arange(rows)))

    def train_rows(self, fold: Fold, *targets: str) -> NDArray[np.bool_]:
        """(rows,) the usable rows that the fold may train on: those whose labels, of all targets, it knows."""
        known = [train_rows(fold, self.date, self.label_date(target)) for target in targets]
        return np.asarray(np.logical_and.reduce([self.usable, *known]))

    def seen_hashes(self, folds: Sequence[Fold]) -> dict[str, str]:
        """Fold name -> hash of all features up to its cut-off; every row is hashed once.

        A fold's hash does not depend on the other folds, nor on rows after its cut-off.
        """
        return self._hashes(folds, self._form, [self.usable, self.x])

    def path_hashes(self, folds: Sequence[Fold], method: Method, steps: int = 0) -> dict[str, str]:
        """The same for the path of prices, and for what rows know ahead whose next `steps` rows were known too."""
        path, ahead = self.path(method), self._ahead(steps)
        found = self._hashes(folds, [method], [path.change, path.range, path.implied])
        if ahead is None:
            return found
        beside = self._hashes(folds, ["ahead", steps], [ahead], without=steps)
        return {name: _joined(found[name], beside[name]) for name in found}

    def block_hashes(self, folds: Sequence[Fold], methods: Sequence[Method] = (), steps: int = 0) -> dict[str, str]:
        """Fold name -> hash of what its test block is forecast from that lies behind its cut-off.

        Args:
            folds: which blocks.
            methods: of the paths of prices that are read.
            steps: rows of what is known ahead that are read.
        """
        paths = [getattr(self.path(method), name) for method in methods for name in PATH]
        arrays = [self.date, self.usable, self.x, *paths]
        if (ahead := self._ahead(steps)) is not None:
            arrays.append(ahead)
        return {fold.name: self._block_hash(fold, [self._form, list(methods), steps], arrays) for fold in folds}

    def _block_hash(self, fold: Fold, form: Any, arrays: Sequence[NDArray[Any]]) -> str:
        digest = hashlib.sha256(json.dumps(form).encode())
        bounds = [min(fold.cutoff + 1, fold.test_start), fold.test_end]
        for start, stop, name in self._of_series():
            first, last = start + np.searchsorted(self.date[start:stop], bounds)
            if last > first:
                digest.update(name + int(last - first).to_bytes(8, "big"))
                for array in arrays:
                    digest.update(array[first:last].data)
        return digest.hexdigest()

    def series_hash(self, fold: Fold) -> str:
        """Hash of the names of the series that begin before the end of the fold's test block."""
        return _joined(*(name for start, _, name in self._of_series() if self.date[start] < fold.test_end))

    @property
    def _form(self) -> list[Any]:
        """What models are told of the features beside their values."""
        return [self.meta["features"], self.categorical, self.meta["known"]]

    def _ahead(self, steps: int) -> NDArray[np.float32] | None:
        """(rows, steps, known features) of the rows after each; None when nothing is known ahead."""
        if not steps or not self.ahead.table.shape[1]:
            return None
        return np.ascontiguousarray(self.ahead.of(np.arange(len(self.date)), steps))

    def _of_series(self) -> list[tuple[int, int, bytes]]:
        """First row, end and hashed name of each series."""
        starts = np.flatnonzero(np.diff(self.series, prepend=-1)).tolist()
        names = [hashlib.sha256(self.meta["series"][self.series[start]].encode()).digest() for start in starts]
        return list(zip(starts, [*starts[1:], len(self.series)], names, strict=True))

    def _hashes(
        self, folds: Sequence[Fold], form: Any, arrays: Sequence[NDArray[Any]], without: int = 0
    ) -> dict[str, str]:
        """Fold name -> hash of all rows up to its cut-off, but `without` the newest of each series."""
        cutoffs = sorted({fold.cutoff for fold in folds})
        total = {cutoff: hashlib.sha256(json.dumps(form).encode()) for cutoff in cutoffs}
        for start, stop, name in self._of_series():
            digests = [(array, hashlib.sha256()) for array in (self.date, *arrays)]
            done = start
            for cutoff in cutoffs:
                known = start + int(np.searchsorted(self.date[start:stop], cutoff, side="right"))
                upto = max(start, known - without)
                for array, digest in digests:
                    digest.update(array[done:upto].data)
                done = upto
                if upto > start:
                    total[cutoff].update(name + b"".join(digest.digest() for _, digest in digests))
        return {fold.name: total[fold.cutoff].hexdigest() for fold in folds}

    def label_hash(self, fold: Fold, *targets: str) -> str:
        """Hash of the labels that the fold trains on, and of their weights."""
        digest, rows = hashlib.sha256(), self.train_rows(fold, *targets)
        for target in targets:
            digest.update(self.y(target)[rows].data)
        if "weight" in self.arrays:
            digest.update(self.weight[rows].data)
        return digest.hexdigest()


def _joined(*parts: str | bytes) -> str:
    """One hash of several, all of one length."""
    return hashlib.sha256(b"".join(part.encode() if isinstance(part, str) else part for part in parts)).hexdigest()

"""What an interrupted training leaves behind, so that the same fit goes on to the result it would have had."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from raytrain.data.atomic import whole_folder
from raytrain.engines.base import FitContext, FitData, Params
from raytrain.engines.training import EarlyStopping, TeachingRows

_STATE = "training.json"
_NOW, _BEST = "now", "best"


class Resumable(Protocol):
    """The part of a learner that is kept."""

    def snapshot(self) -> Any: ...

    def restore(self, snapshot: Any) -> None: ...

    def save_state(self, folder: Path) -> None: ...

    def load_state(self, folder: Path) -> None: ...


@dataclass
class Position:
    """How far a training is, between two batches."""

    stopping: EarlyStopping
    epoch: int = 0
    """Epochs that are done."""
    batch: int = 0
    """Batches of the next one that are done."""
    best: Any = None
    """Snapshot with the lowest loss on the rows kept aside; None before the first."""


class Checkpoint:
    """One resumable state in a folder, of one fit.

    Args:
        folder: of the fit; only what is written here is ever removed from it.
        fit: gives the `fingerprint` of the fit, asked for only when there is a state to compare or to write. A state
            of another fit is left alone until it is replaced.
    """

    def __init__(self, folder: Path, fit: Callable[[], str]) -> None:
        self._folder = folder / "training"
        self._fit = fit

    def save(self, learner: Resumable, position: Position) -> None:
        """Keep the state, in place of an earlier one; the learner is left with the best weights."""
        with whole_folder(self._folder) as building:
            _save_learner(learner, building / _NOW)
            if position.best is not None:
                learner.restore(position.best)
                _save_learner(learner, building / _BEST)
            content = {
                "fit": self._fit(),
                "epoch": position.epoch,
                "batch": position.batch,
                "stopping": vars(position.stopping),
                "files": _checksums(building),
            }
            (building / _STATE).write_text(json.dumps(content, indent=1))
            shutil.rmtree(self._folder, ignore_errors=True)

    def load(self, learner: Resumable) -> Position | None:
        """Put the learner where it was; None, and nothing is touched, without a whole state of this fit."""
        content = self._content()
        if content is None:
            return None
        best = None
        if (self._folder / _BEST).is_dir():
            learner.load_state(self._folder / _BEST)
            best = learner.snapshot()
        learner.load_state(self._folder / _NOW)
        stopping = EarlyStopping(content["stopping"]["patience"])
        vars(stopping).update(content["stopping"])
        return Position(stopping, content["epoch"], content["batch"], best)

    def _content(self) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = json.loads((self._folder / _STATE).read_text())
        except (FileNotFoundError, ValueError):
            return None
        whole = content["fit"] == self._fit() and content["files"] == _checksums(self._folder)
        return content if whole else None


def fingerprint(data: FitData, rows: TeachingRows, params: Params, context: FitContext, batch_size: int) -> str:
    """Hash of what decides the result of a training: the rows, the parameters, the task, the seed and the device.

    Args:
        batch_size: inputs are read this many rows at a time.
    """
    told = (context.task, context.quantiles, context.horizons, context.categorical, context.seed, context.device)
    digest = hashlib.sha256(f"{type(params).__qualname__} {params.model_dump_json()} {told}".encode())
    for part in rows:
        digest.update(part.tobytes())
        for start in range(0, len(part), batch_size):
            chosen = part[start : start + batch_size]
            for values in (data.x[chosen], data.y[chosen], data.weight[chosen]):
                digest.update(values.tobytes())
    return digest.hexdigest()


def _save_learner(learner: Resumable, folder: Path) -> None:
    folder.mkdir()
    learner.save_state(folder)


def _checksums(folder: Path) -> dict[str, str]:
    """Path within the folder -> SHA-256, of all files but the one that holds them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _STATE)
    return {path.relative_to(folder).as_posix(): _checksum(path) for path in paths}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

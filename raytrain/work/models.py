"""Trained models of test blocks that are still open: tomorrow's row is forecast by today's model.

The rows that a walk-forward fold trains on end at its cut-off. While its block grows by a row a day, the model stays
the same to the bit, so training it again would only cost time. A model is found by its `FitSpec.train_key`.
"""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytrain.data.atomic import whole_folder
from raytrain.data.snapshot import file_hash
from raytrain.engines.base import Family
from raytrain.work.preparation import Preparation

POOLED = "pooled"
"""The part of a fit that has one model for all series; else a part is named by the number of its series."""

_ABOUT = "about.json"
_MODEL = "model"
_CHECKSUMS = "SHA256SUMS"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model and everything that its inputs and outputs go through."""

    model: Family[Any]
    preparation: Preparation
    num_rows: int
    """Rows that it was trained on."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A model on disk, whole."""

    folder: Path
    """What the family wrote."""
    preparation: Preparation
    num_rows: int
    """Rows that it was trained on."""
    facts: Mapping[str, Any]
    """What was told when it was kept: cost, cut_short."""


@dataclass(frozen=True)
class ModelStore:
    """Models below `<store>/models/`, one folder per key and part."""

    root: Path
    """Of the store."""

    def folder(self, train_key: str, part: str) -> Path:
        """Where a model is or will be."""
        return self.root / "models" / train_key[:2] / f"{train_key}-{part}"

    def has(self, train_key: str) -> bool:
        """Whether a model of that training is there; that of one series at least, where each has its own."""
        return bool(train_key) and any(self.root.glob(f"models/{train_key[:2]}/{train_key}-*"))

    def find(self, train_key: str, part: str) -> Kept | None:
        """The model if it is there and whole; a damaged one is removed, to be trained again."""
        folder = self.folder(train_key, part)
        if not folder.is_dir():
            return None
        try:
            whole = (folder / _CHECKSUMS).read_text() == _checksums(folder)
        except (OSError, ValueError):
            whole = False
        if not whole:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        os.utime(folder)  # what nobody has used for long is swept away
        about = json.loads((folder / _ABOUT).read_text())
        return Kept(
            folder=folder / _MODEL,
            preparation=Preparation.from_json(about["preparation"]),
            num_rows=about["num_rows"],
            facts=about["facts"],
        )

    def keep(self, train_key: str, part: str, trained: Trained, facts: Mapping[str, Any]) -> None:
        """Write a model; a second writer finds its work done.

        Args:
            train_key: of the fit.
            part: of the fit.
            trained: the model.
            facts: kept beside it, as JSON.
        """
        about = {
            "train_key": train_key,
            "preparation": trained.preparation.to_json(),
            "num_rows": trained.num_rows,
            "facts": dict(facts),
        }
        with suppress(FileExistsError), whole_folder(self.folder(train_key, part)) as building:
            (building / _MODEL).mkdir()
            trained.model.save(building / _MODEL)
            (building / _ABOUT).write_text(json.dumps(about, sort_keys=True))
            (building / _CHECKSUMS).write_text(_checksums(building))


def _checksums(folder: Path) -> str:
    """The text of SHA256SUMS, as `sha256sum --check` reads it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _CHECKSUMS)
    return "".join(f"{file_hash(path)}  {path.relative_to(folder)}\n" for path in files)

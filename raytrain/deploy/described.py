"""What a bundle says about itself: who it is, what it takes and gives, and what was said of it."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from raytrain import __version__, families
from raytrain.data import DataConfig
from raytrain.deploy.card import Scores, card
from raytrain.deploy.contents import (
    ABOUT,
    CARD,
    CHECKSUMS,
    CONFIG,
    DECISION,
    FORMAT,
    MEMBERS,
    PREPARATION,
    SCHEMA,
    Bundle,
    Form,
    checksums,
    installed,
)
from raytrain.deploy.schema import Schema, rows_read
from raytrain.evaluation.gates.decision import Decision
from raytrain.features.build import FeaturesConfig
from raytrain.work.dataset import Dataset
from raytrain.work.preparation import Preparation
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

_COMPUTES = ("numpy", "polars", "scipy", "onnx", "onnxruntime")
"""Libraries whose versions are told beside those of the fit."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What all bundles inside one share."""

    store: ResultStore
    dataset: Dataset
    dataset_folder: Path
    data: DataConfig
    features: FeaturesConfig
    data_hash: str
    onnx: bool


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is told of the recipe as a whole, not of what it is mixed of."""

    decision: Decision | None = None
    scores: Scores | None = None


def write_about(
    folder: Path,
    spec: FitSpec,
    run: Run,
    judged: Judged,
    *,
    form: Form,
    parts: Sequence[str],
    num_rows: int,
    members: Sequence[str] = (),
) -> None:
    """Who the bundle is, what it takes and gives, and what was said about it."""
    inside = [Bundle.read(folder / MEMBERS / name) for name in members]
    rows = max([rows_read(spec, run.features), *(one.schema.warm_up_rows for one in inside)])
    schema = Schema.of(spec, run.dataset, run.data, run.features, rows)
    trained = run.dataset.train_rows(spec.fold, *spec.target_names)
    dates = run.dataset.date[trained].astype("datetime64[ns]").astype("datetime64[s]")
    about = {
        "format": FORMAT,
        "form": form,
        "family": spec.family,
        "family_version": spec.family_version,
        "engine": families.get(spec.family).engine,
        "target": spec.target,
        "key": spec.key,
        "train_key": spec.train_key,
        "raytrain": __version__,
        "versions": _versions(spec),
        "parts": list(parts),
        "members": list(members),
        "data_hash": run.data_hash,
        "trained_on": {"rows": num_rows, "first_date": str(dates.min()), "last_date": str(dates.max())},
        "known_until": str(np.datetime64(spec.fold.cutoff, "ns").astype("datetime64[s]")),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "spec": spec.to_dict(),
    }
    write_json(folder / ABOUT, about)
    write_json(folder / CONFIG, config_of(run.data, run.features))
    (folder / SCHEMA).write_text(schema.model_dump_json(indent=1))
    write_json(folder / DECISION, None if judged.decision is None else asdict(judged.decision))


def _versions(spec: FitSpec) -> dict[str, str]:
    found = {name: installed(name) for name in _COMPUTES}
    here = {name: version for name, version in found.items() if version is not None}
    return {"python": platform.python_version(), **here, **dict(spec.packages)}


def config_of(data: DataConfig, features: FeaturesConfig) -> dict[str, Any]:
    """As YAML would have it; where the run's table lay is nobody's business elsewhere."""
    left_out = {"path", "query", "bigquery"}
    return {"data": data.model_dump(mode="json", exclude=left_out), "features": features.model_dump(mode="json")}


def write_preparations(folder: Path, preparations: Mapping[str, Preparation]) -> None:
    write_json(folder / PREPARATION, {part: one.to_json() for part, one in preparations.items()})


def finish(folder: Path, judged: Judged) -> None:
    """The card, then the checksums of it all."""
    bundle = Bundle.read(folder)
    (folder / CARD).write_text(card(bundle, judged.decision, judged.scores))
    (folder / CHECKSUMS).write_text(checksums(folder))


def write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")

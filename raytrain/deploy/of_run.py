"""The bundles of a run: one for each target that it has forecast."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from raytrain.data import DataConfig
from raytrain.data.atomic import replacing
from raytrain.deploy.bundle import bundle_key, write_bundle
from raytrain.deploy.contents import Bundle
from raytrain.errors import RaytrainError
from raytrain.evaluation.gates.decision import Decision
from raytrain.features.build import FeaturesConfig
from raytrain.work.dataset import Dataset
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

FILE = "bundles.json"
_NAIVE = "naive"


@dataclass(frozen=True, kw_only=True)
class Bundled:
    """What was written."""

    by_target: Mapping[str, Mapping[str, Any]]
    """Target -> family, verdict, bundle (folder, relative to the store), digest, key of the fit, onnx."""
    warnings: tuple[str, ...]
    """Why a target has none."""

    def write(self, run_folder: Path) -> None:
        """`bundles.json`, in one step."""
        with replacing(run_folder / FILE) as file:
            file.write(json.dumps(self.by_target, indent=1, sort_keys=True).encode())


def bundle_forecasts(
    specs: Sequence[FitSpec],
    best: Mapping[str, str],
    *,
    store: ResultStore,
    dataset: Dataset,
    data: DataConfig,
    features: FeaturesConfig,
    decisions: Sequence[Decision],
    scores: pl.DataFrame,
    data_hash: str,
) -> Bundled:
    """Write a bundle below `<store>/bundles` for each target; what cannot be bundled becomes a warning.

    Args:
        specs: the finished fits on all known rows, of all seeds.
        best: target -> the family that it was forecast with.
        store: of the run.
        dataset: of the run.
        data: of the run.
        features: of the run.
        decisions: what the gates said.
        scores: the run's score table.
        data_hash: of the run's frame.
    """
    said = {(one.target, one.family): one for one in decisions}
    found: dict[str, Mapping[str, Any]] = {}
    warnings: list[str] = []
    for target, family in best.items():
        fits = [spec for spec in specs if spec.family == family and target in spec.target_names]
        if not fits:
            continue
        decision, told = said.get((target, family)), scores_beside_naive(scores, target, family)
        key = bundle_key(fits[0], data, features, decision=decision, scores=told, seeds=fits[1:])
        try:
            folder = write_bundle(
                store.root / "bundles" / key,
                spec=fits[0],
                store=store,
                dataset=dataset,
                data=data,
                features=features,
                decision=decision,
                scores=told,
                seeds=fits[1:],
                data_hash=data_hash,
            )
        except RaytrainError as error:
            warnings.append(f"no bundle for {target}: {error}")
            continue
        found[target] = _told(Bundle.read(folder), store)
    return Bundled(by_target=found, warnings=tuple(warnings))


def scores_beside_naive(scores: pl.DataFrame, target: str, family: str) -> dict[str, dict[str, Any]]:
    """Family -> its row of the score table for a target: of the family and of naive."""
    if scores.is_empty():
        return {}
    rows = scores.filter(pl.col("target") == target, pl.col("family").is_in([family, _NAIVE]))
    return {row["family"]: row for row in rows.iter_rows(named=True)}


def _told(bundle: Bundle, store: ResultStore) -> dict[str, Any]:
    decision = bundle.decision
    return {
        "family": bundle.spec.family,
        "verdict": None if decision is None else decision["verdict"],
        "bundle": str(bundle.folder.relative_to(store.root)),
        "digest": bundle.digest,
        "key": bundle.spec.key,
        "onnx": bool(bundle.onnx["files"]),
    }

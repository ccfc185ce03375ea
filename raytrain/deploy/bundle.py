"""Write a bundle: the model that a run has kept, and all that forecasts need beside it."""

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np

from raytrain import __version__
from raytrain.data import DataConfig
from raytrain.data.atomic import whole_folder
from raytrain.deploy.card import Scores
from raytrain.deploy.contents import FORMAT, MEMBERS, MODEL, ONNX, POOLED, Bundle, BundleRefused
from raytrain.deploy.described import Judged, Run, config_of, finish, write_about, write_json, write_preparations
from raytrain.deploy.mixture import trained_mixture
from raytrain.deploy.onnx import Job, without_graph
from raytrain.errors import RaytrainError
from raytrain.evaluation.gates.decision import Decision
from raytrain.features.build import FeaturesConfig
from raytrain.folds import test_rows
from raytrain.work.dataset import Dataset
from raytrain.work.models import ModelStore
from raytrain.work.preparation import Preparation
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

__all__ = ["Bundle", "BundleRefused", "ModelNotKept", "bundle_key", "write_bundle"]


class ModelNotKept(RaytrainError):
    """A fit has a result, but its trained model is no longer in the store."""


def bundle_key(
    spec: FitSpec,
    data: DataConfig,
    features: FeaturesConfig,
    *,
    decision: Decision | None = None,
    scores: Scores | None = None,
    seeds: Sequence[FitSpec] = (),
) -> str:
    """Names a bundle by its content: the fit, how rows become features, and what was said about it."""
    parts = [
        [one.key for one in (spec, *seeds)],
        config_of(data, features),
        None if decision is None else asdict(decision),
        scores,
        [__version__, FORMAT],
    ]
    return sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def write_bundle(
    folder: Path,
    *,
    spec: FitSpec,
    store: ResultStore,
    dataset: Dataset,
    data: DataConfig,
    features: FeaturesConfig,
    decision: Decision | None = None,
    scores: Scores | None = None,
    seeds: Sequence[FitSpec] = (),
    data_hash: str = "",
    onnx: bool = True,
) -> Path:
    """Assemble the bundle of a fit that is finished, without fitting it again.

    Before it is in its place, the model has reproduced the fit's stored forecasts to the bit, in a process of its own;
    there the graph is written and compared, too. A bundle that is there and whole is left as it is.

    Args:
        folder: to write; beside, then renamed. `<store>/bundles/<bundle_key>` names it by its content.
        spec: the fit, on all known rows (`folds.latest`).
        store: that holds its result, its trained model and, of an ensemble, what it was mixed of.
        dataset: what the fit has seen.
        data: how the run read its table.
        features: how the run made its features.
        decision: what the gates said about the recipe.
        scores: family -> its row of the score table: of the family and of `naive`.
        seeds: the same fit with other seeds, whose forecasts the run has averaged.
        data_hash: of the run's frame.
        onnx: whether to write a graph where the family can.

    Returns:
        The folder.

    Raises:
        ModelNotKept: the store holds the result but no longer the model; fit it again.
        StoreCorrupt: the kept model does not forecast what is stored.
    """
    if _is_there(folder):
        return folder
    run = Run(
        store=store,
        dataset=dataset,
        dataset_folder=dataset.save(store.root / "prepared"),
        data=data,
        features=features,
        data_hash=data_hash,
        onnx=onnx,
    )
    judged = Judged(decision=decision, scores=scores)
    with suppress(FileExistsError), whole_folder(folder) as building:
        if seeds:
            _fill_seeds(building, [spec, *seeds], run, judged)
        else:
            _fill(building, spec, run, judged)
    return folder


def _is_there(folder: Path) -> bool:
    """Whether a whole bundle is; one that is damaged is put aside, where it can be looked at."""
    if not folder.exists():
        return False
    try:
        Bundle.open(folder)
        return True
    except BundleRefused:
        os.replace(folder, folder.with_name(f".{folder.name}.refused.{datetime.now(UTC):%Y%m%dT%H%M%S%f}"))
        return False


def _fill(folder: Path, spec: FitSpec, run: Run, judged: Judged) -> None:
    """Write the bundle of one fit into an empty folder."""
    if spec.members:
        _fill_mixture(folder, spec, run, judged)
    else:
        _fill_fit(folder, spec, run, judged)


def _fill_fit(folder: Path, spec: FitSpec, run: Run, judged: Judged) -> None:
    parts = _parts(spec, run.dataset)
    preparations, num_rows = {}, 0
    for part in parts:
        kept = ModelStore(run.store.root).find(spec.train_key, part)
        if kept is None:
            raise ModelNotKept(
                f"the model of {spec.label} ({spec.train_key}) is no longer in {run.store.root}, only its forecasts "
                f"are; move {run.store.folder(spec.key)} away and run again to fit it once more"
            )
        shutil.copytree(kept.folder, folder / MODEL if part == POOLED else folder / MODEL / part)
        preparations[part], num_rows = kept.preparation, num_rows + kept.num_rows
    write_about(folder, spec, run, judged, form="fit", parts=parts, num_rows=num_rows)
    write_preparations(folder, preparations)
    job = Job(folder=str(folder), dataset=str(run.dataset_folder), store=str(run.store.root), graph=run.onnx)
    job.run()
    finish(folder, judged)


def _fill_mixture(folder: Path, spec: FitSpec, run: Run, judged: Judged) -> None:
    """The weights, learned again from the stored forecasts, and a bundle for each member."""
    members = [one for one in map(run.store.result, spec.members) if one["spec"]["fold"]["name"] == spec.fold.name]
    names = _fill_members(folder, [FitSpec.from_dict(one["spec"]) for one in members], run)
    parts = _parts(spec, run.dataset)
    num_rows = 0
    for part in parts:
        model, rows = trained_mixture(spec, run.dataset, run.store, part)
        target = folder / MODEL if part == POOLED else folder / MODEL / part
        target.mkdir(parents=True)
        model.save(target)
        num_rows += rows
    write_about(folder, spec, run, judged, form="mixture", parts=parts, num_rows=num_rows, members=names)
    write_preparations(folder, dict.fromkeys(parts, Preparation()))
    write_json(folder / ONNX, without_graph("it mixes what its members forecast, each of which may have its own"))
    finish(folder, judged)


def _fill_seeds(folder: Path, specs: Sequence[FitSpec], run: Run, judged: Judged) -> None:
    names = _fill_members(folder, specs, run)
    write_about(folder, specs[0], run, judged, form="seeds", parts=(), num_rows=0, members=names)
    write_preparations(folder, {})
    write_json(
        folder / ONNX, without_graph("it averages the forecasts of several seeds, each of which may have its own")
    )
    finish(folder, judged)


def _fill_members(folder: Path, specs: Sequence[FitSpec], run: Run) -> list[str]:
    """A bundle inside for each; returns their names, in order."""
    names = [f"{place}-{spec.family}-s{spec.seed}" for place, spec in enumerate(specs)]
    for name, spec in zip(names, specs, strict=True):
        inside = folder / MEMBERS / name
        inside.mkdir(parents=True)
        _fill(inside, spec, run, Judged())
    return names


def _parts(spec: FitSpec, dataset: Dataset) -> list[str]:
    """One for all series, or one for each that the fit has forecast."""
    if json.loads(spec.params)["scope"] == "pooled":
        return [POOLED]
    return [str(number) for number in np.unique(dataset.series[test_rows(spec.fold, dataset.date)])]

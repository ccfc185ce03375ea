"""A graph is written only where it agrees with its model, and forecasts without the model's library."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from raytrain import families
from raytrain.deploy.bundle import Bundle, BundleRefused
from raytrain.deploy.forecaster import Forecaster
from raytrain.deploy.onnx import TOLERANCE, Graph, compare
from raytrain.engines.base import FitContext, FitData

LEVELS = (0.1, 0.5, 0.9)
DAY = 86_400 * 10**9


def _data(binary: bool, steps: int = 1, scaled: bool = False) -> FitData:
    """Rows with a planted signal, a column of codes and unknown values, so that models are not trivial."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((1200, steps, 6), dtype=np.float32)
    x[..., 5] = rng.integers(0, 5, x.shape[:2])
    if not scaled:
        x[..., 1][rng.random(x.shape[:2]) < 0.1] = np.nan
    if steps == 1:
        x = x[:, 0]
    newest = x if steps == 1 else x[:, -1]
    signal = newest[:, 0] + (newest[:, 5] == 2) + 0.5 * rng.standard_normal(len(x))
    y = (signal > 0.3 if binary else signal).astype(np.float32)
    date = np.arange(len(x)) * DAY
    return FitData(
        x=x,
        y=y[:, None],
        weight=np.ones(len(x), dtype=np.float32),
        date=date,
        label_date=date + DAY,
        series=np.zeros(len(x), dtype=np.int32),
    )


def _difference(name: str, task: str, tmp_path: Path, **params: Any) -> float:
    """Largest difference between a family's model and its graph, at two batch sizes."""
    family = families.get(name)
    made = families.make_params(name, params)
    data = _data(task == "binary", family.steps(made), family.scaled)
    context = FitContext(task=task, quantiles=LEVELS, features=tuple("abcdef"), categorical=(5,))
    model = family(made).fit(data, context)
    found = model.to_onnx(data.x[:4])
    assert not isinstance(found, str), found
    (tmp_path / "model.onnx").write_bytes(found.content)
    graph = Graph.load(tmp_path / "model.onnx", found.calibration)
    native = model.predict(data.x)
    assert np.std(native) > 0.05  # the model has learned something
    for size in (1, 300):
        assert graph.predict(data.x[:size]).shape == native[:size].shape
    singles = np.concatenate([graph.predict(data.x[row : row + 1]) for row in range(30)])
    return max(float(np.abs(graph.predict(data.x) - native).max()), float(np.abs(singles - native[:30]).max()))


TREES = {"num_rounds": 60}


@pytest.mark.native
@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("lightgbm", "regression"),
        ("lightgbm", "binary"),
        ("lightgbm_quantile", "regression"),
        ("xgboost", "regression"),
        ("xgboost", "binary"),
        ("xgboost_quantile", "regression"),
    ],
)
def test_trees_agree(name: str, task: str, tmp_path: Path) -> None:
    assert _difference(name, task, tmp_path, **TREES) < TOLERANCE


@pytest.mark.native
@pytest.mark.parametrize("task", ["regression", "binary"])
@pytest.mark.parametrize("name", ["ridge", "ftrl", "change_point"])
def test_lines_agree(name: str, task: str, tmp_path: Path) -> None:
    params = {"alpha": 0.1} if name == "ftrl" else {}
    assert _difference(name, task, tmp_path, **params) < TOLERANCE


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "task"), [("gru", "regression"), ("tab_cnn", "binary")])
def test_torch_nets_agree(name: str, task: str, tmp_path: Path) -> None:
    params = {"window": 8, "num_hidden": 8} if name == "gru" else {}
    assert _difference(name, task, tmp_path, num_epochs=4, learning_rate=0.01, **params) < TOLERANCE


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "task"), [("mlp", "regression"), ("mlp", "binary"), ("gan", "regression")])
def test_keras_nets_agree(name: str, task: str, tmp_path: Path) -> None:
    assert _difference(name, task, tmp_path, num_epochs=4, learning_rate=0.01) < TOLERANCE


@pytest.mark.parametrize("name", ["naive", "har", "gmm_regime", "ngboost", "ensemble"])
def test_families_without_a_graph_say_why(name: str) -> None:
    family = families.get(name)
    reason = family(family.params_type()).to_onnx(np.zeros((1, 2), dtype=np.float32))
    assert isinstance(reason, str)
    assert len(reason) > 20


def test_a_graph_forecasts_the_same_without_the_library(world: Any, tmp_path: Path) -> None:
    """From bundle to forecast in a process that never loads LightGBM, scikit-learn or a converter."""
    folder = world.made("lightgbm_quantile", onnx=True)
    world.table.write_parquet(tmp_path / "rows.parquet")
    code = (
        "import sys, polars\n"
        "from raytrain.deploy.forecaster import Forecaster\n"
        "with Forecaster.load(sys.argv[1], 'onnx') as forecaster:\n"
        "    forecaster.forecast(polars.read_parquet(sys.argv[2])).write_parquet(sys.argv[3])\n"
        "print(*{'lightgbm', 'sklearn', 'torch', 'tensorflow', 'keras', 'onnxmltools', 'onnx'} & set(sys.modules))\n"
    )
    arguments = [str(folder), str(tmp_path / "rows.parquet"), str(tmp_path / "out.parquet")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    stored = world.stored(world.fitted("lightgbm_quantile"))
    found = pl.read_parquet(tmp_path / "out.parquet").select(stored.columns)
    deviation = world.dataset.y("return_1w").std(where=np.isfinite(world.dataset.y("return_1w")))
    for level in ("q0.1", "q0.5", "q0.9"):
        assert np.abs(found[level].to_numpy() - stored[level].to_numpy()).max() < 1e-5 * deviation


def test_the_bundle_tells_how_far_the_graph_is(world: Any) -> None:
    about = Bundle.open(world.made("lightgbm_quantile", onnx=True)).onnx
    assert about["files"] == {"pooled": "model.onnx"}
    parity = about["parity"]["pooled"]
    assert parity["batch_sizes"] == [1, 256]
    assert 0 <= parity["relative"] <= parity["tolerance"] == TOLERANCE
    # Divided by its volatility forecast, the target has a deviation of about 1.
    assert 0.5 < parity["scale"] < 2
    assert "numpy" in about["outside_the_graph"]


def test_without_a_graph_the_runtime_is_refused_with_the_reason(world: Any) -> None:
    with pytest.raises(BundleRefused, match="no single array; use the native runtime"):
        Forecaster.load(world.made("har", onnx=True), "onnx")


def test_a_converter_that_breaks_leaves_a_bundle_without_a_graph(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxmltools.py").write_text("raise RuntimeError('the converter is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    bundle = Bundle.open(world.bundle(tmp_path / "b", world.fitted("lightgbm_quantile"), onnx=True))
    assert bundle.onnx["reason"] == "it cannot be converted: RuntimeError: the converter is broken"
    assert not list(bundle.folder.glob("*.onnx"))


def test_one_graph_per_series(world: Any) -> None:
    how = {"lightgbm_quantile": {"num_rounds": 5, "min_data_in_leaf": 20, "scope": "series"}}
    bundle = Bundle.open(world.made("lightgbm_quantile", onnx=True, **how))
    assert bundle.onnx["files"] == {"0": "model-0.onnx", "1": "model-1.onnx"}
    stored = world.stored(bundle.spec)
    with Forecaster.load(bundle, "onnx") as forecaster:
        found = forecaster.forecast(world.table)
    np.testing.assert_allclose(found["q0.9"].to_numpy(), stored["q0.9"].to_numpy(), atol=1e-6)


def test_members_with_a_graph_use_it(world: Any) -> None:
    how = {"among": ["har", "lightgbm_quantile"]}
    bundle = Bundle.open(world.made("ensemble", onnx=True, **how))
    assert [bool(member.onnx["files"]) for member in bundle.members] == [False, True]
    with Forecaster.load(bundle, "onnx") as forecaster:
        found = forecaster.forecast(world.table)
    np.testing.assert_allclose(found["q0.9"].to_numpy(), world.stored(bundle.spec)["q0.9"].to_numpy(), atol=1e-6)


class _Off:
    """A graph that is off by a little."""

    def __init__(self, native: Any, by: float) -> None:
        self.native, self.by = native, by

    def predict(self, x: Any) -> Any:
        return self.native.predict(x) + np.float32(self.by)


@pytest.mark.parametrize("by", [0.0, 1e-3])
def test_a_graph_that_differs_is_measured_in_deviations(world: Any, by: float) -> None:
    from raytrain.deploy.models import Fitted
    from raytrain.work.inputs import Inputs

    bundle = Bundle.open(world.made("naive"))
    model = Fitted.load(bundle)
    params = bundle.family.params_type.model_validate_json(bundle.spec.params)
    inputs = Inputs.make(bundle.family, params, world.dataset, bundle.spec, preparation=bundle.preparation("pooled"))
    found = compare(_Off(model.parts["pooled"][0], by), model, "pooled", inputs)  # type: ignore[arg-type]
    deviation = inputs.training_data().y.std()
    assert found["relative"] == pytest.approx(by / deviation, rel=1e-3)
    assert (found["relative"] <= TOLERANCE) == (by == 0)

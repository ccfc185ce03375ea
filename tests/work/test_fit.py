"""One fit in this process: the rows it sees, what it costs, and naive's numbers by hand."""

import itertools
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from raytrain import families
from raytrain.errors import FitError
from raytrain.features.preprocess import Preprocess
from raytrain.folds import Fold
from raytrain.work import fit as fit_module
from raytrain.work.dataset import Dataset
from raytrain.work.fit import Control, Progress, run_fit
from raytrain.work.inputs import Inputs, quantile_column
from raytrain.work.spec import FitSpec

Specs = dict[tuple[str, str], FitSpec]
FOLD = "2020-01-01"


def with_params(spec: FitSpec, **params: Any) -> FitSpec:
    return replace(spec, params=json.dumps(params))


def known_by(dataset: Dataset, fold: Fold, target: str) -> np.ndarray:
    """The training rows by the definition: usable, and label known at the cut-off."""
    return np.array(
        [
            usable and label_date <= fold.cutoff
            for usable, label_date in zip(dataset.usable, dataset.label_date(target), strict=True)
        ]
    )


def test_naive_by_hand(specs: Specs, dataset: Dataset) -> None:
    """The quantiles of the training returns of the newest 30 dates, median 0, clipped at 0 from their side."""
    spec = with_params(specs["return_1w", FOLD], window=30)
    result = run_fit(spec, dataset, Control())
    train = known_by(dataset, spec.fold, "return_1w")
    newest = sorted(set(dataset.date[train]))[-30]
    recent = dataset.y("return_1w")[train & (dataset.date >= newest)].astype(np.float64)
    low, high = np.quantile(recent, [0.1, 0.9])
    test = (dataset.date >= spec.fold.test_start) & (dataset.date < spec.fold.test_end)
    found = result.predictions
    assert found.columns == ["target", "series_id", "date", "q0.1", "q0.5", "q0.9"]
    assert found.height == test.sum() == 2 * 91
    np.testing.assert_allclose(found["q0.1"], min(low, 0), rtol=1e-6)
    np.testing.assert_allclose(found["q0.9"], max(high, 0), rtol=1e-6)
    assert (found["q0.5"] == 0).all()
    assert not result.stopped


def test_a_threshold_is_answered_with_a_probability(specs: Specs, dataset: Dataset) -> None:
    spec = specs["threshold_1w", FOLD]
    found = run_fit(spec, dataset, Control()).predictions
    rate = dataset.y("threshold_1w")[known_by(dataset, spec.fold, "threshold_1w")].mean()
    assert found.columns == ["target", "series_id", "date", "probability"]
    np.testing.assert_allclose(found["probability"], rate, rtol=1e-5)


def test_predictions_lie_on_the_rows_of_the_test_block(specs: Specs, dataset: Dataset) -> None:
    found = run_fit(specs["return_1d", "2020-04-01"], dataset, Control()).predictions
    days = pl.datetime_range(pl.datetime(2020, 4, 1), pl.datetime(2020, 5, 14), "1d", eager=True)
    assert found["series_id"].to_list() == ["A"] * 44 + ["B"] * 44
    assert found["date"].to_list() == days.to_list() * 2
    assert found.schema["date"] == pl.Datetime("us")
    assert found.schema["q0.5"] == pl.Float32


def test_the_cost_is_measured(specs: Specs, dataset: Dataset) -> None:
    spec = specs["return_1d", FOLD]
    cost = run_fit(spec, dataset, Control(threads=3)).cost
    assert (cost.threads, cost.device, cost.features) == (3, "cpu", 3)
    assert cost.train_rows == known_by(dataset, spec.fold, "return_1d").sum()
    assert cost.wall_s > 0
    assert cost.cpu_s >= 0
    assert 10**7 < cost.peak_memory_bytes < 10**10


def test_facts_can_be_kept(specs: Specs, dataset: Dataset) -> None:
    spec = specs["return_1d", FOLD]
    facts = run_fit(spec, dataset, Control()).facts(spec)
    again = json.loads(json.dumps(facts))
    assert again["key"] == spec.key
    assert FitSpec.from_dict(again["spec"]) == spec
    assert set(again["environment"]) == {"raytrain", "python", "host"}


class _Asking(families.get("naive")):  # type: ignore[misc]
    """Naive that comes to three safe points."""

    asked: ClassVar[list[bool]] = []

    def fit(self, data: Any, context: Any) -> Any:
        for _ in range(3):
            self.asked.append(context.should_stop())
        return super().fit(data, context)


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> type[_Asking]:
    monkeypatch.setattr(_Asking, "asked", [])
    monkeypatch.setattr(families, "get", lambda name: _Asking)
    return _Asking


def test_a_stop_that_was_heard_is_reported(specs: Specs, dataset: Dataset, asking: type[_Asking]) -> None:
    stopped = run_fit(specs["return_1d", FOLD], dataset, Control(should_stop=lambda: True))
    assert (stopped.stopped, stopped.cut_short, asking.asked) == (True, False, [True] * 3)


def test_a_fit_that_was_done_before_it_asked_is_whole(specs: Specs, dataset: Dataset) -> None:
    assert not run_fit(specs["return_1d", FOLD], dataset, Control(should_stop=lambda: True)).stopped


def test_a_fit_ends_gracefully_when_its_time_is_used_up(
    specs: Specs, dataset: Dataset, asking: type[_Asking], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that moves on by a second whenever it is looked at."""
    clock = SimpleNamespace(monotonic=itertools.count().__next__, perf_counter=time.perf_counter)
    monkeypatch.setattr(fit_module, "time", clock)
    spec = specs["return_1d", FOLD]
    whole = run_fit(replace(spec, budget_s=60), dataset, Control())
    assert (whole.stopped, whole.cut_short) == (False, False)
    asking.asked.clear()
    short = run_fit(replace(spec, budget_s=1.5), dataset, Control())
    assert (short.stopped, short.cut_short, asking.asked) == (False, True, [False, True, True])
    assert short.facts(spec)["cut_short"]
    assert short.predictions.equals(whole.predictions)


def test_one_model_for_each_series(specs: Specs, dataset: Dataset) -> None:
    spec = specs["return_1w", FOLD]
    found = run_fit(with_params(spec, scope="series", window=30), dataset, Control()).predictions
    assert found["series_id"].to_list() == ["A"] * 91 + ["B"] * 91
    train = known_by(dataset, spec.fold, "return_1w")
    for code, name in enumerate("AB"):
        mine = train & (dataset.series == code)
        newest = dataset.y("return_1w")[mine][-30:]
        expected = min(np.quantile(newest.astype(float), 0.1), 0)
        np.testing.assert_allclose(found.filter(pl.col("series_id") == name)["q0.1"], expected, rtol=1e-6)


def test_weights_reach_the_family(specs: Specs, dataset: Dataset) -> None:
    weight = np.where(dataset.y("threshold_1w") == 1, 5000, 50).astype(np.float32)
    spec = specs["threshold_1w", FOLD]
    heavy = Dataset(dataset.meta, dataset.arrays | {"weight": weight})
    train = known_by(dataset, spec.fold, "threshold_1w")
    expected = np.average(dataset.y("threshold_1w")[train], weights=weight[train])
    found = run_fit(spec, heavy, Control()).predictions
    np.testing.assert_allclose(found["probability"], expected, rtol=1e-5)
    assert heavy.label_hash(spec.fold, "threshold_1w") != dataset.label_hash(spec.fold, "threshold_1w")


@pytest.mark.parametrize("kind", ["har", "ewma"])
def test_targets_are_divided_by_a_volatility_forecast(kind: str, specs: Specs, dataset: Dataset) -> None:
    spec = specs["return_1w", FOLD]
    inputs = inputs_of("naive", spec, dataset, scale=kind)
    (volatility,) = inputs.preparation.volatility
    expected = volatility.forecast(dataset.path("log"), inputs.train)
    y = dataset.y("return_1w")[inputs.train]
    np.testing.assert_allclose(inputs.training_data().y[:, 0], y / expected, rtol=1e-5)
    values = np.ones((len(inputs.test), 1, 3), dtype=np.float32)
    undone = inputs.unscale(values, inputs.test)
    ahead = volatility.forecast(dataset.path("log"), inputs.test)
    np.testing.assert_allclose(undone, np.repeat(ahead[:, None, None], 3, axis=2), rtol=1e-5)
    assert inputs_of("naive", specs["threshold_1w", FOLD], dataset, scale=kind).preparation.volatility == ()


def test_volatility_is_learned_from_training_rows_only(specs: Specs, dataset: Dataset) -> None:
    spec = specs["return_1w", FOLD]
    before = inputs_of("naive", spec, dataset, scale="har")
    change = np.where(dataset.date > spec.fold.cutoff, 7.0, dataset.path("log").change)
    poisoned = Dataset(dataset.meta, dataset.arrays | {"change-log": change})
    after = inputs_of("naive", spec, poisoned, scale="har")
    assert after.preparation.volatility == before.preparation.volatility
    assert after.training_data().y.tobytes() == before.training_data().y.tobytes()


def test_progress_tells_the_phase_of_a_failure(specs: Specs, dataset: Dataset) -> None:
    progress = Progress()
    run_fit(specs["return_1d", FOLD], dataset, Control(progress=progress))
    assert (progress.phase, progress.share) == ("predict", 1.0)
    flat = Dataset(dataset.meta, dataset.arrays | {"y-return_1d": np.zeros(900, dtype=np.float32)})
    with pytest.raises(FitError, match="a target that varies"):
        run_fit(specs["return_1d", FOLD], flat, Control(progress=progress))
    assert progress.phase == "fit"


def test_no_rows_are_refused_by_name(specs: Specs, dataset: Dataset) -> None:
    spec = specs["return_1d", FOLD]
    early = replace(spec, fold=replace(spec.fold, cutoff=0))
    with pytest.raises(FitError, match=r"naive return_1d 2020-01-01 s42: .* got 0 and 182 with 1 row"):
        run_fit(early, dataset, Control())


class _Odd(families.get("naive")):  # type: ignore[misc]
    """Naive with an answer of one's own."""

    answer: Any = None

    def predict(self, x: Any) -> Any:
        return self.answer(super().predict(x))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda values: values[:, :, :1], r"must predict \(182, 1, 3\) values, got \(182, 1, 1\)"),
        (lambda values: values[:-1], r"got \(181, 1, 3\)"),
        (lambda values: np.where(values == 0, np.nan, values), "must predict finite values, got 182 others"),
    ],
)
def test_impossible_answers_are_refused(
    answer: Any, said: str, specs: Specs, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Odd, "answer", staticmethod(answer))
    monkeypatch.setattr(families, "get", lambda name: _Odd)
    with pytest.raises(FitError, match=said):
        run_fit(specs["return_1d", FOLD], dataset, Control())


def inputs_of(family: str, spec: FitSpec, dataset: Dataset, **params: Any) -> Inputs:
    """The inputs of a family; its engine is not needed for them."""
    return Inputs.make(families.get(family), families.make_params(family, params), dataset, spec)


def test_rows_go_in_as_they_are(specs: Specs, dataset: Dataset) -> None:
    spec = specs["return_1w", FOLD]
    inputs = inputs_of("lightgbm", spec, dataset)
    data = inputs.training_data()
    train = known_by(dataset, spec.fold, "return_1w")
    np.testing.assert_array_equal(np.asarray(data.x), dataset.x[train])
    np.testing.assert_array_equal(data.y[:, 0], dataset.y("return_1w")[train])
    np.testing.assert_array_equal(data.date, dataset.date[train])
    np.testing.assert_array_equal(data.label_date, dataset.label_date("return_1w")[train])
    assert (data.weight == 1).all()


def test_windows_lie_in_one_series_behind_the_warm_up(specs: Specs, dataset: Dataset) -> None:
    spec, steps = specs["return_1w", FOLD], 20
    inputs = inputs_of("lstm", spec, dataset, window=steps)
    starts = np.array([0] * 500 + [500] * 400)
    behind = np.arange(900) - starts >= 9 + steps - 1
    expected = np.flatnonzero(behind & known_by(dataset, spec.fold, "return_1w"))
    np.testing.assert_array_equal(inputs.train, expected)
    assert inputs.training_data().x.shape == (len(expected), steps, 3)


@pytest.mark.parametrize(("family", "params"), [("lstm", {"window": 20}), ("mlp", {})])
def test_scaling_learns_from_training_rows_only(
    family: str, params: dict[str, Any], specs: Specs, dataset: Dataset
) -> None:
    spec = specs["return_1w", FOLD]
    inputs = inputs_of(family, spec, dataset, **params)
    later = dataset.date > spec.fold.cutoff
    x = np.where(later[:, None], np.float32(1000), dataset.x)
    y = np.where(later, np.float32(50), dataset.y("return_1w"))
    poisoned = Dataset(dataset.meta, dataset.arrays | {"x": x, "y-return_1w": y})
    other = inputs_of(family, spec, poisoned, **params)
    assert other.preparation.y_scale == inputs.preparation.y_scale
    assert other.samples(inputs.train)[:].tobytes() == inputs.samples(inputs.train)[:].tobytes()
    data = inputs.training_data()
    assert np.std(data.y) == pytest.approx(1, rel=1e-5)
    again = inputs.unscale(data.y[..., None], inputs.train)[:, 0, 0]
    np.testing.assert_allclose(again, dataset.y("return_1w")[inputs.train], rtol=1e-5)


@pytest.mark.parametrize(("family", "steps"), [("lstm", 20), ("mlp", 1)])
def test_scaled_inputs_are_those_of_a_scaled_table(family: str, steps: int, specs: Specs, dataset: Dataset) -> None:
    spec = specs["return_1w", FOLD]
    inputs = inputs_of(family, spec, dataset, **({"window": steps} if steps > 1 else {}))
    table = Preprocess.fit(dataset.x[inputs.train]).apply(dataset.x)
    for rows in (inputs.train, inputs.test):
        expected = table[rows[:, None] + np.arange(1 - steps, 1)] if steps > 1 else table[rows]
        assert inputs.samples(rows)[:].tobytes() == expected.tobytes()


def test_preprocessing_is_the_configured_one(specs: Specs, dataset: Dataset) -> None:
    spec = specs["return_1w", FOLD]
    changed = Dataset({**dataset.meta, "preprocess": {"scale": "minmax"}}, dataset.arrays)
    x = inputs_of("mlp", spec, changed).training_data().x[:]
    np.testing.assert_allclose((x.min(axis=0), x.max(axis=0)), ([0, 0, 0], [1, 1, 1]), atol=1e-6)
    trees = inputs_of("lightgbm", spec, changed)
    np.testing.assert_array_equal(trees.training_data().x[:], dataset.x[trees.train])


@pytest.mark.parametrize("family", ["lightgbm", "mlp"])
def test_a_category_that_begins_after_training_is_unseen(family: str, specs: Specs, dataset: Dataset) -> None:
    spec = specs["return_1w", FOLD]
    codes = np.where(dataset.date > spec.fold.cutoff, 2, dataset.date // 10**9 % 2)
    x = np.column_stack([dataset.x[:, :2], codes]).astype(np.float32)
    with_codes = Dataset({**dataset.meta, "categories": {"other_z_10": ["a", "b"]}}, dataset.arrays | {"x": x})
    inputs = inputs_of(family, spec, with_codes)
    np.testing.assert_array_equal(inputs.samples(inputs.train)[:][:, 2], codes[inputs.train])
    assert (inputs.samples(inputs.test)[:][:, 2] == 0).all()
    assert (codes[inputs.test] == 2).all()


WORKER = """
import sys, json
from pathlib import Path
import numpy as np, psutil
from raytrain import families
from raytrain.work.dataset import Dataset
from raytrain.work.inputs import Inputs
from raytrain.work.spec import FitSpec
dataset, spec = Dataset.open(Path(sys.argv[1])), FitSpec.from_dict(json.loads(sys.argv[2]))
before = psutil.Process().memory_full_info().uss
inputs = Inputs.make(families.get("lstm"), families.make_params("lstm", {"window": 20, "scale": "none"}), dataset, spec)
data = inputs.training_data()
for start in range(0, len(data.y), 256):
    data.x[np.arange(start, min(start + 256, len(data.y)))]
print(psutil.Process().memory_full_info().uss - before, len(data.y))
"""


def test_a_process_keeps_no_table_of_its_own(specs: Specs, dataset: Dataset, tmp_path: Path) -> None:
    """Every window of a table that another process has mapped, and memory for a part of it only."""
    wide = Dataset(
        {**dataset.meta, "features": [f"f{i}" for i in range(800)]},
        {name: np.tile(array, 40) for name, array in dataset.arrays.items() if name != "x"}
        | {
            "x": np.random.default_rng(0).standard_normal((40 * 900, 800), dtype=np.float32),
            "series": np.repeat(np.arange(80), 450),
        },
    )
    folder = wide.save(tmp_path)
    # Pages that only one process maps would count as its own.
    mapped = Dataset.open(folder)
    assert np.isfinite(mapped.x).all()
    spec = json.dumps(specs["return_1w", FOLD].to_dict())
    command = [sys.executable, "-c", WORKER, str(folder), spec]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    private, rows = (int(word) for word in done.stdout.split())
    assert rows > 20_000
    assert private < wide.x.nbytes / 2


def test_columns_of_quantiles() -> None:
    assert [quantile_column(level) for level in (0.1, 0.5, 0.025)] == ["q0.1", "q0.5", "q0.025"]

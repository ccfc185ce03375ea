"""What a gradient step takes, measured in this process; `tests/tuning/test_batch_process.py` has it die elsewhere."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.errors import FitError
from raytrain.folds import Fold
from raytrain.work.dataset import Dataset
from raytrain.work.plan import Plan
from raytrain.work.probe import Probe, StepClock, measure, short_params, thin_out

SMALL = {"num_hidden": 4, "window": 5, "num_epochs": 2}

MakePlan = Callable[..., Plan]
MakeProbe = Callable[..., Probe]


@pytest.fixture
def probe(plan: MakePlan, dataset: Dataset, tmp_path: Path) -> MakeProbe:
    """A probe of a net on the dataset."""

    def make(name: str, batch_size: int, params: dict[str, Any] | None = None, **rest: Any) -> Probe:
        settings = {"warm_up_steps": 1, "timed_steps": 3, "probe_s": 60.0, "memory_bytes": None, "machine_bytes": 2**34}
        spec = plan(name, params={name: params or {}}).fits[0].spec
        return Probe(spec=spec, dataset=dataset.save(tmp_path), batch_size=batch_size, **settings | rest)

    return make


def clock(times: list[float], warm_up: int = 1, timed: int = 3, max_s: float = 100.0) -> StepClock:
    ticks: Iterator[float] = iter(times)
    held: list[float] = []

    def now() -> float:
        held.append(next(ticks))
        return held[-1]

    return StepClock("cpu", warm_up=warm_up, timed=timed, max_s=max_s, now=now, wall=lambda: held[-1])


def test_the_first_steps_are_not_timed_and_the_median_counts() -> None:
    one = clock([9.0, 19.0, 20.0, 22.0, 72.0], warm_up=2)
    assert [one() for _ in range(5)] == [False] * 5
    assert one.step_s == 2.0


def test_a_fit_that_goes_on_by_itself_is_stopped() -> None:
    one = clock([0.0, 1.0, 2.0, 3.0, 13.0])
    assert [one() for _ in range(5)] == [False, False, False, False, True]
    assert one.step_s == 1.0


def test_time_ends_a_probe_once_a_step_is_timed() -> None:
    one = clock([0.0, 7.0, 14.0], warm_up=2, max_s=5.0)
    assert [one() for _ in range(3)] == [False, False, True]
    assert one.step_s == 7.0


def test_a_fit_of_too_few_steps_tells_nothing() -> None:
    one = clock([0.0])
    one()
    with pytest.raises(FitError, match="needs 2 gradient steps or more, got 1"):
        _ = one.step_s


def test_a_probe_survives_json(probe: MakeProbe) -> None:
    one = probe("gru", 16, hold_to_memory=True)
    assert Probe.from_json(one.to_json()) == one


def test_rows_are_thinned_out_evenly_and_the_table_stays(dataset: Dataset, folds: list[Fold], plan: MakePlan) -> None:
    spec = plan("naive").fits[0].spec
    thin = thin_out(dataset, spec, 40)
    assert thin.x is dataset.x
    chosen = np.flatnonzero(thin.weight)
    train = dataset.train_rows(spec.fold, *spec.target_names)
    assert len(chosen) == 40
    assert train[chosen].all()
    span = dataset.date[train].max() - dataset.date[train].min()
    assert np.diff(np.sort(dataset.date[chosen])).max() < span / 20
    assert thin_out(dataset, spec, 10_000) is dataset


def test_a_short_fit_differs_in_nothing_that_costs(probe: MakeProbe) -> None:
    spec = probe("patchtst", 8, {"size": "20m"}).spec
    before, after = json.loads(spec.params), json.loads(short_params(spec, 8, 5))
    assert {name for name in before if before[name] != after[name]} == {
        "batch_size",
        "max_steps",
        "num_epochs",
        "patience",
    }
    assert (after["batch_size"], after["max_steps"]) == (8, 5)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["gru", "patchtst", "tab_cnn"])
def test_a_torch_net_is_measured(probe: MakeProbe, name: str) -> None:
    params = (
        SMALL if name == "gru" else {"window": 6, "patch_length": 2, "patch_stride": 2} if name == "patchtst" else {}
    )
    one = measure(probe(name, 16, params))
    assert (one.batch_size, one.status) == (16, "ok")
    assert one.samples_per_s is not None and one.step_s is not None
    assert one.samples_per_s == pytest.approx(16 / one.step_s)
    assert one.memory_bytes == 2**34
    assert one.peak_memory_bytes is not None and 0 < one.peak_memory_bytes < 2**34


@pytest.mark.torch
def test_a_net_of_lightning_is_measured(probe: MakeProbe) -> None:
    one = measure(probe("tft", 8, {"window": 6, "num_ahead": 2, "num_hidden": 4, "num_heads": 1}))
    assert one.status == "ok" and one.samples_per_s


@pytest.mark.keras
@pytest.mark.parametrize("name", ["mlp", "gan"])
def test_a_keras_net_is_measured(probe: MakeProbe, name: str) -> None:
    one = measure(probe(name, 32))
    assert one.status == "ok" and one.samples_per_s


@pytest.mark.torch
def test_a_larger_batch_takes_longer_a_step(probe: MakeProbe) -> None:
    params = {"num_hidden": 256, "window": 8}
    small, large = (measure(probe("gru", size, params, timed_steps=5)) for size in (1, 256))
    assert small.step_s is not None and large.step_s is not None
    assert large.step_s > small.step_s


@pytest.mark.torch
def test_one_model_for_each_series_is_measured_too(probe: MakeProbe) -> None:
    one = measure(probe("gru", 8, {**SMALL, "scope": "series"}))
    assert one.status == "ok" and one.samples_per_s


@pytest.mark.torch
def test_memory_that_was_told_is_what_there_is(probe: MakeProbe) -> None:
    assert measure(probe("gru", 8, SMALL, memory_bytes=2**32)).memory_bytes == 2**32

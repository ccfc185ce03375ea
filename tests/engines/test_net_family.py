"""What a family of nets adds to the training: a calibrated probability, and files."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.engines.epochs import NetParams, NetShape
from raytrain.engines.net_family import NetFamily
from raytrain.engines.training import log_loss, teaching_rows

pytestmark = pytest.mark.torch

BINARY = FitContext(task="binary")


class Sure(NetFamily[NetParams]):
    """A net with one weight that learning takes far too far."""

    name = "sure"
    engine = "torch"
    lane = "cores"
    params_type = NetParams

    @classmethod
    def needs(cls, params: NetParams, shape: Any) -> Any:
        raise NotImplementedError

    def build(self, shape: NetShape) -> Any:
        import torch

        net = torch.nn.Sequential(torch.nn.Linear(shape.num_features, 1, bias=False), torch.nn.Unflatten(1, (1, 1)))
        torch.nn.init.constant_(net[0].weight, 5.0)
        return net


def labels(data: FitData) -> FitData:
    """Whether the sum of a row's features and much noise is positive."""
    total = data.x.sum(axis=1, keepdims=True) + 3 * np.random.default_rng(1).standard_normal((len(data.y), 1))
    return replace(data, y=(total > 0).astype(np.float32))


def fit(data: FitData, context: FitContext = BINARY, **params: float) -> Sure:
    return Sure(NetParams(**{"num_epochs": 1, "learning_rate": 1e-6, "valid_share": 0.4} | params)).fit(data, context)


def test_a_probability_is_calibrated_on_the_rows_kept_aside(rows: Callable[..., FitData]) -> None:
    data = labels(rows(dates=400))
    model = fit(data)
    tail = teaching_rows(data, BINARY, model.tasks, 0.4).tail
    calibrated, claimed = model.predict(data.x[tail]), model._forward(data.x[tail])
    assert calibrated.mean() == pytest.approx(data.y[tail].mean(), abs=0.01)
    assert log_loss(data.y[tail], calibrated[..., 0]).mean() < 0.5 * log_loss(data.y[tail], claimed[..., 0]).mean()


def test_without_rows_aside_the_net_speaks_for_itself(rows: Callable[..., FitData]) -> None:
    data = labels(rows())
    model = fit(data, valid_share=0)
    assert np.array_equal(model.predict(data.x), model._forward(np.resize(data.x, (256, 4)))[: len(data.x)])


def test_calibration_travels_with_the_net(rows: Callable[..., FitData], tmp_path: Path) -> None:
    data = labels(rows())
    model = fit(data)
    model.save(tmp_path)
    assert len(json.loads((tmp_path / "params.json").read_text())["state"]["calibration"]["slopes"]) == 1
    assert np.array_equal(Sure.load(tmp_path).predict(data.x), model.predict(data.x))


def test_quantiles_are_left_as_they_are(rows: Callable[..., FitData], tmp_path: Path) -> None:
    data = rows()
    model = fit(data, FitContext())
    model.save(tmp_path)
    assert json.loads((tmp_path / "params.json").read_text())["state"]["calibration"] is None
    assert np.array_equal(Sure.load(tmp_path).predict(data.x), model.predict(data.x))


def test_a_family_is_told_of_the_codes(rows: Callable[..., FitData], tmp_path: Path) -> None:
    data = rows()
    data.x[:, 2] = np.arange(len(data.y)) % 4
    model = fit(data, FitContext(categorical=(2,)))
    model.save(tmp_path)
    assert Sure.load(tmp_path)._shape.categories == model._shape.categories == ((2, 4),)

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain import families
from raytrain.engines.base import FitContext, FitData, Shape
from raytrain.errors import ConfigError
from raytrain.families.tft import TFT, TFTParams
from raytrain.features.history import Ahead, History, PricePath
from raytrain.features.windows import Windows

DAY = 86_400 * 10**9
ROWS, HORIZON = 150, 3
CONTEXT = FitContext(quantiles=(0.1, 0.5, 0.9), horizons=(1, HORIZON), known=(1,), categorical=(2,))
QUICK = TFTParams(window=6, num_hidden=8, num_heads=2, num_continuous=4, batch_size=32, num_epochs=1)


def make_data(change: Callable[[dict[str, np.ndarray]], None] = lambda parts: None) -> FitData:
    """Two series: a feature, one known in advance, and a code; `change` may alter what they are made of."""
    rng = np.random.default_rng(0)
    total = 2 * ROWS
    parts = {
        "table": rng.standard_normal((total, 3)).astype(np.float32),
        "future": rng.standard_normal((total + 2 * HORIZON, 1)).astype(np.float32),
        "change": rng.standard_normal(total),
    }
    parts["table"][:, 2] = rng.integers(1, 4, total)
    at = np.arange(total) + HORIZON * (np.arange(total) >= ROWS)
    parts["future"][at] = parts["table"][:, [1]]
    change(parts)
    unknown, series = np.full(total, np.nan), np.repeat(np.arange(2, dtype=np.int32), ROWS)
    day = np.tile(np.arange(ROWS), 2)
    rows = np.flatnonzero((day >= QUICK.window) & (day < ROWS - HORIZON))
    after = [parts["change"][rows + lag] for lag in range(1, HORIZON + 1)]
    return FitData(
        x=History(
            Windows(parts["table"], rows, QUICK.window),
            PricePath(parts["change"], unknown, unknown, series),
            Ahead(parts["future"], at),
        ),
        y=np.stack([after[0], sum(after)], axis=1).astype(np.float32),
        weight=np.ones(len(rows), dtype=np.float32),
        date=day[rows] * DAY,
        label_date=(day[rows] + HORIZON) * DAY,
        series=series[rows],
    )


@pytest.fixture(scope="module")
def model() -> Any:
    return TFT(QUICK).fit(make_data(), CONTEXT)


def test_the_window_is_the_look_back() -> None:
    assert TFT.steps(TFTParams(window=17)) == 17


def test_the_defaults_are_those_that_its_users_run() -> None:
    params = TFTParams()
    assert (params.window, params.num_ahead, params.num_hidden, params.num_heads) == (60, 20, 64, 4)
    assert (params.dropout, params.learning_rate, params.num_epochs, params.clip_norm) == (0.15, 3e-4, 50, 0.5)
    assert (params.patience, params.plateau_patience) == (5, 3)


def test_more_heads_than_hidden_units_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"num_heads must be at most num_hidden \(4\), got 5"):
        families.make_params("tft", {"num_hidden": 4, "num_heads": 5})


@pytest.mark.parametrize("more", [{"window": 90}, {"num_hidden": 128}, {"batch_size": 128}, {"num_continuous": 64}])
def test_a_longer_window_a_wider_net_or_a_larger_batch_need_more(more: dict[str, int]) -> None:
    shape = Shape(rows=5_000, features=40, steps=60, quantiles=3)
    small, large = (TFT.needs(TFTParams(**{"max_steps": 50} | given), shape) for given in ({}, more))
    assert large.work > small.work
    assert large.memory_bytes > small.memory_bytes


@pytest.mark.torch
def test_it_is_the_one_of_pytorch_forecasting(model: Any) -> None:
    from pytorch_forecasting import TemporalFusionTransformer

    tft = model._net.tft
    assert isinstance(tft, TemporalFusionTransformer)
    assert (tft.hparams.hidden_size, tft.hparams.attention_head_size, tft.hparams.max_encoder_length) == (8, 2, 6)
    # Features, the change over each horizon, the time; the code in the past, and which series it is.
    assert tft.encoder_variables == ["column_2", *(f"column_{column}" for column in (0, 1, 3, 4, 5))]
    assert tft.decoder_variables == ["column_1", "column_5"]
    assert tft.static_variables == ["column_6"]


@pytest.mark.torch
def test_it_predicts_each_horizon(model: Any) -> None:
    x = make_data().x
    assert model.predict(x).shape == (len(x), 2, 3)


@pytest.mark.torch
def test_it_reads_the_path_and_what_is_known_but_nothing_else_that_comes_later(model: Any) -> None:
    end = int(make_data().x.ends[50])

    def predicted(change: Callable[[dict[str, np.ndarray]], None]) -> np.ndarray:
        return model.predict(make_data(change).x)[50]

    def poison(parts: dict[str, np.ndarray]) -> None:
        parts["table"][end + 1 : ROWS] = 9
        parts["change"][end + 1 : ROWS] = 1e6
        parts["future"][end + 1 + HORIZON : ROWS] = 9

    def later_calendar(parts: dict[str, np.ndarray]) -> None:
        parts["future"][end + HORIZON] = 9

    def earlier_change(parts: dict[str, np.ndarray]) -> None:
        parts["change"][end - 4] += 1

    before = predicted(lambda parts: None)
    assert np.array_equal(predicted(poison), before)
    assert np.array_equal(predicted(later_calendar)[0], before[0])
    assert not np.array_equal(predicted(later_calendar)[1], before[1])
    assert not np.array_equal(predicted(earlier_change), before)


@pytest.mark.torch
def test_a_later_path_does_not_change_what_is_learned(model: Any) -> None:
    """The path holds later rows than those of the fit: the test block, and what follows it."""
    data = make_data()
    rows = np.flatnonzero(data.date < 100 * DAY)

    def early(change: Callable[[dict[str, np.ndarray]], None]) -> Any:
        part = make_data(change)
        windows = replace(part.x.windows, ends=part.x.ends[rows])
        kept = {name: getattr(part, name)[rows] for name in ("y", "weight", "date", "label_date", "series")}
        return TFT(QUICK).fit(FitData(x=replace(part.x, windows=windows), **kept), CONTEXT)

    def poison(parts: dict[str, np.ndarray]) -> None:
        for stop in (ROWS, 2 * ROWS):
            parts["change"][stop - ROWS + 100 + HORIZON : stop] = 1e6

    assert np.array_equal(early(poison).predict(data.x)[:40], early(lambda parts: None).predict(data.x)[:40])


def plant(data: FitData) -> FitData:
    """The far target follows the last row, the path and the calendar ahead, a third each, and a small noise."""
    x, rows = data.x, np.arange(len(data.y))
    changes = x.path.change[x.ends]
    middle = x[rows][:, -1, 0] + changes + x.ahead(rows, HORIZON, CONTEXT.known)[:, -1, 0]
    noise = np.random.default_rng(1).standard_normal(len(rows))
    return replace(data, y=np.stack([changes, middle + 0.1 * noise], axis=1).astype(np.float32))


LEARNS = QUICK.model_copy(update={"num_epochs": 16, "batch_size": 16, "learning_rate": 0.02, "dropout": 0.0})


@pytest.mark.torch
def test_it_learns_from_the_past_the_path_and_the_calendar_ahead() -> None:
    data, levels = plant(make_data()), np.array(CONTEXT.quantiles)
    predicted, y = TFT(LEARNS).fit(data, CONTEXT).predict(data.x)[:, 1], data.y[:, 1:]
    loss, naive = (
        np.maximum(levels * (y - guess), (levels - 1) * (y - guess)).mean()
        for guess in (predicted, np.quantile(y, levels)[None])
    )
    assert loss < 0.5 * naive  # two of the three would leave 0.58


@pytest.mark.torch
def test_it_learns_labels() -> None:
    data = plant(make_data())
    labels = replace(data, y=(data.y > 0).astype(np.float32))
    probability = TFT(LEARNS).fit(labels, replace(CONTEXT, task="binary")).predict(data.x)
    assert probability.shape == (len(data.y), 2, 1)
    assert ((probability[:, 1] - labels.y[:, 1:]) ** 2).mean() < 0.6 * labels.y[:, 1].var()


@pytest.mark.torch
def test_a_saved_model_knows_its_layout(model: Any, tmp_path: Path) -> None:
    x = make_data().x
    model.save(tmp_path)
    assert np.array_equal(TFT.load(tmp_path).predict(x), model.predict(x))

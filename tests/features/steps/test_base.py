"""Look-backs are honest, fields are checked, and what begins late is unknown before."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from raytrain.data import Frame
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.steps import Step

FINITE: dict[str, dict[str, Any]] = {
    "as_is": {"columns": ["close"]},
    "lag": {"rows": [1, 7]},
    "log_return": {"rows": [1, 7]},
    "difference": {"rows": [1, 7]},
    "spread": {"left": "close", "right": "open", "zscore_rows": [4, 8]},
    "correlation": {"pairs": [["close", "open"]], "rows": [8, 9]},
    "rolling_mean": {"rows": [5, 8]},
    "rolling_std": {"rows": [5, 8]},
    "zscore": {"rows": [5, 8]},
    "bollinger": {"rows": [5, 8]},
    "volatility": {"rows": [5, 8]},
    "realised_volatility": {"rows": [5, 8]},
    "calendar": {},
    "regime": {"column": "mood", "categories": ["wild", "calm", "odd"]},
}
RECURSIVE: dict[str, dict[str, Any]] = {
    "ewma_volatility": {"half_life": [4, 9]},
    "garch": {"min_rows": 110},
    "atr": {"rows": 9},
    "rsi": {"rows": 9},
    "macd": {"fast": 3, "slow": 7, "signal": 4},
}
SAYS_NOTHING_OF_THE_PRICE = ("calendar", "regime")


def test_every_step_is_looked_at(examples: dict[str, Any]) -> None:
    assert {*FINITE, *RECURSIVE, "days_to"} == set(examples)


@pytest.mark.parametrize("name", [name for name in FINITE if name not in SAYS_NOTHING_OF_THE_PRICE])
def test_the_look_back_is_enough_and_not_too_much(
    name: str, step: Callable[..., Step], table: pl.DataFrame, as_frame: Callable[[pl.DataFrame], Frame]
) -> None:
    """Other values before a row's look-back leave it as it is; one more row reaches it."""
    one, row = step(step=name, **FINITE[name]), 100
    config, series = FeaturesConfig(steps=(one,)), table.filter(series_id="A")

    def features_of_row(poisoned: int) -> np.ndarray:
        position = pl.int_range(pl.len())
        noise = 500 + 100 * (position % 3)
        poison = series.with_columns(close=pl.when(position < poisoned).then(noise).otherwise("close"))
        return build(as_frame(poison), config).x[row]

    clean, first_needed = features_of_row(0), row - one.lookback
    np.testing.assert_allclose(features_of_row(first_needed), clean, rtol=1e-6)
    assert not np.allclose(features_of_row(first_needed + 1), clean, rtol=1e-6)


@pytest.mark.parametrize("name", [*FINITE, *RECURSIVE])
def test_values_exist_from_the_look_back_on(
    name: str, step: Callable[..., Step], frame: Frame, parts: list[pl.DataFrame]
) -> None:
    one = step(step=name, **(FINITE | RECURSIVE)[name])
    found = build(frame, FeaturesConfig(steps=(one,)))
    rows = found.usable & frame.table["mood"].is_not_null().to_numpy() if name == "regime" else found.usable
    assert not np.isnan(found.x[rows]).any()
    expected = np.concatenate([np.arange(part.height) >= one.lookback for part in parts])
    np.testing.assert_array_equal(found.usable, expected)


@pytest.mark.parametrize("name", RECURSIVE)
def test_a_recursive_average_has_no_value_before_its_look_back(
    name: str, step: Callable[..., Step], frame: Frame
) -> None:
    one = step(step=name, **RECURSIVE[name])
    found = build(frame, FeaturesConfig(steps=(one,)))
    assert np.isnan(found.x[~found.usable]).any(axis=1).all()


def test_a_column_that_begins_late_is_unknown_before(one_series: Callable[..., Frame]) -> None:
    """As VIX beside S&P 500: what is not known yet is NaN, never a neutral-looking number."""
    rng = np.random.default_rng(4)
    late = np.where(np.arange(61) < 30, np.nan, 20 + rng.normal(size=61))
    steps = [
        {"step": "rsi", "columns": ["vix"], "rows": 5},
        {"step": "macd", "columns": ["vix"], "fast": 2, "slow": 4, "signal": 3},
        {"step": "zscore", "columns": ["vix"], "rows": [5]},
        {"step": "bollinger", "columns": ["vix"], "rows": [5]},
        {"step": "volatility", "columns": ["vix"], "rows": [5]},
        {"step": "ewma_volatility", "columns": ["vix"], "half_life": [5]},
        {"step": "difference", "columns": ["vix"], "rows": [1]},
        {"step": "spread", "left": "vix", "right": "close"},
        {"step": "as_is", "columns": ["vix"]},
    ]
    x = build(one_series(vix=late), FeaturesConfig.model_validate({"steps": steps})).x
    first_known = (~np.isnan(x)).argmax(axis=0)
    assert first_known.tolist() == [35, 33, 35, 35, 33, 33, 34, 35, 31, 30, 30]


@pytest.mark.parametrize(
    "fields",
    [
        {"step": "lag", "rows": ()},
        {"step": "lag", "rows": (0,)},
        {"step": "log_return", "rows": (-1,)},
        {"step": "volatility", "rows": (1,)},
        {"step": "zscore", "rows": (1,)},
        {"step": "zscore", "rows": ()},
        {"step": "rsi", "rows": 1},
        {"step": "lagg", "rows": (1,)},
        {"step": "lag"},
        {"step": "calendar", "rows": (1,)},
        {"step": "calendar", "columns": ("close",)},
        {"step": "calendar", "extra": ("moon",)},
        {"step": "macd", "fast": 26, "slow": 26},
        {"step": "spread", "left": "close", "right": "close"},
        {"step": "spread", "left": "close", "right": "open", "zscore_rows": (1,)},
        {"step": "bollinger", "rows": (5,), "deviations": 0},
        {"step": "garch", "min_rows": 50},
        {"step": "garch", "refit": "1d"},
        {"step": "regime", "column": "mood", "categories": ()},
        {"step": "days_to"},
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any], step: Callable[..., Step]) -> None:
    with pytest.raises(ValidationError):
        step(**fields)

"""The feature table: its form, its refusals, and that no value looks ahead or into another series."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.data import Frame
from raytrain.errors import ConfigError, DataError
from raytrain.features.build import FeaturesConfig, build

AsFrame = Callable[..., Frame]
EVERY_STEP = FeaturesConfig.model_validate(
    {
        "steps": [
            {"step": "as_is", "columns": ["other"]},
            {"step": "lag", "columns": ["close", "other"], "rows": [1, 3]},
            {"step": "log_return", "rows": [1, 5]},
            {"step": "difference", "columns": ["other"], "rows": [1, 5]},
            {"step": "volatility", "rows": [5, 10]},
            {"step": "zscore", "columns": ["close", "other"], "rows": [5, 10]},
            {"step": "rsi", "rows": 6},
            {"step": "calendar"},
        ]
    }
)


def steps(*fields: dict[str, Any]) -> FeaturesConfig:
    return FeaturesConfig.model_validate({"steps": fields})


def test_the_form_of_the_table(frame: Frame) -> None:
    found = build(frame, EVERY_STEP)
    assert found.x.shape == (280, len(found.names))
    assert (found.x.dtype, found.usable.dtype) == (np.float32, np.bool_)
    assert found.x.flags.c_contiguous
    assert found.names[:5] == ("other", "close_lag_1", "close_lag_3", "other_lag_1", "other_lag_3")
    np.testing.assert_array_equal(found.usable, np.r_[np.arange(160) >= 10, np.arange(120) >= 10])


def test_the_default_steps_fit_any_frame(frame: Frame) -> None:
    found = build(frame, FeaturesConfig())
    assert found.usable.sum() == (160 - 63) + (120 - 63)
    assert not np.isnan(found.x[found.usable]).any()


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 158), seed=st.integers(0, 2**31))
def test_no_value_looks_ahead(cut: int, seed: int, table: pl.DataFrame, as_frame: AsFrame) -> None:
    """Noise in the place of everything after a date changes no bit before it; so does the end of the table."""
    dates = table["date"].unique().sort()
    future, noise = pl.col("date") > dates[cut], pl.Series(np.random.default_rng(seed).uniform(1, 900, table.height))
    poisoned = table.with_columns(
        pl.when(future).then(noise).otherwise(pl.col(name)).alias(name) for name in ("close", "high", "other")
    )
    past = (table["date"] <= dates[cut]).to_numpy()
    expected = build(as_frame(table), EVERY_STEP).x[past]
    assert build(as_frame(poisoned), EVERY_STEP).x[past].tobytes() == expected.tobytes()
    assert build(as_frame(table.filter(~future)), EVERY_STEP).x.tobytes() == expected.tobytes()


def test_series_do_not_leak_into_each_other(table: pl.DataFrame, as_frame: AsFrame) -> None:
    alone = build(as_frame(table.filter(series_id="B")), EVERY_STEP)
    both = build(as_frame(table), EVERY_STEP)
    assert both.x[160:].tobytes() == alone.x.tobytes()
    np.testing.assert_array_equal(both.usable[160:], alone.usable)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            steps({"step": "lag", "columns": ["othr"], "rows": [1]}),
            "step `lag` must name numeric columns, got `othr`; did you mean `other`?",
        ),
        (steps({"step": "as_is", "columns": ["series_id"]}), "got `series_id`"),
        (
            steps({"step": "lag", "rows": [1, 2]}, {"step": "lag", "columns": ["close"], "rows": [2]}),
            "each feature may be made once, got close_lag_2 twice in features.steps",
        ),
        (steps({"step": "rsi", "rows": 5}, {"step": "rsi", "rows": 5}), "got close_rsi_5 twice"),
        (steps(), "at least one feature, got none"),
    ],
)
def test_wrong_steps_are_refused(config: FeaturesConfig, said: str, frame: Frame) -> None:
    with pytest.raises(ConfigError) as error:
        build(frame, config)
    assert said in str(error.value)


@pytest.mark.parametrize("step", ["log_return", "volatility"])
@pytest.mark.parametrize("value", [0.0, -2.5])
def test_logarithms_need_values_above_zero(step: str, value: float, table: pl.DataFrame, as_frame: AsFrame) -> None:
    bad = table.with_columns(other=pl.when(pl.int_range(pl.len()) == 7).then(value).otherwise("other"))
    with pytest.raises(DataError) as error:
        build(as_frame(bad), steps({"step": step, "columns": ["other"], "rows": [5]}))
    message = str(error.value)
    assert f"step `{step}` takes logarithms and needs values above 0, got {value} in `other` for A" in message
    assert "on 2020-01-08 00:00:00 (1 such rows); use step `difference`" in message


@pytest.mark.parametrize("value", [float("inf"), 1e300])
def test_infinity_is_refused(value: float, table: pl.DataFrame, as_frame: AsFrame) -> None:
    bad = table.with_columns(other=pl.when(pl.int_range(pl.len()) == 7).then(value).otherwise("other"))
    with pytest.raises(DataError, match="finite or unknown, got infinity in `other`; mend the column"):
        build(as_frame(bad), steps({"step": "as_is", "columns": ["other"]}))


def test_a_series_shorter_than_the_look_back_has_no_usable_row(table: pl.DataFrame, as_frame: AsFrame) -> None:
    short = as_frame(table.group_by("series_id", maintain_order=True).head(40))
    assert not build(short, FeaturesConfig()).usable.any()

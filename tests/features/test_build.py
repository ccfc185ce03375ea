"""The feature table: its form, its refusals, and that no value looks ahead or into another series."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.data import Frame
from raytrain.errors import ConfigError, DataError
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.steps import AnyStep

AsFrame = Callable[..., Frame]
OBSERVED = {"close": 1.0, "high": 1.1, "low": 0.9, "open": 1.05, "other": 1.0}
"""What becomes noise, and how the noise of one column stands to that of another."""


def steps(*fields: dict[str, Any]) -> FeaturesConfig:
    return FeaturesConfig.model_validate({"steps": fields})


def test_the_form_of_the_table(frame: Frame) -> None:
    found = build(frame, steps({"step": "lag", "columns": ["close", "other"], "rows": [1, 3]}, {"step": "calendar"}))
    assert found.x.shape == (280, len(found.names))
    assert (found.x.dtype, found.usable.dtype) == (np.float32, np.bool_)
    assert found.x.flags.c_contiguous
    assert found.names == ("close_lag_1", "close_lag_3", "other_lag_1", "other_lag_3", "dow", "dom", "moy")
    np.testing.assert_array_equal(found.usable, np.r_[np.arange(160) >= 3, np.arange(120) >= 3])


def test_there_is_an_example_of_every_step(examples: dict[str, Any]) -> None:
    """What is shown below of every step is shown of each new one too."""
    union = get_args(get_args(AnyStep)[0])
    assert set(examples) == {get_args(step.model_fields["step"].annotation)[0] for step in union}


def test_the_default_steps_fit_any_frame(frame: Frame) -> None:
    found = build(frame, FeaturesConfig())
    assert found.usable.sum() == (160 - 63) + (120 - 63)
    assert not np.isnan(found.x[found.usable]).any()


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, 158), seed=st.integers(0, 2**31))
def test_no_value_looks_ahead(
    cut: int, seed: int, table: pl.DataFrame, as_frame: AsFrame, every_step: FeaturesConfig
) -> None:
    """Noise in the place of everything after a date changes no bit before it; so does the end of the table."""
    dates = table["date"].unique().sort()
    future, noise = pl.col("date") > dates[cut], pl.Series(np.random.default_rng(seed).uniform(1, 900, table.height))
    poisoned = table.with_columns(
        *(pl.when(future).then(noise * share).otherwise(name).alias(name) for name, share in OBSERVED.items()),
        pl.when(future).then(pl.lit("new")).otherwise("mood").alias("mood"),
    )
    past = (table["date"] <= dates[cut]).to_numpy()
    expected = build(as_frame(table), every_step).x[past]
    assert build(as_frame(poisoned), every_step).x[past].tobytes() == expected.tobytes()
    assert build(as_frame(table.filter(~future)), every_step).x.tobytes() == expected.tobytes()


def test_series_do_not_leak_into_each_other(table: pl.DataFrame, as_frame: AsFrame, every_step: FeaturesConfig) -> None:
    """Only the codes of categories are shared."""
    alone = build(as_frame(table.filter(series_id="B")), every_step)
    both = build(as_frame(table), every_step)
    assert both.names == alone.names
    assert both.x[160:, :-1].tobytes() == alone.x[:, :-1].tobytes()
    np.testing.assert_array_equal(both.usable[160:], alone.usable)


def test_features_made_of_known_columns_are_known(frame: Frame) -> None:
    config = {
        "steps": [
            {"step": "lag", "columns": ["event"], "rows": [1]},
            {"step": "spread", "left": "close", "right": "event"},
            {"step": "calendar"},
            {"step": "days_to", "column": "event"},
            {"step": "regime", "column": "mood", "categories": ["wild"]},
        ],
        "categorical": ["mood"],
    }

    def known(*names: str) -> set[str]:
        found = build(frame, FeaturesConfig.model_validate(config | {"known": names}))
        return {found.names[index] for index in found.known}

    assert known("event") == {"event_lag_1", "days_to_event"}
    assert known("event", "calendar") == {"event_lag_1", "dow", "dom", "moy", "days_to_event"}
    assert known("event", "mood") == {"event_lag_1", "days_to_event", "mood_is_wild", "mood"}


def test_the_calendar_is_known_when_nothing_is_said(frame: Frame) -> None:
    found = build(frame, FeaturesConfig())
    assert [found.names[index] for index in found.known] == ["dow", "dom", "moy"]


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (["evnt"], "features.known must name columns, got `evnt`; did you mean `event`?"),
        (["close"], "features.known must not name a price, got `close`"),
        (["calendar"], "step `days_to` reads ahead and may do so only for columns known in advance, got event"),
    ],
)
def test_what_is_not_known_in_advance_is_refused(known: list[str], said: str, frame: Frame) -> None:
    config = FeaturesConfig.model_validate({"steps": [{"step": "days_to", "column": "event"}], "known": known})
    with pytest.raises(ConfigError) as error:
        build(frame, config)
    assert said in str(error.value)


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
        (steps({"step": "lag", "columns": ["other", "other"], "rows": [2]}), "got other_lag_2 twice"),
        (steps({"step": "lag", "columns": ["other"], "rows": [2, 2]}), "got other_lag_2 twice"),
        (steps(), "at least one feature, got none"),
        (steps({"step": "spread", "left": "close", "right": "othr"}), "got `othr`; did you mean `other`?"),
        (steps({"step": "atr", "low": "lo"}), "got `lo`"),
        (steps({"step": "regime", "column": "mod", "categories": ["a"]}), "got `mod`; did you mean `mood`?"),
        (FeaturesConfig(categorical=("modd",)), "features.categorical must name a column of the frame, got `modd`"),
        (FeaturesConfig(categorical=("date",)), "got `date`"),
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

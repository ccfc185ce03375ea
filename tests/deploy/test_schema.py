"""A schema tells a stranger what to send and what comes back."""

from typing import Any

import pytest

from raytrain.data import DataConfig
from raytrain.deploy.bundle import Bundle
from raytrain.deploy.schema import Schema, rows_read
from raytrain.features.build import FeaturesConfig


def test_columns_and_what_they_may_hold(world: Any) -> None:
    schema = Bundle.read(world.made("har")).schema
    told = {one.name: (one.kind, one.may_be_unknown, one.known_ahead) for one in schema.columns}
    assert told == {
        "date": ("date", False, False),
        "series_id": ("series", False, False),
        "close": ("number", False, False),
        "high": ("number", False, False),
        "low": ("number", True, False),
        "other": ("number", True, False),
        "regime": ("category", True, False),
    }
    (regime,) = [one for one in schema.columns if one.name == "regime"]
    assert sorted(regime.categories) == ["calm", "odd", "wild"]
    assert schema.series == ("A", "B")


def test_outputs_and_units(world: Any) -> None:
    schema = Bundle.read(world.made("har")).schema
    (output,) = schema.outputs
    assert (output.target, output.horizon, schema.levels) == ("return_1w", 5, ("q0.1", "q0.5", "q0.9"))
    assert output.unit == "log return over 5 rows; price_* are price levels"
    threshold = Bundle.read(world.made("naive", "threshold_1w")).schema
    assert threshold.is_probability
    assert "next 5 rows reaches +0.02 of the price" in threshold.outputs[0].unit


def test_a_window_adds_to_the_look_back(world: Any) -> None:
    features = Bundle.read(world.made("har")).features
    lookback = max(step.lookback for step in features.steps)
    assert rows_read(world.fitted("naive"), features) == lookback + 1
    gru = next(one for one in world._plan(("gru",), 42, {}) if one.family == "gru")
    assert rows_read(gru, features) == lookback + 10


@pytest.mark.parametrize(("steps", "advised"), [([{"step": "log_return", "rows": [3]}], 4), ([{"step": "rsi"}], 1250)])
def test_more_rows_are_advised_where_something_fades(world: Any, steps: list[Any], advised: int) -> None:
    features = FeaturesConfig.model_validate({"steps": steps})
    spec = world.fitted("naive")
    schema = Schema.of(spec, world.dataset, DataConfig(kind="parquet"), features, rows_read(spec, features))
    assert schema.advised_rows == advised


def test_a_column_of_two_uses_is_told_once(world: Any) -> None:
    features = FeaturesConfig.model_validate(
        {
            "steps": [
                {"step": "as_is", "columns": ["low", "flag"]},
                {"step": "regime", "column": "state", "categories": ["up"]},
            ],
            "categorical": ["flag"],
            "known": ["calendar", "flag"],
        }
    )
    schema = Schema.of(world.fitted("naive"), world.dataset, DataConfig(high="high", low="low"), features, 1)
    told = {one.name: (one.kind, one.known_ahead) for one in schema.columns}
    assert list(told) == ["date", "series_id", "close", "high", "low", "flag", "state"]
    assert told["flag"] == ("number", True)
    assert told["state"] == ("category", False)

"""The path of prices beside the features, and the calendar ahead of the newest row."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from raytrain.data import DataConfig, Frame
from raytrain.data.diagnostics import DiagnosticsConfig
from raytrain.data.frame import make_frame
from raytrain.errors import ConfigError, DataError
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.diagnostics import diagnose
from raytrain.features.market import known_ahead, next_dates, price_path
from raytrain.features.weights import WeightsConfig, regime_weights, weight_shares
from raytrain.report.page import render_check

FEATURES = FeaturesConfig.model_validate(
    {
        "steps": [{"step": "log_return", "rows": [1]}, {"step": "as_is", "columns": ["event"]}, {"step": "calendar"}],
        "known": ["calendar", "event"],
    }
)


def days(count: int, first: datetime = datetime(2024, 1, 1)) -> list[datetime]:
    """Days from Monday to Friday."""
    every = (first + timedelta(days=number) for number in range(2 * count + 7))
    return [day for day in every if day.weekday() < 5][:count]


def table(rows: int = 30) -> pl.DataFrame:
    close = 10.0 + np.arange(rows)
    return pl.concat(
        pl.DataFrame(
            {
                "series_id": name,
                "date": days(rows),
                "close": factor * close,
                "high": factor * close * 1.01,
                "low": [None, *(factor * close[1:] * 0.98)],
                "vix": 16.0,
                "event": np.arange(rows) % 7 == 0,
                "regime": ["calm" if number % 3 else "wild" for number in range(rows)],
            }
        ).with_columns(pl.col("event").cast(pl.Float64))
        for name, factor in (("A", 1.0), ("B", 5.0))
    )


def frame(**config: object) -> Frame:
    return make_frame(table(), DataConfig(kind="demo", **config), "a test", "A")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "change", "spread"),
    [
        ("log", np.log(11 / 10), np.log(1.01 / 0.98)),
        ("simple", 0.1, 1.01 / 0.98 - 1),
        ("difference", 1.0, 11 * 1.01 - 11 * 0.98),
    ],
)
def test_the_path_is_in_the_unit_of_the_target(method: str, change: float, spread: float) -> None:
    path = price_path(frame(high="high", low="low", volatility_index="vix"), method)  # type: ignore[arg-type]
    assert np.isnan(path.change[[0, 30]]).all()
    assert path.change[1] == pytest.approx(change)
    assert np.isnan(path.range[0])
    assert path.range[1] == pytest.approx(spread)
    daily = 0.16 / np.sqrt(252)
    assert path.implied[1] == pytest.approx(11 * daily if method == "difference" else daily)
    assert path.series.tolist() == [0] * 30 + [1] * 30
    assert path.starts().tolist() == [0] * 30 + [30] * 30


def test_what_nobody_names_is_unknown() -> None:
    path = price_path(frame(), "log")
    assert np.isnan(path.range).all()
    assert np.isnan(path.implied).all()


def test_a_low_above_the_high_is_refused() -> None:
    wrong = table().with_columns(low=pl.col("high") + 1)
    with pytest.raises(DataError, match=r"the lowest price must not lie above `high`, got .* for A on 2024-01-01"):
        make_frame(wrong, DataConfig(kind="demo", high="high", low="low"), "a test", "A")


def test_a_low_needs_a_high() -> None:
    with pytest.raises(ValueError, match=r"`low` .low. needs `high`"):
        DataConfig(kind="demo", low="low")


def test_the_calendar_goes_on_beyond_the_newest_row() -> None:
    made = frame()
    features = build(made, FEATURES)
    ahead = known_ahead(made, FEATURES, features, 5)
    known = [features.names[column] for column in features.known]
    assert known == ["event", "dow", "dom", "moy"]
    for end in (3, 29, 59):
        values = ahead.of(np.array([end]), 5)[0]
        following = days(40)[end % 30 + 1 : end % 30 + 6]
        assert values[:, 1].tolist() == [day.isoweekday() for day in following]
        assert values[:, 2].tolist() == [day.day for day in following]
    np.testing.assert_array_equal(ahead.of(np.array([3]), 5)[0], features.x[4:9, features.known])
    assert np.isnan(ahead.of(np.array([59]), 5)[0][:, 0]).all(), "events beyond the table are unknown"


def test_hours_and_weeks_go_on_in_their_steps() -> None:
    hours = pl.Series("date", [datetime(2024, 1, 1, hour) for hour in range(20)]).cast(pl.Datetime("us"))
    assert next_dates(hours, 6).to_list()[-1] == datetime(2024, 1, 2, 1)
    weeks = pl.Series("date", [datetime(2024, 1, 5) + timedelta(weeks=week) for week in range(9)])
    assert next_dates(weeks, 2).to_list() == [datetime(2024, 3, 8), datetime(2024, 3, 15)]
    around_the_clock = pl.Series("date", [datetime(2024, 1, 1) + timedelta(days=day) for day in range(30)])
    assert next_dates(around_the_clock, 3).to_list()[0] == datetime(2024, 1, 31)


def test_a_row_weighs_what_its_regime_weighs() -> None:
    made, config = frame(), WeightsConfig(column="regime", weights={"wild": 5000})
    weight = regime_weights(made, config)
    assert weight.dtype == np.float32
    assert weight.tolist() == [50.0 if number % 3 else 5000.0 for number in [*range(30), *range(30)]]
    shares = weight_shares(made, config).to_dicts()
    assert [row["regime"] for row in shares] == ["calm", "wild"]
    assert shares[1]["share_of_rows"] == pytest.approx(1 / 3)
    assert shares[1]["share_of_weight"] == pytest.approx(100_000 / 102_000)


def test_diagnostics_show_what_each_regime_weighs() -> None:
    made, config = frame(), WeightsConfig(column="regime", weights={"wild": 5000})
    found = diagnose(made, (), build(made, FEATURES), DiagnosticsConfig(), weights=config)
    told = {one.regime: (one.weight, one.share_of_weight) for one in found.regimes if one.column == "regime"}
    assert told == {"calm": (50.0, pytest.approx(2_000 / 102_000)), "wild": (5000.0, pytest.approx(100_000 / 102_000))}
    assert "Share of weight" in render_check(found.to_json())
    unweighted = diagnose(made, (), build(made, FEATURES), DiagnosticsConfig())
    assert {one.weight for one in unweighted.regimes} == {None}
    assert "Share of weight" not in render_check(unweighted.to_json())


def test_a_regime_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must name regimes of `regime`, got `wilt`; .*wild"):
        regime_weights(frame(), WeightsConfig(column="regime", weights={"wilt": 100}))
    with pytest.raises(ValueError, match="5000"):
        WeightsConfig(column="regime", weights={"wild": 6000})

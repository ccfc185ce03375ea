import re
from dataclasses import replace

import polars as pl
import pytest

from raytrain.report.forecasts import HISTORY_ROWS, MAX_SERIES, band_text, closes, fans, forecast_rows


def test_the_change_is_of_the_median_against_the_close(view):
    row = forecast_rows(view.forecast)[0]
    assert row.series_id == "SP500" and row.label == "1w"
    assert row.change == pytest.approx(0.002, rel=0.01)
    assert row.low < row.median < row.high


def test_rows_are_by_series_then_horizon(view):
    assert [(row.series_id, row.horizon) for row in forecast_rows(view.forecast)] == [
        (series, horizon) for series in ("SP500", "WTI") for horizon in (5, 21, 63)
    ]


def test_a_threshold_has_a_probability_and_no_price(view):
    nothing = [pl.lit(None, dtype=pl.Float64).alias(name) for name in view.forecast.columns if "q0" in name]
    threshold = view.forecast.with_columns(*nothing, probability=pl.lit(0.3))
    row = forecast_rows(threshold)[0]
    assert (row.median, row.change, row.probability) == (None, None, 0.3)
    assert fans(replace(view, forecast=threshold)) == []


def test_history_holds_every_date_once_and_ends_at_the_origin(view):
    known = closes(view)
    assert not known.select("series_id", "date").is_duplicated().any()
    assert known["date"].max() == view.forecast["date"].max()
    walk = view.predictions.filter(
        (pl.col("series_id") == "WTI") & (pl.col("family") == "naive") & (pl.col("horizon") == 5)
    )
    assert known.filter(pl.col("series_id") == "WTI")["close"].to_list() == walk.sort("date")["close"].to_list()


def test_a_fan_needs_no_test_rows(view):
    assert len(fans(replace(view, predictions=pl.DataFrame()))) == 2


def test_a_panel_shows_its_first_series(remake):
    many = remake(tuple(f"S{number}" for number in range(MAX_SERIES + 2)), HISTORY_ROWS * 2)
    assert [fan.series_id for fan in fans(many)] == [f"S{number}" for number in range(MAX_SERIES)]


def test_of_two_targets_at_one_horizon_the_trusted_one_is_drawn(view):
    other = view.forecast.with_columns(
        target=pl.lit("a first by name"), verdict=pl.lit("REJECT"), **{"price_q0.9": pl.col("price_q0.9") * 9}
    )
    both = replace(view, forecast=pl.concat([other, view.forecast]))
    assert [fan.plot for fan in fans(both)] == [fan.plot for fan in fans(view)]


def test_labels_of_near_horizons_stand_on_two_lines(view):
    def heights(horizons):
        near = view.forecast.with_columns(horizon=pl.Series(horizons * 2, dtype=pl.Int64))
        plot = fans(replace(view, forecast=near))[0].plot
        texts = re.findall(r'<text[^>]*? y="([\d.]+)"[^>]*>\d[wm]<', plot)
        return len(texts), len(set(texts))

    assert heights([5, 21, 63]) == (3, 1)
    assert heights([1, 5, 63]) == (3, 2)


def test_the_band_is_named_by_its_levels(view):
    assert band_text(view.forecast) == "10 % to 90 %"
    assert band_text(view.forecast.drop("q0.1", "q0.9")) == ""

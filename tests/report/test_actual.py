import math
from dataclasses import replace

import polars as pl
import pytest

from raytrain.report.actual import MAX_PLOTS, actual_plots, best_family


def test_the_family_of_the_forecast_is_drawn(view):
    assert {plot.family for plot in actual_plots(view)} == {"ngboost"}


def test_without_a_forecast_the_most_skilful_is_drawn(view):
    alone = replace(view, forecast=pl.DataFrame())
    assert best_family(alone, "return_1w", ["mlp", "lstm", "naive"]) == "lstm"
    assert best_family(replace(alone, scores=pl.DataFrame()), "return_1w", ["naive", "mlp"]) == "mlp"
    assert best_family(alone, "return_1w", ["naive"]) == "naive"


def test_the_share_in_the_band_equals_a_plain_count(view):
    shown = next(plot for plot in actual_plots(view) if (plot.label, plot.series_id) == ("1w", "WTI"))
    inside = total = 0
    for row in view.predictions.iter_rows(named=True):
        mine = (row["family"], row["label"], row["series_id"]) == ("ngboost", "1w", "WTI")
        if mine and row["price_actual"] is not None:
            total += 1
            inside += row["q0.1"] <= math.log(row["price_actual"] / row["close"]) <= row["q0.9"]
    assert shown.num_rows == total
    assert shown.inside == pytest.approx(inside / total)


def test_a_point_family_has_no_band(view):
    points = view.forecast.with_columns(family=pl.lit("lightgbm"))
    assert all(plot.inside is None for plot in actual_plots(replace(view, forecast=points)))


def test_a_run_without_quantiles_is_drawn(view):
    bare = view.predictions.drop("q0.1", "q0.9")
    assert len(actual_plots(replace(view, predictions=bare))) == 6


def test_plots_are_shared_evenly_by_the_targets(remake):
    shown = actual_plots(remake(tuple("abcdefgh"), 120))
    assert len(shown) == MAX_PLOTS
    assert {label: sum(plot.label == label for plot in shown) for label in ("1w", "1m", "3m")} == {
        "1w": 6,
        "1m": 6,
        "3m": 6,
    }


def test_seeds_are_averaged(view):
    """Two seeds that lean to opposite sides draw what their mean draws."""
    numbers = ["q0.1", "q0.5", "q0.9"]
    leaning = [view.predictions.with_columns(pl.col(numbers) + lean) for lean in (-0.02, 0.02)]
    both = actual_plots(replace(view, predictions=pl.concat(leaning)))
    assert [plot.num_rows for plot in both] == [plot.num_rows for plot in actual_plots(view)]
    assert [plot.inside for plot in both] == [plot.inside for plot in actual_plots(view)]


def test_a_difference_of_prices_is_drawn_in_their_unit(view):
    changes = view.predictions.with_columns(
        pl.col("q0.1", "q0.5", "q0.9") * 100,
        method=pl.lit("difference"),
        close=pl.col("close") - 120,
        price_actual=pl.col("price_actual") - 120,
        actual=pl.col("price_actual") - pl.col("close"),
    )
    plot = actual_plots(replace(view, predictions=changes))[0].plot
    assert ">change<" in plot and ">return<" not in plot and "%" not in plot


def test_a_threshold_is_drawn_as_a_probability(view):
    nothing = [pl.lit(None, dtype=pl.Float64).alias(name) for name in ("q0.1", "q0.5", "q0.9")]
    threshold = view.predictions.with_columns(
        *nothing, kind=pl.lit("threshold"), actual=pl.lit(1.0), probability=pl.lit(0.4)
    )
    shown = actual_plots(replace(view, predictions=threshold))
    assert len(shown) == 6 and all(plot.inside is None and ">probability<" in plot.plot for plot in shown)


def test_a_diverged_forecast_does_not_flatten_the_picture(view):
    wild = view.predictions.with_columns(
        pl.when(pl.col("family") == "ngboost").then(50.0).otherwise(pl.col("q0.9")).alias("q0.9")
    )
    plot = actual_plots(replace(view, predictions=wild))[0].plot
    assert ">100<" in plot and "1e" not in plot


def test_outcomes_still_unknown_are_not_drawn(view):
    unknown = view.predictions.with_columns(price_actual=pl.lit(None, dtype=pl.Float64))
    assert actual_plots(replace(view, predictions=unknown)) == []

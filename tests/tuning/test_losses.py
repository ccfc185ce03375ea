"""Losses row by row, and the sums of which metrics are made."""

import numpy as np
import polars as pl
import pytest

from raytrain.errors import ConfigError, FitError
from raytrain.tuning.losses import Forecasts, Totals, compare, require_metric
from raytrain.work.dataset import Dataset

TARGET = "return_1w"


def stored(dataset: Dataset, rows: np.ndarray, values: np.ndarray, *columns: str, target: str = TARGET) -> pl.DataFrame:
    """Forecasts of these rows as a fit stores them, in another order."""
    date = pl.Series(dataset.date[rows]).cast(pl.Datetime("ns")).cast(pl.Datetime("us"))
    series = np.asarray(dataset.meta["series"])[dataset.series[rows]]
    table = pl.DataFrame({"target": target, "series_id": series, "date": date})
    named = {name: values[:, place] for place, name in enumerate(columns)}
    return table.with_columns(pl.Series(name, column) for name, column in named.items()).sort("date", descending=True)


ROWS = np.array([200, 201, 250, 900, 901])


def test_losses_are_those_of_a_plain_loop(dataset: Dataset) -> None:
    rng = np.random.default_rng(3)
    ours, theirs = np.sort(rng.normal(0, 0.03, (5, 3))), np.sort(rng.normal(0, 0.03, (5, 3)))
    names = ("q0.1", "q0.5", "q0.9")
    found = compare(
        dataset,
        TARGET,
        Forecasts.read(dataset, TARGET, [stored(dataset, ROWS, ours, *names)]),
        Forecasts.read(dataset, TARGET, [stored(dataset, ROWS, theirs, *names)]),
    )
    y = dataset.y(TARGET)[ROWS].astype(float)
    for values, losses in ((ours, found.loss), (theirs, found.other_loss)):
        for row in range(5):
            one = [
                max(a * (y[row] - q), (a - 1) * (y[row] - q)) for a, q in zip((0.1, 0.5, 0.9), values[row], strict=True)
            ]
            assert losses[row] == pytest.approx(np.mean(one))
    totals = Totals.of(found, "regression")
    halves = [Totals(rows=2, loss=1.0, naive_loss=4.0), Totals(rows=2, loss=2.0, naive_loss=4.0)]
    assert (halves[0] + halves[1]).metrics()["skill"] == pytest.approx(1 - 3 / 8)
    assert totals.metrics()["mae"] == pytest.approx(np.abs(ours[:, 1] - y).mean())
    assert totals.metrics()["rmse"] == pytest.approx(np.sqrt(((ours[:, 1] - y) ** 2).mean()))


def test_a_point_family_is_compared_on_the_median_alone(dataset: Dataset) -> None:
    median, three = np.zeros((5, 1)), np.tile([-1.0, 0.0, 1.0], (5, 1))
    ours = Forecasts.read(dataset, TARGET, [stored(dataset, ROWS, median, "q0.5")])
    naive = Forecasts.read(dataset, TARGET, [stored(dataset, ROWS, three, "q0.1", "q0.5", "q0.9")])
    found = compare(dataset, TARGET, ours, naive)
    assert Totals.of(found, "regression").metrics()["skill"] == pytest.approx(0)


def test_seeds_are_averaged_before_they_are_judged(dataset: Dataset) -> None:
    one, other = (stored(dataset, ROWS, np.full((5, 1), value), "q0.5") for value in (0.1, 0.3))
    assert Forecasts.read(dataset, TARGET, [one, other]).values == pytest.approx(0.2)


def test_probabilities_are_judged_by_brier(dataset: Dataset) -> None:
    target = "threshold_1w"
    y = dataset.y(target)[ROWS]
    sure, unsure = y[:, None].astype(float), np.full((5, 1), 0.5)
    ours, naive = (
        Forecasts.read(dataset, target, [stored(dataset, ROWS, values, "probability", target=target)])
        for values in (sure, unsure)
    )
    metrics = Totals.of(compare(dataset, target, ours, naive), "binary").metrics()
    assert metrics == pytest.approx({"skill": 1, "brier": 0, "log_loss": 0})


def test_rows_count_only_where_both_forecast_and_the_outcome_was_known_in_time(dataset: Dataset) -> None:
    last = np.flatnonzero(dataset.series == 0)[-1]
    rows = np.array([200, 201, last])
    ours = Forecasts.read(dataset, TARGET, [stored(dataset, rows, np.zeros((3, 1)), "q0.5")])
    naive = Forecasts.read(dataset, TARGET, [stored(dataset, rows[1:], np.zeros((2, 1)), "q0.5")])
    assert compare(dataset, TARGET, ours, naive).date.tolist() == [dataset.date[201]]
    in_time = compare(dataset, TARGET, ours, ours, before=int(dataset.label_date(TARGET)[201]))
    assert in_time.date.tolist() == [dataset.date[200]]
    with pytest.raises(FitError, match="must have known outcomes"):
        compare(dataset, TARGET, ours, naive, before=0)


def test_a_metric_that_no_fold_reports_is_refused() -> None:
    assert require_metric("skill", "binary") == "max"
    assert require_metric("pinball_loss", "regression") == "min"
    with pytest.raises(ConfigError, match="did you mean `brier`"):
        require_metric("brierr", "binary")
    with pytest.raises(ConfigError, match="a regression target report, got `brier`"):
        require_metric("brier", "regression")

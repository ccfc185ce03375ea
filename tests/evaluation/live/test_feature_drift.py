"""Distance of the newest rows from the rest, against scipy, and false and true alarms."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from raytrain.evaluation.live.feature_drift import MAX_STRETCHES, drift_warnings, feature_drift

Inputs = Callable[..., tuple[list[str], np.ndarray, np.ndarray, np.ndarray]]


@pytest.fixture
def inputs() -> Inputs:
    """Slow features (half-life 20 rows) of one or more series."""

    def make(num_features: int = 3, rows: int = 1320, num_series: int = 1, seed: int = 0):
        rng = np.random.default_rng(seed)
        x = np.empty((rows * num_series, num_features))
        shocks, state = rng.normal(size=x.shape), np.zeros(num_features)
        for row, shock in enumerate(shocks):
            state = 0.966 * state + shock
            x[row] = state
        series = np.repeat(np.arange(num_series, dtype=np.int32), rows)
        names = [f"f{number}" for number in range(num_features)]
        return names, x.astype(np.float32), series, np.ones(len(x), dtype=bool)

    return make


def test_the_distance_is_that_of_scipy_to_all_other_rows(inputs: Inputs) -> None:
    from scipy.stats import ks_2samp

    names, x, series, usable = inputs()
    x = x.round(0)  # with many ties
    found = feature_drift(names, x, series, usable, 60)
    assert found["num_stretches"].to_list() == [21] * 3
    for row in found.iter_rows(named=True):
        values = x[:, int(row["feature"][1:])]
        stretches = np.split(values, 22)
        distances = [
            ks_2samp(one, np.concatenate(stretches[:i] + stretches[i + 1 :])).statistic
            for i, one in enumerate(stretches)
        ]
        assert row["distance"] == pytest.approx(distances[-1])
        assert row["usual"] == pytest.approx(max(distances[:-1]))
        assert row["drifted"] == (row["distance"] > row["usual"])


def test_slow_features_give_no_more_alarms_than_chance(inputs: Inputs) -> None:
    found = feature_drift(*inputs(num_features=200), 60)
    assert found.height == 200
    assert found["drifted"].sum() <= 3 * 200 / 22
    assert drift_warnings(found, 60) == []


def test_a_shift_is_found_and_told(inputs: Inputs) -> None:
    names, x, series, usable = inputs(num_features=20)
    x[-60:, :8] += 40
    found = feature_drift(names, x, series, usable, 60)
    assert found.filter("drifted")["feature"].sort().to_list()[:8] == [f"f{number}" for number in range(8)]
    assert found.filter(feature="f3")["outside"].item() == 1.0
    assert found["drifted"].to_list() == sorted(found["drifted"], reverse=True), "the furthest stand first"
    (warning,) = drift_warnings(found, 60)
    assert warning.startswith(f"{found['drifted'].sum()} of 20 features are further from their past on the last 60")


def test_each_series_ends_with_its_own_newest_rows(inputs: Inputs) -> None:
    names, x, series, usable = inputs(num_features=1, num_series=3)
    for end in (1320, 2640, 3960):
        x[end - 60 : end] += 40
    assert feature_drift(names, x, series, usable, 60)["outside"].item() == 1.0
    x[:1320] += 100
    assert feature_drift(names, x, series, usable, 60)["outside"].item() < 1.0


def test_rows_that_are_not_known_do_not_count(inputs: Inputs) -> None:
    names, x, series, usable = inputs()
    x[-40:, 1] = np.nan
    usable[:120] = False
    x[:120] = 1e9
    found = feature_drift(names, x, series, usable, 60)
    assert sorted(found["feature"]) == ["f0", "f2"], "hardly a newest value of f1 is known"
    assert found["num_stretches"].to_list() == [19, 19]


def test_a_short_past_is_no_yardstick(inputs: Inputs) -> None:
    found = feature_drift(*inputs(rows=600), 60)
    assert found.is_empty() and drift_warnings(found, 60) == []
    assert feature_drift(*inputs(rows=660), 60).height == 3


def test_a_constant_feature_has_not_drifted(inputs: Inputs) -> None:
    names, x, series, usable = inputs()
    x[:, 0] = 1.0
    found = feature_drift(names, x, series, usable, 60).filter(pl.col("feature") == "f0")
    assert found.select("distance", "usual", "outside", "drifted").row(0) == (0.0, 0.0, 0.0, False)


def test_a_long_past_is_bounded(inputs: Inputs) -> None:
    names, x, series, usable = inputs(num_features=1, rows=300 * 20)
    x[: 49 * 20] = 1e9
    found = feature_drift(names, x, series, usable, 20)
    assert found["num_stretches"].item() == MAX_STRETCHES == 250
    newest = slice(49 * 20, None)
    assert found.equals(feature_drift(names, x[newest], series[newest], usable[newest], 20))

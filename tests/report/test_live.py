from datetime import datetime, timedelta

import polars as pl
import pytest

from raytrain.evaluation.live.drift import SCHEMA as DRIFT
from raytrain.evaluation.live.feature_drift import SCHEMA as FEATURES
from raytrain.evaluation.live.track import LiveTable
from raytrain.report.live import MAX_FEATURES, MAX_NEWEST, feature_rows, live_section
from raytrain.report.page import environment

MONDAY = datetime(2021, 3, 1)


def row(number: int, **changes) -> dict:
    values = {
        "target": "return_1w", "label": "1w", "kind": "return", "horizon": 5, "method": "simple", "family": "har",
        "series_id": "<ZL>", "date": MONDAY + timedelta(days=number), "label_date": MONDAY + timedelta(days=number + 7),
        "close": 50.0, "price_actual": 51.5, "actual": 0.03, "q0.1": -0.02, "q0.5": 0.01, "q0.9": 0.04,
        "probability": None, "inside": 1.0, "right": 1.0,
    }  # fmt: skip
    return values | changes


WAITING = {"label_date": None, "price_actual": None, "actual": None, "inside": None, "right": None}


@pytest.fixture
def live() -> LiveTable:
    rows = [row(0), row(1, inside=0.0, right=0.0), row(2, **WAITING)]
    score = {
        "label": "1w", "target": "return_1w", "family": "har", "first_date": MONDAY, "last_date": MONDAY,
        "n_dates": 2, "n": 2, "loss": 0.01, "naive_loss": 0.011, "skill": 0.09, "skill_low": None, "skill_high": None,
        "coverage": 0.5, "directional_accuracy": 0.5, "backtest_skill": 0.03, "backtest_coverage": 0.79,
        "backtest_directional_accuracy": None,
    }  # fmt: skip
    drift = [
        ("har", "return_1w", "1w", 5, "loss", 12, 0.02, 0.01, 0.005, 0.015, True),
        ("har", "return_1w", "1w", 5, "coverage", 12, 0.75, 0.79, 0.6, 1.0, False),
    ]
    return LiveTable(
        rows=pl.DataFrame(rows, infer_schema_length=None),
        scores=pl.DataFrame([score]),
        drift=pl.DataFrame(drift, schema=DRIFT, orient="row"),
        num_pending=1,
        warnings=(),
    )


@pytest.fixture
def nothing() -> LiveTable:
    empty = pl.DataFrame()
    return LiveTable(rows=empty, scores=empty, drift=empty, num_pending=0, warnings=())


def render(live: LiveTable | None, features: pl.DataFrame | None = None) -> str:
    context = {
        "live": live_section(live) if live else None,
        "live_confidence": 0.99,
        "feature_drift": feature_rows(features) if features is not None else [],
        "name_targets": False,
    }
    return environment().get_template("live.jinja").render(context)


def test_forecasts_are_shown_as_prices_beside_the_outcome_newest_first(live):
    found = live_section(live)
    assert (found.num_known, found.num_pending) == (2, 1)
    assert [one.known_on for one in found.newest] == ["2021-03-09", "2021-03-08"]
    newest = found.newest[0]
    assert [newest.low, newest.median, newest.high, newest.actual] == pytest.approx([49.0, 50.5, 52.0, 51.5])
    assert (newest.inside, newest.right) == (False, False)


def test_a_probability_is_shown_beside_yes_or_no(live):
    label = {"kind": "threshold", "method": "log", "probability": 0.25, "actual": 1.0, "inside": None, "right": None}
    empty = {"q0.1": None, "q0.5": None, "q0.9": None}
    rows = pl.DataFrame([row(0), row(1, **label, **empty)], infer_schema_length=None)
    page = render(LiveTable(rows=rows, scores=live.scores, drift=live.drift, num_pending=0, warnings=()))
    assert "25.0\N{NARROW NO-BREAK SPACE}%" in page and "<b>yes</b>" in page and "51.50" in page


def test_drift_says_where_it_is_outside(live):
    page = render(live)
    assert page.count('class="fail">drifted') == 1 and page.count('class="pass">as usual') == 1
    assert "60.0\N{NARROW NO-BREAK SPACE}% to 100.0\N{NARROW NO-BREAK SPACE}%" in page, "a share is read in percent"
    assert "0.005 to 0.015" in page and "at 99\N{NARROW NO-BREAK SPACE}% confidence" in page


def test_series_names_are_escaped(live):
    page = render(live)
    assert "<ZL>" not in page and "&lt;ZL&gt;" in page and "nan" not in page


def test_without_outcomes_the_page_says_what_it_waits_for(nothing):
    assert "No earlier run&#39;s forecast" in render(nothing) or "No earlier run's forecast" in render(nothing)
    waiting = LiveTable(
        rows=pl.DataFrame([row(0, **WAITING)]), scores=nothing.scores, drift=nothing.drift, num_pending=3, warnings=()
    )
    assert "3 forecasts wait for one" in render(waiting)
    assert "No earlier run" in render(None)


def test_the_newest_of_many_are_shown(live):
    rows = pl.DataFrame([row(number) for number in range(MAX_NEWEST + 5)])
    many = LiveTable(rows=rows, scores=live.scores, drift=live.drift, num_pending=0, warnings=())
    found = live_section(many)
    assert len(found.newest) == MAX_NEWEST and found.num_known == MAX_NEWEST + 5
    assert f"The newest {MAX_NEWEST} of {MAX_NEWEST + 5}" in render(many)


def test_the_features_that_drifted_most_are_shown(nothing):
    rows = [(f"f{n}", 0.9 - n / 100, 0.5, 20, 0.25, n < 3) for n in range(20)]
    features = pl.DataFrame(rows, schema=FEATURES, orient="row")
    page = render(nothing, features)
    assert page.count('class="fail">drifted') == 3
    assert f"<td>f{MAX_FEATURES - 1}</td>" in page and f"<td>f{MAX_FEATURES}</td>" not in page

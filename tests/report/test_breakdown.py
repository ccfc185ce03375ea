import math
from collections.abc import Callable
from html.parser import HTMLParser

import polars as pl
import pytest

from raytrain.evaluation.scoring.breakdown import breakdown
from raytrain.evaluation.scoring.calibration import calibration
from raytrain.evaluation.scoring.scores import score
from raytrain.report.breakdown import MAX_GROUPS, calibration_tables, group_tables, measure_rows
from raytrain.report.page import environment


@pytest.fixture(scope="module")
def predictions(view) -> pl.DataFrame:
    """Two families and naive, with the fields that scores want."""
    return view.predictions.filter(pl.col("family").is_in(["naive", "ngboost", "lightgbm"])).with_columns(
        pl.col("probability").cast(pl.Float64)
    )


@pytest.fixture(scope="module")
def bars(predictions) -> pl.DataFrame:
    return predictions.select("series_id", "date", "close").unique()


@pytest.fixture(scope="module")
def groups(predictions, bars) -> pl.DataFrame:
    named = pl.when(pl.col("date").dt.day() > 15).then(pl.lit("<calm>")).otherwise(pl.lit("storm"))
    return breakdown(predictions, bars, 365, regimes=bars.select("series_id", "date", named.alias("regime")))


@pytest.fixture(scope="module")
def levels(predictions) -> pl.DataFrame:
    return calibration(predictions)


@pytest.fixture(scope="module")
def scores(predictions, bars) -> pl.DataFrame:
    return score(predictions, bars, 365)


@pytest.fixture
def render(groups, levels, scores) -> Callable[..., str]:
    def made(**changes) -> str:
        context = {
            "groups": group_tables(groups),
            "measures": measure_rows(scores, threshold=False),
            "label_measures": measure_rows(scores, threshold=True),
            "calibration": calibration_tables(levels),
            "name_targets": False,
        }
        return environment().get_template("breakdown.jinja").render(context | changes)

    return made


def test_every_target_has_a_table_by_regime_season_and_series(groups):
    found = group_tables(groups)
    assert [one.label for one in found] == ["1w", "1m", "3m"]
    titles = ["Regime", "Season (calendar quarter)", "Month", "Series"]
    assert all([table.title for table in one.tables] == titles for one in found)
    regime = found[0].tables[0]
    assert regime.groups == ["<calm>", "storm"]
    assert [family for family, _ in regime.rows] == ["lightgbm", "ngboost"], "naive is the line below"


def test_a_cell_is_the_skill_of_its_group_and_bold_when_sure(groups):
    row = groups.filter(family="ngboost", label="1m", by="season", group="Q2").row(0, named=True)
    table = group_tables(groups)[1].tables[1]
    cell = dict(table.rows)["ngboost"][table.groups.index("Q2")]
    assert cell.skill == row["skill"]
    assert cell.sure == (row["skill_low"] > 0 or row["skill_high"] < 0)
    assert cell.title.startswith(f"{row['n']} rows; ") and "always long" in cell.title
    assert table.counts[table.groups.index("Q2")] == row["n"]


def test_what_cannot_be_split_or_compared_is_left_out(groups):
    one_series = groups.filter((pl.col("by") != "series") | (pl.col("group") == "WTI"))
    assert [table.title for table in group_tables(one_series)[0].tables] == [
        "Regime",
        "Season (calendar quarter)",
        "Month",
    ]
    assert all(not one.tables for one in group_tables(groups.filter(family="naive")))
    assert group_tables(pl.DataFrame()) == []


def test_of_many_groups_the_largest_are_shown(groups):
    row = groups.filter(family="ngboost", label="1w", by="series", group="WTI")
    many = pl.concat([row.with_columns(group=pl.lit(f"s{n:02d}"), n=pl.lit(n, pl.Int64)) for n in range(20)])
    (table,) = group_tables(many)[0].tables
    assert table.groups == [f"s{n:02d}" for n in range(20 - MAX_GROUPS, 20)]
    assert table.num_left_out == 20 - MAX_GROUPS


def test_a_group_without_skill_is_a_dash(groups, render):
    unknown = groups.with_columns(skill=pl.lit(None, pl.Float64), skill_low=pl.lit(None, pl.Float64))
    assert all(cell.side == "none" for _, cells in group_tables(unknown)[0].tables[0].rows for cell in cells)
    assert ">\N{EN DASH}</td>" in render(groups=group_tables(unknown))


def test_shares_should_be_what_the_levels_say(levels):
    tables = calibration_tables(levels)
    assert [table.label for table in tables] == ["1w", "1m", "3m"]
    assert tables[0].bins == ["0 to 10 %", "10 to 50 %", "50 to 90 %", "90 to 100 %"]
    assert tables[0].nominal == pytest.approx([0.1, 0.4, 0.4, 0.1])
    assert [family for family, _ in tables[0].rows] == ["naive", "ngboost"], "a point family has no calibration"


def test_a_share_is_off_beyond_two_standard_errors(levels):
    first = levels.filter(family="ngboost", label="1w")
    below, level = first["share_below"][0], first["level"][0]
    for error, off in ((abs(below - level) / 1.9, False), (abs(below - level) / 2.1, True)):
        ((_, shares),) = calibration_tables(first.with_columns(error=pl.lit(error)))[0].rows
        assert shares[0].off is off
        assert not shares[-1].off, "all outcomes lie below the level 1"


def test_every_measure_stands_beside_naive(render, scores):
    page = render()
    row = scores.filter(family="ngboost", label="1w").row(0, named=True)
    assert f"{row['crps']:.3g}" in page and f"<small>{row['naive_crps']:.3g}</small>" in page
    assert "&pm;" in page and "turnover" in page


def test_probabilities_have_their_own_measures(render, scores):
    assert "ROC AUC" not in render()
    label = {"kind": "threshold", "brier": 0.2, "naive_brier": 0.21, "precision": 0.4, "base_rate": 0.3}
    labels = scores.head(1).with_columns(pl.lit(value).alias(name) for name, value in label.items())
    page = render(measures=measure_rows(labels, threshold=False), label_measures=measure_rows(labels, threshold=True))
    assert "ROC AUC" in page and "0.2000 <small>0.2100</small>" in page and "sMAPE" not in page


def test_texts_are_escaped_and_nothing_is_nan(render):
    page = render()
    assert "<calm>" not in page and "&lt;calm&gt;" in page
    assert "nan" not in page.lower().replace("tenant", "")
    HTMLParser().feed(page)


def test_a_run_of_which_nothing_came_says_so(render):
    page = render(groups=[], measures=[], label_measures=[], calibration=[])
    assert "No forecast has a known outcome." in page and "No family forecast more than the median." in page
    assert measure_rows(pl.DataFrame(), threshold=False) == [] == calibration_tables(pl.DataFrame())


def test_one_wild_group_does_not_make_the_others_white(groups):
    wild = groups.with_columns(
        skill=pl.when((pl.col("group") == "07") & (pl.col("family") == "ngboost")).then(-40.0).otherwise(0.02)
    )
    month = next(table for table in group_tables(wild)[0].tables if table.title == "Month")
    calm = dict(month.rows)["lightgbm"][0]
    assert calm.strength > 50 and math.isclose(calm.skill, 0.02)

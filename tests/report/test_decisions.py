import math
from dataclasses import replace

import polars as pl
import pytest
from markupsafe import escape

from raytrain.evaluation.gates.decision import Rule
from raytrain.report.decisions import MAX_NAMED, MAX_SCALE, MIN_SCALE, candidates, headline, matrix, verdict_counts
from raytrain.report.page import render


def changed(view, family, target, **values):
    """The view with other scores for one family at one target."""
    here = (pl.col("family") == family) & (pl.col("target") == target)
    columns = [pl.when(here).then(value).otherwise(pl.col(name)).alias(name) for name, value in values.items()]
    return replace(view, scores=view.scores.with_columns(columns))


def cell_of(view, family, target):
    shown = matrix(view)
    column = [name for name, _, _ in shown.columns].index(target)
    return dict(shown.rows)[family][column]


def test_the_yardstick_is_no_candidate(view):
    assert verdict_counts(view.decisions) == {"PROMOTE": 0, "HOLD": 7, "REJECT": 5}
    assert "naive" not in {one.family for one in candidates(view.decisions)}


def test_rows_go_from_the_yardstick_to_the_least_skilful_and_columns_by_horizon(view):
    shown = matrix(view)
    assert [family for family, _ in shown.rows] == ["naive", "lightgbm", "lstm", "mlp", "ngboost"]
    assert [label for _, label, _ in shown.columns] == ["1w", "1m", "3m"]


def test_a_bar_has_naive_in_the_middle(view):
    bar = cell_of(
        changed(view, "mlp", "return_1w", skill=0.0, skill_low=-0.01, skill_high=0.01), "mlp", "return_1w"
    ).bar
    assert bar.point == 50
    assert bar.low < 50 < bar.high
    assert bar.high - 50 == pytest.approx(50 - bar.low)


def test_one_diverged_network_is_cut_and_leaves_the_others_readable(view):
    wild = changed(view, "lstm", "return_1w", skill=-40.0, skill_low=-90.0, skill_high=-10.0)
    assert matrix(wild).scale < 0.1
    bar = cell_of(wild, "lstm", "return_1w").bar
    assert (bar.low, bar.point, bar.high) == (0, 0, 0)


@pytest.mark.parametrize(("skill", "scale"), [(-40.0, MAX_SCALE), (0.0001, MIN_SCALE)])
def test_the_scale_is_bounded(view, skill, scale):
    skills = {name: pl.lit(skill) for name in ("skill", "skill_low", "skill_high")}
    assert matrix(replace(view, scores=view.scores.with_columns(**skills))).scale == scale


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_no_bar_without_an_interval(view, unknown):
    assert cell_of(changed(view, "mlp", "return_1w", skill_low=unknown), "mlp", "return_1w").bar is None


def test_a_family_judged_without_a_score_still_has_its_cell(view):
    alone = replace(view, scores=view.scores.filter(pl.col("family") != "lstm"))
    cell = cell_of(alone, "lstm", "return_1w")
    assert cell.verdict == "HOLD" and not cell.score
    assert matrix(alone).rows[-1][0] == "lstm"


def test_the_headline_names_the_best_when_nobody_is_promoted(view):
    text = headline(view)
    assert text.startswith("None of 12 candidates deserves promotion") and "lightgbm at 3m" in text


def test_the_headline_names_the_promoted(view):
    decisions = [replace(one, verdict="PROMOTE") if one.family == "mlp" else one for one in view.decisions]
    text = headline(replace(view, decisions=decisions))
    assert text == "3 of 12 candidates deserve promotion: mlp at 1w, mlp at 1m, mlp at 3m."


def test_a_long_headline_is_cut(view):
    everyone = replace(view, decisions=[replace(one, verdict="PROMOTE") for one in view.decisions])
    assert headline(everyone).startswith("12 of 12 candidates deserve promotion: ")
    assert headline(everyone).count(" at ") == MAX_NAMED


def test_the_headline_without_scores_or_candidates(view, empty_view):
    assert headline(replace(view, scores=pl.DataFrame())) == "None of 12 candidates deserves promotion."
    assert headline(empty_view) == "There was no candidate to judge."


@pytest.mark.parametrize(
    ("judged_by", "earned", "shown"),
    [("net_return", 0.123, "+12.3\N{NARROW NO-BREAK SPACE}%"), ("net_change", 45.6, ">45.6<")],
)
def test_a_family_with_positions_shows_what_they_earn_and_no_skill(plain_view, judged_by, earned, shown):
    here = pl.when((pl.col("family") == "lightgbm") & (pl.col("target") == "return_1w"))
    names = ("net_return", "net_return_low", "net_return_high")
    columns = {name: here.then(earned + shift) for name, shift in zip(names, (0.0, -0.01, 0.01), strict=True)}
    by = here.then(pl.lit(judged_by)).otherwise(pl.lit("skill"))
    trading = replace(plain_view, scores=plain_view.scores.with_columns(judged_by=by, skill=pl.lit(0.5), **columns))
    assert cell_of(trading, "lightgbm", "return_1w").bar is None
    assert cell_of(trading, "lightgbm", "return_1m").bar is not None
    page = render(trading)
    assert page.count(shown) == 1 and page.count("what its positions earn in a year") == 1
    everyone = replace(trading, scores=trading.scores.with_columns(judged_by=pl.lit(judged_by)))
    assert headline(everyone) == "None of 12 candidates deserves promotion."


def test_a_decision_is_told_as_a_paragraph_with_every_rule_and_its_dates(plain_view):
    rules = (
        Rule(
            name="loss in 2020 Covid",
            passed=False,
            value=0.123,
            threshold=0.1,
            text="2020 Covid: <too much>",
            first_date="2020-02-19",
            last_date="2020-06-30",
        ),
        Rule(name="drift", passed=True, value=None, threshold=None, text="no champion yet", applies=False),
    )
    one = replace(plain_view.decisions[0], family="mlp", verdict="HOLD", rules=rules, reason="it lost too much")
    page = render(replace(plain_view, decisions=[one]))
    assert str(escape(one.explanation)) in page
    assert "2020-02-19 to 2020-06-30" in page and "&lt;too much&gt;" in page
    assert '<td class="none">not judged</td>' in page and page.count('class="fail"') == 1

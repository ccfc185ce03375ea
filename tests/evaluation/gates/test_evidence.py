"""What is gathered beside the scores, of each recipe."""

from collections.abc import Callable
from datetime import timedelta
from math import sqrt
from typing import Any

import polars as pl
import pytest

from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.gates.comparison import Comparison
from raytrain.evaluation.gates.config import GatesConfig
from raytrain.evaluation.gates.deflated import Sample, deflate
from raytrain.evaluation.gates.evidence import (
    Circumstances,
    Evidence,
    Incumbents,
    Missing,
    NotApplicable,
    Place,
    gather,
)
from raytrain.evaluation.gates.parity import Parity
from raytrain.evaluation.scoring.scores import score
from raytrain.evaluation.scoring.strategy import Market

Forecast = Callable[..., pl.DataFrame]
ACTUAL = pl.col("actual").fill_null(0.0)
CONFIG = GatesConfig.model_validate({"windows": {"a spring": {"first": "2020-04-01", "last": "2020-05-31"}}})
TARGET = "return_1w"


@pytest.fixture
def table(forecast: Forecast) -> pl.DataFrame:
    """naive, har, a quantile family and a point family; each fold of each has its own key and cut-off."""

    def around(share: float, width: float) -> dict[str, pl.Expr]:
        return {f"q{level}": ACTUAL * share + shift * width for level, shift in ((0.1, -1), (0.5, 0), (0.9, 1))}

    tables = [
        forecast("naive", **{"q0.1": -0.03, "q0.5": 0.0, "q0.9": 0.03}),
        forecast("har", **around(0.1, 0.028)),
        forecast("tree", **around(0.3, 0.02)),
        forecast("point", **{"q0.5": ACTUAL * 0.2}),
    ]
    return pl.concat(tables).with_columns(key=pl.format("{}-{}", "family", "fold"))


@pytest.fixture
def cutoffs(table: pl.DataFrame) -> dict[str, int]:
    """The day before the first row of each fold, as a walk-forward has it."""
    first = table.group_by("key").agg(pl.col("date").min() - timedelta(days=1))
    return {key: int(pl.Series([day]).cast(pl.Datetime("ns")).dt.timestamp("ns")[0]) for key, day in first.iter_rows()}


Gather = Callable[..., dict[Place, Evidence]]


@pytest.fixture
def look(table: pl.DataFrame, bars: pl.DataFrame, cutoffs: dict[str, int]) -> Gather:
    def run(predictions: pl.DataFrame = table, **known: Any) -> dict[Place, Evidence]:
        circumstances = Circumstances(**({"cutoffs": cutoffs} | known))
        market = Market.make(bars, 252, EvaluationConfig())
        return gather(predictions, score(predictions, bars, 252), market, CONFIG, circumstances)

    return run


def test_every_recipe_has_its_evidence(look: Gather, table: pl.DataFrame, bars: pl.DataFrame) -> None:
    found = look()
    assert set(found) == {(TARGET, family) for family in ("naive", "har", "tree", "point")}
    tree = found[TARGET, "tree"]
    scores = {row["family"]: row for row in score(table, bars, 252).iter_rows(named=True)}
    row = scores["tree"]
    assert (tree.num_seen, tree.num_recipes) == (0, 3)
    assert tree.naive is not None and tree.naive.statistic > 0
    assert tree.har_skill == scores["har"]["skill"]
    assert isinstance(tree.har, Comparison) and tree.har.other == "har" and tree.har.skill > 0
    assert tree.commoner_direction is not None and 0.5 <= tree.commoner_direction < 0.7
    assert tree.coverage_interval is not None
    assert tree.coverage_interval[0] <= row["coverage"] <= tree.coverage_interval[1]
    assert [one.name for one in tree.crises] == ["2020 Covid", "a spring"]
    assert tree.parity is None


def test_the_sharpe_ratio_is_deflated_by_all_that_was_tried(
    look: Gather, table: pl.DataFrame, bars: pl.DataFrame
) -> None:
    row = next(row for row in score(table, bars, 252).iter_rows(named=True) if row["family"] == "tree")
    sample = Sample(
        sharpe=row["sharpe"] / sqrt(252),
        skewness=row["skewness"],
        kurtosis=row["kurtosis"],
        num_returns=row["num_periods"],
    )
    assert look()[TARGET, "tree"].deflated == deflate(sample, 3)
    swept = look(tried_before={TARGET: 197, "return_1m": 5})[TARGET, "tree"]
    assert swept.num_recipes == 200
    assert swept.deflated == deflate(sample, 200)
    assert look()[TARGET, "naive"].deflated is None, "no change earns nothing"


def test_har_is_no_baseline_of_itself_of_naive_or_of_a_median(look: Gather, table: pl.DataFrame) -> None:
    found = look()
    assert found[TARGET, "har"].har == NotApplicable("it is HAR itself")
    assert found[TARGET, "har"].har_skill is None
    assert found[TARGET, "point"].har == NotApplicable("it forecasts no spread")
    alone = look(table.filter(pl.col("family") != "har"))
    assert alone[TARGET, "tree"].har == NotApplicable("har is not in the run")


def test_outcomes_that_a_fit_knew_are_counted(look: Gather, cutoffs: dict[str, int]) -> None:
    """fold1 of the tree was trained up to the day on which the first 10 outcomes of each series were known."""
    later = cutoffs["tree-fold1"] + 15 * 86_400 * 10**9
    assert look(cutoffs=cutoffs | {"tree-fold1": later})[TARGET, "tree"].num_seen == 2 * 10
    assert look(cutoffs=cutoffs | {"tree-fold1": later})[TARGET, "har"].num_seen == 0


def test_a_fit_without_a_cut_off_may_have_known_everything(look: Gather, cutoffs: dict[str, int]) -> None:
    unknown = {key: when for key, when in cutoffs.items() if key != "tree-fold0"}
    assert look(cutoffs=unknown)[TARGET, "tree"].num_seen == 2 * 100


def test_what_the_run_knows_is_passed_on(look: Gather) -> None:
    seen = Parity(device="mps", num_rows=3, difference=0.5)
    found = look(parity={(TARGET, "tree"): seen}, leak_warnings=["leakage hint: knows"])
    assert found[TARGET, "tree"].parity == seen and found[TARGET, "har"].parity is None
    assert {one.leak_warnings for one in found.values()} == {("leakage hint: knows",)}


def test_a_champion_of_the_run_is_compared_with_the_others(look: Gather) -> None:
    found = look(incumbents=Incumbents(families={TARGET: "har"}, in_run=frozenset({TARGET})))
    assert found[TARGET, "har"].champion == NotApplicable("it is the champion itself")
    challenger = found[TARGET, "tree"].champion
    assert isinstance(challenger, Comparison) and challenger.other == "har" and challenger.low > 0
    assert look()[TARGET, "tree"].champion == NotApplicable("no champion yet")


def test_a_champion_with_other_parameters_is_compared_by_its_own_fits(look: Gather, table: pl.DataFrame) -> None:
    """The run's tree is better than the tree in production: it is a challenger like any other."""
    away = table.filter(family="tree").with_columns(pl.col("q0.1", "q0.5", "q0.9") * 0.5)
    found = look(incumbents=Incumbents(families={TARGET: "tree"}, predictions=away))
    for family in ("tree", "har"):
        assert isinstance(found[TARGET, family].champion, Comparison)
    elsewhere = away.with_columns(fold=pl.lit("latest"))
    missing = look(incumbents=Incumbents(families={TARGET: "tree"}, predictions=elsewhere))[TARGET, "tree"].champion
    assert missing == Missing("no row in common with the champion, tree, from the same cut-off")


def test_where_either_takes_positions_earnings_are_compared(
    look: Gather, table: pl.DataFrame, with_positions: Callable[..., pl.DataFrame]
) -> None:
    """A champion that lives by its positions has a median that anybody beats."""
    trader = pl.when(pl.col("family") == "point").then(ACTUAL.sign())
    in_run = frozenset({TARGET})
    for champion, others in (("point", ["har", "tree"]), ("tree", ["point"])):
        known = Incumbents(families={TARGET: champion}, in_run=in_run)
        found = look(with_positions(table, trader), incumbents=known)
        for family in others:
            beside = found[TARGET, family].champion
            assert isinstance(beside, Comparison) and beside.judged_by == "net_return"
            # The medians are on the right side too, so that both strategies hold the same.
            assert (beside.skill, beside.test.statistic) == (0.0, 0.0)
    har = look(with_positions(table, trader), incumbents=Incumbents(families={TARGET: "tree"}, in_run=in_run))
    beside = har[TARGET, "har"].champion
    assert isinstance(beside, Comparison) and beside.judged_by == "skill"


def test_a_champion_that_nobody_fitted_is_missing(look: Gather) -> None:
    found = look(incumbents=Incumbents(families={TARGET: "gru"}))
    assert all(isinstance(one.champion, Missing) for one in found.values())


def test_a_family_that_gave_nothing_usable_has_little_evidence(look: Gather, table: pl.DataFrame) -> None:
    nan = pl.when(pl.col("family") == "tree").then(float("nan")).otherwise("q0.5").alias("q0.5")
    tree = look(table.with_columns(nan))[TARGET, "tree"]
    assert (tree.naive, tree.deflated, tree.coverage_interval, tree.crises) == (None, None, None, ())

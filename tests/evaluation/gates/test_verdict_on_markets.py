"""Whole verdicts on markets of which the truth is known: skill, luck, a leak, a window that was seen."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from raytrain.data import DataConfig
from raytrain.data.frame import DATE, Frame, make_frame
from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.gates.comparison import Comparison
from raytrain.evaluation.gates.config import GatesConfig
from raytrain.evaluation.gates.decision import Decision
from raytrain.evaluation.gates.deflated import Sample, deflate
from raytrain.evaluation.gates.diebold_mariano import diebold_mariano
from raytrain.evaluation.gates.evidence import Circumstances, Evidence, Incumbents, Place, gather
from raytrain.evaluation.gates.parity import Parity
from raytrain.evaluation.gates.verdict import decide_all
from raytrain.evaluation.scoring.collect import collect
from raytrain.evaluation.scoring.scores import score
from raytrain.evaluation.scoring.strategy import Market
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.targets import TargetConfig
from raytrain.folds import FoldsConfig, walk_forward
from raytrain.work.dataset import Dataset
from raytrain.work.fit import Control, run_fit
from raytrain.work.plan import PlannedFit, Recipes, make_plan
from raytrain.work.store import ResultStore

DEFAULT = GatesConfig()
NUM_ROWS, HORIZON = 1500, 5
DEVIATION = 0.01 * math.sqrt(HORIZON)
Z = 1.2816


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    """1500 days of a random walk, 1 % a day."""
    rng = np.random.default_rng(20_120_101)
    days = [datetime(2012, 1, 1) + timedelta(days=i) for i in range(NUM_ROWS)]
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, NUM_ROWS)))
    return pl.DataFrame({"series_id": "A", "date": days, "close": close})


@pytest.fixture(scope="module")
def forecasts(bars: pl.DataFrame) -> Callable[..., pl.DataFrame]:
    """What a family says whose median is given, and whose band is as wide as what it does not know."""
    later = pl.col("close").shift(-HORIZON)
    rows = bars.with_columns(
        kind=pl.lit("return"),
        method=pl.lit("log"),
        horizon=pl.lit(HORIZON),
        seed=pl.lit(42),
        fold=pl.format("fold{}", pl.int_range(pl.len()) // 250),
        label_date=pl.col("date").shift(-HORIZON),
        price_actual=later,
        actual=(later / pl.col("close")).log(),
        probability=pl.lit(None, pl.Float64),
    )

    def make(family: str, median: np.ndarray, width: float = DEVIATION, label: str = "1w") -> pl.DataFrame:
        levels = {f"q{level}": median + z * width for level, z in ((0.1, -Z), (0.5, 0.0), (0.9, Z))}
        return rows.with_columns(
            family=pl.lit(family), target=pl.lit(f"return_{label}"), label=pl.lit(label), key=pl.lit(family), **levels
        )

    return make


@pytest.fixture(scope="module")
def truth(bars: pl.DataFrame) -> np.ndarray:
    """(rows,) the return of the next 5 rows, 0 where it is not known."""
    log = np.log(bars["close"].to_numpy())
    return np.concatenate([log[HORIZON:] - log[:-HORIZON], np.zeros(HORIZON)])


Judge = Callable[..., dict[str, Decision]]


@pytest.fixture(scope="module")
def judge(bars: pl.DataFrame) -> Judge:
    """Family -> decision on forecasts of fits that knew nothing of what they are judged by."""

    def run(predictions: pl.DataFrame, **known: Any) -> dict[str, Decision]:
        families = predictions["family"].unique().to_list()
        on_cpu = {
            (target, family): Parity(device="cpu") for target in predictions["target"].unique() for family in families
        }
        circumstances = {"cutoffs": dict.fromkeys(families, 0), "parity": on_cpu} | known
        scores = score(predictions, bars, 252, confidence=DEFAULT.confidence)
        market = Market.make(bars, 252, EvaluationConfig())
        evidence = gather(predictions, scores, market, DEFAULT, Circumstances(**circumstances))
        return {one.family: one for one in decide_all(scores, evidence, DEFAULT)}

    return run


def knows(truth: np.ndarray, correlation: float) -> tuple[np.ndarray, float]:
    """A median that correlates so with the outcome, and the deviation of what is left."""
    noise = np.random.default_rng(4).normal(0, DEVIATION, len(truth))
    mixed = correlation * truth + math.sqrt(1 - correlation**2) * noise
    return correlation * mixed, DEVIATION * math.sqrt(1 - correlation**2)


def test_skill_that_is_deserved_is_promoted_and_its_opposite_rejected(
    forecasts: Callable[..., pl.DataFrame], truth: np.ndarray, judge: Judge
) -> None:
    """The gates can be passed, by a correlation of 0.3 with next week's return."""
    median, width = knows(truth, 0.3)
    tables = [forecasts("naive", 0 * median), forecasts("knows", median, width), forecasts("wrong", -median, width)]
    found = judge(pl.concat(tables))
    assert {family: one.verdict for family, one in found.items()} == {
        "knows": "PROMOTE",
        "naive": "HOLD",
        "wrong": "REJECT",
    }, found["knows"].explanation


def trading(table: pl.DataFrame, position: np.ndarray | None) -> pl.DataFrame:
    """A family that forecasts a median alone, beside positions of its own."""
    if position is None:
        return table.with_columns(position=pl.lit(None, pl.Float64))
    nothing = pl.lit(None, pl.Float64)
    return table.with_columns(pl.Series("position", position), **{"q0.1": nothing, "q0.9": nothing})


def test_who_takes_positions_is_judged_by_what_they_earn(
    forecasts: Callable[..., pl.DataFrame], truth: np.ndarray, judge: Judge
) -> None:
    """The same knowledge in the positions, under a median that says the opposite; and the other way round."""
    median, _ = knows(truth, 0.3)
    side = np.sign(median)
    tables = [
        trading(forecasts("naive", 0 * median), None),
        trading(forecasts("earns", -median), side),
        trading(forecasts("loses", median), -side),
    ]
    found = judge(pl.concat(tables))
    assert {family: one.verdict for family, one in found.items()} == {
        "earns": "PROMOTE",
        "naive": "HOLD",
        "loses": "REJECT",
    }, found["earns"].explanation
    assert "net return " in found["earns"].reason and "skill" not in found["earns"].explanation.split("passes")[0]
    assert found["loses"].reason.startswith("no better than holding nothing: net return -")


def test_other_families_are_judged_as_before_beside_one_that_takes_positions(
    forecasts: Callable[..., pl.DataFrame], truth: np.ndarray, judge: Judge
) -> None:
    median, width = knows(truth, 0.3)
    both = [forecasts("naive", 0 * median), forecasts("knows", median, width)]
    beside = [trading(table, None) for table in both]
    assert judge(pl.concat(beside)) == judge(pl.concat(both))


def test_a_planted_leak_is_held_and_named(
    forecasts: Callable[..., pl.DataFrame], truth: np.ndarray, judge: Judge
) -> None:
    """Two thirds of what moves next week are known: nobody knows that."""
    median, width = knows(truth, 0.8)
    leaky = judge(pl.concat([forecasts("naive", 0 * median), forecasts("leaky", median, width)]))["leaky"]
    assert leaky.verdict == "HOLD"
    assert leaky.reason.startswith("leak_skill fails: skill ") and "looks like a leak" in leaky.reason
    assert [rule.name for rule in leaky.failed] == ["leak_skill", "leak_direction"]


def test_what_the_diagnostics_warn_of_holds_skill_that_looks_honest(
    forecasts: Callable[..., pl.DataFrame], truth: np.ndarray, judge: Judge
) -> None:
    median, width = knows(truth, 0.3)
    tables = pl.concat([forecasts("naive", 0 * median), forecasts("knows", median, width)])
    decision = judge(tables, leak_warnings=["leakage hint: goes with `return_1w`"])["knows"]
    assert [rule.name for rule in decision.failed] == ["leak_warnings"]
    assert "goes with `return_1w`" in decision.reason


def noise_models(num: int, truth: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """A sweep over seeds of a model that has learned nothing: small medians that wander."""
    found = []
    for seed in range(num):
        walk = np.convolve(
            np.random.default_rng(seed).normal(size=len(truth) + 20), np.ones(21) / math.sqrt(21), "valid"
        )
        found.append((f"noise{seed:03d}", 0.1 * DEVIATION * walk))
    return found


@pytest.mark.parametrize("label", ["1w", "2w"], ids=["with absolute thresholds", "relative rules alone"])
def test_the_luckiest_of_200_noise_models_is_not_promoted(
    label: str, forecasts: Callable[..., pl.DataFrame], truth: np.ndarray, judge: Judge
) -> None:
    tables = [forecasts(name, median, label=label) for name, median in noise_models(200, truth)]
    found = judge(pl.concat([forecasts("naive", 0 * truth, label=label), *tables]))
    passed = {rule.name: 0 for rule in found["noise000"].rules}
    for one in found.values():
        for rule in one.rules:
            passed[rule.name] += rule.passed and one.family != "naive"
    assert not [one.family for one in found.values() if one.verdict == "PROMOTE"]
    assert passed["better_than_naive"] > 0, "some are lucky enough for a test that does not count the tries"
    assert passed["diebold_mariano"] == 0


def test_a_sweep_before_the_run_counts_too(
    forecasts: Callable[..., pl.DataFrame], truth: np.ndarray, judge: Judge
) -> None:
    """The best of 200 comes alone to the gates: what it was chosen from must be told."""

    def lead(median: np.ndarray) -> float:
        return float(np.abs(truth).sum() - np.abs(truth - median).sum())

    best, median = max(noise_models(200, truth), key=lambda one: lead(one[1]))
    tables = pl.concat([forecasts("naive", 0 * truth, label="2w"), forecasts(best, median, label="2w")])
    alone, told = (judge(tables, tried_before=tried)[best] for tried in ({}, {"return_2w": 199}))
    assert alone.verdict == "PROMOTE", alone.explanation
    assert told.verdict == "HOLD"
    assert [rule.name for rule in told.failed] == ["diebold_mariano"]


def test_in_many_experiments_luck_among_200_is_as_rare_as_stated() -> None:
    """100 markets, 200 noise models on each: the luck rule lets one through in 5 % of them, and the deflated
    Sharpe ratio none of those."""
    rng, num_dates, num_models, passed, promoted = np.random.default_rng(1), 250, 200, 0, 0
    seemed_alone = 0
    for _ in range(100):
        returns = rng.normal(0, 0.01, num_dates)
        medians = rng.normal(0, 0.001, (num_models, num_dates))
        loss, earned = np.abs(returns - medians), np.sign(medians) * returns
        tests = [diebold_mariano(one, np.abs(returns), np.arange(num_dates), 1) for one in loss]
        ratios = earned.mean(axis=1) / earned.std(axis=1, ddof=1)
        lucky = [place for place, test in enumerate(tests) if test.best_of(num_models) <= DEFAULT.luck]
        seemed_alone += min(test.p_value for test in tests) <= DEFAULT.luck
        passed += bool(lucky)
        for place in lucky:
            sample = Sample(sharpe=ratios[place], skewness=0.0, kurtosis=3.0, num_returns=num_dates)
            promoted += deflate(sample, num_models, list(ratios)).probability >= 0.95
    assert seemed_alone > 70, "without counting, somebody seems better on most markets"
    assert passed <= 10
    assert promoted == 0


def noisy_frame() -> Frame:
    """A random walk beside 40 columns that have nothing to do with it."""
    rng = np.random.default_rng(5)
    days = [datetime(2019, 1, 1) + timedelta(days=i) for i in range(500)]
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, 500)))
    noise = {f"noise{place}": rng.normal(size=500) for place in range(40)}
    table = pl.DataFrame({"series_id": "A", "date": days, "close": close} | noise)
    return make_frame(table, DataConfig(), "the test", "test")


TARGET = TargetConfig(horizon=HORIZON, label="2w")


class Laboratory:
    """Real fits of a cheap family, judged as a run judges them."""

    def __init__(self, folder: Path) -> None:
        self.frame, self.store = noisy_frame(), ResultStore(folder)
        columns = [name for name in self.frame.columns if name.startswith("noise")]
        features = FeaturesConfig.model_validate({"steps": [{"step": "as_is", "columns": columns}]})
        self.dataset = Dataset.build(self.frame, build(self.frame, features), [TARGET])
        dates = self.frame.table[DATE]
        self.folds = walk_forward(dates, FoldsConfig(test_span="1q", num_folds=2, min_train_rows=50))

    def plan(self, *names: str, **params: Any) -> list[PlannedFit]:
        what = Recipes.make(names, params, targets=[TARGET], quantiles=(0.1, 0.5, 0.9), seeds=(42,), slot_device="cpu")
        return list(make_plan(self.dataset, self.folds, what).fits)

    def fit(self, fits: list[PlannedFit]) -> pl.DataFrame:
        for spec in (fit.spec for fit in fits):
            result = run_fit(spec, self.dataset, Control())
            self.store.write(spec.key, result.predictions, result.facts(spec))
        return collect(self.frame, [TARGET], [fit.spec for fit in fits], self.store)

    def having_seen(self, fits: list[PlannedFit]) -> list[PlannedFit]:
        """The same fits, trained up to today: what a challenger is that was refitted before it was judged."""
        today = int(self.dataset.date.max())
        return [replace(one, spec=replace(one.spec, fold=replace(one.spec.fold, cutoff=today))) for one in fits]

    def judge(
        self, fits: list[PlannedFit], predictions: pl.DataFrame, champion: pl.DataFrame
    ) -> tuple[Mapping[Place, Evidence], dict[str, Decision]]:
        bars = self.frame.table.select("series_id", "date", "close")
        scores = score(predictions, bars, 252)
        known = Circumstances(
            cutoffs={one.spec.key: one.spec.fold.cutoff for one in fits},
            incumbents=Incumbents(families={TARGET.name: "ridge"}, predictions=champion),
            parity={(TARGET.name, family): Parity(device="cpu") for family in ("naive", "ridge")},
        )
        evidence = gather(predictions, scores, Market.make(bars, 252, EvaluationConfig()), DEFAULT, known)
        return evidence, {one.family: one for one in decide_all(scores, evidence, DEFAULT)}


def test_a_challenger_that_saw_the_window_is_not_promoted(tmp_path: Path) -> None:
    lab = Laboratory(tmp_path)
    champion = lab.fit(lab.plan("ridge", ridge={"penalties": [1.0]}))
    naive, recipe = lab.plan("naive"), {"penalties": [1e-4], "scale": "none"}
    honest = lab.plan("ridge", ridge=recipe)
    seen = lab.having_seen(honest)

    evidence, decisions = lab.judge([*naive, *seen], lab.fit([*naive, *seen]), champion)
    beside = evidence[TARGET.name, "ridge"].champion
    assert isinstance(beside, Comparison)
    assert beside.skill > 0.05 and beside.low > 0, "it looks better than the champion"
    assert beside.mape is not None and beside.other_mape is not None and beside.mape < beside.other_mape
    assert decisions["ridge"].verdict == "HOLD"
    assert decisions["ridge"].reason.startswith("unseen fails: ")
    num_known = evidence[TARGET.name, "ridge"].num_seen
    assert num_known == sum(1 for day in lab.frame.table[DATE][:-HORIZON] if day >= datetime(2020, 1, 1))

    # The same recipe on the champion's cut-offs shows what it is worth.
    evidence, decisions = lab.judge([*naive, *honest], lab.fit([*naive, *honest]), champion)
    fair = evidence[TARGET.name, "ridge"]
    assert fair.num_seen == 0
    assert isinstance(fair.champion, Comparison) and fair.champion.skill < 0.0
    assert decisions["ridge"].verdict == "REJECT"

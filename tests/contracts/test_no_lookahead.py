"""The leak test: noise in the place of everything after a date changes nothing before it, to the bit.

Features, scalers, folds, labels known by then, keys of fits and predictions, through the same functions that a run
goes through. A table that ends on the date must agree as well.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
import polars as pl
import pytest

from raytrain import families
from raytrain.data import DataConfig
from raytrain.data.frame import DATE, make_frame
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.market import known_ahead
from raytrain.features.steps import AnyStep
from raytrain.features.steps.base import TableStep
from raytrain.features.targets import TargetConfig
from raytrain.folds import Fold, FoldsConfig, walk_forward
from raytrain.work.dataset import Dataset
from raytrain.work.fit import Control, run_fit
from raytrain.work.inputs import Inputs
from raytrain.work.plan import Plan, Recipes, make_plan
from raytrain.work.spec import FitSpec

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "zl" / "zl_daily.parquet"
KNOWN = "event"
"""The column that is published in advance: it alone is not replaced by noise."""
FIRST, DAY = datetime(2018, 1, 1), timedelta(days=1)
DAY_NS = 86_400 * 10**9
EVENTS = [str((FIRST + i * DAY).date()) for i in range(7, 1000, 23)]

# Step -> ways to use it on the columns open, high, low, close, other, event (0/1, known in advance) and regime (text).
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "as_is": [{"columns": ["other"]}],
    "lag": [{"columns": ["close", "other"], "rows": [1, 5]}],
    "log_return": [{"rows": [1, 5]}],
    "difference": [{"columns": ["other"], "rows": [1, 5]}],
    "spread": [
        {"left": "close", "right": "other", "kind": kind, "zscore_rows": [20]} for kind in ("difference", "ratio")
    ],
    "correlation": [{"pairs": [["close", "other"]], "change": "difference", "rows": [20]}],
    "rolling_mean": [{"columns": ["other"], "rows": [5, 20]}],
    "rolling_std": [{"columns": ["other"], "rows": [5, 20]}],
    "zscore": [{"columns": ["close", "other"], "rows": [20]}],
    "bollinger": [{"rows": [20]}],
    "volatility": [{"rows": [5, 20]}],
    "ewma_volatility": [{"half_life": [11]}],
    "realised_volatility": [{"method": method, "rows": [10]} for method in ("close", "parkinson", "garman_klass")],
    "garch": [{"refit": "1q", "min_rows": 100}],
    "atr": [{"rows": 14}, {"rows": 14, "relative": True}],
    "rsi": [{"columns": ["close", "other"]}],
    "macd": [{}, {"relative": True}],
    "calendar": [{"extra": ["week", "quarter", "day_of_year", "days_to_month_end"]}],
    "days_to": [{"column": KNOWN, "dates": EVENTS}],
    "regime": [{"column": "regime", "categories": ["calm", "storm"]}],
}
TARGETS = (
    TargetConfig(horizon=1, label="1d"),
    TargetConfig(horizon=20, label="1m"),
    TargetConfig(kind="price", horizon=5, label="1w", method="difference"),
    TargetConfig(kind="threshold", horizon=5, label="1w", threshold=0.02),
)
QUICK: dict[str, dict[str, Any]] = {
    "lightgbm_quantile": {"num_rounds": 20},
    "lstm": {"num_epochs": 2, "window": 10, "num_hidden": 8, "batch_size": 64},
    "multi_task": {"num_epochs": 2},
    "tft": {"num_epochs": 1, "window": 10},
}
AHEAD = 20
"""Rows of the calendar that are looked ahead: the longest horizon."""


def step_names() -> list[str]:
    """Every step that a config may name."""
    union = get_args(AnyStep)[0]
    return [kind.model_fields["step"].default for kind in get_args(union)]


def all_steps() -> FeaturesConfig:
    steps = [{"step": name} | example for name, examples in EXAMPLES.items() for example in examples]
    return FeaturesConfig.model_validate({"steps": steps, "known": ["calendar", KNOWN], "categorical": ["regime"]})


def panel() -> pl.DataFrame:
    """Two series of days from 2018: A until 2019-12-01, B begins in April and ends with it."""
    return pl.concat([_bars("A", 700, 1, 0), _bars("B", 600, 2, 100)])


def _bars(name: str, rows: int, seed: int, first: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, rows) * np.repeat([1.0, 0.4], -(-rows // 2))[:rows]))
    start = close * np.exp(rng.normal(0, 0.005, rows))
    other = rng.normal(50, 5, rows)
    other[rng.random(rows) < 0.05] = np.nan
    return pl.DataFrame(
        {
            "series_id": name,
            "date": [FIRST + (first + i) * DAY for i in range(rows)],
            "open": start,
            "high": np.maximum(start, close) * 1.01,
            "low": np.minimum(start, close) * 0.99,
            "close": close,
            "other": other,
            KNOWN: ((first + np.arange(rows)) % 23 == 7).astype(float),
            "regime": rng.choice(["calm", "storm", "odd"], rows),
        }
    )


def real_bars() -> pl.DataFrame:
    """The newest years of a real commodity under the names of the examples; its bars are made of closes."""
    if not REAL.exists():
        pytest.skip("the development data is not on this machine: zl/zl_daily.parquet")
    table = pl.read_parquet(REAL).filter(pl.col("date") >= datetime(2014, 1, 1))
    close, before = pl.col("close_index"), pl.col("close_index").shift(1).backward_fill()
    return table.select(
        "series_id",
        "date",
        open=before,
        high=pl.max_horizontal(close, before),
        low=pl.min_horizontal(close, before),
        close=close,
        other="vix",
        **{KNOWN: "is_wasde_day"},
        regime="market_regime",
    )


def poisoned(table: pl.DataFrame, last: datetime) -> pl.DataFrame:
    """Noise after `last`: other prices, gaps elsewhere, categories that never were."""
    rng = np.random.default_rng(9)
    future = pl.col("date") > last
    columns = []
    for name, kind in table.drop("series_id", "date", KNOWN).schema.items():
        noise = pl.Series(rng.uniform(1, 900, table.height))
        if kind == pl.String:
            columns.append(pl.when(future).then(pl.lit("never seen")).otherwise(name).alias(name))
        else:
            noise = noise if name != "other" else noise.set(pl.Series(rng.random(table.height) < 0.3), float("nan"))
            noise = noise / 1000 if name == "low" else noise
            columns.append(pl.when(future).then(noise).otherwise(name).alias(name))
    return table.with_columns(columns)


@dataclass(frozen=True)
class Run:
    """What a run makes of a table before it fits."""

    dataset: Dataset
    folds: list[Fold]

    @classmethod
    def of(cls, table: pl.DataFrame, features: FeaturesConfig, test_span: str = "1q") -> "Run":
        """With as many folds as the table has."""
        config = DataConfig(high="high", low="low", volatility_index="other")
        frame = make_frame(table, config, "the test", "test")
        made = build(frame, features)
        dates = frame.table[DATE].filter(pl.Series(made.usable))
        num_folds = dates.dt.truncate(test_span).n_unique() - 1
        return cls(
            Dataset.build(frame, made, TARGETS, ahead=known_ahead(frame, features, made, AHEAD)),
            walk_forward(dates, FoldsConfig(test_span=test_span, num_folds=num_folds)),
        )

    def plan(self, name: str, folds: list[Fold]) -> Plan:
        params = {name: QUICK.get(name, {})}
        what: dict[str, Any] = {"quantiles": (0.1, 0.5, 0.9), "seeds": (42,), "slot_device": "cpu"}
        return make_plan(self.dataset, folds, Recipes.make([name], params, targets=TARGETS, **what))

    def past(self, last: datetime) -> dict[str, Any]:
        """Everything that is settled on `last`, as bytes and plain values."""
        now = int(pl.Series([last]).dt.timestamp("ns")[0])
        rows = self.dataset.date <= now
        done = [fold for fold in self.folds if fold.test_end <= now + DAY_NS]
        facts: dict[str, Any] = {
            "features": [self.dataset.meta["features"], self.dataset.x[rows].tobytes()],
            "usable": self.dataset.usable[rows].tobytes(),
            "folds": [asdict(fold) for fold in done],
            "keys": [fit.spec.key for fit in self.plan("naive", done).fits],
        }
        for target in TARGETS:
            known = rows & (self.dataset.label_date(target.name) <= now)
            facts[f"labels of {target.name}"] = [known[rows].tobytes(), self.dataset.y(target.name)[known].tobytes()]
        for method in ("log", "difference"):
            path = self.dataset.path(method)
            facts[f"{method} path"] = [array[rows].tobytes() for array in (path.change, path.range, path.implied)]
        # Beyond the table's end a published event is unknown, so only rows count whose future lies in it.
        inside = self.dataset.date <= now - AHEAD * DAY_NS
        facts["known ahead"] = self.dataset.ahead.of(np.flatnonzero(inside), AHEAD).tobytes()
        facts["scalers"] = [self.scaler(fit.spec) for fit in self.plan("lstm", self.trained(now)).fits]
        return facts

    def trained(self, now: int) -> list[Fold]:
        """The folds that were trained by then: the last one may be open."""
        return [fold for fold in self.folds if fold.test_start <= now]

    def scaler(self, spec: FitSpec) -> str:
        """What a fit learned of its training rows before the family sees them."""
        family = families.get(spec.family)
        inputs = Inputs.make(family, family.params_type.model_validate_json(spec.params), self.dataset, spec)
        assert inputs.preparation.preprocess is not None
        rows = [array[inputs.train].tolist() for array in (self.dataset.series, self.dataset.date)]
        assert inputs.preparation.volatility or spec.task == "binary"
        return json.dumps([inputs.preparation.to_json(), rows])

    def predictions(self, name: str, last: datetime) -> dict[str, bytes]:
        """Fit -> its predictions on rows up to `last`, of folds that were trained by then."""
        now = int(pl.Series([last]).dt.timestamp("ns")[0])
        found = {}
        for fit in self.plan(name, self.trained(now)).fits:
            table = run_fit(fit.spec, self.dataset, Control()).predictions.filter(pl.col(DATE) <= last)
            columns = table.drop("target", "series_id", DATE).to_numpy().tobytes()
            found[fit.spec.label] = json.dumps(table[DATE].dt.timestamp("us").to_list()).encode() + columns
        return found


Settled = dict[str, Any]
CUTS = [datetime(2019, 3, 31), datetime(2019, 4, 12), datetime(2019, 7, 1)]
"""The end of a block, some days into one (fewer than the longest horizon), the first day of one."""


@pytest.fixture(scope="session")
def clean() -> Run:
    """The panel as it is, with every step."""
    return Run.of(panel(), all_steps())


@pytest.fixture(scope="session")
def noisy() -> Callable[[datetime], Run]:
    """The panel with noise after a date, with every step; each made once."""
    made: dict[datetime, Run] = {}

    def make(last: datetime) -> Run:
        if last not in made:
            made[last] = Run.of(poisoned(panel(), last), all_steps())
        return made[last]

    return make


def assert_same(found: Settled, expected: Settled) -> None:
    assert [name for name in expected if found[name] != expected[name]] == []


def test_every_step_has_an_example() -> None:
    """A new step is tested here as soon as this table says how it is used."""
    assert set(EXAMPLES) == set(step_names())


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_step_looks_ahead(name: str) -> None:
    features = FeaturesConfig.model_validate(
        {"steps": [{"step": name} | example for example in EXAMPLES[name]], "known": ["calendar", KNOWN]}
    )
    assert [peeked for last in CUTS for peeked in _peeks(features, last)] == []


def _peeks(features: FeaturesConfig, last: datetime) -> list[str]:
    """Features whose values up to `last` depend on what comes after."""
    tables = (panel(), poisoned(panel(), last))
    clean, noisy = (build(make_frame(one, DataConfig(), "the test", "test"), features) for one in tables)
    past = (panel()["date"] <= last).to_numpy()
    assert clean.names == noisy.names
    pairs = zip(clean.names, clean.x[past].T, noisy.x[past].T, strict=True)
    return [name for name, one, other in pairs if one.tobytes() != other.tobytes()]


class Peek(TableStep):
    """Tomorrow's price, as a step that somebody wrote in a hurry."""

    step: str = "peek"
    looks_ahead: ClassVar[bool] = False

    def over(self, frame: Any) -> tuple[str, ...]:
        return (frame.price,)

    def expressions(self, frame: Any) -> list[pl.Expr]:
        return [pl.col(frame.price).shift(-1).over("series_id").alias("peek"), pl.col(frame.price).alias("honest")]


def test_a_planted_look_ahead_is_found() -> None:
    assert _peeks(FeaturesConfig.model_construct(steps=(Peek(),)), CUTS[0]) == ["peek"]


@pytest.mark.parametrize("last", CUTS, ids=str)
def test_noise_after_a_date_changes_nothing_before_it(
    last: datetime, clean: Run, noisy: Callable[[datetime], Run]
) -> None:
    expected = clean.past(last)
    assert len(expected["folds"]) >= 2
    assert len(expected["keys"]) == len(TARGETS) * len(expected["folds"])
    assert_same(noisy(last).past(last), expected)


@pytest.mark.parametrize("last", CUTS, ids=str)
def test_a_table_that_ends_on_the_date_agrees(last: datetime, clean: Run) -> None:
    ended = Run.of(panel().filter(pl.col("date") <= last), all_steps())
    assert_same(ended.past(last), clean.past(last))


@pytest.mark.parametrize(
    "family",
    [
        "naive",
        "har",
        *(pytest.param(name, marks=pytest.mark.native) for name in ("gjr", "change_point", "gmm_regime", "ridge")),
        pytest.param("lightgbm_quantile", marks=pytest.mark.native),
        *(pytest.param(name, marks=pytest.mark.torch) for name in ("lstm", "tft")),
        pytest.param("multi_task", marks=pytest.mark.keras),
    ],
)
def test_no_prediction_knows_what_comes_after_it(family: str, clean: Run, noisy: Callable[[datetime], Run]) -> None:
    """Also in the block that is open on the date: its fold was trained before."""
    last = CUTS[1]
    expected = clean.predictions(family, last)
    assert len(expected) >= 2 * 3
    assert_same(noisy(last).predictions(family, last), expected)


def test_what_comes_after_the_noise_sees_it(clean: Run, noisy: Callable[[datetime], Run]) -> None:
    """Otherwise the tests above would find nothing at all."""
    last = CUTS[0]
    runs = clean, noisy(last)
    for before, after in zip(*(run.plan("lstm", run.folds[-1:]).fits for run in runs), strict=True):
        assert before.spec.key != after.spec.key
        assert clean.scaler(before.spec) != noisy(last).scaler(after.spec)
    before, after = (run.predictions("naive", datetime(2020, 1, 1)) for run in runs)
    assert before != after


def test_nor_does_anything_on_real_bars() -> None:
    table, last = real_bars(), datetime(2020, 8, 14)
    clean, noisy = (Run.of(one, all_steps(), "1y") for one in (table, poisoned(table, last)))
    assert_same(noisy.past(last), clean.past(last))
    assert_same(noisy.predictions("naive", last), clean.predictions("naive", last))

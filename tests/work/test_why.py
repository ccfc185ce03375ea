"""Every part of a key that changes is named, in words, and nothing else is."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import polars as pl
import pytest

from raytrain.data import Frame
from raytrain.data.frame import DATE
from raytrain.errors import ConfigError
from raytrain.folds import FoldsConfig, latest
from raytrain.work.dataset import Dataset
from raytrain.work.fit import Control, run_fit
from raytrain.work.key_parts import changes
from raytrain.work.plan import Plan
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore
from raytrain.work.why import NEVER, StoredFits, explain, find_key, reason

MakePlan = Callable[..., Plan]
AsFrame = Callable[[pl.DataFrame], Frame]
AsDataset = Callable[[Frame], Dataset]
Change = Callable[[pl.DataFrame], pl.DataFrame]
OPEN, CLOSED = "2020-04-01", "2020-01-01"

OTHERS: dict[str, tuple[Any, str]] = {
    "family_version": (9, "family version"),
    "packages": ((("lightgbm", "4.8.0"),), "library version"),
    "params": ('{"window":7}', "parameters"),
    "target": ("return_9w", "target"),
    "target_configs": (('{"horizon":9,"method":"log"}',), "target"),
    "task": ("binary", "target"),
    "quantiles": ((0.2, 0.5, 0.8), "quantiles"),
    "seed": (7, "seed"),
    "device": ("mps", "device"),
    "features_hash": ("f0", "features"),
    "labels_hash": ("f0", "labels"),
    "block_hash": ("f0", "new rows"),
    "series_hash": ("f0", "series"),
    "path_hash": ("f0", "prices"),
    "preprocess": ('{"clip":5}', "preprocessing"),
    "members": (("k1",), "members"),
    "budget_s": (60.0, "budget"),
}
"""Part -> another value, and what the change is called; the family is what results are found by."""


@pytest.fixture
def kept(plan: MakePlan, dataset: Dataset, store: ResultStore) -> Callable[..., FitSpec]:
    """Fit and store naive fits of `return_1w` of one dataset; gives that of the fold."""

    def keep(fold: str, *, only: Dataset | None = None, **rest: Any) -> FitSpec:
        seen = Dataset.open((only or dataset).save(store.root / "prepared"))
        found = [fit.spec for fit in plan("naive", "har", only=seen, **rest).fits if fit.spec.target == "return_1w"]
        for spec in found:
            result = run_fit(spec, seen, Control())
            store.write(spec.key, result.predictions, result.facts(spec))
        return next(spec for spec in found if spec.fold.name == fold)

    return keep


def planned(plan: Plan) -> list[FitSpec]:
    return [fit.spec for fit in plan.fits]


def of(specs: Sequence[FitSpec], family: str, fold: str, target: str = "return_1w") -> FitSpec:
    (found,) = (one for one in specs if (one.family, one.fold.name, one.target) == (family, fold, target))
    return found


@pytest.mark.parametrize("part", OTHERS)
def test_each_part_alone_is_told(part: str, plan: MakePlan) -> None:
    old = of(planned(plan("har")), "har", CLOSED)
    other, word = OTHERS[part]
    found = changes(old.to_dict(), replace(old, **{part: other}).to_dict())
    assert [change.reason for change in found] == [word]
    assert found[0].lines


def test_no_part_is_forgotten(plan: MakePlan) -> None:
    assert {*OTHERS, "family", "fold"} == {field.name for field in fields(FitSpec)}
    old = of(planned(plan("har")), "har", CLOSED)
    moved = replace(old, fold=replace(old.fold, train_start=0, cutoff=old.fold.cutoff - 86_400 * 10**9))
    (found,) = changes(old.to_dict(), moved.to_dict())
    assert found == (
        "fold",
        (
            "the first day to train on was not given, is 1970-01-01",
            "the cut-off was 2019-12-31, is 2019-12-30",
        ),
    )


def test_what_is_equal_has_no_changes(plan: MakePlan) -> None:
    spec = of(planned(plan("har")), "har", CLOSED)
    assert changes(spec.to_dict(), spec.to_dict()) == []


def test_keys_of_an_older_raytrain_are_told_from_ours(plan: MakePlan) -> None:
    spec = of(planned(plan("har")), "har", CLOSED)
    older = spec.to_dict()
    del older["block_hash"], older["series_hash"]
    (found,) = changes(older, spec.to_dict())
    assert found.reason == "another raytrain"
    assert "block_hash, series_hash" in found.lines[0]


def test_what_is_stored_says_so(
    kept: Callable[..., FitSpec], plan: MakePlan, dataset: Dataset, store: ResultStore
) -> None:
    spec = kept(CLOSED)
    for query in (spec.key, spec.key[:12], spec.label, "naive return_1w 2020-01"):
        head, said = explain(query, planned(plan("naive", "har")), dataset, store)
        assert head == f"{spec.key} naive return_1w {CLOSED} s42"
        assert said.startswith("stored on 2")
        assert said.endswith("UTC, nothing changed")


def restated(table: pl.DataFrame) -> pl.DataFrame:
    """`other` of A is another on 2019-11-01."""
    there = (pl.col("series_id") == "A") & (pl.col(DATE) == pl.datetime(2019, 11, 1))
    return table.with_columns(other=pl.when(there).then(0.0).otherwise("other"))


def without_a_day(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter((pl.col("series_id") != "B") | (pl.col(DATE) != pl.datetime(2019, 11, 1)))


def repriced(table: pl.DataFrame) -> pl.DataFrame:
    """The close of A is one per cent higher on 2019-11-01."""
    there = (pl.col("series_id") == "A") & (pl.col(DATE) == pl.datetime(2019, 11, 1))
    return table.with_columns(close=pl.when(there).then(pl.col("close") * 1.01).otherwise("close"))


def with_a_series(table: pl.DataFrame) -> pl.DataFrame:
    late = table.filter(pl.col(DATE) >= pl.datetime(2020, 2, 1), series_id="A")
    return pl.concat([table, late.with_columns(series_id=pl.lit("C"))])


UP_TO = "features: features up to 2019-12-31: "


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (restated, [f"{UP_TO}`other_z_10` differs on 10 rows 2019-11-01 to 2019-11-10 (first A 2019-11-01, was "]),
        (without_a_day, [f"{UP_TO}1 gone row of B: 2019-11-01"]),
        (
            repriced,
            [
                f"{UP_TO}`close_ret_1` differs on 2 rows 2019-11-01 to 2019-11-02 (first A 2019-11-01",
                f"{UP_TO}`close_ret_5` differs on 2 rows 2019-11-01 to 2019-11-06 (first A 2019-11-01",
                "labels: labels known on 2019-12-31: return_1w differs on 2 rows 2019-10-27 to 2019-11-01",
                "prices: prices up to 2019-12-31: change-log differs on 2 rows 2019-11-01 to 2019-11-02",
            ],
        ),
        (with_a_series, ["series: series, as of 2019-12-31: series C is new"]),
    ],
)
def test_which_rows_changed_is_told(
    change: Change,
    said: list[str],
    kept: Callable[..., FitSpec],
    plan: MakePlan,
    table: pl.DataFrame,
    as_frame: AsFrame,
    as_dataset: AsDataset,
    store: ResultStore,
) -> None:
    kept(CLOSED)
    now = as_dataset(as_frame(change(table)))
    specs = planned(plan("naive", "har", only=now))
    lines = explain(of(specs, "har", CLOSED).key, specs, now, store)
    assert lines[1] == "planned, not stored"
    assert lines[2].startswith(f"against har return_1w {CLOSED} s42, ")
    told = [line.strip() for line in lines[3:]]
    for expected in said:
        assert any(line.startswith(expected) for line in told), told
    assert {line.split(":")[0] for line in told} - {"new rows"} >= {line.split(":")[0] for line in said}


def test_a_new_day_is_new_rows_and_nothing_else(
    kept: Callable[..., FitSpec],
    plan: MakePlan,
    table: pl.DataFrame,
    as_frame: AsFrame,
    as_dataset: AsDataset,
    dataset: Dataset,
    store: ResultStore,
) -> None:
    before = kept(OPEN, only=as_dataset(as_frame(table.filter(pl.col(DATE) < table[DATE].max()))))
    specs = planned(plan("naive", "har"))
    told = explain(of(specs, "naive", OPEN).key, specs, dataset, store)
    assert told[2].startswith(f"against naive return_1w {OPEN} s42, {before.key}, stored on ")
    rows = [f"  new rows: rows after 2020-03-31: 1 new row of {name}: 2020-05-14" for name in "AB"]
    assert told[3:] == rows
    stored = StoredFits.of(store)
    to_run = [spec for spec in specs if spec.target == "return_1w" and not store.has(spec.key)]
    assert {(spec.fold.name, reason(spec, stored)) for spec in to_run} == {(OPEN, "new rows")}


def test_rows_that_are_gone_cannot_be_told(
    kept: Callable[..., FitSpec],
    plan: MakePlan,
    table: pl.DataFrame,
    as_frame: AsFrame,
    as_dataset: AsDataset,
    store: ResultStore,
    age: Callable[..., None],
) -> None:
    kept(CLOSED)
    for folder in (store.root / "prepared").iterdir():
        age(folder)
    store.sweep()
    now = as_dataset(as_frame(restated(table)))
    specs = planned(plan("naive", only=now))
    lines = explain(of(specs, "naive", CLOSED).key, specs, now, store)
    assert lines[3] == "  features: features up to 2019-12-31"
    assert lines[-1] == "  the rows that it saw are not kept any more: which of them changed cannot be told"


def test_another_parameter_changes_no_rows(
    kept: Callable[..., FitSpec], plan: MakePlan, dataset: Dataset, store: ResultStore
) -> None:
    """A fit that reads no prices any more has another hash of them, and the same rows."""
    kept(CLOSED, params={"naive": {"scale": "har"}})
    specs = planned(plan("naive", params={"naive": {"window": 100}}))
    lines = explain(of(specs, "naive", CLOSED).key, specs, dataset, store)
    assert lines[3:] == ["  parameters: `scale` was har, is none", "  parameters: `window` was 756, is 100"]


def test_a_kept_model_is_told(plan: MakePlan, dataset: Dataset, store: ResultStore) -> None:
    specs = planned(plan("naive"))
    spec = of(specs, "naive", OPEN)
    run_fit(spec, dataset, Control(), store)
    assert "only the forecast is made again" in explain(spec.key, specs, dataset, store)[2]


def test_what_was_never_fitted_is_told_beside_its_nearest(
    kept: Callable[..., FitSpec], plan: MakePlan, frame: Frame, dataset: Dataset, store: ResultStore
) -> None:
    specs = planned(plan("naive", "drift"))
    newest = replace(of(specs, "naive", OPEN), fold=latest(frame.table[DATE], FoldsConfig()))
    kept(CLOSED)
    never = of(specs, "drift", OPEN)
    assert explain(never.key, specs, dataset, store)[2] == f"{NEVER}: the store has no result of drift on return_1w"
    lines = explain(newest.key, [*specs, newest], dataset, store)
    assert lines[2] == f"{NEVER} on fold latest with seed 42"
    assert lines[3].startswith(f"against naive return_1w {OPEN} s42, {of(specs, 'naive', OPEN).key}, stored on ")
    assert lines[5:] == ["  fold: the cut-off was 2020-03-31, is 2020-05-14"]
    stored = StoredFits.of(store)
    assert {reason(never, stored), reason(newest, stored)} == {NEVER}


def test_an_ensemble_names_the_fits_that_it_waits_for(
    kept: Callable[..., FitSpec], plan: MakePlan, dataset: Dataset, store: ResultStore
) -> None:
    kept(CLOSED, params={"naive": {"window": 99}})
    specs = planned(plan("naive", "har", "ensemble", params={"ensemble": {"members": ["naive", "har"]}}))
    lines = explain(of(specs, "ensemble", CLOSED).key, specs, dataset, store)
    assert lines[-2:] == [
        "it mixes naive return_1w 2019-10-01 s42: parameters",
        "it mixes naive return_1w 2020-01-01 s42: parameters",
    ]


def test_a_result_of_another_day_is_told_against_today(
    kept: Callable[..., FitSpec],
    plan: MakePlan,
    table: pl.DataFrame,
    as_frame: AsFrame,
    as_dataset: AsDataset,
    dataset: Dataset,
    store: ResultStore,
) -> None:
    before = kept(OPEN, only=as_dataset(as_frame(table.filter(pl.col(DATE) < table[DATE].max()))))
    lines = explain(before.key, planned(plan("naive")), dataset, store)
    assert lines[1].endswith("UTC, not of today's plan")
    assert lines[3] == "  new rows: rows after 2020-03-31: 1 new row of A: 2020-05-14"
    gone = explain(before.key, planned(plan("har")), dataset, store)
    assert gone[2:] == ["today's plan has no fit of this family, target, fold and seed"]


def test_the_nearest_is_the_newest_of_those_that_differ_least(
    kept: Callable[..., FitSpec], plan: MakePlan, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for window in (10, 20, 30):
        kept(CLOSED, params={"naive": {"window": window}})
    far = kept(CLOSED, params={"naive": {"window": 40, "scale": "ewma"}})
    stored = StoredFits.of(store)
    days = {key: replace(one, stored_at=f"2020-01-0{at}") for at, (key, one) in enumerate(stored.by_key.items(), 1)}
    today = of(planned(plan("naive")), "naive", CLOSED)
    near = [one for one in days.values() if one.label == today.label and one.key != far.key]
    newest = max(near, key=lambda one: one.stored_at)
    assert len(near) == 3
    found = StoredFits(days, {("naive", "return_1w"): list(days.values())}).nearest(today)
    assert found == newest


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("naiv return_1d 2020-01-01 s42", "or begin one, got `naiv return_1d 2020-01-01 s42`; the nearest is "),
        ("naive return_1d", "must begin one key only, got `naive return_1d`, which begins 3: "),
        ("", "must begin one key only, got ``, which begins 9: "),
    ],
)
def test_a_question_about_no_key_names_the_nearest(
    query: str, said: str, plan: MakePlan, dataset: Dataset, store: ResultStore
) -> None:
    specs = planned(plan("naive"))
    with pytest.raises(ConfigError) as error:
        explain(query, specs, dataset, store)
    assert said in str(error.value)
    assert of(specs, "naive", CLOSED, "return_1d").key in str(error.value)


def test_an_empty_store_and_plan_know_no_key() -> None:
    with pytest.raises(ConfigError, match="got `abc`, and there is none"):
        find_key("abc", {}, StoredFits({}, {}))

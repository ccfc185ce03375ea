"""Folds stay where the calendar puts them, train only on what was known, and test each row once."""

import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from raytrain import folds
from raytrain.errors import DataError
from raytrain.folds import Fold, FoldsConfig, latest, walk_forward

SPANS = st.sampled_from(["1y", "2q", "1mo", "5mo", "4w", "45d"])


def business_days(first: str, last: str) -> pl.Series:
    days = pl.datetime_range(datetime.datetime.fromisoformat(first), datetime.datetime.fromisoformat(last), eager=True)
    return days.filter(days.dt.weekday() <= 5)


def ns(dates: pl.Series) -> np.ndarray:
    return dates.dt.timestamp("ns").to_numpy()


def of(text: str) -> int:
    return int(pl.Series([datetime.datetime.fromisoformat(text)]).dt.timestamp("ns")[0])


DAYS = business_days("2010-03-10", "2014-05-20")


def test_years_by_hand() -> None:
    found = walk_forward(DAYS, FoldsConfig(test_span="1y", num_folds=3))
    assert found == [
        Fold(
            name="2012-01-01",
            train_start=None,
            cutoff=of("2011-12-30"),
            test_start=of("2012-01-01"),
            test_end=of("2013-01-01"),
        ),
        Fold(
            name="2013-01-01",
            train_start=None,
            cutoff=of("2012-12-31"),
            test_start=of("2013-01-01"),
            test_end=of("2014-01-01"),
        ),
        Fold(
            name="2014-01-01",
            train_start=None,
            cutoff=of("2013-12-31"),
            test_start=of("2014-01-01"),
            test_end=of("2015-01-01"),
        ),
    ]


def test_rolling_folds_train_on_a_span() -> None:
    [fold] = walk_forward(DAYS, FoldsConfig(test_span="1q", num_folds=1, train_span="18mo"))
    assert (fold.test_start, fold.train_start) == (of("2014-04-01"), of("2012-10-01"))
    date = ns(DAYS)
    trained = DAYS.filter(pl.Series(folds.train_rows(fold, date, date + 1)))
    assert [str(day)[:10] for day in (trained.min(), trained.max())] == ["2012-10-01", "2014-03-28"]


def test_hours() -> None:
    hours = pl.datetime_range(datetime.datetime(2022, 1, 1), datetime.datetime(2022, 1, 3, 7), "1h", eager=True)
    found = walk_forward(hours, FoldsConfig(test_span="12h", num_folds=3))
    assert [fold.name for fold in found] == ["2022-01-02T00:00", "2022-01-02T12:00", "2022-01-03T00:00"]
    assert found[0].cutoff == of("2022-01-01T23:00")
    assert [int(folds.test_rows(fold, ns(hours)).sum()) for fold in found] == [12, 12, 8]


def test_the_calendar_of_blocks_does_not_depend_on_the_first_row() -> None:
    config = FoldsConfig(test_span="4w", num_folds=2)
    assert walk_forward(DAYS, config) == walk_forward(DAYS[200:], config)


@settings(max_examples=40, deadline=None)
@given(span=SPANS, train_span=st.sampled_from([None, "1y"]), rows=st.integers(700, len(DAYS)), more=st.integers(1, 400))
def test_later_rows_do_not_move_earlier_folds(span: str, train_span: str | None, rows: int, more: int) -> None:
    config = FoldsConfig(test_span=span, train_span=train_span, num_folds=2)
    before = walk_forward(DAYS[:rows], config)
    every = FoldsConfig(test_span=span, train_span=train_span, num_folds=len(_blocks(DAYS[: rows + more], span)) - 1)
    after = {fold.name: fold for fold in walk_forward(DAYS[: rows + more], every)}
    assert [after[fold.name] for fold in before] == before


def _blocks(days: pl.Series, span: str) -> pl.Series:
    return days.dt.truncate(span).unique()


@settings(max_examples=40, deadline=None)
@given(span=SPANS, rows=st.integers(700, len(DAYS)), horizon=st.integers(1, 130))
def test_no_training_label_is_later_than_the_cut_off(span: str, rows: int, horizon: int) -> None:
    days = DAYS[:rows]
    date, label_date = ns(days), ns(DAYS)[horizon : rows + horizon]
    label_date = np.append(label_date, np.full(rows - len(label_date), np.iinfo(np.int64).max))
    for fold in walk_forward(days, FoldsConfig(test_span=span, num_folds=2)):
        train, test = folds.train_rows(fold, date, label_date), folds.test_rows(fold, date)
        assert label_date[train].max() <= fold.cutoff < date[test].min()
        assert fold.cutoff < fold.test_start
        # Nothing known is left out either: exactly `horizon` rows before the test block are purged.
        assert np.flatnonzero(test)[0] - np.flatnonzero(train)[-1] == horizon + 1


@settings(max_examples=40, deadline=None)
@given(span=SPANS, rows=st.integers(700, len(DAYS)), num_folds=st.integers(1, 5))
def test_test_rows_are_a_partition_of_the_newest_dates(span: str, rows: int, num_folds: int) -> None:
    days = DAYS[:rows]
    num_folds = min(num_folds, len(_blocks(days, span)) - 1)
    found = walk_forward(days, FoldsConfig(test_span=span, num_folds=num_folds))
    assert len(found) == num_folds
    times_tested = sum(folds.test_rows(fold, ns(days)).astype(int) for fold in found)
    first = int(np.flatnonzero(times_tested)[0])
    assert times_tested.tolist() == [0] * first + [1] * (rows - first)
    assert all(one.test_end <= other.test_start for one, other in pairwise(found))


def test_series_with_other_calendars_share_the_folds() -> None:
    """B has weekends too and begins later; its rows fall into the same blocks by their date."""
    weekends = pl.datetime_range(datetime.datetime(2012, 6, 1), datetime.datetime(2014, 5, 18), eager=True)
    dates = pl.concat([DAYS, weekends])
    found = walk_forward(dates, FoldsConfig(num_folds=2))
    assert [fold.name for fold in found] == ["2013-01-01", "2014-01-01"]
    assert folds.test_rows(found[1], ns(weekends)).sum() == 31 + 28 + 31 + 30 + 18
    assert found[0].cutoff == of("2012-12-31")


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(DataError) as error:
        walk_forward(DAYS, FoldsConfig(test_span="1y", num_folds=5))
    assert str(error.value) == (
        "folds.num_folds = 5 blocks of 1y need as many blocks after the first, got 4 between 2010-03-10 00:00:00 and "
        "2014-05-20 00:00:00; lower num_folds or test_span, or bring more rows"
    )


def test_no_usable_row_is_refused() -> None:
    with pytest.raises(DataError, match="longer than the features' look-back, got none; bring more rows"):
        walk_forward(DAYS.clear(), FoldsConfig())


def test_latest_trains_on_all_that_is_known_and_predicts_the_newest_date() -> None:
    fold = latest(DAYS, FoldsConfig())
    date, horizon = ns(DAYS), 5
    label_date = np.append(date[horizon:], np.full(horizon, np.iinfo(np.int64).max))
    assert (fold.name, fold.train_start) == ("latest", None)
    assert folds.train_rows(fold, date, label_date).tolist() == [True] * (len(date) - 5) + [False] * 5
    assert folds.test_rows(fold, date).tolist() == [False] * (len(date) - 1) + [True]


def test_latest_of_a_rolling_run_rolls() -> None:
    fold = latest(DAYS, FoldsConfig(train_span="1y"))
    assert fold.train_start == of("2013-05-20")


@pytest.mark.parametrize("span", ["1fortnight", "0d", "y", "1.5y", "-1y", "1 y", "100y", "", "1y1mo"])
@pytest.mark.parametrize("field", ["test_span", "train_span"])
def test_spans_that_are_none_are_refused(field: str, span: str) -> None:
    with pytest.raises(ValidationError, match="calendar length"):
        FoldsConfig.model_validate({field: span})


@pytest.mark.parametrize("span", ["9999m", "9999h", "9999d", "999w", "999mo", "99q", "99y"])
def test_the_longest_spans_still_fit_the_clock(span: str) -> None:
    FoldsConfig(test_span=span)
    days = pl.Series([datetime.datetime(1950, 1, 2), datetime.datetime(2000, 6, 1), datetime.datetime(2099, 12, 31)])
    [fold] = walk_forward(days, FoldsConfig(test_span="1y", train_span=span, num_folds=1))
    assert fold.train_start is not None
    assert fold.train_start < fold.test_start < fold.test_end


@pytest.mark.parametrize("fields", [{"num_folds": 0}, {"min_train_rows": 9}, {"test_spn": "1y"}])
def test_wrong_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FoldsConfig.model_validate(fields)

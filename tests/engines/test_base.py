from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from raytrain.engines.base import FitContext, FitData, Params, Shape, output_quantiles
from raytrain.errors import FitError
from raytrain.families import get


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_target_that_is_not_finite_is_refused(rows, value: float) -> None:
    y = rows().y.copy()
    y[3] = value
    with pytest.raises(FitError, match="got 1 NaN or infinite"):
        replace(rows(), y=y)


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1.0])
def test_a_weight_must_be_finite_and_not_negative(rows, weight: float) -> None:
    with pytest.raises(FitError, match="weights must be finite"):
        rows(weight=weight)


def test_weights_may_not_all_be_zero(rows) -> None:
    with pytest.raises(FitError, match="not all 0"):
        rows(weight=0.0)


def test_a_fit_needs_a_row(rows) -> None:
    with pytest.raises(FitError, match="at least 1 training row"):
        rows().take(np.empty(0, dtype=int))


def test_the_tail_is_the_newest_dates_of_every_series_and_unseen_by_the_head(rows) -> None:
    data: FitData = rows(dates=100, horizon=7)
    parts = data.head_and_tail(0.2)
    assert parts is not None
    head, tail = parts
    assert sorted(set(data.date[tail])) == sorted(set(data.date))[80:]
    assert len(tail) == 2 * 20
    # A naive loop over the rule: the label was known before the tail begins.
    first = data.date[tail].min()
    assert head.tolist() == [i for i in range(len(data.y)) if data.label_date[i] < first]
    assert len(head) == 2 * (80 - 7)


def test_rows_of_weight_zero_are_on_neither_side(rows) -> None:
    data: FitData = rows(dates=50)
    weight = data.weight.copy()
    weight[::3] = 0
    parts = replace(data, weight=weight).head_and_tail(0.3)
    assert parts is not None
    assert (weight[np.concatenate(parts)] > 0).all()


@pytest.mark.parametrize(("dates", "horizon"), [(1, 1), (10, 9)])
def test_too_few_dates_cannot_be_split(rows, dates: int, horizon: int) -> None:
    assert rows(dates=dates, horizon=horizon).head_and_tail(0.2) is None


def test_take_keeps_rows_together(rows) -> None:
    data: FitData = rows()
    taken = data.take(np.array([5, 2]))
    assert taken.y.tolist() == data.y[[5, 2]].tolist()
    assert taken.label_date.tolist() == data.label_date[[5, 2]].tolist()


def test_parameters_are_frozen_and_unknown_ones_refused() -> None:
    params = Params()
    with pytest.raises(ValidationError):
        params.anything = 1  # type: ignore[attr-defined]
    with pytest.raises(ValidationError):
        Params(anything=1)  # type: ignore[call-arg]


def test_only_quantile_families_predict_the_levels_that_were_asked_for() -> None:
    levels = (0.1, 0.5, 0.9)
    context = FitContext(quantiles=levels)
    assert output_quantiles(get("naive"), context) == levels
    assert output_quantiles(get("lightgbm"), context) == (0.5,)
    assert output_quantiles(get("naive"), replace(context, task="binary")) == (0.5,)


def test_table_bytes_are_float32() -> None:
    assert Shape(rows=10, features=3).table_bytes == 120

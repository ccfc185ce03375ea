from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.engines.training import EarlyStopping, log_loss, relative_weights, teaching_rows
from raytrain.errors import FitError

BOTH = frozenset({"regression", "binary"})


def test_without_a_share_every_row_teaches(rows) -> None:
    head, tail = teaching_rows(rows(dates=10), FitContext(), BOTH, 0)
    assert head.tolist() == list(range(20))
    assert len(tail) == 0


def test_rows_of_weight_zero_do_not_teach(rows) -> None:
    data: FitData = rows(dates=40)
    weight = data.weight.copy()
    weight[:7] = 0
    head, _ = teaching_rows(replace(data, weight=weight), FitContext(), BOTH, 0)
    assert head.tolist() == list(range(7, 80))


def test_too_few_dates_for_a_tail_says_what_to_do(rows) -> None:
    with pytest.raises(FitError, match=r"newest 20% of 4 dates; start the first fold later or set valid_share to 0"):
        teaching_rows(rows(dates=4, horizon=5), FitContext(), BOTH, 0.2)


@pytest.mark.parametrize(("task", "need"), [("regression", "a target that varies"), ("binary", "both classes")])
def test_a_constant_target_is_refused(rows, task, need: str) -> None:
    data: FitData = rows()
    constant = replace(data, y=np.ones_like(data.y))
    with pytest.raises(FitError, match=f"a fit needs {need} .* all 120 are 1"):
        teaching_rows(constant, FitContext(task=task), BOTH, 0)


def test_a_second_output_may_not_be_constant_either(rows) -> None:
    data: FitData = rows()
    y = np.concatenate([data.y, np.zeros_like(data.y)], axis=1)
    with pytest.raises(FitError, match="output 1"):
        teaching_rows(replace(data, y=y), FitContext(), BOTH, 0)


def test_another_task_is_refused(rows) -> None:
    with pytest.raises(FitError, match="does regression, not binary"):
        teaching_rows(rows(), FitContext(task="binary"), frozenset({"regression"}), 0)


def test_weights_are_relative_to_the_chosen_rows(rows) -> None:
    data: FitData = rows(dates=3)
    weighted = replace(data, weight=np.array([50, 50, 100, 100, 5000, 5000], dtype=np.float32))
    assert relative_weights(weighted, np.arange(2)) is None
    relative = relative_weights(weighted, np.arange(4))
    assert relative is not None
    assert relative.dtype == np.float32
    np.testing.assert_allclose(relative, [2 / 3, 2 / 3, 4 / 3, 4 / 3], rtol=1e-6)


def test_log_loss_of_a_wrong_certainty_is_finite() -> None:
    loss = log_loss(np.array([1.0, 1.0, 0.0]), np.array([0.5, 0.0, 1.0]))
    np.testing.assert_allclose(loss, [np.log(2), 16.118, 16.118], rtol=1e-3)


def test_early_stopping_keeps_the_first_of_equal_losses() -> None:
    stopping = EarlyStopping(patience=2)
    seen = [(stopping.improved(loss), stopping.exhausted) for loss in (3.0, 2.0, 2.0, 2.5)]
    assert seen == [(True, False), (True, False), (False, False), (False, True)]
    assert stopping.best_update == 2


def test_patience_starts_again_after_an_improvement() -> None:
    stopping = EarlyStopping(patience=2)
    for loss in (3.0, 4.0, 2.0, 4.0):
        stopping.improved(loss)
    assert not stopping.exhausted


def test_a_loss_that_is_not_a_number_is_an_error() -> None:
    stopping = EarlyStopping(patience=2)
    stopping.improved(1.0)
    with pytest.raises(FitError, match="NaN in step 2"):
        stopping.improved(float("nan"))

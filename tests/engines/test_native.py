import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitContext, Shape
from raytrain.engines.native import Rounds, capped, expected_rounds, table, useful_threads
from raytrain.errors import FitError


@pytest.mark.native
def test_skops_comes_without_torch() -> None:
    code = """
import sys
from raytrain.engines.native import skops_io
assert skops_io().dumps([1])
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_rounds_end_when_the_loss_has_not_fallen_for_long_enough() -> None:
    rounds = Rounds(100, 2, FitContext())
    assert [rounds.stop_after(loss) for loss in (1.0, 0.5, 0.6, 0.7)] == [False, False, False, True]
    assert rounds.best == 2


def test_rounds_end_at_their_number_and_keep_all_without_a_loss() -> None:
    rounds = Rounds(3, 1, FitContext())
    assert [rounds.stop_after(None) for _ in range(3)] == [False, False, True]
    assert rounds.best == 3


def test_a_stop_keeps_the_best_so_far() -> None:
    asked = iter([False, False, True])
    rounds = Rounds(100, 50, FitContext(should_stop=lambda: next(asked)))
    assert [rounds.stop_after(loss) for loss in (0.4, 0.3, 0.9)] == [False, False, True]
    assert rounds.best == 2


def test_progress_is_the_share_of_the_rounds() -> None:
    told: list[float] = []
    rounds = Rounds(4, 9, FitContext(progress=told.append))
    for _ in range(4):
        rounds.stop_after(None)
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_expected_rounds_are_all_without_early_stopping_and_never_more_than_asked() -> None:
    assert expected_rounds(1500, 50, 0) == 1500
    assert 50 < expected_rounds(1500, 50, 0.15) < 1500
    assert expected_rounds(10, 50, 0.15) == 10


def test_small_tables_get_one_thread() -> None:
    assert useful_threads(Shape(rows=500, features=20)) == 1
    assert useful_threads(Shape(rows=9_000, features=40)) > 1


def test_trees_predict_one_target(rows) -> None:
    data = rows()
    with pytest.raises(FitError, match="one target at a time, got 2"):
        table(replace(data, y=np.repeat(data.y, 2, axis=1)), np.arange(3))


@pytest.mark.native
def test_linear_algebra_is_held_to_its_threads_and_let_go_again() -> None:
    from threadpoolctl import threadpool_info

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with capped(2):
        with capped(1):
            assert threads() == {1}
        assert threads() == {2}

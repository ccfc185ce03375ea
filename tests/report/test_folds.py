import math

import polars as pl
import pytest

from raytrain.report.folds import MAX_FOLDS, fold_tables, natural, shade


def fold_scores(skills):
    """A family `a` (and naive) with a skill per fold `fold <n>`."""
    return pl.DataFrame(
        [
            {"family": family, "target": "t", "label": "1w", "horizon": 5, "fold": f"fold {n}", "n": 9, "loss": 1.0,
             "naive_loss": 2.0, "skill": skill if family == "a" else 0.0}
            for family in ("naive", "a")
            for n, skill in enumerate(skills)
        ]
    )  # fmt: skip


def test_folds_are_in_order_of_their_number_and_the_newest_are_kept():
    (table,) = fold_tables(fold_scores([0.01 * n for n in range(MAX_FOLDS + 3)]))
    assert table.folds == [f"fold {n}" for n in range(3, MAX_FOLDS + 3)]
    assert table.num_left_out == 3
    assert dict(table.rows)["a"][-1] == pytest.approx(0.01 * (MAX_FOLDS + 2))


def test_the_yardstick_is_a_line_of_losses_not_a_row():
    (table,) = fold_tables(fold_scores([0.1]))
    assert [family for family, _ in table.rows] == ["a"]
    assert table.naive_loss == [2.0]


def test_a_fold_without_a_known_skill_is_empty():
    (table,) = fold_tables(fold_scores([0.1, math.nan, None]))
    assert dict(table.rows)["a"] == [pytest.approx(0.1), None, None]


def test_one_diverged_fold_does_not_set_the_scale():
    (table,) = fold_tables(fold_scores([0.05] * 9 + [-30.0]))
    assert table.scale == pytest.approx(0.05)


def test_numbers_inside_a_name_count_as_numbers():
    assert sorted(["2010-10", "2010-9", "a"], key=natural) == ["2010-9", "2010-10", "a"]


@pytest.mark.parametrize(
    ("skill", "expected"),
    [(0.05, ("up", 50)), (-0.05, ("down", 50)), (9.0, ("up", 100)), (0.0, ("none", 0)), (None, ("none", 0))],
)
def test_the_colour_says_the_side_and_the_size(skill, expected):
    assert shade(skill, 0.1) == expected

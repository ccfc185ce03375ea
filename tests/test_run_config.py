"""What follows from a config before any data is read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytrain.run_config import RunConfig, recipes_of, with_tuned
from raytrain.tuning.tuned import Gain, Tuned


@pytest.fixture
def recommend(tmp_path: Path) -> Callable[[str, dict[str, Any]], None]:
    """Keeps what a search would recommend for a family on return_1w."""

    def keep(family: str, params: dict[str, Any]) -> None:
        gain = Gain(gain=0.1, low=0.01, high=0.2, confidence=0.9, loss=0.9, default_loss=1.0, rows=100, dates=50)
        Tuned(
            family=family,
            target="return_1w",
            answer="better",
            params=params,
            default={},
            metric="skill",
            value=0.05,
            default_value=0.04,
            holdout=gain,
            search_folds=["2015-01-01"],
            holdout_folds=["2016-01-01"],
            trials={"complete": 3, "stopped early": 2, "failed": 0},
            dataset="0" * 32,
            versions={},
            found_at="2026-11-20T08:00:00",
            sweep="a search",
        ).write(tmp_path)

    return keep


def config(store: Path, **given: Any) -> RunConfig:
    return RunConfig(store=store, families=("naive", "lightgbm"), plan="none", **given)


def test_tuned_parameters_lie_below_those_that_are_given(
    recommend: Callable[[str, dict[str, Any]], None], tmp_path: Path
) -> None:
    recommend("lightgbm", {"num_leaves": 7, "learning_rate": 0.01})
    asked = config(tmp_path, tuned=True, params={"lightgbm": {"learning_rate": 0.1}})
    chosen, notes = with_tuned(asked)
    (recipe,) = [one for one in recipes_of(chosen, "cpu").recipes if one.name == "lightgbm"]
    assert recipe.params.num_leaves == 7
    assert recipe.params.learning_rate == 0.1
    assert any("lightgbm has the parameters tuned on return_1w" in note for note in notes)


def test_nobody_is_tuned_who_did_not_ask(recommend: Callable[[str, dict[str, Any]], None], tmp_path: Path) -> None:
    recommend("lightgbm", {"num_leaves": 7})
    asked = config(tmp_path)
    assert with_tuned(asked) == (asked, [])


def test_asking_before_any_search_is_told(tmp_path: Path) -> None:
    asked = config(tmp_path, tuned=True)
    assert with_tuned(asked) == (asked, ["no search has recommended parameters yet"])

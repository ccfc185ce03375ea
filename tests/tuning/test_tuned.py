"""What searches recommend, and when the daily job takes it."""

from pathlib import Path
from typing import Any

import pytest

from raytrain.errors import ConfigError, StoreCorrupt
from raytrain.tuning.tuned import Gain, Tuned, last_point, read_tuned, tuned_params


def tuned(target: str, low: float | None, params: dict[str, Any], answer: Any = "better") -> Tuned:
    gain = Gain(gain=0.1, low=low, high=0.2, confidence=0.9, loss=0.9, default_loss=1.0, rows=100, dates=50)
    return Tuned(
        family="lightgbm",
        target=target,
        answer=answer,
        params=params,
        default={"num_leaves": 31},
        metric="skill",
        value=0.05,
        default_value=0.04,
        holdout=gain,
        search_folds=["2015-01-01"],
        holdout_folds=["2016-01-01"],
        trials={"complete": 3, "stopped early": 2, "failed": 0},
        dataset="0" * 32,
        versions={"lightgbm": "4.7.0"},
        found_at="2026-11-20T08:00:00",
        sweep="lightgbm-return_1w-0123456789",
    )


TARGETS = ("return_1d", "return_1w")


def test_a_recommendation_is_kept_and_used_for_the_whole_run(tmp_path: Path) -> None:
    found = tuned("return_1w", 0.01, {"num_leaves": 7})
    assert found.write(tmp_path) == tmp_path / "tuned" / "lightgbm-return_1w.json"
    assert read_tuned(tmp_path, "lightgbm", "return_1w") == found
    params, notes = tuned_params(tmp_path, ("naive", "lightgbm"), TARGETS)
    assert params == {"lightgbm": {"num_leaves": 7}}
    assert notes == ["lightgbm has the parameters tuned on return_1w (2026-11-20), used for return_1d too"]
    assert tuned_params(tmp_path, ("naive", "lightgbm"), ["return_1m"]) == ({}, [])


def test_the_surest_of_several_counts(tmp_path: Path) -> None:
    tuned("return_1d", 0.002, {"num_leaves": 63}).write(tmp_path)
    tuned("return_1w", 0.010, {"num_leaves": 7}).write(tmp_path)
    assert tuned_params(tmp_path, ["lightgbm"], TARGETS)[0] == {"lightgbm": {"num_leaves": 7}}
    tuned("return_1w", -0.01, {"num_leaves": 7}, "no better").write(tmp_path)
    assert tuned_params(tmp_path, ["lightgbm"], TARGETS)[0] == {"lightgbm": {"num_leaves": 63}}


@pytest.mark.parametrize("answer", ["no better", "too few dates", "the default"])
def test_nothing_but_better_is_recommended_and_all_of_it_warms_the_next_search(tmp_path: Path, answer: str) -> None:
    tuned("return_1w", None, {"num_leaves": 7}, answer).write(tmp_path)
    assert tuned_params(tmp_path, ["lightgbm"], TARGETS) == ({}, [])
    assert last_point(tmp_path, "lightgbm", "return_1w") == {"num_leaves": 7}
    assert last_point(tmp_path, "lightgbm", "return_1d") == {}


def test_what_no_longer_fits_the_family_is_refused(tmp_path: Path) -> None:
    tuned("return_1w", 0.01, {"num_twigs": 7}).write(tmp_path)
    with pytest.raises(ConfigError, match="must fit the family as it is now: `num_twigs` is not a parameter"):
        tuned_params(tmp_path, ["lightgbm"], TARGETS)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"family": "lightgbm"}'])
def test_a_torn_file_is_named(tmp_path: Path, text: str) -> None:
    path = tuned("return_1w", 0.01, {"num_leaves": 7}).write(tmp_path)
    path.write_text(text)
    with pytest.raises(StoreCorrupt, match=r"lightgbm-return_1w\.json must hold what a search found"):
        tuned_params(tmp_path, ["lightgbm"], TARGETS)
    assert last_point(tmp_path, "lightgbm", "return_1w") == {}

"""Training plans: found, named, refused, and what they leave out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from raytrain.errors import ConfigError
from raytrain.work.plan import Plan
from raytrain.work.training_plan import TrainingPlan

TARGETS = ("return_1d", "return_1w", "threshold_1w")


def test_the_usual_one_is_found_by_itself(tmp_path: Path) -> None:
    assert TrainingPlan.find("auto", tmp_path) is None
    (tmp_path / "default.yaml").write_text("families: {only: [naive]}\n")
    found = TrainingPlan.find("auto", tmp_path)
    assert found is not None
    assert found[0].families.only == ("naive",)
    assert TrainingPlan.find("none", tmp_path) is None


def test_a_plan_is_named_or_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("targets: {without: [return_1d]}\n")
    for name in ("mine", str(path)):
        found = TrainingPlan.find(name, tmp_path)
        assert found is not None
        assert not found[0].takes("return_1d", "naive")
        assert found[0].takes("return_1w", "naive")
    with pytest.raises(ConfigError, match=r"`mime` is no training plan .*`mine`"):
        TrainingPlan.find("mime", tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("targets: {only: [return_1x]}", r"must name targets of the config, got `return_1x`; .*return_1"),
        ("families: {without: [naivee]}", r"`naivee` is not a family; .*naive"),
        ("by_target: {return_1w: {only: [nothing]}}", "`nothing` is not a family"),
        ("targets: {without: [return_1d, return_1w, threshold_1w]}", "must leave a target, got none"),
    ],
)
def test_names_that_mean_nothing_are_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    found = TrainingPlan.find(str(path), tmp_path)
    assert found is not None
    with pytest.raises(ConfigError, match=said):
        found[0].check(TARGETS, path)


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "default.yaml").write_text("family: {only: [naive]}\n")
    with pytest.raises(ConfigError, match=r"`family` is not a key, got it in .*default.yaml.*families"):
        TrainingPlan.find("auto", tmp_path)


def test_what_is_left_out_is_listed(plan: Callable[..., Plan]) -> None:
    today = TrainingPlan.model_validate(
        {"by_target": {"return_1w": {"without": ["naive"]}}, "targets": {"without": ["threshold_1w"]}}
    )
    found = plan("naive", today=today)
    assert {fit.spec.target for fit in found.fits} == {"return_1d"}
    assert found.left_out == ("the training plan leaves naive out of return_1w, threshold_1w",)

"""Training alone, in stages, with families that wait for others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.cluster

MIXING = ["--params.ensemble.members", "[har, drift]"]


def test_stages_are_told_and_the_daily_job_finds_the_fits(
    train: Callable[..., Any],
    daily: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    summary: Callable[[], dict[str, Any]],
) -> None:
    options = [*tiny, "--families", "ensemble,naive,har,drift", *MIXING]
    done = train([*options, "--mode", "two-stage"])
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line.split("│")[1:4] for line in done.stdout.splitlines() if line.startswith("│")]
    stages = [tuple(cell.strip() for cell in cells) for cells in told][:2]
    assert stages == [("CPU", "naive, har, drift", "18"), ("others", "ensemble", "6")]
    assert "return_1w │ ensemble" in done.stdout.replace("  ", " ").replace("  ", " ")
    assert not (tmp_path / "store" / "latest").exists(), "nothing was judged"
    assert not (tmp_path / "store" / "promotions").exists()

    judged = daily(options)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert summary()["fits"]["cached"] == 24


def test_an_ensemble_whose_member_failed_is_skipped_with_the_cause(
    daily: Callable[..., Any], tiny: list[str], summary: Callable[[], dict[str, Any]]
) -> None:
    """A window longer than the training rows fails before torch is loaded."""
    options = [*tiny, "--families", "naive,har,gru,ensemble", "--params.ensemble.members", "[har, gru]"]
    done = daily([*options, "--params.gru.window", "2000"])
    assert done.returncode == 3, done.stdout + done.stderr
    seen = summary()
    assert (seen["fits"]["failed"], seen["fits"]["skipped"]) == (6, 6)
    skipped = [row for row in seen["failures"] if row["family"] == "ensemble"]
    assert len(skipped) == 6
    assert all("Skipped: it waits for other fits, and gru return_1" in row["exception"] for row in skipped)
    assert {(gate["family"], gate["verdict"]) for gate in seen["gates"] if gate["family"] == "har"} <= {
        ("har", verdict) for verdict in ("PROMOTE", "HOLD", "REJECT")
    }


def test_a_dry_run_says_what_the_training_plan_leaves_out(
    daily: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "default.yaml").write_text("by_target: {return_1w: {without: [har]}}")
    done = daily([*tiny, "--families", "naive,har", "--plans", str(tmp_path / "plans"), "--dry-run"])
    assert done.returncode == 0, done.stderr
    assert "the training plan leaves har out of return_1w" in " ".join(done.stdout.split())
    assert ": 9 fits, 0 stored, 9 to run" in " ".join(done.stdout.split())


def test_the_run_ends_when_the_time_has_come(daily: Callable[..., Any], tiny: list[str]) -> None:
    wrong = daily([*tiny, "--stop_by", "25:00"])
    assert wrong.returncode == 4
    assert "stop_by" in wrong.stderr

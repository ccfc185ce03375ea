"""Each tracker by itself: one that is down stops neither the run nor the others."""

from pathlib import Path

import pytest

from raytrain.errors import StoreCorrupt
from raytrain.tracking import track as module
from raytrain.tracking.config import TrackingConfig
from raytrain.tracking.records import RunRecord, TrackingFailed
from raytrain.tracking.track import track

RECORD = RunRecord(run_id="r1", started_at=1, ended_at=2, status="FINISHED")
STEPS = ("log_run", "sync_registry", "log_to_wandb")


@pytest.mark.parametrize("down", [set(), {"log_run"}, {"sync_registry", "log_to_wandb"}, set(STEPS)])
def test_what_is_down_is_noted_and_the_others_are_told(
    down: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def tracker(name: str):
        def step(*given):
            told.append(name)
            if name in down:
                raise TrackingFailed(f"{name} is down")

        return step

    for name in STEPS:
        monkeypatch.setattr(module, name, tracker(name))
    assert track(tmp_path, TrackingConfig(), RECORD) == [f"{name} is down" for name in STEPS if name in down]
    assert told == list(STEPS), "the run is logged first: a version points to it"


def test_with_all_of_them_off_nothing_is_written(tmp_path: Path) -> None:
    assert track(tmp_path / "store", TrackingConfig(mlflow=False), RECORD) == []
    assert not (tmp_path / "store").exists()


def test_a_damaged_journal_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "log_run", lambda *given: None)
    (tmp_path / "promotions").mkdir()
    (tmp_path / "promotions" / "000001-abc.json").write_text("{")
    with pytest.raises(StoreCorrupt):
        track(tmp_path, TrackingConfig(), RECORD)

"""Presets: what is chosen, what lies under what, and when a day ends."""

from datetime import datetime, time, timedelta
from pathlib import Path

import pytest

from raytrain.config import load
from raytrain.errors import ConfigError
from raytrain.run_config import RunConfig, adapt
from raytrain.work.presets import choose_preset, next_time, preset_file

PRESETS = Path(__file__).parents[2] / "configs" / "presets"


@pytest.mark.parametrize(
    ("rows", "memory_gb", "hours", "name", "why"),
    [
        (1_999, 64, None, "fast", "only 1,999 rows"),
        (9_000, 8, None, "fast", "only 8 GB of memory"),
        (9_000, 64, 0.5, "fast", "only 30 minutes left"),
        (2_000, 16, 1, "balanced", "2,000 rows and 16 GB"),
        (5_000, 32, 5, "balanced", "5,000 rows and 32 GB"),
        (5_000, 32, 6, "quality", "time enough"),
        (5_000, 32, None, "quality", "time enough"),
        (4_999, 32, None, "balanced", "4,999 rows"),
    ],
)
def test_rows_memory_and_time_choose(rows: int, memory_gb: float, hours: float | None, name: str, why: str) -> None:
    left = None if hours is None else timedelta(hours=hours)
    chosen, reason = choose_preset(rows, memory_gb, left)
    assert chosen == name
    assert why in reason


def test_an_unknown_preset_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"got `fats`; .*`fast`"):
        preset_file("fats", PRESETS)


def test_a_preset_lies_under_all_that_is_given(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(f"preset: fast\npresets: {PRESETS}\nparams: {{cnn_gru: {{window: 33}}}}\n")
    made = load(RunConfig, [config], ["--params.cnn_gru.batch_size", "17"])
    assert made.params["cnn_gru"] == {
        "learning_rate": 0.002,
        "num_epochs": 100,
        "patience": 10,
        "channels": [32],
        "recurrent": [64, 32],
        "layer_norm": False,
        "dense": [32],
        "window": 33,
        "batch_size": 17,
    }


def test_the_adaptive_preset_keeps_what_was_given() -> None:
    given = load(RunConfig, [], ["--preset", "adaptive", "--presets", str(PRESETS), "--params.ngboost.num_rounds", "7"])
    assert given.params == {"ngboost": {"num_rounds": 7}}
    chosen, why = adapt(given, 100, 24)
    assert why == "the adaptive preset is fast: only 100 rows"
    assert chosen.params["ngboost"] == {"num_rounds": 7}
    assert chosen.params["cnn_gru"]["window"] == 60
    assert chosen.preset == "fast"
    assert chosen.store == given.store


def test_a_wrong_key_in_a_preset_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("familys: [har]\n")
    with pytest.raises(ConfigError, match=r"`familys` is not a key, got it in .*mine.yaml.*families"):
        load(RunConfig, [], ["--preset", "mine", "--presets", str(tmp_path)])


def test_the_next_seven_o_clock() -> None:
    evening = datetime(2026, 3, 1, 22, 0)
    assert next_time(time(7), evening) == datetime(2026, 3, 2, 7)
    assert next_time(time(23), evening) == datetime(2026, 3, 1, 23)
    assert next_time(time(22), evening) == datetime(2026, 3, 2, 22)

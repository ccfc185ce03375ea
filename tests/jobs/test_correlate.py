"""The job as a person runs it: what it prints, leaves behind and refuses."""

from pathlib import Path

import polars as pl
import pytest

from raytrain.config import load
from raytrain.jobs import _command
from raytrain.jobs.correlate import CorrelateConfig, correlate_job

ROOT = Path(__file__).parents[2]


def run(options: list[str]) -> int:
    return _command.run(CorrelateConfig, correlate_job, "", [], options)


@pytest.fixture
def options(table: Path, tmp_path: Path) -> list[str]:
    """Two series of 900 rows; `close` and `noise` as one block and as key pair."""
    config = tmp_path / "correlations.yaml"
    config.write_text(
        "data: {kind: parquet}\n"
        "correlations: {blocks: {all: [close, noise]}, key_pairs: [[noise, close]], windows: [90]}\n"
    )
    return ["--config", str(config), "--data.path", str(table), "--store", str(tmp_path / "store")]


def test_tables_a_page_and_a_second_run_from_the_cache(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options) == 0
    first = capsys.readouterr().out
    assert "Key pairs" in first and "noise / close" in first and "Strongest in 90 days" in first
    assert "1800 correlations computed, 0 taken from the cache" in first
    folder = tmp_path / "store" / "correlations"
    assert str(folder / "correlations.html") in first
    assert pl.read_parquet(folder / "pairs.parquet").height == 1800
    assert (folder / "regimes.parquet").exists()
    page = (folder / "correlations.html").read_text()
    assert run(options) == 0
    assert "0 correlations computed, 1800 taken from the cache" in capsys.readouterr().out
    assert (folder / "correlations.html").read_text() == page


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--correlations.key_pairs", '[["close", "niose"]]'], "did you mean `noise`?"),
        (["--correlations.blocks", '{"all": ["close"]}'], "a block must have at least 2 columns to compare"),
        (["--correlations.windows", "[7]"], "7 days hold at most 5"),
        (["--correlations.regime", "noise"], "a column of regimes has at most 20 values"),
    ],
)
def test_bad_input_is_one_message_and_nothing_written(
    extra: list[str], said: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*options, *extra]) == 4
    err = capsys.readouterr().err
    assert err.startswith("error: ") and said in err
    assert not (tmp_path / "store").exists()


def test_the_shipped_config_names_key_pairs_that_its_blocks_know() -> None:
    config = load(CorrelateConfig, [ROOT / "configs" / "correlations.yaml"]).correlations
    listed = {name for columns in config.blocks.values() for name in columns}
    assert config.key_pairs
    assert {name for pair in config.key_pairs for name in pair} <= listed

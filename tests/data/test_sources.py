"""Reading files: what cannot be read is refused with one message, and the format does not matter."""

from pathlib import Path

import polars as pl
import pytest

from raytrain.data import DataConfig, load
from raytrain.errors import ConfigError, DataError

REAL = Path(__file__).parents[2].parent / "shared" / "data"


def real(name: str) -> Path:
    path = REAL / name
    if not path.exists():
        pytest.skip(f"the development data is not on this machine: {name}")
    return path


@pytest.fixture
def parquet(bars: pl.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "bars.parquet"
    bars.write_parquet(path)
    return path


def test_every_format_gives_the_same_content(bars: pl.DataFrame, parquet: Path, snapshot: Path, tmp_path: Path) -> None:
    bars.write_csv(tmp_path / "bars.csv")
    bars.write_csv(tmp_path / "packed.csv.gz", compression="gzip")
    configs = [
        DataConfig(kind="parquet", path=parquet),
        DataConfig(kind="csv", path=tmp_path / "bars.csv"),
        DataConfig(kind="csv", path=tmp_path / "packed.csv.gz"),
        DataConfig(kind="snapshot", path=snapshot),
        DataConfig(kind="snapshot", path=snapshot.parent),
        DataConfig(kind="duckdb", query=f"SELECT * FROM '{parquet}'"),
    ]
    assert len({load(config).content_hash() for config in configs}) == 1


def test_one_series_is_named_like_its_file_in_any_format(bars: pl.DataFrame, tmp_path: Path) -> None:
    table = bars.filter(series_id="A").drop("series_id")
    table.write_parquet(tmp_path / "oil.parquet")
    table.write_csv(tmp_path / "oil.csv.gz", compression="gzip")
    found = [
        load(DataConfig(kind="parquet", path=tmp_path / "oil.parquet")),
        load(DataConfig(kind="csv", path=tmp_path / "oil.csv.gz")),
    ]
    assert [frame.series for frame in found] == [["oil"], ["oil"]]
    assert found[0].content_hash() == found[1].content_hash()


def test_a_name_is_not_a_pattern(bars: pl.DataFrame, tmp_path: Path) -> None:
    bars.write_parquet(tmp_path / "bars[1].parquet")
    bars.head(3).write_parquet(tmp_path / "bars1.parquet")
    assert load(DataConfig(kind="parquet", path=tmp_path / "bars[1].parquet")).table.height == bars.height


@pytest.mark.parametrize("kind", ["parquet", "csv", "snapshot"])
def test_a_path_is_needed(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"data.path must be given when data.kind is {kind}; add `--data.path FILE`"):
        load(DataConfig(kind=kind))


def test_the_path_must_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.path must exist, got .*none\.parquet"):
        load(DataConfig(kind="parquet", path=tmp_path / "none.parquet"))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_an_empty_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    with pytest.raises(DataError, match=f"must be a readable {kind} file"):
        load(DataConfig(kind=kind, path=path))


def test_a_torn_parquet_file_is_refused(parquet: Path) -> None:
    raw = parquet.read_bytes()
    for length in range(0, len(raw), 97):
        parquet.write_bytes(raw[:length])
        with pytest.raises(DataError, match="must be a readable parquet file"):
            load(DataConfig(kind="parquet", path=parquet))


def test_a_changed_parquet_file_is_read_or_refused(parquet: Path) -> None:
    """Parquet has no checksums of its own, so a changed value may go unseen; nothing else may come out of it."""
    raw, refused = parquet.read_bytes(), 0
    for position in range(0, len(raw), 5):
        parquet.write_bytes(raw[:position] + bytes([raw[position] ^ 0xFF]) + raw[position + 1 :])
        try:
            load(DataConfig(kind="parquet", path=parquet))
        except DataError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 10


def test_the_commodity_table() -> None:
    config = DataConfig(kind="parquet", path=real("zl/zl_daily.parquet"), price="close_index")
    found = load(config)
    assert found.table.height == 8058
    assert (found.series, found.price, found.high) == (["ZL"], "close_index", "close_index")
    assert {"crush_margin", "vix", "is_wasde_day"} <= set(found.columns)
    assert "market_regime" in found.left_out


def test_the_panel_of_equities() -> None:
    config = DataConfig(
        kind="parquet", path=real("panel/equities_daily_2000_2013.parquet"), series="symbol", price="adj_close"
    )
    found = load(config)
    assert found.series == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    assert found.table.height == 12154
    with pytest.raises(DataError, match=r"one row per date, got .* name the series column in data\.series"):
        load(config.model_copy(update={"series": "series_id"}))


def test_the_hourly_bars() -> None:
    config = DataConfig(kind="parquet", path=real("btc/btcusdt_hourly.parquet"), date="ts", series="symbol")
    found = load(config)
    assert found.table.height == 46981
    assert [str(found.table["date"].min()), str(found.table["date"].max())] == [
        "2017-08-17 04:00:00",
        "2022-12-31 23:00:00",
    ]

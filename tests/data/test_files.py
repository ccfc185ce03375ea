"""A file, a folder with a file per symbol, a URL: the same rows, whole or in pieces."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from raytrain.data import DataConfig, csv_blocks, files, load
from raytrain.data.files import FileSource
from raytrain.errors import ConfigError, DataError


@pytest.fixture
def folder(bars: pl.DataFrame, tmp_path: Path) -> Path:
    """A file per symbol, without a column that names it, and things that are no tables."""
    path = tmp_path / "symbols"
    path.mkdir()
    for name in ("A", "B"):
        bars.filter(series_id=name).drop("series_id").write_parquet(path / f"{name}.parquet")
    (path / ".DS_Store").touch()
    (path / "README.txt").touch()
    (path / "._A.parquet").touch()
    return path


@pytest.fixture
def whole(bars: pl.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "bars.parquet"
    bars.write_parquet(path)
    return path


@pytest.fixture
def bucket(whole: Path) -> Iterator[str]:
    """A URL of a store that is not the disk."""
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/bars.parquet", whole.read_bytes())
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


def test_a_folder_of_symbols_is_a_panel(folder: Path, whole: Path) -> None:
    panel, table = (load(DataConfig(kind="parquet", path=path)) for path in (folder, whole))
    assert panel.series == ["A", "B"]
    assert panel.content_hash() == table.content_hash()


def test_a_folder_of_csv_files_too(folder: Path, whole: Path) -> None:
    for path in folder.glob("[AB].parquet"):
        pl.read_parquet(path).write_csv(path.with_suffix(".csv.gz"), compression="gzip")
    panel, table = (load(DataConfig(kind=kind, path=path)) for kind, path in (("csv", folder), ("parquet", whole)))
    assert panel.content_hash() == table.content_hash()


def test_a_series_column_of_the_files_counts_more_than_their_names(bars: pl.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "years").mkdir()
    bars.filter(series_id="A").write_parquet(tmp_path / "years" / "1.parquet")
    bars.filter(series_id="B").write_parquet(tmp_path / "years" / "2.parquet")
    assert load(DataConfig(kind="parquet", path=tmp_path / "years")).series == ["A", "B"]


def test_integers_and_floats_of_a_folder_become_floats(folder: Path) -> None:
    path = folder / "B.parquet"
    pl.read_parquet(path).with_columns(pl.col("close").round().cast(pl.Int64)).write_parquet(path)
    frame = load(DataConfig(kind="parquet", path=folder))
    assert frame.table.filter(series_id="B")["close"].to_list()[:5] == [20.0, 20.0, 20.0, 21.0, 21.0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.with_columns(pl.col("close").cast(pl.String)),
            r"got `close` as Float64 and as String in .*B\.parquet",
        ),
        (lambda t: t.drop("high"), r"must have equal columns, got `high` in some only, not all: .*B\.parquet"),
    ],
)
def test_files_that_do_not_go_together_are_refused(change: object, said: str, folder: Path) -> None:
    path = folder / "B.parquet"
    change(pl.read_parquet(path)).write_parquet(path)  # type: ignore[operator]
    with pytest.raises(DataError, match=said):
        load(DataConfig(kind="parquet", path=folder))


def test_a_torn_file_of_a_folder_is_refused(folder: Path) -> None:
    path = folder / "B.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"must be a readable parquet file, got .*/B\.parquet: "):
        load(DataConfig(kind="parquet", path=folder))


@pytest.mark.parametrize("whole_read", [True, False], ids=["read", "pieces"])
def test_a_file_of_a_folder_with_a_broken_page_is_refused_by_name(whole_read: bool, folder: Path) -> None:
    path = folder / "B.parquet"
    raw = bytearray(path.read_bytes())
    raw[4:200] = bytes(196)
    path.write_bytes(raw)
    source = FileSource(DataConfig(kind="parquet", path=folder))
    with pytest.raises(DataError, match=r"must be a readable parquet file, got .*/B\.parquet: "):
        source.read(source.columns()) if whole_read else list(source.batches(source.columns(), None))


@pytest.mark.parametrize(("kind", "said"), [("parquet", r"\.parquet or \.pq"), ("csv", r"\.csv or \.csv\.gz")])
def test_a_folder_without_tables_is_refused(kind: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"must be a {said} file or a folder with some, got none in"):
        load(DataConfig(kind=kind, path=tmp_path))


@pytest.mark.parametrize("name", ["", "/bars.parquet"], ids=["folder", "file"])
def test_a_url_is_read_like_a_path(name: str, bucket: str, whole: Path) -> None:
    there, here = (load(DataConfig(kind="parquet", path=path)) for path in (bucket + name, whole))
    assert there.content_hash() == here.content_hash()


def test_a_local_url_is_a_path(whole: Path) -> None:
    assert load(DataConfig(kind="parquet", path=f"file://{whole}")).series == ["A", "B"]


def test_a_url_where_nothing_is_is_refused(bucket: str) -> None:
    with pytest.raises(DataError, match=r"data\.path must exist, got memory://bucket/none\.parquet"):
        load(DataConfig(kind="parquet", path=f"{bucket}/none.parquet"))


def test_a_url_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a URL that can be opened, got gopher://x/y"):
        load(DataConfig(kind="parquet", path="gopher://x/y"))


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BATCH_ROWS", 7)
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 300)


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz"])
@pytest.mark.usefixtures("small_pieces")
def test_pieces_are_the_whole(kind: str, bars: pl.DataFrame, whole: Path) -> None:
    path = whole.with_suffix(f".{kind}")
    if kind != "parquet":
        bars.write_csv(path, compression="gzip" if kind == "csv.gz" else "uncompressed")
    pieces = list(FileSource(DataConfig(kind=kind.removesuffix(".gz"), path=path)).batches(bars.columns, None))
    assert len(pieces) > 5
    assert_frame_equal(pl.concat(pieces), bars)


@pytest.mark.usefixtures("small_pieces")
def test_pieces_of_a_folder_are_the_whole(folder: Path, bars: pl.DataFrame) -> None:
    path = folder / "B.parquet"
    pl.read_parquet(path).with_columns(pl.col("close").cast(pl.Int64)).write_parquet(path)
    source = FileSource(DataConfig(kind="parquet", path=folder))
    pieces = pl.concat(source.batches(bars.columns, None))
    assert_frame_equal(pieces, source.read(bars.columns))
    assert pieces["series_id"].to_list() == bars["series_id"].to_list()


@pytest.mark.usefixtures("small_pieces")
def test_pieces_keep_every_type(tmp_path: Path) -> None:
    day = pl.Series([datetime.date(2020, 1, 1) + datetime.timedelta(days=i) for i in range(20)])
    words = pl.Series(["calm", "wild"] * 10)
    table = pl.DataFrame(
        {"date": day, "series_id": "A"}
        | {str(kind): pl.Series(range(20)).cast(kind) for kind in (pl.Int8, pl.UInt64, pl.Float32, pl.Boolean)}
        | {
            str(kind): day.cast(kind)
            for kind in (pl.Datetime("ms"), pl.Datetime("ns"), pl.Datetime("us", "Asia/Tokyo"))
        }
        | {str(kind): words.cast(kind) for kind in (pl.Categorical, pl.Enum(["calm", "wild"]), pl.Binary)}
        | {"time": day.cast(pl.Datetime).dt.time(), "decimal": pl.Series(range(20)).cast(pl.Decimal(12, 3))}
        | {"span": pl.Series(range(20)).cast(pl.Duration("us")), "list": [[i, None] for i in range(20)]}
    )
    path = tmp_path / "types.parquet"
    table.write_parquet(path)
    source = FileSource(DataConfig(kind="parquet", path=path))
    assert_frame_equal(pl.concat(source.batches(table.columns, None)), source.read(table.columns))


def test_a_wide_table_comes_in_shorter_pieces(whole: Path, bars: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BATCH_VALUES", 2 * bars.width)
    pieces = FileSource(DataConfig(kind="parquet", path=whole)).batches(bars.columns, None)
    assert {piece.height for piece in pieces} == {0, 2}


@pytest.mark.parametrize(
    "kind",
    [pl.Date(), pl.Datetime("us"), pl.Datetime("ms", "UTC"), pl.Datetime("us", "Pacific/Auckland"), pl.String()],
    ids=str,
)
def test_pieces_begin_where_they_are_asked_to(kind: Any, bars: pl.DataFrame, tmp_path: Path) -> None:
    """Midnight in Auckland is the day before in UTC."""
    path, since = tmp_path / "bars.parquet", datetime.date(2020, 1, 28)
    bars = bars.sort("date").select("date", "close")
    zone = getattr(kind, "time_zone", None)
    day = pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone(zone).cast(kind) if zone else pl.col("date")
    bars.with_columns(day.cast(kind)).write_parquet(path, row_group_size=6)
    rows = pl.concat(FileSource(DataConfig(kind="parquet", path=path)).batches(["date", "close"], since))
    assert_frame_equal(rows.with_columns(pl.col("date").dt.date()), bars.filter(pl.col("date") >= since))


def test_row_groups_before_that_are_not_read(bars: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    bars.sort("date").write_parquet(path, row_group_size=6)
    source = FileSource(DataConfig(kind="parquet", path=path))
    assert sum(piece.height for piece in source._pieces(["date"], datetime.date(2020, 1, 28))) == 12


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%Y-%m-%d", "%Y-%m-%dT%H:%M"])
@pytest.mark.usefixtures("small_pieces")
def test_one_reading_of_text_dates_holds_for_all_pieces(form: str, bars: pl.DataFrame, tmp_path: Path) -> None:
    """The first pieces do not tell the day from the month, the last one has the only time that is not midnight."""
    path = tmp_path / "bars.csv"
    late = pl.DataFrame({"date": [datetime.datetime(2020, 1, 30, 9, 30)], "close": [1.0]})
    rows = pl.concat([bars.select(pl.col("date").cast(pl.Datetime("us")), "close"), late])
    rows.with_columns(pl.col("date").dt.to_string(form)).write_csv(path)
    pieces = list(FileSource(DataConfig(kind="csv", path=path)).batches(["date", "close"], datetime.date(2020, 1, 5)))
    read = rows if form.endswith("%M") else rows.cast({"date": pl.Date})
    assert len(pieces) > 3
    assert_frame_equal(pl.concat(pieces), read.filter(pl.col("date") >= datetime.date(2020, 1, 5)))


@pytest.mark.usefixtures("small_pieces")
def test_texts_that_are_no_dates_are_counted_over_all_pieces(bars: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    soon = pl.when(pl.col("is_roll")).then(pl.lit("soon")).otherwise(pl.col("date").cast(pl.String)).alias("date")
    bars.with_columns(soon).write_csv(path)
    with pytest.raises(DataError, match=r"got String such as 'soon' \(12 such rows\)"):
        list(FileSource(DataConfig(kind="csv", path=path)).batches(bars.columns, None))


@pytest.mark.parametrize("name", ["", "/bars.parquet"], ids=["folder", "file"])
def test_pieces_of_a_url(name: str, bucket: str, bars: pl.DataFrame) -> None:
    source = FileSource(DataConfig(kind="parquet", path=bucket + name))
    assert_frame_equal(pl.concat(source.batches(bars.columns, None)), bars)


def test_pieces_of_a_changed_file_are_read_or_refused(whole: Path, bars: pl.DataFrame) -> None:
    raw, refused = whole.read_bytes(), 0
    for position in range(0, len(raw), 5):
        whole.write_bytes(raw[:position] + bytes([raw[position] ^ 0xFF]) + raw[position + 1 :])
        try:
            pl.concat(FileSource(DataConfig(kind="parquet", path=whole)).batches(bars.columns, None))
        except DataError as error:
            assert "must be a readable parquet file" in str(error)
            refused += 1
    assert refused > 10


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_torn_file_is_refused_in_pieces(kind: str, bars: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "bars"
    bars.write_parquet(path) if kind == "parquet" else bars.write_csv(path, compression="gzip")
    raw = path.read_bytes()
    for length in range(0, len(raw) - 1, 97):
        path.write_bytes(raw[:length])
        source = FileSource(DataConfig(kind=kind, path=path))
        with pytest.raises(DataError, match=f"must be a readable {kind} file"):
            list(source.batches(source.columns(), None))


def test_columns_are_chosen_by_name(whole: Path) -> None:
    frame = load(DataConfig(kind="parquet", path=whole, columns=("spread",)))
    assert frame.columns == ["close", "spread"]
    with pytest.raises(DataError, match=r"data\.columns must name columns of the source, got `spred`; did you mean"):
        load(DataConfig(kind="parquet", path=whole, columns=("spred",)))

"""A file, a folder with a file per symbol, a URL: the same rows, whole or in pieces."""

import datetime
from collections.abc import Iterator
from pathlib import Path

import fsspec
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from raytrain.data import DataConfig, files, load
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
    with pytest.raises(DataError, match="must be a readable parquet file"):
        load(DataConfig(kind="parquet", path=folder))


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


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_pieces_are_the_whole(kind: str, bars: pl.DataFrame, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BATCH_ROWS", 7)
    path = whole.with_suffix(f".{kind}")
    if kind == "csv":
        bars.write_csv(path)
    pieces = list(FileSource(DataConfig(kind=kind, path=path)).batches(bars.columns, None))
    assert len(pieces) > 5
    assert_frame_equal(pl.concat(pieces), bars)


def test_pieces_begin_where_they_are_asked_to(bars: pl.DataFrame, whole: Path) -> None:
    since = datetime.date(2020, 1, 28)
    pieces = FileSource(DataConfig(kind="parquet", path=whole)).batches(["date", "close"], since)
    assert_frame_equal(pl.concat(pieces), bars.filter(pl.col("date") >= since).select("date", "close"))


def test_columns_are_chosen_by_name(whole: Path) -> None:
    frame = load(DataConfig(kind="parquet", path=whole, columns=("spread",)))
    assert frame.columns == ["close", "spread"]
    with pytest.raises(DataError, match=r"data\.columns must name columns of the source, got `spred`; did you mean"):
        load(DataConfig(kind="parquet", path=whole, columns=("spred",)))

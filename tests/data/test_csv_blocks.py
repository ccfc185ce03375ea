"""A CSV file in pieces is the CSV file, wherever it is cut."""

import csv
import io
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from raytrain.data import csv_blocks
from raytrain.data.csv_blocks import CsvBlocks
from raytrain.data.policy import PolicyConfig

CELLS = st.one_of(
    st.none(),
    st.integers(-(10**6), 10**6),
    st.floats(-1e6, 1e6).map(lambda x: round(x, 3)),
    st.booleans().map(lambda x: str(x).lower()),
    st.sampled_from(["007", "NA", "-", "a,b", 'he said "no"', "two\nlines", "two\r\nlines", '"', "é", "", " ", "1e5"]),
)


def text(rows: list[list[Any]], line_end: str) -> bytes:
    written = io.StringIO()
    csv.writer(written, lineterminator=line_end).writerows([[f"c{i}" for i in range(len(rows[0]))], *rows])
    return written.getvalue().encode()


def pieces(content: bytes, options: dict[str, Any]) -> pl.DataFrame:
    blocks = CsvBlocks(io.BytesIO(content), options)
    return pl.concat(blocks.pieces(list(blocks.schema)))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), num_columns=st.integers(1, 3), line_end=st.sampled_from(["\n", "\r\n"]))
def test_any_cut_gives_the_whole(data: st.DataObject, num_columns: int, line_end: str) -> None:
    """What polars reads at once, and what the pieces are, differ in nothing."""
    rows = data.draw(st.lists(st.lists(CELLS, min_size=num_columns, max_size=num_columns), min_size=1, max_size=12))
    content, options = text(rows, line_end), PolicyConfig().csv_options()
    whole = pl.read_csv(io.BytesIO(content), **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_blocks, "BLOCK_BYTES", data.draw(st.integers(1, 60)))
        assert_frame_equal(pieces(content, options), whole)
        blocks = CsvBlocks(io.BytesIO(content), options)
        assert_frame_equal(blocks.table().collect(), whole)


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "2"], pl.Int64(), [1, 2]),
        (["1", "2.5"], pl.Float64(), [1.0, 2.5]),
        (["1", str(2**64)], pl.Int128(), [1, 2**64]),
        (["1", "2.5", str(2**64)], pl.Float64(), [1.0, 2.5, 2.0**64]),
        (["1", "true"], pl.String(), ["1", "true"]),
        (["true", "NA"], pl.Boolean(), [True, None]),
        (["007", "7a"], pl.String(), ["007", "7a"]),
        (["NA", ""], pl.String(), [None, None]),
    ],
)
def test_a_type_holds_all_pieces(
    cells: list[str], kind: pl.DataType, values: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 1)
    table = pieces("\n".join(["x,y", *(f"{cell},0" for cell in cells)]).encode(), PolicyConfig().csv_options())
    assert table.schema == {"x": kind, "y": pl.Int64()}
    assert table["x"].to_list() == values


def test_memory_holds_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 100)
    content = b"x,y\n" + b"12345,67890\n" * 1000
    sizes = [len(block) for block in CsvBlocks(io.BytesIO(content), {})._blocks()]
    assert len(sizes) > 100
    assert max(sizes) <= 100 + len(b"x,y\n12345,67890\n")


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n\n"], ids=["empty", "one line", "blank lines"])
def test_a_file_without_a_header_is_refused(content: bytes) -> None:
    with pytest.raises(pl.exceptions.NoDataError):
        pieces(content, PolicyConfig().csv_options())


def test_a_header_alone_is_a_table_without_rows() -> None:
    table = pieces(b"x,y", PolicyConfig().csv_options())
    assert table.schema == {"x": pl.String(), "y": pl.String()}
    assert table.is_empty()


def test_declared_notation_leaves_numbers_as_texts() -> None:
    options = PolicyConfig(decimal=",", thousands=".", separator=";").csv_options()
    assert pieces(b"x;y\n1.234,5;7\n", options).rows() == [("1.234,5", "7")]

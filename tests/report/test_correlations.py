import re

import polars as pl
import pytest

from raytrain.features.correlations.table import Correlations
from raytrain.report.correlations import MAX_SERIES, correlations_section
from raytrain.report.page import render_correlations

PAIRS = [("in", "in", "a", "b", 0.5), ("in", "in", "a", "<c>", None), ("in", "in", "b", "<c>", -0.4)]
PAIRS += [("in", "out", "a", "x", 0.1), ("in", "out", "b", "y", -0.8), ("out", "out", "x", "y", 0.2)]


def make_found(num_series=1, key_pairs=(("b", "a"),), regimes=("calm", "wild")):
    """Two blocks and one key pair, for some series."""
    series = [f"S{number}" for number in range(num_series)]
    newest = [
        {"series_id": name, "left_block": lb, "right_block": rb, "left": left, "right": right, "window": window,
         "correlation": value if value is None else value + window / 10_000, "sample": value}
        for name in series for lb, rb, left, right, value in PAIRS for window in (90, 365)
    ]  # fmt: skip
    inside = [
        {"series_id": name, "regime": regime, "left": left, "right": right, "rows": 40, "correlation": value}
        for name in series for regime in regimes for _, _, left, right, value in PAIRS
    ]  # fmt: skip
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 3, 1), eager=True)
    curves = [
        pl.DataFrame({"date": days}).with_columns(
            series_id=pl.lit(name), window=pl.lit(window), left=pl.lit(left), right=pl.lit(right),
            correlation=pl.when(pl.int_range(pl.len()) > 9).then(0.5),
        )
        for name in series for left, right in key_pairs for window in (90, 365)
    ]  # fmt: skip
    return Correlations(
        newest=pl.DataFrame(newest),
        curves=pl.concat(curves) if curves else pl.DataFrame(),
        regimes=pl.DataFrame(inside, schema_overrides={"regime": pl.String}) if inside else pl.DataFrame(
            schema={"series_id": pl.String, "regime": pl.String, "left": pl.String, "right": pl.String,
                    "rows": pl.Int64, "correlation": pl.Float64}
        ),
        blocks={"in": ("a", "b", "<c>"), "out": ("x", "y")},
        key_pairs=key_pairs,
        windows=(90, 365),
        kinds={"a": "log", "b": "log", "<c>": "difference", "x": "log", "y": "none"},
        source="the test",
        rows=700,
        first_date="2020-01-01 00:00:00",
        last_date="2020-03-01 00:00:00",
        num_reused=1,
        num_computed=2,
        notes=("one & another",),
    )  # fmt: skip


def test_a_map_has_the_short_window_above_and_the_long_one_below():
    (one,) = correlations_section(make_found())["series"]
    block = one.maps[0]
    assert block.names == ("a", "b", "<c>")
    assert block.cells[0] == [None, pytest.approx(0.509), None]
    assert block.cells[1] == [pytest.approx(0.5365), None, pytest.approx(-0.391)]


def test_a_key_pair_keeps_the_order_it_was_given_in():
    (one,) = correlations_section(make_found())["series"]
    assert [(row.left, row.right, row.sample) for row in one.keys] == [("b", "a", 0.5)]
    assert [name for name, _ in one.curves] == ["b / a"]


def test_pairs_between_blocks_come_by_strength_over_all_rows():
    (one,) = correlations_section(make_found())["series"]
    assert [(row.left, row.right, row.blocks) for row in one.between] == [
        ("b", "y", "in / out"),
        ("a", "x", "in / out"),
    ]
    assert one.between[0].regimes == [(-0.8, 40), (-0.8, 40)]


def test_the_page_shows_curves_maps_notes_and_escapes_names():
    page = render_correlations(make_found())
    assert page.count("<svg ") == 1 and 'aria-label="rolling correlation of b and a"' in page
    assert "one &amp; another" in page
    assert "<c>" not in page and "&lt;c&gt;" in page
    assert "log returns of a, b, x; differences of &lt;c&gt;; as they are of y" in page
    assert "2020-01-01 to 2020-03-01" in page and "700 rows" in page
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL).lower()
    assert page == render_correlations(make_found())


def test_without_key_pairs_or_regimes_the_page_stands():
    page = render_correlations(make_found(key_pairs=(), regimes=()))
    assert "<svg" not in page and "Between the blocks" in page


def test_many_series_are_cut_with_a_word():
    page = render_correlations(make_found(num_series=MAX_SERIES + 1))
    assert f"The first {MAX_SERIES} of {MAX_SERIES + 1} series" in page
    assert "<h3>S0</h3>" in page and f"<h3>S{MAX_SERIES}</h3>" not in page

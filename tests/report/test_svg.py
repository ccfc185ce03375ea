import re
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.report import svg


@pytest.fixture
def draw():
    """Draw a line with a bar named `bar`; returns the element."""

    def drawn(salt="a", label="a plot", text="close", titles=None):
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle

        with svg.drawing(salt):
            figure = Figure(figsize=(3, 2))
            axes = figure.add_subplot()
            axes.plot([0, 1 / 3, 1], [0.0001, 0.0002, 0.0003], color=svg.ACCENT, marker="o")
            axes.add_patch(Rectangle((0, 0), 1, 0.0001, facecolor=svg.SERIES[3], gid="bar"))
            axes.set_ylabel(text)
            return svg.inline(figure, label, titles)

    return drawn


def test_every_colour_follows_the_page(draw):
    plot = draw()
    assert "var(--accent)" in plot and "var(--c3)" in plot and "var(--grid)" in plot
    assert not re.search(r"(fill|stroke): #", plot)


def test_nothing_is_left_that_html_does_not_need(draw):
    plot = draw()
    assert plot.startswith("<svg viewBox=") and plot.endswith("</svg>")
    for piece in ("xmlns", "http", "<style", "<metadata", "<?xml", "font-family", ' id="line2d'):
        assert piece not in plot


def test_coordinates_are_rounded_but_the_axis_is_not(draw):
    plot = draw()
    assert not re.search(r' d="[^"]*\.\d{3}', plot)
    assert ">0.00010<" in plot, "the tick's text keeps its digits"


def test_ids_differ_between_plots_and_not_between_runs(draw):
    ids = [set(re.findall(r' id="([^"]*)"', draw(salt))) for salt in ("a", "b", "a")]
    assert ids[0] and ids[0] == ids[2] and not ids[0] & ids[1]


def test_texts_are_escaped(draw):
    plot = draw(label='"><script>', text="<b>$x_{", titles={"bar": "<i>&"})
    assert "<title>&lt;i&gt;&amp;</title>" in plot
    assert 'aria-label="&#34;&gt;&lt;script&gt;"' in plot
    assert "&lt;b&gt;$x_{" in plot


@given(st.integers(0, 500), st.integers(1, 60))
def test_thinning_keeps_the_newest_row_the_order_and_the_limit(num, limit):
    kept = svg.thin_out(pl.DataFrame({"row": range(num)}, schema={"row": pl.Int64}), limit)["row"].to_list()
    assert len(kept) <= limit
    assert kept[-1:] == list(range(num))[-1:]
    steps = {late - early for early, late in pairwise(kept)}
    assert len(steps) <= 1 and all(step > 0 for step in steps)


@pytest.mark.parametrize("values", [[3.0, 5.0], [5.0], [0.0], [-2.0, -2.0]])
def test_limits_hold_the_values_and_are_never_empty(values):
    low, high = svg.limits(values, 0.1)
    assert low < min(values) <= max(values) < high

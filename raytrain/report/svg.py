"""Matplotlib figures as SVG that lives inside the page: its colours, its font, no outside reference.

A plot is drawn with stand-in colours, which are then replaced by the page's CSS variables, so that one plot serves the
light and the dark page and the printer.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl
from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 400
"""Points of one line; more cannot be seen at the width of a plot."""
NUM_SERIES_COLOURS = 9

INK, MUTED, GRID, ACCENT, BAD, OTHER, PAPER = (f"#00000{number}" for number in range(1, 8))
SERIES = tuple(f"#0000{number}" for number in range(10, 10 + NUM_SERIES_COLOURS))
_VARIABLES = dict(
    zip(
        (INK, MUTED, GRID, ACCENT, BAD, OTHER, PAPER, *SERIES),
        (
            *(f"var(--{name})" for name in ("ink", "muted", "grid", "accent", "bad", "other", "paper")),
            *(f"var(--c{number})" for number in range(NUM_SERIES_COLOURS)),
        ),
        strict=True,
    )
)
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 8,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.1,
    "figure.constrained_layout.use": True,
}


@contextmanager
def drawing(salt: str) -> Iterator[None]:
    """The look of every plot. `salt` names the plot: the same run gives the same bytes, no two plots share an id."""
    import matplotlib as mpl

    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        yield


def thin_out(frame: pl.DataFrame, limit: int = MAX_POINTS) -> pl.DataFrame:
    """At most `limit` evenly spaced rows, the newest among them."""
    step = -(-frame.height // limit)
    return frame.reverse().gather_every(step).reverse() if step > 1 else frame


def date_axis(axes: "Axes") -> None:
    """Few, short date ticks that name the year once."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=7)
    formatter = ConciseDateFormatter(locator, show_offset=False)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)


def limits(values: Sequence[float], pad: float) -> tuple[float, float]:
    """The range of the values, widened by the share `pad` on both sides."""
    low, high = min(values), max(values)
    room = pad * (high - low) or abs(high) * 0.01 or 1.0
    return low - room, high + room


def inline(figure: "Figure", label: str, titles: Mapping[str, str] | None = None) -> Markup:
    """The figure as an `<svg>` element.

    Args:
        figure: drawn inside `drawing`, in the colours of this module.
        label: what the plot shows, for a screen reader; any text.
        titles: hover text for artists, by the `gid` that they were given; any text.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return Markup(_strip(buffer.getvalue(), str(escape(label)), titles or {}))


def _strip(svg: str, label: str, titles: Mapping[str, str]) -> str:
    """Leave what HTML needs: no prolog, namespaces, ids of groups or fonts."""

    def group(match: re.Match[str]) -> str:
        title = titles.get(match[1])
        return f"<g><title>{escape(title)}</title>" if title else "<g>"

    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box, "matplotlib writes a viewBox"
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    # the rule of this style element would hold for the whole page; style.css has it for the plots
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'(?<= )(d|x|y|transform)="[^"]*"', _shorten, body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub("(?<=: )#[0-9a-f]{6}", lambda colour: _VARIABLES.get(colour[0], colour[0]), body)
    body = re.sub(r">\s+<", "><", body)
    body = re.sub(r'<g id="[^"]*"/>', "", body)
    body = re.sub(r'<g id="([^"]*)">', group, body)
    return f'<svg {view_box[0]} role="img" aria-label="{label}">{body.strip()}'


def _shorten(attribute: re.Match[str]) -> str:
    """Coordinates to a hundredth of a point, on one line."""
    return re.sub(r"(\.\d\d)\d+", r"\1", " ".join(attribute[0].split()))

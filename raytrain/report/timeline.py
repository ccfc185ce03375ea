"""When each fit ran: one track per core or slot, so that idle time is white."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
from markupsafe import Markup

from raytrain.report import svg
from raytrain.report.words import memory, plural, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_BARS = 1500
"""Bars drawn; of more fits the longest."""
DONE = ("ok", "cached")

_UNITS = ((1, "s", 180), (60, "min", 10_800), (3600, "h", math.inf))
"""Seconds, name, and the end of the axis up to which it is used."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The plot and its legend."""

    plot: Markup
    legend: list[tuple[str, str]]
    """(family, CSS variable) of the families with a colour of their own."""
    any_failed: bool
    num_fits: int
    first_s: float
    """When the first fit started, seconds after the run did; the plot begins there."""
    span_s: float
    """From the first start to the last end."""
    num_left_out: int
    """Fits too many to draw."""


def timeline(fits: pl.DataFrame, lower_bound_s: float | None) -> Timeline | None:
    """The fits that ran in this run, by lane; None when none did."""
    if fits.is_empty():
        return None
    ran = fits.filter(pl.col("start_s").is_not_null() & pl.col("end_s").is_not_null())
    if ran.is_empty():
        return None
    first_s = min(ran["start_s"])
    ran = ran.with_columns(pl.col("start_s", "end_s") - first_s)
    shown = ran.sort(pl.col("start_s") - pl.col("end_s"), "key").head(MAX_BARS)
    colours = family_colours(fits)
    return Timeline(
        plot=_draw(pack(shown), colours, lower_bound_s),
        legend=[(family, f"c{number}") for family, number in colours.items() if family in set(shown["family"])],
        any_failed=not ran["status"].is_in(DONE).all(),
        num_fits=ran.height,
        first_s=first_s,
        span_s=max(ran["end_s"]),
        num_left_out=ran.height - shown.height,
    )


def family_colours(fits: pl.DataFrame) -> dict[str, int]:
    """Family -> number of its colour, for the families with most work, in order of name."""
    if fits.is_empty():
        return {}
    work = fits.group_by("family").agg(pl.col("cpu_s").sum()).sort("cpu_s", "family", descending=[True, False])
    return {family: number for number, family in enumerate(sorted(work["family"].head(svg.NUM_SERIES_COLOURS)))}


def pack(fits: pl.DataFrame) -> pl.DataFrame:
    """Give each fit a `track` within its lane: that of its worker when free, else the first free one.

    Tracks follow from the times alone, so their number is the number of fits that ran side by side.
    """
    tracks: dict[str, list[tuple[float, str]]] = {}
    ordered = fits.sort("start_s", "end_s", "key")
    placed = []
    for lane, worker, start, end in ordered.select("lane", "worker", "start_s", "end_s").iter_rows():
        lanes = tracks.setdefault(lane, [])
        free = [number for number, (until, _) in enumerate(lanes) if until <= start]
        own = [number for number in free if lanes[number][1] == worker]
        if not free:
            free = [len(lanes)]
            lanes.append((end, worker))
        track = (own or free)[0]
        lanes[track] = (end, worker)
        placed.append(track)
    return ordered.with_columns(pl.Series("track", placed, dtype=pl.Int64))


def _draw(fits: pl.DataFrame, colours: Mapping[str, int], lower_bound_s: float | None) -> Markup:
    from matplotlib.figure import Figure

    names = fits.select("lane", "track").unique().sort("lane", "track").rows()
    height = min(0.26, 9 / len(names))
    with svg.drawing("timeline"):
        figure = Figure(figsize=(10.5, 0.55 + height * len(names)))
        axes = figure.add_subplot()
        titles = _bars(axes, fits, {name: row for row, name in enumerate(names)}, colours)
        _scales(axes, names, max([*fits["end_s"], lower_bound_s or 0.0]))
        if lower_bound_s:
            axes.axvline(lower_bound_s, color=svg.INK, linestyle="--", linewidth=0.9)
        return svg.inline(figure, f"timeline of {plural(fits.height, 'fit')}", titles)


def _bars(
    axes: "Axes", fits: pl.DataFrame, rows: Mapping[tuple[Any, ...], int], colours: Mapping[str, int]
) -> dict[str, str]:
    """Draw a bar per fit; returns what to say when one is pointed at."""
    from matplotlib.patches import Rectangle

    titles, narrow_s = {}, 0.003 * max(fits["end_s"])
    for number, fit in enumerate(fits.iter_rows(named=True)):
        colour = svg.SERIES[colours[fit["family"]]] if fit["family"] in colours else svg.OTHER
        failed = fit["status"] not in DONE
        corner = fit["start_s"], rows[fit["lane"], fit["track"]] + 0.1
        bar = Rectangle(corner, fit["end_s"] - fit["start_s"], 0.8, facecolor=colour, gid=f"fit-{number}")
        # an edge of the page's colour parts neighbours, one of its own keeps a fit of milliseconds visible
        edge = colour if fit["end_s"] - fit["start_s"] < narrow_s else svg.PAPER
        bar.set(edgecolor=svg.BAD if failed else edge, linewidth=1.4 if failed else 0.4, clip_on=False)
        axes.add_patch(bar)
        titles[f"fit-{number}"] = _title(fit)
    return titles


def _title(fit: Mapping[str, Any]) -> str:
    threads = plural(fit["threads"], "thread") if fit["threads"] is not None else "threads unknown"
    return (
        f"{fit['label']}: {fit['status']}, {seconds(fit['end_s'] - fit['start_s'])}, "
        f"{memory(fit['peak_memory_bytes'])}, {threads}, {fit['device'] or 'device unknown'}, {fit['worker'] or ''}"
    )


def _scales(axes: "Axes", names: list[tuple[Any, ...]], end_s: float) -> None:
    from matplotlib.ticker import MultipleLocator

    unit, name = next((u, n) for u, n, most in _UNITS if end_s < most)
    steps = (size * power for power in (1, 60, 3600) for size in (0.1, 0.5, 1, 2, 5, 10, 15, 30))
    axes.xaxis.set_major_locator(MultipleLocator(next((step for step in steps if end_s / step <= 12), 36 * 3600)))
    axes.set_xlim(0, end_s * 1.005 or 1)
    axes.set_ylim(len(names), 0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / unit:g} {name}")
    step = -(-len(names) // 32)
    axes.set_yticks(
        [row + 0.5 for row in range(0, len(names), step)],
        [f"{lane} {track + 1}" for lane, track in names[::step]],
    )
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")

"""`Correlations` -> what `correlations.jinja` shows: the key pairs' curves, a map per block, pairs between blocks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from markupsafe import Markup

from raytrain.features.correlations.table import Correlations
from raytrain.report import svg
from raytrain.report.words import day

MAX_SERIES = 6
MAX_BETWEEN = 40
Window = int
ByWindow = Mapping[Window, float | None]


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """One pair as a table shows it."""

    left: str
    right: str
    blocks: str
    newest: list[float | None]
    """By window, in the order of `Correlations.windows`."""
    sample: float | None
    regimes: list[tuple[float | None, int]]
    """Correlation and rows by regime, in the order of `SeriesView.regimes`."""


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """One block: the shortest window above the diagonal, the longest below it."""

    block: str
    names: tuple[str, ...]
    cells: list[list[float | None]]
    """Row by row; None on the diagonal and where unknown."""


@dataclass(frozen=True, kw_only=True)
class SeriesView:
    """One series."""

    series_id: str
    regimes: list[str]
    keys: list[PairRow]
    curves: list[tuple[str, Markup]]
    maps: list[HeatMap]
    between: list[PairRow]
    num_between: int


def correlations_section(found: Correlations) -> dict[str, Any]:
    """Everything that the template asks for."""
    series = found.newest["series_id"].unique(maintain_order=True).to_list()
    return {
        "series": [_series(found, name) for name in series[:MAX_SERIES]],
        "num_series": len(series),
        "windows": found.windows,
        "kinds": _kinds(found),
        "notes": found.notes,
        "source": found.source,
        "rows": found.rows,
        "first_date": day(found.first_date),
        "last_date": day(found.last_date),
    }


def _kinds(found: Correlations) -> list[tuple[str, list[str]]]:
    words = {"log": "log returns", "difference": "differences", "none": "as they are"}
    kinds = found.kinds.items()
    by_kind = [(words[kind], [name for name, one in kinds if one == kind]) for kind in words]
    return [(word, names) for word, names in by_kind if names]


def _series(found: Correlations, name: str) -> SeriesView:
    newest = found.newest.filter(pl.col("series_id") == name)
    regimes = found.regimes.filter(pl.col("series_id") == name)
    curves = found.curves.filter(pl.col("series_id") == name) if found.key_pairs else found.curves
    names = regimes["regime"].unique().sort().to_list()
    pairs = _pair_rows(newest, regimes, found.windows, names)
    between = [row for row in pairs.values() if row.blocks]
    between.sort(key=lambda row: -abs(row.sample or 0.0))
    return SeriesView(
        series_id=name,
        regimes=names,
        keys=[replace(pairs[frozenset(pair)], left=pair[0], right=pair[1]) for pair in found.key_pairs],
        curves=[(f"{left} / {right}", _curve(curves, left, right, name)) for left, right in found.key_pairs],
        maps=[_heat_map(block, columns, pairs) for block, columns in found.blocks.items()],
        between=between[:MAX_BETWEEN],
        num_between=len(between),
    )


def _pair_rows(
    newest: pl.DataFrame, regimes: pl.DataFrame, windows: tuple[int, ...], names: list[str]
) -> dict[frozenset[str], PairRow]:
    inside = {(left, right, regime): (value, rows) for _, regime, left, right, rows, value in regimes.iter_rows()}
    found: dict[frozenset[str], PairRow] = {}
    for (left, right), rows in newest.group_by("left", "right", maintain_order=True):
        left_block, right_block = rows.select("left_block", "right_block").row(0)
        by_window = dict(rows.select("window", "correlation").iter_rows())
        found[frozenset((str(left), str(right)))] = PairRow(
            left=str(left),
            right=str(right),
            blocks=f"{left_block} / {right_block}" if left_block != right_block else "",
            newest=[by_window[window] for window in windows],
            sample=rows["sample"][0],
            regimes=[inside[left, right, regime] for regime in names],
        )
    return found


def _heat_map(block: str, names: tuple[str, ...], pairs: Mapping[frozenset[str], PairRow]) -> HeatMap:
    def cell(row: int, column: int) -> float | None:
        if row == column:
            return None
        newest = pairs[frozenset((names[row], names[column]))].newest
        return newest[0] if row < column else newest[-1]

    span = range(len(names))
    return HeatMap(block=block, names=names, cells=[[cell(row, column) for column in span] for row in span])


def _curve(curves: pl.DataFrame, left: str, right: str, series: str) -> Markup:
    from matplotlib.figure import Figure

    pair = curves.filter((pl.col("left") == left) & (pl.col("right") == right))
    with svg.drawing(f"correlation of {left} and {right}, {series}"):
        figure = Figure(figsize=(5, 2.2))
        axes = figure.add_subplot()
        axes.axhline(0, color=svg.MUTED, linewidth=0.7)
        for number, rows in enumerate(pair.partition_by("window", maintain_order=True)):
            line = svg.thin_out(rows)
            axes.plot(line["date"], line["correlation"], color=svg.SERIES[number % len(svg.SERIES)], linewidth=1.0)
        axes.set_ylim(-1, 1)
        axes.set_yticks((-1, -0.5, 0, 0.5, 1))
        svg.date_axis(axes)
        return svg.inline(figure, f"rolling correlation of {left} and {right}")

"""Forecasts of the test rows against what happened, for the family that forecasts and for naive.

The upper panel is the price. Near horizons always look right there, since a forecast of no change trails the price by
a hand's breadth; so the lower panel shows what was really forecast: the change of the price and its band.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
from markupsafe import Markup

from raytrain.features.targets import ahead_to_price
from raytrain.report import svg
from raytrain.report.view import YARDSTICK, RunView, levels, targets
from raytrain.report.words import MINUS, known

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PLOTS = 18
MAX_SERIES = 6
_LEVELS = r"^q[0-9.]+$"
"""The quantile columns, by the pattern that polars understands."""


@dataclass(frozen=True, kw_only=True)
class ActualPlot:
    """One target of one series."""

    target: str
    label: str
    kind: str
    family: str
    series_id: str
    num_rows: int
    inside: float | None
    """The share of outcomes in the band, of this family on this series; None without a band."""
    plot: Markup


def actual_plots(view: RunView) -> list[ActualPlot]:
    """The plots of every target, nearest horizon first, at most `MAX_PLOTS`, evenly over the targets."""
    predictions = view.predictions
    if predictions.is_empty():
        return []
    known = predictions.filter(pl.col("price_actual").is_finite().fill_null(value=False))
    known = known.with_columns(pl.col(_LEVELS).cast(pl.Float64))
    asked = targets(known)[:MAX_PLOTS]
    per_target = min(MAX_SERIES, max(1, MAX_PLOTS // max(1, len(asked))))
    found = []
    for target, _, _ in asked:
        rows = known.filter(pl.col("target") == target)
        family = best_family(view, target, rows["family"].unique().sort().to_list())
        for series_id in rows["series_id"].unique().sort().head(per_target):
            found.append(_plot(rows.filter(pl.col("series_id") == series_id), family))
    return [plot for plot in found if plot]


def best_family(view: RunView, target: str, families: list[str]) -> str:
    """The family that makes the forecast for a target; without a forecast the most skilful one of `families`."""
    if not view.forecast.is_empty():
        chosen = view.forecast.filter((pl.col("target") == target) & pl.col("family").is_in(families))
        if not chosen.is_empty():
            return str(chosen["family"][0])
    skills = dict.fromkeys(families, -math.inf)
    for score in view.scores.iter_rows(named=True):
        if score["target"] == target and score["family"] in skills and known(score["skill"]):
            skills[score["family"]] = score["skill"]
    candidates = [family for family in families if family != YARDSTICK] or families
    return max(candidates, key=lambda family: skills[family])


def _plot(rows: pl.DataFrame, family: str) -> ActualPlot | None:
    own = _mean_over_seeds(rows.filter(pl.col("family") == family))
    if own.is_empty():
        return None
    first = own.row(0, named=True)
    naive = _mean_over_seeds(rows.filter(pl.col("family") == YARDSTICK))
    return ActualPlot(
        target=first["target"],
        label=first["label"],
        kind=first["kind"],
        family=family,
        series_id=first["series_id"],
        num_rows=own.height,
        inside=_inside(own) if first["kind"] != "threshold" else None,
        plot=_draw(svg.thin_out(own), svg.thin_out(naive), first),
    )


def _mean_over_seeds(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per date of one family, target and series."""
    forecasts = pl.col(_LEVELS, "probability").mean()
    others = pl.exclude(_LEVELS, "probability", "date").first()
    return rows.group_by("date", maintain_order=True).agg(forecasts, others).sort("label_date")


def _inside(rows: pl.DataFrame) -> float | None:
    found = levels(rows)
    if len(found) < 2:
        return None
    within = pl.col("actual").is_between(pl.col(f"q{found[0]:g}"), pl.col(f"q{found[-1]:g}"))
    share = rows.select(within.mean()).item()
    return float(share) if share is not None else None


def _draw(own: pl.DataFrame, naive: pl.DataFrame, first: dict[str, Any]) -> Markup:
    from matplotlib.figure import Figure

    name = f"{first['target']} of {first['series_id']}"
    with svg.drawing(f"actual {name}"):
        figure = Figure(figsize=(5, 3.4))
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        upper.plot(own["label_date"], own["price_actual"], color=svg.INK, **_mark(own))
        if first["kind"] == "threshold":
            _probability(lower, own, naive)
        else:
            _price(upper, own, naive)
            _return(lower, own, naive)
        svg.date_axis(lower)
        return svg.inline(figure, f"forecast of {name} against what happened")


def _mark(rows: pl.DataFrame) -> dict[str, Any]:
    """A line through one point cannot be seen."""
    return {"marker": "."} if rows.height == 1 else {}


def _price(axes: "Axes", own: pl.DataFrame, naive: pl.DataFrame) -> None:
    names, method = [f"q{level:g}" for level in levels(own)], own["method"][0]
    priced = own.with_columns(ahead_to_price(pl.col("close"), pl.col(name), method).alias(name) for name in names)
    if not naive.is_empty():
        axes.plot(naive["label_date"], naive["close"], color=svg.MUTED, linewidth=0.7, ls=":", **_mark(naive))
    _band(axes, priced)
    axes.plot(priced["label_date"], priced["q0.5"], color=svg.ACCENT, linewidth=0.9, **_mark(priced))
    # what happened sets the scale: a diverged forecast leaves the picture instead of flattening it
    axes.set_ylim(svg.limits(own["price_actual"].to_list(), 0.12))
    axes.set_ylabel("price")


def _return(axes: "Axes", own: pl.DataFrame, naive: pl.DataFrame) -> None:
    actual = own["actual"].to_numpy()
    axes.fill_between(own["label_date"].to_numpy(), 0, actual, color=svg.INK, alpha=0.4, linewidth=0)
    _band(axes, own)
    axes.plot(own["label_date"], own["q0.5"], color=svg.ACCENT, linewidth=0.9, **_mark(own))
    found = levels(naive) if not naive.is_empty() else []
    for level in sorted({found[0], found[-1]}) if found else ():
        axes.plot(naive["label_date"], naive[f"q{level:g}"], color=svg.MUTED, linewidth=0.8, ls=":")
    axes.set_ylim(svg.limits([0.0, *actual], 0.05))
    if own["method"][0] == "difference":
        axes.set_ylabel("change")
    else:
        axes.set_ylabel("return")
        axes.yaxis.set_major_formatter(lambda share, _: f"{round(100 * share, 6):g} %".replace("-", MINUS))


def _band(axes: "Axes", rows: pl.DataFrame) -> None:
    found = levels(rows)
    if len(found) > 1:
        low, high = (rows[f"q{level:g}"].to_numpy() for level in (found[0], found[-1]))
        axes.fill_between(rows["label_date"].to_numpy(), low, high, color=svg.ACCENT, alpha=0.22, linewidth=0)


def _probability(axes: "Axes", own: pl.DataFrame, naive: pl.DataFrame) -> None:
    if not naive.is_empty():
        axes.plot(naive["label_date"], naive["probability"], color=svg.MUTED, linewidth=0.8, ls=":", **_mark(naive))
    axes.plot(own["label_date"], own["actual"], color=svg.INK, ls="none", marker="|", markersize=4, alpha=0.5)
    axes.plot(own["label_date"], own["probability"], color=svg.ACCENT, linewidth=0.9, **_mark(own))
    axes.set_ylim(-0.05, 1.05)
    axes.set_ylabel("probability")

"""The forecast for the days after the last row: a table, and a fan per series."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
from markupsafe import Markup

from raytrain.report import svg
from raytrain.report.decisions import VERDICTS
from raytrain.report.view import RunView, levels
from raytrain.report.words import day

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ROWS = 60
MAX_SERIES = 6
HISTORY_ROWS = 120


@dataclass(frozen=True, kw_only=True)
class ForecastRow:
    """One forecast of one series as the table shows it."""

    series_id: str
    target: str
    label: str
    horizon: int
    origin: str
    target_date: str
    close: float | None
    low: float | None
    """Price at the lowest quantile level."""
    median: float | None
    high: float | None
    probability: float | None
    family: str
    verdict: str

    @property
    def change(self) -> float | None:
        """The median against the close, as a share."""
        return self.median / self.close - 1 if self.median is not None and self.close else None


@dataclass(frozen=True, kw_only=True)
class Fan:
    """The plot of one series."""

    series_id: str
    origin: str
    plot: Markup


def forecast_rows(forecast: pl.DataFrame) -> list[ForecastRow]:
    """Every forecast, by series, nearest horizon first."""
    if forecast.is_empty():
        return []
    low, high = price_band(forecast)
    return [
        ForecastRow(
            series_id=row["series_id"],
            target=row["target"],
            label=row["label"],
            horizon=row["horizon"],
            origin=day(row["date"]),
            target_date=day(row.get("target_date")),
            close=row["close"],
            low=row.get(low),
            median=row.get("price_q0.5"),
            high=row.get(high),
            probability=row.get("probability"),
            family=row["family"],
            verdict=row["verdict"],
        )
        for row in forecast.sort("series_id", "horizon", "target").iter_rows(named=True)
    ]


def price_band(forecast: pl.DataFrame) -> tuple[str, str]:
    """The columns of the lowest and the highest price; the same twice when there is one level."""
    found = levels(forecast) or [0.5]
    return f"price_q{found[0]:g}", f"price_q{found[-1]:g}"


def band_text(frame: pl.DataFrame) -> str:
    """The band by its levels: `10 % to 90 %`; empty when there is none."""
    found = levels(frame)
    return f"{100 * found[0]:g} % to {100 * found[-1]:g} %" if len(found) > 1 else ""


def fans(view: RunView) -> list[Fan]:
    """A fan for each of the first `MAX_SERIES` series that have a price forecast."""
    if view.forecast.is_empty():
        return []
    priced = view.forecast.filter(_finite("price_q0.5") & _finite("close"))
    history = closes(view)
    found: list[Fan] = []
    for (series_id,), forecast in priced.sort("series_id").group_by("series_id", maintain_order=True):
        if len(found) == MAX_SERIES:
            break
        known = history.filter(pl.col("series_id") == series_id).tail(HISTORY_ROWS)
        horizons = _one_per_horizon(forecast)
        found.append(Fan(series_id=str(series_id), origin=day(horizons["date"][0]), plot=_fan(known, horizons)))
    return found


def closes(view: RunView) -> pl.DataFrame:
    """Every (series_id, date, close) that the run's tables mention, by series and date."""
    parts = []
    if not view.predictions.is_empty():
        parts.append(view.predictions.select("series_id", "date", "close"))
        parts.append(view.predictions.select("series_id", date="label_date", close="price_actual"))
    if not view.forecast.is_empty():
        parts.append(view.forecast.select("series_id", "date", "close"))
    known = pl.concat(parts, how="vertical_relaxed").filter(_finite("close") & pl.col("date").is_not_null())
    return known.unique(("series_id", "date"), keep="first", maintain_order=True).sort("series_id", "date")


def _finite(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Float64).is_finite().fill_null(value=False)


def _one_per_horizon(forecast: pl.DataFrame) -> pl.DataFrame:
    """Of several targets at one horizon the most trusted, so that the fan has one band there."""
    trust = pl.col("verdict").replace_strict(VERDICTS, range(len(VERDICTS)), default=len(VERDICTS))
    ranked = forecast.sort("horizon", trust, "target")
    return ranked.unique("horizon", keep="first", maintain_order=True)


def _fan(history: pl.DataFrame, forecast: pl.DataFrame) -> Markup:
    from matplotlib.figure import Figure

    with svg.drawing(f"fan of {forecast['series_id'][0]}"):
        figure = Figure(figsize=(5, 2.6))
        axes = figure.add_subplot()
        rows = range(1 - history.height, 1)
        axes.plot(rows, history["close"], color=svg.INK, marker="." if history.height == 1 else "")
        _horizons(axes, forecast)
        _ticks(axes, history)
        return svg.inline(figure, f"closes and forecast band of {forecast['series_id'][0]}")


def _horizons(axes: "Axes", forecast: pl.DataFrame) -> None:
    """The band from the origin through each horizon; a straight line between horizons is a guide for the eye."""
    low, high = price_band(forecast)
    origin = forecast["close"][0]
    banded = forecast.filter(_finite(low) & _finite(high)) if low != high else forecast.clear()
    if not banded.is_empty():
        ahead = [0, *banded["horizon"]]
        bottom, top = [origin, *banded[low]], [origin, *banded[high]]
        axes.fill_between(ahead, bottom, top, color=svg.ACCENT, alpha=0.16, linewidth=0)
        axes.vlines(ahead[1:], bottom[1:], top[1:], color=svg.ACCENT, linewidth=1.4)
    axes.plot([0, *forecast["horizon"]], [origin, *forecast["price_q0.5"]], color=svg.ACCENT, linewidth=0.9, ls=":")
    axes.plot(forecast["horizon"], forecast["price_q0.5"], color=svg.ACCENT, marker="o", markersize=3.5, ls="none")
    _name_horizons(axes, forecast)


def _name_horizons(axes: "Axes", forecast: pl.DataFrame) -> None:
    """Labels above the plot; one that would touch the label before it stands a line higher."""
    near = (HISTORY_ROWS + max(forecast["horizon"])) * 0.06
    before, raised = -near, False
    for row in forecast.iter_rows(named=True):
        raised = row["horizon"] - before < near and not raised
        before = row["horizon"]
        axes.annotate(
            _label(row),
            (row["horizon"], 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 10 if raised else 1),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=svg.ACCENT,
            fontsize=7.5,
        )


def _label(row: Mapping[str, Any]) -> str:
    # another script would need a font that the drawing machine may lack
    label = str(row["label"])
    return label if label.isascii() else f"+{row['horizon']}"


def _ticks(axes: "Axes", history: pl.DataFrame) -> None:
    """Dates below the history; ahead of it rows, since the calendar of the future is not in the data."""
    last = history.height - 1
    marked = sorted({0, last // 2, last})
    axes.set_xticks([row - last for row in marked], [day(history["date"][row]) for row in marked])
    axes.axvline(0, color=svg.GRID, linewidth=0.9)

"""`RunView` -> one HTML file that needs nothing else: no script, no request, every text escaped."""

from collections.abc import Mapping
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

from raytrain.features.correlations.table import Correlations
from raytrain.report.actual import actual_plots
from raytrain.report.breakdown import breakdown_context
from raytrain.report.correlations import correlations_section
from raytrain.report.costs import costs
from raytrain.report.decisions import candidates, headline, matrix, scale_text, verdict_counts
from raytrain.report.diagnostics import section
from raytrain.report.folds import fold_tables, shade
from raytrain.report.forecasts import MAX_ROWS, band_text, fans, forecast_rows
from raytrain.report.live import live_context
from raytrain.report.timeline import family_colours, timeline
from raytrain.report.view import YARDSTICK, RunView
from raytrain.report.words import FILTERS

MAX_FAILURES = 100


def render(view: RunView) -> str:
    """The page of a run, the same bytes for the same view.

    Raises:
        jinja2.UndefinedError: a key of `view.summary` is missing.
        polars.exceptions.ColumnNotFoundError: a column of a table with rows is missing.
    """
    return environment().get_template("page.jinja").render(_context(view))


def render_check(diagnostics: Mapping[str, Any]) -> str:
    """The page of a check: what was found in a table before training.

    Args:
        diagnostics: the content of `diagnostics.json`.
    """
    about = {name: diagnostics[name] for name in ("source", "rows", "series")}
    return environment().get_template("check.jinja").render(about, diagnostics=section(diagnostics))


def render_correlations(found: Correlations) -> str:
    """The page of a comparison of columns."""
    return environment().get_template("correlate.jinja").render(correlations=correlations_section(found))


def environment() -> Environment:
    """What every page is made with: the templates beside this file, text escaped, numbers as people read them."""
    made = Environment(
        loader=PackageLoader("raytrain", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    made.filters["shade"] = shade
    return made


def _context(view: RunView) -> dict[str, Any]:
    summary: Mapping[str, Any] = view.summary
    decisions = matrix(view)
    rows = forecast_rows(view.forecast)
    return {
        "run": summary,
        "yardstick": YARDSTICK,
        "headline": headline(view),
        "verdicts": verdict_counts(view.decisions),
        "decisions": candidates(view.decisions),
        "matrix": decisions,
        "name_targets": len({label for _, label, _ in decisions.columns}) < len(decisions.columns),
        "scale": scale_text(decisions.scale),
        "scores": _score_rows(view.scores),
        "forecast": rows[:MAX_ROWS],
        "forecast_total": len(rows),
        "band": band_text(view.forecast),
        "has_probability": any(row.probability is not None for row in rows),
        "forecast_series": len({row.series_id for row in rows if row.median is not None}),
        "fans": fans(view),
        "actual": actual_plots(view),
        "actual_band": band_text(view.predictions),
        "folds": fold_tables(view.fold_scores),
        **breakdown_context(view.insight, view.scores),
        **live_context(view.insight),
        "timeline": timeline(view.fits, summary["lower_bound_s"]),
        "correlations": correlations_section(view.correlations) if view.correlations else None,
        "diagnostics": section(summary["diagnostics"]) if "diagnostics" in summary else None,
        "costs": costs(view.fits),
        "colours": family_colours(view.fits),
        "failures": view.failures[:MAX_FAILURES],
        "num_failures": len(view.failures),
    }


def _score_rows(scores: pl.DataFrame) -> list[dict[str, Any]]:
    """By target, the most skilful family first."""
    if scores.is_empty():
        return []
    skill = pl.col("skill").fill_nan(None)
    order = scores.sort("horizon", "target", skill, "family", descending=[False, False, True, False], nulls_last=True)
    return order.to_dicts()

"""The forecasts that earlier runs of a store gave, beside what has happened since."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.evaluation.scoring.collect import outcomes
from raytrain.features.targets import TargetConfig

FORECAST = "forecast.parquet"
SUMMARY = "summary.json"
_FORECAST = ["target", "family", SERIES, DATE]
"""What is forecast once: the same data gives the same forecast, and the first one is the one that could be used."""
_REVISED = 1e-6
"""Relative difference of two closes that are not the same."""


@dataclass(frozen=True, kw_only=True)
class PastForecasts:
    """A row per forecast, the first that was given for its target, series, date and family."""

    rows: pl.DataFrame
    """The columns of `forecast.parquet`, with run_id, made_at, kind, method, and what happened: label_date, actual and
    price_actual (null while unknown). `close` is today's; `revised` tells whether another one stood there when the
    forecast was given, `late` whether its outcome was history then, since the run read an earlier state of the data."""
    notes: tuple[str, ...]
    """What was left out and why, and what is unusual."""


def past_forecasts(store: Path, frame: Frame, targets: Sequence[TargetConfig]) -> PastForecasts:
    """Read every run of a store.

    A run counts once its `summary.json` is there, which is written after its tables. A forecast of a target that was
    defined otherwise than today is left out, and so is one of a row that today's data do not have.

    Args:
        store: the folder with `runs/`.
        frame: today's data.
        targets: today's targets.
    """
    found: list[pl.DataFrame] = []
    notes: list[str] = []
    for summary in sorted((store / "runs").glob(f"*/{SUMMARY}")):
        try:
            found.append(_of_run(summary, targets))
        except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
            why = "its file is damaged" if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
            notes.append(f"the forecasts of {summary.parent.name} cannot be read and are left out: {why}")
    found = [rows for rows in found if not rows.is_empty()]
    if not found:
        return PastForecasts(rows=pl.DataFrame(), notes=tuple(notes))
    given = pl.concat(found, how="diagonal_relaxed").unique(_FORECAST, keep="first", maintain_order=True)
    same = given.filter("defined_as_today").drop("defined_as_today")
    outcomes = pl.concat(_outcomes(frame, target) for target in targets)
    rows = same.join(outcomes, on=["target", SERIES, DATE], how="inner", maintain_order="left")
    rows = rows.with_columns(revised=_is_revised(), late=_is_late())
    return PastForecasts(rows=rows, notes=(*notes, *_notes(given, same, rows)))


def _of_run(summary: Path, targets: Sequence[TargetConfig]) -> pl.DataFrame:
    """The forecasts of one run, of targets that are called as one of today's."""
    about: dict[str, Any] = json.loads(summary.read_text())
    rows = pl.read_parquet(summary.parent / FORECAST)
    if rows.is_empty():
        return rows
    then = [TargetConfig.model_validate(target) for target in about.get("targets", [])]
    made_at = datetime.fromisoformat(about["started_at"]).astimezone(UTC).replace(tzinfo=None)
    rows = rows.filter(pl.col("target").is_in([target.name for target in targets])).rename({"close": "close_then"})
    return rows.with_columns(
        pl.col("target").is_in([target.name for target in targets if target in then]).alias("defined_as_today"),
        run_id=pl.lit(about["run_id"]),
        made_at=pl.lit(made_at, pl.Datetime("us")),
    )


def _outcomes(frame: Frame, target: TargetConfig) -> pl.DataFrame:
    # Label and horizon are the forecast's own.
    return outcomes(frame, target).drop("label", "horizon").with_columns(target=pl.lit(target.name))


def _is_revised() -> pl.Expr:
    return (pl.col("close_then") - pl.col("close")).abs() > _REVISED * pl.col("close").abs()


def _is_late() -> pl.Expr:
    """Whether the bar that tells the outcome had ended: it begins at `label_date` and is as long as others."""
    bar = (pl.col("label_date") - pl.col(DATE)) / pl.col("horizon")
    return (pl.col("label_date") + bar < pl.col("made_at")).fill_null(value=False)


def _notes(given: pl.DataFrame, same: pl.DataFrame, rows: pl.DataFrame) -> list[str]:
    told = [
        (given.height - same.height, "are of targets that were defined otherwise, and are left out"),
        (same.height - rows.height, "are of rows that the data do not have any more, and are left out"),
        (int(rows["revised"].sum()), "were made at a close that has been revised since, and are judged by today's"),
        (int(rows["late"].sum()), "were made when their outcome was history, from an earlier state of the data"),
    ]
    return [f"of {given.height} past forecasts {number} {what}" for number, what in told if number]

"""Where the skill is, every measure beside naive, and whether quantiles mean what they say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from raytrain.evaluation.insight import Insight
from raytrain.report.folds import MIN_SCALE, shade
from raytrain.report.view import YARDSTICK, targets
from raytrain.report.words import known, percent, plural

MAX_GROUPS = 16
TITLES = {"regime": "Regime", "season": "Season (calendar quarter)", "month": "Month", "series": "Series"}
"""What is shown by group; the folds have a section of their own."""
ERRORS = 2.0
"""Standard errors beyond which a share is off."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The skill of one family in one group."""

    skill: float | None
    side: str
    """`up` better than naive, `down` worse, `none`."""
    strength: int
    """Of the colour, 0 to 100."""
    title: str
    """The other measures, for who points at it."""
    sure: bool
    """Whether the interval of the skill lies on one side of 0."""


@dataclass(frozen=True, kw_only=True)
class GroupTable:
    """One target by one kind of group: skill by family (rows) and group (columns)."""

    title: str
    groups: list[str]
    num_left_out: int
    rows: list[tuple[str, list[Cell | None]]]
    counts: list[int]
    """Rows judged in each group; the most of any family."""
    naive_loss: list[float | None]


@dataclass(frozen=True, kw_only=True)
class TargetGroups:
    """One target by all kinds of groups."""

    target: str
    label: str
    tables: list[GroupTable]


@dataclass(frozen=True, kw_only=True)
class Share:
    """Outcomes of one family between two levels."""

    share: float | None
    side: str
    strength: int
    off: bool
    """Whether the share below the upper level is more than two standard errors from it."""


@dataclass(frozen=True, kw_only=True)
class CalibrationTable:
    """One target: share of outcomes by family (rows) and bin between the levels (columns)."""

    target: str
    label: str
    bins: list[str]
    nominal: list[float]
    rows: list[tuple[str, list[Share]]]


def breakdown_context(insight: Insight | None, scores: pl.DataFrame) -> dict[str, Any]:
    """What `breakdown.jinja` shows."""
    return {
        "groups": group_tables(insight.breakdown) if insight else [],
        "measures": measure_rows(scores, threshold=False),
        "label_measures": measure_rows(scores, threshold=True),
        "calibration": calibration_tables(insight.calibration) if insight else [],
    }


def group_tables(groups: pl.DataFrame) -> list[TargetGroups]:
    """What `raytrain.evaluation.scoring.breakdown.breakdown` found, target by target.

    What has one group only is left out, and so are targets that naive alone forecast.
    """
    return [
        TargetGroups(target=target, label=label, tables=_tables(groups.filter(pl.col("target") == target)))
        for target, label, _ in targets(groups)
    ]


def _tables(groups: pl.DataFrame) -> list[GroupTable]:
    found = []
    for by, title in TITLES.items():
        part = groups.filter(pl.col("by").cast(pl.String) == by)
        if part["group"].n_unique() > 1 and (part["family"] != YARDSTICK).any():
            found.append(_table(part, title))
    return found


def _table(part: pl.DataFrame, title: str) -> GroupTable:
    names = part["group"].unique().sort().to_list()
    counts = dict(part.group_by("group").agg(pl.col("n").max()).iter_rows())
    # Where there are too many, the largest are shown.
    shown = sorted(sorted(names, key=lambda name: -counts[name])[:MAX_GROUPS])
    candidates = part.filter(pl.col("family") != YARDSTICK)
    scale = _scale(candidates["skill"].to_list())
    losses = dict(part.group_by("group").agg(pl.col("naive_loss").mean()).iter_rows())
    return GroupTable(
        title=title,
        groups=shown,
        num_left_out=len(names) - len(shown),
        rows=[
            (family, _cells(candidates.filter(pl.col("family") == family), shown, scale))
            for family in sorted(candidates["family"].unique())
        ],
        counts=[counts[name] for name in shown],
        naive_loss=[losses[name] for name in shown],
    )


def _scale(skills: Sequence[float | None]) -> float:
    """The 80th percentile: one diverged group must not make every other cell white."""
    sizes = sorted(abs(skill) for skill in skills if skill is not None and known(skill))
    return max(MIN_SCALE, sizes[int(0.8 * (len(sizes) - 1))]) if sizes else MIN_SCALE


def _cells(rows: pl.DataFrame, shown: Sequence[str], scale: float) -> list[Cell | None]:
    by_group = {row["group"]: row for row in rows.iter_rows(named=True)}
    return [_cell(by_group[name], scale) if name in by_group else None for name in shown]


def _cell(row: dict[str, Any], scale: float) -> Cell:
    side, strength = shade(row["skill"], scale)
    low, high = row["skill_low"], row["skill_high"]
    return Cell(
        skill=row["skill"],
        side=side,
        strength=strength,
        title=_title(row),
        sure=low is not None and high is not None and (low > 0 or high < 0),
    )


def _title(row: dict[str, Any]) -> str:
    parts = [plural(row["n"], "row")]
    if row["skill_low"] is not None:
        parts.append(f"skill {percent(row['skill_low'])} to {percent(row['skill_high'])}")
    for name, measure in (("MAPE", "mape"), ("Brier", "brier")):
        if row[measure] is not None:
            parts.append(f"{name} {percent(row[measure], 2)}, naive {percent(row[f'naive_{measure}'], 2)}")
    if row["coverage"] is not None:
        parts.append(f"{percent(row['coverage'], 0)} in the band of {percent(row['coverage_nominal'], 0)}")
    if row["sharpe"] is not None:
        parts.append(f"Sharpe {row['sharpe']:.2f}")
    if row["sharpe_long"] is not None:
        parts.append(f"always long {row['sharpe_long']:.2f}")
    return "; ".join(parts)


def measure_rows(scores: pl.DataFrame, *, threshold: bool) -> list[dict[str, Any]]:
    """The scores of targets that are probabilities, or of the others, by target and family."""
    if "crps" not in scores.columns:
        return []
    is_label = pl.col("kind") == "threshold"
    return scores.filter(is_label if threshold else ~is_label).to_dicts()


def calibration_tables(found: pl.DataFrame) -> list[CalibrationTable]:
    """What `raytrain.evaluation.scoring.calibration.calibration` found, by target and by the levels of the families."""
    tables = []
    for target, label, _ in targets(found):
        rows = found.filter(pl.col("target") == target).sort("family", "level")
        families: dict[tuple[float, ...], list[tuple[str, pl.DataFrame]]] = {}
        for family in sorted(rows["family"].unique()):
            mine = rows.filter(pl.col("family") == family)
            families.setdefault(tuple(mine["level"]), []).append((family, mine))
        tables += [_calibration(target, label, levels, members) for levels, members in families.items()]
    return tables


def _calibration(
    target: str, label: str, levels: tuple[float, ...], families: Sequence[tuple[str, pl.DataFrame]]
) -> CalibrationTable:
    lows = (0.0, *levels[:-1])
    return CalibrationTable(
        target=target,
        label=label,
        bins=[f"{100 * low:g} to {100 * high:g} %" for low, high in zip(lows, levels, strict=True)],
        nominal=[high - low for low, high in zip(lows, levels, strict=True)],
        rows=[(family, [_share(row) for row in rows.iter_rows(named=True)]) for family, rows in families],
    )


def _share(row: dict[str, Any]) -> Share:
    too_many = row["share"] - (row["level"] - row["low_level"])
    side, strength = shade(too_many, 0.1)
    off = row["level"] < 1 and abs(row["share_below"] - row["level"]) > ERRORS * row["error"]
    return Share(share=row["share"], side=side, strength=strength, off=off)

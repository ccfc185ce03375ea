"""All checks of a table, its targets and its features before anything is trained."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain.data.diagnostics import Diagnostics, DiagnosticsConfig, Finding
from raytrain.data.diagnostics.calendar import ended_series, gaps
from raytrain.data.diagnostics.columns import Columns, constant, duplicates, ended, missing
from raytrain.data.diagnostics.drift import Schema, type_drift
from raytrain.data.diagnostics.finding import RegimeReturns, by_level
from raytrain.data.diagnostics.prices import one_step_returns, strange_moves
from raytrain.data.diagnostics.regimes import rare_regimes, regime_columns, regime_returns
from raytrain.data.frame import SERIES, Frame
from raytrain.features.alignment import target_alignment
from raytrain.features.build import FeaturesConfig, FeatureTable
from raytrain.features.leakage import Later, Outcome, Steps, lead_lag, leakage
from raytrain.features.targets import TargetConfig, build_target
from raytrain.features.weights import WeightsConfig, weight_shares

LEADS = range(1, 6)
"""Rows ahead, beside the targets' horizons, at which columns are compared with the price."""

NEVER_KNOWN = 0.999
"""A feature may be unknown where its columns are, and not everywhere."""


def inputs_of(frame: Frame, config: FeaturesConfig) -> frozenset[str]:
    """The frame's columns that features are made of."""
    return frozenset(name for step in config.steps for name in (*step.over(frame), *step.over_text()))


def diagnose(
    frame: Frame,
    targets: Sequence[TargetConfig],
    features: FeatureTable,
    config: DiagnosticsConfig,
    *,
    inputs: Collection[str] | None = None,
    before: Schema | None = None,
    weights: WeightsConfig | None = None,
) -> Diagnostics:
    """Run every check.

    Args:
        frame: the checked table.
        targets: what will be learned.
        features: what models will see, row for row beside the frame.
        config: thresholds.
        inputs: the frame's columns that features are made of; all when not given. What no model sees
            is never an error.
        before: the schema of the last snapshot, to look for drift.
        weights: how much training rows count, by regime.

    Raises:
        ConfigError: `config.regimes` or `weights` names a column that is not there.
        DataError: a target cannot be made of these prices.
    """
    seen = frozenset(frame.columns if inputs is None else inputs) | {frame.price, frame.high}
    outcomes = {target: build_target(frame, target) for target in targets}
    regimes = _regimes(frame, config, weights)
    schema: Schema = {name: str(kind) for name, kind in frame.table.schema.items()}
    findings = [
        *(finding for target in targets for finding in target_alignment(frame, target, outcomes[target])),
        *_future_checks(frame, outcomes, features, seen, config),
        *(type_drift(before, schema, seen) if before is not None else ()),
        *(one for name in sorted({frame.price, frame.high}) for one in strange_moves(frame.table, name, config)),
        *gaps(frame.table, config),
        *ended_series(frame.table),
        *_column_checks(frame, features, seen, config),
        *rare_regimes(regimes, seen, config.min_regime_rows),
    ]
    if before is not None and any(finding.level == "error" for finding in findings):
        # What is refused is not what the next table is compared with.
        schema = before
    return Diagnostics(
        source=frame.source,
        rows=frame.table.height,
        series=len(frame.series),
        findings=by_level(findings),
        regimes=tuple(regimes),
        schema=schema,
    )


def _regimes(frame: Frame, config: DiagnosticsConfig, weights: WeightsConfig | None) -> list[RegimeReturns]:
    """The returns by regime, with what each regime weighs in training."""
    columns = list(regime_columns(frame.table, config))
    if weights is None:
        return regime_returns(frame, columns)
    shares = {row["regime"]: row for row in weight_shares(frame, weights).iter_rows(named=True)}
    found = regime_returns(frame, list(dict.fromkeys([weights.column, *columns])))
    return [
        replace(one, weight=shares[one.regime]["weight"], share_of_weight=shares[one.regime]["share_of_weight"])
        if one.column == weights.column and one.regime in shares
        else one
        for one in found
    ]


def _column_checks(
    frame: Frame, features: FeatureTable, seen: Collection[str], config: DiagnosticsConfig
) -> list[Finding]:
    raw: Columns = {name: frame.table[name].to_numpy() for name in frame.columns}
    made: Columns = dict(zip(features.names, features.x.T, strict=True))
    series = frame.table[SERIES].rle_id().cast(pl.Int32).to_numpy()
    return [
        *missing(raw, seen, config.max_missing),
        *missing({name: made[name] for name in made if name not in raw}, features.names, NEVER_KNOWN),
        *ended(raw, series, seen, config.max_unknown_tail),
        *constant(made, features.names),
        *constant({name: raw[name] for name in raw if name not in made}, ()),
        *duplicates(made, features.names),
        *duplicates(raw, ()),
    ]


def _future_checks(
    frame: Frame,
    outcomes: Mapping[TargetConfig, pl.DataFrame],
    features: FeatureTable,
    seen: Collection[str],
    config: DiagnosticsConfig,
) -> list[Finding]:
    rows = _draw(np.flatnonzero(features.usable), config.max_rows)
    if len(rows) == 0:
        return []
    columns = {name: features.x[rows, column] for column, name in enumerate(features.names)}
    columns |= {name: frame.table[name].to_numpy()[rows] for name in frame.columns if name not in columns}
    ys = [
        Outcome(
            name=target.name,
            y=labels["y"].fill_null(float("nan")).to_numpy()[rows],
            horizon=target.horizon,
            signed=target.kind != "threshold",
        )
        for target, labels in outcomes.items()
    ]
    found = leakage(columns, ys, {*features.names, *seen}, config)
    leads = sorted({*LEADS, *(target.horizon for target in outcomes)})
    told = {finding.column for finding in found}
    return found + [one for one in lead_lag(_steps(frame, rows, leads), seen, config) if one.column not in told]


def _steps(frame: Frame, rows: NDArray[np.intp], leads: Sequence[int]) -> Steps:
    """Gathered at single rows, so that a long table is never copied."""
    moves = one_step_returns(frame.table, frame.price)
    series = frame.table[SERIES].rle_id().to_numpy()
    earlier = np.maximum(rows - 1, 0)
    is_first = (rows == 0) | (series[earlier] != series[rows])
    others = {name: frame.table[name].to_numpy() for name in frame.columns if name != frame.price}
    return Steps(
        same=moves.fill_null(float("nan")).to_numpy()[rows],
        later=[one for lead in leads for one in _later(moves, series, rows, lead)],
        value={name: values[rows] for name, values in others.items()},
        change={name: np.where(is_first, np.nan, values[rows] - values[earlier]) for name, values in others.items()},
    )


def _later(moves: pl.Series, series: NDArray[np.uint32], rows: NDArray[np.intp], lead: int) -> list[Later]:
    """The step `lead` rows ahead, and all steps up to it together."""
    ahead = np.minimum(rows + lead, len(series) - 1)
    inside = (rows + lead < len(series)) & (series[ahead] == series[rows])
    path = moves.fill_null(0).cum_sum().to_numpy()
    step = np.where(inside, moves.fill_null(0).to_numpy()[ahead], np.nan)
    if lead == 1:
        return [Later(what="the price's next step", returns=step, span=1)]
    whole = np.where(inside, path[ahead] - path[rows], np.nan)
    return [
        Later(what=f"the price's step {lead} rows later", returns=step, span=1),
        Later(what=f"the price's return over the next {lead} rows", returns=whole, span=lead),
    ]


def _draw(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """At most `most` rows in order, by chance with a fixed seed: a stride could fall in step with the calendar."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))

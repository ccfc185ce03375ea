"""What the forecasts were worth, and what the gates say."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from raytrain.cluster.runner import Runner
from raytrain.data.frame import DATE, SERIES
from raytrain.evaluation.champions.current import Champions
from raytrain.evaluation.champions.incumbents import incumbents
from raytrain.evaluation.gates.decision import Decision
from raytrain.evaluation.gates.evidence import CHAMPION, LEAK_CHECKS, Circumstances, gather
from raytrain.evaluation.gates.parity import parity_of, to_rescore
from raytrain.evaluation.gates.verdict import decide_all
from raytrain.evaluation.insight import Insight, look_closer
from raytrain.evaluation.scoring.breakdown import regime_column
from raytrain.evaluation.scoring.collect import collect
from raytrain.evaluation.scoring.scores import score, score_by_fold
from raytrain.evaluation.scoring.strategy import Market
from raytrain.pipeline.prepared import Prepared
from raytrain.tuning.tuned import tried_before
from raytrain.work.plan import PlannedFit
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the forecasts were worth and what the gates say."""

    scores: pl.DataFrame
    fold_scores: pl.DataFrame
    decisions: tuple[Decision, ...]
    champions: Champions
    """Of the time before this run."""
    notes: tuple[str, ...] = ()
    """For the summary."""


def judge(run: Prepared, runner: Runner, finished: Sequence[PlannedFit], predictions: pl.DataFrame) -> Judged:
    """Score every family on every target beside naive, and decide.

    Args:
        run: the run.
        runner: fits the champions that are not among the run's recipes, and asks the CPU about the accelerator's work.
        finished: fits of the walk-forward that have a result.
        predictions: of them.
    """
    config, champions = run.config, Champions.read(run.config.store)
    if predictions.is_empty():
        return Judged(scores=pl.DataFrame(), fold_scores=pl.DataFrame(), decisions=(), champions=champions)
    store, beside = ResultStore(config.store), runner.run(run.beside.fits)
    planned, done = (forecasts_of(fits) for fits in (run.plan.fits, finished))
    specs, scores = [fit.spec for fit in finished], scores_of(run, predictions)
    rescored, notes = runner.rescored(to_rescore(specs, run.dataset, store))
    known = Circumstances(
        cutoffs={spec.key: spec.fold.cutoff for spec in specs},
        incumbents=incumbents(
            champions.by_target, planned, run.params, collect(run.frame, config.targets, _specs(beside), store)
        ),
        tried_before=tried_before(config.store, config.families, [target.name for target in config.targets]),
        leak_warnings=[str(one) for one in run.diagnostics.warnings if one.check in LEAK_CHECKS],
        parity=parity_of(specs, store, rescored),
    )
    market = Market.make(bars_of(run), config.data.periods_per_year, config.evaluation)
    evidence = gather(predictions, scores, market, config.gates, known)
    return Judged(
        scores=scores,
        fold_scores=score_by_fold(predictions),
        decisions=decide_all(scores, evidence, config.gates, planned - done + _missing(run, beside)),
        champions=champions,
        notes=tuple(notes),
    )


def _specs(fits: Sequence[PlannedFit]) -> list[FitSpec]:
    return [fit.spec for fit in fits]


def _missing(run: Prepared, beside: Sequence[PlannedFit]) -> Counter[tuple[str, str]]:
    """(target, champion) -> fits of a champion beside the run that have no result."""
    absent = {fit.spec.key for fit in run.beside.fits} - {fit.spec.key for fit in beside}
    return Counter(
        (target, CHAMPION) for fit in run.beside.fits if fit.spec.key in absent for target in fit.spec.target_names
    )


def scores_of(run: Prepared, predictions: pl.DataFrame) -> pl.DataFrame:
    config = run.config
    years, confidence = config.data.periods_per_year, config.gates.confidence
    return score(predictions, bars_of(run), years, config=config.evaluation, confidence=confidence)


def bars_of(run: Prepared) -> pl.DataFrame:
    return run.frame.table.select(SERIES, DATE, pl.col(run.frame.price).alias("close"))


def look_closer_at(run: Prepared, predictions: pl.DataFrame) -> Insight:
    """Breakdowns, calibration, live forecasts and drift."""
    config = run.config
    return look_closer(
        predictions,
        run.frame,
        config.targets,
        run.dataset,
        config.store,
        regime=regime_column(run.frame, config.weights, config.diagnostics),
        config=config.evaluation,
        confidence=config.gates.confidence,
    )


def forecasts_of(fits: Sequence[PlannedFit]) -> Counter[tuple[str, str]]:
    """(target, family) -> how many fits forecast it."""
    return Counter((target, fit.spec.family) for fit in fits for target in fit.spec.target_names)

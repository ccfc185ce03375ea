"""Forecast the newest rows: refit on everything known, bundle, promote, and ask the champions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from raytrain.cluster.runner import Runner
from raytrain.data.frame import DATE
from raytrain.deploy.of_run import Bundled, bundle_forecasts
from raytrain.evaluation.champions.current import Champions, best_families
from raytrain.evaluation.champions.incumbents import champion_fits, champion_recipes
from raytrain.evaluation.champions.promotions import Candidates, Refit, not_left, record
from raytrain.evaluation.scoring.collect import as_forecast, collect
from raytrain.folds import latest
from raytrain.pipeline.prepared import Prepared
from raytrain.pipeline.verdict import Judged, forecasts_of
from raytrain.work.plan import Plan, PlannedFit, make_plan
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore


@dataclass(frozen=True, kw_only=True)
class Offered:
    """What a run gives to production."""

    forecast: pl.DataFrame
    """Of each target, by its champion; by the best recipe of the run where there is none."""
    bundled: Bundled
    notes: tuple[str, ...]
    """For the summary."""


@dataclass(frozen=True)
class _Chosen:
    """Who forecasts a target."""

    family: str
    verdict: str
    specs: Sequence[FitSpec]
    """Its fits on everything known, one for each seed."""


def offer(run: Prepared, runner: Runner, judged: Judged, run_id: str) -> Offered:
    """Refit the best recipe and the champion of each target on everything known; bundle, promote and forecast.

    Raises:
        StoreCorrupt: the journal of promotions is damaged.
    """
    config = run.config
    # A recipe that a person has left is no candidate, however well it does.
    best = best_families(not_left(config.store, judged.decisions, run.params), judged.scores)
    specs = [fit.spec for fit in runner.run(_newest_fits(run, best, judged.champions))]
    mine = {target: _fits_of(specs, target, family, run.params[family]) for target, family in best.items()}
    bundled = _bundle(run, judged, mine)
    refits = {
        (target, best[target]): Refit(fit=found[0].key, bundle=bundled.by_target.get(target, {}).get("bundle"))
        for target, found in mine.items()
        if found
    }
    candidates = Candidates(
        run_id=run_id, decisions=judged.decisions, scores=judged.scores, params=run.params, refits=refits
    )
    recorded = record(config.store, candidates) if judged.decisions else None
    chosen = _choose(run, judged, best, specs)
    others = {target: one.specs for target, one in chosen.items() if one.specs != mine.get(target)}
    former = _bundle(run, judged, others)
    return Offered(
        forecast=_forecast(run, chosen),
        bundled=Bundled(
            by_target={**bundled.by_target, **former.by_target}, warnings=(*bundled.warnings, *former.warnings)
        ),
        notes=(*bundled.warnings, *former.warnings, *(recorded.notes if recorded else ())),
    )


def _newest_fits(run: Prepared, best: Mapping[str, str], champions: Champions) -> list[PlannedFit]:
    """The fits on everything known of the best recipes, and of the champions whether the run has them or not."""
    everything, planned = plan_newest(run), set(forecasts_of(run.plan.fits))
    absent = champion_recipes(champions.by_target, planned, run.params)
    away = {one.target for one in absent}
    here = {target: one.family for target, one in champions.by_target.items() if target not in away}
    fold = latest(run.frame.table[DATE], run.config.folds)
    fits = [*needed(everything, best).fits, *needed(everything, here).fits]
    fits += champion_fits(run.dataset, [fold], run.recipes, absent, earlier=run.plan).fits
    return list({fit.spec.key: fit for fit in fits}.values())


def _fits_of(specs: Sequence[FitSpec], target: str, family: str, params: Mapping[str, Any]) -> list[FitSpec]:
    """A recipe's fits, one for each seed."""
    return [
        spec
        for spec in specs
        if spec.family == family and target in spec.target_names and json.loads(spec.params) == dict(params)
    ]


def _choose(run: Prepared, judged: Judged, best: Mapping[str, str], specs: Sequence[FitSpec]) -> dict[str, _Chosen]:
    """Who forecasts each target: its champion, or the best of the run where there is none."""
    champions = Champions.read(run.config.store).by_target
    said = {(one.target, one.family): one.verdict for one in judged.decisions}
    chosen = {}
    for target in (one.name for one in run.config.targets):
        champion = champions.get(target)
        found = _fits_of(specs, target, champion.family, champion.params) if champion else []
        if champion and found:
            in_run = run.params.get(champion.family) == champion.params
            verdict = said.get((target, champion.family), "PROMOTE") if in_run else "PROMOTE"
            chosen[target] = _Chosen(champion.family, verdict, found)
        elif target in best:
            family = best[target]
            chosen[target] = _Chosen(family, said[target, family], _fits_of(specs, target, family, run.params[family]))
    return chosen


def _bundle(run: Prepared, judged: Judged, fits: Mapping[str, Sequence[FitSpec]]) -> Bundled:
    """Target -> its bundle, of these fits."""
    found = {target: specs for target, specs in fits.items() if specs}
    return bundle_forecasts(
        list({spec.key: spec for specs in found.values() for spec in specs}.values()),
        {target: specs[0].family for target, specs in found.items()},
        store=ResultStore(run.config.store),
        dataset=run.dataset,
        data=run.config.data,
        features=run.config.features,
        decisions=judged.decisions,
        scores=judged.scores,
        data_hash=run.frame.content_hash(),
    )


def _forecast(run: Prepared, chosen: Mapping[str, _Chosen]) -> pl.DataFrame:
    keys = {(target, spec.key) for target, one in chosen.items() for spec in one.specs}
    specs = {spec.key: spec for one in chosen.values() for spec in one.specs}
    forecasts = collect(run.frame, run.config.targets, specs.values(), ResultStore(run.config.store))
    if forecasts.is_empty():
        return forecasts
    asked = pl.DataFrame([{"target": target, "key": key} for target, key in sorted(keys)])
    verdicts = {(target, one.family): one.verdict for target, one in chosen.items()}
    return as_forecast(forecasts.join(asked, on=["target", "key"], how="semi"), verdicts)


def plan_forecast(run: Prepared, best: Mapping[str, str]) -> Plan:
    """The fits on all rows that the best family of each target needs: its own, and those of the families it mixes.

    Args:
        run: the run.
        best: target -> family.
    """
    return needed(plan_newest(run), best)


def plan_newest(run: Prepared) -> Plan:
    """All fits on everything known."""
    fold = latest(run.frame.table[DATE], run.config.folds)
    return make_plan(run.dataset, [fold], run.recipes, earlier=run.plan)


def needed(everything: Plan, best: Mapping[str, str]) -> Plan:
    """Those of the fits on everything known that the best family of each target needs."""
    wanted = [
        fit for fit in everything.fits if any(best.get(name) == fit.spec.family for name in fit.spec.target_names)
    ]
    mixed = {key for fit in wanted for key in fit.spec.members}
    wanted_keys = {fit.spec.key for fit in wanted} | mixed
    return replace(everything, fits=tuple(fit for fit in everything.fits if fit.spec.key in wanted_keys))

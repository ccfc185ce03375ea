"""What a run would take."""

from dataclasses import replace

from raytrain.cluster.experience import learned_costs
from raytrain.cluster.runner import CLUSTER_START_S, capacity_of_machine, expect
from raytrain.evaluation.champions.current import Champions
from raytrain.pipeline.newest import needed, plan_newest
from raytrain.pipeline.prepared import Prepared
from raytrain.schedule.simulate import Simulation, simulate_in_turn
from raytrain.work.plan import PlannedFit, stages
from raytrain.work.store import ResultStore


def estimate(run: Prepared) -> tuple[Simulation, int]:
    """What the fits that are not stored yet would take, and how many of the walk-forward they are.

    The forecast of the newest rows follows, of champions where there are any; else of the dearest family, because
    nobody knows yet which is the best.
    """
    store = ResultStore(run.config.store)
    costs = learned_costs(store)
    walk = [fits for _, fits in stages(run.plan, run.config.mode)]
    sets = [[fit for fit in fits if not store.has(fit.spec.key)] for fits in (*walk, _forecast_fits(run, store))]
    plans = [expect(fits, store, costs, run.config.cluster.timeout_s) for fits in sets if fits]
    seconds = {key: plan for plan in plans for key in plan.costs}
    simulation = simulate_in_turn(
        [plan.tasks for plan in plans],
        capacity_of_machine(run.profile),
        lambda task, threads: seconds[task.key].seconds(task, threads),
        starts=costs.start_s,
    )
    if plans:
        simulation = replace(simulation, makespan_s=simulation.makespan_s + CLUSTER_START_S)
    return simulation, sum(map(len, sets[: len(walk)]))


def _forecast_fits(run: Prepared, store: ResultStore) -> list[PlannedFit]:
    """The fits on everything known that a run probably does."""
    champions = Champions.read(store.root).by_target
    everything, best = plan_newest(run), {}
    for target in run.config.targets:
        able = {fit.spec.family for fit in everything.fits if target.name in fit.spec.target_names}
        fits = {family: needed(everything, {target.name: family}).fits for family in able}
        # What was forecast from these rows before is what will be again.
        rank = {
            family: (all(store.has(one.spec.key) for one in mine), sum(one.prior.work_s for one in mine), family)
            for family, mine in fits.items()
        }
        champion = champions[target.name].family if target.name in champions else ""
        if rank:
            best[target.name] = champion if champion in rank else max(rank, key=rank.__getitem__)
    return list(needed(everything, best).fits)

"""The plan: `python -m raytrain.jobs.plan --config FILE [--why KEY] [--KEY VALUE ...]`.

What a run would fit and what it would find, family by target; with --why, which part of a key changed. Nothing is
fitted, and nothing is written.
"""

import argparse
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raytrain.data.frame import DATE
from raytrain.folds import latest
from raytrain.jobs import _command, _terminal
from raytrain.pipeline import Prepared, prepare
from raytrain.run_config import RunConfig
from raytrain.work.models import ModelStore
from raytrain.work.plan import make_plan
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore
from raytrain.work.why import StoredFits, explain, reason


class PlanConfig(RunConfig):
    """A run's config, and a question about it."""

    why: str = ""
    """A key, of a planned fit or of a stored result, or a label such as `har return_1w 2021-01-01 s42`; its beginning
    will do. What of it changed is told."""


def plan(config: PlanConfig, options: argparse.Namespace) -> int:
    """Tell what would be fitted, or why."""
    console = _terminal.make_console()
    run = prepare(config)
    store = ResultStore(config.store)
    if config.why:
        for line in explain(config.why, [*_specs(run), *_newest(run)], run.dataset, store):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return _command.OK
    _terminal.announce(console, run)
    console.print(plan_table(_specs(run), store))
    _print_example(console, [spec for spec in _specs(run) if not store.has(spec.key)])
    return _command.OK


def _specs(run: Prepared) -> list[FitSpec]:
    return [fit.spec for fit in run.plan.fits]


def _newest(run: Prepared) -> list[FitSpec]:
    """The fits on everything known, of which a run does those that its forecast needs."""
    fold = latest(run.frame.table[DATE], run.config.folds)
    return [fit.spec for fit in make_plan(run.dataset, [fold], run.recipes, earlier=run.plan).fits]


def plan_table(specs: Sequence[FitSpec], store: ResultStore) -> Table:
    """Family x target: fits stored, to be forecast by a kept model and to be trained, and why."""
    table = Table(title="The plan; a forecast of the newest rows follows", title_justify="left", header_style="bold")
    for name in ("family", "target", "stored", "to forecast", "to train"):
        table.add_column(name, justify="left" if name in ("family", "target") else "right")
    table.add_column("because of", ratio=1)
    stored, models = StoredFits.of(store), ModelStore(store.root)
    for family, target in dict.fromkeys((spec.family, spec.target) for spec in specs):
        mine = [spec for spec in specs if (spec.family, spec.target) == (family, target)]
        rest = [spec for spec in mine if spec.key not in stored.by_key]
        kept = sum(models.has(spec.train_key) for spec in rest)
        why = Counter(reason(spec, stored) for spec in rest)
        told = ", ".join(f"{word} ({count})" for word, count in why.most_common())
        numbers = (len(mine) - len(rest), kept, len(rest) - kept)
        table.add_row(family, Text(target), *map(str, numbers), told)
    return table


def _print_example(console: Console, rest: Sequence[FitSpec]) -> None:
    if rest:
        line = f"why one of them, in full: --why '{rest[0].label}', or its key {rest[0].key}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    _command.main(PlanConfig, plan, __doc__ or "")

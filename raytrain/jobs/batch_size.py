"""The batch size of a net: `python -m raytrain.jobs.batch_size --config FILE --family patchtst [--size 20m]`.

Doubles the batch, each in a process that may die, until memory runs out or nothing is gained, and remembers the fastest
one that leaves `batch.head_room` of the memory free: fits of the family on this machine take it from then on, unless
their parameters give one.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table

from raytrain import families
from raytrain.cluster.ray_cluster import open_cluster
from raytrain.config import merge
from raytrain.data.atomic import replacing
from raytrain.errors import ConfigError, FitError
from raytrain.jobs import _command, _terminal
from raytrain.machine.awake import keep_awake
from raytrain.pipeline import Prepared, prepare
from raytrain.report.batch_size import BatchSizeView, render_batch_size
from raytrain.run_config import RunConfig
from raytrain.tuning.batch_size import Question, require_batches, search_batch_size
from raytrain.work.batch_memory import FOLDER, memory_file, remember
from raytrain.work.batch_search import BatchSearch, BatchSearchConfig, Measured, in_gib
from raytrain.work.lock import hold
from raytrain.work.plan import PlannedFit

_OWN = {"family", "size", "batch"}


class BatchSizeConfig(RunConfig):
    """A run's config, and whose batch size is wanted."""

    family: str = Field(min_length=1)
    """The net; its parameters are those of the run."""
    size: str | None = None
    """Of a family that comes in sizes: short for `params.FAMILY.size`."""
    batch: BatchSearchConfig = BatchSearchConfig()


def batch_size(config: BatchSizeConfig, options: argparse.Namespace) -> int:
    """Search, remember, print."""
    console = _terminal.make_console()
    run = prepare(_run_config(config))
    fit = _largest(run)
    question = Question(
        fit=fit,
        dataset=run.config.store / "prepared",
        config=config.batch,
        machine_bytes=run.profile.memory_bytes,
        keras_backend=config.cluster.keras_backend,
    )
    path = memory_file(config.store, run.profile)
    stop = _command.StopFlag()
    with hold(config.store, f"the search for a batch size of {config.family}"), keep_awake():
        search = _search(console, run, question, stop)
        page = config.store / FOLDER / f"{config.family}{f'-{config.size}' if config.size else ''}.html"
        with replacing(page) as file:
            file.write(render_batch_size(_view(run, fit, search)).encode())
        if search.answer is not None and not stop():
            remember(path, fit, search)
    console.print(_table(search))
    console.print(str(page), markup=False, highlight=False, soft_wrap=True)
    return stop.exit_code if stop() else _tell(console, config.family, search, path)


def _run_config(config: BatchSizeConfig) -> RunConfig:
    """A run of the one family."""
    family = families.get(config.family)
    require_batches(config.family, family.params_type)
    given: dict[str, Any] = {"families": [config.family]}
    if config.size is not None:
        if "size" not in family.params_type.model_fields:
            sized = [name for name in families.names() if "size" in families.get(name).params_type.model_fields]
            raise ConfigError(f"`size` is for families that come in sizes ({', '.join(sized)}), not {config.family}")
        given["params"] = {config.family: {"size": config.size}}
    values: Mapping[str, Any] = config.model_dump(exclude_unset=True, exclude=_OWN)
    return RunConfig.model_validate(merge(values, given))


def _largest(run: Prepared) -> PlannedFit:
    """The fit with the most training rows, on the first of its targets."""
    if not run.plan.fits:
        raise ConfigError("; ".join(run.plan.left_out))
    return max(run.plan.fits, key=lambda fit: fit.shape.rows)


def _search(console: Console, run: Prepared, question: Question, stop: _command.StopFlag) -> BatchSearch:
    folder = run.dataset.save(question.dataset)

    def watch(one: Measured) -> None:
        console.print(_line(one), markup=False, highlight=False, soft_wrap=True)

    question = Question(**{**vars(question), "dataset": folder})
    spec = question.fit.spec
    console.print(f"batch size of {spec.label} on {spec.device}, up to {question.search.largest}", highlight=False)
    with open_cluster(run.profile, run.config.cluster, run.config.store) as cluster:
        notes = run.config.store / FOLDER
        return search_batch_size(cluster, question, notes, watch=watch, stop_requested=stop)


def _line(one: Measured) -> str:
    if one.samples_per_s is None:
        return f"{one.batch_size}: {one.status.replace('_', ' ')}: {one.cause}"
    held = f"{in_gib(one.peak_memory_bytes)} of {in_gib(one.memory_bytes)}"
    return f"{one.batch_size}: {one.samples_per_s:,.0f} samples/s, {1000 * (one.step_s or 0):,.1f} ms a step, {held}"


def _view(run: Prepared, fit: PlannedFit, search: BatchSearch) -> BatchSizeView:
    return BatchSizeView(
        family=fit.spec.family, label=fit.spec.label, device=fit.spec.device, machine=run.profile.name, search=search
    )


def _table(search: BatchSearch) -> Table:
    """Speed as a bar beside its number."""
    table = Table(header_style="bold")
    for name in ("batch", "samples/s", "", "ms a step", "peak memory", "came to"):
        table.add_column(name, justify="left" if name in ("", "came to") else "right")
    fastest = max((one.samples_per_s or 0.0 for one in search.measured), default=0.0)
    for one in search.measured:
        chosen = search.answer is not None and one.batch_size == search.answer.batch_size
        table.add_row(
            str(one.batch_size),
            "-" if one.samples_per_s is None else f"{one.samples_per_s:,.0f}",
            ProgressBar(total=fastest or 1.0, completed=one.samples_per_s or 0.0, width=24),
            "-" if one.step_s is None else f"{1000 * one.step_s:,.1f}",
            in_gib(one.peak_memory_bytes),
            one.status.replace("_", " "),
            style="bold green" if chosen else "",
        )
    return table


def _tell(console: Console, family: str, search: BatchSearch, path: Path) -> int:
    """The answer in one sentence."""
    if search.failed is not None:
        raise FitError(f"{search.end}; nothing is remembered")
    if search.answer is None:
        raise FitError(f"no batch of {family} leaves {search.config.head_room:.0%} of the memory free: {search.end}")
    answer = f"{family}: batches of {search.answer.batch_size}, remembered in {path}; {search.end}"
    console.print(answer, markup=False, highlight=False, soft_wrap=True)
    return _command.OK


if __name__ == "__main__":
    _command.main(BatchSizeConfig, batch_size, __doc__ or "")

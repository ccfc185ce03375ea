"""What runs inside a worker process: one fit after another, all of one engine."""

import functools
import itertools
import os
import socket
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import psutil

from raytrain import __version__
from raytrain.cluster.nodes import node_store, shown
from raytrain.engines.base import Engine
from raytrain.engines.memory import is_out_of_memory
from raytrain.engines.process import claim
from raytrain.errors import FitError
from raytrain.work.dataset import Dataset
from raytrain.work.fit import Control, Progress, run_fit
from raytrain.work.inflight import Inflight
from raytrain.work.plan import Prior
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

_FITS_HERE = itertools.count()
"""Fits that this process was given: the first one also pays for loading the engine."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a worker is told to do; small enough to be sent with every call."""

    spec: FitSpec
    engine: Engine
    threads: int
    dataset: Path
    store: Path
    prior: Prior
    """Kept with the result, so that the next run's costs can be learned."""
    version: str = __version__
    """Of raytrain, where the order is given."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failed fit as a row."""

    key: str
    family: str
    target: str
    fold: str
    seed: int
    phase: str
    exception: str
    memory_bytes: int | None
    """Resident memory of the process when it failed; None when the process is gone."""
    advice: str
    trace: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a fit ended, as its worker tells it."""

    key: str
    status: Literal["ok", "stopped", "error", "oom"]
    worker: str
    """host:pid"""
    started_at: float
    """Wall clock, seconds since 1970."""
    ended_at: float
    cost: dict[str, Any] | None = None
    failure: Failure | None = None


def execute(order: Order) -> Outcome:
    """Run a fit and keep its result. Whatever the fit raises becomes a failed row.

    Raises:
        WrongEngine: this process belongs to another engine.
    """
    os.umask(0o077)
    claim(order.engine)
    first_here = next(_FITS_HERE) == 0
    spec, progress = order.spec, Progress()
    started = time.time()
    tell = functools.partial(Outcome, key=spec.key, worker=f"{socket.gethostname()}:{os.getpid()}", started_at=started)
    node = node_store(order.store)
    store = ResultStore(order.store if node is None else node.root)
    with Inflight.enter(store.root, spec.key) as inflight, shown(node, inflight):
        control = Control(
            threads=order.threads,
            should_stop=inflight.should_stop,
            progress=progress,
            checkpoint=store.checkpoint(spec.key),
        )
        try:
            require_same_versions(order)
            dataset = order.dataset if node is None else node.bring(spec, order.dataset.name)
            result = run_fit(spec, _dataset(dataset), control, store)
            if result.stopped:
                return tell(status="stopped", ended_at=time.time())
            progress.phase = "store"
            about = {"prior": asdict(order.prior), "engine": order.engine, "starts_process": first_here}
            facts = result.facts(spec) | about
            store.write(spec.key, result.predictions, facts)
            if node is not None:
                node.deliver(spec)
        except Exception as error:
            failure = describe(spec, progress.phase, error)
            return tell(status="oom" if is_out_of_memory(error) else "error", ended_at=time.time(), failure=failure)
    return tell(status="ok", ended_at=time.time(), cost=asdict(result.cost))


def require_same_versions(order: Order) -> None:
    """Refuse a node that computes with other libraries than the fit's key says.

    Raises:
        FitError: a library is missing or has another version.
    """
    for name, wanted in (("raytrain", order.version), *order.spec.packages):
        found = __version__ if name == "raytrain" else _installed(name)
        if found != wanted:
            raise FitError(
                f"every node must have {name} {wanted}, as the driver has, {socket.gethostname()} has {found}; install "
                "the same constraints.txt on all of them"
            )


@functools.cache
def _installed(name: str) -> str:
    for distribution in (name, f"{name}-cpu"):
        with suppress(PackageNotFoundError):
            return version(distribution)
    return "none"


@functools.lru_cache(maxsize=2)
def _dataset(folder: Path) -> Dataset:
    return Dataset.open(folder)


def describe(spec: FitSpec, phase: str, error: BaseException) -> Failure:
    """A failure with what a person needs to act on it."""
    return Failure(
        key=spec.key,
        family=spec.family,
        target=spec.target,
        fold=spec.fold.name,
        seed=spec.seed,
        phase=phase,
        exception=f"{type(error).__name__}: {error}"[:2000],
        memory_bytes=psutil.Process().memory_info().rss,
        advice=advice(error),
        trace="".join(traceback.format_exception(error))[-8000:],
    )


def advice(error: BaseException) -> str:
    """What to try after this error."""
    if is_out_of_memory(error):
        return "give it less: a smaller batch, window or number of rounds, or a machine profile with fewer cores"
    return _ADVICE.get(type(error).__name__, "run this family alone with --families to see it again")


_ADVICE = {
    "FitError": "the message names the rule; change the family's params or the folds",
    "WrongEngine": "a defect of raytrain: report it with the story of this run",
    "ModuleNotFoundError": "install the engine: pip install 'raytrain[all]'",
    "ImportError": "install the engine: pip install 'raytrain[all]'; on a Mac lightgbm and xgboost need libomp",
    "OSError": "look at the free space and the permissions of the store",
}


class Slot:
    """The process that holds the accelerator; one fit at a time, of one engine."""

    def __init__(self, engine: Engine) -> None:
        claim(engine)
        self._engine = engine

    def execute(self, order: Order) -> Outcome:
        """Run a fit.

        Raises:
            WrongEngine: the fit is for another engine.
        """
        claim(order.engine)
        return execute(order)

"""The search for a net's batch size, as a Ray Tune run of one trial at a time on the slot that its fits hold."""

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from raytrain import families
from raytrain.cluster.ray_cluster import Cluster
from raytrain.engines.epochs import NetParams
from raytrain.engines.process import ENGINE_BYTES, KerasBackend
from raytrain.errors import ConfigError
from raytrain.machine.profile import GIB
from raytrain.tuning.batch_process import run_probe
from raytrain.tuning.claims import bundle, here
from raytrain.work.batch_search import BatchSearch, BatchSearchConfig, Measured, largest_batch
from raytrain.work.plan import PlannedFit
from raytrain.work.probe import Probe

_ANSWER = "answer"
_ENDED = Measured(batch_size=0, status="failed", cause="Ray ended the trial; its own log says why")


@dataclass(frozen=True, kw_only=True)
class Question:
    """Whose batch size is wanted, and how it is searched for."""

    fit: PlannedFit
    """A fit of the family, on the rows that count."""
    dataset: Path
    config: BatchSearchConfig
    machine_bytes: int
    """The memory of the machine."""
    keras_backend: KerasBackend = "tensorflow"

    def __post_init__(self) -> None:
        spec, engine = self.fit.spec, self.fit.engine
        limit, least = self.probe(0).limit_bytes, ENGINE_BYTES[engine]
        if spec.device == "cpu" and limit < least:
            raise ConfigError(
                f"batch.memory_gb must be above the {least / GIB:.2f} GiB that a process of {engine} takes before it "
                f"fits anything, got {limit / GIB:.2f} GiB for {spec.family}; raise it, or name another machine"
            )

    @property
    def search(self) -> BatchSearch:
        """The search before its first step."""
        usual = families.make_params(self.fit.spec.family, {}).model_dump()["batch_size"]
        return BatchSearch(self.config, largest_batch(self.config, self.fit.shape.rows), usual)

    def probe(self, batch_size: int) -> Probe:
        """What is measured at a batch size."""
        spec, config = self.fit.spec, self.config
        return Probe(
            spec=spec,
            dataset=self.dataset.absolute(),
            batch_size=batch_size,
            warm_up_steps=config.warm_up_steps,
            timed_steps=config.timed_steps,
            probe_s=config.probe_s,
            memory_bytes=None if config.memory_gb is None else int(config.memory_gb * GIB),
            machine_bytes=self.machine_bytes,
            threads=self.fit.needs.max_threads,
            # macOS knows the limit and does not heed it; there the starter watches alone.
            hold_to_memory=spec.device == "cpu" and sys.platform == "linux",
        )


def require_batches(family: str, params_type: type[Any]) -> None:
    """Refuse a family that takes no batches.

    Raises:
        ConfigError: it is no net.
    """
    if not issubclass(params_type, NetParams):
        raise ConfigError(f"a family must be a net to have a batch size to search for, got {family}; name a net")


def search_batch_size(
    cluster: Cluster,
    question: Question,
    folder: Path,
    *,
    watch: Callable[[Measured], None],
    stop_requested: Callable[[], bool],
) -> BatchSearch:
    """Double the batch until it no longer pays; every probe is a trial, whose process may die.

    Args:
        cluster: that is running.
        question: whose batch size, and how.
        folder: for Tune's own notes, which are gone at the end.
        watch: told of each batch size when it has been tried.
        stop_requested: whether to end after the probe that is running.
    """
    search = question.search
    _quiet_tune()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".tune-") as notes:
        tuner = tune.Tuner(
            tune.with_resources(_trial(question), _claim(cluster, question.fit)),
            tune_config=tune.TuneConfig(
                search_alg=Doubling(search, watch, stop_requested), num_samples=-1, reuse_actors=True
            ),
            run_config=tune.RunConfig(name=f"batch size of {question.fit.spec.family}", storage_path=notes, verbose=0),
        )
        tuner.fit()
    return search


class Doubling(Searcher):  # type: ignore[misc]
    """Asks for one batch size after another."""

    def __init__(
        self, search: BatchSearch, watch: Callable[[Measured], None], stop_requested: Callable[[], bool]
    ) -> None:
        super().__init__(metric="samples_per_s", mode="max")
        self._search, self._watch, self._stop_requested = search, watch, stop_requested
        self._running: int | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next batch size; None while one is tried, `FINISHED` at the end."""
        if self._running is not None:
            return None
        self._running = None if self._stop_requested() else self._search.next_size()
        return str(Searcher.FINISHED) if self._running is None else {"batch_size": self._running}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take in what a trial has measured."""
        assert self._running is not None
        told = (result or {}).get(_ANSWER)
        measured = Measured.from_json(told) if told else replace(_ENDED, batch_size=self._running)
        self._running = None
        self._search.measured.append(measured)
        self._watch(measured)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, of what Tune writes down to go on from: a search takes minutes, and starts again."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was saved."""


def _trial(question: Question) -> Callable[[dict[str, Any]], None]:
    engine, keras_backend, timeout_s = question.fit.engine, question.keras_backend, question.config.timeout_s

    def batch_size(config: dict[str, Any]) -> None:
        probe = question.probe(config["batch_size"])
        measured = run_probe(probe, engine, timeout_s=timeout_s, keras_backend=keras_backend)
        tune.report({_ANSWER: measured.to_json(), "samples_per_s": measured.samples_per_s or 0.0})

    return batch_size


def _claim(cluster: Cluster, fit: PlannedFit) -> Any:
    """What a fit of the family would hold, on this machine: it is measured, whatever else belongs to the cluster."""
    claim = cluster.claim(fit.needs.max_threads, 0, slot=fit.lane == "slot")
    return tune.PlacementGroupFactory([bundle(claim) | here()])


def _quiet_tune() -> None:
    """No files of results beside ours, and signals belong to the job."""
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

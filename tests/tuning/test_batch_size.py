"""The search as Tune sees it: a searcher that asks for one batch size after another."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raytrain import families
from raytrain.config import load
from raytrain.errors import ConfigError
from raytrain.pipeline import prepare
from raytrain.run_config import RunConfig
from raytrain.tuning.batch_size import Doubling, Question, require_batches
from raytrain.work.batch_search import BatchSearch, BatchSearchConfig, Measured


def measured(batch_size: int, status: Any = "ok") -> Measured:
    if status != "ok":
        return Measured(batch_size=batch_size, status=status, cause="so it was")
    return Measured(
        batch_size=batch_size,
        status="ok",
        samples_per_s=float(batch_size),
        step_s=1.0,
        peak_memory_bytes=1,
        memory_bytes=10,
    )


def reported(one: Measured) -> dict[str, Any]:
    """As it comes back from a trial."""
    return {"answer": one.to_json(), "samples_per_s": one.samples_per_s or 0.0}


@pytest.fixture
def search() -> BatchSearch:
    return BatchSearch(BatchSearchConfig(), 64, 32)


def test_one_batch_is_tried_at_a_time(search: BatchSearch) -> None:
    seen: list[Measured] = []
    searcher = Doubling(search, seen.append, lambda: False)
    assert searcher.suggest("a") == {"batch_size": 8}
    assert searcher.suggest("b") is None
    searcher.on_trial_complete("a", reported(measured(8)))
    assert searcher.suggest("b") == {"batch_size": 16}
    searcher.on_trial_complete("b", reported(measured(16, "out_of_memory")))
    assert searcher.suggest("c") == "FINISHED"
    assert seen == search.measured == [measured(8), measured(16, "out_of_memory")]


def test_a_trial_that_ray_has_ended_is_a_failure(search: BatchSearch) -> None:
    searcher = Doubling(search, lambda one: None, lambda: False)
    searcher.suggest("a")
    searcher.on_trial_complete("a", None, error=True)
    assert searcher.suggest("b") == "FINISHED"
    assert search.failed is not None
    assert (search.failed.batch_size, search.failed.cause) == (8, "Ray ended the trial; its own log says why")


def test_a_wish_to_stop_ends_it_after_what_runs(search: BatchSearch) -> None:
    wishes: list[bool] = []
    searcher = Doubling(search, lambda one: None, lambda: bool(wishes))
    assert searcher.suggest("a") == {"batch_size": 8}
    wishes.append(True)
    assert searcher.suggest("b") is None
    searcher.on_trial_complete("a", reported(measured(8)))
    assert searcher.suggest("b") == "FINISHED"
    assert search.measured == [measured(8)]


@pytest.fixture
def question(tiny: list[str]) -> Callable[..., Question]:
    """A question about a GRU."""

    def make(**batch: Any) -> Question:
        run = prepare(load(RunConfig, [Path(tiny[1])], [*tiny[2:], "--families", "gru"]))
        config = BatchSearchConfig(**batch)
        return Question(fit=run.plan.fits[0], dataset=Path("data"), config=config, machine_bytes=2**33)

    return make


def test_a_probe_is_what_was_asked_for(question: Callable[..., Question]) -> None:
    probe = question(memory_gb=1.5, timed_steps=7).probe(32)
    assert (probe.batch_size, probe.timed_steps, probe.threads) == (32, 7, 1)
    assert probe.limit_bytes == 1.5 * 2**30
    assert probe.dataset.is_absolute()
    assert question().probe(32).limit_bytes == 2**33


def test_the_search_starts_from_the_rows_and_the_usual_batch(question: Callable[..., Question]) -> None:
    asked = question()
    assert asked.search.usual == 256
    assert asked.search.largest <= asked.fit.shape.rows / 4 < 2 * asked.search.largest


def test_memory_that_does_not_hold_the_engine_is_refused(question: Callable[..., Question]) -> None:
    with pytest.raises(ConfigError, match=r"batch.memory_gb must be above the 0.47 GiB .* got 0.30 GiB for gru"):
        question(memory_gb=0.3)
    asked = question()
    spec = replace(asked.fit.spec, device="cuda")
    replace(asked, fit=replace(asked.fit, spec=spec), config=BatchSearchConfig(memory_gb=0.3))


def test_a_family_without_batches_is_refused() -> None:
    require_batches("gru", families.get("gru").params_type)
    for name in ("lightgbm", "gmm_regime"):
        with pytest.raises(ConfigError, match=f"must be a net to have a batch size to search for, got {name}"):
            require_batches(name, families.get(name).params_type)

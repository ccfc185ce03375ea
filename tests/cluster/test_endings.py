import pytest
from ray import exceptions

from raytrain.cluster import endings
from raytrain.cluster.worker import Outcome
from raytrain.folds import Fold
from raytrain.schedule.words import FitFailed, FitFinished, FitStopped, Task
from raytrain.work.spec import FitSpec

SPEC = FitSpec(
    family="naive",
    family_version=1,
    packages=(),
    params="{}",
    target="return_1d",
    target_configs=("{}",),
    task="regression",
    quantiles=(0.5,),
    fold=Fold(name="2018", train_start=None, cutoff=1, test_start=2, test_end=3),
    seed=42,
    device="cpu",
    features_hash="",
    labels_hash="",
    block_hash="",
    series_hash="",
)
COST = {"wall_s": 2.0, "cpu_s": 1.5, "peak_memory_bytes": 100, "threads": 1}


def outcome(status: str, **rest: object) -> Outcome:
    return Outcome(key=SPEC.key, status=status, worker="here:1", started_at=0.0, ended_at=2.0, **rest)


def test_a_finished_fit_is_told_with_its_cost() -> None:
    ending = endings.told(outcome("ok", cost=COST), 9.0)
    assert ending.event == FitFinished(at=9.0, key=SPEC.key, wall_s=2.0, cpu_s=1.5, peak_memory_bytes=100)
    assert ending.status == "ok"


@pytest.mark.parametrize(
    ("status", "reason", "retryable", "counted"), [("error", "error", False, "failed"), ("oom", "oom", True, "oom")]
)
def test_what_went_wrong_in_the_fit(status: str, reason: str, retryable: bool, counted: str) -> None:
    ending = endings.told(outcome(status), 9.0)
    assert ending.event == FitFailed(at=9.0, key=SPEC.key, reason=reason, retryable=retryable)
    assert ending.status == counted


def test_a_stopped_fit_has_no_result() -> None:
    assert endings.told(outcome("stopped"), 9.0).event == FitStopped(at=9.0, key=SPEC.key)
    assert endings.killed_for_stop(SPEC, 9.0).event == FitStopped(at=9.0, key=SPEC.key)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (exceptions.WorkerCrashedError(), "crash"),
        (exceptions.ActorDiedError(), "crash"),
        (exceptions.OutOfMemoryError("node is full"), "oom"),
        (exceptions.RuntimeEnvSetupError("no such variable"), "error"),
    ],
)
def test_what_ray_raises_becomes_a_row(error: exceptions.RayError, reason: str) -> None:
    ending = endings.raised(SPEC, error, 9.0)
    assert isinstance(ending.event, FitFailed)
    assert ending.event.reason == reason
    assert ending.failure is not None
    assert (ending.failure.family, ending.failure.fold, ending.failure.phase) == ("naive", "2018", "worker")
    assert ending.failure.advice


def test_a_killed_fit_says_after_how_long() -> None:
    ending = endings.killed_for_time(SPEC, 60.0, 9.0)
    assert ending.event == FitFailed(at=9.0, key=SPEC.key, reason="timeout", retryable=False)
    assert ending.failure is not None
    assert ending.failure.exception == "Timeout: killed after 60 s"


def test_a_fit_killed_for_its_memory_says_how_much_and_may_be_tried_again() -> None:
    task = Task(key=SPEC.key, label="", family="naive", engine="native", work_s=1.0, memory_bytes=2**30)
    ending = endings.killed_for_memory(SPEC, task, 3 * 2**29, 9.0)
    assert ending.event == FitFailed(at=9.0, key=SPEC.key, reason="oom")
    assert ending.status == "oom"
    assert ending.failure is not None
    assert ending.failure.exception == "OutOfMemory: killed at 1.50 GiB, expected were 1.00 GiB"

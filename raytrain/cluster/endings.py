"""How a fit ended: what the scheduler is told, what the run's tables say."""

from dataclasses import dataclass
from typing import Literal

from ray import exceptions

from raytrain.cluster.worker import Failure, Outcome
from raytrain.schedule.words import Event, FitFailed, FitFinished, FitStopped, Task
from raytrain.work.spec import FitSpec

Status = Literal["ok", "failed", "timeout", "oom", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """One try of one fit, over."""

    event: Event
    status: Status
    outcome: Outcome | None = None
    """What the worker told; None when it died."""
    failure: Failure | None = None


_LOST = (
    exceptions.WorkerCrashedError,
    exceptions.RayActorError,
    exceptions.TaskCancelledError,
    exceptions.NodeDiedError,
    exceptions.ObjectLostError,
)
"""The process is gone, alone or with its node: another try may end better."""


def told(outcome: Outcome, at: float) -> Ending:
    """The worker lives and says how it went."""
    key = outcome.key
    if outcome.status == "ok":
        assert outcome.cost is not None
        used = {name: outcome.cost[name] for name in ("wall_s", "cpu_s", "peak_memory_bytes")}
        return Ending(event=FitFinished(at=at, key=key, **used), status="ok", outcome=outcome)
    if outcome.status == "stopped":
        return Ending(event=FitStopped(at=at, key=key), status="stopped", outcome=outcome)
    retryable = outcome.status == "oom"
    return Ending(
        event=FitFailed(at=at, key=key, reason=outcome.status, retryable=retryable),
        status="oom" if retryable else "failed",
        outcome=outcome,
        failure=outcome.failure,
    )


def raised(spec: FitSpec, error: exceptions.RayError, at: float) -> Ending:
    """Ray gives an error instead of what the worker says."""
    key = spec.key
    if isinstance(error, exceptions.OutOfMemoryError):
        failure = _failure(spec, f"OutOfMemoryError: {error}", "give it less, or the machine more")
        return Ending(event=FitFailed(at=at, key=key, reason="oom"), status="oom", failure=failure)
    if isinstance(error, _LOST):
        what = f"{type(error).__name__}: the worker process died"
        failure = _failure(spec, what, "look for an out-of-memory kill in the system's log; run this family alone")
        return Ending(event=FitFailed(at=at, key=key, reason="crash"), status="failed", failure=failure)
    failure = _failure(spec, f"{type(error).__name__}: {error}", "look at the trace", str(error))
    return Ending(event=FitFailed(at=at, key=key, reason="error", retryable=False), status="failed", failure=failure)


def killed_for_time(spec: FitSpec, limit_s: float | None, at: float) -> Ending:
    """The driver has killed it because its time was over."""
    what = f"Timeout: killed after {limit_s:g} s"
    failure = _failure(spec, what, "give the family less to do, or it a `budget_s` to end in time with what it has")
    event = FitFailed(at=at, key=spec.key, reason="timeout", retryable=False)
    return Ending(event=event, status="timeout", failure=failure)


def killed_for_memory(spec: FitSpec, task: Task, taken_bytes: int, at: float) -> Ending:
    """The driver has killed it because memory was needed and it took more than it was expected to."""
    what = f"OutOfMemory: killed at {taken_bytes / 2**30:.2f} GiB, expected were {task.memory_bytes / 2**30:.2f} GiB"
    failure = _failure(spec, what, "it is tried once more alone and on one thread; else give it less")
    return Ending(event=FitFailed(at=at, key=spec.key, reason="oom"), status="oom", failure=failure)


def killed_for_stop(spec: FitSpec, at: float) -> Ending:
    """The driver has killed it because the run was to end and it reached no safe point in time."""
    return Ending(event=FitStopped(at=at, key=spec.key), status="stopped")


def without_room(spec: FitSpec, task: Task) -> Failure:
    """No machine that is left could hold it."""
    what = "an accelerator slot" if task.lane == "slot" else "a core"
    needs = f"{what} and {task.memory_bytes / 2**30:.2f} GiB on one machine"
    advice = "bring the lost machine back, or make the fit smaller; what is finished is kept"
    return _failure(spec, f"NoRoom: it needs {needs}, and none that is left has it", advice, phase="wait")


def called_back(spec: FitSpec, task: Task, at: float) -> Ending:
    """It waited in the cluster for a machine that is gone."""
    event = FitFailed(at=at, key=spec.key, reason="room")
    return Ending(event=event, status="failed", failure=without_room(spec, task))


def never_ran(spec: FitSpec, why: str) -> Failure:
    """It waited for fits of which one has no result."""
    return _failure(spec, f"Skipped: it waits for other fits, and {why}", "mend that one first", phase="wait")


def _failure(spec: FitSpec, exception: str, advice: str, trace: str = "", phase: str = "worker") -> Failure:
    return Failure(
        key=spec.key,
        family=spec.family,
        target=spec.target,
        fold=spec.fold.name,
        seed=spec.seed,
        phase=phase,
        exception=exception[:2000],
        memory_bytes=None,
        advice=advice,
        trace=trace[-8000:],
    )

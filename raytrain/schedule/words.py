"""The words of the scheduler: what there is to do, what happened (events) and what to do about it (instructions)."""

from dataclasses import dataclass, fields
from typing import Literal

from raytrain.errors import UserError

Engine = Literal["native", "torch", "keras"]
Lane = Literal["cores", "slot"]
FailReason = Literal["error", "crash", "oom", "timeout", "room"]
"""`room`: no machine of the cluster could hold it any more."""
ThermalLevel = Literal["ok", "watch", "shrink", "stop", "unknown"]
MemoryLevel = Literal["normal", "warn", "rising", "critical", "unknown"]
Ask = Literal["stop", "heat", "memory"]
KillReason = Literal["timeout", "oom", "room"]


class ScheduleError(UserError):
    """The tasks cannot be scheduled: a key twice, a dependency that is unknown or goes round in a circle."""


class CannotFit(ScheduleError):
    """A task needs more than the whole machine has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One fit, as far as the scheduler needs to know it."""

    key: str
    """Unique name."""
    label: str
    """What a person reads in a message, a dashboard or a timeline."""
    family: str
    engine: Engine
    lane: Lane = "cores"
    work_s: float
    """Predicted CPU seconds on one thread; in the slot, predicted seconds."""
    memory_bytes: int
    """Predicted peak, held from start to end."""
    max_threads: int = 1
    """More threads than this do not make it faster. In the slot a fit has one."""
    after: tuple[str, ...] = ()
    """Keys of the tasks that must be done before this one starts."""
    group: str = ""
    """Tasks of one group share a training matrix; at equal work they are started one after another."""
    priority: int = 0
    """Higher starts first."""
    deadline_s: float | None = None
    """Seconds after it began at which it is killed; None never. What waits for a process has not begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the machine gives to fits.

    Raises:
        ScheduleError: no core, no memory, or a negative number of slots.
    """

    cores: int
    slots: int
    memory_bytes: int
    slot_host_cores: int = 1
    """Cores that a held slot takes for the thread that feeds it."""

    def __post_init__(self) -> None:
        _check_at_least(self, cores=1, slots=0, memory_bytes=1, slot_host_cores=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How patient the scheduler is; every number at least 1.

    Raises:
        ScheduleError: a number below 1.
    """

    max_tries: int = 2
    """Times a fit may crash its process before it is given up."""
    oom_tries: int = 2
    """Times a fit may run out of memory before it is given up."""
    recycle_after: int = 32
    """Fits after which the slot's process is replaced, because accelerator libraries leak."""
    turn_fits: int = 8
    """Fits a lane may start before the other has its turn, on a machine too small for both at once."""
    max_passed: int = 32
    """Starts that may go past a fit which waits for memory; then nothing else starts until it fits."""
    max_yields: int = 3
    """Times a fit may be asked to make room; then it is left to run, because many begin anew each time."""
    relief_s: int = 10
    """Seconds in which memory that was asked for may come free, before more is asked for."""

    def __post_init__(self) -> None:
        _check_at_least(self, **{number.name: 1 for number in fields(self)})


def _check_at_least(numbers: Capacity | Settings, **lowest: int) -> None:
    for name, least in lowest.items():
        value = getattr(numbers, name)
        if value < least:
            raise ScheduleError(f"`{name}` of the scheduler must be at least {least}, got {value}; raise it")


# Events: what happened. `at` is in seconds on the caller's monotonic clock.
@dataclass(frozen=True, slots=True, kw_only=True)
class FitBegan:
    """A started fit has a process that works on it; until then it waits in the cluster, and its time does not run."""

    at: float
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FitMeasured:
    """What a running fit takes; looked at while memory is short."""

    at: float
    key: str
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FitFinished:
    """A fit ended well and its result is kept."""

    at: float
    key: str
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FitFailed:
    """A fit ended badly, or was killed."""

    at: float
    key: str
    reason: FailReason
    retryable: bool = True
    """Whether another try could end better; only a crash or lack of memory is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitStopped:
    """A fit ended at a safe point because it was asked to; it has no result, and goes on later unless the run ends."""

    at: float
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalChanged:
    """The machine's heat changed. `unknown` (no sensor) admits work like `ok`; saying so is the caller's part."""

    at: float
    level: ThermalLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryChanged:
    """The machine's memory pressure changed: `rising` is a warning that gets worse. `unknown` admits like `normal`."""

    at: float
    level: MemoryLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleMeasured:
    """What the processes take in which nothing runs: they are kept for the next fit, their engine is loaded."""

    at: float
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityChanged:
    """A machine was lost, or one joined: what each machine that is there now gives to fits, one number for each."""

    at: float
    cores: tuple[int, ...]
    slots: tuple[int, ...]
    memory_bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested:
    """A person or a signal wants the run to end."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time passed."""

    at: float


FitEvent = FitBegan | FitMeasured | FitFinished | FitFailed | FitStopped
Event = FitEvent | ThermalChanged | MemoryChanged | IdleMeasured | CapacityChanged | StopRequested | Tick


# Instructions: what to do about it, in the order given.
@dataclass(frozen=True, slots=True)
class Start:
    """Run a fit. The first fit in a slot that is not held starts the slot's process."""

    key: str
    lane: Lane
    engine: Engine
    threads: int
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class AskStop:
    """Ask a running fit to stop at its next safe point, and to leave a checkpoint if it can."""

    key: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End a running fit now: it is over its deadline or its memory, or waits for room that no machine has any more.

    `FitFailed` with this reason is expected.
    """

    key: str
    reason: KillReason = "timeout"


@dataclass(frozen=True, slots=True)
class ReleaseSlot:
    """End the slot's process: its engine changes, it is worn out or dead, or nothing is left for it."""

    slot: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """Keep so many thermal tokens from everyone on the cluster, as they come free; 0 gives all back."""

    tokens: int


@dataclass(frozen=True, slots=True)
class EndIdle:
    """End the processes in which nothing runs: their memory is needed."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Every task has its final state. Given once, as the last instruction."""


Instruction = Start | AskStop | Kill | ReleaseSlot | Reserve | EndIdle | Finished


# Where a task is.
@dataclass(frozen=True, slots=True)
class Running:
    """A fit under way and what it holds."""

    lane: Lane
    engine: Engine
    threads: int
    slot: int | None
    began_at: float | None = None
    """None while it waits for a process."""
    memory_bytes: int = 0
    """As last measured; 0 while nobody looked."""
    asked: Ask | None = None
    """Why it was asked to stop; None when nobody did."""
    kill_sent: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """A fit given up."""

    reason: FailReason
    tries: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A fit that will not run in this run."""

    reason: Literal["dependency", "stopped"]
    cause: str = ""
    """The key of the failed fit that it waited for, directly or through others; empty when the run was stopped."""

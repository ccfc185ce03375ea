"""Which batch sizes are tried, and which of them is the answer: values in, values out."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, Self

from pydantic import Field, field_validator

from raytrain.config import Section
from raytrain.machine.profile import GIB

Status = Literal["ok", "out_of_memory", "failed"]

LARGEST = 65_536
_STEPS_IN_AN_EPOCH = 4
"""A batch is at most this part of the training rows: an epoch of fewer steps learns little."""


class BatchSearchConfig(Section):
    """How the batch size of a net is searched for."""

    start: int = Field(8, ge=1, le=LARGEST)
    """The first batch size; a power of two."""
    largest: int = Field(LARGEST, ge=1, le=LARGEST)
    """No batch size above this is tried, nor one above a quarter of the training rows."""
    head_room: float = Field(0.2, ge=0, lt=1)
    """Share of the memory that the answer leaves free."""
    memory_gb: float | None = Field(None, gt=0)
    """GiB that there are: the machine's memory, or the accelerator's, when not given. On Linux the process of a probe
    on the CPU is held to it."""
    min_gain: float = Field(0.05, ge=0)
    """Share by which a larger batch must be faster to count as faster; below it lies the noise of a busy machine."""
    patience: int = Field(2, ge=1)
    """Doublings that are not faster before the search ends."""
    warm_up_steps: int = Field(3, ge=1)
    """Gradient steps before the clock starts: the first ones allocate and compile."""
    timed_steps: int = Field(20, ge=1)
    """Gradient steps that are timed; their median counts."""
    probe_s: float = Field(60.0, gt=0)
    """Seconds after which a probe is content with the steps that it has timed."""
    timeout_s: float = Field(900.0, gt=0)
    """Seconds after which a probe that says nothing is killed."""

    @field_validator("start")
    @classmethod
    def _is_a_power_of_two(cls, start: int) -> int:
        if start & (start - 1):
            raise ValueError(f"must be a power of two, such as {1 << (start.bit_length() - 1)}")
        return start


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one batch size has come to."""

    batch_size: int
    status: Status
    cause: str = ""
    """Why it did not come to its end, in the words of the library or of the system."""
    samples_per_s: float | None = None
    """Training rows in a second of gradient steps, each with its batch made of the table."""
    step_s: float | None = None
    """Median seconds of a gradient step."""
    peak_memory_bytes: int | None = None
    """The most that was held of the memory that counts: the accelerator's, or the process's on the CPU."""
    memory_bytes: int | None = None
    """What there is of that memory."""

    def to_json(self) -> str:
        """What `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`."""
        return cls(**json.loads(text))

    def leaves(self, head_room: float) -> bool:
        """Whether that share of the memory stays free; False for a batch that was not measured."""
        if self.status != "ok" or self.peak_memory_bytes is None or self.memory_bytes is None:
            return False
        return self.peak_memory_bytes <= (1 - head_room) * self.memory_bytes


def largest_batch(config: BatchSearchConfig, num_rows: int) -> int:
    """The largest batch size worth trying: a power-of-two multiple of the first, which is tried whatever the rows."""
    size, most = config.start, min(config.largest, num_rows // _STEPS_IN_AN_EPOCH)
    while 2 * size <= most:
        size *= 2
    return size


@dataclass
class BatchSearch:
    """A search under way."""

    config: BatchSearchConfig
    largest: int
    usual: int
    """The batch size that the family takes by itself."""
    measured: list[Measured] = field(default_factory=list)
    """In the order of their sizes."""

    def next_size(self) -> int | None:
        """What to try now; None at the end."""
        if not self.measured:
            return self.config.start
        return None if self.end else 2 * self.measured[-1].batch_size

    @property
    def end(self) -> str:
        """Why the search has ended; empty while it has not."""
        if not self.measured:
            return ""
        last, config = self.measured[-1], self.config
        if last.status != "ok":
            return (
                f"{last.batch_size} {'ran out of memory' if last.status == 'out_of_memory' else 'failed'}: {last.cause}"
            )
        if not last.leaves(config.head_room):
            return f"{last.batch_size} leaves less than {config.head_room:.0%} of the memory free"
        fastest = fastest_of(self.measured, config.min_gain)
        if fastest is not None and len(self.measured) - 1 - self.measured.index(fastest) >= config.patience:
            return f"more than {fastest.batch_size} is no faster"
        if 2 * last.batch_size > self.largest:
            return f"{last.batch_size} is the largest that was allowed or that the training rows suffice for"
        return ""

    @property
    def failed(self) -> Measured | None:
        """The probe that went wrong without running out of memory; what was learned before it is not trusted."""
        return next((one for one in self.measured if one.status == "failed"), None)

    @property
    def answer(self) -> Measured | None:
        """The fastest batch that leaves the head-room; None when there is none, or when a probe went wrong.

        Of those that are as fast but for the noise, the one nearest to the usual: a batch is also a part of how a net
        learns, and not to be changed for nothing.
        """
        fitting = [one for one in self.measured if one.leaves(self.config.head_room)]
        if self.failed is not None or not fitting:
            return None
        least = max(one.samples_per_s or 0.0 for one in fitting) / (1 + self.config.min_gain)
        as_fast = [one for one in fitting if (one.samples_per_s or 0.0) >= least]
        return min(as_fast, key=lambda one: abs(math.log2(one.batch_size / self.usual)))


def fastest_of(measured: Sequence[Measured], min_gain: float) -> Measured | None:
    """The smallest batch that no larger one beats by more than the noise.

    Args:
        measured: by rising size; what was not measured is passed over.
        min_gain: share by which a larger batch must be faster.
    """
    fastest: Measured | None = None
    for one in measured:
        if one.samples_per_s is None:
            continue
        if fastest is None or one.samples_per_s > (1 + min_gain) * (fastest.samples_per_s or 0.0):
            fastest = one
    return fastest


def in_gib(num_bytes: int | None) -> str:
    """Bytes as people who buy memory read them; a dash for an unknown number."""
    return "-" if num_bytes is None else f"{num_bytes / GIB:.2f} GiB"

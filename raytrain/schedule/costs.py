"""Costs learned from earlier runs: a family's own prediction, corrected by what was measured on this machine.

A family states an honest prior for its work and memory from the size of the fit. The prior carries the shape (twice
the rows, twice the work); what this machine makes of it is one factor for each family and device.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_SHORTEST_S = 1e-3
"""Below this a measured time is noise; also keeps ratios away from 0."""
_SMALLEST_BYTES = 2**20
"""Below this a measured peak is noise."""
_MEMORY_QUANTILE = 0.95
_PRIOR_RECORDS = 1.0
"""The prior counts as much as so many measured fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRecord:
    """What one finished fit took, beside what its family had predicted."""

    family: str
    device: str
    threads: int
    prior_work_s: float
    """Predicted CPU seconds on one thread."""
    prior_memory_bytes: int
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a fit is expected to take."""

    work_s: float
    """CPU seconds on one thread; on an accelerator, seconds."""
    memory_bytes: int
    """Peak, on the safe side."""
    num_records: int
    """Measured fits behind this; 0 when it is the prior."""


@dataclass(frozen=True, slots=True)
class _Learned:
    work_factor: float
    memory_factor: float
    sizes: Sequence[int]
    """Prior memory of the records, rising."""
    peaks: Sequence[int]
    """The highest peak seen up to each size."""

    def seen_bytes(self, prior_memory_bytes: int) -> int:
        """The highest peak of a fit no larger than this one; 0 when there was none."""
        place = bisect_right(self.sizes, prior_memory_bytes)
        return self.peaks[place - 1] if place else 0


class CostModel:
    """Predicts work and memory.

    Args:
        records: finished fits, in any order.
    """

    def __init__(self, records: Iterable[CostRecord] = ()) -> None:
        by_kind: dict[tuple[str, str], list[CostRecord]] = defaultdict(list)
        for record in records:
            by_kind[record.family, record.device].append(record)
        self._learned = {kind: _learn(found) for kind, found in by_kind.items()}

    def predict(self, family: str, device: str, *, prior_work_s: float, prior_memory_bytes: int) -> Cost:
        """Correct a prior by what was measured for this family on this device.

        Memory is never below the peak of an equally large or smaller fit that was seen.
        """
        learned = self._learned.get((family, device))
        if learned is None:
            return Cost(prior_work_s, prior_memory_bytes, 0)
        memory_bytes = round(prior_memory_bytes * learned.memory_factor)
        return Cost(
            prior_work_s * learned.work_factor,
            max(memory_bytes, learned.seen_bytes(prior_memory_bytes)),
            len(learned.sizes),
        )


def _learn(records: Sequence[CostRecord]) -> _Learned:
    work = np.array([_seconds(record) / max(record.prior_work_s, _SHORTEST_S) for record in records])
    memory = np.array([_floored(record.peak_memory_bytes) / _floored(record.prior_memory_bytes) for record in records])
    memory_factor = float(np.quantile(memory, _MEMORY_QUANTILE, method="higher"))
    by_size = sorted(records, key=lambda record: record.prior_memory_bytes)
    return _Learned(
        work_factor=_shrunk(float(np.median(work)), len(records)),
        # A need above the prior is believed at once: too much memory claimed costs a wait, too little costs the fit.
        memory_factor=max(memory_factor, _shrunk(memory_factor, len(records))),
        sizes=[record.prior_memory_bytes for record in by_size],
        peaks=np.maximum.accumulate([record.peak_memory_bytes for record in by_size]).tolist(),
    )


def _seconds(record: CostRecord) -> float:
    # CPU time is what fits on cores share, whatever else the machine does; an accelerator's work shows only in wall.
    return max(record.cpu_s if record.device == "cpu" else record.wall_s, _SHORTEST_S)


def _floored(num_bytes: int) -> int:
    return max(num_bytes, _SMALLEST_BYTES)


def _shrunk(factor: float, num_records: int) -> float:
    """A factor drawn towards 1, on the log scale, as if some records had measured exactly the prior."""
    return float(factor ** (num_records / (num_records + _PRIOR_RECORDS)))

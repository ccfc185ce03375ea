"""Costs learned from earlier runs: a family's own prediction, corrected by what was measured on this machine.

A family states an honest prior for its work and memory from the size of the fit. The prior carries the shape (twice
the rows, twice the work); what this machine makes of it is learned from coarse to fine: one factor for the family on
its device, on top of that one for its parameters, and one for what it forecasts with them. Each is drawn towards 1 the
more, the fewer fits speak for it, so a fit like no other before gets what is known of its family.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

_SHORTEST_S = 1e-3
"""Below this a measured time is noise; also keeps ratios away from 0."""
_SMALLEST_BYTES = 2**20
"""Below this a measured peak is noise."""
_MEMORY_QUANTILE = 0.95
_PRIOR_RECORDS = 1.0
"""The prior counts as much as so many measured fits."""
_PRIOR_EFFICIENCY = 0.7
"""Tree libraries at sizes of a hundred thousand values and more; two threads take 0.62 of the time of one."""
_SPAWN_S = 1.5
"""From asking Ray for a process until it has imported raytrain."""
_LOAD_S = {"native": 2.0, "torch": 2.0, "keras": 3.0}
"""CPU seconds that the first fit of a process takes longer: loading the engine, and what it prepares once."""
_MOST_STRETCH = 1.25
"""What the driver, Ray and page faults can cost a fit; beyond it someone else used the machine, and may not again."""
_LONG_ENOUGH_S = 0.1
"""CPU seconds from which the ratio of wall clock and CPU time says something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A fit as far as its cost goes."""

    family: str
    engine: str
    device: str
    params: str = ""
    """Its parameters; equal texts are equal parameters."""
    target: str = ""
    """What it forecasts."""
    prior_work_s: float
    """What its family predicts: CPU seconds on one thread, or seconds on an accelerator."""
    prior_memory_bytes: int
    budget_s: float | None = None
    """Seconds after which it stops and keeps what it has learned."""
    trained: bool = False
    """Whether its model is kept from before, so that it only forecasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRecord:
    """What one finished fit took."""

    fit: Outline
    threads: int
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int
    cut_short: bool = False
    """Its budget was used up: done, it would have taken at least this."""
    starts_process: bool = False
    """It was the first of its process and loaded the engine: alone, it would have taken at most this."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a fit is expected to take."""

    work_s: float
    """Seconds on one thread of an idle machine, or on an accelerator."""
    memory_bytes: int
    """Peak, on the safe side."""
    num_records: int = 0
    """Measured fits of the family behind this; 0 when it is the prior."""
    efficiency: float = _PRIOR_EFFICIENCY
    """`threads ** efficiency` is how much faster several threads are: 0 not at all, 1 as many times as they are."""

    def seconds(self, threads: int) -> float:
        """Seconds on so many threads of an idle machine."""
        return self.work_s / float(threads**self.efficiency)

    def useful_threads(self, most: int, start_s: float) -> int:
        """Threads, at most `most`, up to which each doubling saves at least a tenth; 1 when it does not pay.

        Another number of threads is another process, so all that is saved must be more than its start.
        """
        if most <= 1 or 2**self.efficiency < 1 / 0.9 or self.work_s - self.seconds(most) <= start_s:
            return 1
        return most


class CostModel:
    """Predicts work, memory, what threads gain, and what the start of a process takes.

    Args:
        records: finished fits, in any order.
    """

    def __init__(self, records: Iterable[CostRecord] = ()) -> None:
        records = list(records)
        self._num_records = Counter(_family(record.fit) for record in records)
        typical = list(_typical(records))
        on_one = _first_on_one_thread(typical)
        self._work = _Factors([(one.fit, _log_work(one), one.cut_short) for one in on_one], quantile=0.5)
        self._stretch = _stretch(typical)
        self._memory = _Factors(
            [(one.fit, _log_memory(one), False) for one in records], quantile=_MEMORY_QUANTILE, believe_more=True
        )
        self._peaks = _peaks(records)
        self._efficiency = self._learn_efficiency(one for one in typical if one.threads > 1 and not one.cut_short)
        self._load_s = self._learn_loads(one for one in records if one.starts_process and not one.cut_short)

    def predict(self, fit: Outline) -> Cost:
        """What a fit is expected to take; its family's prior when nothing like it was measured.

        Memory is never below the peak of an equally large or smaller fit of its family that was seen.
        """
        family = _family(fit)
        work_s = self._one_thread_s(fit) * (self._stretch if fit.device == "cpu" else 1.0)
        memory_bytes = round(fit.prior_memory_bytes * self._memory.of(fit))
        return Cost(
            work_s if fit.budget_s is None else min(work_s, fit.budget_s),
            max(memory_bytes, self._peaks[family].up_to(fit.prior_memory_bytes) if family in self._peaks else 0),
            self._num_records[family],
            self._efficiency.get(family, _PRIOR_EFFICIENCY),
        )

    def start_s(self, engine: str) -> float:
        """Seconds that the first fit of a new process is late: its start, and loading the engine."""
        return _SPAWN_S + self._load_s.get(engine, _LOAD_S.get(engine, max(_LOAD_S.values())))

    def _one_thread_s(self, fit: Outline) -> float:
        return fit.prior_work_s * self._work.of(fit)

    def _learn_efficiency(self, records: Iterable[CostRecord]) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for record in records:
            gain = self._one_thread_s(record.fit) / max(record.wall_s, _SHORTEST_S)
            found[_family(record.fit)].append(float(np.log(max(gain, 1.0)) / np.log(record.threads)))
        return {
            family: _PRIOR_EFFICIENCY + _weight(len(seen)) * (min(float(np.median(seen)), 1.0) - _PRIOR_EFFICIENCY)
            for family, seen in found.items()
        }

    def _learn_loads(self, records: Iterable[CostRecord]) -> dict[str, float]:
        found: dict[str, list[float]] = defaultdict(list)
        for record in records:
            found[record.fit.engine].append(max(0.0, _seconds(record) - self._one_thread_s(record.fit)))
        return {
            engine: _LOAD_S.get(engine, 0.0) + _weight(len(seen)) * (float(np.median(seen)) - _LOAD_S.get(engine, 0.0))
            for engine, seen in found.items()
        }


class _Factors:
    """How many times the prior, by group of fits, from coarse to fine."""

    def __init__(
        self, seen: Sequence[tuple[Outline, float, bool]], *, quantile: float, believe_more: bool = False
    ) -> None:
        """Learn from (fit, logarithm of measured / prior, whether that is only a lower bound).

        Args:
            seen: what was measured.
            quantile: which of a group's factors is its factor.
            believe_more: whether a factor above 1 needs no second record.
        """
        left = np.array([log for _, log, _ in seen])
        at_least = np.array([bound for _, _, bound in seen], dtype=bool)
        self._levels: list[dict[tuple[str, ...], float]] = []
        for depth in range(_DEPTH):
            members: dict[tuple[str, ...], list[int]] = defaultdict(list)
            for place, (fit, _, _) in enumerate(seen):
                members[_groups_of(fit)[depth]].append(place)
            self._levels.append({})
            for group, places in members.items():
                told = np.where(at_least[places], np.maximum(left[places], 0.0), left[places])
                shift = float(np.quantile(told, quantile, method="higher" if believe_more else "linear"))
                shift *= 1.0 if believe_more and shift > 0 else _weight(len(places))
                self._levels[-1][group] = shift
                left[places] -= shift

    def of(self, fit: Outline) -> float:
        """The factor on the prior of a fit; 1 for one of which nothing is known."""
        levels = zip(self._levels, _groups_of(fit), strict=True)
        return float(np.exp(sum(level.get(group, 0.0) for level, group in levels)))


@dataclass(frozen=True, slots=True)
class _Peaks:
    """The highest peaks of a family by size."""

    sizes: Sequence[int]
    """Prior memory of the records, rising."""
    peaks: Sequence[int]
    """The highest peak seen up to each size."""

    def up_to(self, prior_memory_bytes: int) -> int:
        """The highest peak of a fit no larger than this one; 0 when there was none."""
        place = bisect_right(self.sizes, prior_memory_bytes)
        return self.peaks[place - 1] if place else 0


def _peaks(records: Iterable[CostRecord]) -> dict[tuple[str, ...], _Peaks]:
    by_family: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for record in records:
        by_family[_family(record.fit)].append((record.fit.prior_memory_bytes, record.peak_memory_bytes))
    found = {}
    for family, seen in by_family.items():
        sizes, peaks = zip(*sorted(seen), strict=True)
        found[family] = _Peaks(sizes, np.maximum.accumulate(peaks).tolist())
    return found


_DEPTH = 3


def _groups_of(fit: Outline) -> tuple[tuple[str, ...], ...]:
    """The groups that a fit belongs to, from coarse to fine."""
    kind = _family(fit)
    return kind, (*kind, fit.params), (*kind, fit.params, fit.target)


def _family(fit: Outline) -> tuple[str, ...]:
    return fit.family, fit.device, "kept" if fit.trained else "trained"


def _typical(records: Sequence[CostRecord]) -> Iterator[CostRecord]:
    """What tells of the fits themselves: of each family those that started no process.

    Where all of a family started one, what that takes by experience is taken off.
    """
    for seen in _by_family(records):
        plain = [record for record in seen if not record.starts_process]
        yield from plain or map(_without_load, seen)


def _first_on_one_thread(records: Sequence[CostRecord]) -> Iterator[CostRecord]:
    """Of each family the fits on one thread, or all where there are none: several threads take more CPU time."""
    for seen in _by_family(records):
        yield from [record for record in seen if record.threads == 1] or seen


def _by_family(records: Iterable[CostRecord]) -> Iterable[list[CostRecord]]:
    found: dict[tuple[str, ...], list[CostRecord]] = defaultdict(list)
    for record in records:
        found[_family(record.fit)].append(record)
    return found.values()


def _without_load(record: CostRecord) -> CostRecord:
    load_s = min(_LOAD_S.get(record.fit.engine, 0.0), 0.9 * record.cpu_s, 0.9 * record.wall_s)
    return replace(record, cpu_s=record.cpu_s - load_s, wall_s=record.wall_s - load_s, starts_process=False)


def _stretch(records: Iterable[CostRecord]) -> float:
    """How much longer than its CPU time a fit on one thread takes on this machine when nobody else uses it."""
    found = [
        record.wall_s / record.cpu_s
        for record in records
        if record.fit.device == "cpu" and record.threads == 1 and record.cpu_s >= _LONG_ENOUGH_S
    ]
    return float(np.clip(np.median(found), 1.0, _MOST_STRETCH)) if found else 1.0


def _log_work(record: CostRecord) -> float:
    return float(np.log(_seconds(record) / max(record.fit.prior_work_s, _SHORTEST_S)))


def _seconds(record: CostRecord) -> float:
    # CPU time is what fits on cores share, whatever else the machine does; an accelerator's work shows only in wall.
    on_one_s = record.wall_s * record.threads**_PRIOR_EFFICIENCY
    spent_s = min(record.cpu_s, on_one_s) if record.threads > 1 else record.cpu_s
    return max(spent_s if record.fit.device == "cpu" else record.wall_s, _SHORTEST_S)


def _log_memory(record: CostRecord) -> float:
    return float(np.log(_floored(record.peak_memory_bytes) / _floored(record.fit.prior_memory_bytes)))


def _floored(num_bytes: int) -> int:
    return max(num_bytes, _SMALLEST_BYTES)


def _weight(num_records: int) -> float:
    """How far so many records are believed, beside a prior that counts as some."""
    return num_records / (num_records + _PRIOR_RECORDS)

"""What must hold after every event. Slow and plain on purpose: it recounts what the scheduler keeps in step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import isclose
from typing import TYPE_CHECKING

from raytrain.schedule.words import Start

if TYPE_CHECKING:
    from raytrain.schedule.admission import Admission
    from raytrain.schedule.state import State


def broken(state: State) -> Iterator[str]:
    """The rules about tasks that do not hold."""
    yield from _broken_places(state)
    yield from _broken_dependencies(state)
    yield from _broken_tries(state)
    yield from _broken_governors(state)
    unfinished = (*state.waiting, *state.ready, *state.running)
    work_s = sum(state.tasks[key].work_s for key in unfinished)
    if not isclose(work_s, state.remaining_work_s, rel_tol=1e-6, abs_tol=1e-6):
        yield f"remaining work is {work_s} s, the state says {state.remaining_work_s} s"


def broken_accounts(state: State, admission: Admission) -> Iterator[str]:
    """The rules about cores, memory, slots and queues that do not hold."""
    yield from _broken_totals(state, admission)
    yield from _broken_slots(state, admission)
    yield from _broken_queues(state, admission)
    if state.story:
        yield from _idle_without_reason(state, admission)


def _broken_places(state: State) -> Iterator[str]:
    places = Counter[str]()
    for place in (state.waiting, state.ready, state.running, state.done, state.failed, state.skipped):
        places.update(iter(place))
    for key in state.tasks:
        if places[key] != 1:
            yield f"{key} is in {places[key]} places"
    if len(places) != len(state.tasks):
        yield f"unknown tasks: {sorted(places.keys() - state.tasks.keys())}"


def _broken_dependencies(state: State) -> Iterator[str]:
    for key in state.waiting:
        if state.done >= set(state.tasks[key].after):
            yield f"{key} waits for nothing"
    for key in (*state.ready, *state.running, *state.done):
        if not state.done >= set(state.tasks[key].after):
            yield f"{key} did not wait for {state.tasks[key].after}"
    for key, why in state.skipped.items():
        if why.reason == "dependency" and why.cause not in state.failed:
            yield f"{key} was skipped for {why.cause}, which did not fail"
        if why.reason == "stopped" and not state.stopping:
            yield f"{key} was skipped by a stop that nobody asked for"


def _broken_tries(state: State) -> Iterator[str]:
    most = max(state.settings.max_tries, state.settings.oom_tries)
    for key, failed in state.failed.items():
        if not int(failed.reason != "room") <= failed.tries <= most:
            yield f"{key} failed after {failed.tries} tries"


def _broken_governors(state: State) -> Iterator[str]:
    governors, cores = state.governors, state.capacity.cores
    for key, asks in governors.asks.items():
        if not 1 <= asks <= state.settings.max_yields:
            yield f"{key} was asked {asks} times to make room"
    for key, run in state.running.items():
        if run.asked in ("heat", "memory") and key not in governors.asks:
            yield f"{key} was asked for {run.asked} and nobody counted it"
    tokens = {"stop": cores, "shrink": cores - max(1, cores // 2)}.get(governors.thermal, 0)
    if state.num_unfinished and tokens != governors.reserved_tokens:
        yield f"{governors.reserved_tokens} thermal tokens are kept back at `{governors.thermal}`, not {tokens}"


def _broken_totals(state: State, admission: Admission) -> Iterator[str]:
    ledger, capacity = admission.ledger, state.capacity
    threads = sum(run.threads for run in state.running.values() if run.slot is None)
    cores = threads + ledger.num_held_slots * capacity.slot_host_cores
    memory_bytes = sum(state.tasks[key].memory_bytes for key in state.running)
    if cores != ledger.held_cores:
        yield f"{cores} cores are in use, the ledger says {ledger.held_cores}"
    if memory_bytes != ledger.held_memory_bytes:
        yield f"{memory_bytes} bytes are in use, the ledger says {ledger.held_memory_bytes}"
    if memory_bytes + ledger.idle_memory_bytes + ledger.free_memory_bytes != capacity.memory_bytes:
        yield f"held, idle and free memory do not add up to {capacity.memory_bytes} bytes"
    # A machine that is lost takes its room along; until the fits on it have ended, more is held than there is.
    started = state.story and any(isinstance(order, Start) for order in state.story[-1][1])
    if started and (cores > capacity.cores or memory_bytes > capacity.memory_bytes):
        yield f"{cores} cores and {memory_bytes} bytes are in use, more than there are"
    for key, run in state.running.items():
        if not 1 <= run.threads <= state.tasks[key].max_threads:
            yield f"{key} runs on {run.threads} threads"


def _broken_slots(state: State, admission: Admission) -> Iterator[str]:
    ledger = admission.ledger
    inside = {run.slot: key for key, run in state.running.items() if run.lane == "slot"}
    if inside != {slot.number: slot.key for slot in ledger.slots if slot.key}:
        yield f"the fits {inside} run in slots, the ledger says otherwise"
    for number, key in inside.items():
        if number is None or state.running[key].engine != ledger.slots[number].engine:
            yield f"{key} runs in slot {number} of another engine"
    idle = {slot.number for slot in ledger.slots if slot.engine and not slot.key}
    if idle != ledger.idle.keys():
        yield f"slots {sorted(idle)} are held and idle, the ledger says {sorted(ledger.idle)}"
    held = sum(slot.engine is not None for slot in ledger.slots)
    if held != ledger.num_held_slots:
        yield f"{held} slots have a process, the ledger says {ledger.num_held_slots}"


def _broken_queues(state: State, admission: Admission) -> Iterator[str]:
    queued = [task.key for queue in admission.queues for task in queue]
    if sorted(queued) != sorted(state.ready):
        yield f"the queues hold {sorted(queued)}, ready are {sorted(state.ready)}"
    for queue in admission.queues:
        if any(admission.queue_of(task) is not queue for task in queue):
            yield "a task waits in the wrong queue"
        if len(queue) != len(list(queue)):
            yield f"a queue of {len(list(queue))} counts {len(queue)}"
        work_s = sum(task.work_s for task in queue)
        if not isclose(work_s, queue.work_s, rel_tol=1e-6, abs_tol=1e-6):
            yield f"a queue of {work_s} s counts {queue.work_s} s"


def _idle_without_reason(state: State, admission: Admission) -> Iterator[str]:
    """Nothing that could run is left lying: neither a dead end, nor an idle core beside a fit that fits it."""
    limit = state.core_limit
    in_slot = {key for key in state.ready if state.tasks[key].lane == "slot"}
    slot_possible = limit >= state.capacity.slot_host_cores
    if limit and not state.running and (state.ready - in_slot or (in_slot and slot_possible)):
        yield f"nothing runs although {len(state.ready)} fits are ready"
    if not state.running and not state.ready and state.waiting:
        yield f"nothing runs or is ready although {len(state.waiting)} fits wait"
    # Idle processes are ended when their memory is needed, so they are no reason.
    fits = admission.cores_queue.first(admission.ledger.free_memory_bytes + admission.ledger.idle_memory_bytes)
    passed_too_often = any(queue.passed >= state.settings.max_passed for queue in admission.queues)
    if fits and admission.free_cores and not passed_too_often:
        yield f"{admission.free_cores} cores are free although {fits.key} would fit"

"""How long a run still takes, from what was expected and what was measured so far."""

from collections.abc import Mapping, Sequence

from raytrain.schedule.policy import chains
from raytrain.schedule.simulate import Durations, predicted
from raytrain.schedule.state import State
from raytrain.schedule.words import Lane, Task

_TRUST = 0.1
"""Expectations count as much as measurements of this share of the whole run."""


class Countdown:
    """Seconds to go, at a cost that grows with the fits that run, not with those that wait.

    Args:
        tasks: all of the run.
        durations: expected seconds of a task on so many threads; shared evenly when left out.
    """

    def __init__(self, tasks: Sequence[Task], durations: Durations = predicted) -> None:
        self._durations = durations
        self._expected_s = {task.key: durations(task, 1) for task in tasks}
        self._lanes: Mapping[str, Lane] = {task.key: task.lane for task in tasks}
        self._left_s = {"cores": 0.0, "slot": 0.0}
        for key, lane in self._lanes.items():
            self._left_s[lane] += self._expected_s[key]
        chain_s = self._expected_s | chains(tasks)
        self._by_length = sorted(chain_s, key=chain_s.__getitem__)
        self._chain_s = chain_s
        self._over: set[str] = set()
        whole_s = sum(self._left_s.values())
        self._measured_s = self._foreseen_s = _TRUST * whole_s

    def finished(self, task: Task, wall_s: float, threads: int) -> None:
        """A task ended well after so many seconds."""
        self._forget(task.key)
        self._measured_s += wall_s * threads
        self._foreseen_s += self._durations(task, threads) * threads

    def remaining_s(self, state: State, now_s: float) -> float:
        """Seconds until the last fit ends, if nothing else goes wrong.

        Args:
            state: where each task is; those given up count no more.
            now_s: on the clock of the state's events.
        """
        if len(self._over) < len(state.done) + len(state.failed) + len(state.skipped):
            for key in (*state.failed, *state.skipped):
                self._forget(key)
        if not state.num_unfinished:
            return 0.0
        capacity, left_s, longest_s = state.capacity, dict(self._left_s), self._longest_s(state)
        slower = self._measured_s / self._foreseen_s if self._foreseen_s else 1.0
        for key, run in state.running.items():
            elapsed_s = 0.0 if run.began_at is None else (now_s - run.began_at) / slower
            expected_s = self._durations(state.tasks[key], run.threads)
            left_s[run.lane] -= min(elapsed_s * run.threads, self._expected_s[key])
            longest_s = max(longest_s, expected_s - elapsed_s)
        cores_s = (left_s["cores"] + left_s["slot"] * capacity.slot_host_cores) / capacity.cores
        return slower * max(cores_s, left_s["slot"] / max(1, capacity.slots), longest_s)

    def _longest_s(self, state: State) -> float:
        """The longest chain that has not begun; what is over or runs is dropped as it comes up."""
        while self._by_length and (self._by_length[-1] in self._over or self._by_length[-1] in state.running):
            self._by_length.pop()
        return self._chain_s[self._by_length[-1]] if self._by_length else 0.0

    def _forget(self, key: str) -> None:
        if key not in self._over:
            self._over.add(key)
            self._left_s[self._lanes[key]] -= self._expected_s[key]

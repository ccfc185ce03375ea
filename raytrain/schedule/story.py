"""A run as lines of JSON: what was planned, what happened, what was decided. A saved story can be replayed.

A line is `{"Name": {field: value}}`. First come the capacity, the settings and the tasks, then each event followed by
the instructions it led to.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import get_args

from raytrain.schedule.policy import Policy
from raytrain.schedule.state import State
from raytrain.schedule.words import (
    Capacity,
    Event,
    Instruction,
    ScheduleError,
    Settings,
    Task,
)

Word = Capacity | Settings | Task | Event | Instruction

_EVENTS = get_args(Event)
_INSTRUCTIONS = get_args(Instruction)
_WORDS: dict[str, Callable[..., Word]] = {
    word.__name__: word for word in (Capacity, Settings, Task, *_EVENTS, *_INSTRUCTIONS)
}


def line(word: Word) -> str:
    """One word as one line, its newline included. Numbers survive to the last bit."""
    values = {field.name: getattr(word, field.name) for field in fields(word)}
    return json.dumps({type(word).__name__: values}, allow_nan=False, separators=(",", ":")) + "\n"


def opening(state: State) -> Iterator[str]:
    """The lines that say what was planned, for the start of a story."""
    yield line(state.capacity)
    yield line(state.settings)
    yield from map(line, state.tasks.values())


def entry(event: Event, instructions: Iterable[Instruction]) -> str:
    """The lines of one event and of what was decided."""
    return "".join(map(line, (event, *instructions)))


def read(lines: Iterable[str]) -> Iterator[Word]:
    """The words of a story. A last line that is cut short, as a killed driver leaves it, is left out.

    Raises:
        ScheduleError: a line that is no word of a story.
    """
    rest = iter(lines)
    for number, text in enumerate(rest, start=1):
        try:
            ((name, values),) = json.loads(text).items()
            yield _word(name, values)
        except (AttributeError, KeyError, TypeError, ValueError):
            if not text.endswith("\n") and next(rest, None) is None:
                return
            raise ScheduleError(f"line {number} is no word of a story: {text[:80]!r}; was the file changed?") from None


def _word(name: str, values: dict[str, object]) -> Word:
    return _WORDS[name](**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def replay(lines: Iterable[str], policy: Policy | None = None) -> list[Instruction]:
    """Decide again what was decided in a story, from its tasks and events alone.

    Args:
        lines: a story, from its opening.
        policy: the policy of the run; it is code, so the story does not hold it.

    Raises:
        ScheduleError: a line that is no word of a story, or no opening.
    """
    words = list(read(lines))
    capacity = next((word for word in words if isinstance(word, Capacity)), None)
    settings = next((word for word in words if isinstance(word, Settings)), None)
    if capacity is None or settings is None:
        raise ScheduleError(
            "a story begins with its capacity and settings, got none; give the file from its first line"
        )
    tasks = [word for word in words if isinstance(word, Task)]
    state = State(tasks, capacity, policy=policy, settings=settings)
    return [decided for word in words if isinstance(word, _EVENTS) for decided in state.handle(word)]


def decisions(lines: Iterable[str]) -> list[Instruction]:
    """The instructions as a story recorded them, to compare with `replay`."""
    return [word for word in read(lines) if isinstance(word, _INSTRUCTIONS)]

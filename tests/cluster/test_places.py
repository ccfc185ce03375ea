"""The word about heat that trials heed, and the places that it leaves."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from raytrain.cluster import places as places_module
from raytrain.cluster.places import Word, num_places, place

SPEAK = """
import sys
from pathlib import Path
from raytrain.cluster.places import Word
word = Word(Path(sys.argv[1]))
print(word.say(int(sys.argv[2])), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places_module, "LOOK_EVERY_S", 0.01)


@contextmanager
def speaker(store: Path, places: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that says how many places there are, until it is killed."""
    command = [sys.executable, "-c", SPEAK, str(store), str(places)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "True\n"
            yield process
        finally:
            process.kill()


def taker(store: Path) -> tuple[threading.Thread, threading.Event]:
    """A trial that waits for a place; the event is set when it has one."""
    inside = threading.Event()

    def take() -> None:
        with place(store):
            inside.set()

    thread = threading.Thread(target=take)
    thread.start()
    return thread, inside


def test_while_nobody_says_a_word_there_are_places_for_all(tmp_path: Path) -> None:
    assert num_places(tmp_path) is None
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(place(tmp_path))


def test_the_places_that_are_left_are_held_by_one_each(tmp_path: Path) -> None:
    word = Word(tmp_path)
    assert word.say(1)
    assert num_places(tmp_path) == 1
    with place(tmp_path):
        thread, inside = taker(tmp_path)
        assert not inside.wait(0.3), "two in one place"
    assert inside.wait(30)
    thread.join()
    word.say(0)
    thread, inside = taker(tmp_path)
    assert not inside.wait(0.3)
    word.take_back()
    assert inside.wait(30)
    thread.join()
    assert num_places(tmp_path) is None


def test_a_fit_under_way_keeps_its_place_when_there_are_fewer(tmp_path: Path) -> None:
    with place(tmp_path):
        word = Word(tmp_path)
        word.say(1)
        thread, inside = taker(tmp_path)
        assert not inside.wait(0.3)
    assert inside.wait(30)
    thread.join()
    word.take_back()


def test_the_word_of_a_process_that_was_killed_is_ignored(tmp_path: Path) -> None:
    with speaker(tmp_path, 0) as other:
        assert num_places(tmp_path) == 0
        thread, inside = taker(tmp_path)
        assert not inside.wait(0.3)
        other.kill()
        other.wait()
        assert inside.wait(30), "it waits for one who is gone"
        thread.join()
    assert (tmp_path / "places" / "said").read_text() == "0", "nobody could take it back"
    assert num_places(tmp_path) is None


@pytest.mark.parametrize("end", [Word.take_back, lambda word: None], ids=["it takes it back", "it goes on"])
def test_one_process_at_a_time_says_it(tmp_path: Path, end: Callable[[Word], None]) -> None:
    word = Word(tmp_path)
    with speaker(tmp_path, 1) as other:
        assert not word.say(0)
        end(word)
        assert num_places(tmp_path) == 1, "the word of another was taken back"
        other.kill()
        other.wait()
    assert word.say(0)
    assert num_places(tmp_path) == 0
    word.take_back()

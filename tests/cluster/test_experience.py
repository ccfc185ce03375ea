"""What a store teaches about costs, with and without its index."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from raytrain.cluster import experience
from raytrain.cluster.experience import INDEX, learned_costs
from raytrain.schedule.costs import Outline
from raytrain.work.store import ResultStore

ASKED = Outline(
    family="har", engine="native", device="cpu", params="{}", target="r", prior_work_s=1.0, prior_memory_bytes=2**28
)


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    """Three results of three seconds each."""
    store = ResultStore(tmp_path)
    for number in range(3):
        keep(store, f"k{number}", 3.0)
    return store


def keep(store: ResultStore, key: str, seconds: float, **facts: Any) -> None:
    cost = {"wall_s": seconds, "cpu_s": seconds, "peak_memory_bytes": 2**29, "threads": 1, "device": "cpu"}
    result = {
        "spec": {"family": "har", "params": "{}", "target": "r", "budget_s": None},
        "prior": {"work_s": 1.0, "memory_bytes": 2**28},
        "engine": "native",
        "cost": cost | facts.pop("cost", {}),
        "spent": cost,
        "cut_short": False,
        "stored_at": f"2026-01-0{len(key)}",
    }
    folder = store.folder(key)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result | facts))


def foreseen(store: ResultStore) -> tuple[float, int]:
    cost = learned_costs(store).predict(ASKED)
    return round(cost.work_s, 6), cost.num_records


def test_the_index_says_what_the_results_say(store: ResultStore) -> None:
    first = foreseen(store)
    assert first[0] > 2.0 and first[1] == 3
    for path in store.root.glob("fits/*/*/result.json"):
        path.unlink()
    assert foreseen(store) == first, "what was read once is not read again"


def test_a_new_result_is_added_and_one_that_is_gone_teaches_nothing_more(store: ResultStore) -> None:
    foreseen(store)
    before = (store.root / INDEX).read_text()
    keep(store, "new", 3.0)
    assert foreseen(store)[1] == 4
    assert (store.root / INDEX).read_text().startswith(before), "it only grows"
    for key in ("k0", "k1", "new"):
        shutil.rmtree(store.folder(key))
    assert foreseen(store)[1] == 1


@pytest.mark.parametrize("harm", ["gone", "torn", "nonsense"])
def test_an_index_that_is_hurt_is_made_good_from_the_results(store: ResultStore, harm: str) -> None:
    whole = foreseen(store)
    path = store.root / INDEX
    match harm:
        case "gone":
            path.unlink()
        case "torn":
            path.write_text(path.read_text()[:-40])
        case "nonsense":
            path.write_text('[]\n{"key": 3}\nnull\n')
    assert foreseen(store) == whole
    keep(store, "after", 3.0)
    assert foreseen(store)[1] == 4


def test_what_cannot_be_read_or_was_slept_through_teaches_nothing(store: ResultStore) -> None:
    keep(store, "slept", 900.0, cost={"slept": True})
    keep(store, "torn", 900.0)
    (store.folder("torn") / "result.json").write_text('{"key"')
    assert foreseen(store)[1] == foreseen(store)[1] == 3


def test_of_equal_fits_the_newest_teach(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = foreseen(store)[0]
    monkeypatch.setattr(experience, "_NEWEST", 2)
    for number in range(2):
        keep(store, f"newer{number}", 0.3)
    fast, num_records = foreseen(store)
    assert num_records == 2 and fast < slow / 2


def test_an_empty_store_stays_empty(tmp_path: Path) -> None:
    assert learned_costs(ResultStore(tmp_path / "none")).predict(ASKED).num_records == 0
    assert not (tmp_path / "none").exists()

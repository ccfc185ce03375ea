"""The journal of promotions: what its entries add up to, and that nothing in it can be changed unnoticed."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.errors import StoreCorrupt, StoreLocked
from raytrain.evaluation.champions.journal import (
    FOLDER,
    FORMER_FILE,
    Action,
    Entry,
    Journal,
    Standing,
    Version,
    writing,
)


def version(family: str = "tree", target: str = "return_1w", **given: Any) -> Version:
    return Version(**{"target": target, "family": family, "params": {"x": 1}, "run_id": "r1", "reason": "good"} | given)


def write(store: Path, *changes: tuple[Action, Version]) -> Journal:
    for action, one in changes:
        with writing(store, "a test") as journal:
            journal.append(action, one, "somebody")
    return Journal.read(store)


def files(store: Path) -> list[Path]:
    return sorted((store / FOLDER).glob("0*.json"))


def test_a_store_begins_with_an_empty_journal(tmp_path: Path) -> None:
    assert Journal.read(tmp_path).entries == ()
    assert Journal.read(tmp_path).standings() == {}
    assert not any(tmp_path.iterdir()), "reading writes nothing"


def test_an_entry_says_who_when_what_and_who_was_before(tmp_path: Path) -> None:
    tree, net = version("tree", decision={"verdict": "PROMOTE", "rules": []}), version("net", fit="k2", bundle="b/k2")
    journal = write(tmp_path, ("promote", tree), ("promote", net))
    first, second = journal.entries
    assert (first.seq, first.version, first.previous, first.chain) == (1, tree, None, "")
    assert (second.seq, second.version, second.previous, second.by) == (2, net, tree.key, "somebody")
    assert [path.name for path in files(tmp_path)] == [f"000001-{tree.key}.json", f"000002-{net.key}.json"]
    assert json.loads(files(tmp_path)[1].read_text())["version"]["bundle"] == "b/k2"
    assert {path.name for path in (tmp_path / FOLDER).iterdir()} - {".lock"} == {path.name for path in files(tmp_path)}


def test_what_makes_a_version_is_its_recipe_and_its_fit() -> None:
    one = version()
    assert one.key == version(run_id="r9", reason="still good", bundle="b").key == one.recipe
    others = [version(fit="k"), version("net"), version(target="return_1m"), version(params={"x": 2})]
    assert len({one.key, *(other.key for other in others)}) == 5
    assert version(fit="k").recipe == one.recipe


def test_promotions_rollbacks_and_challenges_add_up(tmp_path: Path) -> None:
    tree, net, gru = version("tree"), version("net"), version("gru")
    [(target, standing)] = write(tmp_path, ("promote", tree), ("challenge", net), ("promote", net)).standings().items()
    assert target == "return_1w"
    assert (standing.champion, standing.challenger, standing.number(net.key)) == (net.key, None, 2)
    standing = write(tmp_path, ("challenge", gru), ("rollback", tree)).standings()["return_1w"]
    assert (standing.champion, standing.challenger, standing.barred) == (tree.key, gru.key, {net.recipe})
    standing = write(tmp_path, ("withdraw", gru), ("to", net)).standings()["return_1w"]
    assert (standing.champions, standing.challenger, standing.barred) == ([tree.key, net.key], None, {tree.recipe})
    assert [standing.number(one.key) for one in (tree, net, gru)] == [1, 2, 3]


def test_a_version_has_the_decision_that_promoted_it(tmp_path: Path) -> None:
    held, promoted = version(run_id="r1", reason="nearly"), version(run_id="r2", reason="all rules pass")
    assert held.key == promoted.key
    standing = write(tmp_path, ("challenge", held), ("promote", promoted), ("challenge", held)).standings()["return_1w"]
    assert standing.versions[held.key].version == promoted


def test_targets_have_versions_of_their_own(tmp_path: Path) -> None:
    week, month = version(), version(target="return_1m")
    standings = write(tmp_path, ("promote", week), ("promote", month), ("promote", version("net"))).standings()
    assert {name: len(one.versions) for name, one in standings.items()} == {"return_1w": 2, "return_1m": 1}
    assert standings["return_1m"].champion == month.key


def one_byte_changed(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"tree", b"trea"))


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def again_under_another_number(path: Path) -> None:
    path.with_name(path.name.replace("000001", "000004")).write_bytes(path.read_bytes())


@pytest.mark.parametrize("damage", [Path.unlink, one_byte_changed, torn, again_under_another_number])
def test_what_was_changed_afterwards_is_noticed(damage: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path, *((action, version()) for action in ("promote", "challenge", "withdraw")))
    damage(files(tmp_path)[0])
    with pytest.raises(StoreCorrupt, match=r"promotions/0.*json must be .* restore"):
        Journal.read(tmp_path)
    with pytest.raises(StoreCorrupt), writing(tmp_path, "a test"):
        raise AssertionError("a damaged journal goes on")


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    write(tmp_path, ("promote", version()))
    (tmp_path / FOLDER / ".000002-abc.json.0a1b2c3d.tmp").write_text("{")
    assert len(write(tmp_path, ("promote", version("net"))).entries) == 2
    assert not list((tmp_path / FOLDER).glob(".*.tmp"))


def test_one_process_at_a_time_writes(tmp_path: Path) -> None:
    with writing(tmp_path, "promote --to 3"):
        with pytest.raises(StoreLocked, match="now it is promote --to 3 with pid"), writing(tmp_path, "run 7"):
            raise AssertionError("two writers")


def test_a_run_waits_for_a_person(tmp_path: Path) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with writing(tmp_path, "promote --to 3") as journal:
            held.set()
            done.wait(60)
            journal.append("to", version(), "a person")

    person = threading.Thread(target=hold)
    person.start()
    assert held.wait(60)
    threading.Timer(0.2, done.set).start()
    with writing(tmp_path, "run 7", wait_s=60) as journal:
        assert len(journal.entries) == 1
    person.join()


FORMER = {
    "return_1w": {"family": "tree", "params": {"x": 1}, "run_id": "r0", "reason": "it was"},
    "return_1m": {"family": "net", "params": {}, "run_id": "r0", "reason": "it was too"},
}


def test_champions_of_an_earlier_store_count_and_get_entries_with_the_first_change(tmp_path: Path) -> None:
    (tmp_path / FORMER_FILE).write_text(json.dumps(FORMER))
    before = Journal.read(tmp_path)
    assert before.entries == ()
    assert {target: one.versions[one.champions[-1]].version.family for target, one in before.standings().items()} == {
        "return_1w": "tree",
        "return_1m": "net",
    }
    assert (tmp_path / FORMER_FILE).exists(), "reading changes nothing"
    journal = write(tmp_path, ("promote", version("gru")))
    assert [(entry.by, entry.version.target) for entry in journal.entries] == [
        (FORMER_FILE, "return_1m"),
        (FORMER_FILE, "return_1w"),
        ("somebody", "return_1w"),
    ]
    assert journal.entries[2].previous == version("tree").key
    assert not (tmp_path / FORMER_FILE).exists()


def test_a_journal_that_knows_a_target_is_believed_more_than_the_former_file(tmp_path: Path) -> None:
    write(tmp_path, ("promote", version("gru")))
    (tmp_path / FORMER_FILE).write_text(json.dumps(FORMER))
    standings = write(tmp_path, ("challenge", version("net"))).standings()
    assert standings["return_1w"].champions == [version("gru").key]
    assert len(standings["return_1m"].champions) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"return_1w": {"family": "tree"}}', '{"return_1w": 5}'])
def test_a_damaged_former_file_is_not_taken_for_none(content: str, tmp_path: Path) -> None:
    (tmp_path / FORMER_FILE).write_text(content)
    with pytest.raises(StoreCorrupt, match=r"champions\.json must be the list of champions, got .*move it away"):
        Journal.read(tmp_path)


MOVES = st.lists(
    st.tuples(st.sampled_from(["promote", "challenge", "withdraw", "rollback", "to"]), st.sampled_from("abcd")),
    max_size=30,
)


@given(MOVES)
def test_whatever_happens_there_is_one_champion_with_a_number_and_a_way_back(moves: list[tuple[Action, str]]) -> None:
    standing, numbers = Standing(), {}
    for seq, (action, family) in enumerate(moves, start=1):
        one = version(family)
        if action == "rollback":
            if len(standing.champions) < 2:
                continue
            one = standing.versions[standing.champions[-2]].version
        before = list(standing.champions)
        standing.add(Entry(seq=seq, action=action, version=one, previous=None, at="", by="", chain=""))
        numbers.setdefault(one.key, len(numbers) + 1)
        assert {key: standing.number(key) for key in standing.versions} == numbers
        assert set(standing.champions) <= set(standing.versions)
        assert all(left != right for left, right in zip(standing.champions, standing.champions[1:], strict=False))
        if action == "rollback":
            assert standing.champions == before[:-1]
        elif action in ("promote", "to"):
            assert standing.champion == one.key
            assert one.recipe not in standing.barred
            assert standing.challenger != one.key

"""Kill -9 at every write of a promotion, and the same command again: one version, one champion, nothing torn."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raytrain.evaluation.champions.journal import FOLDER, FORMER_FILE

DYING = """
import json, os, signal, sys
from pathlib import Path
import polars as pl
from raytrain.evaluation.gates.decision import Decision
from raytrain.evaluation.champions.journal import Journal
from raytrain.evaluation.champions.promotions import Candidates, Refit, promote_to, record, rolling_back

def run(store, run_id, promoted, held):
    decisions = [
        Decision(family=family, target="return_1w", label="1w", horizon=5, verdict=verdict, rules=(), reason="it is",
                 first_date="", last_date="")
        for family, verdict in ((promoted, "PROMOTE"), (held, "HOLD"))
    ]
    scores = pl.DataFrame({"target": ["return_1w"] * 2, "family": [promoted, held], "skill": [0.2, 0.1]})
    refits = {("return_1w", promoted): Refit(fit=f"fit of {promoted}", bundle=f"bundles/{promoted}")}
    params = {promoted: {"x": 1}, held: {}}
    record(store, Candidates(run_id=run_id, decisions=decisions, scores=scores, params=params, refits=refits))

def roll_back(store):
    with rolling_back(store):
        os.mkdir(store / "told")  # what a command does after it has decided: it can be killed there too
        os.rmdir(store / "told")

def die_at(number):
    def dying(real):
        def call(*args, **kwargs):
            nonlocal number
            number -= 1
            if number == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        return call
    for name in ("mkdir", "rmdir", "open", "fsync", "replace", "unlink"):
        setattr(os, name, dying(getattr(os, name)))

def child(store, code, number=0):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    die_at(number)
    try:
        exec(code)
    except BaseException as error:
        print(f"{number}: {error!r}", file=sys.stderr)
        os._exit(1)
    os._exit(0)

def actions(store):
    return [f"{entry.action} {entry.version.family}" for entry in Journal.read(store).entries]

root, before, code, given = Path(sys.argv[1]), *sys.argv[2:]
for number in range(1, 200):
    store = root / str(number)
    store.mkdir()
    for name, content in json.loads(given).items():
        (store / name).write_text(content)
    assert child(store, before) == 0
    seen = [actions(store)]
    status = child(store, code, number)
    targets = sorted(Journal.read(store).standings())
    seen.append(actions(store))
    if (store / "told").exists():
        os.rmdir(store / "told")
    if status:
        assert child(store, code) == 0
    print(json.dumps({"status": status, "seen": [*seen, actions(store)], "targets": targets}))
    if status == 0:
        break
"""
"""Prints what the journal says before, after a kill at the n-th write, and after the killed command was given again."""

COMMANDS = {
    "a first promotion": ("", "run(store, 'r1', 'tree', 'net')", ["promote tree", "challenge net"]),
    "a promotion over a champion": (
        "run(store, 'r1', 'tree', 'net')",
        "run(store, 'r2', 'gru', 'net')",
        ["promote tree", "challenge net", "promote gru"],
    ),
    "a version by name": (
        "run(store, 'r1', 'tree', 'net')",
        "promote_to(store, '2')",
        ["promote tree", "challenge net", "to net"],
    ),
    "a rollback": (
        "run(store, 'r1', 'tree', 'net'); run(store, 'r2', 'gru', 'net'); run(store, 'r3', 'mlp', 'net')",
        "roll_back(store)",
        ["promote tree", "challenge net", "promote gru", "promote mlp", "rollback gru"],
    ),
}


def killed_at_every_write(root: Path, before: str, command: str, **files: str) -> list[dict[str, Any]]:
    """What was seen for n = 1, 2, 3, ..., up to the first n that the command does not reach."""
    line = [sys.executable, "-c", DYING, str(root), before, command, json.dumps(files)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = [json.loads(text) for text in done.stdout.splitlines()]
    assert [one["status"] for one in seen] == [signal.SIGKILL] * (len(seen) - 1) + [0]
    return seen


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_any_write_and_given_again_has_happened_once(name: str, tmp_path: Path) -> None:
    before, command, expected = COMMANDS[name]
    tried = killed_at_every_write(tmp_path, before, command)
    assert len(tried) > 8
    for number, one in enumerate(tried, start=1):
        known, found, again = one["seen"]
        assert known == found[: len(known)], "what was there is there"
        assert found == expected[: len(found)], "a part of the way, in order"
        assert again == expected
        names = {path.name for path in (tmp_path / str(number) / FOLDER).iterdir()}
        assert {name for name in names if not name.startswith("0")} <= {".lock"}, "leftovers are swept"


def test_a_move_of_the_former_file_killed_at_any_write_loses_no_champion(tmp_path: Path) -> None:
    former = {"family": "old", "params": {}, "run_id": "r0", "reason": "it was"}
    content = json.dumps({"return_1w": former, "return_1m": former, "return_3m": former})
    tried = killed_at_every_write(tmp_path, "", "run(store, 'r1', 'tree', 'net')", **{FORMER_FILE: content})
    assert len(tried) > 20
    for number, one in enumerate(tried, start=1):
        assert one["targets"] == ["return_1m", "return_1w", "return_3m"]
        assert one["seen"][2] == ["promote old"] * 3 + ["promote tree", "challenge net"]
        assert not (tmp_path / str(number) / FORMER_FILE).exists()

"""The command by which a person changes who is in production: what it prints, its exit codes, what it leaves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytrain.evaluation.champions.current import Champions
from raytrain.evaluation.champions.journal import FOLDER, Journal, Version, writing
from raytrain.jobs import _command, promote
from raytrain.tracking.records import TrackingFailed

Act = Callable[..., int]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two champions of a week, and one of a month."""
    for target, family in (("return_1w", "tree"), ("return_1w", "net"), ("return_1m", "gru")):
        version = Version(
            target=target,
            family=family,
            params={"x": 1},
            fit=f"fit of {family}",
            bundle=f"bundles/{family}",
            run_id="r1",
            reason=f"{family} it is",
        )
        with writing(tmp_path, "a test") as journal:
            journal.append("promote", version, "run r1")
        (tmp_path / "bundles" / family).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def act(store: Path) -> Act:
    """Runs the job on the store, without MLflow unless it is asked for."""

    def run(*options: str, mlflow: bool = False) -> int:
        given = ["--store", str(store), "--tracking.mlflow", str(mlflow).lower(), *options]
        return _command.run(promote.PromoteConfig, promote.promote, promote.__doc__ or "", promote.FLAGS, given)

    return run


def champion(store: Path, target: str = "return_1w") -> str:
    return Champions.read(store).by_target[target].family


def test_the_list_tells_who_is_in_production_since_when_and_why(
    act: Act, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert act("--list") == 0
    lines = {line.split("│")[3].strip(): line for line in capsys.readouterr().out.splitlines() if "│" in line}
    assert set(lines) == {"tree", "net", "gru"}
    assert [text in lines["net"] for text in ("return_1w", " 2 ", "run r1", "champion", "net it is")] == [True] * 5
    assert "champion" in lines["gru"]
    assert "champion" not in lines["tree"]
    assert act("--list", "--target", "return_1m") == 0
    shown = capsys.readouterr().out
    assert ("gru" in shown, "tree" in shown) == (True, False)


def test_a_store_without_promotions_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--store", str(tmp_path / "new"), "--list"]
    assert _command.run(promote.PromoteConfig, promote.promote, "", promote.FLAGS, given) == 0
    assert "nothing was ever promoted" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


def test_one_command_rolls_back_and_one_puts_it_forward_again(
    act: Act, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert act("--rollback", "--target", "return_1w") == 0
    said = capsys.readouterr().out
    assert "return_1w: version 2 to version 1, rolled back by " in said
    assert "champion for return_1w: version 1, tree of run r1, bundle: bundles/tree" in said
    assert "no run promotes the net recipe that was left until --to names a version of it" in said
    assert champion(store) == "tree"
    assert act("--to", "2", "--target", "return_1w") == 0
    assert "version 1 to version 2, promoted by name by " in capsys.readouterr().out
    assert champion(store) == "net"
    act("--list")
    assert "version 2 to version 1, rolled back by" in capsys.readouterr().out, "the list is an audit"
    assert [entry.action for entry in Journal.read(store).entries][3:] == ["rollback", "to"]
    assert champion(store, "return_1m") == "gru"


def test_a_bundle_that_was_swept_is_not_named(act: Act, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (store / "bundles" / "tree").rmdir()
    assert act("--rollback", "--target", "return_1w") == 0
    assert "tree of run r1, bundle: none; the next run fits it anew" in capsys.readouterr().out


def test_the_same_command_twice_changes_once(act: Act, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert act("--to", "1", "--target", "return_1w") == 0
    assert "version 1 is the champion already; nothing was changed" in capsys.readouterr().out
    assert len(Journal.read(store).entries) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "one of --list, --to VERSION, --rollback and --sync must be given, got none"),
        (["--list", "--rollback"], "got --list and --rollback"),
        (["--to", "7", "--target", "return_1w"], "got `7`; there are: return_1w 1 to 2"),
        (["--to", "1"], "got `1`, which return_1m, return_1w have; add `--target`"),
        (["--rollback"], "got 2 with a champion; add `--target` and one of: return_1m, return_1w"),
        (["--rollback", "--target", "return_1m"], "got version 1 and none before it for return_1m"),
        (["--rollback", "--target", "return_1wk"], "did you mean `return_1w`?"),
        (["--rolback"], "`--rolback` is not an option"),
    ],
)
def test_wrong_input_is_one_message_and_changes_nothing(
    options: list[str], said: str, act: Act, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Journal.read(store)
    assert act(*options) == 4
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert said in err
    assert Journal.read(store) == before


def test_two_commands_at_once_do_not_mix(act: Act, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(store, "promote --to 1"):
        assert act("--rollback", "--target", "return_1w") == 75
    assert "now it is promote --to 1 with pid" in capsys.readouterr().err


def test_a_damaged_journal_is_no_wrong_input(act: Act, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next((store / FOLDER).glob("000001*")).unlink()
    assert act("--rollback", "--target", "return_1w") == 3
    assert "unbroken journal" in capsys.readouterr().err


def test_a_registry_that_is_down_does_not_hold_a_rollback_up(
    act: Act, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store / "mlflow.db").write_bytes(b"not a database" * 100)
    assert act("--rollback", "--target", "return_1w", mlflow=True) == 0
    assert "note: MLflow's registry in" in capsys.readouterr().out
    assert champion(store) == "tree"
    assert act("--list", mlflow=True) == 0
    assert "4 changes wait for MLflow's registry; --sync applies them" in capsys.readouterr().out
    assert act("--sync", mlflow=True) == 3
    assert act("--rollback", "--target", "return_1w", mlflow=True) == 4, "it was one rollback, and it is finished"


def test_a_change_is_told_to_the_registry(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(promote, "sync_registry", lambda store, config, always: told.append(always) or 0)
    assert [act("--to", "1", "--target", "return_1w"), act("--sync")] == [0, 0]
    assert told == [False, True]


def test_a_rollback_whose_command_was_killed_is_finished_by_the_next(
    act: Act, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*given: Any, **more: Any) -> int:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(promote, "sync_registry", die)
        with pytest.raises(Killed):
            act("--rollback", "--target", "return_1w")
    assert act("--rollback", "--target", "return_1w") == 0
    assert champion(store) == "tree"
    assert len(Journal.read(store).entries) == 4
    assert act("--rollback", "--target", "return_1w") == 4


def test_the_cause_is_told_by_the_tracker(
    act: Act, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*given: Any, **more: Any) -> int:
        raise TrackingFailed("the registry is on fire")

    monkeypatch.setattr(promote, "sync_registry", fail)
    assert act("--to", "1", "--target", "return_1w") == 0
    assert "note: the registry is on fire" in capsys.readouterr().out

"""The deploy job: what it writes when nothing is to run, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest

from raytrain.deploy.local import run_local
from raytrain.evaluation.champions.journal import Version, writing
from raytrain.jobs import _command
from raytrain.jobs.deploy import DeployConfig, deploy


@pytest.fixture
def store(bundle: Path) -> Path:
    """With the bundle in production."""
    root = bundle.parents[1]
    version = Version(target="return_1w", family="naive", params={}, bundle="bundles/b1", run_id="r1", reason="good")
    with writing(root, "the test") as journal:
        journal.append("promote", version, "run r1")
    return root


def _run(tmp_path: Path, *options: str, execute: bool = False) -> int:
    given = ["--out", str(tmp_path / "out"), *options, *(["--execute"] if execute else [])]
    return _command.run(DeployConfig, deploy, "", ("execute",), given)


PLACES = {
    "local": [],
    "cloud_run": ["--cloud_run.project", "my-project"],
    "vertex": ["--vertex.project", "my-project"],
    "bigquery": ["--bigquery.project", "my-project"],
}


@pytest.mark.parametrize("target", PLACES)
def test_without_execute_everything_is_told_and_nothing_is_run(
    store: Path,
    table: Path,
    tmp_path: Path,
    target: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")  # no gcloud could be found
    champion = ["--store", str(store), "--champion", "return_1w", "--data", str(table)]
    assert _run(tmp_path, "--target", target, *PLACES[target], *champion) == 0
    printed = capsys.readouterr().out
    plan = json.loads((tmp_path / "out" / target / "plan.json").read_text())
    assert plan["bundle"]["folder"] == str(store / "bundles" / "b1")
    assert plan["steps"]
    assert all(step["what"] in printed for step in plan["steps"])
    assert "nothing was run, --execute runs it" in printed


@pytest.mark.cluster
def test_a_local_deployment_ends_with_a_forecast(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody is here to stop it.
    def until_compared(*args: object) -> object:
        running = run_local(*args)  # type: ignore[arg-type]
        return _StopsAtOnce(running)

    monkeypatch.setattr("raytrain.deploy.local.run_local", until_compared)
    bundle = ["--bundle", str(store / "bundles" / "b1"), "--local.port", "0"]
    assert _run(tmp_path, "--target", "local", *bundle, execute=True) == 0
    assert "forecasts what the bundle does, to the bit (2 forecasts)" in capsys.readouterr().out


class _StopsAtOnce:
    """A running service that a person interrupts as soon as it is waited for."""

    def __init__(self, running: object) -> None:
        self._running = running

    def __enter__(self) -> object:
        found = self._running.__enter__()  # type: ignore[attr-defined]
        found.process.wait, self._wait = self._interrupted, found.process.wait
        self._process = found.process
        return found

    def __exit__(self, *error: object) -> None:
        self._process.wait = self._wait
        self._running.__exit__(*error)  # type: ignore[attr-defined]

    def _interrupted(self, *_: object) -> None:
        raise KeyboardInterrupt


def test_what_is_wrong_is_said_in_one_message(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(store / "bundles" / "b1")
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    (damaged / "card.md").write_text("better")
    for options, said in [
        (["--target", "local"], "a bundle must be named, got none"),
        (["--target", "local", "--bundle", bundle, "--champion", "return_1w"], "either --bundle or --champion"),
        (["--target", "local", "--store", str(store), "--champion", "return_1d"], "did you mean `return_1w`?"),
        (["--target", "local", "--bundle", str(damaged)], "card.md was changed"),
        (["--target", "cloud_run", "--bundle", bundle], "`cloud_run.project` must be the id"),
        (["--target", "vertex", "--bundle", bundle], "`vertex.project` must be the id"),
        (["--target", "bigquery", "--bundle", bundle], "`bigquery.project` must be the id"),
        (["--target", "moon", "--bundle", bundle], "`target`"),
    ]:
        assert _run(tmp_path, *options) == 4, options
        message = capsys.readouterr().err
        assert message.startswith("error: ")
        assert said in message
        assert "Traceback" not in message
        assert not (tmp_path / "out").exists()


def test_a_champion_whose_bundle_is_gone_says_how_to_get_one(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(store / "bundles" / "b1")
    assert _run(tmp_path, "--target", "local", "--store", str(store), "--champion", "return_1w") == 4
    assert "the champion for return_1w has no bundle, or has no more" in (message := capsys.readouterr().err)
    assert "run daily again, which writes one" in message

"""What a person is told of where families run, with an accelerator that is played."""

import functools
from argparse import Namespace
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from raytrain.config import load
from raytrain.jobs import _terminal
from raytrain.jobs.check import CheckConfig, check
from raytrain.pipeline import elected_before, prepare, prepared
from raytrain.run_config import RunConfig
from raytrain.work.election import elect
from raytrain.work.trial import Answer, Trial

SLOW_THERE = {"cpu": 0.004, "mps": 0.04}
FAST_THERE = {"cpu": 0.04, "mps": 0.004}


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """An MPS that is quick for convolutions and slow for recurrent nets; how many trials there were."""
    tried: list[Trial] = []

    def ask(trial: Trial) -> Answer:
        tried.append(trial)
        pace = SLOW_THERE if trial.spec.family == "lstm" else FAST_THERE
        return Answer(status="ok", step_s=pace[trial.spec.device], taught=(1.0,), untaught=(0.0,))

    monkeypatch.setattr(prepared, "slot_device", lambda profile: "mps")
    monkeypatch.setattr(prepared, "elect", functools.partial(elect, ask=ask))
    yield lambda: len(tried)


@pytest.fixture
def options(tiny: list[str], tmp_path: Path) -> list[str]:
    return [*tiny[2:], "--families", "naive,lstm,cnn1d", "--store", str(tmp_path / "store")]


def test_a_dry_run_shows_what_was_elected_and_why(
    accelerator: Callable[[], int], tiny: list[str], options: list[str]
) -> None:
    told: list[str] = []
    config = load(RunConfig, [Path(tiny[1])], options)
    run = prepare(config, told.append)
    assert told == [f"trying {name} on {device}" for name in ("lstm", "cnn1d") for device in ("cpu", "mps")]
    console = Console(file=StringIO(), width=200)
    _terminal.announce(console, run)
    shown = console.file.getvalue()
    assert "device: lstm runs on cpu: a step takes 40 ms on mps, 4 ms on the CPU" in shown
    assert "device: cnn1d runs on mps: a step takes 4 ms on mps, 40 ms on the CPU" in shown
    found = {(fit.spec.family, fit.spec.device, fit.lane) for fit in run.plan.fits}
    assert found == {("naive", "cpu", "cores"), ("lstm", "cpu", "cores"), ("cnn1d", "mps", "slot")}
    assert [one for one in run.warnings if "runs on" in one] == list(map(str, run.elections))

    again = prepare(config, told.append)
    assert accelerator() == 4, "an answer is remembered"
    assert [fit.spec.key for fit in again.plan.fits] == [fit.spec.key for fit in run.plan.fits]
    assert elected_before(config) == tuple(sorted(run.elections, key=lambda one: one.family))


def test_the_check_lists_what_was_elected_before(
    accelerator: Callable[[], int], tiny: list[str], options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(load(RunConfig, [Path(tiny[1])], options))
    check(load(CheckConfig, [Path(tiny[1])], options), Namespace())
    assert "device: lstm runs on cpu: a step takes 40 ms on mps" in capsys.readouterr().out


def test_without_an_accelerator_nothing_is_tried_or_shown(
    accelerator: Callable[[], int], tiny: list[str], options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "slot_device", lambda profile: "cpu")
    config = load(RunConfig, [Path(tiny[1])], options)
    run = prepare(config, pytest.fail)
    assert run.elections == () == elected_before(config)
    assert {fit.lane for fit in run.plan.fits} == {"cores"}
    assert not accelerator() and not (config.store / "elections").exists()

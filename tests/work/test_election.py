"""Where families run: tried through real processes whose device is played by a program."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytrain.features.targets import TargetConfig
from raytrain.folds import Fold
from raytrain.machine.world import World
from raytrain.work import trial as trial_module
from raytrain.work.dataset import Dataset
from raytrain.work.election import Book, Election, choose, difference, elect, fingerprint
from raytrain.work.plan import Recipes, make_plan
from raytrain.work.trial import Answer, Trial, ask, attempt

PLAYED = """
import json, os, signal, sys, time

trial, plays = json.loads(sys.stdin.read()), sys.argv[1]
assert os.environ["RAYTRAIN_ENGINE"] == "torch" and os.environ["OMP_NUM_THREADS"] == "1"
answer = dict(status="ok", cause="", step_s=0.01, peak_memory_bytes=1, taught=[1.0, 2.0], untaught=[0.0, 0.0])
if trial["spec"]["device"] != "cpu":
    if plays == "hangs":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        time.sleep(600)
    if plays == "crashes":
        print("Assertion failed: (buffer)", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    answer |= {
        "faster": dict(step_s=0.002),
        "slower": dict(step_s=0.03),
        "disagrees": dict(step_s=0.001, taught=[2.0, 1.0]),
        "is noisy": dict(step_s=0.001, taught=[1.001, 1.999]),
        "gives nan": dict(step_s=0.001, taught=[1.0, float("nan")]),
        "runs out": dict(status="out_of_memory", cause="MPS backend out of memory", taught=[], untaught=[]),
    }[plays]
print(json.dumps(answer))
"""
TARGET = TargetConfig(horizon=1, label="1d")
OK = Answer(status="ok", step_s=0.01, taught=(1.0, 2.0), untaught=(0.0, 0.0))
HUNG = Answer(status="hung", cause="no answer within 9 s")
FAILED = Answer(status="failed", cause="FitError: constant")


def recipes(*names: str, device: Any = "mps", **rest: Any) -> Recipes:
    return Recipes.make(
        names or ("cnn1d",),
        rest.pop("params", {}),
        **{"targets": (TARGET,), "quantiles": (0.1, 0.5, 0.9), "seeds": (42,), "slot_device": device} | rest,
    )


@pytest.fixture
def hold(dataset: Dataset, folds: list[Fold], tmp_path: Path) -> Callable[..., tuple[Election, ...]]:
    """An election on an accelerator that is played; `asked` collects what is tried."""

    def run(plays: str, what: Recipes | None = None, asked: list[Trial] | None = None, **rest: Any) -> Any:
        def played(trial: Trial) -> Answer:
            if asked is not None:
                asked.append(trial)
            limit_s = 2.0 if plays == "hangs" and trial.spec.device != "cpu" else 60.0
            program = [sys.executable, "-c", PLAYED, plays]
            return ask(Trial(spec=trial.spec, dataset=trial.dataset, limit_s=limit_s), program)

        book = rest.pop("book", Book(tmp_path / "book.json"))
        newest = rest.pop("newest", folds[-1])
        return elect(dataset, [folds[0], newest], what or recipes(), tmp_path, ask=played, book=book)

    return run


@pytest.mark.parametrize(
    ("plays", "device", "why"),
    [
        ("faster", "mps", "a step takes 2 ms on mps, 10 ms on the CPU"),
        ("is noisy", "mps", "a step takes 1 ms on mps, 10 ms on the CPU"),
        ("slower", "cpu", "a step takes 30 ms on mps, 10 ms on the CPU"),
        ("disagrees", "cpu", "mps forecasts something else: 63.2% apart, at most 10% is noise"),
        ("gives nan", "cpu", "mps forecasts something else: inf% apart, at most 10% is noise"),
        ("crashes", "cpu", "mps crashed (its process ended with SIGSEGV: Assertion failed: (buffer))"),
        ("hangs", "cpu", "mps hung (no answer within 2 s)"),
        ("runs out", "cpu", "mps ran out of memory (MPS backend out of memory)"),
    ],
)
def test_only_what_is_faster_and_the_same_goes_to_the_accelerator(
    hold: Callable[..., Any], plays: str, device: str, why: str
) -> None:
    (elected,) = hold(plays)
    assert str(elected) == f"cnn1d runs on {device}: {why}"
    assert set(elected.tried) == {"cpu", "mps"}


def test_the_elected_device_is_the_fits_device_and_lane(
    hold: Callable[..., Any], dataset: Dataset, folds: list[Fold]
) -> None:
    what = recipes("lstm", "cnn1d")
    devices = {one.family: one.device for one in hold("faster", what)}
    assert devices == {"lstm": "mps", "cnn1d": "mps"}, "a trial beats what is assumed of recurrent nets"
    found = make_plan(dataset, folds, recipes("lstm", "cnn1d", devices=devices | {"cnn1d": "cpu"})).fits
    assert {(fit.spec.family, fit.spec.device, fit.lane) for fit in found} == {
        ("lstm", "mps", "slot"),
        ("cnn1d", "cpu", "cores"),
    }


def test_without_an_accelerator_nothing_is_tried(hold: Callable[..., Any]) -> None:
    asked: list[Trial] = []
    assert hold("faster", recipes("cnn1d", "lstm", device="cpu"), asked) == ()
    assert hold("faster", recipes("naive", "mlp", "lightgbm"), asked) == ()
    assert not asked


def test_an_answer_is_remembered_whatever_does_not_change_the_arithmetic(hold: Callable[..., Any]) -> None:
    asked: list[Trial] = []
    (first,) = hold("faster", asked=asked)
    longer = recipes(params={"cnn1d": {"num_epochs": 3, "learning_rate": 0.01, "dropout": 0.2}})
    assert hold("slower", longer, asked) == (first,)
    assert [trial.spec.device for trial in asked] == ["cpu", "mps"]


@pytest.mark.parametrize("change", ["batch_size", "quantiles", "torch", "file"])
def test_an_answer_to_another_question_is_none(
    hold: Callable[..., Any], change: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hold("faster")
    what = recipes()
    match change:
        case "batch_size":
            what = recipes(params={"cnn1d": {"batch_size": 64}})
        case "quantiles":
            what = recipes(quantiles=(0.5,))
        case "torch":
            monkeypatch.setattr("raytrain.work.plan.version", lambda name: "99.0")
        case "file":
            (tmp_path / "book.json").write_text("{torn")
    (again,) = hold("slower", what)
    assert again.device == "cpu"


def test_more_rows_are_no_other_question(hold: Callable[..., Any], folds: list[Fold]) -> None:
    first = hold("faster", newest=folds[-2])
    assert hold("slower", newest=folds[-1]) == first


def test_what_works_nowhere_is_tried_again(dataset: Dataset, folds: list[Fold], tmp_path: Path) -> None:
    book = Book(tmp_path / "book.json")
    (elected,) = elect(dataset, folds, recipes(), tmp_path, ask=lambda trial: FAILED, book=book)
    assert elected.device == "cpu" and "failed (FitError: constant)" in elected.why
    assert not book.path.exists()


def test_a_person_is_told_what_is_tried(dataset: Dataset, folds: list[Fold], tmp_path: Path) -> None:
    told: list[str] = []
    elect(dataset, folds, recipes(), tmp_path, ask=lambda trial: OK, tell=told.append, book=Book(tmp_path / "b"))
    assert told == ["trying cnn1d on cpu", "trying cnn1d on mps"]


@pytest.mark.parametrize(
    ("here", "there", "device"),
    [(OK, HUNG, "cpu"), (HUNG, OK, "mps"), (FAILED, OK, "cpu"), (HUNG, HUNG, "cpu"), (OK, OK, "cpu")],
)
def test_who_gives_no_answer_loses_and_a_tie_leaves_the_slot_free(here: Answer, there: Answer, device: str) -> None:
    assert choose("mps", here, there)[0] == device


@pytest.mark.parametrize(
    ("taught", "apart"), [((1.0, 2.0), 0.0), ((0.0, 0.0), 1.0), ((1.0,), float("inf")), ((), float("inf"))]
)
def test_forecasts_are_compared_by_what_training_changed(taught: tuple[float, ...], apart: float) -> None:
    assert difference(OK, Answer(status="ok", taught=taught)) == apart


def test_each_machine_and_device_has_a_book_of_its_own(tmp_path: Path) -> None:
    def world(cpus: int) -> World:
        return World(system="Linux", machine="x86_64", cpus=lambda: cpus, memory=lambda: (2**34, 2**33, 0))

    assert fingerprint("cuda", world(4)) == fingerprint("cuda", world(4))
    assert len({fingerprint(device, world(cpus)) for cpus in (4, 8) for device in ("cuda", "mps")}) == 4
    assert Book.of_machine(tmp_path, "cuda", world(4)).path.parent == tmp_path / "elections"


def test_all_that_is_remembered_is_listed(hold: Callable[..., Any], tmp_path: Path) -> None:
    elected = hold("faster", recipes("lstm", "cnn1d"))
    book = Book(tmp_path / "book.json")
    assert {one.family for one in book.elections()} == {"lstm", "cnn1d"}
    content = json.loads(book.path.read_text())
    content["elections"]["by hand"] = {"device": "mps"}
    book.path.write_text(json.dumps(content))
    assert {str(one) for one in book.elections()} == {str(one) for one in elected}


@pytest.mark.torch
def test_a_real_trial_on_the_same_device_agrees_to_the_bit(dataset: Dataset, folds: list[Fold], tmp_path: Path) -> None:
    fit = make_plan(dataset, folds[-1:], recipes("lstm", params={"lstm": {"window": 5, "num_hidden": 4}})).fits[0]
    assert fit.spec.device == "cpu"
    asked = Trial(spec=fit.spec, dataset=dataset.save(tmp_path))
    first, second = ask(asked), attempt(asked)
    assert first.status == "ok", first.cause
    assert first.step_s > 0 and first.peak_memory_bytes > 2**27
    assert len(first.taught) == len(first.untaught) > 30
    assert first.taught == second.taught and first.taught != first.untaught
    assert difference(first, second) == 0.0


@pytest.mark.torch
def test_a_device_that_is_not_there_is_an_answer(dataset: Dataset, folds: list[Fold], tmp_path: Path) -> None:
    fit = make_plan(dataset, folds[-1:], recipes("cnn1d", params={"cnn1d": {"window": 5}})).fits[0]
    assert fit.spec.device == "mps"
    answer = ask(Trial(spec=fit.spec, dataset=dataset.save(tmp_path)))
    assert answer.status == "failed" and answer.cause
    assert "\n" not in answer.cause


def test_whatever_is_raised_is_an_answer(dataset: Dataset, folds: list[Fold], tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(engine: str) -> None:
        raise RuntimeError("MPS backend out of memory (MPS allocated: 18.50 GiB, other allocations: 1 KiB)")

    monkeypatch.setattr(trial_module, "claim", refuse)
    spec = make_plan(dataset, folds[-1:], recipes()).fits[0].spec
    assert attempt(Trial(spec=spec, dataset=tmp_path)).status == "out_of_memory"

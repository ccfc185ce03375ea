"""What every family promises, whatever it is made of. Run over every family that is found."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from raytrain import families
from raytrain.engines.base import Family, FitContext, FloatArray, Shape, Task, output_quantiles
from raytrain.engines.process import FOREIGN, engine_env
from raytrain.errors import ConfigError, FitError

LEVELS = (0.1, 0.5, 0.9)
# What `context` of the conftest tells, which has no importable name here.
TOLD = {"quantiles": LEVELS, "features": tuple(f"f{column}" for column in range(6)), "known": (4, 5)}
SCRIPT = Path(__file__).with_name("fit_in_process.py")

CASES = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted(Path(__file__).with_name("cases").glob("*.yaml"))
}
"""For each family: `quick` parameters for a fit of a thousand rows, `measured` ones for 30,000 x 150 values, the
parameter that makes a fit longer (`length`), and `deviations`: rule -> why it does not hold."""
RULES = {"learns", "weights", "stops", "resume", "length", "seed"}


def always(family: type[Family]) -> bool:
    return True


def chosen(rule: str, condition: Callable[[type[Family]], bool]) -> list[str]:
    """The families that must keep a rule."""
    return [name for name in families.names() if rule not in deviations(name) and condition(families.get(name))]


def deviations(name: str) -> dict[str, str]:
    """Rules that the family need not keep, with the reasons."""
    return CASES.get(name, {}).get("deviations", {})


def those(rule: str, condition: Callable[[type[Family]], bool] = always, marked: bool = True) -> Any:
    """Parametrize over the families that must keep a rule, each marked with its engine."""
    names = chosen(rule, condition)
    return pytest.mark.parametrize("name", [pytest.param(n, marks=mark(n) if marked else ()) for n in names])


def those_by_task(rule: str) -> Any:
    """The same for each task that a family does."""
    cases = [(name, task) for name in chosen(rule, always) for task in sorted(families.get(name).tasks)]
    return pytest.mark.parametrize(("name", "task"), [pytest.param(*case, marks=mark(case[0])) for case in cases])


def mark(name: str) -> pytest.MarkDecorator:
    """The mark of the family's engine."""
    return getattr(pytest.mark, families.get(name).engine)


def does_binary(family: type[Family]) -> bool:
    return "binary" in family.tasks


def takes_nan(family: type[Family]) -> bool:
    return not family.scaled


def quick(name: str) -> Any:
    return families.make_params(name, CASES.get(name, {}).get("quick", {}))


def fit(name: str, data: Any, **context: Any) -> Family:
    return families.get(name)(quick(name)).fit(data, FitContext(**TOLD | context))


@pytest.fixture(scope="module")
def fitted(problem) -> Callable[..., Family]:
    """A fitted model, shared by the tests that only look at it."""

    @cache
    def make(name: str, task: Task = "regression") -> Family:
        return fit(name, problem(families.get(name), quick(name), task).data, task=task)

    return make


def pinball(y: FloatArray, predicted: FloatArray, levels: tuple[float, ...]) -> float:
    """Mean pinball loss of (n, 1, levels)."""
    error = y[..., None].astype(float) - predicted
    return float(np.maximum(np.array(levels) * error, (np.array(levels) - 1) * error).mean())


@those("shape")
def test_predictions_have_the_shape_that_was_asked_for_and_never_cross(name: str, fitted, problem) -> None:
    x = problem(families.get(name), quick(name)).x_test
    values = fitted(name).predict(x)
    levels = output_quantiles(families.get(name), FitContext(quantiles=LEVELS))
    assert values.shape == (len(x), 1, len(levels))
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert (np.diff(values, axis=-1) >= 0).all()


@those("shape", does_binary)
def test_a_binary_target_gives_probabilities(name: str, fitted, problem) -> None:
    x = problem(families.get(name), quick(name), "binary").x_test
    values = fitted(name, "binary").predict(x)
    assert values.shape == (len(x), 1, 1)
    assert values.dtype == np.float32
    assert ((values >= 0) & (values <= 1)).all()


@those("learns")
def test_it_learns_a_planted_signal(name: str, fitted, problem) -> None:
    family, made = families.get(name), problem(families.get(name), quick(name))
    levels = output_quantiles(family, FitContext(quantiles=LEVELS))
    yardstick = fit("naive", made.data, quantiles=levels).predict(made.x_test)
    loss = pinball(made.y_test, fitted(name).predict(made.x_test), levels)
    # Of a path of prices only the spread can be learned, and knowing it exactly saves a sixth.
    most = 0.96 if family.inputs == "history" else 0.8
    assert loss < most * pinball(made.y_test, yardstick, levels)


@those("learns", does_binary)
def test_it_learns_a_planted_label(name: str, fitted, problem) -> None:
    made = problem(families.get(name), quick(name), "binary")
    error = made.y_test - fitted(name, "binary").predict(made.x_test)[:, :, 0]
    brier, base_rate = float((error**2).mean()), float(made.data.y.mean())
    assert brier < 0.7 * float(((made.y_test - base_rate) ** 2).mean())


@those("weights")
def test_weights_matter(name: str, fitted, problem) -> None:
    made = problem(families.get(name), quick(name))
    weight = np.where(made.data.date > np.median(made.data.date), 50, 1)
    heavier = fit(name, made.weighted(weight))
    assert not np.array_equal(heavier.predict(made.x_test), fitted(name).predict(made.x_test))


@those_by_task("zero weight")
def test_a_weight_of_zero_leaves_the_row_out(name: str, task: Task, problem) -> None:
    made = problem(families.get(name), quick(name), task)
    kept = np.flatnonzero(np.arange(len(made.data.y)) % 5 != 0)
    weight = np.zeros(len(made.data.y))
    weight[kept] = 1
    one, other = fit(name, made.weighted(weight), task=task), fit(name, made.only(kept), task=task)
    assert np.array_equal(one.predict(made.x_test), other.predict(made.x_test))


@those("nan", takes_nan)
def test_unknown_features_are_accepted(name: str, problem) -> None:
    made = problem(families.get(name), quick(name), nan=True)
    values = fit(name, made.data).predict(made.x_test)
    assert np.isfinite(values).all()


@those_by_task("constant")
def test_a_target_that_does_not_vary_is_refused_by_all_alike(name: str, task: Task, problem) -> None:
    made = problem(families.get(name), quick(name), dates=200)
    with pytest.raises(FitError, match="start the first fold later"):
        fit(name, replace(made.data, y=np.zeros_like(made.data.y)), task=task)


@those("task", lambda family: not does_binary(family))
def test_a_task_it_does_not_do_is_refused(name: str, problem) -> None:
    made = problem(families.get(name), quick(name), "binary", dates=200)
    with pytest.raises(FitError, match="not binary; leave it out of the target"):
        fit(name, made.data, task="binary")


@those("seed")
def test_the_seed_matters(name: str, fitted, problem) -> None:
    made = problem(families.get(name), quick(name))
    other = fit(name, made.data, seed=43)
    assert not np.array_equal(other.predict(made.x_test), fitted(name).predict(made.x_test))


@those("stops")
def test_a_stop_is_heard_and_leaves_a_usable_model(name: str, problem) -> None:
    made = problem(families.get(name), quick(name))

    def steps(stop_from: float) -> tuple[int, Family]:
        asked, told = [0], []

        def should_stop() -> bool:
            asked[0] += 1
            return asked[0] >= stop_from

        model = fit(name, made.data, should_stop=should_stop, progress=told.append)
        assert told == sorted(told)
        assert all(0 < share <= 1 for share in told)
        return asked[0], model

    uninterrupted, _ = steps(np.inf)
    stopped, model = steps(3)
    assert stopped < uninterrupted / 2
    assert np.isfinite(model.predict(made.x_test)).all()


@those("resume")
def test_a_stopped_fit_goes_on_to_the_uninterrupted_result(name: str, fitted, problem, tmp_path: Path) -> None:
    made = problem(families.get(name), quick(name))

    def run(checkpoint: Path, stop_at: float) -> tuple[int, Family]:
        asked = [0]

        def should_stop() -> bool:
            asked[0] += 1
            return asked[0] == stop_at

        checkpoint.mkdir(exist_ok=True)
        model = fit(name, made.data, checkpoint=checkpoint, should_stop=should_stop)
        return asked[0], model

    whole, _ = run(tmp_path / "whole", np.inf)
    before, stopped = run(tmp_path / "stopped", whole // 3)
    assert not np.array_equal(stopped.predict(made.x_test), fitted(name).predict(made.x_test))
    assert no_pickle(tmp_path / "stopped") == []
    after, resumed = run(tmp_path / "stopped", np.inf)
    assert np.array_equal(resumed.predict(made.x_test), fitted(name).predict(made.x_test))
    assert before + after == whole, "it must go on where it stopped, not start afresh"


@those_by_task("save")
def test_a_saved_model_predicts_the_same_to_the_bit(name: str, task: Task, fitted, problem, tmp_path: Path) -> None:
    family = families.get(name)
    x = problem(family, quick(name), task).x_test
    model = fitted(name, task)
    model.save(tmp_path)
    loaded = family.load(tmp_path)
    assert loaded.params == model.params
    assert np.array_equal(loaded.predict(x), model.predict(x))
    assert no_pickle(tmp_path) == []


def no_pickle(folder: Path) -> list[str]:
    """The files, and members of archives, that are a pickle or of an unknown kind."""
    known = {".json", ".txt", ".ubj", ".skops", ".safetensors", ".keras"}
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = [str(path) for path in files if path.suffix not in known]
    for path in files:
        members = {path.name: path.read_bytes()}
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                members |= {f"{path.name}/{member}": archive.read(member) for member in archive.namelist()}
        found += [member for member, content in members.items() if is_pickle(content)]
    return sorted(found)


def is_pickle(content: bytes) -> bool:
    """A pickle of protocol 2 to 5, or an array file that holds one."""
    return (content[:1] == b"\x80" and content[1:2] in b"\x02\x03\x04\x05") or (
        content[:6] == b"\x93NUMPY" and b"'|O'" in content[:128]
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_would_be_seen(protocol: int, tmp_path: Path) -> None:
    import pickle  # noqa: TID251 - to be recognised

    (tmp_path / "a.json").write_bytes(pickle.dumps({"a": 1}, protocol=protocol))
    np.save(tmp_path / "b.npy", np.array([None]), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "c.skops", "w") as archive:
        archive.write(tmp_path / "b.npy", "d.npy")
    assert no_pickle(tmp_path) == sorted([str(tmp_path / "b.npy"), "a.json", "b.npy", "c.skops/d.npy"])


def start(folder: Path, name: str, made: Any, threads: int, **job: Any) -> subprocess.Popen[str]:
    """Fit in a new process of the family's engine."""
    folder.mkdir()
    np.savez(folder / "data.npz", **made.arrays())
    (folder / "job.json").write_text(json.dumps({"name": name, "params": CASES[name]["quick"], "context": {}} | job))
    env = os.environ | engine_env(families.get(name).engine, threads, "cpu")
    return subprocess.Popen([sys.executable, str(SCRIPT), str(folder)], env=env, text=True, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def processes(problem, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Two processes have fitted a family: a fresh one, and one after a large fit that was measured."""

    @cache
    def run(name: str) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp(name)
        made = problem(families.get(name), quick(name))
        measured = {"given": CASES[name]["measured"], "rows": 30_000, "features": 150}
        # The environment of the measured one allows two threads: the context's one must be obeyed by itself.
        started = start(folder / "a", name, made, 1), start(folder / "b", name, made, 2, measure=measured)
        for process in started:
            _, errors = process.communicate(timeout=200)
            assert process.returncode == 0, errors
        return folder / "a", folder / "b"

    return run


@those("reproducible")
def test_the_same_seed_predicts_the_same_in_another_process(name: str, processes) -> None:
    fresh, used = (np.load(folder / "predictions.npy") for folder in processes(name))
    assert np.array_equal(fresh, used)


@those("memory")
def test_the_memory_it_asks_for_is_what_it_takes(name: str, processes) -> None:
    measured = json.loads((processes(name)[1] / "measured.json").read_text())
    needs, peak = (max(measured[key], 50e6) for key in ("needs_bytes", "peak_bytes"))
    assert 0.5 < needs / peak < 2, f"asked for {needs / 1e6:.0f} MB, took {peak / 1e6:.0f} MB"


@those("threads")
def test_it_keeps_to_its_threads(name: str, processes) -> None:
    measured = json.loads((processes(name)[1] / "measured.json").read_text())
    assert measured["busy_threads"] <= 1


@those("needs", marked=False)
def test_it_asks_for_more_when_there_is_more_to_do(name: str) -> None:
    family, params = families.get(name), quick(name)
    small, large = (family.needs(params, Shape(rows=rows, features=50, quantiles=3)) for rows in (5_000, 50_000))
    assert 0 < small.memory_bytes < large.memory_bytes
    assert 0 < small.work < large.work
    assert 1 <= small.max_threads <= large.max_threads


@those("length", marked=False)
def test_it_asks_for_more_time_when_it_runs_longer(name: str) -> None:
    family, shape = families.get(name), Shape(rows=5_000, features=50, quantiles=3)
    length = CASES[name]["length"]
    short, long = (family.needs(families.make_params(name, {length: n}), shape) for n in (10, 1000))
    assert short.work < long.work


@those("params", marked=False)
def test_its_parameters_are_explained_and_bounded(name: str) -> None:
    family = families.get(name)
    lines = (Path(families.__file__).parent / f"{name}.py").read_text().splitlines()
    own = family.params_type.__annotations__
    for parameter in own:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"    {parameter}: "))
        assert lines[at + 1].strip().startswith('"""'), f"{name}.{parameter} needs its meaning and unit"
    for parameter in family.params_type.model_fields:
        with pytest.raises(ConfigError, match=parameter):
            families.make_params(name, {parameter: -1})
    assert set(family.space()) <= set(family.params_type.model_fields)


@those("packages", marked=False)
def test_its_packages_are_installed(name: str) -> None:
    for package in families.get(name).packages:
        try:
            version(package)
        except PackageNotFoundError:
            version(f"{package}-cpu")


def test_naming_families_loads_no_engine() -> None:
    """Everything that a plan asks of a family, in a process that must stay clean."""
    unwanted = set().union(*FOREIGN.values()) | {"ray", "mlflow", "sklearn", "skops", "scipy"}
    code = f"""
import sys
from raytrain import families
from raytrain.engines.base import Shape
for name in families.names():
    family = families.get(name)
    params = families.make_params(name, {{}})
    family.needs(params, Shape(rows=100, features=5)), family.space(), family.steps(params), family.packages
loaded = sorted({unwanted}.intersection(sys.modules))
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_family_has_a_case_and_every_case_a_family() -> None:
    assert set(CASES) == set(families.names())


@pytest.mark.parametrize("name", sorted(CASES))
def test_deviations_are_of_rules_that_exist_and_say_why(name: str) -> None:
    assert set(CASES[name]) <= {"quick", "measured", "length", "deviations"}
    assert set(deviations(name)) <= RULES
    assert all(len(why) > 10 for why in deviations(name).values())

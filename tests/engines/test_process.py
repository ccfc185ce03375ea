import sys
from types import ModuleType

import pytest

from raytrain.engines.process import BACKEND_VARIABLE, ENGINE_VARIABLE, FOREIGN, claim, engine_env, foreign_modules
from raytrain.errors import WrongEngine
from raytrain.machine.threads import thread_caps

ENGINES = tuple(FOREIGN)
# Made up per engine, so that the test is true whatever the test process has loaded.
OWN = {"native": "lightgbm", "torch": "torch", "keras": "tensorflow"}
EVERY = frozenset().union(*FOREIGN.values())


@pytest.mark.parametrize("engine", ENGINES)
def test_the_environment_names_the_engine_and_caps_every_library(engine) -> None:
    env = engine_env(engine, 3, "cpu")
    assert env[ENGINE_VARIABLE] == engine
    assert thread_caps(3).items() <= env.items()


def test_environments_differ_by_engine_and_threads() -> None:
    envs = [frozenset(engine_env(engine, threads, "cpu").items()) for engine in ENGINES for threads in (1, 2)]
    assert len(set(envs)) == len(envs)


def test_keras_runs_on_tensorflow_and_sees_a_gpu_only_when_it_has_one() -> None:
    on_cpu, on_cuda = engine_env("keras", 1, "cpu"), engine_env("keras", 1, "cuda")
    assert on_cpu[BACKEND_VARIABLE] == "tensorflow"
    assert on_cpu["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in on_cuda


@pytest.mark.parametrize("device", ["cpu", "mps", "cuda"])
def test_keras_runs_on_torch_when_asked_and_where_it_is_told(device) -> None:
    env = engine_env("keras", 1, device, keras_backend="torch")
    assert env[BACKEND_VARIABLE] == "torch"
    assert env["KERAS_TORCH_DEVICE"] == device
    assert ("PYTORCH_MPS_HIGH_WATERMARK_RATIO" in env) == (device == "mps")
    assert not any(name.startswith("TF_FORCE") for name in env)


def test_the_backend_is_of_no_concern_to_other_engines() -> None:
    for engine in ("native", "torch"):
        assert engine_env(engine, 1, "cpu", keras_backend="torch") == engine_env(engine, 1, "cpu")


def test_the_mps_watermarks_are_set_together_and_the_low_one_is_below() -> None:
    env = engine_env("torch", 1, "mps")
    low, high = (float(env[f"PYTORCH_MPS_{mark}_WATERMARK_RATIO"]) for mark in ("LOW", "HIGH"))
    assert 0 < low <= high
    assert not any(name.startswith("PYTORCH") for name in engine_env("torch", 1, "cpu"))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("other", ENGINES)
def test_engines_hold_no_library_of_another(engine, other) -> None:
    assert (foreign_modules(engine, [OWN[other]]) == []) == (engine == other)


@pytest.mark.parametrize(("backend", "other"), [("tensorflow", "torch"), ("torch", "tensorflow")])
def test_keras_holds_its_own_backend_only(monkeypatch: pytest.MonkeyPatch, backend: str, other: str) -> None:
    assert foreign_modules("keras", ["keras", backend, other, "xgboost"], backend) == sorted([other, "xgboost"])
    monkeypatch.setenv(ENGINE_VARIABLE, "keras")
    monkeypatch.setenv(BACKEND_VARIABLE, backend)
    for name in EVERY:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, backend, ModuleType(backend))
    claim("keras")
    monkeypatch.setitem(sys.modules, other, ModuleType(other))
    with pytest.raises(WrongEngine, match=f"must not hold {other}"):
        claim("keras")


def test_submodules_and_neighbours_are_not_mistaken_for_libraries() -> None:
    assert foreign_modules("native", ["torch", "torchvision", "lightgbm", "mytorch"]) == ["torch"]


def test_a_process_serves_the_engine_it_was_started_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENGINE_VARIABLE, "torch")
    with pytest.raises(WrongEngine, match="started for torch, not for keras"):
        claim("keras")


@pytest.mark.parametrize(("engine", "library"), [("native", "torch"), ("torch", "xgboost"), ("keras", "torch")])
def test_a_process_that_holds_a_foreign_library_is_refused(
    monkeypatch: pytest.MonkeyPatch, engine, library: str
) -> None:
    monkeypatch.setenv(ENGINE_VARIABLE, engine)
    monkeypatch.delenv(BACKEND_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, library, ModuleType(library))
    with pytest.raises(WrongEngine, match=library):
        claim(engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_clean_process_is_accepted(monkeypatch: pytest.MonkeyPatch, engine) -> None:
    for name in EVERY:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setenv(ENGINE_VARIABLE, engine)
    claim(engine)

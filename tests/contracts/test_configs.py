"""Every YAML file that is shipped loads, and what it names exists."""

from pathlib import Path

import pytest

from raytrain import families
from raytrain.config import load, read_yaml
from raytrain.machine.detect import resolve
from raytrain.run_config import RunConfig
from raytrain.work.training_plan import TrainingPlan

CONFIGS = Path(__file__).parents[2] / "configs"
RUNS = sorted(CONFIGS.glob("*.yaml"))
OVERLAYS = sorted((CONFIGS / "gates").glob("*.yaml"))
PRESETS = sorted((CONFIGS / "presets").glob("*.yaml"))
PLANS = sorted((CONFIGS / "plans").glob("*.yaml"))
MACHINES = sorted((CONFIGS / "machines").glob("*.yaml"))


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.fixture(autouse=True)
def no_settings_of_the_tester(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAYTRAIN_STORE", "RAYTRAIN_MACHINE", "RAYTRAIN_FAMILIES"):
        monkeypatch.delenv(name, raising=False)


def test_no_config_lies_where_nobody_looks() -> None:
    assert {"demo.yaml", "daily.yaml"} <= set(names(RUNS))
    assert OVERLAYS
    assert set(CONFIGS.rglob("*.yaml")) == {*RUNS, *OVERLAYS, *MACHINES, *PRESETS, *PLANS}


def test_all_yaml_names_all_families() -> None:
    assert set(load(RunConfig, [CONFIGS / "all.yaml"]).families) == set(families.names())


@pytest.mark.parametrize("path", PRESETS, ids=names(PRESETS))
def test_a_preset_differs_from_balanced_in_parameters_that_exist(path: Path) -> None:
    given = read_yaml(path)
    config = load(RunConfig, [], ["--preset", path.stem, "--presets", str(path.parent)])
    assert bool(given) is (path.stem != "balanced")
    for name, params in given.get("params", {}).items():
        usual = families.make_params(name, {}).model_dump(mode="json")
        assert families.make_params(name, config.params[name]).model_dump(mode="json") == usual | params
        assert {key: usual[key] for key in params} != params
        same = [key for key, value in params.items() if usual[key] == value]
        assert same in ([], ["learning_rate"]), f"{name}: {same} are balanced already"


def test_presets_are_those_that_users_know() -> None:
    """The sizes that are compared: see the table of presets in the README."""
    known = {
        "fast": (2e-3, 100, 64, 60, 10, (32,), "gru", (64, 32), (32,)),
        "balanced": (1e-3, 200, 48, 90, 15, (48, 96), "gru", (80, 40), (40,)),
        "quality": (5e-4, 300, 32, 120, 20, (64, 128, 256), "lstm", (120, 60), (80, 40)),
        "legacy": (1e-3, 300, 32, 120, 20, (64,), "lstm", (100, 50), ()),
    }
    assert set(known) == {path.stem for path in PRESETS}
    fields = "learning_rate num_epochs batch_size window patience channels cell recurrent dense".split()
    for name, values in known.items():
        config = load(RunConfig, [], ["--preset", name, "--presets", str(CONFIGS / "presets")])
        params = families.make_params("cnn_gru", config.params.get("cnn_gru", {}))
        assert tuple(getattr(params, field) for field in fields) == values


@pytest.mark.parametrize("path", PLANS, ids=names(PLANS))
def test_a_training_plan_loads_and_names_families_that_exist(path: Path) -> None:
    found = TrainingPlan.find(path.stem, path.parent)
    assert found is not None
    found[0].check(["return_1d"], path)


def test_the_plan_that_leaves_the_slot_alone_takes_every_family_of_the_cores() -> None:
    found = TrainingPlan.find("cpu_only", CONFIGS / "plans")
    assert found is not None
    for name in families.names():
        assert found[0].takes("return_1d", name) is (families.get(name).lane == "cores")


@pytest.mark.parametrize("path", RUNS, ids=names(RUNS))
def test_a_run_config_loads_with_families_and_parameters_that_exist(path: Path) -> None:
    config = load(RunConfig, [path])
    assert config.data.kind in read_yaml(path)["data"]["kind"]
    for name in config.families:
        families.get(name)
    for name, params in config.params.items():
        made = families.make_params(name, params).model_dump()
        assert {key: made[key] for key in params} == params


@pytest.mark.parametrize("path", MACHINES, ids=names(MACHINES))
def test_a_machine_profile_loads(path: Path) -> None:
    given = read_yaml(path)
    profile = resolve(path.stem, CONFIGS / "machines").model_dump()
    assert {key: profile[key] for key in given} == given


@pytest.mark.parametrize("path", OVERLAYS, ids=names(OVERLAYS))
def test_a_gates_file_lies_over_a_run_config(path: Path) -> None:
    alone, overlaid = load(RunConfig, [CONFIGS / "demo.yaml"]), load(RunConfig, [CONFIGS / "demo.yaml", path])
    gates, given = overlaid.gates.model_dump(), read_yaml(path)["gates"]
    assert overlaid.model_dump(exclude={"gates"}) == alone.model_dump(exclude={"gates"})
    assert given
    for key, value in given.items():
        assert gates[key] == (gates[key] | value if isinstance(value, dict) else value)


def test_the_demo_is_what_was_promised() -> None:
    config = load(RunConfig, [CONFIGS / "demo.yaml"])
    assert config.data.kind == "demo"
    assert [target.label for target in config.targets] == ["1d", "1w", "1m"]
    assert [target.horizon for target in config.targets] == [1, 5, 21]
    shown = {"naive", "har", "gjr", "lightgbm", "lightgbm_quantile", "xgboost", "ngboost", "lstm", "mlp", "ensemble"}
    assert set(config.families) == shown

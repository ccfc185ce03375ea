"""Every YAML file that is shipped loads, and what it names exists."""

from pathlib import Path

import pytest

from raytrain import families
from raytrain.config import load, read_yaml
from raytrain.machine.detect import resolve
from raytrain.pipeline import RunConfig

CONFIGS = Path(__file__).parents[2] / "configs"
RUNS = sorted(CONFIGS.glob("*.yaml"))
OVERLAYS = sorted((CONFIGS / "gates").glob("*.yaml"))
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
    assert set(CONFIGS.rglob("*.yaml")) == {*RUNS, *OVERLAYS, *MACHINES}


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
    assert set(config.families) == {"naive", "lightgbm", "lightgbm_quantile", "xgboost", "ngboost", "lstm", "mlp"}

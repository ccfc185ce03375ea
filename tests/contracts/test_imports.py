"""What may be loaded by what: naming a thing loads no engine, and a wrong import breaks the check of the layers."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINES = {"lightgbm", "xgboost", "ngboost", "sklearn", "torch", "tensorflow", "keras"}
HEAVY = ENGINES | {"ray", "mlflow", "matplotlib", "arch", "optuna"}
EVERY_FAMILY = "from raytrain import families; [families.get(name) for name in families.names()]"
LINT = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"]


def loaded_by(code: str) -> set[str]:
    """The top-level modules in a new process that ran `code`."""
    told = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{told}"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code", ["import raytrain", EVERY_FAMILY, "import raytrain.config, raytrain.data, raytrain.work.fit"]
)
def test_naming_things_loads_nothing_heavy(code: str) -> None:
    loaded = loaded_by(code)
    assert "raytrain" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("module", ["raytrain.pipeline", "raytrain.jobs.daily"])
def test_the_driver_loads_no_engine(module: str) -> None:
    loaded = loaded_by(f"import {module}\n{EVERY_FAMILY}")
    assert loaded & ENGINES == set()


def test_the_probe_sees_an_engine() -> None:
    assert "sklearn" in loaded_by("import sklearn")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its settings in a folder of their own."""
    shutil.copytree(ROOT / "raytrain", tmp_path / "raytrain", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        LINT, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False
    )


def test_the_layers_hold(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "planted", "said"),
    [
        ("metrics/__init__.py", "import raytrain.pipeline", "raytrain.metrics -> raytrain.pipeline"),
        ("schedule/policy.py", "import polars", "raytrain.schedule.policy -> polars"),
        ("work/fit.py", "import ray", "raytrain.work.fit -> ray"),
        ("report/page.py", "import mlflow", "raytrain.report.page -> mlflow"),
    ],
)
def test_a_planted_wrong_import_is_found(module: str, planted: str, said: str, copy: Path) -> None:
    path = copy / "raytrain" / module
    path.write_text(f"{path.read_text()}\n{planted}\n")
    done = lint(copy)
    assert done.returncode == 1
    assert said in done.stdout

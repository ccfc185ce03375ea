"""The notebooks run from top to bottom, from their own folder and from the root, and write nothing beside them."""

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "jobs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
RUN = textwrap.dedent(
    """
    import sys
    import nbformat
    from nbclient import NotebookClient

    source, target, where = sys.argv[1:]
    notebook = nbformat.read(source, as_version=4)
    NotebookClient(notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": where}}).execute()
    nbformat.write(notebook, target)
    """
)

Execute = Callable[[str, Path], nbformat.NotebookNode]
Daily = Callable[..., subprocess.CompletedProcess[str]]
Left = Callable[[], dict[int, str]]


@pytest.fixture
def execute(job_env: dict[str, str], tmp_path: Path) -> Execute:
    """Run a notebook in a kernel of its own and return what it has become."""
    homes = {name: str(tmp_path / "jupyter") for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    ours = {"RAYTRAIN_STORE": str(tmp_path / "store"), "RAYTRAIN_CLUSTER__DASHBOARD": "false"}
    env = job_env | homes | ours
    env.pop("MPLBACKEND", None)

    def run(name: str, where: Path) -> nbformat.NotebookNode:
        executed = tmp_path / f"{name}.ipynb"
        command = [sys.executable, "-c", RUN, str(FOLDER / f"{name}.ipynb"), str(executed), str(where)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=550, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return nbformat.read(executed, as_version=4)

    return run


def num_pictures(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def text_of(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs)


def content() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()}


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["look", "sweep"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_explains_itself(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)
    words = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    assert len(words) >= len(code) // 2
    assert not re.search(r"/(home|Users|root|work|tmp)/", path.read_text())


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_run_is_looked_at(daily: Daily, tiny: list[str], execute: Execute, tmp_path: Path) -> None:
    done = daily([*tiny, "--families", "naive,ridge,har"])
    assert done.returncode == 0, done.stderr
    before, run = content(), sorted((tmp_path / "store").rglob("*"))
    notebook = execute("look", FOLDER)
    assert num_pictures(notebook) == 3
    assert "har" in text_of(notebook)
    assert content() == before
    assert sorted((tmp_path / "store").rglob("*")) == run


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_without_a_run_it_says_what_to_do(execute: Execute) -> None:
    with pytest.raises(AssertionError, match="start one with `make daily`"):
        execute("look", ROOT)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_sweep_runs_from_top_to_bottom_and_leaves_nothing_behind(
    execute: Execute, tmp_path: Path, ray_left: Left
) -> None:
    before = content()
    notebook = execute("sweep", ROOT)
    assert num_pictures(notebook) == 3
    assert "trials saw every fold; the best has a skill of" in text_of(notebook)
    assert content() == before
    assert list((tmp_path / "store" / "sweeps").glob("*/study.journal"))
    assert ray_left() == {}

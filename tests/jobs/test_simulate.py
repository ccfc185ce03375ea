"""The job as a person runs it: what it prints, leaves behind and refuses."""

from pathlib import Path

import pytest

from raytrain.jobs import _command
from raytrain.jobs.simulate import SimulateConfig, simulate

ROOT = Path(__file__).parents[2]


@pytest.fixture
def options(tiny: list[str]) -> list[str]:
    """12 fits of naive and ridge."""
    return [*tiny, "--families", "naive,ridge", "--machines", str(ROOT / "configs" / "machines")]


def run(options: list[str]) -> int:
    return _command.run(SimulateConfig, simulate, "", [], options)


def test_an_answer_a_comparison_and_a_page(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*options, "--machine", "m4max-64gb", "--nodes", "8"]) == 0
    out = capsys.readouterr().out
    assert "12 fits on 8 x m4max-64gb: " in out and "held up by" in out
    assert "0 costs learned, 12 by prior" in out
    for name in ("longest first", "first come", "shortest first", "widest", "8 x m4-16gb", "m4max-64gb"):
        assert name in out
    page = tmp_path / "store" / "simulation" / "simulation.html"
    assert str(page) in out
    assert "12 fits on 8 x m4max-64gb" in page.read_text()
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["simulation"]


def test_this_machine_is_assumed_when_none_is_named(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(options) == 0
    out = capsys.readouterr().out
    assert "12 fits on " in out
    assert "m4pro-24gb" in out


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--machine", "m4max-64"], "did you mean `m4max-64gb`?"),
        (["--nodes", "0"], "nodes"),
        (["--nodez", "2"], "nodes"),
    ],
)
def test_bad_input_is_one_message_and_nothing_written(
    extra: list[str], said: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*options, *extra]) == 4
    err = capsys.readouterr().err
    assert err.startswith("error: ") and said in err
    assert not (tmp_path / "store").exists()


def test_a_fit_too_large_for_the_machine_is_refused_with_the_number(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small-machine.yaml"
    small.write_text("pcores: 2\nmemory_gb: 0.1\nslot: cpu\n")
    assert run([*options, "--machine", str(small)]) == 4
    assert "the machine gives 0.10 GiB" in capsys.readouterr().err

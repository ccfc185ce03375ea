from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

from raytrain.config import Section, Settings, load, merge, read_yaml
from raytrain.errors import ConfigError


class Target(Section):
    horizon: int = Field(1, ge=1)


class Data(Section):
    kind: str = "demo"
    rows: int = 3
    wide: bool = False


class Extra(Section):
    depth: int = 1


class Job(Settings):
    free_form: ClassVar[tuple[str, ...]] = ("params",)
    data: Data = Data()
    targets: list[Target] = [Target()]
    families: list[str] = ["naive"]
    params: dict[str, dict[str, Any]] = {}
    extra: Extra | None = None


def write(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(text)
    return path


def test_later_layers_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "data: {kind: csv, rows: 5, wide: true}\nparams: {a: {x: 1, y: 2}}")
    monkeypatch.setenv("RAYTRAIN_DATA__ROWS", "6")
    monkeypatch.setenv("RAYTRAIN_DATA__KIND", "parquet")
    job = load(Job, [path], ["--data.kind", "snapshot", "--params.a.x", "7", "--families", "naive,lstm"])
    assert job.data == Data(kind="snapshot", rows=6, wide=True)
    assert job.params == {"a": {"x": 7, "y": 2}}
    assert job.families == ["naive", "lstm"]


def test_a_section_that_may_be_absent_is_set_by_dots_too() -> None:
    assert load(Job).extra is None
    assert load(Job, [], ["--extra.depth", "3"]).extra == Extra(depth=3)


def test_a_list_on_the_command_line_is_json(tmp_path: Path) -> None:
    assert load(Job, [], ["--targets", '[{"horizon": 5}]']).targets == [Target(horizon=5)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dta: {}", "did you mean `data`?"),
        ("data: {knd: csv}", "did you mean `kind`?"),
        ("targets: [{horizn: 2}]", "did you mean `horizon`?"),
        ("targets: [{}, {horizon: 0}]", "targets[1].horizon`: should be greater than or equal to 1, got 0"),
        ("data: {rows: many}", "got 'many'"),
        ("data: {rows: 1}\ndata: {rows: 2}", "`data` twice"),
        ("data: {rows: 1, rows: 2}", "`rows` twice"),
        ("- 1", "`key: value` lines"),
        ("data: {", "not YAML"),
    ],
)
def test_a_bad_file_is_named_with_the_way_out(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load(Job, [path])
    assert said in str(error.value)
    assert path.name in str(error.value)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--data.knd", "csv"], "did you mean `data.kind`?"),
        (["--data.rows", "many"], "got 'many' in the command line"),
        (["--params.a.x"], "needs a value"),
        (["--data.rows"], "the command line"),
    ],
)
def test_a_bad_option_is_named_with_the_way_out(argv: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(Job, [], argv)
    assert said in str(error.value)


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTRAIN_DTA__KIND", "csv")
    with pytest.raises(ConfigError, match="did you mean `data`"):
        load(Job)


def test_all_problems_are_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(Job, [write(tmp_path, "data: {rows: many, knd: x}")])
    assert len(str(error.value).splitlines()) == 2


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="readable file"):
        read_yaml(tmp_path / "none.yaml")


def test_a_tag_that_would_run_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not YAML"):
        read_yaml(write(tmp_path, "data: !!python/object/apply:os.getcwd []"))


def test_merge_replaces_lists_and_merges_mappings() -> None:
    assert merge({"a": {"x": 1, "y": [1]}}, {"a": {"y": [2]}}) == {"a": {"x": 1, "y": [2]}}

"""What is kept of a check."""

import json
from pathlib import Path

import pytest

from raytrain.data.diagnostics import Diagnostics, Finding, RegimeReturns
from raytrain.data.diagnostics.store import last_schema, write_diagnostics
from raytrain.errors import DataError

FOUND = Diagnostics(
    source="bars",
    rows=10,
    series=1,
    findings=(Finding(check="leakage", level="error", message="a", column="x", value=0.99, threshold=0.9),),
    regimes=(RegimeReturns(column="r", regime="calm", rows=9, share=1.0, mean=0.1, deviation=0.0, sharpe=None),),
    schema={"close": "Float64"},
)


def test_findings_and_columns_come_back(tmp_path: Path) -> None:
    assert last_schema(tmp_path / "new") is None

    path = write_diagnostics(FOUND, tmp_path / "new")

    assert last_schema(tmp_path / "new") == {"close": "Float64"}
    written = json.loads(path.read_text())
    assert written["counts"] == {"error": 1, "warning": 0, "note": 0}
    assert written["findings"][0]["column"] == "x"
    assert written["regimes"][0]["sharpe"] is None
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 3}'])
def test_a_broken_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "diagnostics.json").write_text(text)

    with pytest.raises(DataError, match=r"diagnostics\.json must be what a check wrote"):
        last_schema(tmp_path)

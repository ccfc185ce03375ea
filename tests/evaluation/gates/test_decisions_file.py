import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytrain.evaluation.gates.config import GatesConfig
from raytrain.evaluation.gates.decisions_file import FILE, write_decisions
from raytrain.evaluation.gates.evidence import Evidence
from raytrain.evaluation.gates.verdict import decide


@pytest.fixture
def decided(good_row: Callable[..., dict[str, Any]], good_evidence: Callable[..., Evidence]) -> list[Any]:
    return [
        decide(good_row(family=family, sharpe=sharpe), good_evidence(), GatesConfig())
        for family, sharpe in (("tree", 2.0), ("net", float("nan")))
    ]


def test_every_rule_value_threshold_and_date_is_there(decided: list[Any], tmp_path: Path) -> None:
    written = json.loads(write_decisions(tmp_path / "runs" / "r1", decided).read_text())
    assert [one["verdict"] for one in written] == ["PROMOTE", "HOLD"]
    assert [one["explanation"] for one in written] == [one.explanation for one in decided]
    (sharpe,) = (rule for rule in written[1]["rules"] if rule["name"] == "sharpe")
    assert (sharpe["value"], sharpe["threshold"], sharpe["passed"]) == (None, 1.2, False)
    assert (sharpe["first_date"], sharpe["last_date"]) == ("2015-01-02", "2018-12-31")
    assert len(written[0]["rules"]) == len(decided[0].rules)


def test_a_writer_that_dies_leaves_the_former_file(
    decided: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_decisions(tmp_path, decided[:1])
    before = path.read_bytes()

    def die(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(OSError, match="no space left"):
        write_decisions(tmp_path, decided)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [FILE]

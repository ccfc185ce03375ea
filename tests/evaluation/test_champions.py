"""Who is in production, who takes over, and on what they are compared."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from raytrain.errors import StoreCorrupt
from raytrain.evaluation.champions import FILE, Champion, Champions, best_families
from raytrain.evaluation.decision import Decision, Verdict

PARAMS: dict[str, dict[str, Any]] = {"naive": {}, "tree": {"leaves": 5, "rates": [0.1]}, "net": {"width": 8}}


def decision(family: str, verdict: Verdict, target: str = "return_1w") -> Decision:
    return Decision(
        family=family,
        target=target,
        label="1w",
        horizon=5,
        verdict=verdict,
        rules=(),
        reason=f"{family} it is",
        first_date="2020-01-01",
        last_date="2020-12-31",
    )


def scores(*rows: tuple[str, float | None, float | None], target: str = "return_1w") -> pl.DataFrame:
    """(family, skill, mape) of one target."""
    schema = {"family": pl.String, "skill": pl.Float64, "mape": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(target=pl.lit(target))


def champion(family: str, **params: Any) -> Champion:
    return Champion(family=family, params=params, run_id="r0", reason="it was")


def test_a_store_begins_without_champions(tmp_path: Path) -> None:
    assert Champions.read(tmp_path).by_target == {}


def test_champions_survive_the_disk(tmp_path: Path) -> None:
    found = Champions({}).promote([decision("tree", "PROMOTE")], scores(("tree", 0.1, 0.02)), PARAMS, "r1")
    found.write(tmp_path)
    assert Champions.read(tmp_path) == found
    assert json.loads((tmp_path / FILE).read_text()) == {
        "return_1w": {"family": "tree", "params": PARAMS["tree"], "run_id": "r1", "reason": "tree it is"}
    }
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"return_1w": {"family": "tree"}}', '{"return_1w": 5}'])
def test_a_damaged_list_is_not_taken_for_none(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(StoreCorrupt, match=r"champions\.json must be the list of champions, got .*move it away"):
        Champions.read(tmp_path)


def test_only_promoted_recipes_take_over() -> None:
    old = Champions({"return_1w": champion("net", width=8)})
    decisions = [decision("tree", "HOLD"), decision("naive", "REJECT")]
    assert old.promote(decisions, scores(("tree", 0.5, 0.1), ("naive", 0.0, 0.1)), PARAMS, "r1") == old


def test_the_most_skilled_of_the_promoted_takes_over() -> None:
    decisions = [decision("net", "PROMOTE"), decision("tree", "PROMOTE"), decision("naive", "HOLD")]
    table = scores(("net", 0.03, 0.1), ("tree", 0.02, 0.1), ("naive", 0.9, 0.1))
    for order in (decisions, decisions[::-1]):
        assert Champions({}).promote(order, table, PARAMS, "r1").by_target["return_1w"].family == "net"


def test_other_targets_keep_their_champions() -> None:
    old = Champions({"return_1m": champion("net", width=8)})
    found = old.promote([decision("tree", "PROMOTE")], scores(("tree", 0.1, 0.1)), PARAMS, "r1")
    assert set(found.by_target) == {"return_1m", "return_1w"}
    assert found.by_target["return_1m"] == old.by_target["return_1m"]
    assert set(old.by_target) == {"return_1m"}, "the old list is as it was"


def test_a_champion_is_compared_on_the_cut_offs_of_this_run() -> None:
    champions = Champions({"return_1w": champion("tree", leaves=5, rates=[0.1])})
    table = scores(("naive", 0.0, 0.05), ("tree", 0.1, 0.04))
    assert champions.mape_on(table, PARAMS) == {"return_1w": 0.04}
    assert champions.mape_on(table.with_columns(target=pl.lit("return_1m")), PARAMS) == {}


@pytest.mark.parametrize(
    ("one", "table"),
    [
        (champion("tree", leaves=6, rates=[0.1]), scores(("tree", 0.1, 0.04))),
        (champion("net", width=8), scores(("tree", 0.1, 0.04))),
        (champion("tree", leaves=5, rates=[0.1]), scores(("tree", 0.1, None))),
    ],
    ids=["other parameters", "not in the run", "no figure"],
)
def test_a_champion_that_cannot_be_compared_has_no_figure(one: Champion, table: pl.DataFrame) -> None:
    assert Champions({"return_1w": one}).mape_on(table, PARAMS) == {}


def test_the_forecast_is_made_by_the_best_verdict_then_the_highest_skill() -> None:
    table = pl.concat(
        [
            scores(("naive", 0.0, 0.1), ("net", 0.5, 0.1), ("tree", 0.1, 0.1)),
            scores(("naive", 0.0, 0.1), ("net", -0.2, 0.1), ("tree", None, 0.1), target="return_1m"),
        ]
    )
    decisions = [
        decision("naive", "HOLD"),
        decision("net", "HOLD"),
        decision("tree", "PROMOTE"),
        decision("net", "REJECT", "return_1m"),
        decision("naive", "REJECT", "return_1m"),
        decision("tree", "REJECT", "return_1m"),
    ]
    assert best_families(decisions, table) == {"return_1w": "tree", "return_1m": "naive"}
    assert best_families([], table) == {}


def test_between_equals_the_first_stays() -> None:
    table = scores(("net", 0.1, 0.1), ("tree", 0.1, 0.1))
    assert best_families([decision("net", "HOLD"), decision("tree", "HOLD")], table) == {"return_1w": "net"}

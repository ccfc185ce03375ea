"""Who is in production, who takes over, and on what they are compared."""

from pathlib import Path
from typing import Any

import polars as pl

from raytrain.evaluation.champions.current import Champion, Champions, best_families
from raytrain.evaluation.champions.journal import Version, writing
from raytrain.evaluation.gates.decision import Decision, Verdict

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


def test_a_champion_is_what_the_journal_adds_up_to(tmp_path: Path) -> None:
    given = {"target": "return_1w", "family": "tree", "params": PARAMS["tree"], "run_id": "r1", "reason": "tree it is"}
    promoted = Version(**given, fit="k1", bundle="bundles/k1", decision={"verdict": "PROMOTE"})
    for action, version in (("promote", promoted), ("challenge", promoted.model_copy(update={"family": "net"}))):
        with writing(tmp_path, "a test") as journal:
            journal.append(action, version, "run r1")
    assert Champions.read(tmp_path).by_target == {
        "return_1w": Champion(
            family="tree",
            params=PARAMS["tree"],
            run_id="r1",
            reason="tree it is",
            key=promoted.key,
            version=1,
            fit="k1",
            bundle="bundles/k1",
        )
    }


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

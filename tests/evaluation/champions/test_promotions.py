"""What a run promotes, and what a person rolls back or names."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from raytrain.errors import StoreLocked
from raytrain.evaluation.champions.current import Champion, Champions
from raytrain.evaluation.champions.journal import FOLDER, Journal, writing
from raytrain.evaluation.champions.promotions import (
    Candidates,
    CannotPromote,
    Recorded,
    Refit,
    not_left,
    promote_to,
    record,
    rolling_back,
)
from raytrain.evaluation.gates.decision import Decision, Rule, Verdict

PARAMS: dict[str, dict[str, Any]] = {"naive": {}, "tree": {"leaves": 5, "rates": [0.1]}, "net": {"width": 8}, "gru": {}}
RULE = Rule(name="mape", passed=True, value=0.02, threshold=0.03, text="MAPE 2 %, at most 3 %")


def decision(family: str, verdict: Verdict, target: str = "return_1w") -> Decision:
    return Decision(
        family=family,
        target=target,
        label="1w",
        horizon=5,
        verdict=verdict,
        rules=(RULE,),
        reason=f"{family} it is",
        first_date="2020-01-01",
        last_date="2020-12-31",
    )


class Desk:
    """A store, and runs that are told to it."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.runs = 0

    def run(
        self,
        verdicts: Mapping[str, Verdict],
        *,
        best: str = "",
        target: str = "return_1w",
        refits: Mapping[str, Refit] | None = None,
    ) -> Recorded:
        """A run of these families, of which `best` has the highest skill."""
        self.runs += 1
        decisions = [decision(family, verdict, target) for family, verdict in verdicts.items()]
        skill = [0.9 if family == best else 0.1 for family in verdicts]
        scores = pl.DataFrame({"target": [target] * len(skill), "family": list(verdicts), "skill": skill})
        made = {(target, family): refit for family, refit in (refits or {}).items()}
        run_id = f"r{self.runs}"
        return record(
            self.store, Candidates(run_id=run_id, decisions=decisions, scores=scores, params=PARAMS, refits=made)
        )

    def roll_back(self, target: str = "") -> str:
        """The family that is back."""
        with rolling_back(self.store, target) as entry:
            return entry.version.family

    def champion(self, target: str = "return_1w") -> Champion:
        return Champions.read(self.store).by_target[target]

    def challenger(self, target: str = "return_1w") -> str | None:
        standing = Journal.read(self.store).standings()[target]
        return None if standing.challenger is None else standing.versions[standing.challenger].version.family

    def actions(self) -> list[str]:
        return [f"{entry.action} {entry.version.family}" for entry in Journal.read(self.store).entries]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_the_most_skilled_of_the_promoted_takes_over_and_the_next_challenges(desk: Desk) -> None:
    done = desk.run({"naive": "HOLD", "tree": "PROMOTE", "net": "PROMOTE", "gru": "HOLD"}, best="net")
    assert [f"{entry.action} {entry.version.family}" for entry in done.entries] == ["promote net", "challenge tree"]
    assert desk.champion().params == PARAMS["net"]
    assert (desk.champion().run_id, desk.champion().reason, desk.champion().version) == ("r1", "net it is", 1)
    assert done.entries[0].by == "run r1"
    assert done.entries[0].version.decision is not None
    assert done.entries[0].version.decision["rules"][0]["text"] == RULE.text


def test_nothing_that_is_held_or_rejected_takes_over(desk: Desk) -> None:
    desk.run({"naive": "HOLD", "tree": "HOLD", "net": "REJECT"}, best="net")
    assert Champions.read(desk.store).by_target == {}
    assert desk.challenger() == "tree"


def test_the_yardstick_challenges_nobody(desk: Desk) -> None:
    assert desk.run({"naive": "HOLD", "tree": "REJECT"}, best="naive").entries == ()


def test_the_same_recipe_and_fit_are_promoted_once(desk: Desk) -> None:
    verdicts: dict[str, Verdict] = {"tree": "PROMOTE", "net": "HOLD"}
    refits = {"tree": Refit(fit="k1", bundle="bundles/k1")}
    desk.run(verdicts, refits=refits)
    assert desk.run(verdicts, refits=refits).entries == ()
    assert desk.champion().run_id == "r1"
    [entry] = desk.run(verdicts, refits={"tree": Refit(fit="k2", bundle="bundles/k2")}).entries
    assert (entry.action, desk.champion().fit, desk.champion().version) == ("promote", "k2", 3)


def test_a_bundle_that_came_later_is_told(desk: Desk) -> None:
    desk.run({"tree": "PROMOTE"}, refits={"tree": Refit(fit="k1")})
    desk.run({"tree": "PROMOTE"}, refits={"tree": Refit(fit="k1", bundle="bundles/k1")})
    assert (desk.champion().version, desk.champion().bundle) == (1, "bundles/k1")
    assert desk.run({"tree": "PROMOTE"}, refits={"tree": Refit(fit="k1")}).entries == ()
    with pytest.raises(CannotPromote, match="got version 1 and none before it"):
        desk.roll_back()


def test_other_targets_keep_their_champions(desk: Desk) -> None:
    desk.run({"net": "PROMOTE"}, target="return_1m")
    desk.run({"tree": "PROMOTE"})
    assert (desk.champion("return_1m").family, desk.champion().family) == ("net", "tree")


def test_a_challenger_is_the_newest_runs(desk: Desk) -> None:
    desk.run({"tree": "PROMOTE", "net": "HOLD", "gru": "HOLD"}, best="net")
    assert desk.challenger() == "net"
    desk.run({"tree": "PROMOTE", "net": "HOLD", "gru": "HOLD"}, best="gru")
    assert desk.challenger() == "gru"
    desk.run({"tree": "PROMOTE", "net": "REJECT", "gru": "REJECT"})
    assert desk.challenger() is None
    assert desk.actions() == ["promote tree", "challenge net", "challenge gru", "withdraw gru"]


def test_the_champion_fitted_again_is_not_its_own_challenger(desk: Desk) -> None:
    desk.run({"tree": "PROMOTE"}, refits={"tree": Refit(fit="k1")})
    desk.run({"tree": "HOLD"}, refits={"tree": Refit(fit="k2")})
    assert desk.actions() == ["promote tree"]


def test_a_rollback_restores_the_former_champion_with_its_bundle_to_the_bit(desk: Desk) -> None:
    for key, family in (("k1", "tree"), ("k2", "net")):
        folder = desk.store / "bundles" / key
        folder.mkdir(parents=True)
        (folder / "model.txt").write_text(f"{family} {key}")
        desk.run({family: "PROMOTE"}, refits={family: Refit(fit=key, bundle=f"bundles/{key}")})
        if family == "tree":
            before, content = desk.champion(), (folder / "model.txt").read_bytes()
    assert desk.champion().family == "net"
    assert desk.roll_back() == "tree"
    assert desk.champion() == before
    assert before.bundle is not None
    assert (desk.store / before.bundle / "model.txt").read_bytes() == content
    last = Journal.read(desk.store).entries[-1]
    assert "@" in last.by
    assert last.previous == Journal.read(desk.store).entries[1].version.key


def test_rollbacks_go_back_one_by_one_and_a_change_by_name_can_be_rolled_back(desk: Desk) -> None:
    for family in ("tree", "net", "gru"):
        desk.run({family: "PROMOTE"})
    assert [desk.roll_back(), desk.roll_back()] == ["net", "tree"]
    with pytest.raises(CannotPromote, match="got version 1 and none before it for return_1w; --list"):
        desk.roll_back()
    assert promote_to(desk.store, "3") is not None
    assert desk.champion().family == "gru"
    assert desk.roll_back() == "tree"


def test_no_run_brings_back_what_a_person_has_left(desk: Desk) -> None:
    desk.run({"tree": "PROMOTE"}, refits={"tree": Refit(fit="k1")})
    desk.run({"tree": "HOLD", "net": "PROMOTE"}, best="net", refits={"net": Refit(fit="k2")})
    desk.roll_back()
    done = desk.run({"tree": "HOLD", "net": "PROMOTE"}, best="net", refits={"net": Refit(fit="k3")})
    assert desk.champion().family == "tree"
    [note] = done.notes
    assert note.startswith("net passes the gates for return_1w and is not promoted: a person has left that recipe")
    assert "--to 2 --target return_1w" in note
    assert promote_to(desk.store, "2", "return_1w") is not None
    assert desk.run({"net": "PROMOTE"}, refits={"net": Refit(fit="k4")}).notes == ()
    assert desk.champion().fit == "k4"


def test_another_recipe_may_take_over_where_one_was_left(desk: Desk) -> None:
    for family in ("tree", "net"):
        desk.run({family: "PROMOTE"})
    desk.roll_back()
    verdicts: dict[str, Verdict] = {"net": "PROMOTE", "gru": "PROMOTE"}
    decisions = [decision(family, verdict) for family, verdict in verdicts.items()]
    assert [one.family for one in not_left(desk.store, decisions, PARAMS)] == ["gru"]
    desk.run(verdicts, best="net")
    assert desk.champion().family == "gru"
    assert desk.challenger() == "net"


def test_a_rollback_leaves_the_recipe_and_not_only_its_newest_fit(desk: Desk) -> None:
    """Every run fits the champion anew, so that an older fit of the same recipe would forecast nothing."""
    desk.run({"net": "PROMOTE"}, refits={"net": Refit(fit="n1")})
    for key in ("k1", "k2"):
        desk.run({"tree": "PROMOTE"}, refits={"tree": Refit(fit=key)})
    desk.roll_back()
    assert (desk.champion().family, desk.champion().fit) == ("net", "n1")
    assert len(desk.run({"tree": "PROMOTE"}, refits={"tree": Refit(fit="k3")}).notes) == 1
    assert desk.champion().fit == "n1"
    assert promote_to(desk.store, "2") is not None
    desk.run({"tree": "PROMOTE"}, refits={"tree": Refit(fit="k3")})
    assert desk.champion().fit == "k3"


def test_a_recipe_that_comes_back_by_a_rollback_is_fitted_anew_again(desk: Desk) -> None:
    desk.run({"tree": "PROMOTE", "net": "HOLD"}, refits={"tree": Refit(fit="k1")})
    assert promote_to(desk.store, "2") is not None
    desk.roll_back()
    assert desk.run({"tree": "PROMOTE"}, refits={"tree": Refit(fit="k2")}).notes == ()
    assert desk.champion().fit == "k2"


def test_a_recipe_alone_has_nothing_to_be_rolled_back_to_however_often_it_was_fitted(desk: Desk) -> None:
    for key in ("k1", "k2"):
        desk.run({"tree": "PROMOTE"}, refits={"tree": Refit(fit=key)})
    with pytest.raises(CannotPromote, match="needs a champion before the present one"):
        desk.roll_back()


def test_naming_the_champion_changes_nothing(desk: Desk) -> None:
    desk.run({"tree": "PROMOTE"})
    assert promote_to(desk.store, "1") is None
    assert desk.actions() == ["promote tree"]


def test_a_challenger_can_be_put_into_production_by_name(desk: Desk) -> None:
    desk.run({"tree": "PROMOTE", "net": "HOLD"})
    key = Journal.read(desk.store).standings()["return_1w"].challenger
    assert key is not None
    assert promote_to(desk.store, key[:8]) is not None
    assert (desk.champion().family, desk.challenger()) == ("net", None)


@pytest.mark.parametrize(
    ("version", "target", "said"),
    [
        (
            "9",
            "",
            "must name a version by its number or at least 6 characters of its key, got `9`; there are:",
        ),
        ("", "", "got ``"),
        ("abc", "", "got `abc`"),
        ("ffffffff", "", "got `ffffffff`"),
        ("2", "return_1m", "got `2`; there are: return_1m 1 to 1"),
        ("1", "", "got `1`, which return_1m, return_1w have; add `--target`"),
        ("1", "return_1x", "`return_1x` has no versions in this store; did you mean `return_1"),
    ],
)
def test_a_version_that_is_not_one_is_refused(version: str, target: str, said: str, desk: Desk) -> None:
    desk.run({"net": "PROMOTE"}, target="return_1m")
    desk.run({"tree": "PROMOTE"})
    before = desk.actions()
    with pytest.raises(CannotPromote) as error:
        promote_to(desk.store, version, target)
    assert said in str(error.value)
    assert desk.actions() == before


def test_a_rollback_needs_one_target_and_something_to_go_back_to(desk: Desk) -> None:
    with pytest.raises(CannotPromote, match="got a store in which nothing was ever promoted"):
        desk.roll_back()
    desk.run({"net": "PROMOTE"}, target="return_1m")
    desk.run({"tree": "PROMOTE"})
    desk.run({"tree": "HOLD", "net": "PROMOTE"})
    with pytest.raises(CannotPromote, match="got 2 with a champion; add `--target` and one of: return_1m, return_1w"):
        desk.roll_back()
    with pytest.raises(CannotPromote, match="did you mean `return_1"):
        desk.roll_back("return_1y")
    desk.run({"gru": "HOLD"}, target="price_1m")
    with pytest.raises(CannotPromote, match="got no champion for price_1m"):
        desk.roll_back("price_1m")
    assert desk.roll_back("return_1w") == "tree"


class Killed(BaseException):
    """Stands for the end of a process in the middle of a command."""


def test_a_rollback_that_was_interrupted_is_finished_and_not_done_twice(desk: Desk) -> None:
    for family in ("tree", "net", "gru"):
        desk.run({family: "PROMOTE"})
    with pytest.raises(Killed), rolling_back(desk.store) as entry:
        raise Killed
    assert entry.version.family == desk.champion().family == "net"
    with rolling_back(desk.store) as again:
        assert again == entry
    assert desk.champion().family == "net"
    assert desk.roll_back() == "tree"


@pytest.mark.parametrize("target", ["return_1m", "return_1w"])
def test_an_interrupted_rollback_does_not_answer_for_another(target: str, desk: Desk) -> None:
    for name in ("return_1w", "return_1m"):
        for family in ("tree", "net"):
            desk.run({family: "PROMOTE"}, target=name)
    with pytest.raises(Killed), rolling_back(desk.store, "return_1w"):
        raise Killed
    promote_to(desk.store, "2", "return_1w")
    assert desk.roll_back(target) == "tree"
    assert desk.champion(target).family == "tree"
    assert desk.actions().count("rollback tree") == 2


def test_a_person_is_told_who_writes_at_the_same_moment(desk: Desk) -> None:
    desk.run({"tree": "PROMOTE"})
    with writing(desk.store, "run 7"), pytest.raises(StoreLocked, match="now it is run 7"):
        promote_to(desk.store, "1")


def test_a_store_that_was_moved_has_its_champions(desk: Desk, tmp_path: Path) -> None:
    desk.run({"tree": "PROMOTE"}, refits={"tree": Refit(fit="k1", bundle="bundles/k1")})
    moved = shutil.copytree(desk.store / FOLDER, tmp_path / "elsewhere" / FOLDER).parent
    assert Champions.read(moved) == Champions.read(desk.store)

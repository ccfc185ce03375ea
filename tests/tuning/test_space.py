"""Search spaces: what they refuse, and how their points become parameters and back."""

from typing import Any

import pytest

from raytrain import families
from raytrain.engines.base import Range
from raytrain.errors import ConfigError
from raytrain.tuning.space import SearchSpace

SEARCHED = [name for name in families.names() if families.get(name).space()]


def space(changes: dict[str, Any], family: str = "lightgbm_quantile") -> SearchSpace:
    params = families.make_params(family, {}).model_dump(mode="json")
    return SearchSpace.of(family, params, changes)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown parameter": ({"num_leafs": [4, 8]}, "did you mean `num_leaves`?"),
    "empty range": ({"num_leaves": {"low": 8, "high": 8}}, "the empty range 8 to 8"),
    "range upside down": ({"num_leaves": {"low": 9, "high": 8}}, "the empty range 9 to 8"),
    "no choice": ({"num_leaves": []}, "a list of choices that is not empty, got []"),
    "a word": ({"num_leaves": "many"}, "a list of choices that is not empty, got 'many'"),
    "no end": ({"num_leaves": {"low": 8}}, "needs numbers as `low` and `high`"),
    "true as a number": ({"num_leaves": {"low": True, "high": 8}}, "needs numbers as `low` and `high`"),
    "unknown key": ({"num_leaves": {"low": 4, "hi": 8}}, "did you mean `high`?"),
    "logarithm of zero": ({"bagging_freq": {"low": 0, "high": 8, "log": True}}, "low > 0 on a logarithmic scale"),
    "outside the family's bounds": ({"learning_rate": {"low": 0.1, "high": 2}}, "params.lightgbm_quantile"),
    "nothing left": (dict.fromkeys(families.get("lightgbm_quantile").space()), "needs parameters to vary, got none"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_searched_is_refused(name: str) -> None:
    changes, said = BAD[name]
    with pytest.raises(ConfigError) as refused:
        space(changes)
    assert said in str(refused.value)


def test_a_family_without_a_space_needs_one() -> None:
    with pytest.raises(ConfigError, match="needs parameters to vary, got none for naive"):
        space({}, "naive")
    assert space({"window": {"low": 10, "high": 90}}, "naive").dimensions == {"window": Range(10, 90, integer=True)}


@pytest.mark.parametrize("family", SEARCHED)
def test_a_familys_own_space_holds_what_the_family_takes(family: str) -> None:
    found = space({}, family)
    assert set(found.dimensions) == set(families.get(family).space())
    for point in found.edges():
        families.make_params(family, point)


def test_a_change_replaces_one_dimension_and_leaves_the_rest() -> None:
    found = space({"num_leaves": {"low": 4, "high": 8}, "bagging_fraction": None})
    assert found.dimensions["num_leaves"] == Range(4, 8, integer=True)
    assert "bagging_fraction" not in found.dimensions
    assert found.dimensions["learning_rate"] == families.get("lightgbm_quantile").space()["learning_rate"]


@pytest.mark.parametrize("family", SEARCHED)
def test_points_go_through_a_journal_and_come_back(family: str) -> None:
    found = space({}, family)
    for point in found.edges():
        encoded = found.encode(point)
        assert encoded.keys() == point.keys()
        assert all(isinstance(value, int | float | str) for value in encoded.values())
        assert found.decode(encoded) == point
        assert found.decode(point) == point, "a person's own search gives values as they are"


def test_what_lies_outside_is_no_point() -> None:
    found = space({"num_leaves": {"low": 4, "high": 8}})
    assert "num_leaves" not in found.encode({"num_leaves": 31, "learning_rate": 0.05})
    assert found.encode({"learning_rate": 0.05}) == {"learning_rate": 0.05}

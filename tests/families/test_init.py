import pytest

from raytrain import families
from raytrain.errors import ConfigError


def test_the_families_are_found_in_order() -> None:
    assert families.names() == tuple(sorted(families.names()))
    assert {"naive", "lightgbm", "lightgbm_quantile", "xgboost", "ngboost", "lstm", "mlp"} <= set(families.names())


def test_an_unknown_family_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="`lightgmb` is not a family; did you mean `lightgbm`"):
        families.get("lightgmb")


@pytest.mark.parametrize("name", families.names())
def test_a_family_is_named_like_its_file(name: str) -> None:
    assert families.get(name).name == name
    assert families.get(name).__module__ == f"raytrain.families.{name}"


def test_an_unknown_parameter_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="`num_leafs` is not a parameter of lightgbm; did you mean `num_leaves`"):
        families.make_params("lightgbm", {"num_leafs": 7})


def test_a_parameter_out_of_bounds_says_where_and_what() -> None:
    with pytest.raises(ConfigError, match=r"params\.lstm\.dropout: .*less than 1, got 1\.5"):
        families.make_params("lstm", {"dropout": 1.5})

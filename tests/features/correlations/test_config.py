import pytest
from pydantic import ValidationError

from raytrain.features.correlations.config import CorrelationsConfig


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "at least one block or key pair"),
        ({"blocks": {"a": ["x"]}}, "at least 2 columns to compare, `a` has 1"),
        ({"blocks": {"a": ["x", "y"], "b": ["y", "z"]}}, "in one block once, got y twice"),
        ({"key_pairs": [["x", "x"]]}, "got `x` with itself"),
        ({"key_pairs": [["x", "y"]], "windows": [180, 90]}, "must rise"),
        ({"key_pairs": [["x", "y"]], "windows": []}, "at least 1 item"),
    ],
)
def test_what_cannot_be_compared_is_refused(given, said):
    with pytest.raises(ValidationError, match=said):
        CorrelationsConfig.model_validate(given)


def test_columns_stand_in_the_order_of_the_config_once():
    config = CorrelationsConfig(blocks={"a": ("z", "y")}, key_pairs=(("y", "x"), ("w", "z")))
    assert config.columns == ("z", "y", "x", "w")

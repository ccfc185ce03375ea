import pytest
from pydantic import ValidationError

from raytrain.evaluation.config import EvaluationConfig


def test_the_strategy_is_free_and_takes_sides_unless_told_otherwise() -> None:
    config = EvaluationConfig()
    assert (config.strategy, config.cost_bp) == ("sign", 0.0)


@pytest.mark.parametrize(
    "given",
    [
        {"strategy": "kelly"},
        {"cost_bp": -1},
        {"full_size": 0},
        {"volatility_rows": 1},
        {"live_confidence": 1.0},
        {"min_live_dates": 0},
        {"min_live_dates": 20, "max_live_dates": 10},
        {"cost": 2},
    ],
)
def test_bad_values_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EvaluationConfig(**given)

from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.engines.training import teaching_rows

pytestmark = pytest.mark.native
SETTINGS = {"objective": "reg:squarederror", "max_depth": 1, "learning_rate": 0.5}


def squared(y: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return (y - predicted) ** 2


def fit(data: FitData, context: FitContext, num_rounds: int = 30):
    from raytrain.engines.xgboost_booster import boost

    parts = teaching_rows(data, context, frozenset({"regression"}), 0.2)
    return boost(data, parts, context, SETTINGS, squared, num_rounds=num_rounds, patience=10)


def test_one_split_by_categories_finds_what_no_threshold_can(coded) -> None:
    data = coded()
    as_numbers, as_codes = (
        np.mean((fit(data, FitContext(categorical=given), 1).inplace_predict(data.x) - data.y[:, 0]) ** 2)
        for given in ((), (0,))
    )
    assert as_codes < 0.5 * as_numbers


def test_rows_kept_aside_with_a_new_code_are_judged_as_they_will_be_predicted(coded) -> None:
    data = coded()
    head, tail = teaching_rows(data, FitContext(), frozenset({"regression"}), 0.2)
    x = data.x.copy()
    x[head, 0] = np.where(x[head, 0] == 12, 11, x[head, 0])
    assert (x[tail, 0] == 12).any()
    judged: list[np.ndarray] = []

    def remember(y: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        judged.append(predicted)
        return squared(y, predicted)

    from raytrain.engines.xgboost_booster import boost

    context = FitContext(categorical=(0,))
    data = replace(data, x=x)
    booster = boost(
        data,
        teaching_rows(data, context, frozenset({"regression"}), 0.2),
        context,
        SETTINGS,
        remember,
        num_rounds=5,
        patience=9,
    )
    np.testing.assert_allclose(judged[booster.num_boosted_rounds() - 1], booster.inplace_predict(x[tail]), rtol=1e-6)


@pytest.mark.parametrize("code", [0, 13, 500])
def test_a_code_that_training_has_not_seen_has_a_prediction(coded, code: int) -> None:
    data = coded()
    x = data.x[:3].copy()
    x[:, 0] = code
    assert np.isfinite(fit(data, FitContext(categorical=(0,))).inplace_predict(x)).all()

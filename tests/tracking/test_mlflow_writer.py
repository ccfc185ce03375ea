import math

import pytest

from raytrain.tracking.mlflow_writer import split_finite, valid_key


def test_only_finite_metrics_are_kept_and_the_others_are_named():
    finite, others = split_finite({"val_mape": 3.1, "sharpe": math.nan, "skill": -math.inf, "coverage": 0.0})
    assert finite == {"val_mape": 3.1, "coverage": 0.0}
    assert others == ["sharpe", "skill"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("lightgbm.num_leaves", "lightgbm.num_leaves"),
        ("mape_bull/2020", "mape_bull_2020"),
        ("m'; drop table runs;--", "m__ drop table runs_--"),
        ("täglich", "täglich"),
        ("x" * 300, "x" * 250),
    ],
)
def test_any_name_becomes_a_key_that_mlflow_takes(name, key):
    assert valid_key(name) == key

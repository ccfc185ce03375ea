import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext
from raytrain.families.naive import Naive, NaiveParams

X = np.zeros((4, 3), dtype=np.float32)


def test_the_median_is_no_change_and_the_rest_empirical(make_data) -> None:
    y = np.linspace(-0.02, 0.03, 101)
    model = Naive(NaiveParams()).fit(make_data(101, y), FitContext(quantiles=(0.1, 0.5, 0.9)))
    np.testing.assert_allclose(model.predict(X)[2, 0], [-0.015, 0, 0.025], atol=1e-8)


@pytest.mark.parametrize("sign", [-1, 1])
def test_quantiles_never_cross_the_median(make_data, sign: int) -> None:
    y = sign * np.linspace(0.01, 0.02, 50)
    values = Naive(NaiveParams()).fit(make_data(50, y), FitContext(quantiles=(0.2, 0.5, 0.8))).predict(X)
    assert values[0, 0, 1] == 0
    assert (np.diff(values, axis=-1) >= 0).all()


def test_only_the_newest_dates_count_in_every_series(make_data) -> None:
    old_and_new = np.r_[np.full(20, 9.0), np.linspace(-1, 1, 10)]
    model = Naive(NaiveParams(window=10)).fit(make_data(30, old_and_new), FitContext(quantiles=(0.05, 0.95)))
    np.testing.assert_allclose(model.predict(X)[0, 0], [-0.9, 0.9], atol=1e-6)


def test_a_label_gets_its_weighted_base_rate(make_data) -> None:
    data = make_data(4, np.array([1, 0, 0, 1]), weight=np.array([3, 1, 1, 1]))
    values = Naive(NaiveParams()).fit(data, FitContext(task="binary")).predict(X)
    assert values.shape == (4, 1, 1)
    assert values[0, 0, 0] == np.float32(4 / 6)


def test_it_costs_nothing_to_load(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
import numpy as np
from raytrain.engines.base import FitContext, FitData
from raytrain.families.naive import Naive, NaiveParams
day = np.arange(5)
x = np.zeros((5, 1), dtype=np.float32)
series = np.zeros(5, dtype=np.int32)
y = day[:, None].astype(np.float32)
data = FitData(x=x, y=y, weight=x[:, 0] + 1, date=day, label_date=day, series=series)
model = Naive(NaiveParams()).fit(data, FitContext())
model.save(Path({str(tmp_path)!r}))
Naive.load(Path({str(tmp_path)!r})).predict(x)
loaded = {{"lightgbm", "sklearn", "scipy", "pandas", "polars"}} & set(sys.modules)
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

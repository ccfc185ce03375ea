"""Imputing and scaling against plain numpy, and that nothing but training rows teaches."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from raytrain.features.preprocess import Preprocess


@pytest.fixture
def x() -> np.ndarray:
    """(200, 6): plain, with gaps, all unknown, constant, large constant with float noise, a flag."""
    rng = np.random.default_rng(0)
    x = rng.normal(3, 7, size=(200, 6)).astype(np.float32)
    x[rng.random(200) < 0.2, 1] = np.nan
    x[:, 2] = np.nan
    x[:, 3] = 42.5
    x[:, 4] = np.float32(1e7) + rng.integers(0, 2, 200).astype(np.float32)
    x[:, 5] = rng.random(200) < 0.1
    return x


def test_equals_plain_numpy(x: np.ndarray) -> None:
    found = Preprocess.fit(x).apply(x)
    for column in (0, 1, 5):
        values = x[:, column].astype(np.float64)
        filled = np.where(np.isnan(values), np.median(values[~np.isnan(values)]), values)
        expected = np.clip((filled - filled.mean()) / filled.std(), -10, 10)
        np.testing.assert_allclose(found[:, column], expected, atol=2e-6)


@pytest.mark.parametrize("column", [2, 3, 4])
def test_columns_that_say_nothing_become_zero(column: int, x: np.ndarray) -> None:
    preprocess = Preprocess.fit(x)
    later = np.full((3, 6), 1e9, dtype=np.float32)
    assert (preprocess.apply(x)[:, column] == 0).all()
    assert (preprocess.apply(later)[:, column] == 0).all()


def test_outliers_are_clipped(x: np.ndarray) -> None:
    far = np.array([[1e30, -1e30, 0, 0, 0, 0]], dtype=np.float32)
    assert Preprocess.fit(x).apply(far)[0, :2].tolist() == [10, -10]


def test_the_form_of_the_result(x: np.ndarray) -> None:
    before = x.copy()
    found = Preprocess.fit(x).apply(x)
    assert (found.dtype, found.flags.c_contiguous, found.shape) == (np.float32, True, x.shape)
    assert not np.isnan(found).any()
    np.testing.assert_array_equal(x, before)


@settings(max_examples=40, deadline=None)
@given(
    x=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8),
        elements=st.one_of(st.just(np.nan), st.floats(-1e6, 1e6, width=32)),
    )
)
def test_always_finite_and_the_same_after_json(x: np.ndarray) -> None:
    preprocess = Preprocess.fit(x)
    found = preprocess.apply(x)
    assert np.isfinite(found).all()
    again = Preprocess.from_json(json.loads(json.dumps(preprocess.to_json())))
    assert again.apply(x).tobytes() == found.tobytes()


def test_applying_learns_nothing_from_the_rows_it_transforms(x: np.ndarray) -> None:
    preprocess = Preprocess.fit(x[:100])
    together = preprocess.apply(x)
    row_by_row = np.concatenate([preprocess.apply(x[row : row + 1]) for row in range(len(x))])
    assert together.tobytes() == row_by_row.tobytes()

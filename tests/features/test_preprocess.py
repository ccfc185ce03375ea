"""Imputing and scaling against plain numpy, and that nothing but training rows teaches."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from raytrain.features import preprocess as module
from raytrain.features.preprocess import Preprocess, PreprocessConfig


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


CONFIGS = [
    PreprocessConfig(),
    PreprocessConfig(impute="zero", scale="minmax"),
    PreprocessConfig(scale="robust", clip=None),
    PreprocessConfig(scale="none"),
    PreprocessConfig(clip_share=0.05),
    PreprocessConfig(impute="zero", clip_share=0.2, scale="robust", clip=3.0),
]


@settings(max_examples=60, deadline=None)
@given(
    x=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8),
        elements=st.one_of(st.just(np.nan), st.floats(-1e6, 1e6, width=32)),
    ),
    config=st.sampled_from(CONFIGS),
)
def test_always_finite_and_the_same_after_json(x: np.ndarray, config: PreprocessConfig) -> None:
    preprocess = Preprocess.fit(x, config=config)
    found = preprocess.apply(x)
    assert np.isfinite(found).all()
    again = Preprocess.from_json(json.loads(json.dumps(preprocess.to_json(), allow_nan=False)))
    assert again.apply(x).tobytes() == found.tobytes()


def test_the_numbers_of_the_default_stay(x: np.ndarray) -> None:
    """Stored results depend on them to the bit: the whole transform in one go, as plain numpy."""
    known = ~np.isnan(x).all(axis=0)
    fill = np.zeros(x.shape[1])
    fill[known] = np.nanmedian(x[:, known], axis=0)
    filled = np.where(np.isnan(x), fill, x).astype(np.float64)
    mean, deviation = filled.mean(axis=0), filled.std(axis=0)
    informative = known & (deviation > 1e-6 * np.maximum(1e-6, np.abs(mean)))
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=informative)
    expected = np.where(np.isnan(x), fill.astype(np.float32), x)
    expected = (expected - mean.astype(np.float32)) * scale.astype(np.float32)
    expected = np.clip(expected, -10, 10)
    assert Preprocess.fit(x).apply(x).tobytes() == expected.tobytes()


@settings(max_examples=30, deadline=None)
@given(columns=st.integers(1, 9), values=st.sampled_from([1, 50, 1000]), config=st.sampled_from(CONFIGS))
def test_fitting_a_few_columns_at_a_time_changes_no_bit(columns: int, values: int, config: PreprocessConfig) -> None:
    rng = np.random.default_rng(columns)
    x = (rng.normal(3, 7, (333, columns)) ** 3).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    rows = np.flatnonzero(rng.random(333) < 0.7)
    whole = Preprocess.fit(x[rows], config=config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_VALUES", values)
        parts = Preprocess.fit(x, rows, config)
    assert json.dumps(parts.to_json()) == json.dumps(whole.to_json())


@pytest.fixture
def plain() -> np.ndarray:
    """(101, 2): 0 to 100 shuffled, and a flag that is 1 on five rows."""
    values = np.random.default_rng(1).permutation(101)
    return np.column_stack([values, values < 5]).astype(np.float32)


def test_minmax(plain: np.ndarray) -> None:
    found = Preprocess.fit(plain, config=PreprocessConfig(scale="minmax")).apply(plain)
    np.testing.assert_allclose(found[:, 0], plain[:, 0] / 100, rtol=1e-6)
    np.testing.assert_array_equal(found[:, 1], plain[:, 1])


def test_robust(plain: np.ndarray) -> None:
    """A quarter of 0..100 is 25, three quarters 75; the flag has no quartiles apart and falls back to its deviation."""
    found = Preprocess.fit(plain, config=PreprocessConfig(scale="robust")).apply(plain)
    np.testing.assert_allclose(found[:, 0], (plain[:, 0] - 50) / 50, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], plain[:, 1] / plain[:, 1].std(), rtol=1e-6)


def test_unscaled_values_keep_their_unit(plain: np.ndarray) -> None:
    gap = plain.copy()
    gap[3] = np.nan
    found = Preprocess.fit(gap, config=PreprocessConfig(scale="none")).apply(gap)
    np.testing.assert_array_equal(np.delete(found, 3, axis=0), np.delete(plain, 3, axis=0))
    np.testing.assert_array_equal(found[3], np.nanmedian(gap, axis=0))


def test_clipping_by_quantile(plain: np.ndarray) -> None:
    config = PreprocessConfig(scale="none", clip_share=0.1)
    found = Preprocess.fit(plain, config=config).apply(plain)
    np.testing.assert_array_equal(found[:, 0], np.clip(plain[:, 0], 10, 90))
    scaled = Preprocess.fit(plain, config=PreprocessConfig(clip_share=0.1)).apply(plain)
    inside = np.clip(plain[:, 0], 10, 90)
    np.testing.assert_allclose(scaled[:, 0], (inside - inside.mean()) / inside.std(), atol=1e-6)


def test_zero_stands_in_for_the_unknown() -> None:
    x = np.array([[4.0], [8.0], [np.nan]], dtype=np.float32)
    found = Preprocess.fit(x, config=PreprocessConfig(impute="zero", scale="none")).apply(x)
    assert found[:, 0].tolist() == [4, 8, 0]


def test_codes_that_were_not_trained_on_become_unseen() -> None:
    train = np.array([[1.5, 2], [2.5, 12], [np.nan, 0], [0.5, 2]], dtype=np.float32)
    later = np.array([[1.5, 12], [np.nan, 3], [1.5, 2], [1.5, 0]], dtype=np.float32)
    scaled = Preprocess.fit(train, categorical=[1])
    assert scaled.apply(later)[:, 1].tolist() == [12, 0, 2, 0]
    np.testing.assert_array_equal(scaled.apply(later)[:, 0], Preprocess.fit(train[:, :1]).apply(later[:, :1])[:, 0])
    codes = Preprocess.fit_codes(train, None, [1])
    np.testing.assert_array_equal(codes.apply(later), [[1.5, 12], [np.nan, 0], [1.5, 2], [1.5, 0]])
    for one in (scaled, codes):
        again = Preprocess.from_json(json.loads(json.dumps(one.to_json(), allow_nan=False)))
        assert again.apply(later).tobytes() == one.apply(later).tobytes()


def test_any_number_of_leading_axes(x: np.ndarray) -> None:
    preprocess = Preprocess.fit(x)
    windows = x.reshape(10, 20, 6)
    assert preprocess.apply(windows).tobytes() == preprocess.apply(x).tobytes()
    copy = windows.copy()
    assert preprocess.apply_in_place(copy) is copy
    assert copy.tobytes() == preprocess.apply(x).tobytes()


def test_applying_learns_nothing_from_the_rows_it_transforms(x: np.ndarray) -> None:
    preprocess = Preprocess.fit(x[:100])
    together = preprocess.apply(x)
    row_by_row = np.concatenate([preprocess.apply(x[row : row + 1]) for row in range(len(x))])
    assert together.tobytes() == row_by_row.tobytes()

import numpy as np
import pandas as pd
import pytest

from raytrain.features.correlations.sample import sample_correlations, sample_pairs, strongest


def test_equal_to_pandas_over_the_rows_where_both_are_known(gappy):
    values = gappy(5, 300) + 1e4
    found, counts = sample_correlations(values[:2], values[2:], 20)
    table = pd.DataFrame(values.T)
    np.testing.assert_allclose(found, table.corr().to_numpy()[:2, 2:], atol=1e-9)
    assert counts[0, 0] == np.isfinite(values[[0, 2]]).all(axis=0).sum()


def test_pairs_are_picked_out_of_the_table(gappy):
    values = gappy(4, 200)
    found, counts = sample_pairs(values, np.array([[3, 1], [0, 2]]), 20)
    whole, whole_counts = sample_correlations(values, values, 20)
    assert found == pytest.approx([whole[3, 1], whole[0, 2]])
    assert counts.tolist() == [whole_counts[3, 1], whole_counts[0, 2]]


def test_too_few_rows_or_no_movement_is_unknown():
    values = np.array([[1.0, 2.0, 4.0, np.nan], [0.1, 0.1, 0.1, 0.1], [5.0, 3.0, 4.0, 1.0]])
    found, _ = sample_correlations(values[:1], values[1:], 3)
    assert np.isnan(found[0, 0]) and np.isfinite(found[0, 1])
    assert np.isnan(sample_correlations(values[:1], values[1:], 4)[0]).all()


def test_the_strongest_come_first_and_unknown_ones_never():
    assert strongest(np.array([[0.1, -0.9], [np.nan, 0.5]]), 9) == [(0, 1), (1, 1), (0, 0)]
    assert strongest(np.array([[0.1, -0.9], [np.nan, 0.5]]), 1) == [(0, 1)]

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from raytrain.features.correlations.cache import CorrelationCache, Part
from raytrain.features.correlations.series import SeriesChanges

NOW = datetime.now(UTC)
WEEK = timedelta(days=7)


@pytest.fixture
def cache(tmp_path):
    return CorrelationCache(tmp_path / "cache", WEEK, NOW)


@pytest.fixture
def part(business_days, gappy):
    """Three columns of 300 rows."""
    table = SeriesChanges("A", ["x", "y", "z"], business_days(300), gappy(3, 300), pl.Series([None] * 300))
    return Part(table, np.array([[0, 1], [1, 2]]), (90, 180), 20)


def first_rows(part, num):
    return replace(part, table=part.table.rows(np.arange(300) < num))


def test_what_is_stored_is_not_computed_again(cache, part):
    first, second = cache.fill(part), cache.fill(part)
    assert (first.num_reused, second.num_reused) == (0, 300)
    np.testing.assert_array_equal(first.correlations, second.correlations)


def test_newer_rows_are_added_and_equal_to_all_rows_at_once(cache, part, tmp_path):
    cache.fill(first_rows(part, 290))
    grown = cache.fill(part)
    assert grown.num_reused == 290
    fresh = replace(cache, folder=tmp_path / "fresh").fill(part)
    np.testing.assert_array_equal(grown.correlations, fresh.correlations)
    assert len(list(cache.folder.iterdir())) == 1


def test_an_earlier_value_that_has_changed_computes_everything_anew(cache, part):
    cache.fill(first_rows(part, 290))
    part.table.values[1, 5] += 1e-12
    assert cache.fill(part).num_reused == 0


def test_another_question_is_another_file(cache, part):
    cache.fill(part)
    assert cache.fill(replace(part, days=(90, 200))).num_reused == 0
    assert cache.fill(replace(part, table=replace(part.table, series="B"))).num_reused == 0
    assert cache.fill(replace(part, pairs=part.pairs[::-1])).num_reused == 0
    assert cache.fill(part).num_reused == 300


def test_age_is_counted_from_the_last_time_everything_was_computed(cache, part):
    cache.fill(first_rows(part, 290))
    later = replace(cache, now=NOW + timedelta(days=4))
    assert later.fill(part).num_reused == 290
    assert replace(cache, now=NOW + timedelta(days=8)).fill(part).num_reused == 0


def test_fewer_rows_than_stored_are_computed(cache, part):
    cache.fill(part)
    shorter = cache.fill(first_rows(part, 200))
    assert shorter.num_reused == 0 and shorter.correlations.shape == (2, 2, 200)


def test_a_flipped_bit_is_never_read_as_a_correlation(cache, part):
    whole = cache.fill(part).correlations
    (path,) = cache.folder.iterdir()
    content = path.read_bytes()
    for position in [*range(0, 400, 7), len(content) // 2, *range(len(content) - 400, len(content), 7)]:
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        found = cache.fill(part)
        np.testing.assert_array_equal(found.correlations, whole)
        assert found.num_reused == 0


def test_a_torn_file_is_as_good_as_none(cache, part):
    cache.fill(part)
    (path,) = cache.folder.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert cache.fill(part).num_reused == 0
    assert cache.fill(part).num_reused == 300


def test_files_too_old_to_be_used_are_removed(cache, part):
    cache.fill(part)
    (cache.folder / ".x.stored.ab12.tmp").write_bytes(b"")
    replace(cache, now=NOW + timedelta(days=6)).drop_expired()
    assert len(list(cache.folder.iterdir())) == 2
    replace(cache, now=NOW + timedelta(days=9)).drop_expired()
    assert list(cache.folder.iterdir()) == []

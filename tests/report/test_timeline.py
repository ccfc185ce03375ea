import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.report import svg
from raytrain.report.timeline import MAX_BARS, family_colours, pack, timeline

SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9), st.sampled_from(["a", "b", "c"])), max_size=40)


def fits_of(spans):
    rows = [
        (f"{n}", "cores", worker, float(start), float(start + wall)) for n, (start, wall, worker) in enumerate(spans)
    ]
    kinds = {"key": pl.String, "lane": pl.String, "worker": pl.String, "start_s": pl.Float64, "end_s": pl.Float64}
    return pl.DataFrame(rows, schema=kinds, orient="row")


@given(SPANS)
def test_a_track_runs_one_fit_at_a_time_and_there_is_no_track_too_many(spans):
    placed = pack(fits_of(spans))
    for (_,), track in placed.group_by("track"):
        ordered = track.sort("start_s")
        assert (ordered["start_s"][1:] >= ordered["end_s"][:-1]).all()
    most = max((sum(s <= moment < s + wall for s, wall, _ in spans) for moment, _, _ in spans), default=0)
    assert placed["track"].n_unique() == most


def test_a_worker_keeps_its_track():
    placed = pack(fits_of([(0, 2, "a"), (0, 1, "b"), (3, 1, "b"), (4, 1, "a")])).sort("start_s", "worker")
    tracks = dict.fromkeys(placed["worker"])
    for worker in tracks:
        assert placed.filter(pl.col("worker") == worker)["track"].n_unique() == 1


def test_stored_fits_are_not_drawn(view):
    shown = timeline(view.fits, 26.2)
    assert shown is not None
    assert shown.plot.count("<title>") == view.fits["start_s"].count() == 40
    assert shown.any_failed
    assert "lstm return_3m 2018 s42: failed" in shown.plot and "var(--bad)" in shown.plot


def test_the_plot_starts_with_the_first_fit(view):
    later = view.fits.with_columns(pl.col("start_s", "end_s") + 600)
    early, late = timeline(view.fits, 26.2), timeline(later, 26.2)
    assert early is not None and late is not None
    assert late.first_s == pytest.approx(early.first_s + 600)
    assert late.span_s == pytest.approx(early.span_s)
    assert ">0 s<" in late.plot and ">25 s<" in late.plot


def test_nothing_is_drawn_when_every_fit_was_stored(view):
    stored = view.fits.with_columns(start_s=None, end_s=None)
    assert timeline(stored, None) is None
    assert timeline(pl.DataFrame(), None) is None


def test_a_big_run_draws_its_longest_fits(view):
    many = pl.concat([view.fits.with_columns(key=pl.lit(f"{n} ") + pl.col("key")) for n in range(50)])
    shown = timeline(many, None)
    assert shown is not None
    assert shown.num_left_out == 40 * 50 - MAX_BARS
    assert shown.plot.count("<title>") == MAX_BARS


def test_the_families_with_most_work_get_the_colours():
    num = svg.NUM_SERIES_COLOURS + 3
    fits = pl.DataFrame({"family": [f"f{n:02d}" for n in range(num)], "cpu_s": [float(n) for n in range(num)]})
    assert family_colours(fits) == {f"f{n:02d}": n - 3 for n in range(3, num)}

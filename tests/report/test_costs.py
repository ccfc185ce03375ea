import polars as pl
import pytest

from raytrain.report.costs import costs


def test_a_run_pays_only_for_what_it_ran(view):
    table = {row["family"]: row for row in costs(view.fits)}
    ran = view.fits.filter((pl.col("family") == "lightgbm") & pl.col("start_s").is_not_null())
    assert table["lightgbm"]["cpu_s"] == pytest.approx(ran["cpu_s"].sum())
    assert (table["lightgbm"]["fits"], table["lightgbm"]["ran"], table["lightgbm"]["cached"]) == (9, 4, 5)
    assert (table["lstm"]["ran"], table["lstm"]["failed"]) == (8, 1)
    assert sum(row["share"] for row in table.values()) == pytest.approx(1)


def test_the_dearest_family_comes_first(view):
    paid = [row["cpu_s"] for row in costs(view.fits)]
    assert paid == sorted(paid, reverse=True)


def test_without_any_run_there_is_no_share(view):
    stored = costs(view.fits.with_columns(start_s=None, end_s=None, status=pl.lit("cached")))
    assert {row["share"] for row in stored} == {None}
    assert costs(pl.DataFrame()) == []

import polars as pl

from raytrain.report.view import levels, targets


def test_levels_come_from_the_columns_in_rising_order():
    assert levels(pl.DataFrame(schema=["q0.95", "quality", "q0.05", "price_q0.5", "q0.5"])) == [0.05, 0.5, 0.95]


def test_targets_are_ordered_by_horizon_not_by_name():
    frame = pl.DataFrame({"target": ["b", "a", "b"], "label": ["1w", "3m", "1w"], "horizon": [5, 63, 5]})
    assert targets(frame) == [("b", "1w", 5), ("a", "3m", 63)]


def test_a_table_without_columns_has_no_target():
    assert targets(pl.DataFrame()) == []

"""Columns that came, went or changed."""

from raytrain.data.diagnostics.drift import type_drift

BEFORE = {"date": "Date", "close": "Float64", "volume": "Int64", "news": "Float64", "note": "String", "old": "Float64"}
NOW = {"date": "Date", "close": "String", "volume": "Float64", "news": "Float64", "note": "Float64", "new": "Float64"}


def test_the_same_columns_are_no_finding() -> None:
    assert not type_drift(BEFORE, BEFORE, set(BEFORE))


def test_what_models_see_may_not_go_nor_stop_being_numbers() -> None:
    found = {one.column: one for one in type_drift(BEFORE, NOW, {"close", "volume", "old"})}

    levels = {name: one.level for name, one in found.items()}
    assert levels == {"old": "error", "close": "error", "volume": "note", "note": "warning", "new": "note"}
    assert "Float64" in found["close"].message
    assert "String" in found["close"].message


def test_what_no_model_sees_is_a_warning_at_most() -> None:
    assert {one.level for one in type_drift(BEFORE, NOW, ())} == {"warning", "note"}

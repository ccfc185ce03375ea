"""Numbers written as text: converted when that is declared and there is one way to read them; masks are counted."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.data.numbers import as_floats, mask_infinite, numbers_of_text
from raytrain.data.policy import PolicyConfig
from raytrain.errors import DataError


def convert(*texts: str | None, required: bool = False, **policy: Any) -> tuple[list[float | None] | None, str]:
    given = PolicyConfig.model_validate({"text_numbers": "convert"} | policy)
    found, notes = numbers_of_text(pl.Series("x", texts, dtype=pl.String), given, "bars.csv", required=required)
    return None if found is None else found.to_list(), " ".join(notes)


def test_plain_numbers() -> None:
    found, note = convert("1", "-2.5", "+.5", "3.", "1e-3", " 7 ", None, "", "NA")
    assert found == [1.0, -2.5, 0.5, 3.0, 0.001, 7.0, None, None, None]
    assert note == "`x`: 6 texts became numbers"


def test_texts_that_are_none_are_masked_and_counted() -> None:
    found, note = convert("1.5", "2.5", "holiday", "closed", "3.5")
    assert found == [1.5, 2.5, None, None, 3.5]
    assert note == "`x`: 3 texts became numbers; 2 that are none, such as 'holiday', became unknown"


@pytest.mark.parametrize(
    ("decimal", "thousands", "text"),
    [
        (".", ",", "-1,234,567.5"),
        (",", ".", "-1.234.567,5"),
        (",", " ", "-1 234 567,5"),
        (",", " ", "-1\u00a0234\u202f567,5"),
        (".", "'", "-1'234'567.5"),
        (",", "", "-1234567,5"),
        (".", ",", "-1234567.5"),
    ],
)
def test_declared_notations(decimal: str, thousands: str, text: str) -> None:
    assert convert(text, decimal=decimal, thousands=thousands)[0] == [-1234567.5]


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("1,234.5", {}),
        ("1,5", {}),
        ("1,234", {}),
        ("1,23", {"thousands": ","}),
        ("1234,567", {"thousands": ","}),
        ("1.5", {"decimal": ",", "thousands": "."}),
        ("1.5", {"decimal": ","}),
        ("1'000", {"thousands": ","}),
    ],
)
def test_another_notation_than_the_declared_one_is_refused(text: str, policy: dict[str, str]) -> None:
    """A number must never become another number, nor be masked, because of how it is written."""
    with pytest.raises(DataError) as error:
        convert("1", text, **policy)
    assert f"got {text!r} (1 such rows) in bars.csv; set data.policy.decimal and" in str(error.value)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1e12, 1e12).map(lambda x: round(x, 3)), min_size=1), st.sampled_from([",.", ".,", " ,", "' "])
)
def test_what_is_written_is_read_back(values: list[float], marks: str) -> None:
    thousands, decimal = (marks[0], marks[1]) if marks[1] != " " else ("'", ".")
    swap = str.maketrans({",": thousands, ".": decimal})
    texts = [f"{value:,.3f}".translate(swap) for value in values]
    assert convert(*texts, thousands=thousands, decimal=decimal)[0] == [float(f"{value:.3f}") for value in values]


@pytest.mark.parametrize("texts", [("calm", "storm"), ("calm", "1"), (None, "", "NA"), ("2020-01-01", "2020-01-02")])
def test_words_stay_text(texts: tuple[str | None, ...]) -> None:
    words = (*texts, "calm") if "1" in texts else texts
    assert convert(*words) == (None, "")
    assert convert(*words, text_numbers="refuse") == (None, "")


def test_codes_stay_text_until_conversion_is_asked_for() -> None:
    assert convert("202003", "202005", text_numbers="refuse") == (None, "")
    assert convert("202003", "202005")[0] == [202003.0, 202005.0]


def test_a_number_column_with_words_in_it_is_refused_by_default() -> None:
    with pytest.raises(DataError) as error:
        convert("1.5", "n.a.", "2.5", text_numbers="refuse")
    assert str(error.value) == (
        "the column `x` must hold numbers, got String such as 'n.a.' (2 of 3 look like numbers) in bars.csv; say "
        "data.policy.text_numbers convert, or name the column in data.exclude"
    )


@pytest.mark.parametrize("text_numbers", ["refuse", "convert"])
@pytest.mark.parametrize("texts", [("dear", "cheap"), (None, "NA")])
def test_a_price_must_hold_numbers(texts: tuple[str | None, ...], text_numbers: str) -> None:
    with pytest.raises(DataError, match=r"the column `x` must hold numbers, got String .*; name another column"):
        convert(*texts, required=True, text_numbers=text_numbers)


def test_floats_have_one_nan() -> None:
    odd = np.array([1.0, np.nan, 2.0])
    odd.view(np.uint64)[1] |= 1
    for values in (odd, [1.0, None, 2.0], np.array([1.0, np.nan, 2.0])):
        found = as_floats(pl.Series("x", values)).to_numpy()
        assert found.view(np.uint64).tolist() == np.array([1.0, math.nan, 2.0]).view(np.uint64).tolist()
    assert as_floats(pl.Series("x", [True, None])).fill_nan(-1.0).to_list() == [1.0, -1.0]


def test_infinity() -> None:
    column = pl.Series("x", [1.0, math.inf, math.nan, -math.inf])
    kept, note = mask_infinite(column, PolicyConfig())
    assert kept.to_list()[1::2] == [math.inf, -math.inf]
    assert note == ("`x`: 2 infinite values are kept; no feature can be made of them",)
    masked, note = mask_infinite(column, PolicyConfig(infinite="mask"))
    assert masked.is_nan().to_list() == [False, True, True, True]
    assert note == ("`x`: 2 infinite values became unknown",)
    assert mask_infinite(pl.Series("x", [1.0, math.nan]), PolicyConfig(infinite="mask"))[1] == ()

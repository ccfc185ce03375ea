import math
from datetime import date, datetime

import pytest

from raytrain.report import words
from raytrain.report.words import DASH, MINUS, THIN


@pytest.mark.parametrize("words_for", [words.percent, words.signed_percent, words.decimal, words.significant])
@pytest.mark.parametrize("unknown", [None, math.nan, math.inf, -math.inf])
def test_an_unknown_number_is_a_dash(words_for, unknown):
    assert words_for(unknown) == DASH


@pytest.mark.parametrize("words_for", [words.price, words.count, words.seconds, words.memory, words.day, words.moment])
def test_none_is_a_dash(words_for):
    assert words_for(None) == DASH


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (words.percent(0.0213), f"2.1{THIN}%"),
        (words.signed_percent(0.0213), f"+2.1{THIN}%"),
        (words.signed_percent(-0.0213, 2), f"{MINUS}2.13{THIN}%"),
        (words.signed_percent(-0.00004), f"0.0{THIN}%"),
        (words.signed_percent(0.0), f"0.0{THIN}%"),
        (words.decimal(-0.404), f"{MINUS}0.40"),
        (words.significant(0.00123456), "0.00123"),
        (words.price(12_345.6), "12,346"),
        (words.price(2_500.4), "2,500.40"),
        (words.price(1.23456), "1.2346"),
        (words.price(-37.63), f"{MINUS}37.63"),
        (words.count(16_000), "16,000"),
        (words.day("2018-12-31 00:00:00"), "2018-12-31"),
        (words.day("2018-12-31T00:00:00"), "2018-12-31"),
        (words.series(["WTI"]), "1 series: WTI"),
        (words.series(list("abcde")), "5 series"),
        (words.seconds(0.0027), f"3{THIN}ms"),
        (words.seconds(0.311), f"0.31{THIN}s"),
        (words.seconds(93.2), f"1{THIN}min 33{THIN}s"),
        (words.seconds(7290), f"2{THIN}h 01{THIN}min"),
        (words.memory(612_000_000), f"612{THIN}MB"),
        (words.memory(1_540_000_000), f"1.5{THIN}GB"),
        (words.memory("killed at 3 GB"), "killed at 3 GB"),
        (words.memory(""), DASH),
        (words.day(date(2018, 12, 31)), "2018-12-31"),
        (words.day(datetime(2018, 12, 31)), "2018-12-31"),
        (words.day(datetime(2018, 12, 31, 7)), "2018-12-31 07:00"),
        (words.day("2018-12-31"), "2018-12-31"),
        (words.moment("2018-12-31T18:05:09+00:00"), "2018-12-31 18:05 UTC"),
        (words.moment("2018-12-31T18:05:09"), "2018-12-31 18:05"),
        (words.plural(1, "fit"), "1 fit"),
        (words.plural(0, "fit"), "0 fits"),
    ],
)
def test_numbers_read_as_a_person_writes_them(text, expected):
    assert text == expected

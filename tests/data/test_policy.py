"""Policies are checked before any row is read, and the CSV reader guesses nothing that they decide."""

import io
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from raytrain.data import DataConfig, Frame
from raytrain.data.frame import make_frame
from raytrain.data.policy import PolicyConfig
from raytrain.errors import DataError


def of_csv(text: str, **policy: Any) -> Frame:
    config = DataConfig.model_validate({"policy": policy})
    return make_frame(pl.read_csv(io.BytesIO(text.encode()), **config.policy.csv_options()), config, "bars.csv", "bars")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"timezone": "America/New_Yrok"}, "must be a time zone such as America/New_York; did you mean"),
        ({"timezone": "EST5EDT4"}, "must be a time zone"),
        ({"timezone": "localtime"}, "must be a time zone"),
        ({"decimal": ",", "thousands": ","}, "decimal and thousands must differ, got `,` for both"),
        ({"thousands": "_"}, "thousands"),
        ({"separator": ""}, "separator"),
        ({"infinit": "mask"}, "infinit"),
    ],
)
def test_wrong_policies_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        PolicyConfig.model_validate(fields)
    assert said in str(error.value)


def test_thousands_in_a_csv() -> None:
    text = 'date,close,volume\n2020-01-02,"1,234.5","12,000"\n2020-01-03,950.25,800\n'
    with pytest.raises(DataError, match=r"the column `close` must hold numbers, got String such as '1,234\.5'"):
        of_csv(text)
    with pytest.raises(DataError, match=r"got '1,234\.5' \(1 such rows\).* set data\.policy\.decimal"):
        of_csv(text, text_numbers="convert")
    found = of_csv(text, text_numbers="convert", thousands=",").table
    assert (found["close"].to_list(), found["volume"].to_list()) == ([1234.5, 950.25], [12000.0, 800.0])


def test_a_decimal_comma_in_a_csv() -> None:
    """Also where the reader would see a plain fraction: 1.234 is a thousand and more in this notation."""
    text = "\ufeffDatum;Käse;close\n31.01.2020;1.234;1,5\n01.02.2020;2.345;1,25\n"
    config = {"separator": ";", "decimal": ",", "thousands": ".", "text_numbers": "convert"}
    found = of_csv(text.replace("Datum", "date"), **config).table
    assert found["Käse"].to_list() == [1234.0, 2345.0]
    assert found["close"].to_list() == [1.5, 1.25]
    assert [str(day) for day in found["date"].dt.date()] == ["2020-01-31", "2020-02-01"]


def test_unknown_values_in_a_csv() -> None:
    text = "series_id,date,close,volume,regime\nA,2020-01-02,1.5,NA,calm\nA,2020-01-03,1.6,12,NA\n"
    found = of_csv(text)
    assert found.table["volume"].fill_nan(-1.0).to_list() == [-1.0, 12.0]
    assert found.table["regime"].to_list() == ["calm", None]
    with pytest.raises(DataError, match="every row must have a series_id, got 2 without"):
        of_csv(text.replace("A,2020", "NA,2020"))
    assert of_csv(text.replace("A,2020", "NA,2020"), unknown=("n.a.",), text_numbers="convert").series == ["NA"]


def test_a_csv_reader_guesses_no_dates() -> None:
    with pytest.raises(DataError, match="must tell the day from the month"):
        of_csv("date,close\n01/02/2020,1.5\n02/02/2020,1.5\n")


def test_a_name_twice_in_a_csv() -> None:
    with pytest.raises(DataError, match=r"got `close` twice in bars\.csv"):
        of_csv("date,close,close\n2020-01-02,1.5,1.6\n")

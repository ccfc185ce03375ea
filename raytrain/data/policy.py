"""What is done about values that a table should not have: each case is declared, and what was done is counted."""

from typing import Any, Literal, Self
from zoneinfo import available_timezones

from pydantic import Field, field_validator, model_validator

from raytrain.config import Section
from raytrain.errors import did_you_mean


class PolicyConfig(Section):
    """Refuse, mask with a count, or convert. Masked values become unknown (NaN)."""

    text_numbers: Literal["refuse", "convert"] = "refuse"
    """A text column that mostly holds numbers: `convert` makes it one of numbers, and masks texts that are none.
    Columns of codes (digits only) and of words stay text either way."""
    decimal: Literal[".", ","] = "."
    """What stands before the fraction of a number that is written as text."""
    thousands: Literal["", ",", ".", " ", "'"] = ""
    """What stands between groups of three digits in such a number; nothing when empty."""
    unknown: tuple[str, ...] = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None", "-", ".")
    """Texts that mean an unknown value, in every column of a CSV file and in columns of numbers elsewhere."""
    separator: str = Field(",", min_length=1, max_length=1)
    """What stands between the columns of a CSV file."""
    infinite: Literal["refuse", "mask"] = "refuse"
    """Infinity: in a price it is refused at once, in another column when a feature is made of it; or masked."""
    missing_price: Literal["refuse", "drop"] = "refuse"
    """A row whose price is unknown: `drop` leaves it out, and its neighbours become neighbours."""
    duplicates: Literal["refuse", "merge_exact"] = "refuse"
    """Rows of one series and date that are equal in every column: `merge_exact` keeps one. Rows that differ are
    always refused."""
    timezone: str = "UTC"
    """Times that carry a zone become wall-clock times of this one, such as America/New_York. Times without a zone are
    taken as they are; so are the days of a column that is midnight UTC on every row."""
    date_order: Literal["refuse", "day_first", "month_first"] = "refuse"
    """How 01/02/2020 is read when no row of the table tells the day from the month."""

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        # Those two are what this machine says, not what a place says.
        if name not in (zones := available_timezones() - {"localtime", "Factory"}):
            nearest = did_you_mean(name, zones).partition("Known:")[0]
            raise ValueError(f"must be a time zone such as America/New_York; {nearest}".rstrip("; "))
        return name

    @model_validator(mode="after")
    def _marks_differ(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands must differ, got `{self.decimal}` for both")
        return self

    @property
    def own_notation(self) -> bool:
        """Whether numbers are written otherwise than a CSV reader would guess."""
        return self.decimal != "." or self.thousands != ""

    def csv_options(self) -> dict[str, Any]:
        """How `polars.read_csv` must read, so that nothing is guessed that this policy decides.

        Dates stay text (the reader would take 01/02/2020 for the first of February without a word), and in a notation
        of its own so does every number (it would take 1.234 for a fraction).
        """
        return {
            "separator": self.separator,
            "null_values": list(self.unknown),
            "try_parse_dates": False,
            "infer_schema": not self.own_notation,
            "infer_schema_length": None,
            "glob": False,
        }

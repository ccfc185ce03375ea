"""What a person says about correlations."""

import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from raytrain.config import Section

Change = Literal["auto", "log", "difference", "none"]
Columns = tuple[str, ...]


class CorrelationsConfig(Section):
    """Which columns are compared, and over which windows."""

    blocks: dict[str, Columns] = {}
    """Name -> columns that belong together. Inside a block every pair is compared."""
    key_pairs: tuple[tuple[str, str], ...] = ()
    """Pairs that are always compared and drawn, in a block or not."""
    top_k: int = Field(5, ge=0)
    """Pairs compared between two blocks: those with the largest absolute correlation over all rows up to
    `select_until`."""
    select_until: datetime.date | None = None
    """Rows after this date do not choose pairs between blocks; all rows do when not given. The choice is for a reader:
    it has seen the later rows, so features name their pairs instead (step `correlation`)."""
    changes: dict[str, Change] = {}
    """Column -> what is compared from row to row: `log` return, `difference`, `none` (the column holds changes
    already), `auto`."""
    default_change: Change = "auto"
    """Of columns not in `changes`; `auto` is the log return of a column that is above 0 on every row, else the
    difference."""
    windows: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (90, 180, 365)
    """Lengths of the rolling windows in calendar days."""
    min_rows: int = Field(20, ge=3)
    """Fewer rows than this, with both columns known, make no correlation."""
    regime: str | None = None
    """Column that names each row's regime: of text, or of a few numbers. Each gets its own correlations."""
    max_age_days: float = Field(7.0, ge=0)
    """What is stored for longer is computed anew from the first row, even when no earlier value has changed."""

    @field_validator("blocks")
    @classmethod
    def _blocks_of_several(cls, blocks: dict[str, Columns]) -> dict[str, Columns]:
        for name, columns in blocks.items():
            if len(columns) < 2:
                raise ValueError(f"a block must have at least 2 columns to compare, `{name}` has {len(columns)}")
        listed = [column for columns in blocks.values() for column in columns]
        if twice := sorted({column for column in listed if listed.count(column) > 1}):
            raise ValueError(f"a column may stand in one block once, got {', '.join(twice)} twice")
        return blocks

    @field_validator("windows")
    @classmethod
    def _windows_rise(cls, windows: tuple[int, ...]) -> tuple[int, ...]:
        if list(windows) != sorted(set(windows)):
            raise ValueError("must rise, each length once")
        return windows

    @model_validator(mode="after")
    def _something_to_compare(self) -> Self:
        if not self.blocks and not self.key_pairs:
            raise ValueError("needs at least one block or key pair, as in `blocks: {grains: [corn, wheat]}`")
        if same := [left for left, right in self.key_pairs if left == right]:
            raise ValueError(f"a key pair must be of two columns, got `{same[0]}` with itself")
        return self

    @property
    def columns(self) -> Columns:
        """Every column that is compared, in the order of the config."""
        listed = [*(name for columns in self.blocks.values() for name in columns)]
        return tuple(dict.fromkeys([*listed, *(name for pair in self.key_pairs for name in pair)]))

"""What a later export changes in the rows of an earlier one."""

from dataclasses import dataclass, field
from datetime import date

import polars as pl

from raytrain.data.year_parts import EXPORTED_AT

RESTATEMENTS = pl.Schema(
    {
        "series": pl.String(),
        "date": pl.Datetime("us"),
        "column": pl.String(),
        "old": pl.String(),
        "new": pl.String(),
        "exported_at": pl.String(),
    }
)
"""Values as text, because columns differ in type; an unknown value is null."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What fetched rows change in stored ones."""

    added: int = 0
    """Keys that were not stored."""
    gone: int = 0
    """Stored keys that were asked for and not fetched."""
    restated: pl.DataFrame = field(default_factory=RESTATEMENTS.to_frame)
    """One row per changed value, as in `RESTATEMENTS`."""


@dataclass(frozen=True, kw_only=True)
class Increment:
    """Rows that one export fetched."""

    keys: list[str]
    """The date column, and the series column if there is one."""
    series: str
    """What the rows are called when they have no series column."""
    since: date | None
    """The first day that was asked for; None for everything."""
    exported_at: str

    def newer(self, fetched: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
        """The fetched rows, less those whose own `exported_at` is older than that of the stored row."""
        if EXPORTED_AT not in fetched.columns or EXPORTED_AT not in stored.columns:
            return fetched
        known = stored.select(*self.keys, pl.col(EXPORTED_AT).alias("\0known"))
        newer = (pl.col(EXPORTED_AT) >= pl.col("\0known")).fill_null(True)
        return fetched.join(known, on=self.keys, how="left", maintain_order="left").filter(newer).drop("\0known")

    def compare(self, stored: pl.DataFrame, fetched: pl.DataFrame) -> Change:
        """Find what is new, what was restated and what is gone.

        Args:
            stored: rows of the last snapshot, one per key.
            fetched: rows of this export, one per key.
        """
        asked = pl.lit(True) if self.since is None else pl.col(self.keys[0]).dt.date() >= self.since
        return Change(
            added=fetched.join(stored, on=self.keys, how="anti").height,
            gone=stored.filter(asked).join(fetched, on=self.keys, how="anti").height,
            restated=self._restated(stored, fetched),
        )

    def update(self, stored: pl.DataFrame, fetched: pl.DataFrame) -> pl.DataFrame:
        """All keys, each with its fetched row if there is one, by date and series."""
        return pl.concat([stored.join(fetched, on=self.keys, how="anti"), fetched]).sort(self.keys)

    def _restated(self, stored: pl.DataFrame, fetched: pl.DataFrame) -> pl.DataFrame:
        values = [name for name in fetched.columns if name in stored.columns and name not in (*self.keys, EXPORTED_AT)]
        old = stored.select(*self.keys, pl.col(values).name.prefix("\0old "))
        pairs = fetched.join(old, on=self.keys, how="inner", maintain_order="left")
        found = [self._changed(pairs, name) for name in values]
        return pl.concat([RESTATEMENTS.to_frame(), *found]).sort("date", "series", "column")

    def _changed(self, pairs: pl.DataFrame, name: str) -> pl.DataFrame:
        new, old = pl.col(name), pl.col(f"\0old {name}")
        return pairs.filter(new.ne_missing(old)).select(
            series=pl.col(self.keys[1]).cast(pl.String) if len(self.keys) > 1 else pl.lit(self.series),
            date=pl.col(self.keys[0]).cast(pl.Datetime("us")),
            column=pl.lit(name),
            old=old.cast(pl.String),
            new=new.cast(pl.String),
            exported_at=pl.lit(self.exported_at),
        )

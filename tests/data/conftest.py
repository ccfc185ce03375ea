"""A small raw table of two series, as a person would bring it."""

from datetime import date, timedelta

import polars as pl
import pytest


@pytest.fixture
def bars() -> pl.DataFrame:
    """30 dates of series A and B with a price, a high, a column with gaps, a flag and a text."""
    days = [date(2020, 1, 1) + timedelta(days=i) for i in range(30)]
    parts = [
        pl.DataFrame(
            {
                "series_id": name,
                "date": days,
                "close": [start + 0.25 * i for i in range(30)],
                "high": [start + 0.25 * i + 0.1 for i in range(30)],
                "spread": [None if i % 7 == 3 else -1.5 + i / 8 for i in range(30)],
                "is_roll": [i % 5 == 0 for i in range(30)],
                "regime": "calm",
            }
        )
        for name, start in (("A", 10.0), ("B", 20.0))
    ]
    return pl.concat(parts)

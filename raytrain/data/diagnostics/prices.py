"""Moves that are hard to believe."""

import polars as pl

from raytrain.data.diagnostics.config import DiagnosticsConfig
from raytrain.data.diagnostics.finding import Finding
from raytrain.data.frame import DATE, SERIES

WINDOW = 63
"""Earlier moves, a quarter of trading days, that a move is measured by: a crash in a calm year is one in no other."""
MIN_WINDOW = 21
MEDIAN_TO_DEVIATION, MEAN_TO_DEVIATION = 1.4826, 1.2533
"""Median and mean absolute move -> standard deviation, for normal moves (Rousseeuw and Croux 1993)."""
SPLITS = (1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 40, 50, 100)
SPLIT_TOLERANCE = 0.04
"""The market moves on the day of a split as on any other."""
NAMED = 3
"""Dates that a message lists."""
WAYS_OUT = {
    "bad_print": "that the next row takes back: a wrong price or a flash crash; mend or drop it if it is wrong",
    "split": "of the size of a split: if it is one, take adjusted prices; a split is no return",
    "outlier": "that stay: a real shock, a roll or a change of unit; take a roll-free price if it is a roll",
}


def one_step_returns(table: pl.DataFrame, column: str) -> pl.Series:
    """(rows,) log return since the row before of the same series; the difference where a value is not positive."""
    value, before = pl.col(column), pl.col(column).shift(1).over(SERIES)
    positive = (table[column] > 0).all()
    return table.select((value / before).log() if positive else value - before).to_series().alias("move")


def strange_moves(table: pl.DataFrame, column: str, config: DiagnosticsConfig) -> list[Finding]:
    """Moves that are huge beside the usual ones: taken back by the next row, of the size of a split, or neither.

    A move is measured by the median size of the `WINDOW` moves before it. A wrong price must be twice the move before
    as well: in the days of a crash, huge moves up and down are real. One finding per series and kind, dated at the
    worst.

    Args:
        table: the frame's table: series_id, date, `column`.
        column: a price.
        config: sizes.
    """
    moves = _measured(table.select(SERIES, DATE, column))
    undone, before = -pl.col("next") / pl.col("move"), pl.col("move").shift(1).over(SERIES)
    is_bad = (
        (pl.col("z") > config.bad_print_z)
        & undone.is_between(config.bad_print_undone, 2.0)
        & (before.abs() < pl.col("move").abs() / 2)
    )
    is_bad = is_bad.fill_null(value=False)
    # The way back from a wrong price is as large.
    is_way_back = is_bad.shift(1).over(SERIES).fill_null(value=False)
    is_outlier = (pl.col("z") > config.outlier_z) & ~is_bad & ~is_way_back
    ratio = pl.col("move").abs().exp() if (table[column] > 0).all() else pl.lit(1.0)
    is_split = pl.any_horizontal((ratio / split - 1).abs() < SPLIT_TOLERANCE for split in SPLITS)
    return [
        *_per_series(moves.filter(is_bad), column, "bad_print", config.bad_print_z),
        *_per_series(moves.filter(is_outlier & is_split), column, "split", config.outlier_z),
        *_per_series(moves.filter(is_outlier & ~is_split), column, "outlier", config.outlier_z),
    ]


def _measured(table: pl.DataFrame) -> pl.DataFrame:
    """Adds move, next and z: the move in robust deviations of the moves before."""
    table = table.with_columns(one_step_returns(table, table.columns[-1]))
    size = pl.col("move").abs()
    z = size / _deviation(size.shift(1))
    return table.with_columns(next=pl.col("move").shift(-1).over(SERIES), z=z.over(SERIES))


def _deviation(sizes: pl.Expr) -> pl.Expr:
    median = sizes.rolling_median(WINDOW, min_samples=MIN_WINDOW) * MEDIAN_TO_DEVIATION
    # Where most bars repeat the one before, the median is 0 and the mean has to do.
    mean = sizes.rolling_mean(WINDOW, min_samples=MIN_WINDOW) * MEAN_TO_DEVIATION
    return pl.when(median > 0).then(median).when(mean > 0).then(mean)


def _per_series(moves: pl.DataFrame, column: str, check: str, threshold: float) -> list[Finding]:
    findings = []
    for (series,), rows in moves.sort("z", descending=True).group_by(SERIES, maintain_order=True):
        worst = rows.row(0, named=True)
        named = ", ".join(f"{day(row['date'])} ({row['move']:+.3g})" for row in rows.head(NAMED).iter_rows(named=True))
        more = f" and {rows.height - NAMED} more" if rows.height > NAMED else ""
        noun = "1 move" if rows.height == 1 else f"{rows.height} moves"
        findings.append(
            Finding(
                check=check,
                level="note" if check == "outlier" else "warning",
                column=column,
                series=str(series),
                date=day(worst["date"]),
                value=round(worst["z"], 2),
                threshold=threshold,
                message=f"{noun} of up to {worst['z']:.0f} robust deviations {WAYS_OUT[check]}: {named}{more}",
            )
        )
    return findings


def day(date: object) -> str:
    """A date as people write it, with the time where there is one."""
    return str(date).removesuffix(" 00:00:00")

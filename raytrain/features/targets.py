"""What models predict: something about the price `horizon` rows ahead."""

from typing import Literal, Self

import polars as pl
from pydantic import Field, model_validator

from raytrain.config import Section
from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.errors import DataError

Kind = Literal["return", "price", "threshold"]
Method = Literal["log", "simple", "difference"]


class TargetConfig(Section):
    """One target at one horizon."""

    kind: Kind = "return"
    """`return`: forward return. `price`: the price level, learned as a return and given back as a level.
    `threshold`: 1 if the highest price of the next `horizon` rows reaches price x (1 + threshold), else 0."""
    horizon: int = Field(1, ge=1)
    """Rows ahead."""
    label: str = Field("", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """The horizon as people say it (`1w`); `<horizon>r` when not given. Gates look it up."""
    method: Method = "log"
    """Return as log ratio, simple ratio - 1, or difference; the last one allows prices of 0 and below."""
    threshold: float = Field(0.01, gt=0)
    """Rise that counts, as a share of the price; for `threshold` only."""

    @model_validator(mode="before")
    @classmethod
    def _default_label(cls, values: object) -> object:
        if isinstance(values, dict) and not values.get("label"):
            return {**values, "label": f"{values.get('horizon', 1)}r"}
        return values

    @model_validator(mode="after")
    def _ratio_for_thresholds(self) -> Self:
        if self.kind == "threshold" and self.method != "log":
            raise ValueError("a threshold target is a share of the price: leave `method` out")
        return self

    @property
    def name(self) -> str:
        """How the target is called everywhere: `return_1w`."""
        return f"{self.kind}_{self.label}"


def build_target(frame: Frame, target: TargetConfig) -> pl.DataFrame:
    """Label every row of the frame.

    Returns:
        A table row for row beside the frame's: `y` (float64; return, or 0/1), `label_date` (when y became known) and
        `price_ahead`. All are null on the last `horizon` rows of a series, which have no label yet.

    Raises:
        DataError: a price is not positive where a ratio is asked for.
    """
    if target.method != "difference":
        _require_positive(frame, target)
    price, ahead = pl.col(frame.price), pl.col("price_ahead")
    if target.kind == "threshold":
        y = (_highest_ahead(frame.high, target.horizon) >= price * (1 + target.threshold)).cast(pl.Float64)
    elif target.method == "log":
        y = (ahead / price).log()
    elif target.method == "simple":
        y = ahead / price - 1
    else:
        y = ahead - price
    return (
        frame.table.with_columns(
            pl.col(frame.price).shift(-target.horizon).over(SERIES).alias("price_ahead"),
            pl.col(DATE).shift(-target.horizon).over(SERIES).alias("label_date"),
        )
        .with_columns(pl.when(ahead.is_not_null()).then(y).alias("y"))
        .select("y", "label_date", "price_ahead")
    )


def _highest_ahead(high: str, horizon: int) -> pl.Expr:
    """The highest of the next `horizon` rows: exactly that many, also when the horizon is 1."""
    return pl.max_horizontal(*(pl.col(high).shift(-step).over(SERIES) for step in range(1, horizon + 1)))


def ahead_to_price(price: pl.Expr, change: pl.Expr, method: Method) -> pl.Expr:
    """The price level that a predicted change leads to."""
    if method == "log":
        return price * change.exp()
    return price * (1 + change) if method == "simple" else price + change


def _require_positive(frame: Frame, target: TargetConfig) -> None:
    for column in {frame.price, frame.high} if target.kind == "threshold" else {frame.price}:
        bad = frame.table.filter(pl.col(column) <= 0)
        if bad.is_empty():
            continue
        series, when, value = bad.select(SERIES, DATE, column).row(0)
        way_out = "drop these rows" if target.kind == "threshold" else "use `method: difference`, or drop these rows"
        raise DataError(
            f"prices must be positive for {target.name} ({target.method}), got {value} in `{column}` for {series} on "
            f"{when} in {frame.source}; {way_out}"
        )

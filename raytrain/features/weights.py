"""How much each training row counts: by its regime."""

from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from raytrain.config import Section
from raytrain.data.frame import Frame
from raytrain.errors import ConfigError, did_you_mean
from raytrain.features.categories import as_label, codes, require_categories, vocabulary

Weight = Annotated[float, Field(ge=50, le=5000)]


class WeightsConfig(Section):
    """Regime weights: families weigh training rows by them relative to each other; tests and gates do not."""

    column: str
    """Column that names each row's regime: of text, or of a few whole numbers."""
    weights: dict[str, Weight] = Field(min_length=1)
    """Regime -> weight, 50 to 5,000."""
    default: Weight = 50
    """Weight of rows of any other regime, and of none."""


def regime_weights(frame: Frame, config: WeightsConfig) -> NDArray[np.float32]:
    """(rows,) the weight of each row.

    Raises:
        ConfigError: the column holds no categories, or a regime is not in it.
    """
    require_categories(frame, config.column, "weights.column")
    regimes = vocabulary(frame, config.column)
    for name in config.weights:
        if name not in regimes:
            raise ConfigError(
                f"weights.weights must name regimes of `{config.column}`, got `{name}`; {did_you_mean(name, regimes)}"
            )
    by_code = np.array([config.default, *(config.weights.get(name, config.default) for name in regimes)])
    code = frame.table.select(codes(frame, config.column, regimes)).to_series().cast(pl.Int64).to_numpy()
    return np.asarray(by_code[code], dtype=np.float32)


def weight_shares(frame: Frame, config: WeightsConfig) -> pl.DataFrame:
    """What each regime counts: regime, rows, weight, share of the rows and share of all weight."""
    weight = pl.Series("weight", regime_weights(frame, config))
    regime = frame.table.select(as_label(frame, config.column).alias("regime")).to_series()
    table = pl.DataFrame([regime, weight])
    rows = table.group_by("regime").agg(
        pl.len().alias("rows"), pl.col("weight").first(), pl.col("weight").sum().alias("total")
    )
    return rows.select(
        "regime",
        "rows",
        "weight",
        (pl.col("rows") / table.height).alias("share_of_rows"),
        (pl.col("total") / pl.col("total").sum()).alias("share_of_weight"),
    ).sort("regime", nulls_last=True)

"""What every step has, and the two ways of computing that most share.

A step is config and code at once: its fields say what a person chose, `pieces` says what is computed. Values at a row
use that row and earlier ones of the same series only; `looks_ahead` marks the one exception.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from raytrain.config import Section
from raytrain.data.frame import Frame
from raytrain.features.steps.kernels import Array
from raytrain.features.steps.panel import Batch, Panel

RowsBack = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
WindowLengths = Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)]
_BLOCK = 2**15
"""Values computed at once: few enough for the arrays to stay near the processor, many beside the cost of a call."""


class Piece(NamedTuple):
    """Values of neighbouring features on neighbouring rows."""

    first: int
    """Place of the first feature among those of the step."""
    rows: slice
    """Of the frame."""
    values: NDArray[np.float32]
    """(features, rows) NaN where unknown."""


class Input(NamedTuple):
    """Columns that are computed together."""

    begin: str
    """What the names of their features begin with."""
    columns: tuple[str, ...]


class Step(Section, ABC):
    """One step of the feature pipeline; a subclass has a field `step` with its name."""

    step: str
    looks_ahead: ClassVar[bool] = False
    """Whether later rows are read: allowed for columns that `features.known` declares, and for no other."""

    @abstractmethod
    def over(self, frame: Frame) -> tuple[str, ...]:
        """The numeric columns this step reads."""

    def over_text(self) -> tuple[str, ...]:
        """The columns this step reads as categories, of text or of whole numbers."""
        return ()

    @property
    def lookback(self) -> int:
        """Earlier rows that a value needs; for a recursive average, the rows until it has a value."""
        return 0

    @property
    def needs_positive(self) -> bool:
        """Whether the columns must be above 0."""
        return False

    @abstractmethod
    def names(self, frame: Frame) -> list[str]:
        """The features, in order."""

    @abstractmethod
    def pieces(self, panel: Panel) -> Iterator[Piece]:
        """The values of all features, in parts."""


class TableStep(Step):
    """A step that polars computes over the whole table."""

    @abstractmethod
    def expressions(self, frame: Frame) -> list[pl.Expr]:
        """One named expression per feature."""

    def names(self, frame: Frame) -> list[str]:
        return [one.meta.output_name() for one in self.expressions(frame)]

    def pieces(self, panel: Panel) -> Iterator[Piece]:
        yield select(panel.frame, self.expressions(panel.frame))


class SeriesStep(Step):
    """A step that computes along the rows of each series, the same for each of its inputs."""

    @abstractmethod
    def inputs(self, frame: Frame) -> list[Input]:
        """What the features are made of."""

    @property
    @abstractmethod
    def endings(self) -> list[str]:
        """What the names of an input's features end with."""

    @abstractmethod
    def values(self, *columns: Array) -> Iterable[Array]:
        """The features of an input, in the order of `endings`; each array is (..., rows of a series)."""

    def over(self, frame: Frame) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for one in self.inputs(frame) for name in one.columns))

    def names(self, frame: Frame) -> list[str]:
        return [one.begin + end for one in self.inputs(frame) for end in self.endings]

    def pieces(self, panel: Panel) -> Iterator[Piece]:
        inputs = [[panel.column(name) for name in one.columns] for one in self.inputs(panel.frame)]
        for batch in panel.batches():
            found = np.empty((len(inputs), len(self.endings), *batch.shape), np.float32)
            num_together = max(1, _BLOCK // (batch.shape[0] * batch.shape[1]))
            for first in range(0, len(inputs), num_together):
                some = slice(first, first + num_together)
                self._compute(batch, inputs[some], found[some])
            for number, rows in enumerate(batch.slices()):
                series = found[:, :, number, : rows.stop - rows.start]
                yield Piece(0, rows, series.reshape(-1, series.shape[-1]))

    def _compute(self, batch: Batch, inputs: list[list[Array]], found: NDArray[np.float32]) -> None:
        """Fill in, (inputs, endings, series, rows of the longest series), what is made of some inputs."""
        columns = [np.stack([batch.take(one) for one in column]) for column in zip(*inputs, strict=True)]
        for place, values in enumerate(self.values(*columns)):
            found[:, place] = values


class ColumnsStep(SeriesStep):
    """A step that does the same to each of its columns."""

    columns: tuple[str, ...] = ()
    """Columns to work on; the price column when empty."""

    def inputs(self, frame: Frame) -> list[Input]:
        return [Input(name, (name,)) for name in self.columns or (frame.price,)]


class LengthsStep(ColumnsStep):
    """A step with several lengths: one feature per column and length."""

    short: ClassVar[str]
    """How the feature's name says what it is: `vol` in `close_vol_21`."""
    rows: RowsBack

    @property
    def endings(self) -> list[str]:
        return [f"_{self.short}_{rows}" for rows in self.rows]

    @abstractmethod
    def value(self, x: Array, rows: int) -> Array:
        """The feature of one length."""

    def values(self, *columns: Array) -> Iterator[Array]:
        (x,) = columns
        return (self.value(x, rows) for rows in self.rows)


class WindowStep(LengthsStep):
    """A step over rolling windows.

    A window counts when four fifths of it are known: a holiday must not blank a quarter.
    """

    rows: WindowLengths
    """Rows in a window, the row's own included."""

    @property
    def lookback(self) -> int:
        return max(self.rows) - 1


def select(frame: Frame, expressions: list[pl.Expr]) -> Piece:
    """What polars computes over the whole table, as features."""
    table = frame.table.select(one.cast(pl.Float32).fill_null(float("nan")) for one in expressions)
    return Piece(0, slice(0, table.height), table.to_numpy().T)

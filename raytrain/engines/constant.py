"""What the yardsticks share that forecast the same for every row."""

from pathlib import Path
from typing import Self

import numpy as np

from raytrain.engines.base import Family, FloatArray, P, Samples
from raytrain.engines.files import read_params, write_params


class ConstantFamily(Family[P]):
    """One forecast for all rows; a subclass learns it."""

    engine = "native"
    lane = "cores"
    gives_quantiles = True
    tasks = frozenset({"regression", "binary"})

    _values: FloatArray
    """(outputs, levels)."""

    def predict(self, x: Samples) -> FloatArray:
        return np.repeat(self._values[None], len(x), axis=0)

    def save(self, folder: Path) -> None:
        write_params(folder, self, {"values": self._values.tolist()})

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, state = read_params(folder, cls)
        model._values = np.array(state["values"], dtype=np.float32)
        return model

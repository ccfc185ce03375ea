"""What every measure asks of its arrays."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raytrain.errors import DataError

Floats = NDArray[np.float64]


def finite(**arrays: ArrayLike) -> list[Floats]:
    """The arrays as float64, once they are seen to be finite, of one length and not empty."""
    checked = {name: np.asarray(values, dtype=np.float64) for name, values in arrays.items()}
    lengths = {name: len(values) if values.ndim else 0 for name, values in checked.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise DataError(f"a measure needs arrays of one length, at least 1 row, got {lengths}")
    for name, values in checked.items():
        num_bad = int((~np.isfinite(values)).sum())
        if num_bad:
            raise DataError(
                f"`{name}` must be finite, got {num_bad} NaN or infinite of {values.size}; leave out what is not known"
            )
    return list(checked.values())


def binary(actual: ArrayLike, probability: ArrayLike) -> list[Floats]:
    """Labels of 0 and 1 and probabilities, as float64."""
    label, chance = finite(actual=actual, probability=probability)
    if not np.isin(label, (0, 1)).all():
        raise DataError(f"a label must be 0 or 1, got {label[~np.isin(label, (0, 1))][0]:g}")
    if ((chance < 0) | (chance > 1)).any():
        raise DataError(f"a probability must lie in 0 to 1, got {chance.min():g} to {chance.max():g}")
    return [label, chance]

"""Columns of a raw table as float64 with one kind of NaN, or as text."""

import numpy as np
import polars as pl

from raytrain.data.policy import PolicyConfig
from raytrain.errors import DataError

NAN = float("nan")
_NAN_BITS = np.float64(NAN).view(np.uint64)
_LOOKS_LIKE_A_NUMBER = r"^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|\d+,\d+|\d{1,3}(?:[ ,.']\d{3})+(?:[.,]\d+)?)$"


def as_floats(column: pl.Series) -> pl.Series:
    """Float64 with NaN for unknown, every NaN with the same bits, so that equal tables hash equal.

    A float64 column that is so already is returned as it is, without a copy.
    """
    floats = column.cast(pl.Float64)
    if floats.null_count():
        floats = floats.fill_null(NAN)
    values = floats.to_numpy()
    bits = values.view(np.uint64)[np.isnan(values)]
    return floats.fill_nan(NAN) if (bits != _NAN_BITS).any() else floats


def mask_infinite(column: pl.Series, policy: PolicyConfig) -> tuple[pl.Series, tuple[str, ...]]:
    """Infinity as unknown, where the policy says so, and a note with the count."""
    infinite = column.is_infinite()
    if not (count := int(infinite.sum())):
        return column, ()
    if policy.infinite == "refuse":
        return column, (f"`{column.name}`: {count} infinite values are kept; no feature can be made of them",)
    return column.set(infinite, NAN), (f"`{column.name}`: {count} infinite values became unknown",)


def is_number(kind: pl.DataType) -> bool:
    """Whether a column of this type holds numbers as it is."""
    return kind.is_numeric() or kind == pl.Boolean


def is_text(kind: pl.DataType) -> bool:
    """Whether a column of this type holds words or codes."""
    return kind in (pl.String, pl.Categorical, pl.Enum)


def numbers_of_text(
    column: pl.Series, policy: PolicyConfig, source: str, *, required: bool = False
) -> tuple[pl.Series | None, tuple[str, ...]]:
    """The numbers that a text column holds, or None for a column of words or codes.

    Args:
        column: texts.
        policy: how numbers are written, and whether they are converted.
        source: where the column is from, for messages.
        required: a price: it must hold numbers, however few.

    Raises:
        DataError: numbers that are refused, written in another notation than the declared one, or missing altogether
            where they are required.
    """
    text = column.cast(pl.String).str.strip_chars().str.replace_all("[\u00a0\u202f\u2009]", " ")
    unknown = text.is_null() | text.is_in(policy.unknown)
    known = text.filter(~unknown)
    looks = known.str.contains(_LOOKS_LIKE_A_NUMBER)
    mostly = 2 * looks.sum() >= len(known) > 0
    if not required and (not mostly or (policy.text_numbers == "refuse" and _only_codes(known))):
        return None, ()
    if policy.text_numbers == "refuse" or not mostly:
        raise DataError(_refusal(column, known, looks, policy, source))
    numbers = _parse(text, policy)
    other = known.filter(looks & numbers.filter(~unknown).is_null())
    if len(other):
        raise DataError(
            f"`{column.name}` must hold numbers with decimal `{policy.decimal}` and thousands `{policy.thousands}`, "
            f"got {other[0]!r} ({len(other)} such rows) in {source}; set data.policy.decimal and data.policy.thousands"
        )
    return numbers, _notes(column.name, known, looks)


def _only_codes(known: pl.Series) -> bool:
    return bool(known.str.contains(r"^\d+$").all())


def _refusal(column: pl.Series, known: pl.Series, looks: pl.Series, policy: PolicyConfig, source: str) -> str:
    others = known.filter(~looks)
    example = (others if len(others) else known).head(1).to_list()
    shown = f" such as {example[0]!r}" if example else " without a known value"
    way_out = (
        "say data.policy.text_numbers convert, or name the column in data.exclude"
        if looks.any() and policy.text_numbers == "refuse"
        else "name another column, or mend these values"
    )
    return (
        f"the column `{column.name}` must hold numbers, got {column.dtype}{shown} ({int(looks.sum())} of "
        f"{len(known)} look like numbers) in {source}; {way_out}"
    )


def _parse(text: pl.Series, policy: PolicyConfig) -> pl.Series:
    """Null where the text is no number of the declared notation."""
    decimal, group = (f"[{mark}]" for mark in (policy.decimal, policy.thousands or "_"))
    whole = rf"(?:\d+|\d{{1,3}}(?:{group}\d{{3}})+)" if policy.thousands else r"\d+"
    form = rf"^[+-]?(?:{whole}(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?$"
    plain = text.str.replace_all(policy.thousands, "", literal=True) if policy.thousands else text
    plain = plain.str.replace(policy.decimal, ".", literal=True)
    valid = pl.DataFrame({"text": text, "plain": plain}).select(
        pl.when(pl.col("text").str.contains(form)).then(pl.col("plain").cast(pl.Float64, strict=False))
    )
    return valid.to_series().alias(text.name)


def _notes(name: str, known: pl.Series, looks: pl.Series) -> tuple[str, ...]:
    others = known.filter(~looks)
    masked = f"; {len(others)} that are none, such as {others[0]!r}, became unknown" if len(others) else ""
    return (f"`{name}`: {int(looks.sum())} texts became numbers{masked}",)

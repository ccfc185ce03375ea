"""Numbers as a person reads them. A missing or non-finite number is a dash, never `nan`."""

import math
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
THIN = "\N{NARROW NO-BREAK SPACE}"


def known(value: Any) -> bool:
    """Whether there is a finite number to show."""
    return isinstance(value, int | float) and math.isfinite(value)


def _number(value: float, template: str) -> str:
    text = template.format(value).replace("-", MINUS)
    # a rounded zero has no sign
    return text.lstrip("+" + MINUS) if not re.search("[1-9]", text) else text


def percent(value: float | None, digits: int = 1) -> str:
    """A share as percent: 0.0213 -> `2.1 %`."""
    return _number(100 * value, f"{{:.{digits}f}}") + THIN + "%" if value is not None and known(value) else DASH


def signed_percent(value: float | None, digits: int = 1) -> str:
    """A share as percent with its sign: 0.0213 -> `+2.1 %`."""
    return _number(100 * value, f"{{:+.{digits}f}}") + THIN + "%" if value is not None and known(value) else DASH


def decimal(value: float | None, digits: int = 2) -> str:
    """A plain number: -0.4 with a real minus sign."""
    return _number(value, f"{{:.{digits}f}}") if value is not None and known(value) else DASH


def significant(value: float | None, digits: int = 3) -> str:
    """A number of unknown size: 0.00123456 -> `0.00123`."""
    return _number(value, f"{{:.{digits}g}}") if value is not None and known(value) else DASH


def price(value: float | None) -> str:
    """A price: thousands without cents, small ones with four decimals."""
    if value is None or not known(value):
        return DASH
    size = abs(value)
    digits = 0 if size >= 10_000 else 2 if size >= 10 else 4
    return _number(value, f"{{:,.{digits}f}}")


def count(value: int | None) -> str:
    """A count with thousands separated."""
    return f"{value:,}" if value is not None and known(value) else DASH


def seconds(value: float | None) -> str:
    """A duration: 0.0031 -> `3 ms`, 0.31 -> `0.31 s`, 93.2 -> `1 min 33 s`, 7290 -> `2 h 01 min`."""
    if value is None or not known(value):
        return DASH
    if value < 0.1:
        return f"{1000 * value:.0f}{THIN}ms"
    if value < 60:
        return f"{value:.{2 if value < 1 else 1}f}{THIN}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{THIN}min {rest}{THIN}s"
    return f"{minutes // 60}{THIN}h {minutes % 60:02d}{THIN}min"


def memory(value: float | str | None) -> str:
    """Bytes in MB or GB (powers of ten); a text is passed on."""
    if isinstance(value, str):
        return value or DASH
    if value is None or not known(value):
        return DASH
    return f"{value / 1e9:.1f}{THIN}GB" if value >= 1e9 else f"{value / 1e6:.0f}{THIN}MB"


def day(value: date | datetime | str | None) -> str:
    """A date in ISO form, with the time only where there is one."""
    if value is None:
        return DASH
    if isinstance(value, datetime):
        midnight = value.hour == value.minute == 0
        return value.strftime("%Y-%m-%d" if midnight else "%Y-%m-%d %H:%M")
    return str(value).removesuffix(" 00:00:00").removesuffix("T00:00:00")


def moment(value: str | None) -> str:
    """An ISO time to the minute: `2018-12-31 18:05 UTC`."""
    if value is None:
        return DASH
    at = datetime.fromisoformat(value)
    return f"{at:%Y-%m-%d %H:%M} {at.tzname() or ''}".rstrip()


def plural(num: int, noun: str) -> str:
    """`1 fit`, `2 fits`."""
    return f"{count(num)} {noun}{'' if num == 1 else 's'}"


def series(names: Sequence[str]) -> str:
    """How many series, and which when they are few."""
    listed = f": {', '.join(names)}" if len(names) <= 4 else ""
    return f"{count(len(names))} series{listed}"


FILTERS: dict[str, Callable[..., str]] = {
    "percent": percent,
    "signed_percent": signed_percent,
    "decimal": decimal,
    "significant": significant,
    "price": price,
    "count": count,
    "seconds": seconds,
    "memory": memory,
    "day": day,
    "moment": moment,
    "plural": plural,
    "series": series,
}
"""What the templates may use."""

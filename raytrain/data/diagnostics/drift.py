"""Whether the table still has the columns and types it had."""

from collections.abc import Collection, Mapping

from raytrain.data.diagnostics.finding import Finding, Level

Schema = Mapping[str, str]
"""Column name -> type, as polars writes it."""


def type_drift(before: Schema, now: Schema, inputs: Collection[str]) -> list[Finding]:
    """Columns that came, went, or changed their type since the last snapshot.

    A column that models see may not go, nor turn from numbers into something else or back.
    """
    findings = [_gone(name, before[name], name in inputs) for name in before if name not in now]
    for name in now:
        if name not in before:
            message = f"new, {now[name]}; models see it only when a step of features.steps names it"
            findings.append(Finding(check="type_drift", level="note", column=name, message=message))
        elif now[name] != before[name]:
            findings.append(_changed(name, before[name], now[name], name in inputs))
    return findings


def _gone(name: str, kind: str, is_input: bool) -> Finding:
    return Finding(
        check="type_drift",
        level="error" if is_input else "warning",
        column=name,
        message=f"was {kind} in the last snapshot and is gone; bring it back, or take it out of features.steps",
    )


def _changed(name: str, before: str, now: str, is_input: bool) -> Finding:
    kind = is_number(before) != is_number(now)
    level: Level = ("error" if is_input else "warning") if kind else "note"
    return Finding(
        check="type_drift",
        level=level,
        column=name,
        message=f"was {before} in the last snapshot and is {now}; write it as {before} again"
        + ("" if kind else ", or accept the wider or narrower numbers"),
    )


def is_number(kind: str) -> bool:
    """Whether a type, as polars writes it, holds numbers."""
    return kind.startswith(("Int", "UInt", "Float", "Decimal", "Boolean"))

"""Diagnostics in the terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raytrain.data.diagnostics import Diagnostics, Finding, RegimeReturns

COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}


def print_diagnostics(diagnostics: Diagnostics, console: Console) -> None:
    """The findings, the regimes, and how many there are of each level."""
    if diagnostics.findings:
        console.print(findings_table(diagnostics.findings))
    if diagnostics.regimes:
        console.print(regimes_table(diagnostics.regimes))
    counts = (len(diagnostics.errors), len(diagnostics.warnings), len(diagnostics.of_level("note")))
    said = ", ".join(f"{num} {noun}{'' if num == 1 else 's'}" for num, noun in zip(counts, COLOURS, strict=True))
    console.print(f"{diagnostics.source}: {said}", markup=False, highlight=False, soft_wrap=True)


def findings_table(findings: Iterable[Finding]) -> Table:
    """Level, check, where, value against threshold, what is the case."""
    table = Table(title="Data before training", title_justify="left", header_style="bold")
    table.add_column("level", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("where", overflow="fold")
    table.add_column("value / limit", justify="right", no_wrap=True)
    table.add_column("what is the case", ratio=1)
    for one in findings:
        where = " ".join(part for part in (one.column, one.series, one.date) if part)
        level = Text(one.level, style=COLOURS[one.level])
        table.add_row(level, one.check, Text(where), _against(one.value, one.threshold), Text(one.message))
    return table


def _against(value: float | None, threshold: float | None) -> str:
    parts = [f"{number:.4g}" for number in (value, threshold) if number is not None]
    return " / ".join(parts)


def regimes_table(regimes: Sequence[RegimeReturns]) -> Table:
    """Rows, share, and the next row's return a year, by regime."""
    table = Table(title="The next row's return by regime, a year", title_justify="left", header_style="bold")
    for name in ("column", "regime"):
        table.add_column(name)
    weighted = any(one.weight is not None for one in regimes)
    for name in ("rows", "share", "mean", "deviation", "Sharpe", *(("weight", "share of weight") if weighted else ())):
        table.add_column(name, justify="right")
    last = None
    for one in regimes:
        if last not in (None, one.column):
            table.add_section()
        last = one.column
        sharpe = "-" if one.sharpe is None else f"{one.sharpe:.2f}"
        numbers = [f"{one.rows}", f"{one.share:.1%}", f"{one.mean:+.3g}", f"{one.deviation:.3g}", sharpe]
        if one.weight is not None and one.share_of_weight is not None:
            numbers += [f"{one.weight:g}", f"{one.share_of_weight:.1%}"]
        table.add_row(Text(one.column), Text(one.regime), *numbers)
    return table

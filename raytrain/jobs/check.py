"""Diagnostics before training: `python -m raytrain.jobs.check --config FILE [--out DIR] [--KEY VALUE ...]`.

Exit code 0 without errors, 4 with one.
"""

import argparse
from pathlib import Path

from raytrain import data
from raytrain.data.diagnostics.store import last_schema, write_diagnostics
from raytrain.features.build import build
from raytrain.features.diagnostics import diagnose, inputs_of
from raytrain.jobs import _command, _findings, _terminal
from raytrain.pipeline import elected_before
from raytrain.report.page import render_check
from raytrain.run_config import RunConfig


class CheckConfig(RunConfig):
    """A run's config, and where to leave what was found."""

    out: Path | None = None
    """Folder for diagnostics.json and diagnostics.html; the columns found there are compared with the table's."""


def check(config: CheckConfig, options: argparse.Namespace) -> int:
    """Look at the table, its features and its targets; train nothing."""
    frame = data.load(config.data)
    found = diagnose(
        frame,
        config.targets,
        build(frame, config.features),
        config.diagnostics,
        inputs=inputs_of(frame, config.features),
        before=last_schema(config.out) if config.out else None,
        weights=config.weights,
    )
    console = _terminal.make_console()
    _findings.print_diagnostics(found, console)
    for election in elected_before(config):
        console.print(f"device: {election}", markup=False, highlight=False, soft_wrap=True)
    if config.out is not None:
        page = config.out / "diagnostics.html"
        write_diagnostics(found, config.out)
        page.write_text(render_check(found.to_json()), encoding="utf-8")
        console.print(str(page), markup=False, highlight=False, soft_wrap=True)
    return _command.BAD_INPUT if found.errors else _command.OK


if __name__ == "__main__":
    _command.main(CheckConfig, check, __doc__ or "")

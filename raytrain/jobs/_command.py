"""What every job does the same way: options, exit codes, signals."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TypeVar

import yaml
from pydantic_settings import CliSettingsSource

from raytrain.config import Settings, load
from raytrain.errors import RaytrainError, StoreLocked, UserError

OK = 0
SOME_FAILED = 3
BAD_INPUT = 4
LOCKED = 75

S = TypeVar("S", bound=Settings)


Act = Callable[[S, argparse.Namespace], int]
"""What a job does with its config and its flags; returns the exit code."""


def main(settings: type[S], act: Act[S], description: str, flags: Sequence[str] = ()) -> None:
    """Run a job and exit with its code."""
    sys.exit(run(settings, act, description, flags, sys.argv[1:]))


def run(
    settings: type[S],
    act: Act[S],
    description: str,
    flags: Sequence[str],
    argv: Sequence[str],
) -> int:
    """Read the config and act; errors that a person can mend become one message and an exit code."""
    parser = argparse.ArgumentParser(description=description, add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path, action="append", default=[])
    parser.add_argument("--print-config", action="store_true")
    parser.add_argument("--help", "-h", action="store_true")
    for flag in flags:
        parser.add_argument(f"--{flag}", action="store_true")
    options, rest = parser.parse_known_args(argv)
    if options.help:
        _print_help(settings, parser)
        return OK
    try:
        config = load(settings, options.config, rest)
        if options.print_config:
            print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), end="")
            return OK
        return act(config, options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except StoreLocked as error:
        print(f"error: {error}", file=sys.stderr)
        return LOCKED
    except RaytrainError as error:
        print(f"error: {error}", file=sys.stderr)
        return SOME_FAILED


def _print_help(settings: type[Settings], parser: argparse.ArgumentParser) -> None:
    print(parser.format_help())
    print("Every key of the config is an option too, with dots: --data.kind parquet, --params.lightgbm.rounds 100\n")
    source = CliSettingsSource[argparse.ArgumentParser](settings, cli_parse_args=False)
    print(source.root_parser.format_help())


class StopFlag:
    """Turns the first SIGINT or SIGTERM into a wish to stop, and the second into an end at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM."""
        return 128 + (self.signal or 0)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        print("stopping: running fits end at their next safe point; once more to end at once", file=sys.stderr)

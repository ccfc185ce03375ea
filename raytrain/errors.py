"""The error tree.

RaytrainError
├── UserError          the person can mend it: bad config, bad data, unknown name. Exit code 4, no traceback.
│   ├── ConfigError    a YAML file, an environment variable or a command-line option
│   ├── DataError      the table that was read
│   ├── BundleRefused  a bundle that is not whole, or not for this version
│   └── BundleInput    rows that a bundle cannot forecast from
├── StoreLocked        another run holds the store. Exit code 75.
├── FitError           one fit went wrong; the run goes on and the fit becomes a failed row
│   ├── OutOfMemory    the fit may come back smaller
│   └── WrongEngine    a process was asked to load a second engine: a defect of ours
└── StoreCorrupt       a stored file does not match its checksum

`jobs/` catches UserError and StoreLocked and turns them into exit codes; the worker catches everything that a fit
raises and turns it into a failed row. Beside them `Exception` is caught only in the processes of probes and trials, and
around `ray.init`, which raises that very type when it is late.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class RaytrainError(Exception):
    """Base of every error that raytrain raises on purpose."""


class UserError(RaytrainError):
    """Wrong input. The message gives the rule, the value and the way out."""


class ConfigError(UserError):
    """Wrong configuration."""


class DataError(UserError):
    """Wrong data."""


class StoreLocked(RaytrainError):
    """Another run holds the store."""


class StoreCorrupt(RaytrainError):
    """A stored file is torn or was changed."""


class FitError(RaytrainError):
    """A fit could not be done."""


class OutOfMemory(FitError):
    """A fit needed more memory than it was given."""


class WrongEngine(FitError):
    """A process of one engine was asked to work for another."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest one and the list.

    >>> did_you_mean("lightgmb", ["lightgbm", "naive"])
    'did you mean `lightgbm`? Known: lightgbm, naive.'
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean `{near[0]}`? " if near else ""
    return f"{hint}Known: {', '.join(names)}."

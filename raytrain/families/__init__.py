"""One file per family, found by walking this folder.

A module here defines exactly one `Family` subclass whose `name` is the module's name. Importing it loads no engine.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from raytrain.engines.base import Family, Params
from raytrain.errors import ConfigError, did_you_mean


@cache
def names() -> tuple[str, ...]:
    """All families, by name, in alphabetical order."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


@cache
def get(name: str) -> type[Family[Any]]:
    """The family called `name`.

    Raises:
        ConfigError: no family has that name.
    """
    if name not in names():
        raise ConfigError(f"`{name}` is not a family; {did_you_mean(name, names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Family) and value.__module__ == module.__name__
    ]
    (family,) = found
    assert family.name == name, f"{module.__name__} defines a family called {family.name}"
    return family


def make_params(name: str, given: Mapping[str, Any]) -> Params:
    """The parameters of family `name`, the defaults overridden by `given`.

    Raises:
        ConfigError: an unknown parameter, or a value out of its bounds.
    """
    params_type = get(name).params_type
    try:
        return params_type(**given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"`{key}` is not a parameter of {name}; {did_you_mean(key, params_type.model_fields)}"
            ) from None
        rule = first["msg"].removeprefix("Value error, ")
        if not key:  # a rule about several parameters, whose message names them
            raise ConfigError(f"params.{name}: {rule}") from None
        raise ConfigError(f"params.{name}.{key}: {rule}, got {first['input']!r}") from None

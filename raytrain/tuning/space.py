"""Search spaces: what a family offers, what the config changes of it, and what Optuna is told."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raytrain import families
from raytrain.engines.base import Range
from raytrain.errors import ConfigError, did_you_mean

Point = Mapping[str, Any]
"""Parameter -> value as Optuna keeps it: a number, or a choice."""

_RANGE_KEYS = ("low", "high", "log", "integer")


@dataclass(frozen=True)
class SearchSpace:
    """What is searched of one family's parameters, checked."""

    family: str
    dimensions: Mapping[str, Range | tuple[Any, ...]]

    @classmethod
    def of(cls, family: str, params: Mapping[str, Any], changes: Mapping[str, Any]) -> "SearchSpace":
        """The family's space with the config's changes.

        Args:
            family: its name.
            params: the parameters that the run gives.
            changes: `tune.space`.

        Raises:
            ConfigError: an unknown parameter, an empty range or list, a value that the family refuses, or nothing left
                to search.
        """
        known = families.get(family).params_type.model_fields
        found: dict[str, Range | tuple[Any, ...]] = {
            name: one if isinstance(one, Range) else tuple(one) for name, one in families.get(family).space().items()
        }
        for name, change in changes.items():
            if name not in known:
                raise ConfigError(f"`{name}` in tune.space is not a parameter of {family}; {did_you_mean(name, known)}")
            found.pop(name, None)
            if change is not None:
                found[name] = _dimension(name, change, known[name].annotation)
        if not found:
            raise ConfigError(
                f"a search needs parameters to vary, got none for {family}; name some in tune.space, of "
                f"{', '.join(sorted(known))}"
            )
        space = cls(family, dict(sorted(found.items())))
        space._check_edges(params)
        return space

    def _check_edges(self, params: Mapping[str, Any]) -> None:
        for point in self.edges():
            families.make_params(self.family, {**params, **point})

    def edges(self) -> list[dict[str, Any]]:
        """Each parameter alone at each of its extremes, or as each of its choices."""
        return [{name: value} for name, one in self.dimensions.items() for value in _extremes(one)]

    def decode(self, point: Point) -> dict[str, Any]:
        """Values that the family takes, of a point as Optuna or a person's own search gives it."""
        return {name: self._decoded(name, value) for name, value in point.items()}

    def encode(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The searched part of a family's parameters as a point; what lies outside the space is left out."""
        found = {}
        for name, one in self.dimensions.items():
            value = params.get(name)
            if isinstance(one, Range):
                if isinstance(value, int | float) and one.low <= value <= one.high:
                    found[name] = value
            elif _coded(value) in map(_coded, one):
                found[name] = _coded(value)
        return found

    def distributions(self) -> dict[str, Any]:
        """The space as Optuna's distributions."""
        return {name: _distribution(one) for name, one in self.dimensions.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            name: {key: getattr(one, key) for key in _RANGE_KEYS} if isinstance(one, Range) else list(one)
            for name, one in self.dimensions.items()
        }

    def _decoded(self, name: str, value: Any) -> Any:
        one = self.dimensions.get(name)
        if one is None or isinstance(one, Range):
            return value
        return {_coded(choice): choice for choice in one}.get(_coded(value), value)


def _dimension(name: str, change: Any, annotation: Any) -> Range | tuple[Any, ...]:
    if isinstance(change, Mapping):
        return _range(name, change, annotation)
    if isinstance(change, Sequence) and not isinstance(change, str) and len(change):
        return tuple(tuple(one) if isinstance(one, list) else one for one in change)
    raise ConfigError(
        f"tune.space.{name} must be {{low: ..., high: ...}} or a list of choices that is not empty, got {change!r}"
    )


def _range(name: str, change: Mapping[str, Any], annotation: Any) -> Range:
    for key in change:
        if key not in _RANGE_KEYS:
            raise ConfigError(f"`{key}` is not a key of tune.space.{name}; {did_you_mean(str(key), _RANGE_KEYS)}")
    low, high, log = _number(name, change, "low"), _number(name, change, "high"), change.get("log", False)
    if not low < high:
        raise ConfigError(f"tune.space.{name} must have low < high, got the empty range {low:g} to {high:g}")
    if log and low <= 0:
        raise ConfigError(f"tune.space.{name} must have low > 0 on a logarithmic scale, got {low:g}")
    return Range(low, high, log=bool(log), integer=bool(change.get("integer", annotation is int)))


def _number(name: str, change: Mapping[str, Any], key: str) -> float:
    value = change.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"tune.space.{name} needs numbers as `low` and `high`, got {dict(change)!r}")
    return value


def _extremes(one: Range | tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(one, Range):
        return one
    return (int(one.low), int(one.high)) if one.integer else (one.low, one.high)


def _coded(value: Any) -> Any:
    """A choice as Optuna's journal can keep it: lists and mappings as JSON."""
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)


def _distribution(one: Range | tuple[Any, ...]) -> Any:
    from optuna import distributions

    if not isinstance(one, Range):
        return distributions.CategoricalDistribution([_coded(choice) for choice in one])
    if one.integer:
        return distributions.IntDistribution(int(one.low), int(one.high), log=one.log)
    return distributions.FloatDistribution(one.low, one.high, log=one.log)

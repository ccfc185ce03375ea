"""YAML < environment < command line -> a typed config; knows no stage.

A config is a `Settings` subclass whose fields are the config classes of the stages. Names on the command line are
dotted (`--data.kind parquet`), in the environment they carry a prefix and double underscores
(`RAYTRAIN_DATA__KIND=parquet`).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from raytrain.errors import ConfigError, did_you_mean

ENV_PREFIX = "RAYTRAIN_"


class Section(BaseModel):
    """Base of every config class: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Settings(BaseSettings):
    """Base of a whole job's config."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
        cli_hide_none_type=True,
    )
    free_form: ClassVar[tuple[str, ...]] = ()
    """Top-level mappings whose inner keys the command line may set by dots: `params` for `--params.lightgbm.x 1`."""

    @classmethod
    def underlay(cls, values: Mapping[str, Any]) -> Path | None:
        """A file that lies under all that was given: what the values call a preset."""
        return None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` merged counts, so that there is one order of precedence."""
        return (init_settings,)


C = TypeVar("C", bound=Section)
S = TypeVar("S", bound=Settings)


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a mapping with the same key twice (YAML itself lets the last one win)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise ConfigError(
                    f"a key may stand once, got `{key}` twice in {_where(key_node.start_mark)}; remove one"
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _where(mark: Any) -> str:
    return f"{mark.name}, line {mark.line + 1}" if mark else "the YAML text"


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as a dict.

    Raises:
        ConfigError: no such file, not YAML, a duplicate key, or not a mapping.
    """
    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, Loader=_UniqueKeyLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"a config must be a readable file, got {path} ({error.__class__.__name__}: {error})"
        ) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{_where(error.problem_mark)}: not YAML: {error.problem}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold `key: value` lines, got a {type(content).__name__}")
    return content


@dataclass(frozen=True)
class Layer:
    """One source of values and how to name it in a message."""

    origin: str
    values: Mapping[str, Any]


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings are merged key by key, everything else is replaced by `high`."""
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def load(settings: type[S], files: Sequence[Path] = (), argv: Sequence[str] = ()) -> S:
    """Merge the files, the environment and the command line, later ones winning, and check the whole.

    Raises:
        ConfigError: an unknown key (with the nearest), a wrong type, a value out of bounds; all are listed.
    """
    layers = [Layer(str(path), read_yaml(path)) for path in files]
    layers.append(Layer("the environment", _environment(settings)))
    layers.append(Layer("the command line", _command_line(settings, argv)))
    values: dict[str, Any] = {}
    for layer in layers:
        values = merge(values, layer.values)
    if under := settings.underlay(values):
        layers.insert(0, Layer(str(under), read_yaml(under)))
        values = merge(layers[0].values, values)
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(problem, settings, layers) for problem in error.errors())) from None


def load_section(section: type[C], path: Path, **given: Any) -> C:
    """A file that holds one section.

    Args:
        section: the class.
        path: the file.
        given: values of keys that the file need not name.

    Raises:
        ConfigError: an unknown key (with the nearest), a wrong type, a value out of bounds; all are listed.
    """
    layer = Layer(str(path), read_yaml(path))
    try:
        return section.model_validate({**given, **layer.values})
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(problem, section, [layer]) for problem in error.errors())) from None


def dotted_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key a person may set, as `data.kind`; lists and mappings count as one key."""
    names = []
    for name, field in model.model_fields.items():
        inner = _section_of(field.annotation)
        names += dotted_names(inner, f"{prefix}{name}.") if inner else [prefix + name]
    return names


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The config class of a field that is a section, or a section or None."""
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _environment(settings: type[Settings]) -> dict[str, Any]:
    known = settings.model_fields
    for name in os.environ:
        top, nested, _ = name.removeprefix(ENV_PREFIX).lower().partition("__")
        if name.startswith(ENV_PREFIX) and nested and top not in known:
            raise ConfigError(f"`{name}` in the environment sets no known key; {did_you_mean(top, known)}")
    try:
        return dict(EnvSettingsSource(settings)())
    except SettingsError as error:
        raise ConfigError(f"the environment: {error}") from None


def _command_line(settings: type[Settings], argv: Sequence[str]) -> dict[str, Any]:
    free, rest = _split_free_form(settings, argv)
    known = dotted_names(settings)
    tops = {name.split(".")[0] for name in known}
    for word in rest:
        name = word.partition("=")[0].removeprefix("--")
        if word.startswith("--") and name not in known and name not in tops and name != "help":
            raise ConfigError(f"`--{name}` is not an option; {did_you_mean(name, known)}")
    try:
        parsed = CliSettingsSource[Any](settings, cli_parse_args=list(rest), cli_exit_on_error=False)()
    except SettingsError as error:
        raise ConfigError(f"the command line: {error}; --help lists the options") from None
    return merge(parsed, free)


def _split_free_form(settings: type[Settings], argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Take `--params.a.b 3` out of the arguments; the value is read as YAML."""
    found: dict[str, Any] = {}
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if not any(name.startswith(f"--{top}.") for top in settings.free_form):
            rest.append(word)
            continue
        text = value if equals else next(words, None)
        if text is None:
            raise ConfigError(f"`{name}` needs a value, as in `{name} 100`")
        nested: Any = yaml.safe_load(text)
        for key in reversed(name.removeprefix("--").split(".")):
            nested = {key: nested}
        found = merge(found, nested)
    return found, rest


def _explain(problem: Any, settings: type[BaseModel], layers: Sequence[Layer]) -> str:
    """One validation problem as the rule, the value and the way out."""
    path = tuple(problem["loc"])
    key = _dotted(path)
    origin = next((layer.origin for layer in reversed(layers) if _holds(layer.values, path)), "the defaults")
    if problem["type"] == "extra_forbidden":
        known = _keys_at(settings, path[:-1])
        return f"`{path[-1]}` is not a key, got it in {origin}, {key}; {did_you_mean(str(path[-1]), known)}"
    if problem["type"] == "missing":
        return f"`{key}` must be given; add it in {origin}"
    rule = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"`{key}`: {rule}, got {problem['input']!r} in {origin}"


def _dotted(path: Sequence[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".") or "the whole"


def _holds(values: Any, path: Sequence[Any]) -> bool:
    for part in path:
        inside = isinstance(values, Mapping) and part in values
        listed = isinstance(values, list) and isinstance(part, int) and part < len(values)
        if not inside and not listed:
            return False
        values = values[part]
    return True


def _keys_at(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """The keys that the config class at `path` knows."""
    for part in path:
        if isinstance(part, int):
            continue
        inner = model.model_fields[part].annotation
        classes = [kind for kind in (inner, *get_args(inner)) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not classes:
            return []
        model = classes[0]
    return list(model.model_fields)

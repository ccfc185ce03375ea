"""A bundle as a folder, and the check that it is whole.

bundle.json        who it is: family, keys, versions, parts, members, the whole FitSpec
config.json        the run's data and features sections: how raw rows become features
schema.json        what it takes and gives
preparation.json   part -> frozen preprocessing, volatility forecast and target deviation
model/             what the family wrote; with one model per series, a folder for each
members/           bundles of the fits whose forecasts are mixed or averaged
model.onnx         the model as a graph, where it agrees with the native one; onnx.json tells how far, or why not
decision.json, card.md
SHA256SUMS         of every other file
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from raytrain import __version__, families
from raytrain.data import DataConfig
from raytrain.data.snapshot import file_hash
from raytrain.deploy.schema import Schema
from raytrain.engines.base import Engine, Family
from raytrain.engines.process import KerasBackend
from raytrain.errors import UserError
from raytrain.features.build import FeaturesConfig
from raytrain.work.preparation import Preparation
from raytrain.work.spec import FitSpec

FORMAT = 1
"""Raised when a bundle's files change their meaning."""
ABOUT, CONFIG, SCHEMA, PREPARATION = "bundle.json", "config.json", "schema.json", "preparation.json"
DECISION, CARD, ONNX, CHECKSUMS = "decision.json", "card.md", "onnx.json", "SHA256SUMS"
MODEL, MEMBERS = "model", "members"

Form = Literal["fit", "mixture", "seeds"]
"""A model; a model that mixes what its members forecast; the mean of what its members, other seeds, forecast."""


class BundleRefused(UserError):
    """A folder that is no bundle, is not as it was written, or was written for other versions."""


@dataclass(frozen=True)
class Bundle:
    """A fit that can forecast anywhere: opened, and found whole."""

    folder: Path
    about: Mapping[str, Any]
    """What bundle.json says."""
    schema: Schema
    spec: FitSpec
    data: DataConfig
    features: FeaturesConfig

    @classmethod
    def open(cls, folder: Path | str) -> "Bundle":
        """Check every file against its checksum and the versions against this raytrain's, then read.

        Raises:
            BundleRefused: no bundle, a changed, missing or added file, or one of another version.
        """
        folder = Path(folder)
        if not (folder / CHECKSUMS).is_file():
            raise BundleRefused(f"a bundle must be a folder with {CHECKSUMS}, got {folder}; name one that a run wrote")
        _require_whole(folder)
        bundle = cls.read(folder)
        bundle._require_versions()
        return bundle

    @classmethod
    def read(cls, folder: Path) -> "Bundle":
        """Without the checks: a bundle in the making, or one inside another that was checked.

        Raises:
            BundleRefused: a file is not there, or does not hold what it must.
        """
        try:
            about = json.loads((folder / ABOUT).read_bytes())
            _require_format(folder, about)
            require_names([*about["parts"], *about["members"]])
            config = json.loads((folder / CONFIG).read_bytes())
            return cls(
                folder=folder,
                about=about,
                schema=Schema.read(folder / SCHEMA),
                spec=FitSpec.from_dict(about["spec"]),
                data=DataConfig.model_validate(config["data"]),
                features=FeaturesConfig.model_validate(config["features"]),
            )
        except (OSError, KeyError, TypeError, ValueError, ValidationError) as error:
            raise BundleRefused(f"{folder} must hold a bundle, but cannot be read: {error!r}; write it again") from None

    @property
    def form(self) -> Form:
        """What kind of forecast it makes."""
        form: Form = self.about["form"]
        return form

    @property
    def digest(self) -> str:
        """Hash over all files: names this very bundle."""
        return sha256((self.folder / CHECKSUMS).read_bytes()).hexdigest()

    @property
    def family(self) -> type[Family[Any]]:
        """The family's class; no engine is loaded."""
        return families.get(self.spec.family)

    @property
    def engine(self) -> Engine:
        """The library runtime that the native model needs."""
        return self.family.engine

    @property
    def keras_backend(self) -> KerasBackend:
        """What Keras computed with, of a Keras fit."""
        return "torch" if "torch" in dict(self.spec.packages) else "tensorflow"

    @property
    def parts(self) -> Sequence[str]:
        """Names of its models: `pooled`, or the numbers of the series that each is for; none of a mean of seeds."""
        return tuple(self.about["parts"])

    def model(self, part: str) -> Path:
        """What the family wrote."""
        return self.folder / MODEL if self.parts == (POOLED,) else self.folder / MODEL / part

    def preparation(self, part: str) -> Preparation:
        """What inputs and forecasts of a part go through."""
        values = json.loads((self.folder / PREPARATION).read_bytes())
        return Preparation.from_json(values[part])

    @cached_property
    def members(self) -> "tuple[Bundle, ...]":
        """The bundles inside, in the order in which their forecasts are mixed."""
        return tuple(Bundle.read(self.folder / MEMBERS / name) for name in self.about["members"])

    @property
    def onnx(self) -> Mapping[str, Any]:
        """What onnx.json says."""
        found: dict[str, Any] = json.loads((self.folder / ONNX).read_bytes())
        return found

    @property
    def decision(self) -> Mapping[str, Any] | None:
        """What the gates said; None when nobody asked them."""
        found: dict[str, Any] | None = json.loads((self.folder / DECISION).read_bytes())
        return found

    @property
    def looks_ahead(self) -> bool:
        """Whether what is known of the rows to come may be read."""
        return self.family.inputs == "history" or any(member.looks_ahead for member in self.members)

    def require_packages(self) -> None:
        """See that the libraries that computed the fit are here, in the same versions.

        Raises:
            BundleRefused: another version, or none.
        """
        for name, wanted in self.spec.packages:
            found = installed(name)
            if found != wanted:
                raise BundleRefused(
                    f"{self.folder} was made with {name} {wanted}, got {found or 'none'}: its forecasts might differ; "
                    f"pip install {name}=={wanted}, or write the bundle again with what is here"
                )

    def _require_versions(self) -> None:
        """Features are made by raytrain, and what a family's files mean is its own affair."""
        written, now = (self.about["raytrain"], self.about["family_version"]), (__version__, self.family.version)
        if written != now:
            raise BundleRefused(
                f"{self.folder} was written by raytrain {written[0]} ({self.spec.family} version {written[1]}), this "
                f"is raytrain {now[0]} (version {now[1]}); install that one, or write the bundle again with this one"
            )
        for member in self.members:
            member._require_versions()


POOLED = "pooled"


def installed(package: str) -> str | None:
    """The version of a distribution, by its own name or that of its build for the CPU; None where it is not there."""
    for name in (package, f"{package}-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def checksums(folder: Path) -> str:
    """The text of SHA256SUMS, as `sha256sum --check` reads it: all files below but itself.

    Raises:
        BundleRefused: there is something that is neither a file nor a folder, or a link.
    """
    lines = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BundleRefused(f"a bundle may hold files and folders only, got {path}; remove it")
        if path.is_file() and path != folder / CHECKSUMS:
            lines.append(f"{file_hash(path)}  {path.relative_to(folder).as_posix()}\n")
    return "".join(lines)


def _require_whole(folder: Path) -> None:
    try:
        written, found = (_by_file(text) for text in ((folder / CHECKSUMS).read_text(), checksums(folder)))
    except (OSError, ValueError) as error:
        raise BundleRefused(f"{folder} cannot be read: {error}; copy the bundle again") from None
    for name in sorted(written.keys() | found.keys()):
        if written.get(name) != found.get(name):
            what = "is missing" if name not in found else "was added" if name not in written else "was changed"
            raise BundleRefused(
                f"a bundle must be as it was written, but {name} {what} in {folder}; copy it again from where it was "
                "written"
            )


def _by_file(text: str) -> dict[str, str]:
    """File -> checksum."""
    found = {}
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        found[name] = digest
    return found


def require_names(names: Iterable[str]) -> None:
    """Refuse what would lead out of the bundle.

    Raises:
        BundleRefused: a name is a path.
    """
    for name in names:
        if Path(name).name != name:
            raise BundleRefused(f"a part of a bundle must be named without a path, got `{name}`; write it again")


def _require_format(folder: Path, about: Mapping[str, Any]) -> None:
    if about["format"] != FORMAT:
        raise BundleRefused(
            f"{folder} is a bundle of format {about['format']}, this raytrain reads {FORMAT}; write it again"
        )

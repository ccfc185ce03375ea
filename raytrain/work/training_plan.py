"""A training plan: which targets and families a job takes on today, and which it leaves for another."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from raytrain import families
from raytrain.config import Section, load_section
from raytrain.errors import ConfigError, did_you_mean

USUAL = "default"


class Selection(Section):
    """Names to take, and names to leave out of them."""

    only: tuple[str, ...] = ()
    """Nothing but these; all when empty."""
    without: tuple[str, ...] = ()
    """Not these."""

    def takes(self, name: str) -> bool:
        """Whether the plan takes the name on."""
        return (not self.only or name in self.only) and name not in self.without

    @property
    def named(self) -> tuple[str, ...]:
        """Every name that it mentions."""
        return self.only + self.without


class TrainingPlan(Section):
    """A filter over what the config asks for."""

    targets: Selection = Selection()
    """By name: `return_1w`."""
    families: Selection = Selection()
    """By name, for all targets."""
    by_target: dict[str, Selection] = {}
    """Target -> families, beside `families`."""

    @classmethod
    def find(cls, name: str, folder: Path) -> "tuple[Self, Path] | None":
        """Read a plan: `auto` is `<folder>/default.yaml` if there is one, `x.yaml` a file, `none` no plan.

        Raises:
            ConfigError: there is no such plan, or it says something that cannot be.
        """
        path = Path(name) if name.endswith(".yaml") else folder / f"{USUAL if name == 'auto' else name}.yaml"
        if name == "none" or (name == "auto" and not path.is_file()):
            return None
        if not path.is_file():
            names = ["auto", "none", *sorted(found.stem for found in folder.glob("*.yaml"))]
            raise ConfigError(f"`{name}` is no training plan in {folder}; {did_you_mean(name, names)}")
        return load_section(cls, path), path

    def check(self, targets: Sequence[str], path: Path) -> None:
        """Refuse names that mean nothing.

        Raises:
            ConfigError: a target that the config does not have, an unknown family, or nothing left to do.
        """
        for name in (*self.targets.named, *self.by_target):
            if name not in targets:
                raise ConfigError(
                    f"{path} must name targets of the config, got `{name}`; {did_you_mean(name, targets)}"
                )
        for selection in (self.families, *self.by_target.values()):
            for name in selection.named:
                families.get(name)
        if not any(self.targets.takes(name) for name in targets):
            raise ConfigError(f"{path} must leave a target, got none of {', '.join(targets)}")

    def takes(self, target: str, family: str) -> bool:
        """Whether a family is fitted on a target today."""
        return (
            self.targets.takes(target)
            and self.families.takes(family)
            and self.by_target.get(target, Selection()).takes(family)
        )

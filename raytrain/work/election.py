"""Which device a family runs on: tried on each, compared, decided, and remembered for this machine.

A net that gains nothing on an accelerator, or computes something else there, runs on cores. The elected device is part
of a fit's key, so the answer is kept: it changes only when the library, the device, the machine or the net does.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np

from raytrain.data.atomic import replacing
from raytrain.engines.base import Device
from raytrain.folds import Fold
from raytrain.machine.detect import detect
from raytrain.machine.world import World
from raytrain.work.dataset import Dataset
from raytrain.work.devices import uses_slot
from raytrain.work.plan import PlannedFit, Recipe, Recipes, make_plan
from raytrain.work.spec import canonical_json
from raytrain.work.trial import Answer, Trial, ask

TOLERANCE = 0.1
"""How far forecasts may lie apart, as a share of what training has changed of them (root mean squares).

Measured on four nets: gradients that are off by a thousandth part them by at most 0.015, shuffled ones by at least 0.2.
"""

_NOT_OF_SIZE = frozenset(
    {"clip_norm", "dropout", "learning_rate", "max_steps", "num_epochs", "patience", "plateau_patience", "scale"}
    | {"scope", "valid_share", "weight_decay"}
)
"""Parameters that change neither what a gradient step computes nor how large it is."""

Ask = Callable[[Trial], Answer]
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Election:
    """Where a family runs, and why."""

    family: str
    device: Device
    why: str
    tried: Mapping[str, Mapping[str, Any]]
    """Device -> how the trial went there."""
    elected_at: str
    """When, as ISO 8601."""

    def __str__(self) -> str:
        return f"{self.family} runs on {self.device}: {self.why}"


def choose(device: Device, here: Answer, there: Answer) -> tuple[Device, str]:
    """The device to run on, and why.

    Args:
        device: the accelerator.
        here: how it went on the CPU.
        there: how it went on the accelerator.
    """
    if there.status != "ok":
        return "cpu", f"{device} {_how(there)}"
    if here.status == "ok":
        apart = difference(here, there)
        if not apart <= TOLERANCE:
            return "cpu", f"{device} forecasts something else: {apart:.1%} apart, at most {TOLERANCE:.0%} is noise"
        pace = f"a step takes {_milliseconds(there)} on {device}, {_milliseconds(here)} on the CPU"
        return (device if there.step_s < here.step_s else "cpu"), pace
    if here.status in ("hung", "out_of_memory"):
        return device, f"the CPU {_how(here)}; forecasts could not be compared"
    return "cpu", f"the CPU {_how(here)}, so nothing could be compared"


def difference(here: Answer, there: Answer) -> float:
    """How far forecasts lie apart, as a share of what training has changed of them; infinite when not comparable."""
    reference, other, before = (np.array(values) for values in (here.taught, there.taught, here.untaught))
    if not len(reference) or not reference.shape == other.shape == before.shape or not np.isfinite(other).all():
        return float("inf")
    changed = float(np.sqrt(np.mean((reference - before) ** 2)))
    apart = float(np.sqrt(np.mean((other - reference) ** 2)))
    return apart / changed if changed else float("inf") if apart else 0.0


def _how(answer: Answer) -> str:
    said = {"out_of_memory": "ran out of memory", "crashed": "crashed", "hung": "hung", "failed": "failed"}
    return f"{said[answer.status]} ({answer.cause})"


def _milliseconds(answer: Answer) -> str:
    return f"{1000 * answer.step_s:.3g} ms"


@dataclass(frozen=True)
class Book:
    """What was elected on this machine, in a file of its own."""

    path: Path

    @classmethod
    def of_machine(cls, store: Path, device: Device, world: World | None = None) -> Self:
        """The book of this machine and its accelerator below a store."""
        return cls(store / "elections" / f"{fingerprint(device, world or World())}.json")

    def read(self) -> dict[str, dict[str, Any]]:
        """Question -> election; empty when there is none that can be read."""
        try:
            found: dict[str, dict[str, Any]] = json.loads(self.path.read_text())["elections"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return found

    def keep(self, question: str, packages: Sequence[Sequence[str]], election: Election) -> None:
        """Write down an answer beside those that are there."""
        elections = self.read() | {question: asdict(election) | {"packages": [list(one) for one in packages]}}
        with replacing(self.path) as file:
            file.write(json.dumps({"elections": elections}, indent=1, sort_keys=True).encode())

    def find(self, question: str, packages: Sequence[Sequence[str]]) -> Election | None:
        """What was elected with these versions of the libraries; None when nothing was."""
        found = dict(self.read().get(question, {}))
        same = found.pop("packages", None) == [list(one) for one in packages]
        return _election(found) if same else None

    def elections(self) -> tuple[Election, ...]:
        """All that is remembered, by family, whatever the versions of the libraries were."""
        entries = [{name: entry[name] for name in entry if name != "packages"} for entry in self.read().values()]
        found = [election for election in map(_election, entries) if election is not None]
        return tuple(sorted(found, key=lambda one: (one.family, one.elected_at)))


def _election(entry: Mapping[str, Any]) -> Election | None:
    """What an entry says; None when it was written by hand, or by another version."""
    try:
        return Election(**entry)
    except TypeError:
        return None


def fingerprint(device: Device, world: World) -> str:
    """Names this machine, its accelerator and, for MPS, the system that drives it."""
    about: dict[str, Any] = {"machine": detect(world).model_dump(mode="json"), "device": device, "arch": world.machine}
    if device == "mps":
        about["system"] = world.sysctl("kern.osproductversion")
    if device == "cuda":
        about["devices"] = world.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    return hashlib.sha256(canonical_json(about).encode()).hexdigest()[:16]


def question(fit: PlannedFit) -> str:
    """Names a net at a size: the same tomorrow, when there is a row more."""
    params = {name: value for name, value in json.loads(fit.spec.params).items() if name not in _NOT_OF_SIZE}
    shape = {name: size for name, size in asdict(fit.shape).items() if name != "rows"}
    about = {"family": fit.spec.family, "version": fit.spec.family_version, "params": params, "shape": shape}
    return hashlib.sha256(canonical_json(about).encode()).hexdigest()[:32]


def elect(
    dataset: Dataset,
    folds: Sequence[Fold],
    what: Recipes,
    store: Path,
    *,
    ask: Ask = ask,
    tell: Tell = lambda text: None,
    book: Book | None = None,
) -> tuple[Election, ...]:
    """Where the families run that could use the accelerator; nothing is tried where there is none.

    Args:
        dataset: what the fits see.
        folds: what they are trained and tested on; the newest, which has most rows, is tried.
        what: the families.
        store: keeps what is elected, and the dataset for those who try.
        ask: tries a family on a device.
        tell: is told what is being tried, because it takes its time.
        book: what was elected before; that of this machine when left out.
    """
    device = what.slot_device
    recipes = tuple(recipe for recipe in what.recipes if uses_slot(recipe.family))
    if device == "cpu" or not recipes:
        return ()
    book = book or Book.of_machine(store, device)
    plan = make_plan(dataset, folds[-1:], replace(what, recipes=recipes, seeds=what.seeds[:1], devices={}))
    first = {fit.spec.family: fit for fit in reversed(plan.fits)}
    polls = _Polls(dataset, store, device, ask, tell, book)
    return tuple(polls.hold(recipe, first[recipe.name]) for recipe in recipes if recipe.name in first)


@dataclass(frozen=True)
class _Polls:
    dataset: Dataset
    store: Path
    device: Device
    ask: Ask
    tell: Tell
    book: Book

    def hold(self, recipe: Recipe, fit: PlannedFit) -> Election:
        """What is remembered, or a new trial."""
        asked, packages = question(fit), fit.spec.packages
        if remembered := self.book.find(asked, packages):
            return remembered
        here, there = self._try(fit, "cpu"), self._try(fit, self.device)
        device, why = choose(self.device, here, there)
        election = Election(
            family=recipe.name,
            device=device,
            why=why,
            tried={"cpu": _facts(here), self.device: _facts(there)},
            elected_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        # What works nowhere says nothing of the devices: mended, it is tried again.
        if "ok" in (here.status, there.status):
            self.book.keep(asked, packages, election)
        return election

    def _try(self, fit: PlannedFit, device: Device) -> Answer:
        self.tell(f"trying {fit.spec.family} on {device}")
        folder = self.dataset.save(self.store / "prepared")
        return self.ask(Trial(spec=replace(fit.spec, device=device), dataset=folder))


def _facts(answer: Answer) -> dict[str, Any]:
    """An answer without its forecasts."""
    facts = asdict(answer)
    return {name: facts[name] for name in ("status", "cause", "step_s", "peak_memory_bytes")}

"""What MLflow's registry must show: one registered model per target, a version per version of the journal, aliases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raytrain.evaluation.champions.journal import FOLDER, Entry, Journal, Standing

KEY_TAG = "raytrain.key"
APPLIED_TAG = "raytrain.applied"
"""On a registered model: the newest entry of the journal that it shows."""
CHAMPION = "champion"
CHALLENGER = "challenger"


@dataclass(frozen=True, kw_only=True)
class VersionState:
    """One model version."""

    key: str
    seq: int
    """Of the entry that promoted it last, or else brought it."""
    family: str
    run_id: str
    """Of raytrain."""
    source: str
    """Where its files are: the bundle's folder, or the entry where no bundle was made."""
    entry: str
    """Path of the entry, which holds the decision."""
    description: str
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """One registered model."""

    name: str
    target: str
    seq: int
    """Of the newest entry of the target."""
    versions: Sequence[VersionState]
    """In the order of the journal."""
    aliases: Mapping[str, str | None]
    """Alias -> the key of the version that it names; None for none."""


def model_name(target: str) -> str:
    """How a target's registered model is called."""
    return f"raytrain-{target}"


def state_of(journal: Journal) -> list[ModelState]:
    """What the registry must show for a journal."""
    newest = {entry.version.target: entry.seq for entry in journal.entries}
    return [_model(journal.store, target, one, newest[target]) for target, one in _written(journal).items()]


def _written(journal: Journal) -> dict[str, Standing]:
    """Only what has an entry of its own: champions of a former file get theirs with the next promotion."""
    return Journal(journal.store, journal.entries).standings()


def _model(store: Path, target: str, standing: Standing, seq: int) -> ModelState:
    return ModelState(
        name=model_name(target),
        target=target,
        seq=seq,
        versions=[_version(store, standing.number(key), entry) for key, entry in standing.versions.items()],
        aliases={CHAMPION: standing.champion, CHALLENGER: standing.challenger},
    )


def _version(store: Path, number: int, entry: Entry) -> VersionState:
    version, path = entry.version, (store / FOLDER / entry.file).resolve()
    source = path if version.bundle is None else (store / version.bundle).resolve()
    tags = {
        "raytrain.version": str(number),
        "raytrain.run_id": version.run_id,
        "raytrain.fit": version.fit or "",
        "raytrain.bundle": version.bundle or "",
        "family": version.family,
        "target": version.target,
        "decision": str((version.decision or {}).get("verdict", "")),
        "reason": version.reason,
    }
    return VersionState(
        key=version.key,
        seq=entry.seq,
        family=version.family,
        run_id=version.run_id,
        source=source.as_uri(),
        entry=str(path),
        description=f"{version.family} for {version.target}: {version.reason}",
        tags={name: text[:5000] for name, text in tags.items() if text},
    )

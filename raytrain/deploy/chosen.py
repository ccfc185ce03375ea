"""Which bundle is deployed, and with which runtime."""

from pathlib import Path

from raytrain.deploy.contents import Bundle
from raytrain.deploy.forecaster import Runtime
from raytrain.errors import ConfigError, did_you_mean
from raytrain.evaluation.champions.journal import Journal


def choose_bundle(bundle: Path | None, store: Path | None, champion: str) -> Bundle:
    """The bundle of a folder, or the one of a target's champion.

    Raises:
        BundleRefused: it is not whole, or of another version.
        ConfigError: neither is named, or the target has no champion with a bundle.
    """
    if bundle is not None and champion:
        raise ConfigError(f"either --bundle or --champion must be given, got {bundle} and {champion}; leave one out")
    if bundle is not None:
        return Bundle.open(bundle)
    if store is None or not champion:
        raise ConfigError("a bundle must be named, got none; add --bundle DIR, or --store DIR --champion TARGET")
    return Bundle.open(_of_champion(store, champion))


def _of_champion(store: Path, target: str) -> Path:
    standings = Journal.read(store).standings()
    standing = standings.get(target)
    if standing is None or standing.champion is None:
        with_one = [name for name, one in standings.items() if one.champion is not None]
        raise ConfigError(
            f"`champion` must be a target that has one, got {target} in {store}; {did_you_mean(target, with_one)}"
        )
    version = standing.versions[standing.champion].version
    if version.bundle is None or not (store / version.bundle).exists():
        raise ConfigError(
            f"the champion for {target} has no bundle, or has no more, got {version.family} of run {version.run_id}; "
            "run daily again, which writes one"
        )
    return store / version.bundle


def choose_runtime(bundle: Bundle, wanted: Runtime | None, *, elsewhere: bool) -> Runtime:
    """What was wanted; else a graph where the bundle goes elsewhere and has one, as that needs no training library."""
    if wanted is not None:
        return wanted
    return "onnx" if elsewhere and bundle.onnx["files"] else "native"

"""Who is in production: `python -m raytrain.jobs.promote [--config FILE] [--store DIR] ACTION [--target TARGET]`.

ACTION is one of --list, --to VERSION, --rollback and --sync. Each change is one entry of the journal in
`<store>/promotions`, with who, when and why; --sync brings MLflow's registry up to date.
"""

import argparse

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raytrain.errors import ConfigError
from raytrain.evaluation.champions.journal import BY_HAND, Entry, Journal, Standing, Version
from raytrain.evaluation.champions.promotions import promote_to, rolling_back
from raytrain.jobs import _command, _terminal
from raytrain.run_config import RunConfig
from raytrain.tracking.records import TrackingFailed
from raytrain.tracking.registry import sync_registry, waiting
from raytrain.tracking.registry_state import CHALLENGER, CHAMPION

FLAGS = ("list", "rollback", "sync")


class PromoteConfig(RunConfig):
    """A run's config, and a change."""

    to: str = ""
    """The version that takes over: its number, or the beginning of its key."""
    target: str = ""
    """The target, as `return_1w`; needed where several have versions."""


def promote(config: PromoteConfig, options: argparse.Namespace) -> int:
    """Show or change who is in production."""
    chosen = [name for name in FLAGS if getattr(options, name)] + (["to"] if config.to else [])
    if len(chosen) != 1:
        given = " and ".join(f"--{name}" for name in chosen) or "none"
        raise ConfigError(f"one of --list, --to VERSION, --rollback and --sync must be given, got {given}")
    console = _terminal.make_console()
    return {"list": _list, "to": _to, "rollback": _rollback, "sync": _sync}[chosen[0]](config, console)


def _list(config: PromoteConfig, console: Console) -> int:
    journal = Journal.read(config.store)
    standings = {name: one for name, one in journal.standings().items() if config.target in ("", name)}
    if not standings:
        of = f" for {config.target}" if config.target else ""
        console.print(f"no versions{of} in {config.store}: nothing was ever promoted", highlight=False)
        return _command.OK
    console.print(versions_table(standings))
    by_hand = [entry for entry in journal.entries if entry.action in BY_HAND and entry.version.target in standings]
    for entry in by_hand:
        console.print(_told(entry, standings[entry.version.target]), markup=False, highlight=False, soft_wrap=True)
    if config.tracking.mlflow and (left := waiting(journal)):
        line = f"{left} changes wait for MLflow's registry; --sync applies them"
        console.print(line, markup=False, highlight=False)
    return _command.OK


def versions_table(standings: dict[str, Standing]) -> Table:
    """Every version of every target."""
    table = Table(title="Versions", title_justify="left", header_style="bold")
    for name in ("target", "version", "family", "when", "by", "alias", "key"):
        table.add_column(name, justify="right" if name == "version" else "left", no_wrap=True)
    table.add_column("why", ratio=1)
    for target, standing in sorted(standings.items()):
        aliases = {standing.champion: CHAMPION, standing.challenger: CHALLENGER}
        for number, (key, entry) in enumerate(standing.versions.items(), start=1):
            alias = Text(aliases.get(key, ""), style="bold green" if key == standing.champion else "yellow")
            told = (entry.version.family, entry.at[:16].replace("T", " "), entry.by)
            table.add_row(target, str(number), *map(Text, told), alias, key[:8], Text(entry.version.reason))
        table.add_section()
    return table


def _told(entry: Entry, standing: Standing) -> str:
    number, version = standing.number(entry.version.key), entry.version
    before = "none" if entry.previous is None else f"version {standing.number(entry.previous)}"
    did = "rolled back" if entry.action == "rollback" else "promoted by name"
    return f"{entry.at[:16].replace('T', ' ')} {version.target}: {before} to version {number}, {did} by {entry.by}"


def _to(config: PromoteConfig, console: Console) -> int:
    entry = promote_to(config.store, config.to, config.target)
    if entry is None:
        console.print(f"version {config.to} is the champion already; nothing was changed", highlight=False)
    else:
        _print_champion(config, console, entry)
    return _mirror(config, console)


def _rollback(config: PromoteConfig, console: Console) -> int:
    with rolling_back(config.store, config.target) as entry:
        _print_champion(config, console, entry)
        return _mirror(config, console)


def _print_champion(config: PromoteConfig, console: Console, entry: Entry) -> None:
    standing, version = Journal.read(config.store).standings()[entry.version.target], entry.version
    lines = [
        _told(entry, standing),
        f"champion for {version.target}: version {standing.number(version.key)}, {version.family} of run "
        f"{version.run_id}, bundle: {_bundle(config, version) or 'none; the next run fits it anew'}",
    ]
    if entry.previous is not None:
        left = standing.versions[entry.previous].version
        if left.recipe in standing.barred:
            lines.append(f"no run promotes the {left.family} recipe that was left until --to names a version of it")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _bundle(config: PromoteConfig, version: Version) -> str | None:
    """Its folder below the store, where it has not been swept."""
    return version.bundle if version.bundle and (config.store / version.bundle).exists() else None


def _sync(config: PromoteConfig, console: Console) -> int:
    return _mirror(config, console, always=True)


def _mirror(config: PromoteConfig, console: Console, *, always: bool = False) -> int:
    """Bring the registry up to date; one that is down does not undo what was decided."""
    try:
        made = sync_registry(config.store, config.tracking, always=always)
    except TrackingFailed as error:
        console.print(f"note: {error}", markup=False, highlight=False, soft_wrap=True)
        return _command.SOME_FAILED if always else _command.OK
    state = f"MLflow's registry is up to date; {made} versions were added to it"
    console.print(state if config.tracking.mlflow else "MLflow is off: tracking.mlflow is false", highlight=False)
    return _command.OK


if __name__ == "__main__":
    _command.main(PromoteConfig, promote, __doc__ or "", FLAGS)

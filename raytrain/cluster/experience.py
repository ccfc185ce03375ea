"""What the finished fits of a store teach about costs, remembered in an index so that a large store is read once."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from raytrain.schedule.costs import CostModel, CostRecord, Outline
from raytrain.work.store import RESULT, ResultStore

FORECAST_S = 0.3
"""A prior for a fit whose model is kept from before: it is loaded and forecasts."""

INDEX = "costs-1.jsonl"
"""A line of JSON for each result that was read: its key and its record, null for one that teaches nothing. It only
grows, and says nothing about what exists: that is what the folders are asked for. The number names its form."""
_NEWEST = 32
"""Records of equal fits from which a model learns; older ones add time and no knowledge."""


def learned_costs(store: ResultStore) -> CostModel:
    """Costs as the finished fits of this store teach them; a time in which the machine slept teaches nothing."""
    return CostModel(_newest(_records(store)))


def _records(store: ResultStore) -> Iterator[CostRecord]:
    """Those of all results that are there, the oldest first: from the index, and from results that it lacks."""
    there = set(_keys(store))
    known = _read(store) if there else {}
    new = _of_results(store, sorted(there - known.keys()))
    _append(store, new)
    yield from (_from_json(record) for key, record in (known | new).items() if record and key in there)


def _keys(store: ResultStore) -> Iterator[str]:
    """The keys of the results on the disk."""
    with suppress(FileNotFoundError):
        for shard in os.listdir(store.root / "fits"):
            with suppress(NotADirectoryError, FileNotFoundError):
                yield from (name for name in os.listdir(store.root / "fits" / shard) if not name.startswith("."))


def _read(store: ResultStore) -> dict[str, dict[str, Any] | None]:
    """What the index says; a line that is torn says nothing."""
    found: dict[str, dict[str, Any] | None] = {}
    try:
        lines = (store.root / INDEX).read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            found[entry["key"]] = entry["record"]
    return found


def _append(store: ResultStore, new: Mapping[str, dict[str, Any] | None]) -> None:
    if not new:
        return
    lines = "".join(json.dumps({"key": key, "record": record}) + "\n" for key, record in new.items())
    with (store.root / INDEX).open("a", encoding="utf-8") as file:
        # The line before may be torn: it must not take the next one with it.
        file.write("\n" + lines)


def _of_results(store: ResultStore, keys: Iterable[str]) -> dict[str, dict[str, Any] | None]:
    """The records of results in the order in which they were stored, None for one that teaches nothing.

    What cannot be read is left out: it is put aside when its fit is asked for.
    """
    found = []
    for key in keys:
        with suppress(OSError, ValueError, KeyError, TypeError):
            result = json.loads((store.folder(key) / RESULT).read_text())
            record = _record(result)
            found.append((result.get("stored_at", ""), key, None if record is None else asdict(record)))
    return {key: record for _, key, record in sorted(found, key=lambda one: one[:2])}


def _from_json(record: Mapping[str, Any]) -> CostRecord:
    return CostRecord(**{**record, "fit": Outline(**record["fit"])})


def _newest(records: Iterable[CostRecord]) -> list[CostRecord]:
    """Of each kind of fit the newest few."""
    kinds: dict[tuple[Any, ...], list[CostRecord]] = {}
    for one in records:
        kind = (one.fit.family, one.fit.device, one.fit.trained, one.fit.params, one.fit.target, one.threads)
        kinds.setdefault((*kind, one.starts_process), []).append(one)
    return [one for seen in kinds.values() for one in seen[-_NEWEST:]]


def _record(result: Mapping[str, Any]) -> CostRecord | None:
    spec, prior, trained = result["spec"], result["prior"], result.get("reused_model", False)
    cost = result["spent"] if trained else result["cost"]
    if cost.get("slept"):
        return None
    outline = Outline(
        family=spec["family"],
        engine=result.get("engine", ""),
        device=cost["device"],
        params=spec["params"],
        target=spec["target"],
        prior_work_s=FORECAST_S if trained else prior["work_s"],
        prior_memory_bytes=prior["memory_bytes"],
        budget_s=spec["budget_s"],
        trained=trained,
    )
    return CostRecord(
        fit=outline,
        threads=cost["threads"],
        wall_s=cost["wall_s"],
        cpu_s=cost["cpu_s"],
        peak_memory_bytes=cost["peak_memory_bytes"],
        cut_short=result["cut_short"] and not trained,
        starts_process=result.get("starts_process", False),
    )

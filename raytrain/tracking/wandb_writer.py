"""The process that talks to Weights & Biases: `python -m raytrain.tracking.wandb_writer STORE < what`.

It reads where to log and a `RunRecord` as JSON, and prints the folder of the run. When W&B refuses, the last line on
stderr is the cause.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from raytrain.tracking.mlflow_writer import NON_FINITE_TAG, split_finite
from raytrain.tracking.records import ChildRecord, RunRecord

TABLE = "families"


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is read from the input."""

    project: str
    entity: str | None
    mode: str
    run: RunRecord


def write(wandb: Any, store: Path, told: Told) -> Path:
    """Log one run; the same run logged twice stays one, because its id is raytrain's.

    Args:
        wandb: the module.
        store: W&B makes its folder below.
        told: what to log.
    """
    record = told.run
    settings = wandb.Settings(
        init_timeout=30,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    run = wandb.init(
        project=told.project,
        entity=told.entity,
        mode=told.mode,
        dir=store,
        id=record.run_id,
        name=record.run_id,
        resume="allow" if told.mode == "online" else None,
        job_type="daily",
        config={**record.params, **record.tags},
        settings=settings,
    )
    folder = Path(run.dir).parent
    finite, not_finite = split_finite(record.metrics)
    run.log({**finite, TABLE: wandb.Table(**table_of(record.children))})
    run.summary.update(summary_of(record.children))
    run.summary["status"] = record.status
    if not_finite:
        run.summary[NON_FINITE_TAG] = ", ".join(not_finite)
    for path in record.artifacts:
        run.save(str(path), base_path=str(Path(path).parent), policy="now")
    run.finish(exit_code=0 if record.status == "FINISHED" else 1)
    return folder


def table_of(children: Sequence[ChildRecord]) -> dict[str, list[Any]]:
    """One row per child; what it does not have, or is not finite, is empty.

    Returns:
        `columns` and `data`, as `wandb.Table` takes them.
    """
    metrics = _names(child.metrics for child in children)
    tags = _names(child.tags for child in children)
    rows = [
        [_name(child), child.family, child.target, child.status]
        + [split_finite(child.metrics)[0].get(name) for name in metrics]
        + [child.tags.get(name) for name in tags]
        for child in children
    ]
    return {"columns": ["name", "family", "target", "status", *metrics, *tags], "data": rows}


def summary_of(children: Sequence[ChildRecord]) -> dict[str, float]:
    """`lightgbm/return_1w/val_mape`: figures to compare over runs."""
    return {
        f"{_name(child)}/{name}": value for child in children for name, value in split_finite(child.metrics)[0].items()
    }


def _name(child: ChildRecord) -> str:
    return child.name or f"{child.family}/{child.target}"


def _names(mappings: Any) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def main(arguments: list[str]) -> None:
    [store] = arguments
    told = TypeAdapter(Told).validate_json(sys.stdin.read())
    import wandb

    try:
        print(write(wandb, Path(store), told))
    except (wandb.Error, OSError) as error:
        sys.exit(str(error).splitlines()[0] if str(error) else type(error).__name__)


if __name__ == "__main__":
    main(sys.argv[1:])

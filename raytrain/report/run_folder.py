"""What a run leaves behind: `<store>/runs/<run_id>/` and `<store>/latest`."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from raytrain.data.atomic import replacing
from raytrain.report.page import render
from raytrain.report.view import RunView


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    store: Path
    run_id: str

    @classmethod
    def name(cls, store: Path, started: datetime) -> "RunFolder":
        """A folder that does not exist yet; names sort by time."""
        return cls(store, f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}")

    @property
    def path(self) -> Path:
        """Where the run's files are."""
        return self.store / "runs" / self.run_id

    def write_tables(self, view: RunView) -> None:
        """Keep predictions, forecast and the fits as Parquet."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name in ("predictions", "forecast", "fits", "scores"):
            getattr(view, name).write_parquet(self.path / f"{name}.parquet", compression="zstd")
        if view.insight is not None:
            view.insight.write(self.path)

    def write_summary(self, summary: Mapping[str, Any]) -> Path:
        """Keep summary.json, replaced in one step."""
        with replacing(self.path / "summary.json") as file:
            file.write(json.dumps(summary, indent=1, allow_nan=False).encode())
        return self.path / "summary.json"

    def write_report(self, view: RunView) -> Path:
        """Keep the page."""
        path = self.path / "report.html"
        path.write_text(render(view), encoding="utf-8")
        return path

    def point_latest(self) -> None:
        """Let `<store>/latest` name this run, in one step."""
        beside = self.store / f".latest.{os.getpid()}"
        beside.unlink(missing_ok=True)
        beside.symlink_to(Path("runs") / self.run_id, target_is_directory=True)
        os.replace(beside, self.store / "latest")

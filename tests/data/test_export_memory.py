"""An export of a million rows takes no more memory than one of a tenth of them."""

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

DAYS = 10_000
PEAK = """
import re, sys
from pathlib import Path
from raytrain.data.export import ExportConfig
from raytrain.jobs import _command
from raytrain.jobs.export import export_job
code = _command.run(ExportConfig, export_job, "", ["full"], sys.argv[1:])
print("peak", re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""


def panel(num_series: int) -> pl.DataFrame:
    """Rows by date, then series."""
    days = pl.date_range(
        datetime.date(1990, 1, 1), datetime.date(1990, 1, 1) + datetime.timedelta(days=DAYS - 1), eager=True
    )
    names = pl.DataFrame({"series_id": [f"S{i:03d}" for i in range(num_series)]})
    return pl.DataFrame({"date": days}).join(names, how="cross").with_columns(close=pl.int_range(pl.len()) / 7)


def peak_kb(server: Any, out: Path) -> int:
    options = ["--data.kind", "bigquery", "--data.bigquery.table", "shop.prices.daily", "--out", str(out)]
    command = [sys.executable, "-c", PEAK, *options, "--data.bigquery.api_endpoint", server.url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{server.table.height} rows fetched: {server.table.height} new" in done.stdout
    return int(done.stdout.split("peak ")[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux' /proc")
def test_memory_is_constant(bigquery: Any, tmp_path: Path) -> None:
    bigquery.table = panel(10)
    small = peak_kb(bigquery, tmp_path / "small")
    bigquery.table = panel(100)
    large = peak_kb(bigquery, tmp_path / "large")
    assert large < 1.25 * small

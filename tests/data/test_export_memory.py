"""An export of ten times the rows takes no more memory, from whatever source."""

import datetime
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

DAYS = 10_000
PEAK = """
import os, re, sys
from pathlib import Path
from raytrain.data.export import ExportConfig
from raytrain.jobs import _command
from raytrain.jobs.export import export_job
if address := os.environ.get("STORAGE"):
    import google.auth, grpc
    from google.cloud import bigquery_storage
    from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
    real = bigquery_storage.BigQueryReadClient
    channel = grpc.insecure_channel(address)
    bigquery_storage.BigQueryReadClient = lambda credentials: real(transport=BigQueryReadGrpcTransport(channel=channel))
    google.auth.default = lambda scopes: (google.auth.credentials.AnonymousCredentials(), "shop")
code = _command.run(ExportConfig, export_job, "", ["full"], sys.argv[1:])
print("peak", re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux' /proc")


def panel(num_series: int) -> pl.DataFrame:
    """Rows by date, then series."""
    days = pl.date_range(
        datetime.date(1990, 1, 1), datetime.date(1990, 1, 1) + datetime.timedelta(days=DAYS - 1), eager=True
    )
    names = pl.DataFrame({"series_id": [f"S{i:03d}" for i in range(num_series)]})
    return pl.DataFrame({"date": days}).join(names, how="cross").with_columns(close=pl.int_range(pl.len()) / 7)


def peak_kb(rows: int, out: Path, *options: str, **env: str) -> int:
    command = [sys.executable, "-c", PEAK, *options, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | env)
    assert done.returncode == 0, done.stderr
    assert f"{rows} rows fetched: {rows} new" in done.stdout
    return int(done.stdout.split("peak ")[1])


def write(kind: str, table: pl.DataFrame, folder: Path) -> list[str]:
    """Put the table where a source of this kind finds it; gives the options of the export."""
    if kind.startswith("csv"):
        path = folder / f"table.{kind}"
        table.write_csv(path, compression="gzip" if kind == "csv.gz" else "uncompressed")
        return ["--data.kind", "csv", "--data.path", str(path)]
    table.write_parquet(path := folder / "table.parquet")
    if kind == "parquet":
        return ["--data.kind", "parquet", "--data.path", str(path)]
    if kind == "duckdb over parquet":
        return ["--data.kind", "duckdb", "--data.query", f"SELECT * FROM '{path}'"]
    with duckdb.connect(str(database := folder / "table.duckdb")) as connection:
        connection.execute(f"CREATE OR REPLACE TABLE bars AS SELECT * FROM '{path}'")
    return ["--data.kind", "duckdb", "--data.path", str(database), "--data.query", "SELECT * FROM bars"]


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz", "duckdb", "duckdb over parquet"])
def test_memory_is_constant(kind: str, tmp_path: Path) -> None:
    small, large = (
        peak_kb(DAYS * num_series, tmp_path / f"out{num_series}", *write(kind, panel(num_series), tmp_path))
        for num_series in (10, 100)
    )
    assert large < 1.3 * small


def test_memory_is_constant_for_a_wide_file_of_one_row_group(tmp_path: Path) -> None:
    def wide(num_series: int) -> int:
        table = panel(num_series).with_columns((pl.int_range(pl.len()) % 997 / i).alias(f"x{i}") for i in range(1, 21))
        table.write_parquet(tmp_path / "wide.parquet", row_group_size=table.height)
        options = ["--data.kind", "parquet", "--data.path", str(tmp_path / "wide.parquet")]
        return peak_kb(table.height, tmp_path / f"out{num_series}", *options)

    small, large = wide(10), wide(100)
    assert large < 1.3 * small


@pytest.mark.parametrize("way", ["page by page", "storage"])
def test_memory_is_constant_for_bigquery(way: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    bigquery = request.getfixturevalue("bigquery")
    options = ["--data.kind", "bigquery", "--data.bigquery.table", "shop.prices.daily"]
    env: dict[str, str] = {}
    if way == "storage":
        storage = request.getfixturevalue("storage")
        storage.rows_per_message = 50_000
        env = {"STORAGE": storage.address}
    else:
        options += ["--data.bigquery.api_endpoint", bigquery.url]
    peaks = []
    for num_series in (10, 100):
        bigquery.table = panel(num_series)
        peaks.append(peak_kb(bigquery.table.height, tmp_path / f"out{num_series}", *options, **env))
    if way == "storage":
        assert storage.calls == ["session", "rows@0"] * 2
    assert peaks[1] < 1.3 * peaks[0]

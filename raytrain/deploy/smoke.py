"""The last step of every deploy: what was deployed must forecast what the bundle itself forecasts.

`python -m raytrain.deploy.smoke BUNDLE ROWS OUT` writes the bundle's own forecasts, in a process of its engine.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

import numpy as np
import polars as pl

from raytrain.data.frame import SERIES
from raytrain.deploy.contents import Bundle
from raytrain.deploy.forecaster import Forecaster, Runtime
from raytrain.deploy.invented import invented_rows
from raytrain.deploy.remote import process_env
from raytrain.deploy.rows import read_rows
from raytrain.deploy.wire import from_rows
from raytrain.errors import RaytrainError

TOLERANCE = 1e-5
"""Largest difference that is accepted of a graph, in parts of the largest value of a column; native has none."""
REQUEST_S = 120.0
_KEYS = ("target", SERIES)


class DeployFailed(RaytrainError):
    """What was deployed cannot be reached, or is not what was sent; the same command may succeed later."""


@dataclass(frozen=True)
class Smoke:
    """Rows, and what the bundle forecasts from them."""

    rows: pl.DataFrame
    expected: pl.DataFrame

    def compare(self, found: pl.DataFrame, runtime: Runtime, place: str) -> str:
        """See that forecasts made elsewhere are the expected ones.

        Returns:
            A sentence about it.

        Raises:
            DeployFailed: they are not.
        """
        expected, got = (table.sort(_KEYS) for table in (self.expected, found))
        if not expected.select(_KEYS).equals(got.select(_KEYS)):
            raise DeployFailed(f"{place} must forecast {len(expected)} targets and series, got {len(got)} others")
        if expected.equals(got.select(expected.columns)):
            return f"{place} forecasts what the bundle does, to the bit ({len(expected)} forecasts)"
        worst = max(_difference(expected[name], got[name]) for name in _numbers(expected))
        if runtime == "native" or not worst <= TOLERANCE:
            raise DeployFailed(
                f"{place} must forecast what the bundle does, got a difference of {worst:.2g} of the largest value; "
                "do not use it"
            )
        return f"{place} forecasts what the bundle does, within {worst:.1g} ({len(expected)} forecasts)"


def prepare_smoke(bundle: Bundle, data: Path | None) -> Smoke:
    """The rows of a file, or invented ones, and the native forecasts from them.

    Raises:
        DataError: the rows cannot be read.
        DeployFailed: the bundle does not forecast from them.
    """
    rows = invented_rows(bundle) if data is None else newest_rows(bundle, read_rows(bundle, data))
    return Smoke(rows, own_forecasts(bundle, rows))


def newest_rows(bundle: Bundle, rows: pl.DataFrame) -> pl.DataFrame:
    """What a request need not be longer than."""
    by = [bundle.data.series] if bundle.data.series in rows.columns else []
    return rows.group_by(by, maintain_order=True).tail(bundle.schema.advised_rows) if by else rows


def own_forecasts(bundle: Bundle, rows: pl.DataFrame) -> pl.DataFrame:
    """A bundle's native forecasts, made in a process of its engine."""
    with tempfile.TemporaryDirectory() as name:
        given, out = Path(name, "rows.parquet"), Path(name, "forecasts.parquet")
        rows.write_parquet(given)
        command = [sys.executable, "-m", __name__, str(bundle.folder), str(given), str(out)]
        env = os.environ | process_env(bundle)
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            told = done.stderr.strip().rpartition("\n")[2] or f"code {done.returncode}"
            raise DeployFailed(f"{bundle.spec.label} cannot forecast from the rows of the smoke test: {told}")
        return pl.read_parquet(out)


def ask(url: str, rows: pl.DataFrame, like: pl.DataFrame, token: str = "", **more: Any) -> pl.DataFrame:
    """The forecasts of a service that speaks as ours does.

    Args:
        url: of the service; https, or on loopback when a token is sent.
        rows: to forecast from.
        like: a table of the types that are expected.
        token: that says who is asking.
        more: keys of the request beside the rows.

    Raises:
        DeployFailed: no answer, or one that is not a forecast.
    """
    body = json.dumps({"columns": as_columns(rows)} | more).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    answer = call(f"{url.rstrip('/')}/predict", body, headers)
    return from_rows(answer["forecasts"], like)


def call(url: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float = REQUEST_S) -> Any:
    """A request's JSON answer.

    Raises:
        DeployFailed: there is none.
    """
    opener = _opener(url)
    try:
        with opener.open(Request(url, body, dict(headers)), timeout=timeout_s) as answer:
            return json.load(answer)
    except HTTPError as error:
        told = error.read(2000).decode(errors="replace")
        raise DeployFailed(f"{url} must answer, got {error.code}: {told}") from None
    except (URLError, OSError, ValueError) as error:
        raise DeployFailed(f"{url} must answer, got {error}; start the command again") from None


class _NoRedirect(HTTPRedirectHandler):
    """Nobody else gets the token."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(url: str) -> OpenerDirector:
    """Asks by https, or on loopback past any proxy: no token goes over the network in the clear."""
    if url.startswith(("http://127.0.0.1:", "http://localhost:", "http://[::1]:")):
        return build_opener(_NoRedirect, ProxyHandler({}))
    if not url.startswith("https://"):
        raise DeployFailed(f"a service must be asked by https, got {url}")
    return build_opener(_NoRedirect)


def as_columns(rows: pl.DataFrame) -> dict[str, list[Any]]:
    """As a request has them: dates as text, what is no number as null."""
    return {name: _plain(rows[name]).to_list() for name in rows.columns}


def _plain(values: pl.Series) -> pl.Series:
    if values.dtype.is_temporal():
        return values.dt.to_string("iso:strict")
    if values.dtype.is_float():
        return values.to_frame().select(pl.when(pl.first().is_finite()).then(pl.first())).to_series()
    return values


def _numbers(table: pl.DataFrame) -> list[str]:
    return [name for name, kind in table.schema.items() if kind.is_float()]


def _difference(expected: pl.Series, got: pl.Series) -> float:
    """In parts of the largest expected value; infinite where one of both is unknown."""
    a, b = (one.cast(pl.Float64).to_numpy() for one in (expected, got))
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return np.inf
    return float(np.nanmax(np.abs(a - b), initial=0.0) / (np.nanmax(np.abs(a), initial=0.0) or 1.0))


def main(folder: Path, rows: Path, out: Path) -> None:
    """Forecast from a file into a file."""
    try:
        with Forecaster.load(Bundle.open(folder)) as forecaster:
            forecaster.forecast(pl.read_parquet(rows)).write_parquet(out)
    except RaytrainError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))

"""W&B for real, offline: files are written, no connection is opened, no key is needed, nothing is left running."""

import json
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from raytrain.tracking.config import TrackingConfig
from raytrain.tracking.records import ChildRecord, RunRecord, TrackingFailed
from raytrain.tracking.wandb_store import log_to_wandb

OFFLINE = TrackingConfig(wandb=True, experiment="desk")
ONLINE = TrackingConfig(wandb=True, wandb_mode="online")
FAMILIES = ("naive", "lightgbm")
MARK = "STARTED_BY_WANDB_TEST"


class Ear:
    """Listens on loopback, counts who calls, and refuses each."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.calls = 0
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self.socket.accept()
            except OSError:
                return
            with caller:
                self.calls += 1
                caller.settimeout(5)
                with suppress(OSError):
                    caller.recv(65536)
                    caller.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ear]:
    """Whoever wants to reach W&B, or anything through a proxy, comes here; there is no key and a home of its own."""
    for name in [name for name in os.environ if name.startswith("WANDB_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    found = Ear()
    for name in ("WANDB_BASE_URL", "HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, found.url)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv(MARK, str(tmp_path))
    (tmp_path / "home").mkdir()
    yield found
    found.close()


def record(tmp_path: Path) -> RunRecord:
    summary = tmp_path / "summary.json"
    summary.write_text('{"status": "ok"}')
    children = [
        ChildRecord(
            family=family,
            target="return_1w",
            metrics={"val_mape": 3.5, "skill": math.inf, "sharpe": 1.25},
            tags={"decision": "HOLD"},
        )
        for family in FAMILIES
    ]
    return RunRecord(
        run_id="20261120T010203Z-ab12",
        started_at=1_000,
        ended_at=9_000,
        status="FINISHED",
        params={"data.rows": "5"},
        metrics={"wall_s": 2.5, "utilisation": math.nan},
        tags={"data_hash": "abc"},
        artifacts=[summary],
        children=children,
    )


def left_running(mark: str) -> list[str]:
    """What is still there after ten seconds: W&B's helper ends by itself once its parent is gone."""
    end = time.monotonic() + 10
    while (found := running(mark)) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def running(mark: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_offline_a_run_is_kept_for_later_and_nobody_is_called(
    ear: Ear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    monkeypatch.setattr("raytrain.tracking.writer.WRITER_TIMEOUT_S", 250.0)
    folder = log_to_wandb(store, OFFLINE, record(tmp_path))
    assert folder is not None
    assert folder.parent == store / "wandb"
    assert folder.name.startswith("offline-run-")
    # Records of the file are protobuf, which keeps texts as they are.
    history = (folder / "run-20261120T010203Z-ab12.wandb").read_bytes()
    for text in (b"desk", b"data.rows", b"wall_s", b"lightgbm/return_1w/val_mape", b"raytrain.metrics_not_finite"):
        assert text in history
    assert b"lightgbm/return_1w/skill" not in history
    [table] = (folder / "files" / "media" / "table").glob("families*.table.json")
    rows = [[f"{name}/return_1w", name, "return_1w", "FINISHED", 3.5, None, 1.25, "HOLD"] for name in FAMILIES]
    columns = ["name", "family", "target", "status", "val_mape", "skill", "sharpe", "decision"]
    assert json.loads(table.read_text()) == {"columns": columns, "data": rows}
    assert (folder / "files" / "summary.json").exists()
    assert ear.calls == 0
    assert left_running(str(tmp_path)) == []
    assert list((tmp_path / "home").iterdir()) == [], "W&B writes below the store only"


def test_online_without_a_key_says_so(ear: Ear, tmp_path: Path) -> None:
    with pytest.raises(TrackingFailed, match=r"20261120T010203Z-ab12 .*: No API key configured.*`wandb login`.*false"):
        log_to_wandb(tmp_path / "store", ONLINE, record(tmp_path))


def test_online_a_key_that_is_refused_is_a_failed_tracking(
    ear: Ear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the ear hears who connects: its silence in the test above says something."""
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setattr("raytrain.tracking.writer.WRITER_TIMEOUT_S", 250.0)
    with pytest.raises(TrackingFailed, match="Weights & Biases could not log run"):
        log_to_wandb(tmp_path / "store", ONLINE, record(tmp_path))
    assert ear.calls > 0
    assert left_running(str(tmp_path)) == []


def test_off_is_the_default(tmp_path: Path) -> None:
    assert log_to_wandb(tmp_path / "store", TrackingConfig(), record(tmp_path)) is None
    assert not (tmp_path / "store").exists()


def test_without_the_library_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("raytrain.tracking.wandb_store.find_spec", lambda name: None)
    with pytest.raises(TrackingFailed, match=r"not installed; `pip install 'raytrain\[wandb\]'` brings it\. The run"):
        log_to_wandb(tmp_path / "store", OFFLINE, record(tmp_path))


def test_a_store_that_cannot_be_made_is_a_failed_tracking(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(TrackingFailed, match=r"Not a directory|File exists"):
        log_to_wandb(tmp_path / "store", OFFLINE, record(tmp_path))

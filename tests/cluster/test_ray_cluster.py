"""A real Ray on this machine."""

import json
import stat
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from raytrain.cluster.config import ClusterConfig
from raytrain.cluster.ray_cluster import Cluster, RayNotUp, open_cluster, sweep
from raytrain.errors import ConfigError
from raytrain.machine.profile import MachineProfile

pytestmark = pytest.mark.cluster

PROFILE = MachineProfile(name="test", pcores=3, ecores=2, memory_gb=8, slot="cpu")


def test_a_cluster_is_shaped_like_the_profile_and_leaves_nothing(
    tmp_path: Path, ray_left: Callable[[], dict[int, str]]
) -> None:
    with open_cluster(PROFILE, ClusterConfig(), tmp_path) as cluster:
        total = ray.cluster_resources()
        assert {name: total[name] for name in ("CPU", "pcore", "ecore", "mps", "thermal")} == {
            "CPU": 3.0,
            "pcore": 3.0,
            "ecore": 2.0,
            "mps": 1.0,
            "thermal": 3.0,
        }
        assert "GPU" not in total
        assert (cluster.cores, cluster.slots) == (3, 1)
        # Ray's default of 15 more would leave fits the crumbs of any other busy program.
        assert ray.get(ray.remote(lambda: psutil.Process().nice()).remote()) == psutil.Process().nice()
        assert cluster.address.startswith("127.")
        assert cluster.dashboard is not None
        assert cluster.dashboard.startswith("http://127.0.0.1:")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{cluster.dashboard}/api/version")
        session = Path(json.loads((tmp_path / "ray.json").read_text())["session"])
        assert stat.S_IMODE((Path("/tmp/ray") / session).stat().st_mode) & 0o077 == 0
        assert stat.S_IMODE((Path.home() / ".ray" / "auth_token").stat().st_mode) & 0o077 == 0
    assert not (tmp_path / "ray.json").exists()
    psutil.wait_procs([psutil.Process(pid) for pid in ray_left()], timeout=10)
    assert not ray_left()


def test_a_run_uses_the_cluster_that_ray_address_names_and_leaves_it(
    tmp_path: Path, tiny: list[str], daily: Callable[..., Any]
) -> None:
    with open_cluster(PROFILE, ClusterConfig(), tmp_path / "head") as cluster:
        done = daily(
            [*tiny, "--families", "naive,lightgbm", "--params.lightgbm.num_rounds", "5"], RAY_ADDRESS=cluster.address
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"Ray at {cluster.address}: 3 cores" in done.stdout
        names = _task_names(cluster)
        assert "lightgbm return_1d 2018-01-01 s42" in names
        assert "naive return_1w latest s42" in names or "lightgbm return_1w latest s42" in names


def _task_names(cluster: Cluster) -> set[str]:
    from ray.util.state import list_tasks

    return {task.name for task in list_tasks(address=cluster.address, limit=1000)}


def test_a_machine_outside_a_cluster_and_one_without_the_token_are_told_at_once(
    tmp_path: Path, job_env: dict[str, str]
) -> None:
    ask = (
        "import sys\n"
        "from raytrain.cluster import address\n"
        "if sys.argv[2] == 'outside':\n"
        "    address.find_node_ids = lambda: {'a1'}\n"
        "address.require_reachable(sys.argv[1], 10)\n"
    )
    stranger = {"RAY_AUTH_TOKEN": "0" * 32, "RAY_AUTH_MODE": "token"}
    nobody = {"HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}

    def says(where: str, **env: str) -> str:
        command = [sys.executable, "-c", ask, cluster.address, where]
        done = subprocess.run(command, env=job_env | env, capture_output=True, text=True, check=False)
        return done.stderr.strip().splitlines()[-1] if done.returncode else ""

    with open_cluster(PROFILE, ClusterConfig(dashboard=False), tmp_path / "head") as cluster:
        assert says("inside") == ""
        assert "a cluster that this machine is a node of" in says("outside")
        for env in (stranger, nobody):
            assert "a cluster that lets us in" in says("inside", **env)
            assert "copy the token of its head" in says("inside", **env)


def test_a_cluster_with_too_few_nodes_is_refused_with_the_number(tmp_path: Path) -> None:
    config = ClusterConfig(dashboard=False, min_nodes=2, join_timeout_s=0)
    with pytest.raises(ConfigError, match=r"cluster.min_nodes = 2 .* got 1 after 0 s"):
        with open_cluster(PROFILE, config, tmp_path):
            raise AssertionError("it may not start")


def test_what_a_killed_driver_left_is_swept_and_nothing_else(tmp_path: Path, job_env: dict[str, str]) -> None:
    start = (
        "import os, pathlib, sys\n"
        "from raytrain.cluster.config import ClusterConfig\n"
        "from raytrain.cluster.ray_cluster import open_cluster\n"
        "from raytrain.machine.profile import MachineProfile\n"
        "profile = MachineProfile(name='test', pcores=1, memory_gb=4, slot='cpu')\n"
        "with open_cluster(profile, ClusterConfig(dashboard=False), pathlib.Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", start, str(tmp_path)], env=job_env, check=False)
    session = json.loads((tmp_path / "ray.json").read_text())["session"]
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "session_other"])
    try:
        sweep(tmp_path)
        left = [p for p in psutil.process_iter(["cmdline"]) if session in " ".join(p.info["cmdline"] or [])]
        assert left == []
        assert bystander.poll() is None
        assert sweep(tmp_path) == 0
    finally:
        bystander.kill()
        bystander.wait()


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes Ray's next starts miss its own time, after its processes are up."""
    from ray._private import node, services

    real, left, ahead = services.get_node, [0], [0.0]

    def get_node(*args: Any) -> Any:
        if not left[0]:
            return real(*args)
        left[0] -= 1
        ahead[0] += 60.0
        raise RuntimeError("not yet")

    clock = types.SimpleNamespace(**vars(time) | {"monotonic": lambda: time.monotonic() + ahead[0]})
    monkeypatch.setattr(services, "get_node", get_node)
    monkeypatch.setattr(node, "time", clock)
    return lambda starts: left.__setitem__(0, starts)


def _heads(ray_left: Callable[[], dict[int, str]]) -> int:
    return sum("/gcs_server" in command for command in ray_left().values())


@pytest.mark.timeout(300)
def test_a_start_that_misses_its_time_on_a_busy_machine_is_tried_once_more(
    tmp_path: Path, late: Callable[[int], None], ray_left: Callable[[], dict[int, str]]
) -> None:
    late(1)
    with open_cluster(PROFILE, ClusterConfig(dashboard=False), tmp_path):
        assert ray.cluster_resources()["pcore"] == 3.0
        assert _heads(ray_left) == 1, "what was half up is left"


@pytest.mark.timeout(300)
def test_a_start_that_misses_its_time_twice_is_told_and_leaves_nothing(
    tmp_path: Path, late: Callable[[int], None], ray_left: Callable[[], dict[int, str]]
) -> None:
    late(2)
    with (
        pytest.raises(RayNotUp, match=r"timed out during startup.*run the same command again"),
        open_cluster(PROFILE, ClusterConfig(dashboard=False), tmp_path),
    ):
        raise AssertionError("it is not up")
    psutil.wait_procs([psutil.Process(pid) for pid in ray_left()], timeout=10)
    assert not ray_left()
    assert not ray.is_initialized()
    with open_cluster(PROFILE, ClusterConfig(dashboard=False), tmp_path):
        assert ray.cluster_resources()["pcore"] == 3.0

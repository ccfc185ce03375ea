import configparser
import json
import os
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from raytrain.cluster.nodes import NODE_ROOT
from raytrain.config import load
from raytrain.machine.detect import detect
from raytrain.run_config import RunConfig

JOBS = Path(__file__).parents[2] / "jobs"
DAILY = ["-m", "raytrain.jobs.daily", "--config"]
SUBMIT = JOBS / "ray" / "submit.sh"
NODE = JOBS / "ray" / "node.sh"
CLUSTERS = sorted((JOBS / "ray").glob("*.yaml"))
KUBERNETES = JOBS / "kubernetes"


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True, delimiters="=")
    parser.optionxform = str
    parser.read_string((JOBS / "systemd" / name).read_text())
    return parser


def test_no_python_module_hides_here():
    assert list(JOBS.rglob("*.py")) == []


def test_launchd_runs_the_daily_job_unthrottled():
    plist = plistlib.loads((JOBS / "launchd" / "dev.raytrain.daily.plist").read_bytes())
    assert plist["Label"] == "dev.raytrain.daily"
    assert plist["ProgramArguments"] == ["/ABS/.venv/bin/python", *DAILY, "/ABS/configs/daily.yaml"]
    assert plist["ProcessType"] == "Interactive"
    assert plist["LowPriorityIO"] is False
    assert plist["StartCalendarInterval"] == {"Hour": 5, "Minute": 30}
    assert plist["Umask"] == 0o077
    assert {"/opt/homebrew/bin", "/usr/sbin"} <= set(plist["EnvironmentVariables"]["PATH"].split(":"))
    assert "Nice" not in plist


def test_systemd_runs_the_daily_job_once_and_stops_it_in_order():
    service = unit("raytrain-daily.service")["Service"]
    assert shlex.split(service["ExecStart"]) == ["/ABS/.venv/bin/python", *DAILY, "/ABS/configs/daily.yaml"]
    assert (service["Type"], service["KillMode"], service["UMask"]) == ("oneshot", "mixed", "0077")


def test_the_timer_makes_up_for_a_missed_morning():
    timer = unit("raytrain-daily.timer")
    assert timer["Timer"]["OnCalendar"] == "*-*-* 05:30:00"
    assert timer["Timer"]["Persistent"] == "true"
    assert timer["Install"]["WantedBy"] == "timers.target"


def test_cron_has_one_entry_that_runs_the_daily_job():
    lines = (JOBS / "cron" / "raytrain.crontab").read_text().splitlines()
    [entry] = [line for line in lines if line and not line.startswith(("#", "PATH="))]
    *when, command = entry.split(maxsplit=5)
    assert when == ["30", "5", "*", "*", "*"]
    assert " ".join(["&& .venv/bin/python", *DAILY]) in command
    assert "%" not in command, "cron reads % as the end of the line"


@pytest.mark.parametrize("script", [SUBMIT, NODE], ids=lambda path: path.name)
def test_scripts_are_valid_and_executable(script: Path):
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_submit_without_an_address_says_what_it_needs():
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run([str(SUBMIT)], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "RAY_ADDRESS=http://127.0.0.1:8265" in done.stderr


def a_clone(clone: Path, script: Path, says: str = 'printf "%s\\n" "$@"') -> Path:
    """A copy of a script in a clone of its own, whose `ray` does no more than what it is told to say."""
    copy, ray = clone / "jobs" / "ray" / script.name, clone / ".venv" / "bin" / "ray"
    copy.parent.mkdir(parents=True)
    ray.parent.mkdir(parents=True)
    shutil.copy(script, copy)
    ray.write_text(f"#!/bin/sh\n{says}\n")
    ray.chmod(0o755)
    return copy


def test_submit_passes_every_argument_to_the_job(tmp_path: Path):
    """A copy of the script in a clone of its own, whose `ray` prints what it is called with."""
    clone = tmp_path / "a clone"
    script = a_clone(clone, SUBMIT)
    environ = {"PATH": os.environ["PATH"], "RAY_ADDRESS": "http://head:8265"}
    command = [str(script), "--store", "/shared/my store"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        *("job", "submit", "--address", "http://head:8265", "--working-dir", str(clone), "--"),
        *("python", "-m", "raytrain.jobs.daily", "--store", "/shared/my store"),
    ]


def test_a_node_offers_what_was_detected_of_it_and_asks_for_the_token(tmp_path: Path):
    clone = tmp_path / "clone"
    script = a_clone(clone, NODE, 'printf "%s\\n" "$RAY_AUTH_MODE" "$RAY_task_oom_retries" "$@"')
    python = clone / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    done = subprocess.run([str(script), "--head"], capture_output=True, text=True, check=True)
    mode, retries, command, *options = done.stdout.splitlines()
    assert (mode, retries, command, options[-1]) == ("token", "0", "start", "--head")
    given = dict(option.split("=", 1) for option in options if "=" in option)
    here = detect()
    assert (given["--num-cpus"], given["--num-gpus"]) == (str(here.pcores), str(here.num_gpus))
    assert json.loads(given["--resources"]) == here.custom_resources()
    assert given["--memory"] == str(here.memory_bytes)
    assert given["--dashboard-host"] == "127.0.0.1"


@pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.stem)
def test_ray_up_accepts_the_cluster(path: Path):
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(path.read_text()))
    validate_config(config)
    fixed = [kind["min_workers"] == kind["max_workers"] for kind in config["available_node_types"].values()]
    assert all(fixed), "a run counts the cores that are there when it starts"


@pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.stem)
def test_ray_up_starts_every_node_as_a_person_would(path: Path):
    config = yaml.safe_load(path.read_text())
    head, worker = (config[f"{kind}_start_ray_commands"][-1] for kind in ("head", "worker"))
    assert head.startswith("~/raytrain/jobs/ray/node.sh --head --port=6379 --autoscaling-config=")
    assert worker == "~/raytrain/jobs/ray/node.sh --address=$RAY_HEAD_IP:6379"
    assert config["file_mounts"] == {"~/raytrain": "/ABS", "~/.ray/auth_token": "~/.ray/auth_token"}
    assert {".venv", ".git", "store"} <= set(config["rsync_exclude"])
    makefile = (JOBS.parent / "Makefile").read_text()
    assert config["setup_commands"] == ["cd ~/raytrain && make install"]
    assert re.search(r"^install:", makefile, re.MULTILINE)


def rayjob() -> dict[str, Any]:
    return dict(yaml.safe_load((KUBERNETES / "rayjob.yaml").read_text()))


def pods() -> list[dict[str, Any]]:
    """The head's and the workers' groups."""
    cluster = rayjob()["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_the_rayjob_uses_keys_that_kuberay_knows():
    job = rayjob()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job["spec"]) <= {
        *("entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"),
        *("activeDeadlineSeconds", "rayClusterSpec", "submissionMode", "runtimeEnvYAML", "suspend"),
    }
    cluster = job["spec"]["rayClusterSpec"]
    assert set(cluster) == {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
    head, *workers = pods()
    assert set(head) == {"serviceType", "rayStartParams", "template"}
    for group in workers:
        assert set(group) == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
        assert group["replicas"] == group["minReplicas"] == group["maxReplicas"]
    assert all(isinstance(value, str) for group in pods() for value in group["rayStartParams"].values())


def test_the_rayjob_runs_a_command_that_exists_with_options_that_are_known():
    words = shlex.split(rayjob()["spec"]["entrypoint"])
    assert words[:5] == ["env", "--chdir=/home/ray/raytrain", "python", "-m", "raytrain.jobs.daily"]
    where = words.index("--config") + 1
    config = load(RunConfig, [JOBS.parent / words[where]], words[where + 1 :])
    assert (config.store, config.data.path) == (Path("/store"), "/data")
    mounts = {mount["mountPath"] for mount in pods()[0]["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert mounts == {"/store", "/data"}


def test_the_cluster_on_kubernetes_asks_for_a_token_and_is_not_offered_to_the_world():
    cluster = rayjob()["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    for group in pods():
        assert group["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
        assert group["template"]["spec"]["automountServiceAccountToken"] is False


def test_images_are_named_by_the_versions_that_the_code_was_tested_with():
    ours = tomllib.loads((JOBS.parent / "pyproject.toml").read_text())["project"]["version"]
    images = {container["image"] for group in pods() for container in group["template"]["spec"]["containers"]}
    assert images == {f"REGISTRY/raytrain:{ours}"}
    dockerfile = (KUBERNETES / "Dockerfile").read_text()
    assert f"FROM rayproject/ray:{version('ray')}-py311" in dockerfile
    assert f"REGISTRY/raytrain:{ours}" in dockerfile
    assert rayjob()["spec"]["rayClusterSpec"]["rayVersion"] == version("ray")
    copied = re.findall(r"^COPY --chown=ray (.+) \S+$", dockerfile, re.MULTILINE)
    assert all((JOBS.parent / name).exists() for names in copied for name in names.split())


def test_workers_offer_the_cores_they_have_and_fetch_into_a_cache():
    for group in pods()[1:]:
        [container] = group["template"]["spec"]["containers"]
        start, limits = group["rayStartParams"], container["resources"]["limits"]
        # Quoted twice: KubeRay puts it into a command as it is.
        offer = json.loads(json.loads(start["resources"]))
        assert str(offer["pcore"]) == str(offer["thermal"]) == start["num-cpus"] == limits["cpu"]
        env = {one["name"]: one["value"] for one in container["env"]}
        assert env[NODE_ROOT] in {mount["mountPath"] for mount in container["volumeMounts"]}
        assert env["RAY_task_oom_retries"] == "0"
    assert pods()[0]["rayStartParams"]["num-cpus"] == "0"


def test_no_secret_is_written_down():
    files = [path for path in JOBS.rglob("*") if path.is_file()]
    assert len(files) > 8
    found = [
        (path.name, line)
        for path in files
        for line in path.read_text().splitlines()
        if re.search(
            r"(?i)(password|secret|token|api_?key)\S*\s*[:=]\s*['\"]?[0-9a-z/+]{12,}|BEGIN .*PRIVATE KEY", line
        )
        and "auth_token" not in line
    ]
    assert found == []

import configparser
import os
import plistlib
import shlex
import shutil
import subprocess
from pathlib import Path

JOBS = Path(__file__).parents[2] / "jobs"
DAILY = ["-m", "raytrain.jobs.daily", "--config"]
SUBMIT = JOBS / "ray" / "submit.sh"


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


def test_submit_is_a_valid_executable_script():
    assert os.access(SUBMIT, os.X_OK)
    subprocess.run(["bash", "-n", str(SUBMIT)], check=True)


def test_submit_without_an_address_says_what_it_needs():
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run([str(SUBMIT)], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "RAY_ADDRESS=http://127.0.0.1:8265" in done.stderr


def test_submit_passes_every_argument_to_the_job(tmp_path: Path):
    """A copy of the script in a clone of its own, whose `ray` prints what it is called with."""
    clone = tmp_path / "a clone"
    script, ray = clone / "jobs" / "ray" / "submit.sh", clone / ".venv" / "bin" / "ray"
    script.parent.mkdir(parents=True)
    ray.parent.mkdir(parents=True)
    shutil.copy(SUBMIT, script)
    ray.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    ray.chmod(0o755)
    environ = {"PATH": os.environ["PATH"], "RAY_ADDRESS": "http://head:8265"}
    command = [str(script), "--store", "/shared/my store"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        *("job", "submit", "--address", "http://head:8265", "--working-dir", str(clone), "--"),
        *("python", "-m", "raytrain.jobs.daily", "--store", "/shared/my store"),
    ]

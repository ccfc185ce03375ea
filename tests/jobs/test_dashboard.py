import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster


def status(url: str, seconds: float = 60) -> int:
    """The HTTP status of a page, once it answers."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as page:
                return int(page.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            assert time.monotonic() < end, f"{url} does not answer"
            time.sleep(0.3)


def test_both_pages_are_served_on_loopback_until_stopped(tmp_path: Path, job_env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "raytrain.jobs.dashboard", "--store", str(tmp_path)]
    with subprocess.Popen(command, env=job_env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(3))
        pages = re.findall(r"http://127\.0\.0\.1:\d+", said)
        assert len(pages) == 2, said
        assert [status(page) for page in pages] == [200, 200]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "Traceback" not in err

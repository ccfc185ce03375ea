import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from raytrain.report.page import render

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def page_file(tmp_path_factory):
    """The report of the synthetic run that tests/report uses."""
    make_view = runpy.run_path(str(Path(__file__).parents[1] / "report" / "conftest.py"))["make_view"]
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(render(make_view()), encoding="utf-8")
    return file


@pytest.fixture
def browse(page_file, tmp_path):
    """Open a page in a headless browser with these options; returns what it printed."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip(f"no browser on PATH: one of {', '.join(NAMES)}")

    def opened(*options, file=page_file):
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", profile, *options, file.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)

    return opened

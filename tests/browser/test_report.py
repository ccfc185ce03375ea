import json
import re

import pytest

pytestmark = pytest.mark.browser

PROBE = """
<script>
addEventListener("load", () => {
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const ink = getComputedStyle(document.body).color, paper = getComputedStyle(document.body).backgroundColor;
  const flat = [...document.querySelectorAll("svg")].filter(one => one.getBoundingClientRect().height < 40).length;
  const strokes = [...document.querySelectorAll("#forecast svg path")].map(one => getComputedStyle(one).stroke);
  document.title = JSON.stringify({wide, ink, paper, flat, inked: strokes.includes(ink)});
});
</script>
"""


@pytest.fixture
def measured(page_file, tmp_path, browse):
    """Let the browser lay the page out and measure it."""

    def found(*options):
        probed = tmp_path / "probed.html"
        page = page_file.read_text(encoding="utf-8")
        probed.write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
        title = re.search(r"<title>(\{.*?\})</title>", browse("--dump-dom", *options, file=probed).stdout)
        assert title, "the page never finished loading"
        return json.loads(title[1])

    return found


def test_the_browser_keeps_every_element(browse):
    done = browse("--dump-dom", "--enable-logging=stderr")
    assert "<title>raytrain 20181231-180500-a1b2</title>" in done.stdout
    assert done.stdout.count("<svg ") == 9
    assert ">+3.0\N{NARROW NO-BREAK SPACE}%</b>" in done.stdout
    assert "CONSOLE" not in done.stderr, "the page logged an error"


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_fits_the_window_and_every_plot_has_a_height(measured, width):
    found = measured(f"--window-size={width},900")
    assert found["wide"] == 0
    assert found["flat"] == 0


def test_light_and_dark_pages_differ_and_the_plots_follow(measured):
    light = measured("--blink-settings=preferredColorScheme=1")
    dark = measured("--blink-settings=preferredColorScheme=0")
    assert light["ink"] != dark["ink"] and light["paper"] != dark["paper"]
    assert light["inked"] and dark["inked"]


def test_a_picture_can_be_taken(browse, tmp_path):
    picture = tmp_path / "page.png"
    browse("--window-size=1280,2000", f"--screenshot={picture}")
    assert picture.stat().st_size > 50_000, "a blank page is smaller"

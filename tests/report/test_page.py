import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import polars as pl
import pytest

from raytrain.report.page import MAX_FAILURES, render
from raytrain.report.words import MINUS, THIN

TABLES = ("scores", "fold_scores", "predictions", "forecast", "fits")
VOID = {"meta", "br"}
NASTY = "</svg><script>alert(1)</script> $x_{ & \"' 大豆油 {{ 7 * 7 }}"


class Reader(HTMLParser):
    """Tags and visible text; fails on a tag that is closed out of order."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words, self.attributes, self._open = [], [], [], []
        self.feed(page)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value) for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub("[ \n]+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def page(view):
    return render(view)


def test_the_page_is_well_formed_and_every_section_is_there(page):
    reader = Reader(page)
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "Decisions", "Forecast", "Forecast against actual", "Skill by fold", "Where the skill is", "Calibration",
        "Live forecasts", "Timeline of fits", "Costs by family", "Failures", "Versions and data",
    ]  # fmt: skip
    links = {value for name, value in reader.attributes if name == "href"}
    anchors = {f"#{value}" for name, value in reader.attributes if name == "id"}
    assert links and links <= anchors
    assert reader.tags.count("svg") == 2 + 6 + 1


def test_ids_are_unique(page):
    ids = [value for name, value in Reader(page).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_a_cell_shows_skill_with_its_interval_and_each_number_beside_its_baseline(page):
    text = Reader(page).text
    assert f"+3.0{THIN}% +1.5{THIN}% to +5.0{THIN}%" in text
    assert f"MAPE 1.99{THIN}% naive 2.00{THIN}%" in text
    assert "Sharpe 0.40 long 0.62" in text
    assert f"{MINUS}5.0{THIN}%" in text


def test_every_rule_of_every_candidate_is_listed(page, view):
    reader = Reader(page)
    rules = [rule for one in view.decisions if one.family != "naive" for rule in one.rules]
    assert sum(word == "mape" for word in reader.words) == len(rules) / 2
    assert "Sharpe could not be measured" in reader.text


def test_a_failure_is_a_row_with_what_to_try(page):
    text = Reader(page).text
    assert "FitError: the loss became NaN at epoch 3, batch 17" in text
    assert "lower the learning rate: --params.lstm.learning_rate 3e-4" in text


def test_the_page_asks_nothing_of_the_outside(page):
    reader = Reader(page)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page)
    assert not {"script", "link", "iframe", "img", "object", "base"} & set(reader.tags)
    assert "src" not in {name for name, _ in reader.attributes}


def test_the_same_view_gives_the_same_bytes_in_another_process(page):
    code = (
        "import runpy, sys\n"
        "from raytrain.report.page import render\n"
        "sys.stdout.buffer.write(render(runpy.run_path(sys.argv[1])['make_view']()).encode())"
    )
    conftest = Path(__file__).with_name("conftest.py")
    done = subprocess.run([sys.executable, "-c", code, str(conftest)], capture_output=True, check=True)
    assert done.stdout == page.encode()


def test_any_name_is_harmless(view):
    frames = {
        table: getattr(view, table).with_columns(
            pl.lit(NASTY).alias(name) for name in ("series_id", "label", "family", "fold", "worker", "device")
            if name in getattr(view, table).columns
        )
        for table in ("predictions", "forecast", "fits", "fold_scores")
    }  # fmt: skip
    decisions = [replace(one, reason=NASTY, label=NASTY) for one in view.decisions]
    failures = [dict.fromkeys(view.failures[0], NASTY)]
    summary = {**view.summary, "run_id": NASTY, "heat": NASTY, "warnings": [NASTY], "versions": {NASTY: NASTY}}
    page = render(replace(view, **frames, decisions=decisions, failures=failures, summary=summary))
    reader = Reader(page)
    assert "script" not in reader.tags
    assert page.count("<svg ") == page.count("</svg>")
    assert "49" not in page.partition("大豆油")[2][:20]


@pytest.mark.parametrize("table", TABLES)
def test_each_table_may_be_empty(view, table):
    Reader(render(replace(view, **{table: getattr(view, table).clear()})))


def test_a_run_that_gave_nothing_says_so_in_every_section(empty_view):
    page = render(empty_view)
    assert page.count('class="empty"') == 10
    assert "<svg" not in page and "None" not in Reader(page).text and "nan" not in Reader(page).text


def test_a_run_from_the_store_says_so(view, plain_view):
    fits = view.fits.with_columns(start_s=None, end_s=None, status=pl.lit("cached"))
    counts = {**dict.fromkeys(view.summary["fits"], 0), "total": 45, "cached": 45}
    summary = {**view.summary, "fits": counts, "utilisation": None, "lower_bound_s": None}
    assert (
        "Nothing ran: 45 fits came from the store."
        in Reader(render(replace(plain_view, fits=fits, summary=summary))).text
    )


def test_a_run_in_which_every_fit_failed_is_shown(view, plain_view):
    """Columns that nothing filled have no type."""
    costs = ("wall_s", "cpu_s", "peak_memory_bytes")
    fits = view.fits.with_columns(*(pl.lit(None).alias(name) for name in costs), status=pl.lit("failed"))
    fits = fits.with_columns(start_s=pl.lit(1.0), end_s=pl.lit(2.5), worker=None)
    text = Reader(render(replace(plain_view, fits=fits))).text
    assert f"45 fits ran within 1.5{THIN}s, from 1.0{THIN}s after the start" in text


def test_one_series_one_fold_and_one_date_are_enough(remake):
    small = remake(("only",), 240)
    first = pl.col("date") == small.predictions["date"].min()
    one = replace(
        small,
        predictions=small.predictions.filter(first),
        fold_scores=small.fold_scores.filter(pl.col("fold") == "2016"),
        fits=small.fits.tail(1),
    )
    page = render(one)
    assert page.count("<svg ") == 1 + 3 + 1


def test_unknown_numbers_are_dashes(plain_view):
    floats = [name for name, kind in plain_view.scores.schema.items() if kind == pl.Float64]
    unknown = plain_view.scores.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in floats)
    text = Reader(render(replace(plain_view, scores=unknown))).text
    assert not re.search(r"\bNone\b(?! of)|\bnan\b", text)


def test_targets_are_named_only_where_the_horizon_does_not_tell_them_apart(plain_view, page):
    twice = pl.concat([plain_view.scores, plain_view.scores.with_columns(target="price_" + pl.col("label"))])
    assert "<small>return_1w</small>" not in page
    assert "<small>return_1w</small>" in render(replace(plain_view, scores=twice))


def test_a_big_run_stays_a_small_file(remake):
    page = render(remake(("a", "b", "c", "d"), 2500))
    assert len(page.encode()) < 3_000_000


def test_many_failures_are_cut_and_counted(plain_view):
    page = render(replace(plain_view, failures=[plain_view.failures[0]] * (MAX_FAILURES + 20)))
    assert page.count("the loss became NaN") == MAX_FAILURES
    assert f"The first {MAX_FAILURES} of 120" in page


def test_a_summary_without_a_key_is_refused(plain_view):
    summary = {name: value for name, value in plain_view.summary.items() if name != "heat"}
    with pytest.raises(jinja2.UndefinedError, match="heat"):
        render(replace(plain_view, summary=summary))

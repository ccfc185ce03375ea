"""The findings on the page."""

from dataclasses import replace

from raytrain.data.diagnostics import Diagnostics, Finding, RegimeReturns
from raytrain.report.diagnostics import MAX_FINDINGS, section
from raytrain.report.page import render, render_check
from raytrain.report.view import RunView

NASTY = "<script>alert(1)</script>"


def found(num: int = 1) -> Diagnostics:
    finding = Finding(check="bad_print", level="error", message=NASTY, column="close", series="A", value=12.34567)
    calm = RegimeReturns(column="vix", regime="calm", rows=1234, share=0.5, mean=-0.05, deviation=0.2, sharpe=None)
    wild = RegimeReturns(column="mood", regime="wild", rows=7, share=1.0, mean=0.1, deviation=0.2, sharpe=0.5)
    return Diagnostics(source="bars", rows=10, series=1, findings=(finding,) * num, regimes=(calm, wild))


def test_a_page_of_its_own_escapes_and_asks_for_nothing() -> None:
    page = render_check(found().to_json())

    assert NASTY not in page
    assert "&lt;script&gt;" in page
    assert "bad prints" in page
    assert "close, A" in page
    assert "12.3" in page
    assert "1,234" in page
    assert "1 error, 0 warnings" in page
    for asked in ("http", "url(", "<script", "src="):
        assert asked not in page


def test_nothing_found_is_said() -> None:
    page = render_check(Diagnostics(source="bars", rows=10, series=1, findings=()).to_json())

    assert "Nothing to remark." in page


def test_many_findings_are_cut_and_counted() -> None:
    shown = section(found(MAX_FINDINGS + 50).to_json())

    assert len(shown["findings"]) == MAX_FINDINGS
    assert "The first 200 of 250" in render_check(found(MAX_FINDINGS + 50).to_json())
    assert [name for name, _ in shown["regimes"]] == ["vix", "mood"]


def test_a_run_shows_them_when_it_has_them(plain_view: RunView) -> None:
    checked = replace(plain_view, summary={**plain_view.summary, "diagnostics": found().to_json()})

    assert "Data before training" in render(checked)
    assert 'href="#diagnostics"' in render(checked)
    assert "Data before training" not in render(plain_view)

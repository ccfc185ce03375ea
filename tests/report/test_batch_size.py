from html import escape

import pytest

from raytrain.report.batch_size import BatchSizeView, render_batch_size
from raytrain.work.batch_search import BatchSearch, BatchSearchConfig, Measured

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def view() -> BatchSizeView:
    """8 and 16 fit, 32 does not."""
    fits = [
        Measured(
            batch_size=size,
            status="ok",
            samples_per_s=100.0 * size,
            step_s=0.01,
            peak_memory_bytes=size * 10**8,
            memory_bytes=4 * 10**9,
        )
        for size in (8, 16)
    ]
    last = Measured(batch_size=32, status="out_of_memory", cause=EVIL)
    search = BatchSearch(BatchSearchConfig(), 64, 32, [*fits, last])
    return BatchSizeView(family="gru", label="gru return_1d", device="cpu", machine="m4", search=search)


def test_the_page_has_the_answer_the_table_and_a_plot(view: BatchSizeView) -> None:
    page = render_batch_size(view)
    assert "gru on m4: batches of 16" in page
    assert page.count("<svg") == 1
    assert page.count("<tr>") == 4
    assert "out of memory" in page
    assert page == render_batch_size(view)


def test_texts_are_escaped_and_nothing_is_fetched(view: BatchSizeView) -> None:
    page = render_batch_size(view)
    assert EVIL not in page and escape(EVIL) in page
    assert "http" not in page.split("</style>")[1]


def test_a_search_that_found_nothing_has_a_page_too(view: BatchSizeView) -> None:
    empty = BatchSearch(BatchSearchConfig(), 64, 32, view.search.measured[-1:])
    page = render_batch_size(BatchSizeView(**{**vars(view), "search": empty}))
    assert "gru on m4: no answer" in page
    assert "<svg" not in page

"""A search for a batch size as one HTML file: speed and memory by batch size, and the answer."""

from dataclasses import dataclass

from markupsafe import Markup

from raytrain.report import svg
from raytrain.report.page import environment
from raytrain.work.batch_search import BatchSearch, Measured


@dataclass(frozen=True, kw_only=True)
class BatchSizeView:
    """What the page shows."""

    family: str
    label: str
    """Of the fit that was measured."""
    device: str
    machine: str
    search: BatchSearch


def render_batch_size(view: BatchSizeView) -> str:
    """The page of a search, the same bytes for the same view."""
    search = view.search
    speeds = [one.samples_per_s for one in search.measured if one.samples_per_s]
    return (
        environment()
        .get_template("batch_size.jinja")
        .render(
            vars(view),
            head_room=search.config.head_room,
            answer=search.answer,
            end=search.end,
            measured=search.measured,
            fastest=max(speeds, default=1.0),
            plot=_draw(search) if speeds else None,
        )
    )


def _draw(search: BatchSearch) -> Markup:
    """Samples a second above, memory below, over batch sizes that double."""
    from matplotlib.figure import Figure

    known = [one for one in search.measured if one.status == "ok"]
    sizes = [one.batch_size for one in known]
    with svg.drawing("batch size"):
        figure = Figure(figsize=(6.4, 3.6))
        upper, lower = figure.subplots(2, 1, sharex=True)
        upper.plot(sizes, [one.samples_per_s for one in known], color=svg.ACCENT, marker="o", markersize=3)
        upper.set_ylabel("samples/s")
        lower.plot(sizes, [_share(one) for one in known], color=svg.INK, marker="o", markersize=3)
        lower.axhline(100 * (1 - search.config.head_room), color=svg.BAD, linewidth=0.8, ls="--")
        lower.set_ylabel("memory, %")
        for axes in (upper, lower):
            axes.set_ylim(bottom=0)
            if search.answer is not None:
                axes.axvline(search.answer.batch_size, color=svg.MUTED, linewidth=0.8, ls=":")
        lower.set_xscale("log", base=2)
        lower.set_xticks(sizes, [str(size) for size in sizes])
        lower.set_xlabel("batch size")
        return svg.inline(figure, "speed and memory by batch size")


def _share(one: Measured) -> float:
    return 100 * (one.peak_memory_bytes or 0) / (one.memory_bytes or 1)

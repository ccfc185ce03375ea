import pytest

from raytrain.schedule.policy import Offer, Policy


def test_important_before_long_before_short_and_groups_together(make_task):
    tasks = [
        make_task("short", work_s=1),
        make_task("fold 2", work_s=5, group="2"),
        make_task("fold 1", work_s=5, group="1"),
        make_task("important", work_s=0.1, priority=1),
        make_task("fold 1 too", work_s=5, group="1"),
    ]
    order = [task.key for task in sorted(tasks, key=Policy().rank)]
    assert order == ["important", "fold 1", "fold 1 too", "fold 2", "short"]


@pytest.mark.parametrize(
    ("offers", "engine"),
    [
        ([Offer("torch", 0, 5.0, 0), Offer("keras", 0, 6.0, 0)], "keras"),
        ([Offer("torch", 1, 5.0, 0), Offer("keras", 0, 6.0, 0)], "torch"),
        ([Offer("torch", 0, 5.0, 0), Offer("keras", 0, 6.0, 1)], "torch"),
    ],
    ids=["most work", "most important", "a second slot for the work that is left"],
)
def test_engine_of_a_new_slot(offers, engine):
    assert Policy().engine(offers) == engine


@pytest.mark.parametrize(
    ("max_threads", "free", "ready", "threads"),
    [(8, 1, 100, 1), (8, 4, 4, 1), (8, 9, 4, 2), (2, 8, 1, 2), (8, 8, 1, 8), (1, 8, 1, 1)],
)
def test_one_thread_in_bulk_and_wide_at_the_tail(make_task, max_threads, free, ready, threads):
    assert Policy().threads(make_task("a", max_threads=max_threads), free, ready) == threads

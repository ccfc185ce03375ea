"""What is tried next, when it ends, and what the answer is: pure."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from raytrain.work.batch_search import BatchSearch, BatchSearchConfig, Measured, fastest_of, largest_batch

GIB = 2**30


def measured(batch_size: int, speed: float, peak: float = 0.5) -> Measured:
    return Measured(
        batch_size=batch_size,
        status="ok",
        samples_per_s=speed,
        step_s=batch_size / speed,
        peak_memory_bytes=int(peak * GIB),
        memory_bytes=GIB,
    )


def too_large(batch_size: int) -> Measured:
    return Measured(batch_size=batch_size, status="out_of_memory", cause="DefaultCPUAllocator: can't allocate memory")


def run(
    probe: Callable[[int], Measured], *, largest: int = 1024, usual: int = 8, config: BatchSearchConfig | None = None
) -> BatchSearch:
    """Search to the end."""
    search = BatchSearch(config or BatchSearchConfig(), largest, usual)
    while (size := search.next_size()) is not None:
        search.measured.append(probe(size))
    return search


def sizes(search: BatchSearch) -> Sequence[int]:
    return [one.batch_size for one in search.measured]


def test_it_doubles_from_8_until_memory_runs_out_and_answers_with_the_last_that_fits() -> None:
    search = run(lambda size: measured(size, size) if size <= 64 else too_large(size))
    assert sizes(search) == [8, 16, 32, 64, 128]
    assert search.answer == measured(64, 64)
    assert search.end == "128 ran out of memory: DefaultCPUAllocator: can't allocate memory"


def test_it_ends_when_nothing_is_gained() -> None:
    search = run(lambda size: measured(size, min(size, 32)))
    assert sizes(search) == [8, 16, 32, 64, 128]
    assert search.answer is not None and search.answer.batch_size == 32
    assert search.end == "more than 32 is no faster"


def test_one_slow_probe_does_not_end_it() -> None:
    search = run(lambda size: measured(size, 1.0 if size == 16 else size), largest=64)
    assert sizes(search) == [8, 16, 32, 64]
    assert search.answer is not None and search.answer.batch_size == 64


def test_the_answer_leaves_the_head_room_and_nothing_larger_is_tried() -> None:
    search = run(lambda size: measured(size, size, peak=size / 80))
    assert sizes(search) == [8, 16, 32, 64, 128]
    assert search.answer is not None and search.answer.batch_size == 64
    assert search.end == "128 leaves less than 20% of the memory free"
    more = run(lambda size: measured(size, size, peak=size / 80), config=BatchSearchConfig(head_room=0.5))
    assert more.answer is not None and more.answer.batch_size == 32


def test_of_equally_fast_ones_the_usual_is_kept() -> None:
    search = run(lambda size: measured(size, 100 + size / 32), usual=32)
    assert sizes(search) == [8, 16, 32]
    assert search.answer is not None and search.answer.batch_size == 32


def test_an_odd_usual_is_no_power_of_two_and_never_the_answer() -> None:
    search = run(lambda size: measured(size, 100.0), usual=48, config=BatchSearchConfig(patience=4))
    assert search.answer is not None and search.answer.batch_size in (32, 64)


def test_a_probe_that_went_wrong_leaves_no_answer() -> None:
    wrong = Measured(batch_size=16, status="failed", cause="ValueError: no")
    search = run(lambda size: measured(size, size) if size < 16 else wrong)
    assert sizes(search) == [8, 16]
    assert search.failed == wrong
    assert search.answer is None
    assert search.end == "16 failed: ValueError: no"


def test_where_the_first_does_not_fit_there_is_no_answer() -> None:
    search = run(too_large)
    assert sizes(search) == [8]
    assert search.answer is None


@pytest.mark.parametrize(("rows", "largest"), [(10, 8), (64, 16), (9_432, 2048), (10_000_000, 65_536)])
def test_an_epoch_keeps_a_few_steps(rows: int, largest: int) -> None:
    assert largest_batch(BatchSearchConfig(), rows) == largest


def test_the_rows_end_the_search() -> None:
    search = run(lambda size: measured(size, size), largest=32)
    assert sizes(search) == [8, 16, 32]
    assert "training rows suffice" in search.end


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=12), st.floats(0, 0.5), st.integers(1, 65_536))
def test_nothing_that_fits_is_much_faster_than_the_answer(speeds: list[float], gain: float, usual: int) -> None:
    config = BatchSearchConfig(min_gain=gain)
    found = [measured(8 * 2**at, speed, peak=at / 12) for at, speed in enumerate(speeds)]
    search = BatchSearch(config, 65_536, usual, found)
    fitting = [one for one in found if one.leaves(config.head_room)]
    answer = search.answer
    assert answer in fitting
    assert answer is not None and answer.samples_per_s is not None
    assert all((one.samples_per_s or 0) <= answer.samples_per_s * (1 + gain) * 1.000001 for one in fitting)
    fastest = fastest_of(found, gain)
    assert fastest is not None


def test_a_measurement_survives_json() -> None:
    for one in (measured(8, 3.25), too_large(16)):
        assert Measured.from_json(one.to_json()) == one


@pytest.mark.parametrize("given", [{"start": 12}, {"start": 0}, {"head_room": 1.0}, {"memory_gb": 0}, {"patience": 0}])
def test_settings_out_of_bounds_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        BatchSearchConfig.model_validate(given)

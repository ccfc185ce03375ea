import numpy as np
import pytest

from raytrain.schedule.costs import CostModel, CostRecord


@pytest.fixture
def make_record():
    def make(*, factor=1.0, memory_factor=1.0, size=1.0, family="lightgbm", device="cpu", wall_s=None):
        work_s = 10.0 * size * factor
        return CostRecord(
            family=family,
            device=device,
            threads=1,
            prior_work_s=10.0 * size,
            prior_memory_bytes=int(2**28 * size),
            wall_s=work_s if wall_s is None else wall_s,
            cpu_s=work_s,
            peak_memory_bytes=int(2**28 * size * memory_factor),
        )

    return make


def test_without_records_the_prior_is_the_answer():
    cost = CostModel().predict("lightgbm", "cpu", prior_work_s=3.0, prior_memory_bytes=7)
    assert (cost.work_s, cost.memory_bytes, cost.num_records) == (3.0, 7, 0)


@pytest.mark.parametrize("factor", [0.2, 6.0])
def test_one_run_is_enough_to_predict_within_a_quarter(make_record, factor):
    random = np.random.default_rng(0)
    noisy = factor * random.lognormal(0, 0.1, 45)
    model = CostModel(
        make_record(factor=f, memory_factor=f, size=s) for f, s in zip(noisy, [0.5, 1, 4] * 15, strict=True)
    )
    cost = model.predict("lightgbm", "cpu", prior_work_s=20.0, prior_memory_bytes=2**29)
    assert cost.work_s == pytest.approx(20.0 * factor, rel=0.25)
    assert 2**29 * factor * 0.9 < cost.memory_bytes < 2**29 * factor * 1.4
    assert cost.num_records == 45


def test_few_records_are_drawn_towards_the_prior(make_record):
    works = [
        CostModel([make_record(factor=4.0)] * n)
        .predict("lightgbm", "cpu", prior_work_s=1.0, prior_memory_bytes=1)
        .work_s
        for n in (1, 2, 100)
    ]
    assert works[0] == pytest.approx(2.0)
    assert works == sorted(works) and works[-1] < 4.0


def test_families_and_devices_are_learned_apart(make_record):
    model = CostModel([make_record(factor=5.0)] * 9)
    for family, device in (("xgboost", "cpu"), ("lightgbm", "mps")):
        assert model.predict(family, device, prior_work_s=1.0, prior_memory_bytes=1).work_s == 1.0


def test_one_outlier_moves_the_work_little_and_the_memory_fully(make_record):
    model = CostModel([*[make_record()] * 9, make_record(factor=100.0, memory_factor=3.0)])
    cost = model.predict("lightgbm", "cpu", prior_work_s=1.0, prior_memory_bytes=2**30)
    assert cost.work_s == pytest.approx(1.0)
    assert cost.memory_bytes == 3 * 2**30


def test_memory_is_never_below_a_peak_seen_at_this_size_or_smaller(make_record):
    records = [make_record(memory_factor=0.5, size=4.0)] * 60 + [make_record(memory_factor=9.0)]
    model = CostModel(records)
    peak = 9 * 2**28
    at = [model.predict("lightgbm", "cpu", prior_work_s=1.0, prior_memory_bytes=int(2**28 * s)) for s in (0.5, 1, 3)]
    assert at[0].memory_bytes < peak
    assert at[1].memory_bytes == at[2].memory_bytes == peak


def test_an_accelerator_is_judged_by_wall_time_and_cores_by_cpu_time(make_record):
    records = [make_record(device=device, wall_s=30.0) for device in ("cpu", "mps") for _ in range(50)]
    model = CostModel(records)
    work = {d: model.predict("lightgbm", d, prior_work_s=10.0, prior_memory_bytes=1).work_s for d in ("cpu", "mps")}
    assert work["cpu"] == pytest.approx(10.0)
    assert work["mps"] == pytest.approx(30.0, rel=0.05)


def test_a_fit_too_short_to_measure_teaches_nothing_absurd():
    record = CostRecord(
        family="naive",
        device="cpu",
        threads=1,
        prior_work_s=0.0,
        prior_memory_bytes=0,
        wall_s=0.0,
        cpu_s=0.0,
        peak_memory_bytes=1000,
    )
    cost = CostModel([record]).predict("naive", "cpu", prior_work_s=1e-4, prior_memory_bytes=500)
    assert (cost.work_s, cost.memory_bytes) == (1e-4, 1000)

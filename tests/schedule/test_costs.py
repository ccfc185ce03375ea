import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.schedule.costs import Cost, CostModel, CostRecord, Outline

RECORDED = Path(__file__).with_name("recorded_costs.csv")


def outline(size=1.0, *, family="lightgbm", engine="native", device="cpu", **rest):
    prior = {"prior_work_s": 10.0 * size, "prior_memory_bytes": int(2**28 * size)}
    return Outline(**{"family": family, "engine": engine, "device": device} | prior | rest)


@pytest.fixture
def make_record():
    """A fit on an idle machine, `factor` times as long as its prior said."""

    def make(*, factor=1.0, memory_factor=1.0, size=1.0, threads=1, wall_s=None, about=None, **rest):
        work_s = 10.0 * size * factor
        return CostRecord(
            fit=outline(size, **about or {}),
            threads=threads,
            wall_s=work_s if wall_s is None else wall_s,
            cpu_s=work_s,
            peak_memory_bytes=int(2**28 * size * memory_factor),
            **rest,
        )

    return make


@pytest.fixture(scope="module")
def recorded():
    """Run -> the records of a demo run each: 84 fits, then 105 with other seeds, horizons and one fold more.

    Others used both cores of the machine meanwhile, so the wall clock said nothing; the CPU time stands in its place,
    as it would on an idle machine.
    """
    runs = {"1": [], "2": []}
    with RECORDED.open() as file:
        for row in csv.DictReader(file):
            fit = Outline(
                **{name: row[name] for name in ("family", "engine", "params", "target")},
                device="cpu",
                prior_work_s=float(row["prior_work_s"]),
                prior_memory_bytes=int(row["prior_memory_bytes"]),
            )
            record = CostRecord(
                fit=fit,
                threads=1,
                wall_s=float(row["cpu_s"]),
                cpu_s=float(row["cpu_s"]),
                peak_memory_bytes=int(row["peak_memory_bytes"]),
                starts_process=row["starts_process"] == "1",
            )
            runs[row["run"]].append(record)
    return runs


def errors(model, records):
    """Relative errors of wall time and of memory, start of processes included."""
    found = []
    for record in records:
        cost = model.predict(record.fit)
        late_s = model.start_s(record.fit.engine) - CostModel().start_s("") if record.starts_process else 0.0
        seconds = cost.seconds(record.threads) + late_s
        found.append((seconds / record.wall_s - 1, cost.memory_bytes / record.peak_memory_bytes - 1))
    return np.abs(np.array(found)).T


@pytest.mark.parametrize("flagged", [True, False], ids=["starts known", "starts not known"])
def test_after_one_real_run_the_next_is_foreseen_within_a_quarter(recorded, flagged):
    first = [record if flagged else replace(record, starts_process=False) for record in recorded["1"]]
    model = CostModel(first)
    long = [record for record in recorded["2"] if record.fit.family != "naive" and not record.starts_process]
    wall, memory = errors(model, long)
    assert np.median(wall) < 0.25
    assert np.median(memory) < 0.05
    foreseen_s = sum(model.predict(record.fit).work_s for record in long)
    assert foreseen_s == pytest.approx(sum(record.wall_s for record in long), rel=0.25)


def test_a_real_run_teaches_more_than_the_priors_know(recorded):
    before, _ = errors(CostModel(), recorded["2"])
    after, _ = errors(CostModel(recorded["1"]), recorded["2"])
    assert np.median(after) < 0.5 * np.median(before)


def test_without_records_the_prior_is_the_answer():
    assert CostModel().predict(outline()) == Cost(10.0, 2**28, 0)


@pytest.mark.parametrize("factor", [0.2, 6.0])
def test_other_sizes_are_foreseen_within_a_quarter(make_record, factor):
    random = np.random.default_rng(0)
    noisy = factor * random.lognormal(0, 0.1, 45)
    model = CostModel(
        make_record(factor=f, memory_factor=f, size=s) for f, s in zip(noisy, [0.5, 1, 4] * 15, strict=True)
    )
    cost = model.predict(outline(2.0))
    assert cost.work_s == pytest.approx(20.0 * factor, rel=0.25)
    assert 2**29 * factor * 0.9 < cost.memory_bytes < 2**29 * factor * 1.4
    assert cost.num_records == 45


def test_few_records_are_drawn_towards_the_prior(make_record):
    works = [CostModel([make_record(factor=4.0)] * n).predict(outline()).work_s for n in (1, 2, 100)]
    assert 20.0 < works[0] < 39.0
    assert works == sorted(works)
    assert works[-1] == pytest.approx(40.0, rel=1e-3)


def test_families_and_devices_are_learned_apart(make_record):
    model = CostModel([make_record(factor=5.0)] * 9)
    for other in ({"family": "xgboost"}, {"device": "mps"}, {"trained": True}):
        assert model.predict(outline(**other)).work_s == 10.0


def test_parameters_and_targets_stand_on_what_is_known_of_their_family(make_record):
    slow = [make_record(factor=8.0, about={"params": "deep", "target": "1m"})] * 9
    fast = [make_record(factor=2.0, about={"params": "flat", "target": target}) for target in ("1d", "1m") * 9]
    model = CostModel([*slow, *fast])
    work = {
        name: model.predict(outline(params=params, target=target)).work_s
        for name, params, target in (("slow", "deep", "1m"), ("fast", "flat", "1d"), ("new", "other", "1d"))
    }
    assert work["slow"] == pytest.approx(80.0, rel=0.1)
    assert work["fast"] == pytest.approx(20.0, rel=0.1)
    assert work["new"] == model.predict(outline(params="other", target="1w")).work_s
    assert 15.0 < work["new"] < 80.0


def test_one_outlier_moves_the_work_little_and_the_memory_fully(make_record):
    model = CostModel([*[make_record()] * 9, make_record(factor=100.0, memory_factor=3.0)])
    cost = model.predict(outline(4.0))
    assert cost.work_s == pytest.approx(40.0)
    assert cost.memory_bytes == 3 * 2**30


def test_memory_is_never_below_a_peak_seen_at_this_size_or_smaller(make_record):
    model = CostModel([make_record(memory_factor=0.5, size=4.0)] * 60 + [make_record(memory_factor=9.0)])
    peak = 9 * 2**28
    at = [model.predict(outline(size)).memory_bytes for size in (0.5, 1, 3)]
    assert at[0] < peak
    assert at[1] == at[2] == peak


def test_an_accelerator_is_judged_by_wall_time_and_cores_by_cpu_time(make_record):
    records = [make_record(wall_s=11.0, about={"device": device}) for device in ("cpu", "mps") for _ in range(50)]
    model = CostModel([*records, *[make_record(wall_s=90.0, about={"device": "mps", "family": "gru"})] * 50])
    assert model.predict(outline(device="cpu")).work_s == pytest.approx(11.0, rel=0.01)
    assert model.predict(outline(device="mps")).work_s == pytest.approx(11.0, rel=0.01)
    assert model.predict(outline(device="mps", family="gru")).work_s == pytest.approx(90.0, rel=0.01)


@pytest.mark.parametrize(("wall_s", "foreseen_s"), [(8.0, 10.0), (11.0, 11.0), (60.0, 12.5)])
def test_what_others_took_of_the_machine_is_not_foreseen_again(make_record, wall_s, foreseen_s):
    model = CostModel([make_record(wall_s=wall_s)] * 50)
    assert model.predict(outline()).work_s == pytest.approx(foreseen_s)


def test_a_fit_that_was_cut_short_tells_how_long_it_takes_at_least(make_record):
    cut = make_record(factor=0.4, cut_short=True, about={"budget_s": 4.0})
    assert CostModel([cut] * 20).predict(outline(budget_s=4.0)).work_s == 4.0
    assert CostModel([cut] * 20).predict(outline()).work_s == 10.0
    longer = replace(cut, wall_s=40.0, cpu_s=40.0)
    assert CostModel([longer] * 20).predict(outline()).work_s == pytest.approx(40.0, rel=0.01)


def test_the_first_fit_of_a_process_teaches_what_its_start_takes(make_record):
    usual = [make_record()] * 20
    first = replace(make_record(), cpu_s=17.0, wall_s=17.0, starts_process=True)
    model = CostModel([*usual, *[first] * 50])
    assert model.predict(outline()).work_s == pytest.approx(10.0, rel=0.01)
    assert model.start_s("native") - CostModel().start_s("native") == pytest.approx(7.0 - 2.0, abs=0.2)
    assert model.start_s("torch") == CostModel().start_s("torch")
    assert CostModel([first] * 50).predict(outline()).work_s == pytest.approx(15.0, rel=0.01)


@pytest.mark.parametrize("efficiency", [0.0, 0.5, 1.0])
def test_what_threads_gain_is_learned(make_record, efficiency):
    wide = [make_record(threads=n, wall_s=10.0 / n**efficiency) for n in (2, 4)] * 50
    cost = CostModel([*[make_record()] * 20, *wide]).predict(outline())
    assert cost.efficiency == pytest.approx(efficiency, abs=0.02)
    assert cost.work_s == pytest.approx(10.0, rel=0.01)
    assert cost.seconds(8) == pytest.approx(10.0 / 8**efficiency, rel=0.05)


def test_a_family_that_only_ran_wide_is_judged_by_what_threads_usually_gain(make_record):
    wide = make_record(threads=4, wall_s=5.0, factor=9.0)
    work_s = CostModel([wide] * 50).predict(outline()).work_s
    assert 5.0 < work_s < 20.0


@pytest.mark.parametrize(
    ("work_s", "efficiency", "most", "start_s", "threads"),
    [
        (100.0, 0.7, 8, 3.5, 8),
        (100.0, 0.7, 1, 3.5, 1),
        (0.5, 0.7, 8, 3.5, 1),
        (100.0, 0.1, 8, 3.5, 1),
        (4.0, 1.0, 8, 3.6, 1),
        (4.0, 1.0, 8, 3.4, 8),
    ],
    ids=["long", "one only", "shorter than a start", "hardly faster", "saves less than a start", "saves a little"],
)
def test_wide_only_as_far_as_it_pays(work_s, efficiency, most, start_s, threads):
    assert Cost(work_s, 1, efficiency=efficiency).useful_threads(most, start_s) == threads


def test_a_fit_too_short_to_measure_teaches_nothing_absurd():
    naive = outline(0.0, family="naive")
    record = CostRecord(fit=naive, threads=1, wall_s=0.0, cpu_s=0.0, peak_memory_bytes=1000)
    cost = CostModel([record]).predict(replace(naive, prior_work_s=1e-4, prior_memory_bytes=500))
    assert (cost.work_s, cost.memory_bytes) == (1e-4, 1000)


RECORDS = st.builds(
    CostRecord,
    fit=st.builds(
        outline,
        size=st.floats(0, 100),
        family=st.sampled_from("ab"),
        device=st.sampled_from(["cpu", "mps"]),
        params=st.sampled_from("xy"),
        target=st.sampled_from("12"),
    ),
    threads=st.integers(1, 8),
    wall_s=st.floats(0, 1e5),
    cpu_s=st.floats(0, 1e5),
    peak_memory_bytes=st.integers(0, 2**36),
    cut_short=st.booleans(),
    starts_process=st.booleans(),
)


@given(st.lists(RECORDS, max_size=12), RECORDS)
def test_whatever_was_measured_the_answer_makes_sense(records, asked):
    model = CostModel(records)
    cost = model.predict(asked.fit)
    assert np.isfinite(cost.work_s) and cost.work_s >= 0
    assert cost.memory_bytes >= 0
    assert 0 <= cost.efficiency <= 1
    assert cost.seconds(8) <= cost.seconds(1)
    assert 1 <= cost.useful_threads(8, 1.0) <= 8
    assert all(np.isfinite(model.start_s(engine)) and model.start_s(engine) > 0 for engine in ("native", "keras", ""))


@given(st.lists(RECORDS, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_the_records_does_not_matter(records, random):
    mixed = random.sample(records, len(records))
    for record in records:
        one, other = (CostModel(seen).predict(record.fit) for seen in (records, mixed))
        assert one.work_s == pytest.approx(other.work_s)
        assert one.memory_bytes == pytest.approx(other.memory_bytes)

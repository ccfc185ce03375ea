"""A node with a disk of its own, and the driver's store: what one has of the other after each step."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from raytrain.errors import StoreCorrupt
from raytrain.work import fetch
from raytrain.work.dataset import Dataset
from raytrain.work.fetch import NodeStore, StoreDepot, digests_of
from raytrain.work.plan import Plan
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

FORECAST = pl.DataFrame({"target": ["return_1d"], "q0.5": [0.25]})


class Wire(StoreDepot):
    """Counts what is asked for, and can flip a bit of every piece on the way."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[str] = []
        self.flips = False

    def _carry(self, data: bytes) -> bytes:
        return bytes([data[0] ^ 1]) + data[1:] if self.flips and data else data

    def read(self, file: str, offset: int) -> bytes:
        self.reads.append(file)
        return self._carry(super().read(file, offset))

    def write(self, parcel: str, file: str, offset: int, data: bytes) -> None:
        super().write(parcel, file, offset, self._carry(data))


@pytest.fixture
def driver(tmp_path: Path) -> ResultStore:
    """The driver's store."""
    return ResultStore(tmp_path / "driver")


@pytest.fixture
def wire(driver: ResultStore) -> Wire:
    return Wire(driver.root)


@pytest.fixture
def node(tmp_path: Path, wire: Wire) -> NodeStore:
    return NodeStore(tmp_path / "node", wire)


@pytest.fixture
def spec(specs: dict[tuple[str, str], FitSpec]) -> FitSpec:
    return next(iter(specs.values()))


@pytest.fixture
def saved(dataset: Dataset, driver: ResultStore) -> Path:
    """The dataset in the driver's store."""
    return dataset.save(driver.root / "prepared")


def finish(store: ResultStore, spec: FitSpec, facts: Mapping[str, Any] | None = None) -> Path:
    store.write(spec.key, FORECAST, dict(facts or {"key": spec.key}))
    return store.folder(spec.key)


def test_a_dataset_arrives_whole_in_pieces(
    node: NodeStore, wire: Wire, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "PIECE_BYTES", 1000)
    assert digests_of(node.dataset(saved.name)) == digests_of(saved)
    assert wire.reads.count(f"prepared/{saved.name}/x.npy") > 5
    assert not list((node.root / "incoming").iterdir())


def test_a_dataset_is_fetched_once_by_all_processes_of_a_node(node: NodeStore, wire: Wire, saved: Path) -> None:
    threads = [threading.Thread(target=node.dataset, args=(saved.name,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    node.dataset(saved.name)
    # One read gives the file, a second finds its end.
    assert wire.reads.count(f"prepared/{saved.name}/meta.json") == 2


def test_a_bit_that_flips_on_the_way_is_noticed(node: NodeStore, wire: Wire, saved: Path) -> None:
    wire.flips = True
    with pytest.raises(StoreCorrupt, match=r"as it arrived from the driver.*x\.npy"):
        node.dataset(saved.name)
    assert not (node.root / "prepared").exists()
    wire.flips = False
    assert node.dataset(saved.name).is_dir()


def test_a_dataset_that_does_not_hash_to_its_name_is_refused(node: NodeStore, saved: Path) -> None:
    path = saved / "x.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(StoreCorrupt, match=f"the dataset {saved.name} must hash to its name"):
        node.dataset(saved.name)
    assert list((node.root / "prepared").iterdir()) == []


def test_a_dataset_that_the_driver_lost_is_named(node: NodeStore) -> None:
    with pytest.raises(StoreCorrupt, match="must hold the dataset 0123"):
        node.dataset("0123")


def test_what_a_fit_reads_is_brought_and_what_it_made_is_delivered(
    plan: Callable[..., Plan], node: NodeStore, driver: ResultStore, saved: Path
) -> None:
    made = plan("naive", "har", "ensemble", params={"ensemble": {"members": ["naive", "har"]}})
    spec = next(fit.spec for fit in made.fits if fit.spec.members)
    by_key = {fit.spec.key: fit.spec for fit in made.fits}
    for key in spec.members:
        finish(driver, by_key[key])
    assert node.bring(spec, saved.name).name == saved.name
    here = ResultStore(node.root)
    assert here.finished(spec.members) == set(spec.members)

    finish(here, spec)
    node.deliver(spec)
    assert driver.finished([spec.key]) == {spec.key}
    assert driver.predictions(spec.key).equals(FORECAST)
    assert not here.has(spec.key)
    assert list((driver.root / "incoming").iterdir()) == []


def test_a_kept_model_travels_both_ways(node: NodeStore, driver: ResultStore, saved: Path, spec: FitSpec) -> None:
    folder = f"models/{spec.train_key[:2]}/{spec.train_key}-pooled"
    model = node.root / folder / "model" / "weights.bin"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"learned")
    finish(ResultStore(node.root), spec)
    node.deliver(spec)
    assert (driver.root / folder / "model" / "weights.bin").read_bytes() == b"learned"

    other = NodeStore(node.root.with_name("other"), node.depot)
    other.bring(spec, saved.name)
    assert digests_of(other.root / folder) == digests_of(node.root / folder)


def test_a_result_that_is_damaged_on_the_way_stays_on_the_node(
    node: NodeStore, driver: ResultStore, wire: Wire, spec: FitSpec
) -> None:
    here = ResultStore(node.root)
    finish(here, spec)
    wire.flips = True
    with pytest.raises(StoreCorrupt, match="as it arrived from a node"):
        node.deliver(spec)
    assert here.finished([spec.key]) == {spec.key}
    assert not driver.has(spec.key)
    wire.flips = False
    node.deliver(spec)
    assert driver.finished([spec.key]) == {spec.key}


def test_a_result_that_is_there_already_stays_as_it_is(node: NodeStore, driver: ResultStore, spec: FitSpec) -> None:
    finish(driver, spec, {"made": "first"})
    finish(ResultStore(node.root), spec, {"made": "second"})
    node.deliver(spec)
    assert driver.result(spec.key) == {"made": "first"}


def test_large_and_empty_files_are_sent_too(
    node: NodeStore, driver: ResultStore, spec: FitSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "PIECE_BYTES", 7)
    folder = finish(ResultStore(node.root), spec)
    (folder / "empty").touch()
    sent = digests_of(folder)
    node.deliver(spec)
    assert digests_of(driver.folder(spec.key)) == sent
    assert len(sent) == 4


def test_the_driver_sees_who_works_and_passes_a_stop_on(wire: Wire, driver: ResultStore) -> None:
    stop = driver.root / "inflight" / "k1.stop"
    stop.touch()
    wire.begin("k1", "first")
    assert wire.asked("k1"), "asked for while the process was starting"
    wire.begin("k1", "second")
    assert not wire.asked("k1"), "meant for a predecessor that died"
    stop.touch()
    assert wire.asked("k1")
    assert (driver.root / "inflight" / "k1.json").read_text() == "second"
    wire.end("k1")
    assert list((driver.root / "inflight").iterdir()) == []


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "fits/../../secret", "lock.json", ""])
def test_nothing_but_results_data_and_models_is_given(wire: Wire, name: str) -> None:
    with pytest.raises(ValueError, match="got"):
        wire.read(name, 0)
    with pytest.raises(ValueError, match="got"):
        wire.keep("parcel", name, {})


def test_parcels_that_a_former_run_left_open_are_dropped_and_those_on_the_way_are_not(
    wire: Wire, driver: ResultStore, age: Callable[[Path], None]
) -> None:
    for parcel in ("old", "new"):
        wire.write(parcel, "result.json", 0, b"half")
    age(driver.root / "incoming" / "old")
    StoreDepot(driver.root)
    assert [path.name for path in (driver.root / "incoming").iterdir()] == ["new"]


def test_what_nobody_used_for_a_week_leaves_the_node(
    node: NodeStore, saved: Path, spec: FitSpec, age: Callable[[Path], None], driver: ResultStore
) -> None:
    old = node.dataset(saved.name)
    member = finish(ResultStore(node.root), spec)
    node.sweep()
    assert old.is_dir()
    assert member.is_dir()
    age(old)
    age(member)
    node.sweep()
    assert not old.exists()
    assert not member.exists()

"""Several nodes, counted from what Ray says of them."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
import pytest

from raytrain.cluster import nodes
from raytrain.cluster.nodes import Node, bounded, counted, kill_process, usable
from raytrain.schedule.words import CannotFit, Task

GIB = 2**30


def ray_node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "NodeManagerHostname": f"{name}.local", "Alive": alive, "Resources": resources}


def offer(found: Sequence[Mapping[str, Any]], slot: str = "mps") -> tuple[Node, ...]:
    return usable(found, counted(found, slot))


def test_each_node_gives_what_its_scarcest_claim_allows() -> None:
    found = offer(
        [
            ray_node("a", CPU=16, pcore=8, thermal=6, mps=2, memory=64 * GIB),
            ray_node("b", CPU=4, pcore=4, thermal=4, memory=8 * GIB),
            ray_node("gone", alive=False, CPU=99, pcore=99, thermal=99),
            ray_node("no cores for fits", CPU=8, memory=8 * GIB),
        ]
    )
    # The last one has no `thermal`, but no `pcore` either, so no fit goes there.
    assert found == (
        Node(name="a", host="a.local", cores=6, slots=2, memory_bytes=64 * GIB),
        Node(name="b", host="b.local", cores=4, slots=0, memory_bytes=8 * GIB),
    )


def test_heat_is_counted_only_where_all_nodes_do() -> None:
    found = [ray_node("a", CPU=4, pcore=4, thermal=4), ray_node("b", CPU=4, pcore=4)]
    assert not counted(found, "mps").thermal
    assert [node.cores for node in offer(found)] == [4, 4]
    assert counted(found[:1], "mps").thermal


def test_a_foreign_cluster_counts_cpus_and_gpus() -> None:
    found = [ray_node("head", CPU=0, memory=GIB), ray_node("b", CPU=8, GPU=2, memory=GIB)]
    counts = counted(found, "mps")
    assert (counts.pcores, counts.thermal, counts.slot) == (False, False, "GPU")
    assert [(node.name, node.cores, node.slots) for node in offer(found)] == [("b", 8, 2)]


def task(**differs: Any) -> Task:
    given = {"key": "k", "label": "lightgbm", "family": "f", "engine": "native", "work_s": 1.0, "memory_bytes": GIB}
    return Task(**given | differs)


LARGE_MEMORY = Node(name="a", host="a", cores=4, slots=0, memory_bytes=64 * GIB)
MANY_CORES = Node(name="b", host="b", cores=16, slots=1, memory_bytes=8 * GIB)


def test_a_fit_is_no_wider_than_a_node_that_can_hold_it() -> None:
    tasks = [task(max_threads=32), task(max_threads=32, memory_bytes=32 * GIB), task(max_threads=2)]
    assert [one.max_threads for one in bounded(tasks, [LARGE_MEMORY, MANY_CORES])] == [16, 4, 2]


def test_a_fit_that_no_node_alone_can_hold_is_refused_with_the_number() -> None:
    with pytest.raises(CannotFit, match=r"lightgbm needs 70.00 GiB .* the largest node of 2 gives 64.00 GiB"):
        bounded([task(memory_bytes=70 * GIB)], [LARGE_MEMORY, MANY_CORES])


def test_a_fit_for_the_slot_needs_its_memory_where_a_slot_is() -> None:
    with pytest.raises(CannotFit, match=r"largest node with an accelerator slot of 2 gives 8.00 GiB"):
        bounded([task(memory_bytes=32 * GIB, lane="slot")], [LARGE_MEMORY, MANY_CORES])


@pytest.mark.parametrize(
    ("claim", "fits"),
    [
        ({"num_cpus": 4, "memory": 10, "resources": {"pcore": 4}}, True),
        ({"num_cpus": 5, "memory": 10, "resources": {"pcore": 5}}, False),
        ({"num_cpus": 1, "memory": 101, "resources": {}}, False),
        ({"num_cpus": 1, "memory": 10, "resources": {"pcore": 1, "mps": 1}}, False),
        ({"num_cpus": 1, "memory": 10, "num_gpus": 1, "resources": {}}, False),
    ],
)
def test_room_is_looked_for_among_the_nodes_that_live(
    claim: dict[str, Any], fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        ray_node("a", CPU=4, pcore=4, memory=100),
        ray_node("gone", alive=False, CPU=64, pcore=64, mps=1, GPU=8, memory=1e12),
    ]
    monkeypatch.setattr(nodes.ray, "nodes", lambda: found)
    assert nodes.has_room(claim) is fits


def test_a_run_waits_for_its_nodes_and_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    joining = [ray_node("a", CPU=1, memory=GIB), ray_node("b", CPU=1, memory=GIB)]
    looks = iter([joining[:1], joining[:1], joining])
    monkeypatch.setattr(nodes, "_JOIN_POLL_S", 0.0)
    monkeypatch.setattr(nodes.ray, "nodes", lambda: next(looks))
    assert len(nodes.wait_for_nodes("mps", 2, 60)[1]) == 2
    looks = iter([joining[:1]])
    assert len(nodes.wait_for_nodes("mps", 2, 0)[1]) == 1


def test_a_process_is_killed_only_if_it_is_the_one_that_was_named() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        born = psutil.Process(process.pid).create_time()
        assert not kill_process(process.pid, born - 100)
        assert process.poll() is None
        assert kill_process(process.pid, born)
    assert process.returncode == -signal.SIGKILL
    assert not kill_process(process.pid, born)

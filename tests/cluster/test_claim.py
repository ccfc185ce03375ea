import dataclasses

import pytest

from raytrain.cluster.ray_cluster import Cluster

LOCAL = Cluster(
    address="127.0.0.2:1",
    dashboard=None,
    cores=4,
    slots=1,
    slot_resource="mps",
    memory_bytes=2**34,
    counts_pcores=True,
)


def test_a_fit_claims_cpus_and_pcores_together() -> None:
    assert LOCAL.claim(2, 100, slot=False) == {"num_cpus": 2, "memory": 100, "resources": {"pcore": 2}}


def test_the_slot_is_mps_here_and_a_gpu_on_cuda() -> None:
    assert LOCAL.claim(1, 100, slot=True)["resources"] == {"pcore": 1, "mps": 1}
    cuda = dataclasses.replace(LOCAL, slot_resource="GPU")
    assert cuda.claim(1, 100, slot=True)["num_gpus"] == 1
    assert "GPU" not in cuda.claim(1, 100, slot=True)["resources"]


@pytest.mark.parametrize("slot", [False, True])
def test_a_foreign_cluster_is_asked_for_plain_cpus(slot: bool) -> None:
    foreign = dataclasses.replace(LOCAL, counts_pcores=False)
    assert foreign.claim(1, 100, slot=slot)["resources"] == {}


def test_heat_is_claimed_with_the_cores_where_it_is_counted() -> None:
    hot = dataclasses.replace(LOCAL, counts_thermal=True)
    assert hot.claim(2, 100, slot=False)["resources"] == {"pcore": 2, "thermal": 2}
    assert hot.claim(1, 100, slot=True)["resources"] == {"pcore": 1, "thermal": 1, "mps": 1}

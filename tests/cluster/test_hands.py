"""What is asked of Ray, without a Ray."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytrain.cluster import hands as hands_module
from raytrain.cluster.config import ClusterConfig
from raytrain.cluster.hands import Hands
from raytrain.cluster.ray_cluster import Cluster
from raytrain.engines.base import Needs, Shape
from raytrain.folds import Fold
from raytrain.schedule.words import Start
from raytrain.work.plan import PlannedFit
from raytrain.work.spec import FitSpec

CLUSTER = Cluster(
    address="127.0.0.2:1", dashboard=None, cores=2, slots=1, slot_resource="mps", memory_bytes=2**32, counts_pcores=True
)


class Remote:
    """A function that was sent to the cluster."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self.work = work
        self.calls: list[tuple[dict[str, Any], Any]] = []
        self._options: dict[str, Any] = {}

    def options(self, **options: Any) -> "Remote":
        self._options = options
        return self

    def remote(self, order: Any) -> object:
        self.calls.append((self._options, order))
        return object()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Remote]:
    """The functions that were sent, in order."""
    found: list[Remote] = []

    def remote(work: Callable[..., Any]) -> Remote:
        found.append(Remote(work))
        return found[-1]

    monkeypatch.setattr(hands_module.ray, "remote", remote)
    return found


def fit(family: str) -> PlannedFit:
    spec = FitSpec(
        family=family,
        family_version=1,
        params="{}",
        packages=(),
        target="return_1d",
        target_configs=("{}",),
        task="regression",
        quantiles=(0.5,),
        fold=Fold(name="2018", train_start=None, cutoff=1, test_start=2, test_end=3),
        seed=42,
        device="cpu",
        features_hash="",
        labels_hash="",
        block_hash="",
        series_hash="",
    )
    return PlannedFit(
        spec=spec,
        engine="native",
        lane="cores",
        shape=Shape(rows=1, features=1),
        needs=Needs(memory_bytes=1, work=1.0),
    )


def test_all_fits_go_through_one_function_that_the_cluster_has(tmp_path: Path, sent: list[Remote]) -> None:
    def work(order: Any) -> Any:
        return order

    hands = Hands(CLUSTER, ClusterConfig(), tmp_path, tmp_path, work)
    planned = [fit(name) for name in ("ridge", "har", "naive")]
    for one in planned:
        hands.start(Start(one.spec.key, "cores", "native", 1), one, memory_bytes=100, now=0.0)
    (function,) = sent
    assert function.work is work
    assert [order.spec for _, order in function.calls] == [one.spec for one in planned]
    assert len(hands.calls) == 3


def test_processes_of_one_width_are_shared_and_others_are_not(tmp_path: Path, sent: list[Remote]) -> None:
    hands = Hands(CLUSTER, ClusterConfig(), tmp_path, tmp_path)
    for name, threads in (("ridge", 1), ("har", 1), ("naive", 2)):
        hands.start(Start(name, "cores", "native", threads), fit(name), memory_bytes=100, now=0.0)
    asked = [options for options, _ in sent[0].calls]
    assert [one["num_cpus"] for one in asked] == [1, 1, 2]
    assert all(one["max_retries"] == 0 for one in asked)
    assert asked[0]["runtime_env"] == asked[1]["runtime_env"] != asked[2]["runtime_env"]

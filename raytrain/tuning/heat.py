"""Heat in a search: the daily job's rule, carried out for trials, which hold their claims longer than a fit lasts."""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from raytrain.cluster.driver import capacity_of
from raytrain.cluster.governor import Governor
from raytrain.cluster.ray_cluster import Cluster
from raytrain.cluster.senses import Senses
from raytrain.machine.sensors import find_heat_sensor
from raytrain.schedule.governors import Governors
from raytrain.schedule.words import Reserve, Settings, ThermalChanged

LOOK_EVERY_S = 1.0


class Cooling:
    """Watches the heat for as long as the `with` lasts, and keeps tokens and places from everyone while it is hot.

    Args:
        cluster: where the trials run, connected to.
        store: whose trials are told.
    """

    def __init__(self, cluster: Cluster, store: Path) -> None:
        self._senses = Senses(find_heat_sensor())
        self._governor = Governor(self._senses, store)
        self._rule = Governors({}, {}, capacity_of(cluster), Settings())
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cooling", daemon=True)

    @property
    def paused_by(self) -> str:
        """`heat` while no fit may run; empty otherwise."""
        return "" if self._rule.core_limit else "heat"

    def __enter__(self) -> Self:
        self._senses.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._senses.__exit__(kind, error, trace)
        self._governor.close()

    def _watch(self) -> None:
        self._look()
        while not self._done.wait(LOOK_EVERY_S):
            self._look()

    def _look(self) -> None:
        for event in self._governor.look(time.monotonic(), ()):
            if isinstance(event, ThermalChanged):
                # No fit of a search is known to the rule: all it has to say is how many tokens are kept.
                for order in self._rule.heat(event.level):
                    assert isinstance(order, Reserve)
                    self._governor.reserve(order.tokens)

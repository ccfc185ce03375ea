"""What work takes is measured, whichever thread does it."""

import threading
import time

import numpy as np
import psutil

from raytrain.machine.sensors import SleepWatch
from raytrain.work.meter import Meter


def test_the_meter_sees_work_of_all_threads_and_memory_in_between() -> None:
    """Two busy threads, a wait, and 300 MB that are gone at the end."""

    def busy() -> None:
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass

    before = psutil.Process().memory_info().rss
    with Meter() as meter:
        threads = [threading.Thread(target=busy) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        block = np.ones(300 * 2**20, dtype=np.uint8)
        time.sleep(0.2)
        del block
    assert 0.2 <= meter.cpu_s <= 2 * meter.wall_s + 0.2
    assert meter.wall_s >= 0.3
    assert meter.peak_memory_bytes - before > 250 * 2**20


def test_a_sleep_in_between_is_marked() -> None:
    wall = [1_000.0]
    sleep = SleepWatch(wall=lambda: wall[0], monotonic=lambda: 5.0)
    with Meter(sleep) as awake:
        pass
    with Meter(sleep) as slept:
        wall[0] += 3600.0
    assert (awake.slept, slept.slept) == (False, True)

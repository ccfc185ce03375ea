import os
import subprocess
import sys

import pytest

from raytrain.machine.threads import apply_to_environ, thread_caps


def test_every_library_is_capped():
    caps = thread_caps(3)
    assert caps.pop("TF_NUM_INTEROP_THREADS") == "1"
    assert caps.pop("GOMP_SPINCOUNT") == "1000"
    assert set(caps) == {
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "RAYON_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
    }
    assert set(caps.values()) == {"3"}


def test_no_threads_is_no_cap():
    with pytest.raises(ValueError, match="at least 1 thread, got 0"):
        thread_caps(0)


def test_this_process_is_capped(monkeypatch):
    monkeypatch.setattr(os, "environ", {"HOME": "/home/ann", "OMP_NUM_THREADS": "64"})
    apply_to_environ(2)
    assert os.environ == {"HOME": "/home/ann", **thread_caps(2)}


@pytest.mark.parametrize("threads", [1, 3])
def test_a_library_loaded_afterwards_obeys(threads):
    code = (
        "from raytrain.machine.threads import apply_to_environ; "
        f"apply_to_environ({threads}); import polars; print(polars.thread_pool_size())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == threads

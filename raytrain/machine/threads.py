"""Thread caps: what keeps a fit on the cores it was given.

Measured on two cores: three LightGBM fits side by side take 4.6 s at one thread each and 17.6 s at two.
"""

import os

_BY_FIT_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",  # Accelerate: numpy on a Mac, which threadpoolctl does not reach
    "NUMEXPR_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)

SPINS = "1000"
"""Rounds that a thread of GNU's OpenMP waits busily for its siblings. By default it waits for milliseconds, which takes
the core from the very sibling it waits for when another program is busy: two threads cost 15-35 CPU seconds where one
costs 1.5, and 3 with so few rounds."""


def thread_caps(threads: int) -> dict[str, str]:
    """The environment of a process that keeps at most `threads` cores busy.

    It works only when set before the libraries load: most read it once. TensorFlow runs one operation at a time, each
    on all the threads; several at a time would multiply them.

    Raises:
        ValueError: fewer than one thread.
    """
    if threads < 1:
        raise ValueError(f"a process needs at least 1 thread, got {threads}")
    return {**dict.fromkeys(_BY_FIT_THREADS, str(threads)), "TF_NUM_INTEROP_THREADS": "1", "GOMP_SPINCOUNT": SPINS}


def apply_to_environ(threads: int) -> None:
    """Cap this process, which must not have loaded a numeric library yet, and the processes it starts."""
    os.environ.update(thread_caps(threads))

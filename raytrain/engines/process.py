"""One engine per process: the environment such a process starts with, and the guard that it stays that way.

Two OpenMP runtimes in one macOS process end in a segmentation fault (torch 2.13 with LightGBM 4.7, pytorch#191933).
Linux cannot see it, so it is checked here on every machine.
"""

import os
import sys
from collections.abc import Iterable

from raytrain.engines.base import Device, Engine
from raytrain.errors import WrongEngine
from raytrain.machine.threads import thread_caps

ENGINE_VARIABLE = "RAYTRAIN_ENGINE"

_TREES = frozenset({"lightgbm", "xgboost", "ngboost"})

FOREIGN: dict[Engine, frozenset[str]] = {
    "native": frozenset({"torch", "tensorflow", "keras"}),
    "torch": _TREES | {"tensorflow", "keras"},
    "keras": _TREES | {"torch"},
}
"""The modules that a process of an engine must never hold."""

# Both marks, or torch refuses to start: the low one defaults to 1.4 and must not exceed the high one. In shares of what
# Metal recommends (about two thirds of the memory), so that a fit fails with a clear error instead of swapping.
_MPS = {
    "PYTORCH_MPS_HIGH_WATERMARK_RATIO": "1.0",
    "PYTORCH_MPS_LOW_WATERMARK_RATIO": "0.8",
    "PYTORCH_ENABLE_MPS_FALLBACK": "1",
}


ENGINE_BYTES: dict[Engine, int] = {"native": 420 * 2**20, "torch": 480 * 2**20, "keras": 900 * 2**20}
"""Resident memory of a worker process that has loaded its engine and fitted nothing yet."""


def engine_env(engine: Engine, threads: int, device: Device) -> dict[str, str]:
    """The variables a worker process must hold before any library loads.

    Distinct for each (engine, threads, device), so that Ray gives each a process of its own.

    Raises:
        ValueError: fewer than one thread.
    """
    env = {ENGINE_VARIABLE: engine, **thread_caps(threads)}
    if engine == "torch" and device == "mps":
        env |= _MPS
    if engine == "keras":
        # oneDNN picks its kernels by thread count and processor, which changes the last bits of a prediction.
        env |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}
        if device == "cuda":
            env["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
        else:
            env["CUDA_VISIBLE_DEVICES"] = ""
    return env


def claim(engine: Engine) -> None:
    """Make sure that this process may work for `engine`; called before a fit.

    Raises:
        WrongEngine: the process was started for another engine, or holds a library of one.
    """
    started_for = os.environ.get(ENGINE_VARIABLE, engine)
    if started_for != engine:
        raise WrongEngine(f"this process was started for {started_for}, not for {engine}; use one process per engine")
    loaded = foreign_modules(engine, sys.modules)
    if loaded:
        raise WrongEngine(
            f"a {engine} process must not hold {', '.join(loaded)}: two OpenMP runtimes in one process crash on "
            "macOS; fit in a fresh process"
        )


def foreign_modules(engine: Engine, loaded: Iterable[str]) -> list[str]:
    """The names among `loaded` modules that `engine` must not share a process with."""
    return sorted(FOREIGN[engine].intersection(loaded))

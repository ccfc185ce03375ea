"""One engine per process: the environment such a process starts with, and the guard that it stays that way.

Two OpenMP runtimes in one macOS process end in a segmentation fault (torch 2.13 with LightGBM 4.7, pytorch#191933).
Linux cannot see it, so it is checked here on every machine.
"""

import os
import sys
from collections.abc import Iterable
from typing import Literal

from raytrain.engines.base import Device, Engine
from raytrain.errors import WrongEngine
from raytrain.machine.threads import thread_caps

ENGINE_VARIABLE = "RAYTRAIN_ENGINE"
BACKEND_VARIABLE = "KERAS_BACKEND"

KerasBackend = Literal["tensorflow", "torch"]
"""The library that Keras computes with, and the distribution whose version is part of a Keras fit's key."""

_TREES = frozenset({"lightgbm", "xgboost", "ngboost"})

FOREIGN: dict[Engine, frozenset[str]] = {
    "native": frozenset({"torch", "tensorflow", "keras"}),
    "torch": _TREES | {"tensorflow", "keras"},
    "keras": _TREES,
}
"""The modules that a process of an engine must never hold; for keras, see `foreign_modules`, the other backend too."""
_BACKENDS = frozenset({"tensorflow", "torch"})

# Both marks, or torch refuses to start: the low one defaults to 1.4 and must not exceed the high one. In shares of what
# Metal recommends (about two thirds of the memory), so that a fit fails with a clear error instead of swapping.
_MPS = {
    "PYTORCH_MPS_HIGH_WATERMARK_RATIO": "1.0",
    "PYTORCH_MPS_LOW_WATERMARK_RATIO": "0.8",
    "PYTORCH_ENABLE_MPS_FALLBACK": "1",
}


ENGINE_BYTES: dict[Engine, int] = {"native": 420 * 2**20, "torch": 480 * 2**20, "keras": 900 * 2**20}
"""Resident memory of a worker process that has loaded its engine and fitted nothing yet."""


def engine_env(
    engine: Engine, threads: int, device: Device, keras_backend: KerasBackend = "tensorflow"
) -> dict[str, str]:
    """The variables a worker process must hold before any library loads.

    Distinct for each (engine, threads, device) and Keras backend, so that Ray gives each a process of its own.

    Raises:
        ValueError: fewer than one thread.
    """
    env = {ENGINE_VARIABLE: engine, **thread_caps(threads)}
    if engine != "native" and device == "mps":
        env |= _MPS
    if engine == "keras":
        env |= {BACKEND_VARIABLE: keras_backend, **_backend_env(keras_backend, device)}
    return env


def _backend_env(keras_backend: KerasBackend, device: Device) -> dict[str, str]:
    if keras_backend == "torch":
        # Without it Keras takes whatever accelerator torch finds, whether the fit holds the slot or not.
        return {"KERAS_TORCH_DEVICE": device}
    # oneDNN picks its kernels by thread count and processor, which changes the last bits of a prediction.
    env = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}
    return env | ({"TF_FORCE_GPU_ALLOW_GROWTH": "true"} if device == "cuda" else {"CUDA_VISIBLE_DEVICES": ""})


def claim(engine: Engine) -> None:
    """Make sure that this process may work for `engine`; called before a fit.

    Raises:
        WrongEngine: the process was started for another engine, or holds a library of one.
    """
    started_for = os.environ.get(ENGINE_VARIABLE, engine)
    if started_for != engine:
        raise WrongEngine(f"this process was started for {started_for}, not for {engine}; use one process per engine")
    loaded = foreign_modules(engine, sys.modules, os.environ.get(BACKEND_VARIABLE, "tensorflow"))
    if loaded:
        raise WrongEngine(
            f"a {engine} process must not hold {', '.join(loaded)}: two OpenMP runtimes in one process crash on "
            "macOS; fit in a fresh process"
        )


def foreign_modules(engine: Engine, loaded: Iterable[str], keras_backend: str = "tensorflow") -> list[str]:
    """The names among `loaded` modules that `engine` must not share a process with."""
    foreign = FOREIGN[engine]
    if engine == "keras":
        foreign |= _BACKENDS - {keras_backend}
    return sorted(foreign.intersection(loaded))

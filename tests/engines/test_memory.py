import numpy as np
import pytest

from raytrain.engines.memory import is_out_of_memory
from raytrain.errors import FitError, OutOfMemory

# The libraries' own classes, by name and base, so that no engine is loaded here.
TorchOutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {})
ResourceExhaustedError = type("ResourceExhaustedError", (Exception,), {})
LightGBMError = type("LightGBMError", (Exception,), {})
XGBoostError = type("XGBoostError", (ValueError,), {})

RAN_OUT = [
    RuntimeError(
        "MPS backend out of memory (MPS allocated: 18.50 GiB, other allocations: 448.00 KiB, max allowed: 18.72 GiB). "
        "Tried to allocate 512.00 MiB on shared pool."
    ),
    RuntimeError(
        "MPS backend out of memory (MPS allocated: 5.50 GB, other allocations: 14.76 GB, max allowed: 20.40 GB). Tried "
        "to allocate 147.24 MB on private pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit for "
        "memory allocations (may cause system failure)."
    ),
    RuntimeError("Invalid buffer size: 20.00 GB"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other call"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 4000000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    TorchOutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    ResourceExhaustedError("OOM when allocating tensor with shape[10000000,10000000] and type float"),
    LightGBMError("std::bad_alloc"),
    XGBoostError("[12:00:00] /workspace/src/c_api.cc:1: std::bad_alloc"),
    XGBoostError("bad_malloc: Failed to allocate 400000000000 bytes."),
    MemoryError(),
    OutOfMemory("the fit did not fit"),
]

WENT_WRONG = [
    RuntimeError("MPS backend is not available"),
    RuntimeError("The operator 'aten::x' is not currently implemented for the MPS device"),
    RuntimeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("invalid low watermark ratio 1.4"),
    RuntimeError("a user said: MPS backend out of memory (MPS allocated: 1 GB)"),
    RuntimeError("Expected Invalid buffer size: to be quoted"),
    RuntimeError("Storage size calculation overflowed with sizes=[4611686018427387904]"),
    LightGBMError("Length of labels differs from the length of #data"),
    XGBoostError("Check failed: valid: Input data contains `inf`"),
    ValueError("memory must be at least 1 GB, got 0"),
    FitError("std::bad_alloc"),
    OSError(28, "No space left on device"),
    OSError(12, "Cannot allocate memory"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", RAN_OUT, ids=lambda error: f"{type(error).__name__}: {error}"[:60])
def test_every_way_of_running_out_is_known(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", WENT_WRONG, ids=lambda error: f"{type(error).__name__}: {error}"[:60])
def test_nothing_else_is_taken_for_it(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_numpy_says_it_with_a_memory_error() -> None:
    with pytest.raises(MemoryError) as caught:
        np.empty(2**58, dtype=np.int8)
    assert is_out_of_memory(caught.value)


@pytest.mark.torch
def test_torch_says_it_in_these_words() -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)


@pytest.mark.keras
def test_tensorflow_says_it_with_this_class() -> None:
    import tensorflow as tf

    with pytest.raises(tf.errors.ResourceExhaustedError) as caught:
        tf.zeros((2**25, 2**25))
    assert is_out_of_memory(caught.value)

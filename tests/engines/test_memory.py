import numpy as np
import pytest

from raytrain.engines.memory import died_of_memory, is_out_of_memory
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
    RuntimeError(
        "CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 31.75 GiB total capacity; 612.33 MiB already "
        "allocated; 14.75 MiB free; 622.00 MiB reserved in total by PyTorch)"
    ),
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
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED."),
    RuntimeError("DataLoader worker (pid 4) is killed by signal: Killed."),
    RuntimeError("the loss became nan; CUDA out of memory. Tried to allocate nothing"),
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


LAST_WORDS_OF_MEMORY = [
    "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n",
    "libc++abi: terminating due to uncaught exception of type std::bad_alloc: std::bad_alloc",
    "libc++abi: terminating with uncaught exception of type std::bad_alloc: std::bad_alloc",
    "Error: command buffer exited with error status.\n\tThe Metal Performance Shaders operations encoded on it may not "
    "have completed.\n\tError:\n\t(null)\n\tInsufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
    "OpenBLAS error: Memory allocation still failed after 10 retries, giving up.",
    'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\nMemoryError',
    "MemoryError: Unable to allocate 8.00 EiB for an array with shape (1152921504606846976,) and data type float64",
]

OTHER_LAST_WORDS = [
    "",
    "terminate called after throwing an instance of 'std::runtime_error'\n  what():  bad",
    "libc++abi: terminating due to uncaught exception of type std::length_error: vector",
    "Error: command buffer exited with error status.\n\t(null)\n\tInternal Error (0000000e:Internal Error)",
    "\t(null)\n\tIgnored (for causing prior/excessive GPU errors) "
    "(00000004:kIOGPUCommandBufferCallbackErrorSubmissionsIgnored)",
    "W tensorflow/core/framework/cpu_allocator_impl.cc:84] Allocation of 4000000000 exceeds 10% of free system memory.",
    "OpenBLAS warning: precompiled NUM_THREADS exceeded, adding auxiliary array for thread metadata.",
    "Fatal Python error: Segmentation fault",
    "ValueError: a MemoryError was expected",
    "MyMemoryError: no",
]


@pytest.mark.parametrize("errors", LAST_WORDS_OF_MEMORY, ids=lambda text: text[:40])
def test_a_process_that_died_of_memory_is_known_by_its_last_words(errors: str) -> None:
    assert died_of_memory(errors)
    assert died_of_memory(f"a warning of before\n{errors}")


@pytest.mark.parametrize("errors", OTHER_LAST_WORDS, ids=lambda text: text[:40])
def test_another_death_is_not_taken_for_it(errors: str) -> None:
    assert not died_of_memory(errors)

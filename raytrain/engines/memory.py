"""Tell a fit that ran out of memory from one that went wrong."""

import re

# By class name, so that no engine is loaded to ask.
_CLASSES = frozenset({"MemoryError", "OutOfMemory", "OutOfMemoryError", "ResourceExhaustedError"})
_CARRIERS = frozenset({"RuntimeError", "LightGBMError", "XGBoostError"})

_TEXTS = re.compile(
    "|".join(
        (
            r"^MPS backend out of memory \(MPS allocated: ",
            r"^Invalid buffer size: ",
            r"^CUDA out of memory\. Tried to allocate ",
            r"^CUDA error: out of memory",
            r"\bDefaultCPUAllocator: can't allocate memory",
            r"\bstd::bad_alloc\b",
            r"\bbad_malloc: Failed to allocate ",
        )
    ),
    re.MULTILINE,
)

# What a process writes that no handler could catch. Metal goes on after it, with numbers that are wrong.
_LAST_WORDS = re.compile(
    "|".join(
        (
            r"^terminate called after throwing an instance of 'std::bad_alloc'",
            r"^libc\+\+abi: terminating (?:due to|with) uncaught exception of type std::bad_alloc",
            r"\(00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory\)",
            r"^OpenBLAS error: Memory allocation still failed after \d+ retries",
            r"^MemoryError(?:$|: )",
        )
    ),
    re.MULTILINE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, in the words of any engine.

    MPS raises a plain RuntimeError whose units and pool differ between releases; LightGBM and XGBoost wrap
    `std::bad_alloc` in a class of their own. Anything else is False: a fit that comes back smaller for the wrong
    reason hides a defect. (`CUBLAS_STATUS_ALLOC_FAILED` is one of those: an index out of range raises it as well.)
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & _CLASSES:
        return True
    return bool(kinds & _CARRIERS) and _TEXTS.search(str(error)) is not None


def died_of_memory(errors: str) -> bool:
    """Whether what a process has written to its standard error says that it ran out of memory.

    For what cannot be raised in Python: an allocation that fails in another thread of C++, and Metal's own refusal,
    after which torch computes on with wrong numbers.
    """
    return _LAST_WORDS.search(errors) is not None

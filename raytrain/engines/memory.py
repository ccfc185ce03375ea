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
            r"^CUDA error: out of memory",
            r"\bDefaultCPUAllocator: can't allocate memory",
            r"\bstd::bad_alloc\b",
            r"\bbad_malloc: Failed to allocate ",
        )
    ),
    re.MULTILINE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, in the words of any engine.

    MPS raises a plain RuntimeError whose units and pool differ between releases; LightGBM and XGBoost wrap
    `std::bad_alloc` in a class of their own. Anything else is False: a fit that comes back smaller for the wrong
    reason hides a defect.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & _CLASSES:
        return True
    return bool(kinds & _CARRIERS) and _TEXTS.search(str(error)) is not None

"""The clock and the memory of a device; accelerators are played by modules of their interface."""

from types import SimpleNamespace

import pytest

from raytrain.engines import accelerator
from raytrain.engines.accelerator import DeviceMemory, device_memory, synchronise


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which devices were waited for."""
    seen: list[str] = []
    modules = {
        "cuda": SimpleNamespace(
            synchronize=lambda: seen.append("cuda"), max_memory_reserved=lambda: 7, mem_get_info=lambda: (1, 10)
        ),
        "mps": SimpleNamespace(
            synchronize=lambda: seen.append("mps"),
            driver_allocated_memory=lambda: 5,
            recommended_max_memory=lambda: 16,
        ),
    }
    monkeypatch.setattr(accelerator, "_module", modules.__getitem__)
    return seen


def test_an_accelerator_is_waited_for_and_the_cpu_is_not(waits: list[str]) -> None:
    for device in ("cpu", "cuda", "mps"):
        synchronise(device)
    assert waits == ["cuda", "mps"]


def test_the_memory_of_an_accelerator_is_its_own(waits: list[str]) -> None:
    assert device_memory("cuda") == DeviceMemory(peak_bytes=7, total_bytes=10)
    assert device_memory("mps") == DeviceMemory(peak_bytes=5, total_bytes=16)
    assert device_memory("cpu") is None


@pytest.mark.torch
def test_torch_has_what_is_asked_of_it() -> None:
    import torch

    for name in ("synchronize", "max_memory_reserved", "mem_get_info"):
        assert callable(getattr(torch.cuda, name))
    for name in ("synchronize", "driver_allocated_memory", "recommended_max_memory"):
        assert callable(getattr(torch.mps, name))

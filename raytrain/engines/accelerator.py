"""The clock and the memory of the device that a net computes on."""

from typing import Any, NamedTuple

from raytrain.engines.base import Device


class DeviceMemory(NamedTuple):
    """What this process holds of the memory of an accelerator, and what there is of it."""

    peak_bytes: int
    total_bytes: int


def synchronise(device: Device) -> None:
    """Wait until the device has done all that it was given; nothing to do on the CPU."""
    if device != "cpu":
        _module(device).synchronize()


def device_memory(device: Device) -> DeviceMemory | None:
    """The most that was reserved of the device's own memory; None on the CPU, whose memory is the process's.

    MPS keeps no peak, so there it is what is reserved now: torch's cache of freed buffers is in it, and lies close to
    the peak. Its total is what Metal recommends to one process, about two thirds of the machine's memory.
    """
    if device == "cpu":
        return None
    module = _module(device)
    if device == "cuda":
        return DeviceMemory(int(module.max_memory_reserved()), int(module.mem_get_info()[1]))
    return DeviceMemory(int(module.driver_allocated_memory()), int(module.recommended_max_memory()))


def _module(device: Device) -> Any:
    import torch

    return torch.cuda if device == "cuda" else torch.mps

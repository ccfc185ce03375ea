"""Which device a family's fits run on: what is assumed until it was tried."""

from typing import Any

from raytrain.engines.base import Device, Family

_SLOW_ON_MPS = frozenset({"lstm", "gru", "multilayer_lstm", "tab_lstm", "cnn_gru", "tft"})
"""Small recurrent nets wait for each step of theirs (GRU: 9 s on the CPU of an M2, 67 s on its MPS), and the sequences
that a TFT packs are reported broken there."""


def uses_slot(family: type[Family[Any]]) -> bool:
    """Whether a family could run on an accelerator.

    Keras stays on the CPU: tensorflow-metal computes wrong numbers, and a small net gains nothing on CUDA.
    """
    return family.lane == "slot" and family.engine == "torch"


def assumed_device(family: type[Family[Any]], slot_device: Device) -> Device:
    """Where a family runs until a trial says otherwise.

    Args:
        family: whose fits.
        slot_device: the device behind the slot; `cpu` where there is none.
    """
    if not uses_slot(family) or (slot_device == "mps" and family.name in _SLOW_ON_MPS):
        return "cpu"
    return slot_device

"""A machine as the scheduler sees it: cores, memory, the slot, the heat budget."""

from typing import Any, Literal

from pydantic import Field

from raytrain.config import Section

GIB = 1024**3


def _as_many_as_pcores(given: dict[str, Any]) -> int:
    return int(given.get("pcores", 1))


class MachineProfile(Section):
    """What may be used of a machine. Any profile can be assumed on any machine."""

    name: str
    pcores: int = Field(ge=1)
    """Performance cores: as many fit threads run at a time. All cores where there is one kind only."""
    ecores: int = Field(default=0, ge=0)
    """Efficiency cores: they carry the driver and the system, not fits."""
    memory_gb: float = Field(gt=0)
    """Memory in GiB."""
    slot: Literal["mps", "cuda", "cpu"]
    """The device behind the accelerator slot; `cpu` emulates a slot on a machine without one."""
    num_slots: int = Field(default=1, ge=1)
    """Fits that may hold an accelerator at a time: one per device."""
    thermal_tokens: int = Field(default_factory=_as_many_as_pcores, ge=1)
    """Threads that may be busy while the machine is cool; heat takes tokens away. Default: one per P core."""

    @property
    def memory_bytes(self) -> int:
        return int(self.memory_gb * GIB)

    @property
    def slot_resource(self) -> str:
        """The name of the slot among Ray's resources; an emulated slot keeps the name `mps`."""
        return "GPU" if self.slot == "cuda" else "mps"

    @property
    def num_gpus(self) -> int:
        """Ray's `num_gpus`: 0 unless the slot is CUDA, because Ray books an Apple GPU of its own otherwise."""
        return self.num_slots if self.slot == "cuda" else 0

    def custom_resources(self) -> dict[str, float]:
        """Ray's `resources`: what Ray does not count by itself."""
        resources = {"pcore": float(self.pcores), "thermal": float(self.thermal_tokens)}
        if self.ecores:
            resources["ecore"] = float(self.ecores)
        if self.slot != "cuda":
            resources["mps"] = float(self.num_slots)
        return resources

"""The accounts: who holds how much of the machine. Held, idle and free always add up to the whole."""

from dataclasses import dataclass
from heapq import heappop, heappush

from raytrain.schedule.words import Capacity, Engine


@dataclass(slots=True)
class Slot:
    """One accelerator slot."""

    number: int
    engine: Engine | None = None
    """The engine of the process that holds the slot; None when nobody does."""
    key: str | None = None
    """The fit that runs in it."""
    fits: int = 0
    """Fits started in the present process."""
    dead: bool = False
    """The process went down with its last fit."""


class Ledger:
    """Cores, memory and slots."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.held_cores = 0
        """Threads of the fits in the cores lane, and the host cores of the held slots, busy or idle."""
        self.held_memory_bytes = 0
        self.idle_memory_bytes = 0
        """Bytes of the processes in which nothing runs, as last measured."""
        self.slots = [Slot(number) for number in range(capacity.slots)]
        """As many as there ever were; of slots that a lost machine took along no new one is held."""
        self.idle: dict[int, Slot] = {}
        """Held slots in which nothing runs."""
        self._unheld = list(range(capacity.slots))

    @property
    def free_memory_bytes(self) -> int:
        """Bytes that no running fit has claimed and no idle process takes; below 0 when idle ones take too much."""
        return self.capacity.memory_bytes - self.held_memory_bytes - self.idle_memory_bytes

    @property
    def num_held_slots(self) -> int:
        """Slots that have a process."""
        return len(self.slots) - len(self._unheld)

    def resize(self, capacity: Capacity) -> None:
        """There is more or less than before. What is held stays held, also beyond the whole, until it is given back."""
        self.capacity = capacity
        for number in range(len(self.slots), capacity.slots):
            self.slots.append(Slot(number))
            heappush(self._unheld, number)

    def take(self, cores: int, memory_bytes: int) -> None:
        """Book what a fit holds beside a slot."""
        self.held_cores += cores
        self.held_memory_bytes += memory_bytes

    def give_back(self, cores: int, memory_bytes: int) -> None:
        """Book what a fit gives back."""
        self.held_cores -= cores
        self.held_memory_bytes -= memory_bytes

    def hold_slot(self, engine: Engine) -> Slot:
        """Give the lowest free slot a process of `engine`, idle at first."""
        slot = self.slots[heappop(self._unheld)]
        slot.engine, slot.fits, slot.dead = engine, 0, False
        self.idle[slot.number] = slot
        self.held_cores += self.capacity.slot_host_cores
        return slot

    def occupy_slot(self, slot: Slot, key: str) -> None:
        """Let a fit into an idle slot."""
        del self.idle[slot.number]
        slot.key = key
        slot.fits += 1

    def vacate_slot(self, slot: Slot, *, dead: bool) -> None:
        """A fit left its slot."""
        slot.key, slot.dead = None, dead
        self.idle[slot.number] = slot

    def release_slot(self, slot: Slot) -> None:
        """End an idle slot's process and give its host cores back."""
        del self.idle[slot.number]
        slot.engine = None
        heappush(self._unheld, slot.number)
        self.held_cores -= self.capacity.slot_host_cores

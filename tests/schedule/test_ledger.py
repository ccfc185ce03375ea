from raytrain.schedule.ledger import Ledger


def test_host_cores_are_held_once_for_as_long_as_the_slot_is(make_capacity):
    ledger = Ledger(make_capacity(cores=8, slots=2, slot_host_cores=2))
    slot = ledger.hold_slot("torch")
    held = [ledger.held_cores]
    for key in ("a", "b"):
        ledger.occupy_slot(slot, key)
        held.append(ledger.held_cores)
        ledger.vacate_slot(slot, dead=False)
    held.append(ledger.held_cores)
    ledger.release_slot(slot)
    assert held == [2, 2, 2, 2]
    assert (ledger.held_cores, ledger.num_held_slots, slot.fits) == (0, 0, 2)


def test_the_lowest_free_slot_is_held_first_with_a_fresh_count(make_capacity):
    ledger = Ledger(make_capacity(cores=8, slots=3))
    slots = [ledger.hold_slot("torch") for _ in range(3)]
    for slot in (slots[2], slots[1]):
        ledger.occupy_slot(slot, "a")
        ledger.vacate_slot(slot, dead=True)
        ledger.release_slot(slot)
    again = ledger.hold_slot("keras")
    assert (again.number, again.engine, again.fits, again.dead) == (1, "keras", 0, False)


def test_held_and_free_memory_add_up(make_capacity):
    ledger = Ledger(make_capacity(memory_bytes=10))
    ledger.take(1, 4)
    assert (ledger.held_cores, ledger.free_memory_bytes) == (1, 6)
    ledger.give_back(1, 4)
    assert (ledger.held_cores, ledger.free_memory_bytes) == (0, 10)

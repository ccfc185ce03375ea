import pytest
from pydantic import ValidationError

from raytrain.machine.profile import MachineProfile


def test_a_mac_gives_ray_an_mps_slot_and_no_gpu():
    mac = MachineProfile(name="m4pro", pcores=10, ecores=4, memory_gb=24, slot="mps")
    assert mac.custom_resources() == {"pcore": 10, "ecore": 4, "thermal": 10, "mps": 1}
    assert (mac.slot_resource, mac.num_gpus) == ("mps", 0)
    assert mac.memory_bytes == 25769803776


def test_a_slot_emulated_on_the_cpu_keeps_its_name():
    box = MachineProfile(name="box", pcores=4, memory_gb=16, slot="cpu", thermal_tokens=3)
    assert box.custom_resources() == {"pcore": 4, "thermal": 3, "mps": 1}
    assert (box.slot_resource, box.num_gpus) == ("mps", 0)


def test_cuda_slots_are_rays_own_gpus():
    box = MachineProfile(name="box", pcores=4, memory_gb=16, slot="cuda", num_slots=2)
    assert box.custom_resources() == {"pcore": 4, "thermal": 4}
    assert (box.slot_resource, box.num_gpus) == ("GPU", 2)


@pytest.mark.parametrize(
    "wrong", [{"pcores": 0}, {"ecores": -1}, {"memory_gb": 0}, {"num_slots": 0}, {"thermal_tokens": 0}, {"cores": 3}]
)
def test_a_profile_outside_its_bounds_is_refused(wrong):
    with pytest.raises(ValidationError):
        MachineProfile(**{"name": "box", "pcores": 4, "memory_gb": 16, "slot": "cpu"} | wrong)

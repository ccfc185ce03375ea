from pathlib import Path

import pytest

from raytrain.machine.detect import resolve

FOLDER = Path(__file__).parents[2] / "configs" / "machines"


def test_the_promised_machines_are_there():
    promised = {"m4-16gb", "m4pro-24gb", "m4max-64gb", "linux-cpu", "linux-cuda"}
    assert promised <= {path.stem for path in FOLDER.glob("*.yaml")}


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_every_shipped_profile_loads(name):
    profile = resolve(name, FOLDER)
    assert profile.name == name
    resources = profile.custom_resources() | {"GPU": profile.num_gpus}
    assert resources[profile.slot_resource] == profile.num_slots
    assert profile.thermal_tokens == profile.pcores


def test_the_reference_machine():
    reference = resolve("m4pro-24gb", FOLDER)
    assert (reference.pcores, reference.ecores, reference.memory_gb, reference.slot) == (10, 4, 24, "mps")

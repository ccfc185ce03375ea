import math

import pytest

from raytrain.evaluation.gates.lead import MEASURES, Lead

ROW = {"skill": 0.02, "skill_low": -0.01, "net_return": 3.0, "net_return_low": math.nan}


@pytest.mark.parametrize(
    ("judged_by", "value", "low", "told"),
    [
        ("skill", 0.02, -0.01, "2 %"),
        ("net_return", 3.0, None, "300 % a year"),
        ("net_change", 3.0, None, "3 a year in the unit of the price"),
    ],
)
def test_the_lead_is_read_from_what_the_recipe_is_judged_by(
    judged_by: str, value: float, low: float | None, told: str
) -> None:
    lead = Lead.of({**ROW, "judged_by": judged_by})
    assert (lead.value, lead.low) == (value, low)
    assert lead.measure.tell(lead.value) == told


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf])
def test_what_is_not_known_has_no_unit(unknown: float | None) -> None:
    assert {measure.tell(unknown) for measure in MEASURES.values()} == {"not known"}

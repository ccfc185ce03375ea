import math

from raytrain.tracking.records import ChildRecord
from raytrain.tracking.wandb_writer import summary_of, table_of

CHILDREN = [
    ChildRecord(
        family="naive", target="return_1w", metrics={"val_mape": 3.0, "skill": math.nan}, tags={"decision": "HOLD"}
    ),
    ChildRecord(
        family="mlp", target="return_1w", name="trial 7", status="FAILED", metrics={"brier": 0.2, "val_mape": math.inf}
    ),
]


def test_the_table_has_a_row_per_family_and_empty_cells_for_what_it_lacks():
    assert table_of(CHILDREN) == {
        "columns": ["name", "family", "target", "status", "val_mape", "skill", "brier", "decision"],
        "data": [
            ["naive/return_1w", "naive", "return_1w", "FINISHED", 3.0, None, None, "HOLD"],
            ["trial 7", "mlp", "return_1w", "FAILED", None, None, 0.2, None],
        ],
    }
    assert table_of([]) == {"columns": ["name", "family", "target", "status"], "data": []}


def test_the_summary_has_finite_figures_only():
    assert summary_of(CHILDREN) == {"naive/return_1w/val_mape": 3.0, "trial 7/brier": 0.2}

import json
import re
from pathlib import Path

import pytest

from raytrain.engines.base import FitContext, Shape
from raytrain.families.lightgbm import LightGBM, LightGBMParams

pytestmark = pytest.mark.native


def saved(folder: Path) -> dict[str, str]:
    """The settings that LightGBM writes into its model."""
    return dict(re.findall(r"^\[(\w+): (.*)\]$", (folder / "model.txt").read_text(), re.MULTILINE))


@pytest.mark.parametrize(("task", "objective"), [("regression", "regression"), ("binary", "binary")])
def test_parameters_reach_the_library(make_data, tmp_path: Path, task, objective: str) -> None:
    data = make_data()
    if task == "binary":
        data = make_data(y=data.y[:, 0] > 0)
    params = LightGBMParams(num_leaves=5, max_depth=3, learning_rate=0.2, min_data_in_leaf=11, feature_fraction=0.7)
    LightGBM(params).fit(data, FitContext(task=task, seed=9, threads=1)).save(tmp_path)
    expected = {
        "objective": objective,
        "num_leaves": "5",
        "max_depth": "3",
        "learning_rate": "0.2",
        "min_data_in_leaf": "11",
        "feature_fraction": "0.7",
        "seed": "9",
        "num_threads": "1",
        "deterministic": "1",
        "force_row_wise": "1",
    }
    assert expected.items() <= saved(tmp_path).items()
    assert json.loads((tmp_path / "params.json").read_text())["params"] == params.model_dump()


def test_trees_end_where_the_kept_loss_was_lowest(make_data, tmp_path: Path) -> None:
    told: list[float] = []
    params = LightGBMParams(num_rounds=400, early_stopping_rounds=7)
    LightGBM(params).fit(make_data(), FitContext(progress=told.append)).save(tmp_path)
    trees = (tmp_path / "model.txt").read_text().count("\nTree=")
    assert trees == len(told) - 7


def test_without_rows_aside_every_round_runs(make_data, tmp_path: Path) -> None:
    LightGBM(LightGBMParams(num_rounds=30, valid_share=0)).fit(make_data(), FitContext()).save(tmp_path)
    assert (tmp_path / "model.txt").read_text().count("\nTree=") == 30


def test_a_large_table_may_use_more_threads() -> None:
    small, large = (LightGBM.needs(LightGBMParams(), Shape(rows=rows, features=100)) for rows in (500, 50_000))
    assert small.max_threads == 1
    assert large.max_threads > 1

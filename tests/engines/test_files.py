import json
from pathlib import Path

import pytest

from raytrain.engines.files import read_params, write_params
from raytrain.errors import StoreCorrupt
from raytrain.families import get, make_params


def test_parameters_and_state_come_back(tmp_path: Path) -> None:
    family = get("mlp")
    params = make_params("mlp", {"hidden": [8, 4], "learning_rate": 0.1 + 0.2})
    write_params(tmp_path, family(params), {"value": 1 / 3, "levels": [0.1]})
    model, state = read_params(tmp_path, family)
    assert model.params == params
    assert state == {"value": 1 / 3, "levels": [0.1]}


def test_another_familys_model_is_refused(tmp_path: Path) -> None:
    write_params(tmp_path, get("naive")(make_params("naive", {})), {})
    with pytest.raises(StoreCorrupt, match="must hold a model of lstm version 2, found naive version 1"):
        read_params(tmp_path, get("lstm"))


def test_an_older_version_is_refused(tmp_path: Path) -> None:
    write_params(tmp_path, get("naive")(make_params("naive", {})), {})
    path = tmp_path / "params.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 0}))
    with pytest.raises(StoreCorrupt, match="found naive version 0; fit it again"):
        read_params(tmp_path, get("naive"))


def test_a_value_that_json_would_lose_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_params(tmp_path, get("naive")(make_params("naive", {})), {"value": float("nan")})

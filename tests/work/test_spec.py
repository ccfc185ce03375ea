"""A key is the content of everything that could change a result, in one form, in every process."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.folds import Fold
from raytrain.work.spec import FitSpec, canonical_json

FOLD = Fold(name="2020-01-01", train_start=None, cutoff=10, test_start=11, test_end=20)
SPEC = FitSpec(
    family="naive",
    family_version=1,
    packages=(("lightgbm", "4.7.0"),),
    params='{"window":756}',
    target="return_1w",
    target_configs=('{"horizon":5}',),
    task="regression",
    quantiles=(0.1, 0.5, 0.9),
    fold=FOLD,
    seed=42,
    device="cpu",
    features_hash="f0",
    labels_hash="f1",
    block_hash="f4",
    series_hash="f5",
)
KEY = "8e0168762d9d08f5e00a796714fe14e5"

OTHERS: dict[str, list[Any]] = {
    "family": ["lightgbm"],
    "family_version": [2],
    "packages": [(), (("lightgbm", "4.7.1"),), (("xgboost", "4.7.0"),)],
    "params": ['{"window":757}'],
    "target": ["return_1m"],
    "target_configs": [('{"horizon":6}',), ('{"horizon":5}', '{"horizon":6}')],
    "task": ["binary"],
    "quantiles": [(0.5,), (0.1, 0.5, 0.95)],
    "seed": [43],
    "device": ["mps", "cuda"],
    "features_hash": ["f2"],
    "labels_hash": ["f2"],
    "block_hash": ["f2"],
    "series_hash": ["f2"],
    "path_hash": ["f3"],
    "preprocess": ['{"scale":"robust"}'],
    "members": [("k1",), ("k1", "k2")],
    "budget_s": [60.0, 61.0],
    "fold": [
        replace(FOLD, name="2020-01-02"),
        replace(FOLD, train_start=0),
        replace(FOLD, cutoff=9),
        replace(FOLD, test_start=12),
        replace(FOLD, test_end=21),
    ],
}


def test_the_key_is_the_same_everywhere_and_for_ever() -> None:
    """A change of this key makes every stored result of every user worthless: it must be meant."""
    assert KEY == SPEC.key
    code = f"from raytrain.work.spec import *; from raytrain.folds import Fold; print({SPEC!r}.key)"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == KEY


def test_every_part_changes_the_key() -> None:
    assert set(OTHERS) == {field.name for field in fields(FitSpec)}
    assert len(OTHERS["fold"]) == len(fields(Fold))
    specs = [replace(SPEC, **{name: value}) for name, values in OTHERS.items() for value in values]
    keys = [SPEC.key, *(spec.key for spec in specs)]
    assert len(set(keys)) == len(keys)


FORECAST_ONLY = {"block_hash": 1, "fold": 3}
"""Part -> how many of its changes above leave the trained model as it is: where a block lies and what it holds."""


def test_what_could_change_the_model_changes_its_key() -> None:
    single = {name: values for name, values in OTHERS.items() if name != "members"}
    for name, values in single.items():
        same = sum(replace(SPEC, **{name: value}).train_key == SPEC.train_key for value in values)
        assert same == FORECAST_ONLY.get(name, 0), name
    moved = replace(SPEC, fold=replace(FOLD, name="later", test_start=13, test_end=30), block_hash="f9")
    assert moved.train_key == SPEC.train_key != ""


def test_a_mixture_of_forecasts_has_no_model_to_keep() -> None:
    assert replace(SPEC, members=("k1",)).train_key == ""


@st.composite
def any_spec(draw: st.DrawFn) -> FitSpec:
    changes = {name: draw(st.sampled_from([getattr(SPEC, name), *values])) for name, values in OTHERS.items()}
    return replace(SPEC, **changes | {"seed": draw(st.integers(0, 2**63)), "params": draw(st.text())})


@settings(max_examples=50, deadline=None)
@given(spec=any_spec(), other=any_spec())
def test_equal_specs_and_only_they_have_equal_keys(spec: FitSpec, other: FitSpec) -> None:
    assert (spec.key == other.key) == (spec == other)


@settings(max_examples=50, deadline=None)
@given(spec=any_spec())
def test_a_spec_survives_json(spec: FitSpec) -> None:
    again = FitSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.key == spec.key


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(value=st.dictionaries(st.text(), JSON, max_size=5))
def test_canonical_json_has_one_form(value: dict[str, Any]) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(dict(reversed(value.items()))) == text


def test_canonical_json_has_no_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"x": float("nan")})


def test_the_label_is_for_people() -> None:
    assert SPEC.label == "naive return_1w 2020-01-01 s42"

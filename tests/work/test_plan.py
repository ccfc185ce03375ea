"""Which fits a run consists of; every refusal comes before any work."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from raytrain import families
from raytrain.data import Frame
from raytrain.errors import ConfigError, DataError
from raytrain.features.targets import TargetConfig
from raytrain.folds import Fold, FoldsConfig, walk_forward
from raytrain.work import plan as plan_module
from raytrain.work.dataset import Dataset
from raytrain.work.plan import Plan, Recipes, make_plan, require_rows, stages

MakePlan = Callable[..., Plan]


def recipes(*names: str, params: dict[str, dict[str, Any]] | None = None, **rest: Any) -> Recipes:
    defaults = {"targets": (), "quantiles": (0.1, 0.5, 0.9), "seeds": (42,), "slot_device": "cpu"}
    return Recipes.make(names, params or {}, **defaults | rest)


def test_every_fit_once(plan: MakePlan, folds: list[Fold]) -> None:
    found = plan("naive", "lightgbm", seeds=(1, 2))
    assert len({fit.spec.key for fit in found.fits}) == len(found.fits)
    labels = [(fit.spec.target, fit.spec.family, fit.spec.fold, fit.spec.seed) for fit in found.fits]
    expected = [
        (target, family, fold, seed)
        for family in ("naive", "lightgbm")
        for target in ("return_1d", "return_1w", "threshold_1w")
        for fold in folds
        for seed in (1, 2)
        if "binary" in families.get(family).tasks or target != "threshold_1w"
    ]
    assert labels == expected


def test_the_plan_is_the_same_tomorrow_where_nothing_changed(
    plan: MakePlan,
    table: pl.DataFrame,
    as_frame: Callable[[pl.DataFrame], Frame],
    as_dataset: Callable[[Frame], Dataset],
) -> None:
    """A new row changes the fits of the open block and no other."""
    yesterday = table.filter(pl.col("date") < table["date"].max())
    before = plan("naive", only=as_dataset(as_frame(yesterday))).fits
    after = {fit.spec.key for fit in plan("naive").fits}
    kept = Counter(fit.spec.fold.name for fit in before if fit.spec.key in after)
    assert kept == {"2019-10-01": 3, "2020-01-01": 3}


def test_a_fit_says_what_it_needs(plan: MakePlan, dataset: Dataset) -> None:
    found = plan("naive", "lightgbm_quantile", "lstm")
    for fit in found.fits:
        family = families.get(fit.spec.family)
        assert (fit.engine, fit.lane) == (family.engine, "cores")
        assert fit.shape.rows == dataset.train_rows(fit.spec.fold, fit.spec.target).sum()
        assert fit.shape.features == 3
        params = family.params_type.model_validate_json(fit.spec.params)
        assert fit.shape.steps == family.steps(params)
        regression = fit.spec.task == "regression"
        assert fit.shape.quantiles == (3 if family.gives_quantiles and regression else 1)
        assert fit.needs == family.needs(params, fit.shape)
        assert fit.prior.work_s == fit.needs.work
        assert fit.prior.memory_bytes > fit.needs.memory_bytes


@pytest.mark.parametrize("devices", [{}, {"cnn1d": "cpu", "lstm": "mps", "naive": "mps", "mlp": "mps"}])
def test_only_what_runs_on_an_accelerator_takes_the_slot(
    dataset: Dataset, folds: list[Fold], devices: dict[str, Any]
) -> None:
    target = TargetConfig(horizon=1, label="1d")
    what = recipes("naive", "lstm", "cnn1d", "mlp", targets=(target,), slot_device="mps", devices=devices)
    found = {fit.spec.family: (fit.spec.device, fit.lane) for fit in make_plan(dataset, folds, what).fits}
    elsewhere, slot = ("cpu", "cores"), ("mps", "slot")
    lstm, cnn1d = (slot, elsewhere) if devices else (elsewhere, slot)
    assert found == {"naive": elsewhere, "lstm": lstm, "cnn1d": cnn1d, "mlp": elsewhere}


def test_where_a_fit_runs_is_part_of_its_key(plan: MakePlan) -> None:
    keys = [{fit.spec.key for fit in plan("cnn1d", slot_device=device).fits} for device in ("cpu", "mps")]
    assert not keys[0] & keys[1]


def test_the_key_knows_the_libraries(plan: MakePlan) -> None:
    [packages] = {fit.spec.packages for fit in plan("lightgbm").fits}
    assert [name for name, _ in packages] == list(families.get("lightgbm").packages)
    assert all(version[0].isdigit() for _, version in packages)


def test_a_missing_library_is_refused_before_any_work(plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise plan_module.PackageNotFoundError(name)

    monkeypatch.setattr(plan_module, "version", missing)
    with pytest.raises(ConfigError, match=r"family lightgbm needs the package lightgbm, got none; pip install"):
        plan("lightgbm")


def test_what_cannot_be_fitted_is_named(plan: MakePlan) -> None:
    regressors = [name for name in families.names() if "binary" not in families.get(name).tasks]
    classifiers = [name for name in families.names() if "binary" in families.get(name).tasks]
    assert regressors
    found = plan(*families.names(), params={"meta_learning": {"regime_features": ["other_*"]}})
    assert found.left_out == tuple(f"{name} has no binary form, so threshold_1w goes without it" for name in regressors)
    fitted = {fit.spec.family for fit in found.fits if fit.spec.target == "threshold_1w"}
    assert fitted == set(classifiers)


@pytest.mark.parametrize(
    ("names", "params", "said"),
    [
        (("lightgmb",), {}, "`lightgmb` is not a family; did you mean `lightgbm`? Known: "),
        (("naive", "naive"), {}, "each family may be named once, got naive twice in `families`"),
        (("naive",), {"naive": {"windw": 3}}, "`windw` is not a parameter of naive; did you mean `window`?"),
        (("naive",), {"naive": {"window": 0}}, "params.naive.window: "),
        (("naive",), {"lightgmb": {}}, "`lightgmb` is not a family; did you mean `lightgbm`?"),
        (("naive",), {"lightgbm": {"leaf": 3}}, "`leaf` is not a parameter of lightgbm"),
    ],
)
def test_wrong_names_are_refused(names: tuple[str, ...], params: dict[str, dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        recipes(*names, params=params)
    assert said in str(error.value)


def test_parameters_of_a_family_that_is_not_fitted_now_are_fine() -> None:
    what = recipes("naive", params={"lightgbm": {"num_rounds": 5}})
    assert [recipe.name for recipe in what.recipes] == ["naive"]


def test_folds_that_teach_too_little_are_refused(dataset: Dataset, folds: list[Fold]) -> None:
    target = TargetConfig(horizon=5, label="1w")
    rows = [int(dataset.train_rows(fold, "return_1w").sum()) for fold in folds]
    require_rows(dataset, folds, [target], FoldsConfig(min_train_rows=min(rows)))
    with pytest.raises(DataError) as error:
        require_rows(dataset, folds, [target], FoldsConfig(min_train_rows=min(rows) + 1))
    assert str(error.value) == (
        f"fold 2019-10-01 must have at least folds.min_train_rows = {rows[0] + 1} training rows for return_1w, "
        f"got {rows[0]}; lower folds.num_folds or folds.min_train_rows, or bring more rows"
    )


def test_a_horizon_longer_than_the_past_is_refused(
    frame: Frame, as_dataset: Callable[[Frame], Dataset], dataset: Dataset
) -> None:
    unknown = {"label_date-return_1d": np.full(900, np.iinfo(np.int64).max)}
    folds = walk_forward(frame.table["date"], FoldsConfig(test_span="1q", num_folds=1))
    with pytest.raises(DataError, match="got 0; lower"):
        require_rows(
            Dataset(dataset.meta, dataset.arrays | unknown),
            folds,
            [TargetConfig(horizon=1, label="1d")],
            FoldsConfig(min_train_rows=10),
        )


def test_one_fit_forecasts_all_targets_of_a_task_together(plan: MakePlan, folds: list[Fold]) -> None:
    fits = plan("multi_task").fits
    assert {fit.spec.target for fit in fits} == {"return_1d+return_1w", "threshold_1w"}
    assert len(fits) == 2 * len(folds)
    together = fits[0].spec
    assert together.target_names == ("return_1d", "return_1w")
    assert [target.horizon for target in together.targets] == [1, 5]
    assert fits[0].shape.outputs == 2


def test_an_ensemble_waits_for_its_members_on_all_folds_so_far(plan: MakePlan, folds: list[Fold]) -> None:
    mixing = {"ensemble": {"members": ["naive", "har"]}}
    found = plan("ensemble", "naive", "har", params=mixing)
    by_key = {fit.spec.key: fit.spec for fit in found.fits}
    mixed = [fit.spec for fit in found.fits if fit.spec.family == "ensemble"]
    assert found.fits[-len(mixed) :] == tuple(fit for fit in found.fits if fit.spec.family == "ensemble")
    assert [spec.target for spec in mixed] == ["return_1d"] * 3 + ["return_1w"] * 3
    for spec in mixed:
        read = [by_key[key] for key in spec.members]
        upto = [fold.name for fold in folds if fold.test_start <= spec.fold.test_start]
        assert [(one.fold.name, one.family) for one in read] == [
            (fold, name) for fold in upto for name in ("naive", "har")
        ]
        assert {one.target for one in read} == {spec.target}
    assert "mixes probabilities of lightgbm, xgboost, ngboost, not all fitted" in found.left_out[-1]


def test_regime_features_that_are_not_there_are_refused(plan: MakePlan) -> None:
    params = {"meta_learning": {"members": ["naive"], "regime_features": ["nothing*"]}}
    with pytest.raises(ConfigError, match=r"regime_features must match names of features, got nothing\*"):
        plan("meta_learning", "naive", params=params)


def test_an_ensemble_without_its_members_is_refused(plan: MakePlan) -> None:
    with pytest.raises(ConfigError, match=r"got gjr, which is not fitted; add it to `families`"):
        plan("ensemble", "har", "lightgbm_quantile")


def test_an_ensembles_key_changes_with_its_members(plan: MakePlan) -> None:
    def key(window: int) -> str:
        params = {"ensemble": {"members": ["naive", "har"]}, "naive": {"window": window}}
        return plan("ensemble", "naive", "har", params=params).fits[-1].spec.key

    assert key(100) != key(101)


def test_stages_follow_one_another_by_engine(plan: MakePlan) -> None:
    mixing = {"ensemble": {"members": ["naive", "har"]}}
    found = plan("gru", "mlp", "ensemble", "naive", "har", params=mixing)
    assert [name for name, _ in stages(found, "overlapped")] == ["all"]
    told = {name: list(dict.fromkeys(fit.spec.family for fit in fits)) for name, fits in stages(found, "two-stage")}
    assert told == {"CPU": ["naive", "har"], "TensorFlow": ["mlp"], "Torch": ["gru"], "others": ["ensemble"]}
    assert sum(len(fits) for _, fits in stages(found, "two-stage")) == len(found.fits)


def test_only_what_reads_the_path_is_keyed_by_it(plan: MakePlan) -> None:
    hashes = {
        (fit.spec.family, fit.spec.task): bool(fit.spec.path_hash)
        for fit in plan("naive", "har", "lightgbm", "lightgbm_quantile", "mlp").fits
    }
    assert hashes == {
        ("naive", "regression"): False,
        ("naive", "binary"): False,
        ("har", "regression"): True,
        ("lightgbm", "regression"): False,
        ("lightgbm", "binary"): False,
        ("lightgbm_quantile", "regression"): True,
        ("mlp", "regression"): True,
        ("mlp", "binary"): False,
    }


def test_how_inputs_are_scaled_is_in_the_key_of_those_who_scale(plan: MakePlan, dataset: Dataset) -> None:
    other = Dataset({**dataset.meta, "preprocess": {"scale": "robust"}}, dataset.arrays)
    for name, differs in (("lightgbm", False), ("mlp", True)):
        keys = {plan(name, only=one).fits[0].spec.key for one in (dataset, other)}
        assert len(keys) == 1 + differs


def test_the_keras_backend_is_in_the_key_of_keras_families(plan: MakePlan) -> None:
    for name, differs in (("mlp", True), ("gru", False)):
        specs = [plan(name, keras_backend=backend).fits[0].spec for backend in ("tensorflow", "torch")]
        assert (specs[0].key != specs[1].key) is differs
        if differs:
            assert [spec.packages[-1][0] for spec in specs] == ["tensorflow", "torch"]

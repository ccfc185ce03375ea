from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.engines.epochs import NetParams, NetShape
from raytrain.engines.training import TeachingRows, teaching_rows
from raytrain.errors import FitError

pytestmark = pytest.mark.torch

DAY = 86_400 * 10**9
LEVELS = (0.1, 0.5, 0.9)
PARAMS = NetParams(num_epochs=6, batch_size=16, learning_rate=0.05, dropout=0.0, valid_share=0.2)
TASKS = frozenset({"regression", "binary"})


def make_data(rows: int = 200, task: str = "regression") -> FitData:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, 3), dtype=np.float32)
    y = x[:, :1] + 0.5 * rng.standard_normal((rows, 1), dtype=np.float32)
    date = np.arange(rows) * DAY
    return FitData(
        x=x,
        y=(y > 0).astype(np.float32) if task == "binary" else y,
        weight=np.ones(rows, dtype=np.float32),
        date=date,
        label_date=date + DAY,
        series=np.zeros(rows, dtype=np.int32),
    )


def replace_params(**given: Any) -> NetParams:
    return PARAMS.model_copy(update=given)


class Taught:
    """A small net with dropout, and what its training was asked and told."""

    def __init__(
        self,
        params: NetParams = PARAMS,
        data: FitData | None = None,
        *,
        stop_at: int | None = None,
        spoil: Callable[[Any], None] = lambda net: None,
        plateau_patience: int = 3,
        **given: Any,
    ) -> None:
        import torch

        from raytrain.engines import lightning_loop, torch_loop
        from raytrain.nets.heads import head

        self.asked, self.told = 0, []

        def should_stop() -> bool:
            self.asked += 1
            return self.asked == stop_at

        context = FitContext(quantiles=LEVELS, should_stop=should_stop, progress=self.told.append, **given)
        self.data = make_data(task=context.task) if data is None else data
        rows = teaching_rows(self.data, context, TASKS, params.valid_share)
        shape = NetShape.of(self.data, context, params.batch_size)
        torch_loop.prepare(context)
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.2), head(8, 1, shape.levels))
        spoil(self.net)
        lightning_loop.train(
            self.net, shape, self.data, rows, params=params, context=context, plateau_patience=plateau_patience
        )
        self.values = torch_loop.forward(self.net, shape)(self.data.x[:])
        self.rows: TeachingRows = rows


def pinball(taught: Taught, rows: np.ndarray) -> float:
    error = taught.data.y[rows][..., None] - taught.values[rows]
    return float(np.maximum(np.array(LEVELS) * error, (np.array(LEVELS) - 1) * error).mean())


def test_it_learns() -> None:
    untaught, taught = Taught(replace_params(max_steps=1, learning_rate=1e-9)), Taught()
    assert pinball(taught, taught.rows.tail) < 0.5 * pinball(untaught, taught.rows.tail)


def test_it_learns_labels() -> None:
    taught = Taught(task="binary")
    assert taught.values.shape == (200, 1, 1)
    assert ((taught.values[:, 0] > 0.5) == (taught.data.y > 0.5)).mean() > 0.75


def test_every_batch_is_told_and_may_stop() -> None:
    taught = Taught(replace_params(patience=100))
    batches = 6 * (len(taught.rows.head) // 16)
    assert taught.asked == len(taught.told) == batches
    assert taught.told == pytest.approx((np.arange(batches) + 1) / batches)


def test_steps_are_limited_whatever_the_epochs() -> None:
    taught = Taught(replace_params(max_steps=12))
    assert taught.asked == 12
    assert taught.told[-1] == 1


def contrary() -> FitData:
    """The tail contradicts the head, so that its loss soon rises."""
    data = make_data()
    y = data.y.copy()
    y[150:] = -3 * data.x[150:, :1]
    return replace(data, y=y)


def test_it_stops_early_with_the_best_weights() -> None:
    stopped = Taught(replace_params(patience=2, num_epochs=20), contrary())
    epochs = stopped.asked // (len(stopped.rows.head) // 16)
    assert 3 <= epochs < 20
    best = Taught(replace_params(num_epochs=epochs - 2), contrary())
    assert np.array_equal(best.values, stopped.values)


def test_the_rate_falls_on_a_plateau(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    rates, step = [], torch.optim.AdamW.step

    def watched(optimizer: Any, **given: Any) -> Any:
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, **given)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    taught = Taught(replace_params(patience=3, num_epochs=20), contrary(), plateau_patience=1)
    by_epoch = np.array(rates).reshape(-1, len(taught.rows.head) // 16)
    np.testing.assert_allclose(by_epoch[:-1], 0.05)
    np.testing.assert_allclose(by_epoch[-1], 0.025)


def test_weights_count() -> None:
    data = make_data()
    weight = np.where(np.arange(200) % 2, 100, 1).astype(np.float32)
    assert not np.array_equal(Taught().values, Taught(data=replace(data, weight=weight)).values)
    assert np.array_equal(Taught().values, Taught(data=replace(data, weight=7 * data.weight)).values)


def test_gradients_are_clipped() -> None:
    """Adam's steps do not feel the gradient's length, unless it is near its epsilon."""
    assert not np.array_equal(Taught().values, Taught(replace_params(clip_norm=1e-9)).values)


def test_a_loss_that_is_no_number_names_the_epoch_and_the_batch() -> None:
    def spoil(net: Any) -> None:
        net[0].weight.data[0, 0] = float("nan")

    with pytest.raises(FitError, match=r"loss became nan in epoch 1, batch 1; lower learning_rate \(0.05\)"):
        Taught(spoil=spoil)


@pytest.mark.parametrize("valid_share", [0.2, 0.0])
@pytest.mark.parametrize("stop_at", [4, 8, 9, 13])
def test_a_stopped_training_goes_on_to_the_uninterrupted_result(
    stop_at: int, valid_share: float, tmp_path: Path
) -> None:
    params = replace_params(valid_share=valid_share)
    whole = Taught(params, plateau_patience=0)
    stopped = Taught(params, stop_at=stop_at, checkpoint=tmp_path, plateau_patience=0)
    resumed = Taught(params, checkpoint=tmp_path, plateau_patience=0)
    assert stopped.asked == stop_at
    assert stopped.asked + resumed.asked == whole.asked
    assert not np.array_equal(stopped.values, whole.values)
    assert np.array_equal(resumed.values, whole.values)


def test_another_fit_starts_afresh(tmp_path: Path) -> None:
    Taught(stop_at=4, checkpoint=tmp_path)
    assert np.array_equal(Taught(seed=1, checkpoint=tmp_path).values, Taught(seed=1).values)


def test_nothing_is_written_that_was_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Taught()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_weights_that_layers_share_are_saved_once(tmp_path: Path) -> None:
    import torch

    from raytrain.engines import lightning_loop

    def tied() -> Any:
        layer = torch.nn.Linear(3, 3)
        return torch.nn.Sequential(layer, torch.nn.Tanh(), layer)

    net, other = tied(), tied()
    lightning_loop.save(net, tmp_path)
    lightning_loop.load(other, tmp_path)
    x = torch.randn(5, 3)
    assert torch.equal(net(x), other(x))

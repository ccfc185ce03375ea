from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData, Params
from raytrain.engines.resume import Checkpoint, Position, fingerprint
from raytrain.engines.training import EarlyStopping, TeachingRows


class Counter:
    """A learner whose weight is a number, and whose optimiser another one."""

    def __init__(self, weight: int = 0, moment: int = 0) -> None:
        self.weight, self.moment = weight, moment

    def snapshot(self) -> int:
        return self.weight

    def restore(self, snapshot: int) -> None:
        self.weight = snapshot

    def save_state(self, folder: Path) -> None:
        (folder / "state.txt").write_text(f"{self.weight} {self.moment}")

    def load_state(self, folder: Path) -> None:
        self.weight, self.moment = map(int, (folder / "state.txt").read_text().split())


def checkpoint(folder: Path, fit: str = "a") -> Checkpoint:
    return Checkpoint(folder, lambda: fit)


def stopping(*losses: float) -> EarlyStopping:
    made = EarlyStopping(patience=4)
    for loss in losses:
        made.improved(loss)
    return made


def test_everything_comes_back(tmp_path: Path) -> None:
    position = Position(stopping(0.3, 0.1, 0.2), epoch=3, batch=5, best=7)
    checkpoint(tmp_path).save(Counter(8, 80), position)
    learner = Counter()
    found = checkpoint(tmp_path).load(learner)
    assert (learner.weight, learner.moment) == (8, 80)
    assert (found.epoch, found.batch, found.best) == (3, 5, 7)
    assert vars(found.stopping) == vars(position.stopping)


def test_before_the_first_epoch_there_is_no_best(tmp_path: Path) -> None:
    checkpoint(tmp_path).save(Counter(8, 80), Position(stopping(), batch=5))
    found = checkpoint(tmp_path).load(Counter())
    assert found.best is None
    assert found.stopping.best_loss == float("inf")


def test_a_later_state_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    for weight in (1, 2):
        checkpoint(tmp_path).save(Counter(weight), Position(stopping()))
    learner = Counter()
    assert checkpoint(tmp_path).load(learner) is not None
    assert learner.weight == 2
    assert [path.name for path in tmp_path.iterdir()] == ["training"]


def test_what_others_keep_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("mine")
    checkpoint(tmp_path).save(Counter(), Position(stopping()))
    assert checkpoint(tmp_path, fit="b").load(Counter()) is None
    assert (tmp_path / "other.txt").read_text() == "mine"
    assert checkpoint(tmp_path).load(Counter()) is not None


@pytest.mark.parametrize("file", ["training.json", "now/state.txt", "best/state.txt"])
@pytest.mark.parametrize("damage", ["shorter", "gone"])
def test_a_torn_state_is_no_state(tmp_path: Path, file: str, damage: str) -> None:
    checkpoint(tmp_path).save(Counter(8, 80), Position(stopping(0.1), best=7))
    path = tmp_path / "training" / file
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    learner = Counter(3, 30)
    assert checkpoint(tmp_path).load(learner) is None
    assert (learner.weight, learner.moment) == (3, 30)


def test_a_write_that_fails_leaves_the_earlier_state(tmp_path: Path) -> None:
    class Full(Counter):
        def save_state(self, folder: Path) -> None:
            raise OSError(28, "No space left on device")

    checkpoint(tmp_path).save(Counter(8, 80), Position(stopping()))
    with pytest.raises(OSError, match="No space"):
        checkpoint(tmp_path).save(Full(), Position(stopping()))
    assert checkpoint(tmp_path).load(Counter()) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["training"]


def test_without_a_state_the_fit_is_not_hashed(tmp_path: Path) -> None:
    def hashed() -> str:
        raise AssertionError("hashing reads all rows")

    assert Checkpoint(tmp_path, hashed).load(Counter()) is None


class Wider(Params):
    """Parameters of one family."""

    width: int = 3


class Other(Params):
    """Parameters of another family, equal in all values."""

    width: int = 3


def test_a_fingerprint_is_of_everything_that_decides_the_result(rows: Callable[..., FitData]) -> None:
    data, context, split = rows(), FitContext(), TeachingRows(np.arange(80), np.arange(90, 120))

    def changed(name: str, row: int) -> FitData:
        values = getattr(data, name).copy()
        values[row] += 1
        return replace(data, **{name: values})

    def of(data: FitData = data, split: TeachingRows = split, params: Params = Wider(), **told: object) -> str:  # noqa: B008
        return fingerprint(data, split, params, replace(context, **told), 32)

    prints = [
        of(),
        of(changed("x", 79)),
        of(changed("y", 119)),
        of(changed("weight", 40)),
        of(split=TeachingRows(np.arange(79), np.arange(90, 120))),
        of(params=Wider(width=4)),
        of(params=Other()),
        of(seed=1),
        of(quantiles=(0.1, 0.5)),
        of(task="binary"),
        of(device="mps"),
    ]
    assert len(set(prints)) == len(prints)
    same = [of(), of(changed("x", 85)), of(threads=2), of(should_stop=lambda: True), of(checkpoint=Path("elsewhere"))]
    assert set(same) == {prints[0]}

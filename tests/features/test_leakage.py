"""Columns that know the future."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from raytrain.data.diagnostics import DiagnosticsConfig
from raytrain.features.leakage import Later, Outcome, Steps, lead_lag, leakage

CONFIG = DiagnosticsConfig()
ROWS = 1500
Floats = NDArray[np.float64]


@pytest.fixture
def moves() -> Floats:
    """(ROWS,) one-step returns."""
    return np.random.default_rng(0).normal(0, 0.01, ROWS)


def ahead(values: Floats, rows: int) -> Floats:
    return np.concatenate([values[rows:], np.full(rows, np.nan)])


def outcome(moves: Floats) -> Outcome:
    return Outcome(name="return_1d", y=ahead(moves, 1), horizon=1, signed=True)


LEAKS: dict[str, Callable[[Floats], Floats]] = {
    "the return itself": lambda y: y,
    "its sign": np.sign,
    "its size": np.abs,
    "a flag of rises": lambda y: np.where(np.isnan(y), np.nan, y > 0.005),
    "the return with noise": lambda y: y + np.random.default_rng(1).normal(0, 0.003, ROWS),
    "the return upside down": lambda y: -1e6 * y,
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_feature_that_knows_the_target_is_an_error(name: str, moves: Floats) -> None:
    target = outcome(moves)

    (found,) = leakage({"planted": LEAKS[name](target.y)}, [target], {"planted"}, CONFIG)

    assert (found.level, found.column, found.check) == ("error", "planted", "leakage")
    assert "`return_1d`" in found.message


def test_what_no_model_sees_is_a_warning(moves: Floats) -> None:
    target = outcome(moves)

    (found,) = leakage({"target": target.y}, [target], (), CONFIG)

    assert found.level == "warning"


def test_a_feature_that_knows_too_much_is_a_warning(moves: Floats) -> None:
    target = outcome(moves)
    half = target.y + np.random.default_rng(1).normal(0, 0.01, ROWS)

    (found,) = leakage({"half": half}, [target], {"half"}, CONFIG)

    assert found.level == "warning"
    assert found.value is not None
    assert 0.6 < found.value < 0.9


def test_the_past_is_no_leak(moves: Floats) -> None:
    trend = np.cumsum(moves)
    target = Outcome(name="return_3m", y=ahead(trend, 63) - trend, horizon=63, signed=True)
    past = {"level": trend, "return": moves, "row": np.arange(ROWS, dtype=np.float64), "flat": np.ones(ROWS)}

    assert not leakage(past, [outcome(moves), target], set(past), CONFIG)


def test_a_leak_into_a_binary_target_is_an_error(moves: Floats) -> None:
    future = ahead(moves, 1)
    rises = Outcome(name="threshold_1d", y=np.where(np.isnan(future), np.nan, future > 0.01), horizon=1, signed=False)

    (found,) = leakage({"planted": future, "noise": moves}, [rises], {"planted", "noise"}, CONFIG)

    assert (found.level, found.column) == ("error", "planted")


def steps(moves: Floats, change: Floats, value: Floats | None = None) -> Steps:
    return Steps(
        same=moves,
        later=[
            Later(what="the price's next step", returns=ahead(moves, 1), span=1),
            Later(what="the price's step 5 rows later", returns=ahead(moves, 5), span=1),
            Later(what="the price's next 63 rows", returns=ahead(np.cumsum(moves), 63) - np.cumsum(moves), span=63),
        ],
        value={"column": np.cumsum(change) if value is None else value},
        change={"column": change},
    )


def noisy(moves: Floats) -> Floats:
    return moves + np.random.default_rng(2).normal(0, 0.02, ROWS)


def test_a_neighbour_that_moves_on_the_same_step_is_fine(moves: Floats) -> None:
    assert not lead_lag(steps(moves, noisy(moves)), {"column"}, CONFIG)


def test_a_neighbour_that_follows_is_fine(moves: Floats) -> None:
    late = np.concatenate([[0.0], noisy(moves)[:-1]])

    assert not lead_lag(steps(moves, late), {"column"}, CONFIG)


def test_a_neighbour_dated_a_row_too_early_is_suspicious(moves: Floats) -> None:
    early = np.nan_to_num(ahead(noisy(moves), 1))

    (found,) = lead_lag(steps(moves, early), {"column"}, CONFIG)

    assert (found.level, found.check) == ("warning", "lead_lag")
    assert "next step" in found.message
    assert [one.level for one in lead_lag(steps(moves, early), (), CONFIG)] == ["note"]


def test_a_column_of_returns_is_looked_at_as_it_is(moves: Floats) -> None:
    early = ahead(noisy(moves), 1)

    (found,) = lead_lag(steps(moves, np.diff(early, prepend=np.nan), value=early), {"column"}, CONFIG)

    assert found.level == "warning"


@pytest.mark.parametrize("rows", [1, 5])
def test_the_price_of_a_later_row_is_an_error_where_a_model_sees_it(moves: Floats, rows: int) -> None:
    later = np.nan_to_num(ahead(moves, rows))

    assert [one.level for one in lead_lag(steps(moves, later), {"column"}, CONFIG)] == ["error"]
    assert [one.level for one in lead_lag(steps(moves, later), (), CONFIG)] == ["warning"]


def test_one_wave_of_a_short_history_proves_nothing() -> None:
    wave = np.cos(np.arange(300) / 60) / 100
    later = Later(what="the price's next 63 rows", returns=ahead(np.cumsum(wave), 63) - np.cumsum(wave), span=63)
    column = np.cos(np.arange(300) / 60 + 0.53)
    short = Steps(
        same=wave,
        later=[Later(what="the price's next step", returns=np.zeros(300), span=1), later],
        value={"column": column},
        change={"column": np.zeros(300)},
    )

    assert np.corrcoef(later.returns[:237], column[:237])[0, 1] > 0.99
    assert not lead_lag(short, {"column"}, CONFIG)

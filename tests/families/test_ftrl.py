from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.families.ftrl import FTRL, FTRLParams, Proximal, events

DAY = 86_400 * 10**9
STRONG = FTRLParams(alpha=0.3, beta=0.5, l1=5.0, l2=0.05)


@pytest.fixture
def data(make_data) -> FitData:
    """Labels known at once, so that the order of learning is that of the rows."""
    made = make_data(200)
    return replace(made, label_date=made.date + 1)


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_the_weights_are_rivers(data: FitData, task) -> None:
    """River's linear models predict with the weights of one step before; a step of 0 brings them up to date."""
    from river.optim import FTRLProximal
    from river.optim.losses import Log, Squared

    y = data.y[:, 0] > 0 if task == "binary" else data.y[:, 0].astype(float)
    weight = np.random.default_rng(0).uniform(0.5, 2, 200).astype(np.float32)
    weight /= weight.mean()
    model = FTRL(STRONG).fit(replace(data, y=y.astype(np.float32)[:, None], weight=weight), FitContext(task=task))
    optimizer = FTRLProximal(**STRONG.model_dump(include={"alpha", "beta", "l1", "l2"}))
    loss = Log() if task == "binary" else Squared()
    nothing, zeros = dict.fromkeys(range(4), 0.0), set()
    for row, label, scale in zip(data.x.astype(float), y, weight / weight.mean(), strict=True):
        x = dict(enumerate([*row, 1.0]))
        now = optimizer.step(dict(nothing), dict(nothing))
        zeros.add(sum(value == 0 for value in now.values()))
        slope = float(scale) * loss.gradient(label, sum(now[i] * x[i] for i in x))
        optimizer.step(dict(now), {i: slope * x[i] for i in x})
    expected = optimizer.step(dict(nothing), dict(nothing))
    found = [*model._forecast.line.slope, model._forecast.line.intercept]
    np.testing.assert_allclose(found, [expected[i] for i in range(4)], rtol=1e-6)
    assert zeros & {1, 2, 3}, "the penalty must hold some weights at 0, and not all"


def test_it_is_the_algorithm_of_the_paper_step_by_step() -> None:
    rng, params = np.random.default_rng(1), STRONG
    learner, z, n = Proximal(3, params, "regression"), [0.0] * 3, [0.0] * 3
    for _ in range(50):
        x, y = rng.standard_normal(3).astype(np.float32), float(rng.standard_normal())
        w = [
            0.0
            if abs(z[i]) <= params.l1
            else -(z[i] - np.sign(z[i]) * params.l1) / ((params.beta + n[i] ** 0.5) / params.alpha + params.l2)
            for i in range(3)
        ]
        np.testing.assert_allclose(learner.weights, w, atol=1e-12)
        predicted = sum(w[i] * float(x[i]) for i in range(3))
        learner.learn(x, y, 1.0)
        for i in range(3):
            g = 2 * (predicted - y) * float(x[i])
            sigma = ((n[i] + g * g) ** 0.5 - n[i] ** 0.5) / params.alpha
            z[i], n[i] = z[i] + g - sigma * w[i], n[i] + g * g


def test_a_label_is_learned_when_it_is_known_and_not_before() -> None:
    date = np.array([1, 2, 3, 4]) * DAY
    seen = list(events(date, date + 2 * DAY))
    assert seen == [(0, False), (1, False), (0, True), (2, False), (1, True), (3, False), (2, True), (3, True)]


def test_forecasts_made_while_learning_know_no_later_label(make_data) -> None:
    data = make_data(300)
    made = [_forecasts(replace(data, y=y, label_date=data.date + 5 * DAY)) for y in (data.y, _changed(data, 200))]
    assert np.array_equal(made[0][:205], made[1][:205])
    assert made[0][206] != made[1][206]


def _changed(data: FitData, row: int) -> np.ndarray:
    y = data.y.copy()
    y[row] += 10
    return y


def _forecasts(data: FitData) -> np.ndarray:
    learner, made = Proximal(3, STRONG, "regression"), np.zeros(len(data.y))
    for row, known in events(data.date, data.label_date):
        if known:
            learner.learn(data.x[row], data.y[row, 0], 1.0)
        else:
            made[row] = learner.score(data.x[row])
    return made


def test_the_quantiles_are_of_the_newest_forecasts(make_data) -> None:
    y = np.random.default_rng(2).standard_normal(400) * np.repeat([9.0, 1.0], 200)
    levels = (0.1, 0.5, 0.9)
    params = FTRLParams(alpha=1e-6, residual_share=0.25)
    values = FTRL(params).fit(make_data(400, y), FitContext(quantiles=levels)).predict(np.zeros((1, 3)))
    np.testing.assert_allclose(values[0, 0], np.quantile(y[300:], levels, method="hazen"), atol=1e-3)


def test_much_l1_leaves_only_what_matters(make_data) -> None:
    data = make_data(2000)
    slope = FTRL(FTRLParams(alpha=0.1, l1=200, l2=0)).fit(data, FitContext())._forecast.line.slope
    assert slope[0] != 0
    assert slope[1] == slope[2] == 0

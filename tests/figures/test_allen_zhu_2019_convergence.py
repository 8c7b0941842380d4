"""The mathematics inside the figure on convergence: rates, those of a kernel, nets and steps of the theorem."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import meanfield as mf
from figures import allen_zhu_2019_convergence as figure
from solvers.errors import InputError

CONFIG = figure.Config(widths=(8, 12, 16), channels=(4, 5, 6), width=8, iterations=20)


def test_the_fit_finds_the_power_it_is_made_for() -> None:
    t = np.arange(41.0)
    powers = np.append(1.0, t[1:] ** -1.5)
    np.testing.assert_allclose(figure.power(5.0 * powers), -1.5, rtol=1e-12)


def test_contraction_is_that_of_the_worst_step() -> None:
    losses = np.exp(-0.3 * np.arange(5.0)) * np.ones((2, 1))
    np.testing.assert_allclose(figure.contraction(losses, 0.1), 3.0, rtol=1e-12)
    losses[1, 3:] *= 1.5  # one step up
    assert figure.contraction(losses, 0.1)[1] == pytest.approx(10 * (0.3 - np.log(1.5)), rel=1e-12)


def test_a_run_says_its_rate_a_step_and_whether_it_is_steady() -> None:
    """By differences of log F over the second half: the fit and the differences agree on what is nearly a line."""
    data = figure.points(CONFIG, 0, mf.SquaredLoss)
    net, X = figure.network(0, data, 64, 4, 3)
    c = figure.scale(net, X, data, CONFIG, 0)
    report, found = figure.trained(net, X, data, c, 80, 0)
    z = np.log(found["loss"])
    assert found["loss"].shape == found["accuracy"].shape == (81,)
    assert found["straight"] > 0.99
    assert found["rate"] == pytest.approx((z[40] - z[80]) / 40, rel=0.02)
    assert found["steady"] == pytest.approx((z[60] - z[80]) / (z[40] - z[60]), rel=0.02)
    assert found["step"] * report.width == pytest.approx(c, rel=1e-12)
    kernel = net.tangent_kernel(net.init(rng=0), X)
    assert found["least"][0] == pytest.approx(np.linalg.eigvalsh(kernel)[0], rel=1e-9)


def test_predicted_is_the_rate_of_descent_on_a_quadratic() -> None:
    step, least = 0.1, 3.0
    x = 1.0 - step * least
    assert figure.predicted(np.array(step), np.array(least)) == pytest.approx(-np.log(x**2), rel=1e-14)


def test_nets_are_the_theorems() -> None:
    data = figure.points(CONFIG, 0, mf.SquaredLoss)
    for kind, (name, skip) in enumerate((("Dense", None), ("ConvNet", None), ("ResNet", "post"))):
        net, X = figure.network(kind, data, 8, 4, 3)
        assert (type(net).__name__, net.skip, net.parametrization) == (name, skip, "allen_zhu")
        assert net.trained == (1, 2) and net.predict(net.init(rng=0), X).shape == (CONFIG.n,)
        c = figure.scale(net, X, data, CONFIG, 0)
        largest = np.linalg.norm(net.tangent_kernel(net.init(rng=0), X), 2)
        assert c / net.layers[0].out * largest == pytest.approx(CONFIG.step, rel=1e-12)


def test_more_steps_than_the_loss_has_digits_are_refused() -> None:
    X, y = mf.data.separated(1, 4, rng=0)
    data = figure.Data(X, X, (4, 1), y, mf.SquaredLoss(reduction="sum"))
    net, _ = figure.network(0, data, 64, 4, 3)
    with pytest.raises(InputError, match="before 90 steps are done: take fewer iterations"):
        figure.trained(net, X, data, figure.scale(net, X, data, CONFIG, 0), 90, 0)


@pytest.mark.parametrize("outputs", [1, 3])
def test_what_is_watched_is_the_accuracy(outputs: int) -> None:
    X, y = mf.data.separated(8, 5, labels="signs" if outputs == 1 else 3, rng=0)
    loss = mf.LogisticLoss(reduction="sum") if outputs == 1 else mf.CrossEntropy(reduction="sum")
    data = figure.Data(X, X, (5, 1), y, loss, outputs)
    net, _ = figure.network(0, data, 16, 4, 2)
    problem, weights = mf.finite.deep.Problem(net, X, y, loss), net.init(rng=1)
    seen = figure.Watched(problem, step=1.0).default_record(0.0, weights.flat)
    assert seen == {"objective": problem.value(weights), "accuracy": problem.accuracy(weights)}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seeds": 2}, "seeds"), ({"starts": 2}, "starts"), ({"step": 0.0}, "step"), ({"step": 1.5}, "step"),
        ({"widths": (8, 16)}, "widths and channels"), ({"hidden": 1}, "hidden"),
        ({"widths": (80, 40, 160)}, "widths must ascend"), ({"channels": (4, 4, 6)}, "channels must ascend"),
        ({"iterations": 10}, "iterations"), ({"digit_iterations": 10}, "digit_iterations"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)


def test_where_digits_are_missing_that_is_said_before_any_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(figure, "trained", None)
    with pytest.raises(InputError, match="needs scikit-learn"):
        figure.compute(CONFIG, np.random.default_rng(0))

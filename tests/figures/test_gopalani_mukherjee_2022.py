"""The mathematics inside the figure on SGD and Villani functions: the library's objective is the paper's loss."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import meanfield as mf
from figures import gopalani_mukherjee_2022_sgd as figure
from meanfield.diagnostics._villani.net import FiniteNet
from solvers.errors import InputError

CONFIG = figure.Config.quick()
SIGMA: dict[str, Any] = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh}


def paper_loss(activation: str, W: np.ndarray, X: np.ndarray, y: np.ndarray, lam: float) -> float:
    m = len(W)
    f = SIGMA[activation](X @ W.T) @ (figure.signs(m) / np.sqrt(m))
    return float(0.5 * np.mean((f - y) ** 2) + 0.5 * lam * np.sum(W**2))


@pytest.mark.parametrize("activation", figure.ACTIVATIONS)
@pytest.mark.parametrize("m", [4, 5])
def test_the_objective_is_the_papers_loss_plus_a_constant(activation: str, m: int) -> None:
    rng = np.random.default_rng(m)
    X, y = figure.regression(CONFIG, rng)
    W, lam = rng.standard_normal((m, CONFIG.d)), 0.3
    mu = mf.ParticleMeasure.from_arrays(a=figure.signs(m), w=W)
    value = figure.objective(activation, m, X, y, lam).value(mu)
    expected = paper_loss(activation, W, X, y, lam)
    # sums of 100 data in another order
    assert value - 0.5 * m * lam == pytest.approx(expected, rel=1e-12)
    # and the report's own net is the same function
    network = mf.TwoLayer(activation, d=CONFIG.d, bias=False, train=("w",))
    net = FiniteNet(mf.Objective(network, X, y, regularizer=mf.Ridge(lam)), m, figure.signs(m) / np.sqrt(m))
    assert float(net.values(W.reshape(-1))) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("activation", figure.ACTIVATIONS)
def test_a_step_is_a_step_of_the_papers_descent(activation: str) -> None:
    """With the whole data as batch, W - eta grad L by central differences."""
    rng = np.random.default_rng(0)
    X, y = figure.regression(CONFIG, rng)
    m, lam, eta = 3, 0.2, 0.7
    W = rng.standard_normal((m, CONFIG.d))
    flow = mf.SGD(figure.objective(activation, m, X, y, lam), eta / m)
    z = flow.pack(mf.ParticleMeasure.from_arrays(a=figure.signs(m), w=W))
    flow.prepare(mf.ParticleMeasure.from_arrays(a=figure.signs(m), w=W)).step(z, eta / m, 0)
    moved = z.reshape(m, -1)
    np.testing.assert_array_equal(moved[:, 0], figure.signs(m))
    gradient = np.empty_like(W)
    for index in np.ndindex(W.shape):
        change = np.zeros_like(W)
        change[index] = 1e-5
        gradient[index] = (
            paper_loss(activation, W + change, X, y, lam) - paper_loss(activation, W - change, X, y, lam)
        ) / 2e-5
    # rounding eps/1e-5 and truncation 1e-10
    np.testing.assert_allclose(moved[:, 1:], W - eta * gradient, atol=1e-9)


def test_data_have_the_bounds_of_the_constants() -> None:
    X, y = figure.regression(CONFIG, np.random.default_rng(1))
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1.0, rtol=1e-12)
    assert np.abs(y).max() == pytest.approx(1.0, rel=1e-15)
    assert np.sum((figure.signs(6) / np.sqrt(6)) ** 2) == pytest.approx(1.0, rel=1e-12)


def test_strong_convexity_is_the_formula_of_the_constants() -> None:
    """lam_cvx = (B_y + |a|_1 B_sigma) |a|_inf M'_D B_x^2."""
    X, y = figure.regression(CONFIG, np.random.default_rng(2))
    for activation, curvature in (("sigmoid", 0.0962250), ("tanh", 0.7698004)):
        found = figure.report(activation, 16, X, y, 0.1, 1.0, np.random.default_rng(3))
        assert found.constants["lambda_cvx"] == pytest.approx((1 + 4) / 4 * curvature, rel=1e-6)
        assert found.trivially_convex == (found.constants["lambda_cvx"] < 0.1)


@pytest.mark.usefixtures("step_by_step")
def test_losses_start_at_the_papers_loss_and_end_together() -> None:
    config = dataclasses.replace(CONFIG, iterations=300)
    rng = np.random.default_rng(4)
    X, y = figure.regression(config, rng)
    Ws = [rng.standard_normal((4, config.d)), 5 * rng.standard_normal((4, config.d))]
    starts = [mf.ParticleMeasure.from_arrays(a=figure.signs(4), w=W) for W in Ws]
    found = figure.losses(config, "tanh", 4, 2.5, X, y, starts, rng)
    # the constant 5 that was taken off leaves its rounding
    np.testing.assert_allclose(found[:, 0], [paper_loss("tanh", W, X, y, 2.5) for W in Ws], rtol=1e-12)
    assert found.shape == (2, len(figure.saved(config)))
    # strongly convex: both are at the noise of SGD by then
    assert abs(found[0, -1] - found[1, -1]) < 0.02 * found[0, -1]


@pytest.mark.parametrize(
    ("change", "word"),
    [({"steps": (1.0,)}, "steps"), ({"penalties": (0.0, 0.5)}, "penalties"), ({"fits": (1.0, 0.1)}, "fits")],
)
def test_settings_that_do_not_fit_together_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)

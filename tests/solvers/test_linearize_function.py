"""Jacobians of velocities given as functions, and second derivatives of losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import solvers
from solvers import losses

MATRIX = np.random.default_rng(0).standard_normal((7, 7))


def linearize(flow: solvers.FunctionFlow, x: Any, t: float = 0.0) -> Any:
    bound = flow.prepare(x)
    return bound.linearize(t, bound.pack(x))


def test_a_linear_velocity_is_its_own_derivative() -> None:
    linear = linearize(solvers.FunctionFlow(lambda x: MATRIX @ x), np.arange(7.0))
    for v in np.eye(7):
        # Rounding eps |MATRIX x|/step, 1e-9; there is no truncation.
        assert np.allclose(linear.product(v, np.empty(7)), MATRIX @ v, atol=1e-8)
    assert linear.weight is None and linear.rank is None and linear.evaluations == 14
    assert not hasattr(linear, "low_rank")


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_steps_go_with_the_size_of_the_state(scale: float) -> None:
    x = scale * np.array([1.0, -2.0, 1e-3, 0.5])
    linear = linearize(solvers.FunctionFlow(lambda t, x: np.sin(x / scale) * t), x, t=2.0)
    v = np.array([1.0, 2.0, -3.0, 0.5])
    # 6e-6^2/6 of truncation and 1e-16/6e-8 of rounding; at 1e-8 a step may be 6e-4 of the scale.
    expected = 2.0 * np.cos(x / scale) * v / scale
    assert np.allclose(linear.product(v, np.empty(4)), expected, rtol=1e-6 if scale == 1e-8 else 1e-7)


def test_states_at_rest_and_directions_of_nothing() -> None:
    linear = linearize(solvers.FunctionFlow(lambda x: np.cos(x) + 3 * x), np.zeros((2, 3)))
    v = np.arange(6.0)
    # Rounding eps/6e-12, as the state has no size of its own.
    assert np.allclose(linear.product(v, np.empty(6)), 3 * v, atol=1e-3)
    assert np.array_equal(linear.product(np.zeros(6), np.full(6, np.nan)), np.zeros(6))


def test_where_the_velocity_jumps_there_is_no_derivative() -> None:
    flow = solvers.FunctionFlow(np.sign, time_dependent=False, smooth=False)
    assert not hasattr(flow.prepare(np.ones(3)), "linearize")


def test_the_state_may_change_afterwards() -> None:
    bound = solvers.FunctionFlow(lambda x: x**2).prepare(np.ones(2))
    z = np.ones(2)
    linear = bound.linearize(0.0, z)
    z[:] = 5.0
    assert np.allclose(linear.product(np.ones(2), np.empty(2)), 2.0)


def examples() -> list[Any]:
    rng = np.random.default_rng(2)
    one, several = rng.standard_normal(9), rng.standard_normal((9, 3))
    signs = np.where(rng.random(9) < 0.5, -1.0, 1.0)
    result: list[Any] = []
    for loss in (losses.SquaredLoss(), losses.SquaredLoss("sum"), losses.HuberLoss(0.7)):
        result += [(loss, one, rng.standard_normal(9)), (loss, several, rng.standard_normal((9, 3)))]
    for loss in (losses.LogisticLoss(), losses.ExponentialLoss("sum")):
        result += [(loss, one, signs), (loss, several, np.where(several > 0.3, 1.0, -1.0))]
    result += [(losses.SoftMinMargin(), one, signs), (losses.CrossEntropy(), several, rng.integers(0, 3, 9))]
    probabilities = rng.random((9, 3))
    result.append((losses.CrossEntropy("sum"), several, probabilities / probabilities.sum(axis=1)[:, None]))
    return result


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss, f, y", examples())
def test_hessians_are_derivatives_of_gradients(loss: Any, f: Any, y: Any, weighted: bool) -> None:
    weights = np.linspace(0.0, 2.0, 9) if weighted else None
    step = 1e-5
    change = np.random.default_rng(1).standard_normal(f.shape)
    difference = (
        loss.gradient(f + step * change, y, weights) - loss.gradient(f - step * change, y, weights)
    ) / (2 * step)
    matrix = loss.hessian(f, y, weights)
    if matrix.shape == f.shape and not hasattr(loss, "hessian_times"):
        product = matrix * change
    else:
        assert matrix.shape == (f.size, f.size) and np.array_equal(matrix, matrix.T)
        product = (matrix @ change.reshape(-1)).reshape(f.shape)
        assert np.allclose(loss.hessian_times(f, y, change, weights), product, rtol=1e-13, atol=1e-15)
    # Truncation h^2/6 R'''' and rounding 1e-16/1e-5.
    assert np.allclose(product, difference, rtol=1e-7, atol=1e-9)


def test_hessians_at_large_margins_are_finite() -> None:
    f, y = np.array([800.0, -800.0]), np.ones(2)
    assert np.isfinite(losses.LogisticLoss().hessian(f, y)).all()
    assert np.isfinite(losses.SoftMinMargin().hessian(f, y)).all()
    logits = np.array([[800.0, -800.0]])
    assert np.isfinite(losses.CrossEntropy().hessian(logits, np.array([1]))).all()

"""The spectral radius from a few products: against eigenvalues, and where differences do not serve."""

from __future__ import annotations

import numpy as np
import pytest

import solvers
from solvers._finite_difference import DifferenceLinearization
from solvers._stepper import StepFailure
from solvers.errors import InputError
from solvers.spectrum import require_products, spectral_radius


def true_radius(matrix):
    return np.max(np.abs(np.linalg.eigvals(matrix)))


def products(matrix):
    return lambda v, out: np.matmul(matrix, v, out=out)


@pytest.mark.parametrize("size", [1, 2, 50, 400])
def test_the_heat_equation(stiff, size):
    matrix = stiff.heat(size)
    found = spectral_radius(products(matrix), np.ones(size))
    # from below, since the matrix is symmetric; within the ten per cent that RKC2 adds (measured 7 at most)
    assert 0.9 * true_radius(matrix) < found.value <= true_radius(matrix) * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_networks_at_the_start_and_on_the_way(stiff, activation, seed):
    flow = stiff.Network(activation, seed=seed)
    z = flow.start
    for _ in range(3):
        linear = flow.linearize(0.0, z)
        radius = true_radius(stiff.dense(linear, z.size))
        v = flow.velocity(0.0, z, np.empty_like(z))
        found = spectral_radius(linear.product, v)
        # measured within 4 %
        assert 0.9 * radius < found.value < 1.1 * radius
        assert found.products <= 12
        z = z + 0.5 * v


def test_a_start_in_an_invariant_subspace_is_left():
    # the start is an eigenvector of the smaller eigenvalue
    found = spectral_radius(products(np.diag([-1.0, -100.0])), np.array([1.0, 0.0]))
    assert abs(found.value - 100.0) < 1.0


def test_nothing_moves():
    found = spectral_radius(products(np.zeros((3, 3))), np.zeros(3))
    assert (found.value, found.products) == (0.0, 1)


def test_a_rotation_ends_and_is_right():
    # complex eigenvalues +-2i
    found = spectral_radius(products(np.array([[0.0, 2.0], [-2.0, 0.0]])), np.ones(2))
    assert abs(found.value - 2.0) < 1e-12
    assert found.products == 2


def test_a_product_that_is_not_finite_is_a_failure():
    with pytest.raises(StepFailure, match="Jacobian-vector product"):
        spectral_radius(products(np.array([[np.nan]])), np.ones(1))


def test_differences_serve_smooth_flows_and_fail_on_kinks(stiff):
    smooth = stiff.Network("tanh")
    z = smooth.start
    v = smooth.velocity(0.0, z, np.empty_like(z)).copy()
    radius = true_radius(stiff.dense(smooth.linearize(0.0, z), z.size))
    found = spectral_radius(DifferenceLinearization(smooth, 0.0, z).product, v)
    assert 0.9 * radius < found.value < 1.1 * radius
    # at a kink (a neuron's line through a datum) the difference measures the jump, over a length of 1e-5
    kinked = stiff.Network("relu")
    theta = kinked.start.reshape(kinked.shape).copy()
    theta[0, 1:] -= kinked.x[0] * (theta[0, 1:] @ kinked.x[0]) / (kinked.x[0] @ kinked.x[0])
    z = theta.reshape(-1)
    v = kinked.velocity(0.0, z, np.empty_like(z)).copy()
    radius = true_radius(stiff.dense(kinked.linearize(0.0, z), z.size))
    assert spectral_radius(DifferenceLinearization(kinked, 0.0, z).product, v).value > 10 * radius


def test_what_cannot_be_had_is_refused():
    class Plain:
        smooth = False

    with pytest.raises(InputError, match=r"RKC2 needs the spectral radius.*linearize\(t, z\), or use this$"):
        require_products(Plain(), "RKC2", ", or use this")
    with pytest.raises(InputError, match=r"needs the spectral radius.*linearize\(t, z\)$"):
        require_products(Plain(), "largest_stable_step")
    require_products(solvers.FunctionFlow(np.sin).prepare([1.0]), "RKC2")

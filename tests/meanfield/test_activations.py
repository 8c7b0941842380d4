"""Activations: compiled code against plain Python, slopes, declared constants."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import meanfield as mf
from meanfield import activations
from meanfield._kernels.elementwise import activate_slope

ALL = [
    mf.ReLU(),
    mf.LeakyReLU(0.1),
    mf.Tanh(),
    mf.Tanh(2.5),
    mf.Sigmoid(),
    mf.Sigmoid(3.0),
    mf.Softplus(2.0),
    mf.Erf(),
    mf.Quadratic(),
    mf.Identity(),
    mf.PiecewiseLinear([(0.5, -2.5), (1.5, 7.5)]).prepared(),
    mf.PiecewiseLinear([(0, -2.5), (0.5, -4), (1.5, 7.5)]).prepared(),
]
IDS = [repr(a) for a in ALL]


@pytest.mark.parametrize("activation", ALL, ids=IDS)
def test_compiled_code_equals_plain_python(activation: Any) -> None:
    z = np.concatenate([np.linspace(-5, 5, 401), [1e-12, -1e-12, 30.0, -30.0, 700.0, -700.0]])
    value, slope = np.empty_like(z), np.empty_like(z)
    activate_slope(activation, z, value, slope)
    # Fused multiply-adds: a few ulp, and near a zero of sigma a few ulp of its terms.
    assert np.allclose(value, [activation.value(float(t)) for t in z], rtol=4e-15, atol=2e-15)
    assert np.allclose(slope, [activation.slope(float(t)) for t in z], rtol=4e-15, atol=1e-15)
    assert np.isfinite(value).all() and np.isfinite(slope).all()


@pytest.mark.parametrize("activation", ALL, ids=IDS)
def test_slope_is_the_derivative(activation: Any) -> None:
    h = 1e-5
    for z in np.linspace(-4, 4, 83) + 0.003:
        difference = (activation.value(z + h) - activation.value(z - h)) / (2 * h)
        # Truncation h^2/6 |sigma'''| < 1e-9 for gains up to 3; rounding 1e-16/1e-5.
        assert abs(activation.slope(z) - difference) < 1e-8 * (1 + abs(difference))


@pytest.mark.parametrize("activation", ALL, ids=IDS)
def test_declared_bounds_hold_and_are_attained(activation: Any) -> None:
    bounds = activation.bounds
    z = np.linspace(-12, 12, 240_001)
    value, slope = np.empty_like(z), np.empty_like(z)
    activate_slope(activation, z, value, slope)
    # Attained within 1e-6 on this grid of spacing 1e-4 (sigmoids reach 1 up to e^-12 = 6e-6).
    if math.isfinite(bounds.value):
        assert np.abs(value).max() <= bounds.value * (1 + 1e-12)
        assert np.abs(value).max() > bounds.value * (1 - 1e-5)
    if math.isfinite(bounds.slope):
        assert np.abs(slope).max() <= bounds.slope * (1 + 1e-12)
        assert np.abs(slope).max() > bounds.slope * (1 - 1e-5)
        assert bounds.lipschitz == bounds.slope
    change = np.abs(np.diff(slope)) / np.diff(z)
    if math.isfinite(bounds.slope_lipschitz):
        assert change.max() <= bounds.slope_lipschitz * (1 + 1e-6) + 1e-10
        assert change.max() > bounds.slope_lipschitz * (1 - 1e-4) - 1e-10
    else:
        assert change.max() > 100  # a jump of the slope over one cell of 1e-4


@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_declared_degree_is_homogeneity(c: float, z: float) -> None:
    for activation in ALL:
        degree = getattr(activation, "degree", None)
        if degree is not None:
            left, right = activation.value(c * z), c**degree * activation.value(z)
            assert math.isclose(left, right, rel_tol=1e-12, abs_tol=1e-300)


def test_kink_convention() -> None:
    assert mf.ReLU().slope(0.0) == 0.0  # 1{z > 0}
    assert mf.ReLU(slope_at_zero=0.5).slope(0.0) == 0.5


def test_names() -> None:
    names = {"relu", "leaky_relu", "tanh", "sigmoid", "softplus", "erf", "quadratic", "identity"}
    assert names < set(activations.BY_NAME)
    for name, cls in activations.BY_NAME.items():
        if cls is not mf.PiecewiseLinear:
            assert type(activations.resolve(name)) is cls
    with pytest.raises(mf.InputError, match="needs knots"):
        activations.resolve("piecewise_linear")
    with pytest.raises(mf.InputError, match="did you mean 'relu'"):
        activations.resolve("rellu")
    with pytest.raises(mf.InputError, match="pass an instance"):
        activations.resolve(mf.ReLU)


def test_beta_is_checked() -> None:
    for beta in (0.0, -2.0, np.nan):
        with pytest.raises(mf.InputError, match="beta"):
            mf.TwoLayer(mf.Softplus(beta), d=1)


def test_knots_are_checked() -> None:
    for knots in ([(0, 1)], [(0, 1), (0, 2)], [(1, 1), (0, 2)], [(0, np.nan), (1, 1)], [0, 1]):
        with pytest.raises(mf.InputError):
            mf.TwoLayer(mf.PiecewiseLinear(knots), d=1)

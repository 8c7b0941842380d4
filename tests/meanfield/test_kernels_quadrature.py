"""Kernels by quadrature: against closed forms, adaptive integration, and symmetry; kinks told or found."""

from __future__ import annotations

import math
from typing import NamedTuple

import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import dblquad, quad

import meanfield as mf
from meanfield import kernels
from meanfield.kernels import _quadrature, _two_layer
from meanfield.kernels._kinks import kinks_of, straight


class Kinked(NamedTuple):
    """A user's leaky ReLU: its kink is found by bisection."""

    negative_slope: float = 0.2
    smooth = False

    def value(self, z: float) -> float:
        return z if z > 0.0 else self.negative_slope * z

    def slope(self, z: float) -> float:
        return 1.0 if z > 0.0 else self.negative_slope


class Bump(NamedTuple):
    """A user's smooth activation that Numba does not compile (a generator expression)."""

    width: float = 1.0

    def value(self, z: float) -> float:
        return math.fsum(float(p) for p in (math.exp(-z * z / self.width), 0.0))

    def slope(self, z: float) -> float:
        return -2.0 * z / self.width * self.value(z)


def hard_points(d: int, seed: int = 0) -> np.ndarray:
    """Points at random, twins, opposites, near twins, a short one and zero."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(8, d))
    return np.vstack(
        [X, X[:1], -X[1:2], X[2:3] + 1e-6 * rng.normal(size=(1, d)), 1e-3 * X[3:4], np.zeros((1, d))]
    )


def scaled_error(found: np.ndarray, expected: np.ndarray) -> float:
    size = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    return float(np.max(np.abs(found - expected) / np.maximum(size, 1e-30)))


@pytest.mark.parametrize("law", ["gaussian", "sphere"])
@pytest.mark.parametrize("d", [1, 3, 30])
def test_quadrature_reaches_closed_forms(law: str, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    X = hard_points(d)
    cases = [(Kinked(0.2), mf.LeakyReLU(0.2)), (mf.Quadratic(0.7), mf.Quadratic(0.7))]
    if law == "gaussian":
        cases += [(mf.Erf(), mf.Erf())] if d == 30 else [(mf.Erf(2.0), mf.Erf(2.0))]
    expected = [kernels.tangent(X, activation=known, w_law=law) for _, known in cases]
    monkeypatch.setattr(_two_layer, "closed_form", lambda sigma, law: None)
    monkeypatch.setattr(_quadrature, "straight", lambda *ignored: None)
    for (sigma, _), exact in zip(cases, expected, strict=True):
        found = kernels.tangent(X, activation=sigma, w_law=law)
        assert (found == found.T).all()
        assert scaled_error(found, exact) < 1e-9  # rtol 1e-10 for each of two terms, whose sizes may cancel
        value = kernels.random_features(X[:3], X, activation=sigma, directions=law)
        np.testing.assert_allclose(
            value,
            kernels.random_features(X, activation=sigma, directions=law)[:3],
            atol=1e-9 * np.abs(value).max(),
        )


@pytest.mark.parametrize("law", ["gaussian", "sphere"])
def test_a_plugin_linear_between_kinks_has_its_kernel_in_closed_form(law: str) -> None:
    X = hard_points(3)
    found = kernels.tangent(X, activation=Kinked(0.2), w_law=law)
    # between |x||z| eps in the moments at knots and in the closed form
    assert scaled_error(found, kernels.tangent(X, activation=mf.LeakyReLU(0.2), w_law=law)) < 1e-14
    bent = Kinked(0.2)
    values = np.vectorize(lambda z: bent.value(z) + 1e-9 * z * z)
    assert straight(bent, values, np.vectorize(bent.slope), 3.0) is None


def test_an_activation_that_overflows_is_told() -> None:
    class Steep(NamedTuple):
        rate: float = 1.0

        def value(self, z: float) -> float:
            return math.exp(self.rate * z)

        def slope(self, z: float) -> float:
            return self.rate * math.exp(self.rate * z)

    with pytest.raises(mf.PluginError, match="is not finite at z ="):
        kernels.random_features(100.0 * hard_points(2), activation=Steep())


@pytest.mark.parametrize("sigma", [mf.Tanh(1.5), mf.Sigmoid(2.0), mf.Softplus(3.0)], ids=repr)
def test_gaussian_law_against_adaptive_integration(sigma) -> None:  # type: ignore[no-untyped-def]
    x, z = np.array([0.9, -0.4]), np.array([0.5, 1.1])

    def weighted(b: float, a: float) -> float:
        u, v = a * x[0] + b * x[1], a * z[0] + b * z[1]
        mass = math.exp(-0.5 * (a * a + b * b)) / (2 * math.pi)
        return mass * (sigma.value(u) * sigma.value(v) + 0.7 * (x @ z) * sigma.slope(u) * sigma.slope(v))

    # the trapezoidal rule: e^(-2 pi a/h) for poles at distance a, here 1 or more from the real lines: 1e-14
    grid = 0.2 * np.arange(-45, 46)
    expected = 0.04 * sum(weighted(float(b), float(a)) for a in grid for b in grid)
    found = kernels.tangent(x[None], z[None], activation=sigma, w_law="gaussian", a_sq=0.7)[0, 0]
    assert found == pytest.approx(expected, rel=1e-11)


def test_sphere_law_against_adaptive_integration() -> None:
    sigma = mf.Tanh(2.0)
    x, z = np.array([0.9, -0.4]), np.array([0.5, 1.1])

    def on_circle(t: float) -> float:
        w = np.array([math.cos(t), math.sin(t)])
        return sigma.value(w @ x) * sigma.value(w @ z) / (2 * math.pi)

    found = kernels.random_features(x[None], z[None], activation=sigma, directions="sphere")[0, 0]
    assert found == pytest.approx(quad(on_circle, 0, 2 * math.pi, epsabs=1e-13)[0], rel=1e-11)

    def on_sphere(b: float, h: float) -> float:  # Archimedes: height and longitude are uniform
        w = np.array([math.sqrt(1 - h * h) * math.cos(b), math.sqrt(1 - h * h) * math.sin(b)])
        return sigma.value(w @ x) * sigma.value(w @ z) / (4 * math.pi)

    pad = np.zeros(1)
    found = kernels.random_features(
        np.r_[x, pad][None], np.r_[z, pad][None], activation=sigma, directions="sphere"
    )[0, 0]
    assert found == pytest.approx(dblquad(on_sphere, -1, 1, 0, 2 * math.pi, epsabs=1e-11)[0], rel=1e-9)


RAMPS = [
    ((-0.5, -2.5), (0.5, 1.0), (1.5, 7.5)),
    ((0.0, -2.5), (0.5, -4.0), (1.5, 7.5)),
    ((-0.02, 0.0), (0.02, 1.0)),
]


@pytest.mark.parametrize("knots", RAMPS, ids=str)
@pytest.mark.parametrize(
    ("law", "d"), [("gaussian", 1), ("gaussian", 4), ("sphere", 2), ("sphere", 3), ("sphere", 40)]
)
def test_integrals_over_an_angle_against_those_over_the_plane(
    knots: tuple[tuple[float, float], ...], law: str, d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sigma = mf.PiecewiseLinear(knots)
    X = hard_points(d)[[0, 1, 2, 8, 9, 10, 11, 12]]
    expected = kernels.tangent(X, activation=sigma, w_law=law)
    assert (expected == expected.T).all()
    monkeypatch.setattr(_two_layer, "closed_form", lambda sigma, law: None)
    monkeypatch.setattr(_quadrature, "straight", lambda *ignored: None)
    # the plane's rtol is 1e-10 for either term; those of x and -x cancel in part
    assert scaled_error(kernels.tangent(X, activation=sigma, w_law=law), expected) < 1e-8


def test_piecewise_linear_on_the_circle_in_high_precision() -> None:
    """One integral over the angle of w, split at the kinks, in 30 digits."""
    for knots in RAMPS:
        sigma = mf.PiecewiseLinear(knots)
        K = kernels.random_features([[1.0, 0.3]], [[0.4, -0.9], [-1.1, -0.3]], sigma, "sphere")[0]
        for z, found in zip(([0.4, -0.9], [-1.1, -0.3]), K, strict=True):
            assert abs(found - float(on_the_circle(knots, [1.0, 0.3], z))) < 1e-13 * (
                1 + max(k[1] ** 2 for k in knots)
            )


def on_the_circle(knots: tuple[tuple[float, float], ...], x: list[float], z: list[float]) -> mp.mpf:
    def sigma(t: mp.mpf) -> mp.mpf:
        for (k, a), (m, b) in zip(knots, knots[1:], strict=False):
            if k <= t < m:
                return mp.mpf(a) + (mp.mpf(b) - mp.mpf(a)) * (t - k) / (mp.mpf(m) - mp.mpf(k))
        return mp.mpf(knots[0][1] if t < knots[0][0] else knots[-1][1])

    with mp.workdps(20):
        ends = {-mp.pi, mp.pi}
        for point in (x, z):
            size, angle = mp.hypot(*point), mp.atan2(point[1], point[0])
            for k, _ in knots:
                if abs(k) < size:
                    ends |= {
                        mp.fmod(angle + s * mp.acos(k / size) + 3 * mp.pi, 2 * mp.pi) - mp.pi for s in (1, -1)
                    }

        def product(t: mp.mpf) -> mp.mpf:
            c, s = mp.cos(t), mp.sin(t)
            return sigma(x[0] * c + x[1] * s) * sigma(z[0] * c + z[1] * s)

        # pieces are trigonometric: Gauss rules of low degree are exact to 20 digits
        pieces = sorted(ends)
        return sum(mp.quad(product, p, maxdegree=3) for p in zip(pieces, pieces[1:], strict=False)) / (
            2 * mp.pi
        )


@pytest.mark.parametrize("law", ["gaussian", "sphere"])
def test_piecewise_linear_is_a_sum_over_neurons(law: str) -> None:
    """40 blocks of 2000 neurons; six standard errors, which the blocks estimate."""
    sigma = mf.PiecewiseLinear([(-0.3, -1.0), (0.4, 0.5), (0.8, 2.0)])
    rng = np.random.default_rng(1)
    X = np.array([[1.0, 0.3, 0.0], [0.4, -0.9, 0.5], [1.0, 0.3, 0.001]])
    w = rng.normal(size=(40, 2000, 3))
    if law == "sphere":
        w /= np.linalg.norm(w, axis=-1, keepdims=True)
    z = 1.3 * w @ X.T
    knots = sigma.prepared().knots
    value = np.interp(z, knots[:, 0], knots[:, 1])
    slope = ((z >= -0.3) & (z < 0.4)) * (1.5 / 0.7) + ((z >= 0.4) & (z < 0.8)) * (1.5 / 0.4)
    drawn = (
        np.einsum("rma,rmb->rab", value, value) / 2000
        + (X @ X.T) * np.einsum("rma,rmb->rab", slope, slope) / 2000
    )
    found = kernels.tangent(X, activation=sigma, w_law=law, w_norm=1.3)
    error = drawn.std(axis=0, ddof=1) / math.sqrt(40)
    assert (np.abs(drawn.mean(axis=0) - found) < 6 * error).all()


@pytest.mark.parametrize("law", ["gaussian", "sphere"])
@pytest.mark.parametrize("d", [2, 3])
def test_piecewise_linear_with_a_leak_written_as_knots(law: str, d: int) -> None:
    """Knots far out make a leaky ReLU of it: where they have no mass the closed form holds."""
    sigma = mf.PiecewiseLinear([(-40.0, -8.0), (0.0, 0.0), (40.0, 40.0)])
    X = hard_points(d)
    found = kernels.tangent(X, activation=sigma, w_law=law)
    assert scaled_error(found, kernels.tangent(X, activation=mf.LeakyReLU(0.2), w_law=law)) < 1e-12


def test_a_plugin_that_does_not_compile_is_integrated_too() -> None:
    X = hard_points(3)[:3]
    with pytest.warns(UserWarning, match="Bump"):
        found = kernels.random_features(X, activation=Bump())
    # E exp(-u^2 - v^2) = det(1 + 2 C)^(-1/2), C the covariance of (u, v)
    s, q = np.einsum("ij,ij->i", X, X), X @ X.T
    exact = 1 / np.sqrt((1 + 2 * s[:, None]) * (1 + 2 * s) - 4 * q**2)
    np.testing.assert_allclose(found, exact, rtol=1e-10)


def test_kinks_are_found_where_they_are() -> None:
    knots = np.array([[-1.25, 0.3], [0.0, 1.0], [math.pi, -2.0]])
    sigma = mf.PiecewiseLinear(knots).prepared()

    class Hidden(NamedTuple):
        gain: float = 1.0
        smooth = False

    slopes = np.vectorize(sigma.slope)
    np.testing.assert_allclose(kinks_of(Hidden(), slopes, 20.0), knots[:, 0], atol=1e-14)
    assert kinks_of(Hidden(), np.tanh, 20.0).size == 0
    assert kinks_of(mf.Tanh(), np.tanh, 20.0).size == 0
    with pytest.raises(mf.InputError, match="kinks"):
        kinks_of(Hidden(), lambda z: np.floor(z), 20.0)


def test_accuracy_that_is_not_reached_is_told() -> None:
    with pytest.warns(RuntimeWarning, match=r"quadrature of Softplus\(beta=4.0\) reached"):
        kernels.random_features(hard_points(2), activation=mf.Softplus(4.0), rtol=1e-18)
    with pytest.raises(mf.InputError, match="rtol must be positive"):
        kernels.random_features(hard_points(2), activation=mf.Softplus(4.0), rtol=0.0)


def test_a_step_too_steep_for_the_pieces_is_told() -> None:
    # E tanh(1e5 t)^2 = 1 - E cosh(1e5 t)^-2 = 1 - 2 phi(0)/1e5; a few equal pieces all miss the step and agree on 1
    with pytest.warns(RuntimeWarning, match=r"for inputs of norm up to 1e\+05; scale the inputs down"):
        kernels.random_features([[1e5, 0.0]], activation=mf.Tanh())


def test_inputs_whose_kernel_overflows_are_refused() -> None:
    for sigma in ("relu", "tanh"):
        with pytest.raises(mf.InputError, match=r"values up to 1e\+100, .* overflow; divide the inputs"):
            kernels.random_features([[1e100, 0.0]], activation=sigma)

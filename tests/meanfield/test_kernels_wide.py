"""Kernels of infinitely wide networks: against high precision, Monte Carlo, each other, and finite width."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

import meanfield as mf
from meanfield import kernels

CLOSED = [
    mf.ReLU(),
    mf.LeakyReLU(0.3),
    mf.LeakyReLU(-1.0),
    mf.Erf(),
    mf.Erf(2.0),
    mf.Quadratic(0.7),
    mf.Identity(1.5),
]


def exact_relu(x: np.ndarray, z: np.ndarray, leak: float) -> tuple[mp.mpf, mp.mpf, mp.mpf]:
    """(E sigma sigma, x.z E sigma' sigma', |x||z|) in 60 digits, from the exact cross product."""
    a, b = [[mp.mpf(float(v)) for v in p] for p in (x, z)]
    dot = sum(u * v for u, v in zip(a, b, strict=True))
    cross = mp.sqrt(sum((a[i] * b[j] - a[j] * b[i]) ** 2 for i in range(len(a)) for j in range(i)))
    phi, bend = mp.atan2(cross, -dot), (1 - mp.mpf(leak)) ** 2 / (2 * mp.pi)
    return bend * (cross + phi * dot) + leak * dot, dot * (bend * phi + leak), mp.hypot(dot, cross)


@pytest.mark.parametrize("leak", [0.0, 0.25])
def test_relu_keeps_its_digits_for_near_collinear_points(leak: float) -> None:
    rng = np.random.default_rng(0)
    sigma = mf.LeakyReLU(leak) if leak else mf.ReLU()
    with mp.workdps(60):
        for d in (2, 5):
            for apart in (1.0, 1e-2, 1e-5, 1e-8, 1e-12, 0.0):
                for factor in (1.0, -1.0, 2.5):
                    x = rng.normal(size=d)
                    z = factor * x + apart * rng.normal(size=d)
                    value, slopes, size = exact_relu(x, z, leak)
                    found = kernels.random_features(x[None], z[None], activation=sigma)[0, 0]
                    # a leak subtracts terms of size |x||z|; without one every digit is kept, down to pi - psi = 1e-12
                    scale = size if leak else max(value, mp.mpf("1e-40"))
                    assert abs(found - value) <= 1e-14 * scale
                    both = kernels.tangent(x[None], z[None], activation=sigma, w_law="gaussian", a_sq=2.0)[
                        0, 0
                    ]
                    assert abs(both - value - 2 * slopes) <= 1e-14 * (
                        abs(value) + 2 * abs(slopes) + (leak + 1e-9) * size
                    )


def test_erf_keeps_its_digits() -> None:
    rng = np.random.default_rng(1)
    with mp.workdps(60):
        for scale in (np.sqrt(0.5), 300.0):
            c = 2 * mp.mpf(scale) ** 2
            for apart in (1.0, 1e-3, 1e-9, 0.0):
                x = rng.normal(size=3)
                z = x + apart * rng.normal(size=3)
                a, b = [[mp.mpf(float(v)) for v in p] for p in (x, z)]
                s, t, q = (sum(u * v for u, v in zip(*p, strict=True)) for p in ((a, a), (b, b), (a, b)))
                root = mp.sqrt((1 + c * s) * (1 + c * t) - (c * q) ** 2)
                value, slopes = 2 / mp.pi * mp.atan2(c * q, root), 2 * c / (mp.pi * root)
                found = kernels.random_features(x[None], z[None], activation=mf.Erf(scale))[0, 0]
                assert abs(found - value) <= 1e-14 * abs(value)
                both = kernels.tangent(x[None], z[None], activation=mf.Erf(scale), w_law="gaussian")[0, 0]
                assert abs(both - value - q * slopes) <= 1e-14 * (abs(value) + abs(q * slopes))


@pytest.mark.parametrize("sigma", CLOSED, ids=repr)
@pytest.mark.parametrize("law", ["gaussian", "sphere"])
@pytest.mark.parametrize("bias", [False, True])
def test_closed_forms_are_averages_over_neurons(sigma, law: str, bias: bool) -> None:  # type: ignore[no-untyped-def]
    """`empirical` of 50 000 neurons a = +-1, within six standard errors of the mean, which it estimates itself."""
    rng = np.random.default_rng(3)
    X, Z = rng.normal(size=(4, 2)), rng.normal(size=(3, 2))
    net = mf.TwoLayer(sigma, d=2, bias=bias)
    w = rng.normal(size=(20, 2500, 2 + bias))
    if law == "sphere":
        w /= np.linalg.norm(w, axis=-1, keepdims=True)
    a = np.where(rng.random((20, 2500, 1)) < 0.5, -1.0, 1.0)
    drawn = [
        kernels.empirical(net, mf.ParticleMeasure(np.hstack([outer, 1.7 * inner])), X, Z)
        for outer, inner in zip(a, w, strict=True)
    ]
    expected = kernels.tangent(X, Z, activation=sigma, w_law=law, w_norm=1.7, bias=bias)
    error = np.std(drawn, axis=0, ddof=1) / np.sqrt(20)
    # 12 entries of a t law with 19 degrees of freedom: beyond 6 with probability 1e-4
    assert (np.abs(np.mean(drawn, axis=0) - expected) <= 6 * error + 1e-12).all()


@pytest.mark.parametrize("law", ["gaussian", "sphere"])
def test_matrices_are_symmetric_scaled_and_consistent(law: str) -> None:
    rng = np.random.default_rng(4)
    X, Z = rng.normal(size=(270, 3)), rng.normal(size=(5, 3))
    for sigma in CLOSED:
        if law == "sphere" and isinstance(sigma, mf.Erf):
            continue  # quadrature: in test_kernels_quadrature
        K = kernels.tangent(X, activation=sigma, w_law=law, bias=True)
        assert (K == K.T).all()
        # sums in another order; the diagonal of cosines is exact only where Z is X
        np.testing.assert_allclose(
            kernels.tangent(X, X[7:9], activation=sigma, w_law=law, bias=True),
            K[:, 7:9],
            rtol=1e-12,
            atol=1e-12,
        )
        outer = kernels.tangent(X, Z, activation=sigma, w_law=law, a_sq=0.0, w_norm=2.0)
        np.testing.assert_allclose(
            outer, kernels.random_features(2 * X, 2 * Z, activation=sigma, directions=law), rtol=1e-13
        )
        inner = [
            kernels.tangent(X, Z, activation=sigma, w_law=law, a_sq=s, w_norm=2.0) - outer for s in (1.0, 3.0)
        ]
        np.testing.assert_allclose(3 * inner[0], inner[1], rtol=1e-9, atol=1e-10)
    assert kernels.random_features([0.5, -2.0]).shape == (2, 2)
    np.testing.assert_allclose(kernels.random_features([0.5, -2.0]), [[0.125, 0.0], [0.0, 2.0]], atol=1e-15)
    assert kernels.random_features(np.zeros((1, 2)))[0, 0] == 0.0


def test_sphere_is_the_gaussian_divided_by_the_dimension() -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(6, 4))
    for bias in (False, True):
        ratio = kernels.random_features(X, bias=bias) / kernels.random_features(
            X, directions="sphere", bias=bias
        )
        np.testing.assert_allclose(ratio, 4 + bias, rtol=1e-14)


def test_finite_width_deviates_by_the_exact_gaussian_constant() -> None:
    """``E (K_m - K)^2 = Var(T)/m``, T the tangent kernel of one neuron: slope -1/2, constant in closed form.

    For ReLU and a = +-1, E T^2 = E s^2 s^2 + 2 (x.z) E s s + (x.z)^2 P(both active), and E s^2 s^2 is the arc-cosine
    kernel of degree 2.
    """
    rng, w_norm = np.random.default_rng(6), 1.5
    x, z = np.array([1.0, 0.4, -0.2]), np.array([0.3, 1.0, 0.5])
    norms, dot = np.linalg.norm(x) * np.linalg.norm(z), x @ z
    psi = np.arccos(dot / norms)
    fourth = (
        norms**2 * (3 * np.sin(psi) * np.cos(psi) + (np.pi - psi) * (1 + 2 * np.cos(psi) ** 2)) / (2 * np.pi)
    )
    features = kernels.random_features(x[None], z[None])[0, 0]
    limit = kernels.tangent(x[None], z[None], w_law="gaussian", w_norm=w_norm)[0, 0]
    square = w_norm**4 * fourth + 2 * dot * w_norm**2 * features + dot**2 * (np.pi - psi) / (2 * np.pi)
    variance = square - limit**2
    net = mf.TwoLayer(mf.ReLU(), d=3, bias=False)
    widths, repeats, ratios = (20, 320), 600, []
    for m in widths:
        w = w_norm * rng.normal(size=(repeats, m, 3))
        a = np.where(rng.random((repeats, m, 1)) < 0.5, -1.0, 1.0)
        both = np.concatenate([a, w], axis=2)
        found = [kernels.empirical(net, mf.ParticleMeasure(p), x[None], z[None])[0, 0] for p in both]
        ratios.append(np.mean((np.array(found) - limit) ** 2) * m / variance)
    # 600 squares of nearly normal numbers: a standard error of 6 % (more at m = 20, whose law has heavier tails)
    np.testing.assert_allclose(ratios, 1.0, atol=0.2)
    slope = 0.5 * (np.log(ratios[1] / ratios[0]) / np.log(widths[1] / widths[0]) - 1.0)
    assert slope == pytest.approx(-0.5, abs=0.05)


def test_interpolation_in_the_kernel_limits_of_one_dimension() -> None:
    """E9: the exact predictors that training a wide network on four points tends to in the kernel regimes."""
    X, y = np.array([-1.0, -1 / 16, 1 / 16, 1.0]), np.array([-1.0, 0.5, -0.5, 1.0])
    new = np.array([-0.5, 1.2])
    for kappa, law, expected in (
        (0.0, "sphere", (1.06212, None)),
        (1.0, "sphere", (-0.16373, 1.15292)),
        (1.0, "gaussian", (-0.147, None)),
    ):
        fit = kernels.ridgeless(kernels.tangent(X, a_sq=kappa**2, w_law=law, bias=True), y)
        values = fit.predict(kernels.tangent(new, X, a_sq=kappa**2, w_law=law, bias=True))
        assert values[0] == pytest.approx(expected[0], abs=6e-6 if law == "sphere" else 6e-4)
        if expected[1] is not None:
            assert values[1] == pytest.approx(expected[1], abs=6e-6)


def test_bad_input_is_told_in_a_sentence() -> None:
    X = np.ones((2, 2))
    for call, said in (
        (lambda: kernels.random_features(X, np.ones((2, 3))), "same number of columns, but X has 2 and Z 3"),
        (lambda: kernels.random_features(X, directions="ball"), "directions must be one of"),
        (lambda: kernels.tangent(X, w_law="uniform"), "w_law must be one of"),
        (lambda: kernels.tangent(X, w_norm=0.0), "w_norm must be positive"),
        (lambda: kernels.tangent(X, a_sq=-1.0), "a_sq must be non-negative"),
        (lambda: kernels.tangent(X, w_norm=np.inf), "w_norm must be finite"),
        (lambda: kernels.random_features(X, bias=2), "bias must be True or False"),
        (lambda: kernels.random_features([[np.nan, 1.0]]), "NaN"),
        (lambda: kernels.random_features(X, activation="rely"), "did you mean 'relu'"),
    ):
        with pytest.raises(mf.InputError, match=said):
            call()

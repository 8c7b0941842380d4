"""Kernel gradient flow, ridge and ridgeless regression, hard margins: against closed forms and other solvers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

import meanfield as mf
import solvers
from meanfield import kernels


def gaussian_kernel(n: int = 12, d: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return kernels.random_features(X, bias=True), X, rng.normal(size=n)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_flow_is_the_matrix_exponential(reduction: str) -> None:
    K, _, y = gaussian_kernel()
    f0 = np.cos(y)
    flow = kernels.flow(K, y, f0, reduction=reduction)
    share = 1 / 12 if reduction == "mean" else 1.0
    for t in (0.0, 0.3, 7.0):
        expected = y + expm(-K * t * share) @ (f0 - y)
        np.testing.assert_allclose(flow(t), expected, atol=1e-12)
        np.testing.assert_allclose(f0 + K @ flow.alpha(t), expected, atol=1e-12)
        assert flow.loss(t) == pytest.approx(0.5 * share * np.sum((expected - y) ** 2), rel=1e-10)
    assert flow([0.3, 7.0]).shape == (2, 12)


def test_flow_with_ridge_solves_its_equation_and_ends_in_ridge_regression() -> None:
    K, X, y = gaussian_kernel()
    f0, lam = np.sin(y), 0.05
    flow = kernels.flow(K, y, f0, ridge=lam)
    h = 1e-5
    for t in (0.2, 3.0):
        rate = (flow(t + h) - flow(t - h)) / (2 * h)
        # central differences: h^2 times the third derivative, and eps / h
        np.testing.assert_allclose(rate, -K @ (flow(t) - y) / 12 - lam * (flow(t) - f0), atol=1e-9)
    fit = kernels.ridge(K, y - f0, lam)
    np.testing.assert_allclose(flow.alpha(np.inf), fit.alpha, rtol=1e-9, atol=1e-12)
    new = np.random.default_rng(5).normal(size=(4, 3))
    cross = kernels.random_features(new, X, bias=True)
    np.testing.assert_allclose(flow.predict(np.inf, cross, 0.5), 0.5 + fit.predict(cross), rtol=1e-9)
    np.testing.assert_allclose(flow.predict(2.0, K, f0), flow(2.0), atol=1e-12)


def test_singular_kernels_keep_what_no_force_moves() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(6, 3))
    K, y, f0 = features @ features.T, rng.normal(size=6), rng.normal(size=6)
    flow = kernels.flow(K, y, f0)
    # the limit is the least squares fit from f0, whatever time is given
    fitted = f0 + features @ np.linalg.lstsq(features, y - f0, rcond=None)[0]
    np.testing.assert_allclose(flow(np.inf), fitted, atol=1e-12)
    np.testing.assert_allclose(flow(1e300), fitted, atol=1e-12)
    np.testing.assert_allclose(flow.predict(np.inf, K, f0), fitted, atol=1e-12)
    assert kernels.flow(np.zeros((2, 2)), [1.0, 2.0])(np.inf) == pytest.approx([0.0, 0.0])


def test_several_outputs_share_a_kernel_or_couple() -> None:
    K, _, y = gaussian_kernel()
    both = np.stack([y, -(y**2)], axis=1)
    shared = kernels.flow(K, both)
    np.testing.assert_allclose(shared(0.7)[:, 1], kernels.flow(K, both[:, 1])(0.7), atol=1e-13)
    coupled = kernels.flow(np.kron(K, np.eye(2)), both)
    np.testing.assert_allclose(coupled(0.7), shared(0.7), atol=1e-12)
    np.testing.assert_allclose(coupled.predict(0.7, np.kron(K, np.eye(2))), shared(0.7), atol=1e-12)
    np.testing.assert_allclose(kernels.ridge(K, both, 0.1).alpha[:, 0], kernels.ridge(K, y, 0.1).alpha)
    np.testing.assert_allclose(kernels.ridgeless(K, both).values, both, atol=1e-9)


def test_flow_of_the_outer_layer_is_the_kernel_flow() -> None:
    """With frozen features the network is linear in what trains: the closed form holds for any width."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(10, 2)), rng.normal(size=10)
    net = mf.TwoLayer(mf.Tanh(), d=2, train=("a",), scale=3.0)
    mu = mf.ParticleMeasure.gaussian(net, 40, rng=0)
    run = solvers.integrate(
        mf.WassersteinFlow(mf.Objective(net, X, y)),
        mu,
        t_end=2.0,
        method=solvers.DormandPrince(rtol=1e-11, atol=1e-12),
    )
    K = net.scale**2 * kernels.empirical(net, mu, X)
    flow = kernels.flow(K, y, net.predict(mu, X))
    # the integrator's tolerance, over some hundred steps
    np.testing.assert_allclose(net.predict(run.final, X), flow(2.0), atol=1e-8)
    new = rng.normal(size=(5, 2))
    cross = net.scale**2 * kernels.empirical(net, mu, new, X)
    np.testing.assert_allclose(
        net.predict(run.final, new), flow.predict(2.0, cross, net.predict(mu, new)), atol=1e-8
    )


@pytest.mark.parametrize(("doubled", "slope"), [(False, -1.0), (True, -2.0)])
def test_lazy_training_tends_to_the_kernel_flow(doubled: bool, slope: float) -> None:
    """Deviation of order 1/scale with `centre`, 1/scale^2 from a doubled start, whose second-order term cancels."""
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(6, 2)), rng.normal(size=6)
    plain = mf.TwoLayer(mf.Tanh(), d=2)
    mu = mf.ParticleMeasure.gaussian(plain, 30, rng=0, doubled=doubled)
    expected = kernels.flow(kernels.empirical(plain, mu, X), y)(1.5)
    scales = np.array([64.0, 256.0])
    deviations = []
    for scale in scales:
        net = mf.TwoLayer(mf.Tanh(), d=2, scale=scale, centre=None if doubled else mu)
        flow = mf.WassersteinFlow(mf.Objective(net, X, y), time_unit="alpha")
        run = solvers.integrate(flow, mu, t_end=1.5, method=solvers.DormandPrince(rtol=1e-10, atol=1e-14))
        deviations.append(np.linalg.norm(net.predict(run.final, X) - expected))
    measured = np.diff(np.log(deviations)) / np.diff(np.log(scales))
    # the next order is a factor 1/64 smaller: .02 in the slope
    assert measured[0] == pytest.approx(slope, abs=0.05)


def test_ridge_is_the_minimum_of_its_objective_and_tends_to_ridgeless() -> None:
    K, _, y = gaussian_kernel()
    fit = kernels.ridge(K, y, 0.3)
    gradient = K @ (fit.values - y) / 12 + 0.3 * K @ fit.alpha
    np.testing.assert_allclose(gradient, 0.0, atol=1e-13)
    assert fit.norm == pytest.approx(np.sqrt(fit.alpha @ K @ fit.alpha), rel=1e-12)
    np.testing.assert_allclose(kernels.ridge(K, y, 0.3 * 12, reduction="sum").alpha, fit.alpha, rtol=1e-12)
    exact = kernels.ridgeless(K, y)
    np.testing.assert_allclose(exact.values, y, atol=1e-9)
    assert exact.norm == pytest.approx(np.sqrt(y @ np.linalg.solve(K, y)), rel=1e-9)
    close = kernels.ridge(K, y, 1e-9)
    np.testing.assert_allclose(close.predict(K[:3]), y[:3], atol=1e-5)


def test_ridgeless_takes_duplicates_with_equal_labels() -> None:
    X = np.array([[1.0, 0.0], [0.3, 1.0], [1.0, 0.0]])
    K = kernels.random_features(X)
    fit = kernels.ridgeless(K, [2.0, -1.0, 2.0])
    np.testing.assert_allclose(fit.values, [2.0, -1.0, 2.0], atol=1e-12)
    assert fit.norm == pytest.approx(kernels.ridgeless(K[:2, :2], [2.0, -1.0]).norm, rel=1e-12)
    with pytest.raises(mf.InputError, match=r"points 0 and 2 are the same .* labels 2 and 3"):
        kernels.ridgeless(K, [2.0, -1.0, 3.0])
    linear = kernels.random_features(X + np.arange(3)[:, None], activation=mf.Identity())
    with pytest.raises(mf.InputError, match=r"singular to rounding \(rank 2 of 3\)"):
        kernels.ridgeless(linear, [2.0, -1.0, 3.0])


def test_hard_margin_of_two_points() -> None:
    # the distance of 0 from the segment between (1, 0) and (0, -2)
    K = np.array([[1.0, 0.0], [0.0, 4.0]])
    fit = kernels.hard_margin(K, [1.0, -1.0])
    assert fit.margin == pytest.approx(np.sqrt(4 / 5), rel=1e-12)
    np.testing.assert_allclose(fit.weights, [0.8, 0.2], rtol=1e-10)
    np.testing.assert_allclose(fit.predict(K), [1.0, -1.0], rtol=1e-10)


def test_hard_margin_against_a_general_solver() -> None:
    K, X, _ = gaussian_kernel(n=30, d=2, seed=3)
    y = np.where(X[:, 0] * X[:, 1] > 0, 1.0, -1.0)
    fit = kernels.hard_margin(K, y)
    assert fit.gap < 1e-9
    assert (y * fit.values >= 1 - 1e-9).all()
    assert fit.norm == pytest.approx(np.sqrt(fit.alpha @ K @ fit.alpha), rel=1e-9)
    assert 1 / fit.norm == pytest.approx(fit.margin, rel=1e-9)
    form = y[:, None] * K * y / np.trace(K)
    slow = minimize(
        lambda p: p @ form @ p,
        np.full(30, 1 / 30),
        jac=lambda p: 2 * form @ p,
        bounds=[(0, None)] * 30,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1, "jac": lambda p: np.ones(30)},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    # SLSQP stops at about 1e-6 of the minimum
    assert fit.bounds[1] ** 2 <= slow.fun * np.trace(K) * (1 + 1e-9)
    assert fit.margin**2 == pytest.approx(slow.fun * np.trace(K), rel=1e-4)


def test_bad_input_is_told_in_a_sentence() -> None:
    K, X, y = gaussian_kernel()
    labels = np.sign(y)
    twice = kernels.random_features(np.vstack([X, X[:1]]), bias=True)
    cross = np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    linear = kernels.random_features(cross, activation=mf.Identity())
    for call, said in (
        (lambda: kernels.hard_margin(twice, [*labels, -labels[0]]), "points 0 and 12 are the same"),
        (lambda: kernels.hard_margin(linear, [1.0, 1.0, -1.0, -1.0]), "not separable by this kernel"),
        (lambda: kernels.hard_margin(K, y), "labels -1 and 1"),
        (lambda: kernels.ridge(K, y, 0.0), "ridgeless"),
        (lambda: kernels.ridge(K, y[:3], 1.0), "one entry a row of K"),
        (lambda: kernels.ridge(K[:3], y, 1.0), "square kernel matrix"),
        (lambda: kernels.ridge(K + np.triu(K), y, 1.0), "symmetric"),
        (lambda: kernels.ridge(-K, y, 1e-3), "positive semi-definite"),
        (lambda: kernels.flow(-K, y), "positive semi-definite"),
        (lambda: kernels.flow(K, y)(-1.0), "non-negative time"),
        (lambda: kernels.flow(K, y).predict(1.0, K[:, :3]), "transposed"),
        (lambda: kernels.flow(K, y, f0=[1.0]), "f0 must have one entry"),
        (lambda: kernels.flow(K, y).predict(1.0, K, f0_new=[1.0, 2.0]), "f0_new"),
        (lambda: kernels.alignment(K, np.ones(12), centred=True), "constant labels"),
        (lambda: kernels.effective_rank(np.zeros((2, 2))), "positive trace"),
        (lambda: kernels.change(np.zeros((2, 2)), np.eye(2)), "relative change"),
    ):
        with pytest.raises(mf.InputError, match=said):
            call()


def test_alignment_rank_and_change() -> None:
    K, _, y = gaussian_kernel()
    assert kernels.alignment(np.outer(y, y), 3 * y) == pytest.approx(1.0, rel=1e-12)
    expected = (y @ K @ y) / (np.linalg.norm(K) * (y @ y))
    assert kernels.alignment(K, y) == pytest.approx(expected, rel=1e-12)
    H = np.eye(12) - 1 / 12
    assert kernels.alignment(K, y + 5, centred=True) == pytest.approx(
        kernels.alignment(H @ K @ H, H @ y), rel=1e-10
    )
    for kind in ("entropy", "participation"):
        assert kernels.effective_rank(np.diag([2.0, 2.0, 2.0, 0.0]), kind) == pytest.approx(3.0, rel=1e-12)
    p = np.array([0.5, 0.3, 0.2])
    assert kernels.effective_rank(np.diag(7 * p)) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-12)
    assert kernels.effective_rank(np.diag(p), "participation") == pytest.approx(1 / (p @ p), rel=1e-12)
    assert kernels.change(K, 1.25 * K) == pytest.approx(0.25, rel=1e-12)


def test_bits_do_not_depend_on_threads_of_the_blas() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 10))
    y, K = np.sign(X[:, 0] * X[:, 1]), kernels.random_features(X)

    def everything() -> list[np.ndarray]:
        flow, ridge, least = kernels.flow(K, y), kernels.ridge(K, y, 1e-3), kernels.ridgeless(K, y)
        return [
            flow.rates,
            flow(3.0),
            flow.alpha(3.0),
            flow.predict(3.0, K[:7]),
            ridge.alpha,
            ridge.predict(K),
            least.alpha,
            kernels.hard_margin(K, y).weights,
            np.array([kernels.alignment(K, y), kernels.effective_rank(K), kernels.change(K, K + 1.0)]),
            np.array([mf.norms.margin_f2(X, y)]),
            mf.norms.interpolate_f2(X, y, lambda A, B: kernels.random_features(A, B)).predict(X),
        ]

    with threadpool_limits(1, user_api="blas"):
        one = everything()
    with threadpool_limits(2, user_api="blas"):
        two = everything()
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)


def test_descriptions_do_not_depend_on_the_unit_of_the_kernel() -> None:
    K, _, y = gaussian_kernel()
    small, large = np.ldexp(K, -700), np.ldexp(K, 900)
    for kind in ("entropy", "participation"):
        assert kernels.effective_rank(small, kind) == kernels.effective_rank(large, kind)
    assert kernels.alignment(small, y) == kernels.alignment(K, y) == kernels.alignment(large, y)

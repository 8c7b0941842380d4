"""Diagonal linear networks and the scalar linear network: flows against closed forms, closed forms against duality."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import meanfield as mf
import solvers
from meanfield import InputError
from meanfield.finite.diagonal import (
    DiagonalFlow,
    DualFlow,
    basis_pursuit,
    least_norm,
    limit,
    limits,
    potential,
)
from meanfield.finite.diagonal.mirror import Mirror
from meanfield.finite.linear import LinearCrossover

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 10))
Y = X @ np.r_[1.0, -0.5, np.zeros(8)] + 0.1 * RNG.standard_normal(5)
ONE, TARGET = np.array([[1.0, 2.0]]), np.array([1.0])


def orthogonal(inputs: Any) -> Any:
    """An orthonormal basis of what X does not see, (k, d)."""
    return np.linalg.svd(inputs)[2][len(inputs) :]


def h(z: Any, depth: int) -> Any:
    p = depth / (depth - 2)
    return (1 - z) ** -p - (1 + z) ** -p


# -- the limit in closed form --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "w"), [(0.1, (0.06685802, 0.46657099)), (1.0, (0.19921138, 0.40039431))])
def test_ground_truth(alpha: float, w: tuple[float, float]) -> None:
    np.testing.assert_allclose(limit(ONE, TARGET, alpha).w, w, atol=5e-9)


@pytest.mark.parametrize("alpha", [1e-8, 1e-3, 0.03, 0.5, 10.0, 1e4])
@pytest.mark.parametrize("depth", [2, 3, 4, 7])
def test_limit_interpolates_and_minimizes_the_potential(depth: int, alpha: float) -> None:
    if alpha ** (2 * depth - 2) < 1e-60:
        depth = 4
    found = limit(X, Y, alpha, depth)
    assert found.residual < 1e-14
    t = Mirror(np.full(10, alpha), depth).inverse(found.w)
    # the gradient of the potential is orthogonal to all other interpolants: it is X' nu
    assert np.abs(orthogonal(X) @ t).max() < 1e-14 * np.abs(t).max()
    np.testing.assert_allclose(X.T @ found.nu, t, atol=1e-13 * np.abs(t).max())
    assert found.l1 == pytest.approx(np.abs(found.w).sum()) and found.potential == potential(
        found.w, alpha, depth
    )


@pytest.mark.parametrize("alpha", [0.05, 0.4, 2.0])
def test_formulas_of_the_paper(alpha: float) -> None:
    found = limit(X, Y, alpha)
    np.testing.assert_allclose(found.w, 2 * alpha**2 * np.sinh(X.T @ found.nu), rtol=1e-10)
    z = found.w / alpha**2
    q = 2 - np.sqrt(4 + z**2) + z * np.arcsinh(z / 2)
    assert found.potential == pytest.approx(float(np.sum(alpha**2 * q)), rel=1e-12)
    for depth in (3, 4, 5):
        found = limit(X, Y, alpha, depth)
        w = alpha**depth * h(alpha ** (depth - 2) * (X.T @ found.nu), depth)
        np.testing.assert_allclose(found.w, w, atol=1e-9)


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("alpha", [0.02, 0.7, 5.0])
def test_potential_is_least_among_interpolants(depth: int, alpha: float) -> None:
    found = limit(X, Y, alpha, depth)
    directions = np.random.default_rng(1).standard_normal((20, 5)) @ orthogonal(X)
    for direction in directions:
        for size in (1e-2, 1.0):
            # 1e-13: rounding of a sum of terms w t, the largest
            floor = found.potential * (1 - 1e-13)
            assert potential(found.w + size * direction, alpha, depth) > floor
    # its derivative is the inverse of the map
    w, step = found.w, 1e-5
    t = Mirror(np.full(10, alpha), depth).inverse(w)
    for i in range(3):
        shift = step * np.eye(10)[i]
        slope = (potential(w + shift, alpha, depth) - potential(w - shift, alpha, depth)) / (2 * step)
        assert slope == pytest.approx(t[i], rel=1e-4, abs=1e-6 * np.abs(t).max())


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_limits_of_the_limits(depth: int) -> None:
    sparse, dense = basis_pursuit(X, Y), least_norm(X, Y)
    assert np.count_nonzero(sparse) <= 5
    np.testing.assert_allclose(X @ sparse, Y, atol=1e-13)
    np.testing.assert_allclose(dense, np.linalg.pinv(X) @ Y, atol=1e-14)
    # the correction to l1 is of relative order 1/log(1/alpha) (depth 2), to l2 of order alpha^(-2 depth)
    small = limit(X, Y, 1e-20, depth)
    np.testing.assert_allclose(small.w, sparse, atol=2e-3 if depth == 2 else 1e-13)
    np.testing.assert_allclose(limit(X, Y, 1e4, depth).w, dense, atol=1e-14)
    excess = [limit(X, Y, a, depth).l1 - np.abs(sparse).sum() for a in (1e-3, 1e-2, 0.1, 1.0, 10.0)]
    assert (np.diff(excess) > 0).all() and excess[0] >= -1e-14
    beyond = [limit(X, Y, a, depth).l2 - np.linalg.norm(dense) for a in (1e-1, 0.3, 1.0, 3.0, 10.0)]
    assert (np.diff(beyond) < 0).all() and beyond[-1] >= -1e-14


def test_each_weight_may_have_its_start() -> None:
    alpha = np.linspace(0.05, 1.0, 10)
    for depth in (2, 3):
        found = limit(X, Y, alpha, depth)
        t = Mirror(alpha, depth).inverse(found.w)
        assert np.abs(orthogonal(X) @ t).max() < 1e-13 * np.abs(t).max()
        large = limit(X, Y, 1e4 * alpha, depth).w
        np.testing.assert_allclose(large, least_norm(X, Y, alpha ** (2.0 - 2 * depth)), atol=1e-12)
    deep = limit(X, Y, 1e-12 * alpha, 3).w
    # t = alpha^(2 - D) sign(w): a weighted l1 norm
    np.testing.assert_allclose(deep, basis_pursuit(X, Y, 1 / alpha), atol=1e-9)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_one_continuation_serves_all_starts(depth: int) -> None:
    alphas = np.array([0.3, 1e-3, 5.0, 0.02, 0.3])
    for alpha, found in zip(alphas, limits(X, Y, alphas, depth), strict=True):
        alone = limit(X, Y, alpha, depth)
        np.testing.assert_allclose(found.w, alone.w, atol=1e-12)
        np.testing.assert_allclose(found.nu, alone.nu, rtol=1e-10, atol=1e-10 * np.abs(alone.nu).max())
        assert found.alpha[0] == pytest.approx(alpha) and found.residual < 1e-14
    assert not any(found.w.any() for found in limits(X, 0 * Y, alphas, depth))
    with pytest.raises(InputError, match="alpha must be positive"):
        limits(X, Y, [0.1, 0.0], depth)


def test_systems_of_any_shape_and_rank() -> None:
    w = RNG.standard_normal(4)
    tall = RNG.standard_normal((9, 4))
    np.testing.assert_allclose(limit(tall, tall @ w, 0.1).w, w, atol=1e-13)
    twice = limit(np.vstack([X, X]), np.append(Y, Y), 0.1)
    np.testing.assert_allclose(twice.w, limit(X, Y, 0.1).w, atol=1e-13)
    noisy = tall @ w + RNG.standard_normal(9)
    best = np.linalg.lstsq(tall, noisy, rcond=None)[0]
    np.testing.assert_allclose(limit(tall, noisy, 0.1, least_squares=True).w, best, atol=1e-13)
    assert not limit(np.zeros((2, 3)), np.zeros(2), 0.1).w.any()
    unseen = limit(np.column_stack([X, np.zeros(5)]), Y, 0.1).w
    assert unseen[-1] == 0.0
    # a unit of y is a unit of w once alpha follows
    np.testing.assert_allclose(limit(X, 1e-6 * Y, 1e-3).w, 1e-6 * limit(X, Y, 1.0).w, rtol=1e-11, atol=1e-20)


# the quick preset of figures/woodworth_2020_bias.py runs more of these
# -- the flow against it -------------------------------------------------------------------------------------------


def end_of(flow: Any, state: Any, time: float, rtol: float) -> Any:
    if isinstance(flow, DiagonalFlow):
        # w = u^D - v^D with u and v near alpha: what is lost of them counts alpha^D times
        rtol /= max(1.0, float(np.max(state)) ** flow.depth)
    return solvers.integrate(
        flow, state, time, method=solvers.RODAS4(rtol=rtol, atol=1e-5 * rtol), save=[time]
    )


def horizon(inputs: Any, targets: Any, alpha: float, depth: int) -> float:
    """The escape from the start, then 30 times the slowest rate at the end."""
    dual = DualFlow(inputs, targets, alpha, depth)
    slope = dual.mirror.at(inputs.T @ limit(inputs, targets, alpha, depth).nu).slope
    slowest = np.linalg.eigvalsh((dual._rate * inputs * slope) @ inputs.T)[0]
    return float(30 / slowest + 50 * alpha ** (2.0 - depth))


@pytest.mark.parametrize("alpha", [1e-3, 0.3, 10.0])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_gradient_flow_ends_in_the_closed_form(depth: int, alpha: float) -> None:
    expected, time = limit(ONE, TARGET, alpha, depth).w, horizon(ONE, TARGET, alpha, depth)
    flow, dual = DiagonalFlow(ONE, TARGET, depth), DualFlow(ONE, TARGET, alpha, depth)
    run = end_of(flow, flow.start(alpha), time, 1e-8)
    np.testing.assert_allclose(flow.predictor(run.final), expected, atol=1e-8)
    np.testing.assert_allclose(flow.conserved(run.final), alpha, rtol=1e-6)
    run = end_of(dual, dual.start(), time, 1e-6)
    np.testing.assert_allclose(dual.predictor(run.final), expected, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1e-3, 1e-2, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_gradient_flow_of_ten_weights_ends_in_the_closed_form(depth: int, alpha: float) -> None:
    expected, time = limit(X, Y, alpha, depth).w, horizon(X, Y, alpha, depth)
    flow, dual = DiagonalFlow(X, Y, depth), DualFlow(X, Y, alpha, depth)
    run = end_of(flow, flow.start(alpha), time, 1e-10)
    np.testing.assert_allclose(flow.predictor(run.final), expected, atol=1e-8)
    run = end_of(dual, dual.start(), time, 1e-8)
    np.testing.assert_allclose(dual.predictor(run.final), expected, atol=1e-8)


def test_a_step_out_of_the_domain_is_refused_by_its_error_not_by_a_nan() -> None:
    dual = DualFlow(ONE, TARGET, 0.1, 4)
    outside = dual.velocity(0.0, np.array([60.0]), np.empty(1))
    assert np.isfinite(outside).all() and outside[0] < -1e90
    expected = limit(ONE, TARGET, 0.1, 4).w
    for method in (solvers.DormandPrince(rtol=1e-3, first_step=100.0), solvers.RODAS4(rtol=1e-3)):
        run = solvers.integrate(dual, dual.start(), 50.0, method=method)
        np.testing.assert_allclose(dual.predictor(run.final), expected, atol=2e-2)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_two_flows_are_one(depth: int) -> None:
    flow, dual = DiagonalFlow(X, Y, depth), DualFlow(X, Y, 0.5, depth)
    tight = solvers.DormandPrince(rtol=1e-9, atol=1e-14)
    first = solvers.integrate(flow, flow.start(0.5), 2.0, method=tight)
    second = solvers.integrate(dual, dual.start(), 2.0, method=tight)
    np.testing.assert_allclose(dual.parameters(second.final), first.final, rtol=1e-7)
    np.testing.assert_allclose(first["objective"], second["objective"], rtol=1e-6)
    assert (np.diff(first["objective"]) < 0).all()


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("kind", ["parameters", "dual"])
def test_jacobians(kind: str, depth: int) -> None:
    flow: Any = DiagonalFlow(X, Y, depth) if kind == "parameters" else DualFlow(X, Y, 0.5, depth)
    z = np.random.default_rng(2).random(20) + 0.2 if kind == "parameters" else 0.05 * Y
    linear = flow.linearize(0.0, z)
    v = np.random.default_rng(3).standard_normal(z.size)
    product = linear.product(v, np.empty_like(z))
    sides = [flow.velocity(0.0, z + s * 1e-6 * v, np.empty_like(z)) for s in (-1, 1)]
    np.testing.assert_allclose(product, (sides[1] - sides[0]) / 2e-6, atol=1e-7 * np.abs(product).max())
    if kind == "parameters":
        from solvers._low_rank import assembled

        matrix = assembled(linear.low_rank(), z.size)
        np.testing.assert_allclose(matrix @ v, product, rtol=1e-11, atol=1e-12 * np.abs(product).max())
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-13 * np.abs(matrix).max())


def test_descent_directions() -> None:
    flow = DiagonalFlow(X, Y, 3)
    z = np.random.default_rng(4).random(20) + 0.2
    gradient = -flow.velocity(0.0, z, np.empty(20))
    for i in range(20):
        shift = 1e-6 * np.eye(20)[i]
        sides = [flow.default_record(0.0, z + s * shift)["objective"] for s in (-1, 1)]
        assert gradient[i] == pytest.approx((sides[1] - sides[0]) / 2e-6, rel=1e-6, abs=1e-7)
    # any method serves, the default one too
    run = solvers.integrate(flow, flow.start(0.7), 5.0)
    small = solvers.integrate(flow, flow.start(0.7), 5.0, method=solvers.Heun(2e-3))
    np.testing.assert_allclose(small.final, run.final, atol=1e-4)


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, Y, 0.0), "alpha must be positive.*basis_pursuit"),
        ((X, Y, -1.0), "alpha must be positive"),
        ((X, Y, np.inf), "alpha must be finite.*least_norm"),
        ((X, Y, np.full(3, 0.1)), "one entry for each of the 10 weights"),
        ((X, Y, 1e-80), "alpha\\*\\*2 must be between.*basis_pursuit"),
        ((X, Y, 1e-30, 4), "alpha\\*\\*6 must be between"),
        ((X, Y, 0.1, 1), "depth must be at least 2.*least_norm"),
        ((X, Y, 0.1, 2.5), "depth must be an integer"),
        ((np.vstack([X, X]), np.append(Y, Y + 1), 0.1), "no w solves.*least_squares=True"),
        ((np.zeros((2, 3)), np.ones(2), 0.1), "no w solves.*rank 0"),
        ((X, Y[:3], 0.1), "y must have shape"),
        ((X * np.nan, Y, 0.1), "X holds"),
    ],
)
def test_refused_limits(arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        limit(*arguments)


def test_other_refusals() -> None:
    with pytest.raises(InputError, match=r"flow.start\(alpha\) makes one"):
        solvers.integrate(DiagonalFlow(X, Y), np.ones(10), 1.0)
    with pytest.raises(InputError, match="no w solves"):
        basis_pursuit(np.vstack([X, X]), np.append(Y, Y + 1))
    with pytest.raises(InputError, match="weights must be positive"):
        least_norm(X, Y, np.zeros(10))
    with pytest.raises(InputError, match="at least 2"):
        LinearCrossover(1.0, 1.0, 0.5)
    with pytest.raises(InputError, match="non-negative"):
        LinearCrossover(0.0, 1.0, 0.5).prediction(-1.0)
    with pytest.raises(InputError, match="neurons \\(a, w\\)"):
        LinearCrossover.of(mf.ParticleMeasure(np.ones((3, 3))), 1.0)


# -- the scalar linear network -------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [1.3, -0.7, 0.0])
@pytest.mark.parametrize("std", [0.05, 1.0, 4.0])
def test_crossover_is_the_particle_flow(target: float, std: float) -> None:
    data = np.array([[1.0], [-2.0]])  # E x^2 = 5/2
    network = mf.TwoLayer("identity", d=1, bias=False)
    objective = mf.Objective(network, data, target * data[:, 0])
    start = mf.ParticleMeasure.gaussian(network, 20, rng=1, std=std)
    exact = LinearCrossover.of(start, target, second_moment=2.5)
    times = np.linspace(0.0, 3.0, 16)
    run = solvers.integrate(
        mf.WassersteinFlow(objective),
        start,
        3.0,
        method=solvers.DormandPrince(rtol=1e-9, atol=1e-12),
        save=times,
        record={
            "q": lambda mu: float(mu.weights @ (mu.a * mu.w[:, 0])),
            "s": lambda mu: float(mu.weights @ (mu.positions**2).sum(axis=1)),
        },
    )
    # a few hundred steps of 1e-9
    size = 1.0 + exact.s
    np.testing.assert_allclose(run["q"], exact.prediction(times), atol=1e-7 * size)
    np.testing.assert_allclose(run["s"], exact.size(times), atol=1e-7 * size)
    kept = exact.size(times) ** 2 - 4 * exact.prediction(times) ** 2
    np.testing.assert_allclose(kept, exact.invariant, atol=1e-14 * np.max(exact.size(times)) ** 2)
    np.testing.assert_allclose(run.final.positions, exact.measure(start, 3.0).positions, atol=1e-6 * size)


@pytest.mark.parametrize(
    ("q", "s"), [(0.0, 1e-8), (0.3, 0.6), (-0.3, 0.6), (-0.2, 0.7), (0.1, 500.0), (0.0, 0.0)]
)
@pytest.mark.parametrize("target", [2.0, -0.4, 0.0])
def test_crossover_solves_its_equation(q: float, s: float, target: float) -> None:
    exact = LinearCrossover(q, s, target, second_moment=0.7)
    times = np.array([0.0, 0.1, 1.0, 10.0])
    found, size = exact.prediction(times), exact.size(times)
    assert found[0] == pytest.approx(q, abs=1e-15) and size[0] == pytest.approx(s, abs=1e-15)
    step = 1e-5
    slope = (exact.prediction(times[1:] + step) - exact.prediction(times[1:] - step)) / (2 * step)
    expected = -0.7 * (found[1:] - target) * np.sqrt(4 * found[1:] ** 2 + exact.invariant)
    # central differences: step^2 times the cube of the rate, and 1e-16/step
    np.testing.assert_allclose(slope, expected, atol=1e-9 * (1 + abs(s)) + 1e-10 * exact.rate**3)
    growth = (exact.size(times[1:] + step) - exact.size(times[1:] - step)) / (2 * step)
    np.testing.assert_allclose(
        growth, -2.8 * (found[1:] - target) * found[1:], atol=1e-9 * (1 + abs(s)) + 1e-10 * exact.rate**3
    )


def test_lazy_and_rich_ends() -> None:
    times = np.linspace(0, 0.05, 20)
    lazy = LinearCrossover(0.0, 1e4, 1.0)
    # the linear equation of rate sqrt(c): the relative change of s is target/s
    np.testing.assert_allclose(lazy.prediction(times), 1 - np.exp(-1e4 * times), atol=1e-4)
    # q - target keeps its digits however large s is
    far = LinearCrossover(0.1, 1e12, 1.0)
    np.testing.assert_allclose(far.prediction(times * 1e-8), 1 - 0.9 * np.exp(-times * 1e4), rtol=1e-11)
    rich = LinearCrossover(0.5e-6, 1e-6, 1.0)
    t = np.linspace(0, 15, 20)
    np.testing.assert_allclose(rich.prediction(t), 1 / (1 + (2e6 - 1) * np.exp(-2 * t)), rtol=1e-9)
    assert rich.rate == pytest.approx(2.0)
    # long after 1e-308: what decays is 0, not 0/0
    for q, target in [(0.5, -1.0), (0.5, 1.0), (-0.5, 1.0)]:
        gone = LinearCrossover(q, 1.0, target)
        end = target if q * target > 0 else 0.0
        np.testing.assert_allclose(gone.prediction([400.0, 4000.0]), end, atol=1e-15)
        np.testing.assert_allclose(gone.size([400.0, 4000.0]), 2 * abs(end), atol=1e-15)

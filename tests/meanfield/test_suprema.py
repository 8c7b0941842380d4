"""Suprema over neurons: exact in rank 1 to 3, one-sided beyond, certified on the torus."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from meanfield._suprema import (
    Extremes,
    ascent_minimum,
    sphere_extremes,
    torus_minimum,
    trigonometric_coefficients,
)
from meanfield._suprema.polynomial import TrigonometricPolynomial
from meanfield._suprema.torus import _Search
from solvers.errors import InputError

Array = NDArray[np.float64]
EPSILON = 2.0**-52


def evaluate(X: Array, g: Array, slope: float, directions: Array) -> Array:
    """G by its definition."""
    z = directions @ X.T
    return np.where(z > 0.0, z, slope * z) @ g


def magnitude(X: Array, g: Array) -> float:
    return float(np.abs(g) @ np.linalg.norm(X, axis=1))


def every_candidate(X: Array, g: Array, slope: float) -> Array:
    """All directions among which the extremes must be, by brute force over faces and activation patterns.

    On the face of the arrangement cut out by the hyperplanes of a set A and with active set S, the function is
    linear, v_S.u: its extremes inside the face are at +- the projection of v_S on the orthogonal complement of
    A. Directions that do not lie in their face are harmless: G there is a value like any other.
    """
    n, dim = X.shape
    patterns = np.array(list(product([0.0, 1.0], repeat=n)))
    v = ((1.0 - slope) * patterns + slope) * g @ X
    directions = [np.eye(dim), -np.eye(dim)]
    for size in range(dim):
        for chosen in combinations(range(n), size):
            _, singular, axes = np.linalg.svd(X[list(chosen)].reshape(size, dim))
            normal = axes[: int((singular > 1e-12).sum())]
            projected = v - v @ normal.T @ normal
            directions += [projected, -projected]
            if dim - normal.shape[0] == 1:
                directions += [axes[-1:], -axes[-1:]]
    stacked = np.concatenate(directions)
    norms = np.linalg.norm(stacked, axis=1)
    visible = norms > 1e-9
    return stacked[visible] / norms[visible, None]


def check_exact(e: Extremes, X: Array, g: Array, slope: float = 0.0) -> None:
    """What every exhaustive answer must fulfil, whatever the data."""
    unit = EPSILON * max(magnitude(X, g), 1e-300) * (1.0 + 2.0 * abs(slope))
    assert e.exact
    assert np.linalg.norm(e.argmax) == pytest.approx(1.0, abs=1e-14)
    assert np.linalg.norm(e.argmin) == pytest.approx(1.0, abs=1e-14)
    # two ways of summing n D products; measured below 4 units, and n D / 2 would be the worst case
    at = evaluate(X, g, slope, np.stack([e.argmin, e.argmax]))
    assert abs(at[0] - e.lowest) <= 32 * unit and abs(at[1] - e.highest) <= 32 * unit
    # the allowance is 64 units, plus what dropping directions at rounding level may change
    assert e.lowest - e.lower_bound <= 64 * unit * (2.0 + X.size) + 1e-300
    assert e.upper_bound - e.highest <= 64 * unit * (2.0 + X.size) + 1e-300
    assert e.lower_bound <= e.lowest <= e.highest <= e.upper_bound


@pytest.mark.parametrize("slope", [0.0, 0.1, -0.5, 1.0, 2.0])
@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_exact_against_all_faces_and_patterns(dim: int, slope: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    n = int(draw.integers(1, 8))
    X, g = draw.normal(size=(n, dim)), draw.normal(size=n)
    e = sphere_extremes(X, g, slope)
    check_exact(e, X, g, slope)
    if np.linalg.matrix_rank(X) < dim:  # fewer points than dimensions: the candidates below need full rank
        return
    truth = evaluate(X, g, slope, every_candidate(X, g, slope))
    # candidates of the two methods are rounded separately: a few units each
    tolerance = 64 * EPSILON * magnitude(X, g) * (1.0 + abs(slope))
    assert e.highest == pytest.approx(truth.max(), abs=tolerance)
    assert e.lowest == pytest.approx(truth.min(), abs=tolerance)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("signs", ["mixed", "positive", "negative"])
def test_bounds_hold_in_fifty_digits(dim: int, signs: str) -> None:
    """The bounds are compared with candidates evaluated exactly, not with another rounded method."""
    import mpmath

    draw = np.random.default_rng(3)
    X, g = draw.normal(size=(5, dim)), draw.normal(size=5)
    if signs != "mixed":
        g = np.abs(g) * (1.0 if signs == "positive" else -1.0)
    e = sphere_extremes(X, g)
    with mpmath.workdps(50):

        def value(u: Array) -> mpmath.mpf:
            u = [mpmath.mpf(float(c)) for c in u]
            norm = mpmath.sqrt(sum(c * c for c in u))
            total = mpmath.mpf(0)
            for row, weight in zip(X, g, strict=True):
                z = sum(mpmath.mpf(float(a)) * c for a, c in zip(row, u, strict=True))
                total += mpmath.mpf(float(weight)) * max(z, 0)
            return total / norm

        found = [value(u) for u in every_candidate(X, g, 0.0)]
        assert max(found) <= e.upper_bound
        assert min(found) >= e.lower_bound
        # attained: the reported value is that of the reported direction, up to the rounding of its evaluation
        assert abs(value(e.argmax) - e.highest) <= 8 * EPSILON * magnitude(X, g)
        assert abs(value(e.argmin) - e.lowest) <= 8 * EPSILON * magnitude(X, g)


@pytest.mark.parametrize(("n", "bias"), [(3, False), (40, True), (400, False), (400, True)])
def test_rank_three_against_random_directions(n: int, bias: bool) -> None:
    draw = np.random.default_rng(n)
    X, g = draw.normal(size=(n, 3)), draw.normal(size=n)
    if bias:
        X[:, 2] = 1.0
    e = sphere_extremes(X, g)
    check_exact(e, X, g)
    u = draw.normal(size=(20000, 3))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    near = e.argmax + 0.02 * draw.normal(size=(2000, 3))
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    values = evaluate(X, g, 0.0, np.concatenate([u, near]))
    assert values.max() <= e.upper_bound and values.min() >= e.lower_bound
    # 20000 random points leave no hole wider than about .04: G changes by at most .04 * its Lipschitz constant
    lipschitz = 0.5 * magnitude(X, g)
    assert values.max() >= e.highest - 0.04 * lipschitz
    assert values.min() >= e.lowest - 64 * EPSILON * magnitude(X, g)


def test_rank_two_on_a_dense_grid() -> None:
    draw = np.random.default_rng(1)
    X, g = draw.normal(size=(300, 2)), draw.normal(size=300)
    e = sphere_extremes(X, g)
    check_exact(e, X, g)
    t = np.linspace(0.0, 2.0 * np.pi, 100001)
    values = evaluate(X, g, 0.0, np.stack([np.cos(t), np.sin(t)], axis=1))
    step = t[1] * magnitude(X, g)
    assert e.highest - step <= values.max() <= e.upper_bound
    assert e.lower_bound <= values.min() <= e.lowest + step


def test_large_rank_two_keeps_its_accuracy() -> None:
    """The sweep adds 2e5 terms: compensated, so that the error does not grow with n."""
    draw = np.random.default_rng(5)
    X, g = draw.normal(size=(100_000, 2)), draw.normal(size=100_000)
    e = sphere_extremes(X, g)
    unit = EPSILON * magnitude(X, g)
    assert e.upper_bound - e.highest <= 65 * unit
    # an independent sum at the argmax: math.fsum is exact
    import math

    z = X @ e.argmax
    assert abs(math.fsum(np.maximum(z, 0.0) * g) - e.highest) <= 4 * unit  # measured: below 0.01
    # a maximum inside an arc points along the gradient there: the sum of the active g_i x_i
    gradient = np.array([math.fsum((g * (z > 0.0)) * X[:, k]) for k in range(2)])
    assert np.linalg.norm(gradient) <= e.upper_bound or abs(z / np.linalg.norm(X, axis=1)).min() < 1e-12


arrays = st.integers(0, 10_000)


def random_problem(seed: int) -> tuple[Array, Array]:
    """Small problems, often degenerate: integer coordinates make parallel, opposite, coplanar and zero rows."""
    draw = np.random.default_rng(seed)
    n, dim = int(draw.integers(1, 12)), int(draw.integers(1, 4))
    if draw.random() < 0.5:
        return draw.integers(-2, 3, size=(n, dim)).astype(float), draw.integers(-2, 3, size=n).astype(float)
    return draw.normal(size=(n, dim)), draw.normal(size=n)


@settings(max_examples=150, deadline=None)
@given(seed=arrays, slope=st.sampled_from([0.0, 0.0, 0.3, 1.0]))
def test_symmetries(seed: int, slope: float) -> None:
    X, g = random_problem(seed)
    draw = np.random.default_rng([seed, 1])
    n, dim = X.shape
    e = sphere_extremes(X, g, slope)
    check_exact(e, X, g, slope)
    # the allowances of two answers, with room for different roundings of rotated data
    tolerance = 256 * EPSILON * (magnitude(X, g) + 1e-300) * (1.0 + n)

    def same(other: Extremes, factor: float = 1.0) -> None:
        assert other.exact
        assert other.highest == pytest.approx(factor * e.highest, abs=abs(factor) * tolerance)
        assert other.lowest == pytest.approx(factor * e.lowest, abs=abs(factor) * tolerance)

    order = draw.permutation(n)
    same(sphere_extremes(X[order], g[order], slope))
    rotation = np.linalg.qr(draw.normal(size=(dim, dim)))[0]
    same(sphere_extremes(X @ rotation, g, slope))
    same(sphere_extremes(X, 3.7 * g, slope), 3.7)
    same(sphere_extremes(X * 1e-3, g * 10.0, slope), 1e-2)
    # each row may be scaled against its coefficient, and split into duplicates
    scales = draw.uniform(0.5, 2.0, size=n)
    same(sphere_extremes(X * scales[:, None], g / scales, slope))
    share = draw.uniform(-1.0, 2.0, size=n)
    same(sphere_extremes(np.concatenate([X, X]), np.concatenate([share * g, (1.0 - share) * g]), slope))
    flipped = sphere_extremes(X, -g, slope)
    assert flipped.highest == pytest.approx(-e.lowest, abs=tolerance)
    assert flipped.lowest == pytest.approx(-e.highest, abs=tolerance)
    # zero rows and zero coefficients are nothing
    more = np.concatenate([X, np.zeros((2, dim)), draw.normal(size=(2, dim))])
    same(sphere_extremes(more, np.concatenate([g, [1.0, -2.0], [0.0, 0.0]]), slope))
    # nothing exceeds the bounds
    u = draw.normal(size=(500, dim))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    values = evaluate(X, g, slope, u)
    assert values.max() <= e.upper_bound and values.min() >= e.lower_bound


@settings(max_examples=60, deadline=None)
@given(seed=arrays)
def test_degenerate_integer_data_against_all_faces(seed: int) -> None:
    draw = np.random.default_rng(seed)
    n = int(draw.integers(3, 7))
    X, g = draw.integers(-1, 2, size=(n, 3)).astype(float), draw.integers(-2, 3, size=n).astype(float)
    live = X[(g != 0.0)]
    if live.size == 0 or np.linalg.matrix_rank(live) < 3:
        return
    e = sphere_extremes(X, g)
    check_exact(e, X, g)
    truth = evaluate(X, g, 0.0, every_candidate(X, g, 0.0))
    # rounded separately; integers below 15 in all
    assert e.highest == pytest.approx(truth.max(), abs=1e-13)
    assert e.lowest == pytest.approx(truth.min(), abs=1e-13)


@settings(max_examples=40, deadline=None)
@given(seed=arrays, extra=st.integers(1, 4))
def test_data_in_a_subspace(seed: int, extra: int) -> None:
    """D > r: the sphere covers the unit ball of the row space, so zero is always among the values."""
    X, g = random_problem(seed)
    n, dim = X.shape
    draw = np.random.default_rng([seed, 2])
    frame = np.linalg.qr(draw.normal(size=(dim + extra, dim + extra)))[0][:dim]
    e, lifted = sphere_extremes(X, g), sphere_extremes(X @ frame, g)
    check_exact(lifted, X @ frame, g)
    tolerance = 256 * EPSILON * (magnitude(X, g) + 1e-300) * (1.0 + n)
    assert lifted.highest == pytest.approx(max(0.0, e.highest), abs=tolerance)
    assert lifted.lowest == pytest.approx(min(0.0, e.lowest), abs=tolerance)


def test_a_negative_function_has_supremum_zero_only_off_the_row_space() -> None:
    X, g = np.array([[1.0, 0.0], [-1.0, 0.5], [-1.0, -0.5]]), -np.ones(3)
    plane = sphere_extremes(X, g)
    assert plane.highest < -0.1  # every direction of the plane sees a datum
    space = sphere_extremes(np.c_[X, np.zeros(3)], g)
    assert space.highest == 0.0
    assert np.abs(np.c_[X, np.zeros(3)] @ space.argmax).max() < 1e-15


@pytest.mark.parametrize(
    ("X", "g", "lowest", "highest"),
    [
        ([[3.0, 4.0]], [2.0], 0.0, 10.0),  # one point: the direction of x, or any u with u.x <= 0
        ([[3.0, 4.0]], [0.0], 0.0, 0.0),
        ([[0.0, 0.0]], [5.0], 0.0, 0.0),
        ([[2.0]], [-1.0], -2.0, 0.0),
        ([[1.0], [-1.0]], [1.0, 1.0], 1.0, 1.0),  # |u|
        ([[1.0, 1.0], [2.0, 2.0], [-1.0, -1.0]], [1.0, 1.0, 1.0], 0.0, 3.0 * np.sqrt(2.0)),  # collinear
        ([[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0], 0.0, np.sqrt(2.0)),
        (np.eye(3), [1.0, 1.0, 1.0], 0.0, np.sqrt(3.0)),
        (np.eye(3), [-1.0, -1.0, 2.0], -np.sqrt(2.0), 2.0),
        (np.concatenate([np.eye(3), -np.eye(3)]), np.ones(6), 1.0, np.sqrt(3.0)),  # the l1 norm of u
        (np.concatenate([np.eye(2), -np.eye(2)]), -np.ones(4), -np.sqrt(2.0), -1.0),
    ],
)
def test_closed_forms(X: Array, g: Array, lowest: float, highest: float) -> None:
    e = sphere_extremes(X, g)
    assert e.exact
    # numbers of size 1: a handful of roundings
    assert e.lowest == pytest.approx(lowest, abs=8 * EPSILON * (1.0 + abs(lowest)))
    assert e.highest == pytest.approx(highest, abs=8 * EPSILON * (1.0 + abs(highest)))


def test_identity_is_the_norm_of_the_sum() -> None:
    draw = np.random.default_rng(0)
    for dim in (1, 2, 3):
        X, g = draw.normal(size=(20, dim)), draw.normal(size=20)
        e = sphere_extremes(X, g, 1.0)
        assert e.exact
        assert e.highest == pytest.approx(float(np.linalg.norm(g @ X)), rel=1e-14)
        assert e.lowest == pytest.approx(-float(np.linalg.norm(g @ X)), rel=1e-14)


@pytest.mark.parametrize("angle", [1e-6, 1e-10, 1e-12, 1e-13, 1e-14, 1e-15, 0.0])
def test_nearly_parallel_points(angle: float) -> None:
    """A circle and its near copy: G moves by at most angle * sum |g| |x| against exact duplicates."""
    draw = np.random.default_rng(7)
    X, g, h = draw.normal(size=(30, 3)), draw.normal(size=30), draw.normal(size=30)
    moved = X + angle * np.cross(X, draw.normal(size=(30, 3)))
    e = sphere_extremes(np.concatenate([X, moved]), np.concatenate([g, h]))
    merged = sphere_extremes(X, g + h)
    both = np.concatenate([X, moved]), np.concatenate([g, h])
    assert e.exact
    slack = 4.0 * angle * magnitude(X, h) + 128 * EPSILON * magnitude(*both)
    assert abs(e.highest - merged.highest) <= slack
    assert abs(e.lowest - merged.lowest) <= slack
    # circles below an angle of 1e-13 count as one, and the bound owns up to it
    assert e.upper_bound - e.highest <= 64 * EPSILON * magnitude(*both) + 1e-13 * magnitude(*both)


def test_extreme_scales_do_not_overflow() -> None:
    draw = np.random.default_rng(0)
    X, g = draw.normal(size=(10, 3)), draw.normal(size=10)
    e = sphere_extremes(X, g)
    for factor in (2.0**-500, 2.0**500):  # powers of two: the answer is the same to the last bit
        scaled = sphere_extremes(X * factor, g)
        assert scaled.highest == e.highest * factor and scaled.lowest == e.lowest * factor
        assert (scaled.argmax == e.argmax).all()


@pytest.mark.parametrize("dim", [4, 5])
@pytest.mark.parametrize("seed", range(5))
def test_heuristic_never_exceeds_the_truth_and_finds_it_on_small_problems(dim: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    X, g = draw.normal(size=(8, dim)), draw.normal(size=8)
    e = sphere_extremes(X, g)
    assert not e.exact and "heuristic" in e.how
    truth = evaluate(X, g, 0.0, every_candidate(X, g, 0.0))
    rounding = 64 * EPSILON * magnitude(X, g)
    assert e.highest <= truth.max() + rounding and e.lowest >= truth.min() - rounding
    assert e.lower_bound <= truth.min() and truth.max() <= e.upper_bound
    # nothing promises this; it holds for these ten instances, measured to 1e-12
    assert e.highest == pytest.approx(truth.max(), rel=1e-9)
    assert e.lowest == pytest.approx(truth.min(), rel=1e-9)


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_heuristic_against_the_enumeration_in_rank_three(slope: float) -> None:
    draw = np.random.default_rng(11)
    for n in (5, 50, 200):
        X, g = draw.normal(size=(n, 3)), draw.normal(size=n)
        exact, search = sphere_extremes(X, g, slope), sphere_extremes(X, g, slope, cells_limit=0)
        assert exact.exact and not search.exact and "cells_limit" in search.how
        assert search.highest <= exact.upper_bound and search.lowest >= exact.lower_bound
        assert search.lower_bound <= exact.lower_bound and exact.upper_bound <= search.upper_bound
        # measured: equal to rounding; 1 % would already spoil a certificate
        assert search.highest == pytest.approx(exact.highest, rel=1e-6)
        assert search.lowest == pytest.approx(exact.lowest, rel=1e-6)


def test_heuristic_is_deterministic_and_uses_given_starts() -> None:
    draw = np.random.default_rng(2)
    X, g = draw.normal(size=(60, 12)), draw.normal(size=60)
    first, second = sphere_extremes(X, g), sphere_extremes(X, g)
    assert first.highest == second.highest and (first.argmin == second.argmin).all()
    # started at an optimum that it had found with other random directions, it is at least as good
    other = sphere_extremes(X, g, rng=5)
    started = sphere_extremes(X, g, starts=[7.0 * other.argmax, other.argmin])
    assert started.highest >= other.highest - 1e-12 and started.lowest <= other.lowest + 1e-12
    assert sphere_extremes(X, g, starts=np.zeros((0, 12))).highest == first.highest


def test_convex_case_in_high_dimension_reaches_a_stationary_point() -> None:
    """g >= 0: at a maximum u is v_S/|v_S| (G is smooth there because its kinks are convex)."""
    draw = np.random.default_rng(4)
    X, g = draw.normal(size=(300, 40)), draw.uniform(size=300)
    e = sphere_extremes(X, g)
    gradient = (g * (X @ e.argmax > 0.0)) @ X
    assert np.linalg.norm(gradient / np.linalg.norm(gradient) - e.argmax) < 1e-7  # measured: 1e-9
    assert e.lowest >= 0.0 and e.upper_bound >= e.highest


@pytest.mark.parametrize(
    ("X", "g", "word"),
    [
        (np.zeros((0, 2)), [], "X is empty"),
        (np.zeros((3, 2)), [1.0, 2.0], "g must have shape"),
        ([[np.nan, 1.0]], [1.0], "X holds"),
        ([[1.0, 1.0]], [np.inf], "g holds"),
        ([1.0, 2.0], [1.0, 2.0], "X must have 2 axes"),
        ([[1e300, 1.0]], [1e300], "overflows"),
    ],
)
def test_refusals_of_the_sphere(X: Array, g: Array, word: str) -> None:
    with pytest.raises(InputError, match=word):
        sphere_extremes(X, g)


# --- the torus ---


def random_polynomial(dim: int, degree: int, seed: int) -> NDArray[np.complex128]:
    draw = np.random.default_rng([dim, degree, seed])
    shape = (2 * degree + 1,) * dim
    c = draw.normal(size=shape) + 1j * draw.normal(size=shape)
    return c + c[(slice(None, None, -1),) * dim].conj()


def polynomial_values(c: NDArray[np.complex128], theta: Array) -> Array:
    """T by its definition, one frequency after another."""
    degrees = np.array([n // 2 for n in c.shape])
    total = np.zeros(theta.shape[0])
    for index in np.ndindex(*c.shape):
        phase = theta @ (np.array(index) - degrees)
        total += c[index].real * np.cos(phase) - c[index].imag * np.sin(phase)
    return total


@pytest.mark.parametrize(("dim", "degree"), [(1, 1), (1, 6), (1, 20), (2, 1), (2, 3), (2, 8), (3, 1), (3, 2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_torus_minimum_against_grid_and_quasi_newton(dim: int, degree: int, seed: int) -> None:
    from scipy.optimize import minimize

    c = random_polynomial(dim, degree, seed)
    m = torus_minimum(c)
    size = float(np.abs(c).sum())
    assert m.exact and m.tolerance == pytest.approx(1e-12 * size)
    assert m.lower_bound <= m.lowest <= m.lower_bound + m.tolerance
    assert (m.argmin >= 0.0).all() and (m.argmin <= 2.0 * np.pi).all()
    # phases k.theta of up to 2 pi * 60 are rounded at 1e-14 relative to sum |c|
    assert polynomial_values(c, m.argmin[None])[0] == pytest.approx(m.lowest, abs=1e-13 * size)
    points = {1: 4000, 2: 120, 3: 24}[dim]
    t = np.arange(points) * (2.0 * np.pi / points)
    theta = np.stack(np.meshgrid(*[t] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    values = polynomial_values(c, theta)
    assert values.min() >= m.lower_bound
    reached = min(
        minimize(lambda x: polynomial_values(c, x[None])[0], theta[k], method="BFGS", tol=1e-9).fun
        for k in np.argsort(values)[:4]
    )
    # the grid is fine enough (4 points a wave) for its best points to lie in the best basin; BFGS with
    # difference quotients reaches about 1e-12 relative
    assert reached >= m.lower_bound - 1e-13 * size
    assert reached == pytest.approx(m.lowest, abs=1e-9 * size)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_bounds_on_boxes_hold(dim: int) -> None:
    """Lower bounds of single boxes against samples inside them, for boxes of all sizes."""
    draw = np.random.default_rng(dim)
    for degree, half in product((1, 3), (0.5, 0.1, 0.02, 1e-3, 1e-5)):
        c = random_polynomial(dim, degree, 0)
        polynomial = TrigonometricPolynomial(c)
        grid = polynomial.grid_values((8 * degree,) * dim)
        polynomial.note_supremum(grid, (8 * degree,) * dim)
        search = _Search(polynomial, polynomial.rounding, 0.0, 1)
        search.best = np.inf  # every box stays open, so that the sharper bound is computed for all
        centres = draw.uniform(0.0, 2.0 * np.pi, size=(40, dim))
        width = np.full(dim, half)
        _, bound = search._bounds(*polynomial.derivatives(centres), np.full(40, -np.inf), width)
        inside = centres[:, None] + half * draw.uniform(-1.0, 1.0, size=(40, 200, dim))
        corners = centres[:, None] + half * np.array(list(product([-1.0, 1.0], repeat=dim)))
        for samples in (inside, corners):
            values = polynomial.value(samples.reshape(-1, dim)).reshape(40, -1)
            assert (values.min(axis=1) >= bound).all()
        # and they are sharp: off by the third order only
        loss = polynomial.value(centres) - bound
        assert (
            loss
            <= np.abs(polynomial.derivatives(centres)[1]).sum(axis=1) * half * 2.0
            + size_of(c) * (dim * degree * half) ** 2 * 2.0
            + 2.0 * polynomial.rounding
        ).all()


def size_of(c: NDArray[np.complex128]) -> float:
    return float(np.abs(c).sum())


def test_supremum_bound_holds() -> None:
    """The bound on sup|T| from a grid of 2.5 N points an axis, where it matters that it is a bound."""
    for seed in range(10):
        c = random_polynomial(2, 4, seed)
        polynomial = TrigonometricPolynomial(c)
        polynomial.note_supremum(polynomial.grid_values((10, 10)), (10, 10))
        mean = float(c[4, 4].real)
        low, high = torus_minimum(c).lowest, -torus_minimum(-c).lowest
        assert max(high - mean, mean - low) <= polynomial._supremum


def test_derivatives_by_differences() -> None:
    polynomial = TrigonometricPolynomial(random_polynomial(3, 2, 0))
    theta = np.random.default_rng(0).uniform(0.0, 6.0, size=(5, 3))
    _, gradient, hessian = polynomial.derivatives(theta)
    step = 1e-5
    for i in range(3):
        e = step * np.eye(3)[i]
        up, down = polynomial.derivatives(theta + e), polynomial.derivatives(theta - e)
        # central differences: step^2 |T'''| / 6 ~ 1e-10 * 216 * 250 / 6
        np.testing.assert_allclose((up[0] - down[0]) / (2 * step), gradient[:, i], atol=3e-6)
        np.testing.assert_allclose((up[1] - down[1]) / (2 * step), hessian[:, i], atol=3e-5)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_values_on_a_grid_are_those_at_its_points(dim: int) -> None:
    c = random_polynomial(dim, 2, 1)
    polynomial = TrigonometricPolynomial(c)
    shape = (5, 6, 7)[:dim]
    centres, *on_grid = polynomial.grid_slab(shape, slice(1, 4))
    for a, b in zip(on_grid, polynomial.derivatives(centres), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-11)  # sums of up to 125 terms of size 1, k^2 = 4
    np.testing.assert_allclose(polynomial.value(centres), polynomial_values(c, centres), atol=1e-11)
    np.testing.assert_allclose(polynomial.grid_values(shape)[1:4].ravel(), on_grid[0], atol=1e-11)


def test_many_coefficients_in_three_dimensions() -> None:
    """Degree 10: 9261 coefficients; the boxes left by the first grid are so many that it is refined as a whole."""
    c = random_polynomial(3, 10, 0)
    m = torus_minimum(c)
    assert m.exact
    polynomial = TrigonometricPolynomial(c)
    assert m.work > 2 * 8 * 8 * polynomial.degrees[0] ** 3  # the refined grid was used
    value, gradient, hessian = polynomial.derivatives(m.argmin[None])
    assert value[0] == pytest.approx(m.lowest, abs=1e-13 * size_of(c))
    # a proved minimum is stationary (sqrt(2 tolerance * curvature)) and convex
    curvature = np.linalg.eigvalsh(hessian[0])
    assert curvature[0] > 0.0
    assert np.linalg.norm(gradient) <= np.sqrt(2.0 * m.tolerance * curvature[-1])
    # a grid of another size, shifted against the search's own
    assert polynomial.grid_values((67, 71, 73)).min() >= m.lower_bound


def test_product_of_dirichlet_kernels() -> None:
    """min D = -5/4 at cos t = -1/4 and max D = 5, hence min D(x) D(y) = -25/4; two to the power of two minima."""
    m = torus_minimum(np.ones((5, 5)))
    assert m.exact
    assert m.lowest == pytest.approx(-6.25, abs=25e-12)
    ordered = np.sort(np.minimum(m.argmin, 2.0 * np.pi - m.argmin))
    assert ordered[0] == pytest.approx(0.0, abs=1e-6)  # a minimum is flat: sqrt of the tolerance
    assert ordered[1] == pytest.approx(np.arccos(-0.25), abs=1e-6)
    three = torus_minimum(np.ones((3, 3, 3)))  # D in [-1, 3]
    assert three.exact and three.lowest == pytest.approx(-9.0, abs=27e-12)


def test_one_spike_has_its_minimum_at_the_spike() -> None:
    k = np.array(list(product(range(-2, 3), repeat=2)))
    spike = np.array([4.9, 0.7])
    c = trigonometric_coefficients(k, -0.8 * np.cos(k @ spike), -0.8 * np.sin(k @ spike))
    m = torus_minimum(c)
    assert m.exact and m.lowest == pytest.approx(-20.0, abs=20e-12)
    np.testing.assert_allclose(m.argmin, spike, atol=1e-7)  # sqrt(rounding / curvature)


def test_first_variation_at_the_optimum_of_a_deconvolution() -> None:
    """Chizat 2019 (arXiv:1907.10300), lambda = 1: at the optimum the first variation touches 0 at its three spikes."""
    k = np.array(list(product(range(-2, 3), repeat=2)))
    truth = np.pi + np.array([[0.0, 0.0], [1.7, -0.3], [0.7, 1.3]])
    found = np.pi + np.array([[0.00055578, 0.0075116], [1.70491468, -0.30437323], [0.6984379, 1.28547405]])
    weights = np.array([1.15015243, 0.58158183, 0.95151595, -(1.1**2), -(0.8**2), -1.0])
    phases = k @ np.concatenate([found, truth]).T
    c = trigonometric_coefficients(k, np.cos(phases) @ weights, np.sin(phases) @ weights)
    c[2, 2] += 1.0
    m = torus_minimum(c)
    assert m.exact
    # the optimum is known to 8 digits; the first variation is 25 times as sensitive as the weights
    assert m.lowest == pytest.approx(0.0, abs=1e-6)
    assert np.linalg.norm(found - m.argmin, axis=1).min() < 1e-3  # sqrt(1e-6 / curvature)
    at_spikes = polynomial_values(c, found)
    np.testing.assert_allclose(at_spikes, 0.0, atol=1e-6)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_constants_end_at_once(dim: int) -> None:
    c = np.zeros((5,) * dim)
    c[(2,) * dim] = -3.0
    m = torus_minimum(c)
    assert m.exact and m.lowest == m.lower_bound == -3.0 and m.work == 0
    assert torus_minimum(np.zeros((1,) * dim)).lowest == 0.0


def test_coordinates_that_do_not_matter() -> None:
    # a function of x only, of x - y only, and with hidden periods: each has continua or copies of minima
    alone = trigonometric_coefficients([[1, 0, 0], [2, 0, 0]], [1.0, 0.4], [0.3, 0.0])
    line = trigonometric_coefficients([[1], [2]], [1.0, 0.4], [0.3, 0.0])
    skew = trigonometric_coefficients([[1, -1, 2], [2, -2, 4]], [1.0, 0.4], [0.3, 0.0])
    hidden = trigonometric_coefficients([[5, 0, 0], [10, 0, 0]], [1.0, 0.4], [0.3, 0.0])
    expected = torus_minimum(line)
    for c in (alone, skew, hidden):
        m = torus_minimum(c)
        assert m.exact and m.work < 1000
        assert m.lowest == pytest.approx(expected.lowest, abs=1e-12)
        assert polynomial_values(c, m.argmin[None])[0] == pytest.approx(m.lowest, abs=1e-13)


def test_rounding_noise_does_not_hide_the_lattice() -> None:
    draw = np.random.default_rng(0)
    clean = trigonometric_coefficients([[1, -1], [2, -2]], [1.0, 0.4], [0.3, 0.0])
    c = clean + 1e-18 * draw.normal(size=clean.shape)
    c = 0.5 * (c + c[::-1, ::-1].conj())
    m = torus_minimum(c)
    assert m.exact and m.work < 1000
    assert m.lowest == pytest.approx(torus_minimum(clean).lowest, abs=1e-12)


def squared(c: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """The coefficients of T^2."""
    from scipy.signal import convolve

    return np.asarray(convolve(c, c))


def test_degenerate_minima() -> None:
    # (1 - cos x)^2 + (1 - cos y)^2: quartic at its minimum
    p = trigonometric_coefficients([[0, 0], [1, 0]], [1.0, -1.0], [0.0, 0.0])
    quartic = torus_minimum(squared(p) + squared(p.T))
    assert quartic.exact and quartic.lowest == pytest.approx(0.0, abs=quartic.tolerance)
    # (0.3 + cos x + cos y)^2: zero on a curve that is no subgroup
    p = trigonometric_coefficients([[0, 0], [1, 0], [0, 1]], [0.3, 1.0, 1.0], [0.0] * 3)
    curve = torus_minimum(squared(p), tolerance=1e-8)
    assert curve.exact and curve.tolerance == 1e-8 and curve.lowest - curve.lower_bound <= 1e-8


def test_a_surface_of_minima_ends_at_the_work_limit() -> None:
    p = trigonometric_coefficients(
        [[0] * 3, [1, 0, 0], [0, 1, 0], [0, 0, 1]], [0.3, 1.0, 1.0, 1.0], [0.0] * 4
    )
    c = squared(p)
    m = torus_minimum(c, max_boxes=60_000)
    assert not m.exact and "max_boxes" in m.how and m.work <= 60_000 + 4000  # boxes, plus Newton's points
    assert m.lower_bound <= 0.0 <= m.lowest + m.tolerance
    assert m.lowest == pytest.approx(0.0, abs=1e-9)
    assert m.lower_bound > -0.1  # measured: -2e-3; what was proved is not vacuous (T ranges over 10)
    better = torus_minimum(c, max_boxes=300_000)
    assert m.lower_bound < better.lower_bound <= 0.0


def test_minima_equal_up_to_a_hair() -> None:
    """49 minima that differ by 1e-9: all must be told apart, without an explosion of boxes."""
    c = trigonometric_coefficients([[7, 0], [0, 7], [1, 0], [0, 1]], [1.0, 1.0, 1e-9, 1e-9], [0.0] * 4)
    m = torus_minimum(c)
    assert m.exact and m.work < 50_000
    t = np.arange(7) * 2.0 * np.pi / 7.0 + np.pi / 7.0
    best = 2.0 * min(1e-9 * np.cos(t)) - 2.0
    # moving off the minimum of cos 7x gains 1e-18 only
    assert m.lowest == pytest.approx(best, abs=1e-13)


@settings(max_examples=30, deadline=None)
@given(seed=arrays, dim=st.integers(1, 2))
def test_torus_symmetries(seed: int, dim: int) -> None:
    draw = np.random.default_rng(seed)
    c = random_polynomial(dim, 2, seed)
    m = torus_minimum(c)
    shift = draw.uniform(0.0, 2.0 * np.pi, size=dim)
    k = np.stack(np.meshgrid(*[np.arange(-2, 3)] * dim, indexing="ij"), axis=-1)
    moved = torus_minimum(c * np.exp(1j * (k @ shift)), starts=np.mod(m.argmin - shift, 2.0 * np.pi)[None])
    tolerance = 2.0 * m.tolerance
    assert moved.exact and moved.lowest == pytest.approx(m.lowest, abs=tolerance)
    scaled = torus_minimum(2.5 * c)
    assert scaled.lowest == pytest.approx(2.5 * m.lowest, abs=2.5 * tolerance)
    lifted = c.copy()
    lifted[(2,) * dim] += 10.0
    assert torus_minimum(lifted).lowest == pytest.approx(m.lowest + 10.0, abs=tolerance + 1e-11)
    mirrored = torus_minimum(c.conj())  # theta -> -theta
    assert mirrored.lowest == pytest.approx(m.lowest, abs=tolerance)
    if dim == 2:
        assert torus_minimum(c.T).lowest == pytest.approx(m.lowest, abs=tolerance)
        # an automorphism of the torus leaves the range alone: (x, y) -> (x + y, y)
        frequencies = k.reshape(-1, 2)
        sheared = trigonometric_coefficients(
            frequencies @ np.array([[1, 1], [0, 1]]), c.real.ravel(), -c.imag.ravel()
        )
        assert torus_minimum(sheared).lowest == pytest.approx(m.lowest, abs=2.0 * tolerance)


def test_coefficients_from_real_features() -> None:
    draw = np.random.default_rng(0)
    k = draw.integers(-3, 4, size=(20, 2))  # repeated, opposite and zero frequencies among them
    a, b = draw.normal(size=20), draw.normal(size=20)
    c = trigonometric_coefficients(k, a, b)
    theta = draw.uniform(0.0, 7.0, size=(30, 2))
    direct = np.cos(theta @ k.T) @ a + np.sin(theta @ k.T) @ b
    np.testing.assert_allclose(polynomial_values(c, theta), direct, atol=1e-12)  # 40 terms of size 1


@pytest.mark.parametrize(
    ("c", "word"),
    [
        (np.ones((2, 3)), "odd extents"),
        (np.ones((3,) * 4), "one to three axes"),
        ([1.0, 0.0, 2.0], "Hermitian"),
        ([np.nan, 0.0, np.nan], "NaN"),
        ("abc", "complex numbers"),
    ],
)
def test_refusals_of_the_torus(c: Array, word: str) -> None:
    with pytest.raises(InputError, match=word):
        torus_minimum(c)


def test_frequencies_must_be_integers() -> None:
    with pytest.raises(InputError, match="integers"):
        trigonometric_coefficients([[0.5]], [1.0], [0.0])


# --- multistart descent ---


def rastrigin(x: Array) -> tuple[Array, Array]:
    """10 + x^2 - 10 cos 2 pi x a coordinate: a minimum near every integer, the lowest, 0, at 0."""
    value = (10.0 + x**2 - 10.0 * np.cos(2.0 * np.pi * x)).sum(axis=1)
    return value, 2.0 * x + 20.0 * np.pi * np.sin(2.0 * np.pi * x)


def rosenbrock(x: Array) -> tuple[Array, Array]:
    a, b = x[:, 0], x[:, 1]
    gradient = np.stack([-2.0 * (1.0 - a) - 400.0 * a * (b - a * a), 200.0 * (b - a * a)], axis=1)
    return (1.0 - a) ** 2 + 100.0 * (b - a * a) ** 2, gradient


def test_descent_finds_the_lowest_basin_and_its_bottom() -> None:
    starts = np.random.default_rng(0).uniform(-4.0, 4.0, size=(400, 2))
    m = ascent_minimum(rastrigin, starts)
    assert not m.exact and m.lower_bound == -np.inf and "heuristic" in m.how
    assert 0.0 <= m.lowest < 1e-12  # quadratic at the bottom, rounding of 10 - 10 cos
    curved = ascent_minimum(rosenbrock, starts)
    assert curved.lowest < 1e-20
    np.testing.assert_allclose(curved.argmin, 1.0, atol=1e-9)


def test_descent_never_ends_above_its_starts_and_attains_its_value() -> None:
    starts = np.random.default_rng(1).normal(size=(30, 3))
    for iterations, polished in ((0, 0), (3, 0), (50, 2)):
        m = ascent_minimum(rastrigin, starts, iterations=iterations, polished=polished)
        assert m.lowest <= rastrigin(starts)[0].min()
        assert rastrigin(m.argmin[None])[0][0] == m.lowest


def test_descent_respects_the_box() -> None:
    starts = np.random.default_rng(0).normal(size=(20, 2))
    m = ascent_minimum(rosenbrock, starts, bounds=([-2.0, -np.inf], [0.5, np.inf]))
    np.testing.assert_allclose(m.argmin, [0.5, 0.25], atol=1e-6)  # active bound; curvature 200
    assert m.lowest == pytest.approx(0.25, abs=1e-10)


def test_descent_is_deterministic_and_survives_nan() -> None:
    def holed(x: Array) -> tuple[Array, Array]:
        value, gradient = rastrigin(x)
        return np.where(x[:, 0] > 1.5, np.nan, value), gradient

    starts = np.random.default_rng(3).uniform(-3.0, 3.0, size=(50, 2))
    first, second = ascent_minimum(holed, starts), ascent_minimum(holed, starts)
    assert first.lowest == second.lowest and (first.argmin == second.argmin).all()
    assert np.isfinite(first.lowest)
    with pytest.raises(InputError, match="no finite value"):
        ascent_minimum(holed, starts + 10.0)


def test_descent_refuses_wrong_shapes() -> None:
    with pytest.raises(InputError, match="function must return"):
        ascent_minimum(lambda x: (x, x), np.zeros((3, 2)))
    with pytest.raises(InputError, match="bounds"):
        ascent_minimum(rastrigin, np.zeros((3, 2)), bounds=([1.0, 1.0], [0.0, 0.0]))

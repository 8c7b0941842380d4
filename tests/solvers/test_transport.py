"""Transport: closed forms, agreement of independent solvers, metric properties, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.spaces import Euclidean, Sphere, Torus
from solvers.transport import sliced_wasserstein, wasserstein, wasserstein_1d


def linear_program(x: Any, a: Any, y: Any, b: Any, p: float) -> float:
    """W_p by a general linear-programming solver: slow, independent of both solvers used."""
    from scipy.optimize import linprog

    m, k = len(x), len(y)
    cost = np.linalg.norm(x[:, None, :] - y[None, :, :], axis=-1) ** p
    rows = np.kron(np.eye(m), np.ones(k))
    columns = np.kron(np.ones(m), np.eye(k))
    result = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]))
    return float(result.fun ** (1 / p))


def cloud(rng: np.random.Generator, m: int, dim: int) -> tuple[Any, Any]:
    weights = rng.uniform(0.1, 1.0, m)
    return rng.standard_normal((m, dim)), weights / weights.sum()


def test_line_against_the_inverse_cdf_by_hand() -> None:
    # mass 1 at 0 to masses 1/4 at 1 and 3/4 at 2
    assert wasserstein_1d([0.0], [1.0, 2.0], p=1, nu_weights=[0.25, 0.75]) == 1.75
    assert wasserstein_1d([0.0], [1.0, 2.0], p=2, nu_weights=[0.25, 0.75]) == np.sqrt(3.25)
    assert wasserstein_1d([0.0, 3.0], [5.0, 1.0], p=1) == 1.5
    # 2 against 3 particles: levels 1/3, 1/2, 2/3, 1; two roundings
    assert wasserstein_1d([0.0, 6.0], [0.0, 3.0, 6.0], p=1) == pytest.approx((3 + 3) / 6, rel=1e-15)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_line_against_scipy_and_the_linear_program(p: int) -> None:
    from scipy.stats import wasserstein_distance

    rng = np.random.default_rng(p)
    x, a = cloud(rng, 7, 1)
    y, b = cloud(rng, 9, 1)
    value = wasserstein_1d(x, y, p, mu_weights=a, nu_weights=b)
    # HiGHS stops at a feasibility of 1e-7, and its vertex solutions are exact to some 1e-15
    assert value == pytest.approx(linear_program(x, a, y, b, p), rel=1e-12)
    if p == 1:
        assert value == pytest.approx(wasserstein_distance(x[:, 0], y[:, 0], a, b), rel=1e-13)


def test_gaussians_on_the_line_converge_to_the_closed_form() -> None:
    from scipy.special import ndtri

    levels = ndtri((np.arange(20000) + 0.5) / 20000)
    # W_2(N(0,1), N(1,4))^2 = 1 + 1; quantiles at cell centres truncate the tail: the variance of the grid is
    # 1 - 6.6e-5 (measured), and a quarter of that is lost from the distance (measured: 1.65e-5)
    assert wasserstein_1d(levels, 1 + 2 * levels) == pytest.approx(np.sqrt(2), rel=2e-5)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("dim", [2, 5])
def test_exact_solvers_agree_with_the_linear_program(dim: int, p: int) -> None:
    rng = np.random.default_rng(10 * dim + p)
    x, a = cloud(rng, 8, dim)
    y, b = cloud(rng, 8, dim)
    equal = np.full(8, 1 / 8)
    # both solvers and HiGHS return vertices: sums of about 15 terms, a few ulp
    assert wasserstein(x, y, p) == pytest.approx(linear_program(x, equal, y, equal, p), rel=1e-12)
    value = wasserstein(x, y, p, mu_weights=a, nu_weights=b)
    assert value == pytest.approx(linear_program(x, a, y, b, p), rel=1e-12)


def test_the_assignment_and_the_network_simplex_agree() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((150, 3)), rng.standard_normal((150, 3))
    # splitting one particle in two of unequal weights changes nothing but sends the problem to POT
    split = np.vstack([x, x[:1]])
    weights = np.full(151, 1 / 150)
    weights[[0, 150]] = 1 / 450, 2 / 450
    # 150 terms each; measured: equal to the last bit
    assert wasserstein(split, y, mu_weights=weights) == pytest.approx(wasserstein(x, y), rel=1e-13)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(1, 3), p=st.sampled_from([1.0, 1.5, 2.0]))
def test_metric_properties(seed: int, dim: int, p: float) -> None:
    rng = np.random.default_rng(seed)
    measures = [ParticleMeasure(*cloud(rng, int(rng.integers(2, 9)), dim)) for _ in range(3)]
    mu, nu, rho = measures
    distance = wasserstein(mu, nu, p)
    # rounding of W_p^p is 1e-16 of its size; the p-th root of that at distance 0 is up to 1e-8
    assert wasserstein(mu, mu, p) <= 1e-7
    assert distance == pytest.approx(wasserstein(nu, mu, p), rel=1e-12)
    assert distance <= wasserstein(mu, rho, p) + wasserstein(rho, nu, p) + 1e-12
    order = rng.permutation(mu.width)
    shuffled = ParticleMeasure(mu.positions[order], mu.weights[order])
    assert wasserstein(shuffled, nu, p) == pytest.approx(distance, rel=1e-12)
    shift = rng.standard_normal(dim)
    moved = mu.with_positions(mu.positions + shift)
    assert wasserstein(mu, moved, p) == pytest.approx(float(np.linalg.norm(shift)), rel=1e-9)
    # a projection is 1-Lipschitz
    assert sliced_wasserstein(mu, nu, p, directions=5) <= distance * (1 + 1e-12)


def test_mass_scales_the_cost() -> None:
    rng = np.random.default_rng(1)
    (x, a), (y, b) = cloud(rng, 5, 2), cloud(rng, 6, 2)
    for p in (1, 2):
        for solve in (wasserstein, sliced_wasserstein):
            one = solve(x, y, p, mu_weights=a, nu_weights=b)  # type: ignore[operator]
            three = solve(x, y, p, mu_weights=3 * a, nu_weights=3 * b)  # type: ignore[operator]
            assert three == pytest.approx(3 ** (1 / p) * one, rel=1e-13)


def test_particles_without_mass_do_not_count() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((6, 2)), rng.standard_normal((5, 2))
    weights = np.array([1, 1, 0, 1, 1, 1]) / 5
    kept = x[[0, 1, 3, 4, 5]]
    assert wasserstein(x, y, mu_weights=weights) == wasserstein(kept, y)
    first = wasserstein_1d(x[:, 0], y[:, 0], mu_weights=weights)
    assert first == pytest.approx(wasserstein_1d(kept[:, 0], y[:, 0]), rel=1e-14)


def test_close_clouds_keep_their_relative_accuracy() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((200, 2))
    step = 1e-6 * rng.standard_normal((200, 2))
    # neighbours are some 1e-2 apart: the identity is the best assignment; x + step rounds at
    # 1e-16 of 1e-6 (measured agreement 4e-12)
    expected = np.sqrt(np.mean(np.sum(step**2, axis=1)))
    assert wasserstein(x, x + step) == pytest.approx(expected, rel=1e-10)


def test_torus_and_sphere_distances() -> None:
    near_edges = np.array([[0.05, 0.5]]), np.array([[0.95, 0.5]])
    # 0.95 - 0.05 rounds
    assert wasserstein(*near_edges, space=Torus(2)) == pytest.approx(0.1, rel=1e-14)
    assert wasserstein(*near_edges) == pytest.approx(0.9, rel=1e-14)
    assert wasserstein([[0.1]], [[6.2]], p=1, space=Torus(1, period=2 * np.pi)) == pytest.approx(
        2 * np.pi - 6.1, rel=1e-14
    )
    poles = np.array([[0.0, 0.0, 1.0]]), np.array([[0.0, 0.0, -1.0]])
    assert wasserstein(*poles, space=Sphere(3)) == pytest.approx(np.pi, rel=1e-15)
    x, y = np.random.default_rng(4).random((2, 30, 2))
    assert wasserstein(x, y, space=Torus(2)) < wasserstein(x, y, space=Euclidean(2)) == wasserstein(x, y)


def test_sliced_is_the_average_over_directions() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((40, 3)), rng.standard_normal((50, 3))
    lines = rng.standard_normal((4, 3))
    unit = lines / np.linalg.norm(lines, axis=1, keepdims=True)
    squares = [wasserstein_1d(x @ u, y @ u) ** 2 for u in unit]
    # projections by another order of summation
    assert sliced_wasserstein(x, y, directions=lines) == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-13)
    assert sliced_wasserstein(x, y, rng=3) == sliced_wasserstein(x, y, rng=3)
    assert sliced_wasserstein(x, y, rng=3) != sliced_wasserstein(x, y, rng=4)
    shift = np.array([3.0, 0.0, 4.0])
    sliced = sliced_wasserstein(x, x + shift, directions=20000)
    # E <u, v>^2 = |v|^2/3; its relative deviation per direction is sqrt(4/5), so 0.0063 at 20000: half in the
    # root, three deviations
    assert sliced == pytest.approx(5 / np.sqrt(3), rel=0.01)


def test_dense_problems_beyond_the_budget_are_refused() -> None:
    many = np.zeros((100_000, 2))
    with pytest.raises(InputError, match=r"100000 x 100000.*76294 MiB.*sliced_wasserstein, or subsample"):
        wasserstein(many, many)
    with pytest.raises(InputError, match="memory="):
        wasserstein(np.zeros((20, 2)), np.zeros((20, 2)), memory=8 * 399)
    assert wasserstein(np.zeros((20, 2)), np.zeros((20, 2)), memory=8 * 400) == 0.0
    assert wasserstein(many[:, :1], many[:, :1]) == 0.0  # sorting needs no matrix


def test_a_failing_solver_raises() -> None:
    rng = np.random.default_rng(6)
    (x, a), (y, b) = cloud(rng, 60, 2), cloud(rng, 60, 2)
    with pytest.raises(RuntimeError, match="raise iterations= \\(now 1\\)"):
        wasserstein(x, y, mu_weights=a, nu_weights=b, iterations=1)


def test_refusals() -> None:
    x = np.zeros((3, 2))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"mu_weights": [1, 1, -1]}, "mu_weights must be non-negative, but entry 2 is -1"),
        ({"nu_weights": [1, np.nan, 1]}, "nu_weights holds 1 value.*NaN"),
        ({"mu_weights": [1, 1]}, r"shape \(3,\)"),
        ({"mu_weights": [0, 0, 0]}, "mass 0"),
        ({"mu_weights": [1, 1, 1]}, "mu has mass 3 and nu has mass 1"),
        ({"p": 0.5}, "p must be at least 1"),
    ]
    for options, message in cases:
        for solve in (wasserstein, sliced_wasserstein):
            with pytest.raises(InputError, match=message):
                solve(x, x, **options)  # type: ignore[operator]
    with pytest.raises(InputError, match="mu has 2 coordinates a particle and nu has 3"):
        wasserstein(x, np.zeros((3, 3)))
    with pytest.raises(InputError, match="NaN"):
        wasserstein(np.full((3, 2), np.nan), x)
    with pytest.raises(InputError, match="on the line"):
        wasserstein_1d(x, x)
    with pytest.raises(InputError, match="dimension 3"):
        wasserstein(x, x, space=Torus(3))
    with pytest.raises(InputError, match="non-zero"):
        sliced_wasserstein(x, x, directions=np.zeros((1, 2)))
    with pytest.raises(InputError, match="empty"):
        wasserstein(np.zeros((0, 2)), x)
    signed = ParticleMeasure(x, signs=[1, -1, 1])
    with pytest.raises(InputError, match="signed"):
        wasserstein(signed, x)
    assert wasserstein(ParticleMeasure(x, signs=[1, 1, 1]), x) == 0.0
    with pytest.raises(InputError, match="weights of its own"):
        wasserstein(ParticleMeasure(x), x, mu_weights=[1, 1, 1])

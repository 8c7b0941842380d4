"""Proximal gradient on fixed particles: E2's published numbers, optimality, agreement of options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from solvers._ista import ista
from solvers.errors import DivergenceError, InputError
from solvers.losses import HuberLoss, LogisticLoss, SquaredLoss

NODES = 200
SPIKE = 100  # the node at pi
PENALTY = 0.3
# one spike of weight 1 under penalty lam: J* = lam - lam^2 / (2 D(0)), D(0) = 2 * 2 + 1 (flows.md)
OPTIMUM = PENALTY - PENALTY**2 / 10


def deconvolution() -> tuple[Any, Any]:
    """Fourier features with <Phi(s), Phi(t)> = sum_{|k|<=2} exp(i k (s - t)), and those of a spike at pi."""
    t = 2 * np.pi * np.arange(NODES) / NODES
    columns = [np.ones(NODES)]
    for k in (1, 2):
        columns += [np.sqrt(2) * np.cos(k * t), np.sqrt(2) * np.sin(k * t)]
    features = np.stack(columns, axis=1)
    return features, features[SPIKE].copy()


@pytest.mark.parametrize(
    ("step", "nonnegative", "published"),
    [
        (0.1, False, (0.3939, 0.0624, 0.01297)),
        (0.1, True, (0.425, 0.0524, 0.0126)),
        (0.4, True, (0.0901, 0.0220, 0.00544)),
    ],
    ids=["signed", "nonnegative", "four times the step"],
)
def test_gaps_of_the_fixed_grid_experiment(
    step: float, nonnegative: bool, published: tuple[float, float, float]
) -> None:
    features, y = deconvolution()
    run = ista(features, y, PENALTY, step, 1000, nonnegative=nonnegative)
    gaps = run.objective[[10, 100, 1000]] - OPTIMUM
    digits = (4, 4, 5) if not nonnegative else (3, 4, 4) if step == 0.1 else (4, 4, 5)
    for gap, expected, places in zip(gaps, published, digits, strict=True):
        assert abs(gap - expected) <= 0.5001 * 10.0**-places  # to the digits given
    assert gaps[-1] <= run.gap  # the certificate bounds the true gap


def test_the_signed_slope_is_two_thirds() -> None:
    features, y = deconvolution()
    gaps = ista(features, y, PENALTY, 0.1, 1000).objective - OPTIMUM
    assert np.log10(gaps[1000] / gaps[100]) == pytest.approx(-0.682, abs=0.0005)


def test_the_objective_falls_at_every_step_up_to_one_over_l() -> None:
    features, y = deconvolution()
    run = ista(features, y, PENALTY, iterations=300)
    # sum_j w_j Phi_j Phi_j' is the identity here, by orthogonality on the grid: L = 1
    assert run.step == pytest.approx(1.0, rel=1e-12)
    assert (np.diff(run.objective) < 0).all()


@pytest.mark.parametrize("nonnegative", [False, True])
def test_acceleration_finds_the_spike(nonnegative: bool) -> None:
    features, y = deconvolution()
    run = ista(
        features, y, PENALTY, iterations=20000, accelerated=True, nonnegative=nonnegative, tolerance=1e-10
    )
    assert run.status == "converged" and run.gap <= 1e-10 and run.iterations < 20000
    assert -1e-14 <= run.objective[-1] - OPTIMUM <= 1e-10  # rounding of J below, the gap above
    assert (np.diff(run.objective) <= 0).all()
    measure = run.measure(2 * np.pi * np.arange(NODES) / NODES)
    mass = measure.coefficients
    # w_hat = 1 - lam / D(0); the objective grows quadratically in the weights: sqrt(1e-10), times 10
    assert mass[SPIKE] == pytest.approx(1 - PENALTY / 5, abs=1e-4)
    assert np.abs(np.delete(mass, SPIKE)).sum() < 1e-4


def test_lasso_against_coordinate_descent() -> None:
    from sklearn.linear_model import Lasso

    rng = np.random.default_rng(0)
    features, y = rng.standard_normal((40, 25)), rng.standard_normal(25)
    run = ista(
        features,
        y,
        0.4,
        iterations=20000,
        weights=np.ones(40),
        loss="squared",
        accelerated=True,
        tolerance=1e-14,
    )
    model = Lasso(alpha=0.4, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(features.T, y)
    # both stop at a gap of some 1e-14; the restricted Hessian is of order 1
    np.testing.assert_allclose(run.coefficients, model.coef_, atol=1e-6)
    assert (run.coefficients == 0).sum() == (model.coef_ == 0).sum() > 0


def test_without_penalty_it_is_least_squares() -> None:
    rng = np.random.default_rng(1)
    features, y = rng.standard_normal((6, 30)), rng.standard_normal(30)
    run = ista(features, y, 0.0, iterations=5000, accelerated=True)
    best = np.linalg.lstsq(features.T, y, rcond=None)[0]
    np.testing.assert_allclose(run.coefficients / 6, best, atol=1e-12)  # condition number about 5


def test_weights_are_particles_joined() -> None:
    """Two particles at one place with weights 1/4 and 1/4 act as one of weight 1/2."""
    rng = np.random.default_rng(2)
    features, y = rng.standard_normal((3, 8)), rng.standard_normal(8)
    doubled = features[[0, 0, 1, 2]]
    one = ista(features, y, 0.1, 0.05, 200, weights=[0.5, 0.25, 0.25])
    two = ista(doubled, y, 0.1, 0.05, 200, weights=[0.25, 0.25, 0.25, 0.25])
    np.testing.assert_allclose(one.objective, two.objective, rtol=1e-12)  # another order of summation
    np.testing.assert_allclose(two.coefficients, one.coefficients[[0, 0, 1, 2]], rtol=1e-10, atol=1e-14)


def test_an_operator_serves_as_well_as_its_matrix() -> None:
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import aslinearoperator

    features, y = deconvolution()
    dense = ista(features, y, PENALTY, 0.5, 50)
    for operator in (aslinearoperator(features), csr_array(features)):
        run = ista(operator, y, PENALTY, 0.5, 50)
        np.testing.assert_allclose(run.objective, dense.objective, rtol=1e-12)  # sums in another order
        with pytest.raises(InputError, match="step is needed"):
            ista(operator, y, PENALTY)


@pytest.mark.parametrize("loss", [SquaredLoss(), HuberLoss(0.5), LogisticLoss()], ids=lambda loss: loss.kind)
def test_other_losses_reach_their_certificate(loss: Any) -> None:
    rng = np.random.default_rng(3)
    features = rng.standard_normal((30, 20))
    y = np.where(rng.standard_normal(20) > 0, 1.0, -1.0)
    run = ista(features, y, 0.05, iterations=20000, loss=loss, accelerated=True, tolerance=1e-9)
    assert run.status == "converged"
    q = loss.gradient(features.T @ (run.coefficients * run.weights), y)
    # optimality: |<q, Phi_j>| <= lam, equality with the opposite sign where u_j is not 0. A gap of 1e-9 leaves
    # sqrt(2 L 1e-9) in the slopes, with L <= 1 in this metric and w = 1/30: 2.5e-4
    slopes = features @ q
    assert np.abs(slopes).max() <= 0.05 + 2.5e-4
    active = np.abs(run.coefficients) > 0.1
    assert active.any()
    np.testing.assert_allclose(slopes[active], -0.05 * np.sign(run.coefficients[active]), atol=2.5e-4)


def test_one_thread_and_two_give_the_same_bits() -> None:
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(4)
    features, y = rng.standard_normal((1200, 800)), rng.standard_normal(800)
    runs = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads, user_api="blas"):
            runs.append(ista(features, y, 0.01, iterations=5))
    assert runs[0].step == runs[1].step
    np.testing.assert_array_equal(runs[0].coefficients, runs[1].coefficients)


def test_a_step_beyond_the_limit_raises() -> None:
    features, y = deconvolution()
    with pytest.raises(DivergenceError, match="iteration .* with step 2.5; take a shorter one"):
        ista(features, y, PENALTY, 2.5, 10_000)


def test_refusals() -> None:
    features, y = deconvolution()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"penalty": -1.0}, "penalty must be non-negative"),
        ({"step": 0.0}, "step must be positive"),
        ({"y": y[:3]}, "y has 3 rows"),
        ({"features": np.full((2, 5), np.nan)}, "features holds 10"),
        ({"weights": np.zeros(NODES)}, "weights must be positive"),
        ({"u0": np.zeros(3)}, "u0 must have shape"),
        ({"u0": -np.ones(NODES), "nonnegative": True}, "u0 must be non-negative"),
        ({"loss": "exponential", "y": np.ones(5)}, "step is needed"),
        ({"loss": "logistic"}, "labels must be -1 or 1"),
        ({"features": np.zeros((4, 5))}, "all zero"),
    ]
    for change, message in cases:
        arguments: dict[str, Any] = {"features": features, "y": y, "penalty": PENALTY, **change}
        with pytest.raises(InputError, match=message):
            ista(**arguments)


def test_nothing_to_do() -> None:
    features, y = deconvolution()
    run = ista(features, y, PENALTY, iterations=0)
    assert run.iterations == 0 and run.objective[0] == pytest.approx(0.5 * y @ y, rel=1e-15)
    assert run.measure(np.arange(NODES)).mass == 0.0

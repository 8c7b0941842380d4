"""The mathematics inside the limits of lazy training: exact risks, their means, the exact flow of the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import meanfield as mf
import solvers
from figures import ghorbani_2019_limits as figure
from solvers.errors import InputError
from solvers.protocols import Array


def least_squares(B: Array, matrices: Array) -> float:
    """Distance of diag(B) from the span of symmetric matrices (k, d, d), squared, over |B|^2."""
    columns = matrices.reshape(len(matrices), -1).T
    goal = np.diag(B).ravel()
    left = goal - columns @ np.linalg.lstsq(columns, goal, rcond=1e-12)[0]
    return float(left @ left / (goal @ goal))


@pytest.mark.parametrize("N", [1, 3, 5, 9, 20])
def test_exact_risks_are_distances_from_spans(N: int) -> None:
    rng = np.random.default_rng(N)
    B, W = figure.target(5, rng), rng.standard_normal((N, 5))
    squares = W[:, :, None] * W[:, None, :]
    assert figure.random_features(B, W) == pytest.approx(least_squares(B, squares), abs=1e-9)
    unit = np.eye(5)
    turns = np.array([np.outer(w, e) + np.outer(e, w) for w in W for e in unit])
    assert figure.tangent_features(B, W) == pytest.approx(least_squares(B, turns), abs=1e-12)


def test_the_risk_is_twice_the_distance_with_the_best_constant() -> None:
    """E (x'Mx - tr M - x'Bx + tr B)^2 from the population of the library, which has no constant."""
    rng = np.random.default_rng(0)
    d, N = 4, 3
    B, W = figure.target(d, rng), rng.standard_normal((N, d))
    teacher = mf.ParticleMeasure(np.eye(d) * np.sqrt(B)[:, None], weights=np.ones(d))
    network = mf.TwoLayer("quadratic", d, bias=False, a=1.0, scale=float(N))
    value = mf.GaussianPopulation(network, teacher).value(mf.ParticleMeasure(W))
    mean = np.sum(W**2) - B.sum()
    assert 2 * value - mean**2 == pytest.approx(2 * (B @ B) * figure.relative_risk(B, W), rel=1e-12)


@pytest.mark.parametrize("N", [2, 6, 11])
def test_the_flow_is_that_of_the_risk(N: int) -> None:
    rng = np.random.default_rng(N)
    B = figure.target(6, rng)
    W = figure.start(N, B, rng)
    times = np.array([0.0, 0.3, 1.0, 4.0])

    def descend(V: Array) -> Array:
        # - grad of |V'V - diag(B)|^2 = E (f - y)^2 / 2, for (N, d)
        return np.asarray(-4 * V @ (V.T @ V - np.diag(B)))

    run = solvers.integrate(
        descend, W, 4.0, method=solvers.DormandPrince(rtol=1e-10, atol=1e-13), save=times, keep="all"
    )
    # the tolerance of the integrator, a few hundred steps
    np.testing.assert_allclose(
        figure.network_flow(B, W, times), [figure.relative_risk(B, V) for V in run.states], rtol=1e-7
    )
    assert figure.network_flow(B, W, np.array([300.0]))[0] == pytest.approx(
        figure.best_network(B, N), abs=1e-4
    )


def test_flows_are_cut_into_pieces_without_loss() -> None:
    rng = np.random.default_rng(5)
    B = figure.target(8, rng)
    U = figure.start(5, B, rng).T
    once = figure.advance(B, U, 0.8)
    twice = figure.advance(B, figure.advance(B, U, 0.5), 0.3)
    np.testing.assert_allclose(once @ once.T, twice @ twice.T, rtol=1e-10, atol=1e-12)


def test_a_neuron_beside_its_constant() -> None:
    rng = np.random.default_rng(1)
    network = figure.CentredSquare(3, scale=4.0)
    W, X, q = rng.standard_normal((4, 3)), rng.standard_normal((7, 3)), rng.standard_normal(7)
    for index in np.ndindex(W.shape):
        change = np.zeros_like(W)
        change[index] = 1e-5
        difference = (network.features(W + change, X) - network.features(W - change, X)) @ q / 2e-5
        # features are quadratic: no truncation
        assert network.vjp(W, X, q)[index] == pytest.approx(difference[index[0]], rel=1e-8, abs=1e-8)
    B = figure.target(3, rng)
    X = rng.standard_normal((400_000, 3))
    objective = mf.Objective(network, X, X**2 @ B - B.sum())
    measure = mf.ParticleMeasure(W)
    assert objective.value(measure) == pytest.approx((B @ B) * figure.relative_risk(B, W), rel=0.02)
    velocity = -4 * W @ (W.T @ W - np.diag(B)) * 4.0
    found = mf.WassersteinFlow(objective).velocity(measure)
    # 400000 points: relative deviations of some .005
    assert np.linalg.norm(found - velocity) < 0.02 * np.linalg.norm(velocity)


def test_means_over_random_directions() -> None:
    d = 10
    B = figure.target(d, np.random.default_rng(2))
    rng = np.random.default_rng(3)
    flat, whole, D = B.sum() ** 2 / d, B @ B, d * (d + 1) / 2
    ones, count = np.ones(d), 500
    for N in (2, 5, 9, 30):
        draws = [rng.standard_normal((N, d)) for _ in range(count)]
        tangent = np.array([figure.tangent_features(B, W) for W in draws])
        mean = figure.tangent_features_mean(B, np.array([N]))[0]
        # four deviations of the mean; none where the directions span everything
        assert abs(tangent.mean() - mean) < 4 * tangent.std() / np.sqrt(count) + 1e-12
        random = np.array([figure.random_features(B, W) for W in draws])
        g = np.mean([1 - figure.random_features(ones, W) for W in draws])
        exact = 1 - (g * flat + (N - g) / (D - 1) * (whole - flat)) / whole
        assert abs(random.mean() - exact) < 4 * random.std() / np.sqrt(count)
        # w w' is not isotropic: a bias, measured .005 to .015 here
        assert abs(random.mean() - figure.random_features_mean(B, np.array([N]))[0]) < 0.03


def test_limits_of_many_inputs() -> None:
    rho, d = 0.3, 300_000
    B = figure.target(d, np.random.default_rng(4))
    N = round(rho * d)
    limit = 1 - rho * (1 - np.log(rho) + np.log(rho) ** 2 / 2)
    # fluctuations of sums of gamma^2: deviations of about 2/sqrt(d)
    assert figure.best_network(B, N) == pytest.approx(limit, abs=0.01)
    assert figure.tangent_features_mean(B, np.array([N]))[0] == pytest.approx(
        (1 - rho) ** 2 + rho * (1 - rho) / 2, abs=0.01
    )
    assert figure.random_features_mean(B, np.array([N]))[0] == pytest.approx(
        1 - 0.5 * rho / (1 + rho), abs=0.01
    )


def test_ends_of_the_formulas() -> None:
    B = figure.target(12, np.random.default_rng(6))
    D = 78
    np.testing.assert_allclose(figure.random_features_mean(B, np.array([0, D, D + 5])), [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(figure.tangent_features_mean(B, np.array([0, 12, 15])), [1, 0, 0], atol=1e-12)
    assert figure.best_network(B, 0) == 1.0 and figure.best_network(B, 12) == 0.0


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"ratios": (1.0, 0.5)}, "ratios"),
        ({"ratios": (0.1, 0.4, 0.8)}, "ratios"),
        ({"shown": (0.33,)}, "shown"),
        ({"far": (0.0, 1.0)}, "far"),
        ({"sgd_step": 0.0}, "sgd_step"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)

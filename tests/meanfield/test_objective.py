"""Objectives: first variation and velocity against the value itself, weights, outputs, bad inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import meanfield as mf
import solvers

RNG = np.random.default_rng(5)
X = RNG.standard_normal((15, 2))
LABELS = np.where(RNG.random(15) < 0.5, -1.0, 1.0)
CASES: list[tuple[Any, Any, Any, Any]] = [
    (mf.TwoLayer("tanh", d=2), RNG.standard_normal(15), mf.SquaredLoss(), mf.Ridge(0.1)),
    (mf.TwoLayer("tanh", d=2, scale=3.0), RNG.standard_normal(15), mf.HuberLoss(0.5), mf.Ridge(0.1)),
    (mf.TwoLayer("softplus", d=2), LABELS, mf.LogisticLoss(), mf.PathNorm(0.1)),
    (mf.TwoLayer("sigmoid", d=2, bias=False), LABELS, mf.ExponentialLoss(), None),
    (mf.TwoLayer("erf", d=2, a=2.0), LABELS, mf.SoftMinMargin(), mf.Ridge(0.1)),
    (mf.TwoLayer("tanh", d=2, outputs=3), RNG.integers(0, 3, 15), mf.CrossEntropy(), mf.PathNorm(0.1)),
    (
        mf.TwoLayer("quadratic", d=2, outputs=2),
        RNG.standard_normal((15, 2)),
        mf.SquaredLoss("sum"),
        mf.Ridge(0.1),
    ),
    (mf.Spikes(2, 2), None, mf.SquaredLoss("sum"), mf.TotalVariation(0.5)),
]
IDS = [f"{type(n).__name__}-{type(loss).__name__}" for n, _, loss, _ in CASES]


def build(case: Any) -> Any:
    network, y, loss, regularizer = case
    if isinstance(network, mf.Spikes):
        return mf.Objective.deconvolution(network, [[1.0, 2.0]], [1.0], regularizer=regularizer, loss=loss)
    return mf.Objective(network, X, y, loss=loss, regularizer=regularizer)


def cloud(objective: Any, m: int = 6, seed: int = 0) -> mf.ParticleMeasure:
    rng = np.random.default_rng(seed)
    return mf.ParticleMeasure(rng.standard_normal((m, objective.network.dim)), rng.random(m) + 0.1)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_first_variation_is_the_derivative_in_the_mass(case: Any) -> None:
    objective = build(case)
    mu = cloud(objective)
    point = np.random.default_rng(1).standard_normal((1, objective.network.dim))
    values = []
    for eps in (1e-4, -1e-4):
        # mu + eps delta(point); a negative mass is a particle of sign -1 whose penalty counts negatively.
        added = mu.concatenate(mf.ParticleMeasure(point, [abs(eps)], [np.sign(eps)]))
        penalty = objective.regularizer.value(point)[0]
        values.append(objective.value(added) - (abs(eps) - eps) * penalty)
    difference = (values[0] - values[1]) / 2e-4
    # Central differences in the mass: truncation eps^2 R''' = 1e-8, rounding 1e-15/1e-4.
    assert np.isclose(objective.first_variation(mu, point)[0], difference, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_velocity_is_minus_the_gradient_of_the_particle_loss_over_the_mass(case: Any) -> None:
    objective = build(case)
    mu = cloud(objective)
    velocity = objective.velocity(mu)
    for j, k in [(0, 0), (3, 1), (5, objective.network.dim - 1)]:
        shifted = []
        for h in (1e-5, -1e-5):
            positions = mu.positions.copy()
            positions[j, k] += h
            shifted.append(objective.value(mu.with_positions(positions)))
        slope = (shifted[0] - shifted[1]) / 2e-5
        assert np.isclose(velocity[j, k], -slope / mu.weights[j], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_energy_identity(case: Any) -> None:
    """dF/dt = -int |grad F'|^2 dmu, at the start of a short piece of the flow."""
    objective = build(case)
    mu = cloud(objective, 10)
    h = 1e-6
    forward = mu.with_positions(mu.positions + h * objective.velocity(mu))
    backward = mu.with_positions(mu.positions - h * objective.velocity(mu))
    rate = (objective.value(forward) - objective.value(backward)) / (2 * h)
    # Measured relative deviations at most 2e-8 (rounding 1e-16 F/h).
    assert np.isclose(rate, -objective.dissipation(mu), rtol=1e-6, atol=1e-8)


def test_energy_identity_along_a_whole_run() -> None:
    """F(0) - F(T) = int_0^T dissipation dt, to the accuracy of RK4 and Simpson's rule."""
    objective = build(CASES[0])
    mu = cloud(objective, 20)
    run = solvers.integrate(
        mf.WassersteinFlow(objective),
        mu,
        t_end=2.0,
        method=solvers.RK4(step=0.005),
        save=401,
        record={"rate": objective.dissipation},
    )
    from scipy.integrate import simpson

    lost = run["objective"][0] - run["objective"][-1]
    # Both rules are of order 4: measured 1.0e-7 relative at h = .01, hence 6e-9 at .005.
    assert np.isclose(simpson(run["rate"], x=run.t), lost, rtol=2e-8)


def test_layer_rates_enter_the_dissipation() -> None:
    network = mf.TwoLayer("tanh", d=2, rates={"a": 5.0}, train=("a", "w"))
    objective = mf.Objective(network, X, LABELS)
    mu = cloud(objective)
    h = 1e-6
    ends = [
        objective.value(mu.with_positions(mu.positions + s * h * objective.velocity(mu))) for s in (1, -1)
    ]
    assert np.isclose((ends[0] - ends[1]) / (2 * h), -objective.dissipation(mu), rtol=1e-6)


def test_signed_particles() -> None:
    network = mf.TwoLayer("relu", d=2, a=1.0)
    objective = mf.Objective(network, X, LABELS, regularizer=mf.TotalVariation(0.3))
    rng = np.random.default_rng(0)
    positions, signs = rng.standard_normal((5, 3)), np.array([1, -1, 1, -1, -1.0])
    mu = mf.ParticleMeasure(positions, np.full(5, 0.4), signs)
    # The same function with the sign in the outer weight.
    free = mf.TwoLayer("relu", d=2)
    twin = mf.ParticleMeasure(np.column_stack([signs, positions]), np.full(5, 0.4))
    assert np.allclose(objective.predict(mu), free.predict(twin, X), rtol=1e-13)
    assert np.isclose(objective.value(mu), objective.loss_value(mu) + 0.3 * 2.0, rtol=1e-13)
    plus, minus = (objective.first_variation(mu, positions, signs=np.full(5, s)) - 0.3 for s in (1.0, -1.0))
    assert np.allclose(plus, -minus, rtol=1e-12)


def test_sample_weights_are_repetitions() -> None:
    network = mf.TwoLayer("tanh", d=2)
    weights = np.array([1.0, 3.0] + [2.0] * 13)
    repeated = np.repeat(np.arange(15), weights.astype(int))
    y = RNG.standard_normal(15)
    mu = mf.ParticleMeasure.gaussian(network, 8, rng=0)
    for loss in (mf.SquaredLoss(), mf.SquaredLoss("sum"), mf.HuberLoss(0.7)):
        one = mf.Objective(network, X, y, loss=loss, sample_weight=weights)
        two = mf.Objective(network, X[repeated], y[repeated], loss=loss)
        assert np.isclose(one.value(mu), two.value(mu), rtol=1e-12)
        assert np.allclose(one.velocity(mu), two.velocity(mu), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("build_it", "words"),
    [
        (lambda: mf.Objective(mf.TwoLayer, X, LABELS), "pass an instance"),
        (lambda: mf.Objective(mf.TwoLayer("relu", d=2), np.zeros((0, 2)), []), "X is empty"),
        (lambda: mf.Objective(mf.TwoLayer("relu", d=2), X * np.nan, LABELS), "NaN"),
        (lambda: mf.Objective(mf.TwoLayer("relu", d=3), X, LABELS), r"shape \(n, 3\)"),
        (lambda: mf.Objective(mf.TwoLayer("relu", d=2), X, LABELS[:4]), "one entry per row"),
        (lambda: mf.Objective(mf.TwoLayer("relu", d=2), X, LABELS * np.inf), "NaN or infinite|finite"),
        (lambda: mf.Objective(mf.TwoLayer("relu", d=2), X, LABELS + 0.5, loss="logistic"), "-1|\\+1"),
        (
            lambda: mf.Objective(mf.TwoLayer("relu", d=2), X, np.zeros(15, int), loss="cross_entropy"),
            "outputs=2",
        ),
        (lambda: mf.Objective(mf.TwoLayer("relu", d=2, outputs=2), X, LABELS), "must agree"),
        (lambda: mf.Objective(mf.TwoLayer("relu", d=2), X, LABELS, loss="sqared"), "squared"),
        (lambda: mf.Objective(mf.TwoLayer("relu", d=2), X, LABELS, regularizer=mf.Ridge(-1)), "non-negative"),
        (lambda: mf.Objective(mf.TwoLayer("relu", d=2), X, LABELS, regularizer=mf.Ridge), "pass an instance"),
        (lambda: mf.Objective(mf.TwoLayer("relu", d=2), X, LABELS, sample_weight=-LABELS), "non-negative"),
        (
            lambda: mf.Objective(
                mf.Spikes(1, 2), mf.Spikes(1, 2).codes, np.ones(5), regularizer=mf.PathNorm(1)
            ),
            "Ridge",
        ),
        (lambda: mf.Objective.deconvolution(mf.TwoLayer("relu", d=2), [[1.0]], [1.0]), "Spikes"),
        (lambda: mf.Objective.deconvolution(mf.Spikes(2, 2), [[1.0]], [1.0]), r"\(m0, 2\)"),
        (
            lambda: mf.Objective(mf.SignedSquareReLU(2), X, LABELS, regularizer=mf.PathNorm(1)),
            "use Ridge",
        ),
        (lambda: build(CASES[0]).value(np.ones(3)), "ParticleMeasure"),
        (lambda: build(CASES[0]).first_variation(cloud(build(CASES[0])), np.ones(3)), r"shape \(k, 4\)"),
        (
            lambda: build(CASES[0]).first_variation(cloud(build(CASES[0])), np.ones((3, 4)), signs=[1, 1]),
            "signs must be",
        ),
        (
            lambda: build(CASES[0]).first_variation(cloud(build(CASES[0])), np.ones((3, 4)), signs=0.5),
            "signs must be",
        ),
        (lambda: build(CASES[0]).velocity(mf.ParticleMeasure([[1.0]])), "lives in"),
    ],
)
def test_bad_inputs_are_refused_in_one_sentence(build_it: Any, words: str) -> None:
    with pytest.raises(mf.InputError, match=words) as caught:
        build_it()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("d", [1, 2])
def test_an_objective_keeps_its_own_data(d: int) -> None:
    x, y, weight = X[:, :d].copy(), LABELS.copy(), np.ones(15)
    network = mf.TwoLayer("relu", d=d)
    objective = mf.Objective(network, x, y, sample_weight=weight)
    mu = mf.ParticleMeasure.gaussian(network, 4, rng=0)
    before = objective.value(mu)
    x[:], y[:], weight[3:] = 9.0, 7.0, 0.0
    assert objective.value(mu) == before


def test_one_column_of_targets_is_a_vector() -> None:
    network = mf.TwoLayer("relu", d=2)
    mu = mf.ParticleMeasure.gaussian(network, 4, rng=0)
    assert mf.Objective(network, X, LABELS[:, None]).value(mu) == mf.Objective(network, X, LABELS).value(mu)


def test_path_norm_touches_ridge_at_balance() -> None:
    rng = np.random.default_rng(0)
    network = mf.TwoLayer("relu", d=2)
    path, ridge = mf.PathNorm(0.7).bind(network), mf.Ridge(0.7)
    positions = rng.standard_normal((20, 4))
    assert (path.value(positions) <= ridge.value(positions) + 1e-15).all()
    positions[:, 0] = np.linalg.norm(positions[:, 1:], axis=1)
    assert np.allclose(path.value(positions), ridge.value(positions), rtol=1e-13)
    assert np.allclose(path.gradient(positions), ridge.gradient(positions), rtol=1e-12)
    assert not path.gradient(np.zeros((1, 4))).any()


def test_a_penalty_with_kinks_makes_a_smooth_network_kinked() -> None:
    network = mf.TwoLayer("tanh", d=1)
    X, y = np.array([[0.5], [1.0]]), np.array([0.0, 1.0])
    assert mf.Objective(network, X, y, regularizer=mf.Ridge(0.1)).smooth
    assert not mf.Objective(network, X, y, regularizer=mf.PathNorm(0.1)).smooth
    assert not mf.Objective(mf.TwoLayer("relu", d=1), X, y).smooth

"""Training of the linearization: derivatives by differences, closed forms against methods, limits, both regimes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import meanfield as mf
import solvers
from meanfield._kernels import TwoLayerOnData

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((14, 2)), RNG.standard_normal(14)
NEW = RNG.standard_normal((6, 2))


class Bump:
    """A user's feature map: exp(-|theta - x|^2 / 2) in the plane."""

    dim = 2

    def features(self, positions: Any, X: Any) -> Any:
        return np.exp(-0.5 * ((positions[:, None] - X[None]) ** 2).sum(axis=2))

    def vjp(self, positions: Any, X: Any, q: Any) -> Any:
        return np.einsum("ji,jid->jd", self.features(positions, X) * q, X[None] - positions[:, None])


class LogNorm(NamedTuple):
    """A user's regularizer: log(1 + |theta|^2)."""

    strength: float = 0.1

    def value(self, positions: Any) -> Any:
        return self.strength * np.log1p((positions**2).sum(axis=1))

    def gradient(self, positions: Any) -> Any:
        return 2 * self.strength * positions / (1 + (positions**2).sum(axis=1))[:, None]


def measure(network: Any, m: int = 12, plain: bool = False, seed: int = 1) -> mf.ParticleMeasure:
    rng = np.random.default_rng(seed)
    positions = rng.standard_normal((m, network.dim))
    if plain:
        return mf.ParticleMeasure(positions)
    return mf.ParticleMeasure(positions, rng.random(m) + 0.1, np.where(rng.random(m) < 0.5, -1.0, 1.0))


def case(name: str) -> tuple[mf.Objective, mf.ParticleMeasure]:
    ridge, two = mf.Ridge(0.03), np.column_stack([Y, Y**2])
    if name == "rates":
        network: Any = mf.TwoLayer("tanh", d=2, rates={"a": 3.0}, scale=2.0)
        return mf.Objective(network, X, Y), measure(network)
    if name == "frozen and ridge":
        network = mf.TwoLayer("softplus", d=2, train=("w", "b"), rates={"w": 2.0, "b": 2.0}, scale=4.0)
        return mf.Objective(network, X, Y, regularizer=ridge, centre=measure(network, 5)), measure(network)
    if name == "outputs, weighted":
        network = mf.TwoLayer("erf", d=2, outputs=2)
        weight = np.arange(14.0)
        return mf.Objective(
            network, X, two, mf.SquaredLoss("sum"), ridge, sample_weight=weight, scale=0.3
        ), measure(network)
    if name == "relu":
        network = mf.TwoLayer("relu", d=2, scale=5.0, centre=lambda x: x[:, 0])
        return mf.Objective(network, X, Y, regularizer=ridge), measure(network)
    if name == "spikes":
        spikes = mf.Spikes(2, 2)
        objective = mf.Objective.deconvolution(
            spikes, [[1.0, 2.0], [4.0, 3.0]], [1.0, 0.5], mf.TotalVariation(0.1)
        )
        return objective, measure(spikes)
    return mf.Objective(Bump(), X, Y, regularizer=ridge, scale=3.0), measure(Bump())


CASES = ["rates", "frozen and ridge", "outputs, weighted", "relu", "spikes", "feature map"]


@pytest.mark.parametrize("name", CASES)
def test_the_linearization_is_the_first_order_of_the_network(name: str) -> None:
    objective, at = case(name)
    linear = mf.LinearizedFlow(objective, at).objective
    v = np.random.default_rng(3).standard_normal(at.positions.shape)

    def moved(h: float) -> mf.ParticleMeasure:
        return mf.ParticleMeasure(at.positions + h * v, at.weights, at.signs)

    inputs = objective.X[:6]
    for predict in (lambda o, mu: o.predict(mu), lambda o, mu: o.predict(mu, inputs)):
        assert np.allclose(predict(linear, at), predict(objective, at), rtol=1e-12, atol=1e-13)
        difference = (predict(objective, moved(1e-6)) - predict(objective, moved(-1e-6))) / 2e-6
        slope = predict(linear, moved(1.0)) - predict(linear, at)
        # central differences: 1e-10 from rounding; the kinks of 168 pairs are not within 1e-6
        assert np.allclose(slope, difference, rtol=1e-6, atol=1e-7)
        # linear all the way, up to rounding (the user's map: up to its differences)
        assert np.allclose(predict(linear, moved(2.0)) - predict(linear, at), 2 * slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_the_velocity_descends_the_linearized_objective(name: str) -> None:
    objective, at = case(name)
    flow = mf.LinearizedFlow(objective, at)
    linear, here = flow.objective, mf.ParticleMeasure(at.positions + 0.3, at.weights, at.signs)
    velocity = flow.velocity(here)
    mobility = np.ones(at.dim) if objective.mobility is None else objective.mobility
    gradient = np.empty(at.positions.shape)
    for index in np.ndindex(gradient.shape):
        values = []
        for h in (1e-5, -1e-5):
            shifted = here.positions.copy()
            shifted[index] += h
            values.append(linear.value(mf.ParticleMeasure(shifted, at.weights, at.signs)))
        gradient[index] = (values[0] - values[1]) / 2e-5 / at.weights[index[0]]
    # F is quadratic: differences have no truncation, rounding is 1e-15 F/1e-5 over the least weight of .1
    assert np.allclose(velocity, -mobility * gradient, rtol=1e-5, atol=1e-6 * np.abs(gradient).max())


@pytest.mark.parametrize("name", CASES)
def test_the_closed_form_is_what_methods_find(name: str) -> None:
    objective, at = case(name)
    flow = mf.LinearizedFlow(objective, at, time_unit="alpha")
    run = solvers.integrate(flow, at, 3.0, save=4, keep="all")
    assert run.stats["method"] == "ClosedForm()" and run.stats["steps"] == 3
    steps = solvers.integrate(flow, at, 3.0, save=4, keep="all", method=solvers.DormandPrince(1e-11, 1e-13))
    # Differences of a user's map make its Jacobian inexact to 1e-9.
    for state, other in zip(run.states, steps.states, strict=True):
        assert np.allclose(state.positions, other.positions, rtol=1e-7, atol=1e-7)
    assert np.allclose(run["objective"], steps["objective"], rtol=1e-7, atol=1e-9)
    # From the middle on it is the same solution, and a stiff method solves through the same Jacobian.
    again = solvers.integrate(flow, run.states[2], 3.0, t0=2.0)
    assert np.allclose(again.final.positions, run.final.positions, rtol=1e-9, atol=1e-10)
    stiff = solvers.integrate(flow, at, 3.0, method=solvers.RODAS4(1e-8, 1e-10))
    assert np.allclose(stiff.final.positions, run.final.positions, rtol=1e-5, atol=1e-6)


def test_without_penalty_it_is_kernel_gradient_flow() -> None:
    network = mf.TwoLayer("tanh", d=2)
    at = measure(network, 40, plain=True)
    objective = mf.Objective(network, X, Y, scale=3.0)
    run: Any = solvers.integrate(mf.LinearizedFlow(objective, at), at, 5.0, keep="all", save=[0.0, 1.0, 5.0])
    # K by hand, over the data and the new points
    both = np.vstack([X, NEW])
    rows = np.array([network.vjp(at.positions, x[None], np.ones(1)).reshape(-1) for x in both])
    kernel = 9.0 * rows @ rows.T / at.width
    K, across = kernel[:14, :14], kernel[14:, :14]
    f0, g0 = objective.predict(at), objective.predict(at, NEW)
    values, vectors = np.linalg.eigh(K / 14)
    for t, state in zip(run.t, run.states, strict=True):
        f = Y + vectors @ (np.exp(-values * t) * (vectors.T @ (f0 - Y)))
        assert np.allclose(run.objective.predict(state), f, rtol=1e-10, atol=1e-12)
        weight = vectors @ (-np.expm1(-values * t) / values * (vectors.T @ (Y - f0))) / 14
        assert np.allclose(run.objective.predict(state, NEW), g0 + across @ weight, rtol=1e-8, atol=1e-8)
    assert np.array_equal(run.predict(NEW), run.objective.predict(run.final, NEW))
    # t = infinity is ridgeless regression
    limit = run.flow.limit(at)
    expected = g0 + across @ np.linalg.solve(K, Y - f0)
    assert np.allclose(run.objective.predict(limit), Y, atol=1e-8)
    assert np.allclose(run.objective.predict(limit, NEW), expected, rtol=1e-5, atol=1e-5)


def test_with_ridge_it_ends_at_ridge_regression_in_the_parameters() -> None:
    objective, at = case("frozen and ridge")
    flow = mf.LinearizedFlow(objective, at)
    limit = flow.limit(at)
    assert np.abs(flow.velocity(limit)).max() < 1e-10
    late = solvers.integrate(flow, at, 1e4).final
    assert np.allclose(late.positions, limit.positions, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"loss": mf.LogisticLoss()}, {}),
        ({"regularizer": LogNorm()}, {}),
        ({"regularizer": mf.Ridge(0.1)}, {"rates": {"a": 2.0}}),
    ],
)
def test_other_losses_penalties_and_rates_go_to_methods(settings: Any, options: Any) -> None:
    network = mf.TwoLayer("tanh", d=2, **options)
    at = measure(network, plain=True)
    objective = mf.Objective(network, X, np.sign(Y), scale=5.0, **settings)
    flow = mf.LinearizedFlow(objective, at)
    run = solvers.integrate(flow, at, 3.0, method=solvers.RODAS4(1e-8, 1e-10))
    same = solvers.integrate(flow, at, 3.0, method=solvers.DormandPrince(1e-10, 1e-12))
    assert np.allclose(run.final.positions, same.final.positions, rtol=1e-5, atol=1e-6)
    with pytest.raises(mf.InputError, match="the limit has a closed form for the squared loss only"):
        flow.limit(at)
    with pytest.raises(mf.InputError, match="ClosedForm"):
        solvers.integrate(flow, at, 1.0, method=solvers.ClosedForm())


def test_kinks_are_held_where_they_were() -> None:
    objective, at = case("relu")
    assert isinstance(objective._operator, TwoLayerOnData) and not objective.smooth
    linear = mf.LinearizedFlow(objective, at).objective
    assert linear.smooth and not hasattr(mf.WassersteinFlow(linear).prepare(at), "descend")


def test_duplicated_data_do_not_drift() -> None:
    """Two targets for one input: the mean is reached, the difference has no mode, at any time."""
    network = mf.TwoLayer("tanh", d=2)
    at = measure(network, 30, plain=True)
    objective = mf.Objective(network, np.vstack([X[:5], X[:1]]), np.append(Y[:5], Y[0] + 1.0))
    flow = mf.LinearizedFlow(objective, at)
    late = solvers.integrate(flow, at, 1e12).final
    limit = flow.limit(at)
    for state in (late, limit):
        f = flow.objective.predict(state)
        assert abs(f[0] - (Y[0] + 0.5)) < 1e-8 and abs(f[0] - f[5]) < 1e-9
        assert np.abs(state.positions).max() < 1e3


def test_minibatches_and_euler_steps_follow_the_linearization() -> None:
    objective, at = case("rates")
    flow = mf.LinearizedFlow(objective, at)
    exact = solvers.integrate(flow, at, 1.0)
    euler = solvers.integrate(flow, at, 1.0, method=solvers.Euler(step=1e-3))
    assert np.abs(euler.final.positions - exact.final.positions).max() < 1e-2
    full = exact.sgd(step=1e-3)
    assert np.allclose(full.final.positions, euler.final.positions, rtol=1e-9, atol=1e-10)
    noisy = exact.sgd(step=1e-3, batch=5, rng=0)
    assert np.abs(noisy.final.positions - exact.final.positions).max() < 0.3
    assert "chizat2019lazy" in exact.cite()


def test_the_linearized_twin_of_a_run(tmp_path: Path) -> None:
    network = mf.TwoLayer("tanh", d=2)
    at = mf.ParticleMeasure.gaussian(network, 100, rng=0, doubled=True)
    flow = mf.WassersteinFlow(mf.Objective(network, X, Y, scale=100.0), time_unit="alpha")
    run: Any = solvers.integrate(flow, at, 10.0, save=5, keep="all")
    twin = run.linearized()
    assert (
        np.array_equal(twin.t, run.t) and twin.initial == run.initial and len(twin.states) == len(run.states)
    )
    # 1/scale^2 from a doubled start; measured 1e-4 of targets of order one
    assert np.abs(twin.predict(NEW) - run.predict(NEW)).max() < 1e-3
    apart = mf.compare(run, twin)
    assert apart.sup[-1] == np.abs(twin.predict() - run.predict()).max() < 1e-3
    there = mf.compare(twin, run, X=NEW)
    assert there.sup[-1] == pytest.approx(np.abs(twin.predict(NEW) - run.predict(NEW)).max(), rel=1e-9)
    twin.save(tmp_path / "twin.npz")
    loaded = mf.load(tmp_path / "twin.npz")
    with pytest.raises(mf.InputError, match="attach"):
        mf.compare(run, loaded, X=NEW)
    assert np.array_equal(mf.compare(run, loaded.attach(twin.flow)).sup, apart.sup)


def slope_of_deviation(doubled: bool) -> float:
    network = mf.TwoLayer("tanh", d=2)
    at = mf.ParticleMeasure.gaussian(network, 40, rng=0, doubled=doubled)
    scales = np.array([30.0, 300.0])
    away = []
    for scale in scales:
        objective = mf.Objective(network, X, Y, scale=scale, centre=None if doubled else at)
        flow = mf.WassersteinFlow(objective, time_unit="alpha")
        run: Any = solvers.integrate(flow, at, 3.0, method=solvers.DormandPrince(1e-12, 1e-15))
        away.append(np.linalg.norm(run.predict(NEW) - run.linearized().predict(NEW)))
    return float(np.log(away[1] / away[0]) / np.log(scales[1] / scales[0]))


def test_the_deviation_from_the_kernel_regime_has_its_slopes() -> None:
    """-1 in alpha for a centred ordinary start; -2 for a doubled one, whose second-order term cancels."""
    # the next order is smaller by a factor of 1/alpha, or 1/alpha^2
    assert slope_of_deviation(doubled=False) == pytest.approx(-1.0, abs=0.05)
    assert slope_of_deviation(doubled=True) == pytest.approx(-2.0, abs=0.02)


def test_what_cannot_be_linearized_is_refused_in_one_sentence() -> None:
    network = mf.TwoLayer("tanh", d=2)
    objective, at = mf.Objective(network, X, Y), measure(network, plain=True)
    flow = mf.LinearizedFlow(objective, at)

    class Hat(Bump):
        smooth = False

    population = mf.GaussianPopulation(
        mf.TwoLayer("relu", d=2, bias=False), measure(mf.TwoLayer("relu", 2, bias=False))
    )
    refused: list[tuple[Any, str]] = [
        (lambda: mf.LinearizedFlow(population, at), "needs an Objective on data"),
        (lambda: mf.LinearizedFlow(flow.objective, at), "linearized already"),
        (lambda: mf.LinearizedFlow(objective, measure(Bump())), "coordinates"),
        (lambda: mf.LinearizedFlow(objective, X), "expected a ParticleMeasure"),
        (
            lambda: mf.LinearizedFlow(mf.Objective(Hat(), X, Y), measure(Bump())),
            "has kinks and no jvp",
        ),
        (lambda: solvers.integrate(flow, measure(network, 11), 1.0), "particles of the measure at which"),
        (lambda: flow.objective.first_variation(at, at.positions[:2]), "at its own particles only"),
        (lambda: solvers.integrate(flow, at, 1.0).certificate, "has no certificate"),
        (lambda: flow.objective.potential(), "has no density"),
        (lambda: flow.objective.profiled(0.1), "cannot be profiled"),
        (lambda: solvers.integrate(mf.ConicFlow(flow.objective), at, 1.0), "change masses"),
        (
            lambda: solvers.integrate(mf.LangevinFlow(flow.objective, tau=0.1, entropy=True), at, 1.0),
            "no common density",
        ),
        (lambda: mf.LinearizedFlow(objective, at, time_unit="beta"), "time_unit"),
    ]
    for call, words in refused:
        with pytest.raises(mf.InputError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)

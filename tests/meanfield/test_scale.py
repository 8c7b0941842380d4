"""The factor alpha and the centre on the objective: one rule for every network, and steps that do not depend on it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import meanfield as mf
import solvers

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((12, 2)), RNG.standard_normal(12)


class Bump:
    """A user's feature map, without scale: exp(-|theta - x|^2 / 2) in the plane."""

    dim = 2

    def features(self, positions: Any, X: Any) -> Any:
        return np.exp(-0.5 * ((positions[:, None] - X[None]) ** 2).sum(axis=2))

    def vjp(self, positions: Any, X: Any, q: Any) -> Any:
        return np.einsum("ji,jid->jd", self.features(positions, X) * q, X[None] - positions[:, None])


def networks() -> list[Any]:
    return [mf.TwoLayer("tanh", d=2), mf.TwoLayer("relu", d=2, a=1.0), mf.SignedSquareReLU(2), Bump()]


def cloud(network: Any, m: int = 9, seed: int = 1) -> mf.ParticleMeasure:
    return mf.ParticleMeasure(np.random.default_rng(seed).standard_normal((m, network.dim)))


@pytest.mark.parametrize("network", networks(), ids=lambda network: type(network).__name__)
def test_scale_and_centre_on_the_objective_serve_every_network(network: Any) -> None:
    mu, start = cloud(network), cloud(network, seed=2)
    plain = mf.Objective(network, X, Y)
    objective = mf.Objective(network, X, Y, scale=7.0, centre=start)
    expected = 7.0 * (plain.predict(mu) - plain.predict(start))
    assert np.allclose(objective.predict(mu), expected, rtol=1e-12, atol=1e-13)
    inputs = X[:5] + 0.1
    difference = plain.predict(mu, inputs) - plain.predict(start, inputs)
    assert np.allclose(objective.predict(mu, inputs), 7.0 * difference, rtol=1e-12, atol=1e-13)
    assert np.abs(objective.predict(start)).max() == 0.0
    # One chain rule for all: the velocity is minus the gradient of F, m times that in one particle.
    velocity, h = objective.velocity(mu), 1e-6
    moved = mu.positions + h * velocity
    change = objective.value(mf.ParticleMeasure(moved)) - objective.value(mu)
    assert change == pytest.approx(-h * np.sum(velocity**2) / mu.width, rel=1e-3)
    assert "scale=7" in repr(objective) and "centre=" in repr(objective)
    assert copy.deepcopy(objective).value(mu) == pickle.loads(pickle.dumps(objective)).value(mu)


def test_what_the_objective_says_takes_the_place_of_what_the_network_says() -> None:
    start = cloud(mf.TwoLayer("tanh", d=2))
    network = mf.TwoLayer("tanh", d=2, scale=3.0, centre=start)
    assert mf.Objective(network, X, Y).network is network
    louder = mf.Objective(network, X, Y, scale=5.0).network
    assert (louder.scale, louder.centre) == (5.0, start) and isinstance(louder, mf.TwoLayer)
    moved = mf.Objective(network, X, Y, centre=lambda x: 1.0).network
    assert moved.scale == 3.0 and moved.centre is not start
    twice = mf.Objective(mf.Objective(Bump(), X, Y, scale=2.0).network, X, Y, scale=4.0)
    assert repr(twice.network).count("Rescaled") == 1 and twice.network.scale == 4.0


def test_runs_are_those_of_a_network_with_that_scale() -> None:
    network = mf.TwoLayer("tanh", d=2)
    mu = mf.ParticleMeasure.gaussian(network, 20, rng=0, doubled=True)
    other = mf.Objective(mf.TwoLayer("tanh", d=2, scale=9.0), X, Y)
    flows = [
        mf.WassersteinFlow(o, time_unit="alpha") for o in (mf.Objective(network, X, Y, scale=9.0), other)
    ]
    first, second = (solvers.integrate(flow, mu, 1.0) for flow in flows)
    assert np.array_equal(first["objective"], second["objective"]) and first.final == second.final
    assert flows[0].time_factor == 1 / 81


def test_spikes_with_a_scale_take_no_compiled_path_that_ignores_it() -> None:
    spikes = mf.Spikes(1, 3)
    y = spikes.features(np.array([[1.0], [4.0]]), spikes.codes).sum(axis=0)
    nu = mf.ParticleMeasure(np.linspace(0.1, 6.0, 8)[:, None], np.full(8, 0.1))
    loss, penalty = mf.SquaredLoss("sum"), mf.TotalVariation(0.1)
    objective = mf.Objective(spikes, spikes.codes, y, loss, penalty, scale=2.0)
    run: Any = solvers.integrate(
        mf.ConicFlow(objective, 0.01, 0.01), nu, 20.0, method=solvers.Euler(step=0.1)
    )
    # Masses twice as large under half the penalty and half the mobility of mass: the same network.
    plain = mf.Objective(spikes, spikes.codes, y, loss, mf.TotalVariation(0.05))
    double = mf.ParticleMeasure(nu.positions, 2 * nu.weights)
    same = solvers.integrate(mf.ConicFlow(plain, 0.02, 0.02), double, 20.0, method=solvers.Euler(step=0.1))
    assert np.allclose(same["objective"], run["objective"], rtol=1e-10)
    assert run.certificate.exact  # found by the polynomial, as without a scale


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan, 1e200, 1e-200, "large", True])
def test_scales_that_are_none_are_refused_in_one_sentence(scale: Any) -> None:
    makers: list[Any] = [
        lambda: mf.Objective(mf.TwoLayer("relu", d=2), X, Y, scale=scale),
        lambda: mf.Objective(Bump(), X, Y, scale=scale),
        lambda: mf.TwoLayer("relu", d=2, scale=scale),
        lambda: mf.train(X, Y, width=10, scale=scale),
    ]
    for make in makers:
        with pytest.raises(mf.InputError, match="^scale must") as caught:
            make()
        assert "\n" not in str(caught.value)


def test_a_centre_that_is_none_is_refused() -> None:
    with pytest.raises(mf.InputError, match="centre must be a ParticleMeasure or a function"):
        mf.Objective(mf.TwoLayer("relu", d=2), X, Y, centre=3.0)
    with pytest.raises(mf.InputError, match="centre is a measure on R"):
        mf.Objective(Bump(), X, Y, centre=mf.ParticleMeasure(np.zeros((2, 3))))


@pytest.mark.parametrize(
    ("scale", "t_end"), [(1e-2, 13.0), (0.1, 15.0), (1.0, 30.0), (1e2, 30.0), (1e4, 30.0), (1e8, 30.0)]
)
def test_the_accuracy_of_steps_does_not_depend_on_the_scale(scale: float, t_end: float) -> None:
    """From rich (neurons move by 48 times their size while the loss falls to a tenth) to lazy (by 1e-9 of it)."""
    rng = np.random.default_rng(0)
    inputs, new = rng.standard_normal((30, 3)), rng.standard_normal((20, 3))
    y = np.tanh(inputs[:, 0]) * inputs[:, 1]
    network = mf.TwoLayer("tanh", d=3)
    mu = mf.ParticleMeasure.gaussian(network, 100, rng=0, doubled=True)
    flow = mf.WassersteinFlow(mf.Objective(network, inputs, y, scale=scale), time_unit="alpha")
    run, exact = (
        solvers.integrate(flow, mu, t_end, save=2, method=solvers.DormandPrince(rtol, 1e-3 * rtol))
        for rtol in (1e-6, 1e-8)
    )
    assert run["objective"][-1] < 0.15 * run["objective"][0]
    # Measured 2e-5 at the richest, whose way is longest, 4e-7 at .1 and 3e-8 from 10 on, at a tolerance of 1e-6.
    assert np.abs(run.predict(new) - exact.predict(new)).max() < (1e-4 if scale < 0.1 else 5e-6)
    # No scale that is lazy costs more than another: 26 steps.
    assert scale < 10.0 or run.stats["steps"] + run.stats["rejected"] <= 30

"""Small problems in compiled code against the flows' own velocities and objectives, and replicas of networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest

import meanfield as mf
import solvers
from meanfield import activations
from meanfield.flows.conic import _BoundConic
from meanfield.flows.sgd import _BoundSGD
from meanfield.flows.wasserstein import _BoundWasserstein

RNG = np.random.default_rng(3)
SQUARED = mf.SquaredLoss()
KNOTS = activations.PiecewiseLinear([(-1.0, 0.3), (0.2, -0.4), (1.0, 1.0)])


@contextmanager
def no_programs() -> Iterator[None]:
    """Every run through Python steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_BoundWasserstein, "program", None)
        patch.setattr(_BoundConic, "program", None)
        patch.setattr(_BoundSGD, "program", None)
        yield


def compare(flow: Any, mu: Any, rtol: float = 1e-12) -> None:
    """One Euler step and two values of the objective, compiled and through Python."""
    assert flow.prepare(mu).program is not None
    method = solvers.Euler(step=1e-3)
    mine = solvers.integrate(flow, mu, 1e-3, method=method)
    with no_programs():
        plain = solvers.integrate(flow, mu, 1e-3, method=method)
    assert mine.stats["steps"] == plain.stats["steps"] == 1
    # sums of a few dozen terms of order 1 in another order
    np.testing.assert_allclose(mine["objective"], plain["objective"], rtol=rtol)
    step, wanted = mine.final.positions - mu.positions, plain.final.positions - mu.positions
    size = np.abs(wanted).max()
    np.testing.assert_allclose(step / size, wanted / size, atol=1e3 * rtol)
    np.testing.assert_allclose(mine.final.weights, plain.final.weights, rtol=rtol)


def problem(
    activation: Any, d: int = 2, n: int = 13, m: int = 9, loss: Any = SQUARED, **network: Any
) -> tuple[Any, Any]:
    """An objective on random data and a random measure."""
    net = mf.TwoLayer(activation, d=d, **network)
    X = RNG.standard_normal((n, d))
    y = RNG.standard_normal((n, net.outputs)) if net.outputs > 1 else RNG.standard_normal(n)
    y = np.sign(y) if loss.kind in ("logistic", "exponential", "soft_min_margin") else y
    mu = mf.ParticleMeasure(RNG.standard_normal((m, net.dim)))
    return mf.Objective(net, X, y, loss=loss, regularizer=mf.Ridge(0.1)), mu


# Of each kind one, for each costs a compilation: the parity of all activations is tested with their kernels.
EACH = [activations.ReLU(), activations.LeakyReLU(), activations.Tanh(), activations.Softplus(2.0), KNOTS]


@pytest.mark.parametrize(
    ("activation", "loss", "regularizer"),
    [
        (activations.ReLU(), SQUARED, mf.Ridge(0.3)),
        (activations.Tanh(), mf.SquaredLoss("sum"), mf.Ridge(0.3)),
        (activations.Softplus(2.0), mf.HuberLoss(0.3), mf.TotalVariation(0.2)),
        (activations.LeakyReLU(), mf.SoftMinMargin(), mf.PathNorm(0.3)),
        (KNOTS, mf.LogisticLoss("sum"), None),
    ],
    ids=lambda part: type(part).__name__,
)
def test_activations_losses_and_regularizers(activation: Any, loss: Any, regularizer: Any) -> None:
    """Each once, with and without weights and signs; `-m slow` has each with the same others."""
    objective, mu = problem(activations.resolve(activation), loss=loss)
    network, X, y = objective.network, objective.X, objective.y
    weights, masses, signs = RNG.random(13), RNG.random(9), RNG.choice([-1.0, 1.0], 9)
    compare(mf.WassersteinFlow(mf.Objective(network, X, y, loss, regularizer)), mu)
    weighted = mf.Objective(network, X, y, loss, regularizer, weights)
    compare(mf.WassersteinFlow(weighted), mf.ParticleMeasure(mu.positions, masses, signs))


@pytest.mark.slow
@pytest.mark.parametrize("activation", EACH, ids=lambda a: type(a).__name__)
def test_each_activation(activation: Any) -> None:
    activation = activations.resolve(activation)
    compare(*map_flow(problem(activation)))


def map_flow(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    objective, mu = pair
    return mf.WassersteinFlow(objective), mu


# Each pair takes seconds to compile; two inputs are what the other tests here have, with a bias and without.
INPUTS = [(1, True), (3, True), (4, False), (8, True)]
OTHERS = [(2, False), (2, True), *((d, not bias) for d, bias in INPUTS)]


@pytest.mark.parametrize(
    ("d", "bias"), [*INPUTS, *(pytest.param(*other, marks=pytest.mark.slow) for other in OTHERS)]
)
def test_each_number_of_inputs(d: int, bias: bool) -> None:
    for n, m in [(1, 1), (2, 3), (16, 4), (33, 65)]:
        compare(*map_flow(problem("tanh", d, n, m, bias=bias)))


@pytest.mark.parametrize(
    "network",
    [
        {"outputs": 3},
        {"a": 0.7},
        {"a": -0.7, "bias": False},
        {"scale": 5.0, "centre": mf.ParticleMeasure(RNG.standard_normal((3, 4)))},
        {"scale": 2.0, "centre": lambda X: X[:, 0], "outputs": 1},
        {"train": ("w",)},
        {"train": ("a", "b"), "rates": {"a": 0.2}},
        {"outputs": 2, "scale": 3.0},
    ],
    ids=lambda d: "-".join(d),
)
def test_each_option_of_the_network(network: dict[str, Any]) -> None:
    objective, mu = problem("relu", **network)
    compare(mf.WassersteinFlow(objective), mu)
    compare(mf.WassersteinFlow(objective, time_unit="alpha"), mu)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [mf.SquaredLoss("sum"), mf.HuberLoss(0.3), mf.LogisticLoss("sum"), mf.SoftMinMargin()],
    ids=lambda x: x.kind,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_each_loss(loss: Any, weighted: bool) -> None:
    objective, mu = problem("tanh", loss=loss)
    weights = RNG.random(objective.X.shape[0]) if weighted else None
    objective = mf.Objective(objective.network, objective.X, objective.y, loss, mf.Ridge(0.1), weights)
    compare(mf.WassersteinFlow(objective), mu)


@pytest.mark.slow
@pytest.mark.parametrize(
    "regularizer", [None, mf.Ridge(0.3), mf.PathNorm(0.3), mf.TotalVariation(0.2)], ids=repr
)
@pytest.mark.parametrize("signed", [False, True])
def test_each_regularizer_and_weights_and_signs(regularizer: Any, signed: bool) -> None:
    objective, mu = problem("relu")
    objective = mf.Objective(objective.network, objective.X, objective.y, regularizer=regularizer)
    weights = RNG.random(9)
    signs = RNG.choice([-1.0, 1.0], 9) if signed else None
    compare(mf.WassersteinFlow(objective), mf.ParticleMeasure(mu.positions, weights, signs))


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("retraction", ["mirror", "canonical"])
@pytest.mark.parametrize("signed", [False, True])
def test_conic_flows_of_spikes(dim: int, retraction: str, signed: bool) -> None:
    spikes = mf.Spikes(dim, 3, spectrum=(1.0, 0.8, 0.5, 0.1))
    objective = mf.Objective.deconvolution(
        spikes, RNG.random((3, dim)) * 6, [1.0, -0.5, 2.0], mf.TotalVariation(0.3), mf.HuberLoss(2.0)
    )
    signs = RNG.choice([-1.0, 1.0], 11) if signed else None
    nu = mf.ParticleMeasure(RNG.random((11, dim)) * 2 * np.pi, RNG.random(11), signs)
    flow = mf.ConicFlow(objective, alpha=0.3, beta=0.2, retraction=retraction)
    # the harmonics come by rotation: one rounding a frequency
    compare(flow, nu, rtol=1e-11)
    run = solvers.integrate(flow, [nu, nu], 2.0)[1]
    assert np.array_equal(run.final.positions, solvers.integrate(flow, nu, 2.0).final.positions)


def population(activation: Any, d: int = 2, m: int = 9, **network: Any) -> tuple[Any, Any]:
    """A flow of a Gaussian population and a random measure of unequal masses and signs."""
    net = mf.TwoLayer(activation, d=d, bias=False, **network)
    teacher = mf.ParticleMeasure(RNG.standard_normal((5, net.dim)), RNG.random(5), RNG.choice([-1.0, 1.0], 5))
    mu = mf.ParticleMeasure(RNG.standard_normal((m, net.dim)), RNG.random(m), RNG.choice([-1.0, 1.0], m))
    return mf.WassersteinFlow(mf.GaussianPopulation(net, teacher, mf.Ridge(0.1))), mu


# The value of a population is a difference of sums about ten times as large.
@pytest.mark.parametrize(
    "activation",
    [activations.ReLU(), activations.LeakyReLU(0.3), activations.Erf(), activations.Erf(1.3)],
    ids=repr,
)
@pytest.mark.parametrize("m", [1, 9, 16, 17, 40])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_populations_of_pairs(activation: Any, d: int, m: int) -> None:
    compare(*population(activation, d, m), rtol=1e-11)


@pytest.mark.parametrize(
    "network",
    [{"a": -0.7}, {"scale": 3.0}, {"train": ("w",)}, {"rates": {"a": 0.2}}],
    ids=lambda d: "-".join(d),
)
def test_populations_with_each_option_of_the_network(network: dict[str, Any]) -> None:
    flow, mu = population("relu", **network)
    compare(flow, mu, rtol=1e-11)
    compare(mf.WassersteinFlow(flow.objective, time_unit="alpha"), mu, rtol=1e-11)


def test_a_population_with_a_neuron_at_the_kink_of_its_kernel() -> None:
    for activation in (activations.ReLU(0.5), activations.LeakyReLU(0.3)):
        flow, mu = population(activation)
        positions = np.array(mu.positions)
        positions[[2, 5], 1:] = 0.0
        compare(flow, mu.with_positions(positions), rtol=1e-11)


def test_populations_with_teachers_of_their_own_and_those_without_a_program() -> None:
    pairs = [population("relu", m=m) for m in (6, 6, 20, 6)]
    flows, starts = (list(part) for part in zip(*pairs, strict=True))
    for method in (None, solvers.Euler(step=0.1)):
        together = solvers.integrate(flows, starts, 3.0, method=method, save=5)
        for flow, start, run in zip(flows, starts, together, strict=True):
            alone = solvers.integrate(flow, start, 3.0, method=method, save=5)
            assert np.array_equal(alone.final.positions, run.final.positions)
            assert np.array_equal(alone["objective"], run["objective"])
    for activation, m in (
        ("quadratic", 4),
        ("relu", 2000),
    ):  # moments, and more pairs than a small problem has
        flow, mu = population(activation, m=m)
        assert flow.prepare(mu).program is None


def test_adaptive_steps_of_populations_keep_their_tolerance_as_python_steps_do() -> None:
    flow, mu = population("relu", m=12)
    exact = solvers.integrate(flow, mu, 5.0, method=solvers.DormandPrince(rtol=1e-11, atol=1e-13), save=2)
    method = solvers.DormandPrince(rtol=1e-6, atol=1e-9)
    mine = solvers.integrate(flow, mu, 5.0, method=method, save=2)
    with no_programs():
        plain = solvers.integrate(flow, mu, 5.0, method=method, save=2)
    # one rule of error control: as many steps, up to rounding at the first size
    assert abs(mine.stats["steps"] - plain.stats["steps"]) <= 2
    assert mine.final.positions == pytest.approx(exact.final.positions, abs=1e-5)


class Bump(NamedTuple):
    """A user's activation."""

    width: float = 1.0

    def value(self, z: float) -> float:
        return np.exp(-z * z / self.width)

    def slope(self, z: float) -> float:
        return -2.0 * z / self.width * np.exp(-z * z / self.width)


def test_a_users_activation_runs_compiled() -> None:
    compare(*map_flow(problem(Bump(2.0))))


class Quartic(NamedTuple):
    """A user's regularizer without a compiled form."""

    strength: float = 0.1

    def value(self, positions: Any) -> Any:
        return self.strength * np.sum(positions**4, axis=1)

    def gradient(self, positions: Any) -> Any:
        return 4 * self.strength * positions**3


def test_what_has_no_compiled_form_runs_all_the_same() -> None:
    objective, mu = problem("tanh")
    objective = mf.Objective(objective.network, objective.X, objective.y, regularizer=Quartic())
    flow = mf.WassersteinFlow(objective)
    assert flow.prepare(mu).program is None
    runs = solvers.integrate(flow, [mu, mu], 0.5)
    assert np.array_equal(runs[0].final.positions, runs[1].final.positions)


@pytest.mark.parametrize("method", [None, solvers.RK4(step=0.05), solvers.BogackiShampine()], ids=repr)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_replicas_with_data_of_their_own(method: Any, activation: str) -> None:
    flows, starts = [], []
    for seed in range(6):
        X, y = mf.data.relu_teacher(n=20, d=2, neurons=3, rng=seed)
        network = mf.TwoLayer(activation, d=2)
        flows.append(mf.WassersteinFlow(mf.Objective(network, X, y)))
        starts.append(mf.ParticleMeasure.gaussian(network, width=20 if seed < 4 else 30, rng=seed))
    together = solvers.integrate(flows, starts, 5.0, method=method, save=7)
    for flow, start, run in zip(flows, starts, together, strict=True):
        alone = solvers.integrate(flow, start, 5.0, method=method, save=7)
        assert np.array_equal(alone.final.positions, run.final.positions)
        assert np.array_equal(alone["objective"], run["objective"])
        assert alone.stats["evaluations"] == run.stats["evaluations"]
        assert run.flow is flow and run.provenance["configuration"] == alone.provenance["configuration"]


@pytest.mark.parametrize(
    ("loss", "network", "batch"),
    [
        (mf.SquaredLoss(), {}, 7),
        (mf.SquaredLoss("sum"), {"outputs": 2, "scale": 2.0}, 1),
        (mf.SquaredLoss(), {}, 16),
    ],
    ids=["mean", "sum of two outputs", "whole vectors"],
)
def test_stochastic_gradient_descent(loss: Any, network: dict[str, Any], batch: int) -> None:
    objective, mu = problem("tanh", loss=loss, n=40, **network)
    sgd = mf.SGD(objective, step=1e-3, batch=batch, rng=5)
    assert sgd.prepare(mu).program is not None
    mine = solvers.integrate(sgd, mu, 0.05, save=6)
    with no_programs():
        plain = solvers.integrate(sgd, mu, 0.05, save=6)
    # fifty steps, each rounding its sums in another order
    np.testing.assert_allclose(mine.final.positions, plain.final.positions, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(mine["objective"], plain["objective"], rtol=1e-11)
    several = [mf.SGD(objective, step=1e-3, batch=batch, rng=seed) for seed in (4, 5, 6)]
    together = solvers.integrate(several, [mu] * 3, 0.05, save=6)
    assert np.array_equal(together[1].final.positions, mine.final.positions)
    assert not np.array_equal(together[0].final.positions, mine.final.positions)
    watched = solvers.integrate(sgd, mu, 0.05, save=6, until=lambda state: False)
    assert np.array_equal(watched.final.positions, mine.final.positions)


def test_batches_are_the_same_numbers_for_everybody() -> None:
    objective, _ = problem("tanh", n=1000)
    one, other = (mf.SGD(objective, step=0.1, batch=50, rng=3) for _ in range(2))
    for k in (0, 1, 7, 10**6):
        assert np.array_equal(one.batch_at(k).X, other.batch_at(k).X)
    assert not np.array_equal(one.batch_at(0).X, one.batch_at(1).X)
    drawn = np.concatenate([one.batch_at(k).y for k in range(400)])
    # 20000 draws of 1000 data: the mean of a standardized value is off by 1/sqrt(20000) = .007
    assert abs((drawn.mean() - objective.y.mean()) / objective.y.std()) < 4 * 0.0071

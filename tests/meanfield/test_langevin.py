"""Mean-field Langevin flows of networks: closed forms, compiled against plain steps, entropies, annealing.

Seeds are fixed; Monte Carlo tolerances are four standard deviations of the estimate, computed beside them.
"""

from __future__ import annotations

import numpy as np
import pytest

import meanfield as mf
import solvers
from solvers.errors import InputError
from solvers.testing import check_flow

DEVIATIONS = 4.0


def linear(lam, rates=None):
    """F = (int theta - 1.5)^2/2 + (lam/2) int theta^2."""
    network = mf.TwoLayer(mf.Identity(), d=1, bias=False, train=("w",), a=1.0, rates=rates)
    return mf.Objective(network, [[1.0]], [1.5], regularizer=mf.Ridge(lam))


def tanh_problem():
    X = np.linspace(-2, 2, 16)[:, None]
    network = mf.TwoLayer(mf.Tanh(), d=1, bias=False, train=("w",), a=1.0)
    return mf.Objective(network, X, 0.8 * np.sin(1.5 * X[:, 0]), regularizer=mf.Ridge(0.1))


def gaussian(m, mean=1.0, variance=0.25, seed=0, p=1):
    return mf.ParticleMeasure(mean + np.sqrt(variance) * np.random.default_rng(seed).standard_normal((m, p)))


# -- closed forms ---------------------------------------------------------------------------------------------


def test_linear_flow_rests_at_a_gaussian_and_gets_there_at_its_rates():
    """Law at rest N(y/(1 + lam), tau/lam); the mean moves at rate 1 + lam, the variance at 2 lam: at every save."""
    lam, tau, y, m, replicas = 0.5, 0.1, 1.5, 4000, 16
    flow = mf.LangevinFlow(linear(lam), tau=tau, rng=1)
    starts = [gaussian(m, seed=i) for i in range(replicas)]
    runs = solvers.integrate(
        flow,
        starts,
        4.0,
        method=solvers.StochasticHeun(0.05),
        save=[1.0, 2.0, 4.0],
        record={"mean": lambda mu: mu.positions.mean(), "variance": lambda mu: mu.positions.var()},
    )
    t = runs[0].t
    mean = y / (1 + lam) + (1.0 - y / (1 + lam)) * np.exp(-(1 + lam) * t)
    variance = tau / lam + (0.25 - tau / lam) * np.exp(-2 * lam * t)
    count = m * replicas
    found = {name: np.mean([run[name] for run in runs], axis=0) for name in ("mean", "variance")}
    # Heun at h (1 + lam) = .075: below 5e-4
    assert (np.abs(found["mean"] - mean) < DEVIATIONS * np.sqrt(variance / count) + 5e-4).all()
    assert (np.abs(found["variance"] - variance) < DEVIATIONS * variance * np.sqrt(2 / count) + 5e-4).all()


def test_free_energy_of_the_linear_flow_at_rest():
    """F + tau int mu log mu of N(y/(1 + lam), tau/lam), in closed form, from particles and their neighbours."""
    lam, tau, y, m = 0.5, 0.1, 1.5, 2000
    flow = mf.LangevinFlow(linear(lam), tau=tau, rng=1)
    mean, variance = y / (1 + lam), tau / lam
    run = solvers.integrate(
        flow, gaussian(m, mean, variance), 2.0, method=solvers.LeimkuhlerMatthews(0.1), save=21
    )
    exact = (
        (mean - y) ** 2 / 2 + lam / 2 * (mean**2 + variance) - tau * 0.5 * np.log(2 * np.pi * np.e * variance)
    )
    # log mu has variance 1/2, log eps_k about 1/3; F at rest to first order does not see the mean
    deviation = tau * np.sqrt(0.5 + 1 / 3) / np.sqrt(m) + lam / 2 * variance * np.sqrt(2 / m)
    assert np.abs(run["free_energy"] - exact).max() < DEVIATIONS * deviation
    assert run["free_energy"][-1] == flow.free_energy(run.final)
    assert flow.free_energy(run.final) == pytest.approx(
        run["objective"][-1] - tau * flow.entropy_of(run.final), rel=1e-12
    )


def test_rates_of_layers_do_not_change_the_law_at_rest():
    lam, tau, m = 0.5, 0.1, 20_000
    flow = mf.LangevinFlow(linear(lam, rates={"w": 4.0}), tau=tau)
    assert flow.prepare(gaussian(5)).mobility == [4.0]
    end = solvers.integrate(flow, gaussian(m), 3.0, method=solvers.LeimkuhlerMatthews(0.05), save=2).final
    # eight times exp(-2 lam t) of the start are left: 6e-6; the scheme is exact here
    assert abs(end.positions.var() / (tau / lam) - 1) < DEVIATIONS * np.sqrt(2 / m)
    assert abs(end.positions.mean() - 1.0) < DEVIATIONS * np.sqrt(tau / lam / m)


@pytest.mark.usefixtures("step_by_step")
def test_layers_that_do_not_train_stay_where_they_are():
    network = mf.TwoLayer(mf.Tanh(), d=2, train=("w",))
    objective = mf.Objective(network, np.eye(2), [1.0, -1.0], regularizer=mf.Ridge(0.1))
    start = mf.ParticleMeasure.gaussian(network, 30, rng=0)
    for method in (solvers.EulerMaruyama(0.1), solvers.BAOAB(0.1)):
        end = solvers.integrate(mf.LangevinFlow(objective, 0.1), start, 1.0, method=method).final
        assert np.array_equal(end.a, start.a) and np.array_equal(end.b, start.b)
        assert np.abs(end.w - start.w).min() > 0


def test_the_clock_of_lazy_training_keeps_the_law_at_rest():
    """time_unit="alpha": drift and the temperature of the noise are divided by scale^2 alike."""
    network = mf.TwoLayer(mf.Tanh(), d=1, bias=False, train=("w",), a=1.0, scale=3.0)
    objective = mf.Objective(network, [[1.0]], [0.5], regularizer=mf.Ridge(0.5))
    start = gaussian(200)
    flow, slow = (mf.LangevinFlow(objective, 0.1, rng=2, time_unit=unit) for unit in ("flow", "alpha"))
    one = solvers.integrate(flow, start, 1.0, method=solvers.EulerMaruyama(0.1))
    two = solvers.integrate(slow, start, 9.0, method=solvers.EulerMaruyama(0.9))
    # the same numbers in another order of rounding
    assert np.abs(one.final.positions - two.final.positions).max() < 1e-12


class Pole:
    """F(mu) = int <v, x> dmu on the sphere: at rest x has the density exp(-<v, x>/tau) there."""

    space = solvers.Sphere(3)

    def value(self, measure):
        return float(measure.weights @ measure.positions[:, 2])

    def first_variation(self, measure, positions, signs=None):
        return positions[:, 2]


def test_the_law_at_rest_on_the_sphere():
    """von Mises and Fisher: E <v, x> = 1/kappa - coth kappa with kappa = 1/tau."""
    m, tau = 20_000, 0.5
    start = mf.ParticleMeasure(solvers.Sphere(3).sample("uniform", m, 0))
    flow = mf.LangevinFlow(Pole(), tau, rng=0)
    run = solvers.integrate(flow, start, 6.0, method=solvers.EulerMaruyama(0.02), save=2)
    assert np.abs(np.linalg.norm(run.final.positions, axis=1) - 1).max() < 1e-12
    exact = tau - 1 / np.tanh(1 / tau)
    # the start is .54 away, of which at most e^(-2 tau t) is left: 1e-3; the scheme is of order 1: h tau
    assert abs(run["objective"][-1] - exact) < DEVIATIONS * 0.4 / np.sqrt(m) + 0.01
    assert "free_energy" not in run
    with pytest.raises(InputError, match="EulerMaruyama"):
        solvers.integrate(flow, start, 1.0, method=solvers.StochasticHeun(0.1))
    with pytest.raises(InputError, match="entropies are estimated in flat spaces"):
        flow.free_energy(start)


def test_populations_and_flows_without_noise_go_together():
    network = mf.TwoLayer(mf.ReLU(), d=2, bias=False)
    teacher = mf.ParticleMeasure.gaussian(network, 2, rng=1)
    population = mf.GaussianPopulation(network, teacher, mf.Ridge(0.1))
    start = mf.ParticleMeasure.gaussian(network, 20, rng=0)
    hot = solvers.integrate(mf.LangevinFlow(population, 0.01), start, 1.0, method=solvers.EulerMaruyama(0.1))
    assert np.isfinite(hot["objective"]).all()
    objective = mf.Objective(network, np.eye(2), [1.0, -1.0])
    noisy = solvers.integrate(mf.LangevinFlow(objective, 0.01), start, 1.0, method=solvers.EulerMaruyama(0.1))
    quiet = solvers.integrate(mf.WassersteinFlow(objective), start, 1.0)
    assert (
        mf.compare(noisy, quiet).objective_difference[-1] == noisy["objective"][-1] - quiet["objective"][-1]
    )
    assert "mei2018" in noisy.cite()
    assert "step" in check_flow(mf.LangevinFlow(objective, 0.01), start)


# -- compiled runs, replicas, resumption ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [solvers.EulerMaruyama(0.07), solvers.StochasticHeun(0.07), solvers.LeimkuhlerMatthews(0.07)],
    ids=lambda method: type(method).__name__,
)
def test_compiled_runs_are_the_steps_written_in_python(method):
    objective, start = tanh_problem(), gaussian(100)
    flow = mf.LangevinFlow(objective, tau=0.02, rng=3)
    stepwise = mf.LangevinFlow(objective, tau=lambda t: 0.02, rng=3)  # a schedule is not compiled
    assert flow.prepare(start).program is not None and stepwise.prepare(start).program is None
    # t_end is no whole number of steps: the last is short
    one, two = (solvers.integrate(f, start, 3.0, method=method) for f in (flow, stepwise))
    assert one.stats["steps"] == two.stats["steps"] == 43
    assert np.abs(one.final.positions - two.final.positions).max() < 1e-12  # rounding
    assert np.abs(one["objective"] - two["objective"]).max() < 1e-12
    assert (two["temperature"] == 0.02).all()
    assert one["free_energy"][-1] == pytest.approx(two["objective"][-1] - 0.02 * two["entropy"][-1], abs=1e-9)


def test_replicas_have_noise_of_their_own_and_the_bits_of_a_solo_run():
    flow, start = mf.LangevinFlow(tanh_problem(), s=0.04, rng=3), gaussian(60)
    method = solvers.EulerMaruyama(0.1)
    runs = solvers.integrate(flow, [start] * 4, 2.0, method=method)
    assert runs[0].stats["replicas"] == 4
    for i, run in enumerate(runs):
        assert run.final == solvers.integrate(flow.replica(i), start, 2.0, method=method).final
        assert "free_energy" not in run  # asked for by entropy=True only: it would cost more than the run
    assert runs[0].final == solvers.integrate(flow, start, 2.0, method=method).final
    ends = np.array([run.final.positions[:, 0] - start.positions[:, 0] for run in runs])
    assert np.abs(np.corrcoef(ends) - np.eye(4)).max() < 0.6  # independent but for the drift: deviation .13
    asked = mf.LangevinFlow(tanh_problem(), s=0.04, rng=3, entropy=True)
    assert "free_energy" in solvers.integrate(asked, [start] * 2, 2.0, method=method)[1]


@pytest.mark.parametrize(
    "method", [solvers.EulerMaruyama(0.1), solvers.BAOAB(0.1, 2.0)], ids=lambda m: m.name
)
def test_stopped_and_resumed_ends_in_the_same_bits(method, tmp_path):
    def run(**options):
        flow = mf.LangevinFlow(tanh_problem(), tau=0.02, rng=3)
        return solvers.integrate(flow, gaussian(40), 2.0, method=method, save=6, **options)

    whole, path = run(), tmp_path / "run.npz"
    run(max_steps=7, observers=[solvers.Checkpoint(path, steps=1)])
    resumed = run(resume=path)
    assert resumed.final == whole.final
    for name in whole.names:
        assert np.array_equal(resumed[name], whole[name]), name


# -- entropy --------------------------------------------------------------------------------------------------


def test_entropy_on_a_torus_is_periodic():
    """Uniform on (0, 2 pi)^2: log (2 pi)^2, wherever particles have wandered."""
    net = mf.Spikes(dim=2, frequencies=1)
    objective = mf.Objective.deconvolution(net, positions=[[1.0, 2.0]], weights=[1.0])
    rng = np.random.default_rng(0)
    points = 2 * np.pi * rng.random((3000, 2))
    flow = mf.LangevinFlow(objective, 0.1)
    found = flow.entropy_of(mf.ParticleMeasure(points))
    # Var log eps^2 = psi'(3) = .39; no boundary, so no bias
    assert abs(found - 2 * np.log(2 * np.pi)) < DEVIATIONS * np.sqrt(0.4 / 3000)
    moved = mf.ParticleMeasure(points + 2 * np.pi * rng.integers(-3, 4, points.shape))
    assert abs(flow.entropy_of(moved) - found) < 1e-9


def test_entropy_is_that_of_the_coordinates_that_train():
    network = mf.TwoLayer(mf.Tanh(), d=1, bias=False, train=("w",))
    objective = mf.Objective(network, [[1.0]], [1.0])
    w = np.random.default_rng(1).standard_normal((500, 1))
    flow = mf.LangevinFlow(objective, 0.1)
    held = mf.ParticleMeasure(np.hstack([np.full((500, 1), 2.0), w]))
    assert flow.entropy_of(held) == mf.ParticleMeasure(w).entropy()
    mixed = mf.ParticleMeasure(np.hstack([w[::-1], w]))
    with pytest.raises(InputError, match="do not train differ"):
        flow.entropy_of(mixed)
    with pytest.raises(InputError, match="entropy=True: coordinates that do not train"):
        mf.LangevinFlow(objective, 0.1, entropy=True).prepare(mixed)
    assert flow.prepare(mixed).records == {}


# -- annealing ------------------------------------------------------------------------------------------------


def test_annealing_ends_lower_than_no_noise():
    """E12: MMD to ten Diracs on the torus; tau_k = 20/(k + 1) in iteration k, off for the last fifth.

    Measured over ten draws: MMD^2 = .0124 annealed, .164 without noise.
    """
    network = mf.Spikes(dim=2, frequencies=5, spectrum=[1 / (1 + k) for k in range(6)])
    h, count = 0.08, 1000
    tau = solvers.Cooling(20.0, rate=1 / h, off_after=0.8 * count * h)
    ends = []
    for draw in range(3):
        rng = np.random.default_rng(draw)
        objective = mf.Objective.deconvolution(network, 2 * np.pi * rng.random((10, 2)), np.full(10, 0.1))
        start = mf.ParticleMeasure(2 * np.pi * rng.random((50, 2)))
        noisy = solvers.integrate(
            mf.LangevinFlow(objective, tau, rng=draw),
            start,
            count * h,
            method=solvers.EulerMaruyama(h),
            save=2,
        )
        quiet = solvers.integrate(
            mf.WassersteinFlow(objective), start, count * h, method=solvers.Euler(h), save=2
        )
        assert noisy["temperature"].tolist() == [20.0, 0.0]
        ends.append((noisy["objective"][-1], quiet["objective"][-1]))
    annealed, none = np.mean(ends, axis=0)
    assert annealed < 0.5 * none


# -- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau": 0.1, "s": 0.2}, "pass one of them"),
        ({}, "needs tau, or s = 2 tau"),
        ({"tau": 0.0}, "integrate that one .WassersteinFlow"),
        ({"tau": -1}, "tau must be positive"),
        ({"tau": 0.1, "entropy": 3}, "entropy must be True, False or None"),
        ({"tau": 0.1, "time_unit": "hours"}, "time_unit must be one of"),
    ],
)
def test_arguments_that_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        mf.LangevinFlow(tanh_problem(), **arguments)


def test_runs_that_are_refused():
    flow, start = mf.LangevinFlow(tanh_problem(), 0.1), gaussian(10)
    with pytest.raises(InputError, match="needs a method with a step"):
        solvers.integrate(flow, start, 1.0)
    with pytest.raises(InputError, match="RKC2 sizes its own steps"):
        solvers.integrate(flow, start, 1.0, method=solvers.RKC2())
    with pytest.raises(InputError, match="ParticleMeasure"):
        solvers.integrate(flow, np.ones(3), 1.0, method=solvers.EulerMaruyama(0.1))
    with pytest.raises(InputError, match="'free_energy' is already recorded"):
        solvers.integrate(flow, start, 1.0, method=solvers.EulerMaruyama(0.1), record={"free_energy": len})
    with pytest.raises(InputError, match="equal weights"):
        flow.free_energy(mf.ParticleMeasure([[1.0], [2.0]], weights=[0.4, 0.6]))
    with pytest.raises(InputError, match="say at which one with t="):
        mf.LangevinFlow(tanh_problem(), lambda t: 0.1).free_energy(start)
    with pytest.raises(InputError, match="nan at t = 0"):
        cold = mf.LangevinFlow(tanh_problem(), lambda t: np.nan)
        solvers.integrate(cold, start, 1.0, method=solvers.EulerMaruyama(0.1))


def test_few_particles_run_without_an_entropy_that_nobody_asked_for() -> None:
    network = mf.Spikes(1, 2)
    objective = mf.Objective.deconvolution(network, [1.0], [1.0])
    three = mf.ParticleMeasure([[0.0], [1.0], [2.0]])
    method = solvers.EulerMaruyama(0.1)
    run = solvers.integrate(mf.LangevinFlow(objective, 0.1), three, 0.4, method=method)
    assert run.names == ("objective",)
    with pytest.raises(InputError, match="more than 3 particles"):
        solvers.integrate(mf.LangevinFlow(objective, 0.1, entropy=True), three, 0.4, method=method)

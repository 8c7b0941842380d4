"""Exact solutions (theory of particle flows): what every flow and objective must reproduce."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import meanfield as mf
import solvers


@pytest.mark.parametrize("frequencies", [2, 5])
@pytest.mark.parametrize("penalty", [0.1, 0.3, 1.0])
def test_one_spike_is_shrunk(frequencies: int, penalty: float) -> None:
    """w delta with penalty lam: w_hat = w - lam/phi(0), J* = lam w - lam^2/(2 phi(0)), phi(0) = 2 nf + 1."""
    w, top = 1.0, 2 * frequencies + 1
    objective = mf.Objective.deconvolution(
        mf.Spikes(1, frequencies), [[np.pi]], [w], regularizer=mf.TotalVariation(penalty)
    )
    best = mf.ParticleMeasure([[np.pi]], [w - penalty / top])
    exact = penalty * w - penalty**2 / (2 * top)
    # Closed forms evaluated in floating point.
    assert np.isclose(objective.value(best), exact, rtol=1e-13)
    certificate = objective.certificate(best)
    assert certificate.exact and certificate.gap < 1e-11
    start = mf.ParticleMeasure.grid(mf.Spikes(1, frequencies).space, 24).replace(weights=np.full(24, 1 / 24))
    # Steps within the stability limits 2/(4 phi(0) mass) of masses and 2/|phi''(0)| of positions.
    alpha, beta = 0.1 / top, 0.2 / (2 * sum(k * k for k in range(1, frequencies + 1)))
    run = solvers.integrate(
        mf.ConicFlow(objective, alpha, beta), start, t_end=5000, method=solvers.Euler(step=1.0), save=2
    )
    # Exponential convergence: what is left at iteration 5000 was measured at most 5e-10 (lam = .1, 5 frequencies).
    assert -1e-14 <= run["objective"][-1] - exact < 2e-9


def test_spike_flow_limit_is_exact_on_the_true_support() -> None:
    objective = mf.Objective.deconvolution(
        mf.Spikes(1, 2), [[np.pi]], [1.0], regularizer=mf.TotalVariation(0.3)
    )
    start = mf.ParticleMeasure([[np.pi]], [0.2])
    run = solvers.integrate(mf.ConicFlow(objective, 0.05, 0.05), start, 2000, method=solvers.Euler(step=1.0))
    # w' = -4 alpha w (5 w - 5 + .3) contracts by exp(-4 * .05 * 4.7) an iteration: converged to rounding.
    assert np.isclose(run.final.weights[0], 1 - 0.3 / 5, rtol=1e-13)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("m", [1, 4, 30])
def test_quadratic_activation_closes_on_second_moments(d: int, m: int) -> None:
    """M' = -2 [(2 S + tr S I) M + M (2 S + tr S I)], S = M - M*, exact for every m; R = (2 |S|^2 + tr^2 S)/2."""
    rng = np.random.default_rng(d + m)
    network = mf.TwoLayer("quadratic", d=d, bias=False, a=1.0)
    teacher = mf.ParticleMeasure(rng.standard_normal((2, d)))
    objective = mf.GaussianPopulation(network, teacher)
    mu = mf.ParticleMeasure(0.7 * rng.standard_normal((m, d)))
    target = teacher.positions.T @ teacher.positions / 2

    def moment(nu: Any) -> Any:
        return nu.positions.T @ nu.positions / m

    def velocity(M: Any) -> Any:
        S = M - target
        A = 2 * S + np.trace(S) * np.eye(d)
        return -2 * (A @ M + M @ A)

    method = solvers.DormandPrince(rtol=1e-10, atol=1e-12)
    run = solvers.integrate(
        mf.WassersteinFlow(objective), mu, 0.3, method=method, record={"M": moment}, save=7
    )
    exact = solvers.integrate(velocity, moment(mu), 0.3, method=method, save=7, keep="all")
    # Both integrated at 1e-10; the flow controls the error of f, M follows within a few hundred times that.
    assert np.abs(run["M"] - np.array(exact.states)).max() < 1e-7
    S = run["M"] - target
    risk = 0.5 * (2 * np.sum(S**2, axis=(1, 2)) + np.trace(S, axis1=1, axis2=2) ** 2)
    assert np.allclose(run["objective"], risk, rtol=1e-10, atol=1e-13)


def test_quadratic_activation_in_one_dimension_is_logistic() -> None:
    """q(t) = q*/(1 + (q*/q0 - 1) e^{-12 q* t})."""
    network = mf.TwoLayer("quadratic", d=1, bias=False, a=1.0)
    target, start = 0.8, 0.05
    objective = mf.GaussianPopulation(network, mf.ParticleMeasure([[np.sqrt(target)]]))
    mu = mf.ParticleMeasure([[np.sqrt(start)]] * 3)
    run = solvers.integrate(
        mf.WassersteinFlow(objective),
        mu,
        1.0,
        method=solvers.DormandPrince(rtol=1e-11, atol=1e-13),
        record={"q": lambda nu: nu.moments().mean[0] ** 2},
    )
    exact = target / (1 + (target / start - 1) * np.exp(-12 * target * run.t))
    assert (
        np.abs(run["q"] - exact).max() < 1e-8
    )  # tolerance 1e-11, growth rate 12 q* over the unstable stretch


@pytest.mark.parametrize(("a", "w"), [((0.3, 0.3), (0.3, 0.2)), ((3.0, -2.0), (0.5, 0.8))])
def test_scalar_linear_network(a: tuple[float, ...], w: tuple[float, ...]) -> None:
    """q = int a w, s = int (a^2 + w^2): c = s^2 - 4 q^2 is conserved, q' = -(q - q*) sqrt(4 q^2 + c)."""
    network = mf.TwoLayer("identity", d=1, bias=False)
    target = 1.5
    # x = +-1: E x^2 = 1.
    objective = mf.Objective(network, [[1.0], [-1.0]], [target, -target])
    mu = mf.ParticleMeasure.from_arrays(a=a, w=w)
    run = solvers.integrate(
        mf.WassersteinFlow(objective),
        mu,
        3.0,
        method=solvers.DormandPrince(rtol=1e-10, atol=1e-12),
        record={
            "q": lambda nu: float(np.mean(nu.a * nu.w[:, 0])),
            "s": lambda nu: float(np.mean(nu.a**2 + nu.w[:, 0] ** 2)),
        },
    )
    c = run["s"] ** 2 - 4 * run["q"] ** 2
    assert np.ptp(c) < 1e-7 * max(1.0, c[0])  # conserved to the accuracy of the integration
    exact = solvers.integrate(
        lambda q: -(q - target) * np.sqrt(4 * q**2 + c[0]),
        np.array([run["q"][0]]),
        3.0,
        method=solvers.DormandPrince(rtol=1e-11, atol=1e-13),
        keep="all",
    )
    assert np.abs(run["q"] - np.array(exact.states)[:, 0]).max() < 1e-7


class LinearLangevin:
    """F = (int x - y)^2/2 + lam/2 int x^2 at temperature tau, as a user writes a stochastic flow."""

    kind = "sde"

    def __init__(self, y: float, lam: float, tau: float, seed: int) -> None:
        self.y, self.lam, self.tau, self.seed = y, lam, tau, seed

    def pack(self, state: Any) -> Any:
        return np.array(state, dtype=np.float64)

    def unpack(self, z: Any, like: Any) -> Any:
        return z.copy()

    def step(self, z: Any, h: float, k: int) -> None:
        noise = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, k])).standard_normal(
            z.size
        )
        z += -h * ((z.mean() - self.y) + self.lam * z) + np.sqrt(2 * self.tau * h) * noise


def test_linear_langevin_relaxes_to_its_gaussian() -> None:
    """Stationary N(y/(1 + lam), tau/lam); the mean relaxes at rate 1 + lam, the variance at 2 lam."""
    y, lam, tau, m, h = 2.0, 0.5, 0.3, 40_000, 0.01
    run = solvers.integrate(
        LinearLangevin(y, lam, tau, seed=1),
        np.full(m, -1.0),
        4.0,
        method=solvers.Euler(step=h),
        record={"mean": np.mean, "variance": np.var},
    )
    limit = y / (1 + lam)
    mean = limit + (-1.0 - limit) * np.exp(-(1 + lam) * run.t)
    variance = tau / lam * (1 - np.exp(-2 * lam * run.t))
    # Euler's bias: h/2 * rate (mean: .0075 * 2.3 * 1.5/e = .01; variance .5 %); sampling: 4 sqrt(.6/m) = .016
    # for the mean (damped: fluctuations of the mean have variance tau/((1+lam) m)) and 4 sqrt(2/m) .6 = .017.
    assert np.abs(run["mean"] - mean).max() < 0.02
    assert np.abs(run["variance"] - variance).max() < 0.02


def lazy_deviation(scale: float, doubled: bool) -> float:
    """sup_t |f_alpha(t) - f_kernel(t)|, RMS over the data, on the clock of lazy training."""
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((8, 2)), rng.standard_normal(8)
    plain = mf.TwoLayer("tanh", d=2)
    mu = mf.ParticleMeasure.gaussian(plain, 60, rng=1, doubled=doubled)
    network = mf.TwoLayer("tanh", d=2, scale=scale, centre=None if doubled else mu)
    objective = mf.Objective(network, X, y)
    run = solvers.integrate(
        mf.WassersteinFlow(objective, time_unit="alpha"),
        mu,
        6.0,
        method=solvers.DormandPrince(rtol=1e-9, atol=1e-12),
        record={"f": objective.predict},
        save=13,
    )
    values, vectors = np.linalg.eigh(mf.kernels.empirical(network, mu, X) / 8)
    decay = np.exp(-np.outer(run.t, values))
    kernel = y + (decay * (vectors.T @ -y)) @ vectors.T
    return float(np.sqrt(np.mean((run["f"] - kernel) ** 2, axis=1)).max())


@pytest.mark.parametrize(("doubled", "slope"), [(False, -1.0), (True, -2.0)])
def test_large_scales_follow_the_kernel_flow(doubled: bool, slope: float) -> None:
    """f(t) = y + e^{-Kt/n}(f0 - y), with deviation of order 1/alpha, and 1/alpha^2 from a doubled start."""
    scales = np.array([20.0, 40.0, 80.0])
    deviations = np.array([lazy_deviation(float(s), doubled) for s in scales])
    fitted = np.polyfit(np.log(scales), np.log(deviations), 1)[0]
    # Corrections of the next order, 1/alpha relative: measured slopes -1.00 and -2.00 within .02.
    assert abs(fitted - slope) < 0.05, (deviations, fitted)


@pytest.mark.parametrize("d", [2, 10])
def test_relu_fluctuation_at_the_start(d: int) -> None:
    """E|f_m(x)|^2 = |x|^2/(2 d m) for w uniform on the sphere and random signs: exact constant, slope -1."""
    network = mf.TwoLayer("relu", d=d, bias=False)
    x = np.full((1, d), 0.8)
    exact = float(np.sum(x**2)) / (2 * d)
    for m in (10, 100):
        draws = 4000
        mu = mf.ParticleMeasure.sphere(network, draws * m, rng=m)
        f = network.features(mu.positions, x)[:, 0].reshape(draws, m).mean(axis=1)
        # The mean of 4000 squares of nearly normal f deviates by sqrt(2/4000) = 2.2 %: four sigma.
        assert abs(m * np.mean(f**2) / exact - 1) < 0.1


def test_homogeneous_flow_conserves_its_balance() -> None:
    """b^2 - |a|^2 is conserved per ReLU neuron, and decays like e^{-2 lam t} under weight decay."""
    X, y = mf.data.relu_teacher(n=50, d=2, neurons=2, rng=0)
    network = mf.TwoLayer("relu", d=2, bias=False)
    for strength in (0.0, 0.3):
        objective = mf.Objective(network, X, y, regularizer=mf.Ridge(strength))
        mu = mf.ParticleMeasure.gaussian(network, 20, rng=0)
        run = solvers.integrate(mf.WassersteinFlow(objective), mu, 1.0, method=solvers.RK4(step=2e-3), save=2)
        before, after = (nu.a**2 - np.sum(nu.w**2, axis=1) for nu in (mu, run.final))
        # A step that meets a kink spoils the balance by the square of the step: measured at most 2.2e-6.
        assert np.abs(after - np.exp(-2 * strength) * before).max() < 1e-5


def test_signed_lift_predicts_the_same_network_and_its_norm_bounds_the_ridge() -> None:
    network = mf.TwoLayer("relu", d=2)
    mu = mf.ParticleMeasure.gaussian(network, 30, rng=0)
    X = np.random.default_rng(0).standard_normal((9, 2))
    nu = mf.lift(mu, network)
    on_sphere = mf.TwoLayer("relu", d=2, a=1.0)
    assert np.allclose(on_sphere.predict(nu, X), network.predict(mu, X), rtol=1e-12, atol=1e-14)
    assert nu.mass <= np.sum(mu.weights * mf.Ridge(1.0).value(mu.positions))

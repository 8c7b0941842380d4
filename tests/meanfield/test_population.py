"""The Gaussian population in closed form: against quadrature, sampling, finite differences and exact dynamics."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

import solvers
from meanfield.activations import Erf, Identity, LeakyReLU, Quadratic, ReLU, Tanh
from meanfield.flows.wasserstein import WassersteinFlow
from meanfield.networks import TwoLayer
from meanfield.objective import Objective
from meanfield.population import GaussianPopulation
from meanfield.regularizers import PathNorm, Ridge
from solvers.errors import InputError
from solvers.measure import ParticleMeasure

# Every closed form, each with one output, several outputs and a fixed outer weight.
ACTIVATIONS = [
    (ReLU(), False),
    (LeakyReLU(0.3), False),
    (Erf(), False),
    (Erf(1.3), False),
    (Quadratic(), False),
    (Quadratic(0.5), True),
    (Identity(), False),
    (Identity(-2.0), True),
]
HEADS: list[dict[str, Any]] = [{}, {"outputs": 2}, {"a": 1.5}]
CASES = [
    pytest.param(
        activation, bias, head, id=f"{activation}-{'bias' if bias else 'plain'}-{list(head) or 'one'}"
    )
    for activation, bias in ACTIVATIONS
    for head in HEADS
]


def neurons(network: TwoLayer, m: int, rng: np.random.Generator, signed: bool = True) -> ParticleMeasure:
    """A measure with unequal masses and signs, so that nothing cancels by symmetry."""
    signs = rng.choice([-1.0, 1.0], m) if signed else None
    positions = rng.standard_normal((m, network.dim))
    return ParticleMeasure(positions, rng.random(m), signs, network.layout)


def population(
    activation: Any, bias: bool, head: dict[str, Any], d: int = 3, **options: Any
) -> GaussianPopulation:
    network = TwoLayer(activation, d=d, bias=bias, **head, **options)
    return GaussianPopulation(network, neurons(network, 3, np.random.default_rng(7)), Ridge(0.1))


# -- the kernels ------------------------------------------------------------------------------------------------


def sigma(activation: Any, z: float) -> float:
    return float(activation.value(z))


def by_hermite(activation: Any, u: np.ndarray, v: np.ndarray, b: float = 0.0, c: float = 0.0) -> float:
    """E sigma(u.x + b) sigma(v.x + c) in the plane by Gauss-Hermite with 80 x 80 nodes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    total = 0.0
    for x, p in zip(nodes, weights, strict=True):
        for y, q in zip(nodes, weights, strict=True):
            left = sigma(activation, u[0] * x + u[1] * y + b)
            total += p * q * left * sigma(activation, v[0] * x + v[1] * y + c)
    return total


def by_angle(activation: Any, u: np.ndarray, v: np.ndarray) -> float:
    """For sigma homogeneous of degree one: E r^2 = 2, and an integral over the angle, broken at the kinks."""
    kinks = [(np.arctan2(w[1], w[0]) + s * np.pi / 2) % (2 * np.pi) for w in (u, v) for s in (-1, 1)]

    def integrand(angle: float) -> float:
        x = np.array([np.cos(angle), np.sin(angle)])
        return sigma(activation, float(u @ x)) * sigma(activation, float(v @ x))

    edges = [0.0, *sorted(kinks), 2 * np.pi]
    return float(sum(quad(integrand, a, b)[0] for a, b in zip(edges, edges[1:], strict=False)) / np.pi)


@pytest.mark.parametrize(
    "activation", [ReLU(), LeakyReLU(0.3), LeakyReLU(-1.0), Erf(), Erf(0.4), Quadratic(), Identity()]
)
def test_kernel_is_the_gaussian_integral(activation: Any) -> None:
    rng = np.random.default_rng(0)
    # Embedded in dimension 7 by a rotation: only angles and norms may matter.
    plane = np.linalg.qr(rng.standard_normal((7, 2)))[0]
    network = TwoLayer(activation, d=7, bias=False, a=1.0)
    functional = GaussianPopulation(network, ParticleMeasure(np.ones((1, 7)), layout=network.layout))
    integral = by_angle if isinstance(activation, ReLU | LeakyReLU) else by_hermite
    for _ in range(4):
        u, v = 0.8 * rng.standard_normal((2, 2))
        got = functional.kernel((plane @ u)[None], (plane @ v)[None])[0, 0]
        # Measured 2e-15 at worst; all three quadratures are converged to rounding.
        assert got == pytest.approx(integral(activation, u, v), abs=2e-14)


@pytest.mark.parametrize("activation", [Quadratic(), Quadratic(0.5), Identity(-2.0)])
def test_kernel_with_bias(activation: Any) -> None:
    rng = np.random.default_rng(1)
    network = TwoLayer(activation, d=2, bias=True)
    functional = GaussianPopulation(network, neurons(network, 2, rng))
    left, right = rng.standard_normal((2, network.dim))
    expected = left[0] * right[0] * by_hermite(activation, left[1:3], right[1:3], left[3], right[3])
    # Quadrature is exact for polynomials: rounding of 6400 terms.
    assert functional.kernel(left[None], right[None])[0, 0] == pytest.approx(expected, rel=1e-11)


def exact_relu(angle: float, digits: int = 50) -> tuple[float, float, float]:
    """k and dk/du along and across u for unit vectors at an angle, in 50 digits."""
    with mpmath.workdps(digits):
        psi = mpmath.mpf(angle)
        sine, cosine, rest = mpmath.sin(psi), mpmath.cos(psi), mpmath.pi - psi
        tau = 2 * mpmath.pi
        return (
            float((sine + rest * cosine) / tau),
            float((sine + rest * cosine) / tau),
            float(rest * sine / tau),
        )


@pytest.mark.parametrize(
    "angle", [0.0, 1e-12, 1e-8, 1e-5, 1e-2, 1.0, np.pi - 1e-2, np.pi - 1e-5, np.pi - 1e-8, np.pi]
)
def test_relu_near_parallel(angle: float) -> None:
    network = TwoLayer(ReLU(), d=2, bias=False)
    u, v = np.array([1.0, 0.0]), np.array([np.cos(angle), np.sin(angle)])
    teacher = ParticleMeasure(np.r_[1.0, v][None], layout=network.layout)
    functional = GaussianPopulation(network, teacher)
    nothing = ParticleMeasure(np.array([[0.0, 1.0, 0.0]]), layout=network.layout)
    value, gradient = functional.first_variation_with_gradient(nothing, np.r_[1.0, u][None])
    k, along, across = exact_relu(float(np.arctan2(v[1], v[0])))
    # Measured 6e-17: a few units in the last place of 1/2 = k(0), although psi itself is off by 1e-8 there.
    assert -value[0] == pytest.approx(k, abs=4e-16)
    assert -gradient[0, 1] == pytest.approx(along, abs=4e-16)
    assert -gradient[0, 2] == pytest.approx(across, abs=4e-16)


def test_zero_neurons_follow_the_slope_at_the_kink() -> None:
    rng = np.random.default_rng(2)
    for activation, slope in ((ReLU(), 0.0), (ReLU(1.0), 1.0), (LeakyReLU(0.3), 0.3)):
        network = TwoLayer(activation, d=3, bias=False)
        functional = GaussianPopulation(network, neurons(network, 4, rng))
        mu = neurons(network, 5, rng)
        point = np.array([[1.0, 0.0, 0.0, 0.0]])
        value, gradient = functional.first_variation_with_gradient(mu, point)
        assert value[0] == 0.0
        # sigma'(0) E x r(x), and E x sigma(v.x) = v E sigma'(v.x), whose average slope is that of the two sides.
        both = 0.5 * (1.0 + (0.3 if isinstance(activation, LeakyReLU) else 0.0))
        charge = np.r_[mu.coefficients * mu.a, -functional.teacher.coefficients * functional.teacher.a]
        expected = slope * both * charge @ np.vstack([mu.w, functional.teacher.w])
        assert gradient[0, 1:] == pytest.approx(expected, abs=1e-14)  # sums of nine terms of size 1


# -- the functional ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("activation", "bias", "head"), CASES)
def test_value_is_the_quadratic_form_of_the_kernel(activation: Any, bias: bool, head: dict[str, Any]) -> None:
    functional = population(activation, bias, head, scale=0.7)
    mu = neurons(functional.network, 6, np.random.default_rng(3))
    charge = np.r_[0.7 * mu.coefficients, -functional.teacher.coefficients]
    atoms = np.vstack([mu.positions, functional.teacher.positions])
    matrix = functional.kernel(atoms, atoms)
    largest = float(np.abs(charge) @ np.abs(matrix) @ np.abs(charge))
    # Polynomial activations go through moments instead: an independent route, equal to rounding.
    assert functional.risk(mu) == pytest.approx(0.5 * charge @ matrix @ charge, abs=4e-15 * largest)
    penalty = float(mu.weights @ functional.regularizer.value(mu.positions))
    assert functional.value(mu) == pytest.approx(functional.risk(mu) + penalty, rel=1e-15)


@pytest.mark.parametrize(("activation", "bias", "head"), CASES)
def test_first_variation_is_the_derivative_in_mass(activation: Any, bias: bool, head: dict[str, Any]) -> None:
    functional = population(activation, bias, head, scale=0.7)
    mu = neurons(functional.network, 5, np.random.default_rng(4))
    variation = functional.first_variation(mu, mu.positions, mu.signs)
    for j in range(mu.width):
        # F is a quadratic function of the masses: a central difference is exact for any step.
        step = 0.5 * mu.weights[j]
        shift = step * np.eye(mu.width)[j]
        high = functional.value(mu.replace(weights=mu.weights + shift))
        low = functional.value(mu.replace(weights=mu.weights - shift))
        assert variation[j] == pytest.approx((high - low) / (2 * step), abs=1e-12 * (1 + abs(high) / step))


@pytest.mark.parametrize(("activation", "bias", "head"), CASES)
def test_gradient_is_that_of_the_first_variation_and_of_the_value(
    activation: Any, bias: bool, head: dict[str, Any]
) -> None:
    functional = population(activation, bias, head, scale=0.7)
    mu = neurons(functional.network, 4, np.random.default_rng(5))
    values, gradient = functional.first_variation_with_gradient(mu)
    assert values == pytest.approx(functional.first_variation(mu, mu.positions, mu.signs), rel=1e-14)
    step = 1e-5
    for j in range(mu.width):
        for k in range(mu.dim):
            ends = []
            for sign in (1, -1):
                moved = np.array(mu.positions)
                moved[j, k] += sign * step
                ends.append((functional.value(mu.with_positions(moved)),
                             functional.first_variation(mu, moved[j][None], mu.signs[j : j + 1])[0]))  # fmt: skip
            # d F(mu) / d theta_j = weight_j grad F'(theta_j). Truncation 1e-10 F''', rounding 1e-11 F.
            by_value = (ends[0][0] - ends[1][0]) / (2 * step) / mu.weights[j]
            by_variation = (ends[0][1] - ends[1][1]) / (2 * step)
            scale = 1 + abs(gradient[j, k]) + abs(ends[0][0]) / mu.weights[j]
            assert gradient[j, k] == pytest.approx(by_value, abs=1e-8 * scale)
            assert gradient[j, k] == pytest.approx(by_variation, abs=1e-8 * scale)


@pytest.mark.parametrize(("activation", "bias", "head"), CASES)
def test_sampling_agrees(activation: Any, bias: bool, head: dict[str, Any]) -> None:
    functional = population(activation, bias, head, scale=0.7)
    mu = neurons(functional.network, 5, np.random.default_rng(6))
    draw = np.random.default_rng(8)
    X, y = functional.sampler(draw, 40_000)
    squares = 0.5 * (functional.network.predict(mu, X) - y) ** 2
    losses = squares if squares.ndim == 1 else squares.sum(axis=1)
    error = losses.std(ddof=1) / losses.size**0.5
    # 4.5 standard errors: one run in 1.5e5 would fail by chance; the seed is fixed.
    assert abs(losses.mean() - functional.risk(mu)) < 4.5 * error


def test_velocity_agrees_with_the_objective_on_many_data() -> None:
    functional = population(ReLU(), False, {})
    network, mu = functional.network, neurons(functional.network, 5, np.random.default_rng(9))
    batches = []
    for seed in range(30):
        X, y = functional.sampler(np.random.default_rng(seed), 4000)
        batches.append(Objective(network, X, y, regularizer=Ridge(0.1)).velocity(mu))
    found = np.array(batches)
    error = found.std(axis=0, ddof=1) / len(batches) ** 0.5
    # 20 numbers, Student with 29 degrees of freedom: 5 standard errors is one chance in 2000.
    assert (np.abs(found.mean(axis=0) - functional.velocity(mu)) < 5 * error).all()


@given(seed=st.integers(0, 10_000), case=st.sampled_from(ACTIVATIONS), c=st.floats(0.2, 5.0))
def test_symmetries(seed: int, case: tuple[Any, bool], c: float) -> None:
    activation, bias = case
    rng = np.random.default_rng(seed)
    network = TwoLayer(activation, d=4, bias=bias)
    teacher, mu = neurons(network, 3, rng), neurons(network, 6, rng)
    functional = GaussianPopulation(network, teacher)
    value = functional.value(mu)
    size = GaussianPopulation(network, teacher.replace(weights=0 * teacher.weights)).value(mu) + value
    tolerance = 1e-13 * size  # rounding of sums of 81 terms

    # A rotation of the inputs changes nothing, and turns the velocity.
    turn = np.eye(network.dim)
    turn[1:5, 1:5] = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    turned = GaussianPopulation(network, teacher.with_positions(teacher.positions @ turn))
    moved = mu.with_positions(mu.positions @ turn)
    assert turned.value(moved) == pytest.approx(value, abs=tolerance)
    assert turned.velocity(moved) == pytest.approx(functional.velocity(mu) @ turn, abs=1e-11 * (1 + size))

    # The order of particles, and one particle split in two, are not seen.
    order = rng.permutation(mu.width)
    shuffled = ParticleMeasure(mu.positions[order], mu.weights[order], mu.signs[order], mu.layout)
    assert functional.value(shuffled) == pytest.approx(value, abs=tolerance)
    twice = ParticleMeasure(
        np.vstack([mu.positions, mu.positions]), np.r_[0.3 * mu.weights, 0.7 * mu.weights], np.r_[mu.signs, mu.signs],
        mu.layout,
    )  # fmt: skip
    assert functional.value(twice) == pytest.approx(value, abs=tolerance)

    # Homogeneity: (a, w, b) and (a / c^degree, c w, c b) are one function.
    degree = {ReLU: 1, LeakyReLU: 1, Quadratic: 2, Identity: 1}.get(type(activation))
    if degree is not None:
        scaled = mu.positions * np.r_[c**-degree, np.full(network.dim - 1, c)]
        assert functional.value(mu.with_positions(scaled)) == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize(("activation", "bias", "head"), CASES)
def test_the_teacher_is_a_rest_point(activation: Any, bias: bool, head: dict[str, Any]) -> None:
    network = TwoLayer(activation, d=3, bias=bias, **head)
    teacher = neurons(network, 4, np.random.default_rng(10))
    functional = GaussianPopulation(network, teacher)
    size = float(np.abs(functional.kernel(teacher.positions, teacher.positions)).max())
    assert abs(functional.value(teacher)) < 1e-14 * size
    assert np.abs(functional.velocity(teacher)).max() < 1e-13 * size


def test_energy_identity_frozen_layers_and_rates() -> None:
    rng = np.random.default_rng(11)
    for options in ({}, {"train": ("w",)}, {"rates": {"a": 5.0, "w": 0.5}}, {"scale": 3.0}):
        network = TwoLayer(ReLU(), d=3, bias=False, **options)
        functional = GaussianPopulation(network, neurons(network, 3, rng), PathNorm(0.2))
        mu = neurons(network, 8, rng)
        velocity = functional.velocity(mu)
        if options.get("train") == ("w",):
            assert (velocity[:, 0] == 0).all()
            assert (functional.first_variation_with_gradient(mu)[1][:, 0] != 0).all()
        step = 1e-5
        ends = [functional.value(mu.with_positions(mu.positions + s * step * velocity)) for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step)
        # Central differences: truncation 1e-10 F''', rounding 1e-11 F; measured 2e-9 of the slope.
        assert slope == pytest.approx(-functional.dissipation(mu), rel=3e-8)
        assert functional.dissipation(mu) > 0


# -- ground truths ----------------------------------------------------------------------------------------------


def test_quadratic_moment_equation() -> None:
    """M' = -2[(2S + tr S I) M + M (2S + tr S I)] and R = (2|S|^2 + tr^2 S)/2 for every width."""
    rng = np.random.default_rng(12)
    for m in (1, 3, 40):
        network = TwoLayer(Quadratic(), d=4, bias=False, a=1.0)
        mu, teacher = (ParticleMeasure(rng.standard_normal((k, 4)), layout=network.layout) for k in (m, 2))
        functional = GaussianPopulation(network, teacher)
        moment = (mu.w.T * mu.weights) @ mu.w
        excess = moment - (teacher.w.T * teacher.weights) @ teacher.w
        force = 2 * excess + np.trace(excess) * np.eye(4)
        rate = (functional.velocity(mu).T * mu.weights) @ mu.w
        assert rate + rate.T == pytest.approx(-2 * (force @ moment + moment @ force), rel=1e-12)
        risk = 0.5 * (2 * np.sum(excess**2) + np.trace(excess) ** 2)
        assert functional.value(mu) == pytest.approx(risk, rel=1e-13)


def test_quadratic_in_one_dimension_is_logistic() -> None:
    """q = q*/(1 + (q*/q0 - 1) exp(-12 q* t)) for q = int w^2 dmu."""
    network = TwoLayer(Quadratic(), d=1, bias=False, a=1.0)
    teacher = ParticleMeasure(np.array([[1.1], [-0.7]]), layout=network.layout)
    target = float(np.mean(teacher.positions**2))
    start = ParticleMeasure(np.random.default_rng(13).normal(0, 0.3, (20, 1)), layout=network.layout)
    functional = GaussianPopulation(network, teacher)
    record = {"q": lambda mu: float(mu.weights @ mu.positions[:, 0] ** 2)}
    run = solvers.integrate(
        WassersteinFlow(functional), start, t_end=1.0, method=solvers.RK4(step=0.005), save=solvers.linspace(11),
        record=record,
    )  # fmt: skip
    q0 = float(np.mean(start.positions**2))
    exact = target / (1 + (target / q0 - 1) * np.exp(-12 * target * run.t))
    # RK4 at rate 12 q* = 10 and step .005: (.05)^4 / 120 = 5e-8 a unit time; measured 4e-9.
    assert run["q"] == pytest.approx(exact, abs=1e-8)
    assert run["objective"] == pytest.approx(1.5 * (exact - target) ** 2, abs=1e-8)


def test_linear_network_conserves_and_crosses_over() -> None:
    """q = int a w, s = int (a^2 + w^2): c = s^2 - 4 q^2 is conserved and q' = -(q - q*) sqrt(4 q^2 + c)."""
    network = TwoLayer(Identity(), d=1, bias=False)
    rng = np.random.default_rng(14)
    teacher = ParticleMeasure(np.array([[1.0, 0.8]]), layout=network.layout)
    mu = ParticleMeasure(rng.standard_normal((30, 2)), layout=network.layout)
    functional = GaussianPopulation(network, teacher)
    velocity = functional.velocity(mu)
    a, w = mu.positions.T
    q, s = np.mean(a * w), np.mean(a**2 + w**2)
    rate = np.mean(velocity[:, 0] * w + a * velocity[:, 1])
    growth = 2 * np.mean(velocity[:, 0] * a + velocity[:, 1] * w)
    assert rate == pytest.approx(-(q - 0.8) * np.sqrt(4 * q**2 + (s**2 - 4 * q**2)), rel=1e-13)
    assert 2 * s * growth - 8 * q * rate == pytest.approx(0.0, abs=1e-13 * s * s)


def test_width_slope_of_the_fluctuation() -> None:
    """E |f_m - f|^2 = |x|^2/(2 d m) for ReLU on the sphere with random signs: E_x of it is 1/(2m), slope -1."""
    network = TwoLayer(ReLU(), d=5, bias=False)
    nothing = ParticleMeasure(np.r_[0.0, np.ones(5)][None], layout=network.layout)
    functional = GaussianPopulation(network, nothing)
    widths, repeats = np.array([8, 32, 128]), 600
    squares = np.array(
        [
            [
                2 * functional.value(ParticleMeasure.sphere(network, m, rng=1000 * m + k))
                for k in range(repeats)
            ]
            for m in widths
        ]
    )
    for m, found in zip(widths, squares, strict=True):
        error = found.std(ddof=1) / repeats**0.5
        assert error < 0.03 / (2 * m)  # else the next line would test nothing
        assert abs(found.mean() - 1 / (2 * m)) < 4.5 * error
    slope = np.polyfit(np.log(widths), np.log(squares.mean(axis=1)), 1)[0]
    # Errors of 2.4 % at ends a factor 16 apart: .024 * sqrt(2) / log(16) = .012; five of them.
    assert slope == pytest.approx(-1.0, abs=0.06)


# -- sizes, threads, refusals -----------------------------------------------------------------------------------


def test_tiles_do_not_show_and_memory_is_bounded() -> None:
    rng = np.random.default_rng(15)
    network = TwoLayer(ReLU(), d=4, bias=False)
    functional = GaussianPopulation(network, neurons(network, 3, rng))
    mu = neurons(network, 1500, rng)  # eight rows of tiles, the last one cut
    functional.velocity(mu)
    tracemalloc.start()
    value, velocity = functional.value(mu), functional.velocity(mu)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # One matrix of pairs alone takes 18 MB; tiles take 1.2 MB a thread and the results little.
    assert peak < 8e6
    charge = np.r_[mu.coefficients, -functional.teacher.coefficients]
    atoms = np.vstack([mu.positions, functional.teacher.positions])
    matrix = functional.kernel(atoms, atoms)
    assert value == pytest.approx(0.5 * charge @ matrix @ charge, rel=1e-11)
    # d F'/da = F'/a: the outer weight's column of the velocity from the dense matrix, sign and all.
    by_a = -mu.signs * (matrix @ charge)[: mu.width] / mu.a
    assert velocity[:, 0] == pytest.approx(by_a, abs=1e-11 * np.abs(by_a).max())


def test_threads_do_not_change_bits() -> None:
    code = (
        "import hashlib, numpy as np\n"
        "from meanfield.activations import *\n"
        "from meanfield.networks import TwoLayer\n"
        "from meanfield.population import GaussianPopulation\n"
        "from solvers.measure import ParticleMeasure\n"
        "digest = hashlib.sha256()\n"
        "for activation in (ReLU(), Erf(), Quadratic(), Identity()):\n"
        "    network = TwoLayer(activation, d=60, bias=False)\n"
        "    functional = GaussianPopulation(network, ParticleMeasure.sphere(network, 3, rng=5))\n"
        "    mu = ParticleMeasure.gaussian(network, 900, rng=1)\n"
        "    digest.update(functional.velocity(mu).tobytes() + np.float64(functional.value(mu)).tobytes())\n"
        "print(digest.hexdigest())\n"
    )
    found = set()
    for threads in ("1", "2"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, threads)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_refusals_say_what_to_do() -> None:
    plain = TwoLayer(ReLU(), d=2, bias=False)
    teacher = ParticleMeasure.gaussian(plain, 3, rng=0)
    with pytest.raises(
        InputError, match=r"closed forms .* ReLU, LeakyReLU, Erf, Quadratic or Identity, not for Tanh"
    ):
        GaussianPopulation(TwoLayer(Tanh(), d=2, bias=False), teacher)
    for activation in (ReLU(), Erf()):
        with pytest.raises(InputError, match=r"with a bias; build the network with bias=False"):
            GaussianPopulation(TwoLayer(activation, d=2), teacher)
    with pytest.raises(InputError, match="centre=None"):
        GaussianPopulation(TwoLayer(ReLU(), d=2, bias=False, centre=teacher), teacher)
    with pytest.raises(InputError, match=r"teacher lives in R\^3"):
        GaussianPopulation(TwoLayer(ReLU(), d=5, bias=False), teacher)
    with pytest.raises(InputError, match="teacher must be a ParticleMeasure"):
        GaussianPopulation(plain, teacher.positions)
    functional = GaussianPopulation(plain, teacher)
    with pytest.raises(InputError, match=r"measure lives in R\^2"):
        functional.value(ParticleMeasure(np.ones((4, 2))))
    with pytest.raises(InputError, match="positions must have shape"):
        functional.first_variation(teacher, np.ones((4, 2)))
    with pytest.raises(InputError, match="signs must be"):
        functional.first_variation(teacher, teacher.positions, signs=[1.0, 0.5, -1.0])
    with pytest.raises(InputError, match="a population has no data"):
        functional.predict(teacher, None)
    X, y = functional.sampler(np.random.default_rng(0), 5)
    assert functional.predict(teacher, X) == pytest.approx(y, rel=1e-14)
    assert "teacher of 3 neurons" in repr(functional)

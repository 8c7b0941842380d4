"""RKC2: its coefficients, order, stability, error control and cost; resumed runs; what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

import solvers
from solvers._chebyshev import DAMPING, longest_radius, recursion, stages_for
from solvers.errors import InputError
from solvers.testing import check_slope, fixed_pair, observed_order


def polynomial(rule, z):
    """The stability polynomial, by the recursion on z' = lambda z with h = 1."""
    before, now = np.ones_like(z), 1.0 + rule.first * z
    for mu, nu, push, pull in zip(rule.mu, rule.nu, rule.push, rule.pull, strict=True):
        before, now = now, (1 - mu - nu) + mu * now + nu * before + push * z * now + pull * z
    return now


# -- coefficients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [2, 3, 4, 7, 20, 100, 1000])
def test_the_polynomial_is_second_order_and_damped_on_its_interval(stages):
    rule = recursion(stages)
    # derivatives at 0 by interpolation on a circle, where the polynomial of degree 1000 is still tame
    circle = 1e-3 * np.exp(2j * np.pi * np.arange(8) / 8)
    taylor = np.fft.fft(polynomial(rule, circle)) / 8 / 1e-3 ** np.arange(8)
    # rounding of 1e-13 (a thousand stages) over 1e-6
    assert np.allclose(taylor[:3].real, [1.0, 1.0, 0.5], atol=1e-6)
    inside = -np.linspace(0.0, longest_radius(stages), 20 * stages)
    values = np.abs(polynomial(rule, inside))
    assert values.max() <= 1 + 1e-10
    # away from 0 it oscillates within 1 - DAMPING/3 of the axis (rounding and 1/s^2 terms aside)
    far = values[-inside > 8.0]
    assert far.size == 0 or far.max() < 1 - DAMPING / 3 + 0.01


def test_the_polynomial_is_the_shifted_chebyshev_polynomial():
    from numpy.polynomial.chebyshev import Chebyshev

    stages = 5
    chebyshev = Chebyshev.basis(stages)
    w0 = 1 + DAMPING / stages**2
    slope, curvature = chebyshev.deriv(1)(w0), chebyshev.deriv(2)(w0)
    b = curvature / slope**2
    z = -np.linspace(0.0, longest_radius(stages), 40)
    expected = 1 - b * chebyshev(w0) + b * chebyshev(w0 + slope / curvature * z)
    assert np.allclose(polynomial(recursion(stages), z), expected, atol=1e-13)


@pytest.mark.parametrize("radius", [0.0, 0.1, 3.0, 100.0, 1e5])
def test_enough_stages_and_not_many_more(radius):
    stages = stages_for(radius)
    assert stages >= 2
    assert np.abs(polynomial(recursion(stages), -np.linspace(0, radius, 1001))).max() <= 1 + 1e-9
    assert stages_for(longest_radius(stages)) == stages
    assert stages == 2 or longest_radius(stages - 1) < radius


def test_nodes_rise_to_one():
    for stages in (2, 5, 50):
        node = recursion(stages).node
        assert node[0] == 0.0
        assert node[-1] == 1.0
        assert (np.diff(node) > 0).all()
        # c_j = T_s'/T_s'' T_j''/T_j' for j >= 2 is about (j^2 - 1)/(s^2 - 1): damping moves it by a few per cent
        j = np.arange(2, stages + 1)
        assert np.allclose(node[2:], (j**2 - 1) / (stages**2 - 1), rtol=0.1)


# -- order and stability --------------------------------------------------------------------------------------


def pendulum(x):
    return np.array([x[1], -np.sin(x[0])])


def test_observed_order_on_the_pendulum():
    exact = solvers.integrate(
        pendulum, [1.0, 0.5], 3.0, method=solvers.DormandPrince(rtol=1e-13, atol=1e-13), save=2
    ).final
    fit = observed_order(
        fixed_pair(solvers.RKC2), pendulum, [1.0, 0.5], 3.0, exact, steps=(128, 256, 512, 1024)
    )
    assert abs(fit.slope - 2) < 0.1, fit


def test_observed_order_with_time_in_the_velocity():
    # stages at wrong times would show; x' = cos t (1 - x^2) from 0 is tanh(sin t)
    fit = observed_order(
        fixed_pair(solvers.RKC2),
        lambda t, x: np.cos(t) * (1 - x**2),
        [0.0],
        2.0,
        [math.tanh(math.sin(2.0))],
        steps=(64, 128, 256, 512),
    )
    assert abs(fit.slope - 2) < 0.1, fit


def test_observed_order_with_many_stages(stiff):
    # a smooth solution of the heat equation with a source: h rho is 100 to 800, that is 13 to 37 stages
    matrix = stiff.heat(100)
    shape = np.sin(np.pi * np.linspace(0, 1, 102)[1:-1])

    def velocity(t, z):
        return matrix @ (z - shape * np.cos(t)) - shape * np.sin(t)

    fit = observed_order(
        fixed_pair(solvers.RKC2), velocity, shape, 1.0, shape * math.cos(1.0), steps=(50, 100, 200, 400)
    )
    assert abs(fit.slope - 2) < 0.1, fit


@pytest.mark.parametrize("stiffness", [1e1, 1e3, 1e5])
def test_one_step_of_any_stiffness_is_stable(stiffness):
    # h rho = stiffness; the first step is the whole run, the error control looks away
    flow = np.geomspace(1e-3, stiffness, 60)
    method = solvers.RKC2(rtol=1e9, atol=1e9, first_step=1.0)
    run = solvers.integrate(lambda x: -flow * x, np.ones(60), 1.0, method=method, save=2)
    assert run.stats["steps"] == 1
    assert np.max(np.abs(run.final)) <= 1.0
    # about sqrt(1.54 * 1.1 h rho) stages, where the limit of explicit Euler steps is h rho / 2 of them
    assert run.stats["stages"] <= 2 + math.sqrt(1.54 * 1.1 * stiffness)


def test_the_number_of_stages_is_limited_by_shorter_steps(stiff):
    flow = stiff.Linear(np.diag([-1.0, -1e8]))
    method = solvers.RKC2(rtol=1e9, atol=1e9, first_step=1.0)
    first = next(s for s in solvers.steps(flow, [1.0, 1.0], 1.0, method=method) if s.k == 1)
    # the longest of a thousand stages
    assert first.h == pytest.approx(0.65 * 1000**2 / 1.1e8, rel=0.02)


# -- error control and cost -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rtol", [1e-3, 1e-5])
def test_the_real_error_follows_the_tolerance_on_the_heat_equation(stiff, rtol):
    flow = stiff.Linear(stiff.heat(100))
    x = np.linspace(0, 1, 102)[1:-1]
    start = np.sin(np.pi * x) + (x > 0.5)
    run = solvers.integrate(flow, start, 0.1, method=solvers.RKC2(rtol=rtol, atol=1e-3 * rtol), save=2)
    exact = flow.exact(start, 0.1)
    # control of the local error alone leaves tol^(2/3) to the end (measured 0.6 and 3 tolerances)
    assert np.max(np.abs(run.final - exact)) < 10 * rtol * np.max(np.abs(exact))
    # Euler at its stability limit needs rho t / 2 = 2040 (measured 523 and 1104)
    assert run.stats["evaluations"] + run.stats["jv"] < (800 if rtol == 1e-3 else 1500)


def test_error_and_steps_follow_the_tolerance(stiff):
    flow = stiff.Network("tanh", scale=5.0)
    exact = solvers.integrate(
        flow, flow.start, 5.0, method=solvers.DormandPrince(rtol=1e-11, atol=1e-13), save=2
    ).final
    tolerances = [1e-3, 1e-4, 1e-5, 1e-6, 1e-7]
    runs = [
        solvers.integrate(flow, flow.start, 5.0, method=solvers.RKC2(rtol=r, atol=r * 1e-3), save=2)
        for r in tolerances
    ]
    # local errors of size tol and order h^3: tol^(-1/3) steps, so tol^(2/3) in the end
    assert check_slope(tolerances, [r.stats["steps"] for r in runs], -1 / 3, 0.06)
    assert check_slope(tolerances, [flow.error(r.final, exact) for r in runs], 2 / 3, 0.15)


def test_everything_is_counted(stiff):
    count = 0

    class Counting(stiff.Network):
        def velocity(self, t, z, out):
            nonlocal count
            count += 1
            return super().velocity(t, z, out)

    flow = Counting("tanh")
    run = solvers.integrate(flow, flow.start, 20.0, method=solvers.RKC2(), save=2)
    stats = run.stats
    assert count == stats["evaluations"]
    # the last velocity of a step is the first of the next; two evaluations start the run
    assert stats["evaluations"] == 2 + stats["stages"]
    # an estimate every 20 steps and after rejections
    estimates = 1 + stats["steps"] // 20 + stats["rejected"]
    assert 3 <= stats["jv"] <= 20 * estimates


@pytest.mark.parametrize("wrapped", [True, False])
def test_velocities_stand_in_for_products_where_the_flow_is_smooth(stiff, wrapped):
    matrix = stiff.heat(60)
    start = np.random.default_rng(0).standard_normal(60)
    count = 0

    def velocity(z):
        nonlocal count
        count += 1
        return matrix @ z

    class Bare(stiff.Plain):
        def velocity(self, t, z, out):
            out[:] = velocity(z)
            return out

    flow = solvers.FunctionFlow(velocity) if wrapped else Bare()
    run = solvers.integrate(flow, start, 0.1, method=solvers.RKC2(rtol=1e-5), save=2)
    # a function is called once more, to check it
    assert count == run.stats["evaluations"] + wrapped
    assert run.stats["jv"] == 0
    exact = stiff.Linear(matrix).exact(start, 0.1)
    assert np.max(np.abs(run.final - exact)) < 1e-4


def test_fewer_evaluations_than_an_explicit_pair_across_kinks(stiff):
    flow = stiff.Network("relu", n=200, m=400, d=2, scale=5.0)
    exact = solvers.integrate(flow, flow.start, 40.0, method=solvers.Heun(step=0.04), save=2).final
    run = solvers.integrate(flow, flow.start, 40.0, method=solvers.RKC2(rtol=1e-2, atol=1e-5), save=2)
    other = solvers.integrate(
        flow, flow.start, 40.0, method=solvers.BogackiShampine(rtol=1e-2, atol=1e-5), save=2
    )
    # measured 435 against 926: rho t is 750; errors 3.5e-3 and 1.1e-2
    assert run.stats["evaluations"] + run.stats["jv"] < 0.6 * other.stats["evaluations"]
    assert flow.error(run.final, exact) < flow.error(other.final, exact)


def test_saves_are_landed_on_and_do_not_spoil_the_controller(stiff):
    flow = stiff.Network("tanh")
    method = solvers.RKC2(rtol=1e-5, atol=1e-8)
    plain = solvers.integrate(flow, flow.start, 20.0, method=method, save=2).stats["steps"]
    times = np.concatenate([[0.0], 10.0 + 1e-3 * np.arange(20), [20.0]])
    run = solvers.integrate(flow, flow.start, 20.0, method=method, save=times)
    assert np.array_equal(run.t, times)
    assert run.stats["steps"] <= plain + 2 * 20 + 4


def test_time_in_the_velocity_and_projections():
    class Wrapped:
        kind = "ode"

        def pack(self, state):
            return np.array(state, dtype=np.float64)

        def unpack(self, z, like):
            return z.copy()

        def velocity(self, t, z, out):
            out[:] = 1.0 + 0.5 * np.cos(t)
            return out

        def project(self, z):
            before = z.copy()
            z %= 1.0
            return not np.array_equal(before, z)

    run = solvers.integrate(Wrapped(), [0.2], 7.0, method=solvers.RKC2(rtol=1e-6, max_step=0.5), save=2)
    assert abs(run.final[0] - (0.2 + 7.0 + 0.5 * math.sin(7.0)) % 1.0) < 1e-4


def test_divergence_is_seen():
    from solvers.errors import DivergenceError

    with pytest.raises(DivergenceError):
        solvers.integrate(lambda x: x**2, [1.0], 2.0, method=solvers.RKC2())


# -- resumed runs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("stop", [1, 27, 45])
def test_stopped_and_resumed_ends_in_the_same_bits(stiff, activation, stop, tmp_path):
    flow = stiff.Network(activation)
    options = {"method": solvers.RKC2(rtol=1e-4, atol=1e-7), "save": 5}
    whole = solvers.integrate(flow, flow.start, 30.0, **options)
    assert whole.stats["steps"] > 50
    path = tmp_path / "run.npz"
    part = solvers.integrate(
        flow, flow.start, 30.0, max_steps=stop, observers=[solvers.Checkpoint(path)], **options
    )
    assert part.stats["steps"] == stop
    rest = solvers.integrate(flow, flow.start, 30.0, resume=path, **options)
    assert np.array_equal(rest.final, whole.final)
    for key in ("steps", "rejected", "evaluations", "kink_steps", "stages", "jv"):
        assert rest.stats[key] == whole.stats[key], key


# -- refusals -------------------------------------------------------------------------------------------------


def test_jumps_without_products_are_refused():
    flow = solvers.FunctionFlow(lambda x: -np.sign(x), smooth=False)
    with pytest.raises(InputError, match="RKC2 needs the spectral radius"):
        solvers.integrate(flow, [1.0], 1.0, method=solvers.RKC2())


def test_bad_tolerances_are_refused():
    with pytest.raises(InputError, match="rtol must be non-negative"):
        solvers.RKC2(rtol=-1.0)
    with pytest.raises(InputError, match="must not both be zero"):
        solvers.RKC2(rtol=0.0, atol=0.0)
    assert repr(solvers.RKC2(rtol=1e-3, atol=0, max_step=0.5)) == "RKC2(rtol=0.001, atol=0.0, max_step=0.5)"
    assert (solvers.RKC2().name, solvers.RKC2().order) == ("RKC2", 2)

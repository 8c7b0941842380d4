"""EXPRB32: functions of symmetric matrices by Lanczos, order, exactness where linear, cost, resumed runs, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

import solvers
from solvers._lanczos import KrylovSpace, phi
from solvers.errors import InputError
from solvers.testing import check_slope, fixed_pair, observed_order

# -- functions of matrices ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", range(5))
def test_phi_is_accurate_everywhere(order):
    from mpmath import mp

    x = np.concatenate([-np.geomspace(1e-8, 600, 40), [0.0], np.geomspace(1e-8, 50, 20)])
    with mp.workdps(60):

        def exact(v):
            if v == 0.0:
                return 1 / mp.factorial(order)
            value = mp.exp(mp.mpf(v))
            for k in range(1, order + 1):
                value = (value - 1 / mp.factorial(k - 1)) / mp.mpf(v)
            return value

        expected = np.array([float(exact(float(v))) for v in x])
    # the recursion loses a digit near |x| = 1, where it begins
    assert np.max(np.abs(phi(order, x) - expected) / expected) < 1e-14
    assert np.isfinite(phi(order, np.array([-1e300]))).all()


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("h", [0.1, 1.0, 10.0])
def test_lanczos_in_a_weighted_inner_product(stiff, order, h):
    matrix, weight = stiff.diffusion(60)
    v = np.random.default_rng(1).standard_normal(60)
    values, vectors = np.linalg.eig(matrix)
    exact = (vectors @ (phi(order, h * values.real) * np.linalg.solve(vectors, v))).real

    def length(x):
        return math.sqrt(x @ (weight * x))

    space = KrylovSpace(lambda x, out: np.matmul(matrix, x, out=out), v, weight, 60)
    for dimension in (4, 8, 16, 24):
        space.grow(dimension)
        c = space.coefficients(order, h)
        error = length(space.combine(c, np.empty(60)) - exact)
        # the estimate is an upper bound, and tight once the error falls (1e-14: rounding)
        assert error < space.defect(order, h) + 1e-14 * space.length
        assert space.defect(order, h) < 10 * error + 1e-14 * space.length
        image = space.image(c, np.empty(60))
        assert length(image - matrix @ space.combine(c, np.empty(60))) < 1e-12 * space.length * 10.0


def test_the_basis_stays_orthonormal(stiff):
    # eigenvalues over five decades: without reorthogonalization copies of the first Ritz vectors would return
    matrix = np.diag(-np.geomspace(1e-5, 1.0, 80))
    space = KrylovSpace(lambda x, out: np.matmul(matrix, x, out=out), np.ones(80), np.ones(80), 60)
    space.grow(60)
    basis = space._basis[:60]
    assert np.max(np.abs(basis @ basis.T - np.eye(60))) < 1e-13


def test_invariant_and_empty_spaces():
    matrix = np.diag([-1.0, -2.0, -3.0, -4.0])
    v = np.array([1.0, 1.0, 0.0, 0.0])
    space = KrylovSpace(lambda x, out: np.matmul(matrix, x, out=out), v, np.ones(4), 4)
    space.grow(4)
    assert space.invariant
    assert space.dimension == 2
    found = space.combine(space.coefficients(1, 2.0), np.empty(4))
    assert np.allclose(found, phi(1, np.array([-2.0, -4.0, -6.0, -8.0])) * v, atol=1e-15)
    nothing = KrylovSpace(lambda x, out: np.matmul(matrix, x, out=out), np.zeros(4), np.ones(4), 4)
    nothing.grow(4)
    assert nothing.invariant
    assert np.array_equal(nothing.combine(nothing.coefficients(1, 1.0), np.empty(4)), np.zeros(4))
    assert np.array_equal(nothing.image(nothing.coefficients(1, 1.0), np.empty(4)), np.zeros(4))


# -- order and exactness --------------------------------------------------------------------------------------


def test_observed_order_on_a_network(stiff, monkeypatch):
    import solvers.exponential as module

    # the error control looks away, and with it the bound on the error of Krylov spaces: make them large
    monkeypatch.setattr(module, "FIRST_LOOK", 16)
    flow = stiff.Network("tanh")
    exact = solvers.integrate(
        flow, flow.start, 2.0, method=solvers.DormandPrince(rtol=1e-13, atol=1e-14), save=2
    ).final
    fit = observed_order(fixed_pair(solvers.EXPRB32), flow, flow.start, 2.0, exact, steps=(64, 96, 128, 192))
    assert abs(fit.slope - 3) < 0.1, fit


class Driven:
    """``x' = cos t (1 - x^2)``, ``tanh(sin t)`` from 0."""

    kind = "ode"

    def pack(self, state):
        return np.array(state, dtype=np.float64)

    def unpack(self, z, like):
        return z.copy()

    def velocity(self, t, z, out):
        out[:] = np.cos(t) * (1 - z**2)
        return out

    def linearize(self, t, z):
        class Linear:
            weight = np.ones(1)
            rank = None

            def product(self, v, out):
                out[:] = -2 * np.cos(t) * z * v
                return out

        return Linear()


def test_observed_order_with_time_in_the_velocity():
    exact = [math.tanh(math.sin(2.0))]
    fit = observed_order(
        fixed_pair(solvers.EXPRB32), Driven(), [0.0], 2.0, exact, steps=(128, 256, 512, 1024)
    )
    assert abs(fit.slope - 3) < 0.1, fit


@pytest.mark.parametrize("rtol", [1e-3, 1e-6])
def test_a_linear_flow_is_solved_to_the_tolerance_of_lanczos(stiff, rtol):
    matrix, weight = stiff.diffusion(80)
    flow = stiff.Linear(matrix, weight)
    start = np.random.default_rng(0).standard_normal(80)
    run = solvers.integrate(flow, start, 10.0, method=solvers.EXPRB32(rtol=rtol, atol=rtol * 1e-3), save=2)
    exact = flow.exact(start, 10.0)
    assert np.max(np.abs(run.final - exact)) < rtol * np.max(np.abs(start))
    # steps grow fivefold from the first: h rho is 100 in the end
    assert run.stats["steps"] <= 10
    assert run.stats["rejected"] == 0


def test_stiff_heat_costs_the_root_of_the_stiffness(stiff):
    flow = stiff.Linear(stiff.heat(300), np.ones(300))
    x = np.linspace(0, 1, 302)[1:-1]
    start = np.sin(np.pi * x) + (x > 0.5)
    method = solvers.EXPRB32(rtol=1e-4, atol=1e-7)
    run = solvers.integrate(flow, start, 0.1, method=method, save=2)
    assert np.max(np.abs(run.final - flow.exact(start, 0.1))) < 1e-3
    # rho t is 36000; explicit methods need that many evaluations (measured 1512)
    assert run.stats["evaluations"] + run.stats["jv"] < 2500


# -- error control --------------------------------------------------------------------------------------------


def test_error_and_steps_follow_the_tolerance(stiff):
    flow = stiff.Network("tanh", scale=5.0)
    exact = solvers.integrate(
        flow, flow.start, 5.0, method=solvers.DormandPrince(rtol=1e-11, atol=1e-13), save=2
    ).final
    tolerances = [1e-4, 1e-5, 1e-6, 1e-7]
    runs = [
        solvers.integrate(flow, flow.start, 5.0, method=solvers.EXPRB32(rtol=r, atol=r * 1e-3), save=2)
        for r in tolerances
    ]
    # the estimate belongs to the second order, the solution has the third: h ~ tol^(1/3), error ~ h^3
    assert check_slope(tolerances, [r.stats["steps"] for r in runs], -1 / 3, 0.06)
    errors = [flow.error(r.final, exact) for r in runs]
    assert check_slope(tolerances, errors, 1.0, 0.25)
    # measured 0.02 to 0.1 tolerances
    assert max(e / r for e, r in zip(errors, tolerances, strict=True)) < 1.0
    # two velocities a step (measured 62)
    assert runs[0].stats["evaluations"] < 200


def test_kinks_are_crossed_with_the_pattern_frozen(stiff):
    flow = stiff.Network("relu", n=100, m=200, d=2, scale=5.0)
    exact = solvers.integrate(flow, flow.start, 20.0, method=solvers.Heun(step=0.02), save=2).final
    run = solvers.integrate(flow, flow.start, 20.0, method=solvers.EXPRB32(rtol=1e-3, atol=1e-6), save=2)
    assert run.status is solvers.Status.reached_end
    # nothing is exact across kinks to better than about the tolerance
    assert flow.error(run.final, exact) < 5e-3


def test_everything_is_counted(stiff):
    counts = {"velocity": 0, "product": 0}

    class Counting(stiff.Network):
        def velocity(self, t, z, out):
            counts["velocity"] += 1
            return super().velocity(t, z, out)

        def linearize(self, t, z):
            linear = super().linearize(t, z)
            product = linear.product

            def counted(v, out):
                counts["product"] += 1
                return product(v, out)

            linear.product = counted
            return linear

    flow = Counting("tanh")
    run = solvers.integrate(flow, flow.start, 20.0, method=solvers.EXPRB32(), save=2)
    assert run.stats["evaluations"] == counts["velocity"]
    # one product at the start checks that products fill what they are given
    assert run.stats["jv"] == counts["product"] - 1
    # two velocities a step, one of them kept when it is tried again, and one for the first step size
    assert run.stats["evaluations"] == 1 + 2 * run.stats["steps"] + run.stats["rejected"]


def test_a_full_space_makes_the_step_smaller(stiff, monkeypatch):
    import solvers.exponential as module

    flow = stiff.Linear(stiff.heat(200), np.ones(200))
    start = np.random.default_rng(0).standard_normal(200)
    monkeypatch.setattr(module, "MOST", 15)
    method = solvers.EXPRB32(rtol=1e-5, atol=1e-8)
    run = solvers.integrate(flow, start, 0.01, method=method, save=2)
    assert np.max(np.abs(run.final - flow.exact(start, 0.01))) < 1e-4
    assert run.stats["rejected"] > 0
    # a smaller step needs no new products: never more than two spaces a step
    assert run.stats["jv"] <= 2 * 15 * run.stats["steps"]


def test_frozen_coordinates_stay_where_they_are(stiff):
    flow = stiff.Network("tanh", rates=(0.0, 1.0))
    run = solvers.integrate(flow, flow.start, 10.0, method=solvers.EXPRB32(rtol=1e-6), save=2)
    frozen = run.final.reshape(flow.shape)[:, 0]
    assert np.array_equal(frozen, flow.start.reshape(flow.shape)[:, 0])
    exact = solvers.integrate(flow, flow.start, 10.0, method=solvers.DormandPrince(rtol=1e-10), save=2).final
    assert flow.error(run.final, exact) < 1e-5


# -- resumed runs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("stop", [1, 17])
def test_stopped_and_resumed_ends_in_the_same_bits(stiff, activation, stop, tmp_path):
    flow = stiff.Network(activation, scale=3.0)
    options = {"method": solvers.EXPRB32(rtol=1e-3, atol=1e-6), "save": 5}
    whole = solvers.integrate(flow, flow.start, 5.0, **options)
    assert whole.stats["steps"] > 20
    path = tmp_path / "run.npz"
    part = solvers.integrate(
        flow, flow.start, 5.0, max_steps=stop, observers=[solvers.Checkpoint(path)], **options
    )
    assert part.stats["steps"] == stop
    rest = solvers.integrate(flow, flow.start, 5.0, resume=path, **options)
    assert np.array_equal(rest.final, whole.final)
    for key in ("steps", "rejected", "evaluations", "kink_steps", "jv"):
        assert rest.stats[key] == whole.stats[key], key


# -- refusals -------------------------------------------------------------------------------------------------


def test_flows_without_a_symmetric_jacobian_are_refused(stiff):
    method = solvers.EXPRB32()
    with pytest.raises(InputError, match=r"EXPRB32 needs Jacobian-vector products.*RKC2"):
        solvers.integrate(stiff.Plain(), [1.0], 1.0, method=method)
    with pytest.raises(InputError, match=r"symmetric in an inner product.*RODAS4"):
        solvers.integrate(stiff.Linear(np.array([[0.0, 1.0], [-1.0, 0.0]])), [1.0, 0.0], 1.0, method=method)
    with pytest.raises(InputError, match="rtol must be non-negative"):
        solvers.EXPRB32(rtol=-1.0)
    assert (method.name, method.order) == ("EXPRB32", 3)

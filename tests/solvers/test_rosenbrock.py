"""Rosenbrock methods: tableaux, orders, stiffness, systems solved through data space, lagged modes, resuming."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

import solvers
from solvers._low_rank import DenseSystem, WoodburySystem, assembled, gram_modes, lanczos_modes
from solvers.errors import InputError, PluginError
from solvers.protocols import LowRank
from solvers.rosenbrock import RODAS3_TABLEAU, RODAS4_TABLEAU, ROS34PW2
from solvers.testing import fit_slope, fixed_pair, observed_order

TABLEAUX = {"RODAS4": RODAS4_TABLEAU, "RODAS3": RODAS3_TABLEAU, "ROS34PW2": ROS34PW2}


# -- flows --------------------------------------------------------------------------------------------------------


class Network:
    """f(x) = mean_j a_j tanh(w_j x), theta = (a, w); theta' = -mobility (grad <(f - y)/n, phi> + ridge theta)."""

    kind = "ode"
    smooth = True
    time_dependent = False

    def __init__(self, m=12, n=7, *, ridge=0.0, mobility=(1.0, 1.0), rng=0, scale=1.0, wrong=0.0):
        generator = np.random.default_rng(rng)
        self.m, self.n, self.ridge, self.scale = m, n, ridge, scale
        self.mobility = np.array(mobility)
        self.x = np.linspace(-2, 2, n)
        self.y = np.sin(2 * self.x)
        self.start = generator.normal(size=2 * m)
        self.rank = n
        self.wrong = wrong  # relative error of the Jacobian that it offers

    def pack(self, state):
        return np.array(state, dtype=float)

    def unpack(self, z, like):
        return z.copy()

    def describe(self):
        return {"flow": "Network", "m": self.m}

    def parts(self, z):
        a, w = z.reshape(self.m, 2).T
        s = np.tanh(np.outer(w, self.x))
        slope = a[:, None] * (1 - s**2) * self.x
        q = self.scale * (self.scale * a @ s / self.m - self.y) / self.n
        return a, s, slope, q

    def velocity(self, t, z, out):
        _, s, slope, q = self.parts(z)
        gradient = np.stack([s @ q, slope @ q], axis=1) + self.ridge * z.reshape(self.m, 2)
        out[:] = (-self.mobility * gradient).reshape(-1)
        return out

    def linearize(self, t, z):
        return Jacobian(self, z)


class Jacobian:
    def __init__(self, flow, z):
        self.flow = flow
        self.rank = flow.n
        inverse = np.divide(1.0, flow.mobility, out=np.zeros(2), where=flow.mobility > 0)
        self.weight = np.tile(inverse / flow.m, flow.m)
        a, s, slope, q = flow.parts(z)
        H = flow.scale * np.stack([s, slope], axis=1) / flow.m
        curved = -2 * a[:, None] * s * (1 - s**2) * flow.x**2
        hessian = np.zeros((flow.m, 2, 2))
        hessian[:, 0, 1] = hessian[:, 1, 0] = ((1 - s**2) * flow.x) @ q
        hessian[:, 1, 1] = curved @ q
        B = flow.mobility[:, None] * (hessian + flow.ridge * np.eye(2))
        P = flow.mobility[:, None] * H * flow.m
        S = np.full(flow.n, (1 + flow.wrong) / flow.n)
        self.factors = LowRank(np.arange(2 * flow.m).reshape(flow.m, 2), P, S, H, B)

    def product(self, v, out):
        out[:] = assembled(self.factors, v.size) @ v
        return out

    def low_rank(self):
        return self.factors


def pendulum(x):
    return np.array([x[1], -np.sin(x[0])])


def pendulum_at(t):
    """From (1, 1/2), by a method of another kind."""
    from scipy.integrate import solve_ivp

    return solve_ivp(lambda t, x: pendulum(x), (0, t), [1.0, 0.5], method="DOP853", rtol=1e-13, atol=1e-14).y[
        :, -1
    ]


# scipy's Radau at rtol 1e-11 and 1e-12 agree on these digits
ROBERTSON_AT_1E4 = np.array([0.10730042854, 4.800166972576e-07, 0.89269909145])
VAN_DER_POL_AT_2000 = np.array([1.70616773217, -8.92809701025e-04])


def difference_jacobian(flow, z, t=0.0):
    columns = []
    for unit in np.eye(z.size):
        # central: truncation 1e-10 relative, rounding 1e-11
        high, low = (flow.velocity(t, z + s * 1e-5 * unit, np.empty_like(z)) for s in (1, -1))
        columns.append((high - low) / 2e-5)
    return np.array(columns).T


# -- tableaux -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLEAUX)
def test_a_tableau_has_its_orders_and_no_more(name):
    tableau = TABLEAUX[name]

    def worst(weights, order):
        return max(abs(error) for _, error in tableau.residuals(weights, order))

    # 1e-14 is the bound that the class enforces: coefficients up to 7, rounded once, over six stages
    assert worst(tableau.b, tableau.order) < 1e-14
    assert worst(tableau.b, tableau.order + 1) > 1e-3
    assert worst(tableau.embedded, tableau.embedded_order) < 1e-14
    assert worst(tableau.embedded, tableau.embedded_order + 1) > 1e-3


def test_conditions_for_any_matrix_are_all_there():
    # Steihaug and Wolfbrandt: 8 conditions up to order 3, against 4 with the exact Jacobian
    assert len(list(ROS34PW2.residuals(ROS34PW2.b, 3))) == 8
    assert len(list(RODAS3_TABLEAU.residuals(RODAS3_TABLEAU.b, 3))) == 4
    assert len(list(RODAS4_TABLEAU.residuals(RODAS4_TABLEAU.b, 4))) == 8


@pytest.mark.parametrize("name", TABLEAUX)
def test_a_tableau_is_stable_everywhere_on_the_left(name):
    tableau = TABLEAUX[name]
    axis = 1j * np.geomspace(1e-4, 1e5, 4001)
    # poles lie at 1/gamma > 0, so the maximum over the left half-plane is on the axis; rounding of R near |R| = 1
    assert np.max(np.abs(tableau.stability(axis))) < 1 + 1e-13
    assert tableau.stiffly_accurate
    assert abs(tableau.stability(np.inf)) < 1e-14
    assert abs(tableau.stability(np.inf, embedded=True)) < 0.5
    # R(w) = exp(w) + O(w^(order + 1)), and what a step does to z' = lambda z is R
    w = 1e-2
    assert abs(tableau.stability(w) - math.exp(w)) < w ** (tableau.order + 1)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"b": (0.5, 0.6)}, "b misses a condition of order 2"),
        ({"gamma": 0.3}, "b misses a condition of order 2"),
        ({"gamma": 0.0}, "gamma must be positive"),
        ({"a": ((), ())}, "one row of i numbers"),
        ({"g": ((0.0,), (1.0,))}, "one row of i numbers"),
        ({"embedded": (1.0,)}, "as many weights"),
        ({"embedded": (0.5, 0.25)}, "embedded misses a condition of order 1"),
        ({"any_matrix": True, "gamma": 0.25, "g": ((), (-0.4,))}, r"\[\[\]\]\*"),
    ],
)
def test_a_wrong_tableau_is_refused(change, word):
    # ROS2 of Verwer: b = (1/2, 1/2), g21 = -2 gamma, of order 2 for every gamma and any matrix
    good = {"a": ((), (1.0,)), "g": ((), (-0.5,)), "gamma": 0.25, "b": (0.5, 0.5), "order": 2}
    good |= {"embedded": (1.0, 0.0), "embedded_order": 1}
    solvers.RosenbrockTableau(**good, any_matrix=True)
    with pytest.raises(InputError, match=word):
        solvers.RosenbrockTableau(**(good | change))


# -- orders -------------------------------------------------------------------------------------------------------


ORDERS = {
    "RODAS4": (solvers.RODAS4, 4, (32, 64, 128, 256)),
    "RODAS3": (solvers.RODAS3, 3, (64, 128, 256, 512)),
}


@pytest.mark.parametrize("name", ORDERS)
def test_observed_order_on_the_pendulum(name):
    method, order, steps = ORDERS[name]
    fit = observed_order(
        fixed_pair(method), pendulum, np.array([1.0, 0.5]), 3.0, pendulum_at(3.0), steps=steps
    )
    assert abs(fit.slope - order) < 0.1, fit


@pytest.mark.parametrize("name", ORDERS)
def test_observed_order_with_time_in_the_velocity(name):
    # x' = cos t (1 + x^2) from 0 is tan(sin t): a stage at a wrong time, or no d_t v, would show
    method, order, steps = ORDERS[name]
    fit = observed_order(
        fixed_pair(method),
        lambda t, x: np.cos(t) * (1 + x**2),
        [0.0],
        1.2,
        [math.tan(math.sin(1.2))],
        steps=steps,
    )
    assert abs(fit.slope - order) < 0.1, fit


@pytest.fixture(scope="module")
def trained():
    """A small network and where it is at t = 6, by a method of another kind at 1e-12."""
    from scipy.integrate import solve_ivp

    flow = Network(ridge=0.1)
    exact = solve_ivp(
        lambda t, z: flow.velocity(t, z, np.empty_like(z)),
        (0, 6),
        flow.start,
        method="DOP853",
        rtol=1e-12,
        atol=1e-13,
    )
    return flow, exact.y[:, -1]


@pytest.mark.parametrize("wrong", [0.0, 0.5])
def test_observed_order_with_lagged_and_wrong_jacobians(wrong, trained):
    # Modes are ten steps old and blocks left out anyhow; 50 % of error besides leaves the order where it is.
    _, exact = trained
    flow = Network(ridge=0.1, wrong=wrong)
    fit = observed_order(fixed_pair(solvers.RosenbrockW), flow, flow.start, 6.0, exact, steps=(24, 48, 96))
    assert abs(fit.slope - 3) < 0.1, fit


def test_a_method_for_exact_jacobians_notices_a_wrong_one(trained):
    # so the low-rank form above is used at all, and what is claimed for any matrix is not trivial
    _, exact = trained
    flow = Network(ridge=0.1, wrong=0.5)
    fit = observed_order(fixed_pair(solvers.RODAS4), flow, flow.start, 6.0, exact, steps=(96, 192, 384, 768))
    assert abs(fit.slope - 1) < 0.2, fit


def test_low_rank_and_full_jacobians_give_the_same_run():
    flow = Network(ridge=0.1, mobility=(1.0, 0.5))
    method = solvers.RODAS4(rtol=1e-4, atol=1e-7)
    low_rank = solvers.integrate(flow, flow.start, 100.0, method=method, save=2)
    full = solvers.integrate(
        lambda z: flow.velocity(0.0, z, np.empty_like(z)), flow.start, 100.0, method=method, save=2
    )
    assert low_rank.stats["steps"] == full.stats["steps"]
    # differences give the Jacobian to about 1e-10
    assert np.max(np.abs(low_rank.final - full.final)) < 1e-7


def test_lagged_modes_need_no_derivative_in_time():
    class Driven(Network):
        time_dependent = True

        def velocity(self, t, z, out):
            super().velocity(t, z, out)
            out += np.sin(3 * t)
            return out

    from scipy.integrate import solve_ivp

    flow = Driven()
    exact = solve_ivp(
        lambda t, z: flow.velocity(t, z, np.empty_like(z)),
        (0, 2),
        flow.start,
        method="DOP853",
        rtol=1e-12,
        atol=1e-13,
    ).y[:, -1]
    fit = observed_order(
        fixed_pair(solvers.RosenbrockW), flow, flow.start, 2.0, exact, steps=(32, 64, 128, 256)
    )
    assert abs(fit.slope - 3) < 0.1, fit


# -- stiffness ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [solvers.RODAS4, solvers.RODAS3])
def test_stiff_components_are_damped_at_once(method):
    # rates from 1 to 1e8, one step of size 1 each: explicit methods would need 1e8 of them
    rates = np.array([1.0, 1e2, 1e4, 1e6, 1e8])
    run = solvers.integrate(lambda x: -rates * x, np.ones(5), 4.0, method=fixed_pair(method)(1.0), save=2)
    assert run.stats["steps"] == 4
    expected = np.array([method.tableau.stability(-r).real for r in rates]) ** 4
    # differences give a diagonal Jacobian of a linear flow to 1e-9
    assert np.allclose(run.final, expected, rtol=1e-6, atol=1e-12)
    assert abs(run.final[-1]) < 1e-8


@pytest.mark.parametrize("stiff", [1e2, 1e4, 1e6])
@pytest.mark.parametrize(("method", "size"), [(solvers.RODAS4, 0.05), (solvers.RODAS3, 1.0)])
def test_no_catastrophe_on_the_problem_of_prothero_and_robinson(method, size, stiff):
    # x' = -stiff (x - sin t) + cos t, x = sin t: the order falls towards 1, and the error is divided by the stiffness
    def run(steps):
        flow = solvers.FunctionFlow(lambda t, x: -stiff * (x - np.sin(t)) + np.cos(t))
        return solvers.integrate(flow, [0.0], 2.0, method=fixed_pair(method)(2.0 / steps), save=2).final[0]

    steps = np.array([16, 32, 64, 128])
    errors = np.array([abs(run(k) - math.sin(2.0)) for k in steps])
    # measured: 0.05 to 0.3 of the bound
    assert np.all(errors < size * (2.0 / steps) / stiff)
    assert fit_slope(2.0 / steps, errors).slope > 0.85


@pytest.mark.parametrize("method", [solvers.RODAS4, solvers.RODAS3])
@pytest.mark.parametrize("rtol", [1e-3, 1e-5])
def test_robertson_and_van_der_pol(method, rtol):
    def robertson(x):
        slow, fast = 0.04 * x[0] - 1e4 * x[1] * x[2], 3e7 * x[1] ** 2
        return np.array([-slow, slow - fast, fast])

    def van_der_pol(x):
        return np.array([x[1], 1e3 * (1 - x[0] ** 2) * x[1] - x[0]])

    # references: scipy's Radau at 1e-12
    problems = [
        (robertson, [1.0, 0.0, 0.0], 1e4, ROBERTSON_AT_1E4),
        (van_der_pol, [2.0, 0.0], 2e3, VAN_DER_POL_AT_2000),
    ]
    for flow, start, t_end, exact in problems:
        run = solvers.integrate(
            flow, np.array(start), t_end, method=method(rtol=rtol, atol=1e-4 * rtol), save=2
        )
        # measured: 0.05 to 1 tolerance
        assert np.max(np.abs(run.final - exact) / np.abs(exact)) < 5 * rtol
        # stiffness ratios of 1e8 and more: an explicit method would take 1e6 steps or more
        assert run.stats["steps"] < 2000


# -- linear systems -----------------------------------------------------------------------------------------------


def random_factors(m, q, r, rng, full=False, permuted=True, kind="any"):
    generator = np.random.default_rng(rng)
    indices = generator.permutation(m * q) if permuted else np.arange(m * q)
    root = generator.normal(size=(r, r))
    P, H = generator.normal(size=(2, m, q, r))
    B = 0.1 * generator.normal(size=(m, q, q))
    S = root @ root.T if full else generator.uniform(0.1, 2, size=r)
    if kind != "any":  # rows of P are multiples of those of H, some of them 0
        P = generator.uniform(0.5, 2, size=(m, q)) * (generator.random((m, q)) < 0.9)
    if (
        kind == "gradient"
    ):  # blocks symmetric but for the multiples, as in a gradient flow with frozen coordinates
        B = P[:, :, None] * (B + B.transpose(0, 2, 1))
    return LowRank(indices.reshape(m, q), P, S, H, B)


@pytest.mark.parametrize(
    ("m", "q", "r"), [(1, 1, 1), (30, 2, 5), (20, 4, 79), (3, 1, 40), (5, 100, 7), (200, 3, 1)]
)
@pytest.mark.parametrize(("full", "permuted"), [(False, False), (True, True)])
@pytest.mark.parametrize("kind", ["any", "multiples", "gradient"])
def test_woodbury_solves_what_the_full_matrix_solves(m, q, r, full, permuted, kind):
    factors = random_factors(m, q, r, rng=m + q + r, full=full, permuted=permuted, kind=kind)
    size = m * q
    J = assembled(factors, size)
    expected = np.zeros((size, size))
    P = factors.P if kind == "any" else factors.P[:, :, None] * factors.H
    core = np.diag(factors.S) if factors.S.ndim == 1 else factors.S
    for j in range(m):
        for k in range(m):
            block = -P[j] @ core @ factors.H[k].T - (factors.B[j] if j == k else 0)
            expected[np.ix_(factors.indices[j], factors.indices[k])] = block
    assert np.allclose(J, expected, rtol=1e-13, atol=1e-13 * np.abs(expected).max())
    b = np.random.default_rng(1).normal(size=size)
    for system in (WoodburySystem(factors, size), DenseSystem(J)):
        for c in (1e-6, 1e-2, 0.3):
            assert system.factor(c)
            for right in (b, b**2):
                x = np.empty(size)
                assert system.solve(right, x)
                # the condition of these matrices stays below 1e5
                exact = np.linalg.solve(np.eye(size) - c * J, right)
                assert np.max(np.abs(x - exact)) < 1e-10 * max(1.0, np.max(np.abs(exact)))


@pytest.mark.parametrize("c", [1e-2, 1.0, 1e4, 1e8])
def test_woodbury_holds_where_the_system_is_very_stiff(c):
    factors = random_factors(50, 3, 20, rng=5)
    gradient = factors._replace(P=np.ones((50, 3)), B=np.broadcast_to(0.1 * np.eye(3), (50, 3, 3)))
    system, J = WoodburySystem(gradient, 150), assembled(gradient, 150)
    b = np.random.default_rng(2).normal(size=150)
    x = np.empty(150)
    assert system.factor(c) and system.solve(b, x)
    residual = b - x + c * (J @ x)
    # backward stability: small against |I - c J| |x|
    assert np.max(np.abs(residual)) < 1e-13 * (1 + c * np.linalg.norm(J)) * np.max(np.abs(x))


def test_a_singular_system_is_noticed():
    factors = LowRank(
        np.arange(2)[:, None], np.zeros((2, 1, 1)), np.ones(1), np.zeros((2, 1, 1)), -np.ones((2, 1, 1))
    )
    assert not WoodburySystem(factors, 2).factor(1.0)
    assert not DenseSystem(np.eye(2)).factor(1.0)
    # a pole of the blocks that is none of J: I - c J = 1 + c (4 - 1), yet D = 1 - c is 0 to rounding at c = 1
    near = factors._replace(P=np.full((2, 1, 1), 2.0), H=np.full((2, 1, 1), 2.0))
    system, x = WoodburySystem(near, 2), np.empty(2)
    assert not (system.factor(1.0 - 1e-16) and system.solve(np.ones(2), x))


@pytest.mark.parametrize("ridge", [0.0, 0.2])
@pytest.mark.parametrize("make", ["gram", "lanczos"])
def test_modes_solve_what_they_stand_for(make, ridge):
    flow = Network(m=30, n=5, mobility=(1.0, 0.5))
    z, reach, c = flow.start, 1e3, 3.0
    linear = flow.linearize(0.0, z)
    # with blocks that are a multiple of the identity, the modes are all there is
    linear.factors = linear.factors._replace(B=np.broadcast_to(ridge * np.eye(2), (30, 2, 2)))
    if make == "gram":
        system = gram_modes(linear.factors, linear.weight, reach)
    else:
        system, count = lanczos_modes(linear.product, linear.weight, z, reach)
        assert count <= 8  # rank 5, and two more for the rest and rounding
    assert abs(system.decay - ridge) < 1e-10
    system.factor(c)
    b, x = np.cos(np.arange(z.size)), np.empty(z.size)
    system.solve(b, x)
    exact = np.linalg.solve(np.eye(z.size) - c * assembled(linear.factors, z.size), b)
    # modes with reach w < 0.02 (1 + reach lam) are left out: c w is below 0.012 with ridge, and 6e-5 without
    assert np.max(np.abs(x - exact)) < (0.012 if ridge else 6e-5)
    assert len(system.rates) == 2
    gram = system.modes @ (system.modes * linear.weight).T
    # rounding, over the root of the smallest rate kept
    assert np.max(np.abs(gram - np.eye(len(gram)))) < 1e-9


def test_frozen_coordinates_stay_where_they_are():
    flow = Network(m=10, n=4, ridge=0.3, mobility=(1.0, 0.0))
    for method in (solvers.RODAS4(), solvers.RosenbrockW()):
        run = solvers.integrate(flow, flow.start, 5.0, method=method, save=2)
        assert np.array_equal(run.final[1::2], flow.start[1::2])
        assert not np.allclose(run.final[::2], flow.start[::2])


def test_a_linearization_that_contradicts_itself_is_named():
    linear = Network().linearize(0.0, Network().start)
    skew = linear.factors._replace(P=linear.factors.P[::-1])
    with pytest.raises(PluginError, match="multiple of H"):
        gram_modes(skew, linear.weight, 1.0)


# -- runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("name", ["RODAS4", "RODAS3", "RosenbrockW"])
def test_a_stiff_network_at_its_tolerance(name, scale):
    from scipy.integrate import solve_ivp

    flow = Network(m=40, n=20, scale=scale)
    t_end = 1000.0 / scale
    exact = solve_ivp(
        lambda t, z: flow.velocity(t, z, np.empty_like(z)),
        (0, t_end),
        flow.start,
        method="Radau",
        rtol=1e-8,
        atol=1e-10,
        jac=lambda t, z: assembled(flow.linearize(t, z).factors, z.size),
    ).y[:, -1]
    run = solvers.integrate(
        flow, flow.start, t_end, method=getattr(solvers, name)(rtol=1e-4, atol=1e-7), save=2
    )
    # errors of a few hundred steps add up: measured 3e-5 to 1e-3
    assert np.max(np.abs(run.final - exact)) < 3e-3
    assert run.stats["steps"] < 600


def test_work_is_counted():
    flow = Network(m=40, n=20)
    counts = {"velocity": 0, "linearize": 0}

    class Counting(Network):
        def velocity(self, t, z, out):
            counts["velocity"] += 1
            return super().velocity(t, z, out)

        def linearize(self, t, z):
            counts["linearize"] += 1
            return super().linearize(t, z)

    flow = Counting(m=40, n=20)
    stats = solvers.integrate(flow, flow.start, 50.0, method=solvers.RODAS4(), save=2).stats
    attempts = stats["steps"] + stats["rejected"]
    assert stats["evaluations"] == counts["velocity"] == 1 + stats["steps"] + 5 * attempts
    assert stats["factorizations"] == attempts
    assert counts["linearize"] == stats["steps"]
    counts.update(velocity=0, linearize=0)
    stats = solvers.integrate(flow, flow.start, 50.0, method=solvers.RosenbrockW(), save=2).stats
    attempts = stats["steps"] + stats["rejected"]
    assert stats["evaluations"] == counts["velocity"] == 1 + stats["steps"] + 3 * attempts
    # one call asks at the start whether the Jacobian is symmetric
    assert stats["grams"] == counts["linearize"] - 1
    assert attempts / 10 <= stats["grams"] <= attempts / 2


def test_a_network_with_many_data_goes_through_products():
    # more than 400 predictions: the modes come from products with J
    flow = Network(m=12, n=401)
    method = solvers.RosenbrockW(rtol=1e-4, atol=1e-7)
    run = solvers.integrate(flow, flow.start, 20.0, method=method, save=2)
    other = solvers.integrate(
        flow, flow.start, 20.0, method=solvers.DormandPrince(rtol=1e-9, atol=1e-12), save=2
    )
    assert run.stats["grams"] == 0
    assert 0 < run.stats["jv"] <= 60 * (run.stats["steps"] + run.stats["rejected"])
    # measured 5e-5
    assert np.max(np.abs(run.final - other.final)) < 1e-3


def test_more_predictions_than_coordinates_make_a_full_matrix():
    few = Network(m=3, n=30)
    exact = solvers.integrate(
        few, few.start, 5.0, method=solvers.DormandPrince(rtol=1e-10, atol=1e-12), save=2
    )
    run = solvers.integrate(few, few.start, 5.0, method=solvers.RODAS4(), save=2)
    # rtol = 1e-6 over 5 units of time
    assert np.max(np.abs(run.final - exact.final)) < 1e-4


def test_kinked_velocities_with_a_jacobian_of_their_own():
    class Sliding:
        kind, smooth, time_dependent, rank = "ode", False, False, None

        def pack(self, state):
            return np.array(state, dtype=float)

        def unpack(self, z, like):
            return z.copy()

        def velocity(self, t, z, out):
            out[:] = -np.sign(z) + 0.3 - 1e3 * (z - 1) * (z > 1)
            return out

        def linearize(self, t, z):
            class Linear:
                weight, rank = np.ones_like(z), None

                def product(self, v, out):
                    out[:] = -1e3 * (z > 1) * v
                    return out

            return Linear()

    for method in (solvers.RODAS3(rtol=1e-3), solvers.RosenbrockW(rtol=1e-3)):
        run = solvers.integrate(Sliding(), np.array([3.0, 0.5, -1.0]), 5.0, method=method)
        assert run.stats["kink_steps"] > 0
        # chatter about the line, as in the tests of explicit methods
        assert np.max(np.abs(run.final)) < 40 * 3e-3
        assert run.stats["evaluations"] < 60_000


# -- resuming, threads, refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [20, 401])
@pytest.mark.parametrize("name", ["RODAS4", "RODAS3", "RosenbrockW"])
@pytest.mark.parametrize("after", [1, 7, 23])
def test_a_stopped_run_ends_in_the_same_bits(name, n, after, tmp_path):
    flow, method = Network(m=30, n=n), getattr(solvers, name)(rtol=1e-4, atol=1e-7)
    whole = solvers.integrate(flow, flow.start, 300.0, method=method, save=5)
    path = tmp_path / "run.npz"
    keep = solvers.Checkpoint(path, steps=1)
    solvers.integrate(flow, flow.start, 300.0, method=method, save=5, observers=[keep], max_steps=after)
    resumed = solvers.integrate(flow, flow.start, 300.0, method=method, save=5, resume=path)
    assert np.array_equal(whole.final, resumed.final)
    for count in ("steps", "rejected", "evaluations", "factorizations", "jv"):
        assert whole.stats[count] == resumed.stats[count], count


def test_flows_without_a_jacobian_are_refused():
    with pytest.raises(InputError, match="a full Jacobian of 1001 coordinates"):
        solvers.integrate(lambda x: -x, np.ones(1001), 1.0, method=solvers.RODAS4())
    kinked = solvers.FunctionFlow(lambda x: -np.sign(x), smooth=False)
    with pytest.raises(InputError, match="linearize"):
        solvers.integrate(kinked, np.ones(2), 1.0, method=solvers.RODAS3())
    with pytest.raises(InputError, match="RosenbrockW needs a flow with a method linearize"):
        solvers.integrate(kinked, np.ones(2), 1.0, method=solvers.RosenbrockW())
    with pytest.raises(InputError, match="symmetric in some weights"):
        solvers.integrate(lambda x: -x, np.ones(2), 1.0, method=solvers.RosenbrockW())

    class Unsymmetric(Network):
        def linearize(self, t, z):
            linear = super().linearize(t, z)
            linear.weight = None
            return linear

    flow = Unsymmetric()
    with pytest.raises(InputError, match="symmetric in some weights"):
        solvers.integrate(flow, flow.start, 1.0, method=solvers.RosenbrockW())
    assert solvers.integrate(flow, flow.start, 1.0, method=solvers.RODAS4()).t[-1] == 1.0


def test_bad_tolerances_are_refused():
    with pytest.raises(InputError, match="rtol must be non-negative"):
        solvers.RODAS4(rtol=-1e-3)
    assert (
        repr(solvers.RosenbrockW(rtol=1e-3, max_step=0.5))
        == "RosenbrockW(rtol=0.001, atol=1e-07, max_step=0.5)"
    )
    assert (solvers.RODAS4().order, solvers.RODAS3().order, solvers.RosenbrockW().order) == (4, 3, 3)
    assert dataclasses.replace(solvers.RODAS4(), rtol=1e-3).rtol == 1e-3

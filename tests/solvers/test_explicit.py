"""Explicit Runge-Kutta methods: identities of the tableaux, orders, accuracy and cost of the error control, kinks."""

from __future__ import annotations

import math

import numpy as np
import pytest

import solvers
from solvers.errors import DivergenceError, InputError
from solvers.explicit import (
    BOGACKI_SHAMPINE,
    CLASSICAL,
    DORMAND_PRINCE,
    EULER,
    HEUN,
    ButcherTableau,
    rooted_trees,
)
from solvers.testing import check_slope, fixed_pair, observed_order

TABLEAUX = {
    "Euler": EULER,
    "Heun": HEUN,
    "RK4": CLASSICAL,
    "BogackiShampine": BOGACKI_SHAMPINE,
    "DormandPrince": DORMAND_PRINCE,
}


def pendulum(x):
    return np.array([x[1], -np.sin(x[0])])


def pendulum_reference(t_end):
    """A tenth-order-accurate answer by another road: Taylor series of the pendulum in many short steps."""
    angle, speed = 1.0, 0.5
    steps = 4000
    h = t_end / steps
    for _ in range(steps):
        # x'' = -sin x; the Taylor coefficients of (x, sin x, cos x) follow from each other
        x, s, c = [angle, speed], [math.sin(angle)], [math.cos(angle)]
        for k in range(8):
            x.append(-s[k] / ((k + 1) * (k + 2)))
            s.append(sum((j + 1) * x[j + 1] * c[k - j] for j in range(k + 1)) / (k + 1))
            c.append(-sum((j + 1) * x[j + 1] * s[k - j] for j in range(k + 1)) / (k + 1))
        angle = sum(a * h**k for k, a in enumerate(x))
        speed = sum(k * a * h ** (k - 1) for k, a in enumerate(x) if k)
    return np.array([angle, speed])


# -- tableaux -------------------------------------------------------------------------------------------------


def test_the_number_of_rooted_trees_is_known():
    assert [len(rooted_trees(n)) for n in range(1, 8)] == [1, 1, 2, 4, 9, 20, 48]


@pytest.mark.parametrize("name", TABLEAUX)
def test_a_tableau_has_its_order_and_no_more(name):
    tableau = TABLEAUX[name]

    def worst(weights, vertices):
        return max(abs(tableau.residual(weights, tree)) for tree in rooted_trees(vertices))

    # five roundings of coefficients of size up to 12 (Dormand-Prince): 1e-14 is the bound that the class enforces
    assert all(worst(tableau.b, n) < 1e-14 for n in range(1, tableau.order + 1))
    assert worst(tableau.b, tableau.order + 1) > 1e-5
    if tableau.embedded is not None:
        assert all(worst(tableau.embedded, n) < 1e-14 for n in range(1, tableau.embedded_order + 1))
        assert worst(tableau.embedded, tableau.embedded_order + 1) > 1e-5


def test_first_same_as_last():
    assert [n for n, t in TABLEAUX.items() if t.first_same_as_last] == ["BogackiShampine", "DormandPrince"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"b": (0.5, 0.6)}, "order-1"),
        ({"b": (0.25, 0.75)}, "order-2"),
        ({"c": (0.0, 0.9)}, "row 1"),
        ({"a": ((), ())}, "row of i numbers"),
        ({"order": 3}, "order-3"),
        ({"embedded": (1.0,), "embedded_order": 1}, "as many weights"),
    ],
)
def test_a_wrong_tableau_is_refused(change, word):
    good = {"a": ((), (1.0,)), "b": (0.5, 0.5), "c": (0.0, 1.0), "order": 2}
    ButcherTableau(**good)
    with pytest.raises(InputError, match=word):
        ButcherTableau(**(good | change))


# -- orders ---------------------------------------------------------------------------------------------------


METHODS = {
    "Euler": (solvers.Euler, 1, (256, 512, 1024, 2048)),
    "Heun": (solvers.Heun, 2, (64, 128, 256, 512)),
    "RK4": (solvers.RK4, 4, (32, 64, 128, 256)),
    "BogackiShampine": (fixed_pair(solvers.BogackiShampine), 3, (64, 128, 256, 512)),
    "DormandPrince": (fixed_pair(solvers.DormandPrince), 5, (80, 96, 128, 160)),
    "RungeKutta": (lambda h: solvers.RungeKutta(h, DORMAND_PRINCE), 5, (80, 96, 128, 160)),
}


@pytest.mark.parametrize("name", METHODS)
def test_observed_order_on_the_pendulum(name):
    method, order, steps = METHODS[name]
    fit = observed_order(method, pendulum, np.array([1.0, 0.5]), 3.0, pendulum_reference(3.0), steps=steps)
    assert abs(fit.slope - order) < 0.1, fit


@pytest.mark.parametrize("name", METHODS)
def test_observed_order_with_time_in_the_velocity(name):
    # x' = cos t (1 - x^2) from 0 is tanh(sin t): stages at wrong times would show. There order 5 shows 5.9 (its
    # leading error almost cancels), so the methods of that order run x' = cos t (1 + x^2), which is tan(sin t).
    method, order, steps = METHODS[name]
    sign, exact = (1, math.tan(math.sin(2.0))) if order == 5 else (-1, math.tanh(math.sin(2.0)))
    steps = (48, 64, 96, 128) if order == 5 else steps
    fit = observed_order(method, lambda t, x: np.cos(t) * (1 + sign * x**2), [0.0], 2.0, [exact], steps=steps)
    assert abs(fit.slope - order) < 0.1, fit


def test_euler_is_gradient_descent_to_the_last_bit():
    x = np.array([1.0, -2.0, 3.0])
    run = solvers.integrate(lambda x: -(x**3), x, 1.0, method=solvers.Euler(step=0.125))
    for _ in range(8):
        x = x + 0.125 * -(x**3)
    assert np.array_equal(run.final, x)


# -- steps of several sizes -----------------------------------------------------------------------------------


class Decay:
    """x' = -x, whose Euler steps multiply; runs them itself where `own`."""

    kind, time_dependent = "ode", False

    def __init__(self, own):
        self.calls = 0
        if own:
            self.advance_by = self.run

    def pack(self, state):
        return np.array(state, dtype=np.float64)

    def unpack(self, z, like):
        return z.copy()

    def velocity(self, t, z, out):
        np.negative(z, out=out)
        return out

    def run(self, z, sizes, steps):
        assert sizes.shape == (steps,)
        self.calls += 1
        for h in sizes:
            z += h * -z


@pytest.mark.parametrize("own", [True, False])
def test_euler_takes_a_size_for_each_step(own):
    sizes = 0.5 / np.sqrt(np.arange(40) + 1)
    flow = Decay(own)
    run = solvers.integrate(flow, [1.0, -2.0], sizes.sum(), method=solvers.Euler(sizes), save=[0.6, 2.0])
    assert run.stats["steps"] == run.stats["evaluations"] == 40 and run.t[-1] == sizes.sum()
    expected = np.array([1.0, -2.0])
    for h in sizes:
        expected += h * -expected
    assert np.array_equal(run.final, expected)
    # saves happen at the steps nearest to the times asked for
    times = np.concatenate([[0.0], np.cumsum(sizes)])
    wanted = [0.0, times[np.abs(times - 0.6).argmin()], times[np.abs(times - 2.0).argmin()], sizes.sum()]
    np.testing.assert_allclose(run.t, wanted, rtol=1e-14)  # the same sums, rounded in another order
    assert (flow.calls > 0) == own


def test_equal_sizes_are_a_fixed_step_and_the_last_one_is_cut():
    a, b = (
        solvers.integrate(pendulum, [1.0, 0.0], 1.0, method=solvers.Euler(step))
        for step in (0.125, np.full(8, 0.125))
    )
    assert np.array_equal(a.final, b.final) and np.array_equal(a.t, b.t)
    cut = solvers.integrate(Decay(True), [1.0], 0.3, method=solvers.Euler([0.2, 0.2, 0.2]))
    assert cut.stats["steps"] == 2 and cut.t[-1] == 0.3
    assert cut.final[0] == pytest.approx(0.8 * 0.9, rel=1e-15)
    assert len(solvers.integrate(Decay(True), [1.0], 0.0, method=solvers.Euler([0.2])).t) == 1


def test_sizes_that_do_not_serve_are_refused():
    with pytest.raises(InputError, match=r"2 sizes in step sum to 0\.4, but the run takes 1"):
        solvers.integrate(pendulum, [1.0, 0.0], 1.0, method=solvers.Euler([0.2, 0.2]))
    with pytest.raises(InputError, match="step must hold positive sizes, but it holds -1"):
        solvers.Euler([0.1, -1.0])
    with pytest.raises(InputError, match="step"):
        solvers.Euler([])
    with pytest.raises(InputError, match="step must be a number"):
        solvers.RK4([0.1, 0.2])


def test_methods_with_the_same_sizes_are_equal_and_print_briefly():
    sizes = np.linspace(0.1, 1.0, 5000)
    method = solvers.Euler(sizes)
    assert method == solvers.Euler(sizes.copy()) and hash(method) == hash(solvers.Euler(sizes.copy()))
    sizes[77] += 1e-9
    assert method != solvers.Euler(sizes) and repr(method) != repr(solvers.Euler(sizes))
    assert repr(method).startswith("Euler(step=<5000 sizes from 0.1 to 1, digest ")
    assert solvers.Euler(0.1) == solvers.Euler(step=0.1) != solvers.Euler(0.2)


def test_divergence_with_several_sizes_names_its_step():
    sizes = np.array([0.5, 1e200, 1e200, 1.0])
    with pytest.raises(DivergenceError, match="in step 3, from t = 1e\\+200 with step size 1e\\+200"):
        solvers.integrate(Decay(True), [1.0, 2.0, 1e-3], sizes.sum(), method=solvers.Euler(sizes))


# -- error control --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [solvers.BogackiShampine, solvers.DormandPrince])
@pytest.mark.parametrize("rtol", [1e-3, 1e-5, 1e-7])
def test_the_real_error_follows_the_tolerance(method, rtol):
    run = solvers.integrate(pendulum, [1.0, 0.5], 10.0, method=method(rtol=rtol, atol=rtol * 1e-3), save=2)
    error = np.max(np.abs(run.final - pendulum_reference(10.0)))
    # measured: 1.4 to 6.2 tolerances after ten units of time, over which errors of a pendulum add up
    assert error < 30 * rtol
    assert run.stats["kink_steps"] == 0


@pytest.mark.parametrize(("method", "order"), [(solvers.BogackiShampine, 3), (solvers.DormandPrince, 5)])
def test_steps_grow_like_the_tolerance_to_minus_one_over_the_order(method, order):
    tolerances = [1e-4, 1e-5, 1e-6, 1e-7, 1e-8]
    counts = [
        solvers.integrate(
            pendulum, [1.0, 0.5], 10.0, method=method(rtol=rtol, atol=rtol * 1e-3), save=2
        ).stats["steps"]
        for rtol in tolerances
    ]
    # the step is proportional to tolerance^(1/k), k the order of the estimate; whole steps and the start blur it
    assert check_slope(tolerances, counts, -1.0 / order, 0.05), counts


def test_evaluations_are_bounded_and_counted():
    count = 0

    def velocity(x):
        nonlocal count
        count += 1
        return -x

    run = solvers.integrate(velocity, np.array([1.0]), 5.0, method=solvers.DormandPrince(), save=2)
    # one call checks the function; first-same-as-last makes six a step; two start the run
    assert count == run.stats["evaluations"] + 1
    assert run.stats["evaluations"] == 2 + 6 * (run.stats["steps"] + run.stats["rejected"])


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("name", ["RK45", "RK23"])
def test_as_few_evaluations_as_scipy(name, rtol):
    from scipy.integrate import solve_ivp

    method = solvers.DormandPrince if name == "RK45" else solvers.BogackiShampine
    run = solvers.integrate(pendulum, [1.0, 0.5], 10.0, method=method(rtol=rtol, atol=rtol / 1000), save=2)
    other = solve_ivp(lambda t, x: pendulum(x), (0, 10), [1.0, 0.5], method=name, rtol=rtol, atol=rtol / 1000)
    # measured 0.96 to 1.18 of scipy's: its controller has no memory, ours gives up some step for fewer rejections
    assert run.stats["evaluations"] <= 1.25 * other.nfev


@pytest.mark.parametrize(("name", "stages"), [("Euler", 1), ("Heun", 2), ("RK4", 4)])
def test_fixed_steps_cost_their_stages(name, stages):
    run = solvers.integrate(pendulum, [1.0, 0.5], 1.0, method=getattr(solvers, name)(step=0.1))
    assert run.stats["evaluations"] == 10 * stages


def test_many_saves_do_not_spoil_the_controller():
    # shortened steps cost evaluations, but after them the step is as large as before: a burst of saves costs
    # about one step a save and no slow recovery
    method = solvers.DormandPrince(rtol=1e-8, atol=1e-10)
    plain = solvers.integrate(pendulum, [1.0, 0.5], 20.0, method=method, save=2).stats["steps"]
    burst = 10.0 + 1e-3 * np.arange(20)
    dense = solvers.integrate(pendulum, [1.0, 0.5], 20.0, method=method, save=burst).stats["steps"]
    assert dense <= plain + 2 * 20 + 2


def test_adaptive_steps_land_on_save_times_exactly():
    times = np.array([0.0, 0.1, 0.1 + 1e-13 * 1e5, 1 / 3, 2.0])
    run = solvers.integrate(pendulum, [1.0, 0.5], 2.0, save=times)
    assert np.array_equal(run.t, times)


def test_tolerances_hold_along_the_way():
    times = np.linspace(0.0, 5.0, 21)
    run = solvers.integrate(lambda x: -x, [1.0, 3.0], 5.0, save=times, keep="all")
    exact = np.exp(-times)[:, None] * np.array([1.0, 3.0])
    # rtol = 1e-6: measured 5e-8 relative at the worst save
    assert np.max(np.abs(np.array(run.states) - exact) / exact) < 3e-6


def test_error_norm_of_the_flow_is_used():
    class Flow:
        kind = "ode"
        seen = 0

        def pack(self, state):
            return np.array(state, dtype=float)

        def unpack(self, z, like):
            return z.copy()

        def velocity(self, t, z, out):
            out[0] = -z[0]
            out[1] = 50.0 * np.cos(50.0 * t)
            return out

        def error_norm(self, z, error, rtol, atol):
            self.seen += 1
            return abs(error[0]) / (atol + rtol * abs(z[0]))

    flow = Flow()
    run = solvers.integrate(flow, [1.0, 0.0], 2.0, save=2)
    everything = solvers.integrate(
        lambda t, x: np.array([-x[0], 50.0 * np.cos(50.0 * t)]), np.array([1.0, 0.0]), 2.0, save=2
    )
    assert flow.seen >= run.stats["steps"]
    # the fast component does not count, so it takes far fewer steps than when it does
    assert run.stats["steps"] * 5 < everything.stats["steps"]
    assert abs(run.final[0] - math.exp(-2)) < 1e-5


# -- kinks ----------------------------------------------------------------------------------------------------


def sliding(x):
    """Every coordinate reaches 0 and stays there: 1.3 from below, -0.7 from above."""
    return -np.sign(x) + 0.3


def sliding_plane(x):
    """Slides along x = 0, where Filippov's velocity of y is the mean of 2 and 1 weighted by (.7, .3): 1.6 or 1.4."""
    return np.array([-np.sign(x[0]) + 0.4, np.where(x[0] > 0, 2.0, 1.0)])


@pytest.mark.parametrize("rtol", [1e-3, 1e-4, 1e-6])
@pytest.mark.parametrize("start", [1.0, np.array([1.0, 2.0, -1.5])])
def test_sliding_never_stalls(rtol, start):
    flow = solvers.FunctionFlow(sliding, smooth=False)
    run = solvers.integrate(flow, start, 5.0, method=solvers.BogackiShampine(rtol=rtol))
    assert run.status is solvers.Status.reached_end
    assert run.stats["kink_steps"] > 10
    # steps at the floor: 1e-4 relative at the tightest, whatever the tolerance; measured 18900 at rtol = 1e-6
    assert run.stats["evaluations"] < 60_000
    # chatter about the line: measured up to 8 times max(3 rtol, 1e-4)
    assert np.max(np.abs(run.final)) < 40 * max(3 * rtol, 1e-4)


@pytest.mark.parametrize("rtol", [1e-3, 1e-4])
def test_sliding_in_the_plane_follows_filippov(rtol):
    # on x = 0: lambda (-0.6) + (1 - lambda) 1.4 = 0 gives lambda = 0.7, so y' = 0.7 * 2 + 0.3 * 1 = 1.7
    flow = solvers.FunctionFlow(sliding_plane, smooth=False)
    run = solvers.integrate(flow, np.array([0.6, 0.0]), 3.0, method=solvers.BogackiShampine(rtol=rtol))
    reached = 0.6 / 0.6
    exact = 2.0 * reached + 1.7 * (3.0 - reached)
    assert run.stats["kink_steps"] > 10
    assert abs(run.final[0]) < 40 * 3 * rtol * exact
    # measured 0.1 to 0.2 of 3 rtol
    assert abs(run.final[1] - exact) < 3 * rtol * exact


def test_sliding_where_the_state_rests_at_zero_never_stalls():
    # no size of the state to compare with: 1e-3 of the way between saves bounds the steps (measured 27512
    # evaluations; atol = 1e-7 alone would ask for some 10^7 steps)
    flow = solvers.FunctionFlow(lambda t, x: np.sin(t) - np.sign(x), smooth=False)
    run = solvers.integrate(flow, np.zeros(2), 3.0, method=solvers.BogackiShampine(rtol=1e-3), save=7)
    assert run.stats["kink_steps"] > 10
    assert run.stats["evaluations"] < 100_000
    assert np.max(np.abs(run.final)) < 5e-3


def test_a_tiny_first_step_onto_a_jump_does_not_stall():
    # it grows to the size where the error, proportional to h, is just allowed, and must not rest there
    flow = solvers.FunctionFlow(sliding, smooth=False)
    method = solvers.BogackiShampine(rtol=1e-4, atol=1e-9, first_step=1e-9)
    run = solvers.integrate(flow, np.array([0.0, 1.0]), 1.0, method=method)
    # measured 2728
    assert run.stats["evaluations"] < 10_000


def test_a_crossed_kink_costs_little_and_is_accurate():
    # x' = 1 + 1{x > 0.5}: the kink is crossed once, at t = 0.5
    flow = solvers.FunctionFlow(lambda x: 1.0 + (x > 0.5), smooth=False)
    run = solvers.integrate(flow, np.array([0.0]), 1.0)
    assert run.stats["method"].startswith("BogackiShampine")
    assert abs(run.final[0] - 1.5) < 1e-3
    assert run.stats["evaluations"] < 400


def test_the_kink_rule_accepts_no_blow_up():
    flow = solvers.FunctionFlow(lambda x: x * np.abs(x), smooth=False)
    with pytest.raises(DivergenceError) as caught:
        solvers.integrate(flow, np.array([1.0]), 2.0)
    run = caught.value.run
    # the solution 1/(1 - t) ends at t = 1; rtol = 1e-4 moves that (measured by 6e-5)
    assert run.status is solvers.Status.step_too_small
    assert abs(run.t[-1] - 1.0) < 1e-3
    assert np.isfinite(run.final).all()


def test_the_kink_rule_accepts_no_step_beyond_the_stability_limit():
    # x' = -1e4 (x - sign(x)): stiff and kinked at once; an accepted unstable step would leave |x| near 1
    flow = solvers.FunctionFlow(lambda x: -1e4 * (x - np.sign(x)), smooth=False)
    run = solvers.integrate(flow, np.array([3.0, -0.2]), 0.5, keep="all")
    # after the first save the transient is over; measured 1.3e-4 (rtol = 1e-4)
    assert np.max(np.abs(np.abs(np.array(run.states[1:])) - 1.0)) < 2e-3


def test_a_smooth_flow_gets_no_kink_steps():
    # declared smooth, the sliding problem must be resolved or refused, never waved through
    with pytest.raises(DivergenceError) as caught:
        solvers.integrate(
            lambda x: -np.sign(x) + 0.3,
            1.0,
            5.0,
            method=solvers.BogackiShampine(rtol=1e-3, atol=1e-300),
            save=2,
        )
    assert caught.value.run.stats["kink_steps"] == 0
    assert "smooth=False" in str(caught.value)


# -- methods as objects ---------------------------------------------------------------------------------------


def test_auto_says_what_it_chose_and_why():
    smooth = solvers.integrate(lambda x: -x, [1.0], 1.0).stats
    kinked = solvers.integrate(
        solvers.FunctionFlow(lambda x: -np.sign(x) * 0.1, smooth=False), [1.0], 1.0
    ).stats
    assert (smooth["method"], smooth["why"]) == (
        "DormandPrince(rtol=1e-06, atol=1e-09)",
        "the velocity is smooth",
    )
    assert kinked["method"] == "BogackiShampine(rtol=0.0001, atol=1e-07)"
    assert "jumps" in kinked["why"]
    asked = solvers.integrate(lambda x: -x, [1.0], 1.0, method=solvers.Auto(rtol=1e-4)).stats
    assert asked["method"] == repr(solvers.DormandPrince(rtol=1e-4, atol=1e-7))


@pytest.mark.parametrize("cls", [solvers.Euler, solvers.Heun, solvers.RK4])
@pytest.mark.parametrize("step", [-1.0, 0.0, np.nan, np.inf, "fast", True])
def test_a_bad_step_is_refused(cls, step):
    with pytest.raises(InputError, match="^step must be"):
        cls(step=step)


@pytest.mark.parametrize("cls", [solvers.BogackiShampine, solvers.DormandPrince])
def test_bad_tolerances_are_refused(cls):
    with pytest.raises(InputError, match="rtol must be non-negative"):
        cls(rtol=-1e-3)
    with pytest.raises(InputError, match="must not both be zero"):
        cls(rtol=0.0, atol=0.0)
    with pytest.raises(InputError, match="max_step must be positive"):
        cls(max_step=0.0)
    assert repr(cls(rtol=1e-3, atol=0, max_step=0.5)) == f"{cls.__name__}(rtol=0.001, atol=0.0, max_step=0.5)"


def test_max_step_and_first_step_are_kept():
    method = solvers.DormandPrince(first_step=1e-3, max_step=0.05)
    sizes = [s.h for s in solvers.steps(lambda x: -x, [1.0], 2.0, method=method)]
    assert sizes[0] == 1e-3
    assert max(sizes) <= 0.05

"""A user's linearization is checked where it is first used: each mistake is named, none gives a wrong answer."""

from __future__ import annotations

import numpy as np
import pytest

import solvers
from solvers.errors import DivergenceError, InputError, PluginError
from solvers.protocols import LowRank

N = 3
ONE = np.ones((N, 1))
FORM = LowRank(np.arange(N)[:, None], ONE, np.ones(1), ONE[:, :, None], np.zeros((N, 1, 1)))


class Linear:
    """J = -1, as it should be said."""

    weight = np.ones(N)
    rank = None

    def product(self, v, out):
        return np.multiply(v, -1.0, out=out)


class Decay:
    """``z' = -rate z`` with a linearization of one's own."""

    kind = "ode"
    time_dependent = False
    rank = None

    def __init__(self, linear, rate=1.0):
        self.linear, self.rate = linear, np.asarray(rate)

    def pack(self, state):
        return np.array(state, dtype=np.float64)

    def unpack(self, z, like):
        return z.copy()

    def velocity(self, t, z, out):
        return np.multiply(z, -self.rate, out=out)

    def linearize(self, t, z):
        return self.linear


def _with(**attributes):
    return type("Linear", (Linear,), attributes)()


def _form(**parts):
    return _with(rank=1, low_rank=lambda self: FORM._replace(**parts))


EXACT = (solvers.RODAS4(), solvers.RODAS3())
WEIGHTED = (solvers.RosenbrockW(), solvers.EXPRB32())
PRODUCTS = (solvers.RKC2(), *EXACT, *WEIGHTED)


@pytest.mark.parametrize(
    ("linear", "methods", "word"),
    [
        (None, PRODUCTS, "not None"),
        (-np.eye(N), PRODUCTS, "product.*array of shape"),
        (_with(product=lambda self, v, out: -v), PRODUCTS, "fill and return"),
        (_with(product=lambda self, v, out: np.copyto(out, np.ones(2))), PRODUCTS, "shape"),
        (_with(weight=np.ones(2)), WEIGHTED, "array of 3 real numbers"),
        (_with(weight=[1.0, 1.0, 1.0]), WEIGHTED, "array of 3 real numbers"),
        (_with(weight=-np.ones(N)), WEIGHTED, "nowhere negative"),
        (_with(weight=np.array([1.0, np.nan, 1.0])), WEIGHTED, "finite"),
        (_with(weight=np.array([1.0, 0.0, 1.0])), WEIGHTED, "moves"),
        (_with(rank=1, low_rank=lambda self: (1, 2, 3)), (*EXACT, WEIGHTED[0]), "LowRank, not a tuple"),
        (_form(B=np.zeros((N, 2, 2))), (*EXACT, WEIGHTED[0]), r"B must have shape \(3, 1, 1\)"),
        (_form(S=np.ones(2)), (*EXACT, WEIGHTED[0]), "S must have shape"),
        (_form(indices=FORM.indices + 1), (*EXACT, WEIGHTED[0]), "0 to 2"),
        (_form(indices=0 * FORM.indices), (*EXACT, WEIGHTED[0]), "one block"),
    ],
)
def test_a_wrong_linearization_is_named(linear, methods, word):
    for method in methods:
        with pytest.raises(PluginError, match=word):
            solvers.integrate(Decay(linear), np.ones(N), 1.0, method=method)


@pytest.mark.parametrize("method", WEIGHTED)
def test_a_linearization_without_weight_is_one_with_none(method):
    linear = type("Linear", (), {"rank": None, "product": Linear.product})()
    with pytest.raises(InputError, match="symmetric"):
        solvers.integrate(Decay(linear), np.ones(N), 1.0, method=method)


@pytest.mark.parametrize("method", PRODUCTS)
def test_a_correct_one_passes(method):
    for linear in (Linear(), _with(product=lambda self, v, out: np.copyto(out, -v))):
        run = solvers.integrate(Decay(linear), np.ones(N), 1.0, method=method)
        # 100 tolerances of 1e-4: a global error
        assert np.abs(run.final - np.exp(-1)).max() < 1e-2


@pytest.mark.parametrize("method", PRODUCTS)
def test_where_nothing_moves_nothing_happens(method):
    still = _with(weight=np.zeros(N), product=lambda self, v, out: np.multiply(v, 0.0, out=out))
    run = solvers.integrate(Decay(still, rate=0.0), np.ones(N), 1.0, method=method)
    assert np.array_equal(run.final, np.ones(N))


@pytest.mark.parametrize("method", (solvers.RKC2(), *EXACT))
def test_a_jacobian_of_nan_is_named(method):
    broken = _with(product=lambda self, v, out: np.multiply(v, np.nan, out=out))
    with pytest.raises(DivergenceError, match="NaN"):
        solvers.integrate(Decay(broken), np.ones(N), 1.0, method=method)


@pytest.mark.parametrize("method", EXACT)
def test_a_rank_alone_makes_no_large_jacobian(method):
    class Ranked(Decay):
        rank = 5
        linearize = property()  # hasattr says no

    with pytest.raises(InputError, match="1001"):
        solvers.integrate(Ranked(None), np.ones(1001), 1.0, method=method)


def test_exponential_steps_at_a_late_time():
    # a difference in time of 1e-5 of a step would be rounding at t = 1e8: 5102 steps instead of 228
    class Forced(Decay):
        time_dependent = True

        def velocity(self, t, z, out):
            out[:] = -50.0 * (z - np.cos(t - self.start))
            return out

    stiff = _with(product=lambda self, v, out: np.multiply(v, -50.0, out=out))
    steps = []
    for start in (0.0, 1e8):
        flow = Forced(stiff)
        flow.start = start
        run = solvers.integrate(flow, np.zeros(N), start + 0.5, t0=start, method=solvers.EXPRB32())
        exact = (2500 * np.cos(0.5) + 50 * np.sin(0.5)) / 2501 - 2500 / 2501 * np.exp(-25)
        assert np.abs(run.final - exact).max() < 1e-6  # 0.1 tolerances of 1e-5: measured 1e-8
        steps.append(run.stats["steps"])
    assert steps[1] < 1.5 * steps[0]

"""One input, two slopes: the O(n + m) method against all pairs, in plain NumPy and in exact arithmetic."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import meanfield as mf
import solvers
from meanfield._kernels import TwoLayerOnData, choose, relu_line
from meanfield._kernels.relu_line import ReLUOnLine, Rule, slopes
from solvers import _threads
from solvers.losses import compiled_weights

EPS = np.finfo(float).eps
TWO_SLOPES = [mf.ReLU(), mf.ReLU(0.3), mf.LeakyReLU(0.2), mf.LeakyReLU(-1.5), mf.Identity(0.7)]
LAYERS = [
    (1, None, True),
    (1, None, False),
    (3, None, True),
    (2, None, False),
    (1, -1.7, True),
    (1, 2.0, False),
]


def split(positions: Any, outputs: int, fixed: float | None, bias: bool) -> tuple[Any, Any, Any]:
    """Outer weights (m, k), inner weights (m,), biases (m,)."""
    k = 0 if fixed is not None else outputs
    outer = positions[:, :k] if k else np.full((len(positions), 1), fixed)
    return outer, positions[:, k], positions[:, k + 1] if bias else np.zeros(len(positions))


def all_pairs(
    activation: Any, X: Any, positions: Any, c: Any, q: Any, outputs: int, fixed: float | None, bias: bool
) -> tuple[Any, Any, Any]:
    """int Phi dmu (n, k), <q, Phi> and its gradient, by NumPy over all pairs."""
    outer, w, b = split(positions, outputs, fixed, bias)
    plus, minus, zero = (activation.slope(z) for z in (1.0, -1.0, 0.0))
    z = w[:, None] * X[:, 0] + b[:, None]
    slope = np.where(z > 0, plus, np.where(z < 0, minus, zero))
    value = np.where(z > 0, plus, minus) * z
    f = np.einsum("j,jo,ji->io", c, outer, value)
    back = (outer @ q.T) * slope
    parts = (
        ([value @ q] if fixed is None else [])
        + [back @ X]
        + ([back.sum(axis=1, keepdims=True)] if bias else [])
    )
    return f, np.sum((value @ q) * outer, axis=1), np.hstack(parts)


def problem(
    rng: Any, n: int, m: int, outputs: int, fixed: float | None, bias: bool
) -> tuple[Any, Any, Any, Any]:
    p = (0 if fixed is not None else outputs) + 1 + bias
    return (
        rng.standard_normal((n, 1)),
        rng.standard_normal((m, p)),
        rng.standard_normal(m),
        rng.standard_normal((n, outputs)),
    )


def flat(q: Any) -> Any:
    return q[:, 0] if q.shape[1] == 1 else q


@pytest.mark.parametrize("activation", TWO_SLOPES, ids=repr)
@pytest.mark.parametrize("layers", LAYERS, ids=repr)
@pytest.mark.parametrize("shape", [(1, 1), (2, 700), (100, 3), (33, 50), (700, 5000)])
def test_agrees_with_all_pairs(activation: Any, layers: Any, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    X, positions, c, q = problem(rng, *shape, *layers)
    # duplicates, points at 0, and neurons whose kink is exactly at a datum
    X[::3] = np.round(X[::3])
    positions[::4] = np.round(positions[::4])
    line = ReLUOnLine(activation, X, *layers)
    expected = all_pairs(activation, X, positions, c, q, *layers)
    raw, gradient = line.evaluate(positions, c, lambda f: flat(q))
    values, again = line.pullback(positions, flat(q))
    assert np.array_equal(raw, line.integrate(positions, c)) and np.array_equal(gradient, again)
    assert raw.shape == ((shape[0],) if layers[0] == 1 else (shape[0], layers[0]))
    for got, want in (
        (raw.reshape(shape[0], -1), expected[0]),
        (values, expected[1]),
        (gradient, expected[2]),
    ):
        # sums of up to 5000 terms of either sign, relative to the largest
        assert np.abs(got - want).max() <= 1e-12 * np.abs(want).max()


NUMBERS = st.one_of(
    st.sampled_from(
        [0.0, -0.0, 1.0, -1.0, 3.0, 0.1, -0.3, 5e-324, 1e-200, 1e8, 1e8 + 1, -1e8, 1e100, -1e100]
    ),
    st.floats(-4, 4),
    st.floats(1e6, 1e6 + 4),
)


@settings(max_examples=60)
@given(
    st.lists(NUMBERS, min_size=1, max_size=70),
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=12),
    st.integers(0, 10**6),
    st.sampled_from(TWO_SLOPES),
)
@example([5e-324], [(0.0, 0.0, 0.0)] * 7 + [(1e100, 0.0, 0.0)], 0, mf.ReLU(slope_at_zero=0.3))
def test_errors_are_those_of_rounding_each_pair_whatever_the_data(
    data: list[float], neurons: list[tuple[float, float, float]], seed: int, activation: Any
) -> None:
    rng = np.random.default_rng(seed)
    X, positions = np.array(data)[:, None], np.array(neurons)
    c, q = rng.standard_normal(len(neurons)), rng.standard_normal(len(data))
    line = ReLUOnLine(activation, X, 1, None, True)
    f = line.integrate(positions, c)
    values, gradient = line.pullback(positions, q)
    plus, minus, zero = (Fraction(activation.slope(z)) for z in (1.0, -1.0, 0.0))
    exact = [Fraction(0)] * len(data)
    size = [Fraction(0)] * len(data)
    # 32 data are summed plainly, and a few roundings come before and after; then there are the particles' sums
    factor = Fraction(EPS) * (45 + len(neurons))
    # products of numbers such as 1e-200 vanish, and 5e-324 has no digits to lose: an absolute error of about the
    # smallest normal number times the largest outer weight
    tiny = Fraction(1e-290) * max(Fraction(1), *(abs(Fraction(a)) for a, _, _ in neurons))
    for j, (a, w, b) in enumerate(neurons):
        back, weight = [Fraction(0)] * 3, [Fraction(0)] * 3
        for i, x in enumerate(data):
            z = w * x + b
            slope = plus if z > 0 else minus if z < 0 else zero
            true = Fraction(w) * Fraction(x) + Fraction(b)
            value = (plus if z > 0 else minus) * true
            reach = max(abs(plus), abs(minus), abs(zero)) * (abs(true) + abs(Fraction(w) * Fraction(x)))
            exact[i] += Fraction(c[j]) * Fraction(a) * value
            size[i] += abs(Fraction(c[j]) * Fraction(a)) * reach
            for e, (term, bound) in enumerate(
                (
                    (value, reach),
                    (Fraction(a) * slope * Fraction(x), abs(Fraction(a) * Fraction(x))),
                    (Fraction(a) * slope, abs(Fraction(a))),
                )
            ):
                back[e] += Fraction(q[i]) * term
                weight[e] += abs(Fraction(q[i])) * bound
        found = [Fraction(float(g)) for g in gradient[j]]
        for got, want, bound in zip(found, back, weight, strict=True):
            assert abs(got - want) <= factor * 2 * bound + tiny
        assert (
            abs(Fraction(float(values[j])) - Fraction(a) * back[0])
            <= 2 * factor * abs(Fraction(a)) * weight[0] + tiny
        )
    for i in range(len(data)):
        assert abs(Fraction(float(f[i])) - exact[i]) <= factor * size[i] + tiny


@settings(max_examples=50)
@given(
    st.lists(NUMBERS, min_size=1, max_size=40),
    st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12),
)
def test_the_active_set_is_that_of_all_pairs(data: list[float], neurons: list[tuple[float, float]]) -> None:
    X, positions = np.array(data)[:, None], np.array(neurons)
    line = ReLUOnLine(mf.ReLU(), X, 1, 1.0, True)
    # q = 1 counts the active data in the gradient of b
    count = line.pullback(positions, np.ones(len(data)))[1][:, 1]
    assert np.array_equal(count, (positions[:, :1] * X[:, 0] + positions[:, 1:] > 0).sum(axis=1))


def test_clusters_far_apart_do_not_spoil_each_other() -> None:
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.standard_normal(200), 1e9 + rng.standard_normal(200)])[:, None]
    positions = rng.standard_normal((500, 3))
    line = ReLUOnLine(mf.ReLU(), X, 1, None, True)
    f, (_, gradient) = line.integrate(positions, np.ones(500)), line.pullback(positions, np.ones(400))
    near = ReLUOnLine(mf.ReLU(), X[:200], 1, None, True).integrate(positions, np.ones(500))
    # The near cluster's predictions are of order 100, the far ones' 1e11; a sum about a common centre would lose them.
    assert np.abs(f[:200] - near).max() <= 1e-12 * np.abs(near).max()
    assert np.abs(gradient).max() > 1e9


def test_sums_of_a_million_equal_terms() -> None:
    X = np.linspace(0.0, 1.0, 100_001)[:, None]
    line = ReLUOnLine(mf.ReLU(), X, 1, None, True)
    f = line.integrate(np.array([[1.0, 0.1, 0.1]]), np.ones(1))
    # A plain running sum of 0.1 drifts by 1e-12 already at 1e5 terms.
    np.testing.assert_allclose(f, 0.1 * X[:, 0] + 0.1, rtol=1e-14)
    values, gradient = line.pullback(np.array([[1.0, 0.1, 0.1]]), np.full(len(X), 0.1))
    expected = [0.1 * 0.1 * 1.5 * len(X), 0.1 * 0.5 * len(X), 0.1 * len(X)]
    np.testing.assert_allclose(gradient[0], expected, rtol=1e-14)
    np.testing.assert_allclose(values[0], expected[0], rtol=1e-14)


def test_results_do_not_depend_on_what_was_computed_before() -> None:
    rng = np.random.default_rng(1)
    X, positions, c, q = problem(rng, 300, 2000, 1, None, True)
    cold = ReLUOnLine(mf.ReLU(0.5), X, 1, None, True)
    expected = (
        cold.integrate(positions, c),
        *ReLUOnLine(mf.ReLU(0.5), X, 1, None, True).pullback(positions, q[:, 0]),
    )
    warm = ReLUOnLine(mf.ReLU(0.5), X, 1, None, True)
    for other in (
        positions,
        -positions,
        positions + 1e-3,
        np.zeros_like(positions),
        positions * np.nan,
        positions[::-1],
    ):
        warm.integrate(other, c)
        found = warm.integrate(positions, c), *warm.pullback(positions, q[:, 0])
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    copy = pickle.loads(pickle.dumps(warm))
    assert np.array_equal(copy.integrate(positions, c), expected[0])


def test_calls_from_several_threads_do_not_disturb_each_other() -> None:
    rng = np.random.default_rng(2)
    X, _, c, q = problem(rng, 200, 3000, 1, None, True)
    clouds = [rng.standard_normal((3000, 3)) * (1 + k % 3) for k in range(12)]
    alone = ReLUOnLine(mf.ReLU(), X, 1, None, True)
    expected = [alone.evaluate(cloud, c, lambda f: f * q[:, 0]) for cloud in clouds]
    shared = ReLUOnLine(mf.ReLU(), X, 1, None, True)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda cloud: shared.evaluate(cloud, c, lambda f: f * q[:, 0]), clouds * 5))
    for (f, gradient), (raw, slope) in zip(found, expected * 5, strict=True):
        assert np.array_equal(f, raw) and np.array_equal(gradient, slope)


@pytest.mark.parametrize("threads", [2, 3])
def test_bits_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    rng = np.random.default_rng(4)
    X, positions, c, q = problem(rng, 50, 6000, 2, None, True)
    rule = plain_rule(mf.SquaredLoss(), X, rng.standard_normal((50, 2)), positions)
    results = []
    for count in (1, threads):
        monkeypatch.setattr(_threads, "thread_count", lambda count=count: count)
        monkeypatch.setattr(_threads, "_worth", {})
        for least in (1, 10**9):
            monkeypatch.setattr(relu_line, "PARALLEL_FROM", least)
            line = ReLUOnLine(mf.LeakyReLU(), X, 2, None, True)
            moved = positions.copy()
            line.descend(moved, c, rule, 1e-2, 3)
            results.append((line.integrate(positions, c), *line.pullback(positions, q), moved))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_orders_of_particles_and_of_data_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, positions, c, q = problem(rng, 40, 60, 1, None, True)
    X[:5] = X[5:10]
    data, particles = rng.permutation(40), rng.permutation(60)
    line, other = (ReLUOnLine(mf.ReLU(), x, 1, None, True) for x in (X, X[data]))
    f, (values, gradient) = line.integrate(positions, c), line.pullback(positions, q[:, 0])
    g, (v, s) = (
        other.integrate(positions[particles], c[particles]),
        other.pullback(positions[particles], q[data, 0]),
    )
    for got, want in ((g, f[data]), (v, values[particles]), (s, gradient[particles])):
        # sums of sixty terms in another order
        assert np.abs(got - want).max() <= 1e-14 * 60 * max(1.0, np.abs(want).max())


BAD = [(j, value) for j in range(3) for value in (np.nan, np.inf, -np.inf)]


@pytest.mark.parametrize(("coordinate", "value"), BAD)
@pytest.mark.parametrize("activation", [mf.ReLU(0.5), mf.LeakyReLU()], ids=repr)
@pytest.mark.parametrize("w", [2.0, -2.0, 0.0])
def test_numbers_that_are_not_finite_show(activation: Any, coordinate: int, value: float, w: float) -> None:
    rng = np.random.default_rng(0)
    X, positions, c, q = problem(rng, 50, 70, 1, None, True)
    for shift in (0.0, 1e3, -1e3):  # active on half of the data, on all, on none
        positions[17] = 1.0, w, shift
        positions[17, coordinate] = value
        for line in (ReLUOnLine(activation, X, 1, None, True) for _ in range(2)):
            with np.errstate(all="ignore"):
                f = line.integrate(positions, c)
                values, gradient = line.pullback(positions, q[:, 0])
            assert not np.isfinite(f).all()
            assert (
                not np.isfinite(values[17])
                or not np.isfinite(gradient[17]).all()
                or value in (np.inf, -np.inf)
            )
            others = np.arange(70) != 17
            assert np.isfinite(values[others]).all() and np.isfinite(gradient[others]).all()
    positions[17] = 1.0
    c[17] = value
    assert not np.isfinite(line.integrate(positions, c)).all()
    q[9] = value
    values, gradient = line.pullback(positions, q[:, 0])
    assert not np.isfinite(values).any() and not np.isfinite(gradient).all(axis=1).any()


def test_one_bad_particle_is_seen_through_the_whole_descent() -> None:
    rng = np.random.default_rng(0)
    X, positions, c, _ = problem(rng, 20, 30, 1, None, True)
    positions[3, 1] = np.nan
    rule = plain_rule(mf.SquaredLoss(), X, rng.standard_normal(20), positions)
    ReLUOnLine(mf.ReLU(), X, 1, None, True).descend(positions, c, rule, 1e-2, 4)
    assert not np.isfinite(positions).any(axis=1).all()


def plain_rule(loss: Any, X: Any, y: Any, positions: Any, **changes: Any) -> Rule:
    """The rule of a flow without centre, scale, signs and penalty."""
    w = compiled_weights(loss, y, None).reshape(y.shape)
    rule = Rule(
        loss,
        mf.NoRegularizer(),
        np.ascontiguousarray(y.T).reshape(-1),
        np.ascontiguousarray(w.T).reshape(-1),
        np.zeros(y.size),
        1.0,
        np.ones(positions.shape[1]),
        np.empty(0),
    )
    return rule._replace(**changes)


@pytest.mark.parametrize("layers", LAYERS, ids=repr)
@pytest.mark.parametrize("activation", [mf.ReLU(), mf.LeakyReLU()], ids=repr)
def test_descent_takes_the_steps_of_euler(activation: Any, layers: Any) -> None:
    rng = np.random.default_rng(5)
    X, start, _, y = problem(rng, 30, 1500, *layers)
    y = flat(y)
    c = rng.random(1500) / 1500
    signs, rate = rng.choice([-1.0, 1.0], 1500), rng.random(start.shape[1])
    centre, scale, strength = rng.standard_normal(y.shape), 2.5, 0.3
    loss = mf.SquaredLoss()
    changes = {
        "centre": np.ascontiguousarray(centre.T).reshape(-1),
        "scale": scale,
        "rate": rate,
        "signs": signs,
    }
    rule = plain_rule(loss, X, y, start, regularizer=mf.Ridge(strength), **changes)
    line = ReLUOnLine(activation, X, *layers)
    whole, cut, single = start.copy(), start.copy(), start.copy()
    line.descend(whole, c * signs, rule, 0.1, 5)
    line.descend(cut, c * signs, rule, 0.1, 2)
    line.descend(cut, c * signs, rule, 0.1, 3)
    assert np.array_equal(whole, cut)
    for _ in range(5):
        _, slope = line.evaluate(
            single, c * signs, lambda raw: scale * (1 / 30 * (scale * (raw - centre) - y))
        )
        single += 0.1 * (-(signs[:, None] * slope + strength * single) * rate)
    # The same operations in the same order, one rounding each.
    assert np.array_equal(whole, single)


@pytest.mark.usefixtures("step_by_step")
def test_descent_with_margin_losses_follows_the_flow() -> None:
    rng = np.random.default_rng(6)
    X = rng.standard_normal((60, 1))
    y = np.sign(X[:, 0] - 0.3)
    objective = mf.Objective(mf.TwoLayer("relu", d=1), X, y, loss=mf.LogisticLoss())
    mu = mf.ParticleMeasure.gaussian(objective.network, 40, rng=0)
    run = solvers.integrate(mf.WassersteinFlow(objective), mu, t_end=1.0, method=solvers.Euler(step=0.01))
    moved = np.array(mu.positions)
    rule = plain_rule(objective.loss, X, y, moved)
    ReLUOnLine(mf.ReLU(), X, 1, None, True).descend(moved, mu.coefficients, rule, 0.01, 100)
    # A hundred steps of sums in another order.
    np.testing.assert_allclose(moved, run.final.positions, rtol=1e-11, atol=1e-13)


class Hat(NamedTuple):
    """Says that it is homogeneous of degree 1, and is not."""

    height: float = 1.0
    degree = 1

    def value(self, z: float) -> float:
        return min(z, self.height) if z > 0 else 0.0

    def slope(self, z: float) -> float:
        return 1.0 if 0 < z < self.height else 0.0


def test_activations_with_two_slopes() -> None:
    assert slopes(mf.ReLU(0.25)) == (1.0, 0.0, 0.25)
    assert slopes(mf.LeakyReLU(0.1)) == (1.0, 0.1, 0.1)
    assert slopes(mf.Identity(3.0)) == (3.0, 3.0, 3.0)
    for other in (mf.Tanh(), mf.Quadratic(), mf.PiecewiseLinear([(0.0, 0.0), (1.0, 1.0)]).prepared(), Hat()):
        assert slopes(other) is None
        with pytest.raises(ValueError, match="two slopes"):
            ReLUOnLine(other, np.ones((2, 1)), 1, None, True)


@pytest.mark.parametrize("layers", LAYERS, ids=repr)
def test_large_problems_of_one_input_are_solved_on_the_line(
    monkeypatch: pytest.MonkeyPatch, layers: Any
) -> None:
    rng = np.random.default_rng(7)
    X, positions, c, q = problem(rng, 300, 400, *layers)
    operator = TwoLayerOnData(mf.ReLU(), X, *layers)
    line = ReLUOnLine(mf.ReLU(), X, *layers)
    found = operator.integrate(positions, c), *operator.pullback(positions, flat(q))
    for got, want in zip(
        found, (line.integrate(positions, c), *line.pullback(positions, flat(q))), strict=True
    ):
        assert np.array_equal(got, want)
    raw, gradient = pickle.loads(pickle.dumps(operator)).evaluate(positions, c, lambda f: flat(q))
    assert np.array_equal(raw, found[0]) and np.array_equal(gradient, found[2])
    monkeypatch.setattr(choose, "LINE_FROM", np.inf)
    pairs = operator.integrate(positions, c), *operator.pullback(positions, flat(q))
    for got, want in zip(found, pairs, strict=True):
        # sums of 400 terms of either sign
        assert np.abs(got - want).max() <= 1e-12 * np.abs(want).max()

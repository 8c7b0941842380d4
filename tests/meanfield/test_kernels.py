"""Kernels: every strategy against plain NumPy, sizes at every edge, descent without Python, float32, threads."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import meanfield as mf
from meanfield import activations
from meanfield._kernels import TwoLayerOnData, choose, fused, passes, products, tiled
from meanfield._kernels.line_descent import Rule
from solvers.losses import compiled_weights
from solvers.testing import check_flow

# Blocks of 64 and 128 particles in groups of 4 or 8, data in vectors of 8, pairs of them and stretches of 256: sizes
# around all of them.
SIZES = [(1, 1), (2, 3), (3, 2), (63, 65), (64, 64), (65, 63), (130, 300)]
STRATEGIES = {2: fused, 10: tiled, 400: products}
LAYERS = [(1, None, True), (1, None, False), (1, 2.0, True), (3, None, True), (6, None, False)]
KNOTS = activations.PiecewiseLinear([(-1.0, 0.5), (0.5, -2.5), (1.5, 7.5)]).prepared()
ACTIVATIONS = [KNOTS if name == "piecewise_linear" else cls() for name, cls in activations.BY_NAME.items()]


def problem(
    m: int, n: int, d: int, outputs: int, fixed: float | None, bias: bool
) -> tuple[Any, Any, Any, Any]:
    """Inputs, particles, coefficients and q, such that pre-activations are of size one."""
    rng = np.random.default_rng([m, n, d, outputs])
    p = (0 if fixed is not None else outputs) + d + bias
    positions = rng.standard_normal((m, p))
    q = rng.standard_normal((n, outputs))
    return (
        rng.standard_normal((n, d)) / np.sqrt(d),
        positions,
        rng.standard_normal(m),
        q[:, 0] if outputs == 1 else q,
    )


def reference(
    activation: Any, X: Any, positions: Any, coefficients: Any, q: Any, fixed: float | None, bias: bool
) -> tuple[Any, Any, Any]:
    """int Phi dmu, <q, Phi> and its gradient, from the activation in plain Python."""
    front = q.reshape(len(X), -1)
    k, d = 0 if fixed is not None else front.shape[1], X.shape[1]
    outer = positions[:, :k] if k else np.full((len(positions), 1), fixed)
    z = positions[:, k : k + d] @ X.T + (positions[:, k + d :] if bias else 0.0)
    value, slope = np.vectorize(activation.value)(z), np.vectorize(activation.slope)(z)
    f = np.einsum("j,jo,ji->io", coefficients, outer, value)
    back = (outer @ front.T) * slope
    parts = ([value @ front] if k else []) + [back @ X] + ([back.sum(axis=1, keepdims=True)] if bias else [])
    return f.reshape(q.shape), np.sum((value @ front) * outer, axis=1), np.hstack(parts)


def agree(found: Any, expected: Any, tolerance: float) -> None:
    assert found.shape == expected.shape and found.dtype == np.float64
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def check(activation: Any, m: int, n: int, d: int, layers: Any, dtype: str = "float64") -> None:
    outputs, fixed, bias = layers
    X, positions, coefficients, q = problem(m, n, d, outputs, fixed, bias)
    f, values, gradient = reference(activation, X, positions, coefficients, q, fixed, bias)
    operator = TwoLayerOnData(activation, X, outputs, fixed, bias, dtype)
    # sums of hundreds of products, and a degree-13 polynomial: some hundred roundings, far from 1e-12 in float64
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    agree(operator.integrate(positions, coefficients), f, tolerance)
    found = operator.pullback(positions, q)
    agree(found[0], values, tolerance)
    agree(found[1], gradient, tolerance)
    raw, together = operator.evaluate(positions, coefficients, lambda raw: q)
    agree(raw, f, tolerance)
    agree(together, gradient, tolerance)


@pytest.mark.parametrize("d", STRATEGIES)
@pytest.mark.parametrize("layers", LAYERS, ids=repr)
def test_every_strategy_agrees_with_numpy_at_every_edge(d: int, layers: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(choose, "LINE_FROM", np.inf)
    operator = TwoLayerOnData(mf.Tanh(), np.ones((2, d)), *layers)
    expected = tiled if STRATEGIES[d] is fused and layers[0] > 1 else STRATEGIES[d]
    assert (products if operator._products else operator._strategy) is expected
    for m, n in SIZES:
        check(mf.Tanh(), m, n, d, layers)
        check(mf.ReLU(), m, n, d, layers)


@pytest.mark.parametrize("d", [1, 3, 4, 5, 13])  # all of a group, and some of one
def test_every_number_of_inputs_agrees_with_numpy(d: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(choose, "LINE_FROM", np.inf)
    check(mf.ReLU(), 65, 300, d, (1, None, True))


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("d", [2, 10])
def test_every_activation_agrees_with_numpy(activation: Any, d: int) -> None:
    check(activation, 70, 90, d, (1, None, True))


def test_tiles_are_compiled_once_for_all_activations_inputs_and_outputs() -> None:
    def compiled(*kernels: Any) -> int:
        return sum(len(twin.overloads) for kernel in kernels for twin in kernel._twins.values())

    check(mf.Tanh(), 9, 20, 10, (1, None, True))
    check(mf.Tanh(), 9, 20, 10, (2, None, True))
    tiles, loops = compiled(tiled.integrate, tiled.pullback), compiled(passes.values, passes.slopes)
    check(mf.Tanh(3.0), 9, 20, 11, (3, None, False))
    assert compiled(passes.values, passes.slopes) == loops
    for activation in (activations.Softplus(), KNOTS, mf.LeakyReLU(0.2), mf.ReLU()):
        check(activation, 9, 20, 12, (1, None, True))
    assert compiled(tiled.integrate, tiled.pullback) == tiles


@pytest.mark.parametrize("activation", [mf.ReLU(), mf.ReLU(0.5), mf.Tanh(), mf.Softplus()], ids=repr)
def test_activations_that_are_kept_are_those_that_are_computed_again(
    activation: Any, monkeypatch: Any
) -> None:
    for d in (3, 30, 400):
        X, positions, coefficients, q = problem(70, 90, d, 1, None, True)
        for most in (0, 10**9):
            monkeypatch.setattr(choose, "KEPT_BYTES", most)
            monkeypatch.setattr(products, "KEPT_BYTES", most)
            operator = TwoLayerOnData(activation, X, 1, None, True)
            _, found = operator.evaluate(positions, coefficients, lambda raw: np.array(q))  # noqa: B023
            agree(found, reference(activation, X, positions, coefficients, q, None, True)[2], 1e-12)


@pytest.mark.parametrize("d", [2, 10, 400])
@pytest.mark.parametrize("activation", [mf.ReLU(), mf.Tanh(), mf.LeakyReLU(0.2)], ids=repr)
def test_float32_is_good_to_its_digits(activation: Any, d: int) -> None:
    check(activation, 70, 300, d, (1, None, True), "float32")


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("d", [2, 10])
def test_a_nan_among_the_particles_surfaces(activation: Any, d: int) -> None:
    X, positions, coefficients, q = problem(70, 90, d, 1, None, True)
    operator = TwoLayerOnData(activation, X, 1, None, True)
    for column in (0, 1, d + 1):  # outer weight, an inner one, bias
        broken = positions.copy()
        broken[5, column] = np.nan
        assert np.isnan(operator.integrate(broken, coefficients)).all()
        values, gradient = operator.pullback(broken, q)
        assert np.isnan(values[5]) and np.isnan(gradient[5]).any()
        assert np.isfinite(np.delete(gradient, 5, axis=0)).all()


def test_overflow_in_float32_surfaces() -> None:
    # w . x = inf - inf: a kink must not make 0 of it
    operator = TwoLayerOnData(mf.ReLU(), np.array([[1.0, -1.0]]), 1, None, True, "float32")
    with pytest.warns(RuntimeWarning, match="overflow"):
        raw = operator.integrate(np.array([[1.0, 1e39, 1e39, 0.0]]), np.ones(1))
    assert not np.isfinite(raw).any()


def test_slope_at_zero_counts_at_kinks() -> None:
    X, positions = np.array([[1.0], [2.0]]), np.array([[1.0, 0.0, 0.0]])
    for slope in (0.0, 0.25):
        operator = TwoLayerOnData(mf.ReLU(slope), X, 1, None, True)
        assert operator.pullback(positions, np.array([1.0, 1.0]))[1].tolist() == [[0.0, 3 * slope, 2 * slope]]


def rule(y: Any, m: int, p: int, **changes: Any) -> Rule:
    w = compiled_weights(mf.SquaredLoss(), y, None).reshape(y.shape)
    tables = (np.ascontiguousarray(y.T).reshape(-1), np.ascontiguousarray(w.T).reshape(-1), np.zeros(y.size))
    return Rule(mf.SquaredLoss(), mf.Ridge(0.01), *tables, 1.0, np.ones(p), np.empty(0))._replace(**changes)


@pytest.mark.parametrize(
    ("activation", "m", "n", "d", "outputs"),
    [
        (mf.ReLU(), 130, 70, 2, 1),
        (mf.Tanh(), 130, 70, 2, 1),
        (mf.ReLU(), 70, 300, 7, 1),
        (mf.Tanh(), 70, 60, 3, 3),
        (mf.ReLU(), 1500, 300, 2, 1),  # shared among threads: one call a step
        (mf.ReLU(), 600, 50, 400, 1),
        (mf.Tanh(), 70, 50, 400, 3),
    ],
    ids=repr,
)
def test_descent_is_euler_however_it_is_cut(activation: Any, m: int, n: int, d: int, outputs: int) -> None:
    X, positions, _, y = problem(m, n, d, outputs, None, True)
    rng = np.random.default_rng(0)
    p, signs, masses = positions.shape[1], np.where(rng.random(m) < 0.5, -1.0, 1.0), rng.random(m) / m
    centre = rng.standard_normal(y.size)
    how = rule(y, m, p, scale=2.0, rate=rng.random(p), signs=signs, centre=centre)
    operator = TwoLayerOnData(activation, X, outputs, None, True)
    whole, parts, expected = positions.copy(), positions.copy(), positions.copy()
    operator.descend(whole, masses * signs, how, 0.1, 6)
    operator.descend(parts, masses * signs, how, 0.1, 2)
    operator.descend(parts, masses * signs, how, np.full(4, 0.1), 4)
    assert np.array_equal(whole, parts)
    middle = centre.reshape(outputs, n).T.reshape(y.shape)
    for _ in range(6):
        raw = reference(activation, X, expected, masses * signs, y, None, True)[0]
        q = 2.0 * (2.0 * (raw - middle) - y) / n
        gradient = reference(activation, X, expected, masses * signs, q, None, True)[2]
        expected -= 0.1 * how.rate * (signs[:, None] * gradient + 0.01 * expected)
    agree(whole, expected, 1e-12)
    operator.descend(parts, masses * signs, how, np.array([0.2, 0.05]), 2)
    other = whole.copy()
    for step in (0.2, 0.05):
        operator.descend(other, masses * signs, how, step, 1)
    assert np.array_equal(parts, other)


@pytest.mark.parametrize("shape", [(50, 40), (3000, 200)])
def test_flows_descend_as_their_velocity_says(shape: tuple[int, int]) -> None:
    m, n = shape
    rng = np.random.default_rng(0)
    network = mf.TwoLayer(
        "relu", d=2, scale=3.0, centre=lambda X: X[:, 0], rates={"a": 0.5}, train=("a", "w")
    )
    objective = mf.Objective(
        network, rng.standard_normal((n, 2)), rng.standard_normal(n), regularizer=mf.Ridge(0.1)
    )
    mu = mf.ParticleMeasure(rng.standard_normal((m, 4)), signs=np.where(rng.random(m) < 0.5, -1.0, 1.0))
    flow = mf.WassersteinFlow(objective, time_unit="alpha").prepare(mu)
    check_flow(mf.WassersteinFlow(objective, time_unit="alpha"), mu)
    found = flow.pack(mu)
    flow.advance(found, 0.1, 3)
    expected = flow.pack(mu)
    for _ in range(3):
        expected += 0.1 * flow.velocity(0.0, expected, np.empty_like(expected))
    agree(found, expected, 1e-12)
    assert np.array_equal(found.reshape(m, 4)[:, 3], mu.positions[:, 3])
    # equal sizes are one size, to the last bit
    sized = flow.pack(mu)
    flow.advance_by(sized, np.full(3, 0.1), 3)
    assert np.array_equal(sized, found)


def test_an_objective_without_compiled_parts_does_not_descend_in_compiled_code() -> None:
    class Mine(mf.SquaredLoss):
        total = fill = property()  # a loss without compiled forms: hasattr says no

    X, y = mf.data.relu_teacher(n=20, d=2, rng=0)
    mu = mf.ParticleMeasure(np.ones((5, 4)))
    assert mf.WassersteinFlow(mf.Objective(mf.TwoLayer("relu", d=2), X, y)).prepare(mu).advance is not None
    assert (
        mf.WassersteinFlow(mf.Objective(mf.TwoLayer("relu", d=2), X, y, loss=Mine())).prepare(mu).advance
        is None
    )


CODE = """
import hashlib, sys
import numpy as np, meanfield as mf
from solvers import _threads
digest = hashlib.sha256()
rng = np.random.default_rng(0)
for activation, d in ("relu", 2), ("tanh", 12), ("relu", 400):
    network = mf.TwoLayer(activation, d=d)
    objective = mf.Objective(network, rng.standard_normal((300, d)), rng.standard_normal(300))
    mu = mf.ParticleMeasure(rng.standard_normal((1500, d + 2)))
    digest.update(objective.velocity(mu).tobytes())
    flow = mf.WassersteinFlow(objective).prepare(mu)
    z = flow.pack(mu)
    if flow.advance is not None:
        flow.advance(z, 0.1, 3)
    digest.update(z.tobytes())
print(digest.hexdigest())
"""


def test_bits_do_not_depend_on_threads_nor_on_who_compiled(tmp_path: Any) -> None:
    found, kept = [], []
    for threads in ("1", "2"):
        environment = os.environ | {"NUMBA_NUM_THREADS": threads, "NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.strip())
        kept.append({path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")})
    # the first process compiled, the second loaded
    assert kept[0] == kept[1] and any("pullback" in name for name in kept[0])
    assert found[0] == found[1] and len(found[0]) == 64


def test_blocks_are_the_same_in_any_range(monkeypatch: Any) -> None:
    X, positions, coefficients, q = problem(700, 700, 2, 1, None, True)
    operator = TwoLayerOnData(mf.Tanh(), X, 1, None, True)
    alone = operator.evaluate(positions, coefficients, lambda raw: q + raw)
    calls = []

    def one_by_one(work: Any, blocks: int, parallel: bool) -> None:
        calls.append(blocks)
        for block in reversed(range(blocks)):
            work(block, block + 1)

    monkeypatch.setattr(choose, "for_blocks", one_by_one)
    shared = operator.evaluate(positions, coefficients, lambda raw: q + raw)
    assert calls == [6, 6]  # 700 particles in blocks of 128, twice
    assert all(np.array_equal(x, y) for x, y in zip(alone, shared, strict=True))


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_piecewise_linear_in_the_form_of_kernels(count: int) -> None:
    rng = np.random.default_rng(count)
    places = np.sort(rng.standard_normal(count))
    given = activations.PiecewiseLinear(np.column_stack([places, rng.standard_normal(count)])).prepared()
    form = choose.plain(given)
    assert (form is given) == (count == 5)
    points = np.concatenate([rng.standard_normal(200), places, [-np.inf, np.inf, -1e300, 1e300]])
    # three differences of numbers of order 1, rounded
    for z in points:
        assert form.value(z) == pytest.approx(given.value(z), abs=1e-14)
        assert form.slope(z) == pytest.approx(given.slope(z), rel=1e-14)
    assert np.isnan(form.value(np.nan))

"""Networks: every strategy against plain NumPy, symmetries, scale and centre, layers, starts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import meanfield as mf
from meanfield._kernels import TwoLayerOnData
from meanfield.networks import FeaturesOnData, bind

ACTIVATIONS = [mf.ReLU(), mf.Tanh(), mf.PiecewiseLinear([(0.5, -2.5), (1.5, 7.5)]).prepared()]


def reference(
    activation: Any,
    positions: Any,
    coefficients: Any,
    X: Any,
    q: Any,
    outputs: int,
    fixed: float | None,
    bias: bool,
) -> tuple[Any, Any, Any]:
    """int Phi dmu, <q, Phi> and its gradient, in NumPy from plain Python activations."""
    k, d = 0 if fixed is not None else outputs, X.shape[1]
    outer = positions[:, :k] if k else np.full((len(positions), 1), fixed)
    inner = positions[:, k : k + d] @ X.T + (positions[:, k + d :] if bias else 0.0)
    value, slope = np.vectorize(activation.value)(inner), np.vectorize(activation.slope)(inner)
    f = np.einsum("j,jo,ji->io", coefficients, outer, value)
    back = (outer @ q.T) * slope
    parts = ([value @ q] if k else []) + [back @ X] + ([back.sum(axis=1, keepdims=True)] if bias else [])
    return f, np.sum((value @ q) * outer, axis=1), np.hstack(parts)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("d", [1, 2, 3, 5, 20])  # loops by hand, loops, BLAS
@pytest.mark.parametrize("shape", [(100, 50), (700, 400)])  # serial, parallel; a last block that is not full
@pytest.mark.parametrize(("outputs", "fixed", "bias"), [(1, None, True), (3, None, False), (1, 2.0, True)])
def test_every_strategy_agrees_with_numpy(
    activation: Any, d: int, shape: tuple[int, int], outputs: int, fixed: float | None, bias: bool
) -> None:
    rng = np.random.default_rng(d)
    m, n = shape
    X, coefficients = rng.standard_normal((n, d)), rng.random(m)
    p = (0 if fixed is not None else outputs) + d + bias
    positions, q = rng.standard_normal((m, p)), rng.standard_normal((n, outputs))
    f, values, gradient = reference(activation, positions, coefficients, X, q, outputs, fixed, bias)
    operator = TwoLayerOnData(activation, X, outputs, fixed, bias)
    found = operator.integrate(positions, coefficients)
    found_values, found_gradient = operator.pullback(positions, q if outputs > 1 else q[:, 0])
    for got, expected in ((found.reshape(n, outputs), f), (found_values, values), (found_gradient, gradient)):
        assert np.abs(got - expected).max() <= 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("outputs", [1, 2])
def test_generic_binding_agrees_with_the_kernels(outputs: int) -> None:
    rng = np.random.default_rng(0)
    network = mf.TwoLayer("tanh", d=2, outputs=outputs)
    X = rng.standard_normal((30, 2))
    mu = mf.ParticleMeasure.gaussian(network, 20, rng=0)
    q = rng.standard_normal((30, outputs)).squeeze()
    fast, plain = bind(network, X), FeaturesOnData(network, X)
    assert np.allclose(
        fast.integrate(mu.positions, mu.weights), plain.integrate(mu.positions, mu.weights), rtol=1e-12
    )
    for one, two in zip(fast.pullback(mu.positions, q), plain.pullback(mu.positions, q), strict=True):
        assert np.allclose(one, two, rtol=1e-11, atol=1e-13)


def test_blocks_of_features_do_not_change_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    from meanfield.networks import feature_map

    network = mf.SignedSquareReLU(3)
    rng = np.random.default_rng(0)
    X, P, c, q = rng.standard_normal((11, 3)), rng.standard_normal((50, 3)), rng.random(50), rng.random(11)
    whole = FeaturesOnData(network, X)
    one = whole.integrate(P, c), *whole.pullback(P, q)
    monkeypatch.setattr(feature_map, "BLOCK_BYTES", 8 * 11 * 7)
    for a, b in zip(one, (whole.integrate(P, c), *whole.pullback(P, q)), strict=True):
        assert np.allclose(a, b, rtol=1e-13, atol=1e-14)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(0.1, 10))
def test_relu_networks_are_two_homogeneous(seed: int, c: float) -> None:
    network = mf.TwoLayer("relu", d=2)
    rng = np.random.default_rng(seed)
    X, P = rng.standard_normal((9, 2)), rng.standard_normal((4, 4))
    scaled = c * P
    assert np.allclose(network.features(scaled, X), c**2 * network.features(P, X), rtol=1e-12, atol=1e-12)
    assert network.homogeneity == 2 and mf.TwoLayer("relu", d=2, a=1.0).homogeneity == 1
    assert mf.TwoLayer("tanh", d=2).homogeneity is None


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_predictions_do_not_depend_on_the_order_or_the_splitting_of_particles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = mf.TwoLayer("relu", d=3)
    X = rng.standard_normal((8, 3))
    mu = mf.ParticleMeasure(rng.standard_normal((10, 5)), rng.random(10))
    order = rng.permutation(10)
    shuffled = mf.ParticleMeasure(mu.positions[order], mu.weights[order])
    halves = mf.ParticleMeasure(np.repeat(mu.positions, 2, axis=0), np.repeat(mu.weights / 2, 2))
    f = network.predict(mu, X)
    # Sums of ten terms in another order: a few ulps.
    assert np.allclose(network.predict(shuffled, X), f, rtol=1e-12, atol=1e-14)
    assert np.allclose(network.predict(halves, X), f, rtol=1e-12, atol=1e-14)


def test_scale_and_centre() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6, 2))
    plain = mf.TwoLayer("tanh", d=2)
    mu, start = mf.ParticleMeasure.gaussian(plain, 9, rng=0), mf.ParticleMeasure.gaussian(plain, 9, rng=1)
    centred = mf.TwoLayer("tanh", d=2, scale=10.0, centre=start)
    assert np.allclose(
        centred.predict(mu, X), 10 * (plain.predict(mu, X) - plain.predict(start, X)), rtol=1e-12
    )
    assert np.abs(centred.predict(start, X)).max() == 0.0
    by_function = mf.TwoLayer("tanh", d=2, scale=10.0, centre=lambda x: plain.predict(start, x))
    assert np.allclose(by_function.predict(mu, X), centred.predict(mu, X), rtol=1e-12)
    objective = mf.Objective(centred, X, np.ones(6))
    assert np.allclose(objective.predict(mu), centred.predict(mu, X), rtol=1e-13)


def test_a_centre_may_return_a_column_or_a_constant() -> None:
    X = np.random.default_rng(0).standard_normal((4, 2))
    mu = mf.ParticleMeasure.gaussian(mf.TwoLayer("relu", d=2), 3, rng=0)
    plain = mf.TwoLayer("relu", d=2).predict(mu, X)
    column = mf.TwoLayer("relu", d=2, centre=lambda x: x[:, :1])
    assert np.array_equal(column.predict(mu, X), plain - X[:, 0])
    assert np.array_equal(mf.TwoLayer("relu", d=2, centre=lambda x: 2).predict(mu, X), plain - 2.0)


def test_doubled_starts_give_zero() -> None:
    network = mf.TwoLayer("relu", d=3, outputs=2)
    mu = mf.ParticleMeasure.gaussian(network, 40, rng=0, doubled=True)
    X = np.random.default_rng(0).standard_normal((20, 3))
    # Pairs cancel exactly; the sum over blocks of 64 particles runs in an order that keeps a few ulps.
    assert np.abs(network.predict(mu, X)).max() < 1e-15
    with pytest.raises(mf.InputError, match="even width"):
        mf.ParticleMeasure.gaussian(network, 41, rng=0, doubled=True)


def test_spherical_starts() -> None:
    network = mf.TwoLayer("relu", d=2, bias=False)
    mu = mf.ParticleMeasure.sphere(network, 16, method="equispaced")
    assert np.allclose(np.linalg.norm(mu.w, axis=1), 1) and set(mu.a) == {1.0, -1.0}
    small = mf.ParticleMeasure.sphere(network, 16, rng=0, radius=0.1, outer=0.0)
    assert np.allclose(np.linalg.norm(small.w, axis=1), 0.1) and not small.a.any()
    per_layer = mf.ParticleMeasure.gaussian(network, 4000, rng=0, std={"a": 2.0, "w": 0.5})
    assert abs(per_layer.a.std() - 2.0) < 0.1 and abs(per_layer.w.std() - 0.5) < 0.03  # 4 sigma


def test_layers_that_do_not_train_and_rates() -> None:
    network = mf.TwoLayer("relu", d=2, train=("a",), rates={"a": 3.0})
    assert np.array_equal(network.mobility, [3, 0, 0, 0])
    objective = mf.Objective(network, [[1.0, 2.0]], [1.0])
    free = mf.Objective(mf.TwoLayer("relu", d=2), [[1.0, 2.0]], [1.0])
    mu = mf.ParticleMeasure.gaussian(network, 5, rng=0)
    velocity = objective.velocity(mu)
    assert not velocity[:, 1:].any()
    assert np.allclose(velocity[:, 0], 3 * free.velocity(mu)[:, 0], rtol=1e-14)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: mf.TwoLayer("relu", d=0), "d must be positive"),
        (lambda: mf.TwoLayer("relu", d=2, scale=-1.0), "scale must be positive"),
        (lambda: mf.TwoLayer("relu", d=2, train=("v",)), "train"),
        (lambda: mf.TwoLayer("relu", d=2, a=1.0, train=("a",)), "moves no layer"),
        (lambda: mf.TwoLayer("relu", d=2, rates={"a": -1.0}), "non-negative"),
        (lambda: mf.TwoLayer("relu", d=2, a=1.0, outputs=2), "fixed outer weight"),
        (lambda: mf.TwoLayer("relu", d=2, bias=1), "True or False"),
        (
            lambda: mf.TwoLayer("relu", d=2).predict(mf.ParticleMeasure([[1.0]]), [[1.0, 2.0]]),
            "positions must have",
        ),
        (lambda: mf.TwoLayer("relu", d=2).check_inputs([[1.0]]), r"shape \(n, 2\)"),
        (
            lambda: mf.TwoLayer("relu", d=2).vjp(np.ones((1, 4)), np.ones((3, 2)), np.ones(2)),
            r"q must have shape \(3,\)",
        ),
        (lambda: mf.Spikes(1, 2, spectrum=[1.0]), "spectrum"),
        (lambda: mf.Spikes(1, 2).features([[0.0]], [[3.0]]), "integers"),
        (lambda: mf.SignedSquareReLU(2).features([[0.0, 1.0]], [[3.0]]), "X must have shape"),
        (lambda: mf.Objective(mf.SignedSquareReLU(2), [[3.0]], [1.0]), "X must have shape"),
        (lambda: mf.Objective(mf.Spikes(1, 2), [[0.5]], [1.0]), "integers"),
        # Compiled code would read beyond the end of a centre's shorter rows.
        (lambda: mf.TwoLayer("relu", d=2, centre=mf.ParticleMeasure([[1.0, 2.0]])), r"R\^2, but neurons"),
        (lambda: mf.TwoLayer("relu", d=2, centre=3.0), "ParticleMeasure or a function"),
        (
            lambda: mf.Objective(
                mf.TwoLayer("relu", d=2, centre=lambda X: X), [[1.0, 2.0], [3.0, 4.0]], [1.0, 2.0]
            ),
            "centre must return shape",
        ),
    ],
)
def test_bad_networks_are_refused_in_one_sentence(build: Any, words: str) -> None:
    with pytest.raises(mf.InputError, match=words) as caught:
        build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_spikes_have_the_dirichlet_kernel(dim: int) -> None:
    spikes = mf.Spikes(dim, 2)
    rng = np.random.default_rng(0)
    s, t = rng.uniform(0, 7, (5, dim)), rng.uniform(0, 7, (4, dim))
    gap = s[:, None, :] - t[None, :, :]
    dirichlet = np.prod(1 + 2 * np.cos(gap) + 2 * np.cos(2 * gap), axis=-1)
    assert np.allclose(spikes.kernel(s, t), dirichlet, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_spikes_on_all_codes_agree_with_the_plain_feature_map(dim: int) -> None:
    spikes = mf.Spikes(dim, 2, spectrum=[1.0, 0.5, 0.1])
    rng = np.random.default_rng(0)
    P, c, q = rng.uniform(0, 7, (12, dim)), rng.random(12), rng.standard_normal(5**dim)
    fast, plain = spikes.bind(spikes.codes), FeaturesOnData(spikes, spikes.codes)
    assert np.allclose(fast.integrate(P, c), plain.integrate(P, c), rtol=1e-12, atol=1e-13)
    for one, two in zip(fast.pullback(P, q), plain.pullback(P, q), strict=True):
        assert np.allclose(one, two, rtol=1e-12, atol=1e-12)
    table = spikes.coefficients(spikes.codes, q)
    k = np.stack(np.meshgrid(*[np.arange(-2, 3)] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    waves = np.exp(1j * P @ k.T) @ table.reshape(-1)
    assert np.allclose(waves, fast.pullback(P, q)[0], rtol=1e-12, atol=1e-12)


def test_signed_square_neurons() -> None:
    network = mf.SignedSquareReLU(2)
    w, x = np.array([[2.0, -1.0]]), np.array([[3.0, 5.0], [1.0, 10.0]])
    assert np.array_equal(network.features(w, x), [[4 * 3 - 5, 0.0]])
    q = np.array([1.0, 1.0])
    assert np.array_equal(network.vjp(w, x, q), [[2 * 2 * 3.0, 2 * 1 * 5.0]])


@pytest.mark.parametrize("network", [mf.SignedSquareReLU(1), mf.Spikes(1, 3), mf.TwoLayer("relu", d=1)])
def test_a_vector_is_points_of_one_input_everywhere(network: Any) -> None:
    x, y = np.array([1.0, -2.0, 0.0]), np.array([1.0, 2.0, 3.0])
    mu = mf.ParticleMeasure(np.full((2, network.dim), 0.3))
    objective = mf.Objective(network, x, y[:, None])
    assert np.array_equal(objective.predict(mu), objective.predict(mu, x))
    assert np.array_equal(objective.predict(mu, x), objective.predict(mu, x[:, None]))
    assert np.isfinite(objective.value(mu))


def test_the_codes_of_spikes_cannot_be_written_over() -> None:
    with pytest.raises(ValueError, match="read-only"):
        mf.Spikes(1, 2).codes[0] = 5.0

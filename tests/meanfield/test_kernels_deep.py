"""Kernels of deep networks: published values, integrals, loops over positions, finite networks, refusals."""

from __future__ import annotations

import math
import re
import tracemalloc
from itertools import product
from typing import Any

import numpy as np
import pytest

import meanfield as mf
from meanfield.kernels.deep import AvgPool, Conv, Dense, Erf, Flatten, GlobalPool, ReLU, Residual, serial

RNG = np.random.default_rng(0)
LINE, GRID = RNG.normal(size=(3, 4, 2)), RNG.normal(size=(2, 4, 4, 3))


def dense_relu(hidden: int, **first: float) -> Any:
    return serial(Dense(**first), *(layer for _ in range(hidden) for layer in (ReLU(), Dense())))


def test_published_values() -> None:
    # theory/deep.md: of an established library, w_var = 2, no bias, one hidden layer
    X = [[1, 0, 0], [0, 1, 0], [1, 1, 1]]
    Z = [[0.5, 0.5, -0.5], [0.5, -0.5, 0.5], [-0.5, -0.5, -0.5]]
    T = dense_relu(1)(X, Z)[1]
    found = [T[0, 0], T[0, 2], T[2, 0]]
    np.testing.assert_allclose(found, [0.61399490336972, -0.052671763296947, 0.705554404031964], rtol=1e-14)
    assert T[2, 2] == 0.0  # opposite points share no active unit


@pytest.mark.parametrize("hidden", [1, 3, 10])
def test_the_diagonal_is_exact_at_any_depth(hidden: int) -> None:
    X = RNG.normal(size=(6, 5))
    size = 2.0 * np.einsum("ij,ij->i", X, X) / 5
    S, T = dense_relu(hidden)(X)
    # roundings only: an angle of 1e-8 instead of zero would show in T
    np.testing.assert_allclose(T.diagonal(), (hidden + 1) * size, rtol=1e-14)
    np.testing.assert_allclose(S.diagonal(), size, rtol=1e-14)
    # so too where a point of Z is one of X, or parallel to one
    T = dense_relu(hidden)(X, np.vstack([X[2], 3.0 * X[4], -X[1]]))[1]
    np.testing.assert_allclose(
        [T[2, 0], T[4, 1]], [(hidden + 1) * size[2], 3 * (hidden + 1) * size[4]], rtol=1e-13
    )


@pytest.mark.parametrize(
    ("layer", "sigma"), [(ReLU(), mf.ReLU()), (Erf(), mf.Erf()), (Erf(1.5), mf.Erf(1.5))]
)
@pytest.mark.parametrize("bias", [False, True])
def test_one_hidden_layer_is_the_two_layer_kernel(layer: Any, sigma: Any, bias: bool) -> None:
    X, Z = RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3))
    S, T = serial(Dense(w_var=3.0, b_var=float(bias)), layer, Dense(w_var=1.0))(X, Z)
    np.testing.assert_allclose(S, mf.kernels.random_features(X, Z, sigma, bias=bias), atol=1e-13)
    np.testing.assert_allclose(T, mf.kernels.tangent(X, Z, sigma, w_law="gaussian", bias=bias), atol=1e-13)


def relu_moments(k: float, S: float, other: float) -> tuple[float, float]:
    """E relu relu and E relu' relu' as integrals over the angle of a Gaussian in the plane, both units active."""
    angle = math.acos(S / math.sqrt(k * other))
    nodes, weights = np.polynomial.legendre.leggauss(30)
    low, high = angle - math.pi / 2, math.pi / 2
    phi = low + (high - low) * (nodes + 1) / 2
    both = np.sum(weights * np.cos(phi) * np.cos(phi - angle)) * (high - low) / 2
    return math.sqrt(k * other) * both / math.pi, (high - low) / (2 * math.pi)


def erf_moments(k: float, S: float, other: float) -> tuple[float, float]:
    """The same of erf(z/root 2), by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    root = np.linalg.cholesky([[k, S], [S, other]])
    u, v = root[0, 0] * nodes[:, None], root[1, 0] * nodes[:, None] + root[1, 1] * nodes
    law = weights[:, None] * weights / (2 * math.pi)
    erf = np.vectorize(math.erf)
    slope = math.sqrt(2 / math.pi)
    bent = slope**2 * np.exp(-(u**2) / 2 - v**2 / 2)
    return float((law * erf(u / 2**0.5) * erf(v / 2**0.5)).sum()), float((law * bent).sum())


@pytest.mark.parametrize(("layer", "moments"), [(ReLU(), relu_moments), (Erf(), erf_moments)])
def test_two_hidden_layers_by_quadrature(layer: Any, moments: Any) -> None:
    x, z = RNG.normal(size=4), RNG.normal(size=4)
    pairs = [(x, x), (x, z), (z, z)]
    w, b = 0.8, 0.1
    S = [w * p @ q / 4 + b for p, q in pairs]
    T = S[1]
    for _ in range(2):
        cross, slopes = moments(*S)
        # of a point with itself: a hair beside the diagonal the plane's integrals are the same
        ends = [moments(k, k * (1 - 1e-13), k)[0] for k in (S[0], S[2])]
        S = [w * v + b for v in (ends[0], cross, ends[1])]
        T = S[1] + w * T * slopes
    dense = Dense(w_var=w, b_var=b)
    found = serial(dense, layer, dense, layer, dense)([x], [z])
    np.testing.assert_allclose([found[0][0, 0], found[1][0, 0]], [S[1], T], rtol=1e-11)


def by_loops(layers: list[Any], x: np.ndarray, z: np.ndarray) -> tuple[float, float]:
    """S and T of one pair of images by the definition of every layer, position by position."""
    points = list(product(*map(range, x.shape[:-1])))
    shape = x.shape[:-1]
    S = {
        (a, b, p, q): float(u[p] @ v[q]) / x.shape[-1]
        for a, u in enumerate((x, z))
        for b, v in enumerate((x, z))
        for p in points
        for q in points
    }
    S, T, _ = loop_layers(layers, S, dict.fromkeys(S, 0.0), shape)
    return S[0, 1, (), ()], T[0, 1, (), ()]


def loop_layers(layers: Any, S: dict, T: dict, shape: tuple) -> tuple[dict, dict, tuple]:
    for layer in layers:
        if isinstance(layer, Residual):
            branch, slopes, _ = loop_layers(layer.branch.layers, S, T, shape)
            S = {key: S[key] + layer.scale**2 * branch[key] for key in S}
            T = {key: T[key] + layer.scale**2 * slopes[key] for key in T}
        elif isinstance(layer, ReLU):
            new, turned = {}, {}
            for a, b, p, q in S:
                k, other, s = S[a, a, p, p], S[b, b, q, q], S[a, b, p, q]
                theta = 0.0 if (a, p) == (b, q) else math.acos(max(-1.0, min(1.0, s / math.sqrt(k * other))))
                new[a, b, p, q] = math.sqrt(k * other) * (
                    (math.sin(theta) + (math.pi - theta) * math.cos(theta)) / (2 * math.pi)
                )
                turned[a, b, p, q] = T[a, b, p, q] * (math.pi - theta) / (2 * math.pi)
            S, T = new, turned
        elif isinstance(layer, Dense):
            S = {key: layer.w_var * S[key] + layer.b_var for key in S}
            T = {key: S[key] + layer.w_var * T[key] for key in S}
        else:
            sources, shape = loop_sources(layer, shape)
            ends = [()] if shape == () else list(product(*map(range, shape)))
            made = []
            for K in (S, T):
                new = {}
                for a, b, p, q in product((0, 1), (0, 1), ends, ends):
                    terms = [K.get((a, b, *pair), 0.0) for pair in sources(p, q)]
                    new[a, b, p, q] = sum(terms) / len(terms)
                made.append(new)
            S, T = made
            if isinstance(layer, Conv):
                S = {key: layer.w_var * S[key] + layer.b_var for key in S}
                T = {key: S[key] + layer.w_var * T[key] for key in S}
    return S, T, shape


def loop_sources(layer: Any, shape: tuple) -> tuple[Any, tuple]:
    """For a pair of positions behind the layer the pairs before it whose mean it takes; the shape behind."""
    points = list(product(*map(range, shape)))
    if isinstance(layer, Flatten):
        return lambda p, q: [(u, u) for u in points], ()
    if isinstance(layer, GlobalPool):
        return lambda p, q: list(product(points, points)), ()
    if isinstance(layer, AvgPool):
        w = layer.window

        def inside(p: tuple) -> list:
            return [u for u in points if tuple(i // w for i in u) == p]

        return lambda p, q: list(product(inside(p), inside(q))), tuple(n // w for n in shape)
    reach = layer.kernel // 2
    shifts = list(product(range(-reach, reach + 1), repeat=len(shape)))

    def moved(p: tuple, s: tuple) -> tuple:
        at = tuple(i + j for i, j in zip(p, s, strict=True))
        return tuple(i % n for i, n in zip(at, shape, strict=True)) if layer.padding == "circular" else at

    return lambda p, q: [(moved(p, s), moved(q, s)) for s in shifts], shape


@pytest.mark.parametrize("images", [LINE, GRID], ids=["line", "grid"])
@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize("end", ["flatten", "global", "pooled"])
def test_images_by_loops_over_positions(images: np.ndarray, padding: str, end: str) -> None:
    conv = Conv(3, 1.5, 0.2, padding)
    ends = {
        "flatten": [Flatten()],
        "global": [GlobalPool()],
        "pooled": [AvgPool(), ReLU(), Conv(1), Flatten()],
    }
    layers = [
        conv,
        Residual(ReLU(), conv, scale=0.7),
        *([ReLU()] if end != "pooled" else []),
        *ends[end],
        Dense(w_var=1.3, b_var=0.1),
    ]
    S, T = serial(*layers)(images)
    exact = by_loops(layers, images[0], images[1])
    np.testing.assert_allclose([S[0, 1], T[0, 1]], exact, rtol=1e-12)
    S, T = serial(*layers)(images[:1], images[1:2])
    np.testing.assert_allclose([S[0, 0], T[0, 0]], exact, rtol=1e-12)


@pytest.mark.parametrize(("kernel", "shape", "padding"), [(5, (5, 2), "circular"), (5, (3, 3, 1), "zero")])
@pytest.mark.parametrize("end", [Flatten(), GlobalPool()])
def test_kernels_that_reach_all_positions(kernel: int, shape: tuple, padding: str, end: Any) -> None:
    # shifts as long as the data, and further than the other end; branches inside branches
    images, conv = RNG.normal(size=(2, *shape)), Conv(kernel, 1.5, 0.2, padding)
    inner = Residual(ReLU(), conv, scale=-0.4)
    layers = [
        conv,
        Residual(ReLU(), conv, inner, ReLU(), conv, scale=0.7),
        ReLU(),
        end,
        Dense(w_var=1.3, b_var=0.1),
    ]
    S, T = serial(*layers)(images)
    np.testing.assert_allclose([S[0, 1], T[0, 1]], by_loops(layers, *images), rtol=1e-12)


def test_a_deep_network_on_constant_images_is_a_dense_one() -> None:
    # patches coincide without being the same memory: their angles are zero but for rounding
    x = RNG.normal(size=(3, 2))
    conv = [
        Conv(padding="circular"),
        *(part for _ in range(10) for part in (ReLU(), Conv(padding="circular"))),
    ]
    dense = [Dense() if isinstance(layer, Conv) else layer for layer in conv]
    for end in (Flatten(), GlobalPool()):
        found = serial(*conv, end)(np.repeat(x[:, None], 5, axis=1))
        np.testing.assert_allclose(found, serial(*dense)(x), rtol=1e-13)


@pytest.mark.parametrize("layer", [ReLU(), Erf(1e-3)])
def test_inputs_of_any_size(layer: Any) -> None:
    X, Z = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 3))
    Z[0] = X[0]
    layers = serial(Dense(), layer, Dense(), ReLU(), Dense())
    S, T = layers(X, Z)
    huge = 2.0**498  # 8e149: squares are numbers, products of squares are not
    if isinstance(layer, ReLU):
        # homogeneous, and multiplication by powers of two is exact
        for a, b in ((huge, huge), (1 / huge, 1 / huge), (huge, 1 / huge), (huge, 1.0), (1.0, 1 / huge)):
            for found, known in zip(layers(a * X, b * Z), (S, T), strict=True):
                assert np.array_equal(found / a / b, known)
        return
    # small inputs: c x.z, of erf without saturation; large ones: signs, whose covariance is the angle's
    slope = 4e-6 / math.pi
    np.testing.assert_allclose(layers(X / huge, Z)[1] * huge, layers(X / 1e6, Z)[1] * 1e6, rtol=1e-9)
    first, other = serial(Dense(), layer)(huge * X, huge * Z), serial(Dense(), layer)(X / huge, Z)
    length = [np.linalg.norm(points, axis=1) for points in (X, Z)]
    cosine = np.minimum(X @ Z.T / np.outer(*length), 1.0)
    np.testing.assert_allclose(first[0], 2 / math.pi * np.arcsin(cosine), rtol=1e-7)
    size = np.sqrt(1 + 4e-6 * np.einsum("ij,ij->i", Z, Z) / 3)
    np.testing.assert_allclose(other[0] * huge, slope * 2 * X @ Z.T / 3 / size, rtol=1e-13)
    assert np.isfinite(serial(Dense(), Erf(1e100), Dense())(X)).all()


def test_without_pooling_equal_positions_are_enough() -> None:
    layers = [Conv(), ReLU(), Conv(padding="circular"), ReLU(), Flatten(), Dense()]
    few = serial(*layers)(LINE)
    # a window of one position changes nothing, but asks for all pairs
    every = serial(AvgPool(1), *layers)(LINE)
    np.testing.assert_allclose(every, few, rtol=1e-13)


def test_residual_of_a_linear_branch() -> None:
    # h + a V h with T_h = S_h = w x.z/d: S = (1 + a^2 w) S_h;
    # V's own kernel is w S_h, the first layer's (1 + a^2 w) S_h
    X = RNG.normal(size=(3, 4))
    gram = 1.5 * X @ X.T / 4
    S, T = serial(Dense(w_var=1.5), Residual(Dense(w_var=1.5), scale=0.6))(X)
    grown = 1 + 0.36 * 1.5
    np.testing.assert_allclose(S, grown * gram, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(T, (grown + 0.36 * 1.5) * gram, rtol=1e-14, atol=1e-15)
    # h + a (V h + b U V h): three paths of one, two and three layers, each layer once in T
    inner = Residual(Dense(w_var=1.5), scale=-0.4)
    S, T = serial(Dense(w_var=1.5), Residual(Dense(w_var=1.5), inner, scale=0.6))(X)
    paths = np.array([1.0, 0.36 * 1.5, 0.36 * 0.16 * 1.5**2])
    np.testing.assert_allclose(S, paths.sum() * gram, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(T, paths @ [1, 2, 3] * gram, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([Conv(7), ReLU(), Conv(7), ReLU(), GlobalPool()], (12, 4, 4, 2)),
        (
            [Conv(), Residual(ReLU(), Conv(), Residual(ReLU(), Conv()), ReLU(), Conv()), GlobalPool()],
            (30, 8, 1),
        ),
        ([Dense(), ReLU(), Dense(), Erf()], (600, 200)),
    ],
    ids=["kernel", "branches", "long"],
)
def test_memory_stays_within_what_was_given(layers: list, shape: tuple) -> None:
    X, network = RNG.normal(size=shape), serial(*layers)
    network(X[:2])
    tracemalloc.start()
    try:
        K = network(X, block_bytes=1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # a fifth for what is not a table of pairs: some rows of the inputs, never all of them
    assert peak - sum(part.nbytes for part in K) < 1_200_000


def test_symmetric_positive_and_the_same_in_blocks() -> None:
    X = RNG.normal(size=(30, 4, 3))
    X[7] = X[3]
    layers = serial(Conv(b_var=0.1), ReLU(), AvgPool(), Conv(), Erf(), GlobalPool(), Dense())
    whole, blocks = layers(X), layers(X, block_bytes=8 * 8 * 16 * 49)
    for K, parts in zip(whole, blocks, strict=True):
        assert np.array_equal(K, K.T) and np.array_equal(parts, parts.T)
        assert np.linalg.eigvalsh(K)[0] > -1e-13 * np.trace(K)
        # sums of products of inputs depend on the size of blocks, by roundings
        np.testing.assert_allclose(parts, K, rtol=1e-12)
        np.testing.assert_allclose([K[3, 7], K[7, 7]], K[3, 3], rtol=1e-14)
    assert np.array_equal(layers(X, X), whole)  # X is Z
    np.testing.assert_allclose(layers(X, X.copy()), whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("net", "layers", "X"),
    [
        (
            mf.finite.deep.Dense(widths=(5, 300, 300, 1)),
            serial(Dense(), ReLU(), Dense(), ReLU(), Dense()),
            RNG.normal(size=(4, 5)),
        ),
        (
            mf.finite.deep.ConvNet(shape=(4, 2), channels=(150, 150)),
            serial(Conv(), ReLU(), Conv(), ReLU(), Flatten(), Dense()),
            RNG.normal(size=(4, 4, 2)),
        ),
        (
            mf.finite.deep.ConvNet(shape=(3, 3, 1), channels=(100, 100), padding="circular", readout="mean"),
            serial(Conv(padding="circular"), ReLU(), Conv(padding="circular"), ReLU(), GlobalPool(), Dense()),
            RNG.normal(size=(4, 3, 3, 1)),
        ),
    ],
    ids=["dense", "line", "grid"],
)
def test_wide_networks_have_these_kernels(net: Any, layers: Any, X: np.ndarray) -> None:
    S, T = layers(X)
    draws = [net.init(rng=i) for i in range(8)]
    mean = np.mean([net.tangent_kernel(w, X) for w in draws], axis=0)
    outputs = np.array([net.predict(net.init(rng=100 + i), X).ravel() for i in range(100)])
    size, scale = np.sqrt(np.outer(T.diagonal(), T.diagonal())), np.sqrt(np.outer(S.diagonal(), S.diagonal()))
    # fluctuations of kernels are some 1/root(width draws) = .03; of the covariance of 100 draws root(2/100) = .14
    assert np.abs(mean - T).max() < 0.1 * size.max()
    assert (np.abs(outputs.T @ outputs / 100 - S) < 0.5 * scale).all()


NETWORK = serial(Dense(b_var=0.1), ReLU(), Dense(), ReLU(), Dense())


def test_the_ensemble_under_gradient_flow() -> None:
    X, y, new = RNG.normal(size=(4, 5)), RNG.normal(size=(4, 2)), RNG.normal(size=(3, 5))
    start, end = NETWORK.predict(X, y, new, t=0.0), NETWORK.predict(X, y, X)
    np.testing.assert_allclose(start.mean, 0.0, atol=1e-15)
    np.testing.assert_allclose(start.variance, NETWORK(new)[0].diagonal(), rtol=1e-13)
    np.testing.assert_allclose(end.mean, y, atol=1e-12)  # interpolates, whatever the start
    np.testing.assert_allclose(end.variance, 0.0, atol=1e-12)
    # at a finite time, by the matrix exponential of the joint flow of data and new points
    from scipy.linalg import expm

    both = np.vstack([X, new])
    S, T = NETWORK(both)
    moves = np.zeros((7, 7))
    moves[:, :4] = -T[:, :4] / 4
    flow = expm(3.0 * moves)  # f(t) - (y, 0) where f starts from (f0 - y, f0)
    found = NETWORK.predict(X, y, new, t=3.0)
    drift = flow @ np.vstack([-y, np.zeros((3, 2))])
    np.testing.assert_allclose(found.mean, drift[4:], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found.variance, (flow @ S @ flow.T).diagonal()[4:], rtol=1e-11)
    np.testing.assert_allclose(
        NETWORK.predict(X, y[:, 0], new, t=0.75, reduction="sum").mean, found.mean[:, 0]
    )


def test_an_ensemble_of_wide_networks_predicts_this() -> None:
    X, y, new = RNG.normal(size=(4, 5)), np.array([1.0, -1.0, 0.5, 2.0]), RNG.normal(size=(3, 5))
    net, both = mf.finite.deep.Dense(widths=(5, 256, 256, 1)), np.vstack([X, new])
    ends = []
    for i in range(100):
        weights = net.init(rng=i)
        f0, K = net.predict(weights, both).ravel(), net.tangent_kernel(weights, both)
        flow = mf.kernels.flow(K[:4, :4], y, f0[:4])
        ends.append(flow.predict(2.0, K[4:, :4], f0[4:]))
    mean, variance = dense_relu(2).predict(X, y, new, t=2.0)
    # of 100 draws the mean is known to a tenth of the deviation, the variance to root(2/100) = .14 of itself
    assert (np.abs(np.mean(ends, axis=0) - mean) < 0.4 * np.sqrt(variance)).all()
    assert (np.abs(np.var(ends, axis=0) / variance - 1.0) < 0.5).all()


def test_points_that_coincide_with_different_labels() -> None:
    X, y = RNG.normal(size=(3, 5))[[0, 1, 0, 2]], np.array([1.0, 0.0, 2.0, 5.0])
    with pytest.warns(UserWarning, match=r"rows 0 and 2 of X coincide, but their labels differ \(1 such row"):
        found = NETWORK.predict(X, y, X)
    np.testing.assert_allclose(found.mean, [1.5, 0.0, 1.5, 5.0], atol=1e-12)
    np.testing.assert_allclose(found.variance, 0.0, atol=1e-12)
    # far closer than angles are told apart: no refusal of a matrix that is not quite positive
    near = np.vstack([X[1:], X[1:] * (1 + 1e-9) + 1e-9])
    assert np.isfinite(NETWORK.predict(near, np.arange(6.0), X).mean).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"y": np.ones(3)}, "y must have one row a point of X (4)"),
        ({"X_new": np.ones((2, 3))}, "X is (4, 5) and X_new is (2, 3)"),
        ({"t": -1.0}, "t must be a non-negative time"),
        ({"X": np.ones((10**6, 5)), "y": np.ones(10**6)}, "predicting 2 points from 1,000,000 takes 59,6"),
        ({"X": np.ones((10**6, 5)), "y": np.ones(10**6)}, "; take fewer points in X"),
        (
            {"X_new": np.broadcast_to(1.0, (10**6, 5)), "y": np.ones(4000), "X": np.ones((4000, 5))},
            "X_new in parts",
        ),
        ({"t": "late"}, "t must be a non-negative time"),
        ({"t": 1j}, "t must be a non-negative time"),
        ({"t": [0.0, 1.0]}, "t must be one non-negative time, or inf"),
        ({"reduction": "none"}, "reduction must be one of 'mean', 'sum'"),
    ],
)
def test_what_cannot_be_predicted_is_refused(change: dict, says: str) -> None:
    known = {"X": np.eye(4, 5), "y": np.ones(4), "X_new": np.ones((2, 5))} | change
    with pytest.raises(mf.InputError, match=re.escape(says)):
        NETWORK.predict(**known)


@pytest.mark.parametrize(
    ("layers", "X", "Z", "says"),
    [
        (
            [Conv(), Flatten()],
            np.ones((3, 5)),
            None,
            "layer 0 does not fit: Conv has data with positions before it",
        ),
        ([Dense()], np.ones((3, 5, 2)), None, "put Flatten() or GlobalPool() before it"),
        (
            [Dense(), Flatten()],
            np.ones((3, 5)),
            None,
            "layer 1 does not fit: Flatten has data with positions",
        ),
        ([Conv()], np.ones((3, 5, 2)), None, "the outputs still have positions (5,)"),
        ([ReLU(), Dense()], np.ones((3, 5)), None, "layer 0 does not fit: ReLU needs Gaussian values"),
        ([Conv(), Flatten(), ReLU()], np.ones((3, 5, 2)), None, "layer 2 does not fit: ReLU needs Gaussian"),
        ([Conv(), AvgPool(2), Flatten()], np.ones((3, 5, 2)), None, "windows of 2 must cover positions (5,)"),
        ([Conv(7, padding="circular"), Flatten()], np.ones((3, 5, 2)), None, "kernel=7 is larger than"),
        (
            [Conv(), Residual(AvgPool(2), Conv()), Flatten()],
            np.ones((3, 4, 2)),
            None,
            "must keep positions (4,)",
        ),
        ([Dense()], np.ones((3, 5)), np.ones((3, 4)), "X is (3, 5) and Z is (3, 4)"),
        ([Dense()], np.ones((3, 5)), np.full((3, 5), np.nan), "Z holds 15 value(s) that are NaN"),
        ([Dense()], np.ones(5), None, "X must have 2 or 3 or 4 axes"),
        (
            [Dense(), ReLU(), Dense()],
            np.full((2, 2), 1e160),
            None,
            "kernels overflow at points with values up to 1e+160",
        ),
        (
            [Dense(), ReLU(), Dense()],
            np.ones((2, 2)),
            np.full((2, 2), 1e300),  # S is a number, angles are not
            "kernels overflow at points with values up to 1e+300",
        ),
        (
            [Dense(), Residual(Dense(), scale=1e200)],
            np.ones((2, 2)),
            None,
            "or take smaller w_var, b_var and scale",
        ),
        (
            [Dense()],
            np.ones((2, 2)),
            np.full((2, 2), 1e-160),
            "Z has values up to 1e-160 only, whose squares are lost",
        ),
        (
            [Dense(), Residual(ReLU(), ReLU(), Dense())],
            np.ones((2, 2)),
            None,
            "in its branch, layer 1 does not fit",
        ),
        (
            [Dense()],
            np.ones((10**6, 1)),
            None,
            "S and T of 1,000,000 times 1,000,000 points take 14,901.2 GiB",
        ),
        (
            [GlobalPool()],
            np.ones((1, 800, 800, 1)),
            None,
            "one pair of points with positions (800, 800) takes 27,465",
        ),
    ],
)
def test_what_does_not_chain_or_fit_is_refused(layers: list, X: np.ndarray, Z: Any, says: str) -> None:
    with pytest.raises(mf.InputError, match=re.escape(says)):
        serial(*layers)(X, Z)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Dense(w_var=-1.0), "w_var must be non-negative, not -1.0"),
        (lambda: Dense(b_var=float("nan")), "b_var must be finite"),
        (lambda: Conv(4), "kernel must be odd, not 4"),
        (lambda: Conv(padding="same"), "padding must be one of 'zero', 'circular'"),
        (lambda: AvgPool(0), "window must be positive, not 0"),
        (lambda: Erf("1"), "scale must be a number"),
        (lambda: serial(), "serial() needs one layer at least"),
        (
            lambda: serial(Dense, ReLU()),
            "mf.kernels.deep.ReLU(), not the class Dense; pass an instance",
        ),
        (lambda: serial(mf.ReLU()), "not ReLU(slope_at_zero=0.0), of meanfield.activations"),
        (lambda: serial("relu"), "mf.kernels.deep.ReLU(), not 'relu'"),
        (lambda: serial([Dense(), ReLU()]), "layers are given one by one, serial(Dense(), ReLU())"),
        (lambda: mf.kernels.deep.Serial(Dense()), "layers must be a sequence of them"),
        (lambda: Residual(), "a Residual needs a branch, such as Residual(ReLU(), Dense())"),
        (lambda: Erf(1e200), "scale must be at most 1e+150 in size"),
        (lambda: Residual(Dense(), ReLU()), "must end with Dense or Conv"),
        (lambda: Residual(ReLU(), Residual(Dense())), "must end with Dense or Conv, whose weights"),
        (lambda: Residual(Residual(Dense())), "must not be Residuals only"),
    ],
)
def test_bad_layers_are_refused(make: Any, says: str) -> None:
    with pytest.raises(mf.InputError, match=re.escape(says)):
        make()


def test_whole_numbers_may_be_floats() -> None:
    assert Conv(3.0) == Conv(3) and AvgPool(2.0) == AvgPool(2)
    S = serial(Conv(3.0), AvgPool(2.0), Flatten())(LINE)[0]
    assert np.array_equal(S, serial(Conv(), AvgPool(), Flatten())(LINE)[0])


def test_a_width_is_not_taken_for_a_variance() -> None:
    with pytest.raises(TypeError, match="positional"):
        Dense(512)  # type: ignore[misc]

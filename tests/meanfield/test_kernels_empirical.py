"""The tangent kernel of a measure: against its definition, and its derivative against differences along the flow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import meanfield as mf
from meanfield import kernels


class Plain:
    """A network seen only as a feature map: the general path of `empirical`."""

    def __init__(self, network: mf.TwoLayer) -> None:
        self.network, self.dim, self.outputs, self.smooth = (
            network,
            network.dim,
            network.outputs,
            network.smooth,
        )
        self.mobility, self.layout = network.mobility, network.layout

    def features(self, positions: Any, X: Any) -> Any:
        return self.network.features(positions, X)

    def vjp(self, positions: Any, X: Any, q: Any) -> Any:
        return self.network.vjp(positions, X, q)


CASES: list[dict[str, Any]] = [
    {},
    {"bias": False, "train": ("w",)},
    {"outputs": 3},
    {"a": 0.7},
    {"train": ("a", "b"), "rates": {"a": 3.0}},
]


def setting(sigma: Any, case: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
    rng = np.random.default_rng(0)
    net = mf.TwoLayer(sigma, d=3, **case)
    mu = mf.ParticleMeasure(net.sample("gaussian", 23, 1), weights=rng.random(23), layout=net.layout)
    y = rng.normal(size=(6, net.outputs) if net.outputs > 1 else 6)
    return net, mu, rng.normal(size=(6, 3)), rng.normal(size=(4, 3)), y


@pytest.mark.parametrize("case", CASES, ids=str)
def test_products_of_activations_are_products_of_gradients(case: dict[str, Any]) -> None:
    net, mu, X, Z, _ = setting(mf.Tanh(), case)
    k = net.outputs
    rows = {}
    for name, points in (("X", X), ("Z", Z)):
        hot = np.eye(len(points) * k).reshape(-1, len(points), k)
        rows[name] = np.array([net.vjp(mu.positions, points, q) for q in hot])
    for points, other in ((None, "X"), (Z, "Z")):
        K = kernels.empirical(net, mu, X, points)
        expected = np.einsum("ijp,j,p,ljp->il", rows["X"], mu.weights, net.mobility, rows[other])
        np.testing.assert_allclose(K, expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(
            kernels.empirical(Plain(net), mu, X, points), expected, rtol=1e-12, atol=1e-13
        )
        # memory for one particle at a time: another order of the sum
        np.testing.assert_allclose(
            kernels.empirical(net, mu, X, points, block_bytes=1), K, rtol=1e-12, atol=1e-13
        )
        if points is None:
            assert (K == K.T).all()
        parts = [
            kernels.empirical(net, mu, X, points, layers=n)
            for n in ("a", "w", "b")
            if n in net.layout and n in net.train
        ]
        np.testing.assert_allclose(sum(parts), K, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("sigma", [mf.Tanh(), mf.Softplus(2.0), mf.ReLU()], ids=repr)
@pytest.mark.parametrize("case", CASES[:3], ids=str)
def test_derivative_is_the_slope_of_the_kernel_along_the_flow(sigma: Any, case: dict[str, Any]) -> None:
    net, mu, X, Z, y = setting(sigma, case)
    flow = mf.WassersteinFlow(mf.Objective(net, X, y))
    h, v = 1e-4, flow.velocity(mu)

    def at(step: float, points: Any) -> Any:
        return kernels.empirical(
            net, mf.ParticleMeasure(mu.positions + step * v, weights=mu.weights), X, points
        )

    for points in (None, Z):
        found = kernels.derivative(flow, mu, X, points)
        size = max(np.abs(found).max(), 1e-300)
        slope = (8 * (at(h, points) - at(-h, points)) - (at(2 * h, points) - at(-2 * h, points))) / (12 * h)
        # fourth-order differences: 1e-16 of the derivative's fifth and eps |K| / h, 1e-11
        np.testing.assert_allclose(found, slope, atol=1e-9 * max(size, 1.0))
        if net.smooth:
            general = mf.WassersteinFlow(mf.Objective(Plain(net), X, y))
            np.testing.assert_allclose(kernels.derivative(general, mu, X, points), found, atol=1e-9 * size)


def test_the_kernel_moves_predictions() -> None:
    """df/dt = -scale^2 K R'(f) along the flow, at any width."""
    net, mu, X, Z, y = setting(mf.Tanh(), {"scale": 2.5})
    flow = mf.WassersteinFlow(mf.Objective(net, X, y))
    h, v = 1e-5, flow.velocity(mu)
    moved = [net.predict(mf.ParticleMeasure(mu.positions + s * v, weights=mu.weights), Z) for s in (-h, h)]
    force = (net.predict(mu, X) - y) / 6
    expected = -(net.scale**2) * kernels.empirical(net, mu, Z, X) @ force
    np.testing.assert_allclose((moved[1] - moved[0]) / (2 * h), expected, rtol=1e-7, atol=1e-8)


def test_bad_input_is_told_in_a_sentence() -> None:
    net, mu, X, _, y = setting(mf.Tanh(), {"train": ("a",)})
    flow = mf.WassersteinFlow(mf.Objective(net, X, y))
    for call, said in (
        (lambda: kernels.empirical(net, mu.positions, X), "measure must be a ParticleMeasure"),
        (lambda: kernels.empirical(net, mu, X[:, :2]), r"X must have shape \(n, 3\)"),
        (lambda: kernels.empirical(net, mu, X, layers="v"), "a layer in layers must be one of"),
        (lambda: kernels.empirical(net, mu, X, layers="w"), "layer 'w' does not train"),
        (lambda: kernels.empirical(mf.TwoLayer("tanh", d=4), mu, np.ones((2, 4))), "5 coordinates"),
        (lambda: kernels.derivative(mf.SGD(flow.objective, step=0.1), mu, X), "follows a WassersteinFlow"),
    ):
        with pytest.raises(mf.InputError, match=said):
            call()


@pytest.mark.parametrize("layers", [(), 3])
def test_layers_that_are_none_are_refused(layers: object) -> None:
    network = mf.TwoLayer("relu", d=2)
    measure = mf.ParticleMeasure.gaussian(network, 3, rng=0)
    with pytest.raises(
        mf.InputError, match=r"layers must be a layer's name or several of them \(a, w, b\), not"
    ):
        mf.kernels.empirical(network, measure, np.eye(2), layers=layers)

"""One full-batch gradient-flow step of a two-layer network, as a user of each library would write it.

theta = (a, w, b), all layers moving, squared loss ``1/2 mean (f - y)^2``, no regularizer. Each peer is a function
``make(activation, X, y, a, W, b, step) -> advance(steps) -> predictions``; the type of the arrays, float64 or float32,
is the precision of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Advance = Callable[[int], Any]


def ours(activation: str, X: Any, y: Any, a: Any, W: Any, b: Any, step: float) -> Advance:
    """meanfield: Euler's method on `WassersteinFlow` through `solvers.integrate`."""
    import meanfield as mf
    import solvers

    network = mf.TwoLayer(activation, d=X.shape[1], dtype=X.dtype.name)
    X, y, a, W, b = (np.asarray(v, dtype=np.float64) for v in (X, y, a, W, b))
    flow = mf.WassersteinFlow(mf.Objective(network, X, y))
    start = mf.ParticleMeasure.from_arrays(a=a, w=W, b=b)

    def advance(steps: int) -> Any:
        run = solvers.integrate(flow, start, step * steps, method=solvers.Euler(step=step), save=2)
        return network.predict(run.final, X)

    return advance


def numpy(activation: str, X: Any, y: Any, a: Any, W: Any, b: Any, step: float) -> Advance:
    """NumPy, written with care: products with BLAS, temporaries reused where it is easy."""

    def advance(steps: int) -> Any:
        outer, inner, shift = a.copy(), W.copy(), b.copy()
        n, m = X.shape[0], a.shape[0]
        for _ in range(steps):
            z = inner @ X.T
            z += shift[:, None]
            s = np.maximum(z, 0.0) if activation == "relu" else np.tanh(z)
            q = (outer @ s / m - y) / n
            slope = (z > 0).astype(z.dtype) if activation == "relu" else 1.0 - s * s
            slope *= outer[:, None]
            slope *= q
            outer = outer - step * (s @ q)
            inner = inner - step * (slope @ X)
            shift = shift - step * slope.sum(axis=1)
        z = inner @ X.T + shift[:, None]
        return outer @ (np.maximum(z, 0.0) if activation == "relu" else np.tanh(z)) / m

    return advance


def torch_eager(
    activation: str, X: Any, y: Any, a: Any, W: Any, b: Any, step: float, compiled: bool = False
) -> Advance:
    """PyTorch, autograd, manual update without an optimizer object; eager, or the loss through torch.compile."""
    import torch

    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    sigma = torch.relu if activation == "relu" else torch.tanh
    m = a.shape[0]

    def risk(outer: Any, inner: Any, shift: Any) -> Any:
        f = sigma(inputs @ inner.T + shift) @ outer / m
        return 0.5 * torch.mean((f - targets) ** 2)

    loss = torch.compile(risk) if compiled else risk

    def advance(steps: int) -> Any:
        layers = [torch.from_numpy(v.copy()).requires_grad_() for v in (a, W, b)]
        for _ in range(steps):
            gradients = torch.autograd.grad(loss(*layers), layers)
            with torch.no_grad():
                for layer, gradient in zip(layers, gradients, strict=True):
                    layer -= step * m * gradient
        with torch.no_grad():
            return (sigma(inputs @ layers[1].T + layers[2]) @ layers[0] / m).numpy()

    return advance


def torch_compile(activation: str, X: Any, y: Any, a: Any, W: Any, b: Any, step: float) -> Advance:
    """PyTorch with the loss (and its gradient) compiled; needs a C++ compiler."""
    return torch_eager(activation, X, y, a, W, b, step, compiled=True)


def jax_scan(activation: str, X: Any, y: Any, a: Any, W: Any, b: Any, step: float) -> Advance:
    """JAX: grad, jit and scan over the steps, 64-bit enabled where the data are."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    sigma = jax.nn.relu if activation == "relu" else jnp.tanh
    m = a.shape[0]
    inputs, targets = jnp.asarray(X), jnp.asarray(y)

    def predict(layers: Any) -> Any:
        return sigma(inputs @ layers[1].T + layers[2]) @ layers[0] / m

    gradient = jax.grad(lambda layers: 0.5 * jnp.mean((predict(layers) - targets) ** 2))

    def body(layers: Any, _: Any) -> Any:
        return tuple(v - step * m * g for v, g in zip(layers, gradient(layers), strict=True)), None

    compiled: dict[int, Any] = {}

    def advance(steps: int) -> Any:
        if steps not in compiled:
            compiled[steps] = jax.jit(
                lambda layers: predict(jax.lax.scan(body, layers, None, length=steps)[0])
            )
        start = tuple(jnp.asarray(v) for v in (a, W, b))
        return np.asarray(compiled[steps](start).block_until_ready())

    return advance


PEERS: dict[str, Any] = {
    "ours": ours,
    "numpy": numpy,
    "torch": torch_eager,
    "compile": torch_compile,
    "jax": jax_scan,
}

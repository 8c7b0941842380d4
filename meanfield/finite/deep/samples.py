"""Gradients of every sample: the Jacobian of predictions, and networks as what diagnostics know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from meanfield.finite.deep.passes import backward, forward
from meanfield.finite.deep.tangent import one_output
from meanfield.finite.deep.weights import views
from solvers._memory import require_memory
from solvers._threads import one_blas_thread
from solvers.protocols import Array

if TYPE_CHECKING:
    from meanfield.diagnostics import Model
    from meanfield.finite.deep.network import Network


@one_blas_thread()
def jacobian(net: Network, flat: Array, X: Array) -> Array:
    """``grad f(x_i)`` of each output, (n, k, P), for checked arguments; 0 for weights that are frozen."""
    n, k = len(X), net.outputs
    require_memory(8.0 * n * k * net.size, f"the gradients of {n * k} predictions in {net.size} weights")
    found = np.zeros((n, k, net.size))
    arrays, low = views(flat, net.shapes), min(net.trained)
    for block in net.blocks(n):
        made, count = forward(net, arrays, X[block], True), block.stop - block.start
        for o in range(k):
            for i, g in backward(net, arrays, made, one_output(count, k, o), low):
                layer = net.layers[i]
                if not layer.rate:
                    continue
                at = net.offset(f"W{i}")
                rows = g.reshape(count, -1, layer.out)
                # in place: it may be as large as half of the memory
                part = found[block, o, at : at + layer.out * layer.fan]
                part = part.reshape(count, layer.out, layer.fan)
                np.matmul(rows.transpose(0, 2, 1), made.inputs[i].reshape(count, -1, layer.fan), out=part)
                if layer.factor != 1.0:
                    part *= layer.factor
                if layer.bias:
                    at = net.offset(f"b{i}")
                    found[block, o, at : at + layer.out] = layer.shift * rows.sum(axis=1)
    return found


def model(net: Network, flat: Array) -> Model:
    """A network at checked weights, in coordinates ``W / root(rate)`` of what moves."""
    from meanfield.diagnostics import Model

    start, moving = flat.copy(), np.flatnonzero(net.rates)
    roots = np.sqrt(net.rates[moving])
    inner = np.flatnonzero(moving < net.offset(f"W{len(net.layers) - 1}"))

    def at(parameters: Array) -> Model:
        whole = start.copy()
        whole[moving] = roots * parameters
        return Model(
            lambda X: net.predict(whole, X),
            lambda X: net.jacobian(whole, X)[..., moving] * roots,
            parameters,
            inner if inner.size else None,
            at,
            lambda X, Z: net.tangent_kernel(whole, X, Z),
            lambda X: np.hstack([z.reshape(len(X), -1) > 0 for z in net.activations(whole, X, before=True)]),
        )

    return at(start[moving] / roots)

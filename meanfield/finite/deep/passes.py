"""Forward and backward through a chain of layers with skips, on BLAS: what predictions, gradients, kernels are made of.

With u the inputs of layer l (the units before it, patches of them, or their mean), lin(u) = factor W u + shift b:

    z_l = lin_l(u_l) + skip,   h_l = sigma(z_l),   f = lin_L(u_L)

where skip is nothing, h_{l-1} ("post") or z_{l-1} ("pre"). Inside, arrays are (points times positions, channels).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from meanfield.activations import ReLU
from meanfield.finite.deep.scratch import Scratch
from solvers.protocols import Array

if TYPE_CHECKING:
    from meanfield.finite.deep.network import Network


class Pass(NamedTuple):
    """What a pass leaves: inputs u of each layer, z and sigma'(z) and h of the hidden ones, predictions (n, k).

    Where z was not to be kept, h may stand in its place.
    """

    inputs: list[Array]
    before: list[Array]
    slopes: list[Any]
    hidden: list[Array]
    f: Array


def activate(
    net: Network, z: Array, slope: bool, scratch: Scratch | None = None, layer: int = 0, keep: bool = True
) -> tuple[Array, Any]:
    """sigma(z) and, if asked for, sigma'(z), in scratch of the layer, or in new arrays; unless `keep` z may go."""
    sigma, scratch = net.activation, scratch or Scratch()
    if type(sigma) is ReLU and sigma.slope_at_zero == 0.0:
        kink = np.greater(z, 0.0, out=scratch.array("kink", layer, z.shape, bool)) if slope else None
        return np.maximum(z, 0.0, out=scratch.array("h", layer, z.shape) if keep else z), kink
    value = scratch.array("h", layer, z.shape)
    derivative = scratch.array("slope", layer, z.shape if slope else (0,))
    flat = np.ascontiguousarray(z).reshape(-1)
    if net.compiled:
        from meanfield._kernels.elementwise import activate as fill
        from meanfield._kernels.elementwise import activate_slope as fill_both

        if slope:
            fill_both(sigma, flat, value.reshape(-1), derivative.reshape(-1))
        else:
            fill(sigma, flat, value.reshape(-1))
    else:
        value.reshape(-1)[:] = [sigma.value(float(t)) for t in flat]
        if slope:
            derivative.reshape(-1)[:] = [sigma.slope(float(t)) for t in flat]
    return value, derivative if slope else None


def forward(
    net: Network,
    arrays: dict[str, Array],
    X: Array,
    slopes: bool,
    scratch: Scratch | None = None,
    keep: bool = False,
) -> Pass:
    """Predictions for checked inputs, in a new array, and what the way back needs, in scratch; z if it is to `keep`."""
    n, last, scratch = len(X), len(net.layers) - 1, scratch or Scratch()
    inputs: list[Array] = []
    before: list[Array] = []
    marks: list[Any] = []
    hidden: list[Array] = []
    h = net.rows(X)
    for i, layer in enumerate(net.layers):
        u = net.gather(i, h, n, scratch)
        z = np.empty((n, layer.out)) if i == last else scratch.array("z", i, (len(u), layer.out))
        multiply(u, arrays[f"W{i}"].T, layer.factor, z)
        if layer.bias:
            z += layer.shift * arrays[f"b{i}"]
        inputs.append(u)
        if i == last:
            break
        if i and net.skip == "post":
            z += h
        elif i and net.skip == "pre":
            z += before[-1]
        h, mark = activate(net, z, slopes, scratch, i, keep or net.skip == "pre")
        before.append(z)
        hidden.append(h)
        marks.append(mark)
    return Pass(inputs, before, marks, hidden, z)


def backward(
    net: Network,
    arrays: dict[str, Array],
    made: Pass,
    q: Array,
    lowest: int,
    scratch: Scratch | None = None,
) -> Iterator[tuple[int, Array]]:
    """Layers from the last down to `lowest`, each with ``d<q, f>/dz`` of its points and positions, (rows, out)."""
    n, last, scratch = len(q), len(net.layers) - 1, scratch or Scratch()
    g: Array = q
    above: Array | None = None
    for i in range(last, lowest - 1, -1):
        if i < last:
            g *= made.slopes[i]
            if above is not None:
                g += above
        yield i, g
        if i == lowest:
            return
        passed = net.back(i, g, arrays[f"W{i}"], n, scratch)
        skipped = 0 < i < last and net.skip is not None
        above = g if skipped and net.skip == "pre" else None
        if skipped and net.skip == "post":
            passed += g
        g = passed


def accumulate(
    net: Network,
    arrays: dict[str, Array],
    made: Pass,
    q: Array,
    out: dict[str, Array],
    lowest: int,
    fresh: bool,
    scratch: Scratch,
) -> None:
    """``sum_i q_i grad f(x_i)`` into `out`, or added to it unless `fresh`, for layers from `lowest` on."""
    for i, g in backward(net, arrays, made, q, lowest, scratch):
        layer, part = net.layers[i], out[f"W{i}"]
        product = np.matmul(g.T, made.inputs[i], out=part) if fresh else g.T @ made.inputs[i]
        if layer.factor != 1.0:
            product *= layer.factor
        if not fresh:
            part += product
        if layer.bias:
            total = layer.shift * np.add.reduce(g, axis=0)
            out[f"b{i}"][...] = total if fresh else out[f"b{i}"] + total


def multiply(u: Array, W: Array, factor: float, out: Array) -> Array:
    """``factor u W`` into `out`, (rows, columns), in one pass over it; u as its rows lie in memory, W turned or not."""
    from scipy.linalg.blas import dgemm

    turned = not W.flags.c_contiguous
    # Fortran's arrays are the transposes of ours: out' = factor W' u'
    left = W if turned else W.T
    dgemm(factor, left, np.ascontiguousarray(u).T, 0.0, out.T, trans_a=turned, overwrite_c=True)
    return out


def add_product(W: Array, g: Array, u: Array, factor: float) -> None:
    """``W += factor g' u`` in one pass over W, (out, fan), for g (rows, out) and u (rows, fan)."""
    from scipy.linalg.blas import dgemm

    # Fortran's arrays are the transposes of ours: W' += factor u' g
    dgemm(
        factor, np.ascontiguousarray(u).T, np.ascontiguousarray(g).T, 1.0, W.T, trans_b=True, overwrite_c=True
    )

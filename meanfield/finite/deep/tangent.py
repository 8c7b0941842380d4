"""Tangent kernels layer by layer: products of inputs times products of backward signals, or of gradients per sample."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from meanfield.finite.deep.passes import backward, forward
from meanfield.finite.deep.scaling import Layer
from meanfield.finite.deep.weights import views
from solvers._threads import one_blas_thread
from solvers.protocols import Array

if TYPE_CHECKING:
    from meanfield.finite.deep.network import Network

# Bytes of what is held of a pair of blocks of points.
BLOCK_BYTES = 64_000_000


def one_output(n: int, k: int, o: int) -> Array:
    """The seed of a backward pass for output o of k, (n, k)."""
    q = np.zeros((n, k))
    q[:, o] = 1.0
    return q


@one_blas_thread()
def tangent_kernel(net: Network, flat: Array, X: Array, Z: Array | None) -> Array:
    """``sum_l rate_l <grad_l f(x), grad_l f(z)>``, (n k, n' k), for checked arguments; Z is X where it is None."""
    k, other = net.outputs, X if Z is None else Z
    kernel = np.empty((len(X) * k, len(other) * k))
    size = _points(net)
    for low in range(0, len(X), size):
        left = signals(net, flat, X[low : low + size])
        rows = slice(low * k, low * k + len(X[low : low + size]) * k)
        for start in range(low if Z is None else 0, len(other), size):
            one = other[start : start + size]
            right = left if Z is None and start == low else signals(net, flat, one)
            columns = slice(start * k, start * k + len(one) * k)
            part = np.zeros(kernel[rows, columns].shape)
            for i in net.trained:
                part += contracted(net.layers[i], left[i], right[i])
            if right is left:
                part = np.triu(part) + np.triu(part, 1).T
            kernel[rows, columns] = part
            if Z is None:
                kernel[columns, rows] = part.T
    return kernel


def signals(net: Network, flat: Array, X: Array) -> dict[int, tuple[Array, Array]]:
    """For each layer that moves its inputs u (n, p, fan) and backward signals df/dz (n, k, p, out)."""
    n, k = len(X), net.outputs
    arrays = views(flat, net.shapes)
    made = forward(net, arrays, X, True)
    found = {
        i: (
            made.inputs[i].reshape(n, -1, net.layers[i].fan),
            np.empty((n, k, net.positions[i], net.layers[i].out)),
        )
        for i in net.trained
    }
    for o in range(k):
        for i, g in backward(net, arrays, made, one_output(n, k, o), min(net.trained)):
            if i in found:
                found[i][1][:, o] = g.reshape(n, net.positions[i], -1)
    return found


def contracted(layer: Layer, left: tuple[Array, Array], right: tuple[Array, Array]) -> Array:
    """One layer's part of the kernel, the cheaper way round."""
    (u, g), (v, h) = left, right
    n, k, p, out = g.shape
    m = len(h)
    pairs = n * m * p * p * (layer.fan + k * k * out)
    gradients = (n + m) * k * p * out * layer.fan + n * m * k * k * out * layer.fan
    if pairs <= gradients:
        inner = u.reshape(n * p, -1) @ v.reshape(m * p, -1).T
        outer = g.reshape(n * k * p, -1) @ h.reshape(m * k * p, -1).T
        both = outer.reshape(n, k, p, m, k, p) * inner.reshape(n, 1, p, m, 1, p)
        part = both.sum(axis=(2, 5)).reshape(n * k, m * k)
    else:
        mine = (g.transpose(0, 1, 3, 2) @ u[:, None]).reshape(n * k, -1)
        part = mine @ (mine if left is right else (h.transpose(0, 1, 3, 2) @ v[:, None]).reshape(m * k, -1)).T
    part *= layer.rate * layer.factor**2
    if layer.bias:
        part += (layer.rate * layer.shift**2) * (
            g.sum(axis=2).reshape(n * k, -1) @ h.sum(axis=2).reshape(m * k, -1).T
        )
    return np.asarray(part)


def _points(net: Network) -> int:
    """Points of a block: neither their gradients nor their pairs are to fill more than the memory of a block."""
    numbers, k = BLOCK_BYTES // 8, net.outputs
    passes = sum(
        p * (layer.fan + (3 + k) * layer.out) for p, layer in zip(net.positions, net.layers, strict=True)
    )
    wide = max(
        [k * layer.fan * layer.out for p, layer in zip(net.positions, net.layers, strict=True) if p > 1]
        or [1]
    )
    pairs = max(net.positions) * k
    return max(1, min(numbers // passes, numbers // wide, int(math.sqrt(numbers)) // pairs))

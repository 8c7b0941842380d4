"""Two states of a deep network side by side: movement of its weights, flips of its activations, tangent kernels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from meanfield.finite.deep.network import Network
from meanfield.finite.deep.weights import Weights
from solvers._memory import require_memory
from solvers._threads import one_blas_thread
from solvers.protocols import Array

# Numbers of activations held at a time.
BLOCK = 16_000_000
# Matrices up to this size go through all their singular values.
SMALL = 256
# Relative, of singular values of large ones.
TOLERANCE = 1e-7


class Movement(NamedTuple):
    """``|W_T - W_0|`` of each layer that moves, in the spectral and the Frobenius norm, and the norms of W_0."""

    layers: tuple[int, ...]
    spectral: Array
    frobenius: Array
    spectral_start: Array
    frobenius_start: Array


@one_blas_thread()
def movement(net: Network, start: Weights, end: Weights) -> Movement:
    """By layer, of the matrices W; biases count for nothing here."""
    rows = [
        (spectral_norm(b - a), float(np.linalg.norm(b - a)), spectral_norm(a), float(np.linalg.norm(a)))
        for a, b in ((start[f"W{i}"], end[f"W{i}"]) for i in net.trained)
    ]
    return Movement(net.trained, *np.array(rows).T)


def spectral_norm(A: Array) -> float:
    """The largest singular value: all of them for small matrices, Lanczos' iteration for large ones."""
    if min(A.shape) <= SMALL:
        return float(np.linalg.norm(A, 2))
    from scipy.sparse.linalg import svds

    size = float(np.abs(A).max())
    if size == 0.0:
        return 0.0
    # a fixed start with something of everything: equal matrices have equal bits. It squares what it is given
    first = np.cos(math.sqrt(2.0) * np.arange(min(A.shape)) ** 2)
    return size * float(svds(A / size, k=1, tol=TOLERANCE, v0=first, return_singular_vectors=False)[0])


class Kernels(NamedTuple):
    """Tangent kernels of both states: eigenvalues, descending; relative changes; how far the first would take weights.

    Attributes
    ----------
    start, end : ndarray, (rows,)
    change, change_spectral : float
        NaN where the kernel of the start is 0.
    frozen : float
        ``root <r, K_0^-1 r>``, NaN without r and for kernels that are singular.
    """

    start: Array
    end: Array
    change: float
    change_spectral: float
    frozen: float


@one_blas_thread()
def kernels(net: Network, start: Weights, end: Weights, X: Array, r: Array | None) -> Kernels:
    """On the points X, with a residual r at the start or None."""
    rows = len(X) * net.outputs
    # both, their difference, and what the eigenvalues need
    require_memory(
        8.0 * 4 * rows**2, f"tangent kernels of {rows} predictions", "a part of the data: points=1000"
    )
    before, after = (net.tangent_kernel(weights, X) for weights in (start, end))
    spectra = [np.linalg.eigvalsh(kernel)[::-1].clip(min=0.0) for kernel in (before, after)]
    size, moved, spectral, frozen = float(spectra[0][0]), math.nan, math.nan, math.nan
    if size > 0.0:
        change = (after - before) / size  # norms square what they are given
        moved = float(np.linalg.norm(change) / np.linalg.norm(before / size))
        spectral = float(np.abs(np.linalg.eigvalsh(change)).max())
    if r is not None and spectra[0][-1] > rows * np.finfo(float).eps * size:
        frozen = math.sqrt(float(r @ np.linalg.solve(before, r)))
    return Kernels(spectra[0], spectra[1], moved, spectral, frozen)


def flips(net: Network, start: Weights, end: Weights, X: Array) -> Array:
    """Share of preactivations that are on the other side of 0, by hidden layer, over units, positions and data."""
    counts, sizes = np.zeros(len(net.layers) - 1), np.zeros(len(net.layers) - 1)
    for block in blocks(net, len(X)):
        before, after = (net.activations(weights, X[block], before=True) for weights in (start, end))
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            counts[i] += np.count_nonzero((one > 0.0) != (other > 0.0))
            sizes[i] += one.size
    return np.asarray(counts / sizes)


def last_sizes(net: Network, weights: Weights, X: Array) -> Array:
    """``|h_L(x)| / |x|``, the last hidden layer's size at each point with x other than 0."""
    n = len(X)
    found = np.concatenate([
        np.linalg.norm(net.activations(weights, X[block])[-1].reshape(block.stop - block.start, -1), axis=1)
        for block in blocks(net, n)
    ])  # fmt: skip
    of = np.linalg.norm(X.reshape(n, -1), axis=1)
    return np.asarray(found[of > 0.0] / of[of > 0.0])


def blocks(net: Network, n: int) -> Iterator[slice]:
    """So many points at a time that their activations stay within BLOCK numbers."""
    each = sum(p * layer.out for p, layer in zip(net.positions, net.layers, strict=True))
    size = max(1, BLOCK // each)
    for low in range(0, n, size):
        yield slice(low, min(n, low + size))


@one_blas_thread()
def dissipation(problem: Any, weights: Weights) -> float:
    """``sum_l rate_l |grad_l F|^2``, the speed at which the gradient flow lowers the loss."""
    net, gradient = problem.net, problem.gradient(weights)
    parts = ((net.layers[int(name[1:])].rate, gradient[name]) for name in net.shapes)
    return float(sum(rate * np.vdot(part, part) for rate, part in parts if rate))

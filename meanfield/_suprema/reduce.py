"""G(u) = sum_i g_i sigma(u.x_i) brought to its essentials: unit points, one weight each, a linear part, full rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanfield._suprema.bounds import EPSILON
from solvers.protocols import Array

CLEARLY_FULL = 1e-6  # ratio of extreme eigenvalues of the Gram matrix above which the rank is not in doubt


@dataclass(frozen=True, eq=False)
class Problem:
    """``G(u) = scale * (sum_j weights_j relu(v.points_j) + v.linear)``, v = basis @ u, up to `dropped`.

    Attributes
    ----------
    points : ndarray, shape (k, r)
        Unit vectors; none with weight zero.
    weights : ndarray, shape (k,)
    linear : ndarray, shape (r,)
    basis : ndarray, shape (r, D)
        Orthonormal rows spanning the points (the identity if r = D).
    null : ndarray, shape (D,), or None
        A unit vector orthogonal to all points, if r < D.
    scale : float
        A power of two.
    dropped : float
        Bound on what the reduction of rank changes in G / scale.
    magnitude : float
        sum |weights| + |linear| + the size of the terms that were added up in `linear`: the unit in which
        rounding errors are counted.
    """

    points: Array
    weights: Array
    linear: Array
    basis: Array
    null: Array | None
    scale: float
    dropped: float
    magnitude: float

    @property
    def rank(self) -> int:
        return int(self.basis.shape[0])


def reduce(X: Array, g: Array, slope_negative: float) -> Problem:
    """Reduce ``G(u) = sum_i g_i sigma(u.x_i)``, sigma(z) = relu(z) (1 - s) + s z, to a `Problem`.

    Rows with g_i = 0 or x_i = 0 contribute nothing and go first. The rank is that of the rows g_i x_i: singular
    values at most max(n, D) * 2^-52 times the largest count as zero, and what that drops from G is bounded
    by ``sum |g_i| max(1, |s|) |x_i - projection of x_i|``.
    """
    dim = X.shape[1]
    largest_x, largest_g = float(np.abs(X).max()), float(np.abs(g).max())
    if largest_x == 0.0 or largest_g == 0.0:
        return _nothing(dim)
    # powers of two: the scaling is exact, and squares neither overflow nor underflow where it matters
    power = np.frexp(largest_x)[1] + np.frexp(largest_g)[1]
    X = np.ldexp(X, -np.frexp(largest_x)[1])
    g = np.ldexp(g, -np.frexp(largest_g)[1])
    keep = (g != 0.0) & (X != 0.0).any(axis=1)
    if not keep.any():
        return _nothing(dim)
    X, g = X[keep], g[keep]
    weighted = g[:, None] * X
    basis, null = _row_space(weighted)
    if basis.shape[0] == 0:  # every product underflowed
        return _nothing(dim)
    steepest = max(1.0, abs(slope_negative))
    dropped = 0.0
    if null is not None:
        reduced = X @ basis.T
        residual = np.linalg.norm(X - reduced @ basis, axis=1)
        dropped = steepest * float(np.abs(g) @ residual)
        X = np.ascontiguousarray(reduced)
        weighted = g[:, None] * X
    norms = np.linalg.norm(X, axis=1)
    visible = norms > 0.0
    X, g, norms, weighted = X[visible], g[visible], norms[visible], weighted[visible]
    linear = slope_negative * weighted.sum(axis=0)
    weights = (1.0 - slope_negative) * g * norms
    magnitude = float(np.abs(g) @ norms) * (abs(slope_negative) + abs(1.0 - slope_negative))
    bent = weights != 0.0
    return Problem(
        points=np.ascontiguousarray(X[bent] / norms[bent, None]),
        weights=np.ascontiguousarray(weights[bent]),
        linear=linear,
        basis=basis,
        null=null,
        scale=float(np.ldexp(1.0, int(power))),
        dropped=dropped,
        magnitude=magnitude,
    )


def values(X: Array, g: Array, slope_negative: float, directions: Array) -> Array:
    """G at each row of `directions` (k, D), summed without BLAS so that threads cannot change the bits."""
    projections = np.einsum("nd,kd->kn", X, directions)
    bent = np.where(projections > 0.0, projections, slope_negative * projections)
    out: Array = (bent * g).sum(axis=1)
    return out


def _nothing(dim: int) -> Problem:
    null = np.zeros(dim)
    null[0] = 1.0
    return Problem(np.zeros((0, 0)), np.zeros(0), np.zeros(0), np.zeros((0, dim)), null, 1.0, 0.0, 0.0)


def _row_space(rows: Array) -> tuple[Array, Array | None]:
    """An orthonormal basis of the row space, and a unit vector orthogonal to it if there is one."""
    count, dim = rows.shape
    if count >= dim:
        # equal norms of the columns do not matter for the rank, but they do for this quick test
        column = np.sqrt((rows * rows).sum(axis=0))
        if (column > 0.0).all():
            balanced = rows / column
            spectrum = np.linalg.eigvalsh(balanced.T @ balanced)
            spread = float(column.max() / column.min())
            if spectrum[0] > CLEARLY_FULL * spectrum[-1] and spread < 1e6:
                return np.eye(dim), None
    _, singular, axes = np.linalg.svd(rows, full_matrices=count < dim)
    rank = int((singular > max(count, dim) * EPSILON * singular[0]).sum()) if singular[0] > 0.0 else 0
    if rank == dim:
        return np.eye(dim), None
    return np.ascontiguousarray(axes[:rank]), axes[rank].copy()

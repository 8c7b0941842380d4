"""Data as homogeneous neurons see them: two slopes, one column for the bias, full rank, no two points on one ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield import activations
from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array

EPSILON = 2.0**-52
SAME_RAY = 1e-12  # distance of unit vectors up to which two points are taken to lie on one ray


@dataclass(frozen=True, eq=False)
class Points:
    """``sigma(u.x_i) = unit * bent(v.z_i)`` with v = basis u, bent(t) = t for t > 0 and slope * t otherwise.

    The unit ball of R^r is the image of the unit sphere of R^D (of the sphere itself where r = D), and the
    functions in question are positively homogeneous: suprema of |.| over both spheres are the same.

    Attributes
    ----------
    X : ndarray, shape (n, D)
        As given, with a column of ones where there is a bias.
    Z : ndarray, shape (k, r)
        The points of `rows` in the basis of the row space, divided by the largest norm.
    basis : ndarray, shape (r, D)
        Orthonormal rows.
    rows : ndarray, shape (k,)
        One point a ray; those at the origin are left out.
    representative, stretch : ndarray, shape (n,)
        ``x_i = stretch_i * x_(rows[representative_i])``; -1 and 0 for points at the origin.
    residual : ndarray, shape (k,)
        How far the reduction of rank moves each point, in the unit of Z.
    slope, unit : float
    upper, lower : float
        sigma(z) = upper * z for z > 0, lower * z otherwise.
    """

    X: Array
    Z: Array
    basis: Array
    rows: NDArray[np.intp]
    representative: NDArray[np.intp]
    stretch: Array
    residual: Array
    slope: float
    unit: float
    upper: float
    lower: float

    @property
    def rank(self) -> int:
        return int(self.basis.shape[0])

    def directions(self, v: Array) -> Array:
        """Unit vectors of R^D from those of R^r."""
        u = v @ self.basis
        return np.asarray(u / np.linalg.norm(u, axis=1, keepdims=True))

    def features(self, u: Array) -> Array:
        """``sigma(u_j.x_i)`` on the data as given: (k, n)."""
        return bend(u @ self.X.T, self.upper, self.lower)


def clash(points: Points, i: int, j: int) -> str:
    """What rows i and j of X have in common, in words."""
    if np.array_equal(points.X[i], points.X[j]):
        return "are the same point"
    if abs(points.stretch[j] - 1.0) <= 1e-9:
        return "are the same point up to rounding"
    return "lie on one ray from the origin"


def bend(z: Array, upper: float, lower: float) -> Array:
    """``upper * z`` where z > 0, ``lower * z`` elsewhere."""
    return np.asarray(np.where(z > 0.0, upper * z, lower * z))


def slopes(activation: Any, what: str) -> tuple[Any, float, float]:
    """The activation, and its slopes on both half-lines: all there is to know of a positively 1-homogeneous one."""
    resolved = activations.resolve(activation)
    if getattr(resolved, "degree", None) != 1:
        raise InputError(
            f"{what} needs an activation with sigma(c z) = c sigma(z) for c > 0 (ReLU, LeakyReLU, Identity, or one of "
            f"yours with degree = 1), because its neurons live on the unit sphere; {resolved!r} is not"
        )
    upper, lower = float(resolved.value(1.0)), -float(resolved.value(-1.0))
    if upper == 0.0 and lower == 0.0:
        raise InputError(f"the activation {resolved!r} is 0 everywhere; no network with it is anything else")
    return resolved, upper, lower


def examples(X: Any, y: Any, bias: Any) -> tuple[Array, Array]:
    """Inputs (n, d) with a column of ones where there is a bias, and targets (n,)."""
    if not isinstance(bias, (bool, np.bool_)):
        raise InputError(f"bias must be True or False, not {bias!r}")
    inputs = _check.array(X, "X", ndim=(1, 2))
    inputs = inputs[:, None] if inputs.ndim == 1 else inputs
    targets = _check.array(y, "y", ndim=(1, 2))
    targets = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
    if targets.shape != inputs.shape[:1]:
        raise InputError(
            f"y must have shape ({inputs.shape[0]},), one number a row of X, but its shape is {np.shape(y)}"
        )
    if bias:
        inputs = np.column_stack([inputs, np.ones(inputs.shape[0])])
    return inputs, targets


def labels(y: Array) -> Array:
    """y, if it holds labels -1 and 1."""
    wrong = np.flatnonzero(~np.isin(y, (-1.0, 1.0)))
    if wrong.size:
        hint = "; write 2 * y - 1 for labels 0 and 1" if np.isin(y, (0.0, 1.0)).all() else ""
        raise InputError(f"y must hold labels -1 and 1, but y[{wrong[0]}] = {y[wrong[0]]:g}{hint}")
    return y


def prepare(X: Array, upper: float, lower: float) -> Points:
    """Reduce the inputs to their rank and to one point a ray."""
    # The steeper half-line is brought to the right: bent slopes are then at most 1.
    mirrored = abs(lower) > abs(upper)
    factor, slope = (-lower, upper / lower) if mirrored else (upper, lower / upper)
    # A power of two first, and then the largest norm, which can no longer overflow or vanish.
    power = int(np.frexp(np.abs(X).max())[1])
    near = np.ldexp(X, -power)
    length = float(np.linalg.norm(near, axis=1).max()) or 1.0
    near = near / length
    basis = _row_space(near) if near.any() else np.zeros((0, X.shape[1]))
    reduced = near @ basis.T
    visible = np.linalg.norm(reduced, axis=1) > 0.0
    rows, representative, stretch = _rays(reduced, visible)
    residual = np.linalg.norm(near[rows] - reduced[rows] @ basis, axis=1)
    return Points(
        X=X,
        Z=np.ascontiguousarray(reduced[rows] * (-1.0 if mirrored else 1.0)),
        basis=basis,
        rows=rows,
        representative=representative,
        stretch=stretch,
        residual=residual if basis.shape[0] < X.shape[1] else np.zeros(rows.size),
        slope=slope,
        unit=float(np.ldexp(factor * length, power)),
        upper=upper,
        lower=lower,
    )


def _row_space(X: Array) -> Array:
    """Orthonormal rows that span the rows of X; the identity if X has full column rank."""
    _, singular, axes = np.linalg.svd(X, full_matrices=False)
    rank = int((singular > max(X.shape) * EPSILON * singular[0]).sum())
    if rank == X.shape[1]:
        return np.eye(rank)
    return np.ascontiguousarray(axes[:rank])


def _rays(Z: Array, visible: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """One point of each ray, the shortest, and how the others are multiples of it."""
    n = Z.shape[0]
    representative, stretch = np.full(n, -1, dtype=np.intp), np.zeros(n)
    seen = np.flatnonzero(visible)
    if not seen.size:
        return seen, representative, stretch
    from scipy.spatial import cKDTree

    norms = np.linalg.norm(Z[seen], axis=1)
    order = seen[np.argsort(norms, kind="stable")]
    length = np.sort(norms, kind="stable")
    units = Z[order] / length[:, None]
    owner = np.arange(order.size)
    for first, second in sorted(cKDTree(units).query_pairs(SAME_RAY)):
        owner[second] = min(owner[second], owner[first])
    kept = np.flatnonzero(owner == np.arange(order.size))
    place = np.full(order.size, -1)
    place[kept] = np.arange(kept.size)
    # back to the order of the data
    ranked = np.argsort(order[kept], kind="stable")
    position = np.empty(kept.size, dtype=np.intp)
    position[ranked] = np.arange(kept.size)
    representative[order] = position[place[owner]]
    stretch[order] = length / length[owner]
    return order[kept][ranked], representative, stretch

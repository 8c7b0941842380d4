"""Kernel matrices and labels at the door."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array


def square_kernel(K: Any, name: str = "K") -> Array:
    """K as a symmetric matrix, rounding between the triangles averaged away, or one sentence."""
    matrix = _check.array(K, name, ndim=2)
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(
            f"{name} must be the square kernel matrix of the data with themselves, but its shape is {matrix.shape}"
        )
    gap = float(np.abs(matrix - matrix.T).max())
    # a product computed in two orders differs by roundings, not by more
    if gap > 1e-8 * float(np.abs(matrix).max()):
        raise InputError(f"{name} must be symmetric, but {name} and its transpose differ by {gap:.2g}")
    return matrix if gap == 0.0 else 0.5 * (matrix + matrix.T)


def spectrum(K: Array, name: str = "K") -> tuple[Array, Array]:
    """Eigenvalues and eigenvectors of a kernel; eigenvalues that are zero up to rounding are zero."""
    from scipy.linalg import eigh

    with one_blas_thread():
        values, vectors = eigh(K, driver="evd", check_finite=False)
    size = float(np.abs(values).max())
    # errors of a symmetric eigensolver are some n eps |K|, those of the entries themselves come on top
    floor = rounding(K) * size
    if values[0] < -max(1e-10 * size, floor):
        raise InputError(
            f"{name} is not positive semi-definite: its least eigenvalue is {values[0]:.3g}, "
            f"its largest {values[-1]:.3g}"
        )
    return np.where(values > floor, values, 0.0), vectors


def rounding(K: Array) -> float:
    """Share of the largest eigenvalue below which the others are rounding."""
    return float(4.0 * K.shape[0] * np.finfo(float).eps)


def duplicates(K: Array) -> Any:
    """Pairs i < j of points that are the same for the kernel: their distance |K_i - K_j|_H is rounding."""
    size = np.diag(K)
    distance = size[:, None] + size - 2.0 * K
    return np.nonzero(np.triu(distance <= 1e-13 * (size[:, None] + size), 1))


def labels_for(K: Array, y: Any, name: str = "y") -> Array:
    """Labels (n,) or (n, k) for a kernel (n, n); (n, k) flattened where K is (n k, n k)."""
    labels = _check.array(y, name, ndim=(1, 2))
    n = K.shape[0]
    if labels.shape[0] != n and labels.size == n:
        return labels.reshape(n)
    if labels.shape[0] != n:
        raise InputError(f"{name} must have one entry a row of K ({n}), but its shape is {labels.shape}")
    return labels


def cross_kernel(K_new: Any, n: int) -> Array:
    """K(new points, data), (anything, n), or one sentence."""
    matrix = _check.array(K_new, "K_new", ndim=(1, 2))
    if matrix.shape[-1] != n:
        raise InputError(
            f"K_new must be the kernel of the new points with the {n} data, shape (points, {n}), but its shape is "
            f"{matrix.shape}; perhaps it is transposed"
        )
    return matrix


def reduction_factor(reduction: Any, n: int) -> float:
    """Weight of one datum in a loss that averages (1/n) or sums (1)."""
    mean = _check.choice(reduction, "reduction", ("mean", "sum")) == "mean"
    return 1.0 / n if mean else 1.0

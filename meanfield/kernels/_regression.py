"""Regression with a kernel: ridge, and the interpolant of least norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield.kernels._checks import (
    cross_kernel,
    duplicates,
    labels_for,
    reduction_factor,
    spectrum,
    square_kernel,
)
from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array


@dataclass(frozen=True, repr=False)
class KernelFit:
    """A function ``f(x) = sum_i alpha_i K(x, x_i)``, as `ridge` and `ridgeless` find it.

    Attributes
    ----------
    alpha : ndarray, (n,) or (n, k)
    norm : float
        ``|f|_H = root(alpha' K alpha)``, over all outputs.
    values : ndarray
        f on the data, ``K alpha``.
    """

    alpha: Array
    norm: float
    values: Array

    @one_blas_thread()
    def predict(self, K_new: Any) -> Array:
        """``K(X2, X) alpha``: (points,) or (points, k).

        Parameters
        ----------
        K_new : array_like, (points, n)
            Kernel of the new points with the data.
        """
        return np.asarray(cross_kernel(K_new, self.alpha.shape[0]) @ self.alpha)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n={self.alpha.shape[0]}, norm {self.norm:.6g})"


def _fit(K: Array, alpha: Array) -> KernelFit:
    with one_blas_thread():
        values = K @ alpha
    return KernelFit(alpha, float(np.sqrt(max(float(np.sum(alpha * values)), 0.0))), values)


@one_blas_thread()
def ridge(K: Any, y: Any, lam: float, reduction: str = "mean") -> KernelFit:
    """``min (1/2n) sum_i (f(x_i) - y_i)^2 + (lam/2)|f|_H^2``: alpha = (K + n lam I)^(-1) y.

    Parameters
    ----------
    K : array_like, (n, n)
        Symmetric, positive semi-definite; singular ones are fine.
    y : array_like, (n,) or (n, k)
    lam : float
        Positive; for 0 there is `ridgeless`.
    reduction : {"mean", "sum"}
        "sum": without the 1/n, so (K + lam I)^(-1) y.

    Raises
    ------
    InputError
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    matrix = square_kernel(K)
    labels = labels_for(matrix, y)
    weight = _check.number(lam, "lam", nonnegative=True)
    if weight == 0.0:
        raise InputError("lam must be positive, not 0; ridgeless(K, y) is the limit lam -> 0")
    shifted = matrix.copy()
    shifted[np.diag_indices_from(shifted)] += weight / reduction_factor(reduction, matrix.shape[0])
    try:
        with one_blas_thread():
            alpha = cho_solve(cho_factor(shifted, lower=True, overwrite_a=True, check_finite=False), labels)
    except LinAlgError:
        spectrum(matrix)  # an indefinite kernel is told here
        raise InputError(
            f"K + n lam I is singular to rounding for lam = {weight:g}; take a larger lam, or ridgeless(K, y)"
        ) from None
    return _fit(matrix, alpha)


@one_blas_thread()
def ridgeless(K: Any, y: Any) -> KernelFit:
    """``min |f|_H subject to f(x_i) = y_i``: alpha = K^+ y, the limit of `ridge` as lam -> 0.

    A singular kernel serves as long as labels agree with it: duplicate points need equal labels. Directions of K whose
    eigenvalue is below 4 n eps times the largest are taken for zero.

    Parameters
    ----------
    K : array_like, (n, n)
        Symmetric, positive semi-definite.
    y : array_like, (n,) or (n, k)

    Raises
    ------
    InputError
        No function of the kernel's space has these labels.
    """
    matrix = square_kernel(K)
    labels = labels_for(matrix, y)
    values, vectors = spectrum(matrix)
    kept = values > 0.0
    with one_blas_thread():
        parts = vectors.T @ labels
        missed = vectors[:, ~kept] @ parts[~kept]
    # labels in the range keep in the null space what rounding of the eigenvectors puts there
    if np.abs(missed).max(initial=0.0) > 1e-7 * np.abs(labels).max():
        raise InputError(_inconsistent(matrix, labels, int(np.count_nonzero(~kept))))
    basis, inverse = vectors[:, kept], 1.0 / values[kept]
    alpha = np.zeros_like(labels)
    with one_blas_thread():
        for _ in range(2):  # the second time what rounding left of the labels
            left = basis.T @ (labels - matrix @ alpha)
            alpha += basis @ (inverse[:, None] * left if labels.ndim == 2 else inverse * left)
        return _fit(matrix, alpha)


def _inconsistent(K: Array, y: Array, missing: int) -> str:
    """Why labels cannot be interpolated: a pair of equal points, if that is it."""
    i, j = duplicates(K)
    apart = np.abs(y[i] - y[j]) > 1e-9 * np.abs(y).max()
    clash = apart.any(axis=1) if y.ndim == 2 else apart
    if clash.any():
        a, b = int(i[clash][0]), int(j[clash][0])
        return (
            f"points {a} and {b} are the same for this kernel but have labels {_short(y[a])} and {_short(y[b])}, so "
            "nothing interpolates them; merge duplicates or use ridge(K, y, lam)"
        )
    return (
        f"K is singular to rounding (rank {K.shape[0] - missing} of {K.shape[0]}) and y is not in its range, so no "
        "function of its space interpolates y; use ridge(K, y, lam) or a richer kernel"
    )


def _short(value: Any) -> str:
    return f"{float(value):g}" if np.ndim(value) == 0 else np.array2string(np.asarray(value), precision=4)

"""Numbers that describe a kernel: agreement with labels, effective rank, change."""

from __future__ import annotations

from typing import Any

import numpy as np

from meanfield.kernels._checks import labels_for, spectrum, square_kernel
from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array


@one_blas_thread()
def alignment(K: Any, y: Any, centred: bool = False) -> float:
    """``<K, yy'> / (|K| |yy'|)`` (Frobenius), in [0, 1]: 1 where the kernel is the labels' own.

    Parameters
    ----------
    K : array_like, (n, n)
        Symmetric, positive semi-definite.
    y : array_like, (n,) or (n, k)
        Several columns: y y' is the sum over them.
    centred : bool
        K and y with their means over the data taken off, rows and columns (Cortes, Mohri and Rostamizadeh, 2012).

    Raises
    ------
    InputError
        All labels or the whole kernel vanish (after centring).
    """
    matrix = square_kernel(K)
    labels = labels_for(matrix, y)
    labels = labels[:, None] if labels.ndim == 1 else labels
    size = float(np.abs(labels).max())
    matrix = _unit(matrix)
    if centred:
        labels = labels - labels.mean(axis=0)
        means = matrix.mean(axis=0)
        matrix = matrix - means - means[:, None] + means.mean()
    target = float(np.linalg.norm(labels.T @ labels))  # |yy'| = |y'y|
    norm = float(np.linalg.norm(matrix))
    if norm == 0.0 or target <= 1e-28 * size**2 * labels.shape[0]:
        raise InputError(
            "alignment needs a kernel and labels that are not zero"
            + (" after centring; constant labels have no centred alignment" if centred else "")
        )
    return float(np.sum((matrix @ labels) * labels) / (norm * target))


@one_blas_thread()
def effective_rank(K: Any, kind: str = "entropy") -> float:
    """``exp(-sum_i p_i log p_i)``, p the eigenvalues divided by their sum: between 1 and n (Roy and Vetterli, 2007).

    Parameters
    ----------
    K : array_like, (n, n)
        Symmetric, positive semi-definite.
    kind : {"entropy", "participation"}
        "participation": ``(sum_i s_i)^2 / sum_i s_i^2``, which weighs large eigenvalues more.

    Raises
    ------
    InputError
        The kernel is zero.
    """
    matrix = square_kernel(K)
    _check.choice(kind, "kind", ("entropy", "participation"))
    matrix = _unit(matrix)
    total = float(np.trace(matrix))
    if not total > 0.0:
        raise InputError("K must have a positive trace; a zero kernel has no effective rank")
    if kind == "participation":
        return float(total**2 / np.sum(matrix**2))
    share: Array = spectrum(matrix)[0] / total
    share = share[share > 0.0]
    return float(np.exp(-np.sum(share * np.log(share))))


def _unit(K: Array) -> Array:
    """K times a power of two that brings its largest entry to about 1: squares neither overflow nor vanish."""
    return np.ldexp(K, -int(np.frexp(np.abs(K).max())[1]))


@one_blas_thread()
def change(K0: Any, K1: Any) -> float:
    """``|K1 - K0| / |K0|`` (Frobenius): 0 in the lazy limit.

    Parameters
    ----------
    K0 : array_like
        At the start, not zero.
    K1 : array_like
        Of the same shape.
    """
    before, after = _check.array(K0, "K0", ndim=2), _check.array(K1, "K1", ndim=2)
    if before.shape != after.shape:
        raise InputError(
            f"K0 and K1 must be kernels of the same points, but their shapes are {before.shape} and {after.shape}"
        )
    size = float(np.linalg.norm(before))
    if size == 0.0:
        raise InputError("K0 is zero, so a relative change has no meaning")
    return float(np.linalg.norm(after - before)) / size

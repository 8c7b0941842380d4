"""What infinitely wide networks predict while they train: a Gaussian process at every time."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from meanfield.kernels._flow import KernelFlow
from meanfield.kernels.deep.pairs import same
from solvers import _check
from solvers._memory import fits, machine_bytes
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

if TYPE_CHECKING:
    from meanfield.kernels.deep.network import Serial


# Matrices held at a time: (n, n) ones with those of the eigensolver, and (points, n) ones.
SQUARES, CROSSED = 8, 4


class Prediction(NamedTuple):
    """The mean over random starts, (points,) or (points, k), and the variance of each output, (points,)."""

    mean: Array
    variance: Array


@one_blas_thread()
def predict(network: Serial, X: Any, y: Any, X_new: Any, t: Any, reduction: str) -> Prediction:
    """`Serial.predict`."""
    points = _check.array(X, "X", ndim=(2, 3, 4))
    labels = _check.array(y, "y", ndim=(1, 2))
    if len(labels) != len(points):
        raise InputError(f"y must have one row a point of X ({len(points)}), but its shape is {labels.shape}")
    if np.ndim(t) != 0:
        raise InputError(f"t must be one non-negative time, or inf, not {t!r}")
    new = _check.array(X_new, "X_new", ndim=(2, 3, 4))
    if new.shape[1:] != points.shape[1:]:
        raise InputError(
            f"X and X_new must hold points of one shape, but X is {points.shape} and X_new is {new.shape}"
        )
    _refuse_too_large(len(points), len(new))
    _warn_of_conflicts(points, labels)
    S, T = network(points)
    S_new, T_new = network(new, points)
    # f(t) - f0 is linear in y - f0(X): its matrix is what the flow makes of labels that are a basis
    A = KernelFlow(T, np.eye(len(points)), reduction=reduction).predict(t, T_new)
    variance = network.variance(new) - 2.0 * np.einsum("ij,ij->i", A, S_new) + np.einsum("ij,ij->i", A @ S, A)
    return Prediction(A @ labels, np.maximum(variance, 0.0))


def _refuse_too_large(n: int, m: int) -> None:
    """Refuse predictions whose kernels, eigenvectors and what is made of them cannot be held."""
    data, needed = 8.0 * SQUARES * n * n, 8.0 * (SQUARES * n * n + CROSSED * n * m)
    if not fits(needed):
        raise InputError(
            f"predicting {m:,} points from {n:,} takes {needed / 2**30:,.1f} GiB for kernels and eigenvectors, and "
            f"this machine has {machine_bytes() / 2**30:,.1f}; take "
            + ("X_new in parts" if fits(data) else "fewer points in X")
        )


def _warn_of_conflicts(X: Array, labels: Array) -> None:
    """Tell of points that coincide and have different labels, as `mf.finite.deep.Problem` does."""
    leaders: dict[int, int] = {}
    numbers = same(X, X[:0])[0]
    pairs = [(leaders.setdefault(int(number), i), i) for i, number in enumerate(numbers)]
    found = [(i, j) for i, j in pairs if np.any(labels[i] != labels[j])]
    if found:
        i, j = found[0]
        warnings.warn(
            f"rows {i} and {j} of X coincide, but their labels differ ({len(found)} such row(s)): no net fits both, "
            "and the mean there goes to the mean of their labels",
            stacklevel=5,
        )

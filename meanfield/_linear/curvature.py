"""The second derivative of a loss at one vector of predictions: products with it, and as an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvers._threads import one_blas_thread
from solvers.protocols import Array

# Balances the truncation of a central difference, step^2/6, against rounding, eps/step.
STEP = 6e-6


class LossCurvature:
    """``R''(f)`` for a loss that knows its ``hessian``, or by central differences of its gradient.

    Parameters
    ----------
    loss : loss
    f : ndarray, (n,) or (n, k)
    y : ndarray
    weights : dict
        ``{"weights": ...}`` where data are weighted, or nothing.
    """

    def __init__(self, loss: Any, f: Array, y: Any, weights: dict[str, Array]) -> None:
        self.loss, self.f, self.y, self.weights = loss, f, y, weights
        self._matrix: Array | None = None
        if hasattr(loss, "hessian") and not hasattr(loss, "hessian_times"):
            self._matrix = self._hessian()

    def _hessian(self) -> Array:
        """(n k,) where R'' is diagonal, (n k, n k) otherwise."""
        size = self.f.size
        if hasattr(self.loss, "hessian"):
            matrix = np.asarray(self.loss.hessian(self.f, self.y, **self.weights))
            return matrix.reshape(size) if matrix.size == size else matrix.reshape(size, size)
        matrix = np.empty((size, size))
        for k in range(size):
            axis = np.zeros(size)
            axis[k] = 1.0
            matrix[:, k] = self._difference(axis.reshape(self.f.shape)).reshape(-1)
        matrix = 0.5 * (matrix + matrix.T)
        # A sum of terms of one prediction each: other entries of its gradient do not change, not in the last bit.
        diagonal = np.diagonal(matrix).copy()
        return diagonal if np.count_nonzero(matrix) == np.count_nonzero(diagonal) else matrix

    def _difference(self, change: Array) -> Array:
        length = float(np.abs(change).max())
        if length == 0.0 or not np.isfinite(length):
            return 0.0 * change
        step = STEP * max(1.0, float(np.abs(self.f).max())) / length
        high = np.asarray(self.loss.gradient(self.f + step * change, self.y, **self.weights))
        low = np.asarray(self.loss.gradient(self.f - step * change, self.y, **self.weights))
        return np.asarray((high - low) / (2.0 * step))

    def times(self, change: Array) -> Array:
        """``R''(f) change``, of f's shape."""
        if self._matrix is None:
            if hasattr(self.loss, "hessian_times"):
                return np.asarray(self.loss.hessian_times(self.f, self.y, change, **self.weights))
            return self._difference(change)
        if self._matrix.ndim == 1:
            return np.asarray(self._matrix.reshape(self.f.shape) * change)
        with one_blas_thread():
            return np.asarray((self._matrix @ change.reshape(-1)).reshape(self.f.shape))

    def matrix(self) -> Array:
        """R''(f) as an array: (n k,) where it is diagonal, (n k, n k) otherwise."""
        return self._hessian() if self._matrix is None else self._matrix

"""The maximum loss: the largest |f - y|."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from solvers._reduction import ROUNDING, datum_weights, pair, slopes, targets, total
from solvers.protocols import Array


class MaxLoss(NamedTuple):
    """``R(f) = max_i |f_i - y_i|``: Chebyshev approximation, the l_inf loss, over data and outputs.

    A maximum has no mean or sum: it is the same for both reductions, and of `weights` it asks only which are positive.
    ``R*(q) = <q, y>`` where sum_i |q_i| <= 1, and +inf elsewhere. `gradient` returns the subgradient that puts all
    its mass on the first of the largest deviations, and 0 where f = y.

    Parameters
    ----------
    reduction : {"mean", "sum"}
        Kept for the interface; it changes nothing.
    """

    reduction: str = "mean"

    @property
    def kind(self) -> str:
        return "maximum"

    @property
    def scalable(self) -> bool:
        """R* stays finite along s q, s in [0, 1]: its domain is a ball around 0."""
        return True

    def value(self, f: Array, y: Any, weights: Array | None = None) -> float:
        """R(f); f and y of shape (n,) or (n, k)."""
        f, y = pair(f, y)
        return float(np.max(self._deviations(f, y, weights)))

    def gradient(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """A subgradient of R at f: sign(f_i - y_i) at the first largest deviation, else 0."""
        f, y = pair(f, y)
        distance = self._deviations(f, y, weights)
        gradient = np.zeros(f.shape)
        where = np.unravel_index(int(np.argmax(distance)), f.shape)  # a NaN comes first
        gradient[where] = np.sign(f[where] - y[where])
        return gradient

    def _deviations(self, f: Array, y: Array, weights: Array | None) -> Array:
        w = datum_weights(self.reduction, f, weights)
        distance: Array = np.abs(f - y)
        return distance if isinstance(w, float) else np.where(w > 0.0, distance, 0.0)

    def total(self, f: Array, y: Array, w: Array) -> float:
        """R(f) for compiled code."""
        value = 0.0
        for i in range(f.size):
            distance: float = abs(f[i] - y[i])
            # written so that a NaN stays
            if w[i] > 0.0 and value == value and not distance <= value:
                value = distance
        return value

    def fill(self, f: Array, y: Array, w: Array, out: Array) -> None:
        """The subgradient for compiled code."""
        value, where = 0.0, -1
        for i in range(f.size):
            out[i] = 0.0
            if w[i] > 0.0 and value == value and not abs(f[i] - y[i]) <= value:
                value, where = abs(f[i] - y[i]), i
        if where >= 0:
            r = f[where] - y[where]
            out[where] = 1.0 if r > 0.0 else (-1.0 if r < 0.0 else r)

    def conjugate(self, q: Array, y: Any, weights: Array | None = None) -> float:
        """R*(q) = sup_f <q, f> - R(f); +inf if sum_i |q_i| > 1."""
        q, y = pair(q, y, "q")
        _, inside = slopes(q, datum_weights(self.reduction, q, weights))
        if not inside or not total(np.abs(q)) <= 1.0 + ROUNDING:
            return np.inf
        return total(q * y)

    def check_labels(self, y: Any, n: int) -> Array:
        """Return the targets as float64 of shape (n,) or (n, k), or refuse them."""
        return targets(y, n)

    def curvature_bound(self, n: int, weights: Array | None = None) -> float | None:
        """None: the gradient jumps."""
        return None

"""The absolute loss: the mean of |f - y|."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from solvers._reduction import ROUNDING, datum_weights, largest_weight, pair, slopes, targets, total
from solvers.protocols import Array


class AbsoluteLoss(NamedTuple):
    """``R(f) = mean_i |f_i - y_i|``, outputs summed: least absolute deviations, the l1 loss.

    ``R*(q) = <q, y>`` where every |q_i| <= w_i, and +inf elsewhere. R has kinks where f_i = y_i: `gradient` returns
    the subgradient that is 0 there, and there is no Lipschitz constant of it.

    Parameters
    ----------
    reduction : {"mean", "sum"}
        ``"sum"`` is ``sum_i |f_i - y_i|``.
    """

    reduction: str = "mean"

    @property
    def kind(self) -> str:
        return "absolute"

    @property
    def scalable(self) -> bool:
        """R* stays finite along s q, s in [0, 1]: its domain is a box around 0."""
        return True

    def value(self, f: Array, y: Any, weights: Array | None = None) -> float:
        """R(f); f and y of shape (n,) or (n, k)."""
        f, y = pair(f, y)
        return total(datum_weights(self.reduction, f, weights) * np.abs(f - y))

    def gradient(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """A subgradient of R at f: w sign(f - y), of f's shape."""
        f, y = pair(f, y)
        gradient: Array = datum_weights(self.reduction, f, weights) * np.sign(f - y)
        return gradient

    def total(self, f: Array, y: Array, w: Array) -> float:
        """R(f) for compiled code."""
        value = 0.0
        for i in range(f.size):
            value += w[i] * abs(f[i] - y[i])
        return value

    def fill(self, f: Array, y: Array, w: Array, out: Array) -> None:
        """The subgradient for compiled code."""
        for i in range(f.size):
            r = f[i] - y[i]
            if r > 0.0:
                out[i] = w[i]
            elif r < 0.0:
                out[i] = -w[i]
            else:
                out[i] = w[i] * r  # 0, or a NaN that is kept

    def conjugate(self, q: Array, y: Any, weights: Array | None = None) -> float:
        """R*(q) = sup_f <q, f> - R(f); +inf if some |q_i| > w_i."""
        q, y = pair(q, y, "q")
        slope, inside = slopes(q, datum_weights(self.reduction, q, weights))
        if not inside or not (np.abs(slope) <= 1.0 + ROUNDING).all():
            return np.inf
        return total(q * y)

    def check_labels(self, y: Any, n: int) -> Array:
        """Return the targets as float64 of shape (n,) or (n, k), or refuse them."""
        return targets(y, n)

    def curvature_bound(self, n: int, weights: Array | None = None) -> float | None:
        """None: the gradient jumps."""
        largest_weight(self.reduction, n, weights)
        return None

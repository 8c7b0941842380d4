"""Losses R(f) of the whole vector of predictions, with their gradients and convex conjugates.

Every loss here is ``R(f) = sum_i w_i l(f_i, y_i)`` (`SoftMinMargin` takes a logarithm of such a sum). The
loss owns its reduction: ``"mean"`` means w_i = 1/n, ``"sum"`` means w_i = 1. The keyword ``weights`` of each
method replaces them: non-negative, normalized to sum 1 by ``"mean"``, taken as they are by ``"sum"``. With
several outputs, f of shape (n, k), the sum over outputs is never averaged.

Sums are NumPy's pairwise ones, never BLAS dot products: the bits do not depend on the number of threads.

Optional, for implicit methods: ``hessian(f, y)``, R''(f) as its diagonal in f's shape or as a matrix (n k, n k), and
in the latter case ``hessian_times(f, y, change)``; without them central differences of the gradient serve.

Optional, for runs that stay in compiled code: ``total(f, y, w)`` and ``fill(f, y, w, out)``, the value and the gradient
written as plain loops over flat arrays, with the weights w as they enter the sum (`compiled_weights`).

These are NamedTuples, which compare as tuples: ``SquaredLoss() == LogisticLoss()`` is True. Ask for ``kind``
instead.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np

from solvers import _check
from solvers._reduction import (
    classes,
    datum_weights,
    entropy,
    first,
    largest_weight,
    pair,
    signs,
    slopes,
    targets,
    total,
    weighted_total,
)
from solvers.errors import InputError
from solvers.protocols import Array

# q = R'(f) lies on the boundary of the conjugate's domain up to rounding (a softmax sums to 1 within a few
# ulp): slopes per datum, of order 1 for every loss with a bounded domain, may leave it by this much.
_ROUNDING = 1e-12
# exp of less counts as 0 beside a sum of at least 1: it is 1e-261, and what kernels make of it may be denormal, with
# which processors compute several times more slowly.
_VANISHES = -600.0


class Loss(Protocol):
    """What an objective asks of a loss R: a convex function of the predictions f."""

    @property
    def kind(self) -> str: ...

    def value(self, f: Array, y: Any, weights: Array | None = None) -> float: ...

    def gradient(self, f: Array, y: Any, weights: Array | None = None) -> Array: ...

    def conjugate(self, q: Array, y: Any, weights: Array | None = None) -> float: ...


def compiled_weights(loss: Any, y: Array, weights: Array | None) -> Array:
    """The weights w of the compiled forms of a loss: one an entry of y, flat, after the loss's own reduction."""
    w = datum_weights(loss.reduction, y, weights)
    return np.array(np.broadcast_to(w, y.shape), dtype=np.float64).reshape(-1)


class SquaredLoss(NamedTuple):
    """``R(f) = 1/2 mean_i |f_i - y_i|^2``: the factor 1/2 is there, outputs are summed, data averaged.

    ``R*(q) = sum_i |q_i|^2 / (2 w_i) + <q, y>``, finite everywhere (w_i = 1/n: n |q|^2 / 2 + <q, y>).

    Parameters
    ----------
    reduction : {"mean", "sum"}
        ``"sum"`` is ``1/2 sum_i |f_i - y_i|^2``.
    """

    reduction: str = "mean"

    @property
    def kind(self) -> str:
        return "squared"

    @property
    def scalable(self) -> bool:
        """R* stays finite along s q, s in [0, 1]."""
        return True

    def value(self, f: Array, y: Any, weights: Array | None = None) -> float:
        """R(f); f and y of shape (n,) or (n, k)."""
        f, y = pair(f, y)
        residual = f - y
        return 0.5 * total(datum_weights(self.reduction, f, weights) * (residual * residual))

    def gradient(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """R'(f) = w (f - y), of f's shape."""
        f, y = pair(f, y)
        gradient: Array = datum_weights(self.reduction, f, weights) * (f - y)
        return gradient

    def hessian(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """The diagonal of R''(f): w, of f's shape."""
        f, y = pair(f, y)
        return np.array(np.broadcast_to(datum_weights(self.reduction, f, weights), f.shape))

    def total(self, f: Array, y: Array, w: Array) -> float:
        """R(f), in compiled code.

        Parameters
        ----------
        f, y, w : ndarray, (r,)
            Predictions, targets and the weights as they enter the sum (`compiled_weights`).
        """
        value = 0.0
        for i in range(f.size):
            value += 0.5 * w[i] * (f[i] - y[i]) ** 2
        return value

    def fill(self, f: Array, y: Array, w: Array, out: Array) -> None:
        """R'(f), in compiled code.

        Parameters
        ----------
        f, y, w : ndarray, (r,)
            Predictions, targets and the weights as they enter the sum (`compiled_weights`).
        out : ndarray, (r,)
            Filled.
        """
        for i in range(f.size):
            out[i] = w[i] * (f[i] - y[i])

    def conjugate(self, q: Array, y: Any, weights: Array | None = None) -> float:
        """R*(q) = sup_f <q, f> - R(f)."""
        q, y = pair(q, y, "q")
        slope, inside = slopes(q, datum_weights(self.reduction, q, weights))
        return total(q * (0.5 * slope + y)) if inside else np.inf

    def check_labels(self, y: Any, n: int) -> Array:
        """Return the targets as float64 of shape (n,) or (n, k), or refuse them."""
        return targets(y, n)

    def curvature_bound(self, n: int, weights: Array | None = None) -> float:
        """The Lipschitz constant of R' in the Euclidean norm: max_i w_i."""
        return largest_weight(self.reduction, n, weights)


class HuberLoss(NamedTuple):
    """``R(f) = mean_i h(f_i - y_i)``, h(r) = r^2/2 if |r| <= delta, else delta (|r| - delta/2).

    ``R*(q)`` is the squared loss's where every |q_i| <= delta w_i, and +inf elsewhere (Huber, 1964).

    Parameters
    ----------
    delta : float
        Where the quadratic turns linear; positive, in the unit of y.
    reduction : {"mean", "sum"}
    """

    delta: float = 1.0
    reduction: str = "mean"

    @property
    def kind(self) -> str:
        return "huber"

    @property
    def scalable(self) -> bool:
        """R* stays finite along s q, s in [0, 1]: its domain is a box around 0."""
        return True

    def value(self, f: Array, y: Any, weights: Array | None = None) -> float:
        """R(f); f and y of shape (n,) or (n, k)."""
        delta = _check.number(self.delta, "delta", positive=True)
        f, y = pair(f, y)
        distance = np.abs(f - y)
        inner = np.minimum(distance, delta)
        return total(datum_weights(self.reduction, f, weights) * (inner * (distance - 0.5 * inner)))

    def gradient(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """R'(f) = w clip(f - y, -delta, delta), of f's shape."""
        delta = _check.number(self.delta, "delta", positive=True)
        f, y = pair(f, y)
        gradient: Array = datum_weights(self.reduction, f, weights) * np.clip(f - y, -delta, delta)
        return gradient

    def hessian(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """The diagonal of R''(f): w where |f - y| <= delta, else 0, of f's shape."""
        f, y = pair(f, y)
        diagonal: Array = datum_weights(self.reduction, f, weights) * (np.abs(f - y) <= self.delta)
        return diagonal

    def total(self, f: Array, y: Array, w: Array) -> float:
        """R(f), in compiled code.

        Parameters
        ----------
        f, y, w : ndarray, (r,)
            Predictions, targets and the weights as they enter the sum (`compiled_weights`).
        """
        value = 0.0
        for i in range(f.size):
            distance = abs(f[i] - y[i])
            inner = distance if distance < self.delta else self.delta
            # distance comes second, so that a NaN is not clipped away
            value += w[i] * (inner * (distance - 0.5 * inner))
        return value

    def fill(self, f: Array, y: Array, w: Array, out: Array) -> None:
        """R'(f), in compiled code.

        Parameters
        ----------
        f, y, w : ndarray, (r,)
            Predictions, targets and the weights as they enter the sum (`compiled_weights`).
        out : ndarray, (r,)
            Filled.
        """
        for i in range(f.size):
            r = f[i] - y[i]
            r = self.delta if r > self.delta else r
            out[i] = w[i] * (-self.delta if r < -self.delta else r)

    def conjugate(self, q: Array, y: Any, weights: Array | None = None) -> float:
        """R*(q) = sup_f <q, f> - R(f); +inf if some |q_i| > delta w_i."""
        delta = _check.number(self.delta, "delta", positive=True)
        q, y = pair(q, y, "q")
        slope, inside = slopes(q, datum_weights(self.reduction, q, weights))
        if not inside or not (np.abs(slope) <= delta * (1.0 + _ROUNDING)).all():
            return np.inf
        return total(q * (0.5 * slope + y))

    def check_labels(self, y: Any, n: int) -> Array:
        """Return the targets as float64 of shape (n,) or (n, k), or refuse them."""
        return targets(y, n)

    def curvature_bound(self, n: int, weights: Array | None = None) -> float:
        """The Lipschitz constant of R' in the Euclidean norm: max_i w_i."""
        return largest_weight(self.reduction, n, weights)


class LogisticLoss(NamedTuple):
    """``R(f) = mean_i log(1 + exp(-y_i f_i))`` with labels y_i = -1 or 1.

    With u_i = -y_i q_i / w_i: ``R*(q) = sum_i w_i [u_i log u_i + (1 - u_i) log(1 - u_i)]`` for u in [0, 1]^n,
    else +inf.

    Parameters
    ----------
    reduction : {"mean", "sum"}
    """

    reduction: str = "mean"

    @property
    def kind(self) -> str:
        return "logistic"

    @property
    def scalable(self) -> bool:
        """R* stays finite along s q, s in [0, 1]: its domain is a box with 0 at a corner."""
        return True

    def value(self, f: Array, y: Any, weights: Array | None = None) -> float:
        """R(f); f and y of one shape."""
        f, y = pair(f, y)
        margin = y * f
        each = np.log1p(np.exp(-np.abs(margin))) + np.maximum(-margin, 0.0)
        return total(datum_weights(self.reduction, f, weights) * each)

    def gradient(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """R'(f) = -w y / (1 + exp(y f)), accurate to a few ulp at every margin."""
        f, y = pair(f, y)
        margin = y * f
        small = np.exp(-np.abs(margin))
        probability = np.where(margin > 0.0, small, 1.0) / (1.0 + small)
        gradient: Array = datum_weights(self.reduction, f, weights) * (-y * probability)
        return gradient

    def hessian(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """The diagonal of R''(f): w p (1 - p), p = 1/(1 + exp(y f)), of f's shape."""
        f, y = pair(f, y)
        small = np.exp(-np.abs(y * f))
        diagonal: Array = datum_weights(self.reduction, f, weights) * (small / (1.0 + small) ** 2)
        return diagonal

    def total(self, f: Array, y: Array, w: Array) -> float:
        """R(f), in compiled code.

        Parameters
        ----------
        f, y, w : ndarray, (r,)
            Predictions, targets and the weights as they enter the sum (`compiled_weights`).
        """
        value = 0.0
        for i in range(f.size):
            margin = y[i] * f[i]
            # written so that a NaN stays
            value += w[i] * (math.log1p(math.exp(-abs(margin))) + (0.0 if margin > 0.0 else -margin))
        return value

    def fill(self, f: Array, y: Array, w: Array, out: Array) -> None:
        """R'(f), in compiled code.

        Parameters
        ----------
        f, y, w : ndarray, (r,)
            Predictions, targets and the weights as they enter the sum (`compiled_weights`).
        out : ndarray, (r,)
            Filled.
        """
        for i in range(f.size):
            margin = y[i] * f[i]
            small = math.exp(-abs(margin))
            out[i] = -w[i] * y[i] * ((small if margin > 0.0 else 1.0) / (1.0 + small))

    def conjugate(self, q: Array, y: Any, weights: Array | None = None) -> float:
        """R*(q) = sup_f <q, f> - R(f); +inf unless 0 <= -y_i q_i <= w_i."""
        q, y = pair(q, y, "q")
        w = datum_weights(self.reduction, q, weights)
        slope, inside = slopes(q, w)
        u = -y * slope
        if not inside or not ((u >= -_ROUNDING) & (u <= 1.0 + _ROUNDING)).all():
            return np.inf
        return total(w * (entropy(u) + entropy(1.0 - u)))

    def check_labels(self, y: Any, n: int) -> Array:
        """Return the labels as float64 of shape (n,) or (n, k), or refuse what is not -1 or 1."""
        return signs(y, n, "logistic")

    def curvature_bound(self, n: int, weights: Array | None = None) -> float:
        """The Lipschitz constant of R' in the Euclidean norm: max_i w_i / 4."""
        return 0.25 * largest_weight(self.reduction, n, weights)


class ExponentialLoss(NamedTuple):
    """``R(f) = mean_i exp(-y_i f_i)`` with labels y_i = -1 or 1.

    With u_i = -y_i q_i / w_i: ``R*(q) = sum_i w_i [u_i log u_i - u_i]`` for u >= 0, else +inf. The value is
    +inf, in the sense of double precision, at margins below -709.

    Parameters
    ----------
    reduction : {"mean", "sum"}
    """

    reduction: str = "mean"

    @property
    def kind(self) -> str:
        return "exponential"

    @property
    def scalable(self) -> bool:
        """R* stays finite along s q, s in [0, 1]: its domain is a cone."""
        return True

    def value(self, f: Array, y: Any, weights: Array | None = None) -> float:
        """R(f); f and y of one shape."""
        f, y = pair(f, y)
        with np.errstate(over="ignore"):
            each = np.exp(-y * f)
        return weighted_total(datum_weights(self.reduction, f, weights), each)

    def gradient(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """R'(f) = -w y exp(-y f)."""
        f, y = pair(f, y)
        w = datum_weights(self.reduction, f, weights)
        with np.errstate(over="ignore", invalid="ignore"):
            gradient = w * (-y * np.exp(-y * f))
        return gradient if isinstance(w, float) else np.where(w == 0.0, 0.0, gradient)

    def hessian(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """The diagonal of R''(f): w exp(-y f), of f's shape."""
        return np.abs(self.gradient(f, y, weights))

    def total(self, f: Array, y: Array, w: Array) -> float:
        """R(f), in compiled code.

        Parameters
        ----------
        f, y, w : ndarray, (r,)
            Predictions, targets and the weights as they enter the sum (`compiled_weights`).
        """
        value = 0.0
        for i in range(f.size):
            if w[i] > 0.0:
                value += w[i] * math.exp(-y[i] * f[i])
        return value

    def fill(self, f: Array, y: Array, w: Array, out: Array) -> None:
        """R'(f), in compiled code.

        Parameters
        ----------
        f, y, w : ndarray, (r,)
            Predictions, targets and the weights as they enter the sum (`compiled_weights`).
        out : ndarray, (r,)
            Filled.
        """
        for i in range(f.size):
            out[i] = -w[i] * y[i] * math.exp(-y[i] * f[i]) if w[i] > 0.0 else 0.0

    def conjugate(self, q: Array, y: Any, weights: Array | None = None) -> float:
        """R*(q) = sup_f <q, f> - R(f); +inf unless -y_i q_i >= 0."""
        q, y = pair(q, y, "q")
        w = datum_weights(self.reduction, q, weights)
        slope, inside = slopes(q, w)
        u = -y * slope
        if not inside or not (u >= 0.0).all():
            return np.inf
        return total(w * (entropy(u) - u))

    def check_labels(self, y: Any, n: int) -> Array:
        """Return the labels as float64 of shape (n,) or (n, k), or refuse what is not -1 or 1."""
        return signs(y, n, "exponential")

    def curvature_bound(self, n: int, weights: Array | None = None) -> None:
        """None: the gradient is not Lipschitz."""
        return None


class SoftMinMargin(NamedTuple):
    """``R(f) = log mean_i exp(-y_i f_i)``: minus the soft-min of the margins y_i f_i, labels -1 or 1.

    Chizat and Bach (2020, arXiv 2002.04486) *maximize* the soft-min ``-log mean exp(-y f)``; here, as
    everywhere in this library, the loss is minimized, so it carries the opposite sign. R is unbounded below
    on separable data. Its gradient is ``-y_i p_i`` with p in the simplex, p_i proportional to w_i exp(-y_i
    f_i): the certificate of the margin in the cited paper.

    With u_i = -y_i q_i: ``R*(q) = sum_i u_i log(u_i / w_i)`` for u >= 0 and sum u = 1, else +inf. The domain
    is a simplex that does not reach 0: a *scaled* residual s q, s < 1, leaves it (`scalable` is False).

    Parameters
    ----------
    reduction : {"mean", "sum"}
        ``"sum"`` is ``log sum_i exp(-y_i f_i)``, larger by log n.
    """

    reduction: str = "mean"

    @property
    def kind(self) -> str:
        return "soft_min_margin"

    @property
    def scalable(self) -> bool:
        """R* is +inf along s q for s < 1: no certificate by scaling the residual."""
        return False

    def value(self, f: Array, y: Any, weights: Array | None = None) -> float:
        """R(f), computed without overflow; f and y of shape (n,)."""
        value, _ = self._softmax(f, y, weights)
        return value

    def gradient(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """R'(f)_i = -y_i p_i."""
        _, p = self._softmax(f, y, weights)
        gradient: Array = -np.asarray(y, dtype=np.float64) * p
        return gradient

    def hessian_times(self, f: Array, y: Any, change: Array, weights: Array | None = None) -> Array:
        """R''(f) applied to a `change` of f, (n,): ``y p (u - <p, u>)`` with u = y change."""
        _, p = self._softmax(f, y, weights)
        y = np.asarray(y, dtype=np.float64)
        u = y * change
        product: Array = y * p * (u - total(p * u))
        return product

    def hessian(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """R''(f) = diag(p) - (y p)(y p)', (n, n)."""
        _, p = self._softmax(f, y, weights)
        slope = np.asarray(y, dtype=np.float64) * p
        matrix: Array = np.diag(p) - slope[:, None] * slope
        return matrix

    def _softmax(self, f: Array, y: Any, weights: Array | None) -> tuple[float, Array]:
        f, y = pair(f, y)
        if f.ndim != 1:
            raise InputError(f"SoftMinMargin needs one output: f must have shape (n,), not {f.shape}")
        w = datum_weights(self.reduction, f, weights)
        exponent = -y * f
        counted = exponent if isinstance(w, float) else exponent[w > 0.0]
        top = float(np.max(counted))
        if not np.isfinite(top):
            return top, np.full(f.shape, np.nan)
        exponent = np.minimum(exponent - top, 0.0)  # the minimum acts only where w = 0
        mass = np.where(exponent < _VANISHES, 0.0, w * np.exp(exponent))
        norm = total(mass)
        return top + float(np.log(norm)), mass / norm

    def total(self, f: Array, y: Array, w: Array) -> float:
        """R(f), in compiled code.

        Parameters
        ----------
        f, y, w : ndarray, (r,)
            Predictions, targets and the weights as they enter the sum (`compiled_weights`).
        """
        top = -math.inf
        for i in range(f.size):
            # written so that a NaN stays
            if w[i] > 0.0 and not -y[i] * f[i] <= top:
                top = -y[i] * f[i]
        mass = 0.0
        for i in range(f.size):
            if w[i] > 0.0:
                mass += w[i] * math.exp(-y[i] * f[i] - top)
        return top + math.log(mass)

    def fill(self, f: Array, y: Array, w: Array, out: Array) -> None:
        """R'(f), in compiled code.

        Parameters
        ----------
        f, y, w : ndarray, (r,)
            Predictions, targets and the weights as they enter the sum (`compiled_weights`).
        out : ndarray, (r,)
            Filled.
        """
        top = -math.inf
        for i in range(f.size):
            # written so that a NaN stays
            if w[i] > 0.0 and not -y[i] * f[i] <= top:
                top = -y[i] * f[i]
        mass = 0.0
        for i in range(f.size):
            exponent = -y[i] * f[i] - top
            # written so that a NaN stays
            out[i] = w[i] * math.exp(exponent) if w[i] > 0.0 and not exponent < _VANISHES else 0.0
            mass += out[i]
        for i in range(f.size):
            out[i] *= -y[i] / mass

    def conjugate(self, q: Array, y: Any, weights: Array | None = None) -> float:
        """R*(q) = sup_f <q, f> - R(f); +inf unless -y q lies in the simplex."""
        q, y = pair(q, y, "q")
        if q.ndim != 1:
            raise InputError(f"SoftMinMargin needs one output: q must have shape (n,), not {q.shape}")
        w = datum_weights(self.reduction, q, weights)
        u = -y * q
        ratio, inside = slopes(u, w)
        if not inside or not (u >= 0.0).all() or not abs(total(u) - 1.0) <= _ROUNDING:
            return np.inf
        return total(w * entropy(ratio))

    def check_labels(self, y: Any, n: int) -> Array:
        """Return the labels as float64 of shape (n,), or refuse what is not -1 or 1."""
        labels = signs(y, n, "soft-min margin")
        if labels.ndim != 1:
            raise InputError(
                f"y must have shape ({n},) for the soft-min margin, but its shape is {labels.shape}"
            )
        return labels

    def curvature_bound(self, n: int, weights: Array | None = None) -> float:
        """The Lipschitz constant of R' in the Euclidean norm: 1/2."""
        # the Hessian is the covariance of a softmax: <v, Hv> <= (max v - min v)^2 / 4 <= |v|^2 / 2
        largest_weight(self.reduction, n, weights)
        return 0.5


class CrossEntropy(NamedTuple):
    """``R(f) = mean_i [log sum_k exp(f_ik) - <y_i, f_i>]``, the multinomial logistic loss on k >= 2 outputs.

    y holds integer classes 0, ..., k-1 of shape (n,), read as one-hot rows, or rows of probabilities (n, k).
    It is the Kullback-Leibler divergence of softmax(f) from y plus the entropy of y (0 for classes).

    With u_i = q_i / w_i + y_i: ``R*(q) = sum_i w_i <u_i, log u_i>`` where every u_i is in the simplex, else
    +inf.

    Parameters
    ----------
    reduction : {"mean", "sum"}
    """

    reduction: str = "mean"

    @property
    def kind(self) -> str:
        return "cross_entropy"

    @property
    def scalable(self) -> bool:
        """R* stays finite along s q, s in [0, 1]: s u + (1 - s) y stays in the simplex."""
        return True

    def value(self, f: Array, y: Any, weights: Array | None = None) -> float:
        """R(f), computed without overflow; f of shape (n, k)."""
        f, y = classes(f, y)
        top = f.max(axis=1)
        # <y, f - top> rather than lse(f) - <y, f>: no cancellation when all outputs are large
        each = np.log(np.exp(f - top[:, None]).sum(axis=1)) - (y * (f - top[:, None])).sum(axis=1)
        return total(datum_weights(self.reduction, each, weights) * each)

    def gradient(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """R'(f)_i = w_i (softmax(f_i) - y_i), of shape (n, k)."""
        f, y = classes(f, y)
        mass = np.exp(f - f.max(axis=1)[:, None])
        gradient: Array = datum_weights(self.reduction, f, weights) * (mass / mass.sum(axis=1)[:, None] - y)
        return gradient

    def hessian_times(self, f: Array, y: Any, change: Array, weights: Array | None = None) -> Array:
        """R''(f) applied to a `change` of f, (n, k): ``w p (u - <p, u>)`` for each datum, p = softmax(f)."""
        f, y = classes(f, y)
        mass = np.exp(f - f.max(axis=1)[:, None])
        mass /= mass.sum(axis=1)[:, None]
        product: Array = mass * (change - (mass * change).sum(axis=1)[:, None])
        product *= datum_weights(self.reduction, f, weights)
        return product

    def hessian(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """R''(f), (n k, n k) in the order of ``f.reshape(-1)``: a block ``w (diag(p) - p p')`` for each datum."""
        f, y = classes(f, y)
        n, k = f.shape
        mass = np.exp(f - f.max(axis=1)[:, None])
        mass /= mass.sum(axis=1)[:, None]
        blocks = mass[:, :, None] * (np.eye(k) - mass[:, None, :])
        matrix = np.zeros((n, k, n, k))
        matrix[np.arange(n), :, np.arange(n), :] = blocks * np.reshape(
            datum_weights(self.reduction, f[:, 0], weights), (-1, 1, 1)
        )
        return matrix.reshape(n * k, n * k)

    def conjugate(self, q: Array, y: Any, weights: Array | None = None) -> float:
        """R*(q) = sup_f <q, f> - R(f); +inf unless each q_i / w_i + y_i lies in the simplex."""
        q, y = classes(q, y, "q")
        w = datum_weights(self.reduction, q, weights)
        slope, inside = slopes(q, w)
        u = slope + y
        if not inside or not (u >= -_ROUNDING).all() or not (np.abs(slope.sum(axis=1)) <= _ROUNDING).all():
            return np.inf
        return total(w * entropy(u))

    def check_labels(self, y: Any, n: int) -> Any:
        """Return classes as int64 of shape (n,), or probabilities as float64 (n, k); refuse anything else."""
        labels = targets(y, n)
        if labels.ndim == 1:
            if not (labels == np.floor(labels)).all() or labels.min() < 0:
                raise InputError(
                    "y must hold integer classes 0, ..., k-1 for the cross entropy (or probability rows), "
                    f"but it holds {first(labels, (labels != np.floor(labels)) | (labels < 0)):g}"
                )
            return labels.astype(np.int64)
        # 1e-6: tables of probabilities are often written with 6 or 7 digits
        if labels.min() < 0 or np.abs(labels.sum(axis=1) - 1.0).max() > 1e-6:
            raise InputError(
                "y of shape (n, k) must hold probabilities for the cross entropy: rows >= 0 that sum to 1"
            )
        return labels / labels.sum(axis=1)[:, None]

    def curvature_bound(self, n: int, weights: Array | None = None) -> float:
        """The Lipschitz constant of R' in the Euclidean norm: max_i w_i / 2."""
        return 0.5 * largest_weight(self.reduction, n, weights)


def by_name(loss: str | Loss) -> Loss:
    """The loss of that `kind` with default parameters ("squared", ...); an object is returned as it is.

    Raises
    ------
    InputError
        For an unknown name, with the known ones.
    """
    if isinstance(loss, type):
        raise InputError(f"loss is the class {loss.__name__}; pass an instance: {loss.__name__}()")
    if not isinstance(loss, str):
        if not all(callable(getattr(loss, name, None)) for name in ("value", "gradient")):
            raise InputError(
                f"loss must be a name or have the methods value(f, y) and gradient(f, y), not {loss!r}"
            )
        return loss
    # the module is the registry: a class added above is found here
    losses: dict[str, Loss] = {
        instance.kind: instance
        for instance in (
            entry() for entry in globals().values() if isinstance(entry, type) and hasattr(entry, "_fields")
        )
    }
    return losses[_check.choice(loss, "loss", losses)]

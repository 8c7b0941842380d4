"""The map from t = X' nu to the weights of a diagonal network, its slope and its inverse, without overflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array

# Powers of alpha are kept within what floating-point numbers hold with room for products of a few of them.
LARGEST = 1e140


@dataclass(frozen=True)
class Mirror:
    """``w = g(t)`` coordinate by coordinate: ``2 alpha^2 sinh t``, or ``alpha^D h_D(alpha^(D-2) t)``.

    Attributes
    ----------
    alpha : ndarray, (d,)
    depth : int
    """

    alpha: Array
    depth: int

    @property
    def power(self) -> float:
        """p = D/(D-2) of h_D."""
        return self.depth / (self.depth - 2)

    @property
    def first_slope(self) -> Array:
        """g'(0): what the linear (kernel) regime is governed by."""
        if self.depth == 2:
            return np.asarray(2.0 * self.alpha**2)
        return np.asarray(2.0 * self.power * self.alpha ** (2 * self.depth - 2))

    def start(self) -> Chart:
        """t = 0."""
        return Chart(self, np.zeros_like(self.alpha))

    def at(self, t: Array) -> Chart:
        """Any t; for D >= 3 ``alpha^(D-2) |t| < 1``, elsewhere weights are NaN."""
        return Chart(self, np.asarray(t, dtype=np.float64))

    def inverse(self, w: Array) -> Array:
        """t with g(t) = w."""
        size = np.abs(w)
        if self.depth == 2:
            return np.asarray(np.sign(w) * _asinh(size, 2.0 * np.log(self.alpha)))
        z = -np.expm1(-_depths(size / self.alpha**self.depth, self.power))
        return np.asarray(np.sign(w) * z * self.alpha ** (2 - self.depth))


class Chart:
    """One t, held so that nothing is lost near the ends: t itself (D = 2), or 1 - z and 1 + z with z = alpha^(D-2) t.

    Small weights of deep networks sit at z = 1 - 1e-6 and less: a step adds to 1 - z, which keeps its own digits.
    """

    def __init__(
        self, mirror: Mirror, t: Array, below: Array | None = None, above: Array | None = None
    ) -> None:
        self.mirror, self.t = mirror, t
        if mirror.depth > 2:
            z = mirror.alpha ** (mirror.depth - 2) * t
            self.below = 1.0 - z if below is None else below
            self.above = 1.0 + z if above is None else above

    def moved(self, step: Array) -> Chart:
        """t + step."""
        if self.mirror.depth == 2:
            return Chart(self.mirror, self.t + step)
        change = self.mirror.alpha ** (self.mirror.depth - 2) * step
        return Chart(self.mirror, self.t + step, self.below - change, self.above + change)

    @property
    def inside(self) -> bool:
        """Whether weights are finite numbers."""
        if self.mirror.depth == 2:
            return bool(np.all(np.abs(self.t) + 2.0 * np.log(self.mirror.alpha) < 700.0))
        return bool((self.below > 0).all() and (self.above > 0).all())

    @property
    def weights(self) -> Array:
        """w = g(t)."""
        alpha, depth = self.mirror.alpha, self.mirror.depth
        if depth == 2:
            size = np.abs(self.t)
            return np.asarray(np.sign(self.t) * self._large() * -np.expm1(-2.0 * size))
        p = self.mirror.power
        with np.errstate(invalid="ignore", divide="ignore"):
            z = alpha ** (depth - 2) * self.t
            # log1p keeps small z, the tracked distances keep those near 1
            low = np.where(self.below < 0.5, np.log(np.abs(self.below)), np.log1p(-z))
            high = np.where(self.above < 0.5, np.log(np.abs(self.above)), np.log1p(z))
            found = alpha**depth * (np.expm1(-p * low) - np.expm1(-p * high))
        return np.asarray(np.where((self.below > 0) & (self.above > 0), found, np.nan))

    @property
    def slope(self) -> Array:
        """g'(t) > 0."""
        alpha, depth = self.mirror.alpha, self.mirror.depth
        if depth == 2:
            return np.asarray(self._large() * (1.0 + np.exp(-2.0 * np.abs(self.t))))
        p = self.mirror.power
        with np.errstate(invalid="ignore", divide="ignore"):
            both = self.below ** (-p - 1.0) + self.above ** (-p - 1.0)
        return np.asarray(p * alpha ** (2 * depth - 2) * both)

    def _large(self) -> Array:
        """alpha^2 exp |t|."""
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(np.abs(self.t) + 2.0 * np.log(self.mirror.alpha)))


def _asinh(size: Array, log_square: Array) -> Array:
    """asinh(size / (2 alpha^2)) with log alpha^2 given, where the quotient may overflow."""
    with np.errstate(over="ignore", divide="ignore"):
        quotient = size * np.exp(-log_square)
        plain = np.arcsinh(0.5 * quotient)
        return np.where(quotient < 1e30, plain, np.log(size) - log_square)


def _depths(size: Array, p: float) -> Array:
    """s = -log(1 - z) for the z in [0, 1) with (1 - z)^-p - (1 + z)^-p = size >= 0, by bisection."""
    low, high = np.zeros_like(size), np.log1p(size) / p * (1.0 + 1e-15)
    for _ in range(200):
        middle = 0.5 * (low + high)
        value = np.expm1(p * middle) - np.expm1(-p * np.log1p(-np.expm1(-middle)))
        low, high = np.where(value < size, middle, low), np.where(value < size, high, middle)
        if np.all(high - low <= 4e-16 * high):
            break
    return np.asarray(0.5 * (low + high))


def checked_alpha(alpha: Any, d: int | None, depth: int) -> Array:
    """alpha as (d,), or one sentence; as it is where d is None."""
    scale = _check.array(alpha, "alpha", ndim=(0, 1), finite=False)
    if not np.isfinite(scale).all():
        raise InputError(f"alpha must be finite, not {alpha}; least_norm(X, y) is the limit for large alpha")
    if d is not None and scale.ndim == 1 and scale.shape != (d,):
        raise InputError(
            f"alpha must be a number or have one entry for each of the {d} weights, not {scale.shape}"
        )
    if not (scale > 0).all():
        raise InputError(
            f"alpha must be positive, not {scale.min():g}; at 0 nothing moves, basis_pursuit is the limit"
        )
    with np.errstate(over="ignore"):
        extreme = np.maximum(scale, 1.0 / scale) ** (2 * depth - 2)
    if not (extreme < LARGEST).all():
        raise InputError(
            f"alpha**{2 * depth - 2} must be between {1 / LARGEST:g} and {LARGEST:g} for depth {depth}; "
            "basis_pursuit and least_norm are the limits"
        )
    return scale if d is None else np.array(np.broadcast_to(scale, (d,)))


def checked_depth(depth: Any) -> int:
    """depth as an integer of at least 2, or one sentence."""
    found = int(_check.number(depth, "depth", integer=True))
    if found < 2:
        raise InputError(
            f"depth must be at least 2, not {found}; depth 1 is linear regression, least_norm(X, y)"
        )
    return found


def potential(w: Any, alpha: Any, depth: int = 2) -> float:
    """``Q(w) = sum_i int_0^(w_i) g_i^-1``: what the limit of gradient flow minimizes among all w with X w = y.

    ``alpha^2 sum_i q(w_i/alpha^2)`` with ``q(z) = 2 - sqrt(4 + z^2) + z asinh(z/2)`` for depth 2; for depth
    D >= 3 the Legendre transform ``Q = sum_i w_i t_i - H(t_i)`` at t = g^-1(w).

    Parameters
    ----------
    w : array_like, (d,)
    alpha : float or array_like, (d,)
    depth : int
    """
    w = _check.array(w, "w", ndim=1)
    depth = checked_depth(depth)
    mirror = Mirror(checked_alpha(alpha, w.size, depth), depth)
    t = mirror.inverse(w)
    if depth == 2:
        square = mirror.alpha**2
        root = np.hypot(2.0 * square, w)
        # 2 a - sqrt(4 a^2 + w^2) = -w^2/(2 a + sqrt(...))
        return float(np.sum(w * t - w * w / (2.0 * square + root)))
    # H = alpha^2 ((1 - z)^(1-p) + (1 + z)^(1-p) - 2)/(p - 1), with s = -log(1 - z)
    p, s = mirror.power, _depths(np.abs(w) / mirror.alpha**depth, mirror.power)
    z = -np.expm1(-s)
    energy = (np.expm1((p - 1.0) * s) + np.expm1((1.0 - p) * np.log1p(z))) / (p - 1.0)
    series = p * z**2 * (1.0 + (p + 1.0) * (p + 2.0) / 12.0 * z**2)
    return float(np.sum(w * t - mirror.alpha**2 * np.where(z < 1e-3, series, energy)))

"""Activations: E sigma(u) sigma(v) and E sigma'(u) sigma'(v) for Gaussian (u, v) of covariance (k, S; S, k')."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from meanfield.kernels.deep.pairs import Form, Pairs
from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array

# sin^2 of angles that are rounding: a few eps of k k' are lost in k k' - S^2 with every layer
ROUNDING = 16.0 * float(np.finfo(float).eps)
# Sizes k beyond which, or below whose inverse, products of two of them are not safely numbers.
SAFE = 1e140
# Of Erf: c = 2 scale^2 is a number.
STEEPEST = 1e150


class Activation(ABC):
    """An elementwise nonlinearity."""

    pools: ClassVar[bool] = False

    @abstractmethod
    def moments(self, S: Array, k: Array, other: Array) -> tuple[Array, Array]:
        """``E sigma(u) sigma(v)`` and ``E sigma'(u) sigma'(v)``; k and other broadcast to S."""

    def form(self, form: Form) -> Form:
        """The same positions as of `form`, which is what comes before; values are no longer Gaussian."""
        if not form.gaussian:
            raise InputError(
                f"{type(self).__name__} needs Gaussian values, so it must follow Dense or Conv, perhaps with AvgPool "
                "or Residual between; the inputs themselves, other activations and Flatten do not give them"
            )
        return Form(form.grid, False)

    def move(self, pairs: Pairs) -> Pairs:
        """The kernels behind this layer, from the `pairs` before it."""
        (k, k_other), (r, r_other) = pairs.sizes(pairs.left), pairs.sizes(pairs.right)
        S, slopes = self.moments(pairs.S, k[:, None], r_other[None])
        slopes *= pairs.T
        left, right = self.moments(pairs.left, k, k_other)[0], self.moments(pairs.right, r, r_other)[0]
        return replace(pairs, S=S, T=slopes, left=left, right=right)


@dataclass(frozen=True)
class ReLU(Activation):
    """``max(z, 0)``: arc-cosine kernels.

    Exactly parallel and opposite pairs are exact; where angles theta are below 1e-7 the tangent kernel has an error of
    1e-8 a layer, relative to ``root(T(x, x) T(z, z))``, by cancellation (angles below 6e-8 are taken as zero).
    """

    def moments(self, S: Array, k: Array, other: Array) -> tuple[Array, Array]:
        """``(root(k k' - S^2) + (pi - theta) S)/(2 pi)`` and ``(pi - theta)/(2 pi)``, k' being `other`."""
        if extreme(k, other):
            # homogeneous: multiplied by powers of two, back and forth, which is exact
            f, g = power(k), power(other)
            value, slopes = self.moments(S * f * g, k * f * f, other * g * g)
            return value / f / g, slopes
        root = np.sqrt(k * other)
        sine = (root - S) * (root + S)
        root *= root
        root *= ROUNDING
        sine[sine <= root] = 0.0
        np.sqrt(sine, out=sine)
        slopes = np.arctan2(sine, -S)
        sine += slopes * S
        sine /= 2.0 * math.pi
        slopes /= 2.0 * math.pi
        return sine, slopes


@dataclass(frozen=True)
class Erf(Activation):
    """``erf(scale z)``: arcsine kernels.

    Parameters
    ----------
    scale : float
        ``1/root 2`` by default, as of `mf.Erf`; at most 1e150.

    Raises
    ------
    InputError
    """

    scale: float = math.sqrt(0.5)

    def __post_init__(self) -> None:
        scale = _check.number(self.scale, "scale")
        if abs(scale) > STEEPEST:
            raise InputError(
                f"scale must be at most {STEEPEST:g} in size, as squares of it are taken, not {scale:g}"
            )
        object.__setattr__(self, "scale", scale)

    def moments(self, S: Array, k: Array, other: Array) -> tuple[Array, Array]:
        """``(2/pi) arcsin(c S/r)`` and ``2c/(pi root(r^2 - c^2 S^2))``, ``r^2 = (1 + c k)(1 + c other)``."""
        c = 2.0 * self.scale**2
        S, k, other = c * S, c * k, c * other
        f: Any = 1.0
        g: Any = 1.0
        if extreme(k, other):  # large sizes, that is: small ones are harmless beside 1
            f, g = np.minimum(power(k), 1.0), np.minimum(power(other), 1.0)
            S, k, other = S * f * g, k * f * f, other * g * g
        root = np.sqrt(k * other)
        # r^2 - c^2 S^2, without the difference of what is nearly equal for large k; all times (f g)^2
        gap = (root - S) * (root + S)
        np.maximum(gap, 0.0, out=gap)
        gap += (f * g) ** 2 + k * g**2 + other * f**2
        np.sqrt(gap, out=gap)
        return (2.0 / math.pi) * np.arctan2(S, gap), (2.0 * c / math.pi) * (f * g) / gap


def extreme(*sizes: Array) -> bool:
    """Whether products of two of the sizes may overflow or be lost."""
    return any(bool((((k > SAFE) & (k < np.inf)) | ((k < 1.0 / SAFE) & (k > 0.0))).any()) for k in sizes)


def power(k: Array) -> Array:
    """The power of two f for which ``k f^2`` is near 1, or 0."""
    return np.asarray(np.ldexp(1.0, -(np.frexp(k)[1] // 2)))

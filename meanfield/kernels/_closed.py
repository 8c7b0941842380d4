"""Closed forms: which activations have one, and with what law of the inner weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from meanfield.activations import Erf, Identity, LeakyReLU, PiecewiseLinear, Quadratic, ReLU
from meanfield.kernels._knots import Lines, piecewise_linear
from meanfield.kernels._pairs import Fill, Law
from solvers.protocols import Array


def closed_form(activation: Any, law: Law) -> Fill | None:
    """What fills E sigma sigma and E sigma' sigma' in closed form, or None.

    A k-homogeneous activation has on the sphere 1/E|g|^(2k) of its Gaussian kernel: |g| and g/|g| are independent.
    """
    kind, dim = type(activation), law.dim
    first = 1.0 / dim if law.on_sphere else 1.0
    second = 1.0 / (dim * (dim + 2.0)) if law.on_sphere else 1.0
    if kind is ReLU or kind is LeakyReLU:
        from meanfield._kernels.arc_cosine import relu_pairs

        leak = float(activation.negative_slope) if kind is LeakyReLU else 0.0

        def relu(g: Array, X: Array, Z: Array, s: Array, t: Array, value: Array, slopes: Array) -> None:
            relu_pairs(g, X, Z, s, t, leak, value, slopes)
            np.multiply(value, first, out=value)

        return relu
    if kind is Erf and not law.on_sphere:
        from meanfield._kernels.arc_cosine import erf_pairs

        scale = float(activation.scale)

        def erf(g: Array, X: Array, Z: Array, s: Array, t: Array, value: Array, slopes: Array) -> None:
            erf_pairs(g, X, Z, s, t, scale, value, slopes)

        return erf
    if kind is Quadratic:
        square = float(activation.factor) ** 2

        def quadratic(g: Array, X: Array, Z: Array, s: Array, t: Array, value: Array, slopes: Array) -> None:
            np.multiply(g, g, out=value)
            np.multiply(value, 2.0, out=value)
            value += s[:, None] * t
            np.multiply(value, square * second, out=value)
            np.multiply(g, 4.0 * square * first, out=slopes)

        return quadratic
    if kind is Identity:
        square = float(activation.factor) ** 2

        def identity(g: Array, X: Array, Z: Array, s: Array, t: Array, value: Array, slopes: Array) -> None:
            np.multiply(g, square * first, out=value)
            slopes.fill(square)

        return identity
    if kind is PiecewiseLinear and not (law.on_sphere and dim == 1):
        return piecewise_linear(Lines.through(np.asarray(activation.knots, dtype=np.float64)), law)
    return None

"""Piecewise linear activations: what their kernels need of each point, and how their pairs are filled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from meanfield.kernels._pairs import Fill, Law
from solvers.protocols import Array

POINTS = 20  # Gauss points of a piece
REACH = 9.0  # of a normal number; further out no knot is seen


@dataclass(frozen=True)
class Lines:
    """A piecewise linear function: knots (r,), and ``c + m z`` on the r + 1 intervals between them."""

    knots: Array
    c: Array
    m: Array

    @classmethod
    def through(cls, table: Array) -> Lines:
        """A `PiecewiseLinear` of these knots (z, value)."""
        knots, values = table[:, 0], table[:, 1]
        m = np.concatenate([[0.0], np.diff(values) / np.diff(knots), [0.0]])
        # a knot at its end tells a line
        c = np.concatenate([values[:1], values]) - m * np.concatenate([knots[:1], knots])
        return cls(knots, c, m)


def piecewise_linear(sigma: Lines, law: Law) -> Fill:
    """What fills E sigma sigma and E sigma' sigma'."""
    from meanfield._kernels.knots import knot_pairs

    knots, jumps = sigma.knots, np.diff(sigma.m)
    dim = law.dim if law.on_sphere else 0
    x, w = np.polynomial.legendre.leggauss(POINTS)
    rule = np.array([x, w])

    def lines(tails: Array) -> Array:
        count = np.count_nonzero(tails[:, 0] <= (-1.0 if law.on_sphere else -REACH), axis=1)
        return np.column_stack([sigma.c[count], sigma.m[count], count.astype(np.float64)])

    def fill(g: Array, X: Array, Z: Array, s: Array, t: Array, value: Array, slopes: Array) -> None:
        left, right = _tails(knots, np.sqrt(s), law), _tails(knots, np.sqrt(t), law)
        knot_pairs(g, X, Z, s, t, jumps, lines(left), lines(right), left, right, dim, rule, value, slopes)

    return fill


def _tails(knots: Array, sizes: Array, law: Law) -> Array:
    """A = knot/size, E 1{t > A}, E t 1{t > A}, E t^2 1{t > A}, and the first in two dimensions more: (n, 5, r)."""
    from scipy.special import betainc, ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.where(sizes[:, None] > 0.0, knots / sizes[:, None], np.where(knots > 0.0, np.inf, -np.inf))
    # further out nothing is left, and 0 times infinity would be
    at = np.clip(at, -1e6, 1e6)
    if not law.on_sphere:
        tail = ndtr(-at)
        density = np.exp(-0.5 * at * at) / math.sqrt(2.0 * math.pi)
        return np.ascontiguousarray(np.stack([at, tail, density, at * density + tail, tail], axis=1))
    dim = law.dim
    inside = np.clip(at, -1.0, 1.0)
    height = (1.0 - inside) * (1.0 + inside)

    def beyond(d: int) -> Array:
        # from the end that is nearer: either loses digits at the other
        outer = 0.5 * betainc(0.5 * (d - 1), 0.5, height)
        inner = 0.5 * betainc(0.5, 0.5 * (d - 1), inside * inside)
        upper = np.where(np.abs(inside) < 0.5, 0.5 - inner, outer)
        return np.asarray(np.where(inside > 0.0, upper, 1.0 - upper))

    scale = math.exp(math.lgamma(0.5 * dim) - math.lgamma(0.5 * (dim - 1))) / math.sqrt(math.pi) / (dim - 1)
    first = scale * height ** (0.5 * (dim - 1))
    wider = beyond(dim + 2)
    # t beyond the sphere never comes: the knot itself stays where it is, its tails are those of -1 or 1
    return np.ascontiguousarray(
        np.stack([at, beyond(dim), first, inside * first + wider / dim, wider], axis=1)
    )

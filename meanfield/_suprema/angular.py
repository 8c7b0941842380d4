"""Rank 2: the extremes of sum_j w_j relu(u.x_j) + u.l on the circle, exactly, by sweeping the breakpoints."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from solvers._jit import compiled
from solvers.protocols import Array

# no fast-math: the compensated sums must not be reassociated
kernel: Any = compiled(fastmath=False)


@kernel
def two_sum(a, b):  # type: ignore[no-untyped-def]
    """a + b rounded, and the rounding error of it (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@kernel
def crossing(x, y):  # type: ignore[no-untyped-def]
    """The unit direction in the half-open upper half plane orthogonal to (x, y)."""
    norm = math.sqrt(x * x + y * y)
    if x > 0.0 or (x == 0.0 and y < 0.0):
        return -y / norm, x / norm
    return y / norm, -x / norm


@kernel
def in_cone(x, y, norm, ac, asn, bc, bsn):  # type: ignore[no-untyped-def]
    """Is (x, y), of length norm, between the directions a and b, a before b, at most half a turn apart?

    The last test is for arcs of length zero (breakpoints that coincide): both products vanish at a and at -a.
    """
    return ac * y - asn * x >= 0.0 and x * bsn - y * bc >= 0.0 and x * (ac + bc) + y * (asn + bsn) >= -norm


@kernel
def sweep(points, weights, lx, ly, cosine, sine, order):  # type: ignore[no-untyped-def]
    """Extremes of G and their directions.

    On an arc between breakpoints G(u) = q.u with q = l + sum of active w_j x_j, and on the opposite arc
    G(-u) = m.u with m = q - 2 l - sum of all w_j x_j: half a turn serves for the whole circle. The sums are
    compensated, so that errors do not grow with the number of points.
    """
    count = order.shape[0]
    tx, txe, ty, tye = 0.0, 0.0, 0.0, 0.0
    qx, qxe, qy, qye = lx, 0.0, ly, 0.0
    active = np.empty(count, dtype=np.bool_)
    for j in range(count):
        px, py = points[j, 0], points[j, 1]
        dx, dy = weights[j] * px, weights[j] * py
        tx, e = two_sum(tx, dx)
        txe += e
        ty, e = two_sum(ty, dy)
        tye += e
        active[j] = px > 0.0 or (px == 0.0 and py < 0.0)
        if active[j]:
            qx, e = two_sum(qx, dx)
            qxe += e
            qy, e = two_sum(qy, dy)
            qye += e
    tx += txe + 2.0 * lx
    ty += tye + 2.0 * ly
    hi, hx, hy = -np.inf, 1.0, 0.0
    lo, ox, oy = np.inf, 1.0, 0.0
    ac, asn = 1.0, 0.0
    for k in range(count + 1):
        if k < count:
            j = order[k]
            bc, bsn = cosine[j], sine[j]
        else:
            bc, bsn = -1.0, 0.0
        zx, zy = qx + qxe, qy + qye
        for side in range(2):
            if side == 0:
                sign = 1.0
            else:
                sign = -1.0
                zx -= tx
                zy -= ty
            value = zx * ac + zy * asn
            if value > hi:
                hi, hx, hy = value, sign * ac, sign * asn
            if value < lo:
                lo, ox, oy = value, sign * ac, sign * asn
            norm = math.sqrt(zx * zx + zy * zy)
            if norm > hi and in_cone(zx, zy, norm, ac, asn, bc, bsn):
                hi, hx, hy = norm, sign * zx / norm, sign * zy / norm
            if -norm < lo and in_cone(-zx, -zy, norm, ac, asn, bc, bsn):
                lo, ox, oy = -norm, -sign * zx / norm, -sign * zy / norm
        if k < count:
            dx, dy = weights[j] * points[j, 0], weights[j] * points[j, 1]
            if active[j]:
                dx, dy = -dx, -dy
            qx, e = two_sum(qx, dx)
            qxe += e
            qy, e = two_sum(qy, dy)
            qye += e
            ac, asn = bc, bsn
    return lo, ox, oy, hi, hx, hy


@kernel
def crossings(points):  # type: ignore[no-untyped-def]
    count = points.shape[0]
    cosine, sine, key = np.empty(count), np.empty(count), np.empty(count)
    for j in range(count):
        c, s = crossing(points[j, 0], points[j, 1])
        cosine[j], sine[j] = c, s
        # minus the cotangent grows with the angle on [0, pi) and keeps its relative accuracy at both ends
        key[j] = -c / s if s > 0.0 else -np.inf
    return cosine, sine, key


def circle_extremes(points: Array, weights: Array, linear: Array) -> tuple[float, Array, float, Array]:
    """``min`` and ``max`` over |u| = 1 in R^2 of ``sum_j w_j relu(u.x_j) + u.l``, in O(n log n).

    On each arc between the breakpoints (directions orthogonal to some x_j) the function is q.u: its maximum is
    |q| at q/|q| if that lies on the arc, else at an end (Chizat and Bach 2020, arXiv:2002.04486, use the
    same fact to look for the best neuron).

    Parameters
    ----------
    points : ndarray, shape (k, 2)
        Unit vectors.
    weights : ndarray, shape (k,)
    linear : ndarray, shape (2,)

    Returns
    -------
    lowest, argmin, highest, argmax
        Accurate to a few units of ``2^-52 (sum |w| + |l|)``.
    """
    cosine, sine, key = crossings(points)
    order = np.argsort(key)
    lo, ox, oy, hi, hx, hy = sweep(points, weights, linear[0], linear[1], cosine, sine, order)
    return float(lo), np.array([ox, oy]), float(hi), np.array([hx, hy])

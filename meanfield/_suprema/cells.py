"""Rank 3: the extremes of sum_j w_j relu(u.x_j) + u.l on the sphere, exactly, through the edges of all cells."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from meanfield._suprema.angular import crossing, in_cone, two_sum
from solvers._jit import compiled
from solvers.protocols import Array

kernel: Any = compiled(fastmath=False)  # as in angular.py

PARALLEL = 1e-13  # sine of the angle below which two great circles count as one; the error is accounted for
SAME = 1e-15  # ... and below which the second one is not swept again
INSIDE = 2e-15  # rounding of a product of unit vectors, eight units: a point this far outside a cell counts as in it


@kernel
def _frame(n0, n1, n2):  # type: ignore[no-untyped-def]
    """Two unit vectors that complete (n0, n1, n2) to an orthonormal basis (Duff et al. 2017)."""
    s = 1.0 if n2 >= 0.0 else -1.0
    a = -1.0 / (s + n2)
    b = n0 * n1 * a
    return 1.0 + s * n0 * n0 * a, s * b, -s * n0, b, s + n1 * n1 * a, -n1


@kernel
def _agrees(y0, y1, y2, norm, points, active, own):  # type: ignore[no-untyped-def]
    """Does y lie in the closed cell with these active points? (`own` marks the circle we stand on.)"""
    slack = INSIDE * norm
    for j in range(points.shape[0]):
        if own[j]:
            continue
        d = y0 * points[j, 0] + y1 * points[j, 1] + y2 * points[j, 2]
        if active[j]:
            if d < -slack:
                return False
        elif d > slack:
            return False
    return True


@kernel
def _arrangement(points, weights, linear):  # type: ignore[no-untyped-def]
    """Extremes of G, their directions, and the error made by merging nearly parallel points.

    Each great circle {u.x_i = 0} is walked half a turn; the opposite half follows from
    G(-u) = (v - 2 l - sum of all w_j x_j).u where G(u) = v.u. On the circle the problem is that of rank 2. Each
    edge also names the two cells beside it, whose only further candidate is v/|v| (or -v/|v|) if inside.
    """
    count = points.shape[0]
    total = np.zeros(3)
    carry = np.zeros(3)
    for j in range(count):
        for c in range(3):
            total[c], e = two_sum(total[c], weights[j] * points[j, c])
            carry[c] += e
    for c in range(3):
        total[c] += carry[c] + 2.0 * linear[c]
    hi, lo = -np.inf, np.inf
    high, low = np.zeros(3), np.zeros(3)
    merged_error = 0.0
    key, cosine, sine = np.empty(count), np.empty(count), np.empty(count)
    index = np.empty(count, dtype=np.int64)
    active, own = np.empty(count, dtype=np.bool_), np.empty(count, dtype=np.bool_)
    walked = np.zeros(count, dtype=np.bool_)
    v, rest, z = np.empty(3), np.empty(3), np.empty(3)
    beside = np.empty((2, 3))  # what the cells on the side of -x_i and of +x_i add to v
    for i in range(count):
        n0, n1, n2 = points[i, 0], points[i, 1], points[i, 2]
        e0, e1, e2, f0, f1, f2 = _frame(n0, n1, n2)
        beside[:] = 0.0
        for c in range(3):
            v[c] = linear[c]
            rest[c] = 0.0
        found, error, repeated = 0, 0.0, False
        for j in range(count):
            p = points[j, 0] * e0 + points[j, 1] * e1 + points[j, 2] * e2
            q = points[j, 0] * f0 + points[j, 1] * f1 + points[j, 2] * f2
            radius = math.sqrt(p * p + q * q)
            own[j] = j == i or radius <= PARALLEL
            if own[j]:
                if j < i and walked[j] and radius <= SAME:
                    repeated = True
                    break
                side = 1 if points[j, 0] * n0 + points[j, 1] * n1 + points[j, 2] * n2 > 0.0 else 0
                for c in range(3):
                    beside[side, c] += weights[j] * points[j, c]
                error += abs(weights[j]) * radius
                active[j] = False
                continue
            c0, s0 = crossing(p, q)
            cosine[j], sine[j] = c0, s0
            key[found] = -c0 / s0 if s0 > 0.0 else -np.inf
            index[found] = j
            found += 1
            active[j] = p > 0.0 or (p == 0.0 and q < 0.0)
            if active[j]:
                for c in range(3):
                    v[c], e = two_sum(v[c], weights[j] * points[j, c])
                    rest[c] += e
        if repeated:
            continue
        walked[i] = True
        merged_error = max(merged_error, error)
        order = np.argsort(key[:found])
        ac, asn = 1.0, 0.0
        before = -1
        for k in range(found + 1):
            if k < found:
                after = index[order[k]]
                bc, bsn = cosine[after], sine[after]
            else:
                after = -1
                bc, bsn = -1.0, 0.0
            # the circle itself
            for turn in range(2):
                sign = 1.0 if turn == 0 else -1.0
                for c in range(3):
                    z[c] = v[c] + rest[c]
                    if turn == 1:
                        z[c] -= total[c]
                        # the points on this circle are inactive or active on both sides: they add nothing here
                zx = z[0] * e0 + z[1] * e1 + z[2] * e2
                zy = z[0] * f0 + z[1] * f1 + z[2] * f2
                value = zx * ac + zy * asn
                norm = math.sqrt(zx * zx + zy * zy)
                if value > hi:
                    hi = value
                    high[0], high[1], high[2] = (
                        sign * (ac * e0 + asn * f0),
                        sign * (ac * e1 + asn * f1),
                        sign * (ac * e2 + asn * f2),
                    )
                if value < lo:
                    lo = value
                    low[0], low[1], low[2] = (
                        sign * (ac * e0 + asn * f0),
                        sign * (ac * e1 + asn * f1),
                        sign * (ac * e2 + asn * f2),
                    )
                if norm > hi and in_cone(zx, zy, norm, ac, asn, bc, bsn):
                    hi = norm
                    px, py = sign * zx / norm, sign * zy / norm
                    high[0], high[1], high[2] = px * e0 + py * f0, px * e1 + py * f1, px * e2 + py * f2
                if norm > -lo and in_cone(-zx, -zy, norm, ac, asn, bc, bsn):
                    lo = -norm
                    px, py = -sign * zx / norm, -sign * zy / norm
                    low[0], low[1], low[2] = px * e0 + py * f0, px * e1 + py * f1, px * e2 + py * f2
            # the two cells beside this edge, and their opposites
            for side in range(2):
                for turn in range(2):
                    for c in range(3):
                        z[c] = v[c] + rest[c] + beside[side, c]
                        if turn == 1:
                            z[c] -= total[c]
                    norm = math.sqrt(z[0] * z[0] + z[1] * z[1] + z[2] * z[2])
                    if norm == 0.0 or (norm <= hi and norm <= -lo):
                        continue
                    across = z[0] * n0 + z[1] * n1 + z[2] * n2
                    # z can lie in the cell, or -z can, never both; a tie lies on the circle and is done already
                    flip = 1.0 if (across > 0.0) == (side == 1) else -1.0
                    if (flip > 0.0 and norm <= hi) or (flip < 0.0 and norm <= -lo):
                        continue
                    y0, y1, y2 = flip * z[0], flip * z[1], flip * z[2]
                    inside = True
                    for end in range(2):
                        j = before if end == 0 else after
                        if j >= 0:
                            d = y0 * points[j, 0] + y1 * points[j, 1] + y2 * points[j, 2]
                            if (active[j] and d < 0.0) or (not active[j] and d > 0.0):
                                inside = False
                    if inside and _agrees(y0, y1, y2, norm, points, active, own):
                        mirror = (1.0 if turn == 0 else -1.0) / norm
                        if flip > 0.0:
                            hi = norm
                            high[0], high[1], high[2] = mirror * y0, mirror * y1, mirror * y2
                        else:
                            lo = -norm
                            low[0], low[1], low[2] = mirror * y0, mirror * y1, mirror * y2
            if k < found:
                for c in range(3):
                    d = weights[after] * points[after, c]
                    v[c], e = two_sum(v[c], -d if active[after] else d)
                    rest[c] += e
                active[after] = not active[after]
                ac, asn = bc, bsn
                before = after
    return lo, low, hi, high, merged_error


def sphere3_extremes(
    points: Array, weights: Array, linear: Array
) -> tuple[float, Array, float, Array, float]:
    """``min`` and ``max`` over |u| = 1 in R^3 of ``sum_j w_j relu(u.x_j) + u.l``, in O(n^2 log n), memory O(n).

    The function is linear, v_S.u, on each of the at most n (n - 1) + 2 cells of the arrangement of great circles
    {u.x_j = 0}: an extreme inside a cell is at +-v_S/|v_S|, any other lies on a circle, where the problem is that
    of rank 2. Cells are reached through their edges; one with |v_S| no better than the best so far is
    passed over, and a candidate is dropped at the first circle that separates it from its cell.

    Parameters
    ----------
    points : ndarray, shape (k, 3)
        Unit vectors; duplicates, opposites, coplanar points are allowed.
    weights : ndarray, shape (k,)
    linear : ndarray, shape (3,)

    Returns
    -------
    lowest, argmin, highest, argmax, merged
        `merged` bounds the error made by counting circles at an angle of less than 1e-13 as one.
    """
    if points.shape[0] == 0:
        norm = float(np.linalg.norm(linear))
        axis = linear / norm if norm > 0.0 else np.array([1.0, 0.0, 0.0])
        return -norm, -axis, norm, axis, 0.0
    lo, low, hi, high, merged = _arrangement(points, weights, linear)
    return float(lo), low, float(hi), high, float(merged)

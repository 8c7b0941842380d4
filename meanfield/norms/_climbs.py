"""Many climbs at once to hills of G(v) = sum_j w_j relu(v.x_j) + v.l on the sphere, by whole great circles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from meanfield._suprema.angular import crossings, sweep
from solvers._jit import compiled
from solvers.protocols import Array

kernel: Any = compiled(fastmath=False)  # as in angular.py

NARROW = 1e-6  # width of the kinks, in units of |x|, at which a climb ends
SHARPEN = 0.2  # factor on the width where a circle brings no progress
PROGRESS = 1e-6  # relative: less than this is none


@kernel
def _climb(points, weights, linear, start, sign, width, circles, out):  # type: ignore[no-untyped-def]
    """Improve sign * G from `start`, as in `meanfield._suprema.great_circles`; returns sign * G at `out`."""
    n, r = points.shape
    z, slope = np.empty(n), np.empty(n)
    plane, pull = np.empty((n, 2)), np.empty(n)
    tangent = np.empty(r)
    best = 0.0
    for c in range(r):
        out[c] = start[c]
        best += sign * linear[c] * start[c]
    for j in range(n):
        total = 0.0
        for c in range(r):
            total += points[j, c] * start[c]
        z[j] = total
        if total > 0.0:
            best += sign * weights[j] * total
    for _ in range(circles):
        for c in range(r):
            tangent[c] = sign * linear[c]
        for j in range(n):
            if z[j] > -width:
                active = sign * weights[j] * min(1.0, 0.5 * (1.0 + z[j] / width))
                for c in range(r):
                    tangent[c] += active * points[j, c]
        length = 0.0
        for _repeat in range(2):  # the second time for what rounding left
            along = 0.0
            for c in range(r):
                along += tangent[c] * out[c]
            length = 0.0
            for c in range(r):
                tangent[c] -= along * out[c]
                length += tangent[c] * tangent[c]
            length = math.sqrt(length)
            if length == 0.0:
                break
            for c in range(r):
                tangent[c] /= length
        progress = 0.0
        if length > 0.0:
            for j in range(n):
                total = 0.0
                for c in range(r):
                    total += points[j, c] * tangent[c]
                slope[j] = total
                radius = math.hypot(z[j], total)
                # a point that the circle does not see has no breakpoint; weight 0 leaves it out
                plane[j, 0] = z[j] / radius if radius > 0.0 else 1.0
                plane[j, 1] = total / radius if radius > 0.0 else 0.0
                pull[j] = sign * weights[j] * radius
            lx, ly = 0.0, 0.0
            for c in range(r):
                lx += sign * linear[c] * out[c]
                ly += sign * linear[c] * tangent[c]
            cosine, sine, key = crossings(plane)
            order = np.argsort(key)
            _lo, _ox, _oy, value, tx, ty = sweep(plane, pull, lx, ly, cosine, sine, order)
            progress = value - best
            if progress > 0.0:
                size = 0.0
                for c in range(r):
                    out[c] = tx * out[c] + ty * tangent[c]
                    size += out[c] * out[c]
                size = math.sqrt(size)
                best = 0.0
                for c in range(r):
                    out[c] /= size
                    best += sign * linear[c] * out[c]
                for j in range(n):
                    z[j] = (tx * z[j] + ty * slope[j]) / size
                    if z[j] > 0.0:
                        best += sign * weights[j] * z[j]
        if progress <= PROGRESS * abs(best):
            if width <= NARROW:
                break
            width *= SHARPEN
    return best


@kernel
def _climbs(points, weights, linear, starts, signs, widths, circles, out, heights):  # type: ignore[no-untyped-def]
    for k in range(starts.shape[0]):
        heights[k] = _climb(points, weights, linear, starts[k], signs[k], widths[k], circles, out[k])


def climbs(
    points: Array, weights: Array, linear: Array, starts: Array, signs: Array, widths: Array, circles: int
) -> tuple[Array, Array]:
    """Directions (k, r) reached from each of the `starts`, and signs * G there: never lower than at the start.

    Parameters
    ----------
    points : ndarray, shape (n, r)
        Unit vectors.
    weights, linear : ndarray, (n,) and (r,)
    starts : ndarray, shape (k, r)
        Unit vectors.
    signs : ndarray, shape (k,)
        +1 to climb, -1 to descend.
    widths : ndarray, shape (k,)
        Over which kinks are smoothed in the choice of a circle: small, a climb keeps to its own hill.
    circles : int
        At most so many a climb.
    """
    out, heights = np.empty_like(starts), np.empty(starts.shape[0])
    _climbs(points, weights, linear, starts, signs, widths, circles, out, heights)
    return out, heights

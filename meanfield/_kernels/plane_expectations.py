"""Compiled parts of E sigma(u) sigma(v) by quadrature: series in orthogonal polynomials, and nodes in the plane.

(u, v) = (|x| t, |z| t') with t, t' two coordinates, at the angle of x and z, of a standard normal vector (dimension 0
below) or of a uniform point of the unit sphere of R^dim. None of this knows the activation: its values come in arrays.
"""

from __future__ import annotations

import math

from solvers._jit import compiled
from solvers.protocols import Array

REACH = 9.0  # of a normal number: beyond, 2e-19 of the mass


@compiled()
def project(nodes: Array, weighted: Array, off: Array, before: Array, now: Array, out: Array) -> None:
    """out[k] = sum_l weighted[l] p_k(nodes[l]), for orthonormal p_k: t p_k = off[k+1] p_(k+1) + off[k] p_(k-1).

    `before` and `now` are room for as many numbers as there are nodes.
    """
    for i in range(nodes.size):
        before[i], now[i] = 0.0, 1.0
    for k in range(out.size):
        total = 0.0
        for i in range(nodes.size):
            total += weighted[i] * now[i]
        out[k] = total
        a, b = off[k], 1.0 / off[k + 1]
        for i in range(nodes.size):
            after = b * (nodes[i] * now[i] - a * before[i])
            before[i] = now[i]
            now[i] = after


@compiled()
def sum_series(
    cosine: Array,
    row: Array,
    columns: Array,
    ahead: Array,
    back: Array,
    since: int,
    room: Array,
    value: Array,
    top: Array,
) -> None:
    """value[j] = sum_k row[k] columns[k, j] P_k(cosine[j]), P_(k+1) = ahead[k] t P_k - back[k] P_(k-1), P_k(1) = 1.

    top[j] is the largest |P_k| from k = `since` on; `room` holds two rows.
    """
    before, now = room[0], room[1]
    for j in range(cosine.size):
        before[j], now[j] = 0.0, 1.0
        value[j] = top[j] = 0.0
    for k in range(row.size):
        c, a, b = row[k], ahead[k], back[k]
        for j in range(cosine.size):
            p = now[j]
            value[j] += c * columns[k, j] * p
            now[j] = a * cosine[j] * p - b * before[j]
            before[j] = p
        if k >= since:
            for j in range(cosine.size):
                top[j] = max(top[j], abs(before[j]))


@compiled(forceinline=True)
def _insert(breaks: Array, count: int, x: float, low: float, high: float) -> int:
    """Put x among the ordered breaks, if it lies inside (low, high)."""
    if not (low < x < high):
        return count
    i = count
    while i > 0 and breaks[i - 1] > x:
        breaks[i] = breaks[i - 1]
        i -= 1
    breaks[i] = x
    return count + 1


@compiled()
def plane_nodes(
    turn: Array,
    left: Array,
    right: Array,
    dim: int,
    pieces: int,
    pieces_in: int,
    rules: Array,
    rules_in: Array,
    breaks: Array,
    u: Array,
    v: Array,
    mass: Array,
) -> int:
    """Nodes (t, t') and masses of a product rule, analytic between its pieces for what is so between kinks; how many.

    `turn` holds cosine and sine of half the angle, `left` and `right` the kinks of sigma(|x| t) and sigma(|z| t') in t
    and t'. With (inner, outer) two orthonormal coordinates, t = A inner + B outer and t' = A' inner + B' outer. For
    each outer, inner is split at the kinks; outer is split where two of them meet and, on the sphere, where one enters
    the disc. There outer and inner are sin(beta) and cos(beta) sin(alpha), of densities cos^(dim-2) and cos^(dim-3).

    There are `pieces` of outer and `pieces_in` of inner besides. `rules` and `rules_in` (2, G) hold nodes and weights
    on [-1, 1]; `breaks` is room for ends of pieces.
    """
    c, s = turn[0], turn[1]
    # the coordinate that turns more kinks into points is the inner one
    a1, a2, b1, b2 = (c, c, s, -s) if c >= s else (s, -s, c, c)
    sphere = dim > 0
    reach, reach_in = REACH, REACH
    factor = 0.5 / math.pi
    if sphere:
        reach = math.acos(math.exp(-40.0 / (dim - 2.0)))
        reach_in = math.acos(math.exp(-40.0 / (dim - 3.0))) if dim > 3 else 0.5 * math.pi
        factor = 0.5 * (dim - 2.0) / math.pi
    outer, inner = breaks[0], breaks[1]
    ends = pieces + 1
    for k in range(ends):
        outer[k] = reach * (2.0 * k / pieces - 1.0)
    for i in range(left.size):
        for j in range(right.size):
            across = b1 / a1 - b2 / a2
            if across != 0.0:
                meet = (left[i] / a1 - right[j] / a2) / across
                if sphere:
                    meet = math.asin(meet) if abs(meet) < 1.0 else 9.0
                ends = _insert(outer, ends, meet, -reach, reach)
    if sphere:
        for side in range(2):
            a, b, kinks = (a1, b1, left) if side == 0 else (a2, b2, right)
            for i in range(kinks.size):
                k = kinks[i]
                if abs(k) < 1.0:
                    off = math.sqrt(1.0 - k * k) * a
                    ends = _insert(outer, ends, math.asin(max(-1.0, min(1.0, k * b + off))), -reach, reach)
                    ends = _insert(outer, ends, math.asin(max(-1.0, min(1.0, k * b - off))), -reach, reach)
    count = 0
    for piece in range(ends - 1):
        low, half = outer[piece], 0.5 * (outer[piece + 1] - outer[piece])
        for g in range(rules.shape[1]):
            y = low + half * (1.0 + rules[0, g])
            size = 1.0
            share = factor * half * rules[1, g]
            if sphere:
                size = math.cos(y)
                share *= size ** (dim - 2)
                y = math.sin(y)
            else:
                share *= math.exp(-0.5 * y * y)
            inside = pieces_in + 1
            for k in range(inside):
                inner[k] = reach_in * (2.0 * k / pieces_in - 1.0)
            for side in range(2):
                a, b, kinks = (a1, b1, left) if side == 0 else (a2, b2, right)
                for i in range(kinks.size):
                    place = (kinks[i] - b * y) / a
                    if sphere:
                        place = math.asin(place / size) if abs(place) < size else 9.0
                    inside = _insert(inner, inside, place, -reach_in, reach_in)
            for part in range(inside - 1):
                start, width = inner[part], 0.5 * (inner[part + 1] - inner[part])
                for h in range(rules_in.shape[1]):
                    x = start + width * (1.0 + rules_in[0, h])
                    weight = share * width * rules_in[1, h]
                    if sphere:
                        weight *= math.cos(x) ** (dim - 3)
                        x = size * math.sin(x)
                    else:
                        weight *= math.exp(-0.5 * x * x)
                    u[count] = a1 * x + b1 * y
                    v[count] = a2 * x + b2 * y
                    mass[count] = weight
                    count += 1
    return count

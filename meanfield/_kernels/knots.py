"""E sigma(w.x) sigma(w.z) and E sigma' sigma' for piecewise linear sigma: one integral over an angle for two knots.

Let sigma have slope jumps alpha_i at knots k_i, A = k_i/|x| and B = k_j/|z|. Along the angle of x and z, from the
nearer of 0 and pi, where both expectations are moments of one variable, their second and first derivatives in x.z are
densities of (w.x, w.z) at pairs of knots (Price's theorem; on the sphere of R^D it leads to that of R^(D+2)), so that

    E sigma sigma   = end + slope (x.z - |x||z|)
                      + (|x||z|/2 pi c) sum alpha_i alpha_j int_0^psi (cos tau - cos psi) p_1 dtau,
    E sigma' sigma' = end - (1/2 pi) sum alpha_i alpha_j int_0^psi p_0 dtau,

with Q = (A^2 + B^2 - 2 A B cos tau)/sin^2 tau: for the normal law p_0 = p_1 = exp(-Q/2), c = 1; on the sphere p_0 =
(1 - Q)^(D/2 - 1), p_1 = (1 - Q) p_0 where Q < 1, c = D. In y = tan(tau/2) all of it is rational.
"""

from __future__ import annotations

import math

import numpy as np

from meanfield._kernels.arc_cosine import crossing
from solvers._jit import compiled
from solvers._vecmath import exp
from solvers.protocols import Array

_part = compiled(forceinline=True)

FAR = 9.0  # exp(-81/2) is nothing
STEEP, GENTLE = 2.0, 3.0  # ratios of neighbouring ends of pieces
SMALL = 1e-14


@_part
def _piece(
    low: float, high: float, origin: float, way: float, gap: float, product: float, y_end: float, dim: int, rule: Array,
    sums: Array,
) -> None:  # fmt: skip
    """Add both integrals over a piece: of y, or on the sphere of u, y^2 = origin + way u^2."""
    half = 0.5 * (high - low)
    bottom = 2.0 * y_end * y_end / (1.0 + y_end * y_end)  # 1 - cos psi
    square = 0.25 * gap * gap
    one_sum = 0.0
    two_sum = 0.0
    if dim == 0:
        for g in range(rule.shape[1]):
            y = low + half * (1.0 + rule[0, g])
            Y = y * y
            one = 1.0 + Y
            p = rule[1, g] / one * exp(-0.5 * (square * one * one / Y + product * one))
            two_sum += p
            one_sum += p * (bottom - 2.0 * Y / one)
    else:
        for g in range(rule.shape[1]):
            u = low + half * (1.0 + rule[0, g])
            Y = origin + way * u * u
            one = 1.0 + Y
            inside = max(1.0 - square * one * one / Y - product * one, 0.0) if Y > 0.0 else 0.0
            p = math.sqrt(inside) if dim % 2 == 1 else 1.0
            factor = inside
            power = (dim - 2) // 2
            while power > 0:  # inside^((dim-2)/2) by squaring
                if power % 2 == 1:
                    p *= factor
                factor *= factor
                power //= 2
            p *= rule[1, g] * u / (math.sqrt(Y) * one) if Y > 0.0 else 0.0
            two_sum += p
            one_sum += p * inside * (bottom - 2.0 * Y / one)
    sums[0] += 2.0 * half * one_sum
    sums[1] += 2.0 * half * two_sum


@_part
def _over_angle(A: float, B: float, y_end: float, dim: int, rule: Array, sums: Array) -> None:
    """sums = int (cos tau - cos psi) p_1 dtau and int p_0 dtau from tau = 0 to psi, tan(psi/2) = y_end."""
    sums[0] = sums[1] = 0.0
    gap, product = abs(A - B), A * B
    low, high, first = 0.0, y_end, 0.0
    if dim == 0:
        if max(abs(A), abs(B)) > 4.0 * FAR:
            return
        low = 0.5 * gap / FAR
        end, wide = STEEP * low, gap
    else:
        if abs(A) >= 1.0 or abs(B) >= 1.0:
            return
        # Q < 1 between the difference and the sum of the angles whose cosines are A and B
        one, other = math.sqrt((1.0 - A) * (1.0 + A)), math.sqrt((1.0 - B) * (1.0 + B))
        apart = (B - A) * (B + A) / (one + other)
        bottom = math.hypot(A - B, apart) / math.hypot(A + B, one + other)
        both = math.atan2(one, A) + math.atan2(other, B)
        top = math.tan(0.5 * min(both, 2.0 * math.pi - both, 0.99 * math.pi))
        if min(top, y_end) <= bottom:
            return
        # At both ends integrands go with half-integer powers of y^2 less what it is there: roots of it, from either
        # end, serve as variables up to the middle.
        first, last = bottom * bottom, top * top
        reached = min(y_end * y_end, last)
        middle = min(reached, 0.5 * (first + last))
        if reached > middle:
            _piece(
                math.sqrt(last - reached),
                math.sqrt(last - middle),
                last,
                -1.0,
                gap,
                product,
                y_end,
                dim,
                rule,
                sums,
            )
        high = math.sqrt(middle - first)
        end, wide = bottom, gap
        if dim > 2:  # from where (1 - Q)^(dim/2 - 1) is more than nothing
            room = 1.0 - math.exp(-80.0 / (dim - 2.0)) - (product if product > 0.0 else 2.0 * product)
            if room <= 0.0:
                return
            low = math.sqrt(max(0.25 * gap * gap / room - first, 0.0))
            end, wide = max(end, STEEP * low), gap * math.sqrt(float(dim))
    if low >= high:
        return
    if end < SMALL:  # one knot twice: nothing happens near 0
        end = 0.5 * high
    while low < high:
        if end > 0.7 * high:
            end = high
        _piece(low, end, first, 1.0, gap, product, y_end, dim, rule, sums)
        low = end
        end *= STEEP if end < wide else GENTLE


@compiled()
def knot_pairs(
    gram: Array, X: Array, Z: Array, rows: Array, columns: Array, jumps: Array, lines: Array, others: Array,
    left: Array, right: Array, dim: int, rule: Array, value: Array, slopes: Array,
) -> None:  # fmt: skip
    """value and slopes of all pairs.

    `left` (n, 5, r) and `right` hold A, E of 1, t, t^2 over t > A, and the first in the law of D + 2. `lines` (n, 3)
    and `others` hold the line c + m z that sigma is as far left as |x| t comes, and how many knots lie beyond.
    """
    r = jumps.size
    total = 1.0 / dim if dim > 0 else 1.0  # E t^2
    sums = np.empty(2)
    for i in range(gram.shape[0]):
        a = math.sqrt(rows[i])
        c, m, start = lines[i, 0], lines[i, 1], int(lines[i, 2])
        for j in range(gram.shape[1]):
            b = math.sqrt(columns[j])
            e, n, begin = others[j, 0], others[j, 1], int(others[j, 2])
            q = gram[i, j]
            cross = crossing(q, rows[i], columns[j], X[i], Z[j])
            side = 1.0 if q >= 0.0 else -1.0
            y = cross / (a * b + abs(q)) if a * b > 0.0 else 0.0
            v = c * e + side * m * n * a * b * total
            flat = m * n  # E sigma' sigma' at the end, and in two dimensions more
            wide = m * n
            bend = 0.0
            turn = 0.0
            for k in range(start, r):
                s = left[i, 0, k]
                v += (
                    jumps[k]
                    * a
                    * (
                        e * (left[i, 2, k] - s * left[i, 1, k])
                        + side * n * b * (left[i, 3, k] - s * left[i, 2, k])
                    )
                )
                flat += n * jumps[k] * left[i, 1, k]
                wide += n * jumps[k] * left[i, 4, k]
            for h in range(begin, r):
                t = right[j, 0, h]
                v += (
                    jumps[h]
                    * b
                    * (
                        c * (right[j, 2, h] - t * right[j, 1, h])
                        + side * m * a * (right[j, 3, h] - t * right[j, 2, h])
                    )
                )
                flat += m * jumps[h] * right[j, 1, h]
                wide += m * jumps[h] * right[j, 4, h]
            for k in range(start, r):
                s = left[i, 0, k]
                for h in range(begin, r):
                    t = right[j, 0, h]
                    weight = jumps[k] * jumps[h]
                    if side > 0.0:
                        late = right[j, :, h] if t > s else left[i, :, k]
                        v += weight * a * b * (late[3] - (s + t) * late[2] + s * t * late[1])
                        flat += weight * late[1]
                        wide += weight * late[4]
                    elif s < -t:  # between s and -t both bends are seen; tails at -t by symmetry
                        m0 = left[i, 1, k] - (1.0 - right[j, 1, h])
                        m1 = left[i, 2, k] - right[j, 2, h]
                        m2 = left[i, 3, k] - (total - right[j, 3, h])
                        v += weight * a * b * (-m2 + (s - t) * m1 + s * t * m0)
                        flat += weight * m0
                        wide += weight * (left[i, 4, k] - (1.0 - right[j, 4, h]))
                    if y > 0.0:
                        _over_angle(s, side * t, y, dim, rule, sums)
                        bend += weight * sums[0]
                        turn += weight * sums[1]
            drop = a * b * 2.0 * y * y / (1.0 + y * y)  # |x||z| - |x.z|
            value[i, j] = v - side * drop * total * wide + total * a * b / (2.0 * math.pi) * bend
            slopes[i, j] = flat - side * turn / (2.0 * math.pi)

"""E sigma(w.x) sigma(w.z) and E sigma'(w.x) sigma'(w.z), w ~ N(0, I), for ReLU and erf: from a tile of x.z to both.

The angle between x and z comes from sine and cosine together. Where they are near collinear the sine is computed
from the points themselves: from x.z alone it would lose half of its digits, and so would slopes on the diagonal.
"""

from __future__ import annotations

import math

from solvers._floats import fma
from solvers._jit import compiled
from solvers.protocols import Array

# No reassociation: a residual must stay the difference that it is.
_OPTIONS = {"fastmath": {"nsz", "contract"}}
_part = compiled(forceinline=True, **_OPTIONS)

# |cos psi| from which the sine is computed from the points; below, 1 - cos^2 loses less than three bits.
NEAR = 0.81


@_part
def crossing(q, s, t, x, z):
    """|x||z| sin psi from q = x.z, s = |x|^2, t = |z|^2, to a few ulp however small."""
    if q * q <= NEAR * s * t:
        return math.sqrt(s * t - q * q)
    # What is left of z along x by the rounding of c is orthogonal to what is sought, and taken off at the end.
    c = q / s
    square = 0.0
    along = 0.0
    for k in range(x.size):
        r = fma(-c, x[k], z[k])
        square += r * r
        along += r * x[k]
    return math.sqrt(s * max(square - along * along / s, 0.0))


@_part
def sine_less_cosine(phi):
    """sin(phi) - phi cos(phi) without cancellation: sum of (-1)^(k+1) 2k phi^(2k+1)/(2k+1)! below 0.7."""
    if phi > 0.7:
        return math.sin(phi) - phi * math.cos(phi)
    square = phi * phi
    term = phi * square / 3.0
    total = term
    for k in range(2, 11):
        term *= -square * k / ((k - 1.0) * (2.0 * k) * (2.0 * k + 1.0))
        total += term
    return total


@compiled(**_OPTIONS)
def relu_pairs(
    gram: Array, X: Array, Z: Array, rows: Array, columns: Array, slope: float, value: Array, slopes: Array
) -> None:
    """value = (1-s)^2 |x||z|(sin psi + (pi-psi) cos psi)/(2 pi) + s x.z, slopes = (1-s)^2 (pi-psi)/(2 pi) + s.

    Leaky ReLU of negative slope s; `rows`, `columns` hold |x|^2, |z|^2. Cho and Saul, 2009.
    """
    factor = (1.0 - slope) ** 2 / (2.0 * math.pi)
    for i in range(gram.shape[0]):
        for j in range(gram.shape[1]):
            q, s, t = gram[i, j], rows[i], columns[j]
            cross = crossing(q, s, t, X[i], Z[j])
            supplement = math.atan2(cross, -q)
            bend = cross + supplement * q
            if q < 0.0:
                bend = math.sqrt(s) * math.sqrt(t) * sine_less_cosine(supplement)
            value[i, j] = factor * bend + slope * q
            slopes[i, j] = factor * supplement + slope


@compiled(**_OPTIONS)
def erf_pairs(
    gram: Array, X: Array, Z: Array, rows: Array, columns: Array, scale: float, value: Array, slopes: Array
) -> None:
    """value = (2/pi) arcsin(c q/root(ab)), slopes = 2c/(pi root(ab - c^2 q^2)), for erf(scale z).

    With q = x.z, c = 2 scale^2, a = 1 + c|x|^2, b = 1 + c|z|^2. Williams, 1997.
    """
    c = 2.0 * scale * scale
    for i in range(gram.shape[0]):
        for j in range(gram.shape[1]):
            q, s, t = gram[i, j], rows[i], columns[j]
            cross = c * crossing(q, s, t, X[i], Z[j])
            root = math.sqrt(1.0 + c * s + c * t + cross * cross)
            value[i, j] = math.atan2(c * q, root) * (2.0 / math.pi)
            slopes[i, j] = 2.0 * c / (math.pi * root)

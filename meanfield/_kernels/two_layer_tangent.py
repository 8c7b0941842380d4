"""Derivatives of a two-layer network along a direction of its particles: what an implicit method multiplies by.

With z = w_j . x_i + b_j and its change dz along a direction (da, dw, db), one particle contributes
``da sigma(z) + a sigma'(z) dz`` to a prediction. Rows of S, D and E hold sigma(z), sigma'(z) and
``<a_j, q_i> sigma''(z)`` where they were stored; otherwise they are computed again, a particle at a time.

Kinked activations have E = 0: their pattern is held fixed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload_method

from meanfield._kernels.two_layer import BLOCK, preactivation
from solvers._jit import INLINED, kernel


def _curvature_at(self: Any, z: Any, s: Any) -> Any:
    """``plugin.curvature_at(z, s)`` with s = sigma(z): the plug-in's own, or a central difference of its slope."""
    cls = getattr(self, "instance_class", None)
    if hasattr(cls, "curvature_from_value"):
        return lambda self, z, s: self.curvature_from_value(s)
    if hasattr(cls, "curvature"):
        return lambda self, z, s: self.curvature(z)

    def difference(self, z, s):  # type: ignore[no-untyped-def]
        # Truncation h^2/6 sigma'''' and rounding eps sigma'/h, both about 1e-11.
        h = 6e-6 * max(1.0, abs(z))
        return (self.slope(z + h) - self.slope(z - h)) / (2.0 * h)

    return difference


for _type in (types.NamedTuple, types.NamedUniTuple):
    overload_method(_type, "curvature_at", strict=False, jit_options=INLINED)(_curvature_at)


@kernel()
def fill(activation, positions, XT, q, outer, bias, fixed, given, curved, S, D, E, first, last):
    """S = sigma(z), D = sigma'(z), E = <a, q> sigma''(z) (if `curved`) for blocks of particles first .. last - 1.

    With `given`, S holds w . x on entry.
    """
    m, n = S.shape
    outputs = q.shape[0]
    z = np.empty(n)
    for block in range(first, last):
        for j in range(block * BLOCK, min(m, (block + 1) * BLOCK)):
            theta = positions[j]
            s, slope = S[j], D[j]
            if given:
                shift = theta[outer + XT.shape[0]] if bias else 0.0
                for i in range(n):
                    z[i] = s[i] + shift
            else:
                preactivation(theta, outer, bias, XT, z)
            for i in range(n):
                s[i] = activation.value(z[i])
                slope[i] = activation.slope_at(z[i], s[i])
            if curved:
                row = E[j]
                for i in range(n):
                    row[i] = activation.curvature_at(z[i], s[i])
                if outputs == 1:
                    a = theta[0] if outer > 0 else fixed
                    for i in range(n):
                        row[i] *= a * q[0, i]
                else:
                    for i in range(n):
                        total = 0.0
                        for o in range(outputs):
                            total += theta[o] * q[o, i]
                        row[i] *= total


@kernel()
def push(activation, positions, direction, XT, front, back, outer, bias, stored, S, D, partial, first, last):
    """partial[block, o, i] = sum over the block of front_jo sigma(z) + back_jo sigma'(z) dz."""
    outputs, n = partial.shape[1:]
    m = positions.shape[0]
    z = np.empty(n)
    dz = np.empty(n)
    s = np.empty(n)
    slope = np.empty(n)
    for block in range(first, last):
        rows = partial[block]
        rows[:] = 0.0
        for j in range(block * BLOCK, min(m, (block + 1) * BLOCK)):
            preactivation(direction[j], outer, bias, XT, dz)
            if stored:
                s, slope = S[j], D[j]
            else:
                preactivation(positions[j], outer, bias, XT, z)
                for i in range(n):
                    s[i] = activation.value(z[i])
                    slope[i] = activation.slope_at(z[i], s[i])
            for o in range(outputs):
                c, e = front[j, o], back[j, o]
                row = rows[o]
                for i in range(n):
                    row[i] += c * s[i] + e * slope[i] * dz[i]


@kernel()
def pull(
    activation,
    positions,
    direction,
    XT,
    q,
    dq,
    outer,
    bias,
    fixed,
    curved,
    stored,
    S,
    D,
    E,
    values,
    gradient,
    first,
    last,
):
    """values[j] = <dq, Phi(theta_j)>, gradient[j] = grad <dq, Phi> + (Hess <q, Phi>) direction_j; q is (outputs, n)."""
    outputs, n = q.shape
    d = XT.shape[0]
    m = positions.shape[0]
    z = np.empty(n)
    dz = np.empty(n)
    s = np.empty(n)
    slope = np.empty(n)
    bend = np.empty(n)
    c = np.empty(n)
    for block in range(first, last):
        for j in range(block * BLOCK, min(m, (block + 1) * BLOCK)):
            theta, way = positions[j], direction[j]
            preactivation(way, outer, bias, XT, dz)
            if stored:
                s, slope = S[j], D[j]
            else:
                preactivation(theta, outer, bias, XT, z)
                for i in range(n):
                    s[i] = activation.value(z[i])
                    slope[i] = activation.slope_at(z[i], s[i])
            total = 0.0
            for o in range(outputs):
                a = theta[o] if outer > 0 else fixed
                da = way[o] if outer > 0 else 0.0
                row, change = q[o], dq[o]
                inner = 0.0
                for i in range(n):
                    inner += change[i] * s[i]
                total += a * inner
                if outer > 0:
                    for i in range(n):
                        inner += row[i] * slope[i] * dz[i]
                    gradient[j, o] = inner
                if o == 0:
                    for i in range(n):
                        c[i] = a * change[i] + da * row[i]
                else:
                    for i in range(n):
                        c[i] += a * change[i] + da * row[i]
            values[j] = total
            for i in range(n):
                c[i] *= slope[i]
            if curved:
                if stored:
                    bend = E[j]
                    for i in range(n):
                        c[i] += bend[i] * dz[i]
                else:
                    for o in range(outputs):
                        a = theta[o] if outer > 0 else fixed
                        row = q[o]
                        if o == 0:
                            for i in range(n):
                                bend[i] = a * row[i]
                        else:
                            for i in range(n):
                                bend[i] += a * row[i]
                    for i in range(n):
                        c[i] += bend[i] * activation.curvature_at(z[i], s[i]) * dz[i]
            for k in range(d):
                x = XT[k]
                inner = 0.0
                for i in range(n):
                    inner += c[i] * x[i]
                gradient[j, outer + k] = inner
            if bias:
                shift = 0.0
                for i in range(n):
                    shift += c[i]
                gradient[j, outer + d] = shift

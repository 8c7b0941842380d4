"""Derivatives of a two-layer network along a direction of its particles: what an implicit method multiplies by.

With z = w_j . x_i + b_j and its change dz along a direction (da, dw, db), one particle contributes
``da sigma(z) + a sigma'(z) dz`` to a prediction. Rows of S, D and E hold sigma(z), sigma'(z) and
``<a_j, q_i> sigma''(z)``; kinked activations have E = 0: their pattern is held fixed.

Particles come in blocks of fixed size and each block writes its own row of partial predictions, which are summed in
fixed order afterwards: results do not depend on the number of threads, bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload_method

from solvers._jit import INLINED, compiled, kernel

BLOCK = 64
# Inputs up to which dz is cheaper computed than stored; X has this many rows, zeros below.
FEW = 3


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
    d = XT.shape[0]
    outputs = q.shape[0]
    z = np.empty(n)
    for block in range(first, last):
        for j in range(block * BLOCK, min(m, (block + 1) * BLOCK)):
            theta = positions[j]
            s, slope = S[j], D[j]
            shift = theta[outer + d] if bias else 0.0
            if given:
                for i in range(n):
                    z[i] = s[i] + shift
            else:
                z[:] = shift
                for k in range(d):
                    w, x = theta[outer + k], XT[k]
                    for i in range(n):
                        z[i] += w * x[i]
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


@compiled(forceinline=True)
def inner_weights(theta, outer, d, bias):
    """(w_1, w_2, w_3, b) of a neuron of one to three inputs; zeros where it has less."""
    second = theta[outer + 1] if d > 1 else 0.0
    third = theta[outer + 2] if d > 2 else 0.0
    return theta[outer], second, third, theta[outer + d] if bias else 0.0


@kernel()
def push_few(activation, positions, direction, X, front, back, layout, stored, S, D, partial, first, last):
    """partial[block, 0, i] = sum over the block of front_j sigma(z) + back_j sigma'(z) dz; few inputs, one output.

    `layout` is (outer, d, bias, fixed). With `stored`, S and D are read; otherwise they are computed again, which suits
    kinked activations.
    """
    outer, d, bias, _ = layout
    n = partial.shape[2]
    m = positions.shape[0]
    x0, x1, x2 = X[0], X[1], X[2]
    for block in range(first, last):
        row = partial[block, 0]
        row[:] = 0.0
        for j in range(block * BLOCK, min(m, (block + 1) * BLOCK)):
            w0, w1, w2, b = inner_weights(positions[j], outer, d, bias)
            v0, v1, v2, db = inner_weights(direction[j], outer, d, bias)
            c, e = front[j, 0], back[j, 0]
            if stored:
                s, slope = S[j], D[j]
                for i in range(n):
                    dz = db + v0 * x0[i] + v1 * x1[i] + v2 * x2[i]
                    row[i] += c * s[i] + e * slope[i] * dz
            else:
                for i in range(n):
                    z = b + w0 * x0[i] + w1 * x1[i] + w2 * x2[i]
                    dz = db + v0 * x0[i] + v1 * x1[i] + v2 * x2[i]
                    value = activation.value(z)
                    row[i] += c * value + e * activation.slope_at(z, value) * dz


@kernel()
def pull_few(
    activation, positions, direction, X, q, dq, layout, curved, stored, S, D, E, values, gradient, first, last
):
    """values[j] = <dq, Phi(theta_j)>, gradient[j] = grad <dq, Phi> + (Hess <q, Phi>) direction_j; q and dq are (1, n).

    `layout` is (outer, d, bias, fixed). Without `stored` the activation is taken to be kinked.
    """
    outer, d, bias, fixed = layout
    n = q.shape[1]
    m = positions.shape[0]
    x0, x1, x2 = X[0], X[1], X[2]
    front, change = q[0], dq[0]
    bend = np.zeros(n)
    for j in range(first * BLOCK, min(m, last * BLOCK)):
        w0, w1, w2, b = inner_weights(positions[j], outer, d, bias)
        v0, v1, v2, db = inner_weights(direction[j], outer, d, bias)
        a = positions[j, 0] if outer > 0 else fixed
        da = direction[j, 0] if outer > 0 else 0.0
        inner = turn = g0 = g1 = g2 = shift = 0.0
        if stored:
            s, slope = S[j], D[j]
            if curved:
                bend = E[j]
            for i in range(n):
                dz = db + v0 * x0[i] + v1 * x1[i] + v2 * x2[i]
                inner += change[i] * s[i]
                turn += front[i] * slope[i] * dz
                c = slope[i] * (a * change[i] + da * front[i]) + bend[i] * dz
                g0 += c * x0[i]
                g1 += c * x1[i]
                g2 += c * x2[i]
                shift += c
        else:
            for i in range(n):
                z = b + w0 * x0[i] + w1 * x1[i] + w2 * x2[i]
                dz = db + v0 * x0[i] + v1 * x1[i] + v2 * x2[i]
                value = activation.value(z)
                tilt = activation.slope_at(z, value)
                inner += change[i] * value
                turn += front[i] * tilt * dz
                c = tilt * (a * change[i] + da * front[i])
                g0 += c * x0[i]
                g1 += c * x1[i]
                g2 += c * x2[i]
                shift += c
        values[j] = a * inner
        if outer > 0:
            gradient[j, 0] = inner + turn
        gradient[j, outer] = g0
        if d > 1:
            gradient[j, outer + 1] = g1
        if d > 2:
            gradient[j, outer + 2] = g2
        if bias:
            gradient[j, outer + d] = shift


@compiled()
def push(direction, XT, front, back, outer, bias, S, D, change, partial, first, last):
    """partial[block, o, i] = sum over the block of front_jo sigma(z) + back_jo sigma'(z) dz; `change` is set to dz.

    Products through BLAS: call it under `one_blas_thread`.
    """
    outputs, n = partial.shape[1:]
    m = direction.shape[0]
    d = XT.shape[0]
    inner_part = np.empty((BLOCK, d))
    for block in range(first, last):
        low = block * BLOCK
        high = min(m, low + BLOCK)
        rows = partial[block]
        rows[:] = 0.0
        for j in range(low, high):
            for k in range(d):
                inner_part[j - low, k] = direction[j, outer + k]
        np.dot(inner_part[: high - low], XT, change[low:high])
        for j in range(low, high):
            s, slope, dz = S[j], D[j], change[j]
            shift = direction[j, outer + d] if bias else 0.0
            for i in range(n):
                dz[i] += shift
            for o in range(outputs):
                c, e = front[j, o], back[j, o]
                row = rows[o]
                for i in range(n):
                    row[i] += c * s[i] + e * slope[i] * dz[i]


@compiled()
def pull(
    positions, direction, X, q, dq, outer, bias, fixed, curved, S, D, E, change, values, gradient, first, last
):
    """What `pull_few` computes, from `change` = dz, for any number of inputs and outputs; q and dq are (outputs, n)."""
    outputs, n = q.shape
    d = X.shape[1]
    m = positions.shape[0]
    store, inner_part = np.empty((BLOCK, n)), np.empty((BLOCK, d))
    for block in range(first, last):
        low = block * BLOCK
        high = min(m, low + BLOCK)
        for j in range(low, high):
            theta, way = positions[j], direction[j]
            s, slope, dz, c = S[j], D[j], change[j], store[j - low]
            c[:] = 0.0
            total = 0.0
            for o in range(outputs):
                a = theta[o] if outer > 0 else fixed
                da = way[o] if outer > 0 else 0.0
                front, move = q[o], dq[o]
                inner = 0.0
                turn = 0.0
                for i in range(n):
                    inner += move[i] * s[i]
                    turn += front[i] * slope[i] * dz[i]
                    c[i] += slope[i] * (a * move[i] + da * front[i])
                total += a * inner
                if outer > 0:
                    gradient[j, o] = inner + turn
            values[j] = total
            if curved:
                bend = E[j]
                for i in range(n):
                    c[i] += bend[i] * dz[i]
            if bias:
                shift = 0.0
                for i in range(n):
                    shift += c[i]
                gradient[j, outer + d] = shift
        # Through an array of its own, and loops: assigning to a slice costs the compiler seconds.
        np.dot(store[: high - low], X, inner_part[: high - low])
        for j in range(low, high):
            for k in range(d):
                gradient[j, outer + k] = inner_part[j - low, k]


@compiled()
def jacobian(S, D, a, factor, XT, outer, bias, out):
    """out[j, :, i * outputs + o] = factor_j times the gradient of prediction o of particle j at datum i."""
    m, n = S.shape
    d = XT.shape[0]
    outputs = a.shape[1]
    slope = np.empty(n)
    for j in range(m):
        rows = out[j]
        if outputs > 1:
            rows[:outer] = 0.0
        for o in range(outer):
            row = rows[o]
            for i in range(n):
                row[i * outputs + o] = factor[j] * S[j, i]
        for o in range(outputs):
            for i in range(n):
                slope[i] = factor[j] * a[j, o] * D[j, i]
            for k in range(d):
                row, x = rows[outer + k], XT[k]
                for i in range(n):
                    row[i * outputs + o] = slope[i] * x[i]
            if bias:
                row = rows[outer + d]
                for i in range(n):
                    row[i * outputs + o] = slope[i]

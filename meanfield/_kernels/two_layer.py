"""Two-layer networks, strategy for few inputs: loops over particles, vectorized over data.

Particles are taken in blocks of fixed size; each block writes its own row of partial predictions, which are
summed in fixed order afterwards. Results therefore do not depend on the number of threads, bit for bit.

Rows of `positions` are theta = (a_1 .. a_k, w_1 .. w_d, b); with a fixed outer weight there is no a.
"""

from __future__ import annotations

import numpy as np

from solvers._jit import compiled, kernel

BLOCK = 64


@compiled(forceinline=True)
def preactivation(theta, first, bias, XT, z):
    """z_i = w . x_i + b for one particle; up to three inputs in one pass over the data."""
    d, n = XT.shape
    shift = theta[first + d] if bias else 0.0
    if d == 1:
        w0 = theta[first]
        for i in range(n):
            z[i] = shift + w0 * XT[0, i]
    elif d == 2:
        w0, w1 = theta[first], theta[first + 1]
        for i in range(n):
            z[i] = shift + w0 * XT[0, i] + w1 * XT[1, i]
    elif d == 3:
        w0, w1, w2 = theta[first], theta[first + 1], theta[first + 2]
        for i in range(n):
            z[i] = shift + w0 * XT[0, i] + w1 * XT[1, i] + w2 * XT[2, i]
    else:
        z[:] = shift
        for k in range(d):
            w = theta[first + k]
            for i in range(n):
                z[i] += w * XT[k, i]


@kernel()
def integrate(activation, positions, coefficients, XT, outer, bias, fixed, partial, first, last):
    """partial[block, o, i] = sum over the block of c_j a_jo sigma(w_j . x_i + b_j), for blocks first .. last - 1."""
    outputs, n = partial.shape[1:]
    m = positions.shape[0]
    s = np.empty(n)
    for block in range(first, last):
        rows = partial[block]
        rows[:] = 0.0
        for j in range(block * BLOCK, min(m, (block + 1) * BLOCK)):
            theta = positions[j]
            preactivation(theta, outer, bias, XT, s)
            for i in range(n):
                s[i] = activation.value(s[i])
            for o in range(outputs):
                c = coefficients[j] * (theta[o] if outer > 0 else fixed)
                row = rows[o]
                for i in range(n):
                    row[i] += c * s[i]


@kernel()
def pullback(activation, positions, XT, q, outer, bias, fixed, values, gradient, first, last):
    """values[j] = <q, Phi(theta_j)>, gradient[j] its gradient in theta_j; q is (outputs, n); blocks as above."""
    outputs, n = q.shape
    d = XT.shape[0]
    m = positions.shape[0]
    z = np.empty(n)
    s = np.empty(n)
    slope = np.empty(n)
    c = np.empty(n)
    for block in range(first, last):
        for j in range(block * BLOCK, min(m, (block + 1) * BLOCK)):
            theta = positions[j]
            preactivation(theta, outer, bias, XT, z)
            # Value and slope in one loop: what they share (a tanh, an exponential) is computed once.
            for i in range(n):
                s[i] = activation.value(z[i])
                slope[i] = activation.slope_at(z[i], s[i])
            total = 0.0
            for o in range(outputs):
                a = theta[o] if outer > 0 else fixed
                row = q[o]
                inner = 0.0
                for i in range(n):
                    inner += row[i] * s[i]
                if outer > 0:
                    gradient[j, o] = inner
                total += a * inner
                if o == 0:
                    for i in range(n):
                        c[i] = a * row[i]
                else:
                    for i in range(n):
                        c[i] += a * row[i]
            values[j] = total
            for i in range(n):
                c[i] *= slope[i]
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


@kernel()
def activate(activation, z, value):
    """value = sigma(z), elementwise over flat arrays (in place allowed)."""
    for i in range(z.size):
        value[i] = activation.value(z[i])


@kernel()
def activate_slope(activation, z, value, slope):
    """value = sigma(z) and slope = sigma'(z), elementwise over flat arrays."""
    for i in range(z.size):
        value[i] = activation.value(z[i])
        slope[i] = activation.slope(z[i])

"""Two-layer networks, strategy for many inputs: blocks of particles through BLAS, activations fused between.

Numba's ``np.dot`` calls the BLAS of SciPy; on several of our threads it must run on one of its own (50 times slower
otherwise, and its sums would depend on the number of threads): call these under `solvers._threads.one_blas_thread`.
"""

from __future__ import annotations

import numpy as np

from solvers._jit import kernel

BLOCK = 128


@kernel()
def integrate(activation, positions, coefficients, XT, outer, bias, fixed, partial, first, last):
    """partial[block, o, i] = sum over the block of c_j a_jo sigma(w_j . x_i + b_j), for blocks first .. last - 1."""
    outputs, n = partial.shape[1:]
    m = positions.shape[0]
    d = XT.shape[0]
    for block in range(first, last):
        low = block * BLOCK
        high = min(m, low + BLOCK)
        weights = np.ascontiguousarray(positions[low:high, outer : outer + d])
        z = np.dot(weights, XT)
        front = np.empty((outputs, high - low))
        for j in range(high - low):
            theta = positions[low + j]
            shift = theta[outer + d] if bias else 0.0
            for i in range(n):
                z[j, i] = activation.value(z[j, i] + shift)
            for o in range(outputs):
                front[o, j] = coefficients[low + j] * (theta[o] if outer > 0 else fixed)
        partial[block] = np.dot(front, z)


@kernel()
def pullback(activation, positions, X, XT, q, outer, bias, fixed, values, gradient, first, last):
    """values[j] = <q, Phi(theta_j)>, gradient[j] its gradient in theta_j; q is (outputs, n); blocks as above."""
    outputs, n = q.shape
    d = XT.shape[0]
    m = positions.shape[0]
    for block in range(first, last):
        low = block * BLOCK
        high = min(m, low + BLOCK)
        weights = np.ascontiguousarray(positions[low:high, outer : outer + d])
        z = np.dot(weights, XT)
        c = np.empty((high - low, n))
        s = np.empty(n)
        slope = np.empty(n)
        for j in range(high - low):
            theta = positions[low + j]
            shift = theta[outer + d] if bias else 0.0
            # Value and slope in one loop: what they share (a tanh, an exponential) is computed once.
            for i in range(n):
                s[i] = activation.value(z[j, i] + shift)
                slope[i] = activation.slope_at(z[j, i] + shift, s[i])
            total = 0.0
            for o in range(outputs):
                a = theta[o] if outer > 0 else fixed
                inner = 0.0
                for i in range(n):
                    inner += q[o, i] * s[i]
                if outer > 0:
                    gradient[low + j, o] = inner
                total += a * inner
                if o == 0:
                    for i in range(n):
                        c[j, i] = a * q[o, i]
                else:
                    for i in range(n):
                        c[j, i] += a * q[o, i]
            values[low + j] = total
            for i in range(n):
                c[j, i] *= slope[i]
            if bias:
                slope_sum = 0.0
                for i in range(n):
                    slope_sum += c[j, i]
                gradient[low + j, outer + d] = slope_sum
        gradient[low:high, outer : outer + d] = np.dot(c, X)

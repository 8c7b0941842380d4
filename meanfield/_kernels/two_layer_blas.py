"""Two-layer networks, strategy for many inputs: blocks of particles through BLAS, activations fused between.

Numba's ``np.dot`` calls the BLAS of SciPy; on several of our threads it must run on one of its own (50 times slower
otherwise, and its sums would depend on the number of threads): call these under `solvers._threads.one_blas_thread`.

Arguments are those of tiled.py, so that `choose` calls one like the other.
"""

from __future__ import annotations

import numpy as np

from meanfield._kernels import methods  # noqa: F401  (teaches compiled code the methods that are called here)
from solvers._jit import inlined, kernel

BLOCK = 128


@inlined()
def preactivations(positions, XT, outer, bias, low, high, z):
    """z[j - low, i] = w_j . x_i + b_j."""
    d = XT.shape[0]
    np.dot(np.ascontiguousarray(positions[low:high, outer : outer + d]), XT, z)
    if bias:
        for j in range(high - low):
            shift = positions[low + j, outer + d]
            row = z[j]
            for i in range(row.size):
                row[i] += shift


@kernel()
def integrate(activation, positions, coefficients, XT, like, outer, bias, fixed, kept, partial, first, last):
    """partial[block, o, i] = sum over the block of c_j a_jo sigma(w_j . x_i + b_j), for blocks first .. last - 1."""
    outputs, n = partial.shape[1:]
    m = positions.shape[0]
    scratch = np.empty((min(BLOCK, m), n), XT.dtype)
    for number in range(first, last):
        low = number * BLOCK
        high = min(m, low + BLOCK)
        s = scratch[: high - low]
        z = s if kept is None else kept[low:high]
        preactivations(positions, XT, outer, bias, low, high, z)
        front = np.empty((outputs, high - low), XT.dtype)
        for j in range(high - low):
            z_j, s_j = z[j], s[j]
            for i in range(n):
                value = activation.value(z_j[i])
                if kept is not None:
                    z_j[i] = activation.kept(z_j[i], value)
                s_j[i] = value
            for o in range(outputs):
                front[o, j] = coefficients[low + j] * (positions[low + j, o] if outer > 0 else fixed)
        np.dot(front, s, partial[number])


@kernel()
def pullback(
    activation, positions, XT, q, like, few, outer, bias, fixed, degree, kept, values, gradient, first, last
):
    """values[j] = <q, Phi(theta_j)>, gradient[j] its gradient in theta_j; q is (k, n); blocks as above."""
    outputs, n = q.shape
    d = XT.shape[0]
    m = positions.shape[0]
    scratch = np.empty((min(BLOCK, m), n), XT.dtype)
    back = np.empty((min(BLOCK, m), n), XT.dtype)
    for number in range(first, last):
        low = number * BLOCK
        high = min(m, low + BLOCK)
        s, e = scratch[: high - low], back[: high - low]
        z = s if kept is None else kept[low:high]
        if kept is None:
            preactivations(positions, XT, outer, bias, low, high, z)
        if few is not None:
            np.dot(np.ascontiguousarray(positions[low:high, :outputs]), q, e)
        for j in range(high - low):
            z_j, s_j, e_j, r = z[j], s[j], e[j], q[0]
            shift = like[0]
            for i in range(n):
                u = r[i] if few is None else e_j[i]
                if degree is not None:
                    c = activation.pulled(z_j[i], u)
                elif kept is None:
                    value = activation.value(z_j[i])
                    c = u * activation.slope_at(z_j[i], value)
                    s_j[i] = value
                else:
                    c = u * activation.slope_kept(z_j[i])
                    s_j[i] = activation.value_kept(z_j[i])
                e_j[i] = c
                shift += c
            if bias:
                gradient[low + j, outer + d] = shift
        inner = np.dot(e, XT.T)
        fronts = np.empty((high - low, outputs), XT.dtype)
        if degree is None:
            np.dot(s, q.T, fronts)
        for j in range(high - low):
            theta, row = positions[low + j], gradient[low + j]
            # with one output the outer weight is a factor of the whole, with several it is in u
            a = theta[0] if outer > 0 else fixed
            if degree is not None:
                product = like[0]
                for k in range(d):
                    product += theta[outer + k] * inner[j, k]
                if bias:
                    product += theta[outer + d] * row[outer + d]
                fronts[j, 0] = product / degree
            if few is not None:
                a = like[0] + 1
            total = like[0]
            for o in range(outer):
                row[o] = fronts[j, o]
                total += theta[o] * fronts[j, o]
            values[low + j] = total if outer > 0 else a * fronts[j, 0]
            for k in range(d):
                row[outer + k] = a * inner[j, k]
            if bias:
                row[outer + d] *= a

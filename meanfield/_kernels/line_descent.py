"""Gradient descent on a line: Euler steps of `relu_line` one after another, without Python between them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from meanfield._kernels.line_loops import (
    CHUNK,
    accumulate,
    add_up,
    gather,
    locate,
    scatter,
    search,
    strict,
    tabulate,
)
from solvers._jit import inlined, kernel
from solvers.protocols import Array


class Rule(NamedTuple):
    """``v_j = -rate (s_j sum_i q_i grad Phi(theta_j; x_i) + grad V(theta_j))``, ``q = scale R'(scale (raw - centre))``.

    Arrays of the size of the predictions are flat, output by output: entry ``o n + i``.
    """

    loss: Any  # with ``fill(f, y, w, out)``
    regularizer: Any  # with ``push(theta, out)``
    y: Array  # (k n,)
    w: Array  # (k n,), as the loss takes them
    centre: Array  # (k n,)
    scale: float
    rate: Array  # (p,)
    signs: Array  # (m,), or (0,) where all are 1


@strict
def blend(f, centre, scale):
    """f = scale (f - centre), in place."""
    for i in range(f.size):
        f[i] = scale * (f[i] - centre[i])


@strict
def stretch(q, scale):
    """q = scale q, in place."""
    for i in range(q.size):
        q[i] *= scale


@strict
def moved(coordinate, slope, penalty, rate, step):
    """coordinate + step (-rate (slope + penalty))."""
    return coordinate + step * (-(slope + penalty) * rate)


@strict
def slide(line, positions, penalty, signs, masses, rate, step, keys, row, differences, low, high):
    """`gather`, `shift`, `locate` and `scatter` in one loop, for one output of a ReLU: numbers stay in registers."""
    x, rises, falls, stride, outer, bias = line.x, line.rises, line.falls, line.stride, line.outer, line.bias
    fixed, plus = line.fixed, line.plus
    rate_a, rate_w, rate_b = rate[0], rate[outer], rate[outer + 1 if bias else outer]
    for j in range(low, high):
        key = np.int64(keys[j])
        a = positions[j, 0] if outer > 0 else fixed
        w = positions[j, outer]
        b = positions[j, outer + 1] if bias else 0.0
        width = abs(w)
        g0, g1 = plus * row[key, 0], plus * row[key, 1]
        slope_a = plus * (width * row[key, 2] + (width * x[key] + b) * row[key, 0])
        slope_w, slope_b = a * g1, a * g0
        if signs.size > 0:
            slope_a *= signs[j]
            slope_w *= signs[j]
            slope_b *= signs[j]
        if outer > 0:
            a = moved(a, slope_a, penalty[j - low, 0], rate_a, step)
            positions[j, 0] = a
        w = moved(w, slope_w, penalty[j - low, outer], rate_w, step)
        positions[j, outer] = w
        if bias:
            b = moved(b, slope_b, penalty[j - low, outer + 1], rate_b, step)
            positions[j, outer + 1] = b
        width = abs(w)
        side = (w < 0.0) == (key > stride)
        enters = width * rises[key] + b > 0.0
        before = width * falls[key] + b > 0.0
        if not (side & enters & (not before)):
            start = stride + 1 if w < 0.0 else 1
            key = start + search(x, start, stride - 2, width, b, key - start, False)
            keys[j] = key
        c = plus * (masses[j] * a)
        differences[key, 0] += c * width
        differences[key, 1] += c * (width * x[key] + b)


@inlined()
def answer(rule, line, partial, table):
    """From the blocks' differences to the table: predictions, residual, suffix sums."""
    f, q = np.empty(rule.y.size), np.empty(rule.y.size)
    add_up(partial)
    accumulate(line, partial[0], f)
    blend(f, rule.centre, rule.scale)
    rule.loss.fill(f, rule.y, rule.w, q)
    stretch(q, rule.scale)
    tabulate(line, q, table)


@strict
def shift(positions, gradient, penalty, signs, rate, step, low, high):
    """Move particles low .. high - 1."""
    for j in range(low, high):
        for c in range(rate.size):
            slope = gradient[j - low, c]
            if signs.size > 0:
                slope *= signs[j]
            positions[j, c] = moved(positions[j, c], slope, penalty[j - low, c], rate[c], step)


@inlined()
def push(rule, line, positions, coefficients, keys, partial, table, size, step, first, last):
    """Move the particles of blocks first .. last - 1 and count them into the next predictions."""
    m, p = positions.shape
    simple = line.outputs == 1 and line.minus == 0.0 and line.zero == 0.0
    values, gradient, penalty = np.empty(CHUNK), np.empty((CHUNK, p)), np.empty((CHUNK, p))
    for block in range(first, last):
        partial[block] = 0.0
        for low in range(block * size, min(m, (block + 1) * size), CHUNK):
            high = min(m, (block + 1) * size, low + CHUNK)
            # The penalty is summed apart, lest its product be fused with the gradient's sum into other bits.
            penalty[:] = 0.0
            for j in range(low, high):
                rule.regularizer.push(positions[j], penalty[j - low])
            if simple:
                row, sums = partial[block, 0], table[0]
                slide(
                    line,
                    positions,
                    penalty,
                    rule.signs,
                    coefficients,
                    rule.rate,
                    step,
                    keys,
                    sums,
                    row,
                    low,
                    high,
                )
            else:
                gather(line, positions, keys, table, values, gradient, low, high)
                shift(positions, gradient, penalty, rule.signs, rule.rate, step, low, high)
                locate(line, positions, keys, keys, low, high)
                scatter(line, positions, coefficients, keys, partial[block], low, high)


@kernel()
def answer_once(rule, line, partial, table):
    """`answer`, between steps whose particles are shared among threads."""
    answer(rule, line, partial, table)


@kernel()
def push_once(rule, line, positions, coefficients, keys, partial, table, size, step, first, last):
    """`push`, on one of several threads."""
    push(rule, line, positions, coefficients, keys, partial, table, size, step, first, last)


@kernel()
def descend(rule, line, positions, coefficients, keys, partial, table, size, step, steps):
    """Euler steps in place; `partial` holds the differences of `positions`, located at `keys`, before and after."""
    blocks = (positions.shape[0] + size - 1) // size
    for _ in range(steps):
        answer(rule, line, partial, table)
        push(rule, line, positions, coefficients, keys, partial, table, size, step, 0, blocks)

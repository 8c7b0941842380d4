"""Gradient descent on a line: Euler steps of `relu_line` one after another, without Python between them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from meanfield._kernels.line_loops import CHUNK, accumulate, add_up, gather, locate, scatter, strict, tabulate
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
def sign(signs, gradient, first, last):
    """gradient[j - first] times the particle's sign."""
    for j in range(first, last):
        for c in range(gradient.shape[1]):
            gradient[j - first, c] *= signs[j]


@strict
def move(points, gradient, penalty, rate, step):
    """points += step (-rate (gradient + penalty)), over flat arrays."""
    for i in range(points.size):
        points[i] += step * (-(gradient[i] + penalty[i]) * rate[i])


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


@inlined()
def push(rule, line, positions, coefficients, keys, partial, table, size, step, first, last):
    """Move the particles of blocks first .. last - 1 and count them into the next predictions."""
    m, p = positions.shape
    flat = positions.reshape(-1)
    values, gradient, penalty, rate = (
        np.empty(CHUNK),
        np.empty((CHUNK, p)),
        np.empty((CHUNK, p)),
        np.empty((CHUNK, p)),
    )
    rate[:] = rule.rate
    for block in range(first, last):
        partial[block] = 0.0
        for low in range(block * size, min(m, (block + 1) * size), CHUNK):
            high = min(m, (block + 1) * size, low + CHUNK)
            gather(line, positions, keys, table, values, gradient, low, high)
            if rule.signs.size > 0:
                sign(rule.signs, gradient, low, high)
            # The penalty is summed apart, lest its product be fused with the gradient's sum into other bits.
            penalty[:] = 0.0
            for j in range(low, high):
                rule.regularizer.push(positions[j], penalty[j - low])
            move(flat[low * p : high * p], gradient.reshape(-1), penalty.reshape(-1), rate.reshape(-1), step)
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

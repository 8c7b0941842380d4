"""Two-layer networks of one input with a kink at 0 (ReLU, leaky ReLU): exact, in O(n + m) a step instead of O(n m).

On sorted data a neuron is active on a half-line. It enters the predictions at one datum, with a value and a slope, and
is carried on from there: predictions are prefix sums over the data, and pull-backs are looked up in suffix sums of q,
q x and q (x - x_r). Neurons with w < 0 see the data mirrored (-x, in reverse order), so that every half-line points to
the right and |w| >= 0.

A neuron's rank is the first datum where ``w x + b > 0`` *as rounded*. Rounding is monotone, so the active set is the
one that a loop over all pairs finds, to the last datum. Ranks of an earlier call are a guess: they are kept where the
sign changes there, which only the true rank passes; results never depend on them.

Nothing is subtracted that was added before: a neuron's value enters as ``w x_r + b`` and grows by terms of one sign. So
the error in f(x) is a few ulp of ``sum_j |c_j a_j| (sigma(z_j) + |w_j x|)``, as that of a loop over all pairs, however
far from 0 or from each other the data are.

Numbers that are not finite show: in every prediction from the neuron's rank on, in all where it is active nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from meanfield._kernels import line_descent, line_loops
from meanfield._kernels.line_descent import Rule
from solvers._threads import for_blocks
from solvers.protocols import Array

# Particles that share an array of differences: at least so many, and so many times n, since clearing and adding up
# these arrays is to cost less than the particles do.
BLOCK, BLOCKS_OF_DATA = 1024, 4
# Particles below which starting threads costs more than they save. Sizes alone decide.
PARALLEL_FROM = 50_000


class Line(NamedTuple):
    """Sorted data and the network's constants, as compiled code wants them.

    The datum of rank r = 0 .. n - 1 has key r + 1; mirrored, key ``stride + r + 1``. A neuron's key is that of the
    first datum where it is active, or one past the last. The neuron (-w, -b) has ``2 stride - key``.
    """

    x: Array  # (2 stride,); 0 at keys that are no datum
    lower: Array  # (2 stride,): the x of one key less
    rises: Array  # as x, but infinity past the last datum: there every neuron's sign has changed
    falls: Array  # as lower, but minus infinity before the first
    place: Array  # (2 stride,): where the datum stood before sorting
    stride: int  # n + 2
    outputs: int
    outer: int
    bias: bool
    fixed: float
    plus: float  # sigma'(z) for z > 0, z < 0, z = 0
    minus: float
    zero: float


def slopes(activation: Any) -> tuple[float, float, float] | None:
    """sigma'(z) for z > 0, z < 0 and z = 0 of an activation with two slopes and nothing else, None for others."""
    if getattr(activation, "degree", None) != 1:
        return None
    plus, minus, zero = (float(activation.slope(z)) for z in (1.0, -1.0, 0.0))
    # sigma(c z) = c sigma(z) leaves only sigma(1) and sigma(-1) free; a user's `degree` is taken at its word no further
    points = ((2.0, 2.0 * plus), (0.5, 0.5 * plus), (0.0, 0.0), (-0.5, -0.5 * minus), (-2.0, -2.0 * minus))
    straight = all(float(activation.value(z)) == value for z, value in points)
    return (plus, minus, zero) if straight else None


class ReLUOnLine:
    """``(int Phi dmu)(x_i)`` and its pull-back for ``Phi = a sigma(w x + b)`` on fixed inputs of one dimension.

    Safe to call from several threads: nothing is changed but the guesses of the next call, replaced as a whole.

    Parameters
    ----------
    activation : plug-in
        With two slopes (`slopes`): ReLU, leaky ReLU, the identity.
    X : ndarray, (n, 1)
    outputs : int
        Number of predictions a point.
    fixed : float or None
        The outer weight, where it is not part of theta.
    bias : bool
    """

    def __init__(self, activation: Any, X: Array, outputs: int, fixed: float | None, bias: bool) -> None:
        found = slopes(activation)
        if found is None or X.shape[1] != 1:
            raise ValueError("ReLUOnLine needs one input and an activation with two slopes")
        n = X.shape[0]
        stride = n + 2
        order = np.argsort(X[:, 0], kind="stable")
        shifted = np.zeros(2 * stride + 1)
        place = np.zeros(2 * stride, dtype=np.uint32)
        for start, sign, ranks in ((1, 1.0, order), (stride + 1, -1.0, order[::-1])):
            shifted[1 + start : 1 + start + n] = sign * X[ranks, 0]
            place[start : start + n] = ranks
        x, lower = shifted[1:].copy(), shifted[:-1].copy()
        rises, falls = x.copy(), lower.copy()
        rises[[n + 1, stride + n + 1]] = np.inf
        falls[[1, stride + 1]] = -np.inf
        outer = 0 if fixed is not None else outputs
        layout = (stride, outputs, outer, bool(bias), 0.0 if fixed is None else float(fixed))
        self.line = Line(x, lower, rises, falls, place, *layout, *found)
        self._guesses = np.empty(0, dtype=np.uint32)
        # Tables that nobody uses now: taking one and giving it back are atomic.
        self._spare: list[Array] = []

    def _guess(self, m: int) -> tuple[Array, Array]:
        """Where particles may be, and an array for where they are."""
        guesses = self._guesses
        return guesses if guesses.size == m else np.ones(m, dtype=np.uint32), np.empty(m, dtype=np.uint32)

    def _partial(self, m: int) -> tuple[Array, int, int]:
        """An array for the differences, one row a block of particles; size and number of the blocks."""
        # By n and m alone, so that sums do not depend on the number of threads.
        size = max(BLOCK, BLOCKS_OF_DATA * (self.line.stride - 2))
        blocks = max(1, -(-m // size))
        return np.empty((blocks, self.line.outputs, 2 * self.line.stride, 2)), size, blocks

    def _table(self) -> Array:
        """An array for `line_loops.tabulate` that nobody uses; give it back to `_spare`."""
        try:
            return self._spare.pop()
        except IndexError:
            return np.zeros((self.line.outputs, 2 * self.line.stride, 3))

    def _deposit(self, points: Array, masses: Array, guesses: Array, keys: Array) -> tuple[Array, int, int]:
        """The differences of all blocks (and the particles' keys on the way); size and number of the blocks."""
        partial, size, blocks = self._partial(points.shape[0])

        def work(first: int, last: int) -> None:
            line_loops.deposit(self.line, points, masses, guesses, keys, partial, size, first, last)

        for_blocks(work, blocks, points.shape[0] >= PARALLEL_FROM)
        return partial, size, blocks

    def _predict(self, points: Array, masses: Array, guesses: Array, keys: Array) -> Array:
        k = self.line.outputs
        f = np.empty(k * (self.line.stride - 2))
        line_loops.predict(self.line, self._deposit(points, masses, guesses, keys)[0], f)
        return f if k == 1 else np.ascontiguousarray(f.reshape(k, -1).T)

    def _collect(self, points: Array, q: Array, guesses: Array, keys: Array) -> tuple[Array, Array]:
        m, p = points.shape
        values, gradient = np.empty(m), np.empty((m, p))
        table = self._table()
        line_loops.prepare(self.line, np.ascontiguousarray(q.T).reshape(-1), table)

        def work(first: int, last: int) -> None:
            line_loops.collect(self.line, points, guesses, keys, table, values, gradient, first, last)

        for_blocks(work, -(-m // line_loops.CHUNK), m >= PARALLEL_FROM)
        self._spare.append(table)
        return values, gradient

    def integrate(self, positions: Array, coefficients: Array) -> Array:
        """``sum_j c_j Phi(theta_j; x_i)``: (n,), or (n, k) with k outputs."""
        guesses, keys = self._guess(positions.shape[0])
        points, masses = np.ascontiguousarray(positions), np.ascontiguousarray(coefficients)
        f = self._predict(points, masses, guesses, keys)
        self._guesses = keys
        return f

    def pullback(self, positions: Array, q: Array) -> tuple[Array, Array]:
        """``<q, Phi(theta_j)>`` (m,) and its gradient in theta_j (m, p), for q (n,) or (n, k)."""
        guesses, keys = self._guess(positions.shape[0])
        result = self._collect(np.ascontiguousarray(positions), q, guesses, keys)
        self._guesses = keys
        return result

    def evaluate(
        self, positions: Array, coefficients: Array, respond: Callable[[Array], Array]
    ) -> tuple[Array, Array]:
        """``raw = integrate(...)`` and the gradient of ``pullback`` at ``respond(raw)``; ranks are found once.

        Parameters
        ----------
        positions : ndarray, (m, p)
        coefficients : ndarray, (m,)
        respond : callable
            Maps raw predictions, (n,) or (n, k), to q of their shape.
        """
        guesses, keys = self._guess(positions.shape[0])
        points, masses = np.ascontiguousarray(positions), np.ascontiguousarray(coefficients)
        raw = self._predict(points, masses, guesses, keys)
        gradient = self._collect(points, np.asarray(respond(raw)), keys[:0], keys)[1]
        self._guesses = keys
        return raw, gradient

    def descend(self, positions: Array, coefficients: Array, rule: Rule, step: float, steps: int) -> None:
        """``steps`` Euler steps ``theta_j += step v_j`` in place, v_j of `Rule`, in compiled code.

        However a run is cut into calls, it ends in the same bits.

        Parameters
        ----------
        positions : ndarray, (m, p), C-contiguous
        coefficients : ndarray, (m,)
        rule : Rule
        step : float
        steps : int
        """
        m = positions.shape[0]
        guesses, keys = self._guess(m)
        masses, table = np.ascontiguousarray(coefficients), self._table()
        partial, size, blocks = self._deposit(positions, masses, guesses, keys)
        state = (positions, masses, keys, partial, table, size, step)
        if m < PARALLEL_FROM:
            line_descent.descend(rule, self.line, *state, steps)
        else:

            def work(first: int, last: int) -> None:
                line_descent.push_once(rule, self.line, *state, first, last)

            for _ in range(steps):
                line_descent.answer_once(rule, self.line, partial, table)
                for_blocks(work, blocks, True)
        self._guesses = keys
        self._spare.append(table)

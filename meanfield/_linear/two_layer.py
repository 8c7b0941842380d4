"""A two-layer network near one measure: directional derivatives by the strategy that suits the sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from meanfield._kernels import two_layer_tangent
from meanfield._kernels.two_layer import BLOCK
from solvers._threads import for_blocks, one_blas_thread
from solvers.protocols import Array

# Bytes up to which sigma, sigma' and sigma'' of all pairs are kept: twenty products or more read them.
STORE_BYTES = 64_000_000
# Inputs from which products with BLAS beat loops.
BLAS_FROM_INPUTS = 9
# Pairs (particle, datum) below which starting threads costs more than they save.
PARALLEL_FROM_PAIRS = 200_000
# Pairs in one piece of work with BLAS: the temporary arrays of a piece stay in the cache.
PIECE_PAIRS = 65_536


class TwoLayerNear:
    """``Phi = a sigma(w . x + b)`` near particles theta_j: its derivatives along directions, paired with data.

    Parameters
    ----------
    operator : TwoLayerOnData
        Network and inputs.
    positions : ndarray, (m, p)
    coefficients : ndarray, (m,)
        c_j of ``int Phi dmu = sum_j c_j Phi(theta_j)``.
    q : ndarray, (n,) or (n, k)
        What second derivatives are paired with.
    """

    def __init__(self, operator: Any, positions: Array, coefficients: Array, q: Array) -> None:
        self.operator = operator
        self.positions = np.ascontiguousarray(positions)
        self.coefficients = coefficients
        self.outer, self.outputs = operator.outer, operator.outputs
        self.q = self._rows(q)
        m, n = positions.shape[0], operator.X.shape[0]
        self.a = self.positions[:, : self.outer] if self.outer else np.full((m, 1), operator.fixed)
        self.blas = operator.X.shape[1] >= BLAS_FROM_INPUTS
        self.curved = bool(getattr(operator.activation, "smooth", True))
        # The size of a piece is a multiple of the kernels' blocks and depends on n alone.
        self.piece = BLOCK * max(1, PIECE_PAIRS // (BLOCK * n))
        self.parallel = m > BLOCK and m * n >= PARALLEL_FROM_PAIRS
        # A kinked activation costs less than reading what was stored, unless w . x itself is dear.
        self.stored = (self.blas or self.curved) and 8 * m * n * (2 + self.curved) <= STORE_BYTES
        if self.stored:
            self._store = self._fill(0, m)
        else:
            self._store = (np.empty((0, 0)),) * 3

    def _rows(self, q: Array) -> Array:
        """(n,) or (n, k) as (k, n)."""
        return np.ascontiguousarray(q.reshape(1, -1) if self.outputs == 1 else q.T)

    def _shaped(self, rows: Array) -> Array:
        """(k, n) as the operator has predictions."""
        return rows[0] if self.outputs == 1 else np.ascontiguousarray(rows.T)

    def _settings(self) -> tuple[Any, ...]:
        return self.outer, self.operator.bias, self.operator.fixed

    def _fill(self, low: int, high: int) -> tuple[Array, Array, Array]:
        """sigma, sigma' and <a, q> sigma'' of particles low .. high - 1 and all data."""
        operator, points = self.operator, self.positions[low:high]
        shape = (high - low, operator.X.shape[0])
        value, slope = np.empty(shape), np.empty(shape)
        curvature = np.empty(shape if self.curved else (0, 0))
        if self.blas:
            with one_blas_thread():
                np.matmul(points[:, self.outer : self.outer + operator.X.shape[1]], operator.XT, out=value)

        def work(first: int, last: int) -> None:
            two_layer_tangent.fill(
                operator.activation,
                points,
                operator.XT,
                self.q,
                *self._settings(),
                self.blas,
                self.curved,
                value,
                slope,
                curvature,
                first,
                last,
            )

        for_blocks(work, -(-shape[0] // BLOCK), self.parallel and high - low == self.positions.shape[0])
        return value, slope, curvature

    def _pieces(self) -> list[tuple[int, int]]:
        m = self.positions.shape[0]
        return [(low, min(m, low + self.piece)) for low in range(0, m, self.piece)]

    def _known(self, low: int, high: int) -> tuple[Array, Array, Array]:
        """What `_fill` gives, from the store where it is there."""
        if not self.stored:
            return self._fill(low, high)
        value, slope, curvature = self._store
        return value[low:high], slope[low:high], curvature[low:high]

    # -- along a direction ----------------------------------------------------------------------------------

    def push(self, direction: Array, masses: Array | None = None) -> Array:
        """``sum_j masses_j Phi(theta_j) + c_j grad Phi(theta_j) . direction_j``: the change of the predictions."""
        direction = np.ascontiguousarray(direction)
        c = self.coefficients[:, None]
        front = c * direction[:, : self.outer] if self.outer else np.zeros((direction.shape[0], 1))
        if masses is not None:
            front = front + masses[:, None] * self.a
        back = c * self.a
        return self._shaped((self._push_blas if self.blas else self._push_loops)(direction, front, back))

    def pull(self, dq: Array, direction: Array) -> tuple[Array, Array]:
        """``<dq, Phi(theta_j)>`` (m,) and ``grad <dq, Phi> + (Hess <q, Phi>) direction_j`` (m, p)."""
        direction = np.ascontiguousarray(direction)
        return (self._pull_blas if self.blas else self._pull_loops)(self._rows(dq), direction)

    def _push_loops(self, direction: Array, front: Array, back: Array) -> Array:
        operator, blocks = self.operator, -(-direction.shape[0] // BLOCK)
        partial = np.empty((blocks, self.outputs, operator.X.shape[0]))
        value, slope, _ = self._store

        def work(first: int, last: int) -> None:
            two_layer_tangent.push(
                operator.activation,
                self.positions,
                direction,
                operator.XT,
                front,
                back,
                self.outer,
                operator.bias,
                self.stored,
                value,
                slope,
                partial,
                first,
                last,
            )

        for_blocks(work, blocks, self.parallel)
        return np.asarray(partial[0] if blocks == 1 else partial.sum(axis=0))

    def _pull_loops(self, dq: Array, direction: Array) -> tuple[Array, Array]:
        operator = self.operator
        values, gradient = np.empty(direction.shape[0]), np.empty(direction.shape)

        def work(first: int, last: int) -> None:
            two_layer_tangent.pull(
                operator.activation,
                self.positions,
                direction,
                operator.XT,
                self.q,
                dq,
                *self._settings(),
                self.curved,
                self.stored,
                *self._store,
                values,
                gradient,
                first,
                last,
            )

        for_blocks(work, -(-direction.shape[0] // BLOCK), self.parallel)
        return values, gradient

    def _change(self, direction: Array) -> Array:
        """dz = dw . x + db for particles and data."""
        low, d = self.outer, self.operator.X.shape[1]
        change = direction[:, low : low + d] @ self.operator.XT
        if self.operator.bias:
            change += direction[:, low + d :]
        return np.asarray(change)

    def _push_blas(self, direction: Array, front: Array, back: Array) -> Array:
        pieces = self._pieces()
        partial = np.empty((len(pieces), self.outputs, self.operator.X.shape[0]))

        def work(first: int, last: int) -> None:
            for k in range(first, last):
                low, high = pieces[k]
                value, slope, _ = self._known(low, high)
                change = self._change(direction[low:high])
                change *= slope
                np.matmul(front[low:high].T, value, out=partial[k])
                partial[k] += back[low:high].T @ change

        with one_blas_thread():
            for_blocks(work, len(pieces), self.parallel)
        return np.asarray(partial[0] if len(pieces) == 1 else partial.sum(axis=0))

    def _pull_blas(self, dq: Array, direction: Array) -> tuple[Array, Array]:
        operator, pieces, outer = self.operator, self._pieces(), self.outer
        d = operator.X.shape[1]
        values, gradient = np.empty(direction.shape[0]), np.empty(direction.shape)

        def work(first: int, last: int) -> None:
            for k in range(first, last):
                low, high = pieces[k]
                part, rows = slice(low, high), gradient[low:high]
                value, slope, curvature = self._known(low, high)
                change = self._change(direction[part])
                inner = value @ dq.T
                np.sum(self.a[part] * inner, axis=1, out=values[part])
                c = self.a[part] @ dq
                if outer:
                    c += direction[part, :outer] @ self.q
                c *= slope
                if self.curved:
                    c += curvature * change
                if outer:
                    change *= slope
                    rows[:, :outer] = inner + change @ self.q.T
                rows[:, outer : outer + d] = c @ operator.X
                if operator.bias:
                    np.sum(c, axis=1, out=rows[:, outer + d])

        with one_blas_thread():
            for_blocks(work, len(pieces), self.parallel)
        return values, gradient

    # -- as arrays ------------------------------------------------------------------------------------------

    def values(self) -> Array:
        """``Phi(theta_j; x_i)``, (m, n k): outputs of a datum beside each other."""
        parts = []
        for low, high in self._pieces():
            value = self._known(low, high)[0]
            parts.append((value[:, :, None] * self.a[low:high, None, :]).reshape(high - low, -1))
        return np.concatenate(parts)

    def jacobian(self) -> Array:
        """``grad Phi(theta_j; x_i)``, (m, p, n k)."""
        operator, (m, p), outputs = self.operator, self.positions.shape, self.outputs
        n, d = operator.X.shape
        result = np.zeros((m, p, n, outputs))
        for low, high in self._pieces():
            value, slope, _ = self._known(low, high)
            part = result[low:high]
            for o in range(self.outer):
                part[:, o, :, o] = value
            for o in range(outputs):
                back = self.a[low:high, o, None] * slope
                np.multiply(back[:, None, :], operator.XT, out=part[:, self.outer : self.outer + d, :, o])
                if operator.bias:
                    part[:, self.outer + d, :, o] = back
        return result.reshape(m, p, n * outputs)

    def hessian(self) -> Array:
        """``sum_i q_i Hess Phi(theta_j; x_i)``, (m, p, p)."""
        operator, (m, p), outer = self.operator, self.positions.shape, self.outer
        inputs = np.hstack([operator.X, np.ones((operator.X.shape[0], 1))]) if operator.bias else operator.X
        result = np.zeros((m, p, p))
        with one_blas_thread():
            for low, high in self._pieces():
                _, slope, curvature = self._known(low, high)
                part = result[low:high]
                for o in range(outer):
                    part[:, o, outer:] = (slope * self.q[o]) @ inputs
                    part[:, outer:, o] = part[:, o, outer:]
                if self.curved:
                    for k in range(p - outer):
                        row = curvature @ (inputs[:, k, None] * inputs[:, k:])
                        part[:, outer + k, outer + k :] = row
                        part[:, outer + k :, outer + k] = row
        return result

"""A two-layer network near one measure: directional derivatives by the strategy that suits the sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from meanfield._kernels import two_layer_tangent as kernels
from meanfield._kernels.two_layer_tangent import BLOCK
from solvers._threads import for_blocks, one_blas_thread
from solvers.protocols import Array

# Bytes up to which sigma, sigma', sigma'' and dz of all pairs are kept from product to product.
STORE_BYTES = 64_000_000
# Inputs from which w . x is a product with BLAS.
BLAS_FROM_INPUTS = 9
# Pairs (particle, datum) below which starting threads costs more than they save.
PARALLEL_FROM_PAIRS = 200_000
# Pairs in one piece of work where nothing is kept: what is computed for a piece stays in the cache.
PIECE_PAIRS = 65_536

# Compiled without a plug-in: typed by the compiler.
_push: Any = kernels.push
_pull: Any = kernels.pull
_jacobian: Any = kernels.jacobian


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
        m, (n, self.d) = positions.shape[0], operator.X.shape
        self.a = self.positions[:, : self.outer] if self.outer else np.full((m, 1), operator.fixed)
        self.curved = bool(getattr(operator.activation, "smooth", True))
        self.few = self.outputs == 1 and self.d <= kernels.FEW
        if self.few:
            self.inputs = np.zeros((kernels.FEW, n))
            self.inputs[: self.d] = operator.XT
        # A piece is a multiple of the kernels' blocks; sizes alone decide.
        self.piece = BLOCK * max(1, PIECE_PAIRS // (BLOCK * n))
        self.parallel = m > BLOCK and m * n >= PARALLEL_FROM_PAIRS
        # With few inputs a kinked activation costs less than reading what was stored.
        self.again = self.few and not self.curved
        self.stored = not self.again and 8 * m * n * (2 + self.curved + (not self.few)) <= STORE_BYTES
        self._store = self._fill(0, m, self.parallel) if self.stored else (np.empty((0, 0)),) * 3
        self._change = np.empty((m, n)) if self.stored and not self.few else None

    def _rows(self, q: Array) -> Array:
        """(n,) or (n, k) as (k, n)."""
        return np.ascontiguousarray(q.reshape(1, -1) if self.outputs == 1 else q.T)

    def _shaped(self, rows: Array) -> Array:
        """(k, n) as the operator has predictions."""
        return rows[0] if self.outputs == 1 else np.ascontiguousarray(rows.T)

    def _fill(self, low: int, high: int, parallel: bool) -> tuple[Array, Array, Array]:
        """sigma, sigma' and <a, q> sigma'' of particles low .. high - 1 and all data."""
        operator, points = self.operator, self.positions[low:high]
        shape = (high - low, self.q.shape[1])
        value, slope = np.empty(shape), np.empty(shape)
        curvature = np.empty(shape if self.curved else (0, 0))
        given = self.d >= BLAS_FROM_INPUTS
        if given:
            with one_blas_thread():
                np.matmul(points[:, self.outer : self.outer + self.d], operator.XT, out=value)
        settings = self.outer, operator.bias, operator.fixed, given, self.curved

        def work(first: int, last: int) -> None:
            kernels.fill(
                operator.activation,
                points,
                operator.XT,
                self.q,
                *settings,
                value,
                slope,
                curvature,
                first,
                last,
            )

        for_blocks(work, -(-shape[0] // BLOCK), parallel)
        return value, slope, curvature

    def _pieces(self) -> list[tuple[int, int]]:
        m = self.positions.shape[0]
        return [(low, min(m, low + self.piece)) for low in range(0, m, self.piece)]

    def _known(self, low: int, high: int) -> tuple[Array, Array, Array]:
        """What `_fill` gives, from the store where it is there."""
        if not self.stored:
            return self._fill(low, high, False)
        value, slope, curvature = self._store
        return value[low:high], slope[low:high], curvature[low:high]

    # -- along a direction ----------------------------------------------------------------------------------

    def along(
        self, direction: Array, masses: Array | None, respond: Callable[[Array], Array]
    ) -> tuple[Array, Array]:
        """``<dq, Phi(theta_j)>`` (m,) and ``grad <dq, Phi> + (Hess <q, Phi>) direction_j`` (m, p), dq = respond(df).

        ``df = sum_j masses_j Phi(theta_j) + c_j grad Phi(theta_j) . direction_j`` is the change of the predictions.
        """
        direction = np.ascontiguousarray(direction)
        c = self.coefficients[:, None]
        front = c * direction[:, : self.outer] if self.outer else np.zeros((direction.shape[0], 1))
        if masses is not None:
            front = front + masses[:, None] * self.a
        if self.few:
            rows = self._push_few(direction, front, c * self.a)
            return self._pull_few(self._rows(respond(self._shaped(rows))), direction)
        with one_blas_thread():
            rows = self._push(direction, front, c * self.a)
            return self._pull(self._rows(respond(self._shaped(rows))), direction)

    def _sweep(self, call: Callable[..., None]) -> None:
        """``call(part, known, first, last)`` for blocks first .. last - 1 of each part (a slice) of the particles."""
        m = self.positions.shape[0]
        if self.again or self.stored:
            everyone = slice(0, m)
            for_blocks(
                lambda first, last: call(everyone, self._store, first, last), -(-m // BLOCK), self.parallel
            )
            return
        pieces = self._pieces()

        def work(first: int, last: int) -> None:
            for low, high in pieces[first:last]:
                call(slice(low, high), self._fill(low, high, False), 0, -(-(high - low) // BLOCK))

        for_blocks(work, len(pieces), self.parallel)

    def _partial(self) -> Array:
        """A row of predictions for each block of particles."""
        return np.empty((-(-self.positions.shape[0] // BLOCK), *self.q.shape))

    def _push_few(self, direction: Array, front: Array, back: Array) -> Array:
        partial, keep = self._partial(), not self.again
        layout = self.outer, self.d, self.operator.bias, self.operator.fixed

        def call(part: slice, known: tuple[Array, ...], first: int, last: int) -> None:
            kernels.push_few(
                self.operator.activation,
                self.positions[part],
                direction[part],
                self.inputs,
                front[part],
                back[part],
                layout,
                keep,
                *known[:2],
                partial[part.start // BLOCK :],
                first,
                last,
            )

        self._sweep(call)
        return np.asarray(partial[0] if partial.shape[0] == 1 else partial.sum(axis=0))

    def _pull_few(self, dq: Array, direction: Array) -> tuple[Array, Array]:
        values, gradient = np.empty(direction.shape[0]), np.empty(direction.shape)
        keep, layout = not self.again, (self.outer, self.d, self.operator.bias, self.operator.fixed)

        def call(part: slice, known: tuple[Array, ...], first: int, last: int) -> None:
            kernels.pull_few(
                self.operator.activation,
                self.positions[part],
                direction[part],
                self.inputs,
                self.q,
                dq,
                layout,
                self.curved,
                keep,
                *known,
                values[part],
                gradient[part],
                first,
                last,
            )

        self._sweep(call)
        return values, gradient

    def _push(self, direction: Array, front: Array, back: Array) -> Array:
        partial, operator = self._partial(), self.operator

        def call(part: slice, known: tuple[Array, ...], first: int, last: int) -> None:
            _push(
                direction[part],
                operator.XT,
                front[part],
                back[part],
                self.outer,
                operator.bias,
                *known[:2],
                np.empty(known[0].shape) if self._change is None else self._change,
                partial[part.start // BLOCK :],
                first,
                last,
            )

        self._sweep(call)
        return np.asarray(partial[0] if partial.shape[0] == 1 else partial.sum(axis=0))

    def _pull(self, dq: Array, direction: Array) -> tuple[Array, Array]:
        operator = self.operator
        values, gradient = np.empty(direction.shape[0]), np.empty(direction.shape)

        def call(part: slice, known: tuple[Array, ...], first: int, last: int) -> None:
            change = self._change
            if change is None:
                change = direction[part, self.outer : self.outer + self.d] @ operator.XT
                if operator.bias:
                    change += direction[part, self.outer + self.d :]
            _pull(
                self.positions[part],
                direction[part],
                operator.X,
                self.q,
                dq,
                self.outer,
                operator.bias,
                operator.fixed,
                self.curved,
                *known,
                change,
                values[part],
                gradient[part],
                first,
                last,
            )

        self._sweep(call)
        return values, gradient

    # -- as arrays ------------------------------------------------------------------------------------------

    def _parts(self) -> list[tuple[int, int]]:
        """All particles at once where sigma is stored, or pieces."""
        return [(0, self.positions.shape[0])] if self.stored else self._pieces()

    def values(self) -> Array:
        """``Phi(theta_j; x_i)``, (m, n k): outputs of a datum beside each other."""
        parts = []
        for low, high in self._parts():
            value = self._known(low, high)[0]
            parts.append((value[:, :, None] * self.a[low:high, None, :]).reshape(high - low, -1))
        return np.concatenate(parts)

    def jacobian(self, factor: Array, out: Array) -> None:
        """out (m, p, n k) = factor_j ``grad Phi(theta_j; x_i)``."""
        for low, high in self._parts():
            value, slope, _ = self._known(low, high)
            _jacobian(
                value,
                slope,
                self.a[low:high],
                factor[low:high],
                self.operator.XT,
                self.outer,
                self.operator.bias,
                out[low:high],
            )

    def hessian(self) -> Array:
        """``sum_i q_i Hess Phi(theta_j; x_i)``, (m, p, p)."""
        operator, (m, p), outer = self.operator, self.positions.shape, self.outer
        inputs = np.hstack([operator.X, np.ones((operator.X.shape[0], 1))]) if operator.bias else operator.X
        result = np.zeros((m, p, p))
        with one_blas_thread():
            for low, high in self._parts():
                _, slope, curvature = self._known(low, high)
                part = result[low:high]
                for o in range(outer):
                    part[:, o, outer:] = slope @ (self.q[o, :, None] * inputs)
                    part[:, outer:, o] = part[:, o, outer:]
                if self.curved:
                    for k in range(p - outer):
                        row = curvature @ (inputs[:, k, None] * inputs[:, k:])
                        part[:, outer + k, outer + k :] = row
                        part[:, outer + k :, outer + k] = row
        return result

"""Spikes on all their frequencies, near one measure: derivatives through tables of one axis each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from solvers.protocols import Array


class SpikesNear:
    """``Phi(theta; .)`` = outer product of the tables of each axis (one or two), near particles theta_j.

    Parameters
    ----------
    operator : _SpikesOnGrid
        It keeps the tables of the last particles it was asked about, usually these.
    positions : ndarray, (m, dim)
    coefficients : ndarray, (m,)
    q : ndarray, (n,)
        What second derivatives are paired with, over all codes.
    """

    def __init__(self, operator: Any, positions: Array, coefficients: Array, q: Array) -> None:
        spikes = operator.spikes
        self.coefficients = coefficients
        self.dim, self.side = spikes.dim, 2 * spikes.frequencies + 1
        # c(t; j)'' = -j^2 c(t; j): the second derivative of a table is a multiple of its columns.
        squares = -np.square(np.arange(-spikes.frequencies, spikes.frequencies + 1, dtype=np.float64))
        self.tables: list[tuple[Array, Array, Array]] = []
        for value, slope in operator._tables(positions):
            assert slope is not None
            self.tables.append((value, slope, value * squares))
        self._second = self._blocks(q)

    def _blocks(self, q: Array) -> Array:
        """``sum_i q_i Hess Phi(theta_j; x_i)``, (m, dim, dim)."""
        value, slope, second = self.tables[0]
        result = np.empty((value.shape[0], self.dim, self.dim))
        if self.dim == 1:
            result[:, 0, 0] = np.einsum("ji,i->j", second, q)
            return result
        square = q.reshape(self.side, self.side)
        other, other_slope, other_second = self.tables[1]
        result[:, 0, 0] = self._fold(second, square, other)
        result[:, 1, 1] = self._fold(value, square, other_second)
        result[:, 0, 1] = result[:, 1, 0] = self._fold(slope, square, other_slope)
        return result

    @staticmethod
    def _fold(left: Array, square: Array, right: Array) -> Array:
        """``sum_ik left_ji square_ik right_jk``, (m,)."""
        return np.asarray(np.einsum("jk,jk->j", np.einsum("ji,ik->jk", left, square), right))

    def along(
        self, direction: Array, masses: Array | None, respond: Callable[[Array], Array]
    ) -> tuple[Array, Array]:
        """``<dq, Phi(theta_j)>`` (m,) and ``grad <dq, Phi> + (Hess <q, Phi>) direction_j`` (m, p), dq = respond(df).

        ``df = sum_j masses_j Phi(theta_j) + c_j grad Phi(theta_j) . direction_j`` is the change of the predictions.
        """
        return self._pull(respond(self._push(direction, masses)), direction)

    def _push(self, direction: Array, masses: Array | None) -> Array:
        """``sum_j masses_j Phi(theta_j) + c_j grad Phi(theta_j) . direction_j``, (n,)."""
        value, slope, _ = self.tables[0]
        weight = self.coefficients[:, None] * direction
        first = weight[:, :1] * slope
        if masses is not None:
            first += masses[:, None] * value
        if self.dim == 1:
            return np.asarray(first.sum(axis=0))
        other, other_slope, _ = self.tables[1]
        total = np.einsum("ji,jk->ik", first, other)
        total += np.einsum("ji,jk->ik", weight[:, 1:] * value, other_slope)
        return np.asarray(total.reshape(-1))

    def _pull(self, dq: Array, direction: Array) -> tuple[Array, Array]:
        """``<dq, Phi(theta_j)>`` (m,) and ``grad <dq, Phi> + (Hess <q, Phi>) direction_j`` (m, dim)."""
        gradient = np.einsum("jab,jb->ja", self._second, direction)
        value, slope, _ = self.tables[0]
        if self.dim == 1:
            gradient[:, 0] += np.einsum("ji,i->j", slope, dq)
            return np.einsum("ji,i->j", value, dq), gradient
        square = dq.reshape(self.side, self.side)
        other, other_slope, _ = self.tables[1]
        folded = np.einsum("ji,ik->jk", value, square)
        gradient[:, 0] += self._fold(slope, square, other)
        gradient[:, 1] += np.einsum("jk,jk->j", folded, other_slope)
        return np.einsum("jk,jk->j", folded, other), gradient

    def values(self) -> Array:
        """``Phi(theta_j; x_i)``, (m, n)."""
        value = self.tables[0][0]
        if self.dim == 1:
            return value
        return np.asarray(np.einsum("ji,jk->jik", value, self.tables[1][0]).reshape(value.shape[0], -1))

    def jacobian(self, factor: Array, out: Array) -> None:
        """out (m, dim, n) = factor_j ``grad Phi(theta_j; x_i)``."""
        value, slope, _ = self.tables[0]
        scale = factor[:, None]
        if self.dim == 1:
            np.multiply(slope, scale, out=out[:, 0])
            return
        other, other_slope, _ = self.tables[1]
        m = value.shape[0]
        out[:, 0] = np.einsum("ji,jk->jik", scale * slope, other).reshape(m, -1)
        out[:, 1] = np.einsum("ji,jk->jik", scale * value, other_slope).reshape(m, -1)

    def hessian(self) -> Array:
        """``sum_i q_i Hess Phi(theta_j; x_i)``, (m, dim, dim)."""
        return self._second

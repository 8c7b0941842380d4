"""Any feature map near one measure: by its own derivatives, or by differences of its features and pull-back.

A feature map may offer ``jvp(positions, X, direction)``, grad Phi(theta_j; x_i) . direction_j in the shape of
``features``, and ``curved(positions, X, q, direction)``, sum_i q_i Hess Phi(theta_j; x_i) direction_j (m, p). Where a
smooth one does not, central differences along the direction serve, right to about 1e-9. A kinked one must: a
difference of its pull-back is off by jump/step for every datum whose kink lies within a step, and one such pair
spoils a spectral radius.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from meanfield.networks.feature_map import BLOCK_BYTES
from solvers._threads import one_blas_thread
from solvers.protocols import Array

# Balances the truncation of a central difference, step^2/6, against rounding, eps/step.
STEP = 6e-6


def differentiable(network: Any) -> bool:
    """Whether second derivatives of a feature map can be had: it is smooth, or offers them."""
    return bool(getattr(network, "smooth", True)) or (hasattr(network, "jvp") and hasattr(network, "curved"))


class FeaturesNear:
    """A feature map near particles theta_j: its derivatives along directions, a block of particles at a time.

    Parameters
    ----------
    network : feature map
    X : ndarray, (n, d)
    positions : ndarray, (m, p)
    coefficients : ndarray, (m,)
    q : ndarray, (n,) or (n, k)
        What second derivatives are paired with.
    """

    def __init__(self, network: Any, X: Array, positions: Array, coefficients: Array, q: Array) -> None:
        self.network, self.X = network, X
        self.positions, self.coefficients, self.q = positions, coefficients, q
        m = positions.shape[0]
        size = max(1, BLOCK_BYTES // (8 * max(1, q.size)))
        self.blocks = [slice(low, min(m, low + size)) for low in range(0, m, size)]
        self.kept: Array | None = None
        if len(self.blocks) == 1:
            with one_blas_thread():
                self.kept = np.asarray(network.features(positions, X))

    def _features(self, block: slice) -> Array:
        if self.kept is not None:
            return self.kept
        return np.asarray(self.network.features(self.positions[block], self.X))

    def _sides(self, block: slice, direction: Array) -> tuple[Array, Array, Array]:
        """Particles a step up and down their directions, and what a difference between them is multiplied by."""
        positions = self.positions[block]
        length = np.abs(direction).max(axis=1)
        step = STEP * np.maximum(1.0, np.abs(positions).max(axis=1))
        scale = np.divide(step, length, out=np.zeros_like(step), where=length > 0)
        shift = scale[:, None] * direction
        return positions + shift, positions - shift, length / (2.0 * step)

    def _jvp(self, block: slice, direction: Array) -> Array:
        if hasattr(self.network, "jvp"):
            return np.asarray(self.network.jvp(self.positions[block], self.X, direction))
        high, low, factor = self._sides(block, direction)
        change = np.asarray(self.network.features(high, self.X)) - self.network.features(low, self.X)
        return np.asarray(change * factor.reshape(-1, *(1,) * (change.ndim - 1)))

    def _curved(self, block: slice, direction: Array) -> Array:
        if hasattr(self.network, "curved"):
            return np.asarray(self.network.curved(self.positions[block], self.X, self.q, direction))
        high, low, factor = self._sides(block, direction)
        change = np.asarray(self.network.vjp(high, self.X, self.q)) - self.network.vjp(low, self.X, self.q)
        return np.asarray(change * factor[:, None])

    def along(
        self, direction: Array, masses: Array | None, respond: Callable[[Array], Array]
    ) -> tuple[Array, Array]:
        """``<dq, Phi(theta_j)>`` (m,) and ``grad <dq, Phi> + (Hess <q, Phi>) direction_j`` (m, p), dq = respond(df).

        ``df = sum_j masses_j Phi(theta_j) + c_j grad Phi(theta_j) . direction_j`` is the change of the predictions.
        """
        return self._pull(respond(self._push(direction, masses)), direction)

    def _push(self, direction: Array, masses: Array | None) -> Array:
        """``sum_j masses_j Phi(theta_j) + c_j grad Phi(theta_j) . direction_j``."""
        total: Any = 0.0
        with one_blas_thread():
            for block in self.blocks:
                change = self._jvp(block, direction[block])
                total = total + np.tensordot(self.coefficients[block], change, axes=(0, 0))
                if masses is not None:
                    total = total + np.tensordot(masses[block], self._features(block), axes=(0, 0))
        return np.asarray(total)

    def _pull(self, dq: Array, direction: Array) -> tuple[Array, Array]:
        """``<dq, Phi(theta_j)>`` (m,) and ``grad <dq, Phi> + (Hess <q, Phi>) direction_j`` (m, p)."""
        values, gradient = np.empty(direction.shape[0]), np.empty(direction.shape)
        with one_blas_thread():
            for block in self.blocks:
                values[block] = np.tensordot(self._features(block), dq, axes=dq.ndim)
                gradient[block] = self.network.vjp(self.positions[block], self.X, dq)
                gradient[block] += self._curved(block, direction[block])
        return values, gradient

    def values(self) -> Array:
        """``Phi(theta_j; x_i)``, (m, n k)."""
        with one_blas_thread():
            parts = [self._features(block) for block in self.blocks]
        return np.concatenate(parts).reshape(self.positions.shape[0], -1)

    def _along_axes(self, derivative: Any, out: Array) -> None:
        """A directional derivative along every axis, out (m, p, .)."""
        with one_blas_thread():
            for k in range(self.positions.shape[1]):
                for block in self.blocks:
                    axis = np.zeros(self.positions[block].shape)
                    axis[:, k] = 1.0
                    out[block, k] = derivative(block, axis).reshape(len(axis), -1)

    def jacobian(self, factor: Array, out: Array) -> None:
        """out (m, p, n k) = factor_j ``grad Phi(theta_j; x_i)``."""
        self._along_axes(self._jvp, out)
        out *= factor[:, None, None]

    def hessian(self) -> Array:
        """``sum_i q_i Hess Phi(theta_j; x_i)``, (m, p, p)."""
        m, p = self.positions.shape
        result = np.empty((m, p, p))
        self._along_axes(self._curved, result)
        return np.asarray(0.5 * (result + result.transpose(0, 2, 1)))

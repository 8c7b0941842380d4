"""The Jacobian of the flow of a profiled objective: of low rank, the number of data, plus one block a particle."""

from __future__ import annotations

from typing import Any

import numpy as np

from meanfield._linear.particles import near, regularizer_second
from solvers._threads import one_blas_thread
from solvers.protocols import Array, LowRank


class ProfiledLinearization:
    """``J = d velocity/d z`` of ``theta' = -rate M grad F'``, ``F' = V - ridge/2 a(theta)^2``, one output, flat spaces.

    With ``a_j = <q, phi_j>``, its gradient g_j and ``q = scale alpha``, along a direction

        df = sum_j p_j (a_j grad phi_j . dtheta_j + (g_j . dtheta_j) phi_j),    dq = -C df,
        da_j = g_j . dtheta_j + <dq, phi_j>,    dg_j = Hess <q, phi_j> dtheta_j + grad <dq, phi_j>,
        d grad F'_j = Hess V dtheta_j - ridge (da_j g_j + a_j dg_j),

    with ``C = scale^2 (K + ridge/w)^-1`` of the data, w their weights: J is symmetric in the weights p_j/mobility.

    Parameters
    ----------
    profiled : ProfiledObjective
    measure : ParticleMeasure
        The state.
    rate : float
        Factor of the velocity.
    """

    def __init__(self, profiled: Any, measure: Any, rate: float) -> None:
        self.profiled, self.rate, self.rank = profiled, rate, int(profiled.X.shape[0])
        self.positions, self.mass = np.array(measure.positions), np.array(measure.weights)
        p = self.positions.shape[1]
        self.mobility = np.ones(p) if profiled.mobility is None else profiled.mobility
        q = np.ascontiguousarray(profiled._charges(measure)[:, 0])
        self._a, self._slope = profiled._operator.pullback(self.positions, q)
        self._near = near(profiled, self.positions, self.mass * self._a, q)
        self._second = regularizer_second(profiled.regularizer, self.positions)
        self._factor = profiled.curvature_factor(measure)

    def product(self, v: Array, out: Array) -> Array:
        """J v into `out`, both flat."""
        direction = v.reshape(self.positions.shape)
        along = np.einsum("jk,jk->j", self._slope, direction)
        values, change = self._near.along(direction, self.mass * along, self._respond)
        ridge = self.profiled.ridge
        change = -ridge * ((along + values)[:, None] * self._slope + self._a[:, None] * change)
        if isinstance(self._second, np.ndarray):
            change += np.einsum("jab,jb->ja", self._second, direction)
        elif self._second:
            change += self._second * direction
        np.multiply(change, -self.rate * self.mobility, out=out.reshape(self.positions.shape))
        return out

    def _respond(self, change: Array) -> Array:
        with one_blas_thread():
            return np.asarray(-(self._factor @ change))

    @property
    def weight(self) -> Array | None:
        """``p_j / mobility`` a coordinate, 0 where it is frozen; None with massless particles."""
        if not (self.mass > 0).all():
            return None
        inverse = np.divide(1.0, self.mobility, out=np.zeros(self.mobility.size), where=self.mobility > 0)
        return np.asarray((self.mass[:, None] * inverse).reshape(-1))

    def low_rank(self) -> LowRank:
        """``J = -P S H' - blkdiag(B)``: P and H have m p n numbers each."""
        m, p = self.positions.shape
        ridge, rate = self.profiled.ridge, self.rate * self.mobility
        H = np.empty((m, p, self.rank))
        self._near.jacobian(self._a, H)
        H += self._slope[:, :, None] * self._near.values()[:, None, :]
        second = self._second if isinstance(self._second, np.ndarray) else self._second * np.eye(p)
        blocks = (
            self._slope[:, :, None] * self._slope[:, None, :] + self._a[:, None, None] * self._near.hessian()
        )
        B = rate[:, None] * (second - ridge * blocks)
        indices = np.arange(m * p, dtype=np.int64).reshape(m, p)
        if (self.mass > 0).all():
            H *= self.mass[:, None, None]
            return LowRank(indices, ridge * rate / self.mass[:, None], self._factor, H, B)
        return LowRank(indices, ridge * rate[:, None] * H, self._factor, self.mass[:, None, None] * H, B)

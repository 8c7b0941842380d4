"""The Jacobian of a particle flow: products with it, and its form of low rank plus one block a particle."""

from __future__ import annotations

from typing import Any

import numpy as np

from meanfield._kernels import TwoLayerOnData
from meanfield._linear.curvature import LossCurvature
from meanfield._linear.features import FeaturesNear, differentiable
from meanfield._linear.spikes import SpikesNear
from meanfield._linear.two_layer import TwoLayerNear
from meanfield.networks.spikes import _SpikesOnGrid
from meanfield.objective import Objective
from solvers.protocols import Array, LowRank
from solvers.spaces import Sphere

# Balances the truncation of a central difference, step^2/6, against rounding, eps/step.
STEP = 6e-6


def linearizable(functional: Any, space: Any) -> bool:
    """Whether the velocity of `functional` has a derivative that we can compute, on particles of `space`."""
    if not isinstance(functional, Objective):
        return False
    # Of a space of a user's own we know the tangent, not how it turns.
    if space is not None and hasattr(space, "tangent") and not type(space).__module__.startswith("solvers."):
        return False
    operator = functional._operator
    # what is linear in the particles already brings its derivatives along
    if hasattr(operator, "near"):
        return True
    return isinstance(operator, (TwoLayerOnData, _SpikesOnGrid)) or differentiable(functional.network)


def rank(functional: Any) -> int | None:
    """The number of predictions, through which particles are coupled; None where there are none."""
    if not isinstance(functional, Objective):
        return None
    return int(functional.X.shape[0]) * int(getattr(functional.network, "outputs", 1))


def near(objective: Objective, positions: Array, coefficients: Array, q: Array) -> Any:
    """Derivatives of the objective's features near particles."""
    operator = objective._operator
    if hasattr(operator, "near"):
        return operator.near
    if isinstance(operator, TwoLayerOnData):
        return TwoLayerNear(operator, positions, coefficients, q)
    if isinstance(operator, _SpikesOnGrid):
        return SpikesNear(operator, positions, coefficients, q)
    return FeaturesNear(objective.network, objective.X, positions, coefficients, q)


class ParticleLinearization:
    """``J = d velocity/d z`` of a flow of particles theta_j with the first variation ``F' = s <R'(f), Phi> + V``.

    Positions move by ``theta' = -rate M T grad F'`` with the mobility M of each coordinate and the tangent projection T
    of the space. With a chart, masses move as well: ``(log w)' = -4 alpha F'`` ("mirror") or ``r' = -2 alpha r F'``
    with ``w = r^2`` ("canonical"), and stand before the positions in z. Along a direction

        df = scale (sum_j dc_j Phi_j + c_j grad Phi_j . dtheta_j),    dq = scale R''(f) df,
        dF'_j = s_j <dq, Phi_j> + grad F'_j . dtheta_j,
        d grad F'_j = s_j (grad <dq, Phi_j> + Hess <q, Phi_j> dtheta_j) + Hess V dtheta_j.

    On the sphere this is the derivative of the velocity as a function on R^p: it has a normal part, and no weight.

    Parameters
    ----------
    objective : Objective
    measure : ParticleMeasure
        The state. Its arrays are read again by each product: they must not change.
    space : Space or None
    rate : float
        Factor of the velocity of positions.
    chart : {"", "mirror", "canonical"}
    alpha : float
        Mobility of the masses, with a chart.
    roots : ndarray, (m,), optional
        r in the canonical chart, of any sign.
    """

    def __init__(
        self,
        objective: Objective,
        measure: Any,
        space: Any,
        rate: float,
        chart: str = "",
        alpha: float = 0.0,
        roots: Array | None = None,
    ) -> None:
        self.objective, self.rate, self.chart, self.alpha = objective, rate, chart, alpha
        self.positions = np.array(measure.positions)
        self.mass, self.signs = np.array(measure.weights), measure.signs
        self.roots = None if roots is None else np.array(roots)
        self.rank = rank(objective)
        self.mobility = objective.mobility
        self.sphere = isinstance(space, Sphere)
        f = objective._predictions(measure)
        weights = objective._weights()
        q = objective.loss.gradient(f, objective.y, **weights)
        q = np.asarray(q if objective._scale == 1.0 else objective._scale * q)
        self._loss = LossCurvature(objective.loss, f, objective.y, weights)
        self._near = near(objective, self.positions, measure.coefficients, q)
        self._second: float | Array = regularizer_second(objective.regularizer, self.positions)
        if chart or self.sphere:
            self._values, self._gradient = objective._variation(q, self.positions, self.signs)

    # -- products -------------------------------------------------------------------------------------------

    def product(self, v: Array, out: Array) -> Array:
        """J v into `out`, both flat; about as dear as a velocity."""
        m = self.positions.shape[0]
        head = m if self.chart else 0
        direction = v[head:].reshape(self.positions.shape)
        scale = self.objective._scale
        masses = self._signed(self._mass_slope * v[:m]) if self.chart else None

        def respond(change: Array) -> Array:
            dq = self._loss.times(change if scale == 1.0 else scale * change)
            return dq if scale == 1.0 else scale * dq

        values, gradient = self._near.along(direction, masses, respond)
        gradient = self._signed(gradient)
        if isinstance(self._second, np.ndarray):
            gradient += np.einsum("jab,jb->ja", self._second, direction)
        elif self._second:
            gradient += self._second * direction
        if self.mobility is not None:
            gradient *= self.mobility
        gradient *= -self.rate
        if self.sphere:
            gradient = self._on_sphere(gradient, direction)
        out[head:] = gradient.reshape(-1)
        if self.chart:
            growth = self._signed(values) + np.einsum("jk,jk->j", self._gradient, direction)
            if self.roots is not None:
                growth = 0.5 * (self.roots * growth + self._values * v[:m])
            np.multiply(growth, -4.0 * self.alpha, out=out[:m])
        return out

    @property
    def _mass_slope(self) -> Array:
        """The derivative of the mass in the chart: w for log w, 2 r for r."""
        return self.mass if self.roots is None else 2.0 * self.roots

    def _signed(self, values: Array) -> Array:
        if self.signs is None:
            return values
        return np.asarray(values * self.signs.reshape(-1, *(1,) * (values.ndim - 1)))

    def _raw(self) -> Array:
        """The velocity of positions before it is made tangent."""
        moved = self._gradient if self.mobility is None else self._gradient * self.mobility
        return np.asarray(-self.rate * moved)

    def _on_sphere(self, change: Array, direction: Array) -> Array:
        """The derivative of ``v - <v, x> x`` along `direction`, where v changes by `change`."""
        x, raw = self.positions, self._raw()

        def dot(u: Array, v: Array) -> Array:
            return np.asarray(np.sum(u * v, axis=1, keepdims=True))

        return np.asarray(change - (dot(change, x) + dot(raw, direction)) * x - dot(raw, x) * direction)

    # -- structure ------------------------------------------------------------------------------------------

    @property
    def weight(self) -> Array | None:
        """``w_j / mobility`` a coordinate, 0 where it is frozen; None with a chart, on the sphere, or without mass."""
        if self.chart or self.sphere or not (self.mass > 0).all():
            return None
        m, p = self.positions.shape
        mobility = np.ones(p) if self.mobility is None else self.mobility
        inverse = np.divide(1.0, mobility, out=np.zeros(p), where=mobility > 0)
        return np.asarray((self.mass[:, None] * inverse).reshape(m * p))

    def low_rank(self) -> LowRank:
        """``J = -P S H' - blkdiag(B)``, a block for each particle: its mass, if that moves, then its position.

        P and H have m q r numbers each: sizes are the caller's concern.
        """
        m, p = self.positions.shape
        head = 1 if self.chart else 0
        q = head + p
        mobility = np.ones(p) if self.mobility is None else self.mobility
        scale = self.objective._scale
        second = self._second if isinstance(self._second, np.ndarray) else self._second * np.eye(p)
        hessian = self._signed(self._near.hessian()) + second
        assert self.rank is not None
        H, B = np.empty((m, q, self.rank)), np.zeros((m, q, q))
        # What a change of its coordinates makes of the predictions, particle by particle.
        self._near.jacobian(self._signed(scale * self.mass), H[:, head:])
        B[:, head:, head:] = self.rate * mobility[:, None] * hessian
        indices = np.arange(m * p, dtype=np.int64).reshape(m, p) + (m if head else 0)
        factor = np.full(m, 4.0 * self.alpha)
        if self.chart:
            indices = np.hstack([np.arange(m, dtype=np.int64)[:, None], indices])
            values = self._signed(scale * self._near.values())
            if self.roots is not None:
                factor = 2.0 * self.alpha * self.roots
                B[:, 0, 0] = 2.0 * self.alpha * self._values
            H[:, 0] = self._mass_slope[:, None] * values
            B[:, 0, 1:] = factor[:, None] * self._gradient
        if not self.sphere and (self.mass > 0).all():
            # What the predictions make of the velocity is a multiple of the same.
            multiples = np.empty((m, q))
            multiples[:, head:] = self.rate * mobility / self.mass[:, None]
            if self.chart:
                multiples[:, 0] = factor / self._mass_slope
            return LowRank(indices, multiples, self._loss.matrix(), H, B)
        P = np.empty((m, q, self.rank))
        self._near.jacobian(self._signed(np.full(m, scale)), P[:, head:])
        P[:, head:] *= (self.rate * mobility)[:, None]
        if self.chart:
            P[:, 0] = factor[:, None] * values
        if self.sphere:
            x, raw = self.positions, self._raw()
            P[:, head:] -= x[:, :, None] * np.einsum("ja,jar->jr", x, P[:, head:])[:, None, :]
            block = B[:, head:, head:]
            block -= x[:, :, None] * np.einsum("ja,jab->jb", x, block)[:, None, :]
            block += x[:, :, None] * raw[:, None, :]
            block += np.einsum("ja,ja->j", raw, x)[:, None, None] * np.eye(p)
        return LowRank(indices, P, self._loss.matrix(), H, B)


def regularizer_second(regularizer: Any, positions: Array) -> float | Array:
    """The Hessian of V: a number (times the identity) or (m, p, p); central differences where V does not know it."""
    if hasattr(regularizer, "second"):
        second = regularizer.second(positions)
        return float(second) if np.ndim(second) == 0 else np.asarray(second)
    m, p = positions.shape
    result = np.empty((m, p, p))
    step = STEP * np.maximum(1.0, np.abs(positions))
    for k in range(p):
        shift = np.zeros((m, p))
        shift[:, k] = step[:, k]
        high, low = regularizer.gradient(positions + shift), regularizer.gradient(positions - shift)
        result[:, :, k] = (np.asarray(high) - low) / (2.0 * step[:, k, None])
    return 0.5 * (result + result.transpose(0, 2, 1))

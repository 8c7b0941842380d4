"""The scalar linear two-layer network: its gradient flow in closed form, from lazy to rich."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers import _check
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array

__all__ = ["LinearCrossover"]


@dataclass(frozen=True)
class LinearCrossover:
    r"""``f(x) = q x``, ``q = int a w dmu``, trained on ``E (f(x) - target x)^2 / 2``: q(t) in closed form.

    With ``s = int (a^2 + w^2) dmu`` and ``E x^2 = second_moment`` = M

        q' = -M (q - target) s,    s' = -4 M (q - target) q,    c = s^2 - 4 q^2 conserved,

    hence ``q' = -M (q - target) sqrt(4 q^2 + c)``: for large c the linear (lazy) equation of rate M sqrt(c), for c = 0
    the logistic (rich) one. ``P = s + 2 q = int (a + w)^2 dmu`` solves ``P' = M (2 target P - (P^2 - c)/2)``.

    Parameters
    ----------
    q, s : float
        At time 0; ``s >= 2 |q|``.
    target : float
    second_moment : float
        M, positive.

    Raises
    ------
    InputError
    """

    q: float
    s: float
    target: float
    second_moment: float = 1.0

    def __post_init__(self) -> None:
        for name in ("q", "s", "target"):
            object.__setattr__(self, name, float(_check.number(getattr(self, name), name)))
        moment = _check.number(self.second_moment, "second_moment", positive=True)
        object.__setattr__(self, "second_moment", float(moment))
        if self.s < 2.0 * abs(self.q):
            raise InputError(
                f"s = int (a^2 + w^2) must be at least 2 |q| = {2 * abs(self.q):g}, twice |int a w|, not {self.s:g}"
            )

    @classmethod
    def of(cls, measure: ParticleMeasure, target: float, second_moment: float = 1.0) -> LinearCrossover:
        """The closed form for a measure of neurons (a, w).

        Parameters
        ----------
        measure : ParticleMeasure
            Of ``TwoLayer(Identity(), d=1, bias=False)``; without signs.
        target, second_moment : float
        """
        _pairs(measure)
        a, w = measure.positions.T
        weight = measure.weights
        # through (a + w)^2 and (a - w)^2, so that s >= 2 |q| holds in rounding too
        plus, minus = float(np.sum(weight * (a + w) ** 2)), float(np.sum(weight * (a - w) ** 2))
        return cls(0.25 * (plus - minus), 0.5 * (plus + minus), target, second_moment)

    @property
    def invariant(self) -> float:
        """``c = s^2 - 4 q^2``, the product of ``int (a + w)^2`` and ``int (a - w)^2``."""
        return (self.s - 2.0 * self.q) * (self.s + 2.0 * self.q)

    @property
    def rate(self) -> float:
        """``M sqrt(4 target^2 + c)``: the exponential rate at which q tends to the target in the end."""
        return self.second_moment * float(np.hypot(2.0 * self.target, np.sqrt(self.invariant)))

    def plus(self, t: Any) -> Array:
        """``P(t) = int (a + w)^2 dmu = s + 2 q`` at the times `t`, any shape."""
        return self._grown(t, self.s + 2.0 * self.q, self.target)

    def minus(self, t: Any) -> Array:
        """``int (a - w)^2 dmu = s - 2 q`` at the times `t`."""
        return self._grown(t, self.s - 2.0 * self.q, -self.target)

    def prediction(self, t: Any) -> Array:
        """``q(t)``, to rounding relative to ``q - target`` where s is large."""
        # with c = 0 and a target of the other sign q tends to 0 with P, and nothing cancels
        away = self.invariant == 0.0 and self.q * self.target <= 0.0
        if away or self.s == 0.0:
            return np.asarray(0.25 * (self.plus(t) - self.minus(t)))
        side = 1.0 if self.q >= 0 else -1.0
        start, target = self.s + 2.0 * abs(self.q), side * self.target
        rate, (high, low) = self.rate / self.second_moment, self._fixed(target)
        decay = np.exp(-rate * self.second_moment * self._times(t))
        now = self.plus(t) if side > 0 else self.minus(t)
        # from 4 (q - target) = (P - P+)(1 + c/(P P+)) with P+ the fixed point: every factor is positive
        share = (
            rate * decay * (start + high) / ((self.s + rate) * (start * (1.0 - decay) + low + high * decay))
        )
        return np.asarray(self.target + (self.q - self.target) * share * (now + low) / now)

    def size(self, t: Any) -> Array:
        """``s(t)``."""
        return np.asarray(0.5 * (self.plus(t) + self.minus(t)))

    def measure(self, start: ParticleMeasure, t: float) -> ParticleMeasure:
        """Every neuron at time t: a + w grows by ``sqrt(P(t)/P(0))``, a - w by the same for the other sign.

        Parameters
        ----------
        start : ParticleMeasure
            The measure at time 0, of these q and s.
        t : float
        """
        _pairs(start)
        a, w = start.positions.T
        plus = (a + w) * np.sqrt(_ratio(float(self.plus(t)), self.s + 2.0 * self.q))
        minus = (a - w) * np.sqrt(_ratio(float(self.minus(t)), self.s - 2.0 * self.q))
        return start.with_positions(np.column_stack([0.5 * (plus + minus), 0.5 * (plus - minus)]))

    def _times(self, t: Any) -> Array:
        time = _check.array(t, "t", ndim=(0, 1, 2), empty=True)
        if (time < 0).any():
            raise InputError("t must be non-negative: backwards the closed form can blow up")
        return time

    def _fixed(self, target: float) -> tuple[float, float]:
        """The fixed points of P, P+ and -P-, of product c; the one that cancels comes from the other."""
        far = 2.0 * abs(target) + self.rate / self.second_moment
        other = self.invariant / far
        return (far, other) if target >= 0 else (other, far)

    def _grown(self, t: Any, start: float, target: float) -> Array:
        """The solution of ``P' = M (2 target P - (P^2 - c)/2)``, all of whose terms here are positive."""
        time = self._times(t) * self.second_moment
        c, rate = self.invariant, self.rate / self.second_moment
        if rate == 0.0 or start == 0.0:
            return np.asarray(start / (1.0 + 0.5 * start * time))
        high, low = self._fixed(target)
        decay, rise = np.exp(-rate * time), -np.expm1(-rate * time)
        return np.asarray((start * (high + low * decay) + c * rise) / (start * rise + low + high * decay))


def _ratio(after: float, before: float) -> float:
    return after / before if before > 0 else 1.0


def _pairs(measure: Any) -> None:
    if not isinstance(measure, ParticleMeasure) or measure.dim != 2 or measure.signs is not None:
        raise InputError(
            "the measure must be one of neurons (a, w) without bias or signs: a ParticleMeasure of two coordinates"
        )

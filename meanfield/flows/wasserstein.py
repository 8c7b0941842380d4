"""The Wasserstein gradient flow of an objective, carried by particles."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, overload

import numpy as np

from meanfield._kernels.descend import descent_rule
from meanfield._kernels.small import small_program
from meanfield._linear import ParticleLinearization, radius_bound
from meanfield.flows._bound import (
    BoundParticles,
    describe_functional,
    functional_velocity,
    require_measure,
    tangent,
)
from meanfield.objective import Objective
from meanfield.plugins import check_functional
from solvers import _check
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array
from solvers.spaces import Euclidean, Sphere


class WassersteinFlow:
    """``d theta_j / dt = -grad F'(mu)(theta_j)``, that is ``d_t mu = div(mu grad F'(mu))``.

    An Euler step h is gradient descent on F as a function of m particles with learning rate m h. Along the
    flow ``dF/dt = -int |grad F'(mu)|^2 dmu``.

    Methods that choose their steps hold the error of the predictions to their tolerance (and a hundredth of that of
    positions); for a functional without predictions that of positions, each coordinate in its own root mean square.

    Parameters
    ----------
    objective : Objective or functional
        Anything with ``value`` and ``first_variation`` of a measure.
    time_unit : {"flow", "alpha"}
        "flow": the equation above. "alpha": velocities are divided by scale^2, the time of lazy training.

    References
    ----------
    Chizat and Bach, 2018 (1805.09545); Mei, Montanari and Nguyen, 2018 (1804.06561); Rotskoff and
    Vanden-Eijnden, 2018 (1805.00915).
    """

    kind = "ode"

    def __init__(self, objective: Any, time_unit: str = "flow") -> None:
        check_functional(objective)
        self.objective = objective
        self.time_unit = _check.choice(time_unit, "time_unit", ("flow", "alpha"))
        scale = float(getattr(getattr(objective, "network", None), "scale", 1.0))
        self.time_factor = 1.0 if self.time_unit == "flow" else 1.0 / scale**2

    def __repr__(self) -> str:
        unit = "" if self.time_unit == "flow" else ", time_unit='alpha'"
        return f"WassersteinFlow({self.objective!r}{unit})"

    def describe(self) -> dict[str, Any]:
        """Configuration for provenance."""
        return {"flow": "WassersteinFlow", "time_unit": self.time_unit, **describe_functional(self.objective)}

    def prepare(self, state: Any) -> _BoundWasserstein:
        """The flow bound to the width, weights and signs of one measure."""
        return _BoundWasserstein(self, require_measure(state))

    def pack(self, state: Any) -> Array:
        """Positions as one flat vector."""
        return self.prepare(state).pack(state)

    def unpack(self, z: Array, like: Any) -> ParticleMeasure:
        """The measure at z, with the weights of `like`."""
        return self.prepare(like).unpack(z, like)

    @overload
    def velocity(self, measure: ParticleMeasure, /) -> Array: ...

    @overload
    def velocity(self, t: float, z: Array, out: Array, /) -> Array: ...

    def velocity(self, *args: Any) -> Array:
        """The velocity of every particle of a measure, (m, p).

        The arguments (`args`) are one measure, or ``t, z, out`` for equal weights, as `solvers.Flow` has them.
        """
        if len(args) == 1:
            bound = self.prepare(args[0])
            z = bound.pack(args[0])
            return bound.velocity(0.0, z, np.empty_like(z)).reshape(bound.shape)
        t, z, out = args
        dim = (
            int(self.objective.network.dim)
            if hasattr(self.objective, "network")
            else self.objective.space.dim
        )
        return self.prepare(ParticleMeasure(z.reshape(-1, dim))).velocity(t, z, out)


class _BoundWasserstein(BoundParticles):
    #: the last state whose velocity was asked for, and int Phi dmu there
    _seen: tuple[Array, Array] | None = None

    def __init__(self, flow: Any, measure: ParticleMeasure) -> None:
        super().__init__(flow, measure)
        # a functional that is not an objective on data may bring a Jacobian of its own, for flat spaces
        own = getattr(self.functional, "linearization", None)
        if own is not None and not isinstance(self.space, Sphere):
            self.rank, self.linearize = int(self.functional.X.shape[0]), self._linearize_own

    def velocity(self, t: float, z: Array, out: Array) -> Array:
        motion = getattr(self.functional, "_motion", None)
        if motion is None:
            result = functional_velocity(self.functional, self.measure(z))
        else:
            raw, result = motion(self.measure(z))
            self._seen = z.copy(), raw
        if result.shape != self.shape:
            raise InputError(
                f"the functional's velocity must have shape {self.shape}, but its shape is {result.shape}"
            )
        result = tangent(self.space, z.reshape(self.shape), result)
        np.multiply(result, self.flow.time_factor, out=out.reshape(self.shape))
        return out

    @cached_property
    def program(self) -> Any:
        """The flow as one compiled problem, where it is small enough for that; None elsewhere."""
        # a functional that is not an objective on data may bring a program of its own
        own = getattr(self.functional, "program_of", None)
        return small_program(self) if own is None else own(self)

    @cached_property
    def advance(self) -> Any:
        """``advance(z, h, steps)``: Euler steps in compiled code, where network, loss and penalty are; None elsewhere.

        Its sums run in another order than those of `velocity`, however a run is cut: the last digits differ.
        """
        return self._descent

    @cached_property
    def advance_by(self) -> Any:
        """``advance_by(z, sizes, steps)``: the same with a size for each step."""
        return self._descent

    @cached_property
    def _descent(self) -> Any:
        rule = descent_rule(self)
        if rule is None:
            return None
        operator, masses = (
            self.functional._operator,
            self.weights if self.signs is None else self.weights * self.signs,
        )

        def advance(z: Array, h: Any, steps: int) -> None:
            operator.descend(z.reshape(self.shape), masses, rule, h, steps)

        return advance

    def _predictions(self, z: Array) -> Array:
        # The error of a step is asked for where its last velocity was, if the method ends with one: half the work.
        seen = self._seen
        if seen is not None and np.array_equal(seen[0], z):
            return np.asarray(self.functional._scaled(seen[1]))
        return super()._predictions(z)

    def radius_bound(self, z: Array) -> float:
        """At least the spectral radius of the Jacobian at z, from norms; infinite where no bound is known."""
        if not isinstance(self.functional, Objective) or not isinstance(self.space, Euclidean):
            return math.inf
        return radius_bound(self.functional, self.measure(z), self.flow.time_factor)

    def _linearize(self, t: float, z: Array) -> ParticleLinearization:
        return ParticleLinearization(self.functional, self.measure(z), self.space, self.flow.time_factor)

    def _linearize_own(self, t: float, z: Array) -> Any:
        return self.functional.linearization(self.measure(z), self.flow.time_factor)

"""Training of the linearized network: the kernel regime itself, particle by particle."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from meanfield._linear import linearizable, near
from meanfield._linear.curvature import LossCurvature
from meanfield.flows.wasserstein import WassersteinFlow, _BoundWasserstein
from meanfield.networks.feature_map import as_inputs, centre_of
from meanfield.objective import Objective
from meanfield.regularizers import NoRegularizer, Ridge, TotalVariation
from solvers._threads import one_blas_thread
from solvers.closed_form import ClosedForm
from solvers.errors import InputError
from solvers.losses import SquaredLoss
from solvers.measure import ParticleMeasure
from solvers.protocols import Array
from solvers.spaces import Euclidean

# Predictions up to which the kernel is diagonalized: 2000 take about three seconds.
MOST_MODES = 2000


class LinearizedObjective(Objective):
    """``F(theta) = R(f) + int V dmu`` with ``f = f_at + Df(at)(theta - at)``: linear in the particles.

    Its particles are those of the measure `at`, one by one, so that it has no first variation at other points, no
    certificate over measures and no density.

    Parameters
    ----------
    objective : Objective
        Network, data, loss, regularizer, scale and centre. V is not linearized.
    at : ParticleMeasure
        Where the network is linearized.

    Raises
    ------
    InputError
        If the network has kinks and does not know its own derivatives (``jvp`` of a feature map).
    """

    def __init__(self, objective: Objective, at: ParticleMeasure) -> None:
        if not isinstance(objective, Objective):
            raise InputError(f"the linearization needs an Objective on data, not {type(objective).__name__}")
        if isinstance(objective, LinearizedObjective):
            raise InputError(
                "the objective is linearized already; pass the one it was made of, objective.base"
            )
        objective._check_measure(at)
        if not linearizable(objective, None):
            raise InputError(
                f"{objective.network!r} has kinks and no jvp(positions, X, direction), so it cannot be linearized"
            )
        vars(self).update(vars(objective))
        self.base, self.at = objective, at
        self._operator = TangentOnData(objective, self.at)

    def __repr__(self) -> str:
        return f"LinearizedObjective({self.base!r}, at {self.at.width} particles)"

    @property
    def space(self) -> Any:
        """R^p: the tangent space of where the particles live."""
        return Euclidean(int(self.network.dim))

    @property
    def smooth(self) -> bool:
        """Whether the velocity is continuous: the activation's kinks are held where they were."""
        return bool(getattr(self.regularizer, "smooth", True))

    def describe(self) -> dict[str, Any]:
        """Configuration for provenance."""
        digest = hashlib.sha256(self.at.positions.tobytes() + self.at.coefficients.tobytes())
        return {**self.base.describe(), "linearized_at_sha256": digest.hexdigest()}

    def predict(self, measure: ParticleMeasure, X: Any = None) -> Array:
        """The linearized network on the data, or on other inputs X: (n,) or (n, k)."""
        self._check_measure(measure)
        if X is None:
            return self._predictions(measure)
        inputs = as_inputs(self.network, X)
        raw = TangentOnData(self.base.on(inputs, self.y), self.at).integrate(
            measure.positions, measure.coefficients
        )
        return np.asarray(self._scale * (raw - centre_of(self.network, inputs)))

    def on(self, X: Array, y: Array, sample_weight: Array | None = None) -> LinearizedObjective:
        """The same linearization on other data X, y with their `sample_weight`, unchecked."""
        return LinearizedObjective(self.base.on(X, y, sample_weight), self.at)

    def first_variation_with_gradient(
        self, measure: ParticleMeasure, positions: Any = None, signs: Any = None
    ) -> tuple[Array, Array]:
        """``F'`` (m,) and its gradient (m, p) at the particles; there are no others."""
        if positions is not None and not np.array_equal(positions, measure.positions):
            raise InputError("a linearized network has a first variation at its own particles only")
        return super().first_variation_with_gradient(measure)

    def certificate(self, measure: ParticleMeasure, **options: Any) -> Any:
        """Refused: it would bound the distance to networks that the linearization cannot reach (`options` unused)."""
        raise InputError(
            "a linearized network has no certificate; LinearizedFlow.limit(state) is where its training ends"
        )

    def potential(self) -> Any:
        """Refused: a density has no particles to linearize at."""
        raise InputError("a linearized network has no density; use its particles")

    def profiled(self, ridge: Any = None, regularizer: Any = None, space: Any = None) -> Any:
        """Refused: outer and inner weights of a linearized network do not multiply (arguments unused)."""
        raise InputError(
            "a linearized network cannot be profiled: its outer weights do not multiply what inner ones make; profile "
            "the objective it was made of, objective.base"
        )

    def _check_measure(self, measure: Any) -> None:
        super()._check_measure(measure)
        if not np.array_equal(measure.coefficients, self.at.coefficients):
            raise InputError(
                f"the state must have the {self.at.width} particles of the measure at which the network is linearized, "
                "with their weights and signs, which flows that change masses do not keep"
            )


class TangentOnData:
    """The operator of a linearized network: ``Phi(at_j; x) + grad Phi(at_j; x) . (theta_j - at_j)`` on fixed inputs.

    Parameters
    ----------
    objective : Objective
        Network and inputs.
    at : ParticleMeasure
    """

    def __init__(self, objective: Objective, at: ParticleMeasure) -> None:
        self.at = at
        self.raw = np.array(objective._operator.integrate(at.positions, at.coefficients))
        #: grad Phi at the start, along directions and paired with data; with q = 0 it has no second derivatives
        self.near = near(objective, at.positions, at.coefficients, np.zeros_like(self.raw))

    def integrate(self, positions: Array, coefficients: Array) -> Array:
        """``int Phi d at + sum_j c_j grad Phi(at_j) . (theta_j - at_j)``: (n,) or (n, k)."""
        return np.asarray(self.raw + self.push(positions - self.at.positions))

    def push(self, direction: Array) -> Array:
        """``sum_j c_j grad Phi(at_j) . direction_j``: (n,) or (n, k)."""
        found: list[Array] = []

        def keep(change: Array) -> Array:
            found.append(change)
            return np.zeros_like(self.raw)

        self.near.along(direction, None, keep)
        return found[0]

    def pull(self, q: Array) -> tuple[Array, Array]:
        """``<q, Phi(at_j)>`` (m,) and its gradient at at_j (m, p)."""
        values, gradient = self.near.along(np.zeros(self.at.positions.shape), None, lambda _: q)
        return np.asarray(values), np.asarray(gradient)

    def pullback(self, positions: Array, q: Array) -> tuple[Array, Array]:
        """``<q, Phi_lin(theta_j)>`` (m,) and its gradient (m, p), the same everywhere."""
        values, gradient = self.pull(q)
        return values + np.einsum("jk,jk->j", gradient, positions - self.at.positions), gradient

    def evaluate(self, positions: Array, coefficients: Array, respond: Any) -> tuple[Array, Array]:
        """The predictions before scale and centre, and the gradient of ``<respond(raw), Phi>``: in one go."""
        direction = positions - self.at.positions
        found: list[Array] = []

        def answer(change: Array) -> Array:
            found.append(self.raw + change)
            return np.asarray(respond(found[0]))

        _, gradient = self.near.along(direction, None, answer)
        return found[0], gradient


class LinearizedFlow(WassersteinFlow):
    """``theta_j' = -grad F'`` for the network linearized where training starts: ``f = f_at + Df(at)(theta - at)``.

    The kernel regime: predictions obey ``f' = -K R'(f)`` with the tangent kernel
    ``K(x, x') = scale^2 sum_j p_j <grad Phi(at_j; x), grad Phi(at_j; x')>`` (mobility in the product), which stays
    as it is. Scale, centre, rates, frozen layers and the loss are the objective's; V is not linearized: its gradient is
    taken at theta. With the squared loss, and no V or `Ridge` (all trained layers at one rate), the solution is known,
    ``f(t) - y = e^{-Kt/n}(f(0) - y)`` without V: `solvers.ClosedForm` is then the default method, exact in time for
    up to 2000 predictions. Otherwise methods for stiff flows find the Jacobian they need.

    Parameters
    ----------
    objective : Objective
    at : ParticleMeasure
        Where to linearize: the state that a run starts from.
    time_unit : {"flow", "alpha"}
        As of `WassersteinFlow`.

    References
    ----------
    Jacot, Gabriel and Hongler, 2018 (1806.07572); Chizat, Oyallon and Bach, 2019 (1812.07956).
    """

    def __init__(self, objective: Objective, at: ParticleMeasure, time_unit: str = "flow") -> None:
        super().__init__(LinearizedObjective(objective, at), time_unit)

    def __repr__(self) -> str:
        unit = "" if self.time_unit == "flow" else ", time_unit='alpha'"
        return f"LinearizedFlow({self.objective.base!r}, at {self.objective.at.width} particles{unit})"

    def describe(self) -> dict[str, Any]:
        """Configuration for provenance."""
        return {**super().describe(), "flow": "LinearizedFlow"}

    def prepare(self, state: Any) -> _BoundLinearized:
        """The flow bound to the particles of one measure."""
        return _BoundLinearized(self, state)

    def limit(self, state: ParticleMeasure) -> ParticleMeasure:
        """Where training from `state` ends, t = infinity: kernel regression, ridgeless without V.

        Raises
        ------
        InputError
            Where the solution has no closed form.
        """
        bound = self.prepare(state)
        if not hasattr(bound, "solution"):
            raise InputError(f"the limit has a closed form for the squared loss only: {bound.obstacle}")
        z = bound.pack(state)
        return bound.unpack(bound.solution(np.inf, z, np.empty_like(z)), state)


class _BoundLinearized(_BoundWasserstein):
    program = None
    advance = None
    advance_by = None

    def __init__(self, flow: LinearizedFlow, measure: Any) -> None:
        super().__init__(flow, measure)
        self._known: tuple[Array, Array, Array] | None = None
        self.obstacle = self._obstacle()
        self.default_method = None
        if not self.obstacle:
            self.solution = self._solution
            self.default_method = ClosedForm()

    def _obstacle(self) -> str:
        """Why there is no closed form, in words; empty where there is one."""
        objective = self.functional
        if not isinstance(objective.loss, SquaredLoss):
            return f"the loss is {objective.loss!r}"
        if not isinstance(objective.regularizer, (NoRegularizer, Ridge, TotalVariation)):
            return f"the regularizer is {objective.regularizer!r}"
        rates = () if self._strength == 0.0 or objective.mobility is None else objective.mobility
        if len({float(rate) for rate in rates if rate > 0}) > 1:
            return "Ridge pulls at layers of different rates"
        if self.rank is not None and self.rank > MOST_MODES:
            return f"{self.rank} predictions are more than {MOST_MODES}"
        return ""

    @property
    def _strength(self) -> float:
        """The factor of theta in grad V."""
        regularizer = self.functional.regularizer
        return float(regularizer.strength) if isinstance(regularizer, Ridge) else 0.0

    @property
    def _mobility(self) -> Array:
        mobility = self.functional.mobility
        return np.ones(self.shape[1]) if mobility is None else mobility

    def _modes(self) -> tuple[Array, Array, Array]:
        """``scale^2 D^(1/2) K D^(1/2) = V diag(L) V'`` with ``R'(f) = D (f - y)``: L, V and the diagonal of D^(1/2)."""
        if self._known is None:
            from meanfield.kernels import empirical

            objective = self.functional
            f = objective._scaled(objective._operator.raw)
            curvature = LossCurvature(objective.loss, f, objective.y, objective._weights())
            root = np.sqrt(curvature.matrix())
            kernel = empirical(objective.network, objective.at, objective.X)
            kernel *= (objective._scale * root)[:, None] * (objective._scale * root)
            with one_blas_thread():
                values, vectors = np.linalg.eigh(kernel)
            self._known = values, vectors, root
        return self._known

    def _solution(self, h: float, z: Array, out: Array) -> Array:
        """The state a time h (infinity too) after z; modes of the kernel that are rounding do not move."""
        objective, operator = self.functional, self.functional._operator
        values, vectors, root = self._modes()
        scale, x, decay = objective._scale, self.flow.time_factor * h, 0.0
        moving = self._mobility > 0
        if self._strength:
            decay = self._strength * float(self._mobility[moving][0])
        positions = z.reshape(self.shape)
        f = objective._scaled(operator.integrate(positions, objective.at.coefficients))
        seen = values > values.size * np.finfo(float).eps * values[-1]
        held, modes = values[seen], vectors[:, seen]
        with one_blas_thread():
            force = modes.T @ (scale * root * (f - objective.y).reshape(-1))
            amplitude = force * _grown(held + decay, x)
            if decay:
                pulled = operator.push(np.where(moving, positions, 0.0)).reshape(-1)
                back = _grown(held + decay, x) - np.exp(-decay * x) * _grown(held, x)
                amplitude -= (modes.T @ (scale**2 * root * pulled)) * back
            beta = root * (modes @ amplitude)
        gradient = operator.pull(beta.reshape(operator.raw.shape))[1]
        if self.signs is not None:
            gradient = self.signs[:, None] * gradient
        change = -self._mobility * gradient
        if decay:
            change += np.expm1(-decay * x) * np.where(moving, positions, 0.0)
        np.add(positions, change, out=out.reshape(self.shape))
        return out


def _grown(rate: Array, x: float) -> Array:
    """``int_0^x e^{-rate s} ds`` for positive rates."""
    return np.asarray(-np.expm1(-rate * x) / rate)

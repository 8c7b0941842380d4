"""One gradient step of a model at one datum, and what it changes elsewhere: measures of neurons, any model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from meanfield import kernels
from meanfield.diagnostics._regime.model import Model, as_model
from meanfield.flows.linearized import LinearizedObjective
from meanfield.networks.feature_map import as_inputs, bind, predict, scale_of
from meanfield.plugins import check_feature_map
from meanfield.profiled import ProfiledObjective
from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array
from solvers.result import Trajectory


class Steps(Protocol):
    """What elasticity asks of a model; f has `outputs` columns everywhere."""

    outputs: int
    subject: str

    def values(self, X: Array) -> Array:
        """f (n, k)."""

    def kernel(self, X: Array, Z: Array, block_bytes: int) -> Array:
        """``<grad f_a(x), grad f_b(z)>`` in the metric of the step, (n, k, m, k)."""

    def drift(self, X: Array) -> Array:
        """``<grad f(x), w>`` in that metric, (n, k): what a unit of weight decay takes from f."""

    def moved(self, x: Array, q: Array, step: float, decay: float) -> Any:
        """The model after ``w - step (sum_a q_a grad f_a(x) + decay w)``, for one point x (1, ...)."""

    def change(self, X: Array) -> Callable[[Any], Array]:
        """A function of moved models: f(X, w+) - f(X, w), (n, k)."""


class MeasureSteps:
    """A measure of neurons, each moved as by `SGD`: ``theta_j - step M (s_j scale grad <q, Phi> + decay theta_j)``."""

    def __init__(self, network: Any, measure: ParticleMeasure) -> None:
        if measure.positions.shape[1] != int(network.dim):
            raise InputError(
                f"particles have {measure.positions.shape[1]} coordinates, but neurons of this network {network.dim}"
            )
        self.network, self.measure = network, measure
        self.scale = scale_of(network)
        self.outputs = max(1, int(getattr(network, "outputs", 1)))
        mobility = getattr(network, "mobility", None)
        self.mobility = np.ones(int(network.dim)) if mobility is None else np.asarray(mobility)
        self.subject = f"{network!r}, {measure.positions.shape[0]} neurons"

    def points(self, x: Array) -> Array:
        """Inputs as the network wants them, and the network found to be one."""
        inputs = as_inputs(self.network, x)
        check_feature_map(self.network, inputs)
        return inputs

    def values(self, X: Array) -> Array:
        return predict(self.network, self.measure, X).reshape(X.shape[0], self.outputs)

    def kernel(self, X: Array, Z: Array, block_bytes: int) -> Array:
        found = kernels.empirical(self.network, self.measure, X, Z, block_bytes=block_bytes)
        k = self.outputs
        return np.asarray(self.scale**2 * found.reshape(X.shape[0], k, Z.shape[0], k))

    def _pulled(self, x: Array, q: Array) -> Array:
        """``sum_a q_a grad Phi_a(theta_j; x)``, (m, p)."""
        front = q if self.outputs == 1 else q[None]
        with one_blas_thread():
            return np.asarray(self.network.vjp(self.measure.positions, x, front))

    def drift(self, X: Array) -> Array:
        out = np.empty((X.shape[0], self.outputs))
        along = self.mobility * self.measure.positions * self.measure.coefficients[:, None]
        for i in range(X.shape[0]):
            for a in range(self.outputs):
                gradient = self._pulled(X[i : i + 1], np.eye(self.outputs)[a])
                out[i, a] = self.scale * np.sum(gradient * along)
        return out

    def moved(self, x: Array, q: Array, step: float, decay: float) -> Array:
        theta, signs = self.measure.positions, self.measure.signs
        gradient = self.scale * self._pulled(x, q)
        if signs is not None:
            gradient *= signs[:, None]
        return np.asarray(theta - step * self.mobility * (gradient + decay * theta))

    def change(self, X: Array) -> Callable[[Any], Array]:
        # int Phi dmu alone: what is subtracted (the centre) does not change
        operator, masses = bind(self.network, X), self.measure.coefficients
        before = operator.integrate(self.measure.positions, masses)

        def after(positions: Array) -> Array:
            raw = operator.integrate(positions, masses) - before
            return np.asarray(self.scale * raw).reshape(X.shape[0], self.outputs)

        return after


class ModelSteps:
    """Any model given as functions; its step needs `Model.at`, its limit only gradients."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.outputs = 1
        size = "" if model.parameters is None else f" of {model.parameters.size} parameters"
        self.subject = f"model{size}"

    def points(self, x: Array) -> Array:
        """The points, after one look at the model: how many outputs, gradients of the right shape."""
        first = self.model.values(x[:1])
        self.outputs = 1 if first.ndim == 1 else first.shape[1]
        shape = self.model.rows(x[:1]).shape
        if shape[0] != self.outputs:
            raise InputError(
                f"gradients must return one gradient for each of the {self.outputs} output(s), (n, P) or (n, k, P), "
                f"but it returned {shape[0]} at a point"
            )
        parameters = self.model.parameters
        if parameters is not None and shape[1] != parameters.size:
            raise InputError(
                f"gradients must have an entry for each of the {parameters.size} parameters, but they have {shape[1]}"
            )
        return x

    def values(self, X: Array) -> Array:
        return self.model.values(X).reshape(len(X), self.outputs)

    def kernel(self, X: Array, Z: Array, block_bytes: int) -> Array:
        k = self.outputs
        return self.model.kernel(X, Z, block_bytes).reshape(len(X), k, len(Z), k)

    def _parameters(self, what: str) -> Array:
        if self.model.parameters is None:
            raise InputError(f"{what} needs the parameters: pass mf.diagnostics.Model(..., parameters=)")
        return np.asarray(self.model.parameters)

    def drift(self, X: Array) -> Array:
        parameters = self._parameters("decay=")
        # a point at a time: gradients may be long
        return np.stack([self.model.rows(X[i : i + 1]) @ parameters for i in range(len(X))])

    def moved(self, x: Array, q: Array, step: float, decay: float) -> Model:
        if self.model.at is None:
            raise InputError(
                "a finite step needs the model at other parameters: make it with mf.diagnostics.Model.parametrized("
                "predict, gradients, parameters), or pass step=None for the limit alone"
            )
        parameters = self._parameters("a finite step")
        moved = parameters - step * (q @ self.model.rows(x) + decay * parameters)
        if not np.isfinite(moved).all():
            raise InputError(
                f"a step of {step:g} makes parameters infinite; take a smaller step, or rescale y"
            )
        return self.model.at(moved)

    def change(self, X: Array) -> Callable[[Any], Array]:
        before = self.values(X)

        def after(model: Model) -> Array:
            # a step too long may give anything: whoever asked for it says so
            found = _check.array(model.predict(X), "what predict returned", finite=False).reshape(len(X), -1)
            if found.shape != before.shape:
                raise InputError(
                    f"the model predicts shape {found.shape} after a step and {before.shape} before it; at() must "
                    "return the same model"
                )
            return np.asarray(found - before)

        return after


def as_steps(model: Any) -> tuple[Any, Any]:
    """What a person calls a model, as `Steps`; and the loss that came with it, or None."""
    if isinstance(model, Trajectory):
        return _of_run(model)
    if isinstance(model, tuple) and len(model) == 2 and isinstance(model[1], ParticleMeasure):
        if not (hasattr(model[0], "vjp") and hasattr(model[0], "dim")):
            raise InputError(
                f"(network, measure) needs a network, such as mf.TwoLayer(...), not {type(model[0]).__name__}"
            )
        return MeasureSteps(*model), None
    if isinstance(model, (Model, tuple)):
        return ModelSteps(as_model(model, "model")), None
    raise InputError(
        "model must be a run, a pair (network, measure), a mf.diagnostics.Model or a pair of functions (predict, "
        f"gradients), not {type(model).__name__}"
    )


def _of_run(run: Any) -> tuple[Any, Any]:
    """The end of a run of neurons, and the loss that it was trained on."""
    objective: Any = getattr(run, "objective", None)
    measure = run.final
    if isinstance(objective, LinearizedObjective):
        raise InputError(
            "a linearized network keeps the tangent kernel of its start: pass (network, start) with step=None"
        )
    if isinstance(objective, ProfiledObjective):
        objective, measure = objective.objective, objective.lift(measure)
    if hasattr(objective, "model"):
        return ModelSteps(objective.model(run.final)), objective.loss
    network = getattr(objective, "network", None)
    if network is None or not isinstance(measure, ParticleMeasure):
        raise InputError(
            "elasticity() needs a run of a network's neurons, and this run has none; pass (network, measure), or a "
            "mf.diagnostics.Model"
        )
    return MeasureSteps(network, measure), getattr(objective, "loss", None)

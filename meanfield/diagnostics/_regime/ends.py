"""The two ends of training, of a run of particles or of any model, with one face: movement, kernels, predictors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from meanfield import kernels
from meanfield.diagnostics._regime.model import as_model
from meanfield.flows import SGD, LinearizedFlow, WassersteinFlow
from meanfield.flows.linearized import LinearizedObjective
from meanfield.networks import TwoLayer
from meanfield.networks.feature_map import as_inputs
from meanfield.objective import Objective
from meanfield.profiled import ProfiledObjective
from solvers import _check, integrate
from solvers._reduction import datum_weights
from solvers.errors import InputError
from solvers.losses import SquaredLoss, by_name
from solvers.protocols import Array

# Predictions up to which the kernel predictor is computed where nobody asked for it.
MOST_PREDICTIONS = 2000


def relative(change: float, size: float) -> float:
    """``sqrt(change/size)``; infinite from nothing to something."""
    if size > 0.0:
        return math.sqrt(change / size)
    return math.inf if change > 0.0 else math.nan


class RunEnds:
    """Start and end of a run of particles."""

    def __init__(self, run: Any, X: Any, y: Any, loss: Any) -> None:
        if y is not None or loss is not None:
            raise InputError("a run brings its own labels and loss; y= and loss= are for pairs of models")
        self.run, self.objective = run, run.objective
        self.start, self.end = run.initial, run.final
        #: of a profiled objective the whole network is compared, with its optimal outer weights
        self.profiled = isinstance(self.objective, ProfiledObjective)
        if self.profiled:
            self.start, self.end = self.objective.lift(self.start), self.objective.lift(self.end)
            self.objective = self.objective.objective
        self.network = getattr(self.objective, "network", None)
        if self.network is None:
            raise InputError(f"regime() needs a run of a network; {type(self.objective).__name__} has none")
        on_data = isinstance(self.objective, Objective)
        if X is None and not on_data:
            raise InputError(
                f"{type(self.objective).__name__} has no data on which kernels could be compared; pass X="
            )
        self.X = self.objective.X if X is None else as_inputs(self.network, X)
        self.y = self.objective.y if on_data and X is None else None
        self.loss = self.objective.loss if on_data else None
        #: a linearized network keeps the kernel of where it was linearized
        self.frozen = isinstance(self.objective, LinearizedObjective)
        self.at = self.objective.at if self.frozen else self.start
        self.scale = float(getattr(self.network, "scale", 1.0))

    def movement(self) -> tuple[float, float]:
        """Relative movement of whole neurons, and of their inner weights."""
        squares = np.square(self.end.positions - self.start.positions)
        sizes = np.square(self.start.positions)
        weights = self.start.weights
        whole = relative(float(weights @ squares.sum(axis=1)), float(weights @ sizes.sum(axis=1)))
        layout = getattr(self.network, "layout", None)
        if not layout or "w" not in layout:
            return whole, math.nan
        inner = np.r_[tuple(slice(*layout[name]) for name in ("w", "b") if name in layout)]
        part = relative(
            float(weights @ squares[:, inner].sum(axis=1)), float(weights @ sizes[:, inner].sum(axis=1))
        )
        return whole, part

    def kernels(self, X: Any) -> tuple[Array, Array]:
        """The tangent kernel at start and end."""
        before = kernels.empirical(self.network, self.at, X)
        return before, before if self.frozen else kernels.empirical(self.network, self.end, X)

    def flips(self, X: Any) -> float:
        """Share of preactivations that changed sign; a particle at a time in blocks."""
        if not isinstance(self.network, TwoLayer):
            return math.nan
        if self.frozen:
            return 0.0
        _, inner, shift = self.network._split(self.start.positions)
        _, inner_end, shift_end = self.network._split(self.end.positions)
        return float(np.mean((inner @ X.T + shift > 0) != (inner_end @ X.T + shift_end > 0)))

    def predict(self, X: Any) -> Array:
        """The trained network."""
        return np.asarray(self.objective.predict(self.end, X))

    def kernel_predictor(self, X: Any, time: Any, asked: bool) -> tuple[Array, float] | None:
        """Predictions of the linearized network, and the time at which; None where that has no meaning or is dear."""
        flow = self.run.flow
        if self.profiled and asked:
            raise InputError(
                "a run of a profiled objective has no kernel predictor: its outer weights are optimal at all times, "
                "not trained; leave out kernel_predictor="
            )
        followed = isinstance(flow, (WassersteinFlow, SGD)) and isinstance(self.objective, Objective)
        if self.profiled or not followed:
            if asked:
                raise InputError(
                    f"the kernel predictor follows a WassersteinFlow or SGD of an Objective, not {type(flow).__name__}"
                )
            return None
        base = self.objective.base if self.frozen else self.objective
        cheap = isinstance(base.loss, SquaredLoss) and base.y.size <= MOST_PREDICTIONS
        if not cheap and not asked:
            return None
        linear = LinearizedFlow(base, self.at, time_unit=flow.time_unit)
        span = float(self.run.t[-1] - self.run.t[0]) if time is None else time
        if math.isinf(span):
            state = linear.limit(self.start)
        else:
            state = integrate(linear, self.start, span, save=[0.0, span]).final
        return np.asarray(linear.objective.predict(state, X)), span


class ModelEnds:
    """Two models: before and after training."""

    def __init__(self, pair: tuple[Any, Any], X: Any, y: Any, loss: Any) -> None:
        self.start, self.end = as_model(pair[0], "the start"), as_model(pair[1], "the end")
        if X is None or y is None:
            raise InputError("a pair of models needs the data it was trained on: pass X= and y=")
        self.X = np.asarray(X)
        self.y: Any = _check.array(y, "y", ndim=(1, 2))
        if self.X.ndim == 0 or self.y.shape[0] != self.X.shape[0]:
            raise InputError(
                f"y must have one entry for each row of X, but shapes are {self.y.shape} and {self.X.shape}"
            )
        self.loss = by_name("squared" if loss is None else loss)
        if hasattr(self.loss, "check_labels"):
            self.y = np.asarray(self.loss.check_labels(y, self.y.shape[0]))
        if getattr(self.loss, "kind", "") != "cross_entropy" and self.y.ndim == 2 and self.y.shape[1] == 1:
            self.y = self.y[:, 0]
        self._check_outputs()
        self.scale = 1.0

    def _check_outputs(self) -> None:
        """One sentence if the two models, or predictions and labels, are not of one shape."""
        first, last = (model.values(self.X[:1]).shape[1:] for model in (self.start, self.end))
        if first != last:
            raise InputError(
                f"the models predict shapes {first} and {last} at a point; they must be one model"
            )
        if getattr(self.loss, "kind", "") == "cross_entropy" and self.y.ndim == 1:
            outputs = first[0] if first else 1
            if int(self.y.max()) >= outputs:
                raise InputError(
                    f"y has classes up to {int(self.y.max())}, but the models have {outputs} output(s), not one each"
                )
        elif first != self.y.shape[1:]:
            raise InputError(
                f"predictions have shape {(*self.y.shape[:1], *first)} and y {self.y.shape}; they must agree"
            )

    def movement(self) -> tuple[float, float]:
        before, after = self.start.parameters, self.end.parameters
        if before is None or after is None:
            return math.nan, math.nan
        if before.shape != after.shape:
            raise InputError(
                f"the models have {before.size} and {after.size} parameters; they must be one model"
            )
        squares, sizes = np.square(after - before), np.square(before)
        inner = self.start.inner
        part = math.nan if inner is None else relative(float(squares[inner].sum()), float(sizes[inner].sum()))
        return relative(float(squares.sum()), float(sizes.sum())), part

    def kernels(self, X: Any) -> tuple[Array, Array]:
        return self.start.kernel(X), self.end.kernel(X)

    def flips(self, X: Any) -> float:
        if self.start.active is None or self.end.active is None:
            return math.nan
        return float(np.mean(np.asarray(self.start.active(X)) != np.asarray(self.end.active(X))))

    def predict(self, X: Any) -> Array:
        return self.end.values(X)

    def kernel_predictor(self, X: Any, time: Any, asked: bool) -> tuple[Array, float] | None:
        if asked and not isinstance(self.loss, SquaredLoss):
            raise InputError("the kernel predictor of a pair of models is that of the squared loss")
        if not isinstance(self.loss, SquaredLoss) or (self.y.size > MOST_PREDICTIONS and not asked):
            return None
        span = math.inf if time is None else time
        start = self.start.values(self.X)
        flow = kernels.flow(self.start.kernel(self.X), self.y, start, str(self.loss.reduction))
        return flow.predict(span, self.start.kernel(X, self.X), self.start.values(X)), span


class DeepEnds(ModelEnds):
    """Start and end of a run of a deep network: two models with the data, the loss and the clock of the run."""

    def __init__(self, run: Any, X: Any, y: Any, loss: Any) -> None:
        if y is not None or loss is not None:
            raise InputError("a run brings its own labels and loss; y= and loss= are for pairs of models")
        problem = run.objective
        super().__init__(
            (problem.model(run.initial), problem.model(run.final)), problem.X, problem.y, problem.loss
        )
        self.run, self.problem, self.span = run, problem, float(run.t[-1] - run.t[0])
        if X is not None:
            self.X, self.y = problem.net.check_inputs(X), None

    def _check_outputs(self) -> None:
        """One network, checked with its data."""

    def predict(self, X: Any) -> Array:
        return np.asarray(self.problem.predict(self.run.final, X))

    def kernel_predictor(self, X: Any, time: Any, asked: bool) -> tuple[Array, float] | None:
        problem = self.problem
        if not isinstance(self.loss, SquaredLoss):
            if asked:
                raise InputError(
                    "the kernel predictor of a run of a deep network is that of the squared loss"
                )
            return None
        if problem.y.size > MOST_PREDICTIONS and not asked:
            return None
        span = self.span if time is None else time
        # with weights W of the data, g = W^(1/2) f obeys dg/dt = -W^(1/2) K W^(1/2) (g - W^(1/2) y)
        roots = np.sqrt(datum_weights(self.loss.reduction, problem.y, problem.sample_weight))
        flat = np.broadcast_to(roots, problem.y.shape).reshape(-1)
        kernel = flat[:, None] * self.start.kernel(problem.X) * flat
        start = roots * self.start.values(problem.X).reshape(problem.y.shape)
        flow = kernels.flow(kernel, roots * problem.y, start, "sum")
        cross = self.start.kernel(X, problem.X) * flat
        return flow.predict(span, cross, self.start.values(X)), span

"""Training of deep networks: gradient descent and its minibatches on the clock of the flow, and the flow itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from meanfield.finite.deep.problem import Problem
from meanfield.finite.deep.weights import Weights
from meanfield.flows._batches import check_batches, generator_at, named, rows_at, weights_of
from solvers import _check
from solvers._rng import seed_words
from solvers.errors import InputError
from solvers.protocols import Array

# Share of the error in weights that counts beside the one in predictions, as in the flows of measures.
WEIGHT_SHARE = 0.01


class _Training:
    """What descent and flow share: states are `Weights`, z is their flat vector."""

    def __init__(self, problem: Any) -> None:
        if not isinstance(problem, Problem):
            raise InputError(
                f"{type(self).__name__} needs a mf.finite.deep.Problem(net, X, y), not {type(problem).__name__}"
            )
        self.problem = problem

    @property
    def objective(self) -> Problem:
        """The problem, by the name that flows of measures have for it."""
        return self.problem

    @property
    def trajectory_type(self) -> Any:
        """Runs that know how to predict, compare and draw themselves."""
        from meanfield.run import Run

        return Run

    def pack(self, state: Any) -> Array:
        """All weights as one flat vector."""
        return self.problem.net.flat(state).copy()

    def unpack(self, z: Array, like: Any) -> Weights:
        """Weights at z."""
        return Weights.over(z.copy(), self.problem.net.shapes)

    def beside(self, step: float, batch: int | None, rng: Any, sampler: Any) -> SGD:
        """Descent on the same problem, for ``run.sgd``."""
        return SGD(self.problem, step, batch, rng, sampler)

    def default_record(self, t: float, z: Array) -> dict[str, float]:
        """The loss, at every save."""
        problem = self.problem
        with np.errstate(over="ignore", invalid="ignore"):
            return {"objective": problem.risk(problem.shaped(problem.net.values(z, problem.X)))}


class SGD(_Training):
    """``W_l <- W_l - step rate_l grad_l R_batch``; iteration k is at time t = k step, on the clock of `GradientFlow`.

    Rates are 1 but for mean-field networks (then steps compare between widths, as those of `mf.SGD`). The batch of
    iteration k depends on (rng, k) alone, and is that of `mf.SGD`: runs can be resumed anywhere.

    Parameters
    ----------
    problem : Problem
    step : float
    batch : int, optional
        Samples an iteration, drawn independently with replacement; None takes all data: gradient descent.
    rng : int, SeedSequence or Generator
    sampler : callable, optional
        ``sampler(generator, size) -> X, y`` draws fresh samples from a population, by the generator alone. The
        problem's own data then only serve to record its value.
    replace : bool
        False draws each batch without replacement (batches stay independent of each other).

    Raises
    ------
    InputError
    """

    kind = "map"

    def __init__(
        self,
        problem: Problem,
        step: float,
        batch: int | None = None,
        rng: Any = 0,
        sampler: Callable[[np.random.Generator, int], tuple[Any, Any]] | None = None,
        replace: bool = True,
    ) -> None:
        super().__init__(problem)
        self.step_size = float(_check.number(step, "step", positive=True))
        self.batch = None if batch is None else _check.number(batch, "batch", positive=True, integer=True)
        check_batches(self.batch, len(problem.X), replace, problem.sample_weight, sampler)
        self.sampler, self.replace = sampler, bool(replace)
        self.words = seed_words(rng, "sgd")

    def __repr__(self) -> str:
        batch = "all data" if self.batch is None else f"batch={self.batch}"
        return f"SGD({self.problem!r}, step={self.step_size:g}, {batch})"

    def describe(self) -> dict[str, Any]:
        """Configuration for provenance."""
        return {
            "flow": "deep.SGD",
            "step": self.step_size,
            "batch": self.batch,
            "replace": self.replace,
            "sampler": None if self.sampler is None else named(self.sampler),
            "key": [int(word) for word in self.words],
            **self.problem.describe(),
        }

    def prepare(self, state: Any) -> _Descent:
        """The iteration, bound."""
        return _Descent(self)

    def batch_at(self, k: int) -> tuple[Array, Array, Array | None] | None:
        """X, y and weights of the batch of iteration k; None where it is all data."""
        problem = self.problem
        n, weight = len(problem.X), problem.sample_weight
        if self.batch is None:
            return None
        if self.sampler is not None:
            X, y = self._fresh(self.sampler(generator_at(self.words, k), self.batch))
            return X, y, weights_of(problem.loss, n, weight, len(X))
        rows = rows_at(self.words, k, self.batch, n, self.replace, weight)
        return problem.X[rows], problem.y[rows], weights_of(problem.loss, n, weight, self.batch)

    def _fresh(self, drawn: Any) -> tuple[Array, Array]:
        if not isinstance(drawn, (tuple, list)) or len(drawn) != 2:
            raise InputError(f"sampler must return X, y, but it returned a {type(drawn).__name__}")
        X = self.problem.net.check_inputs(drawn[0])
        if np.shape(drawn[1])[:1] != (len(X),):
            raise InputError(
                f"sampler must return one label for each of its {len(X)} points, but y has shape {np.shape(drawn[1])}"
            )
        return X, self.problem.check_labels(drawn[1], len(X))


class _Descent:
    kind = "map"

    def __init__(self, flow: SGD) -> None:
        self.flow, self.default_step = flow, flow.step_size
        self.pack, self.unpack = flow.pack, flow.unpack
        self.describe, self.default_record = flow.describe, flow.default_record

    def step(self, z: Array, h: float, k: int) -> None:
        """One iteration, in place."""
        # a run that diverges is told by its state, not by warnings
        with np.errstate(over="ignore", invalid="ignore"):
            self.flow.problem.descend(z, h, self.flow.batch_at(k))


class GradientFlow(_Training):
    """``dW_l/dt = -rate_l grad_l R``; methods that choose their steps hold the error of predictions.

    Parameters
    ----------
    problem : Problem

    Raises
    ------
    InputError
    """

    kind = "ode"
    time_dependent = False

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.smooth = problem.net.smooth

    def __repr__(self) -> str:
        return f"GradientFlow({self.problem!r})"

    def describe(self) -> dict[str, Any]:
        """Configuration for provenance."""
        return {"flow": "deep.GradientFlow", **self.problem.describe()}

    def velocity(self, t: float, z: Array, out: Array) -> Array:
        """-rate grad R."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.problem.slope(z, out)
        out *= -self.problem.net.rates
        return out

    def error_norm(self, z: Array, error: Array, rtol: float, atol: float) -> float:
        """RMS error in the predictions f (plus 1 % of the one in weights), in units of the tolerance."""
        net, problem = self.problem.net, self.problem
        f, other = net.values(z, problem.X), net.values(z - error, problem.X)
        size = max(_rms(f), 0.0 if problem.classes else _rms(problem.y))
        return _rms(f - other) / (atol + rtol * size) + WEIGHT_SHARE * _rms(error) / (atol + rtol * _rms(z))


def _rms(x: Any) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(x, dtype=np.float64)))))

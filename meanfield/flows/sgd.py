"""Stochastic gradient descent of a network of finite width, on the clock of the flow."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from meanfield._kernels.small_sgd import sgd_program
from meanfield.flows._batches import check_batches, generator_at, named, rows_at, weights_of
from meanfield.flows._bound import BoundParticles, require_measure
from meanfield.networks.feature_map import as_inputs
from meanfield.objective import Objective
from meanfield.profiled import ProfiledObjective
from solvers import _check
from solvers._rng import seed_words
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array

# Bytes of drawn samples that a flow keeps: replicas, and runs that follow, see the same samples.
KEPT_BYTES = 32_000_000


class SGD:
    """``theta_j <- theta_j - step * grad F'_batch(mu)(theta_j)``; iteration k is at time t = k * step.

    In terms of the m-particle loss F_m the learning rate is m * step, so that widths are comparable. The
    batch of iteration k depends on (rng, k) alone: runs are reproducible and can be resumed anywhere.

    Parameters
    ----------
    objective : Objective
    step : float
        Step in the time unit of the flow.
    batch : int, optional
        Samples an iteration, drawn independently with replacement; None takes all data (gradient descent).
    rng : int, SeedSequence or Generator
    sampler : callable, optional
        ``sampler(generator, size) -> X, y`` draws fresh samples from a population, by the generator alone: it may
        be asked once for several runs. The objective's own data then only serve to record its value.
    replace : bool
        False draws each batch without replacement (batches stay independent of each other).
    time_unit : {"flow", "alpha"}
        "alpha" divides the velocity by scale^2, as in `WassersteinFlow`: steps are then on that flow's clock.
    """

    kind = "map"

    def __init__(
        self,
        objective: Objective,
        step: float,
        batch: int | None = None,
        rng: Any = 0,
        sampler: Callable[[np.random.Generator, int], tuple[Any, Any]] | None = None,
        replace: bool = True,
        time_unit: str = "flow",
    ) -> None:
        if isinstance(objective, ProfiledObjective):
            raise InputError(
                "SGD would eliminate the outer weights of a profiled objective on each batch alone, which descends "
                "another objective; use solvers.Euler(step) on WassersteinFlow"
            )
        if hasattr(objective, "net"):
            raise InputError(
                "mf.SGD moves the neurons of a measure; deep networks are trained by mf.finite.deep.SGD"
            )
        if not isinstance(objective, Objective):
            raise InputError(
                f"SGD needs an Objective on data, not {type(objective).__name__}; for a population pass an "
                "Objective on test data and sampler="
            )
        self.objective = objective
        self.step = _check.number(step, "step", positive=True)
        self.batch = None if batch is None else _check.number(batch, "batch", positive=True, integer=True)
        check_batches(self.batch, objective.X.shape[0], replace, objective.sample_weight, sampler)
        self.sampler = sampler
        self.replace = bool(replace)
        self.words = seed_words(rng, "sgd")
        self._kept: dict[int, tuple[Array, Array]] = {}
        self._left = KEPT_BYTES
        self.time_unit = _check.choice(time_unit, "time_unit", ("flow", "alpha"))
        scale = float(getattr(objective.network, "scale", 1.0))
        self.time_factor = 1.0 if self.time_unit == "flow" else 1.0 / scale**2

    def __getstate__(self) -> dict[str, Any]:
        # samples are drawn again where they are wanted
        return {**vars(self), "_kept": {}, "_left": KEPT_BYTES}

    def __repr__(self) -> str:
        batch = "all data" if self.batch is None else f"batch={self.batch}"
        unit = "" if self.time_unit == "flow" else ", time_unit='alpha'"
        return f"SGD({self.objective!r}, step={self.step:g}, {batch}{unit})"

    def describe(self) -> dict[str, Any]:
        """Configuration for provenance."""
        return {
            "flow": "SGD",
            "time_unit": self.time_unit,
            "step": self.step,
            "batch": self.batch,
            "replace": self.replace,
            "sampler": None if self.sampler is None else named(self.sampler),
            "key": [int(w) for w in self.words],
            **self.objective.describe(),
        }

    def prepare(self, state: Any) -> _BoundSGD:
        """The iteration bound to the width, weights and signs of one measure."""
        return _BoundSGD(self, require_measure(state))

    def pack(self, state: Any) -> Array:
        """Positions as one flat vector."""
        return self.prepare(state).pack(state)

    def unpack(self, z: Array, like: Any) -> ParticleMeasure:
        """The measure at z, with the weights of `like`."""
        return self.prepare(like).unpack(z, like)

    @property
    def plain(self) -> bool:
        """Whether batches are drawn from the data alike, with replacement: by numbers that compiled code draws too."""
        return (
            self.batch is not None
            and self.sampler is None
            and self.replace
            and self.objective.sample_weight is None
        )

    def batch_at(self, k: int) -> Objective:
        """The objective on the batch of iteration k."""
        if self.batch is None:
            return self.objective
        if self.sampler is not None:
            X, y = self._sample(k)
            return self.objective.on(X, y, self._each(X.shape[0]))
        X, y = self.objective.X, self.objective.y
        chosen = rows_at(self.words, k, self.batch, X.shape[0], self.replace, self.objective.sample_weight)
        return self.objective.on(X[chosen], y[chosen], self._each(self.batch))

    def _sample(self, k: int) -> tuple[Array, Array]:
        """What the sampler draws for iteration k: kept while there is room, for the next run that asks."""
        found = self._kept.get(k)
        if found is None:
            assert self.sampler is not None and self.batch is not None
            found = self._fresh(self.sampler(generator_at(self.words, k), self.batch))
            size = found[0].nbytes + found[1].nbytes
            if size <= self._left:
                self._left -= size
                # a sampler may use its arrays again
                found = self._kept[k] = (found[0].copy(), found[1].copy())
        return found

    def _each(self, size: int) -> Array | None:
        """Weights of a batch of so many samples."""
        objective = self.objective
        return weights_of(objective.loss, objective.X.shape[0], objective.sample_weight, size)

    def _fresh(self, drawn: Any) -> tuple[Array, Array]:
        """What a sampler drew, checked: compiled kernels would read beyond arrays of other shapes."""
        if not isinstance(drawn, (tuple, list)) or len(drawn) != 2:
            raise InputError(f"sampler must return X, y, but it returned a {type(drawn).__name__}")
        X, y = as_inputs(self.objective.network, drawn[0]), np.asarray(drawn[1])
        like = self.objective.y
        if like.ndim == 1 and y.shape == (X.shape[0], 1):
            y = y[:, 0]
        shape = (X.shape[0], *like.shape[1:])
        if y.shape != shape:
            raise InputError(
                f"sampler must return y of shape {shape} for X of shape {X.shape}, not {y.shape}"
            )
        return X, y


class _BoundSGD(BoundParticles):
    kind = "map"

    def __init__(self, flow: SGD, measure: ParticleMeasure) -> None:
        super().__init__(flow, measure)
        self.default_step = flow.step

    @cached_property
    def program(self) -> Any:
        """The iteration as one compiled problem, where it is small enough for that; None elsewhere."""
        return sgd_program(self)

    def step(self, z: Array, h: float, k: int) -> None:
        """One iteration, in place."""
        velocity = self.flow.batch_at(k)._velocity(self.measure(z))
        z += (h * self.flow.time_factor) * velocity.reshape(-1)

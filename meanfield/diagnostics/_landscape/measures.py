"""Measures of neurons with an objective: their masses are the output layer, their positions all else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from meanfield.networks.feature_map import scale_of
from meanfield.objective import Objective
from solvers import _check
from solvers._memory import fits, machine_bytes
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array
from solvers.spaces import Euclidean, Torus

# Bytes of neurons' outputs held at a time.
BLOCK_BYTES = 32_000_000


class Neurons:
    """Two-layer networks ``f = scale (sum_j c_j Phi(theta_j; .) - centre)`` on the data of an objective."""

    def __init__(self, objective: Objective) -> None:
        self.problem = objective
        self.loss_function, self.y = objective.loss, objective.y
        weights = objective.sample_weight
        self.options = {} if weights is None else {"weights": weights}

    def __repr__(self) -> str:
        return repr(self.problem.network)

    def check(self, state: Any, name: str) -> ParticleMeasure:
        """A measure of this network's neurons, or one sentence."""
        if not isinstance(state, ParticleMeasure):
            raise InputError(
                f"{name} must be a ParticleMeasure (or a run that ends in one), as the problem is an Objective, not "
                f"{type(state).__name__}"
            )
        dim = int(self.problem.network.dim)
        if state.dim != dim:
            raise InputError(
                f"{name} lives in R^{state.dim}, but neurons of {self.problem.network!r} have {dim} coordinates: it "
                "belongs to another network"
            )
        _check.array(state.positions, f"the positions of {name}")
        layout = getattr(self.problem.network, "layout", None)
        if None not in (layout, state.layout) and dict(state.layout or {}) != dict(layout or {}):
            raise InputError(
                f"{name} has neurons of the parts {state.layout}, but those of {self.problem.network!r} have "
                f"{layout}: it belongs to another network"
            )
        return state

    def sizes(self, state: ParticleMeasure) -> tuple[int, ...]:
        """Neurons of the hidden layers."""
        return (state.width,)

    def predict(self, state: ParticleMeasure) -> Array:
        """f on the data."""
        return self.problem.predict(state)

    # -- dropping -------------------------------------------------------------------------------------------------

    def drop(
        self, state: ParticleMeasure, kept: dict[int, Array], factors: dict[int, float]
    ) -> ParticleMeasure:
        """The neurons that are kept, their masses multiplied."""
        units = kept[0]
        signs = None if state.signs is None else state.signs[units]
        return ParticleMeasure(state.positions[units], factors[0] * state.weights[units], signs, state.layout)

    def thinned(
        self, state: ParticleMeasure, masks: list[dict[int, Array]], factors: dict[int, float]
    ) -> list[Array]:
        """Predictions of the network with each of the masks, whose sum over kept neurons is multiplied."""
        change: Any = 0.0
        table = np.array([factors[0] * mask[0] - 1.0 for mask in masks])
        with one_blas_thread():
            for rows, part in self._outputs(state):
                change = change + np.tensordot(table[:, rows], part, 1)
        f = self.predict(state)
        return [f + one for one in change]

    def squares(self, state: ParticleMeasure, layer: int) -> tuple[Array, Array]:
        """``sum_j phi_j^2`` and ``sum_j (phi_j - mean)^2`` over the neurons' parts phi_j of f."""
        square: Any = 0.0
        mean: Any = 0.0
        spread: Any = 0.0
        for rows, part in self._outputs(state):
            square = square + np.square(part).sum(axis=0)
            # blocks are joined by the gaps of their means: sum phi^2 - m mean^2 would cancel where neurons are alike
            count, here = len(part), part.mean(axis=0)
            gap, share = here - mean, count / (rows.start + count)
            spread = spread + np.square(part - here).sum(axis=0) + rows.start * share * gap**2
            mean = mean + share * gap
        return square, spread

    def _outputs(self, state: ParticleMeasure) -> Any:
        """Blocks of neurons, and their parts ``scale c_j Phi_j`` of predictions, (block, n) or (block, n, k)."""
        network, c = self.problem.network, scale_of(self.problem.network) * state.coefficients
        each = 8 * max(1, self.problem.X.shape[0]) * max(1, int(getattr(network, "outputs", 1)))
        size = max(1, BLOCK_BYTES // each)
        for low in range(0, state.width, size):
            rows = slice(low, min(state.width, low + size))
            values = np.asarray(network.features(state.positions[rows], self.problem.X))
            yield rows, c[rows].reshape(-1, *([1] * (values.ndim - 1))) * values

    # -- paths ----------------------------------------------------------------------------------------------------

    def require_path(self, path: str) -> None:
        """Refuse spaces in which one cannot go straight."""
        if not isinstance(self.problem.space, (Euclidean, Torus)):
            raise InputError(
                f"problem has neurons in {self.problem.space!r}, where no path goes straight: it must be Euclidean "
                "or a torus (mf.landscape.dropout works on all spaces)"
            )

    def mix(self, left: ParticleMeasure, right: ParticleMeasure, t: float) -> ParticleMeasure:
        """``(1 - t) left + t right``, of positions and of signed masses, neuron by neuron."""
        if t in (0.0, 1.0):
            return left if t == 0.0 else right
        gap = right.positions - left.positions
        if isinstance(self.problem.space, Torus):
            gap = gap - self.problem.space.period * np.round(gap / self.problem.space.period)
        c = (1.0 - t) * left.coefficients + t * right.coefficients
        signed = left.signs is not None or right.signs is not None
        signs = np.where(c < 0.0, -1.0, 1.0) if signed else None
        return ParticleMeasure(left.positions + t * gap, np.abs(c), signs, left.layout)

    def align(self, a: ParticleMeasure, b: ParticleMeasure) -> ParticleMeasure:
        """b with its neurons in the order that is nearest to a: optimal transport, of equal masses."""
        from scipy.optimize import linear_sum_assignment

        if not fits(16.0 * a.width**2):
            raise InputError(
                f"distances of {a.width} by {b.width} neurons would take {16 * a.width**2 / 2**30:,.1f} GiB, and this "
                f"machine has {machine_bytes() / 2**30:,.1f}; take path='dropout', or subsample both"
            )
        cost = np.array([self.problem.space.distance(one, b.positions) ** 2 for one in a.positions])
        order = linear_sum_assignment(cost)[1]
        signs = None if b.signs is None else b.signs[order]
        return ParticleMeasure(b.positions[order], b.weights[order], signs, b.layout)

    def corners(
        self, a: ParticleMeasure, b: ParticleMeasure, first: Sequence[Array], second: Sequence[Array]
    ) -> list[ParticleMeasure]:
        """Ends of the five straight pieces from a to b: odd ones move masses, the others neurons without mass.

        a, a on half of its neurons, b's neurons where the mass is none, b on its half, all of b's neurons, b.
        """
        mine, theirs = first[0], second[0]
        ends = []
        for state, units in ((a, mine), (b, theirs)):
            thin = np.zeros(state.width)
            thin[units] = state.width / units.size * state.coefficients[units]
            ends.append(thin)
        between = a.positions.copy()
        between[theirs] = b.positions[theirs]
        signed = a.signs is not None or b.signs is not None
        pieces = [
            (a.positions, ends[0]),
            (between, ends[0]),
            (between, ends[1]),
            (b.positions, ends[1]),
        ]
        inside = [
            ParticleMeasure(x, np.abs(c), np.where(c < 0.0, -1.0, 1.0) if signed else None, a.layout)
            for x, c in pieces
        ]
        return [a, *inside, b]

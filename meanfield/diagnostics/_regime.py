"""Lazy or rich? How far particles moved, how many activations flipped, how much the tangent kernel changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield.networks import TwoLayer
from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array


@dataclass(frozen=True)
class RegimeReport:
    """Distances from the start of a run to its end; all vanish in the lazy (kernel) limit.

    Attributes
    ----------
    relative_movement : float
        ``(int |theta_T - theta_0|^2 / int |theta_0|^2)^(1/2)`` over particles.
    kernel_change : float
        ``|K_T - K_0| / |K_0|`` (Frobenius) of the tangent kernel on `points` data.
    activation_flips : float
        Share of (particle, datum) pairs whose preactivation changed sign; NaN for other feature maps.
    points : int
    scale : float
        The network's factor alpha.
    """

    relative_movement: float
    kernel_change: float
    activation_flips: float
    points: int
    scale: float

    def __repr__(self) -> str:
        return (
            f"RegimeReport(scale {self.scale:g}: particles moved {self.relative_movement:.3g} of their size, tangent "
            f"kernel changed by {self.kernel_change:.3g}, {self.activation_flips:.1%} of activations flipped)"
        )


def tangent_kernel(network: Any, measure: Any, X: Array) -> Array:
    """``K(x, x') = sum_j p_j <grad Phi(theta_j; x), grad Phi(theta_j; x')>``, (n, n), moving layers only.

    One output; the factor scale^2 is left out, so that values at different scales compare.
    """
    n = X.shape[0]
    mobility = getattr(network, "mobility", None)
    root = np.sqrt(measure.weights)[:, None] * (1.0 if mobility is None else np.sqrt(mobility))
    rows = np.empty((n, measure.positions.size))
    for i in range(n):
        rows[i] = (root * network.vjp(measure.positions, X[i : i + 1], np.ones(1))).reshape(-1)
    return rows @ rows.T


def regime(run: Any, points: int = 64, rng: Any = 0) -> RegimeReport:
    """Compare the end of a run with its start.

    Parameters
    ----------
    run : Run
        Of a flow of an `Objective` with one output.
    points : int
        Data on which the tangent kernel is computed (a random subset if there are more).
    rng : int, SeedSequence or Generator
        Chooses the subset.
    """
    points = _check.number(points, "points", positive=True, integer=True)
    objective = run.objective
    network = objective.network
    if getattr(network, "outputs", 1) != 1:
        raise InputError("regime() knows networks with one output")
    X = objective.X
    if X.shape[0] > points:
        X = X[np.sort(generator(rng, "regime").choice(X.shape[0], size=points, replace=False))]
    start, end = run.initial, run.final
    moved = np.sum(start.weights * np.sum((end.positions - start.positions) ** 2, axis=1))
    size = np.sum(start.weights * np.sum(start.positions**2, axis=1))
    before, after = tangent_kernel(network, start, X), tangent_kernel(network, end, X)
    flips = np.nan
    if isinstance(network, TwoLayer):
        _, inner, shift = network._split(start.positions)
        _, inner_end, shift_end = network._split(end.positions)
        flips = float(np.mean((inner @ X.T + shift > 0) != (inner_end @ X.T + shift_end > 0)))
    return RegimeReport(
        relative_movement=float(np.sqrt(moved / size)) if size > 0 else np.inf,
        kernel_change=float(np.linalg.norm(after - before) / np.linalg.norm(before)),
        activation_flips=flips,
        points=int(X.shape[0]),
        scale=float(getattr(network, "scale", 1.0)),
    )

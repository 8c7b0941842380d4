"""Entropy of particles over the coordinates that train."""

from __future__ import annotations

from typing import Any

import numpy as np

from meanfield.flows.linearized import LinearizedObjective
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.spaces import Euclidean, Torus

# Neighbours whose distances an estimate looks at, by default that of `ParticleMeasure.entropy`.
NEIGHBOURS = 3


def trained_columns(functional: Any, measure: ParticleMeasure) -> Any:
    """Which coordinates move, (p,) of bool."""
    mobility = getattr(functional, "mobility", None)
    return np.ones(measure.dim, dtype=bool) if mobility is None else np.asarray(mobility) > 0


def why_no_entropy(functional: Any, measure: ParticleMeasure) -> str:
    """Why the measure has no entropy that particles could estimate, or an empty string."""
    if isinstance(functional, LinearizedObjective):
        return "particles of a linearized network differ by where they were linearized, so they have no common density"
    space = getattr(functional, "space", None)
    if space is not None and not isinstance(space, (Euclidean, Torus)):
        return f"entropies are estimated in flat spaces, not on {space!r}"
    if measure.signs is not None or np.ptp(measure.weights) > 1e-12 * measure.weights.max():
        return "entropies need equal weights and no signs; call resample(width, rng) first"
    trained = trained_columns(functional, measure)
    if not trained.any():
        return "no coordinate trains"
    if not trained.all() and np.ptp(measure.positions[:, ~trained], axis=0).max() > 0.0:
        return (
            "coordinates that do not train differ between particles, so there is no density over the others; give the "
            "frozen layer one value (TwoLayer(a=1.0))"
        )
    if measure.width <= NEIGHBOURS:
        return f"entropies are estimated from more than {NEIGHBOURS} particles, and the measure has {measure.width}"
    return ""


def trained_entropy(functional: Any, measure: ParticleMeasure, neighbours: int) -> float:
    """Estimate of ``-int mu log mu`` over trained coordinates."""
    reason = why_no_entropy(functional, measure)
    if reason:
        raise InputError(reason)
    columns = trained_columns(functional, measure)
    positions = measure.positions if columns.all() else measure.positions[:, columns]
    space = getattr(functional, "space", None)
    moving = ParticleMeasure._wrap(np.ascontiguousarray(positions), measure.weights)
    return moving.entropy(neighbours, period=space.period if isinstance(space, Torus) else None)

"""Directions in which |G_q| is large, G_q(v) = sum_i q_i bent(v.z_i): the columns that a linear program lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield._suprema import sphere_extremes
from meanfield._suprema.great_circles import climb
from meanfield._suprema.reduce import reduce
from meanfield.norms._points import bend
from solvers._rng import generator
from solvers.protocols import Array

CLIMBED = 24  # starts that are improved in a round, for either sign
CIRCLES = 60  # great circles that each of them may search
HILL = 0.02  # width of the kinks, in units of |z|, that a climb from an atom begins with: it is to stay on its hill


@dataclass(frozen=True, eq=False)
class Supremum:
    """``max |G_q|`` on the sphere: attained at `v` (with sign), never above `bound` if `exact`."""

    attained: float
    bound: float
    v: Array
    sign: float
    exact: bool
    how: str


def supremum(Z: Array, slope: float, q: Array, starts: Array | None = None, rng: Any = 0) -> Supremum:
    """Exact to rank 3, a multistart search beyond."""
    found = sphere_extremes(Z, q, slope, starts=starts, rng=rng)
    bound = max(found.upper_bound, -found.lower_bound)
    if found.highest >= -found.lowest:
        return Supremum(found.highest, bound, found.argmax, 1.0, found.exact, found.how)
    return Supremum(-found.lowest, bound, found.argmin, -1.0, found.exact, found.how)


def hills(Z: Array, slope: float, q: Array, atoms: Array, rng: Any) -> Array:
    """Local maxima of |G_q|, (k, r): all of them in rank 2, those found by climbing beyond."""
    rank = Z.shape[1]
    if rank == 1:
        return np.array([[1.0], [-1.0]])
    if rank == 2:
        return _on_circle(Z, slope, q)
    return _climbed(Z, slope, q, atoms, rng)


def _on_circle(Z: Array, slope: float, q: Array) -> Array:
    """The tops of the arcs between breakpoints, and the breakpoints: those that their neighbours do not exceed."""
    norms = np.linalg.norm(Z, axis=1)
    Z, q = Z[norms > 0.0], q[norms > 0.0]
    angle = np.arctan2(Z[:, 1], Z[:, 0])
    pull = (1.0 - slope) * q[:, None] * Z
    enters, leaves = np.mod(angle - np.pi / 2, 2 * np.pi), np.mod(angle + np.pi / 2, 2 * np.pi)
    events = np.concatenate([enters, leaves])
    order = np.argsort(events, kind="stable")
    jumps = np.concatenate([pull, -pull])[order]
    ends = events[order]
    # on the arc after the last event, that is before the first one
    active = enters > leaves
    start = slope * (q @ Z) + pull[active].sum(axis=0)
    vectors = start + np.cumsum(jumps, axis=0)
    length = np.linalg.norm(vectors, axis=1)
    top = np.mod(np.arctan2(vectors[:, 1], vectors[:, 0]), 2 * np.pi)
    following = np.append(ends[1:], ends[0] + 2 * np.pi)
    candidates = [ends]
    for turned in (top, np.mod(top + np.pi, 2 * np.pi)):
        lifted = np.where(turned < ends, turned + 2 * np.pi, turned)
        candidates.append(turned[(lifted < following) & (length > 0.0)])
    angles = np.sort(np.concatenate(candidates))
    points = np.column_stack([np.cos(angles), np.sin(angles)])
    height = np.abs(bend(points @ Z.T, 1.0, slope) @ q)
    local = (height >= np.roll(height, 1)) & (height >= np.roll(height, -1))
    return np.asarray(points[local])


def _climbed(Z: Array, slope: float, q: Array, atoms: Array, rng: Any) -> Array:
    problem = reduce(Z, q, slope)
    if problem.rank <= 2:
        extremes = sphere_extremes(Z, q, slope)
        return np.stack([extremes.argmin, extremes.argmax])
    draw = generator(rng, "norms")
    random = draw.standard_normal((8 * CLIMBED, problem.rank))
    starts = np.concatenate([atoms @ problem.basis.T, random, problem.points, -problem.points])
    norms = np.linalg.norm(starts, axis=1)
    # an atom among them stands near its hill already
    near = np.arange(starts.shape[0]) < atoms.shape[0]
    near, starts = near[norms > 0.0], starts[norms > 0.0] / norms[norms > 0.0, None]
    height = np.maximum(starts @ problem.points.T, 0.0) @ problem.weights + starts @ problem.linear
    found = []
    for sign in (1.0, -1.0):
        order = np.argsort(-sign * height, kind="stable")
        for k in order[:CLIMBED]:
            if sign * height[k] > 0.0:
                found.append(climb(problem, starts[k], sign, CIRCLES, HILL if near[k] else 0.3)[0])
    if not found:
        return np.zeros((0, Z.shape[1]))
    tops = np.stack(found) @ problem.basis
    return np.asarray(tops / np.linalg.norm(tops, axis=1, keepdims=True))

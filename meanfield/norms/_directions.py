"""Directions in which |G_q| is large, G_q(v) = sum_i q_i bent(v.z_i): the columns that a linear program lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield._suprema import sphere_extremes
from meanfield._suprema.reduce import reduce
from meanfield.norms._climbs import climbs
from meanfield.norms._points import bend
from solvers._rng import generator
from solvers.protocols import Array

CIRCLES = 60  # great circles that each of them may search
WIDE = 0.3  # width of the kinks that a climb begins with
HILL = 0.02  # ... from an atom, which is to stay on its hill


@dataclass(frozen=True, eq=False)
class Supremum:
    """``max |G_q|`` on the sphere.

    `height` is never below it if `exact`, and the highest value found otherwise; `v` (k, r) are the highest
    directions with `values` G_q.
    """

    height: float
    v: Array
    values: Array
    exact: bool
    how: str


def supremum(Z: Array, slope: float, q: Array, near: Array, rng: Any) -> Supremum:
    """Exact to rank 3; beyond, the highest of the directions `near` and of a search from these and many others."""
    found = sphere_extremes(Z, q, slope, starts=near, rng=rng)
    v, values = np.stack([found.argmax, found.argmin]), np.array([found.highest, found.lowest])
    if found.exact:
        return Supremum(max(found.upper_bound, -found.lower_bound), v, values, True, found.how)
    attained = max(
        float(np.abs(values).max()), float(np.abs(bend(near @ Z.T, 1.0, slope) @ q).max(initial=0.0))
    )
    return Supremum(attained, v, values, False, found.how)


def hills(Z: Array, slope: float, q: Array, atoms: Array, rng: Any, count: int) -> tuple[Array, Array]:
    """Local maxima of |G_q| and the values of G_q there: all of them in rank 2, those found by climbing beyond.

    Climbs start from the `atoms` and from the `count` highest among random directions and the points themselves.
    """
    rank = Z.shape[1]
    if rank == 1:
        v = np.array([[1.0], [-1.0]])
    elif rank == 2:
        v = _on_circle(Z, slope, q)
    else:
        v = _climbed(Z, slope, q, atoms, rng, count)
    return v, bend(v @ Z.T, 1.0, slope) @ q


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


def _climbed(Z: Array, slope: float, q: Array, atoms: Array, rng: Any, count: int) -> Array:
    problem = reduce(Z, q, slope)
    if problem.rank <= 2:
        extremes = sphere_extremes(Z, q, slope)
        return np.stack([extremes.argmin, extremes.argmax])
    draw = generator(rng, "norms")
    random = draw.standard_normal((4 * count, problem.rank))
    # each atom stands near its hill already; of the rest, the highest are climbed from
    near = _units(atoms @ problem.basis.T)
    far = _units(np.concatenate([random, problem.points, -problem.points]))
    starts = np.concatenate([near, far])
    height = np.maximum(starts @ problem.points.T, 0.0) @ problem.weights + starts @ problem.linear
    highest = near.shape[0] + np.argsort(-np.abs(height[near.shape[0] :]), kind="stable")[:count]
    chosen = np.concatenate([np.arange(near.shape[0]), highest])
    widths = np.where(chosen < near.shape[0], HILL, WIDE)
    tops, _ = climbs(problem.points, problem.weights, problem.linear, np.ascontiguousarray(starts[chosen]),
                     np.where(height[chosen] < 0.0, -1.0, 1.0), widths, CIRCLES)  # fmt: skip
    return _units(tops @ problem.basis)


def _units(v: Array) -> Array:
    norms = np.linalg.norm(v, axis=1)
    return np.asarray(v[norms > 0.0] / norms[norms > 0.0, None])

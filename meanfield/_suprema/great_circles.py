"""Rank 4 and above: a multistart search for the extremes on the sphere whose line search is a whole great circle."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield._suprema.angular import circle_extremes
from meanfield._suprema.reduce import Problem
from solvers._rng import generator
from solvers.protocols import Array

RANDOM_STARTS = 256
CLIMBS = 12  # best starts that are improved, for each of minimum and maximum; at least 2
ROUNDS = 150  # great circles a climb may search; at least 20
WORK = 2e8  # multiplications spent on evaluating starts
CLIMBING = 3e9  # the same for climbing, a circle counted as n (rank + 200): with sorting, about a second
SHARPEN = 0.25  # factor on the smoothing when a circle brings no progress


def great_circle_search(problem: Problem, starts: Array | None, rng: Any) -> tuple[Array, Array]:
    """Directions of low and high ``G(v) = sum_j w_j relu(v.x_j) + v.l`` on the sphere of R^r: a heuristic.

    Starts: the points and their opposites, the linear part, `starts`, 256 random directions; thinned evenly if
    there are too many. The best are improved by searching whole great circles exactly (the problem of
    rank 2) through the iterate and the gradient of a smoothed G, whose smoothing shrinks when it brings nothing,
    and last through the steepest supergradient at the kinks. Values never get worse.
    """
    candidates = _candidates(problem, starts, rng)
    height = _evaluate(problem, candidates)
    circles = CLIMBING / max(1, problem.points.shape[0] * (problem.rank + 200))
    climbs = int(np.clip(circles / 120.0, 2, CLIMBS))
    rounds = int(np.clip(0.5 * circles / climbs, 20, ROUNDS))
    ascending = np.argsort(height, kind="stable")
    found = []
    for sign in (-1.0, 1.0):
        order = ascending if sign < 0.0 else ascending[::-1]
        chosen = _spread_out(candidates, order, climbs)
        climbed = [_climb(problem, candidates[k], sign, rounds) for k in chosen]
        found.append(max(climbed, key=lambda pair: pair[1])[0])
    return found[0], found[1]


def _candidates(problem: Problem, starts: Array | None, rng: Any) -> Array:
    rank = problem.rank
    parts = [problem.points, -problem.points]
    if starts is not None and starts.shape[0]:
        parts.append(starts @ problem.basis.T)
    mean = problem.weights @ problem.points if problem.weights.size else np.zeros(rank)
    parts.append(np.stack([mean, -mean, problem.linear, -problem.linear, mean + 2.0 * problem.linear]))
    parts.append(generator(rng, "suprema").standard_normal((RANDOM_STARTS, rank)))
    limit = max(RANDOM_STARTS, int(WORK / max(1, problem.points.size)))
    thinned = [part[:: 1 + part.shape[0] // limit] for part in parts]
    stacked = np.concatenate(thinned)
    norms = np.linalg.norm(stacked, axis=1)
    visible = norms > 0.0
    directions: Array = stacked[visible] / norms[visible, None]
    return directions


def _evaluate(problem: Problem, directions: Array) -> Array:
    out = directions @ problem.linear
    block = max(1, 4_000_000 // max(1, problem.points.shape[0]))
    for start in range(0, directions.shape[0], block):
        rows = slice(start, start + block)
        out[rows] += np.maximum(directions[rows] @ problem.points.T, 0.0) @ problem.weights
    return out


def _spread_out(candidates: Array, order: NDArray[np.intp], count: int) -> list[int]:
    """The best candidates that are not near copies of better ones."""
    chosen: list[int] = []
    for k in order[: 40 * count]:
        if all(float(candidates[k] @ candidates[other]) < 0.99 for other in chosen):
            chosen.append(int(k))
            if len(chosen) == count:
                break
    return chosen


def _climb(problem: Problem, v: Array, sign: float, rounds: int) -> tuple[Array, float]:
    """Improve sign * G from v by great circles; returns the direction and sign * G there."""
    points, weights, linear = problem.points, sign * problem.weights, sign * problem.linear
    z = points @ v
    best = float(np.maximum(z, 0.0) @ weights + v @ linear)
    smoothing = 0.3
    for _ in range(rounds):
        active = (
            0.5 * (1.0 + np.clip(z / smoothing, -1.0, 1.0))
            if smoothing
            else _at_kinks(points, weights, linear, z)
        )
        tangent = (weights * active) @ points + linear
        tangent -= (tangent @ v) * v
        length = float(np.linalg.norm(tangent))
        progress = 0.0
        if length > 0.0:
            tangent /= length
            tangent -= (tangent @ v) * v
            slope = points @ tangent
            radius = np.hypot(z, slope)
            seen = radius > 0.0
            plane = np.stack([z[seen], slope[seen]], axis=1) / radius[seen, None]
            _, _, _, turn = circle_extremes(
                plane, weights[seen] * radius[seen], np.array([v @ linear, tangent @ linear])
            )
            candidate = turn[0] * v + turn[1] * tangent
            candidate /= np.linalg.norm(candidate)
            projections = points @ candidate
            value = float(np.maximum(projections, 0.0) @ weights + candidate @ linear)
            progress = value - best
            if progress > 0.0:
                v, z, best = candidate, projections, value
        if progress <= 1e-9 * abs(best):
            if smoothing == 0.0:
                break
            smoothing = smoothing * SHARPEN if smoothing > 1e-5 else 0.0
    return v, best


def _at_kinks(points: Array, weights: Array, linear: Array, z: Array) -> Array:
    """How active each point is in the direction of steepest ascent.

    Off the kinks 0 or 1. On concave kinks (weight < 0, |v.x_j| at rounding level) the steepest ascent is the
    shortest supergradient ``sum w_j s_j x_j + l``, 0 <= s_j <= 1: a box-constrained least-squares problem. A
    convex kink is left by whichever side, so it is counted as active.
    """
    active = (z > 0.0).astype(np.float64)
    kinks = np.abs(z) < 1e-9
    active[kinks & (weights > 0.0)] = 1.0
    concave = np.flatnonzero(kinks & (weights < 0.0))
    if concave.size:
        from scipy.optimize import lsq_linear

        active[concave] = 0.0
        fixed = (weights * active) @ points + linear
        solved = lsq_linear(
            (weights[concave, None] * points[concave]).T, -fixed, bounds=(0.0, 1.0), max_iter=50
        )
        active[concave] = solved.x
    return active

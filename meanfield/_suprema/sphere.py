"""The best and the worst neuron: extremes over the unit sphere of sum_i g_i sigma(u.x_i), by the rank of the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from meanfield._suprema.angular import circle_extremes
from meanfield._suprema.bounds import EPSILON, Extremes
from meanfield._suprema.cells import sphere3_extremes
from meanfield._suprema.great_circles import great_circle_search
from meanfield._suprema.reduce import Problem, reduce, values
from solvers._check import array, number
from solvers.errors import InputError
from solvers.protocols import Array

CELLS_LIMIT = 5000  # points; rank 3 above it is searched, not enumerated
ROUNDING = 64.0  # units of 2^-52 (sum |g_i| |x_i|) allowed for rounding in an exhaustive search


def sphere_extremes(
    X: Any,
    g: Any,
    slope_negative: float = 0.0,
    *,
    starts: Any = None,
    rng: Any = 0,
    cells_limit: int = CELLS_LIMIT,
) -> Extremes:
    """``min`` and ``max`` over |u| = 1 in R^D of ``G(u) = sum_i g_i sigma(u.x_i)``.

    sigma(z) = z for z > 0 and slope_negative * z otherwise: the ReLU (0, default), a leaky ReLU, the identity (1).
    A bias is a column of ones in X.

    X is first reduced to its rank r, because G depends on u only through the row space: if r < D then the sphere
    projects onto the unit *ball* of the row space, on which G is positively homogeneous, so that the maximum is
    max(0, maximum over the sphere of the row space) and likewise for the minimum.
    Exact for r <= 3: two directions (r = 1), a sweep of the breakpoints in O(n log n) (r = 2), an
    enumeration of the cells of the data's arrangement in O(n^2 log n) and memory O(n) (r = 3, up to
    `cells_limit` points). Beyond, a deterministic multistart search along great circles bounds the maximum from
    below and the minimum from above only (``exact=False``).

    Parameters
    ----------
    X : array_like, shape (n, D)
    g : array_like, shape (n,)
    slope_negative : float
    starts : array_like, shape (k, D), optional
        Further directions from which the heuristic search starts, for example those of the particles; they need
        not be unit vectors. Ignored when the search is exhaustive.
    rng : int, SeedSequence or Generator
        For the random starts of the heuristic search.
    cells_limit : int
        Largest number of points for which rank 3 is enumerated.

    Returns
    -------
    Extremes
        `highest` and `lowest` are G at `argmax` and `argmin`, evaluated on X itself. If `exact`, the bounds exceed
        them by at most an allowance for rounding: 64 * 2^-52 * sum |g_i| |x_i| (times |s| + |1 - s|), plus what
        the reduction of rank dropped (singular values below max(n, D) * 2^-52 relative), plus
        the effect of counting great circles at an angle of less than 1e-13 as one. Otherwise they are the
        Cauchy-Schwarz bounds ``|(1+s)/2 sum g_i x_i| + |1-s|/2 (sum g_i^+)^(1/2) |sum g_i^+ x_i x_i'|^(1/2)``.

    Raises
    ------
    InputError
        If X or g is empty, not finite, or of another shape.
    """
    X = array(X, "X", ndim=2)
    g = array(g, "g", shape=(X.shape[0],))
    slope_negative = number(slope_negative, "slope_negative")
    if starts is not None:
        starts = array(starts, "starts", shape=(None, X.shape[1]), empty=True)
    with np.errstate(over="ignore"):
        if not np.isfinite(np.linalg.norm(X, axis=1) @ np.abs(g)):
            raise InputError("g and X are so large that sum |g_i| |x_i| overflows; rescale one of them")
    problem = reduce(X, g, slope_negative)
    exact = problem.rank <= 2 or (problem.rank == 3 and problem.points.shape[0] <= cells_limit)
    merged = 0.0
    if problem.rank == 0:
        zero = problem.null if problem.null is not None else np.eye(X.shape[1])[0]
        return Extremes(0.0, zero, 0.0, zero, True, 0.0, 0.0, "G vanishes identically")
    if problem.rank == 1:
        low, high, how = *_two_directions(problem), "rank 1: both directions"
    elif problem.rank == 2:
        _, low, _, high = circle_extremes(problem.points, problem.weights, problem.linear)
        how = "rank 2: exact, by sweeping the breakpoints"
    elif exact:
        _, low, _, high, merged = sphere3_extremes(problem.points, problem.weights, problem.linear)
        how = "rank 3: exact, by enumerating the cells of the arrangement"
    else:
        low, high = great_circle_search(problem, starts, rng)
        how = f"rank {problem.rank}: heuristic, multistart search along great circles"
        if problem.rank == 3:
            how += f" (more than cells_limit = {cells_limit} points)"
    return _report(X, g, slope_negative, problem, low, high, exact, merged, how)


def _report(
    X: Array,
    g: Array,
    slope_negative: float,
    problem: Problem,
    low: Array,
    high: Array,
    exact: bool,
    merged: float,
    how: str,
) -> Extremes:
    """Back to R^D: evaluate on the data, go to the null space where that is better, add the bounds."""
    directions = np.stack([low, high]) @ problem.basis
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lowest, highest = (float(v) for v in values(X, g, slope_negative, directions))
    argmin, argmax = directions[0], directions[1]
    if lowest > highest:  # equal but for the rounding of this evaluation
        lowest, highest, argmin, argmax = highest, lowest, argmax, argmin
    if problem.null is not None:
        # orthogonal to all data: G = 0 there, up to the rounding of u.x_i, which must not be reported as a value
        if lowest > 0.0:
            lowest, argmin = 0.0, problem.null
        if highest < 0.0:
            highest, argmax = 0.0, problem.null
    if exact:
        allowance = problem.scale * (ROUNDING * EPSILON * problem.magnitude + problem.dropped + merged)
        lower, upper = lowest - allowance, highest + allowance
    else:
        lower, upper = _cauchy_schwarz(X, g, slope_negative)
    return Extremes(lowest, argmin, highest, argmax, exact, lower, upper, how)


def _two_directions(problem: Problem) -> tuple[Array, Array]:
    """Rank 1: the worse and the better of u = +1 and u = -1."""
    ends = np.array([[1.0], [-1.0]])
    projections = ends @ problem.points.T if problem.points.shape[0] else np.zeros((2, 0))
    both = np.maximum(projections, 0.0) @ problem.weights + ends @ problem.linear
    return ends[int(np.argmin(both))], ends[int(np.argmax(both))]


def _cauchy_schwarz(X: Array, g: Array, slope_negative: float) -> tuple[float, float]:
    """Bounds on all values of G on the sphere, from sigma(z) = (1+s)/2 z + (1-s)/2 |z|."""
    linear = 0.5 * abs(1.0 + slope_negative) * float(np.linalg.norm(g @ X))
    bounds = []
    for sign in (-1.0, 1.0):
        part = np.maximum(sign * (1.0 if slope_negative <= 1.0 else -1.0) * g, 0.0)
        spread = float(np.linalg.norm(np.sqrt(part)[:, None] * X, ord=2))
        bound = linear + 0.5 * abs(1.0 - slope_negative) * float(np.sqrt(part.sum())) * spread
        bounds.append(sign * bound * (1.0 + X.size * EPSILON))
    return bounds[0], bounds[1]

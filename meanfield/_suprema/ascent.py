"""A low value of a smooth function on R^p from many starts: a heuristic, for neurons without an arrangement."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from meanfield._suprema.bounds import Minimum
from solvers._check import array, number
from solvers.errors import InputError
from solvers.protocols import Array

ValueAndGradient = Callable[[Array], tuple[Array, Array]]

KEPT = 32  # starts that are improved together
POLISHED = 3  # of them, refined by L-BFGS-B
MEMORY = 5  # values among which a step may go up (Grippo, Lampariello and Lucidi 1986)
BLOCK = 4096  # positions evaluated in one call


def ascent_minimum(
    function: ValueAndGradient,
    starts: Any,
    *,
    bounds: tuple[Any, Any] | None = None,
    iterations: int = 200,
    kept: int = KEPT,
    polished: int = POLISHED,
) -> Minimum:
    """A low value of ``h(theta) = V(theta) + <q, Phi(theta)>`` over R^p or a box: ``min h <= lowest``, no more.

    All starts are evaluated; the lowest `kept` that are not near copies of each other descend together by
    projected gradients with Barzilai-Borwein steps and a non-monotone Armijo rule (Birgin, Martinez and
    Raydan 2000); the lowest `polished` of these are refined by L-BFGS-B. Deterministic. A heuristic: the value
    is attained, hence an upper bound on the minimum, but nothing bounds the minimum from below.

    Parameters
    ----------
    function : callable
        Takes positions (k, p), returns values (k,) and gradients (k, p).
    starts : array_like, shape (s, p)
        For example the particles of a measure and random points.
    bounds : pair of array_like, shape (p,), optional
        Lower and upper corner of the box (infinite entries allowed).
    iterations : int
        Of the first phase, and at most five times as many of the second.
    kept, polished : int

    Returns
    -------
    Minimum
        `exact` is False and `lower_bound` minus infinity.

    Raises
    ------
    InputError
        If the function returns other shapes than asked for, or no finite value at any start.
    """
    x = array(starts, "starts", ndim=2)
    iterations = number(iterations, "iterations", nonnegative=True, integer=True)
    kept = number(kept, "kept", positive=True, integer=True)
    polished = number(polished, "polished", nonnegative=True, integer=True)
    low, high = _box(bounds, x.shape[1])
    counted = _Counted(function)
    x = np.clip(x, low, high)
    value, gradient = counted(x)
    if not np.isfinite(value).any():
        raise InputError("function has no finite value at any of the starts")
    chosen = _apart(x, value, kept)
    best_value, best = float(value[chosen[0]]), x[chosen[0]].copy()
    # A function that is unbounded below sends its rows to infinity; that is an answer, not an accident.
    with np.errstate(over="ignore", invalid="ignore"):
        x, value = _descend(counted, x[chosen], value[chosen], gradient[chosen], low, high, iterations)
    order = np.argsort(value, kind="stable")
    if value[order[0]] < best_value:
        best_value, best = float(value[order[0]]), x[order[0]].copy()
    for k in order[:polished]:
        point, reached = _refine(counted, x[k], low, high, 5 * iterations)
        if reached < best_value:
            best_value, best = reached, point
    how = f"heuristic: multistart descent from {np.shape(starts)[0]} starts"
    return Minimum(best_value, best, False, -math.inf, math.inf, counted.work, how)


class _Counted:
    """The function, called in blocks, its answers checked, NaN read as plus infinity (never a minimum)."""

    def __init__(self, function: ValueAndGradient) -> None:
        self.function = function
        self.work = 0

    def __call__(self, x: Array) -> tuple[Array, Array]:
        if x.shape[0] > BLOCK:
            parts = [self(x[s : s + BLOCK]) for s in range(0, x.shape[0], BLOCK)]
            return np.concatenate([v for v, _ in parts]), np.concatenate([g for _, g in parts])
        self.work += x.shape[0]
        with np.errstate(over="ignore", invalid="ignore"):
            value, gradient = self.function(x)
        value, gradient = np.asarray(value, dtype=np.float64), np.asarray(gradient, dtype=np.float64)
        if value.shape != x.shape[:1] or gradient.shape != x.shape:
            raise InputError(
                f"function must return values of shape {x.shape[:1]} and gradients of shape {x.shape}, "
                f"not {value.shape} and {gradient.shape}"
            )
        good = np.isfinite(value) & np.isfinite(gradient).all(axis=1)
        return np.where(good, value, np.inf), np.where(good[:, None], gradient, 0.0)


def _box(bounds: tuple[Any, Any] | None, dim: int) -> tuple[Array, Array]:
    if bounds is None:
        return np.full(dim, -np.inf), np.full(dim, np.inf)
    low = array(bounds[0], "bounds[0]", shape=(dim,), finite=False)
    high = array(bounds[1], "bounds[1]", shape=(dim,), finite=False)
    if not (low <= high).all():
        raise InputError("bounds must be a pair (lower, upper) with lower <= upper in every coordinate")
    return low, high


def _apart(x: Array, value: Array, kept: int) -> list[int]:
    """The lowest starts, without those that almost repeat a lower one (particles cluster as they converge)."""
    order = np.argsort(value, kind="stable")
    order = order[np.isfinite(value[order])]
    radius = 1e-3 * float(np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=1).mean()))
    chosen: list[int] = []
    free = np.ones(x.shape[0], dtype=bool)
    for k in order:
        if not free[k]:
            continue
        chosen.append(int(k))
        if len(chosen) == kept:
            break
        free &= ((x - x[k]) ** 2).sum(axis=1) > radius**2
    return chosen


def _descend(
    function: _Counted, x: Array, value: Array, gradient: Array, low: Array, high: Array, iterations: int
) -> tuple[Array, Array]:
    """Projected Barzilai-Borwein, all rows at once, each with its own step; returns the best of each row."""
    best_x, best = x.copy(), value.copy()
    scale = np.maximum(1.0, np.sqrt((x * x).sum(axis=1)))
    step = 0.1 * scale / np.maximum(np.sqrt((gradient**2).sum(axis=1)), 1e-300)
    recent = np.repeat(value[:, None], MEMORY, axis=1)
    for k in range(iterations):
        trial = np.clip(x - step[:, None] * gradient, low, high)
        move = trial - x
        if float(np.abs(move).max()) <= 1e-14 * float(np.abs(x).max() + 1.0):
            break
        new_value, new_gradient = function(trial)
        descent = (gradient * move).sum(axis=1)
        accept = new_value <= recent.max(axis=1) + 1e-4 * descent
        change = new_gradient - gradient
        along, curvature = (move * move).sum(axis=1), (move * change).sum(axis=1)
        # negative curvature: longer steps, at most tenfold
        spectral = np.where(curvature > 0.0, along / np.where(curvature > 0.0, curvature, 1.0), 10.0 * step)
        step = np.where(accept, np.clip(spectral, 1e-3 * step, 1e3 * step), 0.25 * step)
        x = np.where(accept[:, None], trial, x)
        gradient = np.where(accept[:, None], new_gradient, gradient)
        value = np.where(accept, new_value, value)
        recent[:, k % MEMORY] = value
        lower = value < best
        best_x[lower], best[lower] = x[lower], value[lower]
    return best_x, best


def _refine(function: _Counted, x: Array, low: Array, high: Array, iterations: int) -> tuple[Array, float]:
    from scipy.optimize import minimize

    def single(point: Array) -> tuple[float, Array]:
        value, gradient = function(np.ascontiguousarray(point)[None, :])
        return float(value[0]), gradient[0]

    box = None if np.isinf(low).all() and np.isinf(high).all() else list(zip(low, high, strict=True))
    result = minimize(
        single,
        x,
        jac=True,
        method="L-BFGS-B",
        bounds=box,
        options={"maxiter": iterations, "ftol": 1e-15, "gtol": 1e-12, "maxcor": 20},
    )
    point = np.clip(result.x, low, high)
    return point, single(point)[0]

"""Where the slope of an activation jumps: told by the activation, or found by bisection."""

from __future__ import annotations

from typing import Any

import numpy as np

from meanfield.activations import PiecewiseLinear
from meanfield.kernels._knots import Lines
from solvers.errors import InputError
from solvers.protocols import Array

# Intervals that are searched for jumps, and the most jumps that are split at.
INTERVALS = 4000
MOST = 16


def kinks_of(sigma: Any, slopes: Any, reach: float) -> Array:
    """Kinks of sigma in [-reach, reach]; none where the activation says that it is smooth.

    Parameters
    ----------
    sigma : plug-in
    slopes : callable
        Array to array, sigma'.
    reach : float
    """
    if getattr(sigma, "smooth", True):
        return np.empty(0)
    told = type(sigma) is PiecewiseLinear
    found = np.asarray(sigma.knots, dtype=np.float64)[:, 0] if told else _jumps(slopes, reach)
    if found.size > MOST:
        raise InputError(
            f"activation {sigma!r} has {found.size} kinks, and quadrature splits at {MOST} at most; sample its kernel "
            "with kernels.empirical of a wide measure instead"
        )
    return found


def straight(sigma: Any, values: Any, slopes: Any, reach: float) -> Lines | None:
    """An activation with kinks as lines between them on [-reach, reach], or None where it is curved.

    Parameters
    ----------
    sigma : plug-in
    values, slopes : callable
        Array to array, sigma and sigma'.
    reach : float
    """
    if getattr(sigma, "smooth", True):
        return None
    knots = kinks_of(sigma, slopes, reach)
    ends = np.concatenate([[-reach], knots[np.abs(knots) < reach], [reach]])
    middle = 0.5 * (ends[:-1] + ends[1:])
    m = slopes(middle)
    lines = Lines(ends[1:-1], values(middle) - m * middle, m)
    # between kinks that were missed, or if it bends, it is another function than these lines
    grid = np.linspace(-0.9983, 0.9979, INTERVALS + 1) * reach
    where = np.searchsorted(lines.knots, grid, side="right")
    far = np.abs(values(grid) - lines.c[where] - m[where] * grid)
    size = np.abs(lines.c[where]) + np.abs(m[where] * grid) + np.abs(m).max() * reach
    same = (far <= 1e-14 * size).all() and (np.abs(slopes(grid) - m[where]) <= 1e-13 * np.abs(m).max()).all()
    return lines if same else None


def _jumps(slopes: Any, reach: float) -> Array:
    """Bisect every interval towards the larger change of slope; where half of it is left in the end, slopes jump."""
    # an end at a kink would hide it: grids of round numbers are avoided
    grid = np.linspace(-1.0071, 1.0093, INTERVALS + 1) * reach
    values = slopes(grid)
    low, high, below, above = grid[:-1], grid[1:], values[:-1], values[1:]
    first = np.abs(above - below)
    held = first > 1e-9 * np.abs(values).max()
    low, high, below, above, first = (part[held] for part in (low, high, below, above, first))
    for _ in range(60):
        middle = 0.5 * (low + high)
        centre = slopes(middle)
        left = np.abs(centre - below) > np.abs(above - centre)
        high, above = np.where(left, middle, high), np.where(left, centre, above)
        low, below = np.where(left, low, middle), np.where(left, below, centre)
    jumps = np.abs(above - below) > 0.25 * first
    places = high[jumps]
    # a kink at 0 is bisected to a denormal
    places = np.where(np.abs(places) < 1e-12 * reach, 0.0, places)
    return np.unique(places)

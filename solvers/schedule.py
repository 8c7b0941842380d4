"""When a run is saved: linear, logarithmic, regular or user-defined times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array

DEFAULT_COUNT = 51
# A requested time this close to an end (relative to the interval) is that end: arange and geomspace round.
SNAP = 1e-9


@dataclass(frozen=True)
class Linear:
    """``count`` equispaced times from t0 to t_end, both included."""

    count: int = DEFAULT_COUNT

    def __post_init__(self) -> None:
        if _check.number(self.count, "count", integer=True) < 2:
            raise InputError(f"count must be at least 2 (both ends are saved), not {self.count}")

    def __call__(self, t0: float, t_end: float) -> Array:
        return np.linspace(t0, t_end, self.count)


@dataclass(frozen=True)
class Logarithmic:
    """``count`` times ``t0 + s`` with s in geometric progression from ``first`` to ``last``."""

    first: float
    last: float
    count: int = DEFAULT_COUNT

    def __post_init__(self) -> None:
        first = _check.number(self.first, "first", positive=True)
        last = _check.number(self.last, "last", positive=True)
        if _check.number(self.count, "count", integer=True) < 2:
            raise InputError(f"count must be at least 2, not {self.count}")
        if not first < last:
            raise InputError(f"first must be smaller than last, but {first:g} >= {last:g}")

    def __call__(self, t0: float, t_end: float) -> Array:
        return np.asarray(t0 + np.geomspace(self.first, self.last, self.count), dtype=np.float64)


@dataclass(frozen=True)
class Every:
    """The times ``t0 + k * dt``."""

    dt: float

    def __post_init__(self) -> None:
        _check.number(self.dt, "dt", positive=True)

    def __call__(self, t0: float, t_end: float) -> Array:
        count = int(np.floor((t_end - t0) / self.dt * (1 + SNAP)))
        return np.asarray(t0 + self.dt * np.arange(count + 1), dtype=np.float64)


def linspace(count: int = DEFAULT_COUNT) -> Linear:
    """Save at ``count`` equispaced times, both ends included."""
    return Linear(count)


def logspace(first: float, last: float, count: int = DEFAULT_COUNT) -> Logarithmic:
    """Save at ``count`` times in geometric progression from ``first`` to ``last``.

    Parameters
    ----------
    first, last : float
        Time since t0 of the first and last of them, positive (t0 and t_end are saved as well).
    count : int
        How many.
    """
    return Logarithmic(first, last, count)


def every(dt: float) -> Every:
    """Save every ``dt`` units of time (and at t_end)."""
    return Every(dt)


def save_times(save: Any, t0: float, t_end: float) -> Array:
    """The strictly increasing times to save at, both ends included.

    Parameters
    ----------
    save : None, int, array_like or callable
        None means 51 linear times; an integer that many; an array is taken as it is; a callable maps
        (t0, t_end) to an array of times.

    Raises
    ------
    InputError
        If times are not finite, not sorted or outside [t0, t_end].
    """
    span = t_end - t0
    schedule: Callable[[float, float], Any] | None = None
    if save is None:
        schedule = Linear()
    elif isinstance(save, (bool, np.bool_, str)):
        raise InputError(
            f"save must be a count, an array of times or a schedule such as solvers.linspace(51), not {save!r}"
        )
    elif np.ndim(save) == 0 and not callable(save):
        schedule = Linear(_check.number(save, "save", integer=True))
    elif callable(save):
        schedule = save
    if span == 0.0:
        return np.array([t0])
    times = _check.array(save if schedule is None else schedule(t0, t_end), "save", ndim=1, empty=True)
    if np.any(np.diff(times) < 0):
        raise InputError("save must be sorted in increasing order; pass numpy.sort(save)")
    slack = SNAP * span
    if times.size and (times[0] < t0 - slack or times[-1] > t_end + slack):
        raise InputError(
            f"save must lie in [t0, t_end] = [{t0:g}, {t_end:g}], but it reaches from {times[0]:g} to {times[-1]:g}"
        )
    inner = times[(times > t0 + slack) & (times < t_end - slack)]
    return np.concatenate([[t0], np.unique(inner), [t_end]])

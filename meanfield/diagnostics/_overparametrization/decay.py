"""How fast a loss fell: a line through its logarithm, and how far from a line it was."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array

# A loss below this share of its start is rounding.
FLOOR = 1e-26
# Parts of the window that the jackknife leaves out in turn; fewer saves than LEAST make no fit.
PARTS, LEAST = 10, 4


class Decay(NamedTuple):
    """``log F(t) = intercept - rate t`` by least squares over the saves from `begin` to `end`.

    Attributes
    ----------
    rate, low, high : float
        With its 95 % interval: Student's of the jackknife over up to ten parts of the window that follow each other.
        Errors about the line are no noise; the interval is about how the rate changes on the way.
    intercept : float
    r_squared : float
        Share of the variance of log F that the line has.
    early, late : float
        The rates of the two halves of the window: equal where the loss falls linearly.
    begin, end : float
    saves : int
    """

    rate: float
    low: float
    high: float
    intercept: float
    r_squared: float
    early: float
    late: float
    begin: float
    end: float
    saves: int


def fit(t: Array, values: Array, window: tuple[float, float] | None) -> Decay:
    """The line through log F on a window; NaN where fewer than four saves have a loss above rounding.

    Parameters
    ----------
    t, values : ndarray, (s,)
    window : pair of float, optional
        Of times; all of them by default.
    """
    inside = np.isfinite(values) & (values > FLOOR * values[0])
    if window is not None:
        inside &= (t >= window[0]) & (t <= window[1])
        if inside.sum() < LEAST:
            raise InputError(
                f"window={window} holds {int(inside.sum())} saves with a loss above rounding, and the fit of a rate "
                f"needs {LEAST}; take a wider one, or save more often"
            )
    x, y = t[inside], np.log(values[inside])
    if x.size < LEAST:
        nan = math.nan
        first, last = (float(x[0]), float(x[-1])) if x.size else (nan, nan)
        return Decay(nan, nan, nan, nan, nan, nan, nan, first, last, int(x.size))
    slope, intercept = line(x, y)
    rest = y - intercept - slope * x
    spread = y - y.mean()
    total = float(spread @ spread)
    low, high = interval(x, y)
    half = 0.5 * (x[0] + x[-1])
    early, late = (
        -line(x[part], y[part])[0] if part.sum() > 1 else math.nan for part in (x <= half, x >= half)
    )
    return Decay(
        -slope,
        low,
        high,
        intercept,
        1.0 - float(rest @ rest) / total if total > 0.0 else math.nan,
        early,
        late,
        float(x[0]),
        float(x[-1]),
        int(x.size),
    )


def line(x: Array, y: Array) -> tuple[float, float]:
    """Slope and intercept of least squares."""
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    return slope, float(y.mean() - slope * x.mean())


def interval(x: Array, y: Array) -> tuple[float, float]:
    """The 95 % interval of the rate by the jackknife over parts of the window, whose centre is the rate."""
    from scipy.special import stdtrit

    parts = np.array_split(np.arange(x.size), min(PARTS, x.size))
    left_out = np.array([line(np.delete(x, part), np.delete(y, part))[0] for part in parts])
    count = len(parts)
    deviation = math.sqrt((count - 1) / count * float(np.sum((left_out - left_out.mean()) ** 2)))
    half, rate = float(stdtrit(count - 1, 0.975)) * deviation, -line(x, y)[0]
    return rate - half, rate + half


def checked_window(window: object) -> tuple[float, float] | None:
    """Two times, the first smaller and the last one perhaps infinite, or one sentence."""
    if window is None:
        return None
    if not isinstance(window, (tuple, list, np.ndarray)) or len(window) != 2:
        raise InputError(f"window must be two times (first, last), not {window!r}")
    first = float(_check.number(window[0], "the first time of window"))
    endless = isinstance(window[1], (float, np.floating)) and window[1] == math.inf
    last = math.inf if endless else float(_check.number(window[1], "the last time of window"))
    if not first < last:
        raise InputError(f"window must be two times, the first smaller, not {window!r}")
    return first, last

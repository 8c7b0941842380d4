"""Lines through means over seeds, and their confidence intervals: all that is linear in the means of log q by width."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from meanfield._confidence import bounds
from solvers.protocols import Array


class WidthSlope(NamedTuple):
    """``log q = intercept + slope log m`` through the means of log q by width.

    Attributes
    ----------
    slope, low, high : float
        With its 95 % interval.
    intercept : float
    bend, bend_low, bend_high : float
        Coefficient of ``(log m)^2`` in a parabola: 0 where q is a power of m. NaN for two widths.
    """

    slope: float
    low: float
    high: float
    intercept: float
    bend: float
    bend_low: float
    bend_high: float


class Estimate(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def contrast(x: Array, degree: int) -> Array:
    """Weights of the means at x in the coefficient of that degree, of the polynomial of least squares.

    Parameters
    ----------
    x : ndarray, (w,)
    degree : int
    """
    centred = x - x.mean()
    basis = np.vander(centred, degree + 1, increasing=True)
    return np.asarray(np.linalg.pinv(basis)[degree])


def kind(counts: list[int]) -> str:
    """The interval in words, for so many reports of each width.

    Parameters
    ----------
    counts : list of int
    """
    if len(set(counts)) == 1 and counts[0] >= 3:
        return f"Student's over the slopes of {counts[0]} replicates"
    if min(counts) >= 2:
        return "Welch's, of independent reports"
    if sum(counts) < 3:
        return "none, of two reports"
    return "Student's, of errors of one size about the line"


def estimate(weights: Array, logs: list[Array], x: Array) -> Estimate:
    """``sum_w weights_w mean(logs_w)`` with its 95 % interval, as `slopes` says; NaN bounds where there is none.

    Parameters
    ----------
    weights : ndarray, (w,)
    logs : list of ndarray
    x : ndarray, (w,)
    """
    from scipy.special import stdtrit

    counts = np.array([one.size for one in logs])
    means = np.array([one.mean() for one in logs])
    value = float(weights @ means)
    if counts.min() == counts.max() >= 3:
        return Estimate(value, *bounds(weights @ np.array(logs)))
    if counts.min() >= 2:
        parts = weights**2 * np.array([one.var(ddof=1) for one in logs]) / counts
        deviation = math.sqrt(parts.sum())
        shares = float(np.sum(parts**2 / (counts - 1)))
        freedom = float(parts.sum()) ** 2 / shares if shares > 0.0 else float(counts.sum() - len(counts))
    else:
        each, at = np.concatenate(logs), np.repeat(x, counts)
        freedom = float(each.size - 2)
        if freedom < 1:
            return Estimate(value, math.nan, math.nan)
        rest = each - np.polyval(np.polyfit(at, each, 1), at)
        deviation = math.sqrt(float(rest @ rest) / freedom * float(np.sum(weights**2 / counts)))
    half = float(stdtrit(freedom, 0.975)) * deviation
    return Estimate(value, value - half, value + half)


def power(x: Array, logs: list[Array]) -> WidthSlope:
    """The line and the bend through the means of log q.

    Parameters
    ----------
    x : ndarray, (w,)
        Logarithms of widths.
    logs : list of ndarray
        Those of q, by width.
    """
    weights = contrast(x, 1)
    slope = estimate(weights, logs, x)
    means = np.array([one.mean() for one in logs])
    bend = estimate(contrast(x, 2), logs, x) if x.size >= 3 else Estimate(math.nan, math.nan, math.nan)
    return WidthSlope(*slope, float(means.mean() - slope.value * x.mean()), *bend)

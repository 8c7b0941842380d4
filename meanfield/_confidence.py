"""Means over seeds and how sure they are: Student's intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvers.protocols import Array


def half_width(values: Any, level: float = 0.95) -> Array:
    """``t_(k-1) s / sqrt(k)``: half the confidence interval of the mean of independent values (..., k).

    NaN for a single value.
    """
    from scipy.special import stdtrit

    values = np.asarray(values, dtype=np.float64)
    count = values.shape[-1]
    if count < 2:
        return np.full(values.shape[:-1], np.nan)
    quantile = float(stdtrit(count - 1, (1 + level) / 2))
    return np.asarray(quantile * values.std(axis=-1, ddof=1) / count**0.5)


def bounds(values: Any, level: float = 0.95) -> tuple[float, float]:
    """The two ends of the confidence interval of the mean of independent values (k,)."""
    mean, half = float(np.mean(values)), float(half_width(values, level))
    return mean - half, mean + half


def farther(values: Any, centre: float) -> float:
    """The end of `bounds` that is farther from `centre`."""
    return max(bounds(values), key=lambda end: abs(end - centre))

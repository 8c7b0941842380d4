"""Means over seeds and how sure they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield._confidence import bounds
from meanfield._study import store
from solvers import _check
from solvers.errors import InputError

if TYPE_CHECKING:
    from meanfield._study.table import Table

RESAMPLES = 2000


def over_seeds(table: Table, value: str, interval: str, level: float) -> list[dict[str, Any]]:
    """What `Table.mean` says."""
    _check.choice(interval, "interval", ("student", "bootstrap"))
    if not 0 < _check.number(level, "level") < 1:
        raise InputError(f"level must be between 0 and 1, not {level}")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in table.rows:
        groups.setdefault(tuple(row[name] for name in table.axes), []).append(row)
    found = []
    for place, rows in groups.items():
        numbers = [_number(row[value], value) for row in rows if row["status"] == store.DONE]
        finite = np.array([number for number in numbers if np.isfinite(number)])
        low, high = _bounds(finite, interval, level)
        found.append(
            dict(zip(table.axes, place, strict=True))
            | {
                "mean": float(np.mean(finite)) if finite.size else float("nan"),
                "low": low,
                "high": high,
                "seeds": int(finite.size),
                "diverged": sum(row["status"] == store.DIVERGED for row in rows),
                "failed": sum(row["status"] == store.FAILED for row in rows),
                # the cell came to its end and returned NaN (nothing) or infinity
                "nonfinite": len(numbers) - int(finite.size),
            }
        )
    return found


def _number(value: Any, name: str) -> float:
    if not isinstance(value, (bool, int, float)):
        what = f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else repr(value)
        raise InputError(f"the column {name!r} holds {what}; means need numbers")
    return float(value)


def _bounds(x: np.ndarray[Any, Any], interval: str, level: float) -> tuple[float, float]:
    if x.size < 2:
        return float("nan"), float("nan")
    if interval == "bootstrap":
        # the same numbers every time: a picture of the same table is the same picture
        draws = np.random.default_rng(0).integers(x.size, size=(RESAMPLES, x.size))
        low, high = np.quantile(x[draws].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)
    return bounds(x, level)

"""Sums of point masses on the torus of period 2 pi: what sparse deconvolution recovers."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array
from solvers.spaces import Torus


def deconvolution_truth() -> tuple[Array, Array]:
    """The three spikes of the 2-D experiment of Chizat (2019, arXiv 1907.10300).

    Returns
    -------
    positions : ndarray, (3, 2)
        (pi, pi) plus (0, 0), (1.7, -0.3), (0.7, 1.3).
    weights : ndarray, (3,)
        1.1^2, 0.8^2, 1.
    """
    positions = np.pi + np.array([[0.0, 0.0], [1.7, -0.3], [0.7, 1.3]])
    return positions, np.array([1.1, 0.8, 1.0]) ** 2


def spikes(
    number: int = 5,
    dim: int = 1,
    rng: Any = 0,
    *,
    weights: tuple[float, float] = (0.0, 1.0),
    signed: bool = False,
    separation: float = 0.0,
) -> tuple[Array, Array]:
    """Random spikes ``sum_i w_i delta(theta_i)`` on the torus (0, 2 pi)^dim.

    Parameters
    ----------
    number, dim : int
    rng : int, SeedSequence or Generator
    weights : (float, float)
        |w_i| is uniform on this interval, 0 <= low <= high.
    signed : bool
        Give each a fair sign.
    separation : float
        Least distance on the torus between any two; draws that violate it are repeated as a whole.

    Returns
    -------
    positions : ndarray, (number, dim)
        Uniform; sorted if dim is 1.
    weights : ndarray, (number,)

    Raises
    ------
    InputError
        No admissible draw in 10000 attempts.

    Notes ----- The defaults are the random truths of the success map of Chizat (2019): five non-negative
    spikes in 1-D, uniform positions, weights uniform on [0, 1], no separation."""
    number = _check.number(number, "number", positive=True, integer=True)
    low, high = (_check.number(w, "weights", nonnegative=True) for w in weights)
    if not low <= high:
        raise InputError(f"weights must be an interval (low, high) with low <= high, not {tuple(weights)}")
    least = _check.number(separation, "separation", nonnegative=True)
    torus = Torus(dim, period=2.0 * np.pi)
    draw = generator(rng, "data")
    for _ in range(10_000):
        positions = torus.sample("uniform", number, draw)
        if least == 0.0 or _closest(torus, positions) >= least:
            break
    else:
        raise InputError(
            f"separation {separation:g} leaves no room for {number} spikes: 10000 draws failed; lower it"
        )
    if dim == 1:
        positions = np.sort(positions, axis=0)
    mass = low + (high - low) * draw.random(number)
    if signed:
        mass = mass * draw.choice([-1.0, 1.0], number)
    return positions, mass


def _closest(torus: Torus, positions: Array) -> float:
    gaps = torus.distance(positions[:, None, :], positions[None, :, :])
    return float(np.min(gaps[~np.eye(len(positions), dtype=bool)], initial=np.inf))

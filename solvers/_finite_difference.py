"""Jacobian-vector products of a smooth velocity that is known as a function only: central differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from solvers.protocols import Array

# A central difference over this part of a coordinate balances truncation, step^2, against rounding, eps / step.
STEP = 6e-6
# A coordinate near 0 counts as this part of the others' root mean square, and never as less than the second: then
# rounding stays below 1e-4 of the velocity, also where the whole state is 0.
SMALL, LEAST = 1e-2, 1e-6


class DifferenceLinearization:
    """``J v = (F(t, z + h v) - F(t, z - h v)) / (2 h)``, right to about 1e-9 of the velocity's own scale.

    h is as large as keeps every coordinate within a fixed small part of its size. Where the velocity jumps this is no
    derivative: one difference across a jump measures the jump, divided by a length as small as one likes.

    Parameters
    ----------
    flow : flow
        Bound; its velocity is smooth.
    t : float
    z : ndarray, (N,)
        Copied.
    """

    weight: Array | None = None
    rank: int | None = None

    def __init__(self, flow: Any, t: float, z: Array) -> None:
        self.flow, self.t, self.z = flow, t, z.copy()
        size = np.abs(self.z)
        rms = math.sqrt(float(np.add.reduce(size * size)) / size.size) if size.size else 0.0
        self._inverse = 1.0 / np.maximum(np.maximum(size, SMALL * rms), LEAST)
        self._moved, self._low = np.empty_like(self.z), np.empty_like(self.z)
        #: Velocities that products have asked for.
        self.evaluations = 0

    def product(self, v: Array, out: Array) -> Array:
        """J v into `out`: two velocities."""
        length = float(np.max(np.abs(v) * self._inverse, initial=0.0))
        if length == 0.0:
            out[:] = 0.0
            return out
        h = STEP / length
        np.multiply(v, -h, out=self._moved)
        self._moved += self.z
        self.flow.velocity(self.t, self._moved, self._low)
        np.multiply(v, h, out=self._moved)
        self._moved += self.z
        self.flow.velocity(self.t, self._moved, out)
        self.evaluations += 2
        out -= self._low
        out *= 0.5 / h
        return out

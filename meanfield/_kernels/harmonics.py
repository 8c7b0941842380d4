"""Harmonics of angles: cosines and sines of all multiples up to a frequency, each by rotating the one before."""

from __future__ import annotations

import math

from solvers._jit import compiled
from solvers.protocols import Array


@compiled(fastmath=False)
def fill(angles: Array, amplitude: Array, value: Array, slope: Array) -> None:
    """``value[j, nf + k] = amplitude[nf + k] cos(k angle_j)``, ``value[j, nf - k] = amplitude[nf - k] sin(k angle_j)``.

    Shapes (m,), (2 nf + 1,) and (m, 2 nf + 1); `slope` receives the derivatives by the angle. Rotation costs about one
    rounding a frequency, and a tenth of the time of sines.
    """
    nf = amplitude.size // 2
    for j in range(angles.size):
        c1, s1 = math.cos(angles[j]), math.sin(angles[j])
        c, s = 1.0, 0.0
        value[j, nf] = amplitude[nf]
        slope[j, nf] = 0.0
        for k in range(1, nf + 1):
            c, s = c * c1 - s * s1, s * c1 + c * s1
            value[j, nf + k] = amplitude[nf + k] * c
            slope[j, nf + k] = -k * amplitude[nf + k] * s
            value[j, nf - k] = amplitude[nf - k] * s
            slope[j, nf - k] = k * amplitude[nf - k] * c

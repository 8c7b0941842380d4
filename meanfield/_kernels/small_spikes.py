"""Conic flows of spikes on a line or a square torus as one compiled problem, for `solvers._march`.

All frequencies of an axis (circle.py) or a square: there products of small tables, as in networks/spikes.py, the
harmonics of an angle by rotating from one to the next (which costs about one rounding a frequency).
"""

from __future__ import annotations

import math
from operator import attrgetter, methodcaller
from typing import Any, NamedTuple

import numpy as np

from meanfield._kernels import circle
from meanfield._kernels.shared import kept_once
from meanfield.plugins import key
from solvers._jit import inlined
from solvers._vecmath import exp
from solvers.losses import compiled_weights
from solvers.protocols import Array

# Pairs (particle, frequency code) up to which a run stays in compiled code.
MOST_PAIRS = 50_000


class Cone(NamedTuple):
    """The conic flow's mobilities and chart, the torus's dimension and its largest frequency."""

    alpha: float
    beta: float
    mirror: bool
    dim: int
    frequencies: int


class SmallConic(NamedTuple):
    """``(log w)' = -4 alpha F'``, ``theta' = -beta grad F'`` for one replica; z = (chart (m,), theta (m, dim)).

    `data` (3, codes) holds targets, weights and centre, `signs` (m,) the particles' signs; `tables` is room from
    `observe` to `respond`: for the harmonics' values and slopes, (m, 4, side), or, on a circle, as circle.py has it.
    """

    loss: Any
    regularizer: Any
    cone: Cone
    amplitude: Array
    data: Array
    signs: Array
    tables: Array

    def observe(self, z: Array, f: Array) -> None:
        predict(self.cone, self.amplitude, self.signs, self.tables, z, f)
        for i in range(f.size):
            f[i] -= self.data[2, i]

    def respond(self, z: Array, f: Array, out: Array) -> None:
        q = np.empty(f.size)
        self.loss.fill(f, self.data[0], self.data[1], q)
        pull(self.regularizer, self.cone, self.amplitude, self.signs, self.tables, z, q, out)

    def objective(self, z: Array, f: Array) -> float:
        m, dim = self.signs.size, self.cone.dim
        penalty = 0.0
        for j in range(m):
            mass = mass_of(self.cone, 1.0, z[j])
            penalty += mass * self.regularizer.potential(z[m + j * dim : m + (j + 1) * dim])
        return self.loss.total(f, self.data[0], self.data[1]) + penalty

    def project(self, z: Array) -> bool:
        return False


class SmallConics(NamedTuple):
    """A batch of `SmallConic`: data sets (D, 3, codes) by number `which` (R,), signs (R, m)."""

    loss: Any
    regularizer: Any
    cone: Cone
    amplitude: Array
    which: Array
    data: Array
    signs: Array

    def replica(self, r: int) -> SmallConic:
        m, side = self.signs.shape[1], self.amplitude.size
        shape = (side // 2 + 2, 2, (m + 7) // 8 * 8) if self.cone.dim == 1 else (m, 4, side)
        return SmallConic(
            self.loss,
            self.regularizer,
            self.cone,
            self.amplitude,
            self.data[self.which[r]],
            self.signs[r],
            np.empty(shape),
        )


@inlined()
def harmonics(cone, amplitude, angle, value, slope):
    """value_k = amplitude_k c(angle; k), slope_k its derivative, for k = -frequencies .. frequencies."""
    nf = cone.frequencies
    c1, s1 = math.cos(angle), math.sin(angle)
    c, s = 1.0, 0.0
    value[nf] = amplitude[nf]
    slope[nf] = 0.0
    for k in range(1, nf + 1):
        c, s = c * c1 - s * s1, s * c1 + c * s1
        value[nf + k] = amplitude[nf + k] * c
        slope[nf + k] = -k * amplitude[nf + k] * s
        value[nf - k] = amplitude[nf - k] * s
        slope[nf - k] = k * amplitude[nf - k] * c


@inlined()
def mass_of(cone, sign, chart):
    """s w, with sign."""
    return sign * (exp(chart) if cone.mirror else chart * chart)


@inlined()
def predict(cone, amplitude, signs, tables, z, f):
    """f = sum_j s_j w_j Phi(theta_j), filling the tables on the way."""
    m, side = signs.size, amplitude.size
    if cone.dim == 1:
        masses = tables[0, 0]
        for j in range(masses.size):
            masses[j] = 0.0
        for j in range(m):
            masses[j] = mass_of(cone, signs[j], z[j])
        circle.predict(amplitude, tables, z[m:], f)
        return
    for i in range(f.size):
        f[i] = 0.0
    for j in range(m):
        mass = mass_of(cone, signs[j], z[j])
        for axis in range(2):
            harmonics(cone, amplitude, z[m + 2 * j + axis], tables[j, 2 * axis], tables[j, 2 * axis + 1])
        first, second = tables[j, 0], tables[j, 2]
        for i in range(side):
            row = f[i * side : (i + 1) * side]
            factor = mass * first[i]
            for k in range(side):
                row[k] += factor * second[k]


@inlined()
def pull(regularizer, cone, amplitude, signs, tables, z, q, out):
    """The velocity of chart and positions from q = R'(f)."""
    m, dim, side = signs.size, cone.dim, amplitude.size
    chart, turn = out[:m], out[m:]
    if dim == 1:
        values, slopes = circle.pull(amplitude, tables, q)
        for j in range(m):
            chart[j] = signs[j] * values[j]
            turn[j] = signs[j] * slopes[j]
    else:
        for j in range(m):
            value, across, along = 0.0, 0.0, 0.0
            first, first_slope, second, second_slope = tables[j, 0], tables[j, 1], tables[j, 2], tables[j, 3]
            for i in range(side):
                row = q[i * side : (i + 1) * side]
                one = 0.0
                other = 0.0
                for k in range(side):
                    one += row[k] * second[k]
                    other += row[k] * second_slope[k]
                value += first[i] * one
                along += first_slope[i] * one
                across += first[i] * other
            chart[j] = signs[j] * value
            turn[2 * j] = signs[j] * along
            turn[2 * j + 1] = signs[j] * across
    for j in range(m):
        theta = z[m + j * dim : m + (j + 1) * dim]
        chart[j] += regularizer.potential(theta)
        regularizer.push(theta, turn[j * dim : (j + 1) * dim])
    for j in range(m):
        chart[j] *= -4.0 * cone.alpha if cone.mirror else -2.0 * cone.alpha * z[j]
    for j in range(m * dim):
        turn[j] *= -cone.beta


def conic_program(bound: Any) -> ConicProgram | None:
    """The program of a bound conic flow of spikes on all frequencies, if it is small and its parts compile."""
    objective = bound.functional
    network = getattr(objective, "network", None)
    if not hasattr(network, "codes") or not hasattr(objective, "_operator"):
        return None
    if not hasattr(objective._operator, "side") or network.dim > 2:
        return None
    if bound.space != network.space or objective.y.ndim != 1 or objective._scale != 1.0:
        return None
    if not hasattr(objective.loss, "fill") or not hasattr(objective.regularizer, "push"):
        return None
    return ConicProgram(bound) if objective.y.size * bound.m <= MOST_PAIRS else None


class ConicProgram:
    """A small conic problem with its data and signs, ready to be one of a batch."""

    name = "objective"

    def __init__(self, bound: Any) -> None:
        self.objective = bound.functional
        flow, network = bound.flow, bound.functional.network
        self.cone = Cone(
            float(flow.alpha),
            float(flow.beta),
            bool(bound.mirror),
            int(network.dim),
            int(network.frequencies),
        )
        self.amplitude = np.array(network._amplitude)
        self.signs = np.ones(bound.m) if bound.signs is None else bound.signs
        self.observed = int(self.objective.y.size)
        self.floor = float(np.sqrt(np.mean(np.square(self.objective.y))))
        #: programs with equal keys can go in one batch
        self.key = (
            key(self.objective.loss),
            key(self.objective.regularizer),
            self.cone,
            self.amplitude.tobytes(),
            self.signs.size,
        )

    def radius_bound(self, z: Array) -> float:
        """None is known."""
        return math.inf

    def table(self) -> Array:
        """Targets, weights and centre: (3, codes)."""
        y = self.objective.y
        weights = compiled_weights(self.objective.loss, y, self.objective.sample_weight)
        return np.array([y, weights, np.broadcast_to(self.objective._centre, y.shape)])

    def collect(self, programs: Any) -> SmallConics:
        """The batch of several programs of this key; data sets that are one object are kept once."""
        which, tables = kept_once(programs, attrgetter("objective"), methodcaller("table"))
        return SmallConics(
            self.objective.loss,
            self.objective.regularizer,
            self.cone,
            self.amplitude,
            which,
            np.array(tables),
            np.array([program.signs for program in programs]),
        )

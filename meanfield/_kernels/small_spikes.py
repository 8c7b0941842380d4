"""Conic flows of spikes on a line or a square torus as one compiled problem, for `solvers._march`.

All frequencies of an axis or a square: products of small tables, as in networks/spikes.py, the harmonics of an angle by
rotating from one to the next (which costs about one rounding a frequency).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from meanfield.plugins import key
from solvers._jit import inlined
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

    `data` (3, codes) holds targets, weights and centre, `signs` (m,) the particles' signs; `tables` (m, 2 dim, side) is
    room for values and slopes of the harmonics, from `observe` to `respond`.
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
        pull(self.regularizer, self.cone, self.signs, self.tables, z, q, out)

    def objective(self, z: Array, f: Array) -> float:
        m, dim = self.signs.size, self.cone.dim
        penalty = 0.0
        for j in range(m):
            mass = math.exp(z[j]) if self.cone.mirror else z[j] * z[j]
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
        tables = np.empty((self.signs.shape[1], 2 * self.cone.dim, self.amplitude.size))
        return SmallConic(
            self.loss,
            self.regularizer,
            self.cone,
            self.amplitude,
            self.data[self.which[r]],
            self.signs[r],
            tables,
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
def predict(cone, amplitude, signs, tables, z, f):
    """f = sum_j s_j w_j Phi(theta_j), filling the tables on the way."""
    m, dim, side = signs.size, cone.dim, amplitude.size
    for i in range(f.size):
        f[i] = 0.0
    for j in range(m):
        mass = signs[j] * (math.exp(z[j]) if cone.mirror else z[j] * z[j])
        for axis in range(dim):
            harmonics(cone, amplitude, z[m + j * dim + axis], tables[j, 2 * axis], tables[j, 2 * axis + 1])
        first = tables[j, 0]
        if dim == 1:
            for i in range(side):
                f[i] += mass * first[i]
        else:
            second = tables[j, 2]
            for i in range(side):
                row = f[i * side : (i + 1) * side]
                factor = mass * first[i]
                for k in range(side):
                    row[k] += factor * second[k]


@inlined()
def pull(regularizer, cone, signs, tables, z, q, out):
    """The velocity of chart and positions from q = R'(f)."""
    m, dim, side = signs.size, cone.dim, tables.shape[2]
    gradient = np.empty(dim)
    for j in range(m):
        value = 0.0
        for axis in range(dim):
            gradient[axis] = 0.0
        first, first_slope = tables[j, 0], tables[j, 1]
        if dim == 1:
            for i in range(side):
                value += first[i] * q[i]
                gradient[0] += first_slope[i] * q[i]
        else:
            second, second_slope = tables[j, 2], tables[j, 3]
            for i in range(side):
                row = q[i * side : (i + 1) * side]
                along = 0.0
                across = 0.0
                for k in range(side):
                    along += row[k] * second[k]
                    across += row[k] * second_slope[k]
                value += first[i] * along
                gradient[0] += first_slope[i] * along
                gradient[1] += first[i] * across
        for axis in range(dim):
            gradient[axis] *= signs[j]
        theta = z[m + j * dim : m + (j + 1) * dim]
        value = signs[j] * value + regularizer.potential(theta)
        regularizer.push(theta, gradient)
        out[j] = -4.0 * cone.alpha * value if cone.mirror else -2.0 * cone.alpha * z[j] * value
        for axis in range(dim):
            out[m + j * dim + axis] = -cone.beta * gradient[axis]


def conic_program(bound: Any) -> ConicProgram | None:
    """The program of a bound conic flow of spikes on all frequencies, if it is small and its parts compile."""
    objective = bound.functional
    network = getattr(objective, "network", None)
    if not hasattr(network, "codes") or not hasattr(objective, "_operator"):
        return None
    if not hasattr(objective._operator, "side") or network.dim > 2:
        return None
    if bound.space != network.space or objective.y.ndim != 1:
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
        known: dict[int, int] = {}
        tables = []
        for program in programs:
            if known.setdefault(id(program.objective), len(tables)) == len(tables):
                tables.append(program.table())
        return SmallConics(
            self.objective.loss,
            self.objective.regularizer,
            self.cone,
            self.amplitude,
            np.array([known[id(program.objective)] for program in programs], dtype=np.int64),
            np.array(tables),
            np.array([program.signs for program in programs]),
        )

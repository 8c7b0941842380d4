"""A small two-layer problem as one compiled thing: what `solvers._march` runs without leaving compiled code.

Loops over particles, as in two_layer.py, but through network, loss, regularizer and velocity in one go. Where a step
takes a few microseconds, calls from Python would take most of the time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from meanfield._kernels.two_layer import preactivation
from meanfield.plugins import key
from solvers._jit import inlined
from solvers.losses import compiled_weights
from solvers.protocols import Array

# Pairs (particle, datum) and inputs up to which a run stays in compiled code.
MOST_PAIRS = 20_000
MOST_INPUTS = 8


class Layout(NamedTuple):
    """Where a neuron's coordinates are: k outer weights, inner weights, a bias or none; the outer weight if fixed."""

    inputs: int
    outputs: int
    outer: int
    bias: bool
    fixed: float
    scale: float


class SmallTwoLayer(NamedTuple):
    """``z_j' = -rate_j (s_j sum_i q_i grad Phi(z_j; x_i) + grad V(z_j))``, ``q = scale R'(f)``, one replica.

    Arrays are few, since each costs the compiler time: `data` (d + 3 k, n) holds the inputs, then targets, weights
    and centre, a row an output; `measure` (3, m) holds coefficients, masses and signs.
    """

    activation: Any
    loss: Any
    regularizer: Any
    layout: Layout
    data: Array
    measure: Array
    rate: Array

    def observe(self, z: Array, f: Array) -> None:
        d, k = self.layout.inputs, self.layout.outputs
        predict(self.activation, self.layout, self.data, self.measure[0], z, f)
        centre = self.data[d + 2 * k :].reshape(-1)
        for i in range(f.size):
            f[i] = self.layout.scale * (f[i] - centre[i])

    def respond(self, z: Array, f: Array, out: Array) -> None:
        d, k = self.layout.inputs, self.layout.outputs
        q = np.empty(f.size)
        self.loss.fill(f, self.data[d : d + k].reshape(-1), self.data[d + k : d + 2 * k].reshape(-1), q)
        for i in range(f.size):
            q[i] *= self.layout.scale
        pull(self.activation, self.layout, self.data, q, self.measure[2], z, out)
        m = self.measure.shape[1]
        p = self.rate.size
        for j in range(m):
            particle = out[j * p : (j + 1) * p]
            self.regularizer.push(z[j * p : (j + 1) * p], particle)
            for i in range(p):
                particle[i] *= -self.rate[i]

    def objective(self, z: Array, f: Array) -> float:
        d, k = self.layout.inputs, self.layout.outputs
        m = self.measure.shape[1]
        p = self.rate.size
        penalty = 0.0
        for j in range(m):
            penalty += self.measure[1, j] * self.regularizer.potential(z[j * p : (j + 1) * p])
        return penalty + self.loss.total(
            f, self.data[d : d + k].reshape(-1), self.data[d + k : d + 2 * k].reshape(-1)
        )

    def project(self, z: Array) -> bool:
        return False


class SmallTwoLayers(NamedTuple):
    """A batch of `SmallTwoLayer`: data sets (D, d + 3 k, n) by number `which` (R,), measures (R, 3, m)."""

    activation: Any
    loss: Any
    regularizer: Any
    layout: Layout
    which: Array
    data: Array
    measures: Array
    rate: Array

    def replica(self, r: int) -> SmallTwoLayer:
        return SmallTwoLayer(
            self.activation,
            self.loss,
            self.regularizer,
            self.layout,
            self.data[self.which[r]],
            self.measures[r],
            self.rate,
        )


@inlined()
def predict(activation, layout, XT, coefficients, z, f):
    """f[o * n + i] = sum_j c_j a_jo sigma(w_j . x_i + b_j)."""
    n = XT.shape[1]
    m = coefficients.size
    p = z.size // m
    s = np.empty(n)
    for i in range(f.size):
        f[i] = 0.0
    for j in range(m):
        theta = z[j * p : (j + 1) * p]
        preactivation(theta, layout.outer, layout.bias, XT[: layout.inputs], s)
        for i in range(n):
            s[i] = activation.value(s[i])
        for o in range(layout.outputs):
            c = coefficients[j] * (theta[o] if layout.outer > 0 else layout.fixed)
            row = f[o * n : (o + 1) * n]
            for i in range(n):
                row[i] += c * s[i]


@inlined()
def pull(activation, layout, XT, q, signs, z, out):
    """out_j = s_j sum_i q_i grad Phi(z_j; x_i)."""
    d, n = layout.inputs, XT.shape[1]
    m = signs.size
    p = z.size // m
    outer = layout.outer
    x = np.empty(n)
    s = np.empty(n)
    slope = np.empty(n)
    c = np.empty(n)
    for j in range(m):
        theta = z[j * p : (j + 1) * p]
        gradient = out[j * p : (j + 1) * p]
        preactivation(theta, outer, layout.bias, XT[:d], x)
        for i in range(n):
            s[i] = activation.value(x[i])
            slope[i] = activation.slope_at(x[i], s[i])
        for o in range(layout.outputs):
            a = signs[j] * (theta[o] if outer > 0 else layout.fixed)
            row = q[o * n : (o + 1) * n]
            inner = 0.0
            if o == 0:
                for i in range(n):
                    inner += row[i] * s[i]
                    c[i] = a * row[i]
            else:
                for i in range(n):
                    inner += row[i] * s[i]
                    c[i] += a * row[i]
            if outer > 0:
                gradient[o] = signs[j] * inner
        total = 0.0
        for i in range(n):
            c[i] *= slope[i]
            total += c[i]
        if layout.bias:
            gradient[outer + d] = total
        for k in range(d):
            x_k = XT[k]
            inner = 0.0
            for i in range(n):
                inner += c[i] * x_k[i]
            gradient[outer + k] = inner


def small_program(bound: Any) -> SmallProgram | None:
    """The program of a bound Wasserstein flow of a two-layer network, if it is small and its parts compile."""
    objective = bound.functional
    network = getattr(objective, "network", None)
    if not getattr(network, "compiled", False) or not hasattr(network, "activation"):
        return None
    if not hasattr(objective.loss, "fill") or not hasattr(objective.regularizer, "push"):
        return None
    small = objective.X.shape[0] * bound.shape[0] <= MOST_PAIRS and network.d <= MOST_INPUTS
    return SmallProgram(bound) if small else None


class SmallProgram:
    """A small two-layer problem with its data and measure, ready to be one of a batch."""

    name = "objective"

    def __init__(self, bound: Any) -> None:
        objective, network = bound.functional, bound.functional.network
        self.objective = objective
        self.layout = Layout(
            int(network.d),
            int(network.outputs),
            0 if network.a is not None else int(network.outputs),
            bool(network.bias),
            float(network.a or 0.0),
            float(network.scale),
        )
        signs = np.ones(bound.shape[0]) if bound.signs is None else bound.signs
        self.measure = np.array([bound.weights * signs, bound.weights, signs])
        self.rate = bound.flow.time_factor * np.array(network.mobility)
        self.observed = objective.X.shape[0] * self.layout.outputs
        self.floor = float(np.sqrt(np.mean(np.square(objective.y))))
        #: programs with equal keys can go in one batch
        self.key = (
            *(key(part) for part in (network.activation, objective.loss, objective.regularizer)),
            self.layout,
            objective.X.shape,
            self.measure.shape,
            self.rate.tobytes(),
        )

    def table(self) -> Array:
        """Inputs, targets, weights and centre, one row an input or output: (d + 3 k, n)."""
        objective, k, n = self.objective, self.layout.outputs, self.objective.X.shape[0]
        y = objective.y.reshape(n, k)
        weights = compiled_weights(objective.loss, y, objective.sample_weight).reshape(n, k)
        centre = np.broadcast_to(objective._centre, objective.y.shape).reshape(n, k)
        return np.ascontiguousarray(np.vstack([objective.X.T, y.T, weights.T, centre.T]))

    def collect(self, programs: Any) -> SmallTwoLayers:
        """The batch of several programs of this key; data sets that are one object are kept once."""
        known: dict[int, int] = {}
        tables = []
        for program in programs:
            if known.setdefault(id(program.objective), len(tables)) == len(tables):
                tables.append(program.table())
        return SmallTwoLayers(
            self.objective.network.activation,
            self.objective.loss,
            self.objective.regularizer,
            self.layout,
            np.array([known[id(program.objective)] for program in programs], dtype=np.int64),
            np.array(tables),
            np.array([program.measure for program in programs]),
            self.rate,
        )

"""A small two-layer problem as one compiled thing: what `solvers._march` runs without leaving compiled code.

The loops are those of side_by_side.py and tiled.py; around them stand loss, regularizer and velocity, in one go. Where
a step takes a few microseconds, calls from Python would take most of the time.
"""

from __future__ import annotations

import math
from operator import attrgetter, methodcaller
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from meanfield._kernels import side_by_side, tiled
from meanfield._kernels.choose import FUSED_UP_TO_INPUTS, cheap, group_of, padded, plain
from meanfield._kernels.passes import by_address
from meanfield._kernels.shared import kept_once
from meanfield.plugins import key
from solvers._borrow import piece
from solvers._jit import INLINED
from solvers.losses import compiled_weights
from solvers.protocols import Array

# Pairs (particle, datum) and inputs up to which a run stays in compiled code.
MOST_PAIRS = 20_000
MOST_INPUTS = 16
FLOAT = np.dtype(np.float64)


class Layout(NamedTuple):
    """What a neuron is made of, and how it is computed.

    With one output and up to three inputs particles go side by side (side_by_side.py): `like` has a number an input,
    `neuron` one a coordinate. Elsewhere (tiled.py) `neuron` is None, and inputs and outputs come in groups, as many as
    `like` and `few` have numbers (one output: `few` is None); `rows` are those of residuals, in whole groups. `degree`
    is that of a homogeneous activation, or None; `keeps` is 1 where activations are kept from prediction to pull-back,
    or None.
    """

    like: Any
    few: Any
    neuron: Any
    degree: Any
    keeps: Any
    outputs: int
    rows: int
    outer: int
    bias: bool
    fixed: float
    scale: float


class SmallTwoLayer(NamedTuple):
    """``z_j' = -rate_j (s_j sum_i q_i grad Phi(z_j; x_i) + grad V(z_j))``, ``q = scale R'(f)``, one replica.

    Arrays are few, since each costs the compiler time: `inputs` are the data as the strategy wants them, `targets`
    (3, k n) holds targets, weights and centre, `measure` (3, m) coefficients, masses and signs; `room` is what the
    strategy hands from prediction to pull-back.
    """

    activation: Any
    loss: Any
    regularizer: Any
    layout: Layout
    inputs: Array
    targets: Array
    measure: Array
    rate: Array
    room: Any

    def observe(self, z: Array, f: Array) -> None:
        layout = self.layout
        predict(layout, layout.neuron, self.activation, z, self.measure[0], self.inputs, self.room, f)
        for i in range(f.size):
            f[i] = layout.scale * (f[i] - self.targets[2, i])

    def respond(self, z: Array, f: Array, out: Array) -> None:
        layout = self.layout
        q = np.empty(f.size)
        self.loss.fill(f, self.targets[0], self.targets[1], q)
        for i in range(f.size):
            q[i] *= layout.scale
        for i in range(out.size):
            out[i] = 0.0
        for j in range(self.measure.shape[1]):
            p = self.rate.size
            self.regularizer.push(row(z, j, p, layout.neuron), row(out, j, p, layout.neuron))
        signs = self.measure[2]
        pull(layout, layout.neuron, self.activation, z, self.inputs, self.room, q, signs, self.rate, out)

    def objective(self, z: Array, f: Array) -> float:
        penalty = 0.0
        for j in range(self.measure.shape[1]):
            theta = row(z, j, self.rate.size, self.layout.neuron)
            penalty += self.measure[1, j] * self.regularizer.potential(theta)
        return self.loss.total(f, self.targets[0], self.targets[1]) + penalty

    def project(self, z: Array) -> bool:
        return False


class SmallTwoLayers(NamedTuple):
    """A batch of `SmallTwoLayer`: data sets (D, ...) by number `which` (R,), measures (R, 3, m)."""

    activation: Any
    loss: Any
    regularizer: Any
    layout: Layout
    which: Array
    inputs: Array
    targets: Array
    measures: Array
    rate: Array

    def replica(self, r: int) -> SmallTwoLayer:
        data = self.which[r]
        return SmallTwoLayer(
            self.activation,
            self.loss,
            self.regularizer,
            self.layout,
            self.inputs[data],
            self.targets[data],
            self.measures[r],
            self.rate,
            room_for(
                self.layout, self.layout.neuron, self.layout.keeps, self.measures.shape[2], self.inputs[data]
            ),
        )


def room_for(layout: Any, neuron: Any, kept: Any, particles: int, inputs: Any) -> Any:
    """Room for what a strategy hands from prediction to pull-back, or None."""


def row(z: Any, j: int, p: int, neuron: Any) -> Any:
    """Neuron j of p numbers."""


def predict(
    layout: Any, neuron: Any, activation: Any, z: Any, coefficients: Any, inputs: Any, room: Any, f: Any
) -> None:
    """f[o, i] = sum_j c_j a_jo sigma(w_j . x_i + b_j), flat; `room` is then ready for `pull`."""


def pull(
    layout: Any,
    neuron: Any,
    activation: Any,
    z: Any,
    inputs: Any,
    room: Any,
    q: Any,
    signs: Any,
    rate: Any,
    out: Any,
) -> None:
    """out_j = -rate (out_j + s_j sum_i q_i grad Phi(z_j; x_i))."""


@overload(row, jit_options=INLINED)
def _row(z, j, p, neuron):
    if isinstance(neuron, types.NoneType):
        return lambda z, j, p, neuron: z[j * p : (j + 1) * p]
    return lambda z, j, p, neuron: piece(z, j * len(neuron), neuron)


@overload(room_for, jit_options=INLINED)
def _room_for(layout, neuron, kept, particles, inputs):
    if not isinstance(neuron, types.NoneType):
        return lambda layout, neuron, kept, particles, inputs: side_by_side.make_room(
            kept, particles, inputs.shape[0], len(layout.like)
        )
    if isinstance(kept, types.NoneType):
        return lambda layout, neuron, kept, particles, inputs: None
    return lambda layout, neuron, kept, particles, inputs: np.empty(
        ((particles + 3) // 4 * 4, inputs.shape[1])
    )


@overload(predict, jit_options=INLINED)
def _predict(layout, neuron, activation, z, coefficients, inputs, room, f):
    if not isinstance(neuron, types.NoneType):

        def beside(layout, neuron, activation, z, coefficients, inputs, room, f):
            points, _, line, kept = side_by_side.parts(
                layout.keeps, room, coefficients.size, inputs.shape[0], len(layout.like)
            )
            side_by_side.pack(
                z, neuron, coefficients, len(layout.like), layout.outer, layout.bias, layout.fixed, points
            )
            side_by_side.predict(activation, points, inputs, layout.like, kept, line)
            for i in range(f.size):
                f[i] = line[i]

        return beside

    def by_tiles(layout, neuron, activation, z, coefficients, inputs, room, f):
        n = f.size // layout.outputs
        positions = z.reshape(coefficients.size, z.size // coefficients.size)
        sums = np.zeros((layout.outputs, inputs.shape[1]))
        for low in range(0, positions.shape[0], tiled.BLOCK):
            tiled.predict(
                activation,
                positions,
                coefficients,
                inputs,
                layout.like,
                layout.outer,
                layout.bias,
                layout.fixed,
                room,
                sums,
                low,
                min(low + tiled.BLOCK, positions.shape[0]),
            )
        for o in range(layout.outputs):
            for i in range(n):
                f[o * n + i] = sums[o, i]

    return by_tiles


@overload(pull, jit_options=INLINED)
def _pull(layout, neuron, activation, z, inputs, room, q, signs, rate, out):
    if not isinstance(neuron, types.NoneType):

        def beside(layout, neuron, activation, z, inputs, room, q, signs, rate, out):
            points, slopes, line, kept = side_by_side.parts(
                layout.keeps, room, signs.size, inputs.shape[0], len(layout.like)
            )
            for i in range(line.size):
                line[i] = q[i] if i < q.size else 0.0
            side_by_side.pull(activation, points, inputs, line, layout.like, layout.degree, kept, slopes)
            side_by_side.unpack(
                points,
                slopes,
                neuron,
                signs,
                rate,
                len(layout.like),
                layout.outer,
                layout.bias,
                layout.degree,
                out,
            )

        return beside

    def by_tiles(layout, neuron, activation, z, inputs, room, q, signs, rate, out):
        n = q.size // layout.outputs
        front = np.zeros((layout.rows, inputs.shape[1]))
        for o in range(layout.outputs):
            for i in range(n):
                front[o, i] = q[o * n + i]
        m, p = signs.size, rate.size
        positions, gradient, values = z.reshape(m, p), np.empty((m, p)), np.empty(m)
        for low in range(0, positions.shape[0], tiled.BLOCK):
            tiled.pull(
                activation,
                positions,
                inputs,
                front,
                layout.like,
                layout.few,
                layout.outer,
                layout.bias,
                layout.fixed,
                layout.degree,
                room,
                values,
                gradient,
                low,
                min(low + tiled.BLOCK, positions.shape[0]),
            )
        for j in range(m):
            for k in range(p):
                out[j * p + k] = -rate[k] * (out[j * p + k] + signs[j] * gradient[j, k])

    return by_tiles


def small_program(bound: Any) -> SmallProgram | None:
    """The program of a bound Wasserstein flow of a two-layer network, if it is small and its parts compile."""
    if not can_compile(bound.functional):
        return None
    return SmallProgram(bound) if bound.functional.X.shape[0] * bound.shape[0] <= MOST_PAIRS else None


def can_compile(objective: Any) -> bool:
    """Whether network, loss and regularizer have compiled forms, for few inputs in double precision."""
    network = getattr(objective, "network", None)
    if not getattr(network, "compiled", False) or not hasattr(network, "activation"):
        return False
    if hasattr(objective._operator, "near"):  # its linearization, which moves otherwise
        return False
    if not hasattr(objective.loss, "fill") or not hasattr(objective.regularizer, "push"):
        return False
    return getattr(network, "dtype", "float64") == "float64" and network.d <= MOST_INPUTS


class SmallProgram:
    """A small two-layer problem with its data and measure, ready to be one of a batch."""

    name = "objective"

    def __init__(self, bound: Any) -> None:
        objective, network = bound.functional, bound.functional.network
        self.objective = objective
        d, outputs = int(network.d), int(network.outputs)
        self.activation = plain(network.activation)
        beside = d <= FUSED_UP_TO_INPUTS and outputs == 1
        degree = getattr(network.activation, "degree", None) if outputs == 1 else None
        kept = hasattr(type(self.activation), "slope_from_value") or (
            not beside and not cheap(self.activation)
        )
        few = None if outputs == 1 else (0.0,) * group_of(outputs)
        self.layout = Layout(
            (0.0,) * (d if beside else group_of(d)),
            few,
            (0.0,) * int(network.dim) if beside else None,
            None if degree is None else float(degree),
            1 if kept else None,
            outputs,
            outputs if few is None else -(-outputs // len(few)) * len(few),
            0 if network.a is not None else outputs,
            bool(network.bias),
            float(network.a or 0.0),
            float(network.scale),
        )
        signs = np.ones(bound.shape[0]) if bound.signs is None else bound.signs
        self.measure = np.array([bound.weights * signs, bound.weights, signs])
        self.rate = bound.flow.time_factor * np.array(network.mobility, dtype=np.float64)
        self.observed = objective.X.shape[0] * outputs
        self.floor = float(np.sqrt(np.mean(np.square(objective.y))))
        if not beside:
            # compiled once for all activations
            self.activation = by_address(self.activation, FLOAT, degree)
            self.layout = self.layout._replace(degree=None)
        #: programs with equal keys can go in one batch
        self.key = (
            *(key(part) for part in (self.activation, objective.loss, objective.regularizer)),
            self.layout,
            objective.X.shape,
            self.measure.shape,
            self.rate.tobytes(),
        )

    def radius_bound(self, z: Array) -> float:
        """A bound of the Jacobian's spectral radius for activations of slope at most L, loosely; infinite for others.

        ``|grad Phi|^2 <= (L |w.x + b| + |sigma(0)|)^2 + (a L |(x, 1)|)^2``, averaged, times the loss's curvature; as
        much again for second derivatives, which are smaller unless residuals are large.
        """
        objective, network = self.objective, self.objective.network
        n = objective.X.shape[0]
        curvature = getattr(objective.loss, "curvature_bound", lambda *_: None)(n, objective.sample_weight)
        bounds = getattr(network.activation, "bounds", None)
        if curvature is None or bounds is None:
            return math.inf
        positions = z.reshape(self.measure.shape[1], self.rate.size)
        inputs = 1.0 + float(np.mean(np.square(objective.X))) * network.d
        # masses enter once: the flow follows the gradient in the metric of the measure
        particles = float(self.measure[1] @ np.square(positions).sum(axis=1)) + float(
            self.measure[1].sum()
        ) * (self.layout.fixed**2)
        offset = float(network.activation.value(0.0)) ** 2
        slope = bounds.lipschitz**2
        features = n * curvature * self.layout.scale**2 * (2.0 * slope * inputs * particles + 2.0 * offset)
        ridge = float(getattr(objective.regularizer, "strength", 0.0))
        return float(self.rate.max(initial=0.0)) * (2.0 * features + ridge)

    def data(self) -> tuple[Array, Array]:
        """Inputs as the kernels want them, and (targets, weights, centre) flat over outputs, then data."""
        objective, n, k = self.objective, self.objective.X.shape[0], self.layout.outputs
        inputs = self.arranged(objective.X)
        y = objective.y.reshape(n, k)
        weights = compiled_weights(objective.loss, y, objective.sample_weight).reshape(n, k)
        centre = np.broadcast_to(objective._centre, objective.y.shape).reshape(n, k)
        return inputs, np.array([part.T.reshape(-1) for part in (y, weights, centre)])

    def arranged(self, X: Array) -> Array:
        """Inputs (n, d) as the strategy wants them."""
        if self.layout.neuron is not None:
            return side_by_side.arranged(X)
        n, d = X.shape
        group = len(self.layout.like)
        inputs = np.zeros((-(-d // group) * group, padded(n, FLOAT)))
        inputs[:d, :n] = X.T
        inputs[:d, n:] = X[-1][:, None]
        return inputs

    def collect(self, programs: Any) -> SmallTwoLayers:
        """The batch of several programs of this key; data sets that are one object are kept once."""
        which, data = kept_once(programs, attrgetter("objective"), methodcaller("data"))
        inputs, targets = zip(*data, strict=True)
        return SmallTwoLayers(
            self.activation,
            self.objective.loss,
            self.objective.regularizer,
            self.layout,
            which,
            np.array(inputs),
            np.array(targets),
            np.array([program.measure for program in programs]),
            self.rate,
        )

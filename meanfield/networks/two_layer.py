"""Two-layer networks of any width: neurons ``a sigma(w . x + b)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from meanfield import activations
from meanfield._kernels import TwoLayerOnData
from meanfield.networks.feature_map import FeaturesOnData, centre_of, check_centre, check_scale
from meanfield.plugins import check_activation
from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array
from solvers.spaces import Euclidean, standard_normal, unit_directions


@dataclass(frozen=True, repr=False, eq=False)
class TwoLayer:
    """``f_mu(x) = scale * (int a sigma(w . x + b) dmu(a, w, b) - centre(x))``.

    A neuron is theta = (a, w, b): `outputs` outer weights, `d` inner weights, and a bias if any, in this
    order in the columns of a measure's positions.

    Parameters
    ----------
    activation : plug-in or str
        sigma, an instance such as ``ReLU()`` or a name such as ``"relu"``.
    d : int
        Number of inputs.
    bias : bool
        Whether neurons have b.
    scale : float
        The factor alpha of lazy training.
    centre : ParticleMeasure or callable, optional
        What is subtracted: the network of a measure (usually the start, so that f = 0 there), or a function
        of X (n, d) returning (n,).
    train : tuple of str
        Layers that move, among "a", "w", "b"; the others keep their place with zero velocity.
    rates : mapping of str to float, optional
        Factors of the velocity of each layer (two-timescale flows), 1 by default.
    outputs : int
        Number of predictions a point.
    a : float, optional
        A fixed outer weight, the same for all neurons: theta is then (w, b).
    dtype : {"float64", "float32"}
        Precision of what is done for each pair of a neuron and a datum (predictions and gradients, relative error
        about 1e-6 with "float32", at twice the speed). Positions, residuals and all that a caller sees are float64.

    Raises
    ------
    InputError, PluginError
    """

    activation: Any
    d: int
    bias: bool = True
    scale: float = 1.0
    centre: Any = None
    train: tuple[str, ...] = ("a", "w", "b")
    rates: Mapping[str, float] | None = None
    outputs: int = 1
    a: float | None = None
    dtype: str = "float64"
    compiled: bool = field(init=False)
    layout: dict[str, tuple[int, int]] = field(init=False)
    mobility: Array = field(init=False)

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("activation", activations.resolve(self.activation))
        put("compiled", check_activation(self.activation))
        put("d", _check.number(self.d, "d", positive=True, integer=True))
        put("outputs", _check.number(self.outputs, "outputs", positive=True, integer=True))
        put("scale", check_scale(self.scale))
        put("dtype", _check.choice(self.dtype, "dtype", ("float64", "float32")))
        if not isinstance(self.bias, (bool, np.bool_)):
            raise InputError(f"bias must be True or False, not {self.bias!r}")
        if self.a is not None:
            put("a", _check.number(self.a, "a"))
            if self.outputs != 1:
                raise InputError("a fixed outer weight a= goes with one output; leave a=None for several")
        layout: dict[str, tuple[int, int]] = {}
        start = 0
        if self.a is None:
            layout["a"] = (0, self.outputs)
            start = self.outputs
        layout["w"] = (start, start + self.d)
        if self.bias:
            layout["b"] = (start + self.d, start + self.d + 1)
        put("layout", layout)
        put("mobility", self._mobility(layout))
        if self.centre is not None:
            check_centre(self.centre, self.dim)

    def _mobility(self, layout: Mapping[str, tuple[int, int]]) -> Array:
        train = (self.train,) if isinstance(self.train, str) else tuple(self.train)
        object.__setattr__(self, "train", train)
        for name in train:
            _check.choice(name, "a layer in train", ("a", "w", "b"))
        for name in self.rates or {}:
            _check.choice(name, "a layer in rates", ("a", "w", "b"))
        if not set(train) & set(layout):
            raise InputError(
                f"train={train} moves no layer of this network, whose layers are {tuple(layout)}"
            )
        mobility = np.zeros(max(stop for _, stop in layout.values()))
        for name, (low, high) in layout.items():
            if name in train:
                rate = _check.number((self.rates or {}).get(name, 1.0), f"rates[{name!r}]", nonnegative=True)
                mobility[low:high] = rate
        mobility.flags.writeable = False
        return mobility

    def __repr__(self) -> str:
        parts = [repr(self.activation), f"d={self.d}", f"bias={self.bias}"]
        if self.scale != 1.0:
            parts.append(f"scale={self.scale:g}")
        if self.centre is not None:
            parts.append(f"centre={self.centre!r}")
        if self.train != ("a", "w", "b"):
            parts.append(f"train={self.train}")
        if self.rates:
            parts.append(f"rates={dict(self.rates)}")
        if self.outputs != 1:
            parts.append(f"outputs={self.outputs}")
        if self.a is not None:
            parts.append(f"a={self.a:g}")
        if self.dtype != "float64":
            parts.append(f"dtype={self.dtype!r}")
        return f"TwoLayer({', '.join(parts)})"

    @property
    def dim(self) -> int:
        """Coordinates of a neuron, p."""
        return int(self.mobility.size)

    @property
    def space(self) -> Euclidean:
        """Where neurons live: R^p."""
        return Euclidean(self.dim)

    @property
    def smooth(self) -> bool:
        """Whether the velocity is continuous; False for kinked activations (on finite data)."""
        return bool(getattr(self.activation, "smooth", True))

    @property
    def homogeneity(self) -> int | None:
        """Degree of Phi in theta = (a, (w, b)) together, or None: 2 for ReLU with a trained outer weight."""
        degree = getattr(self.activation, "degree", None)
        if degree is None:
            return None
        return int(degree) + (1 if self.a is None else 0)

    # -- the feature map ------------------------------------------------------------------------------------

    def _split(self, positions: Array) -> tuple[Array, Array, Array]:
        """Outer weights (m, k), inner weights (m, d), biases (m, 1)."""
        low, high = self.layout["w"]
        outer = positions[:, :low] if low else np.full((positions.shape[0], 1), float(self.a or 0.0))
        shift = positions[:, high:] if self.bias else np.zeros((positions.shape[0], 1))
        return outer, positions[:, low:high], shift

    def _activate(self, z: Array, slope: bool = False) -> tuple[Array, Array]:
        value, derivative = np.empty(z.size), np.empty(z.size)
        flat = np.ascontiguousarray(z).reshape(-1)
        if self.compiled:
            from meanfield._kernels.elementwise import activate, activate_slope

            if slope:
                activate_slope(self.activation, flat, value, derivative)
            else:
                activate(self.activation, flat, value)
        else:
            value[:] = [self.activation.value(float(t)) for t in flat]
            if slope:
                derivative[:] = [self.activation.slope(float(t)) for t in flat]
        return value.reshape(z.shape), derivative.reshape(z.shape)

    def features(self, positions: Any, X: Any) -> Array:
        """``Phi(theta_j; x_i) = a_j sigma(w_j . x_i + b_j)``: (m, n), or (m, n, k) with k outputs."""
        points, inputs = self.check_positions(positions), self.check_inputs(X)
        outer, inner, shift = self._split(points)
        value, _ = self._activate(inner @ inputs.T + shift)
        if self.outputs == 1:
            return np.asarray(outer * value)
        return np.asarray(outer[:, None, :] * value[:, :, None])

    def vjp(self, positions: Any, X: Any, q: Any) -> Array:
        """``sum_i q_i grad_theta Phi(theta_j; x_i)``: (m, p), for q (n,) or (n, k)."""
        points, inputs = self.check_positions(positions), self.check_inputs(X)
        front = np.asarray(q, dtype=np.float64)
        if front.size != inputs.shape[0] * self.outputs:
            wanted = (inputs.shape[0],) if self.outputs == 1 else (inputs.shape[0], self.outputs)
            raise InputError(
                f"q must have shape {wanted}, one entry a prediction, but its shape is {front.shape}"
            )
        front = front.reshape(inputs.shape[0], self.outputs)
        outer, inner, shift = self._split(points)
        value, slope = self._activate(inner @ inputs.T + shift, slope=True)
        back = slope * (outer @ front.T)
        parts = [] if self.a is not None else [value @ front]
        parts.append(back @ inputs)
        if self.bias:
            parts.append(back.sum(axis=1, keepdims=True))
        return np.hstack(parts)

    def bind(self, X: Array) -> Any:
        """The operator on fixed inputs: compiled, or blocks of NumPy where the activation does not compile."""
        if self.compiled:
            return TwoLayerOnData(self.activation, X, self.outputs, self.a, bool(self.bias), self.dtype)
        return FeaturesOnData(self, X)

    def predict(self, measure: Any, X: Any) -> Array:
        """``f_mu(x_i)``: (n,), or (n, k) with k outputs."""
        inputs = self.check_inputs(X)
        self.check_positions(measure.positions)
        raw = self.bind(inputs).integrate(measure.positions, measure.coefficients)
        return np.asarray(self.scale * (raw - centre_of(self, inputs)))

    def check_positions(self, positions: Any) -> Array:
        """Positions as (m, p), or one sentence."""
        points = np.asarray(positions, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != self.dim:
            layers = ", ".join(f"{k}: {hi - lo}" for k, (lo, hi) in self.layout.items())
            raise InputError(
                f"positions must have shape (m, {self.dim}) for this network ({layers}), not {points.shape}"
            )
        return points

    def check_inputs(self, X: Any) -> Array:
        """Inputs as (n, d), or one sentence; a vector is read as n points of one input when d = 1."""
        inputs = _check.array(X, "X", ndim=(1, 2))
        if inputs.ndim == 1 and self.d == 1:
            inputs = inputs[:, None]
        if inputs.ndim != 2 or inputs.shape[1] != self.d:
            raise InputError(
                f"X must have shape (n, {self.d}) for this network, but its shape is {inputs.shape}"
            )
        return inputs

    # -- starts ---------------------------------------------------------------------------------------------

    def sample(
        self,
        kind: str,
        m: int,
        rng: Any,
        *,
        std: Any = 1.0,
        radius: float = 1.0,
        outer: float = 1.0,
        method: str = "random",
        doubled: bool = False,
    ) -> Array:
        """Draw m neurons, (m, p).

        Parameters
        ----------
        kind : {"gaussian", "sphere"}
            "gaussian": every coordinate N(0, std^2), with `std` a number or a mapping of layers to numbers.
            "sphere": (w, b) uniform on the sphere of `radius`, outer weights +-`outer` by fair coins.
        m : int
            Number of particles, even if doubled.
        method : {"random", "sobol", "equispaced"}
            "equispaced": angles in the plane (d + bias = 2), for kind "sphere"; signs then alternate.
        doubled : bool
            Antithetic pairs (a, w, b), (-a, w, b): f = 0 at the start, exactly.
        """
        _check.choice(kind, "kind", ("gaussian", "sphere"))
        draw = generator(rng, "measure")
        if doubled:
            if self.a is not None:
                raise InputError("doubled=True flips the sign of the outer weight, but it is fixed by a=")
            if m % 2:
                raise InputError(f"doubled=True needs an even width, not {m}")
            half = self.sample(
                kind, m // 2, draw, std=std, radius=radius, outer=outer, method=method, doubled=False
            )
            mirror = half.copy()
            mirror[:, : self.outputs] *= -1.0
            return np.vstack([half, mirror])
        inner = self.d + bool(self.bias)
        if kind == "gaussian":
            _check.choice(method, "method", ("random", "sobol"))
            return np.asarray(standard_normal(m, self.dim, draw, method) * self._deviations(std))
        size = _check.number(radius, "radius", positive=True)
        directions = np.asarray(size * unit_directions(m, inner, draw, method))
        if self.a is not None:
            return directions
        if method == "equispaced":
            coins = np.where(np.arange(m) % 2 == 0, 1.0, -1.0)[:, None] * np.ones(self.outputs)
        else:
            coins = np.where(draw.random((m, self.outputs)) < 0.5, -1.0, 1.0)
        return np.hstack([_check.number(outer, "outer", nonnegative=True) * coins, directions])

    def _deviations(self, std: Any) -> Array:
        if not isinstance(std, Mapping):
            return np.full(self.dim, _check.number(std, "std", nonnegative=True))
        deviations = np.ones(self.dim)
        for name, value in std.items():
            low, high = self.layout[_check.choice(name, "a layer in std", self.layout)]
            deviations[low:high] = _check.number(value, f"std[{name!r}]", nonnegative=True)
        return deviations

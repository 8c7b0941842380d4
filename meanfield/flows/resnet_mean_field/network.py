"""Residual networks with blocks of two layers on the mean-field scale: start, predictions, features, gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np

from meanfield import activations
from meanfield.activations import Identity, Tanh
from meanfield.finite.deep.data import check_front, check_points
from meanfield.finite.deep.passes import activate, add_product
from meanfield.flows.resnet_mean_field.weights import Weights
from meanfield.plugins import check_activation
from solvers import _check
from solvers._memory import require_memory
from solvers._rng import generator, seed_words
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.noise import fill_normals
from solvers.protocols import Array

# Bytes of features and activations held at a time; sums over data are cut where this says.
BLOCK_BYTES = 256_000_000
# Normals of the start are numbered by (block, U or V, coordinate; unit): those of a network are part of a larger one's.
COORDINATES = 2**24


class Pass(NamedTuple):
    """What the way forward leaves: h, (L + 1, n, D); values and slopes of sigma, (L, n, M); f, (n, d_out)."""

    h: Array
    values: list[Array]
    slopes: list[Any]
    f: Array


class Signal(NamedTuple):
    """What moves block l, ``U_l -= step scale h' g``, ``V_l -= step scale b' s``: h and b (n, D), g and s (n, M)."""

    block: int
    h: Array
    g: Array
    b: Array
    s: Array


@dataclass(frozen=True, eq=False)
class ResNet:
    r"""``h_{l+1} = h_l + scale/(L M) V_l sigma(U_l' h_l / D)``, ``h_0 = W_E x``, ``f = W_U' h_L / D``.

    L blocks of M units on D coordinates. At the start ``U ~ N(0, D u_std^2)``, ``V ~ N(0, D v_std^2)``, ``W_E ~ N(0,
    in_std^2)``, ``W_U ~ N(0, out_std^2)``, entry by entry; embeddings stay. With ``b_l = D dR/dh_l``, of order one an
    entry, ``p = U_l' h_l / D``, ``q = V_l' b_{l+1} / D``:

        dR/dU_l = scale/(L M D) h_l (sigma'(p) q)',    dR/dV_l = scale/(L M D) b_{l+1} sigma(p)',

    so that steps of size ``L M D`` change entries of U, V by order one: then ``p`` moves by ``h.h/D`` and h, summed
    over all blocks and units, by b, both of order one whatever L, M and D. `GradientDescent` takes such steps.

    Parameters
    ----------
    d_in, d_out : int
    depth, width, dim : int
        L, M and D.
    activation : plug-in or str
        sigma.
    scale, u_std, v_std : float
    in_std, out_std : float, optional
        ``1/sqrt(d_in)`` and ``sqrt(d_out)`` by default.

    Raises
    ------
    InputError, PluginError

    References
    ----------
    Chaintron, Chizat and Maass, 2026 (2603.18168); Chizat, 2025 (2509.10167): the abstracts, and the published code.

    Examples
    --------
    >>> import meanfield as mf, numpy as np
    >>> net = mf.resnet_mean_field.ResNet(d_in=5, d_out=2, depth=20, width=50, dim=30)
    >>> weights = net.init(rng=0)
    >>> net.predict(weights, np.ones((4, 5))).shape, net.features(weights, np.ones((4, 5))).shape
    ((4, 2), (21, 4, 30))
    """

    d_in: int
    d_out: int
    depth: int
    width: int
    dim: int
    activation: Any = Tanh()
    scale: float = 1.0
    u_std: float = 1.0
    v_std: float = 1.0
    in_std: float | None = None
    out_std: float | None = None
    compiled: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name in ("d_in", "d_out", "depth", "width", "dim"):
            put(name, _check.number(getattr(self, name), name, positive=True, integer=True))
        if self.dim >= COORDINATES:
            raise InputError(f"dim must be below {COORDINATES}, not {self.dim}")
        if self.in_std is None:
            put("in_std", 1.0 / math.sqrt(self.d_in))
        if self.out_std is None:
            put("out_std", math.sqrt(self.d_out))
        for name in ("scale", "u_std", "v_std", "in_std", "out_std"):
            put(name, float(_check.number(getattr(self, name), name, positive=True)))
        put("activation", activations.resolve(self.activation))
        put("compiled", check_activation(self.activation))

    # -- sizes ------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int, int]:
        """(L, D, M), that of U and of V."""
        return self.depth, self.dim, self.width

    @cached_property
    def size(self) -> int:
        """P = 2 L M D, the number of weights that move."""
        return 2 * self.depth * self.width * self.dim

    @property
    def smooth(self) -> bool:
        """Whether the gradient is continuous; False for kinked activations."""
        return bool(getattr(self.activation, "smooth", True))

    def check_inputs(self, X: Any) -> Array:
        """X as (n, d_in), or one sentence."""
        return check_points(X, self.d_in)

    def check_weights(self, weights: Any) -> Weights:
        """Weights of this shape, or one sentence.

        Parameters
        ----------
        weights : Weights
        """
        if not isinstance(weights, Weights):
            kind = type(weights)
            raise InputError(
                "weights must be mf.resnet_mean_field.Weights, as net.init(rng=0) makes them, not "
                + (f"{kind.__module__}.{kind.__name__}" if kind.__name__ == "Weights" else kind.__name__)
            )
        wanted = (*self.shape, self.d_in, self.d_out)
        if (*weights.U.shape, weights.W_E.shape[1], weights.W_U.shape[1]) != wanted:
            raise InputError(
                f"these weights belong to another network: {weights!r}, where this is {self!r}; make them with its "
                "own init"
            )
        if not all(math.isfinite(float(part.sum())) for part in weights.to_arrays().values()):
            raise InputError(
                "weights must be finite, but some are NaN or infinite: the training that made them diverged"
            )
        return weights

    def views(self, z: Array) -> tuple[Array, Array]:
        """U and V in a flat vector, without copies.

        Parameters
        ----------
        z : ndarray, (P,)
        """
        half = self.size // 2
        return z[:half].reshape(self.shape), z[half:].reshape(self.shape)

    def _blocks(self, n: int) -> list[slice]:
        each = 8 * (self.depth * (self.dim + 2 * self.width) + self.dim)
        size = max(1, BLOCK_BYTES // each)
        return [slice(low, min(n, low + size)) for low in range(0, n, size)]

    # -- the start --------------------------------------------------------------------------------------------

    def init(self, rng: Any = 0) -> Weights:
        """Weights of the start: those of one `rng` are nested, a network's a part of those of every larger one.

        Entry (l, d, j) of U and V over ``sqrt(D)`` and rows of the embeddings are the same whatever L, D and M.

        Parameters
        ----------
        rng : int, SeedSequence or Generator
        """
        require_memory(8.0 * self.size, f"a network of {self.size} weights", "a smaller depth, width or dim")
        words = seed_words(rng, "resnet blocks")
        z = np.empty(self.size)
        fill: Any = fill_normals
        for which, (part, std) in enumerate(zip(self.views(z), (self.u_std, self.v_std), strict=True)):
            for block in range(self.depth):
                for d in range(self.dim):
                    step = (2 * block + which) * COORDINATES + d
                    fill(words[0], words[1], step, 0, part[block, d, :, None])
            part *= std * math.sqrt(self.dim)
        return Weights.over(*self.views(z), *self.embed(rng))

    def embed(self, rng: Any = 0) -> tuple[Array, Array]:
        """W_E and W_U alone.

        Parameters
        ----------
        rng : int, SeedSequence or Generator
        """
        rows = generator(rng, "resnet embeddings").standard_normal((self.dim, self.d_in + self.d_out))
        assert self.in_std is not None and self.out_std is not None
        return self.in_std * rows[:, : self.d_in], self.out_std * rows[:, self.d_in :]

    # -- what a network knows ---------------------------------------------------------------------------------

    def predict(self, weights: Any, X: Any) -> Array:
        """f at points X: (n,), or (n, d_out) with more outputs than one.

        Parameters
        ----------
        weights : Weights
        X : array_like, (n, d_in)
        """
        f = self.values(self.check_weights(weights), self.check_inputs(X))
        return f[:, 0] if self.d_out == 1 else f

    @one_blas_thread()
    def values(self, weights: Weights, X: Array) -> Array:
        """f (n, d_out) for checked arguments, a block of points at a time.

        Parameters
        ----------
        weights : Weights
        X : ndarray
        """
        return np.concatenate([self.forward(weights, X[part], False).f for part in self._blocks(len(X))])

    @one_blas_thread()
    def features(self, weights: Any, X: Any) -> Array:
        """h after 0, 1, ..., L blocks, (L + 1, n, D).

        Parameters
        ----------
        weights : Weights
        X : array_like, (n, d_in)
        """
        checked, inputs = self.check_weights(weights), self.check_inputs(X)
        require_memory(
            8.0 * (self.depth + 1) * len(inputs) * self.dim,
            f"features of {len(inputs)} points in {self.depth} blocks",
        )
        return np.concatenate(
            [self.forward(checked, inputs[part], False).h for part in self._blocks(len(inputs))], axis=1
        )

    def gradient(self, weights: Any, X: Any, q: Any) -> tuple[Array, Array]:
        """``sum_i <q_i, grad f(x_i)>`` in U and in V, (L, D, M) each.

        Parameters
        ----------
        weights : Weights
        X : array_like, (n, d_in)
        q : array_like, (n,) or (n, d_out)
            Such as the gradient of a loss in f.
        """
        checked, inputs = self.check_weights(weights), self.check_inputs(X)
        front = check_front(q, len(inputs), self.d_out)
        out = np.empty(self.size)
        self.evaluate(checked, inputs, lambda f: front, out)
        return self.views(out)

    # -- forward and backward ---------------------------------------------------------------------------------

    def activate(self, p: Array, slope: bool) -> tuple[Array, Any]:
        """sigma(p) and, if asked for, sigma'(p).

        Parameters
        ----------
        p : ndarray
        slope : bool
        """
        sigma = self.activation
        if type(sigma) is Tanh:
            s = np.tanh(p if sigma.gain == 1.0 else sigma.gain * p)
            return s, sigma.gain * (1.0 - s * s) if slope else None
        if type(sigma) is Identity:
            return sigma.factor * p, np.full_like(p, sigma.factor) if slope else None
        return activate(cast(Any, self), p, slope)

    def forward(self, weights: Weights, X: Array, slopes: bool) -> Pass:
        """The way through all blocks.

        Parameters
        ----------
        weights : Weights
        X : ndarray, (n, d_in)
        slopes : bool
            Keep what the way back needs.
        """
        h = np.empty((self.depth + 1, len(X), self.dim))
        h[0] = X @ weights.W_E.T
        values: list[Array] = []
        marks: list[Any] = []
        factor = self.scale / (self.depth * self.width)
        for block, (U, V) in enumerate(zip(weights.U, weights.V, strict=True)):
            p = h[block] @ U
            p /= self.dim
            s, mark = self.activate(p, slopes)
            np.matmul(s, V.T, out=h[block + 1])
            h[block + 1] *= factor
            h[block + 1] += h[block]
            if slopes:
                values.append(s)
                marks.append(mark)
        return Pass(h, values, marks, h[-1] @ weights.W_U / self.dim)

    def backward(self, weights: Weights, made: Pass, q: Array) -> Iterator[Signal]:
        """Blocks from the last to the first; each may be moved as soon as the next one is asked for.

        Parameters
        ----------
        weights : Weights
        made : Pass
        q : ndarray, (n, d_out)
            dR/df.
        """
        b = q @ weights.W_U.T
        factor = self.scale / (self.depth * self.width)
        for block in range(self.depth - 1, -1, -1):
            g = b @ weights.V[block]
            g *= made.slopes[block]
            g /= self.dim
            before = g @ weights.U[block].T
            before *= factor
            before += b
            yield Signal(block, made.h[block], g, b, made.values[block])
            b = before

    @one_blas_thread()
    def evaluate(self, weights: Weights, X: Array, respond: Callable[[Array], Array], out: Array) -> Array:
        """f (n, d_out), and into `out` the gradient of U and V for q = respond(f).

        Parameters
        ----------
        weights : Weights
        X : ndarray
        respond : callable
        out : ndarray, (P,)
        """
        parts = self._blocks(len(X))
        f = self.values(weights, X) if len(parts) > 1 else None
        q = None if f is None else respond(f).reshape(f.shape)
        factor = self.scale / (self.depth * self.width * self.dim)
        out[:] = 0.0
        U, V = self.views(out)
        for part in parts:
            made = self.forward(weights, X[part], True)
            mine = respond(made.f).reshape(made.f.shape) if q is None else q[part]
            for signal in self.backward(weights, made, mine):
                add_product(U[signal.block], signal.h, signal.g, factor)
                add_product(V[signal.block], signal.b, signal.s, factor)
        return made.f if f is None else f

    @one_blas_thread()
    def descend(
        self, weights: Weights, X: Array, respond: Callable[[Array], Array], steps: tuple[float, float]
    ) -> None:
        """``U -= steps[0] L M D dR/dU``, ``V -= steps[1] L M D dR/dV``, in place.

        Parameters
        ----------
        weights : Weights
        X : ndarray
        respond : callable
            dR/df from f.
        steps : (float, float)
        """
        if len(self._blocks(len(X))) > 1:
            out = np.empty(self.size)
            self.evaluate(weights, X, respond, out)
            out *= self.depth * self.width * self.dim
            for array, gradient, step in zip((weights.U, weights.V), self.views(out), steps, strict=True):
                gradient *= step
                array -= gradient
            return
        made = self.forward(weights, X, True)
        # the signal of a block is the last that is asked of its weights: no gradient is ever written down
        for signal in self.backward(weights, made, respond(made.f).reshape(made.f.shape)):
            add_product(weights.U[signal.block], signal.h, signal.g, -steps[0] * self.scale)
            add_product(weights.V[signal.block], signal.b, signal.s, -steps[1] * self.scale)

"""What all deep networks know: start, predictions, gradients of each sample, activations, tangent kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield import activations
from meanfield.finite.deep.data import check_front, check_points
from meanfield.finite.deep.passes import accumulate, add_product, backward, forward, multiply
from meanfield.finite.deep.samples import jacobian, model
from meanfield.finite.deep.scaling import Layer, scaled
from meanfield.finite.deep.scratch import Scratch, lent
from meanfield.finite.deep.tangent import tangent_kernel
from meanfield.finite.deep.weights import Weights, views
from meanfield.plugins import check_activation
from solvers import _check
from solvers._memory import require_memory
from solvers._rng import generator
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

if TYPE_CHECKING:
    from meanfield.diagnostics import Model

# Bytes of activations held at a time; sums over data are cut where this says.
BLOCK_BYTES = 128_000_000


class Network:
    """Base of `Dense`, `ResNet` and `ConvNet`, which say how units of a layer are the inputs of the next one."""

    activation: Any
    compiled: bool
    layers: tuple[Layer, ...]
    skip: str | None = None
    #: predictions a point, k
    outputs: int
    #: positions of each layer's output: 1 but for convolutions
    positions: tuple[int, ...]

    def _build(self, outs: Any, fans: Any, positions: Any, shifts: int = 1) -> None:
        """Check what all networks have in common, and make the layers."""

        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        here: Any = self
        put("activation", activations.resolve(here.activation))
        put("compiled", check_activation(here.activation))
        if not isinstance(here.bias, (bool, np.bool_)):
            raise InputError(f"bias must be True or False, not {here.bias!r}")
        put("w_var", float(_check.number(here.w_var, "w_var", positive=True)))
        put("b_var", float(_check.number(here.b_var, "b_var", nonnegative=True)))
        layers = scaled(
            here.parametrization,
            outs,
            fans,
            shifts=shifts,
            bias=bool(here.bias),
            w_var=here.w_var,
            b_var=here.b_var,
            train=here.train,
        )
        put("layers", layers)
        put("positions", tuple(positions))
        put("outputs", layers[-1].out)

    # -- sizes ------------------------------------------------------------------------------------------------

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all arrays, in order."""
        found: dict[str, tuple[int, ...]] = {}
        for i, layer in enumerate(self.layers):
            found[f"W{i}"] = (layer.out, layer.fan)
            if layer.bias:
                found[f"b{i}"] = (layer.out,)
        return found

    @cached_property
    def size(self) -> int:
        """P, the number of weights, frozen ones included."""
        return int(sum(int(np.prod(shape)) for shape in self.shapes.values()))

    @property
    def trained(self) -> tuple[int, ...]:
        """Numbers of the layers that move."""
        return tuple(i for i, layer in enumerate(self.layers) if layer.rate)

    @property
    def smooth(self) -> bool:
        """Whether the gradient is continuous; False for kinked activations."""
        return bool(getattr(self.activation, "smooth", True))

    @cached_property
    def rates(self) -> Array:
        """The rate of every weight, (P,): 0 where frozen."""
        found = np.empty(self.size)
        for name, part in views(found, self.shapes).items():
            part[...] = self.layers[int(name[1:])].rate
        found.flags.writeable = False
        return found

    # -- how layers are joined --------------------------------------------------------------------------------

    def rows(self, X: Array) -> Array:
        """Checked inputs (n, ...) as rows (points times positions, channels)."""
        return X

    def gather(self, layer: int, h: Array, n: int, scratch: Scratch | None = None) -> Array:
        """The inputs u of a layer from the rows h before it, in scratch or new."""
        return h

    def back(self, layer: int, g: Array, W: Array, n: int, scratch: Scratch) -> Array:
        """From d/dz of a layer, (rows, out), to d/dh of the one before, in scratch or new."""
        return multiply(g, W, self.layers[layer].factor, scratch.array("g", layer, (len(g), W.shape[1])))

    def check_inputs(self, X: Any) -> Array:
        """X as (n, d), or one sentence."""
        return check_points(X, self.layers[0].fan)

    def flat(self, weights: Any) -> Array:
        """Weights, or their flat vector, as a flat vector (P,), or one sentence."""
        if isinstance(weights, Weights):
            if weights.shapes != self.shapes:
                raise InputError(
                    f"these weights belong to another network: {weights!r}, where {self!r} has {self.shapes}"
                )
            return _finite(weights.flat)
        if isinstance(weights, np.ndarray) and weights.shape == (self.size,):
            return _finite(_check.array(weights, "weights", finite=False))
        raise InputError(
            f"weights must be Weights, as net.init(rng=0) makes them, or a vector of all {self.size} of them, not "
            f"{type(weights).__name__}" + (f" of shape {weights.shape}" if hasattr(weights, "shape") else "")
        )

    def blocks(self, n: int, copies: int = 1) -> Iterator[slice]:
        """So many points at a time that what a pass leaves stays within the memory of a block.

        Parameters
        ----------
        n : int
        copies : int
            Of the outputs of every layer, beside values and slopes.
        """
        each = sum(
            p * (layer.fan + (2 + copies) * layer.out)
            for p, layer in zip(self.positions, self.layers, strict=True)
        )
        size = max(1, BLOCK_BYTES // (8 * each))
        for low in range(0, n, size):
            yield slice(low, min(n, low + size))

    # -- what a network knows ---------------------------------------------------------------------------------

    def init(self, rng: Any = 0) -> Weights:
        """Weights of the start, as the parametrization has them (see the table of `mf.finite.deep`).

        Parameters
        ----------
        rng : int, SeedSequence or Generator

        Raises
        ------
        InputError
            Where they would not fit into memory.
        """
        require_memory(8.0 * self.size, f"a network of {self.size} weights", "smaller widths")
        draw = generator(rng, "deep")
        flat = np.empty(self.size)
        for name, part in views(flat, self.shapes).items():
            layer = self.layers[int(name[1:])]
            part[...] = (layer.std if name[0] == "W" else layer.bias_std) * draw.standard_normal(part.shape)
        return Weights.over(flat, self.shapes)

    def predict(self, weights: Any, X: Any) -> Array:
        """f at points X: (n,), or (n, k) with k outputs.

        Parameters
        ----------
        weights : Weights or ndarray, (P,)
        X : array_like, (n, ...)
        """
        f = self.values(self.flat(weights), self.check_inputs(X))
        return f[:, 0] if self.outputs == 1 else f

    @one_blas_thread()
    def values(self, flat: Array, X: Array) -> Array:
        """f (n, k) for checked arguments, a block of points at a time.

        Parameters
        ----------
        flat : ndarray, (P,)
        X : ndarray
        """
        arrays = views(flat, self.shapes)
        with lent() as scratch:
            parts = [forward(self, arrays, X[block], False, scratch).f for block in self.blocks(len(X))]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def gradient(self, weights: Any, X: Any, q: Any) -> Weights:
        """``sum_i <q_i, grad f(x_i)>`` in all weights, those of frozen layers too.

        Parameters
        ----------
        weights : Weights or ndarray, (P,)
        X : array_like, (n, ...)
        q : array_like, (n,) or (n, k)
            Such as the gradient of a loss in f.
        """
        z, inputs = self.flat(weights), self.check_inputs(X)
        front = check_front(q, len(inputs), self.outputs)
        out = np.empty(self.size)
        self.evaluate(z, inputs, lambda f: front, out, 0)
        return Weights.over(out, self.shapes)

    @one_blas_thread()
    def evaluate(
        self, flat: Array, X: Array, respond: Callable[[Array], Array], out: Array, lowest: int | None = None
    ) -> Array:
        """f (n, k), and into `out` the gradient for q = respond(f); zeros below layer `lowest`, the first that moves.

        Parameters
        ----------
        flat : ndarray, (P,)
        X : ndarray
        respond : callable
        out : ndarray, (P,)
        lowest : int, optional
        """
        arrays, low = views(flat, self.shapes), min(self.trained) if lowest is None else lowest
        parts = views(out, self.shapes)
        out[: self.offset(f"W{low}")] = 0.0
        blocks = list(self.blocks(len(X)))
        with lent() as scratch:
            if len(blocks) == 1:
                made = forward(self, arrays, X, True, scratch)
                q = respond(made.f).reshape(made.f.shape)
                accumulate(self, arrays, made, q, parts, low, True, scratch)
                return made.f
            f = self.values(flat, X)
            q = respond(f).reshape(f.shape)
            for block in blocks:
                made = forward(self, arrays, X[block], True, scratch)
                accumulate(self, arrays, made, q[block], parts, low, block.start == 0, scratch)
            return f

    @one_blas_thread()
    def descend(self, flat: Array, X: Array, respond: Callable[[Array], Array], step: float) -> None:
        """``W_l -= step rate_l grad_l`` in place, the gradient that of `evaluate`.

        Parameters
        ----------
        flat : ndarray, (P,)
        X : ndarray
        respond : callable
        step : float
        """
        arrays = views(flat, self.shapes)
        if len(list(self.blocks(len(X)))) > 1:
            out = np.empty_like(flat)
            self.evaluate(flat, X, respond, out)
            out *= step * self.rates
            flat -= out
            return
        with lent() as scratch:
            made = forward(self, arrays, X, True, scratch)
            q = respond(made.f).reshape(made.f.shape)
            signals = backward(self, arrays, made, q, min(self.trained), scratch)
            # all signals before the first weight moves; gradients of wide layers are never written down
            for i, g in list(signals):
                layer = self.layers[i]
                if layer.rate:
                    add_product(arrays[f"W{i}"], g, made.inputs[i], -step * layer.rate * layer.factor)
                    if layer.bias:
                        arrays[f"b{i}"] -= (step * layer.rate * layer.shift) * np.add.reduce(g, axis=0)

    def jacobian(self, weights: Any, X: Any) -> Array:
        """Gradients of each prediction, (n, k, P), in the order of ``weights.flat``; 0 for weights that are frozen.

        Parameters
        ----------
        weights : Weights or ndarray, (P,)
        X : array_like, (n, ...)

        Raises
        ------
        InputError
            Also where it would not fit into memory.
        """
        return jacobian(self, self.flat(weights), self.check_inputs(X))

    def offset(self, name: str) -> int:
        """Where an array begins in the flat vector.

        Parameters
        ----------
        name : str
        """
        low = 0
        for other, shape in self.shapes.items():
            if other == name:
                return low
            low += int(np.prod(shape))
        raise KeyError(name)

    @one_blas_thread()
    def activations(self, weights: Any, X: Any, before: bool = False) -> tuple[Array, ...]:
        """``h_l = sigma(z_l)`` of the hidden layers, (n, m), or (n, positions, channels) of convolutions.

        Parameters
        ----------
        weights : Weights or ndarray, (P,)
        X : array_like, (n, ...)
        before : bool
            z_l instead of h_l.
        """
        inputs, arrays = self.check_inputs(X), views(self.flat(weights), self.shapes)
        sizes = [
            (len(inputs), layer.out) if p == 1 else (len(inputs), p, layer.out)
            for p, layer in zip(self.positions[:-1], self.layers[:-1], strict=True)
        ]
        needed = 8.0 * sum(math.prod(size) for size in sizes)
        require_memory(needed, f"the activations of all layers at {len(inputs)} points")
        found = tuple(np.empty(size) for size in sizes)
        for block in self.blocks(len(inputs)):
            made = forward(self, arrays, inputs[block], False, keep=before)
            for whole, part in zip(found, made.before if before else made.hidden, strict=True):
                whole[block] = part.reshape(whole[block].shape)
        return found

    def tangent_kernel(self, weights: Any, X: Any, Z: Any = None) -> Array:
        """``K(x, z) = sum_l rate_l <grad_l f(x), grad_l f(z)>``, (n k, n' k), an output's index running fastest.

        Along the gradient flow ``df/dt = -K R'(f)``; rates are 1 but for mean-field networks, 0 for frozen layers.
        Made layer by layer of products of inputs and of backward signals, without gradients of the size of the network.

        Parameters
        ----------
        weights : Weights or ndarray, (P,)
        X : array_like, (n, ...)
        Z : array_like, (n', ...), optional
            X by default; K is then exactly symmetric.

        Raises
        ------
        InputError
            Also where it would not fit into memory.
        """
        z, left = self.flat(weights), self.check_inputs(X)
        right = left if Z is None else self.check_inputs(Z)
        rows, columns = len(left) * self.outputs, len(right) * self.outputs
        require_memory(8.0 * rows * columns, f"a kernel of {rows} by {columns} predictions")
        return tangent_kernel(self, z, left, None if Z is None else right)

    def model(self, weights: Any) -> Model:
        """The network at these weights as a `mf.diagnostics.Model`, for `mf.regime`, `mf.elasticity` and their like.

        Its parameters are ``W / root(rate)`` of the layers that move: in these the gradient flow has rates 1, and the
        kernel of their gradients is `tangent_kernel`. Inner weights are those below the read-out.

        Parameters
        ----------
        weights : Weights or ndarray, (P,)
        """
        return model(self, self.flat(weights))


def _finite(flat: Array) -> Array:
    if not math.isfinite(float(np.add.reduce(flat))):
        raise InputError(
            "weights must be finite, but some are NaN or infinite: the training that made them diverged"
        )
    return flat

"""Convolutional networks on a line of positions or a grid of them, by patches and matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from meanfield.finite.deep.dense import DEFAULT, checked_sizes, shown
from meanfield.finite.deep.network import Network
from meanfield.finite.deep.passes import multiply
from meanfield.finite.deep.scaling import Layer
from meanfield.finite.deep.scratch import Scratch
from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array

# Bytes of patches made at a time where they are used but once: half of a common second-level cache.
CACHED_BYTES = 500_000


@dataclass(frozen=True, repr=False, eq=False)
class ConvNet(Network):
    """``h_l(p) = sigma(factor sum_s W_l[s] h_{l-1}(p + s) + b)`` over shifts s, then a read-out of all positions.

    Convolutions keep the number of positions (stride 1, kernels of odd size); outside there are zeros, or the other
    side. Positions are 1-D or 2-D. Rows of W are channels, columns go over shifts and, fastest, over channels before.

    Parameters
    ----------
    shape : sequence of int
        Of one input, ``(length, channels)`` or ``(height, width, channels)``. X is (n, *shape), (n, length) or (n,
        height, width) where there is one channel, or flat, (n, size).
    channels : sequence of int
        Of the hidden layers.
    outputs : int
    kernel : int
        Shifts along each axis, odd: q = kernel, or kernel^2 on a grid.
    padding : {"zero", "circular"}
    readout : {"flatten", "mean"}
        Weights for each position and channel, or for the means of channels over positions (global pooling).
    activation : plug-in or str
    parametrization : {"ntk", "standard", "mean_field", "allen_zhu"}
        ``fan`` counts shifts, q times the channels before; at a flat read-out positions times channels.
    bias : bool
    train : sequence of int, optional
    w_var, b_var : float
        As of `Dense`.

    Raises
    ------
    InputError, PluginError

    Examples
    --------
    >>> import meanfield as mf, numpy as np
    >>> net = mf.finite.deep.ConvNet(shape=(8, 8, 1), channels=(16, 16), outputs=10, padding="circular")
    >>> net.predict(net.init(rng=0), np.ones((5, 8, 8))).shape
    (5, 10)
    """

    shape: Sequence[int]
    channels: Sequence[int]
    outputs: int = 1
    kernel: int = 3
    padding: str = "zero"
    readout: str = "flatten"
    activation: Any = DEFAULT
    parametrization: str = "ntk"
    bias: bool = False
    train: Any = None
    w_var: float = 2.0
    b_var: float = 1.0
    layers: tuple[Layer, ...] = field(init=False)
    positions: tuple[int, ...] = field(init=False)
    compiled: bool = field(init=False)

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("shape", checked_sizes(self.shape, "shape", 2, "(length, channels) or (height, width, channels)"))
        if len(self.shape) > 3:
            raise InputError(
                f"shape must be (length, channels) or (height, width, channels), not {self.shape}: inputs have one or "
                "two axes of positions"
            )
        put(
            "channels",
            checked_sizes(self.channels, "channels", 1, "those of the hidden layers, such as (64, 64)"),
        )
        put("outputs", _check.number(self.outputs, "outputs", positive=True, integer=True))
        put("kernel", _check.number(self.kernel, "kernel", positive=True, integer=True))
        put("padding", _check.choice(self.padding, "padding", ("zero", "circular")))
        put("readout", _check.choice(self.readout, "readout", ("flatten", "mean")))
        places = tuple(self.shape)[:-1]
        if self.kernel % 2 == 0:
            raise InputError(
                f"kernel must be odd, not {self.kernel}: convolutions keep the number of positions, with as many on "
                "either side"
            )
        if self.kernel > (min(places) if self.padding == "circular" else 2 * min(places) - 1):
            raise InputError(
                f"kernel={self.kernel} is larger than inputs with positions {places} have use for; take a smaller one"
            )
        shifts, before = self.kernel ** len(places), (self.shape[-1], *self.channels)
        last = before[-1] * (prod(places) if self.readout == "flatten" else 1)
        self._build(
            (*self.channels, self.outputs),
            (*(shifts * c for c in before[:-1]), last),
            (*(prod(places) for _ in self.channels), 1),
            shifts,
        )

    def __repr__(self) -> str:
        sizes = f"shape={self.shape}, channels={self.channels}, outputs={self.outputs}, kernel={self.kernel}"
        return shown(self, sizes, f"padding={self.padding!r}", f"readout={self.readout!r}")

    def check_inputs(self, X: Any) -> Array:
        """X as (n, *shape), or one sentence."""
        inputs, shape = _check.array(X, "X", finite=False), tuple(self.shape)
        n, size = inputs.shape[0] if inputs.ndim else 1, prod(shape)
        each = inputs.shape[1:]
        if each not in (shape, (size,)) and (shape[-1] != 1 or each != shape[:-1]):
            hint = "; channels come last" if each == (shape[-1], *shape[:-1]) else ""
            hint = "; pass X[None] for one point" if inputs.shape == shape else hint
            raise InputError(
                f"X must have shape (n, {', '.join(map(str, shape))}) or (n, {size}) for this network, but its shape "
                f"is {inputs.shape}{hint}"
            )
        return _check.array(inputs, "X").reshape(n, *shape)

    def rows(self, X: Array) -> Array:
        """Inputs as rows (points times positions, channels)."""
        return X.reshape(-1, self.shape[-1])

    def gather(self, layer: int, h: Array, n: int, scratch: Scratch | None = None) -> Array:
        """Patches (points times positions, shifts times channels); at the read-out what it reads.

        Parameters
        ----------
        layer : int
        h : ndarray
        n : int
        scratch : Scratch, optional
        """
        if layer == len(self.layers) - 1:
            by_point = h.reshape(n, -1, h.shape[1])
            return by_point.reshape(n, -1) if self.readout == "flatten" else by_point.mean(axis=1)
        return self._patches(h, n, scratch or Scratch(), "u", layer)

    def _patches(self, h: Array, n: int, scratch: Scratch, name: str, layer: int) -> Array:
        """What the kernel sees from each position, shifts before channels, in scratch of that name."""
        places, c = tuple(self.shape)[:-1], h.shape[1]
        axes = tuple(range(1, len(places) + 1))
        padded = self._padded(h.reshape(n, *places, c), scratch)
        seen = sliding_window_view(padded, [self.kernel] * len(places), axis=axes)
        # channels last: shifts along the last axis are then copied with them, in one run
        seen = np.moveaxis(seen, len(axes) + 1, -1)
        patches = scratch.array(name, layer, seen.shape)
        np.copyto(patches, seen)
        return patches.reshape(len(h), -1)

    def _padded(self, h: Array, scratch: Scratch) -> Array:
        """Positions with what lies around them (np.pad takes three times as long on small inputs)."""
        reach, places = self.kernel // 2, h.shape[1:-1]
        if self.padding == "circular":
            for axis, length in enumerate(places, start=1):
                h = h.take(np.arange(-reach, length + reach), axis=axis, mode="wrap")
            return h
        size = (len(h), *(length + 2 * reach for length in places), h.shape[-1])
        padded = scratch.array("padded", 0, size)
        padded.fill(0.0)
        padded[(slice(None), *(slice(reach, reach + length) for length in places))] = h
        return padded

    def back(self, layer: int, g: Array, W: Array, n: int, scratch: Scratch) -> Array:
        """``sum_s W[s]' g(p - s)``: patches of g once more, with shifts the other way round; the read-out undone.

        Parameters
        ----------
        layer : int
        g : ndarray
        W : ndarray
        n : int
        scratch : Scratch
        """
        if layer == len(self.layers) - 1:
            count, through = self.positions[0], super().back(layer, g, W, n, scratch)
            if self.readout == "flatten":
                return through.reshape(n * count, -1)
            return np.repeat(through / count, count, axis=0)
        out, shifts = len(W), self.kernel ** (len(self.shape) - 1)
        turned = W.reshape(out, shifts, -1)[:, ::-1].transpose(1, 0, 2).reshape(shifts * out, -1)
        count, factor = self.positions[layer], self.layers[layer].factor
        through = scratch.array("g", layer, (n * count, turned.shape[1]))
        # a few points at a time: their patches do not leave the cache before they are multiplied
        size = max(1, CACHED_BYTES // (8 * count * len(turned)))
        for low in range(0, n, size):
            points = min(size, n - low)
            rows = slice(low * count, (low + points) * count)
            multiply(self._patches(g[rows], points, scratch, "seen", 0), turned, factor, through[rows])
        return through

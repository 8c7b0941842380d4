"""Layers without weights that join positions."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from meanfield.kernels.deep.pairs import Form, Pairs
from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array


@dataclass(frozen=True)
class AvgPool:
    """Means over windows side by side: S and T are averaged over all pairs of positions of two windows.

    Parameters
    ----------
    window : int
        Positions along each axis; it divides their number.

    Raises
    ------
    InputError
    """

    window: int = 2
    pools: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", _check.number(self.window, "window", positive=True, integer=True))

    def form(self, form: Form) -> Form:
        """Fewer positions than those of `form`, which is what comes before."""
        _need_positions(self, form)
        if any(length % self.window for length in form.grid):
            raise InputError(
                f"AvgPool windows of {self.window} must cover positions {form.grid} exactly; take a window that "
                "divides them"
            )
        return Form(tuple(length // self.window for length in form.grid), form.gaussian)

    def move(self, pairs: Pairs) -> Pairs:
        """The kernels behind this layer, from the `pairs` before it."""

        def pooled(kernel: Array, lead: int) -> Array:
            for axis in range(lead, kernel.ndim):
                shape = kernel.shape
                kernel = kernel.reshape(
                    *shape[:axis], shape[axis] // self.window, self.window, *shape[axis + 1 :]
                ).mean(axis=axis + 1)
            return kernel

        return pairs.linear(pooled, tuple(length // self.window for length in pairs.grid))


@dataclass(frozen=True)
class GlobalPool:
    """The mean over all positions, flat data: S and T are averaged over all pairs of positions."""

    pools: ClassVar[bool] = True

    def form(self, form: Form) -> Form:
        """Flat data; `form` is what comes before."""
        _need_positions(self, form)
        return Form((), form.gaussian)

    def move(self, pairs: Pairs) -> Pairs:
        """The kernels behind this layer, from the `pairs` before it."""
        return pairs.linear(lambda kernel, lead: kernel.mean(axis=tuple(range(lead, kernel.ndim))), ())


@dataclass(frozen=True)
class Flatten:
    """All positions and channels in one row, flat data: S and T are averaged over equal positions ``p = p'``."""

    pools: ClassVar[bool] = False

    def form(self, form: Form) -> Form:
        """Flat data, of units that differ in size: no longer Gaussian alike, as they may be in `form` before."""
        _need_positions(self, form)
        return Form((), False)

    def move(self, pairs: Pairs) -> Pairs:
        """The kernels behind this layer, from the `pairs` before it."""
        axes, count = len(pairs.grid), prod(pairs.grid)

        def diagonal(kernel: Array, lead: int) -> Array:
            if kernel.ndim > lead + axes:
                square = kernel.reshape(*kernel.shape[:lead], count, count)
                return np.asarray(np.einsum("...pp->...", square) / count)
            return np.asarray(kernel.reshape(*kernel.shape[:lead], count).mean(axis=-1))

        return pairs.linear(diagonal, ())


def _need_positions(layer: object, form: Form) -> None:
    name = type(layer).__name__
    if not form.grid:
        raise InputError(
            f"{name} has data with positions before it, but here they are flat; leave it out, or give X as (n, length, "
            "channels) or (n, height, width, channels)"
        )

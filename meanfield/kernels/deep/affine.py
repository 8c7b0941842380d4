"""Layers with weights: dense ones and convolutions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import numpy as np

from meanfield.kernels.deep.pairs import Form, Pairs
from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array


@dataclass(frozen=True, kw_only=True)
class Dense:
    """``root(w_var/fan) W u + root(b_var) b`` with standard normal W and b: ``S <- w_var S + b_var``, T <- S + w_var T.

    Infinitely wide: it has no number of units, and its two variances are given by name.

    Infinitely wide: no number of units is given, and the two variances are given by name.

    Parameters
    ----------
    w_var : float
        Non-negative; 2 keeps the size of signals between ReLUs.
    b_var : float
        Non-negative; 0 is no bias.

    Raises
    ------
    InputError
    """

    w_var: float = 2.0
    b_var: float = 0.0
    pools: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("w_var", "b_var"):
            object.__setattr__(self, name, _check.number(getattr(self, name), name, nonnegative=True))

    def form(self, form: Form) -> Form:
        """Flat data stay flat; `form` is what comes before."""
        if form.grid:
            raise InputError(
                f"Dense has flat data before it, but here they have positions {form.grid}; put Flatten() or "
                "GlobalPool() before it, or take Conv(1), which is dense at every position"
            )
        return Form((), True)

    def move(self, pairs: Pairs) -> Pairs:
        """The kernels behind this layer, from the `pairs` before it."""
        return weighted(pairs, self.w_var, self.b_var)


@dataclass(frozen=True)
class Conv:
    """``root(w_var/(q channels)) sum_s W[s] u(p + s) + root(b_var) b``: S and T are averaged over q shared shifts s.

    Stride 1; positions stay as many, on a line or a grid. Outside there are zeros, which still count in q, or the
    other side. As `mf.finite.deep.ConvNet`.

    Parameters
    ----------
    kernel : int
        Shifts along each axis, odd: q = kernel, or kernel^2 on a grid.
    w_var, b_var : float
        As of `Dense`.
    padding : {"zero", "circular"}

    Raises
    ------
    InputError
    """

    kernel: int = 3
    w_var: float = 2.0
    b_var: float = 0.0
    padding: str = "zero"
    pools: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", _check.number(self.kernel, "kernel", positive=True, integer=True))
        if self.kernel % 2 == 0:
            raise InputError(
                f"kernel must be odd, not {self.kernel}: convolutions keep the number of positions, with as many on "
                "either side"
            )
        for name in ("w_var", "b_var"):
            object.__setattr__(self, name, _check.number(getattr(self, name), name, nonnegative=True))
        _check.choice(self.padding, "padding", ("zero", "circular"))

    def form(self, form: Form) -> Form:
        """Positions of `form`, which is what comes before, stay."""
        if not form.grid:
            raise InputError(
                "Conv has data with positions before it, but here they are flat; give X as (n, length, channels) or "
                "(n, height, width, channels), and put Flatten() and pooling after the convolutions"
            )
        if self.kernel > (min(form.grid) if self.padding == "circular" else 2 * min(form.grid) - 1):
            raise InputError(
                f"kernel={self.kernel} is larger than data with positions {form.grid} have use for; take a smaller one"
            )
        return Form(form.grid, True)

    def move(self, pairs: Pairs) -> Pairs:
        """The kernels behind this layer, from the `pairs` before it."""
        mean = pairs.linear(lambda kernel, lead: self._averaged(kernel, lead, pairs.grid), pairs.grid)
        return weighted(mean, self.w_var, self.b_var)

    def _averaged(self, kernel: Array, lead: int, grid: tuple[int, ...]) -> Array:
        """The mean over shifts, common to p and p' where both are there; one axis of the grid after the other."""
        reach = self.kernel // 2
        for axis, length in enumerate(grid):
            along = range(lead + axis, kernel.ndim, len(grid))
            mean = np.zeros_like(kernel)
            for s in range(-reach, reach + 1):
                # p and p' move alike, but each may come round by itself
                for moves in product(self._moves(s, length), repeat=len(along)):
                    to, source = [slice(None)] * kernel.ndim, [slice(None)] * kernel.ndim
                    for i, (here, there) in zip(along, moves, strict=True):
                        to[i], source[i] = here, there
                    mean[tuple(to)] += kernel[tuple(source)]
            mean /= self.kernel
            kernel = mean
        return kernel

    def _moves(self, s: int, length: int) -> list[tuple[slice, slice]]:
        """Positions p, and p + s of the data, in ranges: those inside, and those on the other side."""
        moves = [(slice(max(0, -s), length - max(0, s)), slice(max(0, s), length - max(0, -s)))]
        if self.padding == "circular" and s > 0:
            moves.append((slice(length - s, length), slice(0, s)))
        if self.padding == "circular" and s < 0:
            moves.append((slice(0, -s), slice(length + s, length)))
        return moves


def weighted(pairs: Pairs, w_var: float, b_var: float) -> Pairs:
    """``w_var S + b_var`` everywhere, and ``T <- S + w_var T`` with the new S."""
    S = w_var * pairs.S + b_var
    left, right = w_var * pairs.left + b_var, w_var * pairs.right + b_var
    return replace(pairs, S=S, T=w_var * pairs.T + S, left=left, right=right)

"""What passes from layer to layer: the kernels of pairs of points, with what each point has with itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from math import prod
from typing import Any, NamedTuple

import numpy as np

from solvers.protocols import Array


class Form(NamedTuple):
    """What a layer sees before any number: the grid of positions, () for flat data, and whether units are Gaussian."""

    grid: tuple[int, ...]
    gaussian: bool


@dataclass(frozen=True)
class Pairs:
    """``S, T (n, m, *grid[, *grid])``, and ``left (n, ...)``, ``right (m, ...)``: S of every point with itself.

    The second grid is there if any layer pools; without one only equal positions of two points ever meet.
    `equal` are the pairs of points that coincide, whose S is `left`, bit for bit: angles there are exactly zero.
    """

    S: Array
    T: Array
    left: Array
    right: Array
    grid: tuple[int, ...]
    equal: tuple[Any, ...]

    def linear(self, change: Callable[[Array, int], Array], grid: tuple[int, ...]) -> Pairs:
        """`change(kernel, axes before positions)` done to all four."""
        return replace(
            self,
            S=change(self.S, 2),
            T=change(self.T, 2),
            left=change(self.left, 1),
            right=change(self.right, 1),
            grid=grid,
        )

    def pinned(self) -> Pairs:
        """S of coinciding points is what `left` says."""
        self.S[self.equal] = self.left[self.equal[0]]
        return self

    def sizes(self, kernel: Array) -> tuple[Array, Array]:
        """k(p) and k(p') of points with themselves, shaped to go with their own `kernel` (points, ...)."""
        axes = len(self.grid)
        if kernel.ndim == 1 + axes:
            return kernel, kernel
        n, count = len(kernel), prod(self.grid)
        k = np.einsum("ipp->ip", kernel.reshape(n, count, count)).reshape(n, *self.grid)
        return k.reshape(n, *self.grid, *(1,) * axes), k.reshape(n, *(1,) * axes, *self.grid)


def first(X: Array, Z: Array, full: bool, equal: tuple[Any, ...]) -> Pairs:
    """Kernels of the inputs (n, *grid, channels) themselves."""
    grid, channels = X.shape[1:-1], X.shape[-1]
    (n, m), count = (len(X), len(Z)), prod(grid)
    x, z = X.reshape(n, count, channels), Z.reshape(m, count, channels)
    if full:
        gram = (x.reshape(-1, channels) @ z.reshape(-1, channels).T).reshape(n, count, m, count)
        S = gram.transpose(0, 2, 1, 3).reshape(n, m, *grid, *grid) / channels
        left, right = ((u @ u.transpose(0, 2, 1)).reshape(-1, *grid, *grid) / channels for u in (x, z))
    else:
        gram = x.transpose(1, 0, 2) @ z.transpose(1, 2, 0)
        S = gram.transpose(1, 2, 0).reshape(n, m, *grid) / channels
        left, right = (np.einsum("ipc,ipc->ip", u, u).reshape(-1, *grid) / channels for u in (x, z))
    return Pairs(S, np.zeros_like(S), left, right, grid, equal).pinned()


def same(X: Array, Z: Array) -> tuple[Array, Array]:
    """A number for each point, the same for points that coincide.

    Parameters
    ----------
    X, Z : ndarray
    """
    seen: dict[bytes, int] = {}

    def number(x: Array) -> int:
        # + 0: there are two zeros. Of the bytes a digest: inputs are not copied as a whole
        return seen.setdefault(blake2b((x + 0.0).tobytes()).digest(), len(seen))

    return np.array([number(x) for x in X]), np.array([number(z) for z in Z])

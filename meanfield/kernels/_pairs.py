"""Pairs of inputs, the law of inner weights, and kernels filled a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers import _check
from solvers._threads import for_blocks, one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

# Rows of a block, one piece of work for a thread.
ROWS = 256
# Length of a point, whose fourth power is still a number.
LARGEST = 1e76


@dataclass(frozen=True)
class Law:
    """The law of w in R^dim: standard normal, or uniform on the unit sphere."""

    name: str
    dim: int

    @property
    def on_sphere(self) -> bool:
        return self.name == "sphere"


@dataclass(frozen=True)
class Inputs:
    """Rows of X and Z, a column of ones appended for a bias; `symmetric` where Z is X."""

    X: Array
    Z: Array
    symmetric: bool

    @property
    def shape(self) -> tuple[int, int]:
        return self.X.shape[0], self.Z.shape[0]


def inputs_of(X: Any, Z: Any, bias: Any) -> Inputs:
    """X and Z checked, a vector being one input a point; the same array when Z is None."""
    if not isinstance(bias, (bool, np.bool_)):
        raise InputError(f"bias must be True or False, not {bias!r}")
    left = _rows(X, "X", bool(bias))
    if Z is None:
        return Inputs(left, left, True)
    right = _rows(Z, "Z", bool(bias))
    if right.shape[1] != left.shape[1]:
        raise InputError(
            "X and Z must have the same number of columns, but X has "
            f"{left.shape[1] - bias} and Z {right.shape[1] - bias}"
        )
    return Inputs(left, right, False)


def _rows(points: Any, name: str, bias: bool) -> Array:
    table = _check.array(points, name, ndim=(1, 2))
    table = table[:, None] if table.ndim == 1 else table
    return np.ascontiguousarray(np.hstack([table, np.ones((table.shape[0], 1))])) if bias else table


def scaled(inputs: Inputs, radius: float) -> tuple[Array, Array]:
    """Points times `radius`, if squares of their norms can be multiplied: overflow would make kernels NaN."""
    X, Z = inputs.X * radius, inputs.Z * radius
    largest = max(float(np.abs(X).max()), float(np.abs(Z).max()))
    if largest * np.sqrt(X.shape[1]) > LARGEST:
        raise InputError(
            f"inputs (times w_norm) hold values up to {largest:.3g}, and kernels of points longer than {LARGEST:g} "
            "overflow; divide the inputs by their size"
        )
    return X, Z


# (gram, X, Z, |x|^2, |z|^2, value, slopes): fills E sigma sigma and E sigma' sigma' of a block.
Fill = Callable[[Array, Array, Array, Array, Array, Array, Array], None]


def assemble(inputs: Inputs, radius: float, fill: Fill, with_slopes: bool) -> tuple[Array, Array | None]:
    """E sigma sigma and, if asked for, E sigma' sigma' (n, m) on points times `radius`, a block of rows at a time."""
    X, Z = scaled(inputs, radius)
    rows, columns = np.einsum("ij,ij->i", X, X), np.einsum("ij,ij->i", Z, Z)
    n, m = inputs.shape
    value = np.empty((n, m))
    slopes = np.empty((n, m)) if with_slopes else None

    def work(first: int, last: int) -> None:
        for block in range(first, last):
            low, high = block * ROWS, min(n, (block + 1) * ROWS)
            start = low if inputs.symmetric else 0
            gram = X[low:high] @ Z[start:].T
            if inputs.symmetric:
                gram[:, : high - low][np.diag_indices(high - low)] = rows[low:high]
            part = slice(low, high), slice(start, m)
            turned = np.empty_like(gram) if slopes is None else slopes[part]
            fill(gram, X[low:high], Z[start:], rows[low:high], columns[start:], value[part], turned)

    with one_blas_thread():
        for_blocks(work, -(-n // ROWS), parallel=n * m > 20_000)
    if inputs.symmetric:
        mirror(value)
        if slopes is not None:
            mirror(slopes)
    return value, slopes


def mirror(K: Array) -> None:
    """Copy the upper triangle to the lower one, in blocks."""
    n = K.shape[0]
    for low in range(0, n, ROWS):
        high = min(n, low + ROWS)
        square = K[low:high, low:high]
        i, j = np.tril_indices(high - low, -1)
        square[i, j] = square[j, i]
        K[high:, low:high] = K[low:high, high:].T

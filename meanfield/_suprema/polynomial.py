"""A real trigonometric polynomial on the torus: values, derivatives, bounds, and the lattice of its frequencies."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

from meanfield._suprema.bounds import EPSILON
from solvers.protocols import Array

Complex = NDArray[np.complex128]
BLOCK = 4_000_000  # complex numbers held at once in an evaluation
DENSE = 4096  # coefficients above which the first contraction is worth BLAS


class TrigonometricPolynomial:
    """``T(theta) = sum_k c_k exp(i k.theta)``, c Hermitian of shape (2 N_1 + 1, ...), every N_i >= 1."""

    def __init__(self, c: Complex) -> None:
        self.dim = c.ndim
        self.degrees = tuple(n // 2 for n in c.shape)
        # T is real: twice the half with k_1 > 0, plus k_1 = 0
        half = c[self.degrees[0] :].copy()
        half[1:] *= 2.0
        self._half = half
        self._frequencies = [
            np.arange(0 if axis == 0 else -n, n + 1, dtype=np.float64) for axis, n in enumerate(self.degrees)
        ]
        k = np.stack(np.meshgrid(*self._frequencies, indexing="ij"), axis=-1).reshape(-1, self.dim)
        size = np.abs(half).ravel()
        used = size > 0.0
        self._size, self._k = size[used], np.abs(k[used])
        self._mean = float(half[(0, *self.degrees[1:])].real)
        self._supremum = np.inf
        # phases k.theta with |theta| <= pi are rounded to pi |k| / 2 units; then one product and sum per axis
        sums = 8.0 + 2.0 * sum(half.shape)
        self.rounding = float(EPSILON * (self._size @ (sums + 0.5 * math.pi * self._k.sum(axis=1))))

    def note_supremum(self, grid_values: Array, shape: tuple[int, ...]) -> None:
        """Bound sup|T - c_0| by its maximum over a full grid: |T(t)| >= sup|T| cos(N (t - t*)) (M. Riesz 1914)."""
        loss = math.prod(math.cos(math.pi * n / m) for n, m in zip(self.degrees, shape, strict=True))
        largest = float(np.abs(grid_values - self._mean).max())
        self._supremum = (largest + self.rounding) / loss

    def third_order(self, h: Array) -> float:
        """Bound on the third-order Taylor remainder on a box of half-widths h."""
        by_coefficients = float(self._size @ (self._k @ h) ** 3)
        by_bernstein = float(np.dot(self.degrees, h)) ** 3 * self._supremum
        return min(by_coefficients, by_bernstein) / 6.0

    def value(self, theta: Array) -> Array:
        return self._contract(theta, 0)[(0,) * self.dim]

    def derivatives(self, theta: Array) -> tuple[Array, Array, Array]:
        """T (B,), gradient (B, dim), Hessian (B, dim, dim) at theta (B, dim)."""
        return self._assemble(self._contract(theta, 2))

    def grid_values(self, shape: tuple[int, ...]) -> Array:
        """T at the cell centres of the regular grid of that shape."""
        return self._tensor(_cells(shape), (0,) * self.dim)

    def grid_slab(self, shape: tuple[int, ...], rows: slice) -> tuple[Array, Array, Array, Array]:
        """Centres (B, dim) of some rows (first axis) of that grid, with T, gradient and Hessian there."""
        axes = _cells(shape)
        axes[0] = axes[0][rows]
        orders = [order for order in product(range(3), repeat=self.dim) if sum(order) <= 2]
        out = {order: self._tensor(axes, order).ravel() for order in orders}
        centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dim)
        return centres, *self._assemble(out)

    def cheaper_on_grid(self, points: int, grid_points: int) -> bool:
        """Whether a whole grid costs less than so many scattered points (multiplications counted)."""
        scattered = 3.0 * self._half.size
        on_grid = 10.0 * max(self._half.shape)
        return bool(grid_points * on_grid < points * scattered)

    def _tensor(self, axes: list[Array], order: tuple[int, ...]) -> Array:
        partial: Complex = self._half
        for axis, o in enumerate(order):
            # contracting the leading axis each time leaves the grid axes in their order
            partial = np.tensordot(partial, self._waves(axis, axes[axis], o)[o], axes=([0], [1]))
        return np.ascontiguousarray(partial.real)

    def _waves(self, axis: int, points: Array, orders: int) -> list[Complex]:
        """exp(i k t) and its derivatives in t, each (B, number of k)."""
        k = self._frequencies[axis]
        reduced = points - 2.0 * np.pi * np.rint(points / (2.0 * np.pi))
        waves = [np.exp(1j * np.multiply.outer(reduced, k))]
        for _ in range(orders):
            waves.append(waves[-1] * (1j * k))
        return waves

    def _contract(self, theta: Array, orders: int) -> dict[tuple[int, ...], Array]:
        """All derivatives of total order <= orders at scattered points, axis by axis, in blocks."""
        rest = self._half.size // self._half.shape[0]
        block = max(1, BLOCK // (rest * (orders + 1)))
        if theta.shape[0] > block:
            parts = [self._contract(theta[s : s + block], orders) for s in range(0, theta.shape[0], block)]
            return {order: np.concatenate([part[order] for part in parts]) for order in parts[0]}
        matrix = self._half.reshape(self._half.shape[0], rest)
        level: dict[tuple[int, ...], Complex] = {}
        for o, wave in enumerate(self._waves(0, theta[:, 0], orders)):
            level[(o,)] = wave @ matrix if matrix.size > DENSE else np.einsum("bk,kr->br", wave, matrix)
        for axis in range(1, self.dim):
            waves = self._waves(axis, theta[:, axis], orders)
            count = waves[0].shape[1]
            level = {
                (*order, o): np.einsum("bk,bkr->br", waves[o], partial.reshape(theta.shape[0], count, -1))
                for order, partial in level.items()
                for o in range(orders + 1 - sum(order))
            }
        return {order: np.ascontiguousarray(partial[:, 0].real) for order, partial in level.items()}

    def _assemble(self, out: dict[tuple[int, ...], Array]) -> tuple[Array, Array, Array]:
        unit = np.eye(self.dim, dtype=int)
        value = out[(0,) * self.dim]
        gradient = np.stack([out[tuple(int(n) for n in unit[i])] for i in range(self.dim)], axis=-1)
        hessian = np.empty((value.size, self.dim, self.dim))
        for i in range(self.dim):
            for j in range(self.dim):
                hessian[:, i, j] = out[tuple(int(n) for n in unit[i] + unit[j])]
        return value, gradient, hessian


def _cells(shape: tuple[int, ...]) -> list[Array]:
    return [(np.arange(m, dtype=np.float64) + 0.5) * (2.0 * np.pi / m) - np.pi for m in shape]


def reduce_frequencies(c: Complex) -> tuple[Complex, NDArray[np.int64], float]:
    """Write T(theta) = T'(A theta), A (r, dim) a basis of the lattice spanned by the frequencies of T.

    A maps the torus onto the r-dimensional one, so that the minima agree. Coordinates that do not matter,
    combinations of them, and hidden periods all disappear. Returns c', A and the sum of the coefficients
    that were dropped as rounding errors (at most 2^-52 sum |c|).
    """
    dim = c.ndim
    degrees = np.array([n // 2 for n in c.shape])
    size = np.abs(c)
    kept = size > EPSILON * size.sum() / c.size
    kept[tuple(degrees)] = True
    dropped = float(size[~kept].sum())
    k = np.argwhere(kept) - degrees
    lattice = _lattice_basis(k)
    rank = lattice.shape[0]
    if rank == 0:
        return np.zeros((1,), dtype=np.complex128), lattice, dropped
    if rank == dim and abs(round(float(np.linalg.det(lattice.astype(np.float64))))) == 1:
        return np.where(kept, c, 0.0), np.eye(dim, dtype=np.int64), dropped
    coordinates = np.rint(k @ np.linalg.pinv(lattice.astype(np.float64))).astype(np.int64)
    extent = np.abs(coordinates).max(axis=0)
    reduced = np.zeros(tuple(2 * extent + 1), dtype=np.complex128)
    reduced[tuple((coordinates + extent).T)] = c[tuple((k + degrees).T)]
    return reduced, lattice, dropped


def _lattice_basis(vectors: NDArray[np.int64]) -> NDArray[np.int64]:
    """A short basis of the lattice of integer combinations of the rows: elimination, then pairwise reduction."""
    rows = np.unique(vectors, axis=0)
    dim = rows.shape[1]
    basis: list[NDArray[np.int64]] = []
    for column in range(dim):
        while True:
            nonzero = np.flatnonzero(rows[:, column])
            if nonzero.size == 0:
                break
            pivot = nonzero[np.argmin(np.abs(rows[nonzero, column]))]
            if nonzero.size == 1:
                basis.append(rows[pivot].copy())
                rows = np.delete(rows, pivot, axis=0)
                break
            quotient = rows[:, column] // rows[pivot, column]
            quotient[pivot] = 0
            rows = rows - quotient[:, None] * rows[pivot]
            if rows.shape[0] > 4 * dim:
                rows = np.unique(rows, axis=0)
        rows = rows[np.any(rows != 0, axis=1)]
    shorter = True
    while shorter:
        shorter = False
        for i, j in product(range(len(basis)), repeat=2):
            if i == j:
                continue
            quotient_ij = round(float(basis[i] @ basis[j]) / float(basis[j] @ basis[j]))
            candidate = basis[i] - quotient_ij * basis[j]
            if quotient_ij and candidate @ candidate < basis[i] @ basis[i]:
                basis[i] = candidate
                shorter = True
    return np.array(basis, dtype=np.int64).reshape(len(basis), dim)

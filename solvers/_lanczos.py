"""Functions of a symmetric Jacobian times a vector, by Lanczos' method: ``phi_k(h J) v`` on a Krylov space."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from solvers.protocols import Array

# A new direction shorter than this, relatively, is rounding: the space so far is invariant.
NOTHING = 1e-12


def phi(order: int, x: Array) -> Array:
    """``phi_0 = exp``, ``phi_k(x) = (phi_(k-1)(x) - 1/(k-1)!)/x = sum_j x^j/(j + k)!``."""
    small = np.abs(x) < 1.0
    # 20 terms leave 1/20! of the first
    series, near = np.zeros_like(x), np.where(small, x, 0.0)
    for j in range(20, -1, -1):
        series = series * near + 1.0 / math.factorial(j + order)
    far = np.where(small, 1.0, x)
    value = np.exp(far)
    for k in range(1, order + 1):
        value = (value - 1.0 / math.factorial(k - 1)) / far
    return np.where(small, series, value)


class KrylovSpace:
    """``span(v, J v, .., J^(k-1) v)`` with a basis orthonormal in ``<x, y> = sum_i g_i x_i y_i``, where J is symmetric.

    Directions with g = 0 take no part: J and v have no components there. All old directions are subtracted from a
    new one, twice: with the two that theory asks for, rounding would bring the others back.
    """

    def __init__(self, product: Callable[[Array, Array], Any], v: Array, weight: Array, most: int) -> None:
        self.product, self.weight = product, weight
        self.length = math.sqrt(max(0.0, float(np.dot(weight * v, v))))
        self._basis = np.empty((most + 1, v.size))
        self._diagonal = np.zeros(most)
        self._beside = np.zeros(most)  # the last one leads out of the space
        self.most = most
        self.dimension = 0
        self.invariant = self.length == 0.0
        self._functions: tuple[int, Array, Array] = (0, np.zeros(0), np.zeros((0, 0)))
        if not self.invariant:
            np.divide(v, self.length, out=self._basis[0])

    def grow(self, dimension: int) -> None:
        """Extend the space to `dimension`, unless it is full or invariant before."""
        basis = self._basis
        while self.dimension < min(dimension, self.most) and not self.invariant:
            k = self.dimension
            new = basis[k + 1]
            self.product(basis[k], new)
            size = math.sqrt(max(0.0, float(np.dot(self.weight * new, new))))
            overlap = basis[: k + 1] @ (self.weight * new)
            self._diagonal[k] = overlap[k]
            new -= overlap @ basis[: k + 1]
            new -= (basis[: k + 1] @ (self.weight * new)) @ basis[: k + 1]
            left = math.sqrt(max(0.0, float(np.dot(self.weight * new, new))))
            self.dimension = k + 1
            if not math.isfinite(left) or left <= NOTHING * size:
                self._beside[k] = 0.0 if math.isfinite(left) else math.nan
                self.invariant = True
            else:
                self._beside[k] = left
                new /= left

    def _eigen(self) -> tuple[Array, Array]:
        """Eigenvalues and vectors of J in the basis."""
        k = self.dimension
        if self._functions[0] != k:
            off = self._beside[: k - 1]
            matrix = np.diag(self._diagonal[:k]) + np.diag(off, 1) + np.diag(off, -1)
            values, vectors = np.linalg.eigh(matrix)
            self._functions = (k, values, vectors)
        return self._functions[1:]

    def coefficients(self, order: int, h: float) -> Array:
        """``phi_order(h J) v`` in the basis."""
        k = self.dimension
        if k == 0:
            return np.zeros(0)
        values, vectors = self._eigen()
        c: Array = self.length * (vectors @ (phi(order, h * values) * vectors[0]))
        return c

    def defect(self, order: int, h: float) -> float:
        """The length of the error of ``phi_order(h J) v``, estimated by the first term of its expansion (Saad 1992).

        Where J is negative, the others only damp it: on random matrices it was 1 to 9 times the error.
        """
        return abs(h * float(self._beside[self.dimension - 1]) * float(self.coefficients(order + 1, h)[-1]))

    @property
    def coupling(self) -> float:
        """The norm of what couples the space to the rest of R^N through J."""
        return float(self._beside[self.dimension - 1])

    def ritz(self) -> tuple[Array, Array]:
        """Eigenvalues of J on the space, growing, and their vectors, one a row."""
        k = self.dimension
        values, vectors = self._eigen()
        return values, vectors.T @ self._basis[:k]

    def next_direction(self) -> Array:
        """The unit vector along which the residual points."""
        direction: Array = self._basis[self.dimension]
        return direction

    def combine(self, coefficients: Array, out: Array) -> Array:
        """``out = sum_i c_i b_i``."""
        np.matmul(coefficients, self._basis[: len(coefficients)], out=out)
        return out

    def image(self, coefficients: Array, out: Array) -> Array:
        """``J sum_i c_i b_i``, without a product: the recursion knows it."""
        k = len(coefficients)
        if k == 0:
            out.fill(0.0)
            return out
        c = np.zeros(k + 1)
        c[:k] = self._diagonal[:k] * coefficients
        c[1:] += self._beside[:k] * coefficients
        c[: k - 1] += self._beside[: k - 1] * coefficients[1:]
        return self.combine(c[: k if self.invariant else k + 1], out)

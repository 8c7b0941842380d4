"""A profiled objective as a grid sees it: products of two features, and the kernel that they add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

if TYPE_CHECKING:
    from meanfield.profiled.objective import ProfiledObjective

# Data whose n (n + 1)/2 products of features are kept for every cell of a grid.
MOST_DATA = 80


class ProfiledPotential:
    r"""``V[rho](theta) = <gradient(f), Phi(theta)> + U(theta)``, Phi the products ``scale^2 phi(x_i) phi(x_j)``.

    ``f = int Phi drho`` is the kernel K_rho, and ``value(f) = ridge/2 <y, (K + n ridge)^-1 y>``: what
    `solvers.FokkerPlanck` moves a density by; made by ``profiled.potential()``.

    Parameters
    ----------
    profiled : ProfiledObjective
        With up to 80 data.

    Raises
    ------
    InputError
        More data, or coordinates that are frozen or move at rates of their own.
    """

    def __init__(self, profiled: ProfiledObjective) -> None:
        n = int(profiled.X.shape[0])
        if n > MOST_DATA:
            raise InputError(
                f"the density of a profiled objective keeps n (n + 1)/2 products for every cell: at most {MOST_DATA} "
                f"data, not {n}; use particles"
            )
        if profiled.mobility is not None:
            raise InputError(
                "the network has frozen coordinates or rates, but a density moves in all of them alike; leave out "
                "train= and rates=, or use particles"
            )
        self.profiled, self.dim, self.space = profiled, int(profiled.network.dim), profiled.space
        self._first, self._second = np.triu_indices(n)
        # an entry off the diagonal stands for two
        self._count = np.where(self._first == self._second, 1.0, 2.0)

    def __repr__(self) -> str:
        return f"ProfiledPotential({self.profiled!r})"

    def _points(self, points: Any) -> Array:
        array = np.ascontiguousarray(points, dtype=np.float64)
        if array.shape[-1:] != (self.dim,):
            raise InputError(
                f"neurons without their outer weight have {self.dim} coordinates, but the grid has "
                f"{array.shape[-1]} axes; give the grid one axis for each"
            )
        return array

    def features(self, points: Any) -> Array:
        """``scale^2 phi_i phi_j`` with the roots of the data's weights: points (k, p) to (k, n (n + 1)/2)."""
        profiled = self.profiled
        rows = np.asarray(profiled.network.features(self._points(points), profiled.X))
        rows = profiled._scale * profiled._root * rows
        return np.asarray(rows[:, self._first] * rows[:, self._second])

    def external(self, points: Any) -> Array:
        """``U(theta)``, the regularizer: points (..., p) to (...)."""
        array = self._points(points)
        found = self.profiled.regularizer.value(array.reshape(-1, self.dim))
        return np.asarray(found, dtype=np.float64).reshape(array.shape[:-1])

    def _kernel(self, f: Array) -> Array:
        n = self.profiled.X.shape[0]
        kernel = np.empty((n, n))
        kernel[self._first, self._second] = f
        kernel[self._second, self._first] = f
        return kernel

    def _dual(self, kernel: Array, right: Array) -> Array:
        """``(K + ridge)^-1 right``; solvers also ask where K is no kernel, a little outside of the positive ones."""
        matrix = kernel + self.profiled.ridge * np.eye(len(kernel))
        with one_blas_thread():
            return np.asarray(np.linalg.solve(matrix, right))

    def value(self, f: Array) -> float:
        """``ridge/2 <y, (K + n ridge)^-1 y>``: the loss and the penalty of the best outer weights."""
        target = self.profiled._target
        return 0.5 * self.profiled.ridge * float(np.sum(target * self._dual(self._kernel(f), target)))

    def gradient(self, f: Array) -> Array:
        """``-ridge/2 alpha alpha'``, with entries off the diagonal doubled, (n (n + 1)/2,)."""
        dual = self._dual(self._kernel(f), self.profiled._target)
        return self._pairs(dual, dual)

    def hessian(self, f: Array, change: Array) -> Array:
        """The derivative of the gradient along `change`, flat."""
        kernel = self._kernel(f)
        dual = self._dual(kernel, self.profiled._target)
        moved = -self._dual(kernel, self._kernel(np.asarray(change)) @ dual)
        return 2.0 * self._pairs(moved, dual)

    def _pairs(self, left: Array, right: Array) -> Array:
        """-ridge/2 times the symmetric part of left right', entry by entry of the upper triangle."""
        with one_blas_thread():
            product = left @ right.T
        symmetric = 0.5 * (product + product.T)
        return np.asarray(-0.5 * self.profiled.ridge * self._count * symmetric[self._first, self._second])

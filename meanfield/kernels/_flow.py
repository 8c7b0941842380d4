"""Gradient flow of a model that is linear in its parameters, seen in its predictions: closed form in the kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from meanfield.kernels._checks import cross_kernel, labels_for, reduction_factor, spectrum, square_kernel
from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array


class KernelFlow:
    """``d f/dt = -K (f - y)/n - ridge (f - f0)``: lazy training of the squared loss, solved for all t at once.

    With ``K = V diag(s) V'`` and rates ``r = s/n + ridge``,

        f(t) = f0 + V diag((s/n)(1 - e^(-r t))/r) V' (y - f0),

    that is ``y + e^(-K t/n)(f0 - y)`` without a ridge; a new point has
    ``f0(x) + K(x, X) alpha(t)``, ``alpha(t) = V diag((1 - e^(-r t))/(n r)) V' (y - f0)``. Singular kernels and
    t = inf are fine. Time is that of `WassersteinFlow` if K is the tangent kernel times the network's scale^2.

    Parameters
    ----------
    K : array_like, (n, n)
        Tangent kernel on the data (of the layers that train), symmetric, positive semi-definite; (n k, n k) for k
        coupled outputs.
    y : array_like, (n,) or (n, k)
    f0 : array_like, optional
        Predictions at t = 0, 0 by default.
    reduction : {"mean", "sum"}
        Of the loss ``1/2 (f - y)^2``; "sum" has no 1/n.
    ridge : float
        Weight of ``|theta - theta_0|^2 / 2`` in the objective, by which predictions are pulled back to f0.

    Attributes
    ----------
    rates : ndarray, (n,)
        ``r``, ascending: after the time 1/r the error has lost its part along that eigenvector.
    """

    @one_blas_thread()
    def __init__(self, K: Any, y: Any, f0: Any = None, reduction: str = "mean", ridge: float = 0.0) -> None:
        matrix = square_kernel(K)
        labels = labels_for(matrix, y)
        start = np.zeros_like(labels) if f0 is None else labels_for(matrix, f0, "f0")
        if start.shape != labels.shape:
            raise InputError(f"f0 must have the shape of y, {labels.shape}, but its shape is {start.shape}")
        self._shape = labels.shape if np.shape(y)[0] == labels.shape[0] else np.shape(y)
        self._weight = reduction_factor(reduction, int(self._shape[0]))
        self._ridge = _check.number(ridge, "ridge", nonnegative=True)
        values, self._vectors = spectrum(matrix)
        self._forces = self._weight * values
        self.rates = self._forces + self._ridge
        self._start, self._labels = start, labels
        self._parts = self._vectors.T @ (labels - start)

    def __repr__(self) -> str:
        return f"KernelFlow(n={self._labels.shape[0]}, rates {self.rates[0]:.3g} to {self.rates[-1]:.3g})"

    def __call__(self, t: Any) -> Array:
        """f(t) on the data, in the shape of y; with an array of times, one more axis in front.

        Parameters
        ----------
        t : float or array_like
            Non-negative; inf for the limit.
        """
        return self._over(t, self._at)

    def alpha(self, t: Any) -> Array:
        """Coefficients of ``f(t) - f0`` in ``K(., x_i)``; at t = inf without a ridge those of least norm.

        Parameters
        ----------
        t : float or array_like
        """
        return self._over(t, lambda time: self._combine(self._weight * self._grown(time)))

    def predict(self, t: Any, K_new: Any, f0_new: Any = 0.0) -> Array:
        """f(t) at new points, ``f0(x) + K(x, X) alpha(t)``: (points,) or (points, k).

        Parameters
        ----------
        t : float or array_like
        K_new : array_like, (points, n)
            Kernel of the new points with the data; with coupled outputs (points k, n k).
        f0_new : array_like
            The start at the new points.
        """
        cross = cross_kernel(K_new, self._labels.shape[0])
        start = _check.array(f0_new, "f0_new", ndim=(0, 1, 2))

        def at(time: float) -> Array:
            moved = cross @ self._combine(self._weight * self._grown(time))
            if self._shape != self._labels.shape:  # coupled outputs
                moved = moved.reshape(-1, self._shape[1])
            try:
                return np.asarray(np.broadcast_to(start, moved.shape) + moved)
            except ValueError:
                raise InputError(
                    f"f0_new must have shape {moved.shape}, one entry a new prediction, not {start.shape}"
                ) from None

        return self._over(t, at, plain=True)

    def loss(self, t: Any) -> Array:
        """``(1/2n) |f(t) - y|^2``, without the ridge.

        Parameters
        ----------
        t : float or array_like
        """
        return self._over(
            t, lambda time: np.asarray(0.5 * self._weight * np.sum(self._left(time) ** 2)), plain=True
        )

    def _grown(self, t: float) -> Array:
        """(1 - e^(-r t))/r: t where r = 0, but 0 for t = inf, where no force ever acted."""
        if np.isinf(t):
            return np.asarray(
                np.divide(1.0, self.rates, out=np.zeros_like(self.rates), where=self.rates > 0.0)
            )
        with np.errstate(over="ignore"):
            grown = -np.expm1(-self.rates * t)
        return np.asarray(
            np.divide(grown, self.rates, out=np.full_like(self.rates, t), where=self.rates > 0.0)
        )

    def _left(self, t: float) -> Array:
        """V' (y - f(t)): e^(-r t) of each part, exactly small where there is no ridge."""
        if self._ridge == 0.0:
            with np.errstate(invalid="ignore"):
                share = np.where(self.rates > 0.0, np.exp(-self.rates * t), 1.0)
        else:
            share = 1.0 - self._forces * self._grown(t)
        return share[:, None] * self._parts if self._parts.ndim == 2 else share * self._parts

    def _at(self, t: float) -> Array:
        return np.asarray(self._labels - self._vectors @ self._left(t)) if t > 0.0 else self._start.copy()

    def _combine(self, factor: Array) -> Array:
        scaled = factor[:, None] * self._parts if self._parts.ndim == 2 else factor * self._parts
        return np.asarray(self._vectors @ scaled)

    @one_blas_thread()
    def _over(self, t: Any, function: Any, plain: bool = False) -> Array:
        times = np.asarray(t)
        if times.dtype.kind not in "iuf" or np.isnan(times).any() or (times < 0.0).any() or times.ndim > 1:
            raise InputError("t must be a non-negative time (inf is allowed) or a vector of them")
        results = [function(float(time)) for time in times.reshape(-1)]
        if not plain:
            results = [r.reshape(self._shape) for r in results]
        return np.asarray(results[0] if times.ndim == 0 else np.array(results))


def flow(K: Any, y: Any, f0: Any = None, reduction: str = "mean", ridge: float = 0.0) -> KernelFlow:
    """Gradient flow of the squared loss in a fixed kernel, ``f(t) = y + e^(-K t/n)(f0 - y)``: a `KernelFlow`.

    Parameters
    ----------
    K : array_like, (n, n)
    y : array_like, (n,) or (n, k)
    f0 : array_like, optional
        0 by default.
    reduction : {"mean", "sum"}
    ridge : float
    """
    return KernelFlow(K, y, f0, reduction, ridge)

"""Hard-margin classification with a kernel: the point of least norm in the convex hull of y_i K(., x_i), exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.kernels._checks import duplicates, labels_for, rounding, spectrum, square_kernel
from meanfield.kernels._regression import KernelFit
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array


@dataclass(frozen=True, repr=False)
class MarginFit(KernelFit):
    """``f = argmin |f|_H subject to y_i f(x_i) >= 1``, as `hard_margin` finds it; f/|f| has the largest margin.

    Attributes
    ----------
    alpha : ndarray, (n,)
        ``y_i p_i / gamma^2``, with p the weights.
    norm : float
        ``|f|_H = 1/gamma``.
    values : ndarray, (n,)
        f on the data.
    weights : ndarray, (n,)
        p, on the simplex; zero but at support vectors.
    bounds : (float, float)
        gamma from below, the margin that f/|f| has, and from above, ``root(p'(YKY)p)``: both hold whatever p is.
    """

    weights: Array
    bounds: tuple[float, float]

    @property
    def margin(self) -> float:
        """gamma, the mean of its bounds."""
        return 0.5 * (self.bounds[0] + self.bounds[1])

    @property
    def gap(self) -> float:
        """Relative distance of the bounds: the duality gap."""
        return 1.0 - self.bounds[0] / self.bounds[1]

    @property
    def support(self) -> NDArray[np.intp]:
        """Indices of support vectors."""
        return np.flatnonzero(self.weights > 0.0)

    def __repr__(self) -> str:
        return (
            f"MarginFit(n={self.weights.size}, margin {self.margin:.6g}, gap {self.gap:.1e}, "
            f"{self.support.size} support vectors)"
        )


@one_blas_thread()
def hard_margin(K: Any, y: Any) -> MarginFit:
    """``gamma^2 = min_p p'(YKY)p`` over the simplex: the largest margin ``max_{|f|_H <= 1} min_i y_i f(x_i)``.

    Solved as a non-negative least squares problem by an active set (Lawson and Hanson), then once more on the support
    found; `MarginFit.gap` certifies the result (about 1e-11).

    Parameters
    ----------
    K : array_like, (n, n)
        Symmetric, positive semi-definite.
    y : array_like, (n,)
        Labels -1 and 1.

    Raises
    ------
    InputError
        The data are not separable: no function of the kernel's space has a margin above rounding.

    References
    ----------
    Cortes and Vapnik, "Support-vector networks", 1995.
    """
    from scipy.optimize import nnls

    matrix = square_kernel(K)
    labels = labels_for(matrix, y)
    if labels.ndim != 1 or not np.isin(labels, (-1.0, 1.0)).all():
        raise InputError("y must hold labels -1 and 1, one a point, for a margin")
    n = labels.size
    values, vectors = spectrum(matrix)
    largest = float(values[-1])
    if largest == 0.0:
        raise InputError("K is zero, so the data are not separable")
    kept = values > 0.0
    # columns are the points y_i K(., x_i) in an orthonormal basis of their span
    points = (vectors[:, kept] * np.sqrt(values[kept] / largest)).T * labels
    # min |points l|^2 + w^2 (sum l - 1)^2 has the minimizer l = p / (1 + gamma^2/w^2)
    w = 0.1
    target = np.append(np.zeros(points.shape[0]), w)
    form = labels[:, None] * matrix * labels
    with one_blas_thread():
        found, _ = nnls(np.vstack([points, np.full(n, w)]), target, maxiter=30 * n)
        best = _bounds(form, found / found.sum())
        polished = _on_support(form, best[0])
        if polished is not None:
            other = _bounds(form, polished)
            best = max(best, other, key=lambda b: b[1] / b[2] if b[2] > 0.0 else 0.0)
    p, low, high = best
    if high**2 <= rounding(matrix) * largest or low <= 0.0:
        raise InputError(_why(matrix, labels))
    return MarginFit(
        alpha=labels * p / high**2,
        norm=1.0 / high,
        values=labels * (form @ p) / high**2,
        weights=p,
        bounds=(low, high),
    )


def _bounds(form: Array, p: Array) -> tuple[Array, float, float]:
    """p, the margin of the function that it makes, and root(p' form p)."""
    margins = form @ p
    high = float(np.sqrt(max(float(p @ margins), 0.0)))
    return p, float(margins.min()) / high if high > 0.0 else 0.0, high


def _on_support(form: Array, p: Array) -> Array | None:
    """The weights that give equal margins on the support of p, if they are non-negative."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    where = np.flatnonzero(p > 0.0)
    try:
        solved = cho_solve(cho_factor(form[np.ix_(where, where)], check_finite=False), np.ones(where.size))
    except LinAlgError:
        return None
    if not (solved >= 0.0).all() or solved.sum() == 0.0:
        return None
    exact = np.zeros_like(p)
    exact[where] = solved / solved.sum()
    return exact


def _why(K: Array, y: Array) -> str:
    i, j = duplicates(K)
    clash = y[i] != y[j]
    if clash.any():
        return (
            f"the data are not separable: points {int(i[clash][0])} and {int(j[clash][0])} are the same for this "
            "kernel but have opposite labels; there is no margin"
        )
    return (
        "the data are not separable by this kernel: some mixture of its functions at the two classes is the same to "
        "rounding, so there is no margin; take a richer kernel (bias=True, another activation)"
    )

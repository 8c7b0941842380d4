"""The two ends: minimum l1 norm (basis pursuit) and minimum l2 norm among all interpolants."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

# y counts as in the range of X up to this part of its norm.
CONSISTENT = 1e-9


class System:
    """``X w = y`` in orthonormal rows: ``A w = b`` with ``X = left diag(values) A``; redundant equations are gone.

    Parameters
    ----------
    X : array_like, (n, d)
    y : array_like, (n,)
    least_squares : bool
        Replace a y outside the range of X by its projection, instead of refusing it.
    """

    def __init__(self, X: Any, y: Any, least_squares: bool) -> None:
        self.X, self.y = checked_data(X, y)
        n, d = self.X.shape
        if not self.X.any():
            left, values, rows = np.zeros((n, 0)), np.zeros(0), np.zeros((0, d))
        else:
            with one_blas_thread():
                left, values, rows = np.linalg.svd(self.X, full_matrices=False)
        rank = int((values > max(n, d) * np.finfo(float).eps * values[0]).sum()) if values.size else 0
        self.left, self.values, self.rows = left[:, :rank], values[:rank], np.ascontiguousarray(rows[:rank])
        with one_blas_thread():
            parts = self.left.T @ self.y
            inside = self.left @ parts
        far, size = float(np.linalg.norm(self.y - inside)), float(np.linalg.norm(self.y))
        if far > CONSISTENT * size and not least_squares:
            raise InputError(
                f"no w solves X w = y: y is {far / size:.2g} of its norm away from the range of X, of rank {rank} with "
                f"{n} equations; pass least_squares=True for the limit among the least-squares solutions"
            )
        self.target = inside
        self.b = parts / self.values


def checked_data(X: Any, y: Any) -> tuple[Array, Array]:
    """X (n, d) and y (n,), or one sentence."""
    inputs = np.array(_check.array(X, "X", ndim=2))
    return inputs, np.array(_check.array(y, "y", shape=(inputs.shape[0],)))


def _scaled(weights: Any, d: int) -> Array:
    if weights is None:
        return np.ones(d)
    found = _check.array(weights, "weights", shape=(d,))
    if not (found > 0).all():
        raise InputError("weights must be positive: a weight of 0 leaves its coordinate free")
    return found


def least_norm(X: Any, y: Any, weights: Any = None, least_squares: bool = False) -> Array:
    """``argmin sum_i weights_i w_i^2  subject to  X w = y``, (d,): the limit of the limits as alpha -> infinity.

    Parameters
    ----------
    X : array_like, (n, d)
    y : array_like, (n,)
    weights : array_like, (d,), optional
        Positive; ``alpha^(2 - 2 depth)`` where alpha differs between coordinates.
    least_squares : bool
        Among the least-squares solutions, where nothing solves X w = y.

    Raises
    ------
    InputError
    """
    system = System(X, y, least_squares)
    root = 1.0 / np.sqrt(_scaled(weights, system.X.shape[1]))
    with one_blas_thread():
        return np.asarray(root * np.linalg.lstsq(system.rows * root, system.b, rcond=None)[0])


def basis_pursuit(X: Any, y: Any, weights: Any = None, least_squares: bool = False) -> Array:
    """``argmin sum_i weights_i |w_i|  subject to  X w = y``, (d,): the limit of the limits as alpha -> 0.

    A linear program, solved by HiGHS; the equations then hold to rounding, by least squares on the support. Where
    several w are optimal, any one of them.

    Parameters
    ----------
    X : array_like, (n, d)
    y : array_like, (n,)
    weights : array_like, (d,), optional
        Positive; ``alpha^(2 - depth)`` where alpha differs between coordinates and depth is 3 or more.
    least_squares : bool
        Among the least-squares solutions, where nothing solves X w = y.

    Raises
    ------
    InputError
    """
    from scipy.optimize import linprog

    system = System(X, y, least_squares)
    d = system.X.shape[1]
    cost = _scaled(weights, d)
    size = float(np.abs(system.b).max(initial=0.0))
    if size == 0.0:
        return np.zeros(d)
    solved = linprog(
        np.concatenate([cost, cost]),
        A_eq=np.hstack([system.rows, -system.rows]),
        b_eq=system.b / size,
        bounds=(0, None),
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if solved.x is None:
        raise InputError(f"the linear program was not solved: {solved.message}; rescale X or y")
    w = solved.x[:d] - solved.x[d:]
    support = np.flatnonzero(w)
    polished = np.zeros(d)
    with one_blas_thread():
        polished[support] = np.linalg.lstsq(system.rows[:, support], system.b, rcond=None)[0]
    return polished

"""The limit of gradient flow of a diagonal network: the interpolant of one potential, by Newton's method on its dual.

With the equations in orthonormal rows, ``A w = b``, the weights are ``w = g(A' m)``, m the solution of

    A g(A' m) = b,

the stationary point of a convex function of m. For large alpha g is linear; for small alpha it is steep. Going over
from the one to the other is the same as going over from rho b with small rho to b: m is continued in log rho, every
step a Newton iteration, whose linear systems ``A S A' x = r``, S = diag g', are solved by a QR factorization of
``S^(1/2) A'`` with its rows sorted: weights of the order alpha^2 beside weights of order 1 spoil nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield.finite.diagonal.mirror import Chart, Mirror, checked_alpha, checked_depth, potential
from meanfield.finite.diagonal.norms import System
from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import DivergenceError
from solvers.protocols import Array

# Up to this size of w/first slope the map is linear for a start; factors of rho, the first one tried and the least.
LINEAR, FACTOR, LEAST = 0.05, 30.0, 1.02
NEWTON, MOST = 25, 2000
ROUNDING = 4e-15


@dataclass(frozen=True, eq=False)
class Limit:
    """Where gradient flow of a diagonal network from u = v = alpha ends.

    Attributes
    ----------
    w : ndarray, (d,)
        The weights, with X w = y.
    nu : ndarray, (n,)
        The dual: w = g(X' nu); of all of them the shortest.
    alpha : ndarray, (d,)
    depth : int
    residual : float
        max |X w - y| (y projected on the range of X), in units of max |y|.
    iterations : int
        Newton iterations, all of the continuation.
    """

    w: Array
    nu: Array
    alpha: Array
    depth: int
    residual: float
    iterations: int

    @property
    def l1(self) -> float:
        """``sum |w_i|``."""
        return float(np.abs(self.w).sum())

    @property
    def l2(self) -> float:
        """``(sum w_i^2)^(1/2)``."""
        return float(np.linalg.norm(self.w))

    @property
    def potential(self) -> float:
        """``Q(w)``, which w minimizes among all interpolants."""
        return potential(self.w, self.alpha, self.depth)

    def __repr__(self) -> str:
        low, high = self.alpha.min(), self.alpha.max()
        size = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        return (
            f"Limit(depth {self.depth}, alpha = {size}: {self.w.size} weights, |w|_1 = {self.l1:.6g}, "
            f"|w|_2 = {self.l2:.6g}, residual {self.residual:.1g})"
        )


def limit(X: Any, y: Any, alpha: Any, depth: int = 2, least_squares: bool = False) -> Limit:
    """The limit of gradient flow from u = v = alpha: ``w = 2 alpha^2 sinh(X' nu)`` with ``X w = y``, or its deep form.

    The w that minimizes `potential` among all interpolants. For depth D >= 3 ``w = alpha^D h_D(alpha^(D-2) X' nu)``,
    ``h_D(z) = (1 - z)^(-D/(D-2)) - (1 + z)^(-D/(D-2))``.

    Parameters
    ----------
    X : array_like, (n, d)
        Any shape and rank.
    y : array_like, (n,)
    alpha : float or array_like, (d,)
        The start, positive; each weight may have its own.
    depth : int
        D >= 2.
    least_squares : bool
        Where nothing solves X w = y: the limit among the least-squares solutions. Otherwise such a y is refused.

    Raises
    ------
    InputError, DivergenceError

    Notes
    -----
    Weights are right to about 1e-14 of the largest, times what conditions the problem: a relative change of X by 1e-16
    moves t by 1e-16 |t|, up to alpha^(2-D). O(n^2 d) an iteration.

    References
    ----------
    Woodworth et al., 2020 (2002.09277, as remembered); the map for depth D >= 3 was derived again.
    """
    depth = checked_depth(depth)
    system = System(X, y, least_squares)
    mirror = Mirror(checked_alpha(alpha, system.X.shape[1], depth), depth)
    return _limits(system, mirror, np.ones(1))[0]


def limits(X: Any, y: Any, alphas: Any, depth: int = 2, least_squares: bool = False) -> list[Limit]:
    """The `limit` for each of many starts alpha, for about the price of the least of them.

    One continuation passes through all: w at rho y and alpha is rho times w at y and ``alpha rho^(-1/D)``.

    Parameters
    ----------
    X : array_like, (n, d)
    y : array_like, (n,)
    alphas : array_like, (k,)
        Positive numbers, in any order.
    depth : int
    least_squares : bool

    Raises
    ------
    InputError, DivergenceError
    """
    depth = checked_depth(depth)
    system = System(X, y, least_squares)
    starts = checked_alpha(_check.array(alphas, "alphas", ndim=1), None, depth)
    scales, back = np.unique(starts, return_inverse=True)
    mirror = Mirror(np.full(system.X.shape[1], scales[0]), depth)
    # from the largest alpha down; rho y at the least one stands for y at this one
    found = _limits(system, mirror, (scales / scales[0])[::-1])[::-1]
    return [found[k] for k in back]


def _limits(system: System, mirror: Mirror, factors: Array) -> list[Limit]:
    """The limits for alpha times each of the factors, which fall to 1."""
    d, depth = system.X.shape[1], mirror.depth
    found: list[Limit] = []
    with one_blas_thread():
        for rho, factor, (m, w, count) in zip(
            stops := factors ** float(-depth),
            factors,
            _continued(mirror, system.rows, system.b, stops),
            strict=True,
        ):
            weights, nu = w / rho, system.left @ (m / system.values) * factor ** float(2 - depth)
            error = float(np.abs(system.X @ weights - system.target).max(initial=0.0))
            size = float(np.abs(system.target).max(initial=0.0))
            residual = error / size if size > 0 else 0.0
            found.append(Limit(weights.reshape(d), nu, mirror.alpha * factor, depth, residual, count))
    return found


def _continued(mirror: Mirror, rows: Array, b: Array, stops: Array) -> Iterator[tuple[Array, Array, int]]:
    """m and w with A g(A' m) = rho b for rho = each of `stops`, which rise: continuation from the linear regime."""
    if not b.any():
        yield from [(np.zeros(b.size), np.zeros(rows.shape[1]), 0)] * len(stops)
        return
    # weights of the linear regime against where it ends: alpha^D
    linear = _Solver(rows, mirror.first_slope).solve(b)
    reach = float(np.max(np.abs(linear.change) / mirror.alpha**mirror.depth))
    rho = min(float(stops[0]), LINEAR / reach)
    found = _newton(mirror.start().moved(rho * linear.shift), rho * linear.dual, rows, rho * b)
    if found is None:
        raise _stuck(mirror, rho)
    iterations, factor = found.iterations, FACTOR
    for stop in stops:
        while rho < stop:
            step = min(factor, stop / rho)
            # d m / d log rho = (A S A')^-1 rho b
            ahead = _Solver(rows, found.chart.slope).solve(rho * b)
            share = _room(found.chart, ahead.shift, np.log(step))
            after = float(stop) if step == stop / rho else rho * step
            start = found.chart.moved(share * ahead.shift)
            trial = _newton(start, found.m + share * ahead.dual, rows, after * b)
            if trial is None:
                factor = step**0.5
                iterations += NEWTON
                if factor < LEAST or iterations > MOST:
                    raise _stuck(mirror, rho)
                continue
            iterations += trial.iterations
            factor = min(factor * (2.0 if trial.iterations <= 6 else 1.0), 1e3)
            found, rho = trial, after
        yield found.m, found.w, iterations


def _stuck(mirror: Mirror, rho: float) -> DivergenceError:
    return DivergenceError(
        f"the continuation stopped at {rho:.3g} of y: weights are too unequal for alpha = {mirror.alpha.min():.3g} at "
        f"depth {mirror.depth}; try a larger alpha"
    )


def _room(chart: Chart, shift: Array, most: float) -> float:
    """The largest share of a step, up to `most`, that keeps a tenth of the distance to the ends of the chart."""
    share = float(most)
    while share > 1e-12:
        moved = chart.moved(share * shift)
        if chart.mirror.depth == 2:
            if moved.inside:
                return share
        elif (moved.below > 0.1 * chart.below).all() and (moved.above > 0.1 * chart.above).all():
            return share
        share *= 0.7
    return share


@dataclass
class _Step:
    """A solution x of ``A S A' x = r``: dual x, shift A'x, change S A'x."""

    dual: Array
    shift: Array
    change: Array


class _Solver:
    """``A S A' x = r`` through the QR factorization of S^(1/2) A', its rows sorted by size and its columns pivoted."""

    def __init__(self, rows: Array, slope: Array) -> None:
        from scipy.linalg import qr

        root = np.sqrt(slope)
        scaled = rows.T * root[:, None]
        self.order = np.argsort(-np.abs(scaled).max(axis=1), kind="stable")
        self.root = root[self.order]
        self.Q, self.R, self.pivots = qr(
            scaled[self.order], mode="economic", pivoting=True, check_finite=False
        )

    def solve(self, r: Array) -> _Step:
        from scipy.linalg import solve_triangular

        u = solve_triangular(self.R, r[self.pivots], trans="T", check_finite=False)
        half, dual = self.Q @ u, np.empty_like(r)
        dual[self.pivots] = solve_triangular(self.R, u, check_finite=False)
        shift, change = np.empty(self.root.size), np.empty(self.root.size)
        shift[self.order], change[self.order] = half / self.root, half * self.root
        return _Step(dual, shift, change)


@dataclass
class _Found:
    chart: Chart
    m: Array
    w: Array
    iterations: int


def _newton(chart: Chart, m: Array, rows: Array, b: Array) -> _Found | None:
    """Newton's method for A g(A' m) = b, held back where it overshoots; None where it does not get there.

    The last correction goes to w alone, linearly: A w = b then holds to rounding, where m could not hold it.
    """
    size = float(np.abs(b).max())
    last = np.inf
    for k in range(NEWTON):
        w = chart.weights
        defect = b - rows @ w
        step = _Solver(rows, chart.slope).solve(defect)
        largest = float(np.abs(w).max())
        relative = float(np.abs(step.change).max()) / largest
        if not np.isfinite(relative):
            return None
        if relative < ROUNDING or (relative < 1e-9 and relative > 0.2 * last):
            return _Found(chart, m + step.dual, w + step.change, k)
        last = relative
        # along the step the defect, projected on it, may change its sign but not grow
        slope, share = float(defect @ step.dual), 1.0
        while True:
            trial = chart.moved(share * step.shift)
            if trial.inside:
                after = float((b - rows @ trial.weights) @ step.dual)
                if after > -0.9 * slope or slope < 1e-20 * size * float(np.abs(step.dual).max()):
                    break
            share *= 0.5
            if share < 1e-6:
                return None
        chart, m = trial, m + share * step.dual
    return None

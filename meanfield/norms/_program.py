"""The linear program behind both norms and margins, by column generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.norms._directions import hills, supremum
from meanfield.norms._points import bend
from solvers._rng import generator
from solvers._threads import one_blas_thread
from solvers.protocols import Array

LP_TOLERANCE = 1e-10  # of HiGHS, its smallest
VANISHING = (
    1e-9  # t below this (points of norm at most 1, |y| at most 1) counts as 0: the limit of HiGHS's tolerance
)
SAME = 1e-11  # directions nearer to each other than this are one column
PIVOTS = 100  # of the simplex method, a row: a program that needs more is cycling
PATIENCE_SECONDS = 30.0  # for one program: no sound one comes near it
PATIENCE = 2  # rounds without any network that fits, after which columns are added that span all functions
SPARE = 200  # columns kept beside those in use


@dataclass(frozen=True, eq=False)
class Solution:
    """Both sides of ``t* = min {M(q) : <q, y> = 1}``, with M(q) = sup |G_q| over the sphere.

    Attributes
    ----------
    low : float
        ``1 / sum |c|`` of the network f = sum_j c_j bent(v_j.z), which has y_i f(z_i) >= 1 (or f(z_i) = y_i).
    high : float
        M(q), a bound on t* if `exact`.
    v, c : ndarray, (k, r) and (k,)
    q : ndarray, (n,)
    exact : bool
    rounds : int
    how : str
    """

    low: float
    high: float
    v: Array
    c: Array
    q: Array
    exact: bool
    rounds: int
    how: str


def solve(
    Z: Array,
    slope: float,
    y: Array,
    *,
    one_sided: bool,
    tolerance: float,
    max_rounds: int,
    starts: Array | None,
    rng: Any,
) -> Solution:
    """``max t`` over ``sum |c| <= 1`` with ``f(z_i) = t y_i``, or ``y_i f(z_i) >= t`` if `one_sided`.

    Its dual is ``min M(q)`` over <q, y> = 1 (q_i y_i >= 0 if `one_sided`). Directions v_j are generated: a restricted
    program gives q, the hills of |G_q| are the columns it lacks. Atoms in one closed cell of the data's arrangement
    are joined, which lowers the mass and changes no prediction.
    """
    with one_blas_thread():
        return _Generation(Z, slope, y, one_sided, tolerance, rng).run(max_rounds, starts)


class _Generation:
    def __init__(self, Z: Array, slope: float, y: Array, one_sided: bool, tolerance: float, rng: Any) -> None:
        self.Z, self.slope, self.y = Z, slope, y
        self.one_sided, self.tolerance = one_sided, tolerance
        self.draw = generator(rng, "norms")
        self.v = np.zeros((0, Z.shape[1]))
        self.phi = np.zeros((0, Z.shape[0]))  # s_j bent(v_j.z_i)
        self.sign = np.zeros(0)
        self.spanning = False
        self.low, self.atoms = 0.0, (self.v, np.zeros(0))
        self.high, self.q, self.exact, self.how = np.inf, np.zeros(Z.shape[0]), False, ""

    # -- columns --------------------------------------------------------------------------------------------

    def add(self, v: Array, sign: Array) -> NDArray[np.intp]:
        """Add signed columns that are not there yet; the numbers of all of them."""
        numbers = []
        for direction, s in zip(v, sign, strict=True):
            if self.v.shape[0]:
                apart = np.abs(self.v - direction).max(axis=1) + np.abs(self.sign - s)
                nearest = int(np.argmin(apart))
                if apart[nearest] <= SAME:
                    numbers.append(nearest)
                    continue
            numbers.append(self.v.shape[0])
            self.v = np.vstack([self.v, direction])
            self.sign = np.append(self.sign, s)
            self.phi = np.vstack([self.phi, s * bend(self.Z @ direction, 1.0, self.slope)])
        return np.array(numbers, dtype=np.intp)

    def begin(self, starts: Array | None) -> NDArray[np.intp]:
        n, rank = self.Z.shape
        q = self.y / max(float(np.abs(self.y) @ np.abs(self.y)), 1e-300)
        units = self.Z / np.linalg.norm(self.Z, axis=1, keepdims=True)
        parts = [hills(self.Z, self.slope, q, units[:0], self.draw), units[: 2 * SPARE]]
        if starts is not None:
            parts.append(starts)
        if rank > 1:
            random = self.draw.standard_normal((4 * rank, rank))
            parts.append(random / np.linalg.norm(random, axis=1, keepdims=True))
        v = np.vstack(parts)
        return self.add(np.vstack([v, v]), np.repeat([1.0, -1.0], v.shape[0]))

    # -- the restricted program -----------------------------------------------------------------------------

    def restricted(self, columns: NDArray[np.intp]) -> tuple[float, Array, Array]:
        """t, c >= 0 with sum 1 and q with <q, y> = 1 of the program over these columns."""
        from scipy.optimize import linprog

        n, k = self.Z.shape[0], columns.size
        phi = self.phi[columns]
        # Before the scale of the network is known its masses can be huge, and the smallest tolerance out of reach.
        near = 1e-8 if self.low == 0.0 else LP_TOLERANCE
        options = {"primal_feasibility_tolerance": near, "dual_feasibility_tolerance": near,
                   "maxiter": PIVOTS * (n + 10), "time_limit": PATIENCE_SECONDS}  # fmt: skip
        if self.low > 0.0 or self.spanning:
            # t is known to be positive, or expected to be: f = y, least mass. Better scaled where t is small.
            scale = self.low or 1.0
            cost, rows = np.ones(k), (phi * np.sign(self.y) if self.one_sided else phi).T
            wanted = scale * (np.ones(n) if self.one_sided else self.y)
            sides = {"A_ub": -rows, "b_ub": -wanted} if self.one_sided else {"A_eq": rows, "b_eq": wanted}
            result = linprog(cost, **sides, method="highs", options=options)
            if result.status != 0:
                raise _Stalled(result.message)
            marginals = -result.ineqlin.marginals if self.one_sided else result.eqlin.marginals
            q = marginals * (np.sign(self.y) if self.one_sided else 1.0)
            mass = float(result.x.sum())
            return scale / mass, result.x / mass, q / float(q @ self.y)
        cost = np.append(np.zeros(k), -1.0)
        mass_row = np.append(np.ones(k), 0.0)[None, :]
        if self.one_sided:
            rows = np.column_stack([-(phi * np.sign(self.y)).T, np.ones(n)])
            result = linprog(cost, A_ub=np.vstack([rows, mass_row]), b_ub=np.append(np.zeros(n), 1.0),
                             method="highs", options=options)  # fmt: skip
        else:
            rows = np.column_stack([-phi.T, self.y])
            result = linprog(cost, A_ub=mass_row, b_ub=[1.0], A_eq=rows, b_eq=np.zeros(n), method="highs",
                             options=options)  # fmt: skip
        if result.status != 0:
            raise _Stalled(result.message)
        q = -result.ineqlin.marginals[:n] * np.sign(self.y) if self.one_sided else -result.eqlin.marginals
        return float(result.x[-1]), result.x[:-1], q / float(q @ self.y)

    # -- rounds ---------------------------------------------------------------------------------------------

    def run(self, max_rounds: int, starts: Array | None) -> Solution:
        columns = self.begin(starts)
        rounds = 0
        for rounds in range(1, max_rounds + 1):
            try:
                t, c, q = self.restricted(columns)
            except _Stalled:
                if self.low > 0.0 or not self.spanning:
                    break
                # Not even these columns make a network that fits: settle by t whether any does.
                self.spanning = False
                continue
            used = columns[c > 0.0]
            joined = self.primal(used, c[c > 0.0]) if used.size else used
            fresh = self.dual(q, t, self.v[used])
            if (self.low == 0.0 and self.high <= VANISHING) or self.low >= (1.0 - self.tolerance) * self.high:
                break
            if not fresh.size and not np.setdiff1d(joined, columns).size:
                break
            reduced = self.phi[columns] @ q
            spare = columns[np.argsort(-reduced, kind="stable")[: used.size + SPARE]]
            columns = np.unique(np.concatenate([used, spare, joined, fresh]))
            if self.low == 0.0 and rounds == PATIENCE:
                columns, self.spanning = (
                    np.union1d(columns, self.add(*spanning(self.Z, self.y, self.draw))),
                    True,
                )
        v, c = self.atoms
        return Solution(self.low, self.high, v, c, self.q, self.exact, rounds, self.how)

    def primal(self, used: NDArray[np.intp], c: Array) -> NDArray[np.intp]:
        """Join atoms of one cell; keep the network if it is the best so far; the columns it stands on."""
        v, sign, mass = join(self.Z, self.v[used], self.sign[used], c)
        numbers = self.add(v, sign)
        f = mass @ self.phi[numbers]
        if self.one_sided:
            t = float(np.min(self.y * f)) / float(mass.sum())
        else:
            # what is missing to f = t y is at rounding level of the program; see `interpolate_f1` for the last step
            t = float(f @ self.y) / float(self.y @ self.y) / float(mass.sum())
        if t > self.low:
            self.low, self.atoms = t, (self.v[numbers], self.sign[numbers] * mass / (t * mass.sum()))
        return numbers

    def dual(self, q: Array, t: float, atoms: Array) -> NDArray[np.intp]:
        """Look for columns with q.phi > t; the bound M(q) if q is the best so far."""
        if self.one_sided:
            q = np.maximum(q * np.sign(self.y), 0.0) * np.sign(self.y)
            q = q / float(q @ self.y)
        v = hills(self.Z, self.slope, q, atoms, self.draw)
        values = bend(v @ self.Z.T, 1.0, self.slope) @ q
        over = np.abs(values) > t * (1.0 + 0.1 * self.tolerance)
        v, values = v[over], values[over]
        if self.Z.shape[1] <= 2 or not v.size or np.abs(values).max() < t * (1.0 + 1e-2):
            top = supremum(self.Z, self.slope, q, np.vstack([atoms, v]), self.draw)
            height = top.bound if top.exact else max(top.attained, *np.abs(values), 0.0)
            if height < self.high:
                self.high, self.q, self.exact, self.how = height, q, top.exact, top.how
            if top.attained > t * (1.0 + 0.1 * self.tolerance):
                v, values = np.vstack([v, top.v]), np.append(values, top.sign)
        return self.add(v, np.where(values > 0.0, 1.0, -1.0))


def spanning(Z: Array, y: Array, draw: np.random.Generator) -> tuple[Array, Array]:
    """Columns that fit whatever can be fitted: linear functions, and for each point a bump that no other point sees.

    The bump is the second difference of v -> bent(v.z) across the great circle of z_i, over an arc that crosses no
    other circle: it is y_i times a positive number at z_i, 0 at every point but z_i and its opposite.
    """
    n, rank = Z.shape
    units = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    v, sign = (
        [np.eye(rank), np.eye(rank), -np.eye(rank), -np.eye(rank)],
        [np.tile(np.repeat([1.0, -1.0], rank), 2)],
    )
    if rank == 2:
        # functions of an angle: a kink at every point, from either side
        across = np.column_stack([-units[:, 1], units[:, 0]])
        v += [across, -across, across, -across]
        sign += [np.repeat([1.0, -1.0], 2 * n)]
    for i in range(n if rank > 2 else 0):
        tries = draw.standard_normal((8, rank))
        tries -= np.outer(tries @ units[i], units[i])
        tries /= np.linalg.norm(tries, axis=1, keepdims=True)
        clear = np.abs(tries @ units.T)
        clear[:, np.abs(units @ units[i]) > 1.0 - 1e-15] = 1.0
        best = int(np.argmax(clear.min(axis=1)))
        width = 0.5 * float(clear[best].min())
        u, step = np.sqrt(1.0 - width * width) * tries[best], width * units[i]
        v.append(np.stack([u + step, tries[best], u - step]))
        sign.append(np.sign(y[i] or 1.0) * np.array([1.0, -1.0, 1.0]))
    return np.vstack(v), np.concatenate(sign)


class _Stalled(Exception):
    """HiGHS gave up; what was found before stands."""


def join(Z: Array, v: Array, sign: Array, mass: Array) -> tuple[Array, Array, Array]:
    """Atoms of one sign in one closed cell become one: sum c_j v_j, which is no longer than sum c_j."""
    projections = v @ Z.T
    size = np.linalg.norm(Z, axis=1)
    positive, negative = projections > 1e-12 * size, projections < -1e-12 * size
    groups: list[tuple[NDArray[np.bool_], NDArray[np.bool_], float, Array]] = []
    for k in np.argsort(-mass, kind="stable"):
        for g, (above, below, s, vector) in enumerate(groups):
            if s == sign[k] and not (above & negative[k]).any() and not (below & positive[k]).any():
                groups[g] = (above | positive[k], below | negative[k], s, vector + mass[k] * v[k])
                break
        else:
            groups.append((positive[k], negative[k], float(sign[k]), mass[k] * v[k]))
    vectors = np.stack([vector for *_, vector in groups])
    norms = np.linalg.norm(vectors, axis=1)
    kept = norms > 0.0
    return vectors[kept] / norms[kept, None], np.array([s for _, _, s, _ in groups])[kept], norms[kept]

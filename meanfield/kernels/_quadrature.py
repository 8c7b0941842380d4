"""E tau(w.x) tau(w.z) for any function tau of one variable: a series with a bound where it converges, else the plane.

With the angle psi of x and z and orthonormal polynomials p_k of the law of one coordinate t of w (Hermite for the
normal law, Gegenbauer on the sphere),

    E tau(w.x) tau(w.z) = sum_k c_k(|x|) c_k(|z|) P_k(cos psi),    c_k(r) = E tau(r t) p_k(t),

P_k = cos^k psi or the Legendre polynomial of the dimension. What is left out beyond k = K is at most
max_(k>=K) |P_k| root(T(|x|) T(|z|)), with T(r) = E tau(r t)^2 - sum_(k<K) c_k(r)^2; on the sphere the maximum is taken
over K/2 <= k < K instead, as envelopes of these polynomials fall with k. Pairs for which this is not small (near
collinear points and kinks) are integrated in the plane of x and z, in pieces between kinks.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from meanfield._kernels.plane_expectations import plane_nodes, project, sum_series
from meanfield.kernels._kinks import kinks_of, straight
from meanfield.kernels._knots import Lines
from meanfield.kernels._pairs import Inputs, Law, mirror, scaled
from solvers._threads import for_blocks, one_blas_thread
from solvers.errors import PluginError
from solvers.protocols import Array

# Lengths of the series, in turn; pairs left over are integrated in the plane once they are few.
ORDERS = (32, 128, 512, 2048)
FEW_PAIRS = 200
# Gauss points of a piece: of one dimension, and in the plane (outer, inner), in turn until two results agree.
POINTS = 20
PLANE_POINTS = ((20, 10), (28, 14), (40, 20), (56, 28), (80, 40), (112, 56), (160, 80))
PLANE_PIECES = 3
PLANE_NODES = 2_000_000
# Hermite functions times a Gaussian reach further than the Gaussian itself.
LINE_REACH = 13.0
MOST_PIECES = 2048
# Pieces that test the others are halved towards 0 so often: they see what is 1e-11 wide.
HALVINGS = 40


class Expectation:
    """E tau(w.x) tau(w.z) for all pairs of inputs, tau an activation or its slope.

    Parameters
    ----------
    sigma : plug-in
    compiled : bool
    slope : bool
    law : Law
    rtol : float
    """

    def __init__(self, sigma: Any, compiled: bool, slope: bool, law: Law, rtol: float) -> None:
        self.sigma, self.compiled, self.slope, self.law, self.rtol = sigma, compiled, slope, law, rtol

    def matrix(self, inputs: Inputs, radius: float) -> Array:
        """(n, m), exactly symmetric for one set of points."""
        X, Z = scaled(inputs, radius)
        norms = np.linalg.norm(X, axis=1), np.linalg.norm(Z, axis=1)
        if self.law.dim == 1:
            plus, minus = self.tau(X[:, 0]), self.tau(-X[:, 0])
            other, opposite = self.tau(Z[:, 0]), self.tau(-Z[:, 0])
            if self.law.on_sphere:
                return np.asarray(0.5 * (np.outer(plus, other) + np.outer(minus, opposite)))
        self.kinks = kinks_of(self.sigma, self._slopes, _reach(inputs, radius))
        with one_blas_thread():
            gram = X @ Z.T
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = gram / norms[0][:, None] / norms[1]
        cosine = np.clip(np.where(np.isfinite(cosine), cosine, 0.0), -1.0, 1.0)
        if inputs.symmetric:
            cosine[np.diag_indices_from(cosine)] = 1.0
        value, pending = self._series(cosine, norms, inputs.symmetric)
        if pending[0].size:
            self._plane(value, pending, X, Z, norms)
        if inputs.symmetric:
            value[np.diag_indices_from(value)] = self.energy[0]
            mirror(value)
        return value

    # -- the function ---------------------------------------------------------------------------------------

    def tau(self, z: Array) -> Array:
        """sigma or its slope, elementwise."""
        return self._slopes(z) if self.slope else self._evaluate(z, False)

    def _finite(self, z: Array) -> Array:
        values = self.tau(z)
        if not np.isfinite(values).all():
            where = float(z[~np.isfinite(values)][0])
            raise PluginError(
                f"{self.sigma!r} or its slope is not finite at z = {where:.4g}, where its kernel needs it; scale the "
                "inputs down, or let the activation grow less"
            )
        return values

    def _slopes(self, z: Array) -> Array:
        return self._evaluate(z, True)

    def _evaluate(self, z: Array, slope: bool) -> Array:
        flat = np.ascontiguousarray(z).reshape(-1)
        if not self.compiled:
            method = self.sigma.slope if slope else self.sigma.value
            return np.array([_plain(method, float(t)) for t in flat]).reshape(z.shape)
        from meanfield._kernels.elementwise import activate, activate_slope

        value, slopes = np.empty(flat.size), np.empty(flat.size)
        if slope:
            activate_slope(self.sigma, flat, value, slopes)
        else:
            activate(self.sigma, flat, value)
        return (slopes if slope else value).reshape(z.shape)

    # -- one dimension --------------------------------------------------------------------------------------

    def _line(self, r: float, pieces: int, towards_0: bool = False) -> tuple[Array, Array]:
        """Nodes t and masses of one coordinate, in pieces split at the kinks of tau(r t), or finer and finer near 0."""
        dim = self.law.dim
        reach = LINE_REACH
        if self.law.on_sphere:
            reach = math.acos(math.exp(-40.0 / (dim - 2.0))) if dim > 2 else 0.5 * math.pi
        ends = np.linspace(-reach, reach, pieces + 1)
        if towards_0:
            halves = reach * 0.5 ** np.arange(1, HALVINGS)
            ends = np.unique(np.concatenate([ends, halves, -halves]))
        if self.kinks.size and r > 0.0:
            at = self.kinks / r
            if self.law.on_sphere:
                at = np.arcsin(at[np.abs(at) < 1.0])
            ends = np.unique(np.concatenate([ends, at[np.abs(at) < reach]]))
        x, w = np.polynomial.legendre.leggauss(POINTS)
        half = 0.5 * np.diff(ends)[:, None]
        t = (ends[:-1, None] + half * (1.0 + x)).reshape(-1)
        mass = (half * w).reshape(-1)
        if not self.law.on_sphere:
            return t, mass * np.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi)
        total = math.exp(math.lgamma(0.5 * dim) - math.lgamma(0.5 * (dim - 1))) / math.sqrt(math.pi)
        return np.sin(t), mass * np.cos(t) ** (dim - 2) * total

    def _rows(self, norms: Array, pieces: int, towards_0: bool = False) -> list[tuple[Array, Array, Array]]:
        """(t, mass, tau(r t)) for each radius; nodes are shared where there is no kink."""
        if self.kinks.size == 0:
            t, mass = self._line(0.0, pieces, towards_0)
            table = self._finite(norms[:, None] * t)
            return [(t, mass, row) for row in table]
        lines = [self._line(float(r), pieces, towards_0) for r in norms]
        flat = self._finite(np.concatenate([r * t for r, (t, _) in zip(norms, lines, strict=True)]))
        cuts = np.cumsum([t.size for t, _ in lines])[:-1]
        return [(t, mass, row) for (t, mass), row in zip(lines, np.split(flat, cuts), strict=True)]

    def _resolved_pieces(self, norms: Array) -> int:
        """Pieces from which E tau(r t)^2 no longer changes, for the largest and the least radius."""
        few = np.unique([norms.min(), np.median(norms), norms.max()])

        def energy(pieces: int, towards_0: bool = False) -> Array:
            return np.array([np.sum(mass * row * row) for _, mass, row in self._rows(few, pieces, towards_0)])

        # few equal pieces all miss a step of tau(r t) that is steep because r is large: these do not
        graded = energy(4, towards_0=True)
        pieces, before = 4, energy(4)
        while pieces < MOST_PIECES:
            now = energy(2 * pieces)
            near = 1e-14 + 1e-13 * np.abs(now)
            if (np.abs(now - before) <= near).all() and (np.abs(now - graded) <= 10.0 * near).all():
                return pieces
            pieces, before = 2 * pieces, now
        missed = float((np.abs(before - graded) / np.maximum(np.abs(graded), 1e-300)).max())
        if missed > self.rtol:
            warnings.warn(
                f"quadrature of {self.sigma!r} reached {missed:.1e}, not rtol = {self.rtol:g}, for inputs of norm up "
                f"to {few[-1]:.3g}; scale the inputs down, or, if the activation has kinks, say so with smooth = False "
                "in its class",
                RuntimeWarning,
                stacklevel=6,  # the caller of random_features
            )
        return MOST_PIECES

    # -- the series -----------------------------------------------------------------------------------------

    def _recurrence(self, order: int) -> tuple[Array, Array, Array]:
        """off-diagonal of the orthonormal polynomials (order + 1), and P_(k+1) = ahead t P_k - back P_(k-1)."""
        k = np.arange(order + 1, dtype=np.float64)
        if not self.law.on_sphere:
            return np.sqrt(k), np.ones(order), np.zeros(order)
        dim = float(self.law.dim)
        square = np.zeros(order + 1)
        square[1:2] = 1.0 / dim
        j = k[2:]
        square[2:] = j * (j + dim - 3.0) / ((2.0 * j + dim - 2.0) * (2.0 * j + dim - 4.0))
        ahead, back = np.ones(order), np.zeros(order)
        j = k[1:-1]
        ahead[1:], back[1:] = (2.0 * j + dim - 2.0) / (j + dim - 2.0), j / (j + dim - 2.0)
        return np.sqrt(square), ahead, back

    def _coefficients(self, norms: Array, order: int, off: Array, pieces: int) -> tuple[Array, Array, Array]:
        """c_k (n, order), E tau^2 (n,) and the part of it beyond the order."""
        unique, where = np.unique(norms, return_inverse=True)
        table = np.empty((unique.size, order))
        energy = np.empty(unique.size)
        rows = self._rows(unique, pieces)

        def work(first: int, last: int) -> None:
            for i in range(first, last):
                t, mass, values = rows[i]
                project(t, mass * values, off, np.empty_like(t), np.empty_like(t), table[i])
                energy[i] = np.add.reduce(mass * values * values)

        for_blocks(work, unique.size, parallel=unique.size * order > 20_000)
        tail = np.maximum(energy - np.add.reduce(table * table, axis=1), 0.0)
        tail[unique == 0.0] = 0.0  # a constant is its own series
        return table[where], energy[where], tail[where]

    def _series(
        self, cosine: Array, norms: tuple[Array, Array], symmetric: bool
    ) -> tuple[Array, tuple[Any, Any]]:
        """The sum for all pairs, and the pairs for which it is not known to have converged."""
        n, m = cosine.shape
        value, top = np.empty((n, m)), np.empty((n, m))
        base = self.base = self._resolved_pieces(np.concatenate(norms))
        self.largest = max(float(norms[0].max()), float(norms[1].max()))
        reach = LINE_REACH if not self.law.on_sphere else math.pi / 2
        for order in ORDERS:
            off, ahead, back = self._recurrence(order)
            # a piece holds at most 8 radians to each side of p_k's fastest oscillation
            fastest = float(order) if self.law.on_sphere else math.sqrt(order)
            pieces = max(base, math.ceil(2.0 * reach * fastest / 16.0))
            sides = [self._coefficients(r, order, off, pieces) for r in (norms[:1] if symmetric else norms)]
            left, right = sides[0], sides[-1]
            columns = np.ascontiguousarray(right[0].T)
            since = order // 2 if self.law.on_sphere else order - 1

            def work(
                first: int, last: int, c: Array = left[0], columns: Array = columns, since: int = since,
                ahead: Array = ahead, back: Array = back,
            ) -> None:  # fmt: skip
                room = np.empty((2, m))
                for i in range(first, last):
                    sum_series(cosine[i], c[i], columns, ahead, back, since, room, value[i], top[i])

            for_blocks(work, n, parallel=n * m * order > 1_000_000)
            self.energy = left[1], right[1]
            self.scale = np.sqrt(np.outer(left[1], right[1]))
            bound = top * np.sqrt(np.outer(left[2], right[2]))
            open_pairs = bound > 0.1 * self.rtol * self.scale
            if symmetric:
                open_pairs &= np.triu(np.ones((n, m), dtype=bool), 1)
            if np.count_nonzero(open_pairs) <= FEW_PAIRS:
                break
        i, j = np.nonzero(open_pairs)
        return value, (i, j)

    # -- the plane ------------------------------------------------------------------------------------------

    def _plane(
        self, value: Array, pending: tuple[Any, Any], X: Array, Z: Array, norms: tuple[Array, Array]
    ) -> None:
        """Integrate pending pairs with more and more points, each until two results agree."""
        rows, columns = pending
        x, z = X[rows] / norms[0][rows, None], Z[columns] / norms[1][columns, None]
        # Kahan's half angle: exact for near collinear points, the same or opposite ones
        half = np.arctan2(np.linalg.norm(x - z, axis=1), np.linalg.norm(x + z, axis=1))
        pairs = np.column_stack([norms[0][rows], norms[1][columns], half])
        scale = self.scale[rows, columns]
        before = self._integrate(pairs, PLANE_POINTS[0])
        left = np.arange(rows.size)
        worst = 0.0
        for points in PLANE_POINTS[1:]:
            now = self._integrate(pairs[left], points)
            error = np.abs(now - before)
            value[rows[left], columns[left]] = now
            still = error > self.rtol * scale[left]
            left, before = left[still], now[still]
            if left.size == 0:
                return
            worst = float((error[still] / scale[left]).max())
        warnings.warn(
            f"quadrature of {self.sigma!r} reached {worst:.1e}, not rtol = {self.rtol:g}, for {left.size} pair(s) of "
            "points; give a larger rtol, or, if the activation has kinks, say so with smooth = False in its class",
            RuntimeWarning,
            stacklevel=5,
        )

    def _integrate(self, pairs: Array, points: tuple[int, int]) -> Array:
        """One rule for all pairs (|x|, |z|, half angle), so many at a time that nodes fit."""
        r, dim = self.kinks.size, self.law.dim
        circle = self.law.on_sphere and dim == 2
        # what resolves tau along a line resolves it along the inner coordinate; outer moves t and t' by less
        steep = self.base / 2.0 * np.maximum(pairs[:, 0], pairs[:, 1]) / self.largest
        aspect = np.tan(np.minimum(pairs[:, 2], 0.5 * math.pi - pairs[:, 2]))
        if circle:
            steep *= 3.0
        pieces_in = PLANE_PIECES + np.floor(
            steep * (9.0 / LINE_REACH if not self.law.on_sphere else 1.0)
        ).astype(int)
        pieces = 1 + np.floor(pieces_in * aspect).astype(int)
        outer = int(pieces.max()) + r * r + (4 * r if self.law.on_sphere else 0)
        most = outer * (int(pieces_in.max()) + 2 * r) * points[0] * points[1]
        if circle:
            most = (int(pieces_in.max()) + 4 * r) * points[1]
        batch = max(1, PLANE_NODES // most)
        y, share = np.polynomial.legendre.leggauss(points[0])
        x, w = np.polynomial.legendre.leggauss(points[1])
        # towards its ends a piece on the sphere is stretched: there integrands go with half-integer powers
        bent = (0.5 * y * (3.0 - y * y), 1.5 * share * (1.0 - y * y)) if self.law.on_sphere else (y, share)
        rules, rules_in = np.array(bent), np.array([x, w])
        breaks = np.empty((2, outer + int(pieces_in.max()) + 2 * r + 2))
        u, v, mass = np.empty((3, min(batch, len(pairs)) * most))
        results = np.empty(len(pairs))
        for low in range(0, len(pairs), batch):
            part = pairs[low : low + batch]
            starts, at = [], 0
            for (a, b, half), many, many_in in zip(
                part, pieces[low : low + batch], pieces_in[low : low + batch], strict=True
            ):
                starts.append(at)
                left, right = self.kinks / a, self.kinks / b
                if circle:
                    t, other, weight = _circle(2.0 * half, left, right, int(many_in), x, w)
                    count = t.size
                    u[at : at + count], v[at : at + count], mass[at : at + count] = t, other, weight
                else:
                    turn = np.array([math.cos(half), math.sin(half)])
                    count = plane_nodes(
                        turn, left, right, dim if self.law.on_sphere else 0, int(many), int(many_in),
                        rules, rules_in, breaks, u[at:], v[at:], mass[at:],
                    )  # fmt: skip
                u[at : at + count] *= a
                v[at : at + count] *= b
                at += count
            product = mass[:at] * self.tau(u[:at]) * self.tau(v[:at])
            results[low : low + batch] = np.add.reduceat(product, starts)
        return results


def _plain(method: Any, z: float) -> float:
    try:
        return float(method(z))
    except OverflowError:
        return math.inf


def as_lines(sigma: Any, compiled: bool, law: Law, inputs: Inputs, radius: float) -> Lines | None:
    """A plug-in with kinks as lines between them, where it is so as far as the inputs take it; None elsewhere."""
    if getattr(sigma, "smooth", True) or (law.on_sphere and law.dim == 1):
        return None
    value, slope = (Expectation(sigma, compiled, which, law, 1.0).tau for which in (False, True))
    return straight(sigma, value, slope, _reach(inputs, radius))


def _reach(inputs: Inputs, radius: float) -> float:
    """How far quadrature asks for the activation; not 0."""
    largest = max(float(np.linalg.norm(points, axis=1).max()) for points in (inputs.X, inputs.Z))
    return LINE_REACH * radius * largest if largest > 0.0 else 1.0


def _circle(
    angle: float, left: Array, right: Array, pieces: int, x: Array, w: Array
) -> tuple[Array, Array, Array]:
    """Nodes (cos a, cos(a - angle)) and masses of a uniform a, in pieces between the kinks."""
    at = [np.arccos(k[np.abs(k) < 1.0]) for k in (left, right)]
    kinks = np.concatenate([at[0], -at[0], angle + at[1], angle - at[1]])
    kinks = np.mod(kinks + np.pi, 2.0 * np.pi) - np.pi
    ends = np.unique(np.concatenate([np.linspace(-np.pi, np.pi, pieces + 1), kinks]))
    half = 0.5 * np.diff(ends)[:, None]
    a = (ends[:-1, None] + half * (1.0 + x)).reshape(-1)
    return np.cos(a), np.cos(a - angle), (half * w).reshape(-1) / (2.0 * np.pi)

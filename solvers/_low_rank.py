"""Linear systems with the Jacobian of a particle flow, solved through data space: J is low-rank plus small blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from solvers._lanczos import KrylovSpace
from solvers.errors import PluginError
from solvers.protocols import Array, LowRank

# A solution is refined while its residual is larger, relatively, and given up if it then is above the second.
RESIDUAL, HOPELESS = 1e-12, 1e-8
REFINEMENTS = 3
# Modes whose damping in a step, c w / (1 + c lam), is smaller are left to the explicit part of the method.
NEGLIGIBLE = 0.02
# Vectors of a Krylov space, at most, and the part of its start that is spread over all coordinates: the velocity alone
# would never leave an invariant subspace.
MOST_VECTORS, SPREAD = 60, 0.1


class Blocks:
    """Which coordinates of z form block j: gathers (N,) into (m, q) and scatters back."""

    def __init__(self, indices: Any, size: int) -> None:
        self.indices = np.asarray(indices)
        self.shape = self.indices.shape
        flat = self.indices.reshape(-1)
        self.plain = flat.size == size and bool(np.array_equal(flat, np.arange(size)))

    def gather(self, z: Array) -> Array:
        """(N,) -> (m, q)."""
        return z.reshape(self.shape) if self.plain else z[self.indices]

    def scatter(self, values: Array, out: Array) -> None:
        """Write (m, q) into (N,), whose other coordinates are left alone."""
        if self.plain:
            out.reshape(self.shape)[...] = values
        else:
            out[self.indices] = values


class WoodburySystem:
    """``(I - c J) x = b`` for ``J = -P S H' - blkdiag(B)``: O(r^2 m q + r^3) for each c, O(r m q + r^2) for each b.

    With ``D = I + c B``, block by block, ``x = D^-1 b - c D^-1 P S (I + c H' D^-1 P S)^-1 H' D^-1 b`` (Woodbury 1950).
    S need not be invertible. Where the rows of P are multiples of those of H, only H is read, and where the blocks
    ``D^-1 p`` then are symmetric and positive, as in gradient flows, the product of r by r costs half.

    Parameters
    ----------
    factors : LowRank
        ``indices`` (m, q), ``H`` (m, q, r), ``P`` likewise or (m, q), ``S`` (r,) or (r, r), ``B`` (m, q, q).
    size : int
        Length N of z; coordinates in no block have zero rows in J.
    """

    def __init__(self, factors: LowRank, size: int) -> None:
        self.blocks = Blocks(factors.indices, size)
        m, q = self.blocks.shape
        self.rank = factors.H.shape[2]
        self.H = np.ascontiguousarray(factors.H, dtype=np.float64)
        self._flat = self.H.reshape(m * q, self.rank)
        self.P, self.S, self.B = factors.P, factors.S, factors.B
        self._c = 0.0
        self._refinements = 0
        self._tested = False

    def factor(self, c: float) -> bool:
        """Prepare to solve with I - c J; False if that is singular."""
        from scipy.linalg import lapack

        q = self.blocks.shape[1]
        D = c * self.B
        D[:, range(q), range(q)] += 1.0
        try:
            self._inverse = np.linalg.inv(D)
        except np.linalg.LinAlgError:
            return False
        core = _times(self._coupling(), c * self.S)
        core.flat[:: self.rank + 1] += 1.0
        # LAPACK counts along columns: it factors the transpose, in place.
        self._lu, self._pivots, info = lapack.dgetrf(core.T, overwrite_a=True)
        self._c, self._refinements, self._tested = c, 0, False
        return bool(info == 0)

    def _coupling(self) -> Array:
        """``H' D^-1 P``, (r, r)."""
        if self.P.ndim == 3:
            self._left = np.matmul(self._inverse, self.P).reshape(self._flat.shape)
            return np.asarray(self._flat.T @ self._left)
        self._left = self._inverse * self.P[:, None, :]
        root = _block_roots(self._left)
        if root is None:
            return np.asarray(self._flat.T @ np.matmul(self._left, self.H).reshape(self._flat.shape))
        half = np.matmul(root.transpose(0, 2, 1), self.H).reshape(self._flat.shape)
        return np.asarray(half.T @ half)

    def solve(self, b: Array, out: Array) -> bool:
        """Write x to `out`; False where rounding spoils it.

        The first right-hand side after `factor` tells how many refinements the others get.
        """
        out[:] = b
        self._once(b, out)
        if not self._tested:
            return self._test(b, out)
        for _ in range(self._refinements):
            self._correct(self._residual(b, out), out)
        return True

    def _test(self, b: Array, x: Array) -> bool:
        self._tested = True
        size, before, error = float(np.max(np.abs(b))), math.inf, math.inf
        for count in range(REFINEMENTS + 1):
            self._refinements = count
            residual = self._residual(b, x)
            error = float(np.max(np.abs(residual)))
            if error <= RESIDUAL * size:
                return True
            if count == REFINEMENTS or not error < 0.5 * before:
                break
            before = error
            self._correct(residual, x)
        return error <= HOPELESS * size

    def _correct(self, residual: Array, x: Array) -> None:
        correction = residual.copy()
        self._once(residual, correction)
        x += correction

    def _once(self, b: Array, out: Array) -> None:
        from scipy.linalg import lapack

        shape = self.blocks.shape
        y = _block_times(self._inverse, self.blocks.gather(b))
        w, _ = lapack.dgetrs(self._lu, self._pivots, y.reshape(-1) @ self._flat, trans=1)
        w = self._c * _core_times(self.S, w)
        if self.P.ndim == 3:
            y -= (self._left @ w).reshape(shape)
        else:
            y -= _block_times(self._left, (self._flat @ w).reshape(shape))
        self.blocks.scatter(y, out)

    def _residual(self, b: Array, x: Array) -> Array:
        """``b - (I - c J) x``."""
        part = self.blocks.gather(x)
        w = _core_times(self.S, part.reshape(-1) @ self._flat)
        if self.P.ndim == 3:
            image = (self.P.reshape(self._flat.shape) @ w).reshape(part.shape)
        else:
            image = self.P * (self._flat @ w).reshape(part.shape)
        image += _block_times(self.B, part)
        residual = b - x
        self.blocks.scatter(self.blocks.gather(residual) - self._c * image, residual)
        return residual


def _block_times(blocks: Any, vectors: Any) -> Array:
    """(m, q, q) times (m, q)."""
    return np.asarray(np.matmul(blocks, vectors[:, :, None])[:, :, 0])


def _block_roots(blocks: Array) -> Array | None:
    """L with L L' = each block, where all are symmetric and positive but for rows and columns of zeros."""
    turned = blocks.transpose(0, 2, 1)
    # asymmetry by rounding, relative to the block
    if np.max(np.abs(blocks - turned)) > 1e-13 * np.max(np.abs(blocks)):
        return None
    still = np.flatnonzero(np.diagonal(blocks, axis1=1, axis2=2) == 0.0)
    regular = 0.5 * (blocks + turned)
    q = blocks.shape[1]
    regular[still // q, still % q, still % q] = 1.0
    try:
        roots = np.linalg.cholesky(regular)
    except np.linalg.LinAlgError:
        return None
    roots[still // q, still % q, still % q] = 0.0
    return np.asarray(roots)


class DenseSystem:
    """``(I - c J) x = b`` for a full matrix J: O(N^3) for each c, O(N^2) for each b.

    Parameters
    ----------
    jacobian : ndarray, (N, N)
    """

    def __init__(self, jacobian: Array) -> None:
        self.J = jacobian

    def factor(self, c: float) -> bool:
        """Prepare to solve with I - c J; False if that is singular."""
        from scipy.linalg import lapack

        matrix = -c * self.J
        matrix.flat[:: matrix.shape[0] + 1] += 1.0
        self._lu, self._pivots, info = lapack.dgetrf(matrix.T, overwrite_a=True)
        return bool(info == 0)

    def solve(self, b: Array, out: Array) -> bool:
        """Write x to `out`."""
        from scipy.linalg import lapack

        out[:], _ = lapack.dgetrs(self._lu, self._pivots, b, trans=1)
        return True


def assembled(factors: LowRank, size: int) -> Array:
    """J in full, (N, N), from its low-rank form."""
    m, q = factors.indices.shape
    flat = np.asarray(factors.indices).reshape(-1)
    H = np.asarray(factors.H).reshape(m * q, -1)
    P = factors.P.reshape(H.shape) if factors.P.ndim == 3 else factors.P.reshape(-1, 1) * H
    J = np.zeros((size, size))
    J[np.ix_(flat, flat)] = -_times(P, np.asarray(factors.S)) @ H.T
    for rows, block in zip(factors.indices, factors.B, strict=True):
        J[np.ix_(rows, rows)] -= block
    return J


class ModalSystem:
    """``(I - c A) x = b`` for ``A = -lam I - sum_i w_i u_i (g u_i)'``, the u_i orthonormal in the weights g; any c.

    ``x = (b - sum_i s_i u_i <g u_i, b>) / (1 + c lam)`` with ``s_i = c w_i / (1 + c lam + c w_i)``.

    Parameters
    ----------
    modes : ndarray, (k, N)
        The u_i.
    rates : ndarray, (k,)
        The w_i, positive.
    weight : ndarray, (N,)
        g; 0 where J has zero rows, as the u_i are there.
    decay : float
        lam, at least 0.
    """

    def __init__(self, modes: Array, rates: Array, weight: Array, decay: float) -> None:
        self.modes, self.rates, self.decay = modes, rates, decay
        self._dual = modes * weight
        self._frozen = np.flatnonzero(weight == 0.0)

    def factor(self, c: float) -> bool:
        """Prepare to solve with I - c A; O(k)."""
        self._rest = 1.0 + c * self.decay
        self._shares = c * self.rates / (self._rest + c * self.rates)
        return True

    def solve(self, b: Array, out: Array) -> bool:
        """Write x to `out`; O(k N)."""
        np.dot((self._dual @ b) * self._shares, self.modes, out=out)
        np.subtract(b, out, out=out)
        out /= self._rest
        out[self._frozen] = b[self._frozen]
        return True


def gram_modes(factors: LowRank, weight: Array, reach: float) -> ModalSystem:
    """The modes of J that a step with ``c = gamma h`` up to `reach` must treat implicitly, from its low-rank form.

    With ``P = p H``, row by row, and ``X = p^(1/2) H S^(1/2)``, ``J = -g^(-1/2) X X' g^(1/2)`` up to the blocks, and
    the eigenvectors of X X' follow from those of the Gram matrix X'X, r by r. Of the blocks B only a multiple of the
    identity is kept, the median of their diagonals: as much as a method of the W type needs.

    Parameters
    ----------
    factors : LowRank
        As for `WoodburySystem`.
    weight : ndarray, (N,)
        g, such that diag(g) J is symmetric.
    reach : float
        The largest c.

    Raises
    ------
    PluginError
        If g P is not a multiple of H.
    """
    blocks = Blocks(factors.indices, weight.size)
    g = blocks.gather(weight).reshape(-1)
    p = factors.P if factors.P.ndim == 2 else _multiples(factors.P, factors.H)
    size = math.nan if p is None else float(np.max(g * p.reshape(-1)))
    # rounding of some products
    if p is None or not np.all((np.abs(g * p.reshape(-1) - size) <= 1e-10 * size) | (g == 0.0)):
        raise PluginError("the linearization contradicts itself: weight * P must be a positive multiple of H")
    H = np.asarray(factors.H).reshape(g.size, -1)
    X = _times(H, _root(np.asarray(factors.S))) * np.sqrt(np.where(g > 0, p.reshape(-1), 0.0))[:, None]
    rates, Q = np.linalg.eigh(X.T @ X)
    diagonal = np.diagonal(factors.B, axis1=1, axis2=2).reshape(-1)[g > 0]
    decay = max(0.0, float(np.median(diagonal))) if diagonal.size else 0.0
    kept = np.flatnonzero(reach * rates > NEGLIGIBLE * (1.0 + reach * decay))[::-1]
    rates = rates[kept]
    vectors = (Q[:, kept] / np.sqrt(rates)).T @ X.T / np.sqrt(np.where(g > 0, g, 1.0))
    modes = np.zeros((kept.size, weight.size))
    for mode, vector in zip(modes, vectors, strict=True):
        blocks.scatter(vector.reshape(blocks.shape), mode)
    return ModalSystem(modes, rates, weight, decay)


def _multiples(P: Array, H: Array) -> Array | None:
    """p with ``P = p H`` row by row, (m, q), where that is so to rounding."""
    squares = np.einsum("jar,jar->ja", H, H)
    p = np.divide(np.einsum("jar,jar->ja", P, H), squares, out=np.zeros(squares.shape), where=squares > 0)
    defect = np.max(np.abs(P - p[:, :, None] * H))
    return p if defect <= 1e-12 * np.max(np.abs(P)) else None


def lanczos_modes(
    product: Callable[[Array, Array], Any], weight: Array, start: Array, reach: float
) -> tuple[ModalSystem, int]:
    """The same from products with J alone: Ritz vectors of a Krylov space of at most 60 vectors, and their number.

    The smallest Ritz value, where positive, stands for the decay of all that is outside the space.

    Parameters
    ----------
    product : callable
        ``product(v, out)`` writes J v to `out`.
    weight : ndarray, (N,)
        g, such that diag(g) J is symmetric.
    start : ndarray, (N,)
        Where the space starts, the velocity for example; a tenth of a fixed vector with components along everything
        is added.
    reach : float
        The largest c.
    """

    moving = weight > 0
    first = _unit(np.where(moving, start, 0.0), weight)
    first += SPREAD * _unit(
        np.where(moving, np.cos(math.sqrt(2.0) * np.arange(start.size) ** 2), 0.0), weight
    )
    space = KrylovSpace(product, first, weight, MOST_VECTORS)
    space.grow(1)
    # until what is outside is not stiff, as far as the space can see
    while space.dimension < MOST_VECTORS and not space.invariant and reach * space.coupling > NEGLIGIBLE:
        space.grow(space.dimension + 1)
    if space.dimension == 0:  # nothing moves
        return ModalSystem(np.zeros((0, weight.size)), np.zeros(0), weight, 0.0), 0
    values, vectors = space.ritz()
    rates = -values
    decay = max(0.0, float(rates[-1]))
    kept = np.flatnonzero(reach * (rates - decay) > NEGLIGIBLE * (1.0 + reach * decay))
    return ModalSystem(vectors[kept], rates[kept] - decay, weight, decay), space.dimension


def _unit(v: Array, weight: Array) -> Array:
    length = math.sqrt(float(v @ (weight * v)))
    return v / length if length > 0.0 else v


def _times(rows: Array, core: Array) -> Array:
    """``rows S`` for S given as its diagonal or in full."""
    return rows * core if core.ndim == 1 else rows @ core


def _core_times(core: Array, w: Array) -> Array:
    """``S w`` for S given as its diagonal or in full."""
    return core * w if core.ndim == 1 else core @ w


def _root(core: Array) -> Array:
    """R with R R' = S, for S given as its diagonal or in full; what is negative counts as 0."""
    if core.ndim == 1:
        return np.sqrt(np.maximum(core, 0.0))
    values, vectors = np.linalg.eigh(core)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))

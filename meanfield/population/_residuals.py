"""The residual r = f_mu - f_* as atoms, and what the population functional asks of it under x ~ N(0, I).

A residual answers two questions: ``half_square() = E |r(x)|^2 / 2``, and ``against(outer, inner) = E <r(x),
Phi(theta; x)>`` with its gradient, for neurons Phi(theta; x) = a sigma(w.x + b) given as outer weights a (k, outputs)
and inner weights (w, b). Polynomial activations need the first moments of the atoms only, exact for every width
in O(m d^2); the others a sum over pairs, in tiles of fixed size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from solvers._threads import for_blocks, one_blas_thread
from solvers.protocols import Array


class Atoms(NamedTuple):
    """sum_j coefficients_j Phi(outer_j, inner_j; .): shapes (N,), (N, outputs), (N, d) or (N, d + 1) with bias."""

    coefficients: Array
    outer: Array
    inner: Array


class Projection(NamedTuple):
    """E <r, Phi(theta_j)> (k,), and its gradients in the outer (k, outputs) and inner weights (k, q)."""

    value: Array
    outer: Array
    inner: Array


class Residual(Protocol):
    """What a closed form provides."""

    def half_square(self) -> float: ...

    def against(self, outer: Array, inner: Array) -> Array: ...

    def against_with_gradient(self, outer: Array, inner: Array) -> Projection: ...


# -- polynomial activations: moments ----------------------------------------------------------------------------


class LinearResidual:
    """sigma(z) = z: r(x) = U x + e, so that E|r|^2 = |U|^2 + |e|^2."""

    def __init__(self, atoms: Atoms) -> None:
        # The bias multiplies the constant 1, which is orthonormal to the coordinates of x: it is one more of them.
        with one_blas_thread():
            self._matrix = (atoms.outer * atoms.coefficients[:, None]).T @ atoms.inner

    def half_square(self) -> float:
        return 0.5 * float(np.sum(self._matrix**2))

    def against(self, outer: Array, inner: Array) -> Array:
        return self.against_with_gradient(outer, inner).value

    def against_with_gradient(self, outer: Array, inner: Array) -> Projection:
        with one_blas_thread():
            image = inner @ self._matrix.T
            return Projection(np.sum(outer * image, axis=1), image, outer @ self._matrix)


class QuadraticResidual:
    """sigma(z) = z^2: r_o(x) = x'S_o x + 2 r_o.x + e_o for each output o, with S = sum c a w w', and so on.

    E r^2 = 2|S|^2 + 4|r|^2 + (tr S + e)^2 and
    E r(x) (w.x + b)^2 = 2 w'Sw + 4 b r.w + (tr S + e)(|w|^2 + b^2): Gaussian moments of order four (Isserlis).
    """

    def __init__(self, atoms: Atoms, bias: bool) -> None:
        d = atoms.inner.shape[1] - bias
        weighted = atoms.outer * atoms.coefficients[:, None]
        with one_blas_thread():
            moments = np.stack([(atoms.inner.T * charge) @ atoms.inner for charge in weighted.T])
        moments = 0.5 * (moments + moments.transpose(0, 2, 1))
        constant = np.trace(moments, axis1=1, axis2=2)
        # The form Q of E r (w.x + b)^2 = (w, b)' Q (w, b): 2S on w, 2r across, nothing but the trace on b.
        form = 2.0 * moments
        square = 2.0 * np.sum(moments**2, axis=(1, 2)) + constant**2
        if bias:
            square -= 2.0 * moments[:, d, d] ** 2
            form[:, d, d] = 0.0
        form += constant[:, None, None] * np.eye(atoms.inner.shape[1])
        self._form, self._square = form, float(np.sum(square))

    def half_square(self) -> float:
        return 0.5 * self._square

    def against(self, outer: Array, inner: Array) -> Array:
        return self._images(outer, inner)[1]

    def _images(self, outer: Array, inner: Array) -> tuple[Array, Array, Array]:
        """Q_o (w, b) for every neuron and output, the projections, and the quadratic forms."""
        with one_blas_thread():
            images = np.stack([inner @ form for form in self._form])
        forms = np.einsum("ojp,jp->jo", images, inner)
        return images, np.sum(outer * forms, axis=1), forms

    def against_with_gradient(self, outer: Array, inner: Array) -> Projection:
        images, value, forms = self._images(outer, inner)
        return Projection(value, forms, 2.0 * np.einsum("jo,ojp->jp", outer, images))


# -- activations with a kernel of pairs -------------------------------------------------------------------------

_WORTH_THREADS = 100_000  # pairs: 0.5 ms of work, five times what starting the threads takes
_TILE = 192  # four tiles of float64 are 1.2 MB: they stay in the second-level cache (192 measured fastest of 64..384)


class PairKernel(NamedTuple):
    """Compiled elementwise functions of `_pairs` with the activation's parameters."""

    values: Callable[..., Any]
    values_and_slopes: Callable[..., Any]
    parameters: tuple[float, ...]


def _for_tiles(work: Callable[[int, slice], None], size: int, columns: int) -> None:
    """Call ``work(k, rows)`` for all tiles of rows, on threads if there is enough to do.

    BLAS has one thread meanwhile: each tile fills places of its own in one order, so that the bits of the
    result do not depend on the number of threads.
    """
    tiles = list(enumerate(_tiles(size)))

    def some(first: int, last: int) -> None:
        for tile in tiles[first:last]:
            work(*tile)

    with one_blas_thread():
        for_blocks(some, len(tiles), size * columns >= _WORTH_THREADS)


def _tiles(size: int) -> Iterator[slice]:
    for start in range(0, size, _TILE):
        yield slice(start, min(start + _TILE, size))


class _Scratch:
    """Memory for tiles, made once for a row of them: fresh pages for every tile would cost as much as the angles."""

    def __init__(self, count: int) -> None:
        self._flat = np.empty((count, _TILE * _TILE))

    def tiles(self, rows: Array, columns: Array) -> list[Array]:
        """Contiguous tiles of the shape of ``rows @ columns.T``, the first of them filled with it."""
        m, n = rows.shape[0], columns.shape[0]
        shaped = [flat[: m * n].reshape(m, n) for flat in self._flat]
        np.matmul(rows, columns.T, out=shaped[0])
        return shaped


def _squares(inner: Array) -> Array:
    return np.asarray(np.einsum("jp,jp->j", inner, inner))


def pair_matrix(pair: PairKernel, inner: Array, others: Array) -> Array:
    """E sigma(w_i.x) sigma(v_j.x) for all pairs (m, m'): one matrix of the answer's size, and a block of rows."""
    out = np.empty((inner.shape[0], others.shape[0]))
    norms, squares = _squares(inner), _squares(others)

    def work(_: int, rows: slice) -> None:
        pair.values(inner[rows] @ others.T, norms[rows], squares, *pair.parameters, out[rows])

    _for_tiles(work, *out.shape)
    return out


class PairResidual:
    """Any activation with a closed E sigma(u.x) sigma(v.x): sums over pairs of atoms, memory O(N + tile^2)."""

    def __init__(self, atoms: Atoms, pair: PairKernel) -> None:
        self._atoms, self._pair = atoms, pair
        self._weighted = atoms.outer * atoms.coefficients[:, None]
        self._squares = _squares(atoms.inner)

    def half_square(self) -> float:
        inner, squares, weighted = self._atoms.inner, self._squares, self._weighted
        size = inner.shape[0]
        totals = np.zeros(-(-size // _TILE))

        def work(i: int, rows: slice) -> None:
            scratch = _Scratch(2)
            for j, columns in enumerate(_tiles(size)):
                if j < i:
                    continue
                # Not in place: overlapping arrays would keep the compiled loop from vectorizing.
                gram, tile = scratch.tiles(inner[rows], inner[columns])
                self._pair.values(gram, squares[rows], squares[columns], *self._pair.parameters, tile)
                # Half the sum over all pairs: diagonal tiles once, those above it for their mirror images too.
                part = float(np.sum(weighted[rows] * (tile @ weighted[columns])))
                totals[i] += 0.5 * part if i == j else part

        _for_tiles(work, size, size)
        return float(np.sum(totals))

    def against(self, outer: Array, inner: Array) -> Array:
        atoms, norms = self._atoms, _squares(inner)
        value = np.zeros(inner.shape[0])

        def work(_: int, rows: slice) -> None:
            scratch = _Scratch(2)
            for columns in _tiles(atoms.inner.shape[0]):
                gram, tile = scratch.tiles(inner[rows], atoms.inner[columns])
                self._pair.values(gram, norms[rows], self._squares[columns], *self._pair.parameters, tile)
                value[rows] += np.sum(outer[rows] * (tile @ self._weighted[columns]), axis=1)

        _for_tiles(work, inner.shape[0], atoms.inner.shape[0])
        return value

    def against_with_gradient(self, outer: Array, inner: Array) -> Projection:
        atoms, weighted, norms = self._atoms, self._weighted, _squares(inner)
        by_outer, by_inner = np.zeros(outer.shape), np.zeros(inner.shape)

        def work(_: int, rows: slice) -> None:
            scratch = _Scratch(4)
            for columns in _tiles(atoms.inner.shape[0]):
                gram, tile, along_u, along_v = scratch.tiles(inner[rows], atoms.inner[columns])
                self._pair.values_and_slopes(
                    gram, norms[rows], self._squares[columns], *self._pair.parameters, tile, along_u, along_v
                )
                by_outer[rows] += tile @ weighted[columns]
                for o in range(outer.shape[1]):
                    charge = weighted[columns, o : o + 1]
                    by_inner[rows] += outer[rows, o : o + 1] * (
                        (along_u @ charge) * inner[rows] + along_v @ (charge * atoms.inner[columns])
                    )

        _for_tiles(work, inner.shape[0], atoms.inner.shape[0])
        return Projection(np.sum(outer * by_outer, axis=1), by_outer, by_inner)

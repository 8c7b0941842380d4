"""The minimum over the torus of a trigonometric polynomial, certified by branch and bound."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield._suprema.bounds import Minimum
from meanfield._suprema.polynomial import TrigonometricPolynomial, reduce_frequencies
from solvers._check import array, number
from solvers.errors import InputError
from solvers.protocols import Array

MAX_BOXES = 3_000_000
MAX_LEVELS = 48  # halvings: boxes are then at the rounding level of their centres
POLISHED = 8  # starts of Newton's method in the first level
FIRST_GRID = 300_000
CHUNK = 100_000  # boxes held with their Hessians at once


def trigonometric_coefficients(frequencies: Any, cosine: Any, sine: Any) -> NDArray[np.complex128]:
    """``T(theta) = sum_f cosine_f cos(k_f.theta) + sine_f sin(k_f.theta)`` as a Hermitian array of coefficients.

    Parameters
    ----------
    frequencies : array_like of int, shape (F, dim)
        The k_f; repeated ones are added up.
    cosine, sine : array_like, shape (F,)

    Returns
    -------
    ndarray, complex, shape (2 N + 1,) * dim
        c with ``T = sum_k c[k + N] exp(i k.theta)``, N the largest |frequency| on any axis.
    """
    k = array(frequencies, "frequencies", ndim=2)
    if not (k == np.rint(k)).all():
        raise InputError("frequencies must be integers: the torus has period 2 pi")
    count, dim = k.shape
    cosine = array(cosine, "cosine", shape=(count,))
    sine = array(sine, "sine", shape=(count,))
    degree = int(np.abs(k).max())
    index = k.astype(np.int64)
    c = np.zeros((2 * degree + 1,) * dim, dtype=np.complex128)
    half = 0.5 * (cosine - 1j * sine)
    np.add.at(c, tuple((index + degree).T), half)
    np.add.at(c, tuple((degree - index).T), half.conj())
    return c


def torus_minimum(
    coefficients: Any,
    *,
    tolerance: float | None = None,
    starts: Any = None,
    max_boxes: int = MAX_BOXES,
) -> Minimum:
    """``min`` over theta in (0, 2 pi)^dim of the real ``T(theta) = sum_k c_k exp(i k.theta)``, with a proof.

    Branch and bound on boxes of half-widths h: with the gradient a and the eigenvalues of the Hessian at the
    centre, in the eigenbasis v_i,

        ``T >= T(centre) + sum_i min_{|t| <= r_i} (a_i t + lambda_i t^2 / 2) - R_3``, ``r_i = sum_j h_j |v_ij|``,

    where ``R_3 = (1/6) min(sum_k |c_k| (sum_i |k_i| h_i)^3, (sum_i N_i h_i)^3 sup|T - c_0|)`` bounds the third
    order (by the coefficients; by Bernstein's inequality, the supremum bounded on a grid by M. Riesz's lemma).
    The bound is of third order where the minimum lies, hence boxes do not pile up around it. Upper
    bounds come from Newton's method. Coordinates and combinations of coordinates on which T does not depend are
    removed first (a basis of the lattice that the frequencies span), and so are hidden periods.

    Parameters
    ----------
    coefficients : array_like, complex, shape (2 N_1 + 1, ..., 2 N_dim + 1), dim <= 3
        c_k at index k + N; Hermitian, so that T is real.
    tolerance : float, optional
        Stop when lowest - lower_bound is at most this; default ``1e-12 sum_k |c_k|``, never below four times the
        rounding level of T (which the result states).
    starts : array_like, shape (k, dim), optional
        Where the minimum may be, for example the particles of a measure; not needed for the proof.
    max_boxes : int
        Limit on the boxes evaluated; when it is reached ``exact`` is False unless the tolerance is met, and
        `lower_bound` is what was proved so far. T with a whole surface of minima in dimension 3
        ends so.

    Returns
    -------
    Minimum

    Raises
    ------
    InputError
        If the array is not Hermitian, has an even extent, more than three axes, or holds NaN.
    """
    c = _checked(coefficients)
    dim = c.ndim
    max_boxes = number(max_boxes, "max_boxes", positive=True, integer=True)
    size = float(np.abs(c).sum())
    tolerance = 1e-12 * size if tolerance is None else number(tolerance, "tolerance", nonnegative=True)
    extra = None if starts is None else array(starts, "starts", shape=(None, dim), empty=True)
    reduced, lattice, dropped = reduce_frequencies(c)
    if lattice.shape[0] == 0:
        value = float(c[tuple(n // 2 for n in c.shape)].real)
        return Minimum(value, np.zeros(dim), True, value - dropped, dropped, 0, "constant")
    polynomial = TrigonometricPolynomial(reduced)
    noise = polynomial.rounding + dropped
    tolerance = max(tolerance, 4.0 * noise)
    # theta -> lattice @ theta maps the torus onto the reduced one; particles are mapped along
    mapped = None if extra is None else extra @ lattice.T
    search = _Search(polynomial, noise, tolerance, max_boxes)
    search.run(mapped)
    argmin = np.mod(np.linalg.pinv(lattice.astype(np.float64)) @ search.argmin, 2.0 * np.pi)
    lower = min(search.lower, search.best - noise)
    gap = search.best - lower
    how = "branch and bound" if gap <= tolerance else f"branch and bound, stopped by max_boxes = {max_boxes}"
    if lattice.shape[0] < dim:
        how += f", on the {lattice.shape[0]} combination(s) of coordinates that matter"
    return Minimum(search.best, argmin, gap <= tolerance, lower, tolerance, search.work, how)


class _Search:
    """The state of one branch and bound: the best point, the bound of what was discarded, the open boxes."""

    def __init__(self, polynomial: TrigonometricPolynomial, noise: float, tolerance: float, max_boxes: int):
        self.polynomial = polynomial
        self.noise = noise
        # half of the tolerance for discarding, so that the noise of `best` itself fits into the rest
        self.margin = 0.5 * tolerance
        self.max_boxes = max_boxes
        self.best = np.inf
        self.argmin = np.zeros(polynomial.dim)
        self.lower = np.inf
        self.work = 0

    def run(self, starts: Array | None) -> None:
        polynomial, dim = self.polynomial, self.polynomial.dim
        if starts is not None and starts.size:
            at_starts = polynomial.value(starts)
            self.work += at_starts.size
            self._polish(starts[np.argsort(at_starts, kind="stable")[:POLISHED]])
        shape = self._first_shape()
        while True:
            centres, bound = self._sweep(shape)
            finer = tuple(2 * m for m in shape)
            # many survivors: points of a full grid are much cheaper than scattered ones
            if not polynomial.cheaper_on_grid(centres.shape[0] * 2**dim, math.prod(finer)):
                break
            if self.work + math.prod(finer) > self.max_boxes:
                break
            shape = finer
        width = np.pi / np.array(shape, dtype=np.float64)
        corner = np.array(list(product([-1.0, 1.0], repeat=dim)))
        for _ in range(MAX_LEVELS):
            centres, bound = self._affordable(centres, bound)
            if centres.shape[0] == 0:
                return
            width = 0.5 * width
            kept = []
            for first in range(0, centres.shape[0], CHUNK // 2**dim):
                rows = slice(first, first + CHUNK // 2**dim)
                children = (centres[rows, None, :] + corner * width).reshape(-1, dim)
                value, gradient, hessian = polynomial.derivatives(children)
                self.work += value.size
                if float(value.min()) < self.best:
                    self._improve(children, value)
                    self._polish(self.argmin[None, :])
                inherited = np.repeat(bound[rows], corner.shape[0])
                keep, sharper = self._bounds(value, gradient, hessian, inherited, width)
                kept.append(self._separate(children, keep, sharper))
            centres = np.concatenate([c for c, _ in kept])
            bound = np.concatenate([b for _, b in kept])
        self._retire(bound)

    def _sweep(self, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Bound all boxes of a regular grid, slab by slab; returns the open ones. Forgets earlier bounds."""
        polynomial = self.polynomial
        on_grid = polynomial.grid_values(shape)
        self.work += on_grid.size
        polynomial.note_supremum(on_grid, shape)
        lowest = np.argpartition(on_grid.ravel(), POLISHED - 1)[:POLISHED]
        axes = np.stack(np.unravel_index(np.sort(lowest), shape), axis=-1)
        self._polish((axes + 0.5) * (2.0 * np.pi / np.array(shape)) - np.pi)
        self.lower = np.inf
        width = np.pi / np.array(shape, dtype=np.float64)
        rows = max(1, CHUNK * shape[0] // on_grid.size)
        kept = []
        for first in range(0, shape[0], rows):
            centres, value, gradient, hessian = polynomial.grid_slab(shape, slice(first, first + rows))
            nothing_yet = np.full(centres.shape[0], -np.inf)
            keep, bound = self._bounds(value, gradient, hessian, nothing_yet, width)
            kept.append(self._separate(centres, keep, bound))
        return np.concatenate([c for c, _ in kept]), np.concatenate([b for _, b in kept])

    def _separate(self, centres: Array, keep: NDArray[np.bool_], bound: Array) -> tuple[Array, Array]:
        self._retire(bound[~keep])
        return centres[keep], bound[keep]

    def _retire(self, bound: Array) -> None:
        """Boxes that are not looked at again count with the bound they have."""
        if bound.size:
            self.lower = min(self.lower, float(bound.min()))

    def _affordable(self, centres: Array, bound: Array) -> tuple[Array, Array]:
        """The open boxes; if the work that is left does not suffice, those with the lowest bounds."""
        threshold = self.best - self.margin  # may have improved since they were bounded
        centres, bound = self._separate(centres, bound < threshold, bound)
        left = max(0, self.max_boxes - self.work) // 2**self.polynomial.dim
        if centres.shape[0] > left:
            order = np.argsort(bound, kind="stable")
            # half of what is left, so that the chosen ones can be split again
            chosen = order[: left // 2]
            self._retire(bound[order[left // 2 :]])
            centres, bound = centres[chosen], bound[chosen]
        return centres, bound

    def _first_shape(self) -> tuple[int, ...]:
        """Boxes a degree on each axis, fewer where that would be too many to start with."""
        degrees = np.array(self.polynomial.degrees)
        per_degree = min(
            {1: 32, 2: 12, 3: 8}[degrees.size], (FIRST_GRID / degrees.prod()) ** (1.0 / degrees.size)
        )
        # M. Riesz's lemma needs more than 2 N points on an axis
        return tuple(int(np.ceil(max(2.5 * n, per_degree * n, 8.0))) for n in degrees)

    def _bounds(
        self, value: Array, gradient: Array, hessian: Array, inherited: Array, width: Array
    ) -> tuple[NDArray[np.bool_], Array]:
        """Lower bounds of T on the boxes, and which boxes stay open."""
        # centres carry a rounding error: boxes a little larger leave no gaps between them
        h = width * (1.0 + 1e-9) + 16.0 * np.finfo(float).eps
        rest = self.polynomial.third_order(h) + self.noise
        threshold = self.best - self.margin
        spread = np.abs(hessian) @ h
        bound = value - np.abs(gradient) @ h - 0.5 * (spread @ h) - rest
        bound = np.maximum(bound, inherited)
        undecided = np.flatnonzero(bound < threshold)
        if undecided.size:
            curvature, axes = np.linalg.eigh(hessian[undecided])
            slope = np.abs(np.einsum("bi,bij->bj", gradient[undecided], axes))
            reach = np.einsum("i,bij->bj", h, np.abs(axes))
            at_end = -slope * reach + 0.5 * curvature * reach**2
            valley = (curvature > 0.0) & (slope <= curvature * reach)
            inside = -0.5 * slope**2 / np.where(valley, curvature, 1.0)
            sharper = value[undecided] + np.where(valley, inside, at_end).sum(axis=1) - rest
            bound[undecided] = np.maximum(bound[undecided], sharper)
        return bound < threshold, bound

    def _improve(self, points: Array, value: Array) -> None:
        k = int(np.argmin(value))
        if value[k] < self.best:
            self.best, self.argmin = float(value[k]), points[k].copy()

    def _polish(self, points: Array) -> None:
        """Newton's method on the modulus of the Hessian, every point with its own damping; T never grows."""
        x = points.copy()
        value, gradient, hessian = self.polynomial.derivatives(x)
        self.work += value.size
        damping = np.ones(value.size)
        reach = 1.0 / max(self.polynomial.degrees)
        for _ in range(40):
            curvature, axes = np.linalg.eigh(hessian)
            # flat directions: any step that cannot overshoot the next wave
            floor = 1e-9 * np.abs(curvature).max(axis=1, keepdims=True) + np.finfo(float).tiny
            step = -np.einsum(
                "bij,bj->bi",
                axes,
                np.einsum("bi,bij->bj", gradient, axes) / np.maximum(np.abs(curvature), floor),
            )
            length = np.linalg.norm(step, axis=1)
            step *= (damping * np.minimum(1.0, reach / np.maximum(length, 1e-300)))[:, None]
            if float(np.abs(step).max()) < 1e-15:
                break
            trial = x + step
            trial_value, trial_gradient, trial_hessian = self.polynomial.derivatives(trial)
            self.work += value.size
            better = trial_value < value
            if not better.any() and float((damping * length).max()) < 1e-7:
                break
            x[better], value[better] = trial[better], trial_value[better]
            gradient[better], hessian[better] = trial_gradient[better], trial_hessian[better]
            damping = np.where(better, 1.0, 0.25 * damping)
        self._improve(x, value)


def _checked(coefficients: Any) -> NDArray[np.complex128]:
    """The coefficients as a Hermitian complex array, or a refusal."""
    try:
        c = np.array(coefficients, dtype=np.complex128)
    except (TypeError, ValueError):
        raise InputError("coefficients must be an array of complex numbers") from None
    if not 1 <= c.ndim <= 3 or any(n % 2 == 0 for n in c.shape):
        raise InputError(
            f"coefficients must have one to three axes of odd extents 2 N + 1 (frequencies -N..N), not shape {c.shape}"
        )
    if not np.isfinite(c).all():
        raise InputError("coefficients hold NaN or infinite values")
    mirrored = c[(slice(None, None, -1),) * c.ndim].conj()
    if np.abs(c - mirrored).max() > 1e-12 * np.abs(c).sum():
        raise InputError("coefficients must be Hermitian, c[-k] = conj(c[k]), so that the polynomial is real")
    return 0.5 * (c + mirrored)

"""Inputs of the theorem on deep networks: length 1, a constant last coordinate, no two closer than delta."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from solvers import _check
from solvers._memory import fits
from solvers._rng import generator
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array
from solvers.spaces import unit_directions

# Proposals for each point, rounds of pushing, and pairs in all of them, before a distance counts as out of reach.
PROPOSALS, ROUNDS, PAIRS = 512, 4000, 40_000_000
# More points than these are not pushed: a hundred rounds over their pairs are minutes.
MOST = 4000
# Part of the largest possible distance that is left to chance and to rounding.
SPARE = 1e-9
# Numbers held at once of the distances between all points.
BLOCK = 2_000_000


def unit_inputs(X: Any, channels: bool = False) -> Array:
    """``(x / (root 2 |x|), 1/root 2)``: inputs of length 1 whose last coordinate is constant, a network's bias.

    Parameters
    ----------
    X : array_like, (n, d)
        Rows other than 0.
    channels : bool
        For convolutions: the constant is a second channel at each of the d places, ``1/root(2 d)`` there, so that every
        patch holds one. The rows are those of images (d, 2), the channel running fastest.

    Returns
    -------
    ndarray, (n, d + 1) or (n, 2 d)

    Raises
    ------
    InputError

    References
    ----------
    Allen-Zhu, Li, Song, 2019, arXiv 1811.03962 (the normalization, as remembered; channels are this library's).
    """
    rows = _check.array(X, "X", ndim=2)
    # divided by the largest first: the squares of large or tiny entries leave the numbers
    size = np.abs(rows).max(axis=1)
    if (size == 0.0).any():
        raise InputError(
            f"row {int(np.argmin(size))} of X is 0, which has no direction: remove it, or add a constant column"
        )
    scaled = rows / size[:, None]
    scaled /= math.sqrt(2.0) * np.linalg.norm(scaled, axis=1)[:, None]
    n, d = rows.shape
    if channels:
        return np.stack([scaled, np.full((n, d), math.sqrt(0.5 / d))], axis=2).reshape(n, 2 * d)
    return np.column_stack([scaled, np.full(n, math.sqrt(0.5))])


def separation(X: Any) -> float:
    """``delta = min_{i != j} |x_i - x_j|``, the smallest distance between two rows; 0 where two coincide.

    Parameters
    ----------
    X : array_like, (n, ...)
        Two points at least, of any shape.

    Raises
    ------
    InputError
    """
    from scipy.spatial.distance import cdist

    points = _check.array(X, "X")
    if points.ndim < 2 or len(points) < 2:
        raise InputError(f"X must hold two points at least, as rows, but its shape is {points.shape}")
    rows = points.reshape(len(points), -1)
    # by a power of two, which rounds nothing: the squares of large or tiny entries leave the numbers
    scale = int(np.frexp(max(rows.max(), -rows.min()))[1])
    rows = np.ldexp(rows, -scale)
    size, least = max(1, BLOCK // len(rows)), math.inf
    for low in range(0, len(rows) - 1, size):
        block = cdist(rows[low : low + size], rows[low:])
        high, wide = block.shape
        block[np.tril_indices(high, 0, wide)] = math.inf
        least = min(least, float(block.min()))
    return float(np.ldexp(least, scale))


def separation_bound(n: int, d: int) -> float:
    """No n points of length 1 in R^d with last coordinate 1/root 2 are farther apart than this.

    They lie on a sphere of radius 1/root 2 in R^(d-1), where

    - ``root(n/(n-1))`` for n <= d, that of a regular simplex, and 1 for d < n <= 2(d-1) are reached (Rankin);
    - ``min(1, root(2 s))`` else, ``I_s((d-2)/2, 1/2) = 2/n``, I the regularized incomplete beta function: n caps of
      half the angle do not overlap. For d = 3 this is ``root 2 sin(pi/n)`` and reached, for d > 3 it is not.

    Parameters
    ----------
    n : int
        Points.
    d : int
        Coordinates, the constant one counted.

    Returns
    -------
    float
        inf for one point; 0 where d = 2 and n > 2.

    References
    ----------
    Rankin, 1955, The closest packing of spherical caps in n dimensions.
    """
    n = _check.number(n, "n", positive=True, integer=True)
    d = _check.number(d, "d", positive=True, integer=True)
    if d < 2:
        raise InputError("d must be at least 2: the last coordinate is constant, so that one is left")
    if n == 1:
        return math.inf
    if n <= d:
        return math.sqrt(n / (n - 1.0))
    if n <= 2 * (d - 1):
        return 1.0
    if d == 2:
        return 0.0
    from scipy.special import betaincinv

    return min(1.0, math.sqrt(2.0 * float(betaincinv(0.5 * (d - 2), 0.5, 2.0 / n))))


def separated(
    n: int, d: int, delta: float | None = None, labels: Any = "signs", rng: Any = 0
) -> tuple[Array, Array]:
    """n random points of length 1 with last coordinate 1/root 2 and ``|x_i - x_j| >= delta``, with random labels.

    Points come one after the other, uniform where there is room. Where no room is found, all are pushed apart until
    they keep their distance, and are no longer uniform.

    Parameters
    ----------
    n : int
    d : int
        Coordinates, the constant one counted; 2 at least.
    delta : float, optional
        Smallest distance; none is asked for by default, and `separation` says what came out.
    labels : {"signs", "gaussian"} or int
        -1 and 1; N(0, 1), for regression; or the number of classes 0, 1, ..., as many of each as there can be (of signs
        too). They have nothing to do with the points: to fit them is to memorize.
    rng : int, SeedSequence or Generator
        An integer draws points and labels from streams of their own.

    Returns
    -------
    X : ndarray, (n, d)
    y : ndarray, (n,)

    Raises
    ------
    InputError
        Where no points can be as far apart (`separation_bound`), or none were found.

    References
    ----------
    Allen-Zhu, Li, Song, 2019, arXiv 1811.03962 (the assumption on data, as remembered).

    Examples
    --------
    >>> import meanfield as mf
    >>> X, y = mf.data.separated(20, 10, delta=0.5, rng=0)
    >>> mf.data.separation(X) >= 0.5, sorted(set(y))
    (True, [np.float64(-1.0), np.float64(1.0)])
    """
    n = _check.number(n, "n", positive=True, integer=True)
    bound = separation_bound(n, d)
    least = 0.0 if delta is None else float(_check.number(delta, "delta", nonnegative=True))
    kind = _labels(n, labels)
    if n == 1:
        least = 0.0  # no pair is closer than anything
    if least > bound:
        raise InputError(
            f"delta={least:g} is too large for {n} points in {d} coordinates: none are farther apart than {bound:.4g}; "
            "take fewer points or more coordinates"
        )
    if least > bound * (1.0 - SPARE):
        raise InputError(
            f"delta={least:g} is the largest distance that {n} points in {d} coordinates could have, and leaves "
            f"nothing to draw at random; take a little less, such as delta={0.999 * bound:.4g}"
        )
    if not fits(32.0 * n * d):
        raise InputError(f"n={n} points in d={d} coordinates are larger than memory; take fewer of either")
    # the last digits are for rounding: what comes out keeps the distance
    apart = math.sqrt(2.0) * least * (1.0 + 1e-12)
    points = _placed(n, int(d) - 1, apart, generator(rng, "data"))
    if points is None:
        raise InputError(
            f"delta={least:g} was not reached by pushing {n} random points in {d} coordinates apart (none are farther "
            f"apart than {bound:.4g}); take a smaller delta, fewer points, more coordinates or another rng"
        )
    X = np.column_stack([math.sqrt(0.5) * points, np.full(n, math.sqrt(0.5))])
    draw = generator(rng, "labels")
    if kind == "gaussian":
        return X, draw.standard_normal(n)
    if kind == "signs":
        return X, np.asarray(2.0 * draw.permutation(np.arange(n) % 2) - 1.0)
    return X, draw.permutation(np.arange(n) % kind).astype(np.float64)


def _labels(n: int, labels: Any) -> Any:
    """ "signs", "gaussian" or the number of classes, or one sentence."""
    if isinstance(labels, str):
        return _check.choice(labels, "labels", ("signs", "gaussian"))
    k = _check.number(labels, "labels ('signs', 'gaussian' or the number of classes)", integer=True)
    if not 2 <= k <= n:
        raise InputError(f"labels={k} classes must be 2 at least and no more than the points, n={n}")
    return k


@one_blas_thread()
def _placed(n: int, k: int, apart: float, draw: np.random.Generator) -> Array | None:
    """n directions of R^k with distances of `apart` at least, or None."""
    points = unit_directions(n, k, draw)
    if apart == 0.0:
        return points
    limit = 1.0 - 0.5 * apart**2  # of the product of two of them
    for i in range(1, n):
        if (points[:i] @ points[i]).max() > limit:
            proposed = unit_directions(PROPOSALS, k, draw)
            free = np.flatnonzero((proposed @ points[:i].T).max(axis=1) <= limit)
            if free.size == 0:
                return _pushed(points, apart)
            points[i] = proposed[free[0]]
    return points


def _pushed(points: Array, apart: float) -> Array | None:
    """The points moved off those that are too close, again and again, or None where they do not come apart."""
    # Pushes fade out as pairs come apart: with nothing to spare the distance would only be reached in the limit.
    aim, n = apart * 1.001, len(points)
    if n > MOST:
        raise InputError(
            f"delta={apart / math.sqrt(2.0):g} leaves no room to draw n={n} points one after the other, and at most "
            f"{MOST} are pushed apart; take a smaller delta, fewer points or more coordinates"
        )
    for _ in range(min(ROUNDS, max(100, PAIRS // n**2))):
        square = 2.0 - 2.0 * (points @ points.T)
        np.fill_diagonal(square, 4.0)
        gaps = np.sqrt(np.maximum(square, 1e-12))
        if gaps.min() >= apart:
            return points
        push = np.maximum(aim / gaps - 1.0, 0.0)
        points = points + 0.5 * (push.sum(axis=1)[:, None] * points - push @ points)
        points /= np.linalg.norm(points, axis=1)[:, None]
    return None

"""Optimal transport between particle measures: exact on the line, exact in R^p by linear programming, sliced.

``W_p(mu, nu) = (inf_pi int |x - y|^p dpi(x, y))^(1/p)`` over couplings pi of mu and nu: the distance, never
its p-th power. Measures of any common mass are accepted; mass M scales W_p by M^(1/p).

Each function takes `ParticleMeasure` objects or arrays of positions, (m,) or (m, dim), with weights in
``mu_weights`` and ``nu_weights`` (1/m each by default).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array
from solvers.spaces import Euclidean, unit_directions

# Weights are sums of hundreds of updates in a long run; masses that agree to this are one mass, rounded.
_SAME_MASS = 1e-9
_MEBIBYTE = 2**20


def wasserstein_1d(
    mu: Any, nu: Any, p: float = 2, *, mu_weights: Any = None, nu_weights: Any = None
) -> float:
    """``W_p = (int_0^M |F_mu^{-1}(u) - F_nu^{-1}(u)|^p du)^(1/p)`` on the line, exact, by sorting.

    Parameters
    ----------
    mu, nu : ParticleMeasure of dimension 1, or array_like (m,)
        Their numbers of particles may differ.
    p : float
        At least 1; in the unit of the positions, W_p is a length when the mass is 1.
    mu_weights, nu_weights : array_like, (m,), optional
        Non-negative masses of the particles of arrays.

    Returns
    -------
    float

    Raises
    ------
    InputError
        Positions off the line, negative or NaN weights, signed measures, masses that differ.

    Notes
    -----
    Equal weights and equal numbers cost two sorts and a mean (2 ms at m = 1e5); otherwise the two cumulative
    weights are merged. The answer does not depend on the order of the particles beyond rounding.
    """
    p = _exponent(p)
    (x, a), (y, b), mass = _pair(mu, nu, mu_weights, nu_weights)
    if x.shape[1] != 1:
        raise InputError(
            f"wasserstein_1d needs positions on the line, but they have {x.shape[1]} coordinates; "
            "use wasserstein or sliced_wasserstein"
        )
    return float((mass * _line_cost(x[:, 0], a, y[:, 0], b, p)) ** (1.0 / p))


def wasserstein(
    mu: Any,
    nu: Any,
    p: float = 2,
    *,
    space: Any = None,
    mu_weights: Any = None,
    nu_weights: Any = None,
    memory: float = 512 * _MEBIBYTE,
    iterations: int = 10**7,
) -> float:
    """``W_p = (min_P sum_jk P_jk distance(x_j, y_k)^p)^(1/p)``, P >= 0 with the weights as marginals: exact.

    Parameters
    ----------
    mu, nu : ParticleMeasure or array_like, (m, dim) and (k, dim)
    p : float
        At least 1.
    space : Space, optional
        Its `distance` is used (`solvers.Torus`, `solvers.Sphere`); Euclidean by default.
    mu_weights, nu_weights : array_like, optional
        Non-negative masses of the particles of arrays.
    memory : float
        Bytes allowed for the dense cost matrix, 8 m k (default 512 MiB: m = k = 8191). With unequal weights
        the network simplex peaks at about five times that (measured).
    iterations : int
        Pivots allowed to the network simplex.

    Returns
    -------
    float

    Raises
    ------
    InputError
        The cost matrix would exceed `memory`; dimensions or masses differ; weights negative or NaN; signs.
    RuntimeError
        The linear program was not solved; no value is returned in its place.

    Notes ----- On the line: `wasserstein_1d`. Equal weights and equal numbers: an assignment problem (the
    shortest augmenting paths of Crouse, 2016, in SciPy; 0.08 s at m = 1000, 0.4 s at 2000 in the plane).
    Otherwise the network simplex of Bonneel et al. (2011) in POT, ``ot.emd2``. Particles of weight zero are
    left out."""
    p = _exponent(p)
    (x, a), (y, b), mass = _pair(mu, nu, mu_weights, nu_weights)
    flat = space is None or isinstance(space, Euclidean)
    if space is not None and space.dim != x.shape[1]:
        raise InputError(f"positions have {x.shape[1]} coordinates, but {space!r} has dimension {space.dim}")
    if flat and x.shape[1] == 1:
        return float((mass * _line_cost(x[:, 0], a, y[:, 0], b, p)) ** (1.0 / p))
    x, a = _carried(x, a)
    y, b = _carried(y, b)
    needed = 8.0 * len(x) * len(y)
    if needed > memory:
        raise InputError(
            f"the cost matrix of {len(x)} x {len(y)} particles needs {needed / _MEBIBYTE:.0f} MiB, more than "
            f"the {memory / _MEBIBYTE:.0f} MiB that memory= allows; use sliced_wasserstein, or subsample the "
            "measures"
        )
    cost = _costs(x, y, p, None if flat else space)
    if a is None and b is None and len(x) == len(y):
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(cost)
        return float((mass * np.mean(cost[rows, columns])) ** (1.0 / p))
    return float(
        (mass * _network_simplex(_dense(a, len(x)), _dense(b, len(y)), cost, iterations)) ** (1.0 / p)
    )


def sliced_wasserstein(
    mu: Any,
    nu: Any,
    p: float = 2,
    *,
    directions: Any = 100,
    rng: Any = 0,
    mu_weights: Any = None,
    nu_weights: Any = None,
) -> float:
    """``SW_p = (mean_u W_p^p(<u, .>_# mu, <u, .>_# nu))^(1/p)`` over directions u of the unit sphere.

    Parameters
    ----------
    mu, nu : ParticleMeasure or array_like, (m, dim) and (k, dim)
        Positions in Euclidean space.
    p : float
        At least 1.
    directions : int or array_like, (k, dim)
        How many independent uniform directions, or the directions themselves (normalized here), so that many
        pairs can be compared along the same ones.
    rng : int, SeedSequence or Generator
        Draws the directions; the same integer gives the same ones.
    mu_weights, nu_weights : array_like, optional
        Non-negative masses of the particles of arrays.

    Returns
    -------
    float
        A Monte-Carlo value over directions, exact along each. In R^dim a shift by v gives |v|/sqrt(dim) for p
        = 2.

    References
    ----------
    Bonneel, Rabin, Peyre, Pfister, 2015.
    """
    p = _exponent(p)
    (x, a), (y, b), mass = _pair(mu, nu, mu_weights, nu_weights)
    dim = x.shape[1]
    if np.ndim(directions) == 0:
        count = _check.number(directions, "directions", positive=True, integer=True)
        lines = unit_directions(count, dim, generator(rng, "transport"))
    else:
        lines = _check.array(directions, "directions", shape=(None, dim))
        norms = np.sqrt(np.sum(lines * lines, axis=1, keepdims=True))
        if not (norms > 0).all():
            raise InputError("directions must be non-zero vectors")
        lines = lines / norms
    # einsum rather than BLAS: the bits of a projection do not depend on the number of threads
    costs = [
        _line_cost(np.einsum("ij,j->i", x, line), a, np.einsum("ij,j->i", y, line), b, p) for line in lines
    ]
    return float((mass * np.mean(costs)) ** (1.0 / p))


def _exponent(p: Any) -> float:
    value = float(_check.number(p, "p"))
    if value < 1.0:
        raise InputError(f"p must be at least 1, not {p}: below 1 the cost is no distance")
    return value


def _particles(measure: Any, weights: Any, name: str) -> tuple[Array, Array | None, float]:
    """Positions (m, dim), shares that sum to 1 (None: equal ones), mass."""
    if hasattr(measure, "positions") and hasattr(measure, "weights"):
        if weights is not None:
            raise InputError(f"{name} is a measure and has weights of its own; drop {name}_weights")
        signs = getattr(measure, "signs", None)
        if signs is not None and not (np.asarray(signs) > 0).all():
            raise InputError(
                f"{name} is a signed measure, and transport needs non-negative ones; "
                "compare the parts of each sign, or put the sign in a coordinate"
            )
        positions, weights = measure.positions, measure.weights
    else:
        positions = measure
    x = _check.array(positions, name, ndim=(1, 2))
    x = x[:, None] if x.ndim == 1 else x
    if weights is None:
        return x, None, 1.0
    w = _check.array(weights, f"{name}_weights", shape=(len(x),))
    if (w < 0.0).any():
        worst = int(np.argmin(w))
        raise InputError(f"{name}_weights must be non-negative, but entry {worst} is {w[worst]:g}")
    mass = float(np.sum(w))
    if mass == 0.0:
        raise InputError(f"{name} has mass 0; transport needs a positive mass")
    return x, None if (w == w[0]).all() else w / mass, mass


def _pair(
    mu: Any, nu: Any, mu_weights: Any, nu_weights: Any
) -> tuple[tuple[Array, Array | None], tuple[Array, Array | None], float]:
    x, a, mass = _particles(mu, mu_weights, "mu")
    y, b, other = _particles(nu, nu_weights, "nu")
    if x.shape[1] != y.shape[1]:
        raise InputError(
            f"mu has {x.shape[1]} coordinates a particle and nu has {y.shape[1]}; they must agree"
        )
    if abs(mass - other) > _SAME_MASS * max(mass, other):
        raise InputError(
            f"mu has mass {mass:.10g} and nu has mass {other:.10g}; transport needs equal masses "
            "(normalize both, or compare them by another distance)"
        )
    return (x, a), (y, b), mass


def _line_cost(x: Array, a: Array | None, y: Array, b: Array | None, p: float) -> float:
    """W_p^p between probability measures on the line; a, b sum to 1 (None: equal weights)."""
    if a is None and b is None and len(x) == len(y):
        return float(np.mean(_power(np.sort(x) - np.sort(y), p)))
    x, ends_x = _quantiles(x, a)
    y, ends_y = _quantiles(y, b)
    levels = np.sort(np.concatenate([ends_x, ends_y]))
    # the quantile function is x[i] on (ends[i-1], ends[i]]; both end at exactly 1, so no index runs over
    gap = x[np.searchsorted(ends_x, levels)] - y[np.searchsorted(ends_y, levels)]
    return float(np.sum(np.diff(levels, prepend=0.0) * _power(gap, p)))


def _quantiles(x: Array, a: Array | None) -> tuple[Array, Array]:
    """Sorted positions, and the level at which each one's interval of quantiles ends."""
    m = len(x)
    if a is None:
        return np.sort(x), np.arange(1, m + 1) / m
    order = np.argsort(x, kind="stable")
    ends = np.cumsum(a[order])
    ends = np.minimum(ends / ends[-1], 1.0)
    return x[order], ends


def _power(gap: Array, p: float) -> Array:
    if p == 2.0:
        return gap * gap
    size = np.abs(gap)
    return size if p == 1.0 else np.asarray(size**p)


def _carried(x: Array, a: Array | None) -> tuple[Array, Array | None]:
    """Only the particles that carry mass; equal weights become None."""
    if a is None:
        return x, None
    kept = a > 0.0
    x, a = x[kept], a[kept]
    return x, None if (a == a[0]).all() else a


def _dense(a: Array | None, m: int) -> Array:
    return np.full(m, 1.0 / m) if a is None else a


def _costs(x: Array, y: Array, p: float, space: Any) -> Array:
    """distance(x_j, y_k)^p, (m, k)."""
    if space is None:
        from scipy.spatial.distance import cdist

        if p == 2.0:
            return np.asarray(cdist(x, y, "sqeuclidean"))
        return _power(np.asarray(cdist(x, y)), p)
    cost = np.empty((len(x), len(y)))
    for j, point in enumerate(x):  # by rows: the (m, k, dim) array of differences is never made
        cost[j] = _power(np.asarray(space.distance(point, y)), p)
    return cost


def _network_simplex(a: Array, b: Array, cost: Array, iterations: int) -> float:
    """The value of the transport problem for marginals that sum to 1."""
    import ot

    iterations = _check.number(iterations, "iterations", positive=True, integer=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what it would warn of is raised below
        value, log = ot.emd2(a / a.sum(), b / b.sum(), cost, numItermax=iterations, log=True)
    if log["warning"] is not None or not np.isfinite(value):
        raise RuntimeError(
            f"POT did not solve the transport problem of {len(a)} x {len(b)} particles: {log['warning']}; "
            f"raise iterations= (now {iterations}), or use sliced_wasserstein"
        )
    return float(value)

"""Frozen features: the one case in which fluctuations at all times are known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from meanfield.diagnostics._fluctuations.rows import Fluctuations, over_points
from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

# Modes of the kernel below this share of its largest are rounding: no feature sees them.
NULL = 1e-13


def frozen_features(
    features: Any, y: Any, times: Any, ridge: float = 0.0, features_test: Any = None
) -> Fluctuations:
    r"""m Var f for ``f = (1/m) sum_j c_j phi(w_j; x)`` with w_j drawn once, c_j trained from 0: exact in time.

    For ``F = 1/(2n) |f - y|^2 + (ridge/2) mean_j c_j^2`` and ``K = E phi phi'`` on the data

        f_t = K (K + n lam)^-1 (I - e^(-R t)) y,    R = K/n + lam,
        gbar_t = w_K (K + n lam)^-1 (I - e^(-R t)) y,    w_K = lim sqrt(m) (K_m - K),
        g_t = gbar_t - (K/n) int_0^t e^(-R (t - s)) gbar_s ds,

    so that ``g_inf = n lam (K + n lam)^-1 gbar_inf``: 0 without a ridge, where f interpolates.

    Parameters
    ----------
    features : array_like, (M, n)
        phi(w; x_i) for many w, whose empirical law is taken for the law of w.
    y : array_like, (n,)
    times : array_like, (s,)
        Non-negative; inf for the limit.
    ridge : float
        lam.
    features_test : array_like, (M, points), optional
        The same w at other points, where the variance is wanted; the data by default.

    Returns
    -------
    Fluctuations
        `bound` is the variance of gbar: that of resampling.

    Raises
    ------
    InputError

    Examples
    --------
    >>> import numpy as np, meanfield as mf
    >>> phi = np.maximum(np.random.default_rng(0).standard_normal((1000, 3)), 0.0)
    >>> rows = mf.fluctuations.frozen_features(phi, [1.0, 0.0, -1.0], [1.0, np.inf])
    >>> float(rows.average[1])
    0.0
    """
    phi = _check.array(features, "features", ndim=2)
    M, n = phi.shape
    labels = _check.array(y, "y", shape=(n,))
    lam = _check.number(ridge, "ridge", nonnegative=True)
    moments = np.unique(_check.array(times, "times", ndim=(0, 1), finite=False))
    if np.isnan(moments).any() or moments[0] < 0.0:
        raise InputError(f"times must be non-negative numbers (inf is allowed), not {times!r}")
    test = phi if features_test is None else _check.array(features_test, "features_test", shape=(M, None))
    with one_blas_thread():
        values, vectors = np.linalg.eigh(phi.T @ phi / M)
        seen = values > NULL * values[-1]
        s, V = values[seen], vectors[:, seen]
        modes, target = phi @ V, V.T @ labels
        cross = test.T @ phi @ V / M
        rows: dict[str, list[Array]] = {"mean": [], "variance": [], "bound": []}
        for t in moments:
            grown, twice = _integrals(s / n + lam, float(t))
            c = modes @ (grown * target / n)
            gbar = test * c[:, None]
            # u = int e^(-R (t - s)) gbar_s ds for the weight of each w, in the modes of K
            u = modes * ((modes * target) @ (twice.T / n))
            g = gbar - u @ cross.T / n
            if features_test is None:
                # modes that the ridge and time have not let go: gbar less its own image, without cancellation
                g = (modes * ((modes * target) @ _left(s, n, lam, float(t), grown, twice).T / n)) @ V.T
            rows["mean"].append(gbar.mean(axis=0))
            rows["bound"].append(gbar.var(axis=0))
            rows["variance"].append(g.var(axis=0))
    variance = np.array(rows["variance"])
    average = over_points(variance)
    return Fluctuations(
        kind="exact",
        t=moments,
        X=None,
        mean=np.array(rows["mean"]),
        variance=variance,
        low=variance,
        high=variance,
        average=average,
        average_low=average,
        average_high=average,
        bound=np.array(rows["bound"]),
        settings={"features": f"{M} of them, frozen", "ridge": f"{lam:g}"},
    )


def _integrals(r: Array, t: float) -> tuple[Array, Array]:
    """``E_j = int_0^t e^(-r_j s) ds`` and ``int_0^t e^(-r_i (t - s)) E_j(s) ds``, (k,) and (k, k)."""
    if np.isinf(t):
        return 1.0 / r, 1.0 / np.outer(r, r)
    grown = -np.expm1(-r * t) / r
    gap = r[:, None] - r
    low = np.minimum(r[:, None], r)
    # (e^(-r_j t) - e^(-r_i t))/(r_i - r_j), symmetric
    size = np.abs(gap)
    ratio = np.divide(-np.expm1(-size * t), size, out=np.full_like(size, t), where=size * t > 1e-12)
    both = np.exp(-low * t) * ratio
    return grown, (grown[:, None] - both) / r


def _left(s: Array, n: int, lam: float, t: float, grown: Array, twice: Array) -> Array:
    """``E_j - (s_i/n) int e^(-r_i (t - s)) E_j ds``: with t = inf and no ridge exactly 0."""
    if np.isinf(t):
        r = s / n + lam
        return np.asarray(lam / np.outer(r, r))
    return np.asarray(grown - (s / n)[:, None] * twice)

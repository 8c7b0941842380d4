"""Published classification and interpolation problems: clusters, isotropic Gaussians, four points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array


def cluster_labels(k: int = 3, rng: Any = 0) -> Array:
    """Balanced random labels of the k^2 clusters: floor(k^2/2) of them -1, the others 1; shape (k^2,).

    Parameters
    ----------
    k : int
        Clusters along each axis.
    rng : int, SeedSequence or Generator
    """
    k = _check.number(k, "k", positive=True, integer=True)
    labels = np.ones(k * k)
    labels[generator(rng, "clusters").permutation(k * k)[: k * k // 2]] = -1.0
    return labels


def clusters(
    n: int, d: int = 3, k: int = 3, rng: Any = 0, *, labels: Any = None, return_labels: bool = False
) -> Any:
    """Two classes in k^2 clusters of the plane, hidden in noise: ``x = (1, x_1, x_2, noise)``, y = +-1.

    With Delta = 1/(3k - 1): cluster (i, j) has its centre at (-1/2 + Delta (1 + 3i), -1/2 + Delta (1 + 3j)),
    i, j = 0, ..., k-1; an example picks a cluster uniformly, then adds a vector of length uniform on [0,
    Delta] at a uniform angle. The d - 3 further coordinates are uniform on [-1/2, 1/2]. The first coordinate
    is the bias feature 1.

    Parameters
    ----------
    n : int
    d : int
        Coordinates, at least 3, the constant one counted.
    k : int
        Clusters along each axis.
    rng : int, SeedSequence or Generator
        An integer draws labels of clusters and examples from streams of their own.
    labels : array_like, (k^2,), optional
        +-1 for each cluster, (i, j) at i + k j: pass those of the training data for test data.
    return_labels : bool

    Returns
    -------
    X : ndarray, (n, d)
    y : ndarray, (n,)
    labels : ndarray, (k^2,)
        If `return_labels`.

    References
    ----------
    Chizat, Bach, 2020, arXiv 2002.04486, section 5 (distribution as in the authors' code).
    """
    n = _check.number(n, "n", positive=True, integer=True)
    k = _check.number(k, "k", positive=True, integer=True)
    d = _check.number(d, "d", positive=True, integer=True)
    if d < 3:
        raise InputError(f"clusters need d >= 3 (a constant and two signal coordinates), not {d}")
    if labels is None:
        signs = cluster_labels(k, rng)
    else:
        signs = _check.array(labels, "labels", shape=(k * k,))
        if not (np.abs(signs) == 1.0).all():
            raise InputError("labels must be -1 or 1 for every cluster")
    draw = generator(rng, "data")
    spacing = 1.0 / (3 * k - 1)
    chosen = draw.integers(0, k * k, n)
    angle = 2.0 * np.pi * draw.random(n)
    radius = spacing * draw.random(n)
    X = np.empty((n, d))
    X[:, 0] = 1.0
    X[:, 1] = spacing * (1 + 3 * (chosen % k)) - 0.5 + radius * np.cos(angle)
    X[:, 2] = spacing * (1 + 3 * (chosen // k)) - 0.5 + radius * np.sin(angle)
    X[:, 3:] = draw.random((n, d - 3)) - 0.5
    y = signs[chosen]
    return (X, y, signs) if return_labels else (X, y)


@dataclass(frozen=True)
class GaussianSampler:
    """Fresh isotropic Gaussians: ``X, y = sampler(generator, size)``; d, separation as of `isotropic_gaussians`."""

    d: int
    separation: float = 0.8

    def __post_init__(self) -> None:
        _check.number(self.d, "d", positive=True, integer=True)
        if not 0.0 <= _check.number(self.separation, "separation") < 1.0:
            raise InputError(f"separation must lie in [0, 1), not {self.separation}")

    def __call__(self, rng: Any, size: int) -> tuple[Array, Array]:
        """`size` new examples: X (size, d) and y (size,)."""
        size = _check.number(size, "size", positive=True, integer=True)
        draw = generator(rng, "data")
        y = np.where(draw.random(size) < 0.5, -1.0, 1.0)
        X = (1.0 + self.separation * y)[:, None] * draw.standard_normal((size, self.d))
        return X, y

    def describe(self) -> dict[str, Any]:
        """The settings, for provenance."""
        return {"data": "isotropic Gaussians", "d": self.d, "separation": self.separation}


def isotropic_gaussians(n: int, d: int, separation: float = 0.8, rng: Any = 0) -> tuple[Array, Array]:
    """Two concentric classes: y = +-1 with probability 1/2, ``x | y ~ N(0, (1 + y Delta)^2 I_d)``.

    Parameters
    ----------
    n, d : int
    separation : float
        Delta in [0, 1).
    rng : int, SeedSequence or Generator

    Returns
    -------
    X : ndarray, (n, d)
    y : ndarray, (n,)
        `GaussianSampler` gives fresh ones.

    References
    ----------
    Mei, Montanari, Nguyen, 2018, arXiv 1804.06561.
    """
    n = _check.number(n, "n", positive=True, integer=True)
    return GaussianSampler(d, separation)(rng, n)


def four_points(bias_feature: bool = False) -> tuple[Array, Array]:
    """The interpolation problem (x, y) = (-1, -1), (-1/16, 1/2), (1/16, -1/2), (1, 1).

    Parameters
    ----------
    bias_feature : bool
        Append a column of ones, for networks without a bias of their own.

    Returns
    -------
    X : ndarray, (4, 1) or (4, 2)
    y : ndarray, (4,)
    """
    x = np.array([-1.0, -1.0 / 16, 1.0 / 16, 1.0])
    y = np.array([-1.0, 0.5, -0.5, 1.0])
    return (np.column_stack([x, np.ones(4)]) if bias_feature else x[:, None]), y

"""Where particles live: Euclidean space, the flat torus, the sphere. Sample, wrap, project, measure distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array

SAMPLING = ("random", "sobol", "equispaced")


def standard_normal(m: int, dim: int, rng: np.random.Generator, method: str = "random") -> Array:
    """m standard normal points of R^dim: independent, or scrambled Sobol mapped through the normal quantile."""
    _check.choice(method, "method", ("random", "sobol"))
    if method == "random":
        return rng.standard_normal((m, dim))
    from scipy.special import ndtri

    return np.ascontiguousarray(ndtri(_sobol(m, dim, rng)))


def _sobol(m: int, dim: int, rng: np.random.Generator) -> Array:
    """m points of the scrambled Sobol sequence in the open unit cube."""
    from scipy.stats import qmc

    # A power of two is drawn (its balance is Sobol's point), the first m are kept: a prefix is itself Sobol.
    points = qmc.Sobol(dim, scramble=True, rng=rng).random_base2(max(0, int(m - 1).bit_length()))[:m]
    # Scrambled points may be 0 to rounding, where the normal quantile is infinite.
    tiny = 2.0**-53
    return np.asarray(np.clip(points, tiny, 1 - tiny), dtype=np.float64)


def unit_directions(m: int, dim: int, rng: np.random.Generator, method: str = "random") -> Array:
    """m directions on the unit sphere of R^dim: uniform, scrambled Sobol, or equispaced angles (dim <= 2)."""
    _check.choice(method, "method", SAMPLING)
    if method == "equispaced":
        if dim == 1:
            return np.where(np.arange(m) % 2 == 0, 1.0, -1.0)[:, None]
        if dim != 2:
            raise InputError(
                f"method='equispaced' needs directions in the plane, but there are {dim} coordinates; "
                "use method='sobol'"
            )
        # Cell-centred angles: no direction on a coordinate axis, where data often put their kinks.
        angles = 2 * np.pi * (np.arange(m) + 0.5) / m
        return np.column_stack([np.cos(angles), np.sin(angles)])
    points = standard_normal(m, dim, rng, method)
    norms = np.linalg.norm(points, axis=1, keepdims=True)
    norms[norms == 0] = 1.0
    return np.asarray(points / norms)


@dataclass(frozen=True)
class Euclidean:
    """R^dim with the distance ``|x - y|``.

    Parameters
    ----------
    dim : int
    """

    dim: int

    def __post_init__(self) -> None:
        _check.number(self.dim, "dim", positive=True, integer=True)

    def sample(
        self, kind: str, m: int, rng: Any, *, std: float = 1.0, mean: float = 0.0, method: str = "random"
    ) -> Array:
        """Draw m points: "gaussian" N(mean, std^2 I) or "sphere" (uniform on the sphere of radius `std`)."""
        draw = generator(rng, "measure")
        _check.choice(kind, "kind", ("gaussian", "sphere"))
        _check.number(std, "std", nonnegative=True)
        if kind == "gaussian":
            return np.asarray(mean + std * standard_normal(m, self.dim, draw, method))
        return np.asarray(mean + std * unit_directions(m, self.dim, draw, method))

    def wrap(self, positions: Array) -> Array:
        """Points as they are: nothing to wrap."""
        return positions

    def project(self, positions: Array) -> bool:
        """Retract in place after a step; Euclidean space never moves a point."""
        return False

    def tangent(self, positions: Array, vectors: Array) -> Array:
        """Project vectors on the tangent space: here the identity."""
        return vectors

    def distance(self, x: Array, y: Array) -> Array:
        """``|x - y|`` along the last axis."""
        return np.asarray(np.linalg.norm(np.asarray(x) - np.asarray(y), axis=-1))


@dataclass(frozen=True)
class Torus:
    """The flat torus ``(R / period Z)^dim``.

    Parameters
    ----------
    dim : int
    period : float
    """

    dim: int
    period: float = 1.0

    def __post_init__(self) -> None:
        _check.number(self.dim, "dim", positive=True, integer=True)
        _check.number(self.period, "period", positive=True)

    def sample(self, kind: str, m: int, rng: Any, *, method: str = "random") -> Array:
        """Draw m points: "uniform" (independent or Sobol) or "grid" (cell centres; m must be k^dim)."""
        _check.choice(kind, "kind", ("uniform", "grid"))
        draw = generator(rng, "measure")
        if kind == "uniform":
            _check.choice(method, "method", ("random", "sobol"))
            unit = draw.random((m, self.dim)) if method == "random" else _sobol(m, self.dim, draw)
            return self.period * unit
        side = round(m ** (1 / self.dim))
        if side**self.dim != m:
            raise InputError(
                f"a grid on a torus of dimension {self.dim} needs width = k^{self.dim}; the nearest to {m} is "
                f"{max(side, 1) ** self.dim}"
            )
        axis = self.period * (np.arange(side) + 0.5) / side
        mesh = np.meshgrid(*[axis] * self.dim, indexing="ij")
        return np.stack(mesh, axis=-1).reshape(-1, self.dim)

    def wrap(self, positions: Array) -> Array:
        """Representatives in ``[0, period)``."""
        wrapped = np.mod(positions, self.period)
        # mod(-1e-20, 1.0) rounds to 1.0, which is outside the half-open cell.
        return np.where(wrapped >= self.period, 0.0, wrapped)

    def project(self, positions: Array) -> bool:
        """Nothing is moved: features are periodic, and unwrapped coordinates keep trajectories continuous."""
        return False

    def tangent(self, positions: Array, vectors: Array) -> Array:
        """Project vectors on the tangent space: here the identity."""
        return vectors

    def distance(self, x: Array, y: Array) -> Array:
        """Geodesic distance of x and y: the shortest of all representatives."""
        gap = np.abs(self.wrap(np.asarray(x) - np.asarray(y)))
        return np.asarray(np.linalg.norm(np.minimum(gap, self.period - gap), axis=-1))


@dataclass(frozen=True)
class Sphere:
    """The unit sphere ``{x in R^dim : |x| = 1}``; `dim` counts ambient coordinates.

    Parameters
    ----------
    dim : int
    """

    dim: int

    def __post_init__(self) -> None:
        _check.number(self.dim, "dim", positive=True, integer=True)

    def sample(self, kind: str, m: int, rng: Any, *, method: str = "random") -> Array:
        """Draw m unit vectors: "uniform" (also called "sphere"), by `method` random, sobol or equispaced."""
        _check.choice(kind, "kind", ("uniform", "sphere"))
        return unit_directions(m, self.dim, generator(rng, "measure"), method)

    def wrap(self, positions: Array) -> Array:
        """Points divided by their norm."""
        return np.asarray(positions / np.linalg.norm(positions, axis=-1, keepdims=True))

    def project(self, positions: Array) -> bool:
        """Retract in place to norm 1; always reports a change, as rounding differs in the last bit."""
        positions /= np.linalg.norm(positions, axis=-1, keepdims=True)
        return True

    def tangent(self, positions: Array, vectors: Array) -> Array:
        """``v - <v, x> x`` for vectors v at positions x on the sphere."""
        return np.asarray(vectors - np.sum(vectors * positions, axis=-1, keepdims=True) * positions)

    def distance(self, x: Array, y: Array) -> Array:
        """The angle between x and y, stable near 0 and pi."""
        x, y = np.asarray(x), np.asarray(y)
        return np.asarray(2 * np.arctan2(np.linalg.norm(x - y, axis=-1), np.linalg.norm(x + y, axis=-1)))

"""Regularizers V(theta) of one neuron: NamedTuples with vectorized ``value`` and ``gradient``.

``value(positions)`` maps (m, p) to (m,), ``gradient(positions)`` to (m, p). A regularizer that must know
which coordinates are outer weights has ``bind(network)``, called once by the objective.

Optional, for implicit methods: ``second(positions)``, the Hessian of V, a number (times the identity) or (m, p, p);
without it central differences of the gradient serve.

Optional, for runs that stay in compiled code: ``potential(theta)`` and ``push(theta, out)`` for one particle (p,),
written as plain loops; push adds the gradient to `out`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array


class NoRegularizer(NamedTuple):
    """``V = 0``; `strength` is there because a plug-in needs a field, and has no effect."""

    strength: float = 0.0

    def potential(self, theta: Array) -> float:
        """V(theta) of one particle, in compiled code."""
        return 0.0

    def push(self, theta: Array, out: Array) -> None:
        """out += grad V(theta), in compiled code."""

    def value(self, positions: Array) -> Array:
        return np.zeros(positions.shape[0])

    def gradient(self, positions: Array) -> Array:
        return np.zeros_like(positions)

    def second(self, positions: Array) -> float:
        return 0.0


class Ridge(NamedTuple):
    """``V(theta) = strength/2 |theta|^2`` over all coordinates, outer weight and bias included (weight decay)."""

    strength: float

    def potential(self, theta: Array) -> float:
        """V(theta) of one particle, in compiled code."""
        total = 0.0
        for k in range(theta.size):
            total += theta[k] * theta[k]
        return 0.5 * self.strength * total

    def push(self, theta: Array, out: Array) -> None:
        """out += grad V(theta), in compiled code."""
        for k in range(theta.size):
            out[k] += self.strength * theta[k]

    def value(self, positions: Array) -> Array:
        return np.asarray(0.5 * self.strength * np.einsum("ij,ij->i", positions, positions))

    def gradient(self, positions: Array) -> Array:
        return np.asarray(self.strength * positions)

    def second(self, positions: Array) -> float:
        return self.strength


class LayerRidge(NamedTuple):
    """``V(a, w, b) = a/2 |a|^2 + w/2 |w|^2 + b/2 b^2``: weight decay with a strength for each layer.

    Parameters
    ----------
    a, w, b : float
        Strengths, non-negative.
    outer, inner
        Where outer and inner weights end among the coordinates; `Objective` sets them.
    """

    a: float = 0.0
    w: float = 0.0
    b: float = 0.0
    outer: int = 1
    inner: int = 2

    def bind(self, network: Any) -> LayerRidge:
        """Learn the layers from the network's layout."""
        layout = getattr(network, "layout", None)
        if layout is None or "w" not in layout:
            raise InputError("LayerRidge needs a network with layers a, w, b (a TwoLayer); use Ridge instead")
        for name in ("a", "w", "b"):
            strength = _check.number(getattr(self, name), f"LayerRidge's {name}", nonnegative=True)
            if strength > 0 and name not in layout:
                raise InputError(
                    f"LayerRidge({name}={strength:g}) needs a layer {name}, but the network's layers are "
                    f"{', '.join(layout)}; leave {name} out"
                )
        start, stop = layout["w"]
        return self._replace(outer=start, inner=stop)

    def potential(self, theta: Array) -> float:
        """V(theta) of one particle, in compiled code."""
        total = 0.0
        for k in range(theta.size):
            strength = self.a if k < self.outer else self.w if k < self.inner else self.b
            total += 0.5 * strength * theta[k] * theta[k]
        return total

    def push(self, theta: Array, out: Array) -> None:
        """out += grad V(theta), in compiled code."""
        for k in range(theta.size):
            strength = self.a if k < self.outer else self.w if k < self.inner else self.b
            out[k] += strength * theta[k]

    def _strengths(self, dim: int) -> Array:
        strengths = np.full(dim, float(self.b))
        strengths[: self.inner] = self.w
        strengths[: self.outer] = self.a
        return strengths

    def value(self, positions: Array) -> Array:
        return np.asarray(0.5 * np.sum(positions * positions * self._strengths(positions.shape[1]), axis=1))

    def gradient(self, positions: Array) -> Array:
        return np.asarray(positions * self._strengths(positions.shape[1]))

    def second(self, positions: Array) -> Array:
        m, p = positions.shape
        return np.broadcast_to(np.diag(self._strengths(p)), (m, p, p)).copy()


class PathNorm(NamedTuple):
    """``V(theta) = strength |a| |(w, b)|``, the product of the norms of outer and inner weights.

    At the balance |a| = |(w, b)| it equals `Ridge` of the same strength, and it is never larger. The gradient
    is set to 0 in a factor whose norm is 0 (a subgradient).

    Parameters
    ----------
    strength : float
        Non-negative.
    outer, fixed
        How many coordinates are outer weights, or |a| where `TwoLayer` has it fixed; `Objective` sets them.
    """

    strength: float
    outer: int = 1
    fixed: float = 0.0

    @property
    def smooth(self) -> bool:
        """False: the gradient jumps where a factor vanishes."""
        return False

    def bind(self, network: Any) -> PathNorm:
        """Learn from the network's layout how many coordinates are outer weights."""
        layout = getattr(network, "layout", None)
        if layout is None or "w" not in layout:
            raise InputError("PathNorm needs a network with layers a and w (a TwoLayer); use Ridge instead")
        start, stop = layout.get("a", (0, 0))
        fixed = getattr(network, "a", None)
        if start == stop and fixed is None:
            raise InputError(
                f"PathNorm needs outer weights, and {type(network).__name__} has none; use Ridge instead"
            )
        return self._replace(outer=stop - start, fixed=0.0 if fixed is None else abs(float(fixed)))

    def potential(self, theta: Array) -> float:
        """V(theta) of one particle, in compiled code."""
        outer, inner = self.fixed * self.fixed, 0.0
        for k in range(theta.size):
            if k < self.outer:
                outer += theta[k] * theta[k]
            else:
                inner += theta[k] * theta[k]
        return self.strength * math.sqrt(outer) * math.sqrt(inner)

    def push(self, theta: Array, out: Array) -> None:
        """out += grad V(theta), in compiled code."""
        outer, inner = self.fixed * self.fixed, 0.0
        for k in range(theta.size):
            if k < self.outer:
                outer += theta[k] * theta[k]
            else:
                inner += theta[k] * theta[k]
        front, back = math.sqrt(outer), math.sqrt(inner)
        for k in range(theta.size):
            if k < self.outer:
                out[k] += self.strength * (back / front * theta[k] if front > 0.0 else 0.0)
            else:
                out[k] += self.strength * (front / back * theta[k] if back > 0.0 else 0.0)

    def _norms(self, positions: Array) -> tuple[Array, Array]:
        inner = np.linalg.norm(positions[:, self.outer :], axis=1)
        if self.outer == 0:
            return np.full(positions.shape[0], self.fixed), inner
        return np.linalg.norm(positions[:, : self.outer], axis=1), inner

    def value(self, positions: Array) -> Array:
        outer, inner = self._norms(positions)
        return np.asarray(self.strength * outer * inner)

    def gradient(self, positions: Array) -> Array:
        outer, inner = self._norms(positions)
        factor = np.empty_like(positions)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor[:, : self.outer] = np.where(outer > 0, inner / outer, 0.0)[:, None]
            factor[:, self.outer :] = np.where(inner > 0, outer / inner, 0.0)[:, None]
        return np.asarray(self.strength * factor * positions)

    def second(self, positions: Array) -> Array:
        m, p = positions.shape
        result, k = np.zeros((m, p, p)), self.outer
        outer, inner = self._norms(positions)
        with np.errstate(divide="ignore", invalid="ignore"):
            front = np.where(outer[:, None] > 0, positions[:, :k] / outer[:, None], 0.0)
            back = np.where(inner[:, None] > 0, positions[:, k:] / inner[:, None], 0.0)
            ahead = np.where(outer > 0, inner / outer, 0.0)[:, None, None]
            behind = np.where(inner > 0, outer / inner, 0.0)[:, None, None]
        # Of |a| |u|: |u|/|a| (1 - a a') and |a|/|u| (1 - u u') with unit a and u, and the product of both across.
        result[:, :k, :k] = ahead * (np.eye(k) - front[:, :, None] * front[:, None, :])
        result[:, k:, k:] = behind * (np.eye(p - k) - back[:, :, None] * back[:, None, :])
        result[:, :k, k:] = front[:, :, None] * back[:, None, :]
        result[:, k:, :k] = result[:, :k, k:].transpose(0, 2, 1)
        return np.asarray(self.strength * result)


class TotalVariation(NamedTuple):
    """``V(theta) = strength``: int V dmu = strength * mass, the total variation of the measure.

    It moves masses, not positions: use it with `ConicFlow`.
    """

    strength: float

    def potential(self, theta: Array) -> float:
        """V(theta) of one particle, in compiled code."""
        return self.strength

    def push(self, theta: Array, out: Array) -> None:
        """out += grad V(theta), in compiled code: nothing."""

    def value(self, positions: Array) -> Array:
        return np.full(positions.shape[0], float(self.strength))

    def gradient(self, positions: Array) -> Array:
        return np.zeros_like(positions)

    def second(self, positions: Array) -> float:
        return 0.0


def checked(regularizer: Any, network: Any) -> Any:
    """A regularizer ready for use with `network`: None becomes `NoRegularizer`, strengths are checked."""
    from meanfield.plugins import check_regularizer

    if regularizer is None:
        return NoRegularizer()
    if isinstance(regularizer, type):
        raise InputError(
            f"regularizer is the class {regularizer.__name__}; pass an instance, such as {regularizer.__name__}(1e-3)"
        )
    if isinstance(regularizer, (int, float)):
        raise InputError(f"regularizer must be an object, such as Ridge({regularizer:g}), not a number")
    if hasattr(regularizer, "strength"):
        _check.number(regularizer.strength, "the regularizer's strength", nonnegative=True)
    bound = regularizer.bind(network) if hasattr(regularizer, "bind") else regularizer
    check_regularizer(bound, network)
    return bound

"""The limit of infinite dimension of the figure staircase_2022: neurons that see a few coordinates and a rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import meanfield as mf
import solvers
from solvers.protocols import Array

SCALE, START = 4.0, 0.5  # of f; of |w| at the start


def biases(width: int) -> Array:
    """The quantiles of N(0, 1), for pairs of neurons with a = 1 and a = -1."""
    from scipy.special import ndtri

    half = width // 2
    return np.tile(ndtri((np.arange(half) + 0.5) / half), 2)


def outer(width: int) -> Array:
    """a = 1 in one half, -1 in the other."""
    return np.repeat([1.0, -1.0], width // 2)


@dataclass(frozen=True)
class WithRest:
    """``Phi = a E erf((u.z + b + s G)/sqrt 2) = a erf((u.z + b)/sqrt(2 (1 + s^2)))``, theta = (a, u, b, s).

    A neuron in infinite dimension: u are its weights on the relevant coordinates z, s is the norm of all others.
    """

    relevant: int
    scale: float = 1.0

    @property
    def dim(self) -> int:
        """Coordinates of a neuron."""
        return self.relevant + 3

    def _inner(self, positions: Array, Z: Array) -> tuple[Array, Array]:
        shrink = 1.0 / np.sqrt(2.0 * (1.0 + positions[:, -1] ** 2))
        return (positions[:, 1:-2] @ Z.T + positions[:, -2, None]) * shrink[:, None], shrink

    def features(self, positions: Array, Z: Array) -> Array:
        """(m, n)."""
        from scipy.special import erf

        return np.asarray(positions[:, :1] * erf(self._inner(positions, Z)[0]))

    def vjp(self, positions: Array, Z: Array, q: Array) -> Array:
        """sum_i q_i grad Phi(theta_j; z_i), (m, p)."""
        from scipy.special import erf

        inner, shrink = self._inner(positions, Z)
        slope = 2.0 / np.sqrt(np.pi) * np.exp(-(inner**2)) * q
        a, s = positions[:, 0], positions[:, -1]
        gradient = np.empty(positions.shape)
        gradient[:, 0] = erf(inner) @ q
        gradient[:, 1:-2] = (a * shrink)[:, None] * (slope @ Z)
        gradient[:, -2] = a * shrink * slope.sum(axis=1)
        gradient[:, -1] = -a * s / (1.0 + s**2) * np.sum(slope * inner, axis=1)
        return gradient


def limit(target: mf.data.Monomials, times: Array, width: int, u: Any = 0.0) -> tuple[Array, Array]:
    """f on the cube along the flow of infinite dimension from weights u, (times, 2^P), and the neurons at the end."""
    Z, h = target.cube()
    neuron = WithRest(Z.shape[1], SCALE)
    positions = np.zeros((width, neuron.dim))
    positions[:, 0], positions[:, 1:-2] = outer(width), u
    positions[:, -2], positions[:, -1] = biases(width), START
    objective = mf.Objective(neuron, Z, h)
    run: Any = solvers.integrate(
        mf.WassersteinFlow(objective),
        mf.ParticleMeasure(positions),
        times[-1],
        save=times,
        method=solvers.RK4(times[1] / 2),  # its error in f is 7e-4 in steps of 0.1
        record={"f": lambda mu: objective.predict(mu, Z)},
    )
    return np.asarray(run["f"]), run.final.positions


def fastest(neurons: Array) -> float:
    """max lam of the docstring, over neurons (m, 6) that have learned x1."""
    a, u, b, s = neurons[:, 0], neurons[:, 1], neurons[:, -2], neurons[:, -1]
    shrink = 1.0 / np.sqrt(2.0 * (1.0 + s**2))
    inner = np.stack([b + u, b - u]) * shrink
    curvature = -4.0 / np.sqrt(np.pi) * shrink**2 * inner * np.exp(-(inner**2))
    return float(np.abs(SCALE * a * (curvature[0] - curvature[1]) / 2).max())

"""Signed sparse deconvolution on the circle by forward-backward particle descent, for both figures of the paper.

A neuron is (w, theta) with Phi = w phi(theta), phi the Fourier features of `mf.Spikes`, and the penalty is lam
|w|: 1-homogeneous with a kink at w = 0, where all particles start. The kink asks for a proximal step, so this
is a flow of its own (``kind = "map"``, what `solvers.integrate` accepts from a user) rather than
`mf.WassersteinFlow`; it moves many replicas, each with its own target, in one call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import meanfield as mf
from solvers.protocols import Array


@dataclass(frozen=True)
class ForwardBackward:
    """``w <- soft(w - h <r, phi>, h lam)``, ``theta <- theta - h mobility w <r, phi'>``, ``r = (1/m) sum w phi - y``.

    The proximal step of ``F = |r|^2/2 + (lam/m) sum |w_j|`` times m; Phi = w phi, hence the factor w of theta'.

    Parameters
    ----------
    spikes : Spikes
        In one dimension.
    targets : ndarray, (replicas, n)
        y of each replica over ``spikes.codes``. States are arrays (replicas, m, 2) of (w, theta).
    penalty, h, mobility : float
        lam, the step, and the metric of theta against that of w.
    """

    spikes: mf.Spikes
    targets: Array
    penalty: float
    h: float
    mobility: float
    kind = "map"

    @property
    def default_step(self) -> float:
        """The step of the map, in units of the flow's time."""
        return self.h

    def pack(self, state: Array) -> Array:
        """One flat vector."""
        return np.array(state, dtype=np.float64).reshape(-1)

    def unpack(self, z: Array, like: Array) -> Array:
        """Replicas, particles, (w, theta)."""
        return z.reshape(like.shape).copy()

    def step(self, z: Array, h: float, k: int) -> None:
        """One forward-backward step in place."""
        state = z.reshape(len(self.targets), -1, 2)
        w, theta = state[..., 0], state[..., 1]
        value = self.table(theta)
        r = self.residual(w, value)
        # <r, phi> and <r, phi'>: the derivative of a harmonic is its partner times the frequency.
        both = value @ np.stack([r, self.turn * r[:, ::-1]], axis=2)
        v = w - h * both[..., 0]
        move = h * self.mobility * w * both[..., 1]
        state[..., 0] = np.sign(v) * np.maximum(np.abs(v) - h * self.penalty, 0.0)
        state[..., 1] = np.mod(theta - move, 2 * np.pi)

    @cached_property
    def turn(self) -> Array:
        """``<r, phi'> = <turn * reversed r, phi>``: with codes -k (sine), k (cosine), c(t; k)' = -k c(t; -k)."""
        return np.asarray(self.spikes.codes[:, 0])

    @cached_property
    def amplitude(self) -> Array:
        """Of the frequencies 0, 1, ...: the cosines at 0."""
        return np.asarray(self.spikes.features([[0.0]], self.spikes.codes)[0, self.spikes.frequencies :])

    def table(self, theta: Array) -> Array:
        """phi of every particle, (replicas, m, n): harmonics as powers of exp(i theta), much cheaper than cosines."""
        count = self.spikes.frequencies
        one = np.exp(1j * theta)[..., None]
        powers = np.cumprod(np.broadcast_to(one, (*theta.shape, count)), axis=-1) * self.amplitude[1:]
        value = np.full((*theta.shape, 2 * count + 1), self.amplitude[0])
        value[..., count + 1 :], value[..., :count] = powers.real, powers.imag[..., ::-1]
        return value

    def residual(self, w: Array, value: Array) -> Array:
        """``(1/m) sum_j w_j phi(theta_j) - y``, (replicas, n)."""
        return np.asarray((w[:, None, :] @ value)[:, 0] / w.shape[1] - self.targets)

    def objective(self, state: Array) -> Array:
        """F of every replica."""
        w = state[..., 0]
        r = self.residual(w, self.table(state[..., 1]))
        return np.asarray(0.5 * np.sum(r**2, axis=1) + self.penalty * np.abs(w).mean(axis=1))

    def grid(self, m: int) -> Array:
        """The start {0} x Theta: w = 0, theta on the uniform grid, alike in every replica."""
        state = np.zeros((len(self.targets), m, 2))
        state[..., 1] = 2 * np.pi * np.arange(m) / m
        return state


@dataclass(frozen=True)
class Truths:
    """Random signed spikes with the certified minimizers of the penalized problem.

    Attributes
    ----------
    positions, weights : ndarray, (replicas, m0)
    optimal_positions, optimal_weights : ndarray, (replicas, m0)
        Of the best measure with m0 atoms near the truth.
    optimum, gap : ndarray, (replicas,)
        Its objective, and the certified distance of that to the infimum over all signed measures.
    targets : ndarray, (replicas, n)
    """

    positions: Array
    weights: Array
    optimal_positions: Array
    optimal_weights: Array
    optimum: Array
    gap: Array
    targets: Array

    @property
    def lower(self) -> Array:
        """A proved lower bound of inf F."""
        return self.optimum - self.gap


def truths(
    spikes: mf.Spikes, replicas: int, number: int, separation: float, penalty: float, rng: np.random.Generator
) -> Truths:
    """Draw the spikes; minimize over m0 atoms from the truth by BFGS; certify the result by duality."""
    from scipy.optimize import minimize

    rows: list[tuple[Any, ...]] = []
    for _ in range(replicas):
        theta, mass = mf.data.spikes(
            number, 1, rng=rng, weights=(0.5, 1.5), signed=True, separation=separation
        )
        problem = mf.Objective.deconvolution(spikes, theta, mass, regularizer=mf.TotalVariation(penalty))
        signs = np.sign(mass)

        def function(z: Array, y: Array = problem.y, signs: Array = signs) -> tuple[float, Array]:
            w, t = z[:number], z[number:, None]
            phi = spikes.features(t, spikes.codes)
            r = w @ phi - y
            gradient = np.concatenate([phi @ r + penalty * signs, w * spikes.vjp(t, spikes.codes, r)[:, 0]])
            return float(0.5 * r @ r + penalty * signs @ w), gradient

        # One spike of weight w alone becomes w - lam/phi(0), phi(0) = 2 nf + 1 (theory/flows.md, ground truths).
        start = np.concatenate([mass - signs * penalty / (2 * spikes.frequencies + 1), theta[:, 0]])
        found = minimize(function, start, jac=True, method="BFGS", options={"gtol": 1e-11}).x
        w, t = found[:number], found[number:]
        certificate = problem.certificate(mf.ParticleMeasure(t[:, None], np.abs(w), np.sign(w)))
        rows.append((theta[:, 0], mass, t, w, certificate.value, certificate.gap, problem.y))
    return Truths(*(np.array(column) for column in zip(*rows, strict=True)))


def distance_to_spikes(w: Array, theta: Array, spike_weights: Array, spike_positions: Array) -> float:
    """Mean over the mass |w_j| of the distance on the circle to the nearest spike of the same sign."""
    gap = np.abs(theta[:, None] - spike_positions)
    gap = np.minimum(gap, 2 * np.pi - gap)
    gap[np.sign(w)[:, None] != np.sign(spike_weights)] = np.pi
    return float(np.abs(w) @ gap.min(axis=1) / np.abs(w).sum())

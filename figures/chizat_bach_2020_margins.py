"""Both layers or the output layer: two max-margin classifiers, one blind to coordinates of noise.

Source: Chizat and Bach (2020), Implicit bias of gradient descent for wide two-layer neural networks trained with the
logistic loss, arXiv 2002.04486, figures 2 and 3 (parameters as in the authors' code).

Quick preset: about 8 s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import meanfield as mf
import solvers
from meanfield.gallery import Claim, check_sizes
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

K = 3  # clusters along each axis
LONGEST = 1000.0  # time of the flow, if its mass stays small


@dataclass(frozen=True)
class Config:
    """Sizes of the two sweeps, of the margins and of the picture."""

    ns: tuple[int, ...] = (32, 128)
    d: int = 15  # of the sweep over n
    n: int = 128  # of the sweep over d, and of the margins
    ds: tuple[int, ...] = (5, 15)
    width: int = 128
    iterations: int = 4000
    step: float = 0.5
    draws: int = 10
    test: int = 4000
    margin_widths: tuple[int, ...] = (8, 32, 128, 512)
    margin_ds: tuple[int, ...] = (3,)
    margin_mass: float = 2000.0  # total variation at which the flow is stopped
    paddings: tuple[int, ...] = (3, 6, 12, 25)
    picture_clusters: int = 4
    picture_n: int = 100
    picture_width: int = 200
    picture_iterations: int = 10_000
    picture_side: int = 81
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            ns=(32, 64, 128, 256, 512),
            n=256,
            ds=(5, 10, 15, 20, 25),
            width=1000,
            iterations=50_000,
            draws=10,
            margin_widths=(8, 16, 32, 64, 128, 256, 512, 1024),
            margin_ds=(3, 15),
            margin_mass=20_000.0,
            paddings=(3, 4, 6, 9, 12, 18, 25),
            picture_width=500,
            picture_iterations=300_000,
            picture_side=161,
        )


# The published updates ---------------------------------------------------------------------------------------


def schedule(config: Config, iterations: int) -> Array:
    """Sizes of the steps: step/sqrt(t + 1), t = 1, 2, ... as in the authors' code."""
    return np.asarray(config.step / np.sqrt(np.arange(iterations) + 2.0))


def network(d: int) -> mf.TwoLayer:
    """f = (1/m) sum_j b_j relu(w_j . x); a coordinate of x is the constant 1."""
    return mf.TwoLayer(mf.ReLU(), d=d, bias=False)


def both_layers(Xs: list[Array], ys: list[Array], starts: list[Any], steps: Array, **options: Any) -> list[Any]:
    """Gradient ascent of the soft-min of the margins from each start on its data."""
    flows = [
        mf.WassersteinFlow(mf.Objective(network(X.shape[1]), X, y, loss=mf.SoftMinMargin()))
        for X, y in zip(Xs, ys, strict=True)
    ]
    options = {"save": 2} | options
    runs = solvers.integrate(flows, starts, steps.sum(), method=solvers.Euler(step=steps), **options)
    return list(runs)


def output_layer(Xs: list[Array], ys: list[Array], starts: list[Any], steps: Array) -> list[Any]:
    """The same ascent of the outer weights alone, from b = 0, steps times max(1, root mean b^2): final measures.

    b stays in the span of the features: b = S c with S = relu(W X'), (m, n). An ascent step of b by h S q is one of c
    by h q, f = S'b/m = K c, and mean b^2 = c.Kc, with the kernel K = S'S/m of the features: an iteration costs n^2
    instead of m n d, and all starts go at once.
    """
    S = [network(X.shape[1]).features(with_outer(mu, 1.0).positions, X) for X, mu in zip(Xs, starts, strict=True)]
    y = np.array(ys)
    with one_blas_thread():
        kernels = np.array([s.T @ s / len(s) for s in S])

        def ascent(c: Array) -> Array:
            f = np.matmul(kernels, c[:, :, None])[:, :, 0]
            speed = np.sqrt(np.maximum(1.0, np.einsum("ri,ri->r", c, f)))
            return np.asarray(speed[:, None] * softmin_weights(y * f) * y)

        run = solvers.integrate(
            ascent, np.zeros(y.shape), steps.sum(), method=solvers.Euler(step=steps), save=2
        )
        return [with_outer(mu, s @ c) for mu, s, c in zip(starts, S, run.final, strict=True)]


def with_outer(mu: Any, b: Any) -> Any:
    """The measure with other outer weights, a number or (m,)."""
    positions = mu.positions.copy()
    positions[:, 0] = b
    return mu.with_positions(positions)


def softmin_weights(margins: Array) -> Array:
    """p_i proportional to exp(-margin_i), along the last axis."""
    p = np.exp(margins.min(axis=-1, keepdims=True) - margins)
    return np.asarray(p / p.sum(axis=-1, keepdims=True))


# The sweeps --------------------------------------------------------------------------------------------------


def cells(config: Config) -> list[tuple[int, int]]:
    """(n, d) of both sweeps, each once."""
    return list(dict.fromkeys([(n, config.d) for n in config.ns] + [(config.n, d) for d in config.ds]))


def errors(config: Config, rng: np.random.Generator) -> Array:
    """Test errors, (cells, 2, draws): both layers, output layer. A draw has its labels of clusters, the same in all cells.

    As published, fewer data are the first of more.
    """
    steps = schedule(config, config.iterations)
    streams = rng.spawn(config.draws)
    labels = [mf.data.cluster_labels(K, stream) for stream in streams]
    found = np.empty((len(cells(config)), 2, config.draws))
    for d in sorted({d for _, d in cells(config)}):
        here = [(i, n) for i, (n, other) in enumerate(cells(config)) if other == d]
        net, most = network(d), max(n for _, n in here)
        train = [mf.data.clusters(most, d, K, stream, labels=s) for s, stream in zip(labels, streams, strict=True)]
        test = [mf.data.clusters(config.test, d, K, stream, labels=s) for s, stream in zip(labels, streams, strict=True)]
        starts = [mf.ParticleMeasure.gaussian(net, config.width, rng=stream) for stream in streams]
        for i, n in here:
            Xs, ys = [X[:n] for X, _ in train], [y[:n] for _, y in train]
            ends = ([run.final for run in both_layers(Xs, ys, starts, steps)], output_layer(Xs, ys, starts, steps))
            for j, finals in enumerate(ends):
                found[i, j] = [np.mean(y * net.predict(mu, X) <= 0) for mu, (X, y) in zip(finals, test, strict=True)]
    return found


# Margins -----------------------------------------------------------------------------------------------------


def variation(mu: Any) -> float:
    """Total variation of the signed measure on the sphere, (1/m) sum |b_j| |w_j|."""
    return float(np.mean(np.abs(mu.positions[:, 0]) * np.linalg.norm(mu.positions[:, 1:], axis=1)))


def widths_margins(config: Config, X: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """For each width: 2 margin/beta of the published updates, at its best; (margin/TV, TV) of the flow when stopped.

    beta = (1/m) sum |theta_j|^2 is 2 TV for balanced neurons, whence the 2.
    """
    net, published, reached, mass = network(X.shape[1]), [], [], []
    steps = schedule(config, config.iterations)
    times = np.cumsum(steps)[np.unique(np.geomspace(1, steps.size, 40).astype(int)) - 1]

    def over_beta(mu: Any) -> float:
        return 2 * float((y * net.predict(mu, X)).min()) / float(np.mean(np.sum(mu.positions**2, axis=1)))

    for m in config.margin_widths:
        start = mf.ParticleMeasure.gaussian(net, m, rng=rng)
        run = both_layers([X], [y], [start], steps, save=times, record={"margin": over_beta})[0]
        published.append(run["margin"].max())
        flow = mf.WassersteinFlow(mf.Objective(net, X, y, loss=mf.SoftMinMargin()))
        end = solvers.integrate(
            flow, start, LONGEST, method=solvers.RKC2(rtol=1e-2, atol=1e-2), save=2,
            until=lambda mu: variation(mu) > config.margin_mass,
        ).final  # fmt: skip
        mass.append(variation(end))
        reached.append(float((y * net.predict(end, X)).min()) / mass[-1])
    return np.array(published), np.array(reached), np.array(mass)


def padded(X: Array, d: int) -> Array:
    """The first three coordinates, and zeros up to d."""
    return np.hstack([X[:, :3], np.zeros((len(X), d - 3))])


def margins(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Certified margins of one data set: its first d coordinates, or its signal padded by zeros; margins against m."""
    most = max(config.margin_ds + config.paddings)
    X, y = mf.data.clusters(config.n, most, K, rng)
    found: dict[str, Any] = {}
    found["gamma_1_zeros"] = np.array([bracket(padded(X, d), y) for d in config.paddings])
    found["gamma_2_zeros"] = np.array([mf.norms.margin_f2(padded(X, d), y) for d in config.paddings])
    found["gamma_2_noise"] = np.array([mf.norms.margin_f2(X[:, :d], y) for d in config.paddings])
    found["gamma_1"] = np.array([bracket(X[:, :d], y) for d in config.margin_ds])
    each = [widths_margins(config, np.ascontiguousarray(X[:, :d]), y, rng) for d in config.margin_ds]
    found["published"], found["flow"], found["mass"] = (np.array(part) for part in zip(*each, strict=True))
    return found


def bracket(X: Array, y: Array) -> tuple[float, float]:
    low, high = mf.norms.margin_f1(X, y)
    return low, high


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Test errors of both sweeps, margins, and the two classifiers of the plane on a grid."""
    for_errors, for_margins, for_picture = rng.spawn(3)
    return {
        "ns": np.array(config.ns),
        "d": np.array(config.d),
        "n": np.array(config.n),
        "ds": np.array(config.ds),
        "cells": np.array(cells(config)),
        "errors": errors(config, for_errors),
        "margin_widths": np.array(config.margin_widths),
        "margin_ds": np.array(config.margin_ds),
        "paddings": np.array(config.paddings),
        **margins(config, for_margins),
        **classifiers(config, for_picture),
    }


def classifiers(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Both classifiers of the plane on a grid: (side, side), rows along x_2."""
    X, y = mf.data.clusters(config.picture_n, 3, config.picture_clusters, rng)
    net = network(3)
    start = mf.ParticleMeasure.gaussian(net, config.picture_width, rng=rng)
    steps = schedule(config, config.picture_iterations)
    side = np.linspace(-0.7, 0.7, config.picture_side)
    grid = np.stack([np.ones((side.size, side.size)), *np.meshgrid(side, side)], axis=-1).reshape(-1, 3)
    ends = both_layers([X], [y], [start], steps)[0].final, output_layer([X], [y], [start], steps)[0]
    return {
        "picture_X": X[:, 1:],
        "picture_y": y,
        "side": side,
        "classifiers": np.array([net.predict(mu, grid).reshape(side.size, side.size) for mu in ends]),
        "picture_margins": np.array([(y * net.predict(mu, X)).min() for mu in ends]),
    }

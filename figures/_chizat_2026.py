"""Residual nets of all shapes and their limits, trained on the same data: what the figure of the paper measures.

A limit is computed twice, from independent samples, and a squared error is the mean of the product of the two
differences; nets of one seed have nested weights and embeddings, so that their errors compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import meanfield as mf
from solvers import integrate
from solvers.protocols import Array

#: of the one-point problem with linear activations: |x| and eta, so that f_1 = 0.128 y
LENGTH, LINEAR_STEP = 0.8, 0.1
LINEAR_DIMS = (10, 100, 400)
#: nodes and points where two limits are compared that were made from the same samples: most of their errors cancel
FEW_NODES, FEW_POINTS = 17, 80


@dataclass(frozen=True)
class Data:
    """What all nets are trained on, and how."""

    X: Array
    Y: Array
    step: float
    time: float

    def train(self, net: Any, start: Any) -> Any:
        """The weights after all steps."""
        flow = mf.resnet_mean_field.GradientDescent(net, self.X, self.Y, self.step)
        return integrate(flow, start, self.time, save=[0.0, self.time]).final

    def reference(self, config: Any, points: int, seeds: tuple[int, int], embeddings: Any = None) -> Pair:
        """The limit, trained twice, from independent samples."""
        limit = mf.resnet_mean_field.MeanODE.of(config.net(1, 1, 1), config.nodes, points)
        return Pair(limit, [self.train(limit, limit.init(seed, embeddings)) for seed in seeds], self.X)


@dataclass(frozen=True)
class Pair:
    """Two independent computations of a limit."""

    limit: Any
    weights: list[Any]
    X: Array

    def lifted(self, embeddings: Any) -> list[Array]:
        """h in the coordinates of embeddings."""
        return [self.limit.lift(weights, self.X, embeddings) for weights in self.weights]

    def outputs(self) -> list[Array]:
        return [self.limit.predict(weights, self.X) for weights in self.weights]


def squared(value: Array, pair: list[Array]) -> float:
    """Mean square of the error, the noise of references apart: the product of the differences from two of them."""
    return float(np.mean((value - pair[0]) * (value - pair[1])))


def nets(config: Any, data: Data, common: Pair, words: list[int]) -> dict[str, Any]:
    """Nets of the grid and of width 1, those of one seed with nested weights and embeddings."""
    shapes = config.shapes
    names = ("own", "finite", "total", "own_output", "travelled")
    found = {name: np.empty((len(shapes), len(words))) for name in names}
    for s, word in enumerate(words):
        references: dict[int, Pair] = {}
        for i, shape in enumerate(shapes):
            net = config.net(*shape)
            start = net.init(word)
            if shape[2] not in references:
                references[shape[2]] = data.reference(config, config.points, (word + 1, word + 2), start)
            own = references[shape[2]]
            final = data.train(net, start)
            h = net.features(final, data.X)[-1]
            here, there = own.lifted(start), common.lifted(start)
            found["own"][i, s] = squared(h, here)
            found["total"][i, s] = squared(h, there)
            found["finite"][i, s] = np.mean((here[0] - there[0]) * (here[1] - there[1]))
            found["own_output"][i, s] = squared(net.predict(final, data.X), own.outputs())
            found["travelled"][i, s] = np.mean(np.square(h - data.X @ start.W_E.T))
    return {"shapes": np.array(shapes), **found}


def limits(config: Any, data: Data, rng: np.random.Generator) -> dict[str, Any]:
    """The Mean ODE at embeddings of D rows against that of infinite D, both from the same samples."""
    limit = mf.resnet_mean_field.MeanODE.of(config.net(1, 1, 1), FEW_NODES, max(FEW_POINTS, 8 * config.d))
    found = np.empty((len(config.limit_dims), config.limit_seeds))
    start = np.empty_like(found)
    for s in range(config.limit_seeds):
        word = int(rng.integers(2**31))
        infinite = data.train(limit, limit.init(word))
        for i, dim in enumerate(config.limit_dims):
            embeddings = config.net(1, 1, dim).embed(word)
            final = data.train(limit, limit.init(word, embeddings))
            both = [limit.lift(weights, data.X, embeddings) for weights in (final, infinite)]
            found[i, s] = np.mean(np.square(both[0] - both[1]))
            W_E, W_U = embeddings
            start[i, s] = np.mean(np.square(data.X @ W_E.T @ W_U / dim))
    return {"limit_dims": np.array(config.limit_dims), "limit_error": found, "first_output": start}


def deep(config: Any, data: Data, common: Pair, word: int) -> dict[str, Any]:
    """Products of the errors of seeds s and s', from one reference and the other: off the diagonal without noise."""
    embeddings = common.limit.span()
    references = [common.limit.features(weights, data.X)[-1] for weights in common.weights]
    products = np.empty((len(config.depths), config.deep_seeds, config.deep_seeds))
    for i, depth in enumerate(config.depths):
        net = config.net(depth, config.units // depth, 2 * config.d)
        h = []
        for s in range(config.deep_seeds):
            start = net.init(word + 3 + s)
            final = data.train(net, mf.resnet_mean_field.Weights(start.U, start.V, *embeddings))
            h.append(net.features(final, data.X)[-1].reshape(-1))
        left, right = (np.array(h) - reference.reshape(-1) for reference in references)
        products[i] = left @ right.T / left.shape[1]
    return {"depths": np.array(config.depths), "products": products}


def outputs_of(net: Any, X: Array) -> Callable[[Any], Array]:
    """f at the first point, of weights."""
    return lambda weights: np.atleast_1d(net.predict(weights, X)[0])


def linear(config: Any, data: Data, rng: np.random.Generator) -> dict[str, Any]:
    """One point and linear activations: the limit to rounding, the Mean ODE by its nodes, nets."""
    resnets = mf.resnet_mean_field
    x, y = rng.standard_normal(config.d), rng.standard_normal(config.d)
    x *= LENGTH / np.linalg.norm(x)
    y /= np.linalg.norm(y)
    X, Y, t = x[None], y[None], config.steps * LINEAR_STEP
    # in_std = out_std = 1: the formula's s_we and s_wu
    net = resnets.ResNet(config.d, config.d, 1, 1, 1, "identity", in_std=1.0, out_std=1.0)
    exact = resnets.linear_limit(net, X, Y, config.steps, LINEAR_STEP)
    word = int(rng.integers(2**31))
    finite, closed, trained = [], [], []
    for dim in LINEAR_DIMS:
        one = resnets.ResNet(config.d, config.d, 20, 100, dim, "identity", in_std=1.0, out_std=1.0)
        start = one.init(word)
        finite.append(
            resnets.linear_limit(one, X, Y, config.steps, LINEAR_STEP, embeddings=start).predictions[:, 0]
        )
        closed.append(resnets.first_step(one, x, y, LINEAR_STEP, embeddings=start))
        flow = resnets.GradientDescent(one, X, Y, LINEAR_STEP)
        run = integrate(flow, start, t, save=config.steps + 1, record={"f": outputs_of(one, X)})
        trained.append(run["f"])
    # the order of the Mean ODE, on all points
    net = resnets.ResNet(config.d, config.d, 1, 1, 1, "identity")
    every = resnets.linear_limit(net, data.X, data.Y, config.steps, data.step, nodes=40)
    nodes = np.array([17, 33, 65])
    errors = []
    for count in nodes:
        limit = resnets.MeanODE.of(net, int(count), 8 * config.d)
        final = data.train(limit, limit.init(word))
        errors.append(np.abs(limit.predict(final, data.X) - every.predictions[-1]).max())
    return {
        "y": y, "linear": exact.predictions[:, 0], "linear_finite": np.array(finite), "linear_closed": np.array(closed),
        "linear_nets": np.array(trained), "nodes": nodes, "node_errors": np.array(errors),
    }  # fmt: skip

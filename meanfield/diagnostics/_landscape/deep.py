"""Weights of deep networks: units of hidden layers dropped and permuted, and the path through networks of half size.

A unit of hidden layer l is a row of ``W_l``, b_l and a column of ``W_{l+1}`` (several columns of a convolution: one for
each shift, or for each position at a flat read-out). It is dropped by zeroing its columns; the rest are rescaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from meanfield.finite.deep import Problem, ResNet, Weights
from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

Arrays = dict[str, Array]


class Layers:
    """Deep networks on the data of their problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.net = problem, problem.net
        self.loss_function, self.y = problem.loss, problem.y
        weights = problem.sample_weight
        self.options = {} if weights is None else {"weights": weights}
        self.hidden = len(self.net.layers) - 1

    def __repr__(self) -> str:
        return repr(self.net)

    def check(self, state: Any, name: str) -> Weights:
        """Weights of this network, or one sentence."""
        if not isinstance(state, Weights):
            raise InputError(
                f"{name} must be Weights (or a run that ends in some), as the problem is one of a deep network, not "
                f"{type(state).__name__}"
            )
        if state.shapes != self.net.shapes:
            depth = sum(key[0] == "W" for key in state.shapes)
            what = (
                f"{depth} layers instead of {self.hidden + 1}"
                if depth != self.hidden + 1
                else "layers of other sizes"
            )
            raise InputError(f"{name} has {what}, {state!r}: it belongs to another network than {self.net!r}")
        _check.array(state.flat, name)
        return state

    def sizes(self, state: Any) -> tuple[int, ...]:
        """Units of the hidden layers, channels of convolutions."""
        return tuple(layer.out for layer in self.net.layers[:-1])

    def predict(self, state: Weights) -> Array:
        """f on the data."""
        return self.problem.predict(state)

    def columns(self, layer: int, units: Array) -> Array:
        """Columns of ``W_layer`` that read `units` of the layer before."""
        before = self.net.layers[layer - 1].out
        groups = self.net.layers[layer].fan // before
        return (before * np.arange(groups)[:, None] + units).reshape(-1)

    # -- dropping -------------------------------------------------------------------------------------------------

    def require_droppable(self) -> None:
        """Refuse networks whose units are tied by skips."""
        if isinstance(self.net, ResNet):
            raise InputError(
                "skips tie unit j of every layer to unit j of the next, so that dropping units of one layer has no "
                "meaning in a ResNet; take Dense or ConvNet, or mf.landscape.connect with path='line' or 'aligned'"
            )

    def drop(self, state: Weights, kept: dict[int, Array], factors: dict[int, float]) -> Weights:
        """Columns of dropped units zeroed, of the others multiplied, for each layer that is named."""
        self.require_droppable()
        made = Weights.over(state.flat.copy(), self.net.shapes)
        for i, units in kept.items():
            self._thin(made[f"W{i + 1}"], i + 1, units, factors[i])
        return made

    def _thin(self, W: Array, layer: int, units: Array, factor: float) -> None:
        columns = self.columns(layer, units)
        keep = factor * W[:, columns]
        W[...] = 0.0
        W[:, columns] = keep

    def thinned(
        self, state: Weights, masks: list[dict[int, Array]], factors: dict[int, float]
    ) -> list[Array]:
        """Predictions of the network with each of the masks."""
        found = []
        for mask in masks:
            kept: dict[int, Any] = {i: np.flatnonzero(one) for i, one in mask.items()}
            found.append(self.predict(self.drop(state, kept, factors)))
        return found

    def squares(self, state: Weights, layer: int) -> tuple[Array, Array] | None:
        """``sum_j phi_j^2`` and ``sum_j (phi_j - mean)^2`` over units of the last hidden layer; None for others."""
        if layer != self.hidden - 1:
            return None
        last, m, n = self.net.layers[-1], self.net.layers[-2].out, len(self.problem.X)
        h = self.net.activations(state, self.problem.X)[-1].reshape(-1, m)
        u = self.net.gather(self.hidden, h, n).reshape(n, -1, m)
        W = last.factor * state[f"W{self.hidden}"].reshape(last.out, -1, m)
        square, spread = np.empty((n, last.out)), np.empty((n, last.out))
        for o in range(last.out):
            parts = np.einsum("ngm,gm->nm", u, W[o])
            square[:, o] = np.square(parts).sum(axis=1)
            spread[:, o] = np.square(parts - parts.mean(axis=1, keepdims=True)).sum(axis=1)
        return self.problem.shaped(square), self.problem.shaped(spread)

    # -- paths ----------------------------------------------------------------------------------------------------

    def require_path(self, path: str) -> None:
        """Refuse paths that the network does not have."""
        if path == "dropout":
            self.require_droppable()

    def mix(self, left: Weights, right: Weights, t: float) -> Weights:
        """``(1 - t) left + t right``."""
        if t in (0.0, 1.0):
            return left if t == 0.0 else right
        return Weights.over((1.0 - t) * left.flat + t * right.flat, self.net.shapes)

    def align(self, a: Weights, b: Weights) -> Weights:
        """b with its units in the order whose activations on the data are nearest to those of a, in squares.

        Skips tie the layers of a ResNet: all have one order, nearest in the sum over layers.
        """
        from scipy.optimize import linear_sum_assignment

        mine, theirs = (self.net.activations(state, self.problem.X) for state in (a, b))
        with one_blas_thread():
            products = [
                one.reshape(-1, one.shape[-1]).T @ two.reshape(-1, two.shape[-1])
                for one, two in zip(mine, theirs, strict=True)
            ]
        if self.net.skip is not None:
            products = [np.sum(products, axis=0)] * len(products)
        # |h_i - h_j|^2 summed over a matching is a constant less twice the sum of products
        return self.permuted(b, [linear_sum_assignment(-one)[1] for one in products])

    def permuted(self, state: Weights, orders: Sequence[Array]) -> Weights:
        """The same function: unit i of layer l is what was unit ``orders[l][i]``."""
        made = Weights.over(state.flat.copy(), self.net.shapes)
        for i, order in enumerate(orders):
            for name in (f"W{i}", f"b{i}"):
                if name in made.shapes:
                    made[name][...] = made[name][order]
            W = made[f"W{i + 1}"]
            W[...] = W[:, self.columns(i + 1, order)]
        return made

    def corners(
        self, a: Weights, b: Weights, first: Sequence[Array], second: Sequence[Array]
    ) -> list[Weights]:
        """Ends of the ``4 H + 1`` straight pieces from a to b: the first, third, ... move the output layer alone.

        The others move units that nothing reads, and change nothing. Half of each layer's units carry a network, the
        other half are free for the next one: a with its last hidden layer halved, then the one before, ..., all of them
        halved; then b with all halved, and the same way back to b.
        """
        one, _ = self._chain(a, first, second)
        two, right = self._chain(b, second, first)
        meet = _copied(one[-1])
        for i in range(self.hidden):
            for name in (f"W{i}", f"b{i}"):
                if name in meet:
                    meet[name][right[i]] = two[-1][name][right[i]]
        met = _copied(meet)
        for name in (f"W{self.hidden}", f"b{self.hidden}"):
            if name in met:
                met[name][...] = two[-1][name]
        return [Weights(arrays) for arrays in (*one, meet, met, *reversed(two))]

    def _chain(
        self, state: Weights, halves: Sequence[Array], others: Sequence[Array]
    ) -> tuple[list[Arrays], list[Array]]:
        """The network with its layers halved one after the other, from the last one down, and the units it ends on."""
        top = self.hidden
        now = _copied(state.to_arrays())
        nodes = [_copied(now)]
        self._thin(now[f"W{top}"], top, halves[-1], self._factor(top - 1, halves))
        nodes.append(_copied(now))
        used = {top - 1: halves[top - 1]}
        for i in range(top - 2, -1, -1):
            free = {j: others[j] if used[j] is halves[j] else halves[j] for j in used}
            for j in range(i + 1, top):
                W = now[f"W{j}"]
                rows, old = np.zeros((free[j].size, W.shape[1])), W[used[j]]
                if j == i + 1:  # the copy reads half of layer i, rescaled
                    columns = self.columns(j, halves[i])
                    rows[:, columns] = self._factor(i, halves) * old[:, columns]
                else:
                    rows[:, self.columns(j, free[j - 1])] = old[:, self.columns(j, used[j - 1])]
                W[free[j]] = rows
                if f"b{j}" in now:
                    now[f"b{j}"][free[j]] = now[f"b{j}"][used[j]]
            nodes.append(_copied(now))
            W = now[f"W{top}"]
            W[:, self.columns(top, free[top - 1])] = W[:, self.columns(top, used[top - 1])]
            W[:, self.columns(top, used[top - 1])] = 0.0
            nodes.append(_copied(now))
            used = {**free, i: halves[i]}
        return nodes, [used[i] for i in range(top)]

    def _factor(self, layer: int, halves: Sequence[Array]) -> float:
        return self.net.layers[layer].out / halves[layer].size


def _copied(arrays: Arrays) -> Arrays:
    return {name: one.copy() for name, one in arrays.items()}

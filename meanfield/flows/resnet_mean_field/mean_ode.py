r"""The limit of infinite depth and width, the Neural Mean ODE, and that of infinite embeddings: computed itself.

With block l at depth ``s = l/L`` and (u, v) a unit of it, ``L, M -> infinity`` leaves

    dh/ds = scale E[v sigma(u.h/D)],   -db/ds = scale E[u sigma'(u.h/D) (v.b/D)],   h(0) = W_E x,   b(1) = W_U R'(f)

with gradient descent on every unit: ``u -= step scale sum_i h_i sigma'(p_i) q_i``, ``v -= step scale sum_i b_i
sigma(p_i)``, p = u.h/D, q = v.b/D. Both velocities lie in the span of what h and b have been so far (Stein's lemma for
the Gaussian part, the updates for the rest), hence in the span of the columns of ``[W_E, W_U]``: coordinates across it
are Gaussian and never seen. A rotation of R^D to this span shows that all depends on the embeddings through their Gram
matrix ``G = [W_E, W_U]'[W_E, W_U] / D`` alone, and is the same as in dimension ``d_in + d_out``, exactly. For D ->
infinity G tends to ``diag(in_std^2, out_std^2)``, at the rate ``1/sqrt(D)``; so the limit of infinite D is the Mean ODE
in dimension d_in + d_out with orthogonal embeddings of these lengths.

(Derived for this project; the published limit is a mean-field theory of dynamics in D dimensions.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield.flows.resnet_mean_field.network import Pass, ResNet, Signal
from meanfield.flows.resnet_mean_field.weights import Weights
from solvers import _check
from solvers._memory import require_memory
from solvers._rng import seed_words
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.noise import normals
from solvers.protocols import Array


@dataclass(frozen=True, eq=False)
class MeanODE(ResNet):
    """``dh/ds = scale E[v sigma(u.h/D)]``, the limit of a `ResNet` as L and M, and by default D, go to infinity.

    Made with `of`. Depth is resolved by nodes s = 0, ..., 1 and the method of Adams and Bashforth of second order, both
    ways; the law of units by samples of its own at each node, with mean and covariance made exact: that halves the
    error, of order ``1/sqrt(nodes points)``, for tanh, and leaves none to linear activations (quasi-random points gain
    nothing beside it). Trained as a `ResNet` is; the gradient is that of the ODE, by its adjoint, not that of its
    discretization, a node counting as 1/nodes of depth: sums over nodes are integrals up to order 1/nodes.

    Parameters
    ----------
    d_in, d_out, depth, width, dim : int
        As of `ResNet`: nodes, points at each, and the dimension of the span of the embeddings.
    activation : plug-in or str
    scale, u_std, v_std, in_std, out_std : float
        As of `ResNet`.

    Raises
    ------
    InputError, PluginError

    Examples
    --------
    >>> import meanfield as mf, solvers
    >>> net = mf.resnet_mean_field.ResNet(d_in=1, d_out=1, depth=50, width=100, dim=1000, activation="identity")
    >>> limit = mf.resnet_mean_field.MeanODE.of(net, nodes=40, points=64)
    >>> descent = mf.resnet_mean_field.GradientDescent(limit, [[0.8]], [1.0], step=0.1)
    >>> run = solvers.integrate(descent, limit.init(rng=0), t_end=0.1)
    >>> round(float(limit.predict(run.final, [[0.8]])[0]), 3)
    0.128
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        span = self.d_in + self.d_out
        if self.dim != span or self.depth < 3 or self.width < 4 * span:
            raise InputError(
                f"a limit has dim={span}, the span of the embeddings, depth of at least 3 nodes and width of at least "
                f"{4 * span} points; make it with MeanODE.of(net)"
            )

    @classmethod
    def of(cls, net: Any, nodes: int = 65, points: int = 1024) -> MeanODE:
        """The limit of a network.

        Parameters
        ----------
        net : ResNet
            Its depth, width and dim do not matter.
        nodes : int
            Of depth; the error is of order ``1/nodes^2``.
        points : int
            Units at each node.
        """
        if not isinstance(net, ResNet):
            raise InputError(f"net must be a mf.resnet_mean_field.ResNet, not {type(net).__name__}")
        nodes = _check.number(nodes, "nodes", positive=True, integer=True)
        points = _check.number(points, "points", positive=True, integer=True)
        span = net.d_in + net.d_out
        if nodes < 3:
            raise InputError(f"nodes must be at least 3, not {nodes}")
        if points < 4 * span:
            raise InputError(
                f"points must be at least {4 * span}, twice the coordinates of (u, v), not {points}: their covariance "
                "is made exact"
            )
        return cls(
            net.d_in, net.d_out, nodes, points, span, net.activation, net.scale, net.u_std, net.v_std, net.in_std,
            net.out_std,
        )  # fmt: skip

    @one_blas_thread()
    def init(self, rng: Any = 0, embeddings: Any = None) -> Weights:
        """Units of the start, Gaussian, on embeddings that are orthogonal (D infinite) or have the span of given ones.

        Parameters
        ----------
        rng : int, SeedSequence or Generator
        embeddings : Weights or tuple (W_E, W_U), optional
            Those of a network of finite D: then this is the limit of infinite L and M at these.
        """
        W_E, W_U = self.span(embeddings)
        require_memory(
            8.0 * self.size, f"a limit of {self.depth} nodes with {self.width} points", "fewer of them"
        )
        words, dim = seed_words(rng, "mean ODE"), self.dim
        U, V = self.views(np.empty(self.size))
        for node in range(self.depth):
            units = whitened(normals(words, node, (self.width, 2 * dim)))
            U[node] = self.u_std * math.sqrt(dim) * units[:, :dim].T
            V[node] = self.v_std * math.sqrt(dim) * units[:, dim:].T
        return Weights.over(U, V, W_E, W_U)

    @one_blas_thread()
    def span(self, embeddings: Any = None) -> tuple[Array, Array]:
        """W_E and W_U in dimension d_in + d_out, with the Gram matrix over the dimension of those given.

        Parameters
        ----------
        embeddings : Weights or tuple (W_E, W_U), optional
            By default the Gram matrix of infinite D.
        """
        assert self.in_std is not None and self.out_std is not None
        if embeddings is None:
            lengths = np.r_[np.full(self.d_in, self.in_std), np.full(self.d_out, self.out_std)]
            W = np.sqrt(self.dim) * np.diag(lengths)
        else:
            # G^(1/2), which varies with G as little as can be: the same `rng` then gives nearly the same units
            rows = self._rows(embeddings)
            _, lengths, axes = np.linalg.svd(rows, full_matrices=False)
            W = math.sqrt(self.dim / len(rows)) * (axes.T * lengths) @ axes
        return W[:, : self.d_in].copy(), W[:, self.d_in :].copy()

    def _rows(self, embeddings: Any) -> Array:
        if isinstance(embeddings, Weights):
            pair: Any = (embeddings.W_E, embeddings.W_U)
        elif isinstance(embeddings, (tuple, list)) and len(embeddings) == 2:
            pair = embeddings
        else:
            raise InputError(
                "embeddings must be Weights, or a pair (W_E, W_U) of shapes (D, d_in) and (D, d_out), not "
                f"{type(embeddings).__name__}"
            )
        W_E, W_U = (_check.array(one, name) for one, name in zip(pair, ("W_E", "W_U"), strict=True))
        if not (
            W_E.ndim == W_U.ndim == 2 and W_E.shape[1:] == (self.d_in,) and W_U.shape[1:] == (self.d_out,)
        ):
            raise InputError(
                f"embeddings must be W_E of shape (D, {self.d_in}), then W_U of shape (D, {self.d_out}), but their "
                f"shapes are {W_E.shape} and {W_U.shape}"
            )
        if len(W_E) != len(W_U):
            raise InputError(
                f"W_E and W_U must have one row per coordinate each, not {len(W_E)} and {len(W_U)}"
            )
        return np.hstack([W_E, W_U])

    @one_blas_thread()
    def lift(self, weights: Any, X: Any, embeddings: Any) -> Array:
        """h at s = 1 in the coordinates of other embeddings, (n, D): the same combination of their columns.

        For D infinite these are the limits of the first D coordinates of networks with such embeddings.

        Parameters
        ----------
        weights : Weights
            Of this limit.
        X : array_like, (n, d_in)
        embeddings : Weights or tuple (W_E, W_U)
        """
        own = self.check_weights(weights)
        h = self.features(own, X)[-1]
        return np.asarray(combined(own.embeddings, h.T).T @ self._rows(embeddings).T)

    # -- the ODE and its adjoint --------------------------------------------------------------------------------

    def forward(self, weights: Weights, X: Array, slopes: bool) -> Pass:
        """``h_{l+1} = h_l + (3 F_l - F_{l-1})/(2 (nodes - 1))``, F the mean over points; the first step Euler's.

        Parameters
        ----------
        weights : Weights
        X : ndarray, (n, d_in)
        slopes : bool
        """
        last = self.depth - 1
        h = np.empty((self.depth, len(X), self.dim))
        h[0] = X @ weights.W_E.T
        values: list[Array] = []
        marks: list[Any] = []
        before: Array | None = None
        for node in range(self.depth):
            if node == last and not slopes:
                break
            s, mark = self.activate(h[node] @ weights.U[node] / self.dim, slopes)
            if slopes:
                values.append(s)
                marks.append(mark)
            if node < last:
                now = (self.scale / self.width) * (s @ weights.V[node].T)
                h[node + 1] = h[node] + _advance(now, before) / last
                before = now
        return Pass(h, values, marks, h[-1] @ weights.W_U / self.dim)

    def backward(self, weights: Weights, made: Pass, q: Array) -> Iterator[Signal]:
        """The adjoint, from the last node to the first.

        Parameters
        ----------
        weights : Weights
        made : Pass
        q : ndarray, (n, d_out)
        """
        b = q @ weights.W_U.T
        before: Array | None = None
        for node in range(self.depth - 1, -1, -1):
            g = b @ weights.V[node]
            g *= made.slopes[node]
            g /= self.dim
            now = (self.scale / self.width) * (g @ weights.U[node].T)
            after = b + _advance(now, before) / (self.depth - 1)
            yield Signal(node, made.h[node], g, b, made.values[node])
            b, before = after, now


def _advance(now: Array, before: Array | None) -> Array:
    return now if before is None else 1.5 * now - 0.5 * before


def combined(columns: Array, h: Array) -> Array:
    """The coefficients of h, (D, n), in columns (D, p): the smallest where columns are dependent."""
    return np.asarray(np.linalg.lstsq(columns, h, rcond=None)[0], dtype=np.float64)


def whitened(points: Array) -> Array:
    """Points (m, p) moved to mean 0 and covariance I, exactly."""
    centred = points - points.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    return np.asarray(centred @ (vectors / np.sqrt(values)) @ vectors.T)

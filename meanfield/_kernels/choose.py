"""A two-layer network bound to data: prediction and pull-back by the strategy that suits the sizes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from meanfield._kernels import two_layer, two_layer_blas
from solvers._threads import for_blocks, one_blas_thread
from solvers.protocols import Array

# Inputs from which one product with BLAS beats a loop per input.
BLAS_FROM_INPUTS = 9
# Pairs (particle, datum) below which starting threads costs more than they save. Sizes alone decide.
PARALLEL_FROM_PAIRS = 200_000


class TwoLayerOnData:
    """``(int Phi dmu)(x_i)`` and its pull-back for ``Phi = a sigma(w . x + b)`` on fixed inputs.

    Parameters
    ----------
    activation : plug-in
    X : ndarray, (n, d)
    outputs : int
        Number of predictions a point.
    fixed : float or None
        The outer weight, where it is not part of theta.
    bias : bool
    """

    def __init__(self, activation: Any, X: Array, outputs: int, fixed: float | None, bias: bool) -> None:
        self.activation = activation
        self.X = X
        self.XT = np.ascontiguousarray(X.T)
        self.outputs = outputs
        self.outer = 0 if fixed is not None else outputs
        self.fixed = 0.0 if fixed is None else float(fixed)
        self.bias = bias
        self.blas = X.shape[1] >= BLAS_FROM_INPUTS

    @property
    def _strategy(self) -> Any:
        # A property, not an attribute: modules cannot be pickled, operators can.
        return two_layer_blas if self.blas else two_layer

    def _for_blocks(self, work: Callable[[int, int], object], m: int) -> None:
        """Call ``work(first, last)`` on ranges of blocks of particles, with BLAS held to one thread where it serves."""
        block = self._strategy.BLOCK
        parallel = m > block and m * self.X.shape[0] >= PARALLEL_FROM_PAIRS
        with one_blas_thread() if self.blas else nullcontext():
            for_blocks(work, -(-m // block), parallel)

    def integrate(self, positions: Array, coefficients: Array) -> Array:
        """``sum_j c_j Phi(theta_j; x_i)``: (n,), or (n, k) with k outputs."""
        strategy = self._strategy
        m, n = positions.shape[0], self.X.shape[0]
        partial = np.empty((-(-m // strategy.BLOCK), self.outputs, n))
        points, masses = np.ascontiguousarray(positions), np.ascontiguousarray(coefficients)
        settings = (self.outer, self.bias, self.fixed)

        def work(first: int, last: int) -> None:
            strategy.integrate(self.activation, points, masses, self.XT, *settings, partial, first, last)

        self._for_blocks(work, m)
        total = partial[0] if partial.shape[0] == 1 else partial.sum(axis=0)
        return total[0] if self.outputs == 1 else np.ascontiguousarray(total.T)

    def pullback(self, positions: Array, q: Array) -> tuple[Array, Array]:
        """``<q, Phi(theta_j)>`` (m,) and its gradient in theta_j (m, p), for q (n,) or (n, k)."""
        strategy = self._strategy
        m, p = positions.shape
        values, gradient = np.empty(m), np.empty((m, p))
        front = np.ascontiguousarray(q.reshape(1, -1) if self.outputs == 1 else q.T)
        data = (self.X, self.XT) if self.blas else (self.XT,)
        points = np.ascontiguousarray(positions)
        settings = (self.outer, self.bias, self.fixed)

        def work(first: int, last: int) -> None:
            strategy.pullback(self.activation, points, *data, front, *settings, values, gradient, first, last)

        self._for_blocks(work, m)
        return values, gradient


def warmup(progress: Any = None) -> int:
    """Compile (or load from the cache) the kernels of the commonest activations; returns how many calls it made.

    Parameters
    ----------
    progress : callable, optional
        Called with a short text before each compilation.
    """
    from meanfield import activations

    plugins: list[Any] = [activations.ReLU(), activations.Tanh(), activations.Sigmoid()]
    calls = 0
    for plugin in plugins:
        for d in (2, BLAS_FROM_INPUTS):
            if progress is not None:
                progress(f"{type(plugin).__name__}, {'loops' if d == 2 else 'BLAS'}")
            data = TwoLayerOnData(plugin, np.ones((8, d)), 1, None, True)
            data.pullback(np.ones((4, d + 2)), data.integrate(np.ones((4, d + 2)), np.ones(4)))
            calls += 1
    return calls

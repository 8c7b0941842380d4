"""The autoencoder: its loss, its exact gradient, and the sums over samples that estimates are made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

CHUNK = 2_000_000  # activations held at a time


def encode(W: Any, eps: Any, Y: Any) -> Array:
    """``r = relu(W y - eps)`` for observations (N, n), shape (N, h).

    Parameters
    ----------
    W : array_like, (h, n)
    eps : float or array_like, (h,)
        Thresholds, 0 or more.
    Y : array_like, (N, n)

    Raises
    ------
    InputError
    """
    weights, cut, data = _all(W, eps, Y)
    with one_blas_thread():
        return np.maximum(data @ weights.T - cut, 0.0)


def reconstruct(W: Any, eps: Any, Y: Any) -> Array:
    """``yhat = W' relu(W y - eps)``, shape (N, n).

    Parameters
    ----------
    W : array_like, (h, n)
    eps : float or array_like, (h,)
    Y : array_like, (N, n)

    Raises
    ------
    InputError
    """
    r = encode(W, eps, Y)
    with one_blas_thread():
        return np.asarray(r @ as_weights(W))


def loss(W: Any, eps: Any, Y: Any) -> float:
    """``1/2 |yhat - y|^2``, the mean over observations.

    Parameters
    ----------
    W : array_like, (h, n)
    eps : float or array_like, (h,)
    Y : array_like, (N, n)

    Raises
    ------
    InputError
    """
    weights, cut, data = _all(W, eps, Y)
    error = reconstruct(weights, cut, data) - data
    return float(0.5 * np.sum(error**2) / len(data))


def gradient(W: Any, eps: Any, Y: Any) -> Array:
    r"""``dL/dW_i = 1_i [(W_i.y - eps_i) I + y W_i'] (yhat - y)``, the mean over observations, (h, n).

    ``1_i`` is 1 where ``W_i.y > eps_i``.

    Parameters
    ----------
    W : array_like, (h, n)
    eps : float or array_like, (h,)
    Y : array_like, (N, n)

    Raises
    ------
    InputError
    """
    weights, cut, data = _all(W, eps, Y)
    with one_blas_thread():
        return np.asarray(passed(weights, cut, data).gradient() / len(data))


class Pass(NamedTuple):
    """What a pass through the network leaves: r (N, h), 1_i, the error yhat - y (N, n), its product with W_i, and y."""

    r: Array
    on: Any
    error: Array
    along: Array
    Y: Array

    def gradient(self) -> Array:
        """Sum of the gradients over samples, (h, n)."""
        return np.asarray(self.r.T @ self.error + self.along.T @ self.Y)

    def squares(self) -> Array:
        """Sum of ``|dL/dW_i|^2`` over samples, (h,)."""
        error, data = np.sum(self.error**2, axis=1), np.sum(self.Y**2, axis=1)
        cross = 2 * np.sum(self.error * self.Y, axis=1)
        return np.asarray(
            error @ self.r**2 + np.einsum("s,si,si->i", cross, self.r, self.along) + data @ self.along**2
        )


def passed(W: Array, eps: Array, Y: Array) -> Pass:
    """A pass through the network, all arguments checked before."""
    r = Y @ W.T - eps
    np.maximum(r, 0.0, out=r)
    on = r > 0
    error = r @ W - Y
    return Pass(r, on, error, np.where(on, error @ W.T, 0.0), Y)


def as_weights(W: Any, n: int | None = None, h: int | None = None) -> Array:
    """W as an array (h, n), checked."""
    return _check.array(W, "W", shape=(h, n))


def as_thresholds(eps: Any, h: int) -> Array:
    """eps as an array (h,), checked."""
    cut = _check.array(eps, "eps", ndim=(0, 1))
    if cut.ndim == 1 and cut.shape != (h,):
        raise InputError(f"eps must be a number or have one entry for each of the {h} units, not {cut.size}")
    if np.any(cut < 0):
        raise InputError(f"eps must be non-negative, not {cut.min():g}: it is subtracted from W y")
    return np.array(np.broadcast_to(cut, (h,)))


def _all(W: Any, eps: Any, Y: Any) -> tuple[Array, Array, Array]:
    weights = as_weights(W)
    return (
        weights,
        as_thresholds(eps, len(weights)),
        _check.array(Y, "Y", shape=(None, weights.shape[1])),
    )

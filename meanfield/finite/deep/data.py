"""What deep networks are given, checked: inputs, labels, gradients in predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array


def check_points(X: Any, d: int) -> Array:
    """X as (n, d), or one sentence."""
    inputs = _check.array(X, "X", finite=False)  # the shape first: None is an array of one NaN
    if inputs.ndim != 2 or inputs.shape[1] != d:
        hint = "; pass X[None] for one point" if inputs.shape == (d,) else ""
        hint = "; pass X[:, None]" if inputs.ndim == 1 == d else hint
        raise InputError(
            f"X must have shape (n, {d}) for this network, but its shape is {inputs.shape}{hint}"
        )
    return _check.array(inputs, "X")


def check_front(q: Any, n: int, outputs: int) -> Array:
    """q, a gradient in the predictions, as (n, outputs), or one sentence."""
    front = _check.array(q, "q")
    if front.shape != (n, outputs) and not (outputs == 1 and front.shape == (n,)):
        wanted = (n,) if outputs == 1 else (n, outputs)
        raise InputError(
            f"q must have shape {wanted}, one entry a prediction, but its shape is {front.shape}"
        )
    return front.reshape(n, outputs)


def check_labels(loss: Any, y: Any, n: int, outputs: int) -> Array:
    """A copy of y as a loss and a network with so many outputs take it, or one sentence.

    Parameters
    ----------
    loss : loss
    y : array_like, (n,) or (n, k)
    n, outputs : int
    """
    if np.shape(y)[:1] != (n,):
        raise InputError(f"y must have one entry per row of X ({n}), but its shape is {np.shape(y)}")
    checked = getattr(loss, "check_labels", None)
    labels = np.array(_check.array(y, "y", ndim=(1, 2)) if checked is None else checked(y, n))
    if getattr(loss, "kind", "") == "cross_entropy":
        if outputs < 2:
            raise InputError("cross-entropy needs a network with 2 outputs at least, one for each class")
        if labels.ndim == 1 and labels.max() >= outputs:
            raise InputError(
                f"y holds the class {int(labels.max())}, but the network has {outputs} outputs, for classes 0 to "
                f"{outputs - 1}"
            )
        if labels.ndim == 2 and labels.shape[1] != outputs:
            raise InputError(f"y has {labels.shape[1]} columns, but the network has {outputs} outputs")
        return labels
    columns = labels.shape[1] if labels.ndim == 2 else 1
    if columns != outputs:
        raise InputError(
            f"y has {columns} column(s), but the network has {outputs} output(s); they must agree"
        )
    return labels.reshape(-1) if outputs == 1 else labels.reshape(n, outputs)


def contradictions(X: Array, y: Array) -> NDArray[np.intp]:
    """Pairs (i, j), i < j, of rows of X that coincide and whose labels differ: one, or more, where there are any.

    Parameters
    ----------
    X : ndarray, (n, ...)
    y : ndarray, (n,) or (n, k)
    """
    n = len(X)
    _, which = np.unique(X.reshape(n, -1), axis=0, return_inverse=True)
    order = np.argsort(which.reshape(-1), kind="stable")
    groups, labels = which.reshape(-1)[order], y.reshape(n, -1)[order]
    found = np.flatnonzero((groups[1:] == groups[:-1]) & (labels[1:] != labels[:-1]).any(axis=1))
    return np.column_stack([order[found], order[found + 1]])

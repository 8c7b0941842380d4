"""The kernel norm F2: margin and interpolation with directions uniform on the sphere, or any kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from meanfield import kernels
from meanfield.activations import ReLU
from meanfield.norms._points import examples, labels
from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

Kernel = Callable[[Array, Array], Array]


def margin_f2(
    X: Any,
    y: Any,
    activation: Any = ReLU(),  # noqa: B008  (immutable)
    bias: bool = False,
) -> float:
    """``gamma_2 = max {min_i y_i f(x_i) : |f|_F2 <= 1}``, gamma_2^2 = min over p in the simplex of p'(YKY)p.

    K is the kernel of directions uniform on the unit sphere, of R^(d+1) with a bias: the margin to which training
    of the output layer alone converges. `meanfield.kernels.hard_margin` of
    ``meanfield.kernels.random_features(X, activation=activation, directions="sphere", bias=bias)`` has the weights p,
    the predictor, and bounds from both sides; this is their mean, which is certain to about 1e-11.

    Parameters
    ----------
    X : array_like, (n, d)
        Inputs as they are. Coordinates that are always zero make the margin smaller: directions are spread over them.
    y : array_like, (n,)
        Labels -1 and 1.
    activation : plug-in or str
    bias : bool

    Raises
    ------
    InputError
        If the data are not separable, or malformed.

    References
    ----------
    Chizat and Bach, 2020 (2002.04486), section 3.
    """
    inputs, targets = examples(X, y, bias)
    targets = labels(targets)
    inputs = inputs[:, :-1] if bias else inputs
    K = kernels.random_features(inputs, activation=activation, directions="sphere", bias=bias)
    return kernels.hard_margin(K, targets).margin


@dataclass(frozen=True, eq=False)
class InterpolationF2:
    """The function of least norm in the space of a kernel through the data: ``f(x) = sum_i alpha_i K(x, x_i)``.

    Attributes
    ----------
    norm : float
        ``sqrt(y' K^+ y)``.
    alpha : ndarray, (n,)
    residual : float
        ``max_i |f(x_i) - y_i|``.
    X : ndarray, (n, d)
    kernel : callable
    """

    norm: float
    alpha: Array
    residual: float
    X: Array = field(repr=False)
    kernel: Kernel = field(repr=False)

    @one_blas_thread()
    def predict(self, X: Any) -> Array:
        """``f(x_i)``, (n,)."""
        inputs = _inputs(X)
        if inputs.shape[1] != self.X.shape[1]:
            raise InputError(
                f"X must have {self.X.shape[1]} columns, as the data have, not {inputs.shape[1]}"
            )
        return np.asarray(_matrix(self.kernel, inputs, self.X) @ self.alpha)


def interpolate_f2(X: Any, y: Any, kernel: Any) -> InterpolationF2:
    """``min {|f|_H : f(x_i) = y_i}`` in the space of a kernel: alpha = K^+ y.

    Parameters
    ----------
    X : array_like, (n, d)
    y : array_like, (n,)
    kernel : callable (X, Z) -> (n, m)
        For example ``lambda X, Z: mf.kernels.random_features(X, Z, directions="sphere", bias=True)``, whose norm is F2.

    Raises
    ------
    InputError
        If K is singular and y is not in its range (one point with two targets, say), or the data are malformed.
    """
    inputs, targets = examples(X, y, False)
    if not callable(kernel):
        raise InputError(
            f"kernel must be a function (X, Z) -> matrix of shape (len(X), len(Z)), not {type(kernel).__name__}; "
            "for example lambda X, Z: mf.kernels.random_features(X, Z, directions='sphere')"
        )
    K = _matrix(kernel, inputs, inputs)
    fit = kernels.ridgeless(0.5 * (K + K.T), targets)
    residual = float(np.abs(fit.values - targets).max())
    return InterpolationF2(fit.norm, fit.alpha, residual, inputs, kernel)


def _inputs(X: Any) -> Array:
    inputs = _check.array(X, "X", ndim=(1, 2))
    return inputs[:, None] if inputs.ndim == 1 else inputs


def _matrix(kernel: Kernel, X: Array, Z: Array) -> Array:
    return _check.array(kernel(X, Z), "kernel(X, Z)", shape=(X.shape[0], Z.shape[0]))

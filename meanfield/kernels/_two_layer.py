"""Kernels of infinitely wide two-layer networks at their start: of random features, and the tangent kernel."""

from __future__ import annotations

from typing import Any

from meanfield import activations
from meanfield.activations import ReLU
from meanfield.kernels._closed import closed_form
from meanfield.kernels._knots import piecewise_linear
from meanfield.kernels._pairs import Inputs, Law, assemble, inputs_of, mirror
from meanfield.plugins import check_activation
from solvers import _check
from solvers._threads import one_blas_thread
from solvers.protocols import Array

RELU = ReLU()
LAWS = ("gaussian", "sphere")


def random_features(
    X: Any,
    Z: Any = None,
    activation: Any = RELU,
    directions: str = "gaussian",
    bias: bool = False,
    rtol: float = 1e-10,
) -> Array:
    """``K(x, z) = E sigma(w.x) sigma(w.z)``: the kernel of infinitely many random features, (n, m).

    ``w ~ N(0, I)``, or w uniform on the unit sphere; with a bias ``sigma(w.x + b)`` and (w, b) of that law
    together, in R^(d+1). With psi the angle of x and z, and D = d (+1) the dimension (inputs are (x, 1) with a bias):

    - `ReLU`: ``|x||z|(sin psi + (pi - psi) cos psi)/(2 pi)``; `LeakyReLU` of slope s: (1-s)^2 of it, and s x.z;
    - `Erf`: ``(2/pi) arcsin(c x.z / root((1 + c|x|^2)(1 + c|z|^2)))``, c = 2 scale^2;
    - `Quadratic`: ``factor^2 (|x|^2|z|^2 + 2 (x.z)^2)``; `Identity`: ``factor^2 x.z``;
    - on the sphere these divided by D (ReLU, linear) or D(D+2) (quadratic);
    - `PiecewiseLinear`: moments of one variable and an integral over an angle for each pair of knots.

    They are exact to about 1e-14, on the diagonal and for near collinear points too; with knots to 1e-15 times
    (steepest slope)^2 |x||z|. A plug-in that is linear between kinks and says ``smooth = False`` is treated as one with
    knots. Any other activation is integrated numerically to `rtol`, `Erf` on the sphere too: milliseconds for hundreds
    of points if it is smooth; curved ones with kinks need about a millisecond a pair of points on the sphere.

    Parameters
    ----------
    X : array_like, (n, d)
    Z : array_like, (m, d), optional
        X itself by default; the matrix is then exactly symmetric.
    activation : plug-in or str
    directions : {"gaussian", "sphere"}
        Law of w.
    bias : bool
    rtol : float
        Accuracy of quadrature, relative to ``root(K(x, x) K(z, z))``; closed forms ignore it. If it is not reached,
        a warning says what was.

    Raises
    ------
    InputError, PluginError

    References
    ----------
    Cho and Saul, "Kernel methods for deep learning", 2009; Williams, "Computing with infinite networks", 1997.
    """
    inputs = inputs_of(X, Z, bias)
    law = Law(_check.choice(directions, "directions", LAWS), inputs.X.shape[1])
    value, _ = _both(activation, law, inputs, 1.0, rtol, slopes=False)
    return value


def tangent(
    X: Any,
    Z: Any = None,
    activation: Any = RELU,
    a_sq: float = 1.0,
    w_law: str = "sphere",
    w_norm: float = 1.0,
    bias: bool = False,
    rtol: float = 1e-10,
) -> Array:
    """``K(x, z) = E sigma(w.x) sigma(w.z) + a_sq (x.z) E sigma'(w.x) sigma'(w.z)``: the tangent kernel, (n, m).

    The limit of ``(1/m) sum_j <grad Phi(theta_j; x), grad Phi(theta_j; z)>`` for neurons ``a sigma(w.x)`` with a
    independent of w and ``E a^2 = a_sq``: the first term belongs to the outer layer, the second to the inner one.
    With a bias, ``sigma(w.x + b)`` and ``x.z + 1``. In closed form, with psi the angle of x and z:

    - `ReLU`: ``E sigma' sigma' = (pi - psi)/(2 pi)``; `LeakyReLU` of slope s: (1-s)^2 of it, and s;
    - `Erf`: ``2c/(pi root((1 + c|x|^2)(1 + c|z|^2) - c^2 (x.z)^2))``, c = 2 scale^2, Gaussian w;
    - `Quadratic`: ``4 factor^2 x.z`` (divided by D on the sphere); `Identity`: ``factor^2``.

    Parameters
    ----------
    X : array_like, (n, d)
    Z : array_like, (m, d), optional
        X itself by default; the matrix is then exactly symmetric.
    activation : plug-in or str
    a_sq : float
        E a^2. 0 leaves the outer layer's kernel.
    w_law : {"sphere", "gaussian"}
        Law of w, or of (w, b) together.
    w_norm : float
        w is so many times a point of the unit sphere, or so many times a standard normal vector.
    bias : bool
    rtol : float
        Accuracy of quadrature, as in `random_features`.

    Raises
    ------
    InputError, PluginError

    References
    ----------
    Jacot, Gabriel and Hongler, 2018 (1806.07572); Chizat, Oyallon and Bach, 2019 (1812.07956).
    """
    inputs = inputs_of(X, Z, bias)
    law = Law(_check.choice(w_law, "w_law", LAWS), inputs.X.shape[1])
    size = _check.number(w_norm, "w_norm", positive=True)
    square = _check.number(a_sq, "a_sq", nonnegative=True)
    value, slopes = _both(activation, law, inputs, size, rtol, slopes=square > 0.0)
    if slopes is None:
        return value
    with one_blas_thread():
        gram = inputs.X @ inputs.Z.T
    if inputs.symmetric:
        mirror(gram)
    slopes *= gram
    slopes *= square
    slopes += value
    return slopes


def _both(
    activation: Any, law: Law, inputs: Inputs, radius: float, rtol: Any, slopes: bool
) -> tuple[Array, Array | None]:
    """E sigma sigma and, if asked for, E sigma' sigma'."""
    sigma = activations.resolve(activation)
    compiled = check_activation(sigma)
    accuracy = _check.number(rtol, "rtol", positive=True)
    closed = closed_form(sigma, law)
    if closed is not None:
        return assemble(inputs, radius, closed, slopes)
    from meanfield.kernels._quadrature import Expectation, as_lines

    lines = as_lines(sigma, compiled, law, inputs, radius)
    if lines is not None:
        return assemble(inputs, radius, piecewise_linear(lines, law), slopes)
    value = Expectation(sigma, compiled, False, law, accuracy).matrix(inputs, radius)
    if not slopes:
        return value, None
    return value, Expectation(sigma, compiled, True, law, accuracy).matrix(inputs, radius)

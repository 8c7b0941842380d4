"""The largest step that an explicit method may take: its interval of stability over the fastest rate of the flow."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from meanfield.flows import SGD, WassersteinFlow
from solvers import _check
from solvers._start import prepare_flow
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.explicit import EULER, ButcherTableau
from solvers.protocols import Array
from solvers.spectrum import products_at, require_products, spectral_radius
from solvers.stochastic import EulerMaruyama

# Coordinates up to which the Jacobian is made and diagonalized.
DENSE = 400
# Beyond, the fastest rate is found to this, relatively.
AGREEMENT = 1e-8


def largest_stable_step(flow: Any, state: Any, t: float = 0.0, method: Any = None) -> float:
    """``h = 2/rho``: beyond it Euler's method, gradient descent that is, amplifies the fastest mode of the flow.

    rho is the fastest rate of decay at the state, the largest ``-lambda`` over eigenvalues of the Jacobian of the
    velocity (activation patterns held at kinks); another explicit method has its own interval of stability in the
    place of 2. Modes that grow by themselves set no limit; one that oscillates
    without decay leaves Euler's method no step at all, 0. A step h of `SGD` is judged by its mean, the full batch: at
    the optimum of noisy data it needs less. Along a run rho changes: ask again at its end, near which training with a
    larger step cannot stay (the edge of stability).

    Parameters
    ----------
    flow : flow
        `WassersteinFlow`, `LinearizedFlow`, `ConicFlow`, `SGD`, `LangevinFlow` (its drift), any flow of `solvers`, or a
        plain function if it is smooth.
    state : object
        Where: a ParticleMeasure, or what the flow moves.
    t : float
        Time, where the velocity depends on it.
    method : optional
        An explicit Runge-Kutta method, as `solvers.Heun` or `solvers.RK4(step=0.1)`; Euler's by default.

    Returns
    -------
    float
        In the flow's unit of time; infinite where no mode decays. Exact up to 400 coordinates and where the Jacobian is
        symmetric in some weights (all flows of particles that keep their masses); else eigenvalues are taken as real
        and rho may be some per cent too small.

    Raises
    ------
    InputError
        For an implicit or stabilized method, and a kinked velocity that knows no Jacobian.
    """
    time = _check.number(t, "t")
    if isinstance(flow, SGD):
        flow = WassersteinFlow(flow.objective, time_unit=flow.time_unit)
    tableau = _tableau(method)
    bound, z, _ = prepare_flow(flow, state)
    inner = getattr(bound, "inner", None)
    if getattr(bound, "kind", "") == "sde" and hasattr(inner, "velocity"):
        bound = inner
    deep = hasattr(getattr(flow, "problem", None), "net")
    if deep and not (hasattr(bound, "velocity") and bound.smooth):
        raise InputError(
            "of deep networks rates are found for GradientFlow with smooth activations; elsewhere see stable_step of "
            "mf.overparametrization.report(run), by the tangent kernel at the start"
        )
    if not hasattr(bound, "velocity"):
        raise InputError(f"{type(flow).__name__} has no velocity whose rates could be found")
    require_products(bound, "largest_stable_step")
    linear = products_at(bound, time, z)
    rates = _rates(linear, bound.velocity(time, z, np.empty_like(z)))
    return min((_limit(tableau, complex(rate)) for rate in rates), default=math.inf)


def _tableau(method: Any) -> ButcherTableau:
    if method is None:
        return EULER
    named = method if isinstance(method, type) else type(method)
    if named is EulerMaruyama:
        return EULER
    found = method if isinstance(method, ButcherTableau) else getattr(method, "tableau", None)
    if not isinstance(found, ButcherTableau):
        raise InputError(
            f"method must be an explicit Runge-Kutta method, such as solvers.Heun, not {method!r}"
        )
    return found


def _rates(linear: Any, velocity: Array) -> Array:
    """Eigenvalues of J with negative real part, which may limit the step; the extreme one alone where N is large."""
    size = velocity.size
    if size <= DENSE:
        with one_blas_thread():
            found = np.linalg.eigvals(_dense(linear, size))
        # what rounding leaves of zero is no rate; an oscillation that does not decay may limit the step too
        zero = 1e-12 * np.abs(found).max(initial=0.0)
        return np.asarray(
            found[(found.real < -zero) | ((found.real <= zero) & (np.abs(found.imag) > 1e3 * zero))]
        )
    weight = linear.weight
    least = (
        _lowest_real(linear, velocity) if weight is None else _lowest_symmetric(linear, np.asarray(weight))
    )
    return np.array([least] if least < 0.0 else [])


def _dense(linear: Any, size: int) -> Array:
    jacobian, axis = np.empty((size, size)), np.zeros(size)
    for k in range(size):
        axis[k] = 1.0
        jacobian[:, k] = linear.product(axis, np.empty(size))
        axis[k] = 0.0
    return jacobian


def _lowest_symmetric(linear: Any, weight: Array) -> float:
    """The least eigenvalue of ``g^(1/2) J g^(-1/2)`` on the coordinates that move, by restarted Lanczos."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    moving = weight > 0
    root, out = np.sqrt(weight[moving]), np.empty(weight.size)

    def apply(v: Array) -> Array:
        full = np.zeros(weight.size)
        full[moving] = v.reshape(-1) / root
        return np.asarray(root * linear.product(full, out)[moving])

    count = int(moving.sum())
    operator = LinearOperator((count, count), matvec=apply, dtype=np.float64)
    start = np.cos(math.sqrt(2.0) * np.arange(count) ** 2)
    with one_blas_thread():
        return float(eigsh(operator, k=1, which="SA", tol=AGREEMENT, v0=start, return_eigenvectors=False)[0])


def _lowest_real(linear: Any, velocity: Array) -> float:
    """The least eigenvalue of J, all of them taken as real: its radius, then the radius of J shifted by that."""
    with one_blas_thread():
        radius = spectral_radius(linear.product, velocity, agreement=AGREEMENT).value

        def shifted(v: Array, out: Array) -> None:
            linear.product(v, out)
            out -= radius * v

        return radius - spectral_radius(shifted, velocity, agreement=AGREEMENT).value


@cache
def _polynomial(tableau: ButcherTableau) -> tuple[float, ...]:
    """Coefficients of ``R(z) = 1 + z b'1 + z^2 b'A1 + ...``, by which a step multiplies a mode; constant first."""
    stages = len(tableau.b)
    a = np.zeros((stages, stages))
    for i, row in enumerate(tableau.a):
        a[i, :i] = row
    coefficients, vector = [1.0], np.ones(stages)
    for _ in range(stages):
        coefficients.append(float(np.dot(tableau.b, vector)))
        vector = a @ vector
    return tuple(coefficients)


def _limit(tableau: ButcherTableau, rate: complex) -> float:
    """The smallest h > 0 from which on ``|R(h rate)| > 1``; 0 where no step damps the mode."""
    c = np.array(_polynomial(tableau)) * (rate / abs(rate)) ** np.arange(len(tableau.b) + 1)
    # |R|^2 - 1 is a polynomial in s = h |rate| without a constant: its positive roots are where stability may end
    square = np.convolve(c, c.conj()).real
    square[0] -= 1.0
    square[np.abs(square) < 1e-14] = 0.0  # terms that cancel, on the imaginary axis
    powers = np.trim_zeros(square[1:], "b")
    roots = np.roots(powers[::-1])
    real = np.sort(roots.real[(np.abs(roots.imag) <= 1e-9 * np.abs(roots)) & (roots.real > 1e-9)])
    marks = np.concatenate([[0.0], real, [2.0 * (real[-1] if real.size else 1.0) + 1.0]])
    for left, right in zip(marks[:-1], marks[1:], strict=True):
        if np.polyval(powers[::-1], 0.5 * (left + right)) > 0.0:
            return float(left / abs(rate))
    return math.inf

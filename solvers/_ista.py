"""Proximal gradient on the weights of fixed particles: the Euclidean comparison to conic particle flows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers import _check
from solvers.errors import DivergenceError, InputError
from solvers.losses import Loss, SquaredLoss, by_name
from solvers.measure import ParticleMeasure
from solvers.protocols import Array

_HALF_SQUARE = SquaredLoss(reduction="sum")


@dataclass(frozen=True)
class IstaRun:
    """What `ista` returns.

    Attributes
    ----------
    coefficients : ndarray, (m,)
        The last u.
    weights : ndarray, (m,)
        The reference weights w of the particles.
    objective : ndarray, (iterations + 1,)
        J(u_k) for k = 0, 1, ...
    gap : float
        A bound of J(u) - min J over the fixed particles, by duality (infinite for losses without one).
    status : str
        "finished" (all iterations done) or "converged" (the gap reached `tolerance`).
    step : float
        The step used.
    """

    coefficients: Array
    weights: Array
    objective: Array
    gap: float
    status: str
    step: float

    @property
    def iterations(self) -> int:
        """Iterations done."""
        return len(self.objective) - 1

    def measure(self, positions: Any) -> ParticleMeasure:
        """``sum_j w_j u_j delta(theta_j)``: masses w |u| and signs."""
        signs = np.where(self.coefficients < 0.0, -1.0, 1.0)
        return ParticleMeasure(
            positions, self.weights * np.abs(self.coefficients), None if (signs > 0.0).all() else signs
        )


def ista(
    features: Any,
    y: Any,
    penalty: float,
    step: float | None = None,
    iterations: int = 1000,
    *,
    nonnegative: bool = False,
    u0: Any = None,
    weights: Any = None,
    loss: str | Loss = _HALF_SQUARE,
    accelerated: bool = False,
    tolerance: float = 0.0,
) -> IstaRun:
    """Minimize ``J(u) = R(sum_j w_j u_j Phi_j) + penalty sum_j w_j |u_j|`` over u in R^m by proximal
    gradient.

    One iteration is ``u_j <- soft(u_j - step <R'(f), Phi_j>, step * penalty)`` with soft(v, c) = sign(v)
    max(|v| - c, 0), or max(v - c, 0) if `nonnegative`: gradient descent in the metric sum_j w_j u_j^2, so
    that the step has the same meaning for every number of particles. The measure is ``sum_j w_j u_j
    delta(theta_j)``.

    Parameters
    ----------
    features : array_like (m, n), or an operator of that shape
        Row j is Phi_j, the feature of particle j at the data. An operator needs ``shape``, ``A @ q`` and
        ``A.T @ u`` (`scipy.sparse.linalg.LinearOperator`, sparse arrays).
    y : array_like, (n,)
    penalty : float
        lam >= 0; no penalty at 0.
    step : float, optional
        1/L by default, L = (curvature of R) * (largest eigenvalue of sum_j w_j Phi_j Phi_j'). Above 2/L it
        diverges. Required for an operator.
    iterations : int
    nonnegative : bool
        Keep u >= 0.
    u0 : array_like, (m,), optional
        Start; zero by default.
    weights : array_like, (m,), optional
        Positive reference weights w; 1/m by default.
    loss : Loss or str
        Default ``SquaredLoss("sum")``: R = |f - y|^2 / 2.
    accelerated : bool
        Nesterov's extrapolation (FISTA), restarted whenever J rises.
    tolerance : float
        Stop when the duality gap is at most this (looked at every tenth iteration if `accelerated`).

    Returns
    -------
    IstaRun

    Raises
    ------
    InputError
        Shapes that disagree, negative penalties or weights, an operator without `step`.
    DivergenceError
        J left the finite numbers: the step is too long.

    Notes ----- BLAS is held to one thread, so that the bits do not depend on how many there are. The gap is
    ``J(u) + R*(s R'(f))``, s = min(1, penalty / max_j |<R'(f), Phi_j>|) (one-sided if `nonnegative`): weak
    duality.

    References
    ----------
    Daubechies, Defrise, De Mol, 2004. Beck, Teboulle, 2009. O'Donoghue, Candes, 2015 (restart).
    """
    lam = _check.number(penalty, "penalty", nonnegative=True)
    count = _check.number(iterations, "iterations", nonnegative=True, integer=True)
    stop = _check.number(tolerance, "tolerance", nonnegative=True)
    risk = by_name(loss)
    dense = hasattr(features, "__array__") or not (hasattr(features, "shape") and hasattr(features, "T"))
    matrix: Any = _check.array(features, "features", ndim=2) if dense else features
    m, n = matrix.shape
    checked: Any = getattr(risk, "check_labels", lambda y, n: _check.array(y, "y", shape=(n,)))(y, n)
    if checked.ndim != 1 or checked.dtype.kind != "f":
        raise InputError(f"y must have shape ({n},) with one output, but its shape is {checked.shape}")
    w = np.full(m, 1.0 / m) if weights is None else _check.array(weights, "weights", shape=(m,))
    if not (w > 0.0).all():
        raise InputError("weights must be positive; leave out particles of weight 0")
    u = np.zeros(m) if u0 is None else _check.array(u0, "u0", shape=(m,)).copy()
    if nonnegative and (u < 0.0).any():
        raise InputError("u0 must be non-negative when nonnegative=True")
    h = None if step is None else float(_check.number(step, "step", positive=True))
    if h is None and not dense:
        raise InputError("step is needed when features is an operator: take at most 1/L")
    from threadpoolctl import threadpool_limits

    # a run that diverges overflows before it is stopped: the check of J says so, not a warning
    with threadpool_limits(limits=1, user_api="blas"), np.errstate(over="ignore", invalid="ignore"):
        h = 1.0 / _lipschitz(matrix, w, risk) if h is None else h
        return _Problem(matrix, checked, w, lam, risk, nonnegative).run(u, h, count, accelerated, stop)


@dataclass(frozen=True)
class _Problem:
    features: Any
    y: Array
    w: Array
    lam: float
    loss: Any
    nonnegative: bool

    def predict(self, u: Array) -> Array:
        return np.asarray(self.features.T @ (self.w * u))

    def objective(self, u: Array, f: Array) -> float:
        return float(self.loss.value(f, self.y) + self.lam * np.sum(self.w * np.abs(u)))

    def shrink(self, v: Array, c: float) -> Array:
        if self.nonnegative:
            return np.maximum(v - c, 0.0)
        return np.sign(v) * np.maximum(np.abs(v) - c, 0.0)

    def gap(self, objective: float, q: Array, slope: Array) -> float:
        """J(u) + R*(s q) for the largest admissible s in [0, 1]; slope_j = <q, Phi_j>."""
        if not hasattr(self.loss, "conjugate"):
            return np.inf
        worst = float(np.max(-slope if self.nonnegative else np.abs(slope)))
        scale = 1.0 if worst <= self.lam else self.lam / worst
        return float(objective + self.loss.conjugate(scale * q, self.y))

    def run(self, u: Array, h: float, iterations: int, accelerated: bool, tolerance: float) -> IstaRun:
        f = self.predict(u)
        values = [self.objective(u, f)]
        point, at = u, f  # where the gradient is taken: u itself, or Nesterov's extrapolation
        inertia = 1.0
        status = "finished"
        for k in range(iterations):
            q = self.loss.gradient(at, self.y)
            slope = np.asarray(self.features @ q)
            if tolerance > 0.0 and (not accelerated or k % 10 == 0):
                gap = self.gap(values[-1], q, slope) if point is u else self.final_gap(values[-1], f)
                if gap <= tolerance:
                    status = "converged"
                    break
            new = self.shrink(point - h * slope, h * self.lam)
            new_f = self.predict(new)
            value = self.objective(new, new_f)
            if not np.isfinite(value):
                raise DivergenceError(
                    f"the objective became {value} at iteration {k + 1} with step {h:g}; take a shorter one "
                    "(step=None is 1/L)"
                )
            if accelerated and value > values[-1] and point is not u:
                # a rise: forget the momentum and take the plain step from u instead
                point, at, inertia = u, f, 1.0
                values.append(values[-1])
                continue
            point, at = new, new_f
            if accelerated:
                ahead = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * inertia * inertia))
                momentum = (inertia - 1.0) / ahead
                inertia = ahead
                if momentum > 0.0:
                    point, at = new + momentum * (new - u), new_f + momentum * (new_f - f)
            u, f = new, new_f
            values.append(value)
        return IstaRun(u, self.w, np.array(values), self.final_gap(values[-1], f), status, h)

    def final_gap(self, objective: float, f: Array) -> float:
        q = self.loss.gradient(f, self.y)
        return self.gap(objective, q, np.asarray(self.features @ q))


def _lipschitz(features: Array, w: Array, loss: Any) -> float:
    """Of the gradient in the metric sum_j w_j u_j^2."""
    m, n = features.shape
    bound = getattr(loss, "curvature_bound", lambda n: None)(n)
    if bound is None:
        raise InputError(f"step is needed: the gradient of the loss {loss!r} has no known Lipschitz constant")
    scaled = np.sqrt(w)[:, None] * features
    gram = scaled.T @ scaled if n <= m else scaled @ scaled.T
    largest = float(np.linalg.eigvalsh(gram)[-1])
    if largest <= 0.0:
        raise InputError("features are all zero; nothing can be fitted")
    return float(bound) * largest

"""A bound of the Jacobian's spectral radius from norms alone: most short runs need no products with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from meanfield._kernels import TwoLayerOnData
from meanfield._linear.curvature import LossCurvature
from solvers.protocols import Array

# Where R'' is not diagonal it is an array (n, n).
MOST_DATA = 2000


def radius_bound(objective: Any, measure: Any, rate: float) -> float:
    """At least ``rho(J)`` for a two-layer network with one output; infinite where the bound is not known.

    With x~ = (x, 1) or x, and |sigma| <= B, |sigma'| <= L, |sigma''| <= L' (0 for a kinked sigma, whose pattern is held
    fixed), the part of J that goes through predictions has at most the trace of R'' times the tangent kernel,

        scale^2 sum_i R''_ii sum_j |c_j| (sigma_ij^2 + a_j^2 L^2 |x~_i|^2),

    and the block of one particle, with q = scale R'(f), at most ``L sum_i |q_i| |x~_i| + max_j |a_j| L' sum_i |q_i|
    |x~_i|^2``; sigma_ij^2 is at most B^2, and ``2 sigma(0)^2 + 2 L^2 |w~_j|^2 |x~_i|^2``.

    Parameters
    ----------
    objective : Objective
    measure : ParticleMeasure
    rate : float
        Factor of the velocity.
    """
    operator = objective._operator
    bounds = getattr(getattr(operator, "activation", None), "bounds", None)
    second = getattr(objective.regularizer, "second", None)
    known = isinstance(operator, TwoLayerOnData) and operator.outputs == 1 and objective.y.size <= MOST_DATA
    if not known or bounds is None or second is None or not hasattr(objective.loss, "hessian"):
        return math.inf
    bend = bounds.slope_lipschitz if getattr(operator.activation, "smooth", True) else 0.0
    if not math.isfinite(bounds.lipschitz + bend):
        return math.inf
    positions, masses = measure.positions, np.abs(measure.coefficients)
    regular = np.asarray(second(positions))
    if regular.ndim:
        return math.inf
    weights, scale = objective._weights(), float(objective._scale)
    f = objective._predictions(measure)
    curvature = LossCurvature(objective.loss, f, objective.y, weights).matrix()
    front = np.abs(curvature if curvature.ndim == 1 else np.diagonal(curvature))
    q = np.abs(scale * objective.loss.gradient(f, objective.y, **weights))
    outer = operator.outer
    inner = np.square(positions[:, outer:]).sum(axis=1)
    a = np.square(positions[:, 0]) if outer else np.full(masses.size, float(operator.fixed) ** 2)
    inputs = np.square(operator.X).sum(axis=1) + bool(operator.bias)
    squares, mass = bounds.lipschitz**2, float(masses.sum())
    through = squares * _times(masses, a) * inputs
    if outer:
        at_zero = float(operator.activation.value(0.0)) ** 2
        growing = 2.0 * at_zero * mass + 2.0 * squares * _times(masses, inner) * inputs
        # a is scaled by sigma, which a bounded activation bounds as well
        through = through + np.minimum(mass * bounds.value**2, growing)
    block = float(np.sqrt(a.max())) * bend * _times(q, inputs)
    if outer:
        block += bounds.lipschitz * _times(q, np.sqrt(inputs))
    mobility = 1.0 if objective.mobility is None else float(np.max(objective.mobility))
    bound = rate * mobility * (scale**2 * _times(front, through) + block + float(regular))
    return bound if math.isfinite(bound) else math.inf


def _times(u: Array, v: Array) -> float:
    """``sum_i u_i v_i``, in an order that does not depend on threads."""
    return float(np.add.reduce(u * v))

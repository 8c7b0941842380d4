"""Certificates of optimality: how far F(mu) is from its infimum, by convex duality.

For any q in R^n,  ``inf F >= -R*(q) - <q, scale c> + inf_mu int [scale <q, Phi> + V] dmu``  (c is the centre).
We take q = s R'(f_mu) with the largest s in [0, 1] that keeps the last term finite, or q = 0 if that bound is
better, and report

    gap = F(mu) + R*(q) + <q, scale c> - inf_mu int [scale <q, Phi> + V] dmu  >=  F(mu) - inf F.

What the last infimum is depends on the problem; `certify` reads the case off network and regularizer. The
certificate is exact where the worst neuron is found for sure, and *heuristic* otherwise: then the gap itself may
be too small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from meanfield._suprema import ascent_minimum, sphere_extremes, torus_minimum
from meanfield.networks import Spikes, TwoLayer
from meanfield.networks.feature_map import Rescaled
from meanfield.regularizers import NoRegularizer, PathNorm, Ridge, TotalVariation
from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array


@dataclass(frozen=True)
class Certificate:
    """``F(mu) - inf F <= gap``.

    Attributes
    ----------
    gap : float
        The duality gap, non-negative; infinite where no bound was found.
    exact : bool
        True if the bound is proved (up to rounding); False if the worst neuron was searched by a heuristic.
    worst : ndarray, (p,), or None
        The neuron that violates the optimality condition most (or comes nearest to violating it).
    value, lower : float
        F(mu), and the lower bound of inf F: gap = value - lower.
    violation : float
        Largest ``-scale <R'(f), Phi>`` over normalized neurons (its absolute value for signed measures), to be
        compared with `threshold`, the regularizer's strength.
    threshold : float
    how : str
        The case, and how the worst neuron was found.
    """

    gap: float
    exact: bool
    worst: Array | None
    value: float
    lower: float
    violation: float
    threshold: float
    how: str

    def __repr__(self) -> str:
        kind = "exact" if self.exact else "heuristic"
        return f"Certificate(gap <= {self.gap:.3g}, {kind}; {self.how})"

    def _repr_html_(self) -> str:
        kind = "exact" if self.exact else "heuristic"
        rows = {
            "value F": f"{self.value:.10g}",
            "lower bound of inf F": f"{self.lower:.10g}",
            "gap": f"{self.gap:.3g} ({kind})",
            "how": self.how,
        }
        cells = "".join(f"<tr><th>{k}</th><td>{v}</td></tr>" for k, v in rows.items())
        return f"<table>{cells}</table>"


@dataclass(frozen=True)
class _Extreme:
    """The largest violation M over normalized neurons: attained value, proved upper bound, where."""

    attained: float
    bound: float
    worst: Array
    exact: bool
    how: str


def certify(objective: Any, measure: Any, *, rng: Any = 0, starts: Any = None) -> Certificate:
    """The duality gap of `objective` at `measure`; see the module for the cases.

    Parameters
    ----------
    objective : Objective
    measure : ParticleMeasure
    rng : int, SeedSequence or Generator
        For the starts of heuristic searches.
    starts : array_like, (k, p), optional
        Further neurons from which heuristic searches start.

    References
    ----------
    Chizat, 2019 (1907.10300), for measures; Bach, 2017 (1412.8690), for variation norms of neurons.
    """
    problem = _Problem(objective, measure, rng, starts)
    regularizer, network = objective.regularizer, objective.network
    if not problem.ours:
        return problem.fixed_mass()
    strength = float(regularizer.strength)
    trained_outer = isinstance(network, TwoLayer) and network.a is None
    if isinstance(regularizer, NoRegularizer) or strength == 0:
        # A trained outer weight, or a free mass, lets f take any value: only q = 0 gives a finite bound.
        free = trained_outer or isinstance(regularizer, TotalVariation) or _is_spikes(network)
        return problem.with_free_outputs() if free else problem.fixed_mass()
    if isinstance(regularizer, TotalVariation):
        violation = _mass_violation(problem)
        if violation is not None:
            return problem.scaled(violation, strength)
        how = "neurons are off the unit sphere, where total variation does not bound them: gap = F - inf R (q = 0)"
        return problem.with_free_outputs(how)
    # Masses are free where Phi and V are homogeneous of the same degree: a mass can be moved into theta.
    degree = getattr(network, "homogeneity", None)
    if degree == 2 and (isinstance(regularizer, Ridge) or trained_outer):
        # On the unit sphere of theta V is strength/2; (|a|^2 + |u|^2)/2 >= |a| |u| makes it strength for (a, u).
        return problem.scaled(_homogeneous_violation(problem), strength if trained_outer else strength / 2)
    if degree == 1 and isinstance(regularizer, PathNorm) and _piecewise_linear(network) is not None:
        violation = _on_sphere(
            problem, network, problem.scale * problem.slope * network.a, absolute=problem.signed
        )
        return problem.scaled(violation, strength * abs(network.a))
    return problem.fixed_mass()


class _Problem:
    """The numbers that every case needs, computed once."""

    def __init__(self, objective: Any, measure: Any, rng: Any, starts: Any) -> None:
        self.objective, self.measure = objective, measure
        self.network, self.regularizer = objective.network, objective.regularizer
        self.rng = generator(rng, "certificate")
        self.scale = float(getattr(self.network, "scale", 1.0))
        self.f = objective._predictions(measure)
        self.slope = objective.loss.gradient(self.f, objective.y, **objective._weights())
        if not hasattr(objective.loss, "conjugate"):
            raise InputError(
                f"a certificate needs the convex conjugate of the loss: give {type(objective.loss).__name__} a method "
                "conjugate(self, q, y)"
            )
        self.value = objective._value(measure)
        if not (np.isfinite(self.value) and np.isfinite(self.slope).all()):
            raise InputError(
                f"the objective is {self.value} at this measure; a diverged run has no certificate"
            )
        self.signed = measure.signs is not None
        # Of a user's regularizer nothing is known, not even that V >= 0.
        self.ours = isinstance(self.regularizer, (NoRegularizer, Ridge, PathNorm, TotalVariation))
        self.extra = None
        if starts is not None:
            self.extra = np.atleast_2d(_check.array(starts, "starts", ndim=(1, 2)))
            if self.extra.shape[1] != measure.dim:
                raise InputError(
                    f"starts must have shape (k, {measure.dim}), but their shape is {np.shape(starts)}"
                )

    def dual(self, s: float) -> float:
        """``-R*(s R'(f)) - s <R'(f), scale c>``."""
        q = s * self.slope
        conjugate = self.objective.loss.conjugate(q, self.objective.y, **self.objective._weights())
        shift = 0.0
        if not self.objective._uncentred:
            shift = self.scale * float(np.sum(q * self.objective._centre))
        return -float(conjugate) - shift

    def _penalty(self, theta: Array) -> tuple[Array, Array]:
        """V and its gradient."""
        return np.asarray(self.regularizer.value(theta)), np.asarray(self.regularizer.gradient(theta))

    def report(self, lower: float, extreme: _Extreme | None, threshold: float, how: str) -> Certificate:
        gap = self.value - lower if np.isfinite(lower) else np.inf
        return Certificate(
            # Weak duality: a negative number is rounding.
            gap=max(float(gap), 0.0),
            exact=True if extreme is None else extreme.exact,
            worst=None if extreme is None else extreme.worst,
            value=self.value,
            lower=float(lower),
            violation=np.nan if extreme is None else extreme.attained,
            threshold=threshold,
            how=how if extreme is None else f"{how}; {extreme.how}",
        )

    def with_free_outputs(self, how: str = "no penalty: gap = F - inf R (q = 0)") -> Certificate:
        """No penalty that helps: the bound is inf R itself, gap = F - inf R."""
        return self.report(self.dual(0.0), None, 0.0, how)

    def scaled(self, extreme: _Extreme, threshold: float) -> Certificate:
        """Masses are free and V is proportional to mass: q is scaled until no neuron violates."""
        s = 1.0 if extreme.bound <= threshold else threshold / extreme.bound
        lower, free = self.dual(s), self.dual(0.0)
        if free > lower:
            # Far from the optimum; q = 0 violates nothing, wherever the worst neuron is.
            certain = replace(extreme, exact=True)
            return self.report(free, certain, threshold, "no penalty used: gap = F - inf R (q = 0)")
        return self.report(lower, extreme, threshold, f"dual certificate scaled by {s:.9g}")

    def fixed_mass(self) -> Certificate:
        """The mass is fixed: the Frank-Wolfe gap ``int F' dmu - mass inf F'``, or F - inf R if that is smaller."""
        mass = self.measure.mass
        extreme, infimum = _infimum(self)
        lower = self.dual(1.0) + mass * infimum
        free = self.dual(0.0)
        if not self.ours:
            floor = ascent_minimum(self._penalty, _starts(self, self._penalty))
            free += mass * floor.lowest
            if free > lower:
                return self.report(free, extreme, 0.0, "gap = F - inf R - mass * inf V (q = 0)")
        elif free > lower:
            return self.report(free, None, 0.0, "no penalty used: gap = F - inf R (q = 0)")
        return self.report(lower, extreme, 0.0, "Frank-Wolfe gap at fixed mass")


# -- free masses: V is constant (total variation) -----------------------------------------------------------------


def _mass_violation(problem: _Problem) -> _Extreme | None:
    """M = max over neurons of -scale <R'(f), Phi> (|.| for signed measures), or None if it is infinite."""
    network = problem.network
    slope = problem.scale * problem.slope
    if _is_spikes(network) and network.dim <= 3:
        return _on_torus(problem, network, slope)
    if isinstance(network, TwoLayer) and _piecewise_linear(network) is not None and network.a is not None:
        norms = np.linalg.norm(problem.measure.positions, axis=1)
        # A homogeneous neuron of unbounded norm has unbounded violation: the certificate is for the sphere.
        if np.abs(norms - 1).max() > 1e-6:
            return None
        found = _on_sphere(problem, network, slope * network.a, absolute=problem.signed)
        return replace(found, how=f"over neurons of norm 1, {found.how}")
    return _searched(problem, slope, sphere=type(problem.objective.space).__name__ == "Sphere")


def _on_torus(problem: _Problem, network: Spikes, slope: Array) -> _Extreme:
    coefficients = network.coefficients(problem.objective.X, slope)
    weight = problem.measure.weights
    heavy = problem.measure.positions[np.argsort(-weight)[: min(64, weight.size)]]
    low = torus_minimum(coefficients, starts=heavy)
    best, worst, bound, exact = -low.lowest, low.argmin, -low.lower_bound, low.exact
    if problem.signed:
        high = torus_minimum(-coefficients, starts=heavy)
        exact = exact and high.exact
        bound = max(bound, -high.lower_bound)
        if -high.lowest > best:
            best, worst = -high.lowest, high.argmin
    how = "minimum over the torus by branch and bound" + ("" if exact else " (work limit reached)")
    return _Extreme(best, bound, worst, exact, how)


# -- homogeneous neurons with weight decay or path norm -----------------------------------------------------------


def _piecewise_linear(network: TwoLayer) -> float | None:
    """The slope at negative arguments of a ReLU, leaky ReLU or identity; None for other activations."""
    kind = type(network.activation).__name__
    if not type(network.activation).__module__.startswith("meanfield."):
        return None
    if kind == "ReLU":
        return 0.0
    if kind == "LeakyReLU":
        return float(network.activation.negative_slope)
    return 1.0 if kind == "Identity" and network.activation.factor == 1.0 else None


def _is_spikes(network: Any) -> bool:
    return isinstance(network.network if isinstance(network, Rescaled) else network, Spikes)


def _augmented(problem: _Problem) -> Array:
    """Inputs with a column of ones where neurons have a bias."""
    X = problem.objective.X
    return np.column_stack([X, np.ones(X.shape[0])]) if problem.network.bias else X


def _homogeneous_violation(problem: _Problem) -> _Extreme:
    network = problem.network
    slope = problem.scale * problem.slope
    if isinstance(network, TwoLayer):
        if network.a is None and network.outputs == 1 and _piecewise_linear(network) is not None:
            return _on_sphere(problem, network, slope, absolute=True)
        if network.a is not None and type(network.activation).__name__ == "Quadratic":
            return _quadratic(problem, network, slope)
    return _searched(problem, slope, sphere=True)


def _on_sphere(problem: _Problem, network: TwoLayer, g: Array, absolute: bool) -> _Extreme:
    """max over |u| = 1 of |sum_i g_i sigma(u . x_i)| (or of its negative), u = (w, b)."""
    low, _ = network.layout["w"]
    starts = problem.measure.positions[:, low:]
    if problem.extra is not None:
        starts = np.vstack([starts, problem.extra[:, low:]])
    found = sphere_extremes(
        _augmented(problem), g, float(_piecewise_linear(network) or 0.0), starts=starts, rng=problem.rng
    )
    attained, u, bound = -found.lowest, found.argmin, -found.lower_bound
    outer = 1.0
    if absolute:
        bound = max(bound, found.upper_bound)
        if found.highest > attained:
            attained, u, outer = found.highest, found.argmax, -1.0
    # A heuristic search bounds M from below only; its own value is the best guess of M there is.
    worst = u if network.a is not None else np.concatenate([[outer], u])
    return _Extreme(attained, bound if found.exact else attained, worst, found.exact, found.how)


def _quadratic(problem: _Problem, network: TwoLayer, slope: Array) -> _Extreme:
    """-scale <R'(f), Phi> = -u' A u on the sphere: an eigenvalue problem, exact in any dimension."""
    X = _augmented(problem)
    factor = float(network.a or 0.0) * float(network.activation.factor)
    values, vectors = np.linalg.eigh(factor * (X.T * slope) @ X)
    # Backward stable: eigenvalues are exact to a few ulps of the norm.
    allowance = 16 * np.finfo(float).eps * X.shape[1] * float(np.abs(values).max())
    attained, worst = float(-values[0]), vectors[:, 0]
    if problem.signed and values[-1] > attained:
        attained, worst = float(values[-1]), vectors[:, -1]
    return _Extreme(attained, attained + allowance, worst, True, "smallest eigenvalue of the quadratic form")


# -- searches -----------------------------------------------------------------------------------------------------


def _starts(problem: _Problem, function: Callable[[Array], tuple[Array, Array]], count: int = 256) -> Array:
    """Neurons of the measure (those where the function is lowest), random ones of the same spread, the user's."""
    measure = problem.measure
    with np.errstate(over="ignore", invalid="ignore"):
        order = np.argsort(function(measure.positions)[0], kind="stable")[:count]
    space = problem.objective.space
    kinds = {"Torus": "uniform", "Sphere": "uniform"}
    if type(space).__name__ in kinds:
        random = space.sample("uniform", count, problem.rng)
    else:
        size = np.sqrt(np.mean(np.square(measure.positions), axis=0)) + 0.1
        random = 2.0 * size * problem.rng.standard_normal((count, measure.dim))
    parts = [measure.positions[order], random]
    if problem.extra is not None:
        parts.append(problem.extra)
    return np.vstack(parts)


def _searched(problem: _Problem, slope: Array, sphere: bool) -> _Extreme:
    """Multistart descent of +-scale <R'(f), Phi> (over the unit sphere of theta where neurons are homogeneous)."""
    operator = problem.objective._operator
    homogeneous_outer = isinstance(problem.network, TwoLayer) and problem.network.a is None

    def on_sphere(sign: float) -> Callable[[Array], tuple[Array, Array]]:
        def evaluate(theta: Array) -> tuple[Array, Array]:
            if not sphere:
                values, gradient = operator.pullback(theta, sign * slope)
                return values, gradient
            norm = np.linalg.norm(theta, axis=1, keepdims=True)
            norm[norm == 0] = 1.0
            unit = theta / norm
            values, gradient = operator.pullback(unit, sign * slope)
            gradient = gradient - np.sum(gradient * unit, axis=1, keepdims=True) * unit
            # At the balance |a| = |(w, b)| = 1/sqrt 2, hence 2 <q, Phi> compares with the threshold of a |(w, b)|.
            factor = 2.0 if homogeneous_outer else 1.0
            return factor * values, factor * gradient / norm

        return evaluate

    low = ascent_minimum(on_sphere(1.0), _starts(problem, on_sphere(1.0)))
    attained, worst = -low.lowest, low.argmin
    # With a trained outer weight its sign already serves both sides.
    if problem.signed and not homogeneous_outer:
        high = ascent_minimum(on_sphere(-1.0), _starts(problem, on_sphere(-1.0)))
        if -high.lowest > attained:
            attained, worst = -high.lowest, high.argmin
    if sphere:
        worst = worst / max(float(np.linalg.norm(worst)), 1e-300)
    attained = max(attained, 0.0)
    return _Extreme(attained, attained, worst, False, low.how)


def _infimum(problem: _Problem) -> tuple[_Extreme, float]:
    """inf over neurons of F'(mu), at fixed mass."""
    objective, network, regularizer = problem.objective, problem.network, problem.regularizer
    slope = problem.scale * problem.slope
    negative = _piecewise_linear(network) if isinstance(network, TwoLayer) else None
    if (
        isinstance(regularizer, Ridge)
        and negative is not None
        and network.a is not None
        and not problem.signed
    ):
        # theta = r u: r a G(u) + strength/2 r^2 has its minimum -(a G)_-^2 / (2 strength).
        extreme = _on_sphere(problem, network, slope * network.a, absolute=False)
        attained, bound = max(extreme.attained, 0.0), max(extreme.bound, 0.0)
        worst = extreme.worst * attained / regularizer.strength
        extreme = _Extreme(attained, bound, worst, extreme.exact, extreme.how)
        return extreme, -(bound**2) / (2 * regularizer.strength)

    def first_variation(sign: float) -> Callable[[Array], tuple[Array, Array]]:
        def evaluate(theta: Array) -> tuple[Array, Array]:
            signs = None if sign > 0 else np.full(theta.shape[0], -1.0)
            values, gradient = objective._variation(slope, theta, signs)
            return np.asarray(values), np.asarray(gradient)

        return evaluate

    low = ascent_minimum(first_variation(1.0), _starts(problem, first_variation(1.0)))
    if problem.signed:
        high = ascent_minimum(first_variation(-1.0), _starts(problem, first_variation(-1.0)))
        low = high if high.lowest < low.lowest else low
    lowest = low.lowest
    return _Extreme(-lowest, -lowest, low.argmin, False, low.how), lowest

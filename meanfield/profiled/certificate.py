"""Certificates of profiled objectives: how far F(mu) is from its infimum over measures of neurons without outer weight.

Eliminating outer weights by duality, for any q in R^n and any measure nu

    F(nu) >= -R*(q) - <q, scale c> + int [V - (scale <q, phi>)^2/(2 ridge)] dnu,

with equality at q = R'(f_nu) = -ridge alpha, where scale <q, phi(theta)> = -ridge a(theta). With q = -s ridge alpha the
right side is ``s A - s^2 B/2 + int [V - s^2 ridge/2 |a|^2] dnu``; its infimum over nu bounds inf F, and s is the best
one. What is compared with what:

- masses free (neurons homogeneous of degree 1 with `Ridge` or `LayerRidge`, `TotalVariation` on the sphere): the bound
  is finite where ``s ridge sup |a| <= threshold``, and then the integral is at least 0;
- mass fixed: the integral is at least the mass times its infimum over neurons; with s = 1 that is the Frank-Wolfe gap.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from meanfield._suprema import ascent_minimum, sphere_extremes
from meanfield.activations import Quadratic
from meanfield.certificate import Certificate, _piecewise_linear
from meanfield.networks import TwoLayer
from meanfield.regularizers import LayerRidge, NoRegularizer, Ridge, TotalVariation
from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array
from solvers.spaces import Sphere

STARTS = 256


class _Supremum(NamedTuple):
    """sup |a(theta)|: attained, a bound (the same where it was searched), where, whether it is proved, and how."""

    attained: float
    bound: float
    worst: Array
    exact: bool
    how: str


def certify(profiled: Any, measure: Any, *, rng: Any = 0, starts: Any = None) -> Certificate:
    """The duality gap of a profiled objective at `measure`; see the module for the cases.

    Parameters
    ----------
    profiled : ProfiledObjective
    measure : ParticleMeasure
    rng : int, SeedSequence or Generator
        For the starts of heuristic searches.
    starts : array_like, (k, p), optional
        Further neurons from which heuristic searches start.
    """
    return _Problem(profiled, measure, rng, starts).certificate()


class _Problem:
    def __init__(self, profiled: Any, measure: Any, rng: Any, starts: Any) -> None:
        self.profiled, self.measure, self.ridge = profiled, measure, float(profiled.ridge)
        self.network, self.regularizer = profiled.network, profiled.regularizer
        self.rng = generator(rng, "certificate")
        self.value = float(profiled.value(measure))
        if not math.isfinite(self.value):
            raise InputError(
                f"the objective is {self.value} at this measure; a diverged run has no certificate"
            )
        dual = profiled._solve(measure).dual
        self.charges = profiled._charges(measure)
        self.linear = self.ridge * float(np.sum(dual * profiled._target))
        self.square = self.ridge**2 * float(np.sum(dual * dual))
        # the supremum is over neurons u / stretch, |u| = 1, where they are homogeneous or live on the sphere
        self.stretch = np.ones(int(self.network.dim))
        self.extra = None
        if starts is not None:
            self.extra = _check.array(starts, "starts", shape=(None, int(self.network.dim)))

    def certificate(self) -> Certificate:
        regularizer, space = self.regularizer, self.profiled.space
        constant = isinstance(regularizer, (NoRegularizer, TotalVariation))
        sphere = isinstance(space, Sphere)
        if sphere:
            norms = np.linalg.norm(self.measure.positions, axis=1)
            if np.abs(norms - 1.0).max() > 1e-6:
                raise InputError(
                    "the measure has neurons off the unit sphere, where they should be; divide each by its norm"
                )
            constant = constant or isinstance(regularizer, Ridge)
        known = constant or isinstance(regularizer, (Ridge, LayerRidge))
        if self._homogeneous and known and not sphere:
            strengths = self._strengths()
            if strengths.all():
                # r^2 (strength - ridge a(theta)^2)/2 for r times a theta with V = strength/2: the mass moves into r
                strength = float(strengths[0])
                self.stretch = np.sqrt(strengths / strength)
                return self._free_mass(math.sqrt(self.ridge * strength))
            return self._report(0.0, None, "neurons of any norm cost nothing: gap = F - 0")
        if self._quadratic_form and known and not sphere:
            return self._report(0.0, None, "outer weights outgrow the penalty of large neurons: gap = F - 0")
        if isinstance(regularizer, TotalVariation) and regularizer.strength > 0:
            return self._free_mass(math.sqrt(2.0 * self.ridge * regularizer.strength))
        if constant:
            return self._fixed_mass()
        return self._searched_mass()

    @property
    def _homogeneous(self) -> bool:
        return isinstance(self.network, TwoLayer) and _piecewise_linear(self.network) is not None

    @property
    def _quadratic_form(self) -> bool:
        return isinstance(self.network, TwoLayer) and isinstance(self.network.activation, Quadratic)

    def _strengths(self) -> Array:
        """The Hessian of V, diagonal, (p,): penalties that are squares of coordinates, or constants."""
        dim = int(self.network.dim)
        if not isinstance(self.regularizer, (Ridge, LayerRidge)):
            return np.zeros(dim)
        return np.asarray(self.regularizer.gradient(np.ones((1, dim)))[0])

    def _report(self, lower: float, found: _Supremum | None, how: str, threshold: float = 0.0) -> Certificate:
        return Certificate(
            # Weak duality: a negative number is rounding.
            gap=max(self.value - lower, 0.0),
            exact=True if found is None else found.exact,
            worst=None if found is None else found.worst,
            value=self.value,
            lower=lower,
            violation=math.nan if found is None else self.ridge * found.attained,
            threshold=threshold,
            how=how if found is None else f"{how}; {found.how}",
        )

    def _free_mass(self, threshold: float) -> Certificate:
        """The penalty is proportional to the mass: the best s with s ridge sup |a| <= threshold."""
        found = self._supremum()
        s = self.linear / self.square if self.square > 0 else 0.0
        if self.ridge * found.bound > 0:
            s = min(s, threshold / (self.ridge * found.bound))
        lower = s * self.linear - 0.5 * s * s * self.square
        return self._report(lower, found, f"free masses, dual certificate scaled by {s:.9g}", threshold)

    def _fixed_mass(self) -> Certificate:
        """V is constant: ``s A - s^2 (B + mass ridge sup |a|^2)/2`` at the best s, plus the constant."""
        found, mass = self._supremum(), self.measure.mass
        curvature = self.square + mass * self.ridge * found.bound**2
        s = self.linear / curvature if curvature > 0 else 0.0
        lower = 0.5 * s * self.linear + mass * float(self.regularizer.value(found.worst[None])[0])
        return self._report(lower, found, f"at fixed mass, dual certificate scaled by {s:.9g}")

    def _searched_mass(self) -> Certificate:
        """Any other V: the Frank-Wolfe gap ``int F' dmu - mass inf F'``, its infimum searched."""
        mass = self.measure.mass

        def variation(theta: Array) -> tuple[Array, Array]:
            values, gradient = self.profiled._variation(self.charges, theta)
            return values, gradient

        unit = isinstance(self.profiled.space, Sphere)
        low = ascent_minimum(self._on_sphere(variation) if unit else variation, self._starts(variation))
        worst = self._retracted(low.argmin) if unit else low.argmin
        lower = self.linear - 0.5 * self.square + mass * low.lowest
        outer = float(np.linalg.norm(self.profiled.outer(self.measure, worst[None])))
        found = _Supremum(outer, outer, worst, False, low.how)
        if lower < 0.0 and isinstance(self.regularizer, (Ridge, LayerRidge)):
            return self._report(0.0, None, "gap = F - 0 (q = 0)")
        return self._report(lower, found, "Frank-Wolfe gap at fixed mass")

    # -- sup |a| -------------------------------------------------------------------------------------------------

    def _supremum(self) -> _Supremum:
        """sup |a(theta)|, over stretched unit vectors where neurons are homogeneous, over the space otherwise."""
        network, single = self.network, self.charges.shape[1] == 1
        if isinstance(network, TwoLayer) and single:
            X = self.profiled.X
            inputs = np.column_stack([X, np.ones(len(X))]) if network.bias else X
            if _piecewise_linear(network) is not None:
                return self._arrangement(inputs, float(_piecewise_linear(network) or 0.0))
            if self._quadratic_form and isinstance(self.profiled.space, Sphere):
                return self._quadratic(inputs)

        def negative_square(theta: Array) -> tuple[Array, Array]:
            values, gradient = self.profiled._variation(self.charges, theta)
            values = values - self.regularizer.value(theta)
            return values, gradient - self.regularizer.gradient(theta)

        unit = self._homogeneous or isinstance(self.profiled.space, Sphere)
        function = self._on_sphere(negative_square) if unit else negative_square
        low = ascent_minimum(function, self._starts(negative_square))
        size = math.sqrt(max(-2.0 * low.lowest / self.ridge, 0.0))
        return _Supremum(size, size, self._retracted(low.argmin) if unit else low.argmin, False, low.how)

    def _arrangement(self, inputs: Array, negative: float) -> _Supremum:
        starts = (
            self.measure.positions if self.extra is None else np.vstack([self.measure.positions, self.extra])
        )
        found = sphere_extremes(
            inputs / self.stretch,
            self.charges[:, 0],
            negative,
            starts=starts * self.stretch,
            rng=self.rng,
        )
        attained, worst = -found.lowest, found.argmin
        if found.highest > attained:
            attained, worst = found.highest, found.argmax
        bound = max(-found.lower_bound, found.upper_bound) if found.exact else attained
        return _Supremum(attained, bound, worst / self.stretch, found.exact, found.how)

    def _quadratic(self, inputs: Array) -> _Supremum:
        factor = float(self.network.activation.factor)
        values, vectors = np.linalg.eigh(factor * (inputs.T * self.charges[:, 0]) @ inputs)
        k = int(np.argmax(np.abs(values)))
        attained = float(np.abs(values[k]))
        # Backward stable: eigenvalues are exact to a few ulps of the norm.
        bound = attained * (1.0 + 16 * np.finfo(float).eps * inputs.shape[1])
        return _Supremum(attained, bound, vectors[:, k], True, "eigenvalues of the quadratic form")

    def _retracted(self, theta: Array) -> Array:
        return theta / max(float(np.linalg.norm(theta * self.stretch)), 1e-300)

    def _on_sphere(self, function: Any) -> Any:
        """The function of theta / |stretch theta|."""
        stretch = self.stretch

        def evaluate(theta: Array) -> tuple[Array, Array]:
            norm = np.linalg.norm(theta * stretch, axis=1, keepdims=True)
            norm[norm == 0] = 1.0
            unit = theta / norm
            values, gradient = function(unit)
            along = np.sum(gradient * unit, axis=1, keepdims=True)
            return values, (gradient - along * stretch**2 * unit) / norm

        return evaluate

    def _starts(self, function: Any) -> Array:
        """Neurons of the measure (those where the function is lowest), random ones of the same spread, the user's."""
        positions = self.measure.positions
        order = np.argsort(function(positions)[0], kind="stable")[:STARTS]
        size = np.sqrt(np.mean(np.square(positions), axis=0)) + 0.1
        parts = [positions[order], 2.0 * size * self.rng.standard_normal((STARTS, positions.shape[1]))]
        if self.extra is not None:
            parts.append(self.extra)
        return np.vstack(parts)

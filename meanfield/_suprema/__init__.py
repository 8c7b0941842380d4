"""Suprema over neurons, as pure functions of arrays: what the duality gap of `Objective.certificate` needs."""

from __future__ import annotations

from meanfield._suprema.ascent import ascent_minimum
from meanfield._suprema.bounds import Extremes, Minimum
from meanfield._suprema.sphere import sphere_extremes
from meanfield._suprema.torus import torus_minimum, trigonometric_coefficients

__all__ = [
    "Extremes",
    "Minimum",
    "ascent_minimum",
    "sphere_extremes",
    "torus_minimum",
    "trigonometric_coefficients",
]

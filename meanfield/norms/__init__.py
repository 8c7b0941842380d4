"""Norms of functions of neurons: the variation norm F1, the kernel norm F2, their margins and interpolants.

``|f|_F1 = inf {|nu|_TV : f = int sigma(u.x) dnu(u)}`` over signed measures on the unit sphere, ``|f|_F2`` the norm of
the reproducing kernel of directions uniform on it: ``|f|_F1 <= |f|_F2`` (Bach, 2017, 1412.8690).
"""

from __future__ import annotations

from meanfield.norms.interpolate import InterpolationF1, interpolate_f1
from meanfield.norms.kernel import InterpolationF2, interpolate_f2, margin_f2
from meanfield.norms.margin import Margin, margin_f1
from meanfield.norms.measured import DataNorms, MeasureNorms, margins, of_data, of_measure
from meanfield.norms.sphere import SphereMeasure

__all__ = [
    "DataNorms",
    "InterpolationF1",
    "InterpolationF2",
    "Margin",
    "MeasureNorms",
    "SphereMeasure",
    "interpolate_f1",
    "interpolate_f2",
    "margin_f1",
    "margin_f2",
    "margins",
    "of_data",
    "of_measure",
]

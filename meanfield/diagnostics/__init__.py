"""Diagnostics of runs, each a report object with its evidence."""

from __future__ import annotations

from meanfield.diagnostics import chaos
from meanfield.diagnostics.chaos import ChaosReport
from meanfield.diagnostics.compare import Comparison, compare
from meanfield.diagnostics.regime import RegimeReport, regime

__all__ = ["ChaosReport", "Comparison", "RegimeReport", "chaos", "compare", "regime"]

"""Diagnostics of runs, each a report object with its evidence."""

from __future__ import annotations

from meanfield.diagnostics import chaos
from meanfield.diagnostics._compare import Comparison, compare
from meanfield.diagnostics._langevin import LangevinReport, langevin_report
from meanfield.diagnostics._regime import Model, RegimeReport, from_torch, regime
from meanfield.diagnostics._stable_step import largest_stable_step
from meanfield.diagnostics._villani import Condition, VillaniReport, villani
from meanfield.diagnostics.chaos import ChaosReport

__all__ = [
    "ChaosReport",
    "Comparison",
    "Condition",
    "LangevinReport",
    "Model",
    "RegimeReport",
    "VillaniReport",
    "chaos",
    "compare",
    "from_torch",
    "langevin_report",
    "largest_stable_step",
    "regime",
    "villani",
]

"""Lazy or rich? How far training went from where it started, and from what the kernel of the start would have done."""

from __future__ import annotations

from meanfield.diagnostics._regime.entry import regime
from meanfield.diagnostics._regime.model import Model, from_torch
from meanfield.diagnostics._regime.report import RegimeReport

__all__ = ["Model", "RegimeReport", "from_torch", "regime"]

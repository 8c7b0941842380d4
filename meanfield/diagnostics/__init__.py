"""Diagnostics of runs, each a report object with its evidence."""

from __future__ import annotations

from meanfield.diagnostics.regime import RegimeReport, regime

__all__ = ["RegimeReport", "regime"]

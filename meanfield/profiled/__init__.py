"""Objectives with the outer weights eliminated: the objective, its network, certificate and potential."""

from __future__ import annotations

from meanfield.profiled.objective import ProfiledObjective

__all__ = ["ProfiledObjective"]

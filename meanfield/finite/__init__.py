"""Networks of finite width with exact solutions: diagonal linear networks, the scalar linear network."""

from __future__ import annotations

from meanfield.finite import diagonal, linear

__all__ = ["diagonal", "linear"]

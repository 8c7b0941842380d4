"""Networks of finite width with exact solutions or rates: diagonal and scalar linear networks, one gate, Neuro-Tron."""

from __future__ import annotations

from meanfield.finite import diagonal, linear, neurotron, relu_gate

__all__ = ["diagonal", "linear", "neurotron", "relu_gate"]

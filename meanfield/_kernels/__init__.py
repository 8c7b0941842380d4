"""The hot loops, one strategy a file; `TwoLayerOnData` chooses among them from the sizes of the problem."""

from __future__ import annotations

from meanfield._kernels.choose import TwoLayerOnData, warmup

__all__ = ["TwoLayerOnData", "warmup"]

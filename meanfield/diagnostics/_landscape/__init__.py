r"""The landscape between solutions: what dropping neurons changes, and paths of low loss from one solution to another.

    report = mf.landscape.dropout(objective, run.final, keep=0.5, draws=50, rng=0)
    found = mf.landscape.connect(objective, run, other, path="dropout")        # or "line", "aligned"
    found.barrier, found.interval, found.path(0.3), found.plot()

States are measures of neurons with an `Objective`, or weights of a dense or convolutional network with a
`mf.finite.deep.Problem`; runs stand for their last state. All losses are R(f), without the penalty.

References
----------
Kuditipudi et al., 2019 (1906.06247), as remembered; Shevchenko and Mondelli, 2020 (1912.10095), its abstract re-read.
"""

from __future__ import annotations

from meanfield.diagnostics._landscape.connection import Connection
from meanfield.diagnostics._landscape.dropping import drop, dropout
from meanfield.diagnostics._landscape.joining import connect
from meanfield.diagnostics._landscape.stability import DropoutReport, Interval

__all__ = ["Connection", "DropoutReport", "Interval", "connect", "drop", "dropout"]

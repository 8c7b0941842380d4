"""Over-parametrized training of deep networks: what the theorem says in shape beside what a run did.

`report` looks at one run of `mf.finite.deep`, `slopes` at many of several widths.
"""

from __future__ import annotations

from meanfield.diagnostics._overparametrization.entry import dissipation, report
from meanfield.diagnostics._overparametrization.estimates import WidthSlope
from meanfield.diagnostics._overparametrization.outcome import OverparametrizationReport
from meanfield.diagnostics._overparametrization.powers import WidthSlopes, slopes

__all__ = ["OverparametrizationReport", "WidthSlope", "WidthSlopes", "dissipation", "report", "slopes"]

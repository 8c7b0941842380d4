"""Diagonal linear networks ``w = u^D - v^D``: gradient flow, the same flow in closed form, its limit, and the norms.

The flow of ``1/(2n) |X w - y|^2`` in (u, v) from u = v = alpha stays on the curves

    w = 2 alpha^2 sinh(t)                                 (D = 2)
    w = alpha^D h(alpha^(D-2) t),  h(z) = (1 - z)^(-D/(D-2)) - (1 + z)^(-D/(D-2))   (D >= 3)

with t = X' nu: its limit is the w with X w = y of this form, which minimizes a potential between the l1 norm
(alpha -> 0) and the l2 norm (alpha -> infinity).

References
----------
Woodworth et al., Kernel and rich regimes in overparametrized models, 2020 (2002.09277, as remembered).
"""

from __future__ import annotations

from meanfield.finite.diagonal.flow import DiagonalFlow, DualFlow
from meanfield.finite.diagonal.limit import Limit, limit, limits
from meanfield.finite.diagonal.mirror import potential
from meanfield.finite.diagonal.norms import basis_pursuit, least_norm

__all__ = ["DiagonalFlow", "DualFlow", "Limit", "basis_pursuit", "least_norm", "limit", "limits", "potential"]

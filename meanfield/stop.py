"""Stop rules that know the objective."""

from __future__ import annotations

from typing import Any

from solvers import _check
from solvers.errors import InputError
from solvers.observe import StopRule


def gap_below(eps: float) -> StopRule:
    """Stop when the duality gap of the certificate is below `eps`; looked at at saves.

    Parameters
    ----------
    eps : float
        Positive, in units of the objective.

    Examples
    --------
    ``solvers.integrate(flow, mu0, t_end=1e4, until=mf.gap_below(1e-4))``
    """
    eps = _check.number(eps, "eps", positive=True)

    def gap(view: Any) -> float:
        objective = getattr(view.flow, "objective", None)
        if objective is None or not hasattr(objective, "certificate"):
            raise InputError("gap_below needs a flow of an Objective, which has a certificate")
        return float(objective.certificate(view.state).gap)

    return StopRule(gap, "the certificate's gap", below=eps)

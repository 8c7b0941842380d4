"""From unit directions with coefficients to neurons of a network, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from meanfield.norms._points import Points
from solvers import _check
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array


def atoms(u: Array, c: Array, bias: bool) -> ParticleMeasure:
    """``sum_j c_j sigma(u_j.x)`` as neurons (a, w, b): a = sign c, (w, b) = u, mass |c|."""
    d = u.shape[1] - int(bias)
    order = np.argsort(-np.abs(c), kind="stable")
    u, c = u[order], c[order]
    return ParticleMeasure.from_arrays(
        a=np.where(c < 0.0, -1.0, 1.0), w=u[:, :d], b=u[:, d] if bias else None, weights=np.abs(c)
    )


def directions_of(starts: Any, points: Points) -> Array | None:
    """Directions to start from, in the row space of the data, as unit vectors."""
    if starts is None:
        return None
    dim = points.X.shape[1]
    if isinstance(starts, ParticleMeasure):
        layout = starts.layout or {}
        first, last = (
            layout.get("w", (0, starts.dim))[0],
            layout.get("b", layout.get("w", (0, starts.dim)))[1],
        )
        raw = np.asarray(starts.positions[:, first:last])
    else:
        raw = _check.array(starts, "starts", ndim=2)
    if raw.shape[1] != dim:
        raise InputError(
            f"starts must have {dim} columns, those of X and the bias if there is one, but they have {raw.shape[1]}"
        )
    v = raw @ points.basis.T
    norms = np.linalg.norm(v, axis=1)
    kept = norms > 0.0
    return np.asarray(v[kept] / norms[kept, None]) if kept.any() else None

"""`train`: the first story in one call; twenty lines over the objects, and no logic of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from meanfield.flows import WassersteinFlow
from meanfield.networks import TwoLayer
from meanfield.objective import Objective
from meanfield.regularizers import Ridge
from meanfield.run import Run
from meanfield.stop import gap_below
from solvers import _check, integrate, logspace
from solvers.errors import InputError
from solvers.losses import CrossEntropy
from solvers.measure import ParticleMeasure


def train(
    X: Any,
    y: Any,
    *,
    activation: Any = "relu",
    width: int = 1000,
    ridge: float = 1e-3,
    scale: float = 1.0,
    bias: bool = True,
    loss: Any = None,
    start: str = "gaussian",
    gap: float = 1e-3,
    t_max: float = 1000.0,
    method: Any = None,
    rng: Any = 0,
    observers: Any = (),
) -> Run:
    """Train an infinitely wide two-layer network by its Wasserstein gradient flow.

    Minimizes ``R(f_mu) + ridge/2 int |theta|^2 dmu`` over measures mu of neurons, carried by `width` particles;
    stops when the duality gap is below `gap` times the objective at the start, or at time `t_max`.

    Parameters
    ----------
    X : array_like, (n, d)
    y : array_like, (n,) or (n, k)
    activation : plug-in or str
    width : int
        Number of particles.
    ridge : float
        Strength of the weight decay, ``V = ridge/2 |theta|^2``.
    scale : float
        The factor alpha: large is lazy. With ``scale != 1`` the start is doubled (f = 0 there, even `width`) and
        time is divided by scale^2 (``time_unit="alpha"``).
    bias : bool
    loss : loss or str
        ``SquaredLoss()`` by default: 1/2 mean (f - y)^2.
    start : {"gaussian", "sphere"}
    gap : float
        Tolerance of the certificate, relative to the size of the objective at the start.
    t_max : float
        Time at which to stop in any case.
    method : optional
        Of integration; chosen from the problem by default.
    rng : int, SeedSequence or Generator
    observers : sequence
        Such as ``[solvers.Progress()]``.

    Returns
    -------
    Run
        ``run.certificate``, ``run.regime()``, ``run.sgd(...)``, ``run.plot()``; states are kept at all saves.
    """
    t_max = _check.number(t_max, "t_max", positive=True)
    gap = _check.number(gap, "gap", positive=True)
    width = _check.number(width, "width", positive=True, integer=True)
    if scale != 1.0 and width % 2:
        raise InputError(f"scale={scale} doubles the start (f = 0 there), so width must be even, not {width}")
    inputs = np.asarray(_check.array(X, "X", ndim=(1, 2)))
    inputs = inputs[:, None] if inputs.ndim == 1 else inputs
    labels = np.asarray(y)
    kind = loss if isinstance(loss, str) else getattr(loss, "kind", "")
    outputs = labels.shape[1] if labels.ndim == 2 else 1
    if kind == "cross_entropy" and labels.ndim == 1 and labels.size:
        outputs = max(2, int(CrossEntropy().check_labels(labels, len(labels)).max()) + 1)
    lazy = scale != 1.0
    network = TwoLayer(activation, inputs.shape[1], bias=bias, scale=scale, outputs=outputs)
    objective = Objective(network, inputs, y, loss=loss, regularizer=Ridge(ridge))
    draw = {"gaussian": ParticleMeasure.gaussian, "sphere": ParticleMeasure.sphere}
    mu0 = draw[_check.choice(start, "start", draw)](network, width, rng, doubled=lazy)
    with np.errstate(over="ignore", invalid="ignore"):
        first = objective.value(mu0)
    if not np.isfinite(first):
        raise InputError(f"the objective is {first} at the start: X or y are too large; rescale them")
    flow = WassersteinFlow(objective, time_unit="alpha" if lazy else "flow")
    run: Run = integrate(
        flow,
        mu0,
        t_max,
        method=method,
        save=logspace(t_max * 1e-4, t_max, 40),
        keep="all",
        # Margin losses may start below 0; at a start of value 0 nothing but an exact optimum will do.
        until=gap_below(max(gap * abs(first), np.finfo(float).tiny)),
        observers=observers,
    )
    return run

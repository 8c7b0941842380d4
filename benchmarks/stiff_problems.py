"""Six particle flows, most of them stiff, on which methods of integration are compared.

Each function returns ``(flow, start, t_end, name)``; the data are random, the sizes those of the measurements that
the choice of methods rests on. Stiffness is rho t_end, with rho the spectral radius of the Jacobian.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import meanfield as mf
import solvers

Problem = tuple[Any, solvers.ParticleMeasure, float, str]


def _teacher(activation: str, teacher: str, d: int, n: int, m: int, t_end: float, name: str) -> Problem:
    X = np.random.default_rng(0).standard_normal((n, d))
    network = mf.TwoLayer(activation, d=d)
    target = mf.TwoLayer(teacher, d=d, bias=False).predict(mf.data.teacher(d, 3, rng=1), X)
    objective = mf.Objective(network, X, target)
    start = solvers.ParticleMeasure.gaussian(network, m, rng=2)
    return mf.WassersteinFlow(objective), start, t_end, name


def tanh_long(m: int = 1000, t_end: float = 1e4, teacher: str = "tanh") -> Problem:
    """Tanh neurons in the plane, trained for long: few fast modes, slow progress along many.

    With teacher="relu" more modes take part, and all methods need up to four times as many evaluations.
    """
    return _teacher("tanh", teacher, 2, 200, m, t_end, "tanh d=2 n=200")


def relu_plane(m: int = 1000, t_end: float = 1e3) -> Problem:
    """ReLU neurons in the plane: the velocity jumps where a neuron's line crosses a datum."""
    return _teacher("relu", "relu", 2, 200, m, t_end, "ReLU d=2 n=200")


def relu_ten(m: int = 1000, t_end: float = 1e3) -> Problem:
    """ReLU neurons in ten dimensions: more modes, and a spectral radius that grows along the run."""
    return _teacher("relu", "relu", 10, 500, m, t_end, "ReLU d=10 n=500")


def lazy(m: int = 1000, scale: float = 100.0, t_end: float = 100.0) -> Problem:
    """Lazy training: a network times a large factor hardly moves its neurons, and its flow is almost linear."""
    X = np.random.default_rng(0).standard_normal((100, 2))
    target = mf.TwoLayer("relu", d=2, bias=False).predict(mf.data.teacher(2, 3, rng=1), X)
    plain = mf.TwoLayer("tanh", d=2)
    start = solvers.ParticleMeasure.gaussian(plain, m, rng=2)
    network = mf.TwoLayer("tanh", d=2, scale=scale, centre=start)
    return mf.WassersteinFlow(mf.Objective(network, X, target)), start, t_end, f"lazy alpha={scale:g} tanh"


def deconvolution(m: int = 500, frequencies: int = 10, t_end: float = 10.0) -> Problem:
    """Spikes on a circle from low frequencies, conic flow: masses and positions move at very different speeds."""
    network = mf.Spikes(dim=1, frequencies=frequencies)
    positions, weights = mf.data.spikes(5, dim=1, rng=0, weights=(20.0, 200.0), separation=0.2)
    objective = mf.Objective.deconvolution(
        network, positions=positions, weights=weights, regularizer=mf.TotalVariation(1.0)
    )
    start = solvers.ParticleMeasure(network.space.sample("grid", m, 0), np.full(m, 1.0 / m))
    return mf.ConicFlow(objective, retraction="canonical"), start, t_end, "deconvolution fc=10"


def soft_min(m: int = 1000, t_end: float = 20.0) -> Problem:
    """Maximum-margin training of tanh neurons by the soft minimum: not stiff."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 2))
    y = np.where(X[:, 0] * X[:, 1] > 0, 1.0, -1.0)
    network = mf.TwoLayer("tanh", d=2)
    objective = mf.Objective(network, X, y, loss=mf.SoftMinMargin(), regularizer=mf.Ridge(1e-2))
    start = solvers.ParticleMeasure.gaussian(network, m, rng=2)
    return mf.WassersteinFlow(objective), start, t_end, "soft-min tanh d=2 n=100"


PROBLEMS = (tanh_long, relu_plane, relu_ten, lazy, deconvolution, soft_min)

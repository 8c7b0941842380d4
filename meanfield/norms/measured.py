"""Norms of a network and of data; margins of a trained network with a certificate from either side."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield import kernels
from meanfield.activations import ReLU
from meanfield.networks import TwoLayer
from meanfield.norms._atoms import atoms
from meanfield.norms._directions import supremum
from meanfield.norms._points import examples, labels, prepare, slopes
from meanfield.norms._program import weights_for
from meanfield.norms.interpolate import InterpolationF1, interpolate_f1
from meanfield.norms.kernel import interpolate_f2
from meanfield.norms.margin import Margin
from meanfield.norms.sphere import SphereMeasure
from solvers import _check
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array


@dataclass(frozen=True, eq=False)
class DataNorms:
    """Least norms of functions through data: ``f1 <= f2``.

    Attributes
    ----------
    f1 : InterpolationF1
        Its `norm` and `lower` bracket the least variation norm.
    f2 : float
        ``sqrt(y' K^+ y)``, K the kernel of directions uniform on the sphere.
    """

    f1: InterpolationF1
    f2: float


@dataclass(frozen=True, eq=False)
class MeasureNorms:
    """Norms of a network ``f = scale (int a sigma(w.x + b) dmu - centre)``: ``variation <= path <= decay``.

    Attributes
    ----------
    decay : float
        ``1/2 int (|a|^2 + |(w, b)|^2) d|mu|``, times the scale, of the neurons without those of a centre: what
        weight decay sees. Equal to their path norm where |a| = |(w, b)|.
    path : float
        ``int |a| |(w, b)| d|mu|``, times the scale, those of a centre too.
    variation : float
        |nu|_TV of the lift to the sphere, with what cancels at one direction gone: at least |f|_F1.
    features : float
        ``sqrt(int a^2 d|mu|)``, times the scale: the norm of f among functions of these features, which is what
        training of the output layer bounds.
    data : DataNorms or None
        Least norms of functions with these predictions on X: ``data.f1.lower <= |f|_F1 <= variation``.
    """

    decay: float
    path: float
    variation: float
    features: float
    data: DataNorms | None


def of_data(
    X: Any,
    y: Any,
    activation: Any = ReLU(),  # noqa: B008  (immutable)
    bias: bool = False,
    **options: Any,
) -> DataNorms:
    """``min |f|_F1`` and ``min |f|_F2`` over functions with ``f(x_i) = y_i``.

    Parameters
    ----------
    X : array_like, (n, d)
    y : array_like, (n,)
    activation : plug-in or str
        Positively 1-homogeneous.
    bias : bool
    **options
        Of `interpolate_f1`: ``tolerance``, ``max_rounds``, ``starts``, ``rng``.
    """
    f1 = interpolate_f1(X, y, activation, bias, **options)

    def kernel(left: Array, right: Array) -> Array:
        return kernels.random_features(left, right, activation=activation, directions="sphere", bias=bias)

    return DataNorms(f1, interpolate_f2(X, y, kernel).norm)


def of_measure(measure: ParticleMeasure, network: TwoLayer, X: Any = None, **options: Any) -> MeasureNorms:
    """The norms of a network, and those of its values on data.

    Parameters
    ----------
    measure : ParticleMeasure
    network : TwoLayer
        One output, a positively 1-homogeneous activation.
    X : array_like, (n, d), optional
        Inputs on which the least norms of functions with the same values are worked out.
    **options
        Of `interpolate_f1`: ``tolerance``, ``max_rounds``, ``starts``, ``rng``; `starts` are the network's own
        directions unless given.
    """
    sphere = SphereMeasure.of(measure, network)
    positions = network.check_positions(measure.positions)
    low, _ = network.layout["w"]
    outer = positions[:, 0] if low else np.full(positions.shape[0], float(network.a or 0.0))
    inner = (positions[:, low:] ** 2).sum(axis=1)
    mass = network.scale * measure.weights
    data = None
    if X is not None:
        options = {"starts": sphere.directions, **options}
        data = of_data(X, network.predict(measure, X), network.activation, network.bias, **options)
    return MeasureNorms(
        decay=float(0.5 * mass @ (outer**2 + inner)),
        path=sphere.mass,
        variation=sphere.variation,
        features=network.scale * float(np.sqrt(measure.weights @ outer**2)),
        data=data,
    )


def margins(
    run: Any,
    network: Any = None,
    X: Any = None,
    y: Any = None,
    *,
    space: str | None = None,
    weights: Any = None,
    rng: Any = 0,
) -> Margin:
    """The normalized margin of a trained network from below, and the best there is from above.

    - Below, in F1: ``min_i y_i f(x_i) / |nu|_TV``, with nu the lift of the network to the sphere. Above:
      ``sup_u |sum_i p_i y_i sigma(u.x_i)|`` for the weights p of training, ``p_i`` proportional to the slope of the
      loss at datum i (softmin weights for `SoftMinMargin` and `ExponentialLoss`), or those that are best for the
      network's own directions, whichever gives less: exact to rank 3, heuristic beyond (`certified` False).
    - In F2 (training of the output layer only): ``min_i y_i f(x_i) / sqrt(int a^2 dmu)`` and ``sqrt(p'(YKY)p)`` with
      the kernel K of the network's own features, ``int sigma(w.x) sigma(w.z) dmu``: exact at any rank.

    With f = (1/m) sum b (a.x)_+, Chizat and Bach (2020) divide by ``sum (|a|^2 + b^2) / m`` where both layers move,
    twice the norm here at balance: their margin is half of this one. Where the output layer moves alone they divide
    by ``sqrt(sum b^2)/m``: their margin is ``sqrt(m)`` times this one.

    Parameters
    ----------
    run : Run or ParticleMeasure
        A run of a flow on data (its final measure, network, X, y and loss are used), or a measure.
    network : TwoLayer, optional
        One output, a positively 1-homogeneous activation in F1. Needed with a measure.
    X : array_like, (n, d), optional
    y : array_like, (n,), optional
        Labels -1 and 1.
    space : {"f1", "f2"}, optional
        By default "f2" if only the outer weights move (``train=("a",)``), else "f1".
    weights : array_like, (n,), optional
        p, in place of those of training; normalized to sum 1.
    rng : int, SeedSequence or Generator

    Returns
    -------
    Margin
        `low` is negative if the network misclassifies a point.
    """
    measure, slope = run, None
    if not isinstance(run, ParticleMeasure):
        if not hasattr(run, "objective") or not hasattr(run, "final"):
            raise InputError(
                f"margins needs a run, or a measure with network, X and y, not {type(run).__name__}"
            )
        measure = run.final
        if network is None and X is None and y is None:
            objective = run.objective
            network, X, y = objective.network, objective.X, objective.y
            slope = objective.loss.gradient(objective.predict(measure), objective.y, **objective._weights())
    if not isinstance(network, TwoLayer) or X is None or y is None:
        raise InputError("margins of a measure needs the arguments network (a TwoLayer), X and y")
    if network.outputs != 1:
        raise InputError(f"margins needs one output, but the network has {network.outputs}")
    inputs, targets = examples(X, y, False)
    targets = labels(targets)
    if space is None:
        space = "f2" if network.train == ("a",) else "f1"
    candidates = []
    if weights is not None:
        given = _check.array(weights, "weights", shape=(targets.size,))
        if (given < 0).any() or given.sum() == 0.0:
            raise InputError("weights must be non-negative with a positive sum")
        candidates.append(given)
    elif slope is not None:
        pull = -np.asarray(slope).reshape(-1) * targets
        # of a loss that also pulls back points beyond their label (squares), what pulls forward
        if (pull > 0.0).any():
            candidates.append(np.maximum(pull, 0.0))
    attained = targets * network.predict(measure, inputs)
    with one_blas_thread():
        if _check.choice(space, "space", ("f1", "f2")) == "f1":
            return _in_f1(measure, network, inputs, targets, attained, candidates, weights is None, rng)
        return _in_f2(measure, network, inputs, targets, attained, candidates, weights is None)


def _in_f1(
    measure: ParticleMeasure,
    network: TwoLayer,
    X: Array,
    y: Array,
    attained: Array,
    candidates: list[Array],
    search: bool,
    rng: Any,
) -> Margin:
    _, upper, lower = slopes(network.activation, "margins")
    sphere = SphereMeasure.of(measure, network).merged()
    if sphere.mass == 0.0:
        raise InputError("the neurons cancel: the network is zero and has no margin")
    inputs = np.column_stack([X, np.ones(y.size)]) if network.bias else X
    points = prepare(inputs, upper, lower)
    v = sphere.directions @ points.basis.T
    length = np.linalg.norm(v, axis=1)
    v = v[length > 0.0] / length[length > 0.0, None]
    if search:
        # contradictions and points at 0 give no margin at all, and then any weights do
        best = weights_for(points.Z, points.slope, y[points.rows], v)
        if best is not None:
            p = np.zeros(y.size)
            p[points.rows] = best
            candidates = [*candidates, p]
    candidates = candidates or [np.ones(y.size)]
    found = []
    for p in candidates:
        p = p / p.sum()
        # all data, in the basis of the row space: rays are counted as they are
        Z = inputs @ points.basis.T
        mirrored = -1.0 if abs(lower) > abs(upper) else 1.0
        top = supremum(mirrored * Z, points.slope, p * y, v, rng)
        dropped = float(p @ np.linalg.norm(inputs - Z @ points.basis, axis=1))
        found.append((max(abs(upper), abs(lower)) * (top.height + dropped), p, top.exact, top.how))
    high, p, exact, how = min(found, key=lambda one: one[0])
    mass = sphere.mass
    normalized = atoms(sphere.directions, sphere.masses / mass, network.bias)
    return Margin(float(attained.min()) / mass, high, exact, normalized, p, f"F1; {how}", 0)


def _in_f2(
    measure: ParticleMeasure,
    network: TwoLayer,
    X: Array,
    y: Array,
    attained: Array,
    candidates: list[Array],
    search: bool,
) -> Margin:
    positions = network.check_positions(measure.positions)
    if network.a is not None or network.centre is not None:
        raise InputError(
            "margins in F2 needs trained outer weights and no centre: leave a= and centre= of the network"
        )
    outer, inner = positions[:, 0], positions.copy()
    inner[:, 0] = 1.0
    phi = network.features(inner, X)
    K = (phi.T * measure.weights) @ phi
    if search:
        # if these features do not separate the data, the weights of training say so as well
        with contextlib.suppress(InputError):
            candidates = [*candidates, kernels.hard_margin(K, y).weights]
    candidates = candidates or [np.ones(y.size)]
    tried = [p / p.sum() for p in candidates]
    bounds = [float(np.sqrt(max((p * y) @ K @ (p * y), 0.0))) for p in tried]
    best = int(np.argmin(bounds))
    norm = network.scale * float(np.sqrt(measure.weights @ outer**2))
    if norm == 0.0:
        raise InputError("every outer weight is 0: the network is zero and has no margin")
    scaled = positions.copy()
    scaled[:, 0] /= norm / network.scale
    normalized = ParticleMeasure(scaled, measure.weights, measure.signs, network.layout)
    return Margin(
        float(attained.min()) / norm,
        bounds[best],
        True,
        normalized,
        tried[best],
        "F2: kernel of the features",
        0,
    )

"""`measure`: m Var f from many runs, each with a start of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from meanfield.diagnostics._fluctuations.rows import Fluctuations, over_points, spread
from meanfield.flows import LinearizedFlow, WassersteinFlow
from meanfield.networks.feature_map import as_inputs, scale_of
from meanfield.plugins import check_functional
from solvers import _check, integrate
from solvers._rng import generator
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array

# Bytes of kept states of runs that go at once.
HELD_BYTES = 256_000_000
KINDS = ("gaussian", "sphere")


def measure(
    objective: Any,
    width: int = 1024,
    runs: int = 200,
    times: Any = None,
    X: Any = None,
    *,
    start: Any = "gaussian",
    doubled: bool = False,
    level: float = 0.95,
    method: Any = None,
    rng: Any = 0,
    **options: Any,
) -> Fluctuations:
    """``m k/(k-1) (mean |f_i|^2 - |mean f_i|^2)`` over k runs of m neurons each: m Var f, without bias, with its band.

    Parameters
    ----------
    objective : Objective, functional with a network, or WassersteinFlow
        Runs follow its Wasserstein flow.
    width : int
        m.
    runs : int
        k, at least 2; below 3 there is no band.
    times : array_like, (s,)
        When; 0 is the start.
    X : array_like, (n, d), optional
        Points; the objective's data by default. A population has none of its own.
    start : {"gaussian", "sphere"}, ParticleMeasure or callable
        The law of a neuron: drawn by the network; the particles of a measure, with replacement (what `predict` says of
        a run from that measure has no other error than 1/m); or ``start(width, seed)``, a ParticleMeasure.
    doubled : bool
        Antithetic pairs: the network's ``doubled=True``, or particle j of a measure together with j + M/2. What a
        function returns must be such pairs, particle j with j + m/2.
    level : float
        Of the bands, which come from the jackknife over runs on the logarithm.
    method : optional
        Of integration.
    rng : int, SeedSequence or Generator
        Run i has a seed of its own, whatever the others are.
    **options
        Of the network's draws, such as ``std={"a": 0.0, "w": 1.0}``.

    Returns
    -------
    Fluctuations

    Raises
    ------
    InputError

    Examples
    --------
    >>> import meanfield as mf
    >>> X, y = mf.data.relu_teacher(n=10, d=2, neurons=2, rng=0)
    >>> objective = mf.Objective(mf.TwoLayer("tanh", d=2), X, y)
    >>> rows = mf.fluctuations.measure(objective, width=20, runs=10, times=[0.0, 1.0])
    >>> rows.variance.shape
    (2, 10)
    """
    flow = _flow(objective)
    network = flow.objective.network
    width = _check.number(width, "width", positive=True, integer=True)
    runs = _check.number(runs, "runs", integer=True)
    if runs < 2:
        raise InputError(f"runs must be at least 2, for one run has no variance, not {runs}")
    if times is None:
        raise InputError("times is needed: when to look at the runs, such as times=[0, 1, 10]")
    moments = np.unique(_check.array(times, "times", ndim=(0, 1)))
    if moments[0] < 0.0:
        raise InputError(f"times must not be negative, but {moments[0]:g} is; runs start at 0")
    if not 0.0 < _check.number(level, "level") < 1.0:
        raise InputError(f"level must lie between 0 and 1, not {level}")
    if not isinstance(doubled, (bool, np.bool_)):
        raise InputError(f"doubled must be True or False, not {doubled!r}")
    if doubled and width % 2:
        raise InputError(f"doubled=True needs an even width, not {width}")
    points = _points(flow.objective, X)
    draw = _starts(network, start, width, bool(doubled), options)
    seeds = generator(rng, "fluctuations").integers(0, 2**62, size=runs).tolist()
    f, bound = _run(flow, draw, seeds, moments, points, method, bool(doubled))
    variance, low, high = band(f, level)
    rows = band(f, level, over_points)
    return Fluctuations(
        kind="measured",
        t=moments,
        X=points,
        mean=f.mean(axis=0),
        variance=width * variance,
        low=width * low,
        high=width * high,
        average=width * rows[0],
        average_low=width * rows[1],
        average_high=width * rows[2],
        bound=bound,
        settings={
            "runs": f"{runs} of width {width}",
            "start": start if isinstance(start, str) else type(start).__name__,
            "band": f"{100 * level:g} %, jackknife over runs",
            "draws": "antithetic pairs" if doubled else "independent neurons",
        },
    )


def band(
    f: Array, level: float, reduce: Callable[[Array], Array] | None = None
) -> tuple[Array, Array, Array]:
    """The unbiased variance over the first axis, `reduce`d, and a jackknife interval on its logarithm.

    Leaving run i out takes ``k/(k-1) (f_i - fbar)^2`` from the sum of squares.

    Parameters
    ----------
    f : ndarray, (k, s, ...)
    level : float
        Of confidence.
    reduce : callable, optional
        A mean over points, ``(s, ...)`` to (s,).
    """
    k = f.shape[0]
    squares = np.square(f - f.mean(axis=0))
    parts = squares if reduce is None else np.array([reduce(part) for part in squares])
    total = parts.sum(axis=0)
    variance = total / (k - 1)
    if k < 3:
        return variance, np.full_like(variance, np.nan), np.full_like(variance, np.nan)
    from scipy.stats import t as student

    tiny = np.finfo(float).tiny
    without = np.maximum(total - parts * (k / (k - 1)), 0.0) / (k - 2)
    logs = np.log(np.maximum(without, tiny))
    error = np.sqrt((k - 1) / k * np.square(logs - logs.mean(axis=0)).sum(axis=0))
    factor = np.exp(np.minimum(student.ppf(0.5 * (1.0 + level), k - 1) * error, 700.0))
    return variance, variance / factor, variance * factor


# -- inside -------------------------------------------------------------------------------------------------------


def _flow(given: Any) -> WassersteinFlow:
    flow = given
    if not hasattr(given, "objective"):
        check_functional(given)
        flow = WassersteinFlow(given)
    if not isinstance(flow, WassersteinFlow) or isinstance(flow, LinearizedFlow):
        raise InputError(
            f"measure runs a WassersteinFlow from starts of its own, not {type(given).__name__}; pass the objective"
        )
    if not hasattr(flow.objective, "network"):
        raise InputError(
            f"{type(flow.objective).__name__} has no network whose predictions could fluctuate; pass an Objective"
        )
    return flow


def _points(objective: Any, X: Any) -> Array:
    if X is None:
        if getattr(objective, "X", None) is None:
            raise InputError(
                f"{type(objective).__name__} has no data of its own; pass X=, the points to look at"
            )
        return np.asarray(objective.X)
    return as_inputs(objective.network, X)


def _starts(
    network: Any, start: Any, width: int, doubled: bool, options: dict[str, Any]
) -> Callable[[int], ParticleMeasure]:
    """A start from its seed."""
    if isinstance(start, str):
        kind = _check.choice(start, "start", KINDS)
        if not hasattr(network, "sample"):
            raise InputError(
                f"{type(network).__name__} cannot draw neurons; pass start=, a function (width, seed) or a measure"
            )
        chosen = getattr(ParticleMeasure, kind)
        extra = {**options, "doubled": True} if doubled else options
        try:
            chosen(network, width, 0, **extra)
        except TypeError as error:
            raise InputError(
                f"start={kind!r} of {type(network).__name__} cannot be drawn so: {error}"
            ) from None
        return lambda seed: chosen(network, width, seed, **extra)
    if options:
        raise InputError(
            f"{', '.join(options)} are for draws of the network; with start={type(start).__name__} leave them out"
        )
    if isinstance(start, ParticleMeasure):
        if start.dim != int(network.dim):
            raise InputError(
                f"start lives in R^{start.dim}, but neurons of {network!r} have {network.dim} coordinates"
            )
        if doubled and start.width % 2:
            raise InputError(f"doubled=True needs pairs of particles, but start has {start.width}")
        return lambda seed: _resampled(start, width, seed) if not doubled else _pairs(start, width, seed)
    if not callable(start):
        raise InputError(
            f"start must be 'gaussian', 'sphere', a ParticleMeasure or a function (width, seed), not {start!r}"
        )

    def made(seed: int) -> ParticleMeasure:
        drawn = start(width, seed)
        if not isinstance(drawn, ParticleMeasure) or drawn.width != width:
            raise InputError(
                f"start(width, seed) must return a ParticleMeasure of {width} particles, not {drawn!r}"
            )
        return drawn

    return made


def _resampled(start: ParticleMeasure, width: int, seed: int) -> ParticleMeasure:
    return start.resample(width, seed, method="multinomial")


def _pairs(start: ParticleMeasure, width: int, seed: int) -> ParticleMeasure:
    """width/2 pairs (j, j + M/2) drawn with replacement; first all j, then their partners."""
    half = start.width // 2
    p = start.weights[:half] / start.weights[:half].sum()
    chosen = generator(seed, "resample").choice(half, size=width // 2, p=p)
    chosen = np.concatenate([chosen, chosen + half])
    signs = None if start.signs is None else start.signs[chosen]
    return ParticleMeasure(start.positions[chosen], np.full(width, start.mass / width), signs, start.layout)


def _run(
    flow: WassersteinFlow,
    draw: Callable[[int], ParticleMeasure],
    seeds: list[int],
    times: Array,
    points: Array,
    method: Any,
    doubled: bool,
) -> tuple[Array, Array]:
    """Predictions (runs, s, n) or (runs, s, n, k), and the mean over runs of the resampling error (s, n[, k])."""
    network = flow.objective.network
    first = draw(seeds[0])
    together = max(1, HELD_BYTES // (8 * (len(times) + 1) * first.positions.size))
    outputs = int(getattr(network, "outputs", 1))
    shape = (points.shape[0],) if outputs == 1 else (points.shape[0], outputs)
    f, bound = np.empty((len(seeds), len(times), *shape)), np.zeros((len(times), *shape))
    for low in range(0, len(seeds), together):
        starts = [draw(seed) for seed in seeds[low : low + together]]
        for i, states in enumerate(_states(flow, starts, times, method), start=low):
            for k, state in enumerate(states):
                f[i, k] = flow.objective.predict(state, points)
                bound[k] += resampling(network, state, points, doubled).reshape(shape)
    return f, bound / len(seeds)


def _states(
    flow: WassersteinFlow, starts: list[ParticleMeasure], times: Array, method: Any
) -> list[list[Any]]:
    """The states of all runs at `times`."""
    if times[-1] == 0.0:
        return [[start] for start in starts]
    runs = integrate(flow, starts, float(times[-1]), save=times, keep="all", method=method)
    skip = 0 if times[0] == 0.0 else 1  # the start is always kept
    for run in runs:
        if len(run.states) != len(times) + skip:
            raise InputError(f"a run ended before t = {times[-1]:g}: {run.status.value}")
    return [list(run.states[skip:]) for run in runs]


def resampling(network: Any, measure: ParticleMeasure, X: Array, doubled: bool) -> Array:
    """``scale^2 Var Phi(theta; x)`` over the law of which the m particles are a sample, without bias: (n k,)."""
    values = np.asarray(network.features(measure.positions, X)).reshape(measure.width, -1)
    if measure.signs is not None:
        values = values * measure.signs[:, None]
    units = measure.width // 2 if doubled else measure.width
    if units < 2:
        return np.full(values.shape[1], np.nan)
    p = measure.weights / measure.mass
    return np.asarray(
        spread(values, p, doubled) * (units / (units - 1)) * (measure.mass * scale_of(network)) ** 2
    )

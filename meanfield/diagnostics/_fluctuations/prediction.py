"""`predict`: m Var f along a computed flow, from the dynamical central limit theorem."""

from __future__ import annotations

from typing import Any

import numpy as np

from meanfield import kernels
from meanfield._linear import linearizable
from meanfield._linear.curvature import LossCurvature
from meanfield.diagnostics._fluctuations.panels import NODES, panels
from meanfield.diagnostics._fluctuations.response import Response
from meanfield.diagnostics._fluctuations.rows import Fluctuations, over_points, spread
from meanfield.flows import LinearizedFlow, WassersteinFlow
from meanfield.networks.feature_map import as_inputs
from meanfield.objective import Objective
from solvers import _check
from solvers._rng import generator
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array
from solvers.result import Trajectory
from solvers.spaces import Sphere

# Saves of the run that are looked at where times= is not given.
MOST_TIMES = 16
# Predictions on the data, three times as many unknowns a panel.
MOST_ROWS = 4000
# Bytes of the particles' responses to all directions.
MOST_BYTES = 4_000_000_000
# Two integrations of one flow agree this well, or they are not of one flow.
SAME_END = 2e-2


def predict(
    run: Any,
    X_test: Any = None,
    times: Any = None,
    *,
    directions: int = 1024,
    doubled: bool = False,
    kinks: bool = True,
    rtol: float = 1e-3,
    method: Any = None,
    rng: Any = 0,
) -> Fluctuations:
    r"""``m Var f^m_t(x)`` for m neurons drawn independently from the run's start, as m grows; without running nets.

    ``g = lim sqrt(m) (f^m - f)`` is Gaussian and solves the Volterra equation

        g_t(x) + int_0^t sum_i Gamma_{t,s}(x, x_i) [R''(f_s) g_s]_i ds = gbar_t(x),
        Gamma_{t,s}(x, x') = scale^2 int <grad Phi(theta_t; x), J_{t,s} M grad Phi(theta_s; x')> dmu_0,
        d_t J = -M Hess F'(mu_t)(theta_t) J,   J_{s,s} = I,

    gbar of covariance ``scale^2 Cov_{mu_0}(Phi(theta_t; x), Phi(theta_s; x'))``. It is linear, so that
    ``m Var f = Var_{mu_0} psi``, psi_t(x; theta_0) its solution for the unit mass at theta_0. The particles of the run
    stand for mu_0, with their weights and signs; J is carried along rather than Gamma stored: a panel of time costs
    about ``3 M p n (3 n + 2 K)`` multiplications for M particles with p coordinates, n data, K directions. The flow is
    followed once more from the run's start, at the nodes that this needs.

    Parameters
    ----------
    run : Run
        Of a `WassersteinFlow` of an `Objective` in a flat space; its first state, flow and times are used. The width M
        is that of the start: the estimate of Var over mu_0 is off by about (2/M)^(1/2) at a single point.
    X_test : array_like, (points, d), optional
        The data by default.
    times : array_like, (s,), optional
        By default the times that the run saved, 16 of them at most.
    directions : int
        Initial fluctuations that are followed. All of them, M (M/2 if doubled), where that is not more; otherwise
        random orthonormal ones: the variance at a point is then off by about ``(2/K (1 - K/M))^(1/2)``, shown as band.
    doubled : bool
        The start was drawn as antithetic pairs, particle j with j + M/2 (``doubled=True``): pairs are independent.
    kinks : bool
        Kinked activations on data: whether data that cross a particle's kink, or stay at it, act on its path. False
        keeps activation patterns frozen, as Jacobians of stiff methods do: with ReLU on 64 points in 16 dimensions that
        was 30 % too low at late times, and right to 4 % with them.
    rtol : float
        Accuracy in time: panels are halved until a step of the method follows the flow itself so well.
    method : optional
        Of integration of the flow.
    rng : int, SeedSequence or Generator
        Chooses directions.

    Returns
    -------
    Fluctuations

    Raises
    ------
    InputError

    Notes
    -----
    Panels are steps of Radau IIA with three nodes (order 5; order 1 where paths have kinks), in which the particles are
    eliminated: 3 n unknowns. Corrections are of relative order 1/m. Noise of SGD is not part of it.

    Linear response knows no saturation. Where late paths separate, the deviations of the few particles between them
    grow exponentially, and the mean of M of them has heavy tails; deviations are cut at M^(1/2) times the typical one,
    ``settings["cut"]`` tells how many were, and small late variances come out too large (softplus and tanh with a
    penalty: by several times). ReLU with a penalty came out twice too large at t = 20/lam (figure ``chen_2020_clt``)
    with hardly any cut: many data lie at kinks then; the cause is not settled.

    References
    ----------
    Chen, Rotskoff, Bruna and Vanden-Eijnden, A dynamical central limit theorem for shallow neural networks, 2020
    (2008.09623; not re-read here).

    Examples
    --------
    >>> import numpy as np, solvers, meanfield as mf
    >>> X, y = mf.data.relu_teacher(n=10, d=2, neurons=2, rng=0)
    >>> objective = mf.Objective(mf.TwoLayer("tanh", d=2), X, y)
    >>> start = mf.ParticleMeasure.gaussian(objective.network, 100, rng=0)
    >>> run = solvers.integrate(mf.WassersteinFlow(objective), start, t_end=5.0)
    >>> rows = mf.fluctuations.predict(run, X, times=[0.0, 5.0])
    >>> bool(rows.average[1] < rows.average[0] < 1.0)
    True
    """
    flow, start = _flow_and_start(run)
    objective: Objective = flow.objective
    points = objective.X if X_test is None else as_inputs(objective.network, X_test)
    moments = _times(times, run)
    columns = _check.number(directions, "directions", positive=True, integer=True)
    rtol = _check.number(rtol, "rtol", positive=True)
    for flag, name in ((doubled, "doubled"), (kinks, "kinks")):
        if not isinstance(flag, (bool, np.bool_)):
            raise InputError(f"{name} must be True or False, not {flag!r}")
    if doubled and start.width % 2:
        raise InputError(f"doubled=True needs pairs of particles, but the run has {start.width}")
    _check_size(objective, start, columns)
    xi, units = _directions(start, columns, doubled, generator(rng, "fluctuations"))
    found = panels(flow, start, np.union1d(run.t[0], moments), fastest(flow, start), rtol, method)
    _check_end(run, found, objective, moments)
    response = Response(flow, found, xi, kinks, robust=True)
    shape = (points.shape[0], response.outputs) if response.outputs > 1 else (points.shape[0],)
    g, mean, bound = [], [], []
    probabilities = start.weights / start.mass
    for k in range(len(found) + 1):
        if np.any(moments == found.edges[k]):
            state = found.starts[k]
            g.append(response.at(state, points).reshape(*shape, -1))
            mean.append(objective.predict(state, points))
            values = features(objective, state, points) * (start.mass * response.scale)
            bound.append(spread(values, probabilities, doubled).reshape(shape))
        if k < len(found):
            response.advance(k)
    squares = np.square(g)
    K = squares.shape[-1]
    share = 1.96 * np.sqrt(max(0.0, 1.0 - K / units) * K)
    variance, width = squares.sum(axis=-1), share * squares.std(axis=-1)
    rows = np.array([over_points(part) for part in np.moveaxis(squares, -1, 0)])
    average, average_width = rows.sum(axis=0), share * rows.std(axis=0)
    return Fluctuations(
        kind="predicted",
        t=moments,
        X=points,
        mean=np.array(mean),
        variance=variance,
        low=np.maximum(variance - width, 0.0),
        high=variance + width,
        average=average,
        average_low=np.maximum(average - average_width, 0.0),
        average_high=average + average_width,
        bound=np.array(bound),
        settings={
            "flow": f"{start.width} particles, {len(found)} panels of time",
            "directions": "all" if units == K else f"{K} of {units}, random",
            "draws": "antithetic pairs" if doubled else "independent neurons",
            "cut": f"{np.count_nonzero(response.cut)} particles where paths separate",
        },
    )


def fastest(flow: Any, start: Any) -> float:
    """The largest rate at which predictions relax at the start: that of ``scale^2 K R''(f)``, by power iteration."""
    objective: Objective = flow.objective
    f = objective._predictions(start)
    curvature = LossCurvature(objective.loss, f, objective.y, objective._weights())
    kernel = kernels.empirical(objective.network, start, objective.X)
    v = np.cos(np.arange(f.size, dtype=np.float64))
    rate = 0.0
    with one_blas_thread():
        for _ in range(30):
            v = kernel @ curvature.times(v.reshape(f.shape)).reshape(-1)
            rate = float(np.sqrt(v @ v))
            if not rate > 0.0:
                return 0.0
            v /= rate
    return rate * float(objective._scale) ** 2 * float(flow.time_factor)


def features(objective: Objective, measure: Any, X: Array) -> Array:
    """``s_j Phi(theta_j; x_i)``, (M, n k)."""
    values = np.asarray(objective.network.features(measure.positions, X))
    values = values.reshape(measure.width, -1)
    return values if measure.signs is None else values * measure.signs[:, None]


# -- inside -------------------------------------------------------------------------------------------------------


def _flow_and_start(run: Any) -> tuple[WassersteinFlow, ParticleMeasure]:
    if not isinstance(run, Trajectory):
        raise InputError(
            f"predict follows a run, such as solvers.integrate(mf.WassersteinFlow(objective), mu0, t_end), not {run!r}"
            if not isinstance(run, (list, tuple))
            else "predict follows one run, not several; call it for each"
        )
    flow = run.flow
    if flow is None:
        raise InputError(
            "this run was loaded from a file, which does not hold its flow; use run.attach(flow) first"
        )
    if isinstance(flow, LinearizedFlow):
        raise InputError(
            "a linearized network's random features and kernel fluctuate at its start only: use frozen_features, or "
            "predict on the run of the network itself"
        )
    if hasattr(getattr(flow, "problem", None), "net"):
        raise InputError(
            "predict follows measures of neurons; how infinitely wide deep networks spread over their starts is the "
            "variance of mf.kernels.deep.serial(...).predict(X, y, X_new, t)"
        )
    if not isinstance(flow, WassersteinFlow):
        raise InputError(
            f"predict knows the fluctuations of a WassersteinFlow, not of {type(flow).__name__}; "
            "integrate WassersteinFlow(objective) from the same start"
        )
    objective = flow.objective
    if not isinstance(objective, Objective):
        raise InputError(
            f"predict needs an Objective on data, not {type(objective).__name__}; take a quadrature of the population "
            "as data, such as mf.Objective(network, *population.sampler(numpy.random.default_rng(0), 500))"
        )
    if isinstance(objective.space, Sphere) or not linearizable(objective, objective.space):
        raise InputError(
            f"predict needs second derivatives of the features in a flat space, which {objective.network!r} lacks; "
            "use measure"
        )
    start = run.initial
    if start.mass == 0.0:
        raise InputError("the run starts with a measure of mass 0, which has no fluctuations")
    return flow, start


def _times(times: Any, run: Any) -> Array:
    first, last = float(run.t[0]), float(run.t[-1])
    if times is None:
        chosen = np.unique(np.round(np.linspace(0, len(run.t) - 1, min(len(run.t), MOST_TIMES))).astype(int))
        return np.asarray(run.t[chosen], dtype=np.float64)
    moments = np.unique(_check.array(times, "times", ndim=(0, 1)))
    if moments[0] < first or moments[-1] > last:
        raise InputError(
            f"times must lie within the run, from t = {first:g} to {last:g}, not from {moments[0]:g} to {moments[-1]:g}"
        )
    return np.asarray(moments)


def _check_size(objective: Objective, start: Any, columns: int) -> None:
    rows = objective.X.shape[0] * int(getattr(objective.network, "outputs", 1))
    if rows > MOST_ROWS:
        raise InputError(
            f"{rows} predictions on the data couple {NODES.size * rows} unknowns, more than memory is good for; take "
            f"at most {MOST_ROWS}, a subset of the data or a quadrature, for the run as well"
        )
    held = 8.0 * start.positions.size * min(columns, start.width)
    if held > MOST_BYTES:
        raise InputError(
            f"the responses of {start.width} particles to {min(columns, start.width)} directions take "
            f"{held / 1e9:.1f} GB; pass a smaller directions="
        )


def _directions(start: Any, columns: int, doubled: bool, draw: Any) -> tuple[Array, int]:
    """Changes of the weights (M, K), whose squared responses sum to m Var f, and how many exist.

    For independent draws ``xi = mass (diag(p)^(1/2) Z - p (p^(1/2))' Z)`` with Z Z' = I in the mean.
    """
    p = start.weights / start.mass
    if doubled:
        p = 2.0 * p[: start.width // 2]
    units = p.size
    Z = np.eye(units)
    if columns < units:
        with one_blas_thread():
            Z = np.linalg.qr(draw.standard_normal((units, columns)))[0] * np.sqrt(units / columns)
    root = np.sqrt(p)
    with one_blas_thread():
        xi = root[:, None] * Z - p[:, None] * (root @ Z)
    xi *= start.mass
    if doubled:
        xi = np.sqrt(2.0) * 0.5 * np.vstack([xi, xi])
    return xi, units


def _check_end(run: Any, found: Any, objective: Objective, moments: Array) -> None:
    """The run's flow leads from its start to its end, or one sentence."""
    if moments[-1] != run.t[-1] or len(found) == 0:
        return
    ours, theirs = objective._predictions(found.starts[-1]), objective._predictions(run.final)
    size = max(float(np.sqrt(np.mean(np.square(theirs)))), float(np.sqrt(np.mean(np.square(objective.y)))))
    gap = float(np.sqrt(np.mean(np.square(ours - theirs))))
    if gap > SAME_END * size:
        raise InputError(
            f"from the run's start its flow leads elsewhere than the run ends (predictions differ by {gap / size:.2g} "
            "of their size): attach the flow that the run was made with, or integrate it with smaller steps"
        )

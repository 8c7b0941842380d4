"""`report`: from a run of a deep network to what the theorem on over-parametrized training speaks of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from meanfield.data import separation
from meanfield.diagnostics._overparametrization import decay, ends
from meanfield.diagnostics._overparametrization.outcome import OverparametrizationReport
from meanfield.finite.deep import SGD, GradientFlow, Problem, Weights
from meanfield.finite.deep.data import contradictions
from solvers import _check
from solvers._reduction import datum_weights
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array
from solvers.result import Status, Trajectory


def report(
    run: Any,
    *,
    flow: Any = None,
    window: Any = None,
    goal: float | None = None,
    points: int | None = None,
    rng: Any = 0,
) -> OverparametrizationReport:
    """Convergence, movement, flips, kernels and gradients of a run, beside Allen-Zhu, Li and Song's theorem in shape.

    Parameters
    ----------
    run : Trajectory
        Of `mf.finite.deep.SGD` or `mf.finite.deep.GradientFlow`. Gradients are those of all states that it kept (two,
        or all with ``keep="all"``), or those that it recorded, see `dissipation`.
    flow : SGD or GradientFlow, optional
        Of a run that was loaded from a file, which does not hold it: on the same network, loss and data.
    window : pair of float, optional
        Times between which the rate is fitted, the last one perhaps inf; by default the whole run, but for a loss at
        the level of rounding.
    goal : float, optional
        The loss at which training counts as converged, 1 % of its start by default.
    points : int, optional
        Data on which tangent kernels are compared, a random subset of so many; all of them by default.
    rng : int, SeedSequence or Generator
        Chooses the subset.

    Raises
    ------
    InputError
        For runs of something else or on other data, without states, that diverged or had nothing to learn; for points
        that coincide with different labels, which no finite width tells apart; for kernels larger than memory.

    Examples
    --------
    >>> import meanfield as mf, numpy as np, solvers
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((6, 5)) / 5**0.5, np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    >>> net = mf.finite.deep.Dense((5, 128, 128, 128, 1), parametrization="allen_zhu")
    >>> problem = mf.finite.deep.Problem(net, X, y, loss=mf.SquaredLoss(reduction="sum"))
    >>> run = solvers.integrate(mf.finite.deep.SGD(problem, step=0.002), net.init(rng=0), t_end=0.4)
    >>> found = mf.overparametrization.report(run)
    >>> found.accuracy, bool(found.converged), bool(found.spectral < 0.5)
    (1.0, True, True)

    References
    ----------
    Allen-Zhu, Li and Song, 2019 (1811.03962), in shape and as remembered.
    """
    moved = _flow(run, flow)
    problem, net = moved.problem, moved.problem.net
    fitted_on = decay.checked_window(window)
    start, end = _ends(run, net)
    _check_same_problem(run, moved)
    objective = _objective(run)
    weight = problem.sample_weight
    # a datum of weight zero does not exist
    rows = np.arange(len(problem.X)) if weight is None else np.flatnonzero(weight)
    X = problem.X[rows]
    pairs = contradictions(X, problem.y[rows])
    if len(pairs):
        raise InputError(
            f"rows {rows[pairs[0, 0]]} and {rows[pairs[0, 1]]} of X coincide, but their labels differ: delta = 0, and "
            "no width reaches zero loss; remove one of the two"
        )
    level = 0.01 * objective[0] if goal is None else float(_check.number(goal, "goal", positive=True))
    few = _few(X, points, rng)
    residual = _residual(problem, start) if len(few) == len(problem.X) else None
    kernels = ends.kernels(net, start, end, few, residual)
    movement = ends.movement(net, start, end)
    times, losses, speeds = _gradients(run, problem)
    sizes = ends.last_sizes(net, start, X)
    lengths, last = np.linalg.norm(X.reshape(len(X), -1), axis=1), X.reshape(len(X), -1)[:, -1]
    convexity, curvature = _curvatures(problem, rows)
    return OverparametrizationReport(
        network=repr(net),
        parametrization=net.parametrization,
        architecture=type(net).__name__,
        activation=type(net.activation).__name__,
        loss=problem.loss.kind,
        method=type(moved).__name__,
        status=run.status.name,
        widths=tuple(layer.out for layer in net.layers[:-1]),
        points=len(X),
        outputs=net.outputs,
        kernel_points=len(few),
        reduction=float(len(X)) if getattr(problem.loss, "reduction", "mean") == "mean" else 1.0,
        convexity=convexity,
        curvature=curvature,
        step=float(getattr(moved, "step_size", math.nan)),
        batch=getattr(moved, "batch", None),
        fresh=getattr(moved, "sampler", None) is not None,
        weighted=weight is not None and bool(np.ptp(weight[rows]) > 0.0),
        steps=int(run.stats.get("steps", 0)),
        goal=level,
        t=np.array(run.t, dtype=np.float64),
        objective=objective,
        decay=decay.fit(np.asarray(run.t, dtype=np.float64), objective, fitted_on),
        accuracy=_accuracy(problem, end),
        layers=movement.layers,
        spectral_by_layer=movement.spectral,
        frobenius_by_layer=movement.frobenius,
        relative_spectral_by_layer=_over(movement.spectral, movement.spectral_start),
        relative_frobenius_by_layer=_over(movement.frobenius, movement.frobenius_start),
        relative_frobenius=float(
            _over(np.linalg.norm(movement.frobenius), np.linalg.norm(movement.frobenius_start))
        ),
        frozen_movement=kernels.frozen,
        flips_by_layer=ends.flips(net, start, end, X),
        kernel_change=kernels.change,
        kernel_change_spectral=kernels.change_spectral,
        eigenvalues_start=kernels.start,
        eigenvalues_end=kernels.end,
        gradient_times=times,
        gradients=_over(speeds, losses),
        delta=separation(X) if len(X) > 1 else math.inf,
        length_low=float(lengths.min()),
        length_high=float(lengths.max()),
        last=float(last.mean()) if np.ptp(last) <= 1e-9 * np.abs(last).max() else math.nan,
        hidden_low=float(sizes.min(initial=math.inf)),
        hidden_high=float(sizes.max(initial=-math.inf)),
    )


def _flow(run: Any, flow: Any) -> Any:
    if not isinstance(run, Trajectory):
        raise InputError(
            f"run must be a run of mf.finite.deep, as solvers.integrate returns it, not {type(run).__name__}"
        )
    found = run.flow if flow is None else flow
    if isinstance(found, (SGD, GradientFlow)):
        return found
    if found is None:
        raise InputError(
            "this run was loaded from a file, which does not hold its problem: pass flow=, or report on "
            "run.attach(flow)"
        )
    what = "flow" if flow is not None else "run"
    raise InputError(
        f"{what} must be one of mf.finite.deep.SGD or GradientFlow, not of {type(found).__name__}; mf.regime reports "
        "on two-layer networks and on other models"
    )


def _check_same_problem(run: Any, flow: Any) -> None:
    """A file says what its run was about, if not all of it: another network, loss or data would go unnoticed."""
    before, now = run.provenance.get("configuration", {}).get("flow", {}), flow.describe()
    what = {"network": "network", "loss": "loss", "data_sha256": "data (X, y or sample_weight)"}
    for key, name in what.items():
        if isinstance(before, dict) and key in before and before[key] != now[key]:
            raise InputError(
                f"the run was on another {name} than the flow it is given now: make the flow of the same problem"
            )


def _ends(run: Any, net: Any) -> tuple[Weights, Weights]:
    if len(run.states) < 2:
        raise InputError(
            f"the run holds {len(run.states)} state(s), but the report needs the first and the last: let it run for a "
            "step at least"
        )
    if not run.t[-1] > run.t[0]:
        raise InputError(
            "the run ends where it starts, and nothing has moved: let it run for a step at least"
        )
    if run.status is Status.diverged:
        raise InputError(
            "the run diverged, so that there is no convergence to report on: take a smaller step"
        )
    start, end = (Weights.over(net.flat(state), net.shapes) for state in (run.states[0], run.states[-1]))
    return start, end


def _objective(run: Any) -> Array:
    values = np.array(run["objective"], dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError("the recorded objective holds values that are not finite: take a smaller step")
    if not values[0] > 0.0:
        raise InputError(
            f"the objective is {values[0]:g} at the start of the run: there is nothing left to learn, and no rate; "
            "report on the run that trained the network"
        )
    return values


def _few(X: Array, points: Any, rng: Any) -> Array:
    """The data, or a few of them."""
    draws = generator(rng, "overparametrization")
    if points is None:
        return X
    count = _check.number(points, "points", positive=True, integer=True)
    return X if count >= len(X) else X[np.sort(draws.choice(len(X), size=count, replace=False))]


def dissipation(problem: Any) -> Callable[[Any], float]:
    """``sum_l rate_l |grad_l F|^2`` as a function of the weights, for runs too large to keep all their states.

    ``solvers.integrate(flow, weights, t_end, record={"dissipation": mf.overparametrization.dissipation(problem)})``:
    reports then take gradients from this record. Along a gradient flow it is -dF/dt.

    Parameters
    ----------
    problem : mf.finite.deep.Problem

    Raises
    ------
    InputError
    """
    if not isinstance(problem, Problem):
        raise InputError(f"problem must be a mf.finite.deep.Problem(net, X, y), not {type(problem).__name__}")
    return lambda weights: ends.dissipation(problem, weights)


def _gradients(run: Any, problem: Any) -> tuple[Array, Array, Array]:
    """Time, loss and speed of its fall at the states that were recorded or kept."""
    if "dissipation" in run:
        return np.array(run.t), np.array(run["objective"]), np.array(run["dissipation"])
    states = run.states
    times = run.t if len(states) == len(run.t) else run.t[[0, -1]]
    losses = [problem.value(state) for state in states]
    speeds = [ends.dissipation(problem, state) for state in states]
    return np.array(times, dtype=np.float64), np.array(losses), np.array(speeds)


def _curvatures(problem: Any, rows: Any) -> tuple[float, float]:
    """Least (of the squared loss, else NaN) and largest second derivative of the loss in a prediction."""
    loss, weight = problem.loss, problem.sample_weight
    least = math.nan
    if loss.kind == "squared":
        each = np.broadcast_to(datum_weights(loss.reduction, problem.y, weight), problem.y.shape)
        least = float(each[rows].min())
    bound = getattr(loss, "curvature_bound", None)
    found = None if bound is None else bound(len(problem.X), weight)
    return least, math.nan if found is None else float(found)


def _residual(problem: Any, start: Weights) -> Array | None:
    """y - f at the start; None where another loss, rates or biases make movement another than that of the kernel."""
    plain = all(layer.rate in (0.0, 1.0) and not layer.bias for layer in problem.net.layers)
    if problem.loss.kind != "squared" or not plain:
        return None
    return np.asarray(problem.y - problem.predict(start)).reshape(-1)


def _accuracy(problem: Any, end: Weights) -> float:
    """On the data, NaN where labels are no classes."""
    try:
        return float(problem.accuracy(end))
    except InputError:
        return math.nan


def _over(values: Any, by: Any) -> Array:
    """Quotients, NaN where the divisor is 0."""
    size = np.asarray(by)
    return np.asarray(values / np.where(size > 0.0, size, np.nan))

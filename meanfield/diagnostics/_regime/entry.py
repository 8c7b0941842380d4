"""`regime`: from the two ends of training to a report."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from meanfield import kernels
from meanfield.diagnostics._regime.ends import DeepEnds, ModelEnds, RunEnds
from meanfield.diagnostics._regime.report import RegimeReport
from meanfield.networks.feature_map import as_inputs
from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array
from solvers.result import Trajectory

# Losses of labels +-1: an error is a wrong sign.
MARGIN_LOSSES = ("logistic", "exponential", "soft_min_margin")


@np.errstate(over="ignore", invalid="ignore")  # a run that diverged is data too
def regime(
    run: Any,
    X_test: Any = None,
    y_test: Any = None,
    *,
    X: Any = None,
    y: Any = None,
    loss: Any = None,
    points: int = 64,
    rng: Any = 0,
    kernel_predictor: bool | None = None,
    kernel_time: float | None = None,
) -> RegimeReport:
    """Compare the end of training with its start, and with what the tangent kernel of the start would have done.

    Parameters
    ----------
    run : Run, or pair of models
        A run of a particle flow or of a deep network, or ``(start, end)`` of any model: each a `mf.diagnostics.Model`
        (``from_torch`` makes one), or just a pair of functions ``(predict, gradients)``.
    X_test, y_test : array_like, optional
        Points at which predictors are compared, and their labels for test errors.
    X, y : array_like, optional
        The data that a pair of models was trained on; for a run of a population X are the points of the kernels.
    loss : loss or str, optional
        Of a pair of models, "squared" by default.
    points : int
        Data on which kernels are compared (a random subset if there are more).
    rng : int, SeedSequence or Generator
        Chooses the subset.
    kernel_predictor : bool, optional
        Whether to compute f_K; by default where that is cheap, for the squared loss and up to 2000 predictions.
    kernel_time : float, optional
        When f_K is taken, in the unit of the run's flow; the run's own time by default, inf for a pair of models, whose
        time is that of gradient flow.

    Raises
    ------
    InputError
    """
    points = _check.number(points, "points", positive=True, integer=True)
    time = None if kernel_time is None else _time(kernel_time)
    ends = _ends(run, X, y, loss)
    if y_test is not None and X_test is None:
        raise InputError("y_test needs X_test, the points whose labels it holds")
    few, labels = ends.X, ends.y
    if few.shape[0] > points:
        chosen = np.sort(generator(rng, "regime").choice(few.shape[0], size=points, replace=False))
        few, labels = few[chosen], None if labels is None else labels[chosen]
    before, after = ends.kernels(few)
    found: dict[str, Any] = dict(
        zip(("relative_movement", "relative_distance"), ends.movement(), strict=True)
    )
    size = float(np.linalg.norm(before))
    known = bool(np.isfinite(after).all())
    found["kernel_change"] = (
        float(np.linalg.norm(after - before)) / size if size > 0.0 and known else math.inf
    )
    for name, kernel in (("before", before), ("after", after)):
        if not np.isfinite(kernel).all():
            continue
        found[f"eigenvalues_{name}"] = np.linalg.eigvalsh(kernel)[::-1].clip(min=0.0)
        if np.trace(kernel) > 0.0:
            found[f"effective_rank_{name}"] = kernels.effective_rank(kernel)
            targets = _targets(labels, ends.loss, kernel.shape[0] // few.shape[0])
            if targets is not None and np.any(targets):
                found[f"alignment_{name}"] = kernels.alignment(kernel, targets)
    if labels is not None:
        found["train_error"] = _error(ends.predict(ends.X), ends.y, ends.loss)
    _predictors(found, ends, X_test, y_test, time, kernel_predictor)
    return RegimeReport(activation_flips=ends.flips(few), points=int(few.shape[0]), scale=ends.scale, **found)


def _ends(run: Any, X: Any, y: Any, loss: Any) -> Any:
    if isinstance(run, Trajectory) and hasattr(run, "objective"):
        if hasattr(run.objective, "model"):
            return DeepEnds(run, X, y, loss)
        return RunEnds(run, X, y, loss)
    if isinstance(run, (tuple, list)) and len(run) == 2:
        return ModelEnds((run[0], run[1]), X, y, loss)
    raise InputError(
        "run must be a run of a particle flow or of a deep network, or a pair (start, end) of models, not "
        f"{type(run).__name__}"
    )


def _time(value: Any) -> float:
    if value == math.inf:
        return math.inf
    return float(_check.number(value, "kernel_time", nonnegative=True))


def _predictors(
    found: dict[str, Any], ends: Any, X_test: Any, y_test: Any, time: float | None, asked: bool | None
) -> None:
    """Test errors, and the distance to the kernel predictor, on the test points or on the data."""
    where = ends.X
    if X_test is not None:
        network, problem = getattr(ends, "network", None), getattr(ends, "problem", None)
        where = np.asarray(X_test) if network is None else as_inputs(network, X_test)
        where = where if problem is None else problem.net.check_inputs(X_test)
    f = ends.predict(where)
    labels = None
    if y_test is not None:
        labels = _check.array(y_test, "y_test", ndim=(1, 2))
        if labels.shape[0] != where.shape[0]:
            raise InputError(f"y_test must have one entry for each of the {where.shape[0]} rows of X_test")
        found["test_error"] = _error(f, labels, ends.loss)
    kernel = None if asked is False else ends.kernel_predictor(where, time, bool(asked))
    if kernel is None:
        return
    predicted, found["kernel_time"] = kernel
    size = 1.0
    if getattr(ends.loss, "kind", "") != "cross_entropy" and ends.y is not None and np.any(ends.y):
        size = float(np.sqrt(np.mean(np.square(ends.y))))
    found["kernel_distance"] = float(np.sqrt(np.mean(np.square(f - predicted.reshape(f.shape))))) / size
    if labels is not None:
        found["kernel_error"] = _error(predicted.reshape(f.shape), labels, ends.loss)


def _targets(labels: Any, loss: Any, outputs: int) -> Array | None:
    """Labels as a kernel sees them: classes as indicators less their share."""
    if labels is None:
        return None
    values = np.asarray(labels)
    if getattr(loss, "kind", "") == "cross_entropy" and values.ndim == 1:
        indicators = np.eye(outputs)[values.astype(int)]
        values = indicators - indicators.mean(axis=0)
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _error(f: Array, y: Any, loss: Any) -> float:
    """Mean of (f - y)^2 summed over outputs, or the share of wrong labels where the loss is one of classification."""
    kind, labels = getattr(loss, "kind", ""), np.asarray(y)
    if kind == "cross_entropy":
        classes = labels if labels.ndim == 1 else labels.argmax(axis=1)
        return float(np.mean(f.argmax(axis=1) != classes))
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != f.shape:
        raise InputError(f"labels must have the shape of the predictions, {f.shape}, not {labels.shape}")
    if kind in MARGIN_LOSSES:
        return float(np.mean(f * labels <= 0.0))
    return float(np.sum(np.square(f - labels)) / f.shape[0])

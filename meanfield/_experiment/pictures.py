"""The pictures of a run: objective, neurons, and what the network predicts, in the units of the data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meanfield import plotting
from meanfield._experiment.build import Experiment
from meanfield._experiment.summary import LABELLED, margins
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array


def write(
    experiment: Experiment, run: Any, certificate: Any, folder: Path, formats: Sequence[str]
) -> list[Path]:
    """Draw and write every picture that makes sense for the run; the paths written."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    written = []
    for name, ax in _drawings(experiment, run, certificate):
        for kind in formats:
            written.append(plotting.save(ax, folder / f"{name}.{kind}"))
        pyplot.close(ax.get_figure())
    return written


def _drawings(experiment: Experiment, run: Any, certificate: Any) -> Iterator[tuple[str, Any]]:
    if not np.isfinite(run["objective"]).all() or not np.isfinite(run.final.positions).all():
        return
    if run.t[-1] > 0:  # a run that stopped where it started has no curve on a log axis of time
        yield "objective", _objective(run, certificate)
    if experiment.network.d + experiment.network.bias > 1:
        yield "particles", _particles(experiment, run)
    single = experiment.network.outputs == 1
    if experiment.dataset.d <= 2 and single:
        yield "predictor", _predictor(experiment, run)
    if experiment.objective.loss.kind in LABELLED:
        yield "margins", _margins(experiment, run)
    elif experiment.dataset.d > 2 or not single:
        yield "predicted", _predicted(experiment, run)


def _objective(run: Any, certificate: Any) -> Any:
    gap = getattr(certificate, "gap", math.inf)
    if "gap" in run:
        return plotting.objective(run, certificate=np.where(np.isfinite(run["gap"]), run["gap"], np.nan))
    return plotting.objective(run, certificate=gap if math.isfinite(gap) else None)


def _particles(experiment: Experiment, run: Any) -> Any:
    """The plane of the two inner weights that carry most: sum of p |a| |w_k|, the bias as a weight where d = 1."""
    network, names = experiment.network, list(experiment.dataset.feature_names)

    def shown(measure: ParticleMeasure) -> ParticleMeasure:
        if network.d > 1:
            return measure
        inner = np.column_stack([measure.w, measure.b])
        outer = measure.a if "a" in (measure.layout or {}) else None
        return ParticleMeasure.from_arrays(a=outer, w=inner, weights=measure.weights, signs=measure.signs)

    final = shown(run.final)
    labels = names if network.d > 1 else [names[0], "bias"]
    outer = np.ones(final.width)
    if "a" in (final.layout or {}):
        outer = np.abs(final.a) if final.a.ndim == 1 else np.linalg.norm(final.a, axis=1)
    carried = (final.weights * outer) @ np.abs(final.w)
    i, j = sorted(int(k) for k in np.argsort(-carried, kind="stable")[:2])
    # |a| w is one point for one function only where a sigma(w.x) = sigma(a w.x).
    lift = getattr(network.activation, "degree", None) == 1
    if len(run.states) > 2:
        ax = plotting.trajectories([shown(state) for state in run.states], coordinates=(i, j), lift=lift)
    else:
        ax = plotting.particles(final, coordinates=(i, j), lift=lift)
    ax.set_xlabel(f"{ax.get_xlabel()}: {labels[i]}")
    ax.set_ylabel(f"{ax.get_ylabel()}: {labels[j]}")
    return ax


def _predictor(experiment: Experiment, run: Any) -> Any:
    data = experiment.dataset

    def raw(X: Array) -> Array:
        return X if data.mean is None or data.std is None else X * data.std + data.mean

    def predict(X: Array) -> Array:
        return data.restore(experiment.network.predict(run.final, data.transform(X)))

    ax = plotting.predictor(predict, raw(data.X), data.restore(data.y))
    ax.set_xlabel(data.feature_names[0])
    ax.set_ylabel(data.feature_names[1] if data.d == 2 else data.target_names[0])
    return ax


def _parts(experiment: Experiment) -> Iterator[tuple[str, Array, Any, str]]:
    data = experiment.dataset
    yield "training", data.X, data.y, plotting.NEGATIVE
    if data.X_test is not None:
        yield "test", data.X_test, data.y_test, plotting.POSITIVE


def _predicted(experiment: Experiment, run: Any) -> Any:
    """Predicted against true values, in the unit of the target, with the diagonal."""
    data = experiment.dataset
    _, ax = plotting.figure(size=(4.4, 4.2))
    ends = []
    with plotting.style():
        for name, X, y, colour in _parts(experiment):
            true = data.restore(y).ravel()
            predicted = data.restore(experiment.network.predict(run.final, X)).ravel()
            ax.plot(true, predicted, "o", ms=3.5, mec="white", mew=0.4, alpha=0.8, color=colour, label=name)
            ends += [true.min(), true.max(), predicted.min(), predicted.max()]
        room = 0.04 * (max(ends) - min(ends))
        both = (min(ends) - room, max(ends) + room)
        ax.plot(both, both, color="#999999", lw=1.0, zorder=0)
        ax.set(xlim=both, ylim=both, aspect="equal")
        what = data.target_names[0] if len(data.target_names) == 1 else "all targets"
        ax.set_xlabel(f"true value: {what}")
        ax.set_ylabel("predicted value")
        ax.legend(loc="upper left")
    return ax


def _margins(experiment: Experiment, run: Any) -> Any:
    """Histogram of margins: positive where the network is right."""
    loss: Any = experiment.objective.loss
    _, ax = plotting.figure()
    found = []
    for name, X, y, colour in _parts(experiment):
        labels = loss.check_labels(y, len(y))
        found.append((name, margins(experiment.network.predict(run.final, X), labels, loss.kind), colour))
    everything = np.concatenate([values for _, values, _ in found])
    edges = np.histogram_bin_edges(everything, bins=30)
    with plotting.style():
        for name, values, colour in found:
            right = 100.0 * float(np.mean(values > 0))
            ax.hist(
                values, edges, density=True, histtype="stepfilled", alpha=0.45, color=colour,
                label=f"{name}: {right:.1f} % right",
            )  # fmt: skip
        ax.axvline(0.0, color="#999999", lw=1.0)
        binary = loss.kind != "cross_entropy"
        ax.set_xlabel("margin $y\\,f(x)$" if binary else "margin $f_y(x) - \\max_{k \\neq y} f_k(x)$")
        ax.set_ylabel("density")
        ax.legend()
    return ax


def check_formats(formats: Sequence[str]) -> None:
    """Refuse a format that cannot be written, before anything is computed."""
    from meanfield.gallery import FORMATS

    for kind in formats:
        if kind not in FORMATS:
            raise InputError(f"formats must be among {', '.join(FORMATS)}, not {kind!r}")

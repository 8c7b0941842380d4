"""What came out of a run: numbers for `summary.json`, and the same in a few lines of text."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from meanfield._experiment.build import Experiment, certified
from meanfield.data.dataset import Dataset
from meanfield.support import support_report
from solvers.errors import InputError
from solvers.protocols import Array
from solvers.provenance import jsonable

# Losses of labels +-1 and of classes: their predictions are judged by accuracy, others by R^2.
LABELLED = ("logistic", "exponential", "soft_min_margin", "cross_entropy")
# Coordinates of the worst neuron that are printed.
_SHOWN = 4


def certify(experiment: Experiment, run: Any) -> Any:
    """The certificate at the end of the run, or the sentence that says why there is none."""
    try:
        return certified(experiment.objective, run.final)
    except InputError as reason:
        return str(reason)


def summarize(experiment: Experiment, run: Any, certificate: Any, tables: dict[str, Any]) -> dict[str, Any]:
    """Everything worth keeping about a run, as JSON values.

    Parameters
    ----------
    experiment : Experiment
    run : Run
    certificate : Certificate or str
        What `certify` returned.
    tables : dict
        The configuration as read.
    """
    data, objective = experiment.dataset, experiment.objective
    support: dict[str, Any] = {}
    try:
        report = support_report(experiment.start, experiment.network, rng=experiment.settings.seed)
        support = {**dataclasses.asdict(report), "text": repr(report)}
    except InputError as reason:
        support = {"text": str(reason)}
    values = run["objective"]
    summary = {
        "status": run.status.name,
        "message": run.message,
        "advice": run.advice,
        "t": run.t[-1],
        "objective": {"start": values[0], "end": values[-1], "loss": objective.loss.kind},
        "train": scores(experiment, run, data.X, data.y),
        "test": None if data.X_test is None else scores(experiment, run, data.X_test, data.y_test),
        "certificate": _certificate(certificate, data),
        "support_at_start": support,
        "data": data.describe(),
        "network": repr(experiment.network),
        "width": experiment.start.width,
        "flow": type(experiment.flow).__name__,
        "stats": dict(run.stats),
        "provenance": {**run.provenance, "seed": experiment.settings.seed},
        "configuration": tables,
        "settings": dataclasses.asdict(experiment.settings),
    }
    ready: dict[str, Any] = jsonable(summary)
    return ready


def scores(experiment: Experiment, run: Any, X: Array, y: Any) -> dict[str, float]:
    """Loss of the final network on a part of the data, with R^2 and error in the target's unit, or accuracy."""
    loss = experiment.objective.loss
    labels = loss.check_labels(y, len(y)) if hasattr(loss, "check_labels") else y
    f = experiment.network.predict(run.final, X)
    found = {"loss": float(loss.value(f, labels))}
    if loss.kind in LABELLED:
        found["accuracy"] = float(np.mean(margins(f, labels, loss.kind) > 0))
        return found
    spread = np.sum((y - y.mean(axis=0)) ** 2)
    found["r2"] = float(1.0 - np.sum((f - y) ** 2) / spread) if spread > 0 else float("nan")
    unit = 1.0 if experiment.dataset.target_std is None else experiment.dataset.target_std
    found["rmse"] = float(np.sqrt(np.mean(((f - y) * unit) ** 2)))
    return found


def margins(f: Array, labels: Any, kind: str) -> Array:
    """``y f`` for labels +-1; for classes, the lead of the right one over the best other: right if positive."""
    if kind != "cross_entropy":
        return np.asarray(labels * f).ravel()
    right = (
        labels if labels.ndim == 1 else labels.argmax(axis=1)
    )  # rows of probabilities: the likeliest class
    rows, others = np.arange(len(f)), f.copy()
    others[rows, right] = -np.inf
    return np.asarray(f[rows, right] - others.max(axis=1))


def _certificate(certificate: Any, data: Dataset) -> dict[str, Any]:
    if isinstance(certificate, str):
        return {"gap": None, "why": certificate}
    found = {
        name: getattr(certificate, name)
        for name in ("gap", "exact", "value", "lower", "violation", "threshold", "how")
    }
    found["kind"] = "exact" if certificate.exact else "heuristic"
    found["worst_neuron"] = None if certificate.worst is None else certificate.worst.tolist()
    return found


def describe_neuron(neuron: Array, network: Any, names: tuple[str, ...]) -> str:
    """A neuron in words: outer weight, the largest inner weights by feature, bias."""
    parts = []
    layout = network.layout
    if "a" in layout:
        outer = neuron[slice(*layout["a"])]
        parts.append("a = " + (f"{outer[0]:.3g}" if outer.size == 1 else np.array2string(outer, precision=3)))
    inner = neuron[slice(*layout["w"])]
    order = np.argsort(-np.abs(inner), kind="stable")
    shown = ", ".join(f"{names[k]} {inner[k]:+.3g}" for k in order[:_SHOWN])
    more = f" and {inner.size - _SHOWN} smaller" if inner.size > _SHOWN else ""
    parts.append(f"w = ({shown}{more})")
    if "b" in layout:
        parts.append(f"b = {neuron[layout['b'][0]]:.3g}")
    return ", ".join(parts)


def text(experiment: Experiment, run: Any, certificate: Any, summary: dict[str, Any]) -> str:
    """The summary for people."""
    data = experiment.dataset
    start, end = summary["objective"]["start"], summary["objective"]["end"]
    lines = [
        ("data", repr(data).removeprefix("Dataset(").removesuffix(")")),
        ("network", f"{experiment.network!r}, {experiment.start.width} particles"),
        ("flow", f"{summary['flow']}, {run.stats['method']}, {run.stats['steps']} steps"),
        ("status", f"{summary['status']} at t = {run.t[-1]:g}. {run.message or run.advice}"),
        ("objective", f"{float(end):.6g} (at the start {float(start):.6g})"),
    ]
    if data.dropped:
        lines.insert(1, ("dropped", f"{', '.join(data.dropped)}: constant in the training part"))
    if run.message and run.status.name not in ("reached_end", "stopped_by_rule"):
        lines.append(("advice", run.advice))
    for part in ("train", "test"):
        if summary[part] is not None:
            words = {"loss": "loss", "r2": "R^2", "rmse": "root mean square error", "accuracy": "accuracy"}
            shown = (f"{words[k]} {float(v):.4g}" for k, v in summary[part].items())
            lines.append((part, ", ".join(shown)))
    if isinstance(certificate, str):
        lines.append(("certificate", f"none: {certificate}"))
    else:
        kind = "exact" if certificate.exact else "heuristic: a worse neuron may have been missed"
        bound = f"objective - optimum <= {certificate.gap:.3g} ({kind})"
        lines.append(("certificate", bound if np.isfinite(certificate.gap) else "no finite bound was found"))
        lines.append(("", certificate.how))
        if certificate.worst is not None:
            neuron = describe_neuron(certificate.worst, experiment.network, data.feature_names)
            lines.append(("worst neuron", neuron))
    lines.append(("start", summary["support_at_start"]["text"]))
    made = run.provenance
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    commit = f", commit {made['commit'][:10]}" if made.get("commit") else ""
    lines.append(("made with", f"seed {experiment.settings.seed}, {versions}{commit}"))
    return "\n".join(f"{name:<13}{line}" for name, line in lines)

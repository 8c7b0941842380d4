"""The theorem in shape beside a run, in words: rows of a table, and what to know before reading it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from meanfield.diagnostics._overparametrization.outcome import OverparametrizationReport

# Halves of a window whose rates differ by more than this factor do not make one rate.
CONSTANT = 1.5
# The theorem's inputs have |x| = 1; to so much.
UNIT = 1e-6
# The last coordinate of the theorem's inputs.
HALF = 0.5**0.5


def rows(found: OverparametrizationReport) -> list[tuple[str, str, str]]:
    """Quantity, the theorem in shape, and what was measured."""
    return [*_convergence(found), *_landscape(found), *_movement(found), *_sizes(found)]


def _convergence(found: OverparametrizationReport) -> list[tuple[str, str, str]]:
    fit, slow = found.decay, found.kernel_rates
    table = [
        (
            "loss F",
            "falls to 0",
            f"{found.objective[0]:.4g} -> {found.objective[-1]:.4g} in {found.steps} step(s)",
        )
    ]
    if math.isnan(fit.rate):
        table.append(("rate of log F", "linear", f"no fit: {fit.saves} save(s) above rounding"))
    else:
        table.append((
            "rate of log F", "linear",
            f"{fit.rate:.4g} [{fit.low:.4g}, {fit.high:.4g}] on t = {fit.begin:.3g} .. {fit.end:.3g}, "
            f"R^2 = {fit.r_squared:.4f}",
        ))  # fmt: skip
        table.append(("... of its two halves", "the same", f"{fit.early:.4g}, {fit.late:.4g}"))
        if not math.isnan(found.contraction):
            table.append(("F of a step over F before", "< 1", f"{found.contraction:.4f}"))
    if not math.isnan(slow[0]):
        table.append((
            "slowest rate of the kernel", "positive at the start, kept",
            f"{slow[0]:.4g} -> {slow[1]:.4g}",
        ))  # fmt: skip
    if not math.isnan(found.accuracy):
        table.append(("training accuracy", "100 %", f"{100 * found.accuracy:.4g} %"))
    return table


def _landscape(found: OverparametrizationReport) -> list[tuple[str, str, str]]:
    at = f"{len(found.gradients)} states"
    measured = f"[{found.gradient_low:.4g}, {found.gradient_high:.4g}] at {at}"
    if not found.theorem:
        return [("|grad F|^2/(F m)", f"stated for allen_zhu, not for {found.parametrization}", measured)]
    return [
        ("|grad F|^2/(F m)", "Omega(delta/(d n^2)) .. O(L n/d)", measured),
        ("its least d n^2/delta", "above a constant", _number(found.lower_ratio)),
        ("its largest d/(L n)", "below a constant", _number(found.upper_ratio)),
    ]


def _movement(found: OverparametrizationReport) -> list[tuple[str, str, str]]:
    def layers(values: object, first: int) -> str:
        return ", ".join(
            f"{i}: {value:.3g}" for i, value in enumerate(np.asarray(values, dtype=float), first)
        )

    first = min(found.layers)
    m, size = found.width**0.5, " ~ m^-1/2" if found.theorem else ""
    return [
        (
            "omega = |dW|_2, by layer",
            f"small{size}",
            _named(found.layers, found.spectral_by_layer) + f" (root m omega: {m * found.spectral:.3g})",
        ),
        ("|dW|_F, by layer", f"small{size}", _named(found.layers, found.frobenius_by_layer)),
        ("... all, and with a frozen kernel", "", f"{found.frobenius:.3g}, {_number(found.frozen_movement)}"),
        (
            "|dW|_2/|W_0|_2, by layer",
            f"small{size}",
            _named(found.layers, found.relative_spectral_by_layer),
        ),
        ("flips, by hidden layer", "0 below what moves", layers(found.flips_by_layer, 0)),
        (
            f"flips of layers {first} and above",
            "O(omega^2/3 L)" if found.theorem else "",
            _constant(found.flips, found.flips_ratio),
        ),
        (
            "kernel change, Frobenius",
            "O(omega^1/3 L^3)" if found.theorem else "",
            _constant(found.kernel_change, found.kernel_ratio),
        ),
        ("... spectral", "", _number(found.kernel_change_spectral)),
        (
            "lambda_min(K)",
            "stays positive",
            f"{found.eigenvalues_start[-1]:.4g} -> {found.eigenvalues_end[-1]:.4g}",
        ),
    ]


def _sizes(found: OverparametrizationReport) -> list[tuple[str, str, str]]:
    table = [
        ("delta = min |x_i - x_j|", "positive", _number(found.delta)),
        (
            "|h_L|/|x| at the start",
            "1 + o(1)" if found.theorem else "",
            f"[{found.hidden_low:.3f}, {found.hidden_high:.3f}]",
        ),
    ]
    if not math.isnan(found.step):
        practice = f"{found.step:.4g}"
        if not math.isnan(found.step_ratio):
            practice += f" = {found.step_ratio:.3g} d delta/m, as if poly(n, L) = {1 / found.step_ratio:.3g}"
        table.append(("step", "Theta(d delta/(m poly(n, L)))" if found.theorem else "", practice))
        if not math.isnan(found.stable_step):
            table.append(("... of what is stable with K_0", "", f"{found.step / found.stable_step:.2g}"))
    table.append((
        "width m", "poly(n, L, 1/delta) at least" if found.theorem else "",
        f"{found.width}, {found.width / found.points:.4g} for each point",
    ))  # fmt: skip
    return table


def notes(found: OverparametrizationReport) -> list[str]:
    """Sentences on what limits the comparison, none where nothing does."""
    said = []
    fit = found.decay
    if not found.converged:
        said.append(
            f"training has not converged: the loss ended at {found.objective[-1] / found.objective[0]:.2g} of its "
            f"start, above the goal {found.goal:.3g}; what moved is what had moved by then"
        )
    if found.rises:
        said.append(
            f"the loss rose at {found.rises} of {len(found.objective) - 1} saves; of full batches a step this large "
            "is outside the theorem"
            if found.batch is None
            else f"the loss rose at {found.rises} of {len(found.objective) - 1} saves, as minibatches let it"
        )
    if not math.isnan(fit.early) and not fit.early / CONSTANT < fit.late < fit.early * CONSTANT:
        said.append(
            f"the rate is not constant, {fit.early:.3g} in the first half of the window and {fit.late:.3g} in the "
            "second: one number does not describe it"
        )
    if not found.theorem:
        said.append(
            f"the theorem is about the allen_zhu parametrization; powers of m and bounds of gradients are not "
            f"those of {found.parametrization}"
        )
    elif found.layers != tuple(range(1, found.depth + 1)):
        said.append(
            f"the theorem moves the layers between the first one and the read-out, here layers {found.layers} move"
        )
    if found.theorem and found.activation != "ReLU":
        said.append(f"the theorem is about ReLU, this is {found.activation}")
    if found.loss != "squared":
        said.append(f"the theorem's bounds are stated for the squared loss, this is the {found.loss} loss")
    if found.fresh:
        said.append("batches were fresh samples of a population, where the theorem has the data of the loss")
    if found.weighted:
        said.append("data have unequal weights, where the theorem counts them alike")
    if len(set(found.widths)) > 1:
        said.append(f"hidden layers have widths {found.widths}; m is the smallest")
    if found.delta == 0.0:
        said.append(
            "points of the data coincide (with equal labels): delta = 0, and the theorem says nothing"
        )
    if not (abs(found.length_low - 1.0) < UNIT and abs(found.length_high - 1.0) < UNIT):
        said.append(
            f"the theorem has |x| = 1, here |x| is in [{found.length_low:.3g}, {found.length_high:.3g}]"
        )
    if found.theorem and found.architecture != "ConvNet" and not abs(found.last - HALF) < UNIT:
        said.append(
            "the theorem's inputs have the last coordinate 1/root 2, as mf.data.separated makes them; these do not"
        )
    if found.theorem:
        said.append(
            "how far step and width are from the theorem's is not computable: the powers in its poly are not known here"
        )
    if len(found.gradients) == 2:
        said.append(
            'gradients were looked at at the two ends of the run only; keep="all" or a record sees more (dissipation)'
        )
    if found.kernel_points < found.points:
        said.append(
            f"kernels were compared on {found.kernel_points} of {found.points} points; the smallest eigenvalue on all "
            "of them is at most that"
        )
    return said


def _named(layers: tuple[int, ...], values: object) -> str:
    return ", ".join(
        f"{i}: {value:.3g}" for i, value in zip(layers, np.asarray(values, dtype=float), strict=True)
    )


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.4g}"


def _constant(value: float, ratio: float) -> str:
    return _number(value) + ("" if math.isnan(ratio) else f", {ratio:.3g} of it")

"""What a report on over-parametrized training holds, and how it is shown."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield.diagnostics._overparametrization.decay import Decay
from solvers.protocols import Array


@dataclass(frozen=True, eq=False, repr=False)
class OverparametrizationReport(Mapping[str, float]):
    """A run of a deep network in the quantities of the theorem; a mapping of names to numbers, unknown ones left out.

    omega is `spectral`, m `width`, n `points`, L `depth`, d `outputs`: the theorem's d, as the variance 1/d of its
    read-out has it. Gradients and kernels are those of the layers that move, with their rates.

    Attributes
    ----------
    network, architecture, activation, parametrization, loss, method, status : str
    widths : tuple of int
        Of the hidden layers, channels of convolutions.
    points, outputs, kernel_points : int
        Data (of positive weight), outputs, and the data that kernels were compared on.
    reduction : float
        n where the loss is a mean over data, else 1: the theorem's loss is a sum.
    convexity, curvature : float
        Least and largest second derivative of the loss in a prediction; the least of the squared loss only.
    step : float
        Of SGD; NaN for flows.
    batch : int or None
    fresh, weighted : bool
        Whether batches were fresh samples of a population; whether data have unequal weights.
    steps : int
    goal : float
        A loss that counts as converged.
    t, objective : ndarray, (s,)
        What was recorded.
    decay : Decay
        The fit of an exponential to it, with its interval, R^2, window, and the rates of both halves.
    accuracy : float
        On the data, at the end; NaN where labels are no classes.
    layers : tuple of int
        Numbers of those that move.
    spectral_by_layer, frobenius_by_layer : ndarray, (layers,)
        ``|W_T - W_0|`` of the matrices W of the layers that move.
    relative_spectral_by_layer, relative_frobenius_by_layer : ndarray, (layers,)
        In units of ``|W_0|``.
    relative_frobenius : float
        Over all layers that move together.
    frozen_movement : float
        ``root <y - f, K_0^-1 (y - f)>`` at the start: how far weights move to zero squared loss by the gradient flow
        of a kernel that stays as it was. NaN for other losses, mean-field rates, biases, data of weight zero, and
        where the kernel is singular or not of all data.
    flips_by_layer : ndarray, (hidden layers,)
        Share of (unit, position, datum) whose preactivation changed its sign.
    kernel_change, kernel_change_spectral : float
        ``|K_T - K_0|/|K_0|`` of the tangent kernel, Frobenius and spectral norm.
    eigenvalues_start, eigenvalues_end : ndarray, (kernel_points outputs,)
        Of the tangent kernel, descending.
    gradient_times, gradients : ndarray, (states,)
        ``sum_l rate_l |grad_l F|^2 / F`` at the states that the run kept, or where it recorded it; the rate of decay of
        a gradient flow there.
    delta : float
        ``min |x_i - x_j|`` over pairs of data.
    length_low, length_high : float
        Of ``|x_i|``.
    last : float
        The last coordinate of all x_i, NaN where it is not the same.
    hidden_low, hidden_high : float
        Of ``|h_L(x_i)| / |x_i|`` at the start.
    """

    network: str
    architecture: str
    activation: str
    parametrization: str
    loss: str
    method: str
    status: str
    widths: tuple[int, ...]
    points: int
    outputs: int
    kernel_points: int
    reduction: float
    convexity: float
    curvature: float
    step: float
    batch: int | None
    fresh: bool
    weighted: bool
    steps: int
    goal: float
    t: Array
    objective: Array
    decay: Decay
    accuracy: float
    layers: tuple[int, ...]
    spectral_by_layer: Array
    frobenius_by_layer: Array
    relative_spectral_by_layer: Array
    relative_frobenius_by_layer: Array
    relative_frobenius: float
    frozen_movement: float
    flips_by_layer: Array
    kernel_change: float
    kernel_change_spectral: float
    eigenvalues_start: Array
    eigenvalues_end: Array
    gradient_times: Array
    gradients: Array
    delta: float
    length_low: float
    length_high: float
    last: float
    hidden_low: float
    hidden_high: float

    # -- what follows from them -----------------------------------------------------------------------------

    @property
    def width(self) -> int:
        """m, the smallest of the hidden layers."""
        return min(self.widths)

    @property
    def depth(self) -> int:
        """L of the theorem: hidden layers after the first one."""
        return len(self.widths) - 1

    @property
    def theorem(self) -> bool:
        """Whether the network has the theorem's parametrization; its statements on gradients mean nothing elsewhere."""
        return self.parametrization == "allen_zhu"

    @property
    def converged(self) -> bool:
        """Whether the loss ended at `goal` or below."""
        return bool(self.objective[-1] <= self.goal)

    @property
    def rises(self) -> int:
        """Saves at which the loss was above that of the save before."""
        return int(np.count_nonzero(np.diff(self.objective) > 0.0))

    @property
    def spectral(self) -> float:
        """omega, the largest spectral movement of a layer."""
        return float(self.spectral_by_layer.max())

    @property
    def frobenius(self) -> float:
        """Movement of all layers together."""
        return float(np.linalg.norm(self.frobenius_by_layer))

    @property
    def relative_spectral(self) -> float:
        """The largest over layers."""
        return float(self.relative_spectral_by_layer.max())

    @property
    def flips(self) -> float:
        """Share over units and data of the hidden layers that training reaches, those from the first that moves on."""
        first = min(self.layers)
        sizes = np.array(self.widths[first:], dtype=np.float64)
        return float(self.flips_by_layer[first:] @ sizes / sizes.sum()) if sizes.size else math.nan

    @property
    def contraction(self) -> float:
        """Factor of the loss an iteration of SGD, ``e^(-rate step)``; NaN for flows."""
        return math.exp(-self.decay.rate * self.step)

    @property
    def kernel_rates(self) -> tuple[float, float]:
        """``2 convexity lambda_min(K)`` at start and end: no rate of a frozen kernel is below; of the squared loss."""
        if self.kernel_points < self.points:
            return math.nan, math.nan
        factor = 2.0 * self.convexity
        return factor * float(self.eigenvalues_start[-1]), factor * float(self.eigenvalues_end[-1])

    @property
    def stable_step(self) -> float:
        """``2/(curvature lambda_max(K_0))``: below it descent on a frozen kernel of all data does not grow.

        Beyond it that grows, for the squared loss and data that count alike; otherwise perhaps later only.
        """
        largest = float(self.eigenvalues_start[0])
        if self.kernel_points < self.points or not largest > 0.0:
            return math.nan
        return 2.0 / (self.curvature * largest)

    @property
    def gradient_low(self) -> float:
        """The least ``|grad F|^2/(F m)`` of the states looked at, F a sum over data."""
        return self._over_states(np.nanmin)

    @property
    def gradient_high(self) -> float:
        """The largest."""
        return self._over_states(np.nanmax)

    def _over_states(self, pick: Any) -> float:
        known = self.gradients[np.isfinite(self.gradients)]
        return float(pick(known)) * self.reduction / self.width if known.size else math.nan

    @property
    def lower_ratio(self) -> float:
        """``min |grad F|^2/(F m) d n^2/delta``: the theorem's lower bound says at least a constant."""
        if not self.theorem or not 0.0 < self.delta < math.inf:
            return math.nan
        return self.gradient_low * self.outputs * self.points**2 / self.delta

    @property
    def upper_ratio(self) -> float:
        """``max |grad F|^2/(F m) d/(L n)``: the theorem's upper bound says at most a constant."""
        if not self.theorem or not self.depth:
            return math.nan
        return self.gradient_high * self.outputs / (self.depth * self.points)

    @property
    def flips_ratio(self) -> float:
        """``flips/(omega^(2/3) L)``: at most a constant."""
        return _over(self.flips, self.spectral ** (2 / 3) * self.depth) if self.theorem else math.nan

    @property
    def kernel_ratio(self) -> float:
        """``kernel_change/(omega^(1/3) L^3)``: at most a constant."""
        return (
            _over(self.kernel_change, self.spectral ** (1 / 3) * self.depth**3) if self.theorem else math.nan
        )

    @property
    def step_ratio(self) -> float:
        """``step m/(d delta)``: the theorem's step has Theta(1/poly(n, L)) here, an unknown number."""
        if not self.theorem or not 0.0 < self.delta < math.inf:
            return math.nan
        return self.step * self.width / (self.outputs * self.delta)

    # -- as a mapping ---------------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, float]:
        """The numbers that are known, by name."""
        slow = self.kernel_rates
        found = {
            "width": self.width, "depth": self.depth, "points": self.points, "outputs": self.outputs,
            "steps": self.steps, "step": self.step, "step_ratio": self.step_ratio,
            "stable_step": self.stable_step,
            "objective_start": self.objective[0], "objective_end": self.objective[-1],
            "rate": self.decay.rate, "rate_low": self.decay.low, "rate_high": self.decay.high,
            "rate_early": self.decay.early, "rate_late": self.decay.late,
            "r_squared": self.decay.r_squared, "contraction": self.contraction,
            "kernel_rate_start": slow[0], "kernel_rate_end": slow[1], "accuracy": self.accuracy,
            "spectral": self.spectral, "frobenius": self.frobenius,
            "frozen_movement": self.frozen_movement,
            "relative_spectral": self.relative_spectral, "relative_frobenius": self.relative_frobenius,
            "flips": self.flips, "flips_ratio": self.flips_ratio,
            "kernel_change": self.kernel_change, "kernel_change_spectral": self.kernel_change_spectral,
            "kernel_ratio": self.kernel_ratio,
            "eigenvalue_start": self.eigenvalues_start[-1], "eigenvalue_end": self.eigenvalues_end[-1],
            "gradient_low": self.gradient_low, "gradient_high": self.gradient_high,
            "lower_ratio": self.lower_ratio, "upper_ratio": self.upper_ratio,
            "delta": self.delta, "hidden_low": self.hidden_low, "hidden_high": self.hidden_high,
        }  # fmt: skip
        return {name: float(value) for name, value in found.items() if not math.isnan(value)}

    def __getitem__(self, name: str) -> float:
        return self.as_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_dict())

    def __len__(self) -> int:
        return len(self.as_dict())

    # -- shown ----------------------------------------------------------------------------------------------

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Quantity, the theorem in shape, and what was measured."""
        from meanfield.diagnostics._overparametrization.words import rows

        return rows(self)

    @property
    def notes(self) -> list[str]:
        """What to know before reading the table: where the run is outside the theorem, or short of its claim."""
        from meanfield.diagnostics._overparametrization.words import notes

        return notes(self)

    def __repr__(self) -> str:
        return (
            f"OverparametrizationReport(m = {self.width}, n = {self.points}, L = {self.depth}: loss "
            f"{self.objective[0]:.3g} -> {self.objective[-1]:.3g} in {self.steps} steps, weights moved "
            f"{self.spectral:.3g} (spectral), {self.flips:.2%} of activations flipped, kernel changed by "
            f"{self.kernel_change:.3g})"
        )

    def __str__(self) -> str:
        lines = [f"{self.network}, {self.points} points, {self.loss} loss, {self.method}"]
        table = [("", "theorem, in shape", "measured"), *self.rows]
        wide = [max(len(row[k]) for row in table) for k in range(2)]
        lines += [f"  {a:<{wide[0]}}  {b:<{wide[1]}}  {c}".rstrip() for a, b, c in table]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        import html

        from meanfield import plotting

        table = plotting.html_table(self.rows, ("", "theorem, in shape", "measured"), self.network)
        return table + "<ul>" + "".join(f"<li>{html.escape(note)}</li>" for note in self.notes) + "</ul>"

    def plot(self, ax: Any = None, csv: Any = None) -> Any:
        """The loss over time on a log axis with its fit, and the slopes of both halves; `csv` gets the numbers."""
        from meanfield import plotting
        from meanfield.plotting._style import COLOURS, axes

        fit, columns = self.decay, {"t": self.t, "objective": self.objective}
        columns["fit"] = np.exp(fit.intercept - fit.rate * self.t)
        with axes(ax) as ax:
            ax.semilogy(
                self.t, np.where(self.objective > 0, self.objective, np.nan), "o", ms=3.5, label="loss"
            )
            if not math.isnan(fit.rate):
                ends = np.array([fit.begin, fit.end])
                label = f"rate {fit.rate:.3g} [{fit.low:.3g}, {fit.high:.3g}], $R^2$ = {fit.r_squared:.4f}"
                ax.semilogy(
                    ends, np.exp(fit.intercept - fit.rate * ends), color=COLOURS[1], lw=1.2, label=label
                )
            ax.set_xlabel("time $t$")
            ax.set_ylabel("loss $F$")
            ax.set_title(f"halves of the window: rates {fit.early:.3g} and {fit.late:.3g}")
            ax.legend()
        if csv is not None:
            plotting.write_csv(csv, columns)
        return ax

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the numbers, one row each."""
        from meanfield import plotting

        found = self.as_dict()
        plotting.write_csv(path, {"name": list(found), "value": list(found.values())})


def _over(value: float, by: float) -> float:
    return value / by if by > 0.0 else math.nan

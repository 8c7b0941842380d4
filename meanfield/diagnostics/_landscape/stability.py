"""What dropping random neurons changed: draws, their means with confidence, and the exact expectation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from meanfield._confidence import bounds
from solvers.protocols import Array


class Interval(NamedTuple):
    """A mean and the 95 % confidence interval of what it estimates, Student's, low to high; NaN of one value."""

    mean: float
    low: float
    high: float


def interval(values: Any) -> Interval:
    """Of the mean of independent `values`, (k,)."""
    values = np.asarray(values, dtype=np.float64)
    return Interval(float(values.mean()), *bounds(values))


@dataclass(frozen=True, eq=False, repr=False)
class DropoutReport:
    """Change of predictions and loss when a random part of the neurons is dropped and the rest rescaled.

    Attributes
    ----------
    loss : float
        R(f) of the whole network.
    losses : ndarray, (draws,)
        R(f') of each thinned one.
    changes : ndarray, (draws,)
        ``mean_i |f'(x_i) - f(x_i)|^2``, summed over outputs, with the data's weights.
    expected : float or None
        The exact expectation of `changes` over draws, given the network; None where predictions are not linear in what
        is dropped (layers of a deep network before its last hidden one).
    expected_loss : float or None
        That of R(f'), for the squared loss: R(f) and half the variance.
    law : {"count", "coins"}
    keep : float
    widths, remaining : tuple of int
        Neurons of the layers that were thinned, and how many remain (with "coins" on average, rounded).
    layers : tuple of int
        Their numbers.
    subject : str
        The network in words.
    """

    loss: float
    losses: Array
    changes: Array
    expected: float | None
    expected_loss: float | None
    law: str
    keep: float
    widths: tuple[int, ...]
    remaining: tuple[int, ...]
    layers: tuple[int, ...]
    subject: str

    @property
    def mean_square(self) -> Interval:
        """The mean of `changes`, with its confidence interval over draws."""
        return interval(self.changes)

    @property
    def loss_change(self) -> Interval:
        """The mean of R(f') - R(f), with its confidence interval over draws."""
        return interval(self.losses - self.loss)

    @property
    def largest_loss_change(self) -> float:
        """The largest R(f') - R(f) among the draws."""
        return float(np.max(self.losses - self.loss))

    @property
    def rows(self) -> list[tuple[str, float, float, float]]:
        """Name, mean and ends of the confidence interval."""
        found = [
            ("mean |f' - f|^2", *self.mean_square),
            ("R(f') - R(f)", *self.loss_change),
        ]
        if self.expected is not None:
            found.append(("exact expectation of the first", self.expected, self.expected, self.expected))
        if self.expected_loss is not None:
            rise = self.expected_loss - self.loss
            found.append(("and of the second", rise, rise, rise))
        return found

    @property
    def _kept(self) -> str:
        """How many remain; of a few neurons that stay by coins the mean is no whole number."""
        if self.law == "count":
            return _listed(self.remaining)
        return _listed(tuple(float(f"{self.keep * m:.3g}") for m in self.widths))

    def __repr__(self) -> str:
        how = "exactly" if self.law == "count" else "each by a coin, on average"
        text = (
            f"DropoutReport({self.subject}: of {_listed(self.widths)} neurons {how} {self._kept} kept, "
            f"{len(self.losses)} draw(s); mean |f' - f|^2 = {_shown(self.mean_square)}"
        )
        if self.expected is not None:
            text += f", exactly {self.expected:.3g} in expectation"
        return text + f"; loss {self.loss:.3g}, changed by {_shown(self.loss_change)})"

    def _repr_html_(self) -> str:
        from meanfield import plotting

        table = [(name, f"{mean:.4g}", f"{low:.4g}", f"{high:.4g}") for name, mean, low, high in self.rows]
        caption = f"Dropout, {self._kept} of {_listed(self.widths)} neurons kept: {self.subject}"
        return plotting.html_table(table, ("", "mean", "from", "to (95 %)"), caption)

    def plot(self, ax: Any = None, csv: Any = None) -> Any:
        """The loss of every draw in increasing order, beside that of the whole network and the expectation.

        Parameters
        ----------
        ax : Axes, optional
        csv : path, optional
            Gets the draws.
        """
        from meanfield.plotting._style import COLOURS, FAINT, NEUTRAL, axes

        mean = self.loss_change
        with axes(ax) as ax:
            k = np.arange(1, len(self.losses) + 1)
            ax.plot(k, np.sort(self.losses), ".", color=COLOURS[0], label="thinned, one draw each")
            ax.axhline(self.loss, color=NEUTRAL, lw=1.2, label="the whole network")
            if np.isfinite(mean.low):
                ax.axhspan(self.loss + mean.low, self.loss + mean.high, color=COLOURS[0], alpha=0.2, lw=0,
                           label="mean, 95 %")  # fmt: skip
            if self.expected_loss is not None:
                ax.axhline(self.expected_loss, color=FAINT, lw=1.2, ls="--", label="exact expectation")
            ax.set_xlabel("draw, in order")
            ax.set_ylabel("loss $R$")
            ax.set_title(f"{self._kept} of {_listed(self.widths)} neurons kept")
            ax.legend()
        if csv is not None:
            self.to_csv(csv)
        return ax

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the loss and the mean square change of every draw."""
        from meanfield import plotting

        plotting.write_csv(path, {"loss": self.losses, "mean_square": self.changes})


def _listed(numbers: tuple[float, ...]) -> str:
    return " + ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in numbers)


def _shown(found: Interval) -> str:
    if np.isnan(found.low):
        return f"{found.mean:.3g}"
    return f"{found.mean:.3g} ({found.low:.3g} to {found.high:.3g})"

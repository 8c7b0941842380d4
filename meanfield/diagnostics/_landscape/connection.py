"""Paths between solutions: the losses along them, the barrier with its confidence, and the states on the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield.diagnostics._landscape.stability import Interval, interval
from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array


@dataclass(frozen=True, eq=False, repr=False)
class Connection:
    """Losses along paths from a (t = 0) to b (t = 1), and their barrier: the largest less that of the worse end.

    Attributes
    ----------
    kind : {"dropout", "line", "aligned"}
    t : ndarray, (points,)
    losses : ndarray, (pairs, draws, points)
        R(f) along each path. Between straight pieces' ends of a dropout path R is convex in t (where R is in f), so
        that its largest values are among them and the barrier is exact; on the others it is the largest computed.
    corners : ndarray, (pieces + 1,)
        Values of t at the ends of the straight pieces.
    output_only : tuple of bool, (pieces,)
        Which of them move the output layer alone; the others of a dropout path change nothing that is read.
    widths : tuple of int
        Neurons of the hidden layers.
    subject : str
        The network in words.
    """

    kind: str
    t: Array
    losses: Array
    corners: Array
    output_only: tuple[bool, ...]
    widths: tuple[int, ...]
    subject: str
    _nodes: Callable[[int, int], list[Any]]
    _mix: Callable[[Any, Any, float], Any]

    @property
    def barriers(self) -> Array:
        """``max_t R - max(R at t = 0, R at t = 1)`` of each path, (pairs, draws): never negative."""
        return np.asarray(self.losses.max(axis=2) - np.maximum(self.losses[:, :, 0], self.losses[:, :, -1]))

    @property
    def barrier(self) -> float:
        """Its mean over pairs and draws."""
        return float(self.barriers.mean())

    @property
    def interval(self) -> Interval:
        """The mean barrier with its 95 % confidence interval: over pairs where there are several, else over draws."""
        found = self.barriers
        return interval(found.mean(axis=1) if len(found) > 1 else found[0])

    @property
    def best(self) -> int:
        """The draw whose path has the least barrier, of the first pair."""
        return int(np.argmin(self.barriers[0]))

    def path(self, t: float, draw: int = 0, pair: int = 0) -> Any:
        """The network at t between 0, which is a, and 1, which is b (of an aligned path, b with its neurons permuted).

        Parameters
        ----------
        t : float
        draw, pair : int, optional
            Which path; the first one by default.
        """
        at = float(_check.number(t, "t"))
        if not 0.0 <= at <= 1.0:
            raise InputError(f"t must lie between 0, which is a, and 1, which is b, not {at:g}")
        numbers = [
            _check.number(one, name, integer=True, nonnegative=True)
            for one, name in ((draw, "draw"), (pair, "pair"))
        ]
        pairs, draws = self.losses.shape[:2]
        if numbers[0] >= draws or numbers[1] >= pairs:
            raise InputError(
                f"draw must be below {draws} and pair below {pairs}, not {numbers[0]} and {numbers[1]}"
            )
        nodes = self._nodes(numbers[1], numbers[0])
        pieces = len(nodes) - 1
        k = min(int(at * pieces), pieces - 1)
        return self._mix(nodes[k], nodes[k + 1], min(1.0, at * pieces - k))

    @property
    def rows(self) -> list[tuple[str, float]]:
        """Names and numbers of the summary."""
        found = self.interval
        return [
            ("loss at a", float(self.losses[:, :, 0].mean())),
            ("loss at b", float(self.losses[:, :, -1].mean())),
            ("largest on the way", float(self.losses.max(axis=2).mean())),
            ("barrier", found.mean),
            ("from (95 %)", found.low),
            ("to (95 %)", found.high),
        ]

    def __repr__(self) -> str:
        pairs, draws = self.losses.shape[:2]
        start, end, _, barrier, low, high = (value for _, value in self.rows)
        text = f"Connection({self.kind} path, {self.subject}"
        text += f", {pairs} pair(s)" + (f", {draws} draw(s)" if self.kind == "dropout" else "")
        text += f": loss {start:.3g} at a, {end:.3g} at b, barrier {barrier:.3g}"
        return text + (f" ({low:.3g} to {high:.3g}, 95 %)" if np.isfinite(low) else "") + ")"

    def _repr_html_(self) -> str:
        from meanfield import plotting

        table = [(name, f"{value:.4g}") for name, value in self.rows if np.isfinite(value)]
        return plotting.html_table(table, ("", ""), f"Path by {self.kind}, {self.subject}")

    def plot(
        self, ax: Any = None, csv: Any = None, *, label: str | None = None, colour: str | None = None
    ) -> Any:
        """Losses along the path: every draw faint, their mean; dotted where the straight pieces end.

        Parameters
        ----------
        ax : Axes, optional
        csv : path, optional
            Gets t and the mean.
        label, colour : str, optional
        """
        from meanfield import plotting
        from meanfield.plotting._style import COLOURS, FAINT, axes

        mean, each = self.losses.mean(axis=(0, 1)), self.losses.reshape(-1, self.t.size)
        shade = COLOURS[0] if colour is None else colour
        with axes(ax) as ax:
            if len(each) > 1:
                ax.plot(self.t, each.T, color=shade, lw=0.5, alpha=0.25)
            ax.plot(self.t, mean, color=shade, label=label or f"{self.kind}, barrier {self.barrier:.2g}")
            for at in self.corners[1:-1]:
                ax.axvline(at, color=FAINT, lw=0.6, ls=":")
            ax.set_xlabel("$t$ along the path")
            ax.set_ylabel("loss $R$")
            ax.legend()
        if csv is not None:
            plotting.write_csv(csv, {"t": self.t, "loss": mean})
        return ax

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write t and the losses of every path, one column each."""
        from meanfield import plotting

        columns = {f"pair_{i}_draw_{j}": self.losses[i, j] for i, j in np.ndindex(*self.losses.shape[:2])}
        plotting.write_csv(path, {"t": self.t, **columns})

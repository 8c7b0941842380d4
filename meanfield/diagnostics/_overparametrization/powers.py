"""`slopes`: powers of the width in what reports say, with confidence intervals over seeds."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield.diagnostics._overparametrization.estimates import WidthSlope, contrast, estimate, kind, power
from meanfield.diagnostics._overparametrization.outcome import OverparametrizationReport
from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array

LABELS = {
    "spectral": r"$\omega = |\Delta W|_2$",
    "frobenius": r"$|\Delta W|_F$",
    "relative_spectral": r"$|\Delta W|_2 / |W_0|_2$",
    "relative_frobenius": r"$|\Delta W|_F / |W_0|_F$",
    "flips": "share of flips",
    "kernel_change": r"$|\Delta K|_F / |K_0|_F$",
    "kernel_change_spectral": r"$|\Delta K|_2 / |K_0|_2$",
    "rate": "rate of the loss",
    "eigenvalue_start": r"$\lambda_{\min}(K_0)$",
    "gradient_low": r"least $|\nabla F|^2/(F m)$",
    "gradient_high": r"largest $|\nabla F|^2/(F m)$",
}
# What reports of one slope have in common.
ALIKE = (
    "architecture", "activation", "parametrization", "loss", "reduction", "depth", "points", "kernel_points", "outputs",
    "layers",
)  # fmt: skip
# What the theorem has, in shape; bounds of flips and kernel follow from omega ~ m^(-1/2).
THEOREM = {
    "spectral": ("-1/2", -0.5),
    "frobenius": ("-1/2", -0.5),
    "relative_spectral": ("-1/2", -0.5),
    "flips": ("at most -1/3", -1 / 3),
    "kernel_change": ("at most -1/6", -1 / 6),
    "kernel_change_spectral": ("at most -1/6", -1 / 6),
    "rate": ("1", 1.0),
    "eigenvalue_start": ("1", 1.0),
    "gradient_low": ("0", 0.0),
    "gradient_high": ("0", 0.0),
}


@dataclass(frozen=True, eq=False, repr=False)
class WidthSlopes(Mapping[str, WidthSlope]):
    """Fitted powers of the width m, a mapping of names to `WidthSlope`.

    Attributes
    ----------
    widths : ndarray, (w,)
    samples : mapping of str to tuple of ndarray
        Of each quantity the values by width, one for each report.
    fits : mapping of str to WidthSlope
    intervals : str
        How the intervals were made.
    left_out : mapping of int to int
        Reports by width that had not converged and were left out.
    skipped : mapping of str to str
        Quantities without a slope, and why.
    theorem : bool
        Whether the networks have the theorem's parametrization, whose powers can be compared.
    """

    widths: Array
    samples: Mapping[str, tuple[Array, ...]]
    fits: Mapping[str, WidthSlope]
    intervals: str
    left_out: Mapping[int, int]
    skipped: Mapping[str, str]
    theorem: bool

    def __getitem__(self, name: str) -> WidthSlope:
        return self.fits[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fits)

    def __len__(self) -> int:
        return len(self.fits)

    @property
    def counts(self) -> tuple[int, ...]:
        """Reports of each width."""
        return tuple(len(one) for one in next(iter(self.samples.values())))

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """Quantity, the theorem's power of m, the fitted one with its interval, and the bend."""
        table = []
        for name, fit in self.fits.items():
            known = THEOREM.get(name) if self.theorem else None
            bend = "" if math.isnan(fit.bend) else f"{fit.bend:.3f} [{fit.bend_low:.3f}, {fit.bend_high:.3f}]"
            table.append((
                name, known[0] if known else "", f"{fit.slope:.3f} [{fit.low:.3f}, {fit.high:.3f}]", bend
            ))  # fmt: skip
        return table

    def __repr__(self) -> str:
        fits = "".join(
            f"; {name} {fit.slope:.2f} [{fit.low:.2f}, {fit.high:.2f}]" for name, fit in self.fits.items()
        )
        return f"WidthSlopes(m = {self.widths[0]:g} .. {self.widths[-1]:g}, {len(self.widths)} widths{fits})"

    def __str__(self) -> str:
        table = [("", "theorem", "slope in m", "bend"), *self.rows]
        wide = [max(len(row[k]) for row in table) for k in range(4)]
        lines = ["  ".join(cell.ljust(wide[k]) for k, cell in enumerate(row)).rstrip() for row in table]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)])

    @property
    def notes(self) -> list[str]:
        """How intervals were made, and what is missing."""
        said = [f"intervals of 95 %: {self.intervals}"]
        said += [f"{count} report(s) of width {m} had not converged" for m, count in self.left_out.items()]
        return said + [f"{name}: {why}" for name, why in self.skipped.items()]

    def _repr_html_(self) -> str:
        import html

        from meanfield import plotting

        table = plotting.html_table(self.rows, ("", "theorem", "slope in m", "bend"), "Powers of the width m")
        return table + "<ul>" + "".join(f"<li>{html.escape(note)}</li>" for note in self.notes) + "</ul>"

    def line(self, name: str, m: Any) -> tuple[Array, Array, Array]:
        """The fitted power at widths m, and its 95 % band.

        Parameters
        ----------
        name : str
            The quantity.
        m : array_like, (k,)
        """
        _check.choice(name, "name", self.fits)
        widths = _check.array(m, "m", ndim=1)
        if not (widths > 0.0).all():
            raise InputError("m must hold positive widths")
        at = np.log(widths)
        x = np.log(self.widths)
        logs = [np.log(one) for one in self.samples[name]]
        found = [estimate(1 / len(x) + (one - x.mean()) * contrast(x, 1), logs, x) for one in at]
        middle, low, high = np.exp(np.array(found)).T
        return middle, low, high

    def plot(self, name: str = "spectral", ax: Any = None, csv: Any = None, colour: str | None = None) -> Any:
        """One quantity over the width on log axes: reports, their geometric means, the fit with its band, the theorem.

        Parameters
        ----------
        name : str
        ax : Axes, optional
        csv : path, optional
            Gets the plotted numbers.
        colour : str, optional
        """
        from meanfield import plotting
        from meanfield.plotting._style import COLOURS, NEUTRAL, axes

        fit, shade = self[_check.choice(name, "name", self.fits)], colour or COLOURS[0]
        groups = self.samples[name]
        means = np.array([np.exp(np.log(one).mean()) for one in groups])
        fine = np.geomspace(self.widths[0], self.widths[-1], 60)
        middle, low, high = self.line(name, fine)
        with axes(ax) as ax:
            ax.loglog(
                np.repeat(self.widths, [len(one) for one in groups]), np.concatenate(groups),
                ".", color=shade, alpha=0.35, ms=4,
            )  # fmt: skip
            ax.loglog(self.widths, means, "o", color=shade)
            label = f"slope ${fit.slope:.2f}$ [{fit.low:.2f}, {fit.high:.2f}]"
            ax.loglog(fine, middle, color=shade, lw=1.3, label=label)
            ax.fill_between(fine, low, high, color=shade, alpha=0.2, lw=0)
            if self.theorem and name in THEOREM:
                words, exponent = THEOREM[name]
                height = float(np.exp(np.log(means).mean() - exponent * np.log(self.widths).mean())) * 1.6
                ax.loglog(
                    fine, height * fine**exponent, "--", color=NEUTRAL, lw=1.0, label=f"theorem: {words}"
                )
            ax.set_xticks(self.widths, [f"{m:g}" for m in self.widths])
            ax.xaxis.minorticks_off()
            ax.set_xlabel("width $m$")
            ax.set_ylabel(LABELS.get(name, name))
            ax.legend()
        if csv is not None:
            middle, low, high = self.line(name, self.widths)
            plotting.write_csv(
                csv, {"width": self.widths, "mean": means, "fit": middle, "low": low, "high": high}
            )
        return ax

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the slopes, one row a quantity."""
        from meanfield import plotting

        columns: dict[str, Any] = {"name": list(self.fits)}
        for part in WidthSlope._fields:
            columns[part] = [getattr(fit, part) for fit in self.fits.values()]
        plotting.write_csv(path, columns)


def slopes(reports: Any, names: Any = None, *, goal: float | None = None) -> WidthSlopes:
    """Fit ``q ~ m^slope`` to what reports of several widths say, through the means of log q by width.

    Intervals are Student's, about chance over seeds. With equally many reports of each width, three at least, they are
    taken in turn as replicates: each gives a slope, and it does not matter whether those of one replicate share their
    data. Otherwise, as where one has not converged, reports count as independent (Welch's interval, too long where they
    do share data); with one report a width the errors are those about the line, of one size.

    Parameters
    ----------
    reports : sequence of OverparametrizationReport
        At least two widths; networks otherwise alike.
    names : sequence of str, optional
        Quantities; by default movement, flips, kernels, rate and gradients.
    goal : float, optional
        Leave out reports whose loss ended above it, and say how many; by default such a report, with its own goal, is
        refused, since what moved before convergence is no smaller for want of width.

    Raises
    ------
    InputError

    Examples
    --------
    ``mf.overparametrization.slopes([mf.overparametrization.report(run) for run in runs])["spectral"]``
    """
    found = _reports(reports)
    kept = _converged(found, goal)
    widths = sorted({one.width for one in found})
    groups = [[one for one in kept if one.width == m] for m in widths]
    empty = [m for m, group in zip(widths, groups, strict=True) if not group]
    if empty:
        raise InputError(
            f"no report of width {empty[0]} has converged to goal={goal:g}; train longer or leave this width out"
        )
    if len(widths) < 2:
        raise InputError(
            f"reports must be of two widths at least for a slope in the width, but all have m = {widths[0]}"
        )
    chosen = _names(names, found)
    x = np.log(np.array(widths, dtype=np.float64))
    values: dict[str, tuple[Array, ...]] = {}
    fits: dict[str, WidthSlope] = {}
    skipped: dict[str, str] = {}
    for name in chosen:
        table = [np.array([one.get(name, math.nan) for one in group]) for group in groups]
        missing = sum(int(np.count_nonzero(~(one > 0.0))) for one in table)
        if missing:
            skipped[name] = f"{missing} report(s) have no positive value, and so no logarithm"
            continue
        values[name] = tuple(table)
        fits[name] = power(x, [np.log(one) for one in table])
    if not fits:
        raise InputError("no quantity has a slope: " + "; ".join(f"{k}: {v}" for k, v in skipped.items()))
    left = {m: sum(one.width == m for one in found) - len(g) for m, g in zip(widths, groups, strict=True)}
    counts = [len(group) for group in groups]
    return WidthSlopes(
        widths=np.array(widths, dtype=np.float64),
        samples=values,
        fits=fits,
        intervals=kind(counts),
        left_out={m: count for m, count in left.items() if count},
        skipped=skipped,
        theorem=all(one.theorem for one in found),
    )


def _reports(reports: Any) -> list[OverparametrizationReport]:
    if isinstance(reports, Mapping) or not isinstance(reports, Iterable):
        raise InputError(
            f"reports must be a list of mf.overparametrization.report(run), not {type(reports).__name__}"
        )
    found = list(reports)
    for k, one in enumerate(found):
        if not isinstance(one, OverparametrizationReport):
            raise InputError(
                f"reports[{k}] must be made by mf.overparametrization.report(run), not {type(one).__name__}"
            )
    if not found:
        raise InputError("reports is empty; reports of two widths at least are needed")
    first: dict[int, int] = {}
    for k, one in enumerate(found):
        if first.setdefault(id(one), k) != k:
            raise InputError(
                f"reports[{k}] is reports[{first[id(one)]}] again; runs that are counted twice make intervals too short"
            )
    for name in ALIKE:
        kinds = sorted({str(getattr(one, name)) for one in found})
        if len(kinds) > 1:
            raise InputError(
                f"reports must differ in width only, but they have {name} {' and '.join(kinds)}; compare those of one"
            )
    return found


def _converged(found: list[OverparametrizationReport], goal: float | None) -> list[OverparametrizationReport]:
    if goal is not None:
        level = _check.number(goal, "goal", positive=True)
        return [one for one in found if one.objective[-1] <= level]
    for k, one in enumerate(found):
        if not one.converged:
            raise InputError(
                f"reports[{k}], of width {one.width}, has not converged (loss {one.objective[-1]:.3g}, goal "
                f"{one.goal:.3g}); train longer, or pass goal= to leave such runs out"
            )
    return found


def _names(names: Any, found: list[OverparametrizationReport]) -> list[str]:
    if names is None:
        return [name for name in LABELS if any(name in one for one in found)]
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, Iterable):
        raise InputError(f"names must be a list of quantities such as ['spectral', 'flips'], not {names!r}")
    names = list(names)
    if not names:
        raise InputError("names is empty; name a quantity at least, such as 'spectral', or leave it out")
    known = sorted({name for one in found for name in one})
    return [_check.choice(name, "each of names", known) for name in names]

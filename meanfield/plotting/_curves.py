"""Curves over time, width or step: the objective with its certificate, power laws, the flow against SGD."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from meanfield.plotting._style import COLOURS, FAINT, NEUTRAL, axes, write_csv
from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Path = str | os.PathLike[str]


def objective(
    run_or_t: Any,
    values: Any = None,
    *,
    optimum: float | None = None,
    certificate: Any = None,
    label: str | None = None,
    colour: str | None = None,
    symbol: str = r"F(\mu_t)",
    ax: Axes | None = None,
    csv: Path | None = None,
) -> Axes:
    """``F(mu_t)`` against log t, or ``F(mu_t) - F*`` against t on two log axes if the optimum is known.

    Parameters
    ----------
    run_or_t : Trajectory or array_like, (k,)
        A run (its ``t`` and ``"objective"``), or times.
    values : array_like, (k,), optional
        The objective at those times.
    optimum : float, optional
        F*; points with F <= F* (rounding) are left out of the log axis.
    certificate : array_like (k,), number, Certificate, str or True, optional
        Duality gaps, F - gap <= F* <= F: at every time (or the name of a record of the run), or at the end only
        (True: the run's own). Drawn as a band that holds F*.
    label, colour : str, optional
        Of the curve.
    symbol : str
        What the objective is called, in TeX.
    ax, csv
        Axes to draw on; a file for the plotted numbers.

    Notes
    -----
    t = 0 has no place on a log axis: the value there is an open circle on the left edge.
    """
    if isinstance(certificate, str):
        certificate = run_or_t[certificate]
    elif certificate is True:
        certificate = run_or_t.certificate
    t, values = _series(run_or_t, values, "objective")
    gaps = None
    if certificate is not None:
        gaps = np.asarray(getattr(certificate, "gap", certificate), dtype=np.float64)
        if gaps.ndim and gaps.shape != t.shape:
            raise InputError(
                f"certificate must be one gap or one per time ({t.size}), but its shape is {gaps.shape}"
            )
    with axes(ax) as ax:
        shown = values if optimum is None else values - optimum
        later = t > 0
        if optimum is not None:
            later &= shown > 0
        if not later.any():
            raise InputError(
                "there is nothing to draw on a log axis: no time is positive with F above the optimum"
            )
        (line,) = ax.plot(t[later], shown[later], color=colour, label=label)
        drawn = line.get_color()
        if t[0] == 0 and (optimum is None or shown[0] > 0):
            ax.plot([0.0], [shown[0]], "o", mfc="white", color=drawn, clip_on=False,
                    transform=ax.get_yaxis_transform(), zorder=5)  # fmt: skip
        if gaps is not None:
            _certificate_band(ax, t, values, gaps, optimum, later, drawn)
        ax.set_xscale("log")
        ax.set_xlabel("time $t$")
        if optimum is None:
            ax.set_ylabel(f"objective ${symbol}$")
            _view(ax, values)
        else:
            ax.set_yscale("log")
            ax.set_ylabel(f"excess ${symbol} - {symbol[0]}^*$")
        if ax.get_legend_handles_labels()[0]:
            ax.legend()
    if csv is not None:
        columns = {"t": t, "objective": values}
        if optimum is not None:
            columns["excess"] = shown
        if gaps is not None:
            columns["gap"] = (
                np.broadcast_to(gaps, t.shape) if gaps.ndim else np.where(t == t[-1], gaps, np.nan)
            )
        write_csv(csv, columns)
    return ax


def _view(ax: Axes, values: Array) -> None:
    """Log where the curve spans decades; the view is the curve's, not that of a wide band at the start."""
    low, high = float(values.min()), float(values.max())
    if low > 0 and high > 30 * low:
        ax.set_yscale("log")
        ax.set_ylim(low / 2, high * 2)
    elif high > low:
        ax.set_ylim(low - 0.12 * (high - low), high + 0.06 * (high - low))


def _certificate_band(
    ax: Axes, t: Array, values: Array, gaps: Array, optimum: float | None, later: Any, colour: Any
) -> None:
    if gaps.ndim == 0:
        low, high = (float(values[-1] - gaps), float(values[-1]))
        if optimum is None:
            ax.axhspan(
                low, high, color=colour, alpha=0.18, lw=0, label=f"$F^*$ in this band (gap {float(gaps):.1e})"
            )
        else:
            ax.axhline(float(gaps), color=colour, lw=1, ls=":", label=f"certified gap {float(gaps):.1e}")
        return
    if optimum is None:
        ax.fill_between(t[later], (values - gaps)[later], values[later], color=colour, alpha=0.18, lw=0,
                        label="certificate: $F^*$ in this band")  # fmt: skip
        return
    certified = later & (gaps > 0)
    ax.plot(t[certified], gaps[certified], color=colour, lw=1, ls=":", label="certified gap")
    both = certified & (values > optimum)
    ax.fill_between(t[both], (values - optimum)[both], gaps[both], color=colour, alpha=0.15, lw=0)


class SlopeFit(NamedTuple):
    """``log y = intercept + slope log x``, with the half-width of the slope's 95 % confidence interval."""

    slope: float
    half_width: float
    intercept: float


def fit_slope(x: Any, y: Any, left_out: Any = None) -> SlopeFit:
    """Least squares of ``log y`` on ``log x``; replicates of y (k, r) are averaged first.

    The interval is Student's: for independent errors of one size about the line; with three replicates or more, from
    the jackknife over replicates (each left out in turn), which also holds where the points of one replicate are
    dependent. It is infinite where nothing positive is left without some replicate.

    Parameters
    ----------
    x : array_like, (k,)
    y : array_like, (k,) or (k, replicates)
        Positive, or replicates with positive means.
    left_out : array_like, (k, replicates), optional
        For a y (k,) that is made of three replicates or more but is not their mean: y without each of them in turn.
    """
    x = _check.array(x, "x", ndim=1)
    y = _check.array(y, "y", ndim=(1, 2))
    if y.shape[0] != x.size or x.size < 2:
        raise InputError(f"x and y must have one length of at least 2, not {x.size} and {y.shape[0]}")
    whole = y if y.ndim == 1 else y.mean(axis=1)
    if not ((x > 0).all() and (whole > 0).all()):
        raise InputError("x and y must be positive to be drawn on log axes")
    from scipy.special import stdtrit  # of scipy.stats the import alone takes half a second

    if left_out is not None:
        left_out = _check.array(left_out, "left_out", ndim=2)
        if y.ndim != 1 or left_out.shape[0] != x.size or left_out.shape[1] < 3:
            raise InputError(
                f"left_out must have shape ({x.size}, replicates), three of them at least, and y shape ({x.size},), "
                f"but their shapes are {left_out.shape} and {y.shape}"
            )
    elif y.ndim == 2 and y.shape[1] >= 3:
        left_out = (y.sum(axis=1, keepdims=True) - y) / (y.shape[1] - 1)
    centred = np.log(x) - np.log(x).mean()
    if not centred.any():
        raise InputError("x must hold at least two different values")
    weights = centred / (centred @ centred)
    means = np.log(whole)
    slope = float(weights @ means)
    intercept = float(means.mean() - slope * np.log(x).mean())
    if left_out is not None:
        if not (left_out > 0).all():
            return SlopeFit(slope, float("inf"), intercept)
        count = left_out.shape[1]
        slopes = weights @ np.log(left_out)
        deviation = float(np.sqrt((count - 1) / count * np.sum((slopes - slopes.mean()) ** 2)))
        return SlopeFit(slope, float(stdtrit(count - 1, 0.975)) * deviation, intercept)
    if x.size == 2:
        return SlopeFit(slope, float("nan"), intercept)
    residual = means - intercept - slope * np.log(x)
    deviation = float(np.sqrt(residual @ residual / (x.size - 2) / (centred @ centred)))
    return SlopeFit(slope, float(stdtrit(x.size - 2, 0.975)) * deviation, intercept)


def slope(
    x: Any,
    y: Any,
    *,
    expected: float | None = None,
    constant: float | None = None,
    band: Any = None,
    label: str | None = None,
    colour: str | None = None,
    xlabel: str = "width $m$",
    ylabel: str | None = None,
    ax: Axes | None = None,
    csv: Path | None = None,
) -> Axes:
    """``y`` against ``x`` on log axes with the fitted power law and the theoretical one beside it.

    Parameters
    ----------
    x : array_like, (k,)
    y : array_like, (k,) or (k, replicates)
        Replicates are drawn as their mean with twice its standard error.
    expected : float, optional
        The slope that theory states: a dashed line, drawn a little above the data.
    constant : float, optional
        If theory states ``constant * x**expected`` exactly, the dashed line is drawn where it belongs.
    band : (low, high) arrays (k,), optional
        An interval to shade around y instead.
    label, colour, xlabel, ylabel : str, optional
    ax, csv
        Axes to draw on; a file for the plotted numbers.
    """
    fit = fit_slope(x, y)
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    means = y if y.ndim == 1 else y.mean(axis=1)
    low = high = None
    if band is not None:
        low, high = (_check.array(edge, "band", shape=(x.size,)) for edge in band)
    elif y.ndim == 2 and y.shape[1] > 1:
        error = 2 * y.std(axis=1, ddof=1) / y.shape[1] ** 0.5
        low, high = means - error, means + error
    with axes(ax) as ax:
        name = _fit_text(fit)
        (dots,) = ax.plot(
            x, means, "o", color=colour, label=f"{label}: {name}" if label else f"measured: {name}"
        )
        drawn = dots.get_color()
        if low is not None and high is not None:
            # An interval that reaches zero reaches the bottom of the log axis.
            ax.fill_between(x, np.where(low > 0, low, means * 1e-3), high, color=drawn, alpha=0.2, lw=0)
        ends = np.array([x.min(), x.max()])
        ax.plot(ends, np.exp(fit.intercept) * ends**fit.slope, color=drawn, lw=1.2)
        if expected is not None:
            expected = float(expected)
            if constant is None:
                # Beside the data, not on them: the eye compares parallels.
                height = 1.6 * float(np.exp(np.mean(np.log(means)) - expected * np.mean(np.log(x))))
                text = f"theory: slope ${expected:.3g}$"
            else:
                height, text = float(constant), rf"theory: {_brief(constant)} $x^{{{expected:.3g}}}$"
            ax.plot(ends, height * ends**expected, color=NEUTRAL, lw=1.1, ls=(0, (4, 2)), label=text)
        ax.set_xscale("log")
        ax.set_yscale("log")
        if low is not None and not (low > 0).all():
            ax.set_ylim(bottom=0.4 * means.min())
        ax.set_xlabel(xlabel)
        if ylabel is not None:
            ax.set_ylabel(ylabel)
        ax.legend()
    if csv is not None:
        columns: dict[str, Any] = {"x": x, "y": means, "fit": np.exp(fit.intercept) * x**fit.slope}
        if low is not None and high is not None:
            columns |= {"low": low, "high": high}
        write_csv(csv, columns)
    return ax


def _fit_text(fit: SlopeFit) -> str:
    """The slope to the two digits of its half-width."""
    if not fit.half_width > 0:
        return f"slope ${fit.slope:.2f}$"
    digits = int(min(6, max(2, 1 - np.floor(np.log10(fit.half_width)))))
    return rf"slope ${fit.slope:.{digits}f} \pm {fit.half_width:.{digits}f}$"


def comparison(
    t: Any,
    distances: Mapping[str, Any] | None = None,
    *,
    reference: Mapping[str, float] | None = None,
    ax: Axes | None = None,
    csv: Path | None = None,
) -> Axes:
    """Distances between two runs over time, for example ``sup_x |f - g|`` and ``W_2`` of flow and SGD.

    Parameters
    ----------
    t : array_like (k,), or an object with ``.t`` and ``.distances``
    distances : mapping of label to (k,), optional
    reference : mapping of label to number, optional
        Levels to compare with (the distance of two independent samples): dotted lines.
    ax, csv
        Axes to draw on; a file for the plotted numbers.
    """
    if distances is None:
        if not hasattr(t, "distances"):
            raise InputError(
                "comparison needs distances, a mapping of label to values, or an object that has them"
            )
        t, distances = t.t, t.distances
    times = _check.array(t, "t", ndim=1)
    curves = {name: _check.array(values, name, shape=(times.size,)) for name, values in distances.items()}
    with axes(ax) as ax:
        for k, (name, values) in enumerate(curves.items()):
            ax.plot(times, values, color=COLOURS[k % len(COLOURS)], label=name)
        for name, level in (reference or {}).items():
            ax.axhline(level, color=FAINT, lw=1, ls=":")
            ax.annotate(name, (1, level), xycoords=ax.get_yaxis_transform(), xytext=(-2, 3),
                        textcoords="offset points", ha="right", color="#666666", fontsize=8)  # fmt: skip
        ax.set_xlabel("time $t$")
        ax.set_ylabel("distance")
        ax.set_ylim(bottom=0)
        ax.legend()
    if csv is not None:
        write_csv(csv, {"t": times, **curves})
    return ax


def _series(run_or_t: Any, values: Any, name: str) -> tuple[Array, Array]:
    if values is None:
        if not hasattr(run_or_t, "t"):
            raise InputError(f"give a run, or times and values of the {name}")
        run_or_t, values = run_or_t.t, run_or_t[name]
    t = _check.array(run_or_t, "t", ndim=1)
    return t, _check.array(values, "values", shape=(t.size,))


def _brief(x: float) -> str:
    """Two digits, without an exponent where it is short."""
    return f"{x:.2g}" if 1e-3 <= abs(x) < 1e3 else f"{x:.1e}"

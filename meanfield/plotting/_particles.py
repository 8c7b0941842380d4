"""Neurons in the plane of inner weights, and their paths: place w (or |a| w), size the mass |a||w|, colour the sign."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from meanfield.plotting._style import FAINT, NEGATIVE, NEUTRAL, POSITIVE, axes, write_csv
from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Path = str | os.PathLike[str]
_AREA = 260.0  # of the largest dot, in square points


class Neurons(NamedTuple):
    """What a picture shows of a measure: points (m, d), masses (m,) >= 0, signs (m,), and whether w were there."""

    points: Array
    masses: Array
    signs: Array
    layered: bool


def neurons(measure: Any, lift: bool = False) -> Neurons:
    """Points w and masses p |a| |w| of a two-layer measure (|a| w if `lift`); positions and weights of any other."""
    if not hasattr(measure, "positions"):
        points = _check.array(measure, "measure", ndim=(1, 2))
        points = points[:, None] if points.ndim == 1 else points
        return Neurons(points, np.full(len(points), 1 / len(points)), np.ones(len(points)), False)
    signs = np.ones(measure.width) if measure.signs is None else np.asarray(measure.signs)
    layout = getattr(measure, "layout", None) or {}
    if "w" not in layout:
        return Neurons(np.asarray(measure.positions), np.asarray(measure.weights), signs, False)
    w = np.asarray(measure.w)
    if "a" not in layout:
        return Neurons(w, measure.weights * np.linalg.norm(w, axis=1), signs, True)
    a = np.asarray(measure.a)
    size = np.abs(a) if a.ndim == 1 else np.linalg.norm(a, axis=1)
    # The sign of a vector of outputs is that of its largest entry.
    lead = a if a.ndim == 1 else np.take_along_axis(a, np.abs(a).argmax(axis=1)[:, None], axis=1)[:, 0]
    masses = measure.weights * size * np.linalg.norm(w, axis=1)
    return Neurons(size[:, None] * w if lift else w, masses, signs * np.where(lead < 0, -1.0, 1.0), True)


def areas(masses: Array, largest: float | None = None) -> Array:
    """Areas of dots, proportional to mass, at least a visible speck."""
    top = float(masses.max(initial=0.0)) if largest is None else largest
    # Many equal particles are drawn smaller than few, or they would hide each other.
    crowd = min(1.0, 60.0 / max(1, masses.size)) ** 0.5
    return np.asarray(3.0 + _AREA * crowd * (masses / top if top > 0 else np.zeros_like(masses)))


def dots(
    ax: Any, x: Array, y: Array, masses: Array, colour: list[str], share: float = 1.0, **options: Any
) -> None:
    """Dots of area proportional to mass; a rim thin enough that a speck is not all rim."""
    size = share * areas(masses)
    rims = np.minimum(0.8, 0.08 * np.sqrt(size))
    ax.scatter(x, y, s=size, c=colour, edgecolors="white", linewidths=rims, **options)


def merged(points: Array, masses: Array, signs: Array, radius: float) -> tuple[Array, Array, Array]:
    """Atoms of one sign within `radius` of a heavier one drawn as one: hundreds on one spot are one spot's mass."""
    order = np.argsort(-masses, kind="stable")
    places: list[int] = []
    total: list[float] = []
    left = np.ones(masses.size, dtype=bool)
    for j in order:
        if left[j]:
            near = left & (signs == signs[j]) & (((points - points[j]) ** 2).sum(axis=1) <= radius**2)
            left &= ~near
            places.append(int(j))
            total.append(float(masses[near].sum()))
    chosen = np.array(places)
    # Heaviest first, so that light atoms are drawn on top of them.
    chosen, mass = chosen[np.argsort(-np.array(total), kind="stable")], -np.sort(-np.array(total))
    return points[chosen], mass, signs[chosen]


def colours(signs: Array) -> list[str]:
    """One colour per sign."""
    return [POSITIVE if sign > 0 else NEGATIVE for sign in signs]


def particles(
    measure: Any,
    *,
    coordinates: tuple[int, int] = (0, 1),
    lift: bool = False,
    teacher: Any = None,
    ax: Axes | None = None,
    csv: Path | None = None,
) -> Axes:
    """The neurons of a measure in the plane of two inner weights: area p |a| |w|, colour the sign of a.

    Parameters
    ----------
    measure : ParticleMeasure or array_like (m, p)
        With layers a and w, or any positions (area then the weight).
    coordinates : (int, int)
        Which two coordinates are drawn.
    lift : bool
        Draw |a| w instead of w, so that one point is one function |a| relu(w.x).
    teacher : ParticleMeasure, optional
        Its neurons are dashed rays, coloured by sign.
    ax, csv
        Axes to draw on; a file for the plotted numbers.
    """
    found = neurons(measure, lift)
    i, j = _pair(coordinates, found.points.shape[1])
    with axes(ax, (4.2, 4.0)) as ax:
        dots(
            ax,
            found.points[:, i],
            found.points[:, j],
            found.masses,
            colours(found.signs),
            alpha=0.75,
            zorder=3,
        )
        _plane(ax, found, lift, (i, j), float(np.abs(found.points[:, [i, j]]).max()))
        if teacher is not None:
            _rays(ax, neurons(teacher), (i, j))
        _sign_legend(ax, found)
    if csv is not None:
        write_csv(csv, {f"x{i + 1}": found.points[:, i], f"x{j + 1}": found.points[:, j],
                        "mass": found.masses, "sign": found.signs})  # fmt: skip
    return ax


def trajectories(
    run: Any,
    *,
    coordinates: tuple[int, int] = (0, 1),
    lift: bool = True,
    teacher: Any = None,
    most: int = 400,
    period: float | None = None,
    ax: Axes | None = None,
    csv: Path | None = None,
) -> Axes:
    """The paths of the particles: a line each, a dot of area p |a| |w| at the end, colour the final sign.

    Parameters
    ----------
    run : Trajectory or sequence of ParticleMeasure
        A run with ``keep="all"``.
    coordinates : (int, int)
        Which two coordinates are drawn. Positions with one coordinate (spikes) are drawn against signed weight.
    lift : bool
        For networks: |a| w, so that one point is one function |a| relu(w.x).
    teacher : ParticleMeasure, optional
        Dashed rays of its neurons; crosses for positions.
    most : int
        At most so many paths, evenly chosen; all final dots are drawn.
    period : float, optional
        Of a torus: a path that leaves on one side and comes back on the other is broken, not drawn across.
    ax, csv
        Axes to draw on; a file for the plotted numbers (one row a time and particle).

    Raises
    ------
    InputError
        The run did not keep its states.
    """
    states = list(getattr(run, "states", run))
    if len(states) < 3:
        raise InputError("trajectories needs the states at all save times; run integrate with keep='all'")
    frames = [neurons(state, lift) for state in states]
    last = frames[-1]
    if any(frame.points.shape != last.points.shape for frame in frames):
        raise InputError("trajectories needs the same particles at all times")
    flat = last.points.shape[1] == 1
    i, j = (0, 0) if flat else _pair(coordinates, last.points.shape[1])
    x = np.array([frame.points[:, i] for frame in frames])
    y = np.array([frame.masses * frame.signs if flat else frame.points[:, j] for frame in frames])
    chosen = np.unique(np.linspace(0, x.shape[1] - 1, min(most, x.shape[1])).astype(int))
    with axes(ax, (5.2, 3.6) if flat else (4.2, 4.0)) as ax:
        _paths(ax, x[:, chosen], y[:, chosen], [colours(last.signs)[k] for k in chosen], period, flat)
        ax.plot(x[0], y[0], ".", ms=2.5, color=FAINT, zorder=2, label="start")
        dots(ax, x[-1], y[-1], last.masses, colours(last.signs), 0.45, zorder=4)
        if flat:
            ax.axhline(0, color=FAINT, lw=0.7, zorder=0)
            ax.set_xlabel(r"position $\theta$")
            ax.set_ylabel(r"weight $s_j\,p_j$")
            if period is not None:
                ax.set_xlim(0, period)
        else:
            _plane(ax, last, lift, (i, j), float(max(np.abs(x).max(), np.abs(y).max())), period)
        if teacher is not None:
            truth = neurons(teacher, lift)
            if last.layered:
                _rays(ax, truth, (i, j))
            else:
                ax.plot(truth.points[:, i], truth.masses * truth.signs if flat else truth.points[:, j], "x",
                        color=NEUTRAL, ms=7, mew=1.4, zorder=5, label="teacher")  # fmt: skip
        _sign_legend(ax, last)
    if csv is not None:
        count, m = x.shape
        t = np.asarray(getattr(run, "t", np.arange(count)), dtype=np.float64)
        write_csv(csv, {"t": np.repeat(t, m), "particle": np.tile(np.arange(m), count), "x": x.ravel(),
                        "y": y.ravel(), "sign": np.array([frame.signs for frame in frames]).ravel()})  # fmt: skip
    return ax


def _paths(ax: Axes, x: Array, y: Array, colour: list[str], period: float | None, flat: bool) -> None:
    from matplotlib.collections import LineCollection

    lines: list[Array] = []
    shades: list[str] = []
    for k in range(x.shape[1]):
        path = np.column_stack([x[:, k], y[:, k]])
        pieces = [path]
        if period is not None:
            jumps = np.abs(np.diff(path[:, : 1 if flat else 2], axis=0)).max(axis=1) > 0.5 * period
            pieces = np.split(path, np.flatnonzero(jumps) + 1)
        lines += pieces
        shades += [colour[k]] * len(pieces)
    fade = min(0.8, 0.25 + 12.0 / max(1, x.shape[1]))
    ax.add_collection(LineCollection(lines, colors=shades, linewidths=0.9, alpha=fade, zorder=1))
    ax.autoscale_view()


def _plane(
    ax: Axes, found: Neurons, lift: bool, pair: tuple[int, int], reach: float, period: float | None = None
) -> None:
    """Equal axes with their names, the origin in the middle (a torus: one period)."""
    name = (r"|a|\,w" if lift else "w") if found.layered else r"\theta"
    low, high = (-1.12 * (reach or 1.0), 1.12 * (reach or 1.0)) if period is None else (0.0, period)
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_aspect("equal")
    if period is None:
        ax.axhline(0, color="#e4e4e4", lw=0.7, zorder=0)
        ax.axvline(0, color="#e4e4e4", lw=0.7, zorder=0)
    ax.set_xlabel(f"${name}_{{{pair[0] + 1}}}$")
    ax.set_ylabel(f"${name}_{{{pair[1] + 1}}}$")


def _rays(ax: Axes, teacher: Neurons, pair: tuple[int, int]) -> None:
    """Dashed half-lines from the origin along the teacher's neurons, cut by the frame."""
    reach = 2 * max(abs(edge) for edge in (*ax.get_xlim(), *ax.get_ylim()))
    for point, colour in zip(teacher.points[:, list(pair)], colours(teacher.signs), strict=True):
        norm = float(np.linalg.norm(point))
        if norm > 0:
            ax.plot([0, reach * point[0] / norm], [0, reach * point[1] / norm], ls=(0, (5, 3)), lw=1.0, color=colour,
                    alpha=0.9, zorder=0.5)  # fmt: skip
    ax.plot([], [], ls=(0, (5, 3)), lw=1.0, color=NEUTRAL, label="teacher")


def _sign_legend(ax: Axes, found: Neurons) -> None:
    if (found.signs > 0).any() and (found.signs < 0).any():
        names = ("$a > 0$", "$a < 0$") if found.layered else ("positive", "negative")
        for colour, name in zip((POSITIVE, NEGATIVE), names, strict=True):
            ax.plot([], [], "o", color=colour, mec="white", mew=0.4, ms=6, label=name)
    if ax.get_legend_handles_labels()[0]:
        # Outside: particles may be anywhere inside.
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, borderaxespad=0.1, handlelength=1.4,
                  columnspacing=1.2)  # fmt: skip


def _pair(coordinates: tuple[int, int], dim: int) -> tuple[int, int]:
    i, j = (_check.number(k, "coordinates", nonnegative=True, integer=True) for k in coordinates)
    if max(i, j) >= dim:
        raise InputError(f"coordinates are {coordinates}, but the points have {dim}")
    return i, j

"""The first variation on the sphere of directions with the atoms of the signed lift on top: a circle or a world map."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.plotting._particles import colours, dots, merged
from meanfield.plotting._style import FAINT, NEUTRAL, axes, colour_bar, signed_map, write_csv
from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Path = str | os.PathLike[str]


def sphere(
    measure: Any,
    first_variation: Callable[[Array], Any] | None = None,
    *,
    level: float | None = None,
    teacher: Any = None,
    name: str = "$F'$",
    resolution: int = 181,
    ax: Axes | None = None,
    csv: Path | None = None,
) -> Axes:
    r"""A function g(u) of directions u, with the atoms p |a| |(w, b)| of the measure at (w, b)/|(w, b)| on top.

    In the plane: a ring coloured by g, and g as a curve around an outer circle, its zero. In space: a map (Mollweide,
    equal areas). Atoms of one sign less than 0.03 rad apart are drawn as one.

    Parameters
    ----------
    measure : ParticleMeasure
        Layers a, w (and b), or positions on the sphere; 2 or 3 inner weights, the bias counted.
    first_variation : callable, (k, d) -> (k,), optional
        g on unit vectors, for example ``lambda u: objective.first_variation(mu, np.c_[np.ones(len(u)), u])``.
        Without it the atoms alone are drawn.
    level : float, optional
        Drawn as contours of g = +-level: with penalty lam on the mass of a signed measure, atoms of an optimum sit
        where ``<R'(f), phi> = -+lam`` and nowhere is its absolute value larger.
    teacher : ParticleMeasure, optional
        Open markers at its directions.
    name : str
        Of g, for the colour bar; the whole label if it is not F'.
    resolution : int
        Points along the equator are twice as many.
    ax, csv
        Axes to draw on; a file for the values of g, or for the signed masses where there is no g.
    """
    points, masses, signs = merged(*_directions(measure, "measure"), radius=0.03)
    truth = None if teacher is None else _directions(teacher, "teacher")
    draw = _circle if points.shape[1] == 2 else _map
    with axes(ax, (4.6, 4.0) if points.shape[1] == 2 else (6.0, 3.4)) as ax:
        grid, values = draw(ax, first_variation, level, resolution, name)
        ax.set_axis_off()
        ax.set_aspect("equal")
        place = np.asarray if points.shape[1] == 2 else _mollweide
        if truth is not None:
            where = place(truth[0])
            ax.scatter(where[:, 0], where[:, 1], s=420, facecolors="none", edgecolors=NEUTRAL, linewidths=1.2,
                       zorder=7, label="teacher")  # fmt: skip
            ax.legend(loc="lower left", bbox_to_anchor=(-0.02, -0.06), markerscale=0.5)
        where = place(points)
        dots(ax, where[:, 0], where[:, 1], masses, colours(signs), zorder=6)
    if csv is not None:
        if first_variation is None:
            grid, values = points, signs * masses
        write_csv(csv, {**{f"u{k + 1}": column for k, column in enumerate(grid.T)}, "value": values})
    return ax


def _directions(measure: Any, role: str) -> tuple[Array, Array, Array]:
    """Unit vectors, masses p |a| |(w, b)| and signs; neurons of norm 0 have no direction and no mass."""
    layout = getattr(measure, "layout", None) or {}
    signs = np.ones(measure.width) if measure.signs is None else np.asarray(measure.signs)
    masses = np.asarray(measure.weights)
    points = np.asarray(measure.positions)
    if "w" in layout:
        points = measure.positions[:, layout["w"][0] : layout["b" if "b" in layout else "w"][1]]
        if "a" in layout:
            a = np.asarray(measure.a)
            if a.ndim != 1:
                raise InputError(
                    f"{role} has {a.shape[1]} outputs; a sphere shows signs, and only one output has one"
                )
            masses, signs = masses * np.abs(a), signs * np.where(a < 0, -1.0, 1.0)
    if points.shape[1] not in (2, 3):
        raise InputError(
            f"{role} has directions in dimension {points.shape[1]} (bias counted); a sphere shows 2 or 3"
        )
    norms = np.linalg.norm(points, axis=1)
    kept = norms > 0
    return points[kept] / norms[kept, None], (masses * norms)[kept], signs[kept]


def _values(first_variation: Callable[[Array], Any] | None, grid: Array) -> Array:
    if first_variation is None:
        return np.zeros(len(grid))
    return _check.array(first_variation(grid), "first_variation(directions)", shape=(len(grid),))


def _circle(
    ax: Axes, first_variation: Callable[[Array], Any] | None, level: float | None, resolution: int, name: str
) -> tuple[Array, Array]:
    angles = np.linspace(0, 2 * np.pi, 4 * resolution + 1)
    grid = np.column_stack([np.cos(angles), np.sin(angles)])
    values = _values(first_variation, grid)
    top = _top(values)
    radii = np.array([0.88, 1.12])[:, None]
    base, height = 1.5, 0.26
    shades = ax.pcolormesh(radii * grid[:, 0], radii * grid[:, 1], np.vstack([values, values]), cmap=signed_map(),
                           vmin=-top, vmax=top, shading="gouraud", rasterized=True, zorder=1)  # fmt: skip
    # The ring, where the atoms sit, has the colours; the curve runs outside around its own zero circle.
    ax.plot(*(base * grid).T, color=FAINT, lw=0.7, zorder=2)
    if first_variation is not None:
        ax.plot(*((base + height * values / top)[:, None] * grid).T, color=NEUTRAL, lw=1.3, zorder=3)
    for edge in (-1, 1) if level is not None else ():
        radius = base + edge * height * float(level or 0) / top
        ax.plot(*(radius * grid).T, color=NEUTRAL, lw=0.8, ls=(0, (2, 2)), zorder=2)
    ax.set_xlim(-1.8, 1.8)
    ax.set_ylim(-1.8, 1.8)
    if first_variation is not None:
        colour_bar(ax, shades, f"first variation {name}" if name == "$F'$" else name, 0.7)
    return grid, values


def _map(
    ax: Axes, first_variation: Callable[[Array], Any] | None, level: float | None, resolution: int, name: str
) -> tuple[Array, Array]:
    longitude, latitude = np.meshgrid(
        np.linspace(-np.pi, np.pi, 2 * resolution), np.linspace(-np.pi / 2, np.pi / 2, resolution)
    )
    grid = np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)],
        axis=-1,
    ).reshape(-1, 3)
    values = _values(first_variation, grid)
    shape = longitude.shape
    # From longitudes, not from points: both edges of the map are one meridian.
    x, y = (part.reshape(shape) for part in _flatten(longitude.ravel(), latitude.ravel()).T)
    top = _top(values)
    shades = ax.pcolormesh(x, y, values.reshape(shape), cmap=signed_map(), vmin=-top, vmax=top, shading="gouraud",
                           rasterized=True, zorder=1)  # fmt: skip
    if level is not None:
        ax.contour(x, y, values.reshape(shape), levels=[-abs(level), abs(level)], colors=NEUTRAL, linewidths=0.8,
                   linestyles="dashed", zorder=3)  # fmt: skip
    rim = np.linspace(0, 2 * np.pi, 361)
    ax.plot(2 * np.sqrt(2) * np.cos(rim), np.sqrt(2) * np.sin(rim), color=FAINT, lw=0.8, zorder=4)
    line = np.linspace(-np.pi / 2, np.pi / 2, 91)
    for meridian in np.radians([-120, -60, 0, 60, 120]):
        ax.plot(*_flatten(np.full(91, meridian), line).T, color="white", lw=0.4, alpha=0.7, zorder=2)
    for parallel in np.radians([-60, -30, 0, 30, 60]):
        ax.plot(*_flatten(2 * line, np.full(91, parallel)).T, color="white", lw=0.4, alpha=0.7, zorder=2)
    if first_variation is not None:
        colour_bar(ax, shades, f"first variation {name}" if name == "$F'$" else name, 0.7)
    return grid, values


def _top(values: Array) -> float:
    return float(np.abs(values).max()) or 1.0


def _mollweide(points: Array) -> Array:
    """Unit vectors (k, 3) on the map."""
    return _flatten(np.arctan2(points[:, 1], points[:, 0]), np.arcsin(np.clip(points[:, 2], -1, 1)))


def _flatten(longitude: Array, latitude: Array) -> Array:
    """Mollweide: x = (2 sqrt 2/pi) longitude cos t, y = sqrt 2 sin t, with 2t + sin 2t = pi sin(latitude)."""
    target = np.pi * np.sin(latitude)
    # Bisection on [-pi/2, pi/2]: Newton stalls at the poles, where the derivative vanishes.
    low, high = np.full_like(latitude, -np.pi / 2), np.full_like(latitude, np.pi / 2)
    for _ in range(50):
        middle = 0.5 * (low + high)
        above = 2 * middle + np.sin(2 * middle) > target
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    angle = 0.5 * (low + high)
    return np.column_stack([2 * np.sqrt(2) / np.pi * longitude * np.cos(angle), np.sqrt(2) * np.sin(angle)])

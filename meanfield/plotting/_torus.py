"""The first variation on a torus with the atoms on top: a curve with stems in one dimension, a map in two."""

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
_SPOT = 0.01  # of the period: atoms nearer than this are drawn as one


def torus(
    measure: Any,
    first_variation: Any,
    *,
    period: float | None = None,
    teacher: Any = None,
    name: str = "$F'$",
    resolution: int | None = None,
    ax: Axes | None = None,
    csv: Path | None = None,
) -> Axes:
    """``F'(mu)`` on a torus of dimension 1 or 2, the atoms of mu on top: stems of height s_j p_j, or dots of area p_j.

    Atoms of one sign nearer than 1 % of the period are drawn as one.

    Parameters
    ----------
    measure : ParticleMeasure
        Positions on the torus.
    first_variation : Functional or callable, (k, dim) -> (k,)
        An objective (its first variation at `measure`), or a function of positions.
    period : float, optional
        The objective's ``space.period``, or 2 pi.
    teacher : ParticleMeasure, optional
        Open markers.
    name : str
        Of the first variation.
    resolution : int, optional
        Grid points an axis: 721 in one dimension, 161 in two.
    ax, csv
        Axes to draw on; a file for the values on the grid.
    """
    dim = measure.dim
    if dim not in (1, 2):
        raise InputError(f"measure has positions in dimension {dim}; a torus is drawn in dimension 1 or 2")
    function: Callable[[Array], Any] = first_variation
    if hasattr(first_variation, "first_variation"):
        functional = first_variation
        if period is None:
            period = float(np.max(getattr(functional.space, "period", 2 * np.pi)))

        def function(points: Array) -> Any:
            return functional.first_variation(measure, points)

    span = 2 * np.pi if period is None else _check.number(period, "period", positive=True)
    count = resolution or (721 if dim == 1 else 161)
    ticks = np.linspace(0, span, count)
    grid = ticks[:, None] if dim == 1 else np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    values = _check.array(function(grid), "first_variation(positions)", shape=(len(grid),))
    draw = _line if dim == 1 else _square
    with axes(ax, (5.6, 3.4) if dim == 1 else (5.0, 4.0)) as ax:
        draw(ax, measure, teacher, grid, values, span, name)
        _angles(ax, span, dim)
    if csv is not None:
        write_csv(csv, {**{f"theta{k + 1}": grid[:, k] for k in range(dim)}, "first_variation": values})
    return ax


def _spots(measure: Any, span: float) -> tuple[Array, Array, Array]:
    """Places in one period, masses and signs, atoms of one sign on one spot together."""
    # On the circle of each angle, so that both sides of the cut are near each other.
    angle = np.asarray(measure.positions) * (2 * np.pi / span)
    signs = np.ones(measure.width) if measure.signs is None else np.asarray(measure.signs)
    circle = np.hstack([np.cos(angle), np.sin(angle)])
    found, masses, signs = merged(circle, measure.weights, signs, radius=2 * np.pi * _SPOT)
    half = found.shape[1] // 2
    place = np.arctan2(found[:, half:], found[:, :half]) * (span / (2 * np.pi))
    return np.mod(place, span), masses, signs


def _line(ax: Axes, measure: Any, teacher: Any, grid: Array, values: Array, span: float, name: str) -> None:
    # Two scales: the first variation on the left, masses on the right, one zero for both.
    ax.fill_between(grid[:, 0], values, 0, color="#cfd8dc", lw=0, zorder=0)
    ax.plot(grid[:, 0], values, color=NEUTRAL, lw=1.2, zorder=1, label=f"first variation {name}")
    ax.axhline(0, color=FAINT, lw=0.7)
    ax.set_ylabel(f"first variation {name}")
    right = ax.twinx()
    right.spines["right"].set_visible(True)
    right.spines["top"].set_visible(False)
    heights = [0.0]
    for atoms, marker, size, label in ((teacher, "D", 7.0, "teacher"), (measure, "o", 4.5, "atoms")):
        if atoms is None:
            continue
        place, masses, signs = _spots(atoms, span)
        height = masses * signs
        heights += [float(height.min()), float(height.max())]
        shown: Any = [NEUTRAL] * len(signs) if atoms is teacher else colours(signs)
        right.vlines(place[:, 0], 0, height, colors=shown, lw=1.1, alpha=0.7, zorder=3)
        right.scatter(place[:, 0], height, s=size**2, marker=marker, facecolors="none" if atoms is teacher else shown,
                      edgecolors=shown if atoms is teacher else "white", linewidths=1.0 if atoms is teacher else 0.5,
                      zorder=5 if atoms is teacher else 4)  # fmt: skip
        right.plot([], [], marker, ms=size, color=NEUTRAL, mfc="none" if atoms is teacher else NEUTRAL, ls="",
                   label=label)  # fmt: skip
    right.set_ylabel("mass $s_j\\,p_j$")
    _one_zero(ax, right, values, heights)
    handles = [*ax.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
    right.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.1)


def _one_zero(left: Axes, right: Axes, values: Array, heights: list[float]) -> None:
    """Limits of both axes such that their zeros have one height on the page."""
    below = [max(0.0, -min(float(values.min()), 0.0)), max(0.0, -min(heights))]
    above = [max(float(values.max()), 0.0), max(heights)]
    scale = [(b + a) or 1.0 for b, a in zip(below, above, strict=True)]
    bottom = max(b / s for b, s in zip(below, scale, strict=True))
    top = max(a / s for a, s in zip(above, scale, strict=True))
    for axis, size in zip((left, right), scale, strict=True):
        axis.set_ylim(-1.08 * bottom * size - 0.02 * size, 1.08 * top * size)


def _square(ax: Axes, measure: Any, teacher: Any, grid: Array, values: Array, span: float, name: str) -> None:
    count = round(len(grid) ** 0.5)
    top = float(np.abs(values).max()) or 1.0
    x, y, z = (part.reshape(count, count) for part in (grid[:, 0], grid[:, 1], values))
    shades = ax.pcolormesh(
        x, y, z, cmap=signed_map(), vmin=-top, vmax=top, shading="gouraud", rasterized=True
    )
    colour_bar(ax, shades, f"first variation {name}", 0.85)
    if teacher is not None:
        place = np.mod(teacher.positions, span)
        ax.scatter(place[:, 0], place[:, 1], s=300, facecolors="none", edgecolors=NEUTRAL, linewidths=1.2, zorder=6,
                   label="teacher")  # fmt: skip
    place, masses, signs = _spots(measure, span)
    one_sign = bool((signs > 0).all())
    # On a map that is red and blue itself, atoms of one sign are black.
    shown = [NEUTRAL] * len(signs) if one_sign else colours(signs)
    dots(ax, place[:, 0], place[:, 1], masses, shown, 0.6, zorder=5)
    if one_sign:
        ax.plot([], [], "o", color=NEUTRAL, ms=7, label="atoms")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.1, markerscale=0.7)
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)
    ax.set_aspect("equal")


def _angles(ax: Axes, span: float, dim: int) -> None:
    """Limits, and ticks in parts of the period."""
    known = abs(span - 2 * np.pi) < 1e-12
    places = np.linspace(0, span, 5)
    texts = (
        ["0", r"$\pi/2$", r"$\pi$", r"$3\pi/2$", r"$2\pi$"] if known else [f"{place:g}" for place in places]
    )
    ax.set_xlim(0, span)
    ax.set_xticks(places, texts)
    ax.set_xlabel(r"position $\theta$" if dim == 1 else r"position $\theta_1$")
    if dim == 2:
        ax.set_ylim(0, span)
        ax.set_yticks(places, texts)
        ax.set_ylabel(r"position $\theta_2$")

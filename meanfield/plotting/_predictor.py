"""What a network computes: a curve over one input, a filled contour with the decision boundary over two."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.plotting._style import (
    COLOURS,
    NEGATIVE,
    NEUTRAL,
    PLAIN_MAP,
    POSITIVE,
    axes,
    colour_bar,
    signed_map,
    write_csv,
)
from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Path = str | os.PathLike[str]


def predictor(
    predict: Callable[[Array], Any],
    X: Any,
    y: Any = None,
    *,
    truth: Callable[[Array], Any] | None = None,
    label: str | None = None,
    colour: str | None = None,
    resolution: int | None = None,
    margin: float = 0.15,
    ax: Axes | None = None,
    csv: Path | None = None,
) -> Axes:
    """``f(x)`` over the box of the data: a curve (d = 1), or filled contours with the line f = 0 (d = 2).

    Parameters
    ----------
    predict : callable, (k, d) -> (k,)
        The network, for example ``lambda X: network.predict(mu, X)``.
    X : array_like, (n, d) or (n,)
        Inputs, d = 1 or 2; they set the box.
    y : array_like, (n,), optional
        Targets or labels; labels +-1 are drawn as two kinds of points, other targets in the colours of f.
    truth : callable, optional
        The target function: a dashed curve, or its contour at 0.
    label, colour : str, optional
        Of the curve (d = 1).
    resolution : int, optional
        Points an axis: 601 in one dimension, 161 in two.
    margin : float
        Room around the data, as a fraction of the box.
    ax, csv
        Axes to draw on; a file for the values on the grid.
    """
    X = _check.array(X, "X", ndim=(1, 2))
    X = X[:, None] if X.ndim == 1 else X
    dim = X.shape[1]
    if dim not in (1, 2):
        raise InputError(f"X has {dim} coordinates; a predictor is drawn over 1 or 2")
    y = None if y is None else _check.array(y, "y", shape=(len(X),))
    low, high = X.min(axis=0), X.max(axis=0)
    room = margin * np.where(high > low, high - low, 1.0)
    count = resolution or (601 if dim == 1 else 161)
    sides = [np.linspace(low[k] - room[k], high[k] + room[k], count) for k in range(dim)]
    grid = sides[0][:, None] if dim == 1 else np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    values = _on(predict, grid, "predict(X)")
    with axes(ax, (5.2, 3.6) if dim == 1 else (5.0, 4.0)) as ax:
        if dim == 1:
            _curve(ax, grid[:, 0], values, X[:, 0], y, label, colour)
            if truth is not None:
                ax.plot(grid[:, 0], _on(truth, grid, "truth(X)"), color=NEUTRAL, lw=1.1, ls=(0, (4, 2)),
                        label="target $f_*$")  # fmt: skip
            ax.legend()
        else:
            # The target is evaluated on the same grid.
            target = None if truth is None else _on(truth, grid, "truth(X)").reshape(count, count)
            _contours(ax, sides, values.reshape(count, count), X, y, target)
    if csv is not None:
        write_csv(csv, {**{f"x{k + 1}": grid[:, k] for k in range(dim)}, "f": values})
    return ax


def _on(function: Callable[[Array], Any], grid: Array, name: str) -> Array:
    values = np.asarray(function(grid), dtype=np.float64)
    return _check.array(values[:, 0] if values.shape == (len(grid), 1) else values, name, shape=(len(grid),))


def _curve(
    ax: Axes, x: Array, values: Array, X: Array, y: Array | None, label: str | None, colour: str | None
) -> None:
    if y is not None:
        ax.plot(X, y, "o", mfc="white", mec=NEUTRAL, mew=1.0, ms=4.5, zorder=4, label="data")
    ax.plot(x, values, color=colour or COLOURS[0], label=label or r"network $f_\mu$", zorder=3)
    ax.set_xlabel("input $x$")
    ax.set_ylabel("output $f(x)$")
    ax.set_xlim(x[0], x[-1])


def _contours(
    ax: Axes, sides: list[Array], values: Array, X: Array, y: Array | None, target: Array | None
) -> None:
    from matplotlib.ticker import MaxNLocator

    labels = y is not None and bool(np.isin(y, (-1.0, 1.0)).all())
    known = [values.ravel()] if y is None or labels else [values.ravel(), y]
    top = max(float(np.abs(part).max()) for part in known) or 1.0
    signed = min(float(part.min()) for part in known) < 0 < max(float(part.max()) for part in known)
    low = -top if signed else min(float(part.min()) for part in known)
    high = top if signed else max(float(part.max()) for part in known)
    high = high if high > low else low + 1.0
    colour_map = signed_map() if signed else PLAIN_MAP
    shades = ax.contourf(
        *sides, values, levels=np.linspace(low, high, 22), cmap=colour_map, vmin=low, vmax=high
    )
    ticks = np.asarray(MaxNLocator(5).tick_values(low, high))
    shown = ticks[(ticks >= low) & (ticks <= high)]
    colour_bar(ax, shades, "output $f(x)$", 0.9, ticks=shown, format="%.3g")
    if values.min() < 0 < values.max():
        ax.contour(*sides, values, levels=[0.0], colors=NEUTRAL, linewidths=1.4)
        ax.plot([], [], color=NEUTRAL, lw=1.4, label="$f = 0$")
    if target is not None and target.min() < 0 < target.max():
        ax.contour(*sides, target, levels=[0.0], colors=NEUTRAL, linewidths=1.1, linestyles="dashed")
        ax.plot([], [], color=NEUTRAL, lw=1.1, ls="--", label="$f_* = 0$")
    if y is None:
        ax.plot(X[:, 0], X[:, 1], ".", color=NEUTRAL, ms=3)
    elif labels:
        for sign, colour, marker in ((1, POSITIVE, "o"), (-1, NEGATIVE, "s")):
            chosen = y == sign
            ax.plot(X[chosen, 0], X[chosen, 1], marker, color=colour, mec="white", mew=0.6, ms=5,
                    label=f"$y = {sign:+d}$")  # fmt: skip
    else:
        ax.scatter(X[:, 0], X[:, 1], c=y, cmap=colour_map, vmin=low, vmax=high, s=24,
                   edgecolors=NEUTRAL if signed else "white", linewidths=0.7, zorder=4)  # fmt: skip
    ax.set_xlabel("input $x_1$")
    ax.set_ylabel("input $x_2$")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, borderaxespad=0.1, handlelength=1.3,
                  columnspacing=1.2)  # fmt: skip

"""Pictures of a study: curves with confidence bands, and phase maps with diverged cells hatched."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.plotting._style import COLOURS, FAINT, axes, colour_bar, write_csv
from solvers.errors import InputError
from solvers.protocols import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Path = str | os.PathLike[str]
Means = Sequence[Mapping[str, Any]]
# Values that span more than this factor are drawn on a log axis.
WIDE = 30.0
# What may become of seeds that gave no number, and how a legend says it.
ILL = {"diverged": "diverged", "failed": "failed", "nonfinite": "not finite"}


def curves(
    means: Means,
    x: str,
    y: str,
    hue: str | None = None,
    *,
    ax: Axes | None = None,
    csv: Path | None = None,
) -> Axes:
    """Means against an axis with their confidence bands, a curve for each value of `hue`.

    Parameters
    ----------
    means : sequence of mappings
        What `Table.mean` gives: the axes, ``mean``, ``low``, ``high``, ``seeds``, ``diverged``, ``failed``,
        ``nonfinite``.
    x, y, hue : str
        The axis, the value (for its label) and the axis of the curves.
    ax, csv
        Axes to draw on; a file for the plotted numbers.
    """
    places, names = _positions([row[x] for row in means])
    groups = list(dict.fromkeys(row[hue] for row in means)) if hue is not None else [None]
    mean = np.array([row["mean"] for row in means])
    if not np.isfinite(mean).any():
        raise InputError(f"there is nothing to draw: no cell gave a finite {y!r}")
    bad = np.array([_lost(row) > 0 for row in means])
    # a long legend stands beside the picture, not on it
    beside = len(groups) + bool((bad & np.isfinite(mean)).any()) + bool((bad & ~np.isfinite(mean)).any()) > 4
    with axes(ax, (7.4, 3.6) if beside else None) as ax:
        if names is None and is_geometric(places):
            ax.set_xscale("log")
        is_log = _is_wide(mean[np.isfinite(mean)])
        if is_log:
            ax.set_yscale("log")
        lost: list[tuple[float, Any]] = []
        partial = False
        for k, group in enumerate(groups):
            chosen = [i for i, row in enumerate(means) if hue is None or row[hue] == group]
            chosen.sort(key=lambda i: places[i])
            at = places[chosen]
            middle, low, high = (
                np.array([means[i][part] for i in chosen]) for part in ("mean", "low", "high")
            )
            colour = _shade(k, len(groups))
            (line,) = ax.plot(
                at, middle, color=colour, label=None if hue is None else f"{hue} = {_text(group)}"
            )
            colour = line.get_color()
            if is_log:  # an interval that reaches zero reaches the bottom of the log axis
                low = np.where(low > 0, low, np.nanmin(mean) * 1e-3)
            ax.fill_between(at, low, high, color=colour, alpha=0.18, lw=0)
            short = bad[chosen]
            ax.plot(at[~short], middle[~short], "o", color=colour)
            ax.plot(at[short], middle[short], "o", color=colour, mfc="white")
            gone = short & ~np.isfinite(middle)
            partial |= bool((short & ~gone).any())
            lost += [(float(place), colour) for place in at[gone]]
        if is_log:
            ax.set_ylim(bottom=0.4 * np.nanmin(mean))
        _mark_lost(ax, lost, partial, _ill(means))
        if names is not None:
            _name_ticks(ax, names)
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(**({"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if beside else {}))
    if csv is not None:
        columns = [x] if hue is None else [x, hue]
        _write(csv, means, columns)
    return ax


def _mark_lost(ax: Axes, lost: list[tuple[float, Any]], partial: bool, ill: str) -> None:
    """Crosses on the lower edge where no seed gave a number, and what the marks mean."""
    if partial:
        ax.plot([], [], "o", color=FAINT, mfc="white", label=f"some seeds {ill}")
    if lost:
        ax.plot([], [], "x", color=FAINT, label=f"all seeds {ill}")
    for place, colour in lost:
        ax.plot(
            [place], [0.0], "x", color=colour, transform=ax.get_xaxis_transform(), clip_on=False, zorder=5
        )


def phase_map(
    means: Means,
    x: str,
    y: str,
    value: str,
    *,
    ax: Axes | None = None,
    csv: Path | None = None,
) -> Axes:
    """Means as colour over two axes; where all seeds diverged or failed dense hatching, where some did thin.

    Parameters
    ----------
    means : sequence of mappings
        What `Table.mean` gives.
    x, y, value : str
        The axes, and the value (for its label).
    ax, csv
        Axes to draw on; a file for the plotted numbers.
    """
    from matplotlib.colors import LogNorm, Normalize

    across, across_names = _positions([row[x] for row in means])
    up, up_names = _positions([row[y] for row in means])
    columns, rows = np.unique(across), np.unique(up)
    shade = np.full((rows.size, columns.size), np.nan)
    share = np.zeros_like(shade)
    for row, a, b in zip(means, across, up, strict=True):
        place = int(np.searchsorted(rows, b)), int(np.searchsorted(columns, a))
        shade[place] = row["mean"]
        bad = _lost(row)
        share[place] = bad / (bad + row["seeds"]) if bad else 0.0
    finite = shade[np.isfinite(shade)]
    with axes(ax, (5.2, 4.0)) as ax:
        log_x, log_y = across_names is None and is_geometric(columns), up_names is None and is_geometric(rows)
        left, right = _edges(columns, log_x)
        bottom, top = _edges(rows, log_y)
        if log_x:
            ax.set_xscale("log")
        if log_y:
            ax.set_yscale("log")
        norm: Any = None
        if finite.size:
            norm = (LogNorm if _is_wide(finite) else Normalize)(finite.min(), finite.max())
            shades = ax.pcolormesh(
                np.append(left, right[-1]), np.append(bottom, top[-1]), np.ma.masked_invalid(shade), norm=norm
            )
            colour_bar(ax, shades, f"{value}, mean over seeds", 0.9)
        for j, i in zip(*np.nonzero(share), strict=True):
            _hatch(ax, left[i], right[i], bottom[j], top[j], share[j, i] == 1.0)
        ax.set_xlim(left[0], right[-1])
        ax.set_ylim(bottom[0], top[-1])
        if across_names is not None:
            _name_ticks(ax, across_names)
        if up_names is not None:
            ax.set_yticks(range(len(up_names)), up_names)
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        _legend(ax, share, _ill(means))
    if csv is not None:
        _write(csv, means, [x, y])
    return ax


def _hatch(ax: Axes, left: float, right: float, bottom: float, top: float, whole: bool) -> None:
    from matplotlib.patches import Rectangle

    ax.add_patch(
        Rectangle((left, bottom), right - left, top - bottom, fill=whole, facecolor="#f4f4f4", lw=0,
                  hatch="////" if whole else "//", edgecolor="#777777" if whole else "white")
    )  # fmt: skip


def _legend(ax: Axes, share: Array, ill: str) -> None:
    from matplotlib.patches import Patch

    shown = []
    if (share == 1.0).any():
        shown.append(
            Patch(
                facecolor="#f4f4f4",
                edgecolor="#777777",
                hatch="////",
                lw=0,
                label=f"all seeds {ill}",
            )
        )
    if ((share > 0) & (share < 1)).any():
        shown.append(
            Patch(
                facecolor=FAINT,
                edgecolor="white",
                hatch="//",
                lw=0,
                label=f"some seeds {ill}",
            )
        )
    if shown:
        ax.legend(handles=shown, loc="lower left", bbox_to_anchor=(0.0, 1.0))


def _lost(row: Mapping[str, Any]) -> int:
    return sum(row[how] for how in ILL)


def _ill(means: Means) -> str:
    """What happened to the seeds that gave no number."""
    return " or ".join(word for how, word in ILL.items() if any(row[how] for row in means))


# -- axes ----------------------------------------------------------------------------------------------------------


def _positions(values: Sequence[Any]) -> tuple[Array, list[str] | None]:
    """Where values stand on an axis: numbers where they are, other values in their order, with their names."""
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) and np.isfinite(v) for v in values):
        return np.array(values, dtype=np.float64), None
    distinct = list(dict.fromkeys(values))
    return np.array([distinct.index(v) for v in values], dtype=np.float64), [_text(v) for v in distinct]


def _name_ticks(ax: Axes, names: Sequence[str]) -> None:
    """Names below an axis; aslant where they would run into each other."""
    if sum(map(len, names)) > 40:
        ax.set_xticks(range(len(names)), names, rotation=25, ha="right")
    else:
        ax.set_xticks(range(len(names)), names)


def is_geometric(values: Any) -> bool:
    """Whether steps between values are more even on a log axis; two values: whether they are a decade apart."""
    found = np.unique(np.asarray(values, dtype=np.float64))
    if found.size < 2 or not found[0] > 0:
        return False
    if found.size == 2:
        return bool(found[1] >= 10 * found[0])
    steps, ratios = np.diff(found), np.diff(np.log(found))
    return bool(np.std(ratios) / np.mean(ratios) < np.std(steps) / np.mean(steps))


def _is_wide(values: Array) -> bool:
    return bool(values.size and values.min() > 0 and values.max() > WIDE * values.min())


def _edges(values: Array, log: bool) -> tuple[Array, Array]:
    """Left and right ends of cells around values; neighbours meet half-way, on the axis as it is drawn."""
    at = np.log(values) if log else values
    if at.size == 1:
        ends = at[0] + np.array([-0.5, 0.5])
    else:
        middle = (at[1:] + at[:-1]) / 2
        ends = np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])
    ends = np.exp(ends) if log else ends
    return ends[:-1], ends[1:]


def _shade(k: int, count: int) -> Any:
    """Colours that are told apart; a ladder of one map where there are more curves than those."""
    if count < len(COLOURS):
        return COLOURS[k]
    import matplotlib

    return matplotlib.colormaps["viridis"](0.92 * k / (count - 1))


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write(path: Path, means: Means, columns: Sequence[str]) -> None:
    """The plotted numbers."""
    names = [*columns, "mean", "low", "high", "seeds", *ILL]
    table: dict[str, Any] = {}
    for name in names:
        column = np.empty(len(means), dtype=object)
        column[:] = [row[name] for row in means]
        table[name] = column
    write_csv(path, table)

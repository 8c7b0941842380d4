"""Tables: claims as a picture, rows as HTML for notebooks."""

from __future__ import annotations

import html
import os
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from meanfield.plotting._style import COLOURS, axes, write_csv
from solvers.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Path = str | os.PathLike[str]
_HOLDS, _FAILS = "#1b7f4b", COLOURS[1]


def claims(found: Iterable[Any], *, ax: Axes | None = None, csv: Path | None = None) -> Axes:
    """A table of claims: whether it holds, what is stated, what was measured and expected, and where it is stated.

    Parameters
    ----------
    found : iterable of Claim
        Objects with ``statement``, ``measured``, ``expected``, ``holds`` and ``source``.
    ax, csv
        Axes to draw on (they are filled); a file for the table.
    """
    entries = list(found)
    if not entries:
        raise InputError("there are no claims to draw")
    head = ("", "claim", "measured", "expected", "source")
    wrap = (2, 72, 16, 21, 34)
    rows = [
        (
            "\u2713" if claim.holds else "\u2717",
            claim.statement,
            _measured(claim),
            _expected(claim),
            claim.source or "",
        )
        for claim in entries
    ]
    cells = [
        [
            textwrap.wrap(text, size, break_long_words=True) or [""]
            for text, size in zip(row, wrap, strict=True)
        ]
        for row in rows
    ]
    heights = [max(len(cell) for cell in row) + 0.75 for row in cells]
    total = sum(heights) + 1.8
    starts = [0.0, 0.025, 0.49, 0.61, 0.77]
    with axes(ax, (10.5, 0.158 * total + 0.1)) as ax:
        ax.set_axis_off()
        ax.set_xlim(0, 1)
        ax.set_ylim(total, 0)
        for x, text in zip(starts, head, strict=True):
            ax.text(x, 0.85, text, weight="bold", va="center", fontsize=8.5)
        top = 1.6
        for row, claim, height in zip(cells, entries, heights, strict=True):
            ax.axhline(top, color="#d5d5d5", lw=0.6)
            for k, (x, lines) in enumerate(zip(starts, row, strict=True)):
                ax.text(x, top + 0.4, "\n".join(lines), va="top", linespacing=1.15, fontsize=8.5,
                        color="black" if k else (_HOLDS if claim.holds else _FAILS), parse_math=False,
                        weight="normal" if k else "bold")  # fmt: skip
            if not claim.holds:
                ax.axhspan(top, top + height, color=_FAILS, alpha=0.08, lw=0)
            top += height
    if csv is not None:
        write_csv(csv, {"holds": [bool(c.holds) for c in entries], "claim": [row[1] for row in rows],
                        "measured": [row[2] for row in rows], "expected": [row[3] for row in rows],
                        "source": [row[4] for row in rows]})  # fmt: skip
    return ax


def _measured(claim: Any) -> str:
    return str(getattr(claim, "measurement", None) or _text(claim.measured))


def _expected(claim: Any) -> str:
    return str(getattr(claim, "expectation", None) or _text(claim.expected))


def _text(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def html_table(rows: Iterable[Sequence[Any]], head: Sequence[Any] = (), caption: str = "") -> str:
    """An HTML table of rows of cells, everything escaped: what ``_repr_html_`` returns.

    Parameters
    ----------
    rows : iterable of sequences
        Floats are shown with five digits.
    head : sequence, optional
        Names of the columns.
    caption : str, optional
    """
    cell = 'style="text-align:left;padding:2px 10px 2px 0"'
    top = "".join(f"<th {cell}>{html.escape(_text(entry))}</th>" for entry in head)
    body = "".join(
        "<tr>" + "".join(f"<td {cell}>{html.escape(_text(entry))}</td>" for entry in row) + "</tr>"
        for row in rows
    )
    title = (
        f'<caption style="text-align:left;font-weight:bold">{html.escape(caption)}</caption>'
        if caption
        else ""
    )
    return f"<table>{title}{f'<thead><tr>{top}</tr></thead>' if top else ''}<tbody>{body}</tbody></table>"

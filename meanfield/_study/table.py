"""The table of a study: a row for each configuration and seed, tidy, with pictures."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield import _settings
from meanfield._study import encode
from solvers._files import write_text
from solvers.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 20


@dataclass(eq=False)
class Table:
    """Rows of a study.

    Attributes
    ----------
    rows : list of dict
        One a configuration and seed: its axes, ``seed``, ``status`` ("done", "diverged" or "failed") and what the
        cell returned; NaN (None for texts) where there is nothing. A plug-in appears by its text.
    axes, values : tuple of str
        Names of the parameters, and of what the cell returned.
    problems : list of dict
        For each row that is not done: its axes, seed, status, ``message``, ``time`` of divergence, ``traceback``.
    missing : list of dict
        Axes and seed of the cells without a record.
    status : str
        "complete", "interrupted", "incomplete" (cells are missing) or "prepared" (nothing was to be computed).
    stats : dict
        Numbers of cells by status, ``computed``, ``failed_now`` and ``reused`` by this call, ``seconds`` that the
        cells took, ``versions`` that computed them.
    folder : Path or None
    seconds : list of float
        What each row took.
    """

    rows: list[dict[str, Any]]
    axes: tuple[str, ...]
    values: tuple[str, ...]
    problems: list[dict[str, Any]] = field(default_factory=list)
    missing: list[dict[str, Any]] = field(default_factory=list)
    status: str = "complete"
    stats: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    seconds: list[float] = field(default_factory=list)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, in their order."""
        return (*self.axes, "seed", "status", *self.values)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        """A column, as an array with a row's value in each entry."""
        self._check(name, self.columns)
        found = [row[name] for row in self.rows]
        kinds = {type(value) for value in found}
        if kinds <= {int, float, bool} or kinds == {str}:
            return np.array(found)
        if found and all(isinstance(v, np.ndarray) for v in found) and len({v.shape for v in found}) == 1:
            return np.stack(found)
        column = np.empty(len(found), dtype=object)
        column[:] = found
        return column

    def select(self, **wanted: Any) -> Table:
        """The rows with some values: ``select(width=100, scale=[0.1, 1.0])``, ``select(scale=lambda s: s > 1)``.

        Parameters
        ----------
        **wanted
            Column to a value, a list of values or a function that says which to keep.

        Raises
        ------
        InputError
            If there is no such column, or no row has the value.
        """
        keep = self
        for name, value in wanted.items():
            self._check(name, self.columns)
            test = _test(value, [row[name] for row in self.rows])
            if not any(test(row[name]) for row in self.rows) and not callable(value):
                known = ", ".join(list(dict.fromkeys(str(row[name]) for row in self.rows))[:12])
                raise InputError(f"no row has {name} = {value!r}; there are {known}")
            keep = keep._only(name, test)
        return keep

    def _only(self, name: str, test: Callable[[Any], bool]) -> Table:
        # what is missing has no value yet
        problems, missing = (
            [row for row in rows if name not in row or test(row[name])]
            for rows in (self.problems, self.missing)
        )
        kept = [k for k, row in enumerate(self.rows) if test(row[name])]
        rows = [self.rows[k] for k in kept]
        return Table(
            rows,
            self.axes,
            self.values,
            problems,
            missing,
            self.status,
            dict(self.stats),
            self.folder,
            [self.seconds[k] for k in kept],
        )

    def mean(self, value: str, *, interval: str = "student", level: float = 0.95) -> list[dict[str, Any]]:
        """Mean over seeds with its confidence interval, a dict for each configuration.

        Parameters
        ----------
        value : str
            A column of numbers.
        interval : {"student", "bootstrap"}
            ``mean +- t s / sqrt(k)`` for k seeds, or percentiles of the means of 2000 resamples.
        level : float
            Confidence, below 1.

        Returns
        -------
        list of dict
            The axes, ``mean``, ``low``, ``high``, ``seeds`` (finite ones, over which the mean goes), ``diverged``,
            ``failed`` and ``nonfinite`` ones (done, with NaN or infinity); low and high are NaN for one seed.
        """
        from meanfield._study.intervals import over_seeds

        self._check(value, self.values)
        return over_seeds(self, value, interval, level)

    # -- other forms ----------------------------------------------------------------------------------------------

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the rows as CSV: numbers with all their digits, arrays as lists.

        Parameters
        ----------
        path : path
        """
        target = Path(path)
        write_text(target, self.csv_text())
        return target

    def csv_text(self) -> str:
        """The rows as the text of a CSV file."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_cell(row[name]) for name in self.columns] for row in self.rows)
        return stream.getvalue()

    def to_text(self) -> str:
        """The rows as lines of aligned columns, numbers with six digits."""
        lines = [list(self.columns)]
        lines += [[_brief(row[name]) for name in self.columns] for row in self.rows]
        widths = [max(len(line[k]) for line in lines) for k in range(len(self.columns))]
        return "\n".join(
            "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines
        )

    def to_pandas(self) -> Any:
        """The rows as a ``pandas.DataFrame``."""
        try:
            import pandas
        except ModuleNotFoundError:
            raise InputError(
                "to_pandas needs pandas, which is not installed; table.rows is a list of dicts"
            ) from None
        return pandas.DataFrame(self.rows, columns=list(self.columns))

    def __repr__(self) -> str:
        total = len(self.rows) + len(self.missing)
        counts = Counter(row["status"] for row in self.rows)
        parts = [f"{count} {status}" for status, count in counts.items()]
        if self.missing:
            parts.append(f"{len(self.missing)} missing")
        cells = self.rows + self.missing
        axes = " x ".join(f"{len(_distinct(cells, name))} {name}" for name in (*self.axes, "seed"))
        columns = f"; {', '.join(self.values)}" if self.values else ""
        return f"Table({total} cells: {axes}; {', '.join(parts)}{columns})"

    def _repr_html_(self) -> str:
        from meanfield.plotting import html_table

        rows = [[row[name] for name in self.columns] for row in self.rows[:SHOWN]]
        more = f", the first {SHOWN} of {len(self.rows)} rows" if len(self.rows) > SHOWN else ""
        return html_table(rows, self.columns, caption=f"{self!r}{more}")

    # -- pictures -------------------------------------------------------------------------------------------------

    def plot(
        self,
        x: str,
        y: str,
        hue: str | None = None,
        *,
        interval: str = "student",
        ax: Axes | None = None,
        csv: str | os.PathLike[str] | None = None,
    ) -> Axes:
        """Mean of a value over seeds against an axis, with 95 % confidence bands; a curve for each value of `hue`.

        Points some of whose seeds diverged, failed or gave no finite number are open circles: their mean goes over the
        others. Where all did, a cross stands on the lower edge. Axes are logarithmic where the values are geometric.

        Parameters
        ----------
        x, hue : str
            Axes of the study; all others must have one value here (`select`).
        y : str
            A column of numbers.
        interval : {"student", "bootstrap"}
            As `mean` has it.
        ax, csv
            Axes to draw on; a file for the plotted numbers.
        """
        from meanfield.plotting import _study

        names = [x] if hue is None else [x, hue]
        self._drawable(names, y)
        return _study.curves(self.mean(y, interval=interval), x, y, hue, ax=ax, csv=csv)

    def map(
        self,
        x: str,
        y: str,
        value: str,
        *,
        ax: Axes | None = None,
        csv: str | os.PathLike[str] | None = None,
    ) -> Axes:
        """A phase map: mean of a value over seeds as colour over two axes.

        Cells all of whose seeds diverged, failed or gave no finite number are hatched, densely; those where some did,
        thinly over the colour. Cells that were not computed are blank.

        Parameters
        ----------
        x, y : str
            Axes of the study; all others must have one value here (`select`).
        value : str
            A column of numbers.
        ax, csv
            Axes to draw on; a file for the plotted numbers.
        """
        from meanfield.plotting import _study

        self._drawable([x, y], value)
        return _study.phase_map(self.mean(value), x, y, value, ax=ax, csv=csv)

    def _drawable(self, names: list[str], value: str) -> None:
        for name in names:
            self._check(name, self.axes)
        if len(set(names)) < len(names):
            raise InputError(f"{names[0]!r} is named twice; give two axes")
        self._check(value, self.values)
        for other in self.axes:
            found = _distinct(self.rows, other)
            if other not in names and len(found) > 1:
                raise InputError(
                    f"the axis {other!r} has {len(found)} values here; choose one, table.select({other}={found[0]!r}), "
                    f"or draw it as {'hue' if len(names) == 1 else 'another axis'}"
                )

    def _check(self, name: str, known: tuple[str, ...]) -> None:
        if name not in known:
            raise InputError(f"the table has no such column {name!r}{_settings.nearest(str(name), known)}")


def _distinct(rows: list[dict[str, Any]], name: str) -> list[Any]:
    """Values of a column, each once, in the order of the rows."""
    return list(dict.fromkeys(row[name] for row in rows))


def _cell(value: Any) -> Any:
    """A value for CSV: a number or a text."""
    if isinstance(value, np.ndarray):
        return str(value.tolist())
    return "" if value is None else value


def _brief(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(_cell(value))


def _test(value: Any, column: list[Any]) -> Callable[[Any], bool]:
    """Whether an entry of a column is `value`, or one of the values in it."""
    is_one_of_them = getattr(value, "__qualname__", None) in [
        held for held in column if isinstance(held, str)
    ]
    if callable(value) and not isinstance(value, type) and not is_one_of_them:
        return lambda held: bool(value(held))
    if not isinstance(value, (list, set, np.ndarray, range)):
        return _equal(value)
    if isinstance(value, (list, np.ndarray)) and any(map(_equal(value), column)):
        return _equal(value)  # the values of this axis are lists or arrays themselves
    tests = [_equal(one) for one in value]
    return lambda held: any(test(held) for test in tests)


def _equal(value: Any) -> Callable[[Any], bool]:
    wanted = encode.label(encode.encode(value, "the value to select"))

    def same(held: Any) -> bool:
        if isinstance(held, float) and isinstance(wanted, (int, float)):
            # typed with fewer digits
            return bool(np.isclose(held, wanted, rtol=1e-9, atol=0.0, equal_nan=True))
        if isinstance(held, (np.ndarray, list, tuple, dict)):
            held = encode.label(encode.encode(held, "the table"))
        return bool(held == wanted)

    return same

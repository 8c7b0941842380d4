"""Reading tables of numbers: comma-separated text and NPZ archives, with errors that name row and column."""

from __future__ import annotations

import csv
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from solvers.errors import FileFormatError, InputError
from solvers.protocols import Array

_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-", "."}


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the nearest spelling among the known names, or some of them."""
    import difflib

    names = list(known)
    folded = {other.casefold(): other for other in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    shown = ", ".join(map(repr, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"there are {shown}"


def choose(
    names: Sequence[str], target: str | Sequence[str] | None, features: str | Sequence[str] | None, where: str
) -> tuple[list[str], list[str]]:
    """Names of targets and features: all other columns are features unless they are named."""
    if target is None:
        raise InputError(f"target= is needed: name the column of {where} to predict; {nearest('', names)}")
    targets = [target] if isinstance(target, str) else list(target)
    chosen = [features] if isinstance(features, str) else None if features is None else list(features)
    if not targets or chosen == []:
        raise InputError("target and features must name at least one column each")
    for name in targets + (chosen or []):
        if name not in names:
            raise InputError(f"{where} has no column {name!r}; {nearest(str(name), names)}")
    if chosen is None:
        chosen = [name for name in names if name not in targets]
        if not chosen:
            raise InputError(f"{where} has no column beside the target")
    both = [name for name in chosen if name in targets]
    if both:
        raise InputError(f"column {both[0]!r} is named as a feature and as a target")
    for listed, what in ((targets, "target"), (chosen, "features")):
        if len(set(listed)) < len(listed):
            raise InputError(f"{what} names a column twice")
    return targets, chosen


def read_csv(
    path: Path,
    target: str | Sequence[str] | None,
    features: str | Sequence[str] | None,
    labels: Mapping[str, float] | None,
    delimiter: str | None,
) -> tuple[Array, Array, list[str], list[str]]:
    """X, y, names of features and of targets, from a text file whose first row names the columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            if not first.strip():
                raise FileFormatError(f"{path} is empty; a header with the names of the columns is needed")
            file.seek(0)
            return _rows(
                path, csv.reader(file, delimiter=delimiter or _delimiter(first)), target, features, labels
            )
    except UnicodeDecodeError:
        raise FileFormatError(f"{path} is not text in UTF-8; save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise FileFormatError(f"{path} is not a CSV file: {error}") from None


def _delimiter(header: str) -> str:
    """The candidate that the header holds most of outside quotes; a comma if none."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(",;\t", key=lambda mark: (bare.count(mark), mark == ","))


def _rows(
    path: Path, reader: Any, target: Any, features: Any, labels: Mapping[str, float] | None
) -> tuple[Array, Array, list[str], list[str]]:
    header = [cell.strip() for cell in next(reader)]
    if all(_number(cell) is not None for cell in header) and target not in header:
        raise FileFormatError(
            f"the first row of {path} holds numbers; a header with names of columns is needed"
        )
    for j, name in enumerate(header):
        if name and header.index(name) < j:
            raise FileFormatError(f"{path} has two columns named {name!r}")
    targets, chosen = choose(header, target, features, str(path))
    if "" in chosen:
        raise FileFormatError(
            f"column {header.index('') + 1} of {path} has no name; name it in the file, or name features="
        )
    wanted = [(header.index(name), name, labels if name in targets else None) for name in chosen + targets]
    table: list[list[float]] = []
    row = 0
    for cells in reader:
        if not cells or (len(cells) == 1 and not cells[0].strip() and len(header) > 1):
            continue  # a blank line
        row += 1
        if len(cells) != len(header):
            raise FileFormatError(
                f"row {row} of {path} (line {reader.line_num}) has {len(cells)} cells, but the header has "
                f"{len(header)}"
            )
        table.append([_cell(cells[j], name, row, reader.line_num, path, known) for j, name, known in wanted])
    if not table:
        raise FileFormatError(f"{path} has a header but no rows")
    values = np.array(table)
    return values[:, : len(chosen)], values[:, len(chosen) :], chosen, targets


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return None if "_" in cell else value  # float("1_000") is Python's notation, not data's


def _cell(cell: str, name: str, row: int, line: int, path: Path, labels: Mapping[str, float] | None) -> float:
    text = cell.strip()
    where = f"row {row}, column {name!r} of {path} (line {line})"
    if labels is not None:
        if text not in labels:
            raise FileFormatError(
                f"{where} holds {text!r}, which labels= does not list; {nearest(text, labels)}"
            )
        return float(labels[text])
    if text.casefold() in _MISSING:
        raise FileFormatError(f"{where} is missing ({text!r}); remove the row or fill it in first")
    value = _number(text)
    if value is None:
        shown = text if len(text) <= 30 else text[:27] + "..."
        raise FileFormatError(
            f"{where} holds {shown!r}, which is not a number; leave the column out with features=, or give "
            "numbers to classes of the target with labels="
        )
    if not math.isfinite(value):
        raise FileFormatError(f"{where} holds {text!r}; only finite numbers can be trained on")
    return value


def read_npz(path: Path) -> dict[str, Any]:
    """The arrays of an NPZ archive by name; nothing is unpickled."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                raise FileFormatError(
                    f"{path} holds a single array; save features and target together in an NPZ file"
                )
            return {name: _member(loaded, name, path) for name in loaded.files}
    except FileFormatError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        EOFError,
        OSError,
        KeyError,
        NotImplementedError,
    ) as error:
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise
        raise FileFormatError(
            f"{path} is not a readable NPZ file (truncated, or of another format)"
        ) from None


def _member(archive: Any, name: str, path: Path) -> Any:
    try:
        return archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise FileFormatError(
            f"array {name!r} of {path} holds Python objects, which are never unpickled; save numbers"
        ) from None


def columns_of(
    table: Mapping[str, Any],
    target: str | Sequence[str] | None,
    features: str | Sequence[str] | None,
    labels: Mapping[str, float] | None,
    where: str,
) -> tuple[Array, Array, list[str], list[str]]:
    """X, y and names from one-dimensional arrays by name (a data frame, an NPZ file of columns)."""
    targets, chosen = choose(list(table), target, features, where)
    stacked = []
    for name in chosen + targets:
        column = np.asarray(table[name])
        if column.ndim != 1:
            raise InputError(
                f"column {name!r} of {where} must have one axis, but its shape is {column.shape}"
            )
        if name in targets and labels is not None:
            column = relabel(column, labels, f"column {name!r} of {where}")
        stacked.append(_numeric(column, name, where))
    lengths = {len(column) for column in stacked}
    if len(lengths) > 1:
        raise InputError(f"the columns of {where} have different lengths: {sorted(lengths)}")
    values = np.stack(stacked, axis=1)
    return values[:, : len(chosen)], values[:, len(chosen) :], chosen, targets


def relabel(values: Any, labels: Mapping[str, float], where: str) -> Array:
    """Numbers for classes, looked up by their text ("1" for 1 and 1.0)."""
    found = []
    for value in np.asarray(values).ravel().tolist():
        text = format(value, "g") if isinstance(value, float) else str(value)
        if text not in labels:
            raise InputError(f"{where} holds {text!r}, which labels= does not list; {nearest(text, labels)}")
        found.append(float(labels[text]))
    return np.array(found).reshape(np.shape(values))


def _numeric(column: Any, name: str, where: str) -> Array:
    try:
        values = np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"column {name!r} of {where} is not numeric; leave it out with features=") from None
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise InputError(
            f"column {name!r} of {where} holds {bad.size} value(s) that are NaN or infinite (the first in row "
            f"{bad[0] + 1}); remove or fill them in first"
        )
    return values

"""From the records of a folder to a table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from meanfield._study import encode, store
from meanfield._study.definition import Definition
from meanfield._study.table import Table
from solvers.errors import FileFormatError, InputError


def read_table(asked: Definition, folder: Path, status: str) -> Table:
    """Read the records of all that is asked.

    Parameters
    ----------
    asked : Definition
    folder : Path
    status : str
        "incomplete" replaces "complete" if records are missing.
    """
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    missing: list[dict[str, Any]] = []
    same = Names()
    for entry in asked.entries:
        for seed, key in zip(asked.seeds, entry.keys, strict=True):
            place = {**entry.labels, "seed": seed}
            record = store.read_result(folder, key)
            if record is None or record["status"] == store.REFUSED:
                missing.append(place)
            else:
                same.check(record)
                found.append((place, record))
    done = [_values(record) for _, record in found if record["status"] == store.DONE]
    names = tuple(done[0]) if done else ()
    blanks = {name: _blank([values.get(name) for values in done]) for name in names}
    results = iter(done)
    rows, problems = [], []
    for place, record in found:
        values = next(results) if record["status"] == store.DONE else {}
        rows.append(
            {**place, "status": record["status"], **{name: values.get(name, blanks[name]) for name in names}}
        )
        if record["status"] != store.DONE:
            problem = {**place, "status": record["status"], "message": record.get("message", "")}
            problems.append(
                problem
                | {"time": encode.decode(record.get("time")), "traceback": record.get("traceback", "")}
            )
    counts = Counter(record["status"] for _, record in found)
    seconds = [float(record.get("seconds", 0.0)) for _, record in found]
    stats: dict[str, Any] = {
        "done": counts[store.DONE],
        "diverged": counts[store.DIVERGED],
        "failed": counts[store.FAILED],
        "missing": len(missing),
        "seconds": sum(seconds),
        "versions": _versions([record for _, record in found]),
    }
    if missing and status == "complete":
        status = "incomplete"
    return Table(rows, asked.axes, names, problems, missing, status, stats, folder, seconds)


def _values(record: dict[str, Any]) -> dict[str, Any]:
    """What the cell returned; a folder of somebody else's must not make this process import anything."""
    values = record["values"]
    if not all(map(encode.is_plain, values.values())):
        raise FileFormatError(
            f"the result {record['key']}.json names types or functions, which results do not hold; delete it"
        )
    return {name: encode.decode(value) for name, value in values.items()}


class Names:
    """All cells return the same names."""

    def __init__(self) -> None:
        self.first: dict[str, Any] | None = None

    def check(self, record: dict[str, Any]) -> None:
        if record["status"] != store.DONE:
            return
        if self.first is None:
            self.first = record
        elif record["values"].keys() != self.first["values"].keys():
            raise InputError(
                f"the cell returned {_text(self.first)}, but {_text(record)}; return the same names everywhere, with "
                "NaN where there is nothing"
            )


def _text(record: dict[str, Any]) -> str:
    """``"'error' at scale=1.0, seed=0"``"""
    place = {name: encode.label(value) for name, value in record["configuration"].items()}
    where = ", ".join(f"{name}={value!r}" for name, value in (place | {"seed": record.get("seed")}).items())
    return f"{', '.join(map(repr, record['values'])) or 'nothing'} at {where}"


def _versions(records: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Package to the versions that results were computed with."""
    found: dict[str, set[str]] = {}
    for record in records:
        for package, version in record.get("provenance", {}).get("versions", {}).items():
            found.setdefault(package, set()).add(version)
    return {package: sorted(versions) for package, versions in sorted(found.items())}


def _blank(values: list[Any]) -> Any:
    """What stands where a cell gave nothing."""
    known = [value for value in values if value is not None]
    if known and isinstance(known[0], np.ndarray):
        if known[0].dtype.kind in "biuf":
            return np.full(known[0].shape, np.nan)
        return None
    return float("nan") if known and isinstance(known[0], (bool, int, float, complex)) else None

"""What a study asks for: the cell, its configurations and seeds, and the hash of each result."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from meanfield import _settings
from meanfield._study import encode, identity
from solvers import _check
from solvers.errors import InputError

# Columns of the table, and what the cell is given beside its configuration.
RESERVED = ("seed", "status", "rng", "rngs")
# What stands beside the axes in `Table.mean` and `Table.problems`.
BESIDE = ("mean", "low", "high", "seeds", "diverged", "failed", "nonfinite", "message", "time", "traceback")


@dataclass(frozen=True)
class Entry:
    """One configuration: its encoding (axes only), what the table shows of it, and the hash of each seed's result."""

    encoded: dict[str, Any]
    labels: dict[str, Any]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Definition:
    """A study, as JSON values.

    Attributes
    ----------
    cell : dict
        ``name``, ``module`` and ``file`` of the cell, the digests of its ``parts``, the ``digest`` that enters the
        hashes, and ``takes``: "rng", "rngs" (all seeds of a configuration at once) or None.
    axes : tuple of str
    configurations : list of dict
        Axis to encoded value.
    fixed : dict
        Parameter to encoded value.
    seeds : tuple of int
    """

    cell: dict[str, Any]
    axes: tuple[str, ...]
    configurations: list[dict[str, Any]]
    fixed: dict[str, Any]
    seeds: tuple[int, ...]
    entries: list[Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shown = {name: _labels([c[name] for c in self.configurations]) for name in self.axes}
        entries = [
            Entry(c, {name: shown[name][encode.canonical(c[name])] for name in self.axes}, self._keys(c))
            for c in self.configurations
        ]
        object.__setattr__(self, "entries", entries)

    def _keys(self, configuration: dict[str, Any]) -> tuple[str, ...]:
        """A parameter keeps its hash when it moves from the fixed ones to an axis."""
        text = encode.canonical([self.cell["digest"], {**self.fixed, **configuration}])
        return tuple(hashlib.sha256(f"{text}{seed}".encode()).hexdigest()[:32] for seed in self.seeds)

    def to_json(self) -> dict[str, Any]:
        return {
            "cell": self.cell,
            "axes": list(self.axes),
            "configurations": self.configurations,
            "fixed": self.fixed,
            "seeds": list(self.seeds),
        }

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> Definition:
        return cls(
            dict(text["cell"]),
            tuple(text["axes"]),
            [dict(c) for c in text["configurations"]],
            dict(text["fixed"]),
            tuple(int(seed) for seed in text["seeds"]),
        )


def define(cell: Any, axes: Any, seeds: Any, fixed: Any) -> Definition:
    """Check all arguments that say what is to be computed."""
    _check_cell(cell)
    constants = _fixed(fixed)
    names, configurations = _listed(axes) if _is_list(axes) else _product(axes)
    for name in names:
        if name in constants:
            raise InputError(f"{name!r} is an axis and among fixed; it can be one of them only")
    wanted = _seeds(seeds)
    takes = _check_signature(cell, names, list(constants))
    if takes is None:
        if len(wanted) > 1:
            raise InputError(
                f"the cell {_name(cell)!r} takes no seed, so {len(wanted)} seeds would repeat one computation; give it "
                "a parameter rng, or leave seeds out"
            )
        wanted = wanted or (0,)
    return Definition(describe(cell) | {"takes": takes}, names, configurations, constants, wanted or (0,))


def describe(cell: Callable[..., Any]) -> dict[str, Any]:
    """Name, place and digests of a cell."""
    plain: Any = inspect.unwrap(getattr(cell, "py_func", cell))
    parts = identity.parts(cell)
    module = str(plain.__module__)
    file = getattr(sys.modules.get(module), "__file__", None)
    return {
        "name": plain.__qualname__,
        "module": module,
        "file": str(Path(file).resolve()) if file else None,
        "python": ".".join(map(str, sys.version_info[:2])),
        "parts": parts,
        "digest": identity.digest(parts),
    }


# -- the cell ------------------------------------------------------------------------------------------------------


def _name(cell: Any) -> str:
    return getattr(cell, "__name__", type(cell).__name__)


def _check_cell(cell: Any) -> None:
    if isinstance(cell, type) or not callable(cell):
        raise InputError(f"cell must be a function of its axes and a seed, not {cell!r}")
    plain = inspect.unwrap(getattr(cell, "py_func", cell))
    if not hasattr(plain, "__code__") and not hasattr(plain, "__func__"):
        raise InputError(
            f"cell must be a Python function, not a {type(cell).__name__}; write `def cell(..., rng): ...` around it "
            "and give what it holds by fixed={...}"
        )


def _check_signature(cell: Any, axes: Sequence[str], fixed: Sequence[str]) -> str | None:
    """Whether the cell takes what it will be given; what it calls its seed."""
    name = _name(cell)
    parameters = inspect.signature(cell).parameters
    kinds = {p: parameter.kind for p, parameter in parameters.items()}
    anything = inspect.Parameter.VAR_KEYWORD in kinds.values()
    by_name = [
        p
        for p, kind in kinds.items()
        if kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    ]
    for p, kind in kinds.items():
        if kind is inspect.Parameter.POSITIONAL_ONLY:
            raise InputError(
                f"the cell {name!r} takes {p!r} by position only; its parameters are given by name"
            )
    for what, given in (("axis", axes), ("fixed parameter", fixed)):
        for p in given:
            if p not in by_name and not anything:
                known = [q for q in by_name if q not in RESERVED]
                raise InputError(
                    f"unknown {what} {p!r}: the cell {name!r} has no such parameter{_settings.nearest(p, known)}"
                )
    if "rng" in by_name and "rngs" in by_name:
        raise InputError(
            f"the cell {name!r} takes rng and rngs; rng is one seed, rngs all of them at once: keep one"
        )
    takes = "rngs" if "rngs" in by_name else "rng" if "rng" in by_name or anything else None
    for p in by_name:
        needed = parameters[p].default is inspect.Parameter.empty
        if needed and p not in axes and p not in fixed and p != takes:
            raise InputError(
                f"the parameter {p!r} of the cell {name!r} has no value: make it an axis, {{{p!r}: [...]}}, or give "
                f"fixed={{{p!r}: ...}}"
            )
    return takes


# -- axes and seeds ------------------------------------------------------------------------------------------------


def _is_list(axes: Any) -> bool:
    return not isinstance(axes, (Mapping, str)) and isinstance(axes, Iterable)


def _product(axes: Any) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    if not isinstance(axes, Mapping):
        raise InputError(
            f"axes must be a mapping of lists, {{'scale': [0.1, 1.0]}}, or a list of configurations, not {axes!r}"
        )
    names = _axis_names(axes)
    values = [_axis(name, axes[name]) for name in names]
    return names, [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*values)]


def _axis(name: str, values: Any) -> list[Any]:
    if isinstance(values, (set, frozenset)):
        raise InputError(f"axis {name!r} is a set, which has no order; write sorted(...) or a list")
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise InputError(
            f"axis {name!r} must be a list of values, not {values!r}; for a single one write [value]"
        )
    if hasattr(values, "_fields"):
        raise InputError(
            f"axis {name!r} must be a list of values; for a single {type(values).__name__} write [value]"
        )
    if isinstance(values, np.ndarray) and values.ndim == 0:
        raise InputError(
            f"axis {name!r} must be a list of values, not {values!r}; for a single one write [value]"
        )
    encoded = [_value(value, f"axis {name!r}") for value in values]
    if not encoded:
        raise InputError(f"axis {name!r} is empty; give it at least one value")
    seen: set[str] = set()
    for value in encoded:
        text = encode.canonical(value)
        if text in seen:
            raise InputError(f"axis {name!r} has {encode.label(value)!r} twice; leave one out")
        seen.add(text)
    _check_equal(name, encoded)
    return encoded


def _listed(axes: Iterable[Any]) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    rows = list(axes)
    if not rows:
        raise InputError("axes is an empty list; give at least one configuration")
    if not all(isinstance(row, Mapping) for row in rows):
        raise InputError("a list of configurations holds one mapping of parameter to value for each")
    names = _axis_names(rows[0])
    found: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for k, row in enumerate(rows):
        if set(row) != set(names):
            raise InputError(
                f"configuration {k} has the parameters {sorted(map(str, row))}, the first has {sorted(names)}; "
                "all must have the same"
            )
        encoded = {name: _value(row[name], f"{name!r} of configuration {k}") for name in names}
        text = encode.canonical(encoded)
        if text in seen:
            raise InputError(f"configurations {seen[text]} and {k} are the same; leave one out")
        seen[text] = k
        found.append(encoded)
    for name in names:
        _check_equal(name, [row[name] for row in found])
    return names, found


def _fixed(fixed: Any) -> dict[str, Any]:
    if fixed is None:
        return {}
    if not isinstance(fixed, Mapping):
        raise InputError(f"fixed must be a mapping of parameter to value, not {fixed!r}")
    for name in fixed:
        _check_name(name)
    return {name: encode.encode(value, f"fixed[{name!r}]") for name, value in fixed.items()}


def _axis_names(axes: Mapping[Any, Any]) -> tuple[str, ...]:
    for name in axes:
        _check_name(name)
        if name in BESIDE:
            raise InputError(
                f"an axis cannot be called {name!r}, as table.mean or table.problems has that beside the axes; choose "
                "another name"
            )
    return tuple(axes)


def _check_equal(name: str, encoded: list[Any]) -> None:
    """Two values of an axis that are equal would be one in means and pictures."""
    seen: dict[Any, Any] = {}
    for value in map(encode.label, encoded):
        other = seen.setdefault(value, value)
        if repr(other) != repr(value):
            raise InputError(f"axis {name!r} has {other!r} and {value!r}, which are equal; keep one of them")


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(f"a parameter of the cell has a name such as 'scale', not {name!r}")
    if name in RESERVED:
        how = "seeds come in by seeds=" if name != "status" else "it is a column of the table"
        raise InputError(f"an axis or fixed parameter cannot be called {name!r}: {how}; choose another name")


def _value(value: Any, where: str) -> Any:
    if isinstance(value, (float, np.floating)) and np.isnan(value):
        raise InputError(f"{where} holds NaN, which equals nothing; leave it out or use None")
    return encode.encode(value, where)


def _seeds(seeds: Any) -> tuple[int, ...]:
    if seeds is None:
        return ()
    if isinstance(seeds, (int, np.integer, float, np.floating, str, bool)):
        count = _check.number(seeds, "seeds", integer=True)
        if count < 1:
            raise InputError(f"seeds must be at least 1, or a list of seeds, not {seeds}")
        return tuple(range(count))
    if not isinstance(seeds, Iterable):
        raise InputError(
            f"seeds must be a number of seeds, or a list of integers each of which a cell gets as rng, not a "
            f"{type(seeds).__name__}"
        )
    found = tuple(_check.number(seed, "each seed", integer=True, nonnegative=True) for seed in seeds)
    if not found:
        raise InputError("seeds is empty; give at least one seed, or their number")
    if len(set(found)) < len(found):
        twice = next(seed for k, seed in enumerate(found) if seed in found[:k])
        raise InputError(f"seeds has {twice} twice; leave one out")
    return found


def _labels(values: list[Any]) -> dict[str, Any]:
    """What a table shows for the values of an axis, by their encodings; two values never look alike."""
    distinct = {encode.canonical(value): value for value in values}
    shown = {text: encode.label(value) for text, value in distinct.items()}
    if len({(type(value), value) for value in shown.values()}) < len(distinct):
        shown = {
            text: value if not isinstance(distinct[text], (dict, list)) else f"{value} #{_short(text)}"
            for text, value in shown.items()
        }
    return shown


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]

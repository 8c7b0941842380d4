"""What a cell is: digests of its code and of all that it refers to, so that a changed cell does not mix its results.

One part each for the cell, for the functions, classes and values of its own project that it names (module globals
such as data), and for what it captures. Comments, docstrings and line numbers do not enter; installed packages enter
by name only (their versions stand in each result).
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import sys
import sysconfig
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from meanfield._study.encode import canonical, fields_of
from solvers.provenance import jsonable

OURS = ("meanfield", "solvers", "figures")
_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes)


def parts(cell: Callable[..., Any] | type) -> dict[str, str]:
    """Name to digest of all that a cell's result depends on and that can be looked at."""
    walk = _Walk(cell)
    walk.run()
    return dict(sorted(walk.parts.items()))


def digest(found: dict[str, str]) -> str:
    """One digest of several parts."""
    return hashlib.sha256(canonical(found).encode()).hexdigest()[:32]


def changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Names of the parts that differ."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


class _Walk:
    """Follows names from the cell on; each is visited once."""

    def __init__(self, cell: Callable[..., Any] | type) -> None:
        plain = _plain(cell)
        self.home = str(plain.__module__ or "")
        self.parts: dict[str, str] = {}
        self.todo: list[tuple[str, Any, frozenset[str]]] = [("its code", plain, frozenset())]
        self.named: dict[Any, str] = {id(plain): "its code"}
        self.kept: list[Any] = [plain]  # alive until the end, lest an id be given twice
        self.open: list[int] = []

    def run(self) -> None:
        while self.todo:
            name, value, names = self.todo.pop()
            self.words: list[str] = []
            self.value(value, names, inside=True)
            text = "\x1f".join(self.words)
            self.parts[name] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def note(self, *words: object) -> None:
        self.words += [f"{len(str(word))}:{word}" for word in words]

    def later(self, name: str, module: str, value: Any, names: frozenset[str]) -> None:
        """Refer to a named thing here, and give it a part of its own."""
        value = _plain(value)
        # equal numbers and texts may be one object, or not
        key = (module, name, repr(value)) if type(value) in _PLAIN else id(value)
        if key not in self.named:
            full = name if module == self.home else f"{module}.{name}"
            while full in self.parts or any(full == other for other, _, _ in self.todo):
                full += "'"
            self.named[key] = full
            self.kept.append(value)
            self.todo.append((full, value, names))
        self.note("part", self.named[key])

    def value(self, value: Any, names: frozenset[str], inside: bool = False) -> None:
        """Note a value; `names` are the attributes that the code at hand may ask a module for."""
        value = _plain(value)
        if type(value) in _PLAIN:
            self.note(type(value).__name__, repr(value))
        elif isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.dtype.hasobject):
            plain = np.ascontiguousarray(value)
            self.note("array", plain.dtype.str, np.shape(value), hashlib.sha256(plain.tobytes()).hexdigest())
        elif id(value) in self.open:
            self.note("itself", len(self.open) - self.open.index(id(value)))
        else:
            self.open.append(id(value))
            self.kept.append(value)
            self.object(value, names, inside)
            self.open.pop()

    def object(self, value: Any, names: frozenset[str], inside: bool) -> None:
        if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
            self.note(type(value).__name__, len(value))
            for item in value:
                self.value(item, names)
        elif isinstance(value, np.ndarray):
            self.note("objects", value.shape)
            for item in value.ravel():
                self.value(item, names)
        elif isinstance(value, dict):
            self.note("dict", len(value))
            for key, item in value.items():
                self.value(key, names)
                self.value(item, names)
        elif isinstance(value, (set, frozenset)):
            self.note("set", *sorted(map(repr, value)))
        elif isinstance(value, types.ModuleType):
            self.note("module", value.__name__)
            if _is_own(value.__name__, self.home):
                for name in sorted(names & vars(value).keys()):
                    self.later(name, value.__name__, getattr(value, name), names)
        elif isinstance(value, (types.FunctionType, type)):
            self.note(type(value).__name__, value.__qualname__ if value.__name__ != "<lambda>" else "lambda")
            if not inside and _is_own(value.__module__, self.home):
                self.later(value.__qualname__, str(value.__module__ or ""), value, names)
            elif inside or _is_own(value.__module__, self.home):
                self.function(value) if isinstance(value, types.FunctionType) else self.type(value)
            else:
                self.note(value.__module__)
        elif (fields := fields_of(value)) is not None:
            self.value(type(value), names)
            for name, item in fields.items():
                self.note(name)
                self.value(item, names)
        elif isinstance(value, types.MethodType):
            self.value(value.__func__, names)
            self.value(value.__self__, names)
        else:
            # a script is called __main__ here and by its name there
            place = "" if _is_own(type(value).__module__, self.home) else type(value).__module__
            self.note("a", place, type(value).__qualname__)
            self.content(value, names)

    def content(self, value: Any, names: frozenset[str]) -> None:
        """What an object says of itself; of others (a generator, a file, a cache) only the type is known."""
        ours = type(value).__module__.split(".", 1)[0] in OURS
        if ours and callable(getattr(value, "describe", None)):
            self.note(canonical(jsonable(value)))
        elif ours and callable(getattr(value, "to_arrays", None)):
            self.value(value.to_arrays(), names)
        elif hasattr(value, "__array__"):  # tables, tensors
            try:
                self.value(np.asarray(value), names)
            except Exception:
                return
        elif _is_own(type(value).__module__, self.home):
            self.value(type(value), names)
            self.value(dict(getattr(value, "__dict__", {})), names)

    def type(self, owner: type) -> None:
        for base in owner.__mro__:
            if _is_own(base.__module__, self.home):
                for name, held in sorted(vars(base).items()):
                    held = getattr(held, "__func__", None) or getattr(held, "fget", None) or held
                    if isinstance(_plain(held), types.FunctionType):
                        if _plain(held).__module__ == base.__module__:
                            self.note(name)
                            self.function(_plain(held))
                    elif type(held) in _PLAIN and not name.startswith("__"):
                        self.note(name, repr(held))
            else:
                self.note(base.__module__, base.__qualname__)

    def function(self, function: types.FunctionType) -> None:
        code = function.__code__
        self.code(code, function.__doc__)
        taken, used = _names(code)
        self.value(function.__defaults__, used)
        self.value(function.__kwdefaults__, used)
        for name, held in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                content = held.cell_contents
            except ValueError:  # not assigned yet
                continue
            self.note(name)
            self.later(name, str(function.__module__ or ""), content, used)
        for name in sorted(taken & function.__globals__.keys()):
            self.note(name)
            held = function.__globals__[name]
            if isinstance(_plain(held), (types.FunctionType, types.ModuleType, type)):
                self.value(held, used)
            else:
                self.later(name, str(function.__module__ or ""), held, used)

    def code(self, code: types.CodeType, doc: str | None = None) -> None:
        self.note("code", code.co_argcount, code.co_kwonlyargcount, code.co_flags & 0x0F)
        self.note(*code.co_names, "|", *code.co_varnames, "|", *code.co_freevars)
        self.note(code.co_code.hex(), code.co_exceptiontable.hex())
        constants = list(code.co_consts)
        if constants and isinstance(constants[0], str) and constants[0] == doc:
            constants[0] = None
        for constant in constants:
            if isinstance(constant, types.CodeType):
                self.code(constant)
            elif isinstance(constant, frozenset):  # its order changes from process to process
                self.note(sorted(map(repr, constant)))
            else:
                self.note(type(constant).__name__, repr(constant))


def _plain(value: Any) -> Any:
    """The Python function behind what wraps it: machine code, a cache, a decorator that says so."""
    for _ in range(32):
        if isinstance(value, (functools.partial, type)):
            return value
        inner = inspect.getattr_static(value, "py_func", None) or inspect.getattr_static(
            value, "__wrapped__", None
        )
        if inner is None or not callable(inner):
            return value
        value = inner
    return value


@functools.lru_cache(maxsize=1024)
def _names(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """Names that code takes from its module, and all names that it uses (those of attributes among them)."""
    taken = {
        str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    used = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _names(constant)
            taken |= inner[0]
            used |= inner[1]
    return frozenset(taken), frozenset(used)


def code_of(value: Any) -> str | None:
    """Digest of a type or function of somebody's own project; None for those of installed packages and of ours."""
    if not _is_own(value.__module__, ""):
        return None
    return digest(parts(value))


@functools.lru_cache(maxsize=1)
def _installed() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in names})


def _is_own(name: str | None, home: str) -> bool:
    """Whether a module belongs to the project of the cell, whose files people edit between two calls."""
    if not name:  # code that was executed without a module
        return True
    top = name.split(".", 1)[0]
    if name in ("__main__", "__mp_main__") or top == home.split(".", 1)[0]:
        return True
    if top in OURS or top in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return False
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _installed())

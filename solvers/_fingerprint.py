"""A digest of all that the compiled methods of a class depend on, so that machine code on disk is never stale.

Numba compiles bytecode, and freezes the global constants that it meets. So the digest walks what it would walk: the
bytecode of the methods, the values of the globals and closures that they name, and the same for compiled functions
that they call. It needs no source file: a class of a script, a notebook or an interactive session has one as well.
Comments and line numbers do not enter. Where anything is met that Numba might read in a way not known here (an
object of some other kind, a plain Python function, a class), there is no digest, and nothing goes to the disk.
"""

from __future__ import annotations

import builtins
import dis
import hashlib
import sys
import types
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numba.core.dispatcher import Dispatcher
from numba.core.extending import _Intrinsic

# What these hold is known by its name and the version of the distribution.
KNOWN = ("builtins", "cmath", "math", "numba", "numpy", "operator")
PROJECT = ("solvers", "meanfield")
PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes)


class Unknown(Exception):
    """Something of which a digest cannot be had."""


def first_fingerprint(owner: type, methods: Iterable[str]) -> str | None:
    """The digest that a class had when it was first asked for; None where that is unknown, or is no longer so.

    What Numba froze when it compiled a part stays in all that it compiles later in the process, though the global
    constant may be another by then: such code must not reach the disk. Nor must that of a function which was
    compiled before anybody looked at what it froze.
    """
    if owner not in _first:
        _first[owner] = fingerprint(owner, methods, only_new=True)
    return _first[owner] if fingerprint(owner, methods) == _first[owner] else None


_first: dict[type, str | None] = {}


def fingerprint(owner: type, methods: Iterable[str], only_new: bool = False) -> str | None:
    """Digest of a plug-in's class: fields, constants, the named methods and what they use; None where unknown.

    With `only_new`, functions that were compiled already count as unknown.
    """
    walk = _Walk(only_new)
    try:
        walk.note("class", owner.__name__, *getattr(owner, "_fields", ()))
        held = {name: value for base in reversed(owner.__mro__) for name, value in vars(base).items()}
        for name in sorted(held):
            # Numbers and words that the class holds: a kernel may ask for them while it is compiled.
            if not name.startswith("_") and isinstance(held[name], (*PLAIN, tuple, np.ndarray, np.generic)):
                walk.note("constant", name)
                walk.value(held[name], ())
        for name in sorted(set(methods)):
            walk.note("method", name)
            walk.value(held.get(name), ())
    except Unknown:
        return None
    return walk.digest.hexdigest()[:16]


class _Walk:
    """One pass over what a class refers to; functions that refer to each other are visited once."""

    def __init__(self, only_new: bool) -> None:
        self.only_new = only_new
        self.digest = hashlib.sha256()
        self.seen: dict[int, int] = {}
        self.kept: list[Any] = []  # alive until the end, lest an id be given twice

    def note(self, *words: object) -> None:
        for word in words:
            text = str(word).encode()
            self.digest.update(b"%d:" % len(text) + text)

    def value(self, value: Any, names: tuple[str, ...]) -> None:
        """Any object; `names` are the attributes that the code at hand may ask a module for."""
        if type(value) in PLAIN:
            self.note(type(value).__name__, repr(value))
        elif isinstance(value, types.CodeType):
            self.code(value)
        elif type(value) is tuple:
            self.note("tuple", len(value))
            for item in value:
                self.value(item, names)
        elif type(value) is frozenset:  # `z in {1, 2}`
            self.note("set", *sorted(map(repr, value)))
        elif isinstance(value, (np.ndarray, np.generic)):
            self.array(np.asarray(value))
        elif _is_known(value):
            self.note("known", *_place(value))
        elif id(value) in self.seen:
            self.note("seen", self.seen[id(value)])
        else:
            self.seen[id(value)] = len(self.seen)
            self.kept.append(value)
            self.object(value, names)

    def array(self, value: Any) -> None:
        if value.dtype.hasobject:
            raise Unknown
        self.note("array", value.dtype.str, value.shape, value.flags.f_contiguous)
        self.digest.update(value.tobytes())

    def object(self, value: Any, names: tuple[str, ...]) -> None:
        if isinstance(value, types.FunctionType):
            self.function(value)
        elif isinstance(value, Dispatcher):
            if self.only_new and value.overloads:
                raise Unknown
            self.note("compiled", sorted((k, _sorted(v)) for k, v in value.targetoptions.items()))
            self.function(value.py_func)
        elif isinstance(value, types.ModuleType):
            self.note("module", value.__name__)
            for name in names:
                if hasattr(value, name):
                    self.note("attribute", name)
                    self.value(getattr(value, name), names)
        else:
            raise Unknown

    def function(self, function: Any) -> None:
        code = function.__code__
        self.code(code)
        self.value(function.__defaults__, ())
        if function.__kwdefaults__:
            raise Unknown
        names, attributes = _names(code)
        for cell in function.__closure__ or ():
            try:
                self.outside(cell.cell_contents, attributes)
            except ValueError:  # not assigned yet
                raise Unknown from None
        for name in names:
            if name in function.__globals__:
                self.note("global", name)
                self.outside(function.__globals__[name], attributes)
            elif hasattr(builtins, name):
                self.note("builtin", name)

    def outside(self, value: Any, names: tuple[str, ...]) -> None:
        """What code refers to by name. A plain Python function could have been given other code for the compiler."""
        if isinstance(value, types.FunctionType) and not _is_known(value):
            raise Unknown
        self.value(value, names)

    def code(self, code: types.CodeType) -> None:
        self.note("code", code.co_argcount, code.co_flags, code.co_names, code.co_varnames)
        self.note(code.co_freevars, code.co_cellvars, code.co_code.hex(), code.co_exceptiontable.hex())
        self.value(code.co_consts, ())


@lru_cache(maxsize=1024)
def _names(code: types.CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names that code takes from its module, and all names that it uses (those of attributes among them)."""
    taken = {
        str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    used = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _names(constant)
            taken.update(inner[0])
            used.update(inner[1])
    return tuple(sorted(taken)), tuple(sorted(used))


def _place(value: Any) -> tuple[str, str, str]:
    """Module, name and version of something that a module holds."""
    if isinstance(value, types.ModuleType):
        module, name = value.__name__, ""
    elif isinstance(value, np.ufunc):
        module, name = "numpy", value.__name__
    else:
        module, name = getattr(value, "__module__", None) or "", getattr(value, "__qualname__", "")
    top = sys.modules.get(module.split(".", 1)[0])
    return module, name, str(getattr(top, "__version__", ""))


def _is_known(value: Any) -> bool:
    """Whether a value is a module of the known ones, or what stands in it under its own name.

    Compiled functions of the project count: the digest of its sources watches them.
    """
    module, name, _ = _place(value)
    known = (*KNOWN, *PROJECT) if isinstance(value, (Dispatcher, _Intrinsic)) else KNOWN
    if module.split(".", 1)[0] not in known:
        return False
    return not name or getattr(sys.modules.get(module), name, None) is value


def _sorted(option: Any) -> str:
    return repr(sorted(map(repr, option))) if isinstance(option, (set, frozenset)) else repr(option)

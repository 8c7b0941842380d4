"""Compiled kernels: one decorator, disk-cached, correct when a plug-in's file changes; plug-in methods exposed.

A plug-in (an activation, say) is a NamedTuple with plain methods. `expose` lets compiled code call methods of
*any* NamedTuple by name, so a plug-in needs no decorator and no registration, and LLVM inlines the call.

Compiled code is kept on disk (`_kernel_cache`) under a digest of every source of the project that takes part in
compilation, for a kernel calls plug-ins that live in other files. Plug-ins that live outside the project (a user's
script) go through a twin of the kernel, one for each class, whose code on disk depends on a digest of the class as
well (`_fingerprint`); where that cannot be had, the twin is compiled in every process.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core import types
from numba.core.bytecode import FunctionIdentity
from numba.extending import overload_method

from solvers import _lanes
from solvers._fingerprint import first_fingerprint
from solvers._kernel_cache import KernelCache
from solvers._parts import KernelCompiler, PartCompiler

# Never nnan/ninf: checks for NaN must keep working. error_model="numpy": division checks stop vectorization.
FAST = {"nsz", "arcp", "contract", "afn", "reassoc"}
# Entries from Python and from C: each would hold, and optimize, a copy of what is inlined everywhere.
BARE = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": PartCompiler}
_lanes.widen()
Function = TypeVar("Function", bound=Callable[..., Any])
PACKAGES = ("solvers", "meanfield")

# Numba numbers what it compiles from 1 in every process, and tells functions of one name apart by the number. Code of
# two processes that a third one loads could carry one symbol for two versions of a function; not from random starts.
FunctionIdentity._unique_ids = itertools.count(secrets.randbits(40))


# When this process began to read the project's sources, nearly.
_IMPORTED = time.time()


@cache
def source_digest() -> str:
    """Digest of the project's sources that take part in compilation (those that mention the jit or hold plug-ins)."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in _sources():
        text = path.read_bytes()
        if b"_jit" in text or b"NamedTuple" in text:
            digest.update(path.name.encode())
            digest.update(text)
    return digest.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    here = Path(__file__).resolve().parent
    for root in (here, here.parent / "meanfield"):
        yield from sorted(root.rglob("*.py"))


def sources_are_as_imported() -> bool:
    """No source was written since this process imported the first: its code is not what the digest tells otherwise."""
    try:
        return all(path.stat().st_mtime <= _IMPORTED for path in _sources())
    except OSError:  # one was removed meanwhile
        return False


class _Kernel:
    """A function compiled on first use for each kind of plug-in, by one dispatcher for all of the project's."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self._options = options
        self._twins: dict[tuple[type, ...], Any] = {}
        self._known: dict[tuple[type, ...], Any] = {}

    def _twin(self, owners: tuple[type, ...]) -> Any:
        """The dispatcher for plug-ins of the project (`owners` empty), or for some classes of a user.

        A class of a user has a dispatcher and a name in machine code of its own: a class defined again in a notebook
        has the name of the old one, and a user may call his own ReLU.
        """
        if owners not in self._twins:
            function = self.function
            if owners:
                names = [first_fingerprint(owner, METHODS) or "unknown" for owner in owners]
                function = _renamed(function, "_".join([function.__name__, *names]))
            self._twins[owners] = _keep(numba.njit(**self._options)(function), owners)
        return self._twins[owners]

    def __call__(self, plugin: Any, *args: Any) -> Any:
        kinds = (type(plugin), *map(type, plugin))
        run = self._known.get(kinds)
        if run is None:
            run = self._twin(foreign(plugin))
            # the class of a part that holds plug-ins does not tell which
            if not any(map(_holds_plugins, plugin)):
                self._known[kinds] = run
        return run(plugin, *args)


def _renamed(function: Any, name: str) -> Any:
    copy = FunctionType(
        function.__code__, function.__globals__, name, function.__defaults__, function.__closure__
    )
    copy.__module__, copy.__qualname__, copy.__doc__ = function.__module__, name, function.__doc__
    return copy


def kernel() -> Callable[[Callable[..., Any]], _Kernel]:
    """Compile a kernel whose first argument is a plug-in, passed flat. It releases the interpreter's lock.

    Whatever a kernel calls is forced inline: code of its own, outside, would be optimized a second time in what
    goes to the disk, and could sum in another order there.
    """

    def decorate(function: Callable[..., Any]) -> _Kernel:
        return _Kernel(
            function,
            {
                "fastmath": FAST,
                "error_model": "numpy",
                "nogil": True,
                "no_cfunc_wrapper": True,
                "pipeline_class": KernelCompiler,
            },
        )

    return decorate


def inlined() -> Callable[[Function], Function]:
    """A part of kernels, compiled into each that calls it; plug-ins may be among its arguments."""

    def decorate(function: Function) -> Function:
        settings: dict[str, Any] = {"error_model": "numpy", "fastmath": FAST, "forceinline": True, **BARE}
        return cast(Function, numba.njit(**settings)(function))

    return decorate


def compiled(**options: Any) -> Callable[[Function], Function]:
    """`numba.njit` with the project's settings for functions that take no plug-in; kept on disk."""

    def decorate(function: Function) -> Function:
        settings: dict[str, Any] = {
            "error_model": "numpy",
            "nogil": True,
            "fastmath": FAST,
            "no_cfunc_wrapper": True,
            "pipeline_class": KernelCompiler,
            **options,
        }
        return cast(Function, _keep(numba.njit(**settings)(function)))

    return decorate


def _keep(dispatcher: Any, owners: tuple[type, ...] = ()) -> Any:
    """Let a dispatcher find its code on disk, and leave it there; `owners` are a user's classes that it is for."""

    if dispatcher.py_func.__module__.split(".", 1)[0] not in PACKAGES:
        return dispatcher  # nothing watches the source of the kernel itself

    def state() -> tuple[str, ...] | None:
        classes = [first_fingerprint(owner, METHODS) for owner in owners]
        return None if None in classes else (source_digest(), *(str(digest) for digest in classes))

    dispatcher._cache = KernelCache(dispatcher, state, owners, sources_are_as_imported)
    return dispatcher


def foreign(plugin: Any) -> tuple[type, ...]:
    """The classes outside the project in a plug-in and in the plug-ins that it holds."""
    found = () if is_ours(type(plugin)) else (type(plugin),)
    for part in plugin if hasattr(plugin, "_fields") else ():
        if hasattr(part, "_fields"):
            found += foreign(part)
    return found


def _holds_plugins(part: Any) -> bool:
    return isinstance(part, tuple) and any(hasattr(inner, "_fields") for inner in part)


def is_ours(plugin_type: type) -> bool:
    """Whether a plug-in's class lives in the project, so that the digest watches its source."""
    return plugin_type.__module__.split(".", 1)[0] in PACKAGES


# Methods of plug-ins that compiled code may call, with their arguments after self: of activations, of losses, of
# regularizers, and of whole problems (`solvers._march`).
METHODS = {
    **dict.fromkeys(("value", "slope", "slope_from_value", "curvature", "curvature_from_value"), 1),
    **{"total": 3, "fill": 4},
    **{"potential": 1, "push": 2},
    **{"observe": 2, "respond": 3, "objective": 2, "project": 1, "replica": 1, "step": 3},
}
INLINED = {"error_model": "numpy", "forceinline": True, "fastmath": {"contract", "nsz"}, **BARE}


def _expose(name: str, arity: int) -> None:
    """Let compiled code call ``plugin.name(...)`` on any NamedTuple whose class has that method."""

    def find(self: Any, first: Any) -> Any:
        method = getattr(getattr(self, "instance_class", None), name, None)
        return _in_single(method) if method is not None and first == types.float32 else method

    # Numba lowers a call by the signature of the template: there is one for each number of arguments.
    templates: dict[int, Callable[..., Any]] = {
        1: lambda self, a: find(self, a),
        2: lambda self, a, b: find(self, a),
        3: lambda self, a, b, c: find(self, a),
        4: lambda self, a, b, c, d: find(self, a),
    }
    for numba_type in (types.NamedTuple, types.NamedUniTuple):
        overload_method(numba_type, name, strict=False, jit_options=INLINED)(templates[arity])


@cache
def _in_single(method: Any) -> Any:
    """A method with its literals in float32: for Numba ``1.0 - s * s`` with a float32 s is a float64."""
    code = method.__code__
    literals = tuple(np.float32(c) if type(c) is float else c for c in code.co_consts)
    return FunctionType(
        code.replace(co_consts=literals),
        method.__globals__,
        method.__name__,
        method.__defaults__,
        method.__closure__,
    )


def _slope_at(self: Any, z: Any, s: Any) -> Any:
    """``plugin.slope_at(z, s)`` with s = sigma(z): from s where the plug-in knows how, which saves a tanh."""
    if hasattr(getattr(self, "instance_class", None), "slope_from_value"):
        return lambda self, z, s: self.slope_from_value(s)
    return lambda self, z, s: self.slope(z)


for _name, _arity in METHODS.items():
    _expose(_name, _arity)
for _type in (types.NamedTuple, types.NamedUniTuple):
    overload_method(_type, "slope_at", strict=False, jit_options=INLINED)(_slope_at)

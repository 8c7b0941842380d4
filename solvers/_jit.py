"""Compiled kernels: one decorator, disk-cached, correct when a plug-in's file changes; plug-in methods exposed.

A plug-in (an activation, say) is a NamedTuple with plain methods. `expose` lets compiled code call methods of
*any* NamedTuple by name, so a plug-in needs no decorator and no registration, and LLVM inlines the call.

Numba's disk cache looks at the kernel's own file only. A kernel calls plug-ins that live in other files, so
the stamp of its cache carries a digest of every source of the project that takes part in compilation.
Plug-ins that live outside the project (a user's script) go through an uncached twin of the kernel: nothing
on disk may depend on a file that we do not watch.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import types
from numba.extending import overload_method

from solvers import _lanes

# Never nnan/ninf: checks for NaN must keep working. error_model="numpy": division checks stop vectorization.
FAST = {"nsz", "arcp", "contract", "afn", "reassoc"}
_lanes.widen()
Function = TypeVar("Function", bound=Callable[..., Any])
PACKAGES = ("solvers", "meanfield")


@cache
def source_digest() -> str:
    """Digest of the project's sources that take part in compilation (those that mention the jit or a plug-in)."""
    here = Path(__file__).resolve().parent
    digest = hashlib.sha256(numba.__version__.encode())
    for root in (here, here.parent / "meanfield"):
        for path in sorted(root.rglob("*.py")):
            text = path.read_bytes()
            if b"_jit" in text or path.name == "activations.py":
                digest.update(path.name.encode())
                digest.update(text)
    return digest.hexdigest()[:16]


class _Kernel:
    """A function compiled on first use for each kind of plug-in: cached on disk for ours, in memory for a user's."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self._options = options
        self._twins: dict[tuple[type, ...], Any] = {}

    def _twin(self, owner: tuple[type, ...]) -> Any:
        """The dispatcher for plug-ins of the project (`owner` empty, on disk) or for classes of a user.

        Each class of a user has a dispatcher of its own: Numba tells types apart by name, and a class defined
        again in a notebook would run the compiled code of the old one.
        """
        if owner not in self._twins:
            dispatcher = numba.njit(**self._options)(self.function)
            if not owner:
                _keep(dispatcher)
            self._twins[owner] = dispatcher
        return self._twins[owner]

    def __call__(self, plugin: Any, *args: Any) -> Any:
        return self._twin(foreign(plugin))(plugin, *args)


def kernel() -> Callable[[Callable[..., Any]], _Kernel]:
    """Compile a kernel whose first argument is a plug-in, passed flat. It releases the interpreter's lock.

    Whatever a kernel calls is forced inline: code of its own, outside, would be optimized a second time in what
    goes to the disk, and could sum in another order there.
    """

    def decorate(function: Callable[..., Any]) -> _Kernel:
        return _Kernel(function, {"fastmath": FAST, "error_model": "numpy", "nogil": True})

    return decorate


def inlined() -> Callable[[Function], Function]:
    """A part of kernels, compiled into each that calls it; plug-ins may be among its arguments."""

    def decorate(function: Function) -> Function:
        settings: dict[str, Any] = {"error_model": "numpy", "fastmath": FAST, "forceinline": True}
        return cast(Function, numba.njit(**settings)(function))

    return decorate


def compiled(**options: Any) -> Callable[[Function], Function]:
    """`numba.njit` with the project's settings for functions that take no plug-in; cached, digest in the stamp."""

    def decorate(function: Function) -> Function:
        settings: dict[str, Any] = {"error_model": "numpy", "nogil": True, "fastmath": FAST, **options}
        dispatcher = numba.njit(**settings)(function)
        _keep(dispatcher)
        return cast(Function, dispatcher)

    return decorate


def _keep(dispatcher: Any) -> None:
    """Cache compiled code on disk; where no folder can be written to, compile in every process, with a notice."""
    try:
        dispatcher.enable_caching()
    except RuntimeError:
        _notice()
    else:
        _stamp(dispatcher)


@cache
def _notice() -> None:
    warnings.warn(
        "neither the package's folder nor the user's cache can be written to, so every process compiles anew; "
        "set NUMBA_CACHE_DIR to a folder that can",
        stacklevel=2,
    )


def _stamp(dispatcher: Any) -> None:
    """Mix the source digest into the stamp by which Numba decides that a cached kernel is out of date."""
    try:
        cache_file = dispatcher._cache._cache_file
        cache_file._source_stamp = (cache_file._source_stamp, source_digest())
    except AttributeError:
        # Another Numba, with other insides: a stale kernel would be wrong, a slow start is only slow.
        from numba.core.caching import NullCache

        dispatcher._cache = NullCache()


def foreign(plugin: Any) -> tuple[type, ...]:
    """The classes outside the project in a plug-in and in the plug-ins that it holds."""
    found = () if is_ours(type(plugin)) else (type(plugin),)
    for part in plugin if hasattr(plugin, "_fields") else ():
        if hasattr(part, "_fields"):
            found += foreign(part)
    return found


def is_ours(plugin_type: type) -> bool:
    """Whether a plug-in's class lives in the project, so that the digest watches its source."""
    return plugin_type.__module__.split(".", 1)[0] in PACKAGES


# Methods of plug-ins that compiled code may call, with their arguments after self: of activations, of losses, of
# regularizers, and of whole problems (`solvers._march`).
METHODS = {
    **dict.fromkeys(("value", "slope", "slope_from_value", "curvature", "curvature_from_value"), 1),
    **{"total": 3, "fill": 4},
    **{"potential": 1, "push": 2},
    **{"observe": 2, "respond": 3, "objective": 2, "project": 1, "replica": 1},
}
INLINED = {"error_model": "numpy", "forceinline": True, "fastmath": {"contract", "nsz"}}


def _expose(name: str, arity: int) -> None:
    """Let compiled code call ``plugin.name(...)`` on any NamedTuple whose class has that method."""

    def find(self: Any) -> Any:
        return getattr(getattr(self, "instance_class", None), name, None)

    # Numba lowers a call by the signature of the template: there is one for each number of arguments.
    templates: dict[int, Callable[..., Any]] = {
        1: lambda self, a: find(self),
        2: lambda self, a, b: find(self),
        3: lambda self, a, b, c: find(self),
        4: lambda self, a, b, c, d: find(self),
    }
    for numba_type in (types.NamedTuple, types.NamedUniTuple):
        overload_method(numba_type, name, strict=False, jit_options=INLINED)(templates[arity])


def _slope_at(self: Any, z: Any, s: Any) -> Any:
    """``plugin.slope_at(z, s)`` with s = sigma(z): from s where the plug-in knows how, which saves a tanh."""
    if hasattr(getattr(self, "instance_class", None), "slope_from_value"):
        return lambda self, z, s: self.slope_from_value(s)
    return lambda self, z, s: self.slope(z)


for _name, _arity in METHODS.items():
    _expose(_name, _arity)
for _type in (types.NamedTuple, types.NamedUniTuple):
    overload_method(_type, "slope_at", strict=False, jit_options=INLINED)(_slope_at)

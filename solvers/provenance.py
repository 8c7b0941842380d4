"""Where a result comes from: versions, configuration, threads, commit, time."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

# Longer arrays enter a description by their digest.
INLINE = 32
PACKAGES = ("numpy", "scipy", "numba", "pot", "meanfield-nets")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def jsonable(x: Any) -> Any:
    """`x` as JSON values: long arrays as digests, functions by name and code, dataclasses by their fields.

    The same object gives the same text in another process: addresses never enter.
    """
    if x is None or isinstance(x, (bool, int, str)):
        return x
    if isinstance(x, float):
        return float(x) if np.isfinite(x) else repr(float(x))
    if isinstance(x, np.generic):
        return jsonable(x.item())
    if isinstance(x, np.ndarray):
        if x.dtype == object:
            return [jsonable(v) for v in x.ravel()]
        if x.size <= INLINE:
            return jsonable(x.tolist())
        data = np.ascontiguousarray(x)
        return {
            "shape": list(x.shape),
            "dtype": str(x.dtype),
            "sha256": hashlib.sha256(data.tobytes()).hexdigest(),
        }
    if isinstance(x, Mapping):
        return {str(k): jsonable(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        values = [jsonable(v) for v in x]
        names = getattr(x, "_fields", None)
        if names is None:
            return values
        return {"type": type(x).__qualname__} | dict(zip(names, values, strict=True))
    if isinstance(x, (set, frozenset)):
        return sorted((jsonable(v) for v in x), key=str)
    if isinstance(x, os.PathLike):
        return os.fspath(x)
    if isinstance(x, type):
        return f"{x.__module__}.{x.__qualname__}"
    describe = getattr(x, "describe", None)
    if callable(describe):
        return jsonable(describe())
    if is_dataclass(x):
        return {"type": type(x).__qualname__} | {f.name: jsonable(getattr(x, f.name)) for f in fields(x)}
    if callable(x):
        return describe_function(x)
    return {"type": f"{type(x).__module__}.{type(x).__qualname__}"}


def describe_function(function: Any) -> dict[str, Any]:
    """Name, digest of the code and captured values of a function."""
    plain = getattr(function, "py_func", function)
    owner = getattr(plain, "__self__", None)
    plain = getattr(plain, "__func__", plain)
    name = getattr(plain, "__qualname__", None) or type(plain).__qualname__
    text: dict[str, Any] = {"function": f"{getattr(plain, '__module__', '')}.{name}"}
    code = getattr(plain, "__code__", None)
    if code is not None:
        text["code"] = hashlib.sha256(_code_bytes(code)).hexdigest()[:16]
        captured = [_captured(cell) for cell in getattr(plain, "__closure__", None) or ()]
        if captured:
            text["captured"] = captured
    if owner is not None and not isinstance(owner, type(sys)):
        text["of"] = jsonable(owner) if not callable(owner) else type(owner).__qualname__
    return text


def _captured(cell: Any) -> Any:
    try:
        value = cell.cell_contents
    except ValueError:
        return "empty"
    if callable(value) and getattr(value, "__closure__", None):
        return getattr(value, "__qualname__", type(value).__qualname__)  # may capture itself
    return jsonable(value)


def _code_bytes(code: CodeType) -> bytes:
    parts = [code.co_code, repr(code.co_names).encode()]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            parts.append(_code_bytes(constant))
        else:
            # the order of a set of strings changes from process to process
            parts.append(
                repr(sorted(constant, key=repr) if isinstance(constant, frozenset) else constant).encode()
            )
    return b"".join(parts)


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def commit() -> str | None:
    """The commit of the tree that this package lies in, if it is one."""
    git = Path(__file__).resolve().parent.parent / ".git"
    try:
        if git.is_file():
            git = (git.parent / git.read_text().partition("gitdir:")[2].strip()).resolve()
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head
        name = head.removeprefix("ref:").strip()
        common = git
        if (git / "commondir").exists():
            common = (git / (git / "commondir").read_text().strip()).resolve()
        for folder in (git, common):
            if (folder / name).exists():
                return (folder / name).read_text().strip()
        for line in (common / "packed-refs").read_text().splitlines():
            if line.endswith(f" {name}"):
                return line.split()[0]
    except OSError:
        return None
    return None


def threads() -> dict[str, Any]:
    """What bounds the number of threads here (results do not depend on it)."""
    found: dict[str, Any] = {"cpus": os.cpu_count()}
    for name in THREADS:
        if name in os.environ:
            found[name] = os.environ[name]
    return found


def provenance(configuration: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What is needed to repeat a computation: versions, commit, machine, threads, time and `configuration`.

    Parameters
    ----------
    configuration : mapping, optional
        The configuration with its seeds; values become JSON (`jsonable`).
    """
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": dict(versions()),
        "commit": commit(),
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": threads(),
        "configuration": jsonable(dict(configuration or {})),
    }

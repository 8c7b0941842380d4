"""Files that are never half-written and never unpickled: arrays with a JSON header, in npz."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from solvers.errors import FileFormatError, InputError
from solvers.provenance import jsonable, provenance

HEADER = "header"
TUPLE = "tuple of "


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` for writing, and move it onto `path` once it is complete and on disk.

    Whatever happens in between (an exception, SIGKILL, a full disk), `path` holds the old content or the new.
    """
    target = Path(path)
    folder = target.parent
    if not folder.is_dir():
        raise InputError(f"cannot write {target.name!r}: the folder {str(folder)!r} does not exist")
    temporary = folder / f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # some systems cannot open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in one move."""
    with replacing(path) as file:
        file.write(text.encode())


def write_arrays(
    path: str | os.PathLike[str],
    kind: str,
    version: int,
    header: Mapping[str, Any],
    arrays: Mapping[str, Any],
) -> None:
    """Write arrays and a JSON header in one move.

    Parameters
    ----------
    path : path
    kind, version : str, int
        What the file is; `read_arrays` asks for the same.
    header : mapping
        Anything `jsonable`.
    arrays : mapping of str to ndarray
        Numeric arrays; the name "header" is taken.
    """
    text = json.dumps({"format": kind, "version": version, **jsonable(dict(header))})
    members = {name: np.asarray(value) for name, value in arrays.items()}
    for name, value in members.items():
        if value.dtype.hasobject:
            raise InputError(f"{name!r} holds Python objects; only arrays of numbers can be saved")
    members[HEADER] = np.frombuffer(text.encode(), dtype=np.uint8)
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, value in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, value, allow_pickle=False)


def read_arrays(
    path: str | os.PathLike[str], kind: str, version: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read back what `write_arrays` wrote; nothing is ever unpickled.

    Raises
    ------
    FileFormatError
        If the file is truncated, damaged, of another format, or holds pickled objects.
    """
    name = Path(path).name
    if not Path(path).is_file():
        raise InputError(f"there is no file {os.fspath(path)!r}")
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    arrays[member.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    except (zipfile.BadZipFile, EOFError, OSError, zlib.error, NotImplementedError, RuntimeError):
        raise FileFormatError(
            f"{name} is truncated, damaged or not a {kind} file; load an older copy or compute it again"
        ) from None
    except ValueError as problem:
        if "pickle" in str(problem) or "Object arrays" in str(problem):
            raise FileFormatError(f"{name} holds pickled Python objects, which are never loaded") from None
        raise FileFormatError(f"{name} is damaged or not a {kind} file") from None
    try:
        header = json.loads(arrays.pop(HEADER).tobytes().decode())
        found, number = header["format"], int(header["version"])
    except (KeyError, ValueError, TypeError):
        raise FileFormatError(f"{name} is not a {kind} file: it has no readable header") from None
    if found != kind:
        raise FileFormatError(f"{name} is a {found!r} file, not a {kind!r} file")
    if number > version:
        raise FileFormatError(f"{name} has format number {number}, newer than {version}; update this package")
    return header, arrays


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Any], kind: str) -> None:
    """Write named arrays of some kind with their provenance, in one move."""
    write_arrays(path, f"solvers-{kind}", 1, {"provenance": provenance()}, arrays)


def load_arrays(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """Read what `save_arrays` wrote; nothing is ever unpickled."""
    return read_arrays(path, f"solvers-{kind}", 1)[1]


class _Kind:
    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def resolve(self) -> Any:
        return getattr(importlib.import_module(self.module), self.name)


_KINDS: dict[str, _Kind] = {"measure": _Kind("solvers.measure", "ParticleMeasure")}


def register_state(kind: str, cls: type) -> None:
    """Let states of a class be saved: it has ``to_arrays() -> dict`` and a class method ``from_dict(dict)``.

    Parameters
    ----------
    kind : str
        The name written to files.
    cls : type
        An importable class.
    """
    for method in ("to_arrays", "from_dict"):
        if not callable(getattr(cls, method, None)):
            raise InputError(f"{cls.__qualname__} needs a method {method} before its states can be saved")
    _KINDS[kind] = _Kind(cls.__module__, cls.__qualname__)


def register_later(kind: str, module: str, name: str) -> None:
    """`register_state` for a class of a module that is not imported yet: files are read without importing it before."""
    _KINDS[kind] = _Kind(module, name)


def state_to_arrays(state: Any) -> tuple[str, dict[str, Any]]:
    """The kind string and the arrays of a state; of a tuple of states those of its members, by their number."""
    if type(state) is tuple and state:
        parts = [state_to_arrays(member) for member in state]
        members = {f"{i}_{name}": value for i, (_, held) in enumerate(parts) for name, value in held.items()}
        return TUPLE + ",".join(kind for kind, _ in parts), members
    if isinstance(state, (np.ndarray, np.generic, float, int)):
        return "array", {"values": np.asarray(state)}
    for cls in type(state).__mro__:
        for kind, known in _KINDS.items():
            if (cls.__module__, cls.__qualname__) == (known.module, known.name):
                arrays: dict[str, Any] = dict(state.to_arrays())
                return kind, arrays
    raise InputError(
        f"states of type {type(state).__qualname__} cannot be saved; give it to_arrays and from_dict and call "
        "solvers.register_state"
    )


def state_from_arrays(kind: str, arrays: Mapping[str, Any]) -> Any:
    """The inverse of `state_to_arrays`."""
    if kind.startswith(TUPLE):
        members: list[dict[str, Any]] = [{} for _ in kind.removeprefix(TUPLE).split(",")]
        for name, value in arrays.items():
            number, _, rest = name.partition("_")
            members[int(number)][rest] = value
        kinds = kind.removeprefix(TUPLE).split(",")
        return tuple(state_from_arrays(one, held) for one, held in zip(kinds, members, strict=True))
    if kind == "array":
        return arrays["values"]
    if kind not in _KINDS:
        raise FileFormatError(
            f"states of kind {kind!r} are not known here; call solvers.register_state first"
        )
    build: Callable[[dict[str, Any]], Any] = _KINDS[kind].resolve().from_dict
    return build(dict(arrays))

"""A study from its folder alone: the cell is imported again, by its module or from its file."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from meanfield._study import definition, encode, store
from solvers.errors import InputError

MANIFEST = "study.toml"
# Files that are being imported for their cell: a study that one of them calls must not start.
loading: list[str] = []


def load(folder: Path) -> tuple[definition.Definition, Callable[..., Any], dict[str, ModuleType]]:
    """The definition in a folder, its cell, and modules that stand for others when types are looked up.

    A ``study.toml`` there is read first: ``cell = "module:function"`` or ``"file.py:function"``, ``seeds = 8``, and
    the tables ``[axes]`` and ``[fixed]``.
    """
    if (folder / MANIFEST).is_file():
        return _from_manifest(folder)
    asked = read(folder)
    module = _import(asked.cell["module"], asked.cell["file"])
    cell = encode.resolve(f"{module.__name__}:{asked.cell['name']}")
    what = store.difference(asked.cell, definition.describe(cell))
    if what is not None:
        raise InputError(
            f"the cell {asked.cell['name']!r} is not the one for which {str(folder)!r} was prepared ({what}): call "
            "mf.study(..., run=False) again, which says what can be done"
        )
    return asked, cell, {asked.cell["module"]: module}


def read(folder: Path) -> definition.Definition:
    """The definition in a folder, without its cell."""
    asked = store.read_study(folder)
    if asked is None:
        raise InputError(
            f"there is no study in {str(folder)!r}; write one with mf.study(..., folder={folder.name!r}, run=False), "
            f"or put a {MANIFEST} there"
        )
    return asked


def check_findable(cell: Callable[..., Any]) -> None:
    """Refuse a cell that nobody could import who has only its name and file."""
    there = definition.describe(cell)
    with contextlib.suppress(InputError):
        if there["file"] is not None and encode.resolve(f"{there['module']}:{there['name']}") is cell:
            return
    raise InputError(
        f"`meanfield study run` cannot find the cell {there['name']!r} by its name: define it with `def` at the top of "
        "a file"
    )


def _import(name: str, file: str | None) -> ModuleType:
    """The module of a cell; a script by its file, under its own name, so that its guard keeps it from running."""
    path = Path(file) if file is not None else None
    loading.append(path.name if path is not None else name)
    try:
        if name == "__main__":
            if path is None or not path.is_file():
                raise InputError(f"the script of the cell, {file}, is not there")
            return _by_path(path)
        if path is not None:
            inside = len(name.split(".")) + (path.name == "__init__.py")
            _add(path.parents[inside - 1])
        try:
            return importlib.import_module(name)
        except ImportError as problem:
            raise InputError(f"the module {name!r} of the cell cannot be imported: {problem}") from None
    finally:
        loading.pop()


def _by_path(path: Path) -> ModuleType:
    there = sys.modules.get(path.stem)
    if there is not None and getattr(there, "__file__", None) != str(path):
        raise InputError(f"the script {path.name!r} has the name of another module, {path.stem!r}; rename it")
    _add(path.parent)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _add(folder: Path) -> None:
    """Worker processes look for modules where this one does."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


# -- a definition written by hand ----------------------------------------------------------------------------------


def _from_manifest(folder: Path) -> tuple[definition.Definition, Callable[..., Any], dict[str, ModuleType]]:
    path = folder / MANIFEST
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise InputError(f"{path} is not a TOML file: {problem}") from None
    unknown = set(table) - {"cell", "axes", "seeds", "fixed"}
    if unknown:
        raise InputError(f"{path}: unknown key {min(unknown)!r}; known are cell, axes, seeds, fixed")
    place, colon, name = str(table.get("cell", "")).rpartition(":")
    if not colon or not place or not name:
        raise InputError(f"{path} must name the cell: cell = 'module:function' or cell = 'file.py:function'")
    if place.endswith(".py"):
        module = _import("__main__", str((folder / place).resolve()))
    else:
        _add(Path.cwd())
        module = _import(place, None)
    cell = encode.resolve(f"{module.__name__}:{name}")
    wanted = definition.define(cell, table.get("axes", {}), table.get("seeds"), table.get("fixed"))
    asked = store.open_study(folder, wanted, "refuse")
    store.write_study(folder, asked)
    return asked, cell, {}

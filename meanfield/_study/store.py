"""The folder of a study: ``study.json`` says what is asked, ``cells/ab/<hash>.json`` holds one result each.

Every file appears whole, under a temporary name first. A failure lies beside (``<hash>.failed.json``) and never
replaces a result, so that processes which share the folder cannot undo each other's work.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meanfield._study import encode, identity
from meanfield._study.definition import Definition
from solvers._files import write_text
from solvers.errors import FileFormatError, InputError

STUDY, CELLS = "study.json", "cells"
KIND, VERSION = "meanfield-study", 1
# A network file system may show a new file some seconds late.
PATIENCE = 10.0
DONE, DIVERGED, FAILED, REFUSED = "done", "diverged", "failed", "refused"


# -- results -------------------------------------------------------------------------------------------------------


def result_path(folder: Path, key: str) -> Path:
    return folder / CELLS / key[:2] / f"{key}.json"


def failure_path(folder: Path, key: str) -> Path:
    return folder / CELLS / key[:2] / f"{key}.failed.json"


def write_result(folder: Path, key: str, record: Mapping[str, Any]) -> None:
    """Write a record in one move; what failed before is forgotten once there is a result."""
    good = record["status"] in (DONE, DIVERGED)
    path = result_path(folder, key) if good else failure_path(folder, key)
    # not its parents: a worker that does not see the study's folder must say so
    path.parent.mkdir(exist_ok=True)
    write_text(path, json.dumps({"key": key, **record}, allow_nan=False) + "\n")
    if good:
        failure_path(folder, key).unlink(missing_ok=True)


def read_result(folder: Path, key: str, failed: bool = True) -> dict[str, Any] | None:
    """The record of a hash, a result before a failure; None if there is none, or none that can be read."""
    paths = (result_path(folder, key), failure_path(folder, key))
    for path in paths if failed else paths[:1]:
        with contextlib.suppress(OSError, ValueError):
            record = json.loads(path.read_text(encoding="utf-8"))
            if _is_record(record, key):
                found: dict[str, Any] = record
                return found
    return None


def _is_record(record: Any, key: str) -> bool:
    """A file that a disk or an editor has damaged may still be JSON."""
    if not isinstance(record, dict) or record.get("key") != key:
        return False
    if record.get("status") != DONE:
        return record.get("status") in (DIVERGED, FAILED, REFUSED)
    return all(isinstance(record.get(part), dict) for part in ("configuration", "values"))


def await_result(folder: Path, key: str) -> dict[str, Any]:
    """The record that a worker says it has written."""
    give_up = time.monotonic() + PATIENCE
    while (record := read_result(folder, key)) is None:
        if time.monotonic() > give_up:
            raise InputError(
                f"a worker wrote its result to {str(folder)!r}, but it is not there: workers on other machines need a "
                "folder on a file system that all of them share"
            )
        time.sleep(0.1)
    return record


# -- the folder ----------------------------------------------------------------------------------------------------


def read_study(folder: Path) -> Definition | None:
    """The definition in a folder; None if the folder is empty or not there."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the folder {str(folder)!r} of the study is a file; choose another")
    path = folder / STUDY
    if not path.is_file():
        others = (
            sorted(entry.name for entry in folder.iterdir() if entry.name[0] != ".")
            if folder.is_dir()
            else []
        )
        others = [name for name in others if name not in (CELLS, "study.toml")]
        if others:
            raise InputError(
                f"the folder {str(folder)!r} holds other files ({others[0]!r} for one) and no study; choose one of its "
                "own"
            )
        return None
    try:
        text = json.loads(path.read_text(encoding="utf-8"))
        if text["format"] != KIND:
            raise KeyError
        if text["version"] > VERSION:
            raise FileFormatError(
                f"{path} has format number {text['version']}, newer than {VERSION}; update this package"
            )
        return Definition.from_json(text)
    except FileFormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FileFormatError(
            f"{path} is damaged or not the {STUDY} of a study; delete it (results stay) and call the study again"
        ) from None


def write_study(folder: Path, definition: Definition) -> None:
    """Make the folder and write what is asked into it."""
    text = {"format": KIND, "version": VERSION, **definition.to_json()}
    try:
        (folder / CELLS).mkdir(parents=True, exist_ok=True)
        write_text(folder / STUDY, json.dumps(text, indent=1, allow_nan=False) + "\n")
    except OSError as problem:
        raise InputError(
            f"the folder {str(folder)!r} of the study cannot be written ({problem.strerror}); choose another"
        ) from None


def open_study(folder: Path, wanted: Definition, changed: str) -> Definition:
    """The definition to go on with: that of the folder's cell if it is the same one still.

    Parameters
    ----------
    folder : Path
    wanted : Definition
    changed : {"refuse", "recompute", "keep"}
        What to do if the folder's results are of another cell.
    """
    there = read_study(folder)
    if there is None:
        return wanted
    what = difference(there.cell, wanted.cell)
    if what is None or changed == "keep":
        return _with_digest(wanted, there.cell["digest"])
    if changed == "recompute" or not _has_results(folder, there):
        return wanted
    raise InputError(
        f"the folder {str(folder)!r} holds results of another cell than {wanted.cell['name']!r} is now ({what}): pass "
        "changed='recompute' to compute them again, changed='keep' if they still hold, or another folder"
    )


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """How two descriptions of a cell differ; None if they do not."""
    differ = identity.changes(before["parts"], now["parts"])
    if before["name"] != now["name"]:
        return f"that of {before['name']!r}"
    if not differ:
        return None
    what = ", ".join(differ[:4]) + (", ..." if len(differ) > 4 else "") + " changed"
    if before["python"] != now["python"]:
        what += f"; Python was {before['python']} and is {now['python']}, which may be all"
    return what


def _has_results(folder: Path, asked: Definition) -> bool:
    """Whether there is anything that could be mixed up: a cell that never gave a result is mended and called again."""
    return any(result_path(folder, key).exists() for entry in asked.entries for key in entry.keys)


def _with_digest(definition: Definition, digest: str) -> Definition:
    text = definition.to_json()
    return Definition.from_json({**text, "cell": {**definition.cell, "digest": digest}})


def decoded(entry_values: Mapping[str, Any], modules: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Parameters as the cell gets them."""
    return {name: encode.decode(value, modules) for name, value in entry_values.items()}

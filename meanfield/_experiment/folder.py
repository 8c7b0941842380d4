"""The folder of results: never overwritten by accident, never half-written, resumable."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from solvers.errors import InputError

CHECKPOINT, TRAJECTORY, MEASURE, SUMMARY = "checkpoint.npz", "trajectory.npz", "measure.npz", "summary.json"
_MARKS = (CHECKPOINT, TRAJECTORY, MEASURE, SUMMARY)


@dataclass(frozen=True)
class Results:
    """A folder that a run may write to.

    Attributes
    ----------
    folder : Path
    resume : bool
        Whether a checkpoint there is to be continued.
    aside : Path or None
        Where an earlier result was moved.
    """

    folder: Path
    resume: bool
    aside: Path | None = None

    def path(self, name: str) -> Path:
        return self.folder / name


def check(folder: Path, inputs: list[Path], resume: bool, force: bool) -> None:
    """Refuse a folder that holds what must not be overwritten; nothing is changed yet.

    Parameters
    ----------
    folder : Path
    inputs : list of Path
        Files that the run reads.
    resume, force : bool
        Of the command line.
    """
    if resume and force:
        raise InputError("--resume goes on with earlier results and --force starts anew: choose one")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the output folder {str(folder)!r} is a file; choose another with --out")
    whole = folder.resolve()
    for path in [*inputs, Path.cwd() / "here"]:
        if path.resolve().is_relative_to(whole):
            raise InputError(
                f"the output folder {str(folder)!r} must be one of its own, not one that holds the working "
                "folder or the input; choose another with --out"
            )
    found = _contents(folder)
    if not found or resume and CHECKPOINT in found:
        return
    if not found & set(_MARKS):
        raise InputError(
            f"the output folder {str(folder)!r} holds other files ({min(found)!r} for one); choose another with --out"
        )
    if resume:
        raise InputError(
            f"{str(folder)!r} has results but no {CHECKPOINT} to resume; --force starts anew (they are kept)"
        )
    if not force:
        raise InputError(
            f"{str(folder)!r} holds earlier results: --resume goes on with them, --force starts anew (they are moved "
            "aside), --out writes elsewhere"
        )


def open_results(folder: Path, resume: bool) -> Results:
    """Make the folder; results that are not to be resumed are moved aside first, under the next free name."""
    aside = None
    if not resume and _contents(folder):
        aside = next(
            path for k in count(1) if not (path := folder.with_name(f"{folder.name}.old-{k}")).exists()
        )
        os.rename(folder, aside)
    folder.mkdir(parents=True, exist_ok=True)
    return Results(folder, resume, aside)


def _contents(folder: Path) -> set[str]:
    """What lies in the folder, without leavings of a process that was killed while it wrote."""
    if not folder.is_dir():
        return set()
    names = {entry.name for entry in folder.iterdir()}
    return {name for name in names if not (name.startswith(".") and name.endswith((".tmp", ".part")))}

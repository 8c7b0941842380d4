"""`study`: check what is asked, compute what is not there yet, and read the table from the folder."""

from __future__ import annotations

import ast
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meanfield._study import definition, engines, load, store
from meanfield._study.cell import Task, Work
from meanfield._study.drive import Bar, Interrupt, drive
from meanfield._study.table import Names, Table, read_table
from solvers import _check
from solvers.errors import InputError


def study(
    cell: Callable[..., Any],
    axes: Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any]],
    seeds: int | Iterable[int] | None = None,
    folder: str | os.PathLike[str] | None = None,
    executor: Any = None,
    *,
    fixed: Mapping[str, Any] | None = None,
    changed: str = "refuse",
    attempts: int = 2,
    progress: bool = True,
    run: bool = True,
) -> Table:
    """Compute ``cell(scale, width, rng)`` for all values of its axes and all seeds; the results stay in a folder.

    What the folder has is not computed again: a study that was stopped goes on, and values that are added to an axis,
    or seeds, are all that a further call computes. Results are told apart by the exact values and types of their
    parameters (1 and 1.0 are two) and by the cell's code, together with the functions and data of its own project
    that it uses. The table is the same whatever computes it.

    Parameters
    ----------
    cell : function
        A pure function of its parameters. It returns a mapping of names to numbers, texts or small arrays, or an
        object with ``as_dict()`` such as a `RegimeReport`; the same names for every configuration. It runs with one
        BLAS thread, since sums depend on their number.
    axes : mapping of lists, or list of mappings
        ``{"scale": [...], "width": [...]}`` stands for the product, the first axis outermost; a list holds the
        configurations themselves. Values: numbers, texts, arrays, plug-ins such as ``mf.ReLU()``, tuples.
    seeds : int or list of int, optional
        Their number, for 0, 1, ..., or the seeds. The cell gets each as its argument ``rng``, a plain integer: row
        (scale, width, seed) is ``cell(scale, width, rng=seed)``. All configurations have the same seeds (common
        random numbers); ``numpy.random.SeedSequence([rng, width])`` in the cell makes them independent. A cell with
        a parameter ``rngs`` gets all missing seeds of a configuration at once, and returns a list of results: its
        runs can be one `solvers.integrate` of a list. Without ``rng`` and ``rngs`` there is one row a configuration.
    folder : path, optional
        Of this study alone; its ``study.json`` says what the last call asked for. None: results last as long as the
        table.
    executor : None, int, "processes" or concurrent.futures.Executor
        None computes here. A number starts as many processes, afresh and with one thread each; the script must then
        call the study under ``if __name__ == "__main__":``. Executors are those of the standard library, Dask's
        ``client.get_executor()``, ``mpi4py.futures``, executorlib; workers must see the folder.
    fixed : mapping, optional
        Parameters of the cell that are the same everywhere.
    changed : {"refuse", "recompute", "keep"}
        If the folder's results are of a cell whose code or data have changed since.
    attempts : int
        A cell that kills its worker so many times is recorded as failed.
    progress : bool
        Draw a bar if stderr is a terminal.
    run : bool
        False only writes the definition into the folder: ``meanfield study run FOLDER --shard i/N`` computes.

    Returns
    -------
    Table
        A row for each configuration and seed that has a record. A `DivergenceError` is data: status "diverged", with
        NaN for numbers. Other exceptions are kept with their traceback (``table.problems``), and those cells are
        tried again by the next call. After Ctrl-C the table is partial, its status "interrupted".

    Raises
    ------
    InputError
        Axes, seeds, cell, folder or executor are not as above.

    Warns
    -----
    RuntimeWarning
        Cells failed, or the study was interrupted.
    """
    if load.loading:
        raise InputError(
            f'{load.loading[-1]} calls a study when it is imported; put the call under `if __name__ == "__main__":`'
        )
    wanted = definition.define(cell, axes, seeds, fixed)
    _check.choice(changed, "changed", ("refuse", "recompute", "keep"))
    attempts = _check.number(attempts, "attempts", integer=True, positive=True)
    count = engines.processes(executor)
    method = engines.start_method(executor)
    if folder is None and (not run or executor is not None and not count):
        raise InputError(
            "folder is needed: "
            + ("nothing is computed now" if not run else "the executor's workers write there")
        )
    with _place(folder) as place:
        asked = store.open_study(place, wanted, changed)
        work = Work(cell, store.decoded(asked.fixed), asked.cell["takes"])
        if count:
            engines.check_sendable(work, "another process")
        elif method is not None:
            engines.check_sendable(work, "the executor's processes")
        if (count or method is not None) and run:
            _check_main("executor starts processes")
        store.write_study(place, asked)
        if not run:
            return read_table(asked, place, "prepared")
        table = compute(asked, place, work, executor, attempts, progress)
        if folder is None:
            table.folder = None
    said = concluding(table)
    if said is not None:
        warnings.warn(said, RuntimeWarning, stacklevel=2)
    return table


def compute(
    asked: definition.Definition,
    place: Path,
    work: Work,
    executor: Any,
    attempts: int,
    progress: bool,
    chosen: Container[str] | None = None,
    signals: tuple[signal.Signals, ...] = (signal.SIGINT,),
    modules: Mapping[str, Any] | None = None,
) -> Table:
    """Compute what is missing of the chosen cells, and read the table of all.

    Parameters
    ----------
    asked, place, work, executor, attempts, progress
        As `study` has checked them.
    chosen : container of str, optional
        Hashes of the cells that are this process's to compute; default all.
    signals : tuple
        Which end the study gently.
    modules : mapping, optional
        Where types of the parameters are found.
    """
    begun = time.perf_counter()
    names = Names()
    tasks, there = _tasks(asked, place, chosen, names, modules)
    count, method = engines.processes(executor), engines.start_method(executor)
    missing = sum(len(task.keys) for task in tasks)
    interrupt = Interrupt()

    def make() -> engines.Engine:
        if executor is None:
            return engines.Serial(work, interrupt)
        from meanfield._study.pool import Pool

        if count:
            return Pool(work, min(count, len(tasks)))
        if method is None:
            return engines.Futures(work, executor, None)

        def relief() -> engines.Engine:
            size = min(getattr(executor, "_max_workers", 1), len(tasks))
            warnings.warn(
                "a worker of the executor was killed, which breaks it; the study goes on with as many processes of "
                "its own",
                RuntimeWarning,
                stacklevel=6,
            )
            return Pool(work, size, method)

        return engines.Futures(work, executor, relief)

    bar = Bar(missing + there, there, progress)
    try:
        with interrupt.watching(*signals):
            whole, counts = drive(place, tasks, make, interrupt, attempts, bar, names.check)
    finally:
        bar.close()
    table = read_table(asked, place, "complete" if whole else "interrupted")
    if not table.missing:
        table.status = "complete"  # Ctrl-C came too late
    table.stats |= {
        "computed": counts[store.DONE] + counts[store.DIVERGED],
        "failed_now": counts[store.FAILED],
        "reused": there,
        "wall_seconds": time.perf_counter() - begun,
    }
    return table


def concluding(table: Table) -> str | None:
    """One sentence on what is not as it should be; None if all is well."""
    failed = [problem for problem in table.problems if problem["status"] == store.FAILED]
    total = len(table) + len(table.missing)
    if table.status == "interrupted":
        done = total - len(table.missing) - len(failed)
        return f"the study was interrupted with {done} of {total} cells done; call it again to go on"
    if not failed:
        return None
    first = failed[0]
    where = ", ".join(f"{name}={first[name]!r}" for name in (*table.axes, "seed"))
    return (
        f"{len(failed)} of {total} cells failed, the first at {where}: {first['message']} (table.problems has all; "
        "the next call tries them again)"
    )


def _tasks(
    asked: definition.Definition,
    place: Path,
    chosen: Container[str] | None,
    names: Names,
    modules: Mapping[str, Any] | None,
) -> tuple[list[Task], int]:
    """What is to be computed, and how many results are there."""
    tasks, there = [], 0
    for wanted in asked.entries:
        values = store.decoded(wanted.encoded, modules)
        left = []
        for seed, key in zip(asked.seeds, wanted.keys, strict=True):
            if chosen is not None and key not in chosen:
                continue
            record = store.read_result(place, key, failed=False)
            if record is None:
                left.append((seed, key))
            else:
                names.check(record)
                there += 1
        groups = [left] if asked.cell["takes"] == "rngs" and left else [[one] for one in left]
        for group in groups:
            in_group = tuple(seed for seed, _ in group), tuple(key for _, key in group)
            tasks.append(Task(str(place), values, *in_group, wanted.labels))
    return tasks, there


@contextmanager
def _place(folder: str | os.PathLike[str] | None) -> Iterator[Path]:
    if folder is not None:
        if not isinstance(folder, (str, os.PathLike)):
            raise InputError(f"folder must be a path, not {folder!r}")
        yield Path(folder).expanduser().resolve()
        return
    with tempfile.TemporaryDirectory(prefix="meanfield-study-") as name:
        yield Path(name).resolve()


def _check_main(what: str) -> None:
    """Processes that start afresh import the script again: a call that is not under the guard would start once more."""
    again = "import the script again, which would call the study once more: put the call under"
    guard = '`if __name__ == "__main__":`'
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(f"{what} that {again} {guard}")
    frame: Any = sys._getframe()
    line = None
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__":
            line = frame.f_lineno
        frame = frame.f_back
    file = getattr(sys.modules["__main__"], "__file__", None)
    if line is None or file is None:
        return
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return
    guarded = any(
        isinstance(node, ast.If)
        and node.lineno <= line
        and any(isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test))
        for node in tree.body
    )
    if not guarded:
        raise InputError(f"{what} that {again} {guard} in {Path(file).name}")


__all__ = ["compute", "concluding", "study"]

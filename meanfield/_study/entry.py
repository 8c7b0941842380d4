"""`study`: check what is asked, compute what is not there yet, and read the table from the folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solvers import _check
from solvers.errors import InputError

if TYPE_CHECKING:
    from meanfield._study.table import Table


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
        BLAS thread, since sums depend on their number, and with its own copies of its arguments.
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
    import warnings

    from meanfield._study import definition, engines, guard, load, store
    from meanfield._study.cell import Work
    from meanfield._study.compute import compute, concluding
    from meanfield._study.read import read_table

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
        if not run:
            load.check_findable(cell)
        if (count or method is not None) and run:
            guard.check_main("executor starts processes")
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


@contextmanager
def _place(folder: str | os.PathLike[str] | None) -> Iterator[Path]:
    if folder is not None:
        if not isinstance(folder, (str, os.PathLike)):
            raise InputError(f"folder must be a path, not {folder!r}")
        yield Path(folder).expanduser().resolve()
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="meanfield-study-") as name:
        yield Path(name).resolve()

"""From a definition to a table: what is missing becomes tasks, which an engine runs."""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from meanfield._study import definition, engines, store
from meanfield._study.cell import Task, Work
from meanfield._study.drive import Bar, Interrupt, drive
from meanfield._study.read import Names, read_table
from meanfield._study.table import Table


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

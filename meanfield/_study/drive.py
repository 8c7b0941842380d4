"""The loop: tasks go to an engine until each has a record; lost ones go again, Ctrl-C leaves what is done."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from meanfield._study import store
from meanfield._study.cell import UNWRITTEN, Task, failure, shown
from meanfield._study.engines import Engine, Lost
from solvers.errors import InputError


class Interrupt:
    """Whether Ctrl-C came: `integrate` inside a cell catches it and returns a run that is not finished."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self) -> bool:
        return self.came

    @contextlib.contextmanager
    def watching(self, *signals: signal.Signals) -> Iterator[None]:
        """Note the signals, and pass them on to who handled them before; those that are ignored stay so."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may handle signals
            return
        before: dict[signal.Signals, Any] = {}

        def note(number: int, frame: FrameType | None) -> None:
            self.came = True
            handler = before[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)
            else:
                raise KeyboardInterrupt

        for number in signals:
            handler = signal.getsignal(number)
            if handler is not None and handler is not signal.SIG_IGN:
                before[number] = handler
                signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def drive(
    folder: Path,
    tasks: list[Task],
    engine: Callable[[], Engine],
    interrupt: Interrupt,
    attempts: int,
    bar: Bar,
    check: Callable[[dict[str, Any]], None],
) -> tuple[bool, Counter[str]]:
    """Run tasks to their end; False if Ctrl-C ended it before, and how many cells ended with which status.

    Parameters
    ----------
    folder : Path
    tasks : list of Task
    engine : callable
        Makes the engine.
    interrupt : Interrupt
        Watching.
    attempts : int
        A task that loses its worker so many times is recorded as failed.
    bar : Bar
    check : callable
        Is shown each record; an InputError ends the study.
    """
    counts: Counter[str] = Counter()
    if not tasks:
        return True, counts
    at_work: Engine | None = None
    now = True
    losses: Counter[str] = Counter()
    try:
        at_work = engine()
        for task in tasks:
            at_work.submit(task)
        left = len(tasks)
        while left:
            task, outcome = at_work.next()
            if interrupt():
                raise KeyboardInterrupt
            if isinstance(outcome, Lost):
                losses[task.keys[0]] += 1
                if losses[task.keys[0]] < attempts:
                    at_work.submit(task)
                    continue
                outcome = _give_up(folder, task, outcome, losses[task.keys[0]])
            left -= 1
            for key, status in outcome:
                if status.startswith(UNWRITTEN):
                    raise InputError(
                        f"a worker could not write its result into {str(folder)!r}: {status[11:]}"
                    )
                record = store.await_result(folder, key)
                if record["status"] == store.REFUSED:
                    raise InputError(record["message"])
                check(record)
                counts[record["status"]] += 1
                bar.step(record["status"])
        now = False
        return True, counts
    except KeyboardInterrupt:
        return False, counts
    finally:
        if at_work is not None:
            at_work.close(now)


def _give_up(folder: Path, task: Task, lost: Lost, times: int) -> list[tuple[str, str]]:
    often = "once" if times == 1 else f"{times} times"
    outcome = []
    for seed, key in zip(task.seeds, task.keys, strict=True):
        there = store.read_result(folder, key, failed=False)
        if there is None:
            there = {"configuration": shown(task), "seed": seed, **failure(f"{lost.reason} ({often})")}
            store.write_result(folder, key, there)
        outcome.append((key, str(there["status"])))
    return outcome


class Bar:
    """Cells done of all cells, on stderr; silent when that is not a terminal."""

    def __init__(self, total: int, done: int, show: bool) -> None:
        self.bad: Counter[str] = Counter()
        self._bar: Any = None
        if not (show and total > done and sys.stderr.isatty()):
            return
        from tqdm import tqdm

        self._bar = tqdm(
            total=total,
            initial=done,
            file=sys.stderr,
            unit=" cells",
            # A bare pseudo-terminal says that it has 0 columns; tqdm would draw none.
            ncols=shutil.get_terminal_size().columns,
        )

    def step(self, status: str) -> None:
        if status != store.DONE:
            self.bad[status] += 1
        if self._bar is not None:
            if self.bad:
                self._bar.set_postfix_str(tell(self.bad.items()), refresh=False)
            self._bar.update()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def tell(counts: Iterable[tuple[str, int]]) -> str:
    """``"3 done, 1 diverged"``"""
    return ", ".join(f"{count} {status}" for status, count in counts if count)

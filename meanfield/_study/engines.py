"""Who runs tasks: this process, or any executor of ``concurrent.futures``."""

from __future__ import annotations

import os
import pickle
import queue
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from typing import Any, Protocol

from meanfield._study.cell import Outcome, Task, Work, run_task
from solvers import _check
from solvers.errors import InputError


@dataclass(frozen=True)
class Lost:
    """A task whose worker ended before it did."""

    reason: str


class Engine(Protocol):
    """Takes tasks and hands them back one by one, in any order."""

    def submit(self, task: Task) -> None: ...

    def next(self) -> tuple[Task, Outcome | Lost]:
        """Wait for the next task that is over."""
        ...

    def close(self, now: bool) -> None:
        """End; with `now`, without waiting for tasks at work."""
        ...


class Serial:
    """Runs tasks here, one after the other."""

    def __init__(self, work: Work, stopped: Callable[[], bool]) -> None:
        self.work, self.stopped = work, stopped
        self.waiting: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        self.waiting.append(task)

    def next(self) -> tuple[Task, Outcome | Lost]:
        task = self.waiting.popleft()
        return task, run_task(self.work, task, self.stopped)

    def close(self, now: bool) -> None:
        self.waiting.clear()


class Futures:
    """Runs tasks on an executor that was made elsewhere, and stays open."""

    def __init__(self, work: Work, executor: Executor, relief: Callable[[], Engine] | None) -> None:
        """`relief` makes the engine that goes on when the executor breaks; None: nobody does."""
        self.work, self.executor, self.relief = work, executor, relief
        self.over: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
        self.tasks: dict[Future[Outcome], Task] = {}
        self.successor: Engine | None = None

    def submit(self, task: Task) -> None:
        if self.successor is not None:
            self.successor.submit(task)
            return
        try:
            future = self.executor.submit(run_task, self.work, task)
        except BrokenExecutor as problem:
            self._succeed(problem).submit(task)
            return
        except (pickle.PicklingError, TypeError, AttributeError) as problem:
            raise _unsent(problem) from None
        except RuntimeError as problem:  # "cannot schedule new futures after shutdown"
            raise InputError(f"executor takes no tasks: {problem}") from None
        self.tasks[future] = task
        future.add_done_callback(self.over.put)

    def next(self) -> tuple[Task, Outcome | Lost]:
        while self.successor is None:
            future = self.over.get()
            task = self.tasks.pop(future, None)
            if task is None:
                continue
            if future.cancelled():
                return task, Lost("the executor cancelled it")
            problem = future.exception()
            if problem is None:
                return task, future.result()
            if isinstance(problem, BrokenExecutor):
                self._succeed(problem).submit(task)
                break
            if isinstance(problem, pickle.PicklingError) or "pickle" in str(problem):
                raise _unsent(problem)
            if isinstance(problem, KeyboardInterrupt):
                raise problem
            return task, Lost(f"its worker was lost: {type(problem).__name__}: {said(problem)}")
        assert self.successor is not None
        return self.successor.next()

    def _succeed(self, problem: BaseException) -> Engine:
        """Hand what is not over to the successor."""
        if self.successor is None:
            if self.relief is None:
                raise InputError(
                    f"the executor broke ({said(problem)}); what it finished is kept: call the study "
                    "again with a new one"
                )
            self.successor = self.relief()
            left = list(self.tasks.values())
            self.tasks.clear()
            for task in left:
                self.successor.submit(task)
        return self.successor

    def close(self, now: bool) -> None:
        for future in list(self.tasks):
            future.cancel()
        if self.successor is not None:
            self.successor.close(now)


def said(problem: BaseException) -> str:
    """What an exception says, on one line."""
    return " ".join(str(problem).split()) or type(problem).__name__


def _unsent(problem: BaseException) -> InputError:
    return InputError(
        f"the executor cannot send the cell to its workers ({said(problem)}); define it at the top of a file that they "
        "can import"
    )


# -- choosing ------------------------------------------------------------------------------------------------------


def processes(executor: Any) -> int:
    """How many processes of its own a study is to have; 0: none."""
    if executor is None or isinstance(executor, Executor):
        return 0
    if executor == "processes":
        return _cores()
    if isinstance(executor, str):
        raise InputError(
            "executor must be None, a number of processes, 'processes' or an executor of concurrent.futures, not "
            f"{executor!r}"
        )
    if _is_number(executor):
        count: int = _check.number(executor, "executor (a number of processes)", integer=True)
        if count < 1:
            raise InputError(f"executor must be at least 1 process (None computes in this one), not {count}")
        return count
    if isinstance(executor, type):
        raise InputError(
            f"executor is the class {executor.__name__}, not an executor: pass {executor.__name__}(...)"
        )
    if callable(getattr(executor, "get_executor", None)):
        raise InputError("executor is a Dask client, not an executor: pass executor=client.get_executor()")
    if callable(getattr(executor, "get_client", None)):
        raise InputError(
            "executor is a Dask cluster, not an executor: pass executor=cluster.get_client().get_executor()"
        )
    if not callable(getattr(executor, "submit", None)):
        raise InputError(
            "executor must be None, a number of processes, 'processes' or an executor of concurrent.futures, not a "
            f"{type(executor).__name__}"
        )
    return 0


def start_method(executor: Any) -> str | None:
    """How a pool of processes starts them; None for other executors. A pool that forks is refused."""
    context = getattr(executor, "_mp_context", None)
    method: str | None = context.get_start_method() if context is not None else None
    if method == "fork":
        raise InputError(
            "executor forks this process, whose threads the copies would wait for in vain: pass a number of processes, "
            "or ProcessPoolExecutor(n, mp_context=multiprocessing.get_context('spawn'))"
        )
    return method


def check_sendable(work: Work, what: str) -> None:
    """Refuse a cell that another process cannot load."""
    cell: Any = work.cell
    main = sys.modules["__main__"]
    if cell.__module__ == "__main__" and not hasattr(main, "__file__"):
        raise InputError(
            f"{what} cannot load the cell {cell.__name__!r}, which is defined in an interactive session: put it into a "
            "file and import it, or leave executor out"
        )
    try:
        pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError) as problem:
        raise InputError(
            f"the cell {getattr(cell, '__qualname__', cell)!r} cannot be sent to {what} ({problem}): define it with "
            "`def` at the top of a file, and give what it captures by fixed={...}"
        ) from None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_number(x: Any) -> bool:
    try:
        float(x)
    except (TypeError, ValueError):
        return False
    return True

"""Blocks of work on threads: plain threads over compiled code that releases the interpreter's lock.

Numba's own parallel loops are not used. They compile the loop's body twice: once for the process that compiles, and
once more, optimized again, for those that load the kernel from the disk. The two may sum in different orders, so that
a first run and a repeated (or resumed) one would not end in the same bits. Here there is one piece of machine code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ContextDecorator, ExitStack
from functools import lru_cache
from math import isqrt
from threading import Lock, RLock, Thread, get_ident
from time import perf_counter
from typing import Any

Work = Callable[[int, int], object]


def thread_count() -> int:
    """Threads that compiled loops may use: NUMBA_NUM_THREADS, by default the cores of the process."""
    import numba  # whoever splits work has loaded it; `import solvers` alone does not

    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def for_blocks(work: Work, blocks: int, parallel: bool) -> None:
    """Call ``work(low, high)`` on ranges that cover 0 .. blocks, on threads if `parallel`.

    What `work` does for a block must not depend on the range it came in; then results do not depend on the number
    of threads. Waking a thread takes 10 to 20 microseconds: `parallel` should mean at least ten times that.

    A range is given to whoever asks next, so on a busy machine the caller does what threads without a processor
    leave. Where the threads did not make the last calls of this kind faster, the next ones do without them.
    """
    count = min(thread_count(), blocks) if parallel else 1
    if count <= 1 or get_ident() in _helpers:
        work(0, blocks)
        return
    kind = (getattr(work, "__code__", None), blocks)
    worth = _worth.get(kind)
    if worth is None:
        if len(_worth) > 1000:
            _worth.clear()
        worth = _worth[kind] = _Worth()
    if worth.pause > 0:
        worth.pause -= 1
        work(0, blocks)
        return
    worth.learn(_team(thread_count()).share(work, _ranges(blocks, count)))


class _Worth:
    """Whether threads pay for one kind of work, from how long the calls took; a loss is followed by a pause.

    A thread that claimed a range and then lost its processor keeps the caller waiting for a slice of the scheduler's
    time, milliseconds. The pauses double up to 256 calls while losses outweigh gains.
    """

    LEAST = 0.1  # gains below this fraction of the time are not worth a second processor

    def __init__(self) -> None:
        self.pause = self._last = 0
        self._score = 0.0

    def learn(self, gain: float) -> None:
        self._score = 0.75 * self._score + max(gain - self.LEAST, -4.0)
        self._last = min(256, max(1, 2 * self._last)) if self._score < 0.0 else 0
        self.pause = self._last


class _Job:
    """One call's ranges, taken one after the other by the caller and by helpers."""

    def __init__(self, work: Work, ranges: tuple[tuple[int, int], ...]) -> None:
        self.work = work
        self.left = iter(ranges)  # next() of it is one step of the interpreter: nobody gets a range twice
        self.done: list[int] = []  # sizes of finished ranges
        self.errors: list[BaseException] = []

    def run(self) -> int:
        """Work until no range is left; how many blocks that were."""
        mine = 0
        for low, high in self.left:
            try:
                if not self.errors:
                    self.work(low, high)
            except BaseException as error:
                self.errors.append(error)
            self.done.append(high - low)
            mine += high - low
        return mine


class _Helper:
    """A thread that sleeps until it is woken, and then works on the team's job."""

    def __init__(self, team: _Team, number: int) -> None:
        self.asleep, self.inside = Lock(), Lock()
        self.asleep.acquire()
        self._team = team
        self._limited: Any = None
        Thread(target=self._serve, name=f"solvers-{number}", daemon=True).start()

    def wake(self) -> None:
        if self.asleep.locked():
            self.asleep.release()

    def _serve(self) -> None:
        _helpers.add(get_ident())
        while True:
            self.asleep.acquire()
            with self.inside:
                job = self._team.job
                if job is not None:
                    self._limit()
                    job.run()
                    del job

    def _limit(self) -> None:
        """A BLAS that works with OpenMP has a number of threads for every thread that calls it."""
        controller = one_blas_thread.controller
        if controller is not self._limited:
            self._limited = controller
            controller.limit(limits=1, user_api="openmp")


class _Team:
    """Helpers that wait for work from one call to the next."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.job: _Job | None = None
        self.helpers = [_Helper(self, number) for number in range(1, count)]

    def share(self, work: Work, ranges: tuple[tuple[int, int], ...]) -> float:
        """Do the ranges; what was gained over one thread, as a fraction of its time (which is inferred)."""
        job = self.job = _Job(work, ranges)
        start = perf_counter()
        for helper in self.helpers[: len(ranges) - 1]:
            helper.wake()
        try:
            mine = job.run()
            alone = perf_counter() - start
        finally:
            # Nothing may still write into the caller's arrays when this returns, or raises.
            for _ in job.left:
                pass
            if len(job.done) < len(ranges):
                for helper in self.helpers:
                    _wait(helper.inside)
            if self.job is job:
                self.job = None
        if job.errors:
            raise job.errors[0]
        alone *= ranges[-1][1] / mine if mine else 1.0
        return 1.0 - (perf_counter() - start) / alone


def _wait(lock: Any) -> None:
    """Wait until a lock is free, Ctrl-C or not."""
    interrupt = None
    while True:
        try:
            with lock:
                break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


@lru_cache(maxsize=1024)
def _ranges(blocks: int, count: int) -> tuple[tuple[int, int], ...]:
    """Ranges for `count` threads, large ones first: the last ones even out what the threads did not get."""
    ranges, low, least = [], 0, max(1, isqrt(blocks) // 2)
    while low < blocks:
        size = max(least, (2 * (blocks - low)) // (3 * count))
        high = low + size if blocks - low - size >= least else blocks
        ranges.append((low, high))
        low = high
    return tuple(ranges)


_helpers: set[int] = set()  # identities of the threads that must not wait for each other
_worth: dict[Any, _Worth] = {}
_teams: list[_Team] = []


def _team(count: int) -> _Team:
    if not _teams or _teams[-1].count != count:
        _teams[:] = [_Team(count)]
    return _teams[-1]


class one_blas_thread(ContextDecorator):
    """Limit every BLAS of the process to one thread inside a `with` block, or during a function that it decorates.

    Numba's ``np.dot`` calls the BLAS of SciPy, NumPy's its own; on several of our threads either must run on one of
    its own (50 times slower otherwise, and its sums would depend on the number of threads).

    Setting the limit takes about 15 microseconds, as much as a step of a small problem: a whole run under one
    outer block pays it once, nested blocks cost nothing. A library that is loaded inside an outer block is limited
    from the next nested block on.
    """

    controller: Any = None
    _lock = RLock()
    _depth = 0
    _limits = ExitStack()
    _modules = (
        0  # loaded when the controller looked for libraries: more of them may have brought another BLAS
    )

    def __enter__(self) -> None:
        cls = one_blas_thread
        with cls._lock:
            found_more = cls._modules != len(sys.modules)
            if found_more:
                cls._look()
            if cls._depth == 0 or found_more:
                cls._limits.enter_context(cls.controller.limit(limits=1, user_api="blas"))
            cls._depth += 1

    def __exit__(self, *exception: Any) -> None:
        cls = one_blas_thread
        with cls._lock:
            cls._depth -= 1
            if cls._depth == 0:
                cls._limits.close()

    @classmethod
    def _look(cls) -> None:
        """Find the BLAS libraries of the process, SciPy's included, which Numba loads at its first product only."""
        import scipy.linalg.cython_blas  # noqa: F401
        from threadpoolctl import ThreadpoolController

        cls.controller = ThreadpoolController()
        cls._modules = len(sys.modules)


def _after_fork() -> None:
    """Threads do not survive a fork: a child makes its own."""
    _teams.clear()
    _helpers.clear()
    one_blas_thread._lock = RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)

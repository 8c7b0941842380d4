"""Blocks of work on threads: plain threads over compiled code that releases the interpreter's lock.

Numba's own parallel loops are not used. They compile the loop's body twice: once for the process that compiles, and
once more, optimized again, for those that load the kernel from the disk. The two may sum in different orders, so that
a first run and a repeated (or resumed) one would not end in the same bits. Here there is one piece of machine code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import RLock
from typing import Any

import numba

_pool: ThreadPoolExecutor | None = None


def thread_count() -> int:
    """Threads that compiled loops may use: NUMBA_NUM_THREADS, by default the cores of the process."""
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def _forget_pool() -> None:
    global _pool
    _pool = None


# The threads of a pool do not survive a fork; a child makes its own.
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_pool)


def for_blocks(work: Callable[[int, int], object], blocks: int, parallel: bool) -> None:
    """Call ``work(low, high)`` on ranges that cover 0 .. blocks, on threads if `parallel`.

    What `work` does for a block must not depend on the range it came in; then results do not depend on the number
    of threads. Starting the threads takes about 30 microseconds: `parallel` should mean at least ten times that.
    """
    global _pool
    count = min(thread_count(), blocks) if parallel else 1
    if count <= 1:
        work(0, blocks)
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(thread_count(), thread_name_prefix="solvers")
    bounds = [blocks * k // count for k in range(count + 1)]
    others = [_pool.submit(work, bounds[k], bounds[k + 1]) for k in range(1, count)]
    try:
        work(bounds[0], bounds[1])
    finally:
        # Nothing may still write into the caller's arrays when this returns, or raises.
        for other in others:
            other.exception()
    for other in others:
        other.result()


class one_blas_thread:
    """Limit every BLAS of the process to one thread inside a `with` block.

    Numba's ``np.dot`` calls the BLAS of SciPy, NumPy's its own; on several of our threads either must run on one of
    its own (50 times slower otherwise, and its sums would depend on the number of threads).

    Setting the limit takes about 15 microseconds, as much as a step of a small problem: a whole run under one
    outer block pays it once, nested blocks cost nothing. A library that is loaded inside an outer block is limited
    from the next nested block on.
    """

    _lock = RLock()
    _depth = 0
    _limits = ExitStack()
    _controller: Any = None
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
                cls._limits.enter_context(cls._controller.limit(limits=1, user_api="blas"))
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

        cls._controller = ThreadpoolController()
        cls._modules = len(sys.modules)

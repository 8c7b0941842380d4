"""Blocks of work on threads: all blocks once, errors raised after everybody stopped, a fork in between; BLAS limits."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solvers import _threads


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "thread_count", lambda: 3)
    monkeypatch.setattr(_threads, "_worth", {})


@pytest.mark.parametrize("blocks", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("parallel", [False, True])
def test_every_block_is_done_once(blocks: int, parallel: bool) -> None:
    done = np.zeros(blocks, dtype=int)
    ranges: list[tuple[int, int]] = []

    def work(low: int, high: int) -> None:
        ranges.append((low, high))
        done[low:high] += 1

    _threads.for_blocks(work, blocks, parallel)
    assert (done == 1).all()
    if not parallel or blocks <= 1:
        assert ranges == [(0, blocks)]
    else:
        assert sorted(ranges) == list(_threads._ranges(blocks, min(3, blocks)))


@pytest.mark.parametrize("count", [2, 3, 16])
def test_ranges_follow_each_other_and_get_smaller(count: int) -> None:
    for blocks in range(1, 300):
        ranges = _threads._ranges(blocks, count)
        assert ranges[0][0] == 0 and ranges[-1][1] == blocks
        assert all(a[1] == b[0] and a[0] < a[1] for a, b in zip(ranges, ranges[1:], strict=False))
        if blocks >= 2 * count:  # nobody starts with more than a fair share
            assert ranges[0][1] <= -(-blocks // count)


def test_work_runs_on_several_threads_at_once() -> None:
    meeting = threading.Barrier(3, timeout=10)  # broken unless three threads arrive together
    _threads.for_blocks(lambda low, high: meeting.wait(), 3, parallel=True)


def test_the_caller_does_what_the_threads_leave() -> None:
    """Threads that never get a processor: the call ends all the same, without waiting for them."""
    team = _threads._Team(1)
    team.helpers = [_Asleep(), _Asleep()]  # type: ignore[list-item]
    done: list[int] = []
    gain = team.share(lambda low, high: done.extend(range(low, high)), _threads._ranges(20, 3))
    assert done == list(range(20))
    assert gain <= 0.0


class _Asleep:
    def wake(self) -> None:
        pass


def test_losses_are_followed_by_longer_and_longer_pauses() -> None:
    worth = _threads._Worth()
    worth.learn(0.5)
    assert worth.pause == 0
    pauses = []
    for _ in range(12):
        worth.learn(-1.0)
        pauses.append(worth.pause)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 256, 256]
    worth.learn(-100.0)  # a single stall, however long,
    for _ in range(12):
        worth.learn(0.5)
    assert worth.pause == 0  # is forgotten


def test_paused_work_stays_on_the_callers_thread() -> None:
    threads: list[int] = []

    def work(low: int, high: int) -> None:
        threads.append(threading.get_ident())
        time.sleep(0.001)

    _threads.for_blocks(work, 12, parallel=True)
    _threads._worth[work.__code__, 12].pause = 2
    for left in (1, 0):
        threads.clear()
        _threads.for_blocks(work, 12, parallel=True)
        assert threads == [threading.get_ident()]
        assert _threads._worth[work.__code__, 12].pause == left


def test_blocks_inside_blocks_do_not_wait_for_each_other() -> None:
    done = np.zeros((6, 6), dtype=int)

    def row(low: int, high: int) -> None:
        for i in range(low, high):

            def entry(first: int, last: int, i: int = i) -> None:
                done[i, first:last] += 1

            _threads.for_blocks(entry, 6, parallel=True)

    for _ in range(50):
        _threads.for_blocks(row, 6, parallel=True)
    assert (done == 50).all()


def test_calls_from_several_threads_do_not_mix() -> None:
    totals = np.zeros(4, dtype=int)

    def caller(k: int) -> None:
        for _ in range(200):
            seen: list[int] = []

            def work(low: int, high: int, seen: list[int] = seen) -> None:
                seen.extend(range(low, high))

            _threads.for_blocks(work, 9, parallel=True)
            totals[k] += sorted(seen) == list(range(9))

    callers = [threading.Thread(target=caller, args=(k,)) for k in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(timeout=60)
    assert (totals == 200).all()


@pytest.mark.parametrize("bad", [0, 2])
def test_an_error_is_raised_when_nobody_works_any_more(bad: int) -> None:
    finished = []
    meeting = threading.Barrier(3, timeout=10)

    def work(low: int, high: int) -> None:
        meeting.wait()
        if low == bad:
            raise ZeroDivisionError("block")
        time.sleep(0.05)
        finished.append(low)

    with pytest.raises(ZeroDivisionError, match="block"):
        _threads.for_blocks(work, 3, parallel=True)
    assert sorted(finished) == sorted({0, 1, 2} - {bad})


def test_after_an_error_no_range_is_begun() -> None:
    begun = []

    def work(low: int, high: int) -> None:
        begun.append(low)
        raise ZeroDivisionError("block")

    with pytest.raises(ZeroDivisionError, match="block"):
        _threads.for_blocks(work, 300, parallel=True)
    assert len(begun) <= 3


def _child(answers: multiprocessing.Queue[int]) -> None:
    done = np.zeros(4, dtype=int)

    def work(low: int, high: int) -> None:
        done[low:high] += 1

    _threads.for_blocks(work, 4, parallel=True)
    answers.put(int(done.sum()))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_threads_of_its_own() -> None:
    _threads.for_blocks(lambda low, high: None, 3, parallel=True)
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[int] = context.Queue()
    child = context.Process(target=_child, args=(answers,))
    child.start()
    assert answers.get(timeout=20) == 4  # without a new pool the child would wait for ever
    child.join(timeout=20)
    assert child.exitcode == 0


LIMITS = """
import sys
{first}
from solvers._threads import one_blas_thread
{second}
import numpy as np

def counts():
    from threadpoolctl import ThreadpoolController
    return sorted(
        (part["filepath"], part["num_threads"])
        for part in ThreadpoolController().info() if part["user_api"] == "blas"
    )

with one_blas_thread():
    with one_blas_thread():
        inner = counts()
    {third}
    with one_blas_thread():
        later = counts()
after = counts()
assert any("scipy" in path for path, _ in inner), inner
assert all(number == 1 for _, number in inner + later), later
assert all(number == 2 for _, number in after), after
"""


@pytest.mark.parametrize("place", ["first", "second", "third"])
@pytest.mark.parametrize("library", ["scipy.linalg", "sklearn", "torch"])
def test_every_blas_is_limited_whenever_it_was_loaded(library: str, place: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    parts = {"first": "", "second": "", "third": "pass", place: f"import {library}"}
    environment = dict(os.environ)
    for name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        environment[f"{name}_NUM_THREADS"] = "2"
    done = subprocess.run(
        [sys.executable, "-c", LIMITS.format(**parts)],
        env=environment,
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_threads_of_ours_tell_an_openmp_blas_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenMP keeps a number of threads for every thread that calls it: the caller's limit does not reach helpers."""
    told: list[tuple[int, dict[str, Any]]] = []

    class Controller:
        def limit(self, **limits: Any) -> None:
            told.append((threading.get_ident(), limits))

    monkeypatch.setattr(_threads.one_blas_thread, "controller", Controller())
    meeting = threading.Barrier(3, timeout=10)
    _threads.for_blocks(lambda low, high: meeting.wait(), 3, parallel=True)
    helpers = {ident for ident, _ in told}
    assert len(helpers) == 2 and threading.get_ident() not in helpers
    assert all(limits == {"limits": 1, "user_api": "openmp"} for _, limits in told)

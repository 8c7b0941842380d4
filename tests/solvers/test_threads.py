"""Blocks of work on threads: all blocks once, errors raised after everybody stopped, a fork in between."""

from __future__ import annotations

import multiprocessing
import threading
import time

import numpy as np
import pytest

from solvers import _threads


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "thread_count", lambda: 3)
    monkeypatch.setattr(_threads, "_pool", None)


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
    assert len(ranges) == (min(3, max(blocks, 1)) if parallel else 1)


def test_work_runs_on_several_threads_at_once() -> None:
    meeting = threading.Barrier(3, timeout=10)  # broken unless three threads arrive together
    _threads.for_blocks(lambda low, high: meeting.wait(), 3, parallel=True)


@pytest.mark.parametrize("bad", [0, 2])
def test_an_error_is_raised_when_nobody_works_any_more(bad: int) -> None:
    finished = []

    def work(low: int, high: int) -> None:
        if low == bad:
            raise ZeroDivisionError("block")
        time.sleep(0.05)
        finished.append(low)

    with pytest.raises(ZeroDivisionError, match="block"):
        _threads.for_blocks(work, 3, parallel=True)
    assert sorted(finished) == sorted({0, 1, 2} - {bad})


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

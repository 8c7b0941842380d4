"""A worker process: reads the work once, then tasks, until the pipe closes."""

from __future__ import annotations

import pickle
import signal
from contextlib import nullcontext
from typing import Any

READY, UNREADABLE, OVER = "ready", "unreadable", "over"


def serve(pipe: Any) -> None:
    """Run tasks from a pipe, and send back what `run_task` returns."""
    # Ctrl-C reaches the whole group of processes; the parent decides what ends. It was held back until here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    from meanfield._study.cell import run_task

    try:
        work = pickle.loads(pipe.recv_bytes())
    except (EOFError, OSError):
        return
    except Exception as problem:
        said = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
        pipe.send_bytes(pickle.dumps((UNREADABLE, said)))
        return
    try:
        pipe.send_bytes(pickle.dumps((READY, None)))
        while True:
            task = pickle.loads(pipe.recv_bytes())
            pipe.send_bytes(
                pickle.dumps((OVER, run_task(work, task, blas=nullcontext)))
            )  # it was started with one thread
    except (EOFError, OSError):
        return  # nobody waits for more

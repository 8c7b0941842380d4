"""Settings of the whole suite: one thread a worker, kernels compiled once before the workers start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Two workers with a team of threads each would stand in each other's way on two cores. Tests of threading
    # start processes of their own. This must happen before numba and numpy are imported.
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

# A shell that starts a job in the background has it ignore SIGINT, and so would the processes that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from hypothesis import settings

# No deadline: the first example may compile. On CI the examples are the same every time.
settings.register_profile("meanfield", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("meanfield")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the common kernels once into the disk cache, lest each worker does it."""
    config = session.config
    is_controller = not hasattr(config, "workerinput") and bool(config.getoption("numprocesses", None))
    if is_controller and not config.option.collectonly:
        done = subprocess.run(
            [sys.executable, "-m", "meanfield", "warmup", "--quiet"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=config.rootpath,
        )
        if done.returncode != 0:
            pytest.exit(f"`meanfield warmup` failed:\n{done.stderr}", returncode=1)


@pytest.fixture(autouse=True)
def close_pictures() -> Iterator[None]:
    """Close what a test left open: matplotlib keeps every figure alive until told otherwise."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")

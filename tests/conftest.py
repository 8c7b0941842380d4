"""Settings of the whole suite: one thread a worker, neighbours on one worker, nothing compiled twice."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

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

# Python's collector would look through modules and tests, hundreds of thousands of objects that stay, again and again:
# an eighth of the time of a worker that compiles.
gc.disable()

# No deadline: the first example may compile. On CI the examples are the same every time.
settings.register_profile("meanfield", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("meanfield")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Neighbours go to one worker: what they share, a fixture or compiled code, is made once.

    So workers seldom need the same kernel at the same time, and what one has compiled the others find on disk: that is
    cheaper than to compile common kernels first, while all but one wait.
    """
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


GENERATORS = ("RNG", "DRAWS")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Remember where a module's own generator of random data starts."""
    for module in {item.module for item in items if isinstance(item, pytest.Function)}:
        module.__starts__ = {
            name: vars(module)[name].bit_generator.state for name in GENERATORS if name in vars(module)
        }


def pytest_collection_finish() -> None:
    """From here on the collector looks at what tests make, and rarely: kernels are compiled from many small objects."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.fixture(autouse=True)
def same_data(request: pytest.FixtureRequest) -> None:
    """A test draws the same data whichever tests ran before it on its worker."""
    for name, state in getattr(request.module, "__starts__", {}).items():
        vars(request.module)[name].bit_generator.state = state


@pytest.fixture
def step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go step by step from Python, for tests of what runs end in and not of how they are computed.

    A small problem would be compiled as a whole, which takes seconds for each new one; that either way gives the same
    is for test_replicas.py to say.
    """
    for name in (
        "wasserstein.small_program",
        "wasserstein.descent_rule",
        "conic.conic_program",
        "sgd.sgd_program",
        "langevin.langevin_program",
    ):
        monkeypatch.setattr(f"meanfield.flows.{name}", lambda bound: None)
    monkeypatch.setattr("meanfield.population.GaussianPopulation.program_of", lambda self, bound: None)


@pytest.fixture(autouse=True)
def close_pictures() -> Iterator[None]:
    """Close what a test left open: matplotlib keeps every figure alive until told otherwise."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")

"""``meanfield info``: versions, threads, compiled kernels and measured speed, for a bug report."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

PACKAGES = (
    "numpy",
    "scipy",
    "POT",
    "numba",
    "llvmlite",
    "matplotlib",
    "threadpoolctl",
    "tqdm",
    "xarray",
    "scikit-learn",
)
WIDTH, DATA = 10_000, 500  # of the network whose speed is measured
ORDER = 2000  # of the matrices


def add_parser(subparsers: Any) -> Any:
    parser = subparsers.add_parser(
        "info",
        help="versions, threads, compiled kernels, speed (put this into a bug report)",
        description="Prints what a bug report should hold. Measuring the speed takes about two seconds.",
    )
    parser.add_argument("--no-speed", action="store_true", help="do not measure")
    return parser


def main(options: argparse.Namespace) -> int:
    parts = [("", versions()), ("threads", threads()), ("compiled kernels", kernels())]
    for title, lines in parts:
        show(title, lines)
    if not options.no_speed:
        show("speed, one thread, time of the processor", speed())
    return 0


def show(title: str, lines: dict[str, str]) -> None:
    if title:
        print(f"\n{title}")
    for key, value in lines.items():
        print(f"{'  ' if title else ''}{key:<{14 if title else 16}} {value}", flush=True)


def versions() -> dict[str, str]:
    """What is installed, and where."""
    from importlib import metadata

    import solvers
    from meanfield._version import __version__

    lines = {
        "meanfield-nets": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
    }
    for package in PACKAGES:
        try:
            lines[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            lines[package] = "not installed"
    lines["installed in"] = str(Path(str(solvers.__file__)).resolve().parent.parent)
    return lines


def threads() -> dict[str, str]:
    """How many threads compiled loops and each library use. While kernels run, every BLAS is held to one."""
    import numpy  # noqa: F401  (brings its BLAS)
    import scipy.linalg.cython_blas  # noqa: F401
    from threadpoolctl import ThreadpoolController

    from solvers._threads import thread_count

    lines = {"our loops": f"{thread_count()} of {os.cpu_count()} cores (NUMBA_NUM_THREADS sets them)"}
    for part in ThreadpoolController().info():
        file = Path(part["filepath"])
        owner = file.parent.name.split(".")[0]
        version = f" {part['version']}" if part.get("version") else ""
        kind = f"{part['internal_api']}{version} in {owner} ({file.name})"
        what = "BLAS" if part["user_api"] == "blas" else part["user_api"]
        count = sum(key.startswith(what) for key in lines)
        lines[what if not count else f"{what} {count + 1}"] = f"{part['num_threads']}, {kind}"
    return lines


def kernels() -> dict[str, str]:
    """Where machine code is kept, how much of it there is, and whether more can be."""
    from solvers import _kernel_cache
    from solvers._jit import source_digest

    place = _kernel_cache.folder()
    if place is None:
        return {"folder": "none can be written to: every process compiles (NUMBA_CACHE_DIR names another)"}
    found = _kernel_cache.files()
    current = _kernel_cache.files(source_digest())
    size = sum(path.stat().st_size for path in found) / 1e6
    return {
        "folder": f"{place} ({'writable' if os.access(place, os.W_OK) else 'read only'})",
        "files": f"{len(found)}, {size:.1f} MB; {len(current)} of them of the present sources",
    }


def speed() -> dict[str, str]:
    """Steps of gradient flow beside the product of two matrices, which is as fast as the processor can be."""
    import numpy as np

    import meanfield as mf
    from solvers._threads import one_blas_thread

    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((ORDER, ORDER))
    product = np.empty_like(matrix)
    with one_blas_thread():
        peak = 2 * ORDER**3 / best(lambda: np.matmul(matrix, matrix, out=product), 0.5)
    lines = {"matrix product": f"{peak / 1e9:.1f} GF/s ({ORDER}^3, float64)"}
    X, y = rng.standard_normal((DATA, 2)), rng.standard_normal(DATA)
    for activation in (mf.ReLU(), mf.Tanh()):
        network = mf.TwoLayer(activation, d=2)
        objective = mf.Objective(network, X, y)
        mu = mf.ParticleMeasure.gaussian(network, WIDTH, rng=0)
        objective.velocity(mu)  # compiles, or loads
        pair = best(partial(objective.velocity, mu), 0.3) / (WIDTH * DATA)
        # w.x + b and a sum forward, a sum for each coordinate of (w, b) and one for a backward.
        operations = 4 * 2 + 4
        name = type(activation).__name__
        lines[f"{name}, d = 2"] = (
            f"{1e9 * pair:.2f} ns for a neuron and a datum; {100 * operations / pair / peak:.0f} % of that speed, "
            f"{name.lower()} itself not counted"
        )
    return lines


def best(call: Callable[[], object], seconds: float) -> float:
    """Least processor time of one call, of as many as fit into some seconds: other processes do not enter."""
    least, spent = float("inf"), 0.0
    while spent < seconds:
        start = time.process_time()
        call()
        took = time.process_time() - start
        least, spent = min(least, took), spent + took
    return least

"""``meanfield warmup``: compile the common kernels once; later processes read them from disk."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any


def add_parser(subparsers: Any) -> Any:
    parser = subparsers.add_parser(
        "warmup",
        help="compile the common kernels into the disk cache",
        description="Compiles the common kernels once; later processes find them on disk.",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from meanfield import _kernels
    from solvers import _kernel_cache

    start = time.perf_counter()
    problems = list(common())
    with tqdm(total=1 + len(problems), unit=" problems", file=sys.stderr, disable=options.quiet) as bar:
        bar.set_description_str("kernels")
        _kernels.warmup(lambda kernel: bar.set_description_str(kernel))
        bar.update()
        for name, run in problems:
            bar.set_description_str(name)
            run()
            bar.update()
    if not options.quiet:
        count = len(_kernel_cache.files())
        print(f"{count} compiled kernels are on disk ({time.perf_counter() - start:.1f} s)", file=sys.stderr)
    return 0


def common() -> Iterator[tuple[str, Callable[[], object]]]:
    """Runs of a few steps that need what common problems need.

    Small problems run whole in compiled code, penalty and all; larger ones step by step from Python.
    """
    import numpy as np

    import meanfield as mf
    import solvers

    def train(activation: str, ridge: float, n: int, d: int, width: int) -> object:
        X, y = mf.data.relu_teacher(n=n, d=d, neurons=2, rng=0)
        return mf.train(X, y, activation=activation, ridge=ridge, width=width, t_max=0.02, rng=0)

    for activation in ("relu", "tanh"):
        yield f"{activation}, small", partial(train, activation, 0.0, 20, 2, 20)
        yield f"{activation}, small, ridge", partial(train, activation, 1e-2, 20, 2, 20)
        for d in (2, 10):
            yield f"{activation}, large, d = {d}", partial(train, activation, 0.0, 300, d, 400)

    def spikes() -> object:
        basis = mf.Spikes(dim=1, frequencies=2)
        objective = mf.Objective.deconvolution(
            basis, np.array([[1.0]]), np.array([1.0]), regularizer=mf.TotalVariation(0.1)
        )
        nu = mf.ParticleMeasure(np.linspace(0.0, 6.0, 8)[:, None], np.full(8, 0.1))
        flow = mf.ConicFlow(objective, alpha=0.01, beta=0.01)
        return solvers.integrate(flow, nu, t_end=2.0, method=solvers.Euler(step=1.0))

    yield "spikes", spikes

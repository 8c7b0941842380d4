"""Two threads against one, on a machine as it is and with a spinning process on every core.

    python benchmarks/busy.py [--rounds 15]

One call is the prediction and the gradient of a network of two inputs, as a step of gradient flow asks for them. Rounds
of one and of several threads take turns; the ratio is of whole rounds, so that calls that waited long are in it: above
1, threads pay. With the machine busy no ratio may be far below 1, whatever the scheduler does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

import meanfield as mf
from meanfield._kernels import choose
from solvers import _threads

SIZES = ((100, 500), (200, 1000), (500, 1000), (200, 5000), (500, 10_000))
ROUND = 0.1  # seconds


def evaluation(activation: object, n: int, m: int) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    network = mf.TwoLayer(activation, d=2)
    objective = mf.Objective(network, rng.standard_normal((n, 2)), rng.standard_normal(n))
    mu = mf.ParticleMeasure.gaussian(network, m, rng=0)
    return lambda: objective.velocity(mu)


def round_of(call: Callable[[], object], calls: int, threads: int) -> float:
    _threads.thread_count = lambda: threads
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def table(threads: int, rounds: int) -> None:
    print(
        f"{'':8}{'n':>6}{'m':>8}{'one thread':>13}{f'{threads} threads':>13}{'ratio':>8}{'least':>8}{'most':>8}"
    )
    for activation in (mf.ReLU(), mf.Tanh()):
        for n, m in SIZES:
            call = evaluation(activation, n, m)
            calls = max(2, int(ROUND / round_of(call, 3, 1)))
            round_of(call, calls, threads)
            pairs = [(round_of(call, calls, 1), round_of(call, calls, threads)) for _ in range(rounds)]
            one, several = (sum(column) / rounds for column in zip(*pairs, strict=True))
            ratios = sorted(a / b for a, b in pairs)
            name = type(activation).__name__
            times = f"{1e3 * one:>10.3f} ms{1e3 * several:>10.3f} ms"
            spread = f"{one / several:>8.2f}{ratios[rounds // 10]:>8.2f}{ratios[-1 - rounds // 10]:>8.2f}"
            print(f"{name:8}{n:>6}{m:>8}{times}{spread}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    cores = _threads.thread_count()
    if cores < 2:
        raise SystemExit("one core (or NUMBA_NUM_THREADS=1): nothing to compare")
    choose.PARALLEL_FROM_PAIRS = 0  # threads from the smallest size on, to see from where they pay
    print(f"as it is (load {os.getloadavg()[0]:.1f}, {cores} cores)")
    table(cores, options.rounds)
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        time.sleep(1.0)
        print(f"\na spinning process on every core (load {os.getloadavg()[0]:.1f})")
        table(cores, options.rounds)
    finally:
        for process in spinning:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()

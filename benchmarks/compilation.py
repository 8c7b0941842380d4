"""What a new pair of dimension and activation costs the compiler.

    python benchmarks/compilation.py [--json FILE]

Each case runs in a process of its own, with a kernel cache that holds only what two other activations left there (a
pair is new, the package is not). The time of the first run is reported, less that of the second: processor seconds
(all threads, what counts on a busy machine) and seconds on the clock, against the goal.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

import meanfield as mf
import solvers

GOAL = 3.0


class Swish(NamedTuple):
    """A user's activation, ``z / (1 + exp(-gain z))``."""

    gain: float = 1.0

    def value(self, z: float) -> float:
        return z / (1.0 + math.exp(-self.gain * z))

    def slope(self, z: float) -> float:
        s = 1.0 / (1.0 + math.exp(-self.gain * z))
        return s + self.gain * z * s * (1.0 - s)


SMALL, LARGE = (50, 100), (1000, 2000)
# Name: activation, inputs, (data, particles), whether the method is Euler's rather than the default.
CASES: dict[str, tuple[Any, int, tuple[int, int], bool]] = {
    "sigmoid, d = 2, small, default": ("sigmoid", 2, SMALL, False),
    "sigmoid, d = 2, small, Euler": ("sigmoid", 2, SMALL, True),
    "softplus, d = 3, small, Euler": ("softplus", 3, SMALL, True),
    "softplus, d = 5, small, Euler": ("softplus", 5, SMALL, True),
    "sigmoid, d = 2, large, Euler": ("sigmoid", 2, LARGE, True),
    "sigmoid, d = 10, large, Euler": ("sigmoid", 10, LARGE, True),
    "a user's, d = 2, small, Euler": (Swish(), 2, SMALL, True),
    "a user's, d = 2, large, Euler": (Swish(), 2, LARGE, True),
}


def run(activation: Any, d: int, sizes: tuple[int, int], euler: bool) -> tuple[float, float]:
    """Processor seconds and seconds of a short run."""
    X, y = mf.data.relu_teacher(n=sizes[0], d=d, rng=0)
    network = mf.TwoLayer(activation, d=d)
    flow = mf.WassersteinFlow(mf.Objective(network, X, y))
    mu = mf.ParticleMeasure.gaussian(network, sizes[1], rng=0)
    work, clock = time.process_time(), time.perf_counter()
    solvers.integrate(flow, mu, 0.02, method=solvers.Euler(0.01) if euler else None)
    return time.process_time() - work, time.perf_counter() - clock


def child(name: str) -> None:
    _, d, sizes, euler = CASES[name]
    run("tanh", d, sizes, euler)  # imports, threads, and what all activations have in common
    first, second = (run(*CASES[name]) for _ in range(2))
    print(json.dumps([max(a - b, 0.0) for a, b in zip(first, second, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the numbers here as well")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--fill", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    if options.fill:
        for _, d, sizes, euler in CASES.values():
            for activation in ("relu", "tanh"):
                run(activation, d, sizes, euler)
        return
    report: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        filled, cache = os.path.join(folder, "filled"), os.path.join(folder, "cache")
        command = [sys.executable, os.path.abspath(__file__)]
        subprocess.run([*command, "--fill"], check=True, env={**os.environ, "NUMBA_CACHE_DIR": filled})
        print(f"{'compilation of a new pair':32} processor    clock   goal {GOAL:.0f} s")
        for name in CASES:
            shutil.rmtree(cache, ignore_errors=True)
            shutil.copytree(filled, cache)
            done = subprocess.run(
                [*command, "--child", name],
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, "NUMBA_CACHE_DIR": cache},
            )
            work, clock = report[name] = json.loads(done.stdout)
            print(
                f"{name:32} {work:7.2f} s {clock:6.2f} s   {'met' if clock < GOAL else 'missed'}", flush=True
            )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()

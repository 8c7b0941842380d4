"""Start-up with a warm kernel cache, and memory against the number of steps.

    python benchmarks/startup.py

Times fresh processes: import alone, and the first result of a d = 2 problem; the first of all fills the cache, and
is shown apart. Then one process runs 1x, 10x and 100x steps and reports its peak memory after each.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

IMPORT = "import meanfield, solvers"
RESULT = """
import meanfield as mf, solvers
X, y = mf.data.relu_teacher(n=200, d=2, neurons=3, rng=0)
network = mf.TwoLayer(mf.ReLU(), d=2, bias=False)
objective = mf.Objective(network, X, y, regularizer=mf.Ridge(1e-3))
mu = mf.ParticleMeasure.gaussian(network, width=1000, rng=0)
run = solvers.integrate(mf.WassersteinFlow(objective), mu, t_end=1.0, method=solvers.Euler(step=0.1))
"""
MEMORY = """
import resource
import meanfield as mf, solvers
X, y = mf.data.relu_teacher(n=100, d=2, neurons=3, rng=0)
network = mf.TwoLayer(mf.ReLU(), d=2, bias=False)
flow = mf.WassersteinFlow(mf.Objective(network, X, y))
mu = mf.ParticleMeasure.gaussian(network, width=200, rng=0)
for steps in (10, 300, 3000, 30000):
    solvers.integrate(flow, mu, t_end=1e-3 * steps, method=solvers.Euler(step=1e-3))
    print(steps, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def seconds(code: str, cache: str) -> float:
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "OMP_WAIT_POLICY": "passive"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        print(f"first result, empty cache   {seconds(RESULT, cache):6.2f} s")
        for name, code in (("import", IMPORT), ("first result, warm cache", RESULT)):
            times = [seconds(code, cache) for _ in range(9)]
            print(
                f"{name:27} {statistics.median(times):6.2f} s (median of 9; {min(times):.2f} to {max(times):.2f})"
            )
        print("peak memory after so many Euler steps:")
        done = subprocess.run(
            [sys.executable, "-c", MEMORY],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "NUMBA_CACHE_DIR": cache},
        )
        for line in done.stdout.splitlines():
            steps, megabytes = line.split()
            print(f"  {steps:>6} steps  {float(megabytes):7.1f} MB")


if __name__ == "__main__":
    main()

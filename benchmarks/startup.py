"""Start-up with a warm kernel cache, and memory against the number of steps.

    python benchmarks/startup.py [--runs 9] [--json FILE]

Times fresh processes: import alone, and the first result of a d = 2 problem; the first of all fills the cache, and
is shown apart. Then one process runs 1x, 10x and 100x steps and reports its peak memory after each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
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


def seconds(code: str, cache: str) -> tuple[float, float]:
    """Wall and processor seconds of a fresh process."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "OMP_WAIT_POLICY": "passive"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9, help="processes (the median is reported)")
    parser.add_argument("--json", help="write the numbers here as well")
    options = parser.parse_args()
    report: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as cache:
        report["empty"], _ = seconds(RESULT, cache)
        print(f"first result, empty cache   {report['empty']:6.2f} s")
        works = {"import": IMPORT, "first result, warm cache": RESULT}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
        for _ in range(options.runs):
            for name, code in works.items():
                times[name].append(seconds(code, cache))
        for name, found in times.items():
            walls = [wall for wall, _ in found]
            report[name] = statistics.median(walls)
            report[f"{name}, CPU"] = statistics.median(cpu for _, cpu in found)
            spread = f"median of {options.runs}; {min(walls):.2f} to {max(walls):.2f}"
            print(f"{name:27} {report[name]:6.2f} s ({spread}; CPU {report[f'{name}, CPU']:.2f} s)")
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
            report[f"MB after {steps} steps"] = float(megabytes)
            print(f"  {steps:>6} steps  {float(megabytes):7.1f} MB")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()

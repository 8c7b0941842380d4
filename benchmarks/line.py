"""Time one flow step of a ReLU network of one input: the O(n + m) method against loops over all pairs, interleaved.

    python benchmarks/line.py [--runs 9] [--seconds 0.1] [--json FILE]

A step is prediction, residual of the squared loss, velocity of all layers, Euler update. "compiled" is `descend`, many
steps without Python; "operator" is `evaluate` and an update in NumPy; "all pairs" the strategy that any network of few
inputs has, with the same update. Process CPU time (set OMP_NUM_THREADS and NUMBA_NUM_THREADS to 1), medians of
interleaved rounds. Exponents are fitted to the cost of a compiled step, in n and in m.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from meanfield._kernels import TwoLayerOnData, choose
from meanfield._kernels.relu_line import ReLUOnLine, Rule
from meanfield.activations import ReLU
from meanfield.regularizers import NoRegularizer
from solvers.losses import SquaredLoss

GOAL = 15.0
# (n, m, whether the goal is stated there)
SHAPES = [
    (200, 1000, False),
    (1000, 2000, True),
    (1000, 5000, True),
    (1000, 10000, True),
    (5000, 10000, False),
]
STEP = 1e-3


def problem(n: int, m: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 1))
    return X, np.sin(3.0 * X[:, 0]), rng.standard_normal((m, 3)), np.full(m, 1.0 / m)


def compiled(n: int, m: int) -> Callable[[int], Any]:
    X, y, start, masses = problem(n, m)
    line = ReLUOnLine(ReLU(), X, 1, None, True)
    rule = Rule(
        SquaredLoss(), NoRegularizer(), y, np.full(n, 1.0 / n), np.zeros(n), 1.0, np.ones(3), np.empty(0)
    )

    def advance(steps: int) -> Any:
        positions = start.copy()
        line.descend(positions, masses, rule, STEP, steps)
        return positions

    return advance


def operator(n: int, m: int) -> Callable[[int], Any]:
    X, y, start, masses = problem(n, m)
    line = ReLUOnLine(ReLU(), X, 1, None, True)

    def advance(steps: int) -> Any:
        positions = start.copy()
        for _ in range(steps):
            positions -= STEP * line.evaluate(positions, masses, lambda f: (f - y) / n)[1]
        return positions

    return advance


def all_pairs(n: int, m: int) -> Callable[[int], Any]:
    X, y, start, masses = problem(n, m)
    pairs = TwoLayerOnData(ReLU(), X, 1, None, True)

    def advance(steps: int) -> Any:
        positions = start.copy()
        for _ in range(steps):
            positions -= STEP * pairs.evaluate(positions, masses, lambda f: (f - y) / n)[1]
        return positions

    return advance


def cost(ways: dict[str, Callable[[int], Any]], runs: int, seconds: float) -> dict[str, float]:
    """Seconds of CPU a step, median of interleaved rounds."""
    steps = {}
    for name, advance in ways.items():
        advance(2)
        start = time.process_time()
        advance(2)
        steps[name] = max(2, int(2 * seconds / max(1e-6, time.process_time() - start)))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, advance in ways.items():
            start = time.process_time()
            advance(steps[name])
            times[name].append((time.process_time() - start) / steps[name])
    return {name: statistics.median(values) for name, values in times.items()}


def exponent(sizes: list[int], costs: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9, help="interleaved rounds (the median is reported)")
    parser.add_argument("--seconds", type=float, default=0.1, help="aim of one timing")
    parser.add_argument("--json", help="write the rows here as well")
    options = parser.parse_args()
    choose.LINE_FROM = np.inf  # what is compared against is the loop over all pairs
    report: dict[str, Any] = {"shapes": [], "scaling": []}
    print(
        f"{'n':>6} {'m':>7} {'compiled us':>12} {'operator us':>12} {'all pairs us':>13} {'ratio':>7} {'goal':>5}"
    )
    for n, m, stated in SHAPES:
        ways = {"compiled": compiled(n, m), "operator": operator(n, m), "all pairs": all_pairs(n, m)}
        results = [ways[name](20) for name in ways]
        agree = all(np.allclose(result, results[0], rtol=1e-9, atol=1e-12) for result in results)
        found = cost(ways, options.runs, options.seconds)
        ratio = found["all pairs"] / found["compiled"]
        verdict = f"{GOAL:5.0f} {'met' if ratio >= GOAL else 'missed'}" if stated else "    -"
        note = "" if agree else "  DISAGREES"
        micro = [1e6 * found[name] for name in ways]
        print(f"{n:6} {m:7} {micro[0]:12.1f} {micro[1]:12.1f} {micro[2]:13.1f} {ratio:7.1f} {verdict}{note}")
        report["shapes"].append({"n": n, "m": m, **found, "ratio": ratio, "agrees": agree})
    for label, fixed, sizes in (
        ("m", 1000, [2000, 10000, 30000, 100000]),
        ("n", 2000, [2000, 10000, 30000, 100000]),
        ("n = m", 0, [2000, 10000, 30000, 100000]),
    ):
        ways = {}
        for size in sizes:
            n, m = {"m": (fixed, size), "n": (size, fixed), "n = m": (size, size)}[label]
            ways[str(size)] = compiled(n, m)
        found = cost(ways, max(3, options.runs // 3), options.seconds)
        costs = [found[str(size)] for size in sizes]
        power = exponent(sizes, costs)
        at = {"m": f" at n = {fixed}", "n": f" at m = {fixed}", "n = m": ""}[label]
        row = ", ".join(f"{size}: {1e6 * c:.0f} us" for size, c in zip(sizes, costs, strict=True))
        print(f"cost ~ {label}^{power:.2f}{at}   ({row})")
        report["scaling"].append({"in": label, "exponent": power, "sizes": sizes, "seconds": costs})
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()

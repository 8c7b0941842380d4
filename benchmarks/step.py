"""Time one flow step against NumPy, PyTorch (eager) and JAX (jit + scan), interleaved, as ratios.

    python benchmarks/step.py [--runs 9] [--shapes relu:2:200:1000 ...] [--json FILE]

Peers that are not installed are left out and named. Every peer must end at the same predictions, or its row is
marked. Rounds are interleaved (ours, peer, peer, ours, ...) and medians reported, so that a busy machine hits all
alike. Threads: what the environment says (set OMP_NUM_THREADS and NUMBA_NUM_THREADS to 1 for one).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
from peers import PEERS

SHAPES = [
    "relu:2:200:1000",
    "relu:2:500:10000",
    "relu:10:1000:2000",
    "relu:50:1000:2000",
    "relu:100:2000:5000",
    "tanh:2:200:1000",
    "tanh:2:500:10000",
    "tanh:10:1000:2000",
    "tanh:100:2000:5000",
]


def problem(shape: str) -> tuple[str, dict[str, Any]]:
    """A random teacher-student problem of that size."""
    activation, d, n, m = shape.split(":")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((int(n), int(d)))
    y = np.maximum(X @ rng.standard_normal((int(d), 3)), 0).sum(axis=1) / np.sqrt(int(d))
    layers = {"a": rng.standard_normal(int(m)), "W": rng.standard_normal((int(m), int(d))) / np.sqrt(int(d))}
    return activation, {"X": X, "y": y, **layers, "b": rng.standard_normal(int(m)), "step": 1e-3}


def measure(shape: str, runs: int, seconds: float) -> list[dict[str, Any]]:
    """Nanoseconds per (particle, datum) pair and step, for each peer."""
    activation, arrays = problem(shape)
    pairs = arrays["X"].shape[0] * arrays["a"].shape[0]
    advance, reference, missing = {}, None, {}
    for name, make in PEERS.items():
        try:
            advance[name] = make(activation, **arrays)
        except ImportError as error:
            missing[name] = str(error)
    agrees = {}
    steps = {}
    for name, run in advance.items():
        result = np.asarray(run(3))
        reference = result if reference is None else reference
        agrees[name] = bool(np.allclose(result, reference, rtol=1e-8, atol=1e-10))
        start = time.perf_counter()
        run(3)
        steps[name] = max(3, int(3 * seconds / (time.perf_counter() - start)))
        run(steps[name])  # compiles the scan of that length
    times: dict[str, list[float]] = {name: [] for name in advance}
    for _ in range(runs):
        for name, run in advance.items():
            start = time.perf_counter()
            run(steps[name])
            times[name].append((time.perf_counter() - start) / steps[name])
    ours = times["ours"]
    rows = []
    for name in PEERS:
        if name in missing:
            rows.append({"shape": shape, "peer": name, "missing": missing[name]})
            continue
        ratio = statistics.median(t / o for t, o in zip(times[name], ours, strict=True))
        rows.append(
            {
                "shape": shape,
                "peer": name,
                "ns_per_pair": 1e9 * statistics.median(times[name]) / pairs,
                "ratio": ratio,
                "agrees": agrees[name],
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9, help="interleaved rounds (the median is reported)")
    parser.add_argument("--seconds", type=float, default=0.2, help="aim of one timing")
    parser.add_argument("--shapes", nargs="*", default=SHAPES, help="activation:d:n:m")
    parser.add_argument("--json", help="write the rows here as well")
    options = parser.parse_args()
    rows = []
    print(f"{'activation:d:n:m':22} {'peer':8} {'ns/pair':>9} {'x ours':>8}")
    for shape in options.shapes:
        for row in measure(shape, options.runs, options.seconds):
            rows.append(row)
            if "missing" in row:
                print(f"{shape:22} {row['peer']:8} {'-':>9} {'-':>8}  ({row['missing']})")
            else:
                note = "" if row["agrees"] else "  DISAGREES"
                print(f"{shape:22} {row['peer']:8} {row['ns_per_pair']:9.3f} {row['ratio']:8.2f}{note}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()

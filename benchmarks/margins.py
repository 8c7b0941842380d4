"""The published updates of a figure on margins, panel by panel, beside a NumPy transcription of them.

    python benchmarks/margins.py [--rounds 3] [--iterations 2000] [--numpy-iterations 100] [--json FILE]

Chizat and Bach (2020, 2002.04486): gradient ascent on the soft-min of the margins, step .5/sqrt(t + 1), 5e4 iterations,
both layers or the output layer only (`figures/chizat_bach_2020_margins.py`). Three panels with one draw each: test
error against n = 32..512 (d = 15, m = 1000) and against d = 5..25 (n = 256), margins against m = 8..1024 (n = 256, d =
15); their authors give 20, 20 and 12 minutes. Ours is what the figure runs: `Euler` with an array of steps, the output
layer in the span of the data. NumPy writes the same updates as products of whole arrays.

For each cell both start alike and take turns; each ratio is that of neighbours, processor time on one thread, and a
panel is its cells' time an iteration times 5e4. One cell runs in processes of its own too, for the peak of memory, and
there both must agree: that is what "same updates" rests on.
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
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ITERATIONS = 50_000
PANELS = {
    "test error against n": [(n, 15, 1000) for n in (32, 64, 128, 256, 512)],
    "test error against d": [(256, d, 1000) for d in (5, 10, 15, 20, 25)],
    "margin against m": [(256, 15, m) for m in (8, 16, 32, 64, 128, 256, 512, 1024)],
}
PUBLISHED_MINUTES = {"test error against n": 20, "test error against d": 20, "margin against m": 12}
CELL = (256, 15, 1000)
COMPARED_AT = 2000
# Relative to the largest coordinate. Both layers: rounding of 1e-16 grows where a neuron's kink crosses a datum a step
# earlier or later in one of the two. Output layer: nothing jumps; sums run in another order.
AGREEMENT = {"both": 1e-6, "output": 1e-9}
LAYERS = {"both": "both layers", "output": "output layer"}


def problem(n: int, d: int, m: int) -> tuple[Any, Any, Any]:
    import meanfield as mf

    X, y = mf.data.clusters(n, d, rng=0)
    return X, y, mf.ParticleMeasure.gaussian(mf.TwoLayer("relu", d=d, bias=False), m, rng=0)


def sizes(iterations: int) -> Any:
    return 0.5 / np.sqrt(np.arange(iterations) + 2.0)


def by_numpy(X: Any, y: Any, start: Any, steps: Any, layers: str) -> Any:
    """The updates as one would write them: whole (m, n) arrays, products through BLAS."""
    b, W = start.positions[:, 0].copy(), start.positions[:, 1:].copy()
    m = b.size
    if layers == "output":
        b[:] = 0.0
    for h in steps:
        features = np.maximum(W @ X.T, 0.0)
        margins = y * (b @ features) / m
        p = np.exp(margins.min() - margins)
        q = p / p.sum() * y
        change = features @ q
        if layers == "both":
            W = W + h * ((b[:, None] * (features > 0.0)) @ (q[:, None] * X))
        else:
            h = h * max(1.0, np.sqrt(np.mean(b**2)))
        b = b + h * change
    return np.column_stack([b, W])


@cache
def load_figure() -> Any:
    """The figure by its file: beside this script `figures` is another module."""
    from meanfield import gallery

    return gallery.load_figure(Path(__file__).parents[1] / "figures" / "chizat_bach_2020_margins.py")


def by_us(X: Any, y: Any, start: Any, steps: Any, layers: str) -> Any:
    figure = load_figure()
    if layers == "both":
        return figure.both_layers([X], [y], [start], steps)[0].final.positions
    return figure.output_layer([X], [y], [start], steps)[0].positions


WAYS = {"ours": by_us, "numpy": by_numpy}


def seconds(way: str, problem: tuple[Any, Any, Any], layers: str, iterations: int) -> float:
    """Processor time of a thousand iterations."""
    begun = time.process_time()
    WAYS[way](*problem, sizes(iterations), layers)
    return 1000 * (time.process_time() - begun) / iterations


def cell(shape: tuple[int, int, int], layers: str, rounds: int, counts: dict[str, int]) -> dict[str, Any]:
    """Seconds a thousand iterations, ours and NumPy's in turns, and the median of the ratios of neighbours."""
    one = problem(*shape)
    seconds("ours", one, layers, 10)  # compiled, and room made
    pairs = [
        [seconds(way, one, layers, max(2, counts[way])) for way in ("numpy", "ours")] for _ in range(rounds)
    ]
    theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {"ours": ours, "numpy": theirs, "ratio": statistics.median(a / b for a, b in pairs)}


def part(way: str, layers: str, iterations: int, path: str) -> dict[str, Any]:
    """What one process measures: the state after the first steps, and the peak of its memory after all."""
    with np.load(path) as arrays:
        X, y, positions = arrays["X"], arrays["y"], arrays["positions"]
    start: Any = SimpleNamespace(positions=positions)
    if way == "ours":
        import meanfield as mf

        start = mf.ParticleMeasure(positions)
    early = WAYS[way](X, y, start, sizes(COMPARED_AT), layers)
    WAYS[way](X, y, start, sizes(iterations), layers)
    return {"early": early.ravel().tolist(), "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most memory that this process has held; where the system says so, without what its parent held before."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def process(way: str, layers: str, iterations: int, path: str) -> dict[str, Any]:
    command = [sys.executable, os.path.abspath(__file__), "--part", way, layers, path]
    done = subprocess.run(
        [*command, "--iterations", str(iterations)], check=True, stdout=subprocess.PIPE, text=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def agreement(layers: str, counts: dict[str, int]) -> dict[str, Any]:
    """Both ways from the same start, in processes of their own: how far apart, and how much memory."""
    X, y, start = problem(*CELL)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "cell.npz")
        np.savez(path, X=X, y=y, positions=start.positions)
        found = {way: process(way, layers, counts[way], path) for way in WAYS}
    mine, other = (np.array(found[way].pop("early")) for way in ("ours", "numpy"))
    difference = float(np.abs(mine - other).max() / np.abs(other).max())
    return {
        "difference": difference,
        "agrees": difference <= AGREEMENT[layers],
        "peak_mb": found["ours"]["peak_mb"],
        "numpy_peak_mb": found["numpy"]["peak_mb"],
    }


def measure(rounds: int, counts: dict[str, int]) -> dict[str, Any]:
    cells: dict[Any, Any] = {}
    for shapes in PANELS.values():
        for shape in shapes:
            for layers in LAYERS:
                if (shape, layers) not in cells:
                    cells[shape, layers] = cell(shape, layers, rounds, counts)
    panels = {}
    for name, shapes in PANELS.items():
        time_of = {
            way: ITERATIONS / 1000 * sum(cells[shape, layers][way] for shape in shapes for layers in LAYERS)
            for way in WAYS
        }
        panels[name] = time_of | {"published": 60.0 * PUBLISHED_MINUTES[name]}
    return {
        "cells": [
            {"n": n, "d": d, "m": m, "layers": layers} | row for ((n, d, m), layers), row in cells.items()
        ],
        "panels": panels,
        "agreement": {layers: agreement(layers, counts) for layers in LAYERS},
        "trajectory_gb": 8e-9 * CELL[2] * (CELL[1] + 1) * ITERATIONS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=2000, help="of ours, for each time")
    parser.add_argument("--numpy-iterations", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (the median is reported)")
    parser.add_argument("--json", help="write the numbers here as well")
    parser.add_argument("--part", nargs=3, metavar=("WAY", "LAYERS", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        os.environ.setdefault(f"{name}_NUM_THREADS", "1")
    if options.part:
        way, layers, path = options.part
        print(json.dumps(part(way, layers, options.iterations, path)))
        return
    found = measure(options.rounds, {"ours": options.iterations, "numpy": options.numpy_iterations})
    print("seconds of processor time for 1000 iterations, one thread")
    print(f"  {'n':>4} {'d':>3} {'m':>5}  {'':14} {'meanfield':>10} {'NumPy':>8} {'ratio':>6}")
    for row in found["cells"]:
        print(
            f"  {row['n']:4d} {row['d']:3d} {row['m']:5d}  {LAYERS[row['layers']]:14} {row['ours']:10.4f} "
            f"{row['numpy']:8.3f} {row['ratio']:6.1f}"
        )
    print(f"a panel: both layers and output layer, {ITERATIONS} iterations, one draw (from the times above)")
    for name, row in found["panels"].items():
        print(
            f"  {name:22} meanfield {row['ours']:6.0f} s, NumPy {row['numpy']:6.0f} s, ratio "
            f"{row['numpy'] / row['ours']:.1f}; its authors {row['published']:.0f} s, "
            f"{row['published'] / row['ours']:.1f} times ours"
        )
    for layers, row in found["agreement"].items():
        verdict = "agree" if row["agrees"] else "DISAGREE"
        print(
            f"{LAYERS[layers]}, n = {CELL[0]}, d = {CELL[1]}, m = {CELL[2]}: after {COMPARED_AT} iterations they "
            f"{verdict}, {row['difference']:.1e} of the largest coordinate (allowed {AGREEMENT[layers]:.0e}); "
            f"peak {row['peak_mb']:.0f} MB, NumPy {row['numpy_peak_mb']:.0f} MB"
        )
    print(
        f"a trajectory kept whole, as the published code has it, would be {found['trajectory_gb']:.1f} GB more"
    )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()

"""The implicit-bias figure of published code, end to end, beside a NumPy transcription of the same update.

    python benchmarks/reference.py [--iterations 300000] [--numpy-iterations 3000] [--rounds 3] [--json FILE]

Two classes in k^2 = 16 clusters of the plane (`mf.data.clusters`), n = 100, d = 3, m = 500 ReLU neurons, both layers,
N(0, 1) start: gradient ascent on the soft-min of the margins with step .5/sqrt(t + 1), 3e5 iterations (Chizat and Bach,
2020, 2002.04486; the authors give 10 minutes for their code). Ours is `solvers.integrate` with `Euler` and an array of
steps. Each runs in a process of its own, so that peak memory is its own; NumPy does fewer iterations, before and after
ours, and its time is scaled to all of them. Both must agree after 2000 iterations, and the end must be the figure: all
points on their side, few directions that carry the mass.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

K, N, D, M, SEED = 4, 100, 3, 500, 0
PUBLISHED_SECONDS = 600.0
COMPARED_AT = 2000
# Rounding of 1e-16 grows where a neuron's kink crosses a datum a step earlier or later in one of the two: with steps
# of .5/sqrt(t) that moves a neuron by 1e-3 at most. Without any such crossing they agree to 1e-12.
AGREEMENT = 1e-6
# Directions closer than this (radians, as seen from the heaviest) are one; those that carry this share are counted.
SAME_DIRECTION, SHARE = 0.1, 0.99


def data() -> tuple[Any, Any, Any, Any]:
    import meanfield as mf

    X, y, labels = mf.data.clusters(N, D, k=K, rng=SEED, return_labels=True)
    test = mf.data.clusters(4000, D, k=K, rng=SEED + 1, labels=labels)
    start = mf.ParticleMeasure.gaussian(mf.TwoLayer("relu", d=D, bias=False), M, rng=SEED)
    return X, y, test, start


def sizes(iterations: int) -> Any:
    return 0.5 / np.sqrt(np.arange(iterations) + 1.0)


def by_numpy(X: Any, y: Any, positions: Any, steps: Any) -> Any:
    """The update as one would write it: products through BLAS, everything (m, n) at most."""
    b, W = positions[:, 0].copy(), positions[:, 1:].copy()
    m = b.size
    for h in steps:
        z = W @ X.T
        s = np.maximum(z, 0.0)
        exponent = -y * (b @ s / m)
        p = np.exp(exponent - exponent.max())
        q = p / p.sum() * y
        slope = (z > 0.0) * b[:, None]
        slope *= q
        b = b + h * (s @ q)
        W = W + h * (slope @ X)
    return np.column_stack([b, W])


def by_us(X: Any, y: Any, start: Any, steps: Any) -> Any:
    import meanfield as mf
    import solvers

    network = mf.TwoLayer("relu", d=D, bias=False)
    flow = mf.WassersteinFlow(mf.Objective(network, X, y, loss=mf.SoftMinMargin()))
    return solvers.integrate(flow, start, steps.sum(), method=solvers.Euler(step=steps), save=2)


def directions(positions: Any) -> tuple[int, float]:
    """How many directions carry `SHARE` of the mass |b_j| |w_j|, and the share of the heaviest one."""
    b, W = positions[:, 0], positions[:, 1:]
    length = np.linalg.norm(W, axis=1)
    mass = np.abs(b) * length
    mass = mass / mass.sum()
    where, sign = W / length[:, None], np.sign(b)
    found = []
    left = mass.copy()
    while left.sum() > 1.0 - SHARE:
        j = int(left.argmax())
        near = (where @ where[j] > np.cos(SAME_DIRECTION)) & (sign == sign[j])
        found.append(float(left[near].sum()))
        left[near] = 0.0
    return len(found), max(found)


def facts(X: Any, y: Any, test: Any, positions: Any) -> dict[str, Any]:
    """What makes the picture the picture."""
    import meanfield as mf

    network = mf.TwoLayer("relu", d=D, bias=False)
    mu = mf.ParticleMeasure(positions)
    margins = y * network.predict(mu, X)
    beta = float(np.mean(positions[:, 0] ** 2 + (positions[:, 1:] ** 2).sum(axis=1)) / 2)
    count, heaviest = directions(positions)
    return {
        "margin": float(margins.min()),
        "margin_over_beta": float(margins.min()) / beta,
        "classified": int((margins > 0).sum()),
        "test_error": float(np.mean(test[1] * network.predict(mu, test[0]) <= 0)),
        "directions": count,
        "heaviest": heaviest,
    }


def part(name: str, iterations: int) -> dict[str, Any]:
    """What one process measures: the state after the first steps, then the time of all, then its memory."""
    X, y, test, start = data()
    few, steps = sizes(COMPARED_AT), sizes(iterations)
    found: dict[str, Any] = {}
    if name == "numpy":
        early = by_numpy(X, y, start.positions, few)
        wall, cpu = time.perf_counter(), time.process_time()
        by_numpy(X, y, start.positions, steps)
    else:
        wall = time.perf_counter()
        early = by_us(X, y, start, few)
        found["first"] = time.perf_counter() - wall
        found["compilation"] = early.stats["compile_seconds"]
        early = early.final.positions
        wall, cpu = time.perf_counter(), time.process_time()
        run = by_us(X, y, start, steps)
    found |= {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if name == "ours":
        found |= facts(X, y, test, run.final.positions)
        found["objective"] = float(run["objective"][-1])
    return found | {"early": early.ravel().tolist()}


def process(name: str, iterations: int) -> dict[str, Any]:
    command = [sys.executable, os.path.abspath(__file__), "--part", name, "--iterations", str(iterations)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(iterations: int, fewer: int, rounds: int) -> dict[str, Any]:
    ours, theirs = [], [process("numpy", fewer)]
    for _ in range(rounds):
        ours.append(process("ours", iterations))
        theirs.append(process("numpy", fewer))
    mine, other = (np.array(side[0].pop("early")) for side in (ours, theirs))
    row = {
        name: ours[0][name]
        for name in (
            "margin",
            "margin_over_beta",
            "classified",
            "test_error",
            "directions",
            "heaviest",
            "objective",
        )
    }
    for clock in ("wall", "cpu"):
        row[clock] = statistics.median(one[clock] for one in ours)
        row[f"numpy_{clock}"] = statistics.median(one[clock] for one in theirs) * iterations / fewer
    row |= {
        "iterations": iterations,
        "numpy_iterations": fewer,
        "peak_mb": max(one["peak_mb"] for one in ours),
        "numpy_peak_mb": max(one["peak_mb"] for one in theirs),
        "first": ours[0]["first"],
        "compilation": ours[0]["compilation"],
        "ratio": row["numpy_cpu"] / row["cpu"],
        "difference": float(np.abs(mine - other).max() / np.abs(other).max()),
    }
    row["agrees"] = row["difference"] <= AGREEMENT
    row["is_the_figure"] = row["classified"] == N and row["margin"] > 0 and row["directions"] < M / 10
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=300_000)
    parser.add_argument("--numpy-iterations", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (the median is reported)")
    parser.add_argument("--json", help="write the row here as well")
    parser.add_argument("--part", choices=["ours", "numpy"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        os.environ.setdefault(f"{name}_NUM_THREADS", "1")
    if options.part:
        print(json.dumps(part(options.part, options.iterations)))
        return
    row = measure(options.iterations, options.numpy_iterations, options.rounds)
    each = [1e6 * row[clock] / options.iterations for clock in ("cpu", "numpy_cpu")]
    print(f"k = {K}, n = {N}, d = {D}, m = {M}, {options.iterations} iterations, both layers, one thread")
    print(
        f"  meanfield {row['wall']:7.1f} s ({row['cpu']:.1f} s of CPU, {each[0]:.1f} us an iteration), "
        f"peak {row['peak_mb']:.0f} MB"
    )
    print(
        f"  NumPy     {row['numpy_wall']:7.1f} s ({row['numpy_cpu']:.1f} s of CPU, {each[1]:.1f} us an iteration, "
        f"from {options.numpy_iterations}), peak {row['numpy_peak_mb']:.0f} MB"
    )
    print(f"  ratio {row['ratio']:.1f} of CPU time; published: {PUBLISHED_SECONDS:.0f} s, by its authors")
    print(
        f"  the first {COMPARED_AT} iterations took {row['first']:.1f} s, {row['compilation']:.1f} s compilation"
    )
    verdict = "agree" if row["agrees"] else "DISAGREE"
    print(
        f"  after {COMPARED_AT} iterations they {verdict}: {row['difference']:.1e} of the largest coordinate"
    )
    print(
        f"  {'the figure' if row['is_the_figure'] else 'NOT THE FIGURE'}: {row['classified']} of {N} classified, "
        f"margin {row['margin']:.3g} ({row['margin_over_beta']:.4f} over beta), test error {row['test_error']:.3f}, "
        f"{row['directions']} directions carry {100 * SHARE:.0f} % of the mass, one {100 * row['heaviest']:.0f} %"
    )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(row, file, indent=1)


if __name__ == "__main__":
    main()

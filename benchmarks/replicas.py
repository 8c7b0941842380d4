"""Many small runs at once: throughput of `integrate(flow, [mu, ...])` beside loops over runs.

    python benchmarks/replicas.py [--replicas 256] [--rounds 5] [--threads 1 2] [--json FILE]

Runs of (n, width) = (50, 100) of four kinds, against a Python loop over solo runs as they are shipped (compiled where
the problem is small), and against a loop over runs whose every step is taken from Python. The loops do fewer runs,
which their time is divided by; sides take turns, the median of ratios is reported, of processor time on one thread, of
wall time on several. Replicas and solo runs must end in the same bits; the Python steps, which sum in another order,
near them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

N, WIDTH, D = 50, 100, 2
GOAL = 20.0
# Runs that the loops do.
SOLO, STEPPED = 32, 6
# Steps of the compiled and the interpreted runs round differently, and adaptive ones may then differ in size: errors of
# the order of the tolerance (1e-4 for ReLU). A wrong step is off by more.
NEAR = 2e-2


def network_problem(activation: str) -> tuple[Any, list[Any]]:
    import meanfield as mf

    X, y = mf.data.relu_teacher(n=N, d=D, neurons=3, rng=0)
    network = mf.TwoLayer(activation, d=D)
    return mf.Objective(network, X, y, regularizer=mf.Ridge(1e-3)), [network]


def cases(replicas: int) -> Iterator[tuple[str, Any, list[Any], float, Any]]:
    """Name, flow or flows, starts, end, method."""
    import numpy as np

    import meanfield as mf
    import solvers

    for activation in ("relu", "tanh"):
        objective, (network,) = network_problem(activation)
        starts = [mf.ParticleMeasure.gaussian(network, WIDTH, rng=seed) for seed in range(replicas)]
        flow = mf.WassersteinFlow(objective)
        yield f"{activation}, default method", flow, starts, 10.0, None
        yield f"{activation}, Euler", flow, starts, 10.0, solvers.Euler(step=0.02)
        several = [mf.SGD(objective, step=0.02, batch=10, rng=seed) for seed in range(replicas)]
        yield f"{activation}, SGD of 10", several, starts, 10.0, None
    spikes = mf.Spikes(dim=1, frequencies=(N - 1) // 2)
    rng = np.random.default_rng(0)
    blurred = mf.Objective.deconvolution(
        spikes, [[1.0], [3.0], [4.5]], [1.0, 0.6, 0.8], mf.TotalVariation(0.5), mf.SquaredLoss("sum")
    )
    starts = [
        mf.ParticleMeasure(rng.uniform(0.0, 2 * np.pi, (WIDTH, 1)), np.full(WIDTH, 1.0 / WIDTH))
        for _ in range(replicas)
    ]
    flow = mf.ConicFlow(blurred, alpha=0.01, beta=0.01)
    yield "spikes on a circle, default method", flow, starts, 5.0, None
    yield "spikes on a circle, Euler", flow, starts, 10.0, solvers.Euler(step=0.02)


@contextmanager
def python_steps() -> Iterator[None]:
    """Flows without compiled runs: every step, or stage of one, is a call from Python."""
    from meanfield.flows.conic import _BoundConic
    from meanfield.flows.sgd import _BoundSGD
    from meanfield.flows.wasserstein import _BoundWasserstein

    removed = []
    for kind, names in (
        (_BoundWasserstein, ("program", "advance")),
        (_BoundConic, ("program",)),
        (_BoundSGD, ("program",)),
    ):
        for name in names:
            removed.append((kind, name, kind.__dict__[name]))
            setattr(kind, name, None)
    try:
        yield
    finally:
        for kind, name, value in removed:
            setattr(kind, name, value)


def timed(work: Callable[[], Any], runs: int) -> tuple[float, float]:
    """Wall and processor seconds of a run."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) / runs, (time.process_time() - cpu) / runs


def measure(
    case: tuple[str, Any, list[Any], float, Any], rounds: int, threads: list[int]
) -> list[dict[str, Any]]:
    import numpy as np

    import solvers
    from solvers import _threads

    name, flow, starts, t_end, method = case

    def solo(r: int, how: Any) -> Any:
        one = flow[r] if isinstance(flow, list) else flow
        return solvers.integrate(one, starts[r], t_end, method=how, save=2)

    together = solvers.integrate(flow, starts, t_end, method=method, save=2)
    how = method
    if method is None and not isinstance(flow, list):
        # what the default chooses for the compiled runs, so that both take the same steps
        first = flow.prepare(starts[0])
        how = solvers.Auto().choose(first, 0.0, first.pack(starts[0]), t_end)[0]
    count = min(SOLO, len(starts))
    alone = [solo(r, method) for r in range(count)]
    same = all(
        np.array_equal(a.final.positions, b.final.positions)
        and np.array_equal(a.final.weights, b.final.weights)
        and np.array_equal(a["objective"], b["objective"])
        for a, b in zip(alone, together, strict=False)
    )
    with python_steps():
        stepped = [solo(r, how) for r in range(min(STEPPED, count))]
    near = all(
        abs(a["objective"][-1] - b["objective"][-1]) <= NEAR * abs(b["objective"][-1])
        for a, b in zip(stepped, together, strict=False)
    )

    def go(which: str) -> None:
        if which == "replicas":
            solvers.integrate(flow, starts, t_end, method=method, save=2)
        elif which == "solo":
            for r in range(count):
                solo(r, method)
        else:
            with python_steps():
                for r in range(len(stepped)):
                    solo(r, how)

    rows = []
    for number in threads:
        _threads.thread_count = lambda number=number: number
        times: dict[str, list[tuple[float, float]]] = {"replicas": [], "solo": [], "steps": []}
        for _ in range(rounds):
            for which, runs in (("replicas", len(starts)), ("solo", count), ("steps", len(stepped))):
                times[which].append(timed(lambda which=which: go(which), runs))
        clock = 1 if number == 1 else 0
        row = {
            "case": name,
            "threads": number,
            "replicas": len(starts),
            "method": together[0].stats["method"],
        }
        row |= {
            "steps": statistics.mean(run.stats["steps"] for run in together),
            "same_bits": same,
            "near": near,
        }
        for which, found in times.items():
            row[f"{which}_ms"] = 1e3 * statistics.median(t[clock] for t in found)
        for which in ("solo", "steps"):
            row[f"{which}_ratio"] = statistics.median(
                t[clock] / o[clock] for t, o in zip(times[which], times["replicas"], strict=True)
            )
        row |= {"goal": GOAL, "met": row["steps_ratio"] >= GOAL}
        rows.append(row)
    return rows


def line(row: dict[str, Any]) -> str:
    text = f"{row['case']:36} {row['threads']:7} {row['steps']:6.0f} {row['replicas_ms']:10.3f} {row['solo_ms']:8.2f} "
    text += f"{row['steps_ms']:9.2f} {row['solo_ratio']:8.1f} {row['steps_ratio']:8.1f} "
    text += f"{row['goal']:5.0f} {'met' if row['met'] else 'MISSED'}"
    if not row["same_bits"]:
        text += "  OTHER BITS"
    return text + ("" if row["near"] else "  DISAGREES")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicas", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (the median is reported)")
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--only", nargs="*", help="parts of the names of cases")
    parser.add_argument("--json", help="write the rows here as well")
    options = parser.parse_args()
    for name in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{name}_NUM_THREADS"] = "1"
    os.environ["NUMBA_NUM_THREADS"] = str(max(options.threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    print(f"{'ms a run':36} {'threads':>7} {'steps':>6} {'replicas':>10} {'solo':>8} {'stepped':>9} ", end="")
    print(f"{'x solo':>8} {'x steps':>8}  goal")
    rows = []
    for case in cases(options.replicas):
        if options.only and not any(word in case[0] for word in options.only):
            continue
        for row in measure(case, options.rounds, options.threads):
            rows.append(row)
            print(line(row), flush=True)
    print(f"goals met: {sum(row['met'] for row in rows)} of {len(rows)}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()

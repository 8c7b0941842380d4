"""Cost of one velocity of a two-layer network against data, particles, inputs and threads, with fitted exponents.

    python benchmarks/scaling.py [--rounds 5] [--seconds 0.05] [--threads 2] [--json FILE]

One call of `Objective.velocity`, float64, bias, all layers moving. Sizes of a sweep take turns; processor time of one
thread, the median of rounds. Exponents are least squares of log cost on log size, over the sizes whose cost is at least
`ABOVE` times that of the smallest problem there is (one datum, one particle), and, for inputs, over d >= 8: below, an
evaluation is bound by what does not depend on d. Threads: wall time, one against several, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

ACTIVATIONS = ("relu", "tanh")
SWEEPS: dict[str, tuple[dict[str, int], list[int]]] = {
    "n": ({"d": 2, "m": 1000}, [30, 100, 300, 1000, 3000, 10_000, 30_000]),
    "m": ({"d": 2, "n": 500}, [30, 100, 300, 1000, 3000, 10_000, 30_000]),
    "d": ({"n": 500, "m": 1000}, [1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512, 1024]),
}
QUICK = {"n": 10_000, "m": 10_000, "d": 256}
THREADED = [(200, 1000), (500, 3000), (500, 10_000), (2000, 10_000)]
ABOVE, INPUTS_FROM = 4.0, 8


def evaluation(activation: str, n: int, m: int, d: int) -> Callable[[], Any]:
    import numpy as np

    import meanfield as mf

    rng = np.random.default_rng(0)
    network = mf.TwoLayer(activation, d=d)
    objective = mf.Objective(network, rng.standard_normal((n, d)) / np.sqrt(d), rng.standard_normal(n))
    mu = mf.ParticleMeasure.gaussian(network, m, rng=0)
    return lambda: objective.velocity(mu)


def per_call(call: Callable[[], Any], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        call()
    return (clock() - start) / calls


def costs(ways: list[Callable[[], Any]], rounds: int, seconds: float) -> list[float]:
    """Processor seconds of a call, the median of interleaved rounds."""
    calls = []
    for way in ways:
        way()
        calls.append(max(1, int(seconds / max(1e-6, per_call(way, 2, time.process_time)))))
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, count, found in zip(ways, calls, times, strict=True):
            found.append(per_call(way, count, time.process_time))
    return [statistics.median(found) for found in times]


def sweep(activation: str, name: str, options: Any) -> dict[str, Any]:
    import numpy as np

    fixed, sizes = SWEEPS[name]
    sizes = [size for size in sizes if not options.quick or size <= QUICK[name]]
    ways = [evaluation(activation, 1, 1, 2)]
    ways += [evaluation(activation, **{**fixed, name: size}) for size in sizes]
    overhead, *found = costs(ways, options.rounds, options.seconds)
    fitted = [
        (size, cost)
        for size, cost in zip(sizes, found, strict=True)
        if cost >= ABOVE * overhead and (name != "d" or size >= INPUTS_FROM)
    ]
    x, y = (np.log([pair[k] for pair in fitted]) for k in (0, 1))
    exponent, constant = np.polyfit(x, y, 1)
    where = ", ".join(f"{key} = {value}" for key, value in fixed.items())
    return {
        "activation": activation,
        "in": name,
        "at": where,
        "exponent": float(exponent),
        "residual": float(np.expm1(np.abs(y - exponent * x - constant).max())),
        "fitted_from": fitted[0][0],
        "overhead": overhead,
        "sizes": sizes,
        "seconds": found,
    }


def threads(activation: str, options: Any) -> list[dict[str, Any]]:
    """Wall seconds of a call on one thread over those on several."""
    from solvers import _threads

    rows = []
    for n, m in THREADED[: 3 if options.quick else None]:
        call = evaluation(activation, n, m, 2)
        call()
        calls = max(1, int(2 * options.seconds / per_call(call, 2, time.perf_counter)))

        def on(number: int, call: Any = call, calls: int = calls) -> float:
            _threads.thread_count = lambda: number
            return per_call(call, calls, time.perf_counter)

        on(options.threads)
        pairs = [(on(1), on(options.threads)) for _ in range(3 * options.rounds)]
        ratio = statistics.median(one / several for one, several in pairs)
        row = {"activation": activation, "n": n, "m": m, "threads": options.threads, "ratio": ratio}
        rows.append(row | {"seconds": statistics.median(one for one, _ in pairs)})
    _threads.thread_count = lambda: 1
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (the median is reported)")
    parser.add_argument("--seconds", type=float, default=0.05, help="aim of one timing")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="leave out the largest sizes")
    parser.add_argument("--json", help="write the rows here as well")
    options = parser.parse_args()
    for name in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{name}_NUM_THREADS"] = "1"
    os.environ["NUMBA_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from solvers import _threads

    _threads.thread_count = lambda: 1
    report: dict[str, Any] = {"scaling": [], "threads": []}
    for activation in ACTIVATIONS:
        for name in SWEEPS:
            row = sweep(activation, name, options)
            report["scaling"].append(row)
            print(
                f"{activation}: cost ~ {name}^{row['exponent']:.2f} at {row['at']}, from {name} = {row['fitted_from']} "
                f"on (within {100 * row['residual']:.0f} %; overhead {1e6 * row['overhead']:.0f} us)"
            )
            cells = zip(row["sizes"], row["seconds"], strict=True)
            print("   " + ", ".join(f"{size}: {1e6 * cost:.0f} us" for size, cost in cells), flush=True)
    if options.threads > 1:
        print(f"one thread over {options.threads}, wall time, load {os.getloadavg()[0]:.1f}")
        for activation in ACTIVATIONS:
            for row in threads(activation, options):
                report["threads"].append(row)
                time_one = f"{1e3 * row['seconds']:.2f} ms on one"
                print(
                    f"   {activation}, n = {row['n']}, m = {row['m']}: {row['ratio']:.2f} ({time_one})",
                    flush=True,
                )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()

"""Nanoseconds a number of the vector mathematics and of the noise, beside NumPy, SciPy and Numba's own.

    python benchmarks/vecmath.py [--runs 9] [--json FILE]

Loops over 1024 numbers in L1, one thread, process CPU time, the smallest of interleaved rounds. `lanes` is the width
in bits of the vectors that the compiled loop works with; none of it calls libm. Goals are those of issue 3 (exp, tanh,
sigmoid, softplus, erf in float64, tanh in float32, and a normal).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from scipy import special

from solvers import _vecmath, noise
from solvers._jit import FAST

SIZE, REPEATS = 1024, 400
GOALS = {
    ("exp", "float64"): 0.68,
    ("tanh", "float64"): 1.0,
    ("tanh", "float32"): 0.35,
    ("sigmoid", "float64"): 0.83,
    ("softplus", "float64"): 2.2,
    ("erf", "float64"): 3.0,
    ("normal", "float64"): 2.0,
}
# Ours by name; NumPy's or SciPy's; what Numba makes of the same formula.
FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "exp": (np.exp, math.exp),
    "expm1": (np.expm1, math.expm1),
    "tanh": (np.tanh, math.tanh),
    "sigmoid": (special.expit, None),
    "softplus": (lambda x, out: np.logaddexp(0.0, x, out=out), None),
    "log": (np.log, math.log),
    "log1p": (np.log1p, math.log1p),
    "erf": (special.erf, math.erf),
}


def loop(f: Any) -> Any:
    """A compiled loop over an array, repeated so that the call from Python does not count."""

    @numba.njit(error_model="numpy", fastmath=FAST)
    def run(x: Any, out: Any, repeats: int) -> None:
        for _ in range(repeats):
            for i in range(x.size):
                out[i] = f(x[i])

    return run


def lanes(run: Any) -> int:
    """Bits of the widest vectors in the compiled loop."""
    assembly = "".join(run.inspect_asm().values())
    return next(
        (bits for name, bits in (("zmm", 512), ("ymm", 256), ("xmm", 128)) if f"%{name}" in assembly), 0
    )


def measure(contestants: dict[str, Callable[[], object]], numbers: int, runs: int) -> dict[str, float]:
    """Nanoseconds a number, each the smallest of `runs` interleaved rounds."""
    best = dict.fromkeys(contestants, math.inf)
    for work in contestants.values():
        work()
    for _ in range(runs):
        for name, work in contestants.items():
            start = time.process_time()
            work()
            best[name] = min(best[name], 1e9 * (time.process_time() - start) / numbers)
    return best


def functions(kind: Any, runs: int) -> list[dict[str, Any]]:
    """One row for each function."""
    rows = []
    for name, (library, libm) in FUNCTIONS.items():
        x = np.random.default_rng(0).uniform(-4, 4, SIZE).astype(kind)
        x = np.abs(x) + kind(0.01) if name.startswith("log") else x
        out = np.empty_like(x)
        ours = loop(getattr(_vecmath, name))

        def arrays(library: Any = library, x: Any = x, out: Any = out) -> None:
            for _ in range(REPEATS):
                library(x, out)

        contestants = {"ours": lambda ours=ours, x=x, out=out: ours(x, out, REPEATS), "arrays": arrays}
        if libm is not None:
            own = loop(libm)
            contestants["libm"] = lambda own=own, x=x, out=out: own(x, out, REPEATS)
        times = measure(contestants, SIZE * REPEATS, runs)
        rows.append({"name": name, "kind": np.dtype(kind).name, "lanes": lanes(ours), **times})
    return rows


@numba.njit
def many_normals(out: Any, repeats: int) -> None:
    for step in range(repeats):
        noise.fill_normals(np.uint64(1), np.uint64(2), step, 0, out)


@numba.njit
def own_normals(out: Any, repeats: int) -> None:
    for _ in range(repeats):
        for i in range(out.size):
            out[i] = np.random.standard_normal()  # noqa: NPY002  (the one that Numba compiles)


def normals(kind: Any, runs: int) -> dict[str, Any]:
    """A normal: ours, NumPy's generator for whole arrays, and Numba's own."""
    out, generator = np.empty(SIZE, kind), np.random.default_rng(0)

    def arrays() -> None:
        for _ in range(REPEATS):
            generator.standard_normal(out=out, dtype=kind)

    contestants = {
        "ours": lambda: many_normals(out, REPEATS),
        "arrays": arrays,
        "libm": lambda: own_normals(out, REPEATS),
    }
    times = measure(contestants, SIZE * REPEATS, runs)
    return {"name": "normal", "kind": np.dtype(kind).name, "lanes": lanes(noise.fill_normals), **times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9, help="interleaved rounds (the smallest is reported)")
    parser.add_argument("--json", help="write the rows here as well")
    options = parser.parse_args()
    print(f"{'':10}{'':10}{'lanes':>6}{'ours':>8}{'arrays':>8}{'numba':>8}{'goal':>7}")
    rows = []
    for kind in (np.float64, np.float32):
        for row in (*functions(kind, options.runs), normals(kind, options.runs)):
            goal = GOALS.get((row["name"], row["kind"]))
            note = "" if goal is None else f"{goal:7.2f}  {'met' if row['ours'] <= goal else 'missed'}"
            own = f"{row['libm']:8.2f}" if "libm" in row else f"{'-':>8}"
            head = f"{row['name']:10}{row['kind']:10}{row['lanes']:6}"
            print(f"{head}{row['ours']:8.3f}{row['arrays']:8.2f}{own}{note}")
            rows.append({**row, "goal": goal})
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()

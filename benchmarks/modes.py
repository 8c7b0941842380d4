"""What `RosenbrockW` pays for a set of modes, from the Gram matrix or from products, and `RODAS4` for a step's systems.

    python benchmarks/modes.py

Milliseconds of process time, best of three, one thread; the predictions from which products are cheaper are
``solvers._rosenbrock.LARGEST_GRAM``. Sizes: inputs d, data n (the predictions), neurons m.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

import meanfield as mf
from solvers._low_rank import WoodburySystem, gram_modes, lanczos_modes
from solvers._threads import one_blas_thread

SIZES = ((2, 100, 1000), (2, 200, 1000), (2, 400, 1000), (2, 800, 1000), (10, 200, 1000), (10, 500, 1000))
COLUMNS = ("velocity", "product", "Gram modes", "Lanczos modes", "vectors", "low rank", "factor", "solve")
REACH = 100.0


def milliseconds(work: Callable[[], object]) -> float:
    work()
    found = []
    for _ in range(3):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return 1e3 * min(found)


def row(activation: str, d: int, n: int, m: int) -> list[float]:
    X = np.random.default_rng(0).standard_normal((n, d))
    network = mf.TwoLayer(activation, d=d)
    flow = mf.WassersteinFlow(mf.Objective(network, X, np.sin(X[:, 0])))
    mu = mf.ParticleMeasure.gaussian(network, m, rng=0)
    bound = flow.prepare(mu)
    z = bound.pack(mu)
    out = np.empty_like(z)
    velocity = bound.velocity(0.0, z, np.empty_like(z))

    linear = bound.linearize(0.0, z)
    weight = linear.weight
    assert weight is not None

    def by_gram() -> None:
        gram_modes(bound.linearize(0.0, z).low_rank(), weight, REACH)

    def by_lanczos() -> int:
        return lanczos_modes(bound.linearize(0.0, z).product, weight, velocity, REACH)[1]

    system = WoodburySystem(linear.low_rank(), z.size)
    return [
        milliseconds(lambda: bound.velocity(0.0, z, out)),
        milliseconds(lambda: linear.product(velocity, out)),
        milliseconds(by_gram),
        milliseconds(by_lanczos),
        by_lanczos(),
        milliseconds(linear.low_rank),
        milliseconds(lambda: system.factor(1.0)),
        milliseconds(lambda: system.solve(z, out)),
    ]


def main() -> None:
    print(f"{'':>22}" + "".join(f"{name:>15}" for name in COLUMNS))
    with one_blas_thread():
        for activation in ("tanh", "relu"):
            for size in SIZES:
                name = f"{activation} {size}"
                print(f"{name:>22}" + "".join(f"{x:>15.2f}" for x in row(activation, *size)), flush=True)


if __name__ == "__main__":
    main()

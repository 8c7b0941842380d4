"""Evaluations and time to t_end on six particle flows, by our methods, Euler at its limit, and SciPy's solvers.

    python benchmarks/stiff.py [--problems tanh_long ...] [--seconds 60] [--json FILE]

Every method runs at several tolerances; what is reported, for errors of 1e-3, 1e-5 and 1e-6 in the predictions
(relative root mean square, at the end), is the cheapest run that is as accurate. Evaluations count velocities and,
where a method asks for them, products with the Jacobian (which cost about as much). Errors are against a fine run of
ours by a method that the problem suits, checked by a second one; `agreement` is their distance. SciPy gets the same
compiled velocity.
A run that would take longer than --seconds of CPU is given up, and said to be.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import stiff_problems

import solvers

TARGETS = (1e-3, 1e-5, 1e-6)
LOOSE, TIGHT = (1e-1, 3e-2, 1e-2, 1e-3, 1e-4), (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
# The fine run and the one that checks it.
REFERENCES: dict[str, tuple[Any, Any]] = {
    "tanh_long": (solvers.EXPRB32(rtol=1e-8, atol=1e-11), solvers.RKC2(rtol=1e-7, atol=1e-10)),
    "relu_plane": (solvers.RK4(step=0.01), solvers.Heun(step=0.01)),
    "relu_ten": (solvers.RK4(step=0.02), solvers.Heun(step=0.02)),
    "lazy": (solvers.EXPRB32(rtol=1e-8, atol=1e-11), solvers.EXPRB32(rtol=1e-7, atol=1e-10)),
    "deconvolution": (solvers.RODAS4(rtol=1e-8, atol=1e-11), solvers.RODAS4(rtol=1e-7, atol=1e-10)),
    "soft_min": (solvers.DormandPrince(rtol=1e-10, atol=1e-13), solvers.EXPRB32(rtol=1e-8, atol=1e-11)),
}


class TooLong(Exception):
    """More CPU time than allowed."""


class Counted:
    """A bound flow that counts its velocities and stops when the time is up."""

    def __init__(self, bound: Any, seconds: float) -> None:
        self.bound, self.count, self.until = bound, 0, time.process_time() + seconds

    def __call__(self, t: float, z: Any) -> Any:
        self.count += 1
        if self.count % 64 == 0 and time.process_time() > self.until:
            raise TooLong
        return self.bound.velocity(t, z, np.empty_like(z))


def ours(method: Any) -> Callable[..., Any]:
    def run(flow: Any, start: Any, t_end: float, seconds: float) -> tuple[Any, int, str]:
        budget = solvers.stop_at_time_budget(2.0 * seconds)
        done = solvers.integrate(flow, start, t_end, method=method, save=2, until=budget)
        if done.status.name != "reached_end":
            raise TooLong
        stats = done.stats
        note = f"{stats['method']}: {stats['why']}" if isinstance(method, solvers.Auto) else ""
        return done.final, int(stats["evaluations"]) + int(stats.get("jv", 0)), note

    return run


def scipys(name: str, rtol: float) -> Callable[..., Any]:
    def run(flow: Any, start: Any, t_end: float, seconds: float) -> tuple[Any, int, str]:
        from scipy.integrate import solve_ivp

        bound = flow.prepare(start)
        f = Counted(bound, seconds)
        z = bound.pack(start)
        done = solve_ivp(f, (0.0, t_end), z, method=name, rtol=rtol, atol=rtol / 1000, t_eval=[t_end])
        if not done.success:
            raise TooLong(done.message)
        return bound.unpack(np.ascontiguousarray(done.y[:, -1]), start), f.count, ""

    return run


def euler(flow: Any, start: Any, t_end: float, seconds: float) -> tuple[Any, int, str]:
    """Euler at 1.8 over the spectral radius at the start, made smaller until it does not blow up."""
    from solvers.spectrum import spectral_radius

    bound = flow.prepare(start)
    z = bound.pack(start)
    v = bound.velocity(0.0, z, np.empty_like(z))
    rho = spectral_radius(bound.linearize(0.0, z).product, v).value
    for factor in (1.8, 0.9, 0.45, 0.2):
        steps = math.ceil(t_end * rho / factor)
        try:
            final, count, _ = ours(solvers.Euler(step=t_end / steps))(flow, start, t_end, seconds)
        except solvers.DivergenceError:
            continue
        return final, count, f"h = {factor}/rho"
    raise TooLong("Euler blew up")


def contenders(smooth: bool) -> list[tuple[str, float, Callable[..., Any]]]:
    tolerances = TIGHT if smooth else LOOSE
    found: list[tuple[str, float, Callable[..., Any]]] = [
        ("Auto", tol, ours(solvers.Auto(rtol=tol))) for tol in tolerances
    ]
    for method in (solvers.RKC2, solvers.EXPRB32, solvers.RosenbrockW, solvers.RODAS4, solvers.DormandPrince):
        found += [(method.__name__, tol, ours(method(rtol=tol, atol=tol / 1000))) for tol in tolerances]
    if not smooth:
        found += [
            ("BogackiShampine", tol, ours(solvers.BogackiShampine(rtol=tol, atol=tol / 1000)))
            for tol in tolerances
        ]
    found.append(("Euler at its limit", math.nan, euler))
    for name in ("RK45", "LSODA", "BDF"):
        found += [(f"scipy {name}", tol, scipys(name, tol)) for tol in (1e-3, 1e-5, 1e-7)]
    return found


def measure(problem: Any, seconds: float, only: Any = None) -> list[dict[str, Any]]:
    flow, start, t_end, title = problem()
    predict = flow.objective.predict
    fine, check = (ours(method)(flow, start, t_end, 1e9)[0] for method in REFERENCES[problem.__name__])
    exact = predict(fine)
    size = max(math.sqrt(np.mean(exact**2)), math.sqrt(np.mean(flow.objective.y**2)))

    def error(state: Any) -> float:
        return math.sqrt(np.mean((predict(state) - exact) ** 2)) / size

    agreement = error(check)
    rows = []
    given_up: set[str] = set()
    for name, tolerance, run in contenders(bool(flow.objective.smooth)):
        if name in given_up or (only and name not in only):
            continue
        row: dict[str, Any] = {"problem": title, "method": name, "rtol": tolerance, "agreement": agreement}
        began, wall = time.process_time(), time.perf_counter()
        try:
            state, count, note = run(flow, start, t_end, seconds)
            row |= {"error": error(state), "evaluations": count, "note": note}
        except solvers.InputError as problem_:
            row["failed"] = str(problem_).split(";")[0]
            given_up.add(name)
        except (TooLong, solvers.DivergenceError) as problem_:
            row["failed"] = f"more than {seconds:g} s" if isinstance(problem_, TooLong) else str(problem_)
            given_up.add(name)  # tighter tolerances take longer still
        row |= {"cpu": time.process_time() - began, "wall": time.perf_counter() - wall}
        rows.append(row)
    return rows


def best(rows: list[dict[str, Any]], target: float) -> dict[str, dict[str, Any]]:
    """Of each method the run with the least time among those at least as accurate as `target`."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.get("error", math.inf) <= target:
            other = found.get(row["method"])
            if other is None or row["cpu"] < other["cpu"]:
                found[row["method"]] = row
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [problem.__name__ for problem in stiff_problems.PROBLEMS]
    parser.add_argument("--problems", nargs="*", default=names, choices=names)
    parser.add_argument("--methods", nargs="*", help="only these")
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU time after which a run is given up")
    parser.add_argument("--all", action="store_true", help="print every run")
    parser.add_argument("--json", help="write the rows here as well")
    options = parser.parse_args()
    everything = []
    for name in options.problems:
        rows = measure(getattr(stiff_problems, name), options.seconds, options.methods)
        everything += rows
        print(f"\n{rows[0]['problem']}  (two fine runs agree to {rows[0]['agreement']:.1e})")
        if options.all:
            for row in rows:
                if "failed" in row:
                    print(f"  {row['method']:20} {row['rtol']:7.0e}  {row['failed'][:70]}")
                else:
                    print(
                        f"  {row['method']:20} {row['rtol']:7.0e}  error {row['error']:.1e} {row['evaluations']:8d} "
                        f"{row['cpu']:8.2f} s  {row['note'][:90]}"
                    )
        for target in TARGETS:
            winners = best(rows, target)
            if not winners:
                continue
            print(f" error {target:.0e}:")
            for method, row in sorted(winners.items(), key=lambda item: item[1]["cpu"]):
                print(
                    f"  {method:20} {row['evaluations']:8d} evaluations {row['cpu']:8.2f} s CPU "
                    f"rtol {row['rtol']:.0e} error {row['error']:.1e} {row['note'][:60]}"
                )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(everything, file, indent=1)


if __name__ == "__main__":
    main()

"""All benchmarks in one table: ours, each peer, ratio, goal, met or not, and the share of what the machine can do.

    python benchmarks/report.py [--quick] [--parts step line ...] [--store parts.json] [--out benchmarks/results.md]

Every part is a script of this folder in a process of its own; one that fails or takes too long is reported and the
others go on. The file is written anew after each part; with --store, parts that earlier calls measured stay in it.
PyTorch and JAX are compared where they are installed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import step
import stiff as stiff_run
import stiff_table

HERE = Path(__file__).resolve().parent
PEERS = {"numpy": "NumPy", "torch": "PyTorch", "compile": "torch.compile", "jax": "JAX", "other": "other"}
PACKAGES = ("meanfield-nets", "numpy", "numba", "llvmlite", "scipy", "torch", "jax")
# A goal missed by less than this is noise until repeated.
NOISE = 0.2


@dataclass
class Row:
    """One line of the table; `cells` holds (value in words, ratio, goal, met) of peers."""

    work: str
    shape: str
    dtype: str
    ours: str
    cells: dict[str, tuple[str, float | None, float | None]] = field(default_factory=dict)
    share: str = ""
    note: str = ""

    def verdicts(self) -> list[tuple[str, float, float]]:
        """Peer, ratio and goal, wherever there is a goal."""
        return [
            (peer, ratio, goal) for peer, (_, ratio, goal) in self.cells.items() if goal and ratio is not None
        ]

    def text(self) -> str:
        cells = []
        for peer in PEERS:
            if peer not in self.cells:
                cells.append("")
                continue
            value, ratio, goal = self.cells[peer]
            more = "" if ratio is None else f"x{ratio:.3g}"
            if goal and ratio is not None:
                more += f" of {goal:g} {'met' if ratio >= goal else '**missed**'}"
            cells.append(f"{value} ({more})" if more else value)
        return (
            "| "
            + " | ".join([self.work, self.shape, self.dtype, self.ours, *cells, self.share, self.note])
            + " |"
        )


@dataclass
class Part:
    """What one script gave: lines of the table, lines of text below it, what went wrong."""

    rows: list[Row] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    when: str = ""


def run(script: str, *arguments: str, minutes: float, threads: int = 1) -> Any:
    """The JSON that a script writes."""
    names = ("OMP", "OPENBLAS", "MKL", "NUMBA")
    environment = {**os.environ, **{f"{name}_NUM_THREADS": str(threads) for name in names}}
    environment["OMP_WAIT_POLICY"] = "passive"
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, str(HERE / script), *arguments, "--json", str(file)]
        print(f"  {script} {' '.join(arguments)}", flush=True)
        # in a session of its own: what it started in turn ends with it
        child = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            status = child.wait(timeout=60 * minutes)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        if status != 0:
            raise subprocess.CalledProcessError(status, command)
        return json.loads(file.read_text())


def attempt(part: Part, what: str, work: Callable[[], None]) -> None:
    """Do `work`; what goes wrong is a line of the report."""
    try:
        work()
    except subprocess.TimeoutExpired as error:
        part.failed.append(f"{what}: given up after {error.timeout:.0f} s")
    except subprocess.CalledProcessError as error:
        part.failed.append(f"{what}: exit status {error.returncode}")
    except Exception as error:
        part.failed.append(f"{what}: {type(error).__name__}: {error}")


def steps(quick: bool) -> Part:
    part = Part()
    shapes = (
        step.SHAPES if not quick else [s for s in step.SHAPES if not s.endswith(("5000", "784:1000:2000"))]
    )
    arguments = ["--runs", "3", "--seconds", "0.05"] if quick else []
    arguments += ["--dtypes", "float64"] if quick else []
    arguments += ["--peers", "numpy", "torch", "jax"] if quick else []

    def one(shape: str) -> None:
        found = run("step.py", "--shapes", shape, *arguments, minutes=3 if quick else 8)
        for dtype in dict.fromkeys(row["dtype"] for row in found):
            mine = [row for row in found if row["dtype"] == dtype]
            ours = next(row for row in mine if row["peer"] == "ours")
            if "missing" in ours:
                part.failed.append(f"step {shape} {dtype}: {ours['missing']}")
                continue
            activation, d, n, m = shape.split(":")
            line = Row(
                f"step, {activation}", f"d = {d}, n = {n}, m = {m}", dtype, f"{ours['cpu_ns']:.3g} ns a pair"
            )
            line.share = f"{100 * ours['share']:.0f} % of a matrix product"
            if "activation_share" in ours:
                line.share += f"; {100 * ours['activation_share']:.0f} % of bare {activation}"
            if ours["goal"] is not None:
                line.share += f" ({100 * ours['goal']:.0f} % {'met' if ours['met'] else '**missed**'})"
                line.cells["share"] = ("", ours["share"], ours["goal"])
            for row in mine:
                if row is ours:
                    continue
                if "missing" in row:
                    line.cells[row["peer"]] = ("-", None, None)
                    part.text.append(f"{shape} {dtype}, {row['peer']}: left out, {row['missing']}")
                    continue
                line.cells[row["peer"]] = (f"{row['cpu_ns']:.3g}", row["ratio"], row["goal"])
                if not row["agrees"]:
                    line.note += f"{row['peer']} disagrees; "
            part.rows.append(line)

    for shape in shapes:
        attempt(part, f"step {shape}", lambda shape=shape: one(shape))  # type: ignore[misc]
    return part


def on_line(quick: bool) -> Part:
    part = Part()

    def work() -> None:
        found = run("line.py", *(["--runs", "5", "--seconds", "0.05"] if quick else []), minutes=5)
        for row in found["shapes"]:
            goal = 15.0 if row["n"] == 1000 else None
            line = Row("step, relu, O(n + m)", f"d = 1, n = {row['n']}, m = {row['m']}", "float64", "")
            line.ours = f"{1e6 * row['compiled']:.0f} us"
            line.cells["other"] = (f"all pairs {1e6 * row['all pairs']:.0f} us", row["ratio"], goal)
            line.note = "" if row["agrees"] else "disagrees"
            part.rows.append(line)
        for row in found["scaling"]:
            sizes = f"{row['sizes'][0]} to {row['sizes'][-1]}"
            part.text.append(f"one step on a line costs {row['in']}^{row['exponent']:.2f} ({sizes})")

    attempt(part, "line", work)
    return part


def numbers(quick: bool) -> Part:
    part = Part()

    def work() -> None:
        for row in run("vecmath.py", *(["--runs", "5"] if quick else []), minutes=5):
            line = Row(row["name"], "1024 numbers in L1", row["kind"], f"{row['ours']:.3g} ns")
            line.cells["numpy"] = (f"{row['arrays']:.3g} ns", row["arrays"] / row["ours"], None)
            if row["goal"] is not None:
                line.cells["other"] = (f"goal {row['goal']:g} ns", row["goal"] / row["ours"], 1.0)
            line.note = f"{row['lanes']}-bit vectors"
            part.rows.append(line)

    attempt(part, "vector mathematics", work)
    return part


def many(quick: bool) -> Part:
    part = Part()

    def work() -> None:
        cut = ["--replicas", "64", "--rounds", "3", "--threads", "1"] if quick else []
        for row in run("replicas.py", *cut, minutes=3 if quick else 15, threads=1 if quick else 2):
            shape = f"R = {row['replicas']}, {row['threads']} thread{'s' if row['threads'] > 1 else ''}"
            ours = f"{row['replicas_ms']:.3g} ms a run of {row['steps']:.0f} steps"
            line = Row(f"replicas (50, 100), {row['case']}", shape, "float64", ours)
            line.cells["other"] = (
                f"Python steps {row['steps_ms']:.3g} ms",
                row["steps_ratio"],
                row["goal"],
            )
            line.note = f"solo as shipped {row['solo_ms']:.3g} ms (x{row['solo_ratio']:.2g})"
            if not row["same_bits"]:
                line.note += "; OTHER BITS than solo"
            if not row["near"]:
                line.note += "; Python steps disagree"
            part.rows.append(line)

    attempt(part, "replicas", work)
    return part


def scaling(quick: bool) -> Part:
    part = Part()

    def work() -> None:
        found = run("scaling.py", *(["--quick", "--rounds", "3"] if quick else []), minutes=6, threads=2)
        part.text += ["| activation | cost | at | fitted from | within | cost at sizes |", "|" + " --- |" * 6]
        for row in found["scaling"]:
            sizes = ", ".join(
                f"{s}: {1e6 * c:.3g} us" for s, c in zip(row["sizes"], row["seconds"], strict=True)
            )
            part.text.append(
                f"| {row['activation']} | {row['in']}^{row['exponent']:.2f} | {row['at']} | "
                f"{row['in']} = {row['fitted_from']} | {100 * row['residual']:.0f} % | {sizes} |"
            )
        overhead = max(row["overhead"] for row in found["scaling"])
        part.text.append(f"\nOverhead of a call (one datum, one particle): {1e6 * overhead:.0f} us.")
        for row in found["threads"]:
            shape = f"d = 2, n = {row['n']}, m = {row['m']}"
            goal = 1.7 if row["n"] * row["m"] >= 5_000_000 else None
            line = Row(f"velocity, {row['activation']}, {row['threads']} threads", shape, "float64", "")
            line.ours = f"{1e3 * row['seconds'] / row['ratio']:.3g} ms"
            line.cells["other"] = (f"one thread {1e3 * row['seconds']:.3g} ms", row["ratio"], goal)
            line.note = "wall time; the goal is for a quiet machine" if goal else "wall time"
            part.rows.append(line)

    attempt(part, "scaling", work)
    return part


def start(quick: bool) -> Part:
    part = Part()

    def work() -> None:
        found = run("startup.py", *(["--runs", "3"] if quick else []), minutes=8)
        for name, goal in (("import", 0.9), ("first result, warm cache", 1.5)):
            line = Row(name, "a new process", "float64", f"{found[name]:.2f} s")
            line.cells["other"] = (f"goal {goal} s", goal / found[name], 1.0)
            line.note = f"wall time; {found[f'{name}, CPU']:.2f} s of CPU"
            part.rows.append(line)
        part.text.append(f"First result with an empty kernel cache: {found['empty']:.1f} s.")
        memory = [f"{value:.0f} MB {name[3:]}" for name, value in found.items() if name.startswith("MB ")]
        part.text.append(f"Peak memory: {', '.join(memory)}.")

    attempt(part, "start-up", work)
    return part


def compilation(quick: bool) -> Part:
    part = Part()

    def work() -> None:
        for row in run("compilation.py", *(["--quick"] if quick else []), minutes=8):
            line = Row(f"compile, {row['activation']}", f"d = {row['d']}; {row['run']}", row["dtype"], "")
            line.ours = f"{row['clock']:.2f} s"
            if row["goal"] is not None:
                # less than a hundredth of a second is nothing compiled
                ratio = row["goal"] / max(row["clock"], 0.01)
                line.cells["other"] = (f"goal {row['goal']:g} s", ratio, 1.0)
            line.note = f"wall time; {row['cpu']:.2f} s of CPU"
            part.rows.append(line)

    attempt(part, "compilation", work)
    return part


def deep(quick: bool) -> Part:
    part = Part()

    def work() -> None:
        cut = ["--runs", "3", "--seconds", "0.05", "--nets", "dense:100", "resnet:100", "conv1d:100"]
        for row in run("deep.py", *(cut if quick else []), minutes=10):
            shape = f"n = {row['n']}, {row['weights']} weights"
            line = Row(f"full-batch step, {row['net']}", shape, "float64", f"{row['ours_ms']:.3g} ms")
            if "missing" in row:
                line.cells["torch"] = ("-", None, None)
                line.note = row["missing"]
            else:
                line.cells["torch"] = (f"{row['torch_ms']:.3g} ms", row["ratio"], None)
                line.note = "" if row["agrees"] else f"DISAGREES by {row['apart']:.1e}"
            part.rows.append(line)

    attempt(part, "deep networks", work)
    return part


def density(quick: bool) -> Part:
    part = Part()
    goals = {"fplanck, 200 cells": 1000.0, "fplanck, 96 x 96": 20.0, "1e5 particles": 100.0}

    def work() -> None:
        found = run("density.py", "--runs", "3" if quick else "9", minutes=8)
        for title, rows in found["tables"].items():
            ours = next(row for row in rows if row["name"].startswith("ours"))
            for row in rows:
                if row is not ours and row["name"].startswith("ours"):
                    line = Row(f"Fokker-Planck, {title}", row["name"].removeprefix("ours "), "float64", "")
                    line.ours, line.note = f"{row['ms']:.3g} ms", f"error {row['error']:.1e}"
                    part.rows.append(line)
                    continue
                if row is ours:
                    continue
                line = Row(f"Fokker-Planck, {title}", ours["name"].removeprefix("ours "), "float64", "")
                line.ours = f"{ours['ms']:.3g} ms"
                if "failed" in row:
                    line.note = f"{row['name']}: {row['failed']}"
                else:
                    ratio = row["ms"] / ours["ms"]
                    line.cells["other"] = (f"{row['name']} {row['ms']:.4g} ms", ratio, goals.get(row["name"]))
                    line.note = f"errors {ours['error']:.1e} and {row['error']:.1e}"
                part.rows.append(line)
        for flux, numbers in found["orders"].items():
            errors = ", ".join(f"{e:.1e}" for e in numbers[:-1])
            part.text.append(f"{flux}: L1 errors {errors} at 25 to 400 cells, order {numbers[-1]:.2f}")
        s = found["structure"]
        part.text.append(
            f"- mass within {s['mass']:.1e}, Gibbs density kept within {s['gibbs']:.1e} relative"
        )
        part.text.append(f"energy rises by at most {s['energy']:.1e} in a step, steps from 1e-3 to 100")
        part.text.append(f"gap of the linearized operator {s['gap']:.7f}, measured decay {s['decay']:.7f}")

    attempt(part, "density", work)
    return part


def reference(quick: bool) -> Part:
    part = Part()

    def work() -> None:
        cut = ["--iterations", "100000", "--rounds", "1"] if quick else []
        row = run("reference.py", *cut, minutes=8)
        line = Row("reference figure, both layers", "k = 4, n = 100, d = 3, m = 500", "float64", "")
        line.ours = f"{row['cpu']:.1f} s of CPU for {row['iterations']} iterations, {row['peak_mb']:.0f} MB"
        theirs = f"{row['numpy_cpu']:.0f} s (from {row['numpy_iterations']}), {row['numpy_peak_mb']:.0f} MB"
        line.cells["numpy"] = (theirs, row["ratio"], None)
        if not quick:
            line.cells["other"] = ("its authors: 600 s", 600.0 / row["cpu"], None)
        line.note = (
            f"{row['wall']:.1f} s of wall time; agree to {row['difference']:.0e} after 2000; "
            f"{row['classified']} of 100 classified, margin/beta {row['margin_over_beta']:.4f}, "
            f"{row['directions']} directions carry 99 % of the mass"
        )
        if not (row["agrees"] and row["is_the_figure"]):
            line.note += "; **not the figure**"
        part.rows.append(line)

    attempt(part, "reference figure", work)
    return part


def margins(quick: bool) -> Part:
    part = Part()

    def work() -> None:
        cut = ["--iterations", "500", "--numpy-iterations", "50", "--rounds", "1"] if quick else []
        found = run("margins.py", *cut, minutes=15)
        same = found["agreement"].values()
        for name, row in found["panels"].items():
            line = Row(f"panel, {name}", "5e4 iterations, one draw", "float64", f"{row['ours']:.0f} s of CPU")
            line.cells["numpy"] = (f"{row['numpy']:.0f} s", row["numpy"] / row["ours"], None)
            line.cells["other"] = (
                f"its authors {row['published']:.0f} s",
                row["published"] / row["ours"],
                None,
            )
            if not all(one["agrees"] for one in same):
                line.note = "**DISAGREE**"
            part.rows.append(line)
        for layers, one in found["agreement"].items():
            part.text.append(
                f"trained: {layers}: apart by {one['difference']:.0e} after 2000 iterations; "
                f"{one['peak_mb']:.0f} MB, NumPy {one['numpy_peak_mb']:.0f} MB"
            )

    attempt(part, "margins", work)
    return part


def stiff(quick: bool) -> Part:
    part = Part()

    def work() -> None:
        cut = ["--problems", "relu_plane", "soft_min", "--methods", "Auto", "DormandPrince", "scipy RK45"]
        cut += ["--seconds", "10", "--store", str(stiff_run.STORE.with_name("quick.json"))]
        found = run("stiff.py", *(cut if quick else []), minutes=10 if quick else 240)
        for verdict in stiff_table.verdicts(found):
            shape = f"{verdict.title} to its end, error {verdict.error:.0e}"
            ours, what = verdict.ours, verdict.what
            if ours is None:
                part.failed.append(f"{shape}: Auto does not reach that error")
                continue
            counts = {name: ours[name] for name in ("evaluations", "jv", "factorizations") if ours.get(name)}
            words = ", ".join(f"{count} {name}" for name, count in counts.items())
            line = Row(
                "integration", shape, "float64", f"{words}, {ours['cpu']:.3g} s", note=f"goal for {what}"
            )
            theirs = f"{verdict.peer} {'> ' if verdict.bound else ''}{verdict.theirs:.3g}"
            known = verdict.words != "open"
            line.cells["other"] = (theirs, verdict.ratio, verdict.goal) if known else (theirs, None, None)
            part.rows.append(line)
        part.text += [*stiff_table.goals(found), *stiff_table.table(found)]

    attempt(part, "integration", work)
    return part


def figures(quick: bool) -> Part:
    part = Part()

    def work() -> None:
        for row in run("figures.py", minutes=30):
            if "after_cpu" not in row:
                continue
            line = Row("figure, quick preset", row["figure"], "", f"{row['after_cpu']:.2f} s of CPU")
            if "ratio_cpu" in row:
                line.cells["other"] = (f"before {row['before_cpu']:.2f} s", row["ratio_cpu"], None)
            line.note = f"claims {row.get('after_claims', '-')}"
            part.rows.append(line)

    if not quick:
        attempt(part, "figures", work)
    return part


PARTS: dict[str, Callable[[bool], Part]] = {
    "step": steps,
    "line": on_line,
    "vecmath": numbers,
    "replicas": many,
    "scaling": scaling,
    "startup": start,
    "compilation": compilation,
    "reference": reference,
    "margins": margins,
    "deep": deep,
    "density": density,
    "stiff": stiff,
    "figures": figures,
}
TITLES = {
    "step": "Left out",
    "line": "On a line",
    "scaling": "Cost of a velocity against sizes",
    "startup": "Start-up",
    "margins": "Margins: agreement and memory",
    "density": "Fokker-Planck: orders and structure",
    "stiff": "Integration: the cheapest run of each method that is as accurate",
}


def machine() -> list[str]:
    """Processor and versions, without names of hosts."""
    model = platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} -")
    speeds = ", ".join(f"{step.product_speed(dtype):.0f} GF/s in {dtype}" for dtype in ("float64", "float32"))
    return [
        f"- {model}, {cores} cores, {platform.system()}; Python {platform.python_version()}, {', '.join(versions)}",
        f"- Product of 2000 x 2000 matrices on one thread: {speeds}",
    ]


def document(found: dict[str, Part], head: list[str], command: str) -> str:
    rows = [row for part in found.values() for row in part.rows]
    verdicts = [(row, *verdict) for row in rows for verdict in row.verdicts()]
    missed = [v for v in verdicts if v[2] < v[3]]
    text = ["# Benchmarks", ""]
    text += [f"Made by `{command}`; [README.md](README.md) says what the columns mean.", ""]
    text += [*head, *(f"- {part.when}" for part in found.values()), ""]
    text += ["The load counts the benchmark itself as 1; at more than the cores, wall times tell little.", ""]
    text += [f"**Goals met: {len(verdicts) - len(missed)} of {len(verdicts)}.**", ""]
    if missed:
        text += [f"Missed (by under {100 * NOISE:.0f} %: noise until repeated):", ""]
        for row, peer, ratio, goal in missed:
            near = " (near)" if ratio >= (1 - NOISE) * goal else ""
            who = "share of the machine" if peer == "share" else PEERS[peer]
            text.append(f"- {row.work}, {row.shape}, {row.dtype}: {who} {ratio:.3g} of {goal:.3g}{near}")
        text.append("")
    text += [
        "| work | shape | type | ours | " + " | ".join(PEERS.values()) + " | share of the machine | note |"
    ]
    text += ["|" + " --- |" * (6 + len(PEERS)), *(row.text() for row in rows), ""]
    for name, part in found.items():
        if part.text:
            table = part.text[0].startswith("|")
            lines = part.text if table else [f"- {line}" for line in part.text]
            text += [f"## {TITLES.get(name, name)}", "", *lines, ""]
    failed = [line for part in found.values() for line in part.failed]
    if failed:
        text += ["## Not measured", "", *(f"- {line}" for line in failed), ""]
    return "\n".join(text)


def restored(store: Path) -> dict[str, Part]:
    """Parts measured by earlier calls."""
    found = {}
    for name, part in json.loads(store.read_text()).items():
        rows = [
            Row(**row | {"cells": {k: tuple(v) for k, v in row["cells"].items()}}) for row in part["rows"]
        ]
        found[name] = Part(**part | {"rows": rows})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer shapes and rounds: about five minutes")
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--store", help="a JSON file that keeps the parts from call to call")
    parser.add_argument("--out", default=str(HERE / "results.md"), help="the Markdown file to write")
    options = parser.parse_args()
    for name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        os.environ[f"{name}_NUM_THREADS"] = "1"
    command = "python benchmarks/report.py" + (" --quick" if options.quick else "")
    # so that what a part started ends with us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    words = machine()
    store = None if options.store is None else Path(options.store)
    found = restored(store) if store is not None and store.exists() else {}
    for name in options.parts:
        begun, load = time.perf_counter(), os.getloadavg()[0]
        now = datetime.datetime.now(datetime.UTC)
        print(f"{name} ({now:%H:%M} UTC, load {load:.1f})", flush=True)
        part = PARTS[name](options.quick)
        minutes = (time.perf_counter() - begun) / 60
        part.when = (
            f"{name}{' (quick)' if options.quick else ''} {now:%Y-%m-%d %H:%M} UTC, {minutes:.1f} minutes, "
        )
        part.when += f"load {load:.1f} before, {os.getloadavg()[0]:.1f} after"
        found[name] = part
        found = {name: found[name] for name in PARTS if name in found}
        if store is not None:
            store.write_text(json.dumps({name: asdict(part) for name, part in found.items()}))
        Path(options.out).write_text(document(found, words, command))
    print(document(found, words, command))


if __name__ == "__main__":
    main()

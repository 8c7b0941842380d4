"""Time the quick preset of every figure against an older commit, interleaved, and say whether the claims hold.

    python benchmarks/figures.py [--before 2cf22cd] [--runs 3] [--only chizat_2019_success ...] [--json FILE]

The older commit is checked out as a git worktree in a temporary folder. Every run is a process of its own, with the
kernel cache of its side, which an uncounted first run has filled; what is timed is `compute` alone, processor time and
wall-clock time. Sides alternate and medians are reported, so that a busy machine hits both alike. A figure that the
older commit does not have is shown without a ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
RUN = """
import json, sys
from meanfield import gallery
if sys.argv[1] not in gallery.discover():
    print(json.dumps(None))
else:
    found = gallery.run_figure(sys.argv[1])
    hold = sum(claim.holds for claim in found.claims)
    print(json.dumps([found.cpu_seconds, found.seconds, hold, len(found.claims)]))
"""
NAMES = "import json; from meanfield import gallery; print(json.dumps(sorted(gallery.discover())))"


def call(tree: Path, cache: Path, code: str, *arguments: str) -> Any:
    """What the last line of a process prints that imports the packages of `tree`."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "NUMBA_CACHE_DIR": str(cache),
        "OMP_WAIT_POLICY": "passive",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tree,
        env=environment,
    )
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, sides: dict[str, tuple[Path, Path]], runs: int) -> dict[str, Any]:
    """Medians of a figure's times on both sides, and its claims."""
    rows: dict[str, list[Any]] = {side: [] for side in sides}
    for run in range(runs + 1):
        # Which side goes first alternates too.
        for side in list(sides)[:: 1 if run % 2 else -1]:
            found = call(*sides[side], RUN, name)
            if run > 0 and found is not None:
                rows[side].append(found)
    row: dict[str, Any] = {"figure": name}
    for side, times in rows.items():
        if times:
            row[f"{side}_cpu"], row[f"{side}_wall"] = (statistics.median(t[k] for t in times) for k in (0, 1))
            row[f"{side}_claims"] = f"{min(t[2] for t in times)}/{times[0][3]}"
    if rows["before"]:
        pairs = list(zip(rows["before"], rows["after"], strict=True))
        row["ratio_cpu"], row["ratio_wall"] = (
            statistics.median(b[k] / a[k] for b, a in pairs) for k in (0, 1)
        )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", default="2cf22cd", help="the commit to compare with")
    parser.add_argument("--runs", type=int, default=3, help="interleaved rounds (the median is reported)")
    parser.add_argument("--only", nargs="*", help="names of figures")
    parser.add_argument("--json", help="write the rows here as well")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "before"
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), options.before], check=True)
        try:
            sides = {
                "before": (tree, Path(folder) / "cache before"),
                "after": (HERE, Path(folder) / "cache after"),
            }
            print(f"{'CPU s (wall s)':28} {'before':>15} {'after':>15} {'ratio':>13}  claims before, after")
            for name in options.only or call(*sides["after"], NAMES):
                row = compare(name, sides, options.runs)
                rows.append(row)
                cells = [
                    f"{row[f'{side}_cpu']:7.2f} ({row[f'{side}_wall']:5.1f})" if f"{side}_cpu" in row else "-"
                    for side in sides
                ]
                ratio = f"{row['ratio_cpu']:6.2f} ({row['ratio_wall']:4.1f})" if "ratio_cpu" in row else "-"
                claims = ", ".join(row.get(f"{side}_claims", "-") for side in sides)
                print(f"{name:28} {cells[0]:>15} {cells[1]:>15} {ratio:>13}  {claims}", flush=True)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()

"""``meanfield study run FOLDER --shard i/N``: compute a study, or a part of it in a job of an array; look at it."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from pathlib import Path
from typing import Any

from solvers.errors import InputError


def add_parser(subparsers: Any) -> Any:
    parser = subparsers.add_parser(
        "study",
        help="compute a study from its folder, whole or in shards, and look at its table",
        description="A study is written into its folder by mf.study(..., folder=FOLDER, run=False), or by hand as "
        "FOLDER/study.toml (cell = 'module:function', seeds, [axes], [fixed]). What is computed is kept; cells that "
        "failed are tried again.",
    )
    actions = parser.add_subparsers(dest="action", metavar="action", required=True, parser_class=type(parser))
    run = actions.add_parser("run", help="compute what is missing; exit status 1 if cells failed")
    run.add_argument(
        "--shard",
        metavar="I/N",
        help="only the I-th of N parts, I = 1 ... N, which together are the whole: one job of an array each",
    )
    run.add_argument("--processes", metavar="COUNT", help="on so many processes, with one thread each")
    status = actions.add_parser("status", help="how many cells are done, and what went wrong")
    table = actions.add_parser("table", help="print the table")
    table.add_argument(
        "--csv", nargs="?", const="-", metavar="FILE", help="as CSV with all digits; to FILE if it is named"
    )
    for action, main in ((run, _run), (status, _status), (table, _table)):
        action.add_argument("folder", metavar="FOLDER", help="folder of the study")
        action.set_defaults(run_action=main)
    return parser


def main(options: argparse.Namespace) -> int:
    return int(options.run_action(options))


def _run(options: argparse.Namespace) -> int:
    from meanfield._study import engines, load, shards, store
    from meanfield._study.cell import Work
    from meanfield._study.compute import compute

    shard = _shard(options.shard)
    processes = _processes(options.processes)
    folder = Path(options.folder).resolve()
    asked, cell, modules = load.load(folder)
    work = Work(cell, store.decoded(asked.fixed, modules), asked.cell["takes"])
    if processes:
        engines.check_sendable(work, "another process")
    chosen = None if shard is None else shards.part(asked, *shard)
    # SIGTERM, with which schedulers end jobs, ends a study as Ctrl-C does.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        table = compute(
            asked, folder, work, processes, 2, True, chosen, (signal.SIGINT, signal.SIGTERM), modules
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    here = "" if shard is None else f" in shard {shard[0]}/{shard[1]}"
    print(f"computed {table.stats['computed']} cells{here}; of the whole study {_counts(table)}")
    if table.status == "interrupted":
        print("meanfield: interrupted; the same command goes on with what is missing", file=sys.stderr)
        return 130
    if table.stats["failed_now"]:
        print(
            f"meanfield: {table.stats['failed_now']} cells failed; `meanfield study status {options.folder}` "
            "lists them",
            file=sys.stderr,
        )
        return 1
    return 0


def _status(options: argparse.Namespace) -> int:
    table = _read(options)
    print(repr(table))
    print(f"{_counts(table)}; {table.stats['seconds']:.3g} s of computing")
    for problem in table.problems[:20]:
        where = ", ".join(f"{name}={problem[name]}" for name in (*table.axes, "seed"))
        print(f"  {problem['status']} at {where}: {problem['message']}")
    if len(table.problems) > 20:
        print(f"  and {len(table.problems) - 20} more")
    return 0


def _table(options: argparse.Namespace) -> int:
    table = _read(options)
    if options.csv is None:
        print(table.to_text())
    elif options.csv == "-":
        sys.stdout.write(table.csv_text())
    else:
        print(f"wrote {table.to_csv(options.csv)}")
    return 0


def _read(options: argparse.Namespace) -> Any:
    from meanfield._study import load
    from meanfield._study.read import read_table

    folder = Path(options.folder).resolve()
    return read_table(load.read(folder), folder, "complete")


def _counts(table: Any) -> str:
    counts = [(name, table.stats[name]) for name in ("done", "diverged", "failed", "missing")]
    return ", ".join(f"{count} {name}" for name, count in counts if count) or "nothing"


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", text.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"--shard must be I/N with I = 1 ... N, such as 2/8, not {text!r}")
    return int(found[1]), int(found[2])


def _processes(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"--processes must be a number of processes, at least 1, not {text!r}")
    return int(text)

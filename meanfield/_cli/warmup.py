"""``meanfield warmup``: compile the common kernels once; later processes read them from disk."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any


def add_parser(subparsers: Any) -> Any:
    parser = subparsers.add_parser(
        "warmup",
        help="compile the common kernels into the disk cache",
        description="Compiles the common kernels once; later processes find them on disk.",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from meanfield import _kernels

    start = time.perf_counter()
    with tqdm(unit=" kernels", file=sys.stderr, disable=options.quiet) as bar:

        def show(kernel: str) -> None:
            bar.set_description_str(f"compiling {kernel}")
            bar.update()

        count = _kernels.warmup(show)
    if not options.quiet:
        print(f"{count} kernels are ready ({time.perf_counter() - start:.1f} s)", file=sys.stderr)
    return 0

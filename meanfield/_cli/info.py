"""``meanfield info``: versions, threads and the folders where compiled kernels are kept."""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from typing import Any

PACKAGES = (
    "numpy",
    "scipy",
    "POT",
    "numba",
    "llvmlite",
    "matplotlib",
    "threadpoolctl",
    "tqdm",
    "xarray",
    "scikit-learn",
)


def add_parser(subparsers: Any) -> Any:
    return subparsers.add_parser(
        "info",
        help="versions, threads, cache folder (put this into a bug report)",
        description="Prints what a bug report should hold.",
    )


def main(options: argparse.Namespace) -> int:
    del options
    for key, value in collect().items():
        print(f"{key:<16} {value}")
    return 0


def collect() -> dict[str, str]:
    """What is installed, and where."""
    from importlib import metadata

    import numba

    import solvers
    from meanfield._version import __version__
    from solvers._threads import thread_count

    lines = {
        "meanfield-nets": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
    }
    for package in PACKAGES:
        try:
            lines[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            lines[package] = "not installed"
    home = Path(str(solvers.__file__)).resolve().parent.parent
    # Read by name: numba makes the attributes of its config at run time.
    cache = getattr(numba.config, "CACHE_DIR", "")
    lines["threads"] = f"{thread_count()} of {os.cpu_count()} cores (NUMBA_NUM_THREADS sets them)"
    lines["installed in"] = str(home)
    lines["kernel cache"] = str(cache or "__pycache__ beside each module")
    folders = [Path(cache)] if cache else [home / package for package in ("solvers", "meanfield", "figures")]
    lines["compiled kernels"] = f"{sum(1 for folder in folders for _ in folder.rglob('*.nbc'))} on disk"
    return lines

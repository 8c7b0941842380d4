"""``meanfield figure NAME``: compute a figure, draw it, check its claims."""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> Any:
    parser = subparsers.add_parser(
        "figure",
        help="compute, draw and check a figure of a paper",
        description="Computes a figure, writes picture and arrays, prints its claims; exit status 1 if one fails.",
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="a name of --list, or the path of a figure's file"
    )
    parser.add_argument("--list", action="store_true", help="list the figures and leave")
    parser.add_argument(
        "--preset",
        choices=("quick", "paper"),
        default="quick",
        help="size of the computation (default: quick)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="replace a field of the figure's Config; may be repeated",
    )
    parser.add_argument(
        "--out", default="results", metavar="DIR", help="folder to write to (default: results)"
    )
    parser.add_argument(
        "--format",
        default="png",
        metavar="KINDS",
        help="png, svg, pdf, or several with commas (default: png)",
    )
    parser.add_argument("--json", metavar="FILE", help="write claims and scalar results to FILE")
    parser.add_argument("--no-plot", action="store_true", help="write the arrays but no picture")
    return parser


def main(options: argparse.Namespace) -> int:
    from meanfield import _settings, gallery
    from solvers._check import choice
    from solvers.errors import InputError

    if options.list:
        print(_listing(gallery.discover()))
        return 0
    if options.name is None:
        raise InputError("name a figure (`meanfield figure --list` shows them)")
    # Refused before the computation, not after it.
    formats = [choice(kind.strip(), "--format", gallery.FORMATS) for kind in options.format.split(",")]
    overrides = _settings.split(options.settings)
    gallery.configure(options.name, options.preset, overrides)
    if options.json is not None:
        if Path(options.json).is_dir():
            raise InputError(f"--json names a file to write, but {options.json!r} is a folder")
        _make_folder(Path(options.json).parent, "--json")
    folder = _make_folder(Path(options.out), "--out")

    import matplotlib

    matplotlib.use("Agg")
    print(f"computing {options.name} ({options.preset} preset) ...", file=sys.stderr, flush=True)
    result = gallery.run_figure(options.name, options.preset, overrides)
    written = result.save(folder, () if options.no_plot else formats)
    if options.json is not None:
        written.append(result.save_json(options.json))
    print(result)
    print()
    for path in written:
        print(f"wrote {path}")
    return 0 if result.claims.hold else 1


def _make_folder(folder: Path, option: str) -> Path:
    from solvers.errors import InputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{option} needs the folder '{folder}', but a file is in its place") from None
    return folder


def _listing(found: dict[str, Any]) -> str:
    if not found:
        return "no figures are installed"
    lines = []
    for info in found.values():
        quick = f" (quick preset: about {info.quick_time})" if info.quick_time else ""
        lines.append(f"{info.name}{quick}\n    {info.title}")
        if info.source:
            lines += textwrap.wrap(
                info.source, 92, initial_indent="    ", subsequent_indent="    ", max_lines=2
            )
    return "\n".join(lines)

"""``meanfield new-figure NAME``: write the skeleton of a figure that already runs."""

from __future__ import annotations

import argparse
import keyword
from pathlib import Path
from string import Template
from typing import Any

TEMPLATE = Path(__file__).with_name("new_figure.txt")


def add_parser(subparsers: Any) -> Any:
    parser = subparsers.add_parser(
        "new-figure",
        help="write the skeleton of a figure that already runs",
        description="Writes NAME.py, a figure that already runs; change it piece by piece into your own.",
    )
    parser.add_argument("name", metavar="NAME", help="author_year_topic, for example chizat_2019_success")
    parser.add_argument(
        "--dir",
        metavar="DIR",
        help="folder to write to (default: the folder `figures` of a source checkout, else the current one)",
    )
    return parser


def main(options: argparse.Namespace) -> int:
    path = write(options.name, options.dir)
    in_package = path.parent == package_folder()
    target = path.stem if in_package else path
    print(f"wrote {path}\nrun it with: meanfield figure {target}")
    return 0


def write(name: str, folder: str | Path | None = None) -> Path:
    """Write the skeleton and return its path; an existing file is never overwritten."""
    from solvers._files import write_text
    from solvers.errors import InputError

    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise InputError(f"NAME must be a Python module's name such as chizat_2019_success, not {name!r}")
    target = Path(folder) if folder is not None else package_folder() or Path.cwd()
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"{name}.py"
    if path.exists():
        raise InputError(f"{path} exists already: choose another name, or remove it first")
    title = name.replace("_", " ").capitalize()
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(title=title)
    write_text(path, text)
    return path


def package_folder() -> Path | None:
    """The folder ``figures`` of the source checkout that this installation runs from, if it is one."""
    root = Path(__file__).resolve().parent.parent.parent
    return root / "figures" if (root / "pyproject.toml").is_file() else None

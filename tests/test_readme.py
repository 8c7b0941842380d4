"""The README's examples run, in the order in which they stand, as one script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from meanfield import cli, gallery

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_python_examples_run(tmp_path: Path) -> None:
    script = tmp_path / "readme.py"
    examples = blocks("python")
    assert len(examples) >= 5
    script.write_text("\n".join(examples), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run.npz").stat().st_size > 0


@pytest.mark.parametrize(
    "command", re.findall(r"(?:^\$ |\.venv/bin/)meanfield (.*?)\s*(?:#.*)?$", README, re.MULTILINE)
)
def test_commands_exist(command: str) -> None:
    """Every `meanfield ...` line of the README parses, and names a figure and settings that exist."""
    options = cli.build_parser().parse_args(command.split())
    if options.command == "figure" and options.name is not None:
        from meanfield import _settings

        gallery.configure(options.name, options.preset, _settings.split(options.settings))


def test_links_and_pictures_are_there() -> None:
    targets = re.findall(r"\]\(([\w./-]+\.\w+)\)", README)
    assert len(targets) >= 3
    for target in targets:
        assert (ROOT / target).is_file(), target

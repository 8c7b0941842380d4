"""Scripts that start processes: those import the script again, which must not start the study again."""

from __future__ import annotations

import ast
import multiprocessing
import sys
from pathlib import Path
from typing import Any

from solvers.errors import InputError


def check_main(what: str) -> None:
    """Refuse a call of the script that runs when it is imported; `what` opens the sentence."""
    again = "import the script again, which would call the study once more: put the call under"
    guard = '`if __name__ == "__main__":`'
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(f"{what} that {again} {guard}")
    frame: Any = sys._getframe()
    line = None
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__":
            line = frame.f_lineno
        frame = frame.f_back
    file = getattr(sys.modules["__main__"], "__file__", None)
    if line is None or file is None:
        return
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return
    guarded = any(
        isinstance(node, ast.If)
        and node.lineno <= line
        and any(isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test))
        for node in tree.body
    )
    if not guarded:
        raise InputError(f"{what} that {again} {guard} in {Path(file).name}")

"""Is the `solvers` that Python finds ours? Strangers' packages install top-level modules of the same name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PROJECT = "meanfield-nets"


def check(name: str = "solvers") -> None:
    """Raise ImportError, in one sentence, if the package `name` is missing, or is not the one beside `meanfield`.

    A package found elsewhere is refused without being run; one that a stranger's installation has written over
    ours in the same folder is recognised by its missing mark ``__project__ = "meanfield-nets"``.
    """
    home = Path(__file__).resolve().parent.parent / name
    loaded = sys.modules.get(name)
    spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(name)
    reinstall = f"reinstall with 'python -m pip install --force-reinstall --no-deps {PROJECT}'"
    if spec is None:
        raise ImportError(
            f"the package {name!r} that belongs to {PROJECT} is missing from {home}: {reinstall}"
        )
    found = Path(spec.origin).resolve() if spec.origin else None
    if found != home / "__init__.py":
        where = (
            found
            if found is not None
            else next(iter(spec.submodule_search_locations or []), "an unknown place")
        )
        raise ImportError(
            f"Python finds a foreign {name!r} at {where} where {PROJECT} needs its own at {home}: "
            f"rename or uninstall the foreign one, or take its folder off sys.path"
        )
    if loaded is None:
        loaded = importlib.import_module(name)
    if getattr(loaded, "__project__", None) != PROJECT:
        raise ImportError(
            f"the package {name!r} at {found} was overwritten by another distribution's: uninstall that one, "
            f"then {reinstall}"
        )

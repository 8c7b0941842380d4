"""Public docstrings name every parameter: what a person sees who writes help(mf.TwoLayer)."""

from __future__ import annotations

import enum
import inspect
import re
import types
from collections.abc import Iterator
from typing import Any

import pytest

import meanfield as mf
import solvers
from meanfield import gallery

# Names that mean the same everywhere, by the table of conventions or by the class they are methods of.
EVERYWHERE = {
    "measure",
    "positions",
    "signs",
    "X",
    "y",
    "n",
    "f",
    "q",
    "weights",
    "rng",
    "path",
    "ax",
    "state",
}
# Methods of a protocol (`sample(kind, m, rng)` of spaces and networks, `total` and `fill` of losses): it says what
# their arguments are.
PROTOCOL = {"begin", "observe", "finish", "prepare", "pack", "value", "slope", "slope_from_value", "gradient"}
PROTOCOL |= {"choose", "sample", "curvature", "curvature_from_value", "second", "total", "fill"}
# what `solvers.protocols.Flow` says of every flow
PROTOCOL |= {"unpack", "velocity", "error_norm", "default_record"}
# What the library makes and hands out: their attributes are described, nobody calls the class.
HANDED_OUT = {
    "solvers.DensityRun",
    "solvers.View",
    "meanfield.Run",
    "meanfield.gallery.FigureInfo",
    "meanfield.gallery.FigureResult",
}


def public() -> Iterator[tuple[str, Any]]:
    """Functions and classes that ``meanfield``, ``solvers`` and the open modules of ``meanfield`` name in __all__."""
    seen = set()
    for module in (
        solvers,
        mf,
        mf.data,
        mf.diagnostics,
        mf.finite.autoencoder,
        mf.finite.deep,
        mf.finite.diagonal,
        mf.finite.linear,
        mf.finite.neurotron,
        mf.finite.relu_gate,
        mf.fluctuations,
        mf.kernels,
        mf.kernels.deep,
        mf.landscape,
        mf.norms,
        mf.overparametrization,
        mf.plotting,
        mf.population,
        mf.resnet_mean_field,
        gallery,
    ):
        for name in module.__all__:
            found = getattr(module, name)
            if id(found) not in seen and isinstance(found, (type, types.FunctionType)):
                seen.add(id(found))
                if not (isinstance(found, type) and issubclass(found, enum.Enum)):
                    yield f"{module.__name__}.{name}", found


def missing(function: Any, known: set[str]) -> list[str]:
    text = inspect.getdoc(function) or ""
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls", *known)]
    return [name for name in names if name[0] != "_" and not re.search(rf"\b{re.escape(name)}\b", text)]


PUBLIC = list(public())


@pytest.mark.parametrize(("name", "found"), PUBLIC, ids=lambda value: value if isinstance(value, str) else "")
def test_every_parameter_is_described(name: str, found: Any) -> None:
    assert inspect.getdoc(found), f"{name} has no docstring"
    if name in HANDED_OUT or (inspect.isclass(found) and issubclass(found, Exception)):
        return
    assert not missing(found, set()), f"the docstring of {name} does not say what these are"


@pytest.mark.parametrize(
    ("name", "found"),
    [(name, found) for name, found in PUBLIC if inspect.isclass(found)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_method_is_described(name: str, found: type) -> None:
    for method in vars(found):
        function = getattr(found, method)  # bound, for class methods
        if (
            method.startswith("_")
            or method in PROTOCOL
            or not (inspect.isfunction(function) or inspect.ismethod(function))
        ):
            continue
        assert inspect.getdoc(function), f"{name}.{method} has no docstring"
        # The class's own docstring counts: Claim says once what a statement is.
        told = set(re.findall(r"\w+", inspect.getdoc(found) or ""))
        assert not missing(function, EVERYWHERE | told), (
            f"the docstring of {name}.{method} does not say what these are"
        )

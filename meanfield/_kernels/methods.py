"""What kernels ask of an activation beyond its value and slope, with an answer for every plug-in; ReLU's best form."""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types
from numba.extending import overload_method

from solvers._jit import INLINED


class Ramp(NamedTuple):
    """``max(z, 0)`` with slope 0 at the kink: `ReLU` with its default, which need not be looked up at every datum."""

    unused: float = 0.0

    def value(self, z: float) -> float:
        return 0.0 if z < 0.0 else z  # a NaN stays one

    def slope(self, z: float) -> float:
        return 1.0 if z > 0.0 else 0.0

    def pulled(self, z: float, r: float) -> float:
        """r sigma'(z), chosen rather than multiplied: one operation less."""
        return r if z > 0.0 else 0.0


def _has(plugin: Any, name: str) -> bool:
    return hasattr(getattr(plugin, "instance_class", None), name)


def _pulled(self: Any, z: Any, r: Any) -> Any:
    """``r sigma'(z)``."""
    if _has(self, "pulled"):
        return getattr(self.instance_class, "pulled")  # noqa: B009
    return lambda self, z, r: r * self.slope(z)


def _kept(self: Any, z: Any, s: Any) -> Any:
    """What is worth keeping of a datum: s = sigma(z) where the slope follows from it, z otherwise."""
    return (lambda self, z, s: s) if _has(self, "slope_from_value") else (lambda self, z, s: z)


def _value_kept(self: Any, kept: Any) -> Any:
    """``sigma(z)`` from what was kept."""
    return (
        (lambda self, kept: kept) if _has(self, "slope_from_value") else (lambda self, kept: self.value(kept))
    )


def _slope_kept(self: Any, kept: Any) -> Any:
    """``sigma'(z)`` from what was kept."""
    if _has(self, "slope_from_value"):
        return lambda self, kept: self.slope_from_value(kept)
    return lambda self, kept: self.slope(kept)


METHODS = {"pulled": _pulled, "kept": _kept, "value_kept": _value_kept, "slope_kept": _slope_kept}
for _type in (types.NamedTuple, types.NamedUniTuple):
    for _name, _method in METHODS.items():
        overload_method(_type, _name, strict=False, jit_options=INLINED)(_method)

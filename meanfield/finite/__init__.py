"""Networks of finite width with exact solutions or rates, and deep ones for theorems on training."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from solvers._files import register_later

if TYPE_CHECKING:
    from meanfield.finite import autoencoder, deep, diagonal, linear, neurotron, relu_gate

__all__ = ["autoencoder", "deep", "diagonal", "linear", "neurotron", "relu_gate"]

# so that a file with such a state is read before anything of the package was used
register_later("deep weights", "meanfield.finite.deep.weights", "Weights")


def __getattr__(name: str) -> Any:
    """A module of this package, imported when it is first asked for: `import meanfield` stays light."""
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

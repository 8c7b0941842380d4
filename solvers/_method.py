"""What methods that size their own steps have in common: tolerances, their checks, how they show themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from solvers import _check
from solvers.errors import InputError


@dataclass(frozen=True, repr=False)
class AdaptiveMethod:
    """Tolerances and limits of the step; a subclass gives them values, an order, and ``start``."""

    rtol: float
    atol: float
    first_step: float | None = None
    max_step: float | None = None

    def __post_init__(self) -> None:
        for name in ("rtol", "atol"):
            object.__setattr__(self, name, _check.number(getattr(self, name), name, nonnegative=True))
        if self.rtol == 0.0 and self.atol == 0.0:
            raise InputError("rtol and atol must not both be zero")
        for name in ("first_step", "max_step"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _check.number(getattr(self, name), name, positive=True))

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in ("rtol", "atol", "first_step", "max_step")}
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in shown.items() if v is not None)})"

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def control(self) -> dict[str, Any]:
        """The same as arguments of an `AdaptiveStepper`."""
        return {
            "rtol": self.rtol,
            "atol": self.atol,
            "first_step": self.first_step,
            "max_step": math.inf if self.max_step is None else self.max_step,
        }

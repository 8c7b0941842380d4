"""Which method, when none was named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from solvers import _check
from solvers.explicit import BogackiShampine, DormandPrince
from solvers.protocols import Array


@dataclass(frozen=True)
class Auto:
    """Choose the method by the flow: `DormandPrince` where the velocity is smooth, `BogackiShampine` where it jumps.

    Parameters
    ----------
    rtol : float, optional
        Relative tolerance; default 1e-6 where the velocity is smooth and 1e-4 where it jumps, since no method
        resolves kinks much better.
    """

    rtol: float | None = None

    def __post_init__(self) -> None:
        if self.rtol is not None:
            object.__setattr__(self, "rtol", _check.number(self.rtol, "rtol", positive=True))

    def choose(self, flow: Any, t: float, z: Array, t_end: float) -> tuple[Any, str]:
        """The method for this flow, state and time left, and the reason in words."""
        if getattr(flow, "smooth", True):
            method = (
                DormandPrince() if self.rtol is None else DormandPrince(rtol=self.rtol, atol=self.rtol / 1000)
            )
            return method, "the velocity is smooth"
        other = (
            BogackiShampine() if self.rtol is None else BogackiShampine(rtol=self.rtol, atol=self.rtol / 1000)
        )
        return other, "the velocity jumps: a high order would be lost at the kinks"

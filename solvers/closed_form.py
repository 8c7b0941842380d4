"""Flows that know their own solution: from save to save in one step, without an error of time integration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from solvers._stepper import StepFailure, Stepper, finite
from solvers.errors import InputError
from solvers.protocols import Array


@dataclass(frozen=True)
class ClosedForm:
    """``z(t + h) = solution(h, z(t))``, for flows that have ``solution(h, z, out)``: one step from save to save.

    Such are `meanfield.LinearizedFlow` with the squared loss (exponentials of its kernel), and a flow of a user's that
    solves itself: its velocity must not depend on t. What is left is rounding.
    """

    order = 0

    @property
    def name(self) -> str:
        return "ClosedForm"

    def start(self, flow: Any, t: float, z: Array, t_end: float) -> Stepper:
        """The steppable object of one run from (t, z) to t_end."""
        if not hasattr(flow, "solution"):
            raise InputError(
                "ClosedForm() needs a flow with a method solution(h, z, out), which this one lacks here; "
                "use solvers.Auto()"
            )
        return ClosedFormStepper(flow, t, z, t_end)


class ClosedFormStepper(Stepper):
    """A step is as long as the way to the next save."""

    def plan(self, times: Array) -> list[Any]:
        return [float(t) for t in times]

    def reached(self, target: float) -> bool:
        return self.t >= target

    def step(self, target: float) -> None:
        t, k, z, _ = self._now
        self.flow.solution(target - t, z, self._back)
        if not finite(self._back):
            raise StepFailure("diverged", f"the solution is NaN or infinite at t = {target:.6g}")
        self.evaluations += 1
        self.h = target - t
        self._commit(target, k + 1)

"""Which method, when none was named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers import _check
from solvers._stepper import StepFailure
from solvers.explicit import BogackiShampine, DormandPrince
from solvers.exponential import EXPRB32
from solvers.protocols import Array
from solvers.rosenbrock import RODAS4, RosenbrockW
from solvers.spectrum import spectral_radius
from solvers.stabilized import RKC2

# Read off benchmarks/stiff.py. An explicit method takes about 2 rho (t_end - t) velocities whatever the tolerance; the
# implicit one some 40 steps of six velocities and a factorization; the stabilized one resolves kinks in small steps
# below a relative tolerance of about 1e-3.
STIFF_SMOOTH, STIFF_KINKED, STIFF_KINKED_TIGHT = 500.0, 300.0, 2000.0
KINKS_RESOLVED = 1e-3
# Where nobody asked for a tolerance. On ReLU networks (d = 2, n = 200, m = 1000, rho t_end = 1400) the stabilized
# method was off by 2e-4 at 1e-3, by 7e-4 at 3e-4 and by 1e-4 at 1e-4, where it took four times as long.
SMOOTH, KINKED, KINKED_STIFF = 1e-6, 1e-4, 1e-3
# From this tolerance on modes that serve ten steps are cheaper than Jacobians: on tanh networks, for an error of 1e-3,
# 0.4 s against 0.8 s, and 0.2 s against 0.5 s in lazy training; for 1e-5 they took alike, for 1e-6 more.
LOOSE = 1e-3
# The choice needs rho to some 20 % only.
ROUGH_PRODUCTS, ROUGH_AGREEMENT = 4, 0.1
# A velocity in a compiled run costs about a tenth of one through Python.
COMPILED = 10.0
# Predictions up to which systems are solved through them, and the entries of their factors.
MOST_RANK, MOST_ENTRIES = 300, 8_000_000


@dataclass(frozen=True)
class Auto:
    """Choose the method by the stiffness ``rho (t_end - t)``, rho the spectral radius of the Jacobian at the start.

    Explicit where that is small, or where the flow tells nothing about its Jacobian: `DormandPrince` for a smooth
    velocity, `BogackiShampine` for one that jumps. Stiff and smooth: `RODAS4`, whose systems are solved through the
    predictions, up to 300 of them, or `RosenbrockW` for tolerances of 1e-3 and more where the Jacobian is symmetric;
    `EXPRB32` for more predictions, where it is. Otherwise, and for a velocity that jumps, `RKC2`.
    ``run.stats["method"]`` and ``run.stats["why"]`` say what was chosen and why.

    Parameters
    ----------
    rtol : float, optional
        Relative tolerance of a step; default 1e-6 where the velocity is smooth and 1e-4 where it jumps, since no
        method resolves kinks much better (1e-3 for `RKC2`, whose errors there are alike). The absolute one is a
        thousandth of it.
    """

    rtol: float | None = None

    def __post_init__(self) -> None:
        if self.rtol is not None:
            object.__setattr__(self, "rtol", _check.number(self.rtol, "rtol", positive=True))

    def choose(self, flow: Any, t: float, z: Array, t_end: float) -> tuple[Any, str]:
        """The method for this flow, state and time left, and the reason in words.

        Parameters
        ----------
        flow : Flow
            Bound to its state.
        t, t_end : float
        z : ndarray, (N,)
        """
        smooth = bool(getattr(flow, "smooth", True))
        rtol = self.rtol if self.rtol is not None else SMOOTH if smooth else KINKED
        explicit: Any = (DormandPrince if smooth else BogackiShampine)(**_tolerances(rtol))
        kind = (
            "the velocity is smooth"
            if smooth
            else "the velocity jumps: a high order would be lost at the kinks"
        )
        # A plain function may oscillate, which a large spectral radius does not tell from stiffness.
        if getattr(flow, "rank", None) is None or not hasattr(flow, "linearize"):
            return explicit, kind
        if self.rtol is None and not smooth:
            rtol = KINKED_STIFF
        tolerances = _tolerances(rtol)
        limit = STIFF_SMOOTH if smooth else STIFF_KINKED if rtol >= KINKS_RESOLVED else STIFF_KINKED_TIGHT
        program = getattr(flow, "program", None)
        if program is not None:
            limit *= COMPILED
        # a bound that costs next to nothing spares short runs the products
        bounded = getattr(flow if program is None else program, "radius_bound", None)
        if bounded is not None:
            most = bounded(z) * (t_end - t)
            if most <= limit:
                return explicit, f"{kind}, and rho (t_end - t) is at most {most:.3g}"
        try:
            linear = flow.linearize(t, z)
            v = flow.velocity(t, z, np.empty_like(z))
            radius = spectral_radius(linear.product, v, ROUGH_PRODUCTS, ROUGH_AGREEMENT).value
        except StepFailure:
            return explicit, kind  # the run will say what is wrong
        stiffness = radius * (t_end - t)
        size = f"rho (t_end - t) = {stiffness:.3g}"
        if not stiffness > limit:
            return explicit, f"{kind}, and {size}"
        if not smooth:
            default = f"; rtol = {rtol:g} unless another is asked for" if self.rtol is None else ""
            return RKC2(**tolerances), f"stiff, {size}, and the velocity jumps{default}"
        rank = int(flow.rank)
        if rank <= MOST_RANK and rank * z.size <= MOST_ENTRIES:
            if rtol >= LOOSE and linear.weight is not None:
                return RosenbrockW(**tolerances), f"stiff, {size}, a symmetric Jacobian, a loose tolerance"
            return RODAS4(**tolerances), f"stiff, {size}, and {rank} predictions are few"
        if linear.weight is not None:
            return EXPRB32(**tolerances), f"stiff, {size}, with {rank} predictions and a symmetric Jacobian"
        return RKC2(**tolerances), f"stiff, {size}, with {rank} predictions"


def _tolerances(rtol: float) -> dict[str, float]:
    return {"rtol": rtol, "atol": float(f"{rtol / 1000:.12g}")}

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
from solvers.rosenbrock import RODAS4
from solvers.spectrum import spectral_radius
from solvers.stabilized import RKC2

# Read off benchmarks/stiff.py. An explicit method takes about 2 rho (t_end - t) velocities whatever the tolerance; the
# implicit one some 40 steps of six velocities and a factorization; the stabilized one resolves kinks in small steps
# from a relative tolerance of about 1e-3 on.
STIFF_SMOOTH, STIFF_KINKED, STIFF_KINKED_TIGHT = 500.0, 300.0, 2000.0
KINKS_RESOLVED = 1e-3
# A velocity in a compiled run costs about a tenth of one through Python.
COMPILED = 10.0
# Predictions up to which systems are solved through them, and the entries of their factors.
MOST_RANK, MOST_ENTRIES = 300, 8_000_000


@dataclass(frozen=True)
class Auto:
    """Choose the method by the stiffness ``rho (t_end - t)``, rho the spectral radius of the Jacobian at the start.

    Explicit where that is small, or where the flow tells nothing about its Jacobian: `DormandPrince` for a smooth
    velocity, `BogackiShampine` for one that jumps. Stiff and smooth: `RODAS4`, whose systems are solved through the
    predictions, up to 300 of them; `EXPRB32` for more, where the Jacobian is symmetric. Otherwise, and for a velocity
    that jumps, `RKC2`. ``run.stats["method"]`` and ``run.stats["why"]`` say what was chosen and why.

    Parameters
    ----------
    rtol : float, optional
        Relative tolerance of a step; default 1e-6 where the velocity is smooth and 1e-4 where it jumps, since no
        method resolves kinks much better. The absolute one is a thousandth of it.
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
        rtol = (1e-6 if smooth else 1e-4) if self.rtol is None else self.rtol
        tolerances = {"rtol": rtol, "atol": float(f"{rtol / 1000:.12g}")}
        explicit: Any = DormandPrince(**tolerances) if smooth else BogackiShampine(**tolerances)
        kind = (
            "the velocity is smooth"
            if smooth
            else "the velocity jumps: a high order would be lost at the kinks"
        )
        # A plain function may oscillate, which a large spectral radius does not tell from stiffness.
        if getattr(flow, "rank", None) is None or not hasattr(flow, "linearize"):
            return explicit, kind
        limit = STIFF_SMOOTH if smooth else STIFF_KINKED if rtol >= KINKS_RESOLVED else STIFF_KINKED_TIGHT
        program = getattr(flow, "program", None)
        if program is not None:
            limit *= COMPILED
            # a bound that costs next to nothing spares small runs the products
            most = program.radius_bound(z) * (t_end - t)
            if most <= limit:
                return explicit, f"{kind}, and rho (t_end - t) is at most {most:.3g}"
        try:
            linear = flow.linearize(t, z)
            radius = spectral_radius(linear.product, flow.velocity(t, z, np.empty_like(z))).value
        except StepFailure:
            return explicit, kind  # the run will say what is wrong
        stiffness = radius * (t_end - t)
        size = f"rho (t_end - t) = {stiffness:.3g}"
        if not stiffness > limit:
            return explicit, f"{kind}, and {size}"
        if not smooth:
            return RKC2(**tolerances), f"stiff, {size}, and the velocity jumps"
        rank = int(flow.rank)
        if rank <= MOST_RANK and rank * z.size <= MOST_ENTRIES:
            return RODAS4(**tolerances), f"stiff, {size}, and {rank} predictions are few"
        if linear.weight is not None:
            return EXPRB32(**tolerances), f"stiff, {size}, with {rank} predictions and a symmetric Jacobian"
        return RKC2(**tolerances), f"stiff, {size}, with {rank} predictions"

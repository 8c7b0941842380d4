"""Stabilized explicit Runge-Kutta: many cheap stages instead of linear systems, for spectra along the negative axis."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers._adaptive import AdaptiveStepper, Control
from solvers._linearization import check_product
from solvers._method import AdaptiveMethod
from solvers._stepper import StepFailure, Stepper, finite
from solvers._threads import one_blas_thread
from solvers.protocols import Array
from solvers.spectrum import products_at, require_products, spectral_radius

# What an estimate of the spectral radius from below is multiplied by.
MARGIN = 1.1
# Accepted steps that one estimate serves: it grew fivefold in 50 steps of a ReLU network.
SERVES = 20
# Accepted steps after which one rejection makes an estimate doubtful, as two in a row always do.
TRUSTED = 5
# Beyond these the step is limited: between two steps nobody looks at clocks.
MOST_STAGES = 1000
SAFETY = 0.8


@dataclass(frozen=True, repr=False)
class RKC2(AdaptiveMethod):
    r"""Runge-Kutta-Chebyshev of order 2: s stages are stable for ``h rho <= 0.65 s^2``, rho the spectral radius.

    ``Y_j = (1 - mu_j - nu_j) z + mu_j Y_(j-1) + nu_j Y_(j-2) + h mu~_j v(Y_(j-1)) + h gamma~_j v(z)`` with
    ``s = 1 + floor sqrt(1 + 1.54 h rho)`` stages, so that a stiff problem costs ``sqrt(rho)`` where explicit
    methods cost ``rho``. It asks for Jacobians with (nearly) real negative spectra, as gradient flows have;
    oscillations are damped by more stages or not at all. Errors are measured as by `DormandPrince`.

    The spectral radius is estimated from a few products of the flow's own ``linearize(t, z)``, or differences of
    velocities where the flow is smooth and has none; anew every 20 steps and after rejections.

    Parameters
    ----------
    rtol, atol : float
        Relative and absolute tolerance of one step.
    first_step, max_step : float, optional
        Where to start, and what never to exceed.

    Raises
    ------
    InputError
        When a run starts, if the velocity jumps and the flow has no ``linearize``.

    References
    ----------
    B. P. Sommeijer, L. F. Shampine, J. G. Verwer, RKC: an explicit solver for parabolic PDEs, J. Comput. Appl. Math.
    88 (1998).
    """

    rtol: float = 1e-4
    atol: float = 1e-7

    @property
    def order(self) -> int:
        return 2

    def start(self, flow: Any, t: float, z: Array, t_end: float) -> Stepper:
        """The steppable object of one run, from z at t to t_end."""
        return ChebyshevStepper(flow, t, z, t_end, **self.control)


class ChebyshevStepper(AdaptiveStepper):
    """One run of `RKC2`. Its memory: the spectral radius and its age, the last size and error."""

    estimate = 3

    def __init__(self, flow: Any, t: float, z: Array, t_end: float, **control: Any) -> None:
        super().__init__(flow, t, z, t_end, **control)
        # compiled code is loaded by the runs that need it
        from solvers import _chebyshev

        self._rules = _chebyshev
        require_products(flow, "RKC2", ", or use solvers.BogackiShampine()")
        self._v, self._after, self._stage = (np.empty_like(z) for _ in range(3))
        self._other = np.empty_like(z)
        self._checked = False
        self._radius = 0.0
        self._age = -1  # accepted steps since the estimate; -1 before the first
        self._last = (0.0, 1.0)  # size and error of the last accepted step
        self.stages = 0
        self.products = 0

    # -- the spectral radius ----------------------------------------------------------------------------------

    def _longest(self, t: float, z: Array, rejected: int) -> float:
        # one rejection soon after an estimate says little against it: kinks bring one every few steps
        doubtful = self._age > 0 if rejected > 1 else rejected == 1 and self._age >= TRUSTED
        if self._age < 0 or self._age >= SERVES or doubtful:
            self._estimate_radius(t, z)
        if self._radius == 0.0:
            return self.max_step
        return min(self.max_step, self._rules.longest_radius(MOST_STAGES) / self._radius)

    def _estimate_radius(self, t: float, z: Array) -> None:
        linear = products_at(self.flow, t, z)
        if not self._checked:
            check_product(self.flow, linear, z)
            self._checked = True
        with one_blas_thread():
            found = spectral_radius(linear.product, self._v)
        # differences cost velocities
        velocities = int(getattr(linear, "evaluations", 0))
        self.evaluations += velocities
        self.products += found.products if velocities == 0 else 0
        self._radius, self._age = MARGIN * found.value, 0

    # -- a step -----------------------------------------------------------------------------------------------

    def _begin(self, t: float, z: Array) -> None:
        self.flow.velocity(t, z, self._v)
        self.evaluations += 1
        if not finite(self._v):
            raise StepFailure("diverged", f"the velocity is NaN or infinite at t = {t:.6g}")

    def _start_velocity(self) -> Array:
        return self._v

    def _attempt(self, t: float, h: float, after: float, z: Array) -> None:
        flow, v, f = self.flow, self._v, self._stage
        stages = self._rules.stages_for(h * self._radius)
        rule = self._rules.recursion(stages)
        advance = self._rules.next_stage
        # Y_s is to end in the back buffer, and the two buffers take turns
        older, newer = (self._back, self._other) if stages % 2 == 0 else (self._other, self._back)
        older[:] = z
        np.multiply(v, rule.first * h, out=newer)
        newer += z
        for mu, nu, push, pull, node in zip(
            rule.mu, rule.nu, rule.push, rule.pull, rule.node[1:], strict=False
        ):
            flow.velocity(t + node * h, newer, f)
            advance(z, newer, f, v, mu, nu, push * h, pull * h, older)
            older, newer = newer, older
        self.stages += stages
        self.evaluations += stages
        if not finite(self._back):
            return
        flow.velocity(after, self._back, self._after)
        error = self._local_error
        np.subtract(z, self._back, out=error)
        error *= 0.8
        np.add(v, self._after, out=self._scratch)
        self._scratch *= 0.4 * h
        error += self._scratch

    def _factor(self, control: Control, size: float, error: float) -> float:
        """Watts' predictive control, which never grows faster than the error alone allows."""
        size_before, error_before = self._last
        error = max(error, 1e-10)
        self._last = (size, error)
        factor = SAFETY * math.pow(error, -1 / 3)
        if size_before > 0.0:
            factor *= min(1.0, (size / size_before) * math.pow(error_before / error, 1 / 3))
        return factor

    def _keep(self) -> None:
        self._v, self._after = self._after, self._v

    # -- what the next step depends on ------------------------------------------------------------------------

    def _remember(self) -> Mapping[str, Any]:
        self._age += 1
        return {
            "radius": self._radius,
            "age": self._age,
            "size": self._last[0],
            "size_error": self._last[1],
        }

    def _recall(self, saved: Mapping[str, Any]) -> Mapping[str, Any]:
        if "radius" not in saved:  # stopped before the first step
            return {}
        self._radius, self._age = float(saved["radius"]), int(saved["age"])
        self._last = (float(saved["size"]), float(saved["size_error"]))
        return {name: saved[name] for name in ("radius", "age", "size", "size_error")}

    def counters(self) -> dict[str, int]:
        return super().counters() | {"stages": self.stages, "jv": self.products}

    def snapshot(self) -> dict[str, Any]:
        return super().snapshot() | {"stages": self.stages, "products": self.products}

    def restore(self, t: float, k: int, z: Array, saved: dict[str, Any]) -> None:
        super().restore(t, k, z, saved)
        self.stages, self.products = int(saved["stages"]), int(saved["products"])

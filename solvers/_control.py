"""The rules by which adaptive steps size themselves, as functions of numbers, for Python steppers and compiled runs.

Plain Python here; `_march` compiles them (through `solvers._jit`), without any reordering of sums, so that each is one
function of its arguments to the last bit wherever it runs. They do not call each other.
"""

from __future__ import annotations

import math

SAFETY = 0.9
# The proportional-integral exponents settle at an error of 0.95^(10 k / 3): 0.43 (k = 5), 0.6 (k = 3).
SETTLING = 0.95
SMALLEST, LARGEST = 0.2, 5.0
# The relative accuracy below which kinks are not resolved (no method certifies more than 1e-5 to 1e-3 across them).
KINK_ACCURACY = 1e-4
# Growth of the step at a kink: what follows a step across the jump is usually another one.
KINK_GROWTH = 2.0
# Ordinary steps in a row after which the kink is behind.
KINK_LEFT = 4
EPSILON = 2.220446049250313e-16


def fit(t: float, h: float, target: float, t_end: float) -> tuple[float, float]:
    """The step to try and the time after it: `target` is never passed; size 0 where t can no longer advance."""
    left = target - t
    if left <= h * (1.0 + 1e-8):
        return left, target
    if left < 2.0 * h * (1.0 - 1e-8):
        h = 0.5 * left
    if h < 16.0 * EPSILON * max(abs(t), abs(t_end)):
        return 0.0, t
    return h, t + h


def shrink(error: float, kink_error: float, at_kink: bool, order: int) -> float:
    """The factor of the step after a rejection; `order` of the error estimate, O(h^order)."""
    if not math.isfinite(error):
        return SMALLEST
    if at_kink:
        # the error at a jump is proportional to the step
        return min(SAFETY, max(SMALLEST, SAFETY / kink_error))
    return max(SMALLEST, SAFETY * math.pow(error, -1.0 / order))


def growth(error: float, before: float, order: int) -> float:
    """The factor of the step that proportional-integral control wants, from its error and that of the step before."""
    return SETTLING * math.pow(max(error, 1e-10), -0.7 / order) * math.pow(before, 0.4 / order)


def limited(factor: float, error: float, kink_error: float, rejected: bool, at_kink: bool) -> float:
    """A wanted factor within its limits: no growth after a rejection, another rule at kinks."""
    if at_kink:
        # the error at a jump is proportional to the step
        linear = 0.7 / max(kink_error, 0.1)
        factor = min(KINK_GROWTH, linear if error > 1.0 else max(factor, linear))
    return min(1.0 if rejected else LARGEST, max(SMALLEST, factor))


def first_guess(speed: float, span: float, tolerance: float) -> float:
    """A step over which the state moves by about a hundredth of a tolerance's inverse; `speed` in tolerances."""
    return 1e-3 * span if speed == 0.0 else 0.01 / (tolerance * speed)


def first_step(guess: float, speed: float, change: float, span: float, longest: float, order: int) -> float:
    """Hairer, Norsett and Wanner II.4: so that an explicit Euler step would change little."""
    if not math.isfinite(change):
        return 0.01 * guess
    largest = max(speed, change)
    better = math.pow(0.01 / largest, 1.0 / order) if largest > 1e-15 else max(1e-6, guess * 1e-3)
    return min(100.0 * guess, better, span, longest)

"""Checks that tests here and a user's own plug-in can run: orders of convergence, slopes, the rules of a flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers import _check
from solvers._integrate import integrate
from solvers._start import prepare_flow
from solvers.errors import InputError, PluginError
from solvers.protocols import Array
from solvers.provenance import jsonable


@dataclass(frozen=True)
class Slope:
    """A straight-line fit ``y = slope x + intercept`` with the confidence interval of its slope.

    True (in an ``if`` or ``assert``) when the slope agrees with what was expected.
    """

    slope: float
    intercept: float
    low: float
    high: float
    confidence: float
    expected: float | None = None
    tolerance: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether the slope is within `tolerance` of the expected one."""
        return self.expected is None or abs(self.slope - self.expected) <= self.tolerance

    def __bool__(self) -> bool:
        return self.agrees

    def __repr__(self) -> str:
        text = (
            f"slope {self.slope:.4g} ({100 * self.confidence:g} % interval {self.low:.4g} to {self.high:.4g})"
        )
        if self.expected is not None:
            text += f", expected {self.expected:g} within {self.tolerance:g}"
        return text


def fit_slope(x: Any, y: Any, *, log: bool = True, confidence: float = 0.95) -> Slope:
    r"""Least squares of ``log y`` on ``log x`` (or y on x), with the Student interval of the slope.

    Parameters
    ----------
    x, y : array_like, (k,)
        At least three points, positive if `log`.
    log : bool
        Fit the logarithms: the slope is an exponent.
    confidence : float
        Of the interval, which holds for independent errors of equal size.
    """
    u = _check.array(x, "x", ndim=1)
    v = _check.array(y, "y", shape=u.shape)
    if len(u) < 3:
        raise InputError(f"a slope with an interval needs at least 3 points, not {len(u)}")
    if log:
        if (u <= 0).any() or (v <= 0).any():
            raise InputError("x and y must be positive for a logarithmic slope; pass log=False otherwise")
        u, v = np.log(u), np.log(v)
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, not {confidence}")
    centred = u - u.mean()
    spread = float(centred @ centred)
    if spread == 0.0:
        raise InputError("x must hold at least two different values")
    slope = float(centred @ v) / spread
    intercept = float(v.mean()) - slope * float(u.mean())
    residual = v - slope * u - intercept
    from scipy.special import stdtrit

    half = float(stdtrit(len(u) - 2, 0.5 + confidence / 2)) * math.sqrt(
        float(residual @ residual) / (len(u) - 2) / spread
    )
    return Slope(slope, intercept, slope - half, slope + half, confidence)


def check_slope(
    x: Any, y: Any, expected: float, tolerance: float, *, log: bool = True, confidence: float = 0.95
) -> Slope:
    """Fit a slope and compare it with an expected one: ``assert check_slope(widths, errors, -0.5, 0.1)``.

    Parameters
    ----------
    x, y, log, confidence
        As for `fit_slope`.
    expected, tolerance : float
        The slope agrees when it differs by at most `tolerance`.

    Returns
    -------
    Slope
        True if it agrees; prints itself with the interval.
    """
    fit = fit_slope(x, y, log=log, confidence=confidence)
    wanted = _check.number(expected, "expected")
    allowed = _check.number(tolerance, "tolerance", nonnegative=True)
    return Slope(fit.slope, fit.intercept, fit.low, fit.high, confidence, wanted, allowed)


def observed_order(
    method: Callable[[float], Any],
    flow: Any,
    state: Any,
    t_end: float,
    exact: Any,
    *,
    t0: float = 0.0,
    steps: Sequence[int] = (16, 32, 64, 128),
) -> Slope:
    """The order of a method: the slope of ``log |x_h(t_end) - x(t_end)|`` in ``log h``.

    Parameters
    ----------
    method : callable
        step size -> method, such as ``solvers.RK4``; for an embedded pair, `fixed_pair`.
    flow, state, t_end, t0
        A smooth problem.
    exact : array_like
        The flat state at t_end, from a closed form or a much finer run.
    steps : sequence of int
        Numbers of steps; choose them so that the errors lie well above rounding.

    Returns
    -------
    Slope
    """
    truth = _check.array(exact, "exact").reshape(-1)
    bound, z, _ = prepare_flow(flow, state)
    if truth.shape != z.shape:
        raise InputError(f"exact must have {z.size} entries, as the state has, not {truth.size}")
    sizes, errors = [], []
    for count in steps:
        h = (t_end - t0) / count
        run = integrate(flow, state, t_end, t0=t0, method=method(h), save=2)
        difference = bound.pack(run.final) - truth
        sizes.append(h)
        errors.append(float(np.max(np.abs(difference))))
    if min(errors) < 1e-14 * max(1.0, float(np.max(np.abs(truth)))):
        raise InputError("the error is down to rounding; take fewer steps or a problem that is harder")
    return fit_slope(sizes, errors)


def fixed_pair(method: Any) -> Callable[[float], Any]:
    """An adaptive class run at a fixed step: step size -> method whose error control never speaks."""
    return lambda h: method(rtol=1e9, atol=1e9, first_step=h, max_step=h)


def check_flow(flow: Any, state: Any, *, t: float = 0.0) -> tuple[str, ...]:
    """Check that a flow keeps the rules that `integrate` relies on (`solvers.protocols.Flow`).

    1. its kind is known and it has the methods of that kind; 2. ``pack`` gives a new flat finite float64 vector each
    time; 3. ``pack(unpack(z)) == z`` to the last bit, and unpacked states own their memory; 4. ``velocity`` fills
    and returns `out` and leaves z alone; 5. velocity and step repeat to the last bit, also after other calls, and
    after another ``prepare``; 6. ``step`` works in place; 7. ``project`` is idempotent and tells truly whether it
    changed z; 8. ``advance`` and ``advance_by`` take Euler steps, the same bits however they are cut; 9. the rest
    (``default_record``, ``error_norm``, ``smooth``, ``describe``) has the types that it should have.

    Parameters
    ----------
    flow, state : object
        What one would give to `integrate`.
    t : float
        Time of the evaluations.

    Returns
    -------
    tuple of str
        What was checked.

    Raises
    ------
    PluginError
        Naming every rule that is broken, in words.
    """
    bound, z, wrapped = prepare_flow(flow, state)
    name = type(wrapped).__name__
    found: list[str] = []
    checked = ["kind and methods"]

    def rule(what: str, *verdicts: tuple[bool, str]) -> None:
        checked.append(what)
        found.extend(sentence for holds, sentence in verdicts if not holds)

    again = bound.pack(state)
    rule(
        "pack",
        (not np.shares_memory(z, again), "pack returns the same memory twice; return a new vector each time"),
        (z.flags.c_contiguous and bool(np.isfinite(z).all()), "pack must return contiguous finite numbers"),
        (np.array_equal(z, again), "pack gives different numbers for the same state"),
    )
    unpacked = bound.unpack(z, state)
    other = z + 1.0
    before = bound.pack(unpacked)
    source = z.copy()
    aliased = bound.unpack(source, state)
    source += 1.0
    rule(
        "unpack",
        (np.array_equal(before, z), "pack(unpack(z)) is not z to the last bit"),
        (
            np.array_equal(bound.pack(aliased), z),
            "unpack returns a view of z; the state must own its memory, because z is overwritten",
        ),
    )
    if bound.kind == "ode":
        _check_velocity(bound, z, other, t, rule)
    else:
        _check_step(bound, z, other, rule)
    if hasattr(flow, "prepare"):
        first = _move(bound, z, t)
        rule(
            "prepare",
            (
                np.array_equal(first, _move(flow.prepare(state), z, t)),
                "prepare gives a flow that moves otherwise",
            ),
        )
    if getattr(bound, "project", None) is not None:
        _check_project(bound, z, rule)
    for run, sizes in (("advance", np.ones(5)), ("advance_by", np.array([1.0, 0.5, 2.0, 0.25, 1.0]))):
        if bound.kind == "ode" and getattr(bound, run, None) is not None:
            _check_advance(bound, run, sizes, z, t, rule)
    _check_options(bound, wrapped, z, t, rule)
    if found:
        raise PluginError(f"{name} breaks the rules of a flow: {'; '.join(found)}")
    return tuple(checked)


def _move(bound: Any, z: Array, t: float) -> Array:
    if bound.kind == "ode":
        return np.array(bound.velocity(t, z.copy(), np.full_like(z, np.nan)))
    moved = z.copy()
    bound.step(moved, getattr(bound, "default_step", 1e-2), 3)
    return moved


def _check_velocity(bound: Any, z: Array, other: Array, t: float, rule: Callable[..., None]) -> None:
    kept, out = z.copy(), np.full_like(z, np.nan)
    returned = bound.velocity(t, z, out)
    first = out.copy()
    bound.velocity(t + 0.5, other, np.empty_like(z))
    second = np.full_like(z, 7.0)
    bound.velocity(t, z, second)
    rule(
        "velocity",
        (returned is out, "velocity must return the array `out` it was given"),
        (
            bool(np.isfinite(first).all()),
            "velocity leaves entries of `out` unfilled, or NaN at a finite state",
        ),
        (np.array_equal(z, kept), "velocity changes z"),
        (
            np.array_equal(first, second, equal_nan=True),
            "velocity does not repeat to the last bit: it must depend on (t, z) alone, not on `out` or earlier calls",
        ),
    )


def _check_step(bound: Any, z: Array, other: Array, rule: Callable[..., None]) -> None:
    h = getattr(bound, "default_step", 1e-2)
    first, second = z.copy(), z.copy()
    returned = bound.step(first, h, 3)
    for k in (4, 5):
        bound.step(other, h, k)
    bound.step(second, h, 3)
    rule(
        "step",
        (returned is None, "step works in place and returns None"),
        (bool(np.isfinite(first).all()), "step gives NaN or infinity at a finite state"),
        (
            np.array_equal(first, second, equal_nan=True),
            "step does not repeat to the last bit: it must depend on (z, h, k) alone, not on earlier calls",
        ),
    )


def _check_project(bound: Any, z: Array, rule: Callable[..., None]) -> None:
    once = z + 0.37
    start = once.copy()
    changed = bound.project(once)
    twice = once.copy()
    again = bound.project(twice)
    rule(
        "project",
        (isinstance(changed, (bool, np.bool_)), "project must return True or False (whether z changed)"),
        (
            bool(changed) == (not np.array_equal(start, once)),
            "project does not tell truly whether it changed z",
        ),
        (
            np.array_equal(once, twice) and not again,
            "project is not idempotent to the last bit: a projected state must be left alone",
        ),
    )


def _check_advance(
    bound: Any, name: str, sizes: Array, z: Array, t: float, rule: Callable[..., None]
) -> None:
    # steps small enough to stay near z, large enough to change every digit
    v = bound.velocity(t, z, np.empty_like(z))
    sizes = sizes * (2.0**-6 / max(1.0, float(np.max(np.abs(v)))))
    run = getattr(bound, name)

    def advance(state: Array, first: int, last: int) -> None:
        run(state, sizes[first] if name == "advance" else sizes[first:last], last - first)

    many, single, split = z.copy(), z.copy(), z.copy()
    advance(many, 0, 5)
    advance(split, 0, 2)
    advance(split, 2, 5)
    project = getattr(bound, "project", None)
    for h in sizes:
        single += h * bound.velocity(t, single, np.empty_like(z))
        if project is not None:
            project(single)
    rule(
        name,
        (
            np.array_equal(many, split),
            f"{name}(z, h, 5) is not {name}(z, h, 2) and {name}(z, h, 3) to the last bit",
        ),
        (
            # a flow may compute in single precision; a wrong step is off by a share of 2^-6
            np.allclose(many, single, rtol=1e-6, atol=1e-6 * float(np.max(np.abs(z), initial=0.0))),
            f"{name}(z, h, steps) is not so many Euler steps z + h v",
        ),
    )


def _check_options(bound: Any, wrapped: Any, z: Array, t: float, rule: Callable[..., None]) -> None:
    if getattr(bound, "default_record", None) is not None:
        record = bound.default_record(t, z)
        good = isinstance(record, dict) and all(
            isinstance(k, str) and np.ndim(v) == 0 and np.isfinite(float(v)) for k, v in record.items()
        )
        rule("default_record", (good, "default_record must return a dict of names to finite numbers"))
    if getattr(bound, "error_norm", None) is not None:
        error = 1e-6 * np.cos(np.arange(z.size, dtype=np.float64))
        zero, one = (bound.error_norm(z, s * error, 1e-6, 1e-9) for s in (0.0, 1.0))
        rule(
            "error_norm",
            (abs(zero) < 1e-9, f"error_norm of no error is {zero:.3g}, not 0"),
            (math.isfinite(one) and one >= 0, f"error_norm must be finite and non-negative, not {one!r}"),
        )
    rule(
        "smooth",
        (isinstance(getattr(bound, "smooth", True), (bool, np.bool_)), "smooth must be True or False"),
    )
    if hasattr(wrapped, "describe"):
        description = wrapped.describe()
        rule(
            "describe",
            (isinstance(description, dict), "describe must return a dict"),
            (jsonable(description) == jsonable(wrapped.describe()), "describe changes from call to call"),
        )


__all__ = ["Slope", "check_flow", "check_slope", "fit_slope", "fixed_pair", "observed_order"]

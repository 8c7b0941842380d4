"""Who looks at a run while it goes: progress, checkpoints, stop rules, and when each is asked."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from solvers import _check, _files
from solvers.errors import InputError

CHECKPOINT_KIND, CHECKPOINT_VERSION = "solvers-checkpoint", 1


@dataclass(frozen=True)
class When:
    """When an observer is asked: at saves, every so many steps, or every so many seconds.

    Rules on numbers use `saves` or `steps`, which fall on the same steps whatever the machine; `seconds` is for
    what never changes the numbers (bars, files) or is about time itself.
    """

    saves: bool = False
    steps: int | None = None
    seconds: float | None = None


SAVES = When(saves=True)


class View:
    """What an observer sees of a run.

    Attributes
    ----------
    t, k, h : float, int, float
        Time, accepted steps, size of the last step.
    z : ndarray
        The flat state; do not change it.
    state : object
        The state, unpacked when asked for.
    values : dict
        Records of the last save.
    t0, t_end, seconds : float
        The interval, and wall-clock seconds since the run (or its resumption) started.
    flow : object
        The flow given to `integrate`; ``bound`` is what its `prepare` made of it.
    """

    def __init__(self, flow: Any, bound: Any, initial: Any, stepper: Any, t0: float, t_end: float) -> None:
        self.flow, self.bound, self.initial = flow, bound, initial
        self.stepper = stepper
        self.t0, self.t_end = t0, t_end
        self.started = time.perf_counter()
        self.values: dict[str, Any] = {}
        self.checkpoint: Callable[[], tuple[dict[str, Any], dict[str, Any]]] | None = None
        self._unpacked: tuple[int, Any] | None = None

    @property
    def t(self) -> float:
        return float(self.stepper.t)

    @property
    def k(self) -> int:
        return int(self.stepper.k)

    @property
    def h(self) -> float:
        return float(self.stepper.h)

    @property
    def z(self) -> Any:
        return self.stepper.z

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    @property
    def state(self) -> Any:
        if self._unpacked is None or self._unpacked[0] != self.k:
            self._unpacked = (self.k, self.bound.unpack(self.z, self.initial))
        return self._unpacked[1]

    def speed(self) -> float:
        """Root mean square of the velocity at the present state (the gradient norm of a gradient flow)."""
        velocity = getattr(self.bound, "velocity", None)
        if self.bound.kind != "ode" or velocity is None:
            raise InputError(
                "the gradient norm needs a flow of kind 'ode'; use stop_when with a function of the state"
            )
        v = velocity(self.t, self.z, np.empty_like(self.z))
        return math.sqrt(float(np.add.reduce(v * v)) / v.size)


class Interrupts:
    """The one place that decides who is asked when."""

    def __init__(self, observers: Iterable[Any]) -> None:
        self.observers = list(observers)
        self._when = [getattr(o, "when", SAVES) for o in self.observers]
        now = time.perf_counter()
        self._due = [now + w.seconds if w.seconds is not None else math.inf for w in self._when]
        self._steps = sorted({w.steps for w in self._when if w.steps is not None})
        self.timed = any(w.seconds is not None for w in self._when)

    def steps_until(self, k: int) -> int | None:
        """Steps from step k to the next one at which somebody wants to be asked (None if nobody counts steps)."""
        return min((n - k % n for n in self._steps), default=None)

    def deadline(self, longest: float) -> float:
        """When, at the latest, a chunk of steps should end."""
        return min(time.perf_counter() + longest, min(self._due, default=math.inf))

    def ask(self, view: View, saved: bool) -> str | None:
        """Ask everybody who is due; the first reason to stop, if any. Everybody is asked, also after a reason."""
        reason: str | None = None
        now = time.perf_counter()
        for i, (observer, when) in enumerate(zip(self.observers, self._when, strict=True)):
            due = (when.saves and saved) or (when.steps is not None and view.k % when.steps == 0)
            if now >= self._due[i]:
                due = True
                assert when.seconds is not None
                self._due[i] = now + when.seconds
            if due:
                answer = observer.observe(view)
                reason = reason or answer
        return reason

    def begin(self, view: View) -> None:
        for observer in self.observers:
            if hasattr(observer, "begin"):
                observer.begin(view)

    def finish(self, view: View, status: str) -> None:
        for observer in self.observers:
            if hasattr(observer, "finish"):
                observer.finish(view, status)


# -- stop rules -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StopRule:
    """End the run when ``measure(view)`` falls below or rises above a bound.

    Anything with ``observe(view) -> reason or None`` serves as a stop rule; this one covers the common cases. A rule
    that needs the flow (an optimality gap, say) finds it in ``view.flow``, the state in ``view.state``.

    Parameters
    ----------
    measure : callable
        ``measure(view) -> float``.
    what : str
        What the message calls the number.
    below, above : float, optional
        The bounds.
    when : When
        How often to look; at every save by default.
    """

    measure: Callable[[View], Any]
    what: str
    below: float | None = None
    above: float | None = None
    when: When = SAVES

    def observe(self, view: View) -> str | None:
        value = self.measure(view)
        if np.ndim(value) != 0:
            raise InputError(
                f"the stop rule on {self.what} needs a scalar, not an array of shape {np.shape(value)}"
            )
        number = float(value)
        if self.below is not None and number < self.below:
            return f"{self.what} = {number:.6g} fell below {self.below:.6g} at t = {view.t:.6g}"
        if self.above is not None and number > self.above:
            return f"{self.what} = {number:.6g} rose above {self.above:.6g} at t = {view.t:.6g}"
        return None


def _when(every: int | None) -> When:
    if every is None:
        return SAVES
    if _check.number(every, "every", integer=True) < 1:
        raise InputError(f"every must be at least 1 step, not {every}")
    return When(steps=int(every))


def stop_when(
    what: str | Callable[[Any], Any],
    *,
    below: float | None = None,
    above: float | None = None,
    every: int | None = None,
) -> StopRule:
    """Stop when a recorded value, or a function of the state, crosses a bound.

    Parameters
    ----------
    what : str or callable
        The name of a record (looked at at saves), or a function state -> scalar. A function that returns True or
        False needs no bound: True stops.
    below, above : float
        The bound.
    every : int, optional
        Look every so many steps instead of at saves (functions only).
    """
    if below is not None:
        below = _check.number(below, "below")
    if above is not None:
        above = _check.number(above, "above")
    if isinstance(what, str):
        if below is None and above is None:
            raise InputError(f"stop_when({what!r}) needs a bound: below= or above=")
        if every is not None:
            raise InputError("every needs a function of the state; records are made at saves only")
        name = what

        def recorded(view: View) -> Any:
            if name not in view.values:
                known = ", ".join(map(repr, view.values)) or "nothing"
                raise InputError(f"stop_when({name!r}): this run records {known}")
            return view.values[name]

        return StopRule(recorded, name, below, above)
    if not callable(what):
        raise InputError(f"stop_when needs the name of a record or a function of the state, not {what!r}")
    function = what
    if below is None and above is None:
        above = 0.5
    label = getattr(function, "__name__", type(function).__name__)
    return StopRule(lambda view: function(view.state), label, below, above, _when(every))


def gradient_norm_below(eps: float, *, every: int | None = None) -> StopRule:
    """Stop when the root mean square of the velocity is below `eps` (one velocity evaluation at each look).

    Parameters
    ----------
    eps : float
        Positive, in units of the state by time.
    every : int, optional
        Look every so many steps instead of at saves.
    """
    eps = _check.number(eps, "eps", positive=True)
    return StopRule(lambda view: view.speed(), "the gradient norm", eps, None, _when(every))


def stop_at_time_budget(seconds: float) -> TimeBudget:
    """Stop after so many wall-clock seconds (of this process, if the run was resumed)."""
    return TimeBudget(_check.number(seconds, "seconds", positive=True))


@dataclass(frozen=True)
class TimeBudget:
    """The rule behind `stop_at_time_budget`; looked at at saves and ten times in its span between them."""

    seconds: float

    @property
    def when(self) -> When:
        return When(saves=True, seconds=self.seconds / 10)

    def observe(self, view: View) -> str | None:
        if view.seconds < self.seconds:
            return None
        return f"the time budget of {self.seconds:g} s was used up at t = {view.t:.6g}"


def rules(until: Any) -> list[Any]:
    """`until` as a list of stop rules: one of them, several, or functions of the state that return True to stop."""
    if until is None:
        return []
    if isinstance(until, (list, tuple)):
        return [rule for one in until for rule in rules(one)]
    if hasattr(until, "observe"):
        return [until]
    if callable(until):
        return [stop_when(until)]
    raise InputError(f"until must be a stop rule such as solvers.stop_when(...), or several, not {until!r}")


# -- progress -------------------------------------------------------------------------------------------------


class Progress:
    """A bar on stderr: how far in time, the objective, steps, time left; silent when stderr is not a terminal.

    Parameters
    ----------
    every : float
        Seconds between updates.
    force : bool
        Draw also when stderr is not a terminal.
    """

    def __init__(self, every: float = 0.5, force: bool = False) -> None:
        self.every = _check.number(every, "every", positive=True)
        self.force = bool(force)
        self.when = When(seconds=self.every)
        self._bar: Any = None

    def begin(self, view: View) -> None:
        if not (self.force or sys.stderr.isatty()):
            return
        from tqdm import tqdm

        self._bar = tqdm(
            total=view.t_end - view.t0,
            initial=view.t - view.t0,
            file=sys.stderr,
            mininterval=0.0,
            # A bare pseudo-terminal says that it has 0 columns; tqdm would draw none.
            ncols=shutil.get_terminal_size().columns,
            bar_format="t = {n:.4g}/{total:.4g} |{bar}| {percentage:3.0f}% [{elapsed} < {remaining}]{postfix}",
        )
        self._show(view)

    def observe(self, view: View) -> str | None:
        self._show(view)
        return None

    def finish(self, view: View, status: str) -> None:
        if self._bar is not None:
            self._show(view)
            self._bar.close()
            self._bar = None

    def _show(self, view: View) -> None:
        if self._bar is None:
            return
        shown = [f"{k} {v:.5g}" for k, v in view.values.items() if np.ndim(v) == 0][:2]
        self._bar.n = view.t - view.t0
        self._bar.set_postfix_str(", ".join([*shown, f"step {view.k}"]), refresh=False)
        self._bar.refresh()


# -- checkpoints ----------------------------------------------------------------------------------------------


class Checkpoint:
    """Write all that is needed to go on, now and then, in one move; ``integrate(..., resume=True)`` reads it.

    A run that is killed at any moment and resumed ends in the same bits as one left alone, and writing checkpoints
    does not alter the numbers.

    Parameters
    ----------
    path : path
        The file; several runs of one call get one each, ``name.0.npz``, ``name.1.npz``, ...
    seconds : float, optional
        Wall-clock time between checkpoints (default 60).
    steps : int, optional
        Or the number of steps between them.
    """

    def __init__(
        self, path: str | os.PathLike[str], seconds: float | None = None, steps: int | None = None
    ) -> None:
        if seconds is not None and steps is not None:
            raise InputError("Checkpoint takes seconds or steps, not both")
        self.path = Path(path)
        if seconds is not None:
            seconds = _check.number(seconds, "seconds", positive=True)
        if steps is not None and _check.number(steps, "steps", integer=True) < 1:
            raise InputError(f"steps must be at least 1, not {steps}")
        self.when = (
            When(steps=int(steps))
            if steps is not None
            else When(seconds=60.0 if seconds is None else seconds)
        )

    def for_replica(self, i: int) -> Checkpoint:
        """The same for run i of several."""
        path = self.path.with_name(f"{self.path.stem}.{i}{self.path.suffix}")
        return Checkpoint(path, seconds=self.when.seconds, steps=self.when.steps)

    def begin(self, view: View) -> None:
        if not self.path.parent.is_dir():
            raise InputError(f"the folder of the checkpoint, {str(self.path.parent)!r}, does not exist")

    def observe(self, view: View) -> str | None:
        self._write(view)
        return None

    def finish(self, view: View, status: str) -> None:
        if status in ("reached_end", "interrupted", "max_steps", "stopped_by_rule"):
            self._write(view)

    def _write(self, view: View) -> None:
        assert view.checkpoint is not None
        header, arrays = view.checkpoint()
        _files.write_arrays(self.path, CHECKPOINT_KIND, CHECKPOINT_VERSION, header, arrays)


def replica(observer: Any, i: int) -> Any:
    """The observer of run i: its own, if it has something to tell apart."""
    return observer.for_replica(i) if hasattr(observer, "for_replica") else observer


__all__ = [
    "Checkpoint",
    "Interrupts",
    "Progress",
    "StopRule",
    "TimeBudget",
    "View",
    "When",
    "gradient_norm_below",
    "replica",
    "rules",
    "stop_at_time_budget",
    "stop_when",
]

"""The one loop: ``integrate`` runs a flow and records it, ``steps`` lets one look at every step."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from solvers import _check, _files
from solvers._auto import Auto
from solvers._stepper import MapStepper, StepFailure, finite
from solvers.errors import DivergenceError, FileFormatError, InputError, PluginError
from solvers.function_flow import FunctionFlow
from solvers.observe import CHECKPOINT_KIND, CHECKPOINT_VERSION, Checkpoint, Interrupts, View, replica, rules
from solvers.protocols import Array
from solvers.provenance import jsonable, provenance
from solvers.result import Status, Trajectory
from solvers.schedule import save_times

# The longest stretch without a look at clocks and observers, in seconds.
CHUNK_SECONDS = 0.2
MOST_STEPS = 2**62
RESERVED = ("t", "states", "state")


def integrate(
    flow: Any,
    state: Any,
    t_end: float,
    *,
    t0: float = 0.0,
    method: Any = None,
    save: Any = None,
    keep: str = "ends",
    record: Mapping[str, Callable[[Any], Any]] | None = None,
    observers: Any = (),
    until: Any = None,
    on_divergence: str = "raise",
    max_steps: int | None = None,
    resume: Any = None,
) -> Any:
    r"""Solve ``dx/dt = v(t, x)``, ``x(t0) = state``, up to `t_end`; or run the map or stochastic scheme that a flow is.

    Parameters
    ----------
    flow : Flow or callable
        A flow (`solvers.protocols.Flow`), or a plain function f(x) or f(t, x) of an array.
    state : object
        What the flow moves: an array of any shape for a plain function, a `ParticleMeasure` for particle flows. A
        list of states gives a list of trajectories (a list of numbers is one state).
    t_end, t0 : float
        The interval, in the flow's unit of time.
    method : optional
        `Euler(step)`, `Heun(step)`, `RK4(step)`, `BogackiShampine(rtol, atol)`, `DormandPrince(rtol, atol)` or
        `Auto()`, the default. A map brings its own step and takes no method; a stochastic flow takes a method with
        a ``step``.
    save : int, array_like, schedule or callable, optional
        When to record: 51 equispaced times by default. Fixed steps are never altered to hit a save time: a save
        happens at the step nearest to it, and ``run.t`` tells the actual times; adaptive steps land on it.
    keep : {"ends", "all"}
        States to keep: the first and the last, or one at each save.
    record : mapping of str to callable, optional
        Functions of the state, evaluated at each save: scalars or arrays of one shape.
    observers : sequence
        `Progress`, `Checkpoint`, or anything with ``observe(view)``.
    until : optional
        A stop rule, several, or a function of the state that returns True to stop.
    on_divergence : {"raise", "record"}
        Raise `DivergenceError` (whose ``run`` holds the run up to the last good state), or return that run.
    max_steps : int, optional
        Stop after so many steps, with status ``max_steps``.
    resume : path or True, optional
        Go on from a checkpoint of the same run; True means: from the file of the `Checkpoint` among `observers`
        if it exists, else from the start.

    Returns
    -------
    Trajectory
        Frozen; ``run.t``, ``run["name"]``, ``run.final``, ``run.status``, ``run.advice``, ``run.stats``.

    Raises
    ------
    InputError
        In one sentence, for an argument that cannot be used.
    PluginError
        If the flow breaks a rule of its protocol.
    DivergenceError
        If the state leaves the finite numbers or an adaptive step collapses.
    FileFormatError
        If the checkpoint is damaged or belongs to another run.

    Examples
    --------
    >>> import numpy as np, solvers
    >>> run = solvers.integrate(lambda x: -x, np.array([1.0, 2.0]), t_end=1.0)
    >>> bool(np.allclose(run.final, np.exp(-1.0) * run.initial, rtol=1e-5))
    True
    """
    watchers = _as_list(observers)
    options = {
        "t0": t0,
        "method": method,
        "save": save,
        "keep": keep,
        "record": record,
        "until": until,
        "on_divergence": on_divergence,
        "max_steps": max_steps,
        "resume": resume,
    }
    if isinstance(state, list) and not all(np.isscalar(s) for s in state):
        if not state:
            raise InputError("state is an empty list; pass at least one state")
        if resume is not None and resume is not True:
            raise InputError("resume must be True for several states: each run has a checkpoint of its own")
        return [
            _Run(flow, one, t_end, observers=[replica(o, i) for o in watchers], **options).go()
            for i, one in enumerate(state)
        ]
    return _Run(flow, state, t_end, observers=watchers, **options).go()


@dataclass(frozen=True)
class Step:
    """One accepted step of `steps`.

    Attributes
    ----------
    t, h, k : float, float, int
        Time after the step, its size, its number (from 1).
    z : ndarray
        The flat state after it (a copy).
    error : float
        Scaled error estimate (accepted when at most 1; NaN for fixed steps).
    state : object
        The state, unpacked when asked for.
    """

    t: float
    h: float
    k: int
    z: Array
    error: float
    _unpack: Callable[[Array], Any] = field(repr=False, compare=False)

    @property
    def state(self) -> Any:
        return self._unpack(self.z)


def steps(flow: Any, state: Any, t_end: float, *, t0: float = 0.0, method: Any = None) -> Iterator[Step]:
    """Iterate over the steps of a run: for people who look inside.

    Parameters
    ----------
    flow, state, t_end, t0, method
        As for `integrate`; nothing is saved or recorded, and an adaptive method lands on `t_end` only.

    Yields
    ------
    Step
        One for each accepted step.

    Raises
    ------
    DivergenceError
        At the step that fails.

    Examples
    --------
    >>> import solvers
    >>> for step in solvers.steps(lambda x: -x, [1.0], 0.2, method=solvers.Euler(step=0.1)):
    ...     print(step.k, step.state)
    1 [0.9]
    2 [0.81]
    """
    start, end = _interval(t0, t_end)
    bound, z, _ = _prepare(flow, state)
    stepper, _, _ = _start(bound, method, start, z, end)

    def march() -> Iterator[Step]:
        target = stepper.plan(np.array([start, end]))[-1]
        while not stepper.reached(target):
            try:
                with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                    stepper.step(target)
            except StepFailure as failure:
                raise DivergenceError(f"{failure}; {Status[failure.status].value}") from None
            yield Step(
                stepper.t, stepper.h, stepper.k, stepper.z.copy(), stepper.error, lambda z: bound.unpack(z, state)
            )

    return march()


# -- preparing ------------------------------------------------------------------------------------------------


def _as_list(observers: Any) -> list[Any]:
    if hasattr(observers, "observe"):
        return [observers]
    try:
        found = list(observers)
    except TypeError:
        raise InputError(f"observers must be a list such as [solvers.Progress()], not {observers!r}") from None
    for one in found:
        if not hasattr(one, "observe") or isinstance(one, type):
            raise InputError(f"observers must have a method observe(view); {one!r} has none or is a class, not an object")
    return found


def _interval(t0: Any, t_end: Any) -> tuple[float, float]:
    start, end = _check.number(t0, "t0"), _check.number(t_end, "t_end")
    if end < start:
        raise InputError(f"t_end must not lie before t0, but {end:g} < {start:g}; time runs forward")
    return start, end


def _prepare(flow: Any, state: Any) -> tuple[Any, Array, Any]:
    """The bound flow, the flat initial state, and the flow as an object (plain functions become one)."""
    if isinstance(flow, type):
        raise InputError(f"flow must be an object, not the class {flow.__name__}; call it first")
    if not any(hasattr(flow, name) for name in ("kind", "prepare", "velocity", "step")):
        if not callable(flow):
            raise InputError(f"flow must be a flow or a function f(x) or f(t, x), not {type(flow).__name__}")
        flow = FunctionFlow(flow)
    bound = flow.prepare(state) if hasattr(flow, "prepare") else flow
    kind = getattr(bound, "kind", None)
    needed = {"ode": ("velocity",), "map": ("step", "default_step"), "sde": ("step",)}
    if kind not in needed:
        raise PluginError(f"{type(bound).__name__}.kind must be 'ode', 'sde' or 'map', not {kind!r}")
    for name in ("pack", "unpack", *needed[kind]):
        if not hasattr(bound, name):
            raise PluginError(f"{type(bound).__name__} is a flow of kind {kind!r} and needs {name}")
    z = bound.pack(state)
    if not (isinstance(z, np.ndarray) and z.ndim == 1 and z.dtype == np.float64):
        raise PluginError(f"{type(bound).__name__}.pack must return a flat float64 array")
    if z.size == 0:
        raise InputError("state is empty; pass at least one number or particle")
    if not np.isfinite(z).all():
        raise InputError("state holds NaN or infinite values; remove them before the run")
    return bound, z, flow


def _start(bound: Any, method: Any, t0: float, z: Array, t_end: float) -> tuple[Any, str, str]:
    """The stepper, the method in words, and why it was chosen."""
    if isinstance(method, type):
        raise InputError(f"method must be an object, not the class: write {method.__name__}(...)")
    if isinstance(method, str):
        raise InputError(f"method must be an object such as solvers.RK4(step=0.1) or solvers.Auto(), not {method!r}")
    if bound.kind == "map":
        if method is not None:
            raise InputError(f"{type(bound).__name__} is a map with a step of its own; leave out method")
        step = _check.number(bound.default_step, "default_step", positive=True)
        return MapStepper(bound, t0, z, t_end, step, whole=True), f"map(step={step:g})", "the flow is a map"
    if bound.kind == "sde":
        step = getattr(method, "step", None) if method is not None else getattr(bound, "default_step", None)
        if step is None:
            raise InputError("a stochastic flow needs a method with a step, for example method=solvers.Euler(step=1e-2)")
        step = _check.number(step, "step", positive=True)
        name = repr(method) if method is not None else f"step={step:g}"
        return MapStepper(bound, t0, z, t_end, step), name, "the flow is stochastic and owns its step"
    why = "it was asked for"
    if method is None or hasattr(method, "choose"):
        method, why = (Auto() if method is None else method).choose(bound, t0, z, t_end)
    if not hasattr(method, "start"):
        raise InputError(f"method must be one such as solvers.RK4(step=0.1) or solvers.Auto(), not {method!r}")
    return method.start(bound, t0, z, t_end), repr(method), why


# -- running --------------------------------------------------------------------------------------------------


class _Recorder:
    """Rows of the table: a row is complete or absent, whatever interrupts its making."""

    def __init__(self, bound: Any, record: Any, keep: str) -> None:
        self.bound = bound
        self.keep_all = _check.choice(keep, "keep", ("ends", "all")) == "all"
        self.functions: dict[str, Callable[[Any], Any]] = {}
        if record is not None and not isinstance(record, Mapping):
            raise InputError("record must be a mapping of names to functions of the state, such as {'norm': function}")
        for name, function in (record or {}).items():
            if not isinstance(name, str) or not name:
                raise InputError(f"record: names must be strings, not {name!r}")
            if name in RESERVED:
                raise InputError(f"record: the name {name!r} is reserved; choose another")
            if not callable(function):
                raise InputError(f"record: {name!r} must be a function of the state, not {type(function).__name__}")
            self.functions[name] = function
        self.default = getattr(bound, "default_record", None)
        self.rows: list[tuple[float, dict[str, Any], Array | None]] = []
        self.shapes: dict[str, tuple[int, ...]] = {}

    def save(self, view: View) -> None:
        row: dict[str, Any] = {}
        bad = None
        if self.default is not None:
            for name, value in self.default(view.t, view.z).items():
                if name in self.functions:
                    raise InputError(f"record: the name {name!r} is already recorded by the flow; choose another")
                row[name] = float(value)
                if not np.isfinite(row[name]):
                    bad = name
        for name, function in self.functions.items():
            row[name] = self._checked(name, function(view.state))
        self.rows.append((view.t, row, view.z.copy() if self.keep_all else None))
        view.values = row
        if bad is not None:
            raise StepFailure("diverged", f"{bad} became {row[bad]} at t = {view.t:.6g}")

    def _checked(self, name: str, value: Any) -> Any:
        try:
            array = np.array(value, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(
                f"record: {name!r} must return a number or an array of numbers, not {type(value).__name__}"
            ) from None
        known = self.shapes.setdefault(name, array.shape)
        if array.shape != known:
            raise InputError(f"record: {name!r} returned shape {array.shape} after {known}; it must not change")
        return array if array.ndim else float(array)

    def tables(self) -> tuple[Array, dict[str, Array]]:
        t = np.array([row[0] for row in self.rows])
        names = list(self.rows[0][1]) if self.rows else []
        return t, {name: np.array([row[1][name] for row in self.rows]) for name in names}


class _Run:
    """One run from its arguments to its trajectory."""

    def __init__(
        self,
        flow: Any,
        state: Any,
        t_end: float,
        *,
        t0: float,
        method: Any,
        save: Any,
        keep: str,
        record: Any,
        observers: list[Any],
        until: Any,
        on_divergence: str,
        max_steps: int | None,
        resume: Any,
    ) -> None:
        self.t0, self.t_end = _interval(t0, t_end)
        self.on_divergence = _check.choice(on_divergence, "on_divergence", ("raise", "record"))
        if max_steps is not None and _check.number(max_steps, "max_steps", integer=True) < 1:
            raise InputError(f"max_steps must be at least 1, not {max_steps}")
        self.max_steps = max_steps
        times = save_times(save, self.t0, self.t_end)
        self.bound, self.z0, self.flow = _prepare(flow, state)
        self.state = state
        self.recorder = _Recorder(self.bound, record, keep)
        stopping = rules(until)
        self.stepper, self.method, self.why = _start(self.bound, method, self.t0, self.z0, self.t_end)
        self.targets = self.stepper.plan(times)
        self.view = View(self.flow, self.bound, state, self.stepper, self.t0, self.t_end)
        self.view.checkpoint = self._checkpoint
        # rules first: a checkpoint is then never the reason that a resumed run asks a rule twice
        self.interrupts = Interrupts([*stopping, *observers])
        self.configuration = {
            "flow": jsonable(self.flow.describe() if hasattr(self.flow, "describe") else type(self.flow)),
            "method": self.method,
            "t0": self.t0,
            "t_end": self.t_end,
            "keep": keep,
            "records": list(self.recorder.functions),
        }
        identity = [self.configuration, hashlib.sha256(times.tobytes()).hexdigest(), self.bound.kind]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
        digest.update(self.z0.tobytes())
        self.digest = digest.hexdigest()
        self.seconds_before = 0.0
        self.record_seconds = self.observer_seconds = self.compile_seconds = 0.0
        self.reason = ""
        self._resume(resume, observers)

    # -- checkpoints

    def _checkpoint(self) -> tuple[dict[str, Any], dict[str, Any]]:
        t, records = self.recorder.tables()
        header = {
            "digest": self.digest,
            "t": self.stepper.t,
            "k": self.stepper.k,
            "controller": self.stepper.snapshot(),
            "records": list(records),
            "seconds": self.seconds_before + self.view.seconds,
            "configuration": self.configuration,
        }
        arrays: dict[str, Any] = {"z": self.stepper.z, "t": t}
        arrays |= {f"record_{i}": values for i, values in enumerate(records.values())}
        if self.recorder.keep_all:
            arrays["kept"] = np.array([row[2] for row in self.recorder.rows])
        return header, arrays

    def _resume(self, resume: Any, observers: list[Any]) -> None:
        if resume is None or resume is False:
            return
        if resume is True:
            found = [o for o in observers if isinstance(o, Checkpoint)]
            if len(found) != 1:
                raise InputError("resume=True needs one Checkpoint among the observers, or pass the path itself")
            path: Any = found[0].path
            if not path.exists():
                return
        elif isinstance(resume, (str, os.PathLike)):
            path = resume
        else:
            raise InputError(f"resume must be a path or True, not {resume!r}")
        header, arrays = _files.read_arrays(path, CHECKPOINT_KIND, CHECKPOINT_VERSION)
        name = Path(path).name
        if header.get("digest") != self.digest:
            raise FileFormatError(f"{name} belongs to another run: {self._difference(header)}")
        try:
            columns = {record: arrays[f"record_{i}"] for i, record in enumerate(header["records"])}
            kept = arrays["kept"] if self.recorder.keep_all else None
            for i, t in enumerate(arrays["t"]):
                row = {record: (float(v[i]) if v.ndim == 1 else v[i]) for record, v in columns.items()}
                self.recorder.rows.append((float(t), row, None if kept is None else kept[i]))
            self.recorder.shapes = {n: columns[n].shape[1:] for n in self.recorder.functions if n in columns}
            self.stepper.restore(float(header["t"]), int(header["k"]), arrays["z"], header["controller"])
            self.seconds_before = float(header["seconds"])
        except (KeyError, IndexError, ValueError, TypeError):
            raise FileFormatError(f"{name} is incomplete; start the run again without resume") from None
        if self.recorder.rows:
            self.view.values = self.recorder.rows[-1][1]

    def _difference(self, header: dict[str, Any]) -> str:
        before = header.get("configuration", {})
        for key, now in self.configuration.items():
            if before.get(key) != now:
                return f"its {key} was {_short(before.get(key))}, now it is {_short(now)}"
        return "its initial state, save times or start differ"

    # -- the loop

    def go(self) -> Trajectory:
        status = Status.reached_end
        failure: StepFailure | None = None
        with _compilation() as compiled:
            try:
                self.interrupts.begin(self.view)
                status = self._march()
            except StepFailure as problem:
                failure, status, self.reason = problem, Status[problem.status], str(problem)
            except KeyboardInterrupt:
                status, self.reason = Status.interrupted, f"interrupted at t = {self.stepper.t:.6g}"
            finally:
                self.interrupts.finish(self.view, status.name if sys.exc_info()[0] is None else "failed")
            rows = self.recorder.rows
            if not rows or rows[-1][0] < self.stepper.t:
                with contextlib.suppress(StepFailure), np.errstate(over="ignore", invalid="ignore"):
                    self._save()
        self.compile_seconds = compiled()
        run = self._trajectory(status)
        if failure is not None and self.on_divergence == "raise":
            raise DivergenceError(f"{failure}. {status.value}", run)
        return run

    def _march(self) -> Status:
        stepper, recorder = self.stepper, self.recorder
        longest = CHUNK_SECONDS
        if not recorder.rows:
            self._save()
        done = len(recorder.rows)
        # a resumed run asks again what was asked at the step where it stopped
        if self._ask(saved=recorder.rows[-1][0] == stepper.t):
            return Status.stopped_by_rule
        for target in self.targets[done:]:
            while not stepper.reached(target):
                most = MOST_STEPS
                if self.max_steps is not None:
                    most = self.max_steps - stepper.k
                    if most <= 0:
                        self.reason = f"max_steps = {self.max_steps} was used up at t = {stepper.t:.6g}"
                        return Status.max_steps
                until = self.interrupts.steps_until(stepper.k)
                if until is not None:
                    most = min(most, until)
                with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                    stepper.chunk(target, most, self.interrupts.deadline(longest))
                saved = stepper.reached(target)
                if saved:
                    self._save()
                if self._ask(saved):
                    return Status.stopped_by_rule
        return Status.reached_end

    def _save(self) -> None:
        start = time.perf_counter()
        self.recorder.save(self.view)
        self.record_seconds += time.perf_counter() - start

    def _ask(self, saved: bool) -> bool:
        start = time.perf_counter()
        reason = self.interrupts.ask(self.view, saved)
        self.observer_seconds += time.perf_counter() - start
        if reason:
            self.reason = str(reason)
        return bool(reason)

    # -- the result

    def _trajectory(self, status: Status) -> Trajectory:
        t, records = self.recorder.tables()
        if not len(t):
            t = np.array([self.stepper.t])
        if self.recorder.keep_all:
            states = [self.bound.unpack(row[2], self.state) for row in self.recorder.rows]
        else:
            states = [self.bound.unpack(self.z0, self.state)]
        if not self.recorder.keep_all or not states or t[-1] != self.stepper.t:
            states.append(self.bound.unpack(self.stepper.z, self.state))
        for values in (t, *records.values()):
            values.setflags(write=False)
        stats = {
            "method": self.method,
            "why": self.why,
            **self.stepper.counters(),
            "seconds": self.seconds_before + self.view.seconds,
            "record_seconds": self.record_seconds,
            "observer_seconds": self.observer_seconds,
            "compile_seconds": self.compile_seconds,
        }
        kind = getattr(self.bound, "trajectory_type", None) or getattr(self.flow, "trajectory_type", None) or Trajectory
        run: Trajectory = kind(
            t=t,
            records=records,
            states=tuple(states),
            status=status,
            message=self.reason,
            stats=stats,
            provenance=provenance(self.configuration),
            flow=self.flow,
        )
        return run


def _short(x: Any) -> str:
    text = str(x)
    return text if len(text) <= 80 else text[:77] + "..."


@contextlib.contextmanager
def _compilation() -> Iterator[Callable[[], float]]:
    """Measure the seconds that numba spends compiling, if it is loaded at all."""
    if "numba" not in sys.modules:
        yield lambda: 0.0
        return
    from numba.core import event

    with event.install_timer("numba:compile", lambda seconds: total.append(seconds)):
        total: list[float] = []
        yield lambda: sum(total)

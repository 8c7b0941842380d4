"""One run: rows of records, checkpoints, the loop over chunks of steps, the trajectory at the end."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from solvers import _check, _files
from solvers._start import start_method
from solvers._stepper import StepFailure
from solvers.errors import DivergenceError, FileFormatError, InputError
from solvers.measure import ParticleMeasure
from solvers.observe import CHECKPOINT_KIND, CHECKPOINT_VERSION, Checkpoint, Interrupts, View, rules
from solvers.protocols import Array
from solvers.provenance import jsonable, provenance
from solvers.result import Status, Trajectory

# The longest stretch without a look at clocks and observers, in seconds.
CHUNK_SECONDS = 0.2
MOST_STEPS = 2**62
RESERVED = ("t", "states", "state")


class Recorder:
    """Rows of the table: a row is complete or absent, whatever interrupts its making."""

    def __init__(self, bound: Any, record: Any, keep: str) -> None:
        self.bound = bound
        self.keep_all = _check.choice(keep, "keep", ("ends", "all")) == "all"
        # a flow may record functions of the state too: they cost more than numbers, and compiled runs have them
        own = getattr(bound, "records", None) or {}
        self.functions: dict[str, Callable[[Any], Any]] = dict(own)
        if record is not None and not isinstance(record, Mapping):
            raise InputError(
                "record must be a mapping of names to functions of the state, such as {'norm': function}"
            )
        for name, function in (record or {}).items():
            if not isinstance(name, str) or not name:
                raise InputError(f"record: names must be strings, not {name!r}")
            if name in own:
                raise InputError(f"record: the name {name!r} is already recorded by the flow; choose another")
            if name in RESERVED:
                raise InputError(f"record: the name {name!r} is reserved; choose another")
            if not callable(function):
                raise InputError(
                    f"record: {name!r} must be a function of the state, not {type(function).__name__}"
                )
            self.functions[name] = function
        self.default = getattr(bound, "default_record", None)
        program = getattr(bound, "program", None)
        if program is not None:  # a compiled run calls the functions when it is over: too late for an error
            self._refuse(program.name)
        self.rows: list[tuple[float, dict[str, Any], Array | None]] = []
        # what a compiled run has recorded before the rows: times, columns by name, kept states
        self.block: tuple[Array, dict[str, Array], Array | None] | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}

    def save(self, view: View) -> None:
        row: dict[str, Any] = {}
        bad = None
        if self.default is not None:
            for name, value in self.default(view.t, view.z).items():
                self._refuse(name)
                row[name] = float(value)
                if not np.isfinite(row[name]):
                    bad = name
        for name, function in self.functions.items():
            row[name] = self._checked(name, function(view.state))
        self.rows.append((view.t, row, view.z.copy() if self.keep_all else None))
        view.values = row
        if bad is not None:
            raise StepFailure("diverged", f"{bad} became {row[bad]} at t = {view.t:.6g}")

    def adopt(self, t: Array, values: Array, kept: Array | None, like: Any) -> None:
        """All rows of a compiled run: its own number, then the functions of the states."""
        columns = {self.bound.program.name: values.copy()}
        if self.functions:
            assert kept is not None
            states = [self.bound.unpack(z, like) for z in kept]
            for name, function in self.functions.items():
                columns[name] = np.array([self._checked(name, function(state)) for state in states])
        self.block = (t.copy(), columns, kept.copy() if self.keep_all and kept is not None else None)

    @property
    def last(self) -> float | None:
        """The time of the last row, if there is one."""
        if self.rows:
            return self.rows[-1][0]
        return None if self.block is None else float(self.block[0][-1])

    def kept(self) -> list[Any]:
        """The flat states of all rows, where they are kept."""
        before = [] if self.block is None or self.block[2] is None else list(self.block[2])
        return before + [row[2] for row in self.rows]

    def _refuse(self, name: str) -> None:
        """The names that a flow records are its own."""
        if name in self.functions:
            raise InputError(f"record: the name {name!r} is already recorded by the flow; choose another")

    def _checked(self, name: str, value: Any) -> Any:
        try:
            if value is None:  # which numpy would turn into NaN
                raise TypeError
            array = np.array(value, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(
                f"record: {name!r} must return a number or an array of numbers, not {type(value).__name__}"
            ) from None
        known = self.shapes.setdefault(name, array.shape)
        if array.shape != known:
            raise InputError(
                f"record: {name!r} returned shape {array.shape} after {known}; it must not change"
            )
        return array if array.ndim else float(array)

    def tables(self) -> tuple[Array, dict[str, Array]]:
        t = np.array([row[0] for row in self.rows])
        names = list(self.rows[0][1]) if self.rows else []
        columns = {name: np.array([row[1][name] for row in self.rows]) for name in names}
        if self.block is None:
            return t, columns
        before, held, _ = self.block
        if not self.rows:
            return before, held
        return np.concatenate([before, t]), {
            name: np.concatenate([held[name], columns[name]]) for name in held
        }


def _arrays_of(state: Any) -> Iterator[Array]:
    """What measures and tuples of them hold."""
    if isinstance(state, tuple):
        for one in state:
            yield from _arrays_of(one)
    elif isinstance(state, ParticleMeasure):
        yield state.positions
        yield state.coefficients


class Run:
    """One run from its arguments to its trajectory."""

    def __init__(
        self,
        prepared: tuple[Any, Array, Any],
        state: Any,
        *,
        t0: float,
        t_end: float,
        method: Any,
        times: Array,
        keep: str,
        record: Any,
        observers: list[Any],
        until: Any,
        on_divergence: str,
        max_steps: int | None,
        resume: Any,
    ) -> None:
        self.t0, self.t_end = t0, t_end
        self.on_divergence = _check.choice(on_divergence, "on_divergence", ("raise", "record"))
        if max_steps is not None and _check.number(max_steps, "max_steps", integer=True) < 1:
            raise InputError(f"max_steps must be at least 1, not {max_steps}")
        self.max_steps = max_steps
        self.compile_seconds = 0.0
        self.bound, self.z0, self.flow = prepared
        self.state = state
        self.recorder = Recorder(self.bound, record, keep)
        stopping = rules(until)
        self.stepper, self.method, self.why = start_method(self.bound, method, self.t0, self.z0, self.t_end)
        self.targets = self.stepper.plan(times)
        # a stepper that records by itself does so in the bits of its steps
        self.recorder.default = getattr(self.stepper, "default_record", self.recorder.default)
        self.view = View(self.flow, self.bound, state, self.stepper, self.t0, self.t_end)
        self.view.checkpoint = self._checkpoint
        # rules first: a checkpoint is then never the reason that a resumed run asks a rule twice
        self.interrupts = Interrupts([*stopping, *observers])
        self._times, self._keep = times, keep
        self.seconds_before = 0.0
        self.record_seconds = self.observer_seconds = 0.0
        self.reason = ""
        # of a run that went with others: its share of the time, and how many they were
        self.group_seconds: float | None = None
        self.group_size = 1
        self._resume(resume, observers)

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """What was asked for, as it stands in provenance and checkpoints."""
        return {
            "flow": jsonable(self.flow.describe() if hasattr(self.flow, "describe") else type(self.flow)),
            "method": self.method,
            "t0": self.t0,
            "t_end": self.t_end,
            "keep": self._keep,
            "records": list(self.recorder.functions),
        }

    @cached_property
    def digest(self) -> str:
        """By which a checkpoint knows its run."""
        identity = [self.configuration, hashlib.sha256(self._times.tobytes()).hexdigest(), self.bound.kind]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
        digest.update(self.z0.tobytes())
        for array in _arrays_of(self.state):  # the flat state may leave out what does not move: weights, say
            digest.update(array.tobytes())
        return digest.hexdigest()

    def share(self, other: Run) -> None:
        """Take what describes a run from another one of the same options: all of it where the flow is the same."""
        if self.flow is other.flow:
            self.configuration, self.origin = other.configuration, other.origin
        else:
            self.origin = {**other.origin, "configuration": self.configuration}

    @cached_property
    def origin(self) -> dict[str, Any]:
        """Where the result comes from."""
        return provenance(self.configuration)

    # -- checkpoints

    def _checkpoint(self) -> tuple[dict[str, Any], dict[str, Any]]:
        t, records = self.recorder.tables()
        memory = self.stepper.snapshot()
        held = {name: memory.pop(name) for name in list(memory) if isinstance(memory[name], np.ndarray)}
        header = {
            "digest": self.digest,
            "t": self.stepper.t,
            "k": self.stepper.k,
            "controller": memory,
            "records": list(records),
            "seconds": self.seconds_before + self.view.seconds,
            "configuration": self.configuration,
        }
        arrays: dict[str, Any] = {"z": self.stepper.z, "t": t}
        arrays |= {f"record_{i}": values for i, values in enumerate(records.values())}
        arrays |= {f"controller_{name}": values for name, values in held.items()}
        if self.recorder.keep_all:
            arrays["kept"] = np.array(self.recorder.kept())
        return header, arrays

    def _resume(self, resume: Any, observers: list[Any]) -> None:
        if resume is None or resume is False:
            return
        if resume is True:
            found = [o for o in observers if isinstance(o, Checkpoint)]
            if len(found) != 1:
                raise InputError(
                    "resume=True needs one Checkpoint among the observers, or pass the path itself"
                )
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
            mark = "controller_"
            held = {name.removeprefix(mark): v for name, v in arrays.items() if name.startswith(mark)}
            memory = header["controller"] | held
            self.stepper.restore(float(header["t"]), int(header["k"]), arrays["z"], memory)
            self.seconds_before = float(header["seconds"])
        except (KeyError, IndexError, ValueError, TypeError):
            raise FileFormatError(f"{name} is incomplete; start the run again without resume") from None
        if self.recorder.rows:
            self.view.values = self.recorder.rows[-1][1]

    def _difference(self, header: dict[str, Any]) -> str:
        before = header.get("configuration", {})
        for key, now in self.configuration.items():
            then = before.get(key)
            if isinstance(then, dict) and isinstance(now, dict):
                for part in now:
                    if then.get(part) != now[part]:
                        return (
                            f"{part} of its {key} was {_short(then.get(part))}, now it is {_short(now[part])}"
                        )
            if then != now:
                return f"its {key} was {_short(then)}, now it is {_short(now)}"
        return "its initial state, save times or start differ"

    # -- the loop

    def go(self) -> Trajectory:
        status = Status.reached_end
        failure: StepFailure | None = None
        with self.compilation():
            try:
                self.interrupts.begin(self.view)
                status = self._march()
            except StepFailure as problem:
                failure, status, self.reason = problem, Status[problem.status], str(problem)
            except KeyboardInterrupt:
                status, self.reason = Status.interrupted, f"interrupted at t = {self.stepper.t:.6g}"
            finally:
                self.interrupts.finish(self.view, status.name if sys.exc_info()[0] is None else "failed")
            self.save_last()
        return self.conclude(status, failure)

    @contextlib.contextmanager
    def compilation(self) -> Iterator[None]:
        """What numba compiles inside is counted."""
        with compilation() as compiled:
            yield
        self.compile_seconds += compiled()

    def save_last(self) -> None:
        """Wherever a run ends, there is a row."""
        last = self.recorder.last
        if last is None or last < self.stepper.t:
            with contextlib.suppress(StepFailure), np.errstate(over="ignore", invalid="ignore"):
                self._save()

    def conclude(self, status: Status, failure: StepFailure | None) -> Trajectory:
        """The trajectory of a run that has ended, or `DivergenceError`."""
        run = self._trajectory(status)
        if failure is not None and self.on_divergence == "raise":
            raise DivergenceError(f"{failure}. {status.value}", run)
        return run

    def leave(self) -> Trajectory:
        """The trajectory of a run that Ctrl-C ended before it went on."""
        self.reason = f"interrupted at t = {self.stepper.t:.6g}"
        with self.compilation():
            self.save_last()
        return self.conclude(Status.interrupted, None)

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
            states = [self.bound.unpack(z, self.state) for z in self.recorder.kept()]
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
            "seconds": self.seconds_before + self.view.seconds
            if self.group_seconds is None
            else self.group_seconds,
            "record_seconds": self.record_seconds,
            "observer_seconds": self.observer_seconds,
            "compile_seconds": self.compile_seconds,
            "replicas": self.group_size,
        }
        kind = (
            getattr(self.bound, "trajectory_type", None)
            or getattr(self.flow, "trajectory_type", None)
            or Trajectory
        )
        run: Trajectory = kind(
            t=t,
            records=records,
            states=tuple(states),
            status=status,
            message=self.reason,
            stats=stats,
            provenance=self.origin,
            flow=self.flow,
        )
        return run


def _short(x: Any) -> str:
    text = str(x)
    return text if len(text) <= 80 else text[:77] + "..."


@contextlib.contextmanager
def compilation() -> Iterator[Callable[[], float]]:
    """Measure the seconds that numba spends compiling, if it is loaded at all."""
    if "numba" not in sys.modules:
        yield lambda: 0.0
        return
    from numba.core import event

    with event.install_timer("numba:compile", lambda seconds: total.append(seconds)):
        total: list[float] = []
        yield lambda: sum(total, 0.0)

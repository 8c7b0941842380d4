"""One task, wherever it lands: call the cell, write each seed's record, hand back hashes and statuses."""

from __future__ import annotations

import copy
import dataclasses
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from meanfield._study import encode, store
from solvers._threads import one_blas_thread
from solvers.errors import DivergenceError, InputError
from solvers.provenance import provenance

# A worker that cannot write says so; this is no status of a cell.
UNWRITTEN = "unwritten"
Outcome = list[tuple[str, str]]


class Task(NamedTuple):
    """One configuration and the seeds of it that are to be computed (one, unless the cell takes all at once)."""

    folder: str
    values: dict[str, Any]
    seeds: tuple[int, ...]
    keys: tuple[str, ...]
    labels: dict[str, Any]


class Work(NamedTuple):
    """What all tasks of a study share."""

    cell: Callable[..., Any]
    fixed: dict[str, Any]
    takes: str | None


def run_task(
    work: Work,
    task: Task,
    stopped: Callable[[], bool] | None = None,
    blas: Callable[[], AbstractContextManager[None]] = one_blas_thread,
) -> Outcome:
    """Compute and write what is not there yet; (hash, status) of each seed.

    Parameters
    ----------
    work, task
    stopped : callable, optional
        Whether Ctrl-C came while the cell ran: a cell that caught it returns something unfinished, which is dropped.
    blas : callable
        Gives the context that limits the BLAS to one thread: sums depend on their number, which engines choose
        differently.
    """
    folder = Path(task.folder)
    outcome: Outcome = []
    left = []
    for seed, key in zip(task.seeds, task.keys, strict=True):
        record = store.read_result(folder, key, failed=False)
        if record is None:
            left.append((seed, key))
        else:
            outcome.append((key, record["status"]))
    if not left:
        return outcome
    with blas():
        records = _compute(work, task, tuple(seed for seed, _ in left), stopped)
    if stopped is not None and stopped():
        raise KeyboardInterrupt
    for (seed, key), record in zip(left, records, strict=True):
        whole = {"status": record["status"], "configuration": shown(task), "seed": seed, **record}
        whole |= {"provenance": _provenance()}
        try:
            store.write_result(folder, key, whole)
        except (OSError, InputError) as problem:
            outcome.append((key, f"{UNWRITTEN}: {' '.join(str(problem).split())}"))
        else:
            outcome.append((key, record["status"]))
    return outcome


def shown(task: Task) -> dict[str, Any]:
    """What a table shows of the task's configuration, as JSON values."""
    return {name: encode.encode(value, name) for name, value in task.labels.items()}


def failure(message: str, trace: str = "", seconds: float = 0.0) -> dict[str, Any]:
    """The record of a cell that gave no result."""
    return {"status": store.FAILED, "message": message, "traceback": trace, "seconds": seconds}


def _compute(
    work: Work, task: Task, seeds: tuple[int, ...], stopped: Callable[[], bool] | None
) -> list[dict[str, Any]]:
    begun = time.perf_counter()
    # What a cell does to its arguments must not reach the next cell, which may run here or elsewhere.
    given = copy.deepcopy({**work.fixed, **task.values})
    if work.takes == "rng":
        given["rng"] = seeds[0]
    elif work.takes == "rngs":
        given["rngs"] = list(seeds)
    try:
        returned = work.cell(**given)
        results = _several(returned, len(seeds)) if work.takes == "rngs" else [returned]
        records = [_record(result, work, task, seed) for result, seed in zip(results, seeds, strict=True)]
    except Refused as problem:
        records = [{"status": store.REFUSED, "message": str(problem)} for _ in seeds]
    except (Exception, SystemExit) as problem:
        if len(seeds) > 1 and not (stopped is not None and stopped()):
            # Whose failure it is shows one by one, and it must not be the others'.
            return [record for seed in seeds for record in _compute(work, task, (seed,), stopped)]
        records = [_raised(problem)]
    seconds = (time.perf_counter() - begun) / len(seeds)
    return [{**record, "seconds": seconds} for record in records]


def _raised(problem: BaseException) -> dict[str, Any]:
    if isinstance(problem, DivergenceError):
        return _diverged(problem)
    # from the cell's own frames on
    trace = problem.__traceback__.tb_next if problem.__traceback__ is not None else None
    text = "".join(traceback.format_exception(type(problem), problem, trace))
    said = " ".join(str(problem).split())
    return failure(f"{type(problem).__name__}: {said}" if said else type(problem).__name__, text)


def _diverged(problem: DivergenceError) -> dict[str, Any]:
    """Divergence is data: when, and what was said."""
    times = getattr(problem.run, "t", None)
    at = float(times[-1]) if times is not None and len(times) else None
    return {
        "status": store.DIVERGED,
        "message": " ".join(str(problem).split()),
        "time": encode.encode(at, "time"),
    }


# -- what cells return ---------------------------------------------------------------------------------------------


class Refused(Exception):
    """A cell keeps to other rules than those of cells; the study ends."""


def _several(returned: Any, count: int) -> list[Any]:
    if isinstance(returned, (Mapping, str)) or not hasattr(returned, "__len__") or len(returned) != count:
        size = f" of {len(returned)}" if hasattr(returned, "__len__") else ""
        raise Refused(
            f"a cell that takes rngs returns a list of {count} results, one a seed, not a "
            f"{type(returned).__name__}{size}"
        )
    return list(returned)


def _record(result: Any, work: Work, task: Task, seed: int) -> dict[str, Any]:
    if isinstance(result, DivergenceError):
        return _diverged(result)
    values = {}
    for name, value in _mapping(result).items():
        if not isinstance(name, str):
            raise Refused(f"a cell returns a mapping of names to values, but {name!r} is no text")
        try:
            encoded = encode.encode(_as_array(value, name), repr(name))
        except InputError as problem:
            raise Refused(f"what the cell returned: {problem}") from None
        if not encode.is_plain(encoded):
            # Reading a table must not import what its files name.
            raise Refused(
                f"the cell returned {name!r} = {encode.label(encoded)}; return numbers, texts and small arrays, its "
                "str(...) for one"
            )
        if name in task.labels or name in ("seed", "status"):
            # A report may repeat its parameter (`scale`); the table has it once.
            there = task.labels.get(name, seed if name == "seed" else None)
            if encode.label(encoded) != there:
                raise Refused(
                    f"the cell returned {name!r} = {encode.label(encoded)!r}, but {name!r} is a column of its own in "
                    f"the table ({there!r} here); return it under another name"
                )
            continue
        values[name] = encoded
    return {"status": store.DONE, "values": values}


def _as_array(value: Any, name: str) -> Any:
    """Lists of one shape are arrays, and arrays of no axes are numbers."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value[()]
    if not isinstance(value, (list, tuple)) or any(hasattr(item, "_fields") for item in (value, *value)):
        return value
    try:
        found = np.asarray(value)
    except ValueError:
        raise InputError(f"{name!r} is a list of lists of different lengths; return arrays") from None
    if found.dtype.kind == "U" and not all(
        isinstance(item, str) for item in np.asarray(value, dtype=object).flat
    ):
        raise InputError(f"{name!r} is a list of texts and numbers; return those under a name each")
    return found


def _mapping(result: Any) -> Mapping[Any, Any]:
    if isinstance(result, Mapping):
        return result
    if callable(getattr(result, "as_dict", None)):
        found: Mapping[Any, Any] = result.as_dict()
        return found
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    if hasattr(result, "_asdict"):
        fields: Mapping[Any, Any] = result._asdict()
        return fields
    raise Refused(
        f"a cell returns a mapping of names to numbers, texts or small arrays, or an object with as_dict(), not a "
        f"{type(result).__name__}"
    )


def _provenance() -> dict[str, Any]:
    """Versions, commit and date; nothing of the machine that computed."""
    found = provenance()
    return {name: found[name] for name in ("created", "versions", "commit")}

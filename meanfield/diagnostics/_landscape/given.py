"""What is given, as what the calls work with: the networks of a problem, states of one width, layers, neurons."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from meanfield.diagnostics._landscape.measures import Neurons
from meanfield.flows.linearized import LinearizedObjective
from meanfield.objective import Objective
from solvers import _check
from solvers.errors import InputError
from solvers.protocols import Array


def subject_of(problem: Any) -> Any:
    """What knows how to drop and join the networks of a problem, or one sentence."""
    flow = getattr(problem, "flow", None)
    if hasattr(problem, "final"):
        if flow is None:
            raise InputError(
                "this run was loaded from a file, which does not hold the problem; use run.attach(flow) first, or "
                "pass the objective"
            )
        problem = getattr(flow, "objective", getattr(flow, "problem", None))
    if isinstance(problem, LinearizedObjective):
        raise InputError(
            "a linearized network is tied to the neurons at which it was linearized, so that none can be dropped or "
            "moved elsewhere; pass the objective it was made of, objective.base, for the network itself"
        )
    if isinstance(problem, Objective):
        return Neurons(problem)
    if hasattr(problem, "net"):
        from meanfield.diagnostics._landscape.deep import Layers
        from meanfield.finite.deep import Problem

        if isinstance(problem, Problem):
            return Layers(problem)
    raise InputError(
        "problem must be an mf.Objective on data, an mf.finite.deep.Problem, or a run of one, not "
        f"{type(problem).__name__}"
    )


def final_of(state: Any) -> Any:
    """A network, or the last one of a run."""
    return state.final if hasattr(state, "final") else state


def pairs_of(subject: Any, a: Any, b: Any) -> list[tuple[Any, Any]]:
    """Two networks of one width, or pairs from two lists of them, or one sentence."""
    several = [isinstance(one, (list, tuple)) for one in (a, b)]
    if several[0] != several[1] or (several[0] and len(a) != len(b)) or (several[0] and not len(a)):
        raise InputError("a and b must be two networks, or two lists of as many networks, one at least")
    pairs = list(zip(a, b, strict=True)) if several[0] else [(a, b)]
    names = [(f"a[{i}]", f"b[{i}]") if several[0] else ("a", "b") for i in range(len(pairs))]
    found = []
    widths = None
    for (one, other), (left, right) in zip(pairs, names, strict=True):
        left_state, right_state = subject.check(final_of(one), left), subject.check(final_of(other), right)
        sizes = subject.sizes(left_state), subject.sizes(right_state)
        if sizes[0] != sizes[1]:
            raise InputError(
                f"{left} has {sizes[0][0]} neurons and {right} has {sizes[1][0]}: a path joins networks of one width; "
                "repeat neurons of the narrower one, with the mass shared, until the widths agree"
            )
        if widths is not None and widths != sizes[0]:
            raise InputError(
                f"{left} has {sizes[0][0]} neurons and a[0] has {widths[0]}: all pairs must have one width"
            )
        widths = sizes[0]
        found.append((left_state, right_state))
    return found


def layers_of(layers: Iterable[int] | None, hidden: int) -> tuple[int, ...]:
    """Numbers of hidden layers in increasing order, or one sentence."""
    if layers is None:
        return tuple(range(hidden))
    try:
        given = list(layers)
    except TypeError:
        raise InputError(f"layers must be numbers of hidden layers such as (0, 1), not {layers!r}") from None
    chosen = sorted({int(i) for i in given if _numbers_one_of(i, hidden)})
    if not given or len(chosen) < len(given):
        raise InputError(
            f"layers must be different numbers of hidden layers, from 0 to {hidden - 1}, not {given!r}"
        )
    return tuple(chosen)


def _numbers_one_of(i: Any, count: int) -> bool:
    return np.ndim(i) == 0 and not isinstance(i, (bool, np.bool_, str)) and i in range(count)


def units_of(kept: Any, m: int) -> Array:
    """Numbers of neurons, each once, or one sentence."""
    units = _check.array(kept, "kept")
    if np.asarray(kept).dtype == bool:
        raise InputError(
            "kept is a mask; pass the numbers of the neurons that remain, numpy.flatnonzero(kept)"
        )
    if units.ndim != 1:
        raise InputError(
            f"kept must be a list of numbers of neurons such as [0, 2], but its shape is {units.shape}"
        )
    if (
        (units != np.floor(units)).any()
        or units.min() < 0
        or units.max() >= m
        or len(set(units)) < units.size
    ):
        raise InputError(f"kept must be different numbers of neurons, from 0 to {m - 1}")
    return units.astype(np.intp)


def loss_of(subject: Any, f: Array) -> float:
    """R(f) on the data of a problem."""
    return float(subject.loss_function.value(f, subject.y, **subject.options))

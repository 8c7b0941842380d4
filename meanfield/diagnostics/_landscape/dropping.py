"""Neurons dropped by their numbers or at random, the rest rescaled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from meanfield.diagnostics._landscape.given import final_of, layers_of, loss_of, subject_of, units_of
from meanfield.diagnostics._landscape.stability import DropoutReport
from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.losses import SquaredLoss
from solvers.protocols import Array

LAWS = ("count", "coins")
# Bytes of masks and predictions of thinned networks held at a time.
DRAW_BYTES = 64_000_000


def drop(problem: Any, state: Any, kept: Any, *, layer: int | None = None) -> Any:
    """``f' = m/k sum_{j kept} phi_j`` instead of ``f = sum_j phi_j``: k of m neurons remain and are multiplied.

    Parameters
    ----------
    problem : Objective or mf.finite.deep.Problem
        Or a run of one.
    state : ParticleMeasure, Weights or run
    kept : array_like of int, (k,)
        Numbers of the neurons that remain, each once.
    layer : int, optional
        Of a deep network, the hidden layer, from 0 on; by default the last one.

    Returns
    -------
    ParticleMeasure of k neurons, or Weights of the same sizes with zeros where dropped units were read.

    Raises
    ------
    InputError
    """
    subject = subject_of(problem)
    state = subject.check(final_of(state), "state")
    sizes = subject.sizes(state)
    chosen = (
        len(sizes) - 1 if layer is None else _check.number(layer, "layer", integer=True, nonnegative=True)
    )
    if chosen >= len(sizes):
        raise InputError(
            f"layer must be the number of a hidden layer, from 0 to {len(sizes) - 1}, not {chosen}"
        )
    units = units_of(kept, sizes[chosen])
    return subject.drop(state, {chosen: units}, {chosen: sizes[chosen] / units.size})


def dropout(
    problem: Any,
    state: Any = None,
    keep: float = 0.5,
    draws: int = 50,
    *,
    law: str = "count",
    layers: Iterable[int] | None = None,
    rng: Any = 0,
) -> DropoutReport:
    """What random dropping changes: ``f' = sum_{j kept} phi_j / p`` instead of ``f = sum_j phi_j``, phi_j = c_j Phi_j.

    Exactly, for one hidden layer of m neurons, given the network:

        "count", k = p m neurons remain:           Var f'(x) = (1/p - 1) m S^2(x)
        "coins", each with probability p, apart:   Var f'(x) = (1/p - 1) sum_j phi_j(x)^2

    S^2 is the sample variance of phi_j over neurons (that of Phi over m^2 where masses are 1/m, so that for many
    neurons the change depends on how many remain: ``(1/k - 1/m) S^2(Phi)``). Both have mean f. The first is 0 if all
    neurons are alike, the second is ``(1/p - 1)/m mean_j Phi_j^2``. The squared loss rises by half the variance on
    average. Losses are R(f), without the penalty.

    Parameters
    ----------
    problem : Objective or mf.finite.deep.Problem
        Or a run of one.
    state : ParticleMeasure, Weights or run, optional
        By default where the run that is given as `problem` ended.
    keep : float
        p, in (0, 1]; "count" keeps the nearest number of neurons, and p is then k/m.
    draws : int
    law : {"count", "coins"}
    layers : sequence of int, optional
        Of a deep network, the hidden layers that are thinned, each by itself; by default all of them.
    rng : int, SeedSequence or Generator

    Returns
    -------
    DropoutReport

    Raises
    ------
    InputError

    Examples
    --------
    >>> import meanfield as mf
    >>> X, y = mf.data.relu_teacher(n=50, d=3, rng=0)
    >>> objective = mf.Objective(mf.TwoLayer("relu", d=3), X, y)
    >>> report = mf.landscape.dropout(objective, mf.ParticleMeasure.gaussian(objective.network, 100, rng=0))
    >>> report.remaining, bool(report.mean_square.low < report.expected < report.mean_square.high)
    ((50,), True)
    """
    subject = subject_of(problem)
    if state is None and not hasattr(problem, "final"):
        raise InputError(
            "state is missing: pass the network that is thinned, or a run in place of the problem"
        )
    if isinstance(state, (int, float)):
        raise InputError(
            f"state must be a network, not {state!r}; the share that remains is passed as keep={state!r}"
        )
    state = subject.check(final_of(problem if state is None else state), "state")
    p = float(_check.number(keep, "keep"))
    if not 0.0 < p <= 1.0:
        raise InputError(f"keep is the share of neurons that remain, in (0, 1], not {p:g}")
    draws = _check.number(draws, "draws", positive=True, integer=True)
    _check.choice(law, "law", LAWS)
    sizes = subject.sizes(state)
    chosen = layers_of(layers, len(sizes))
    widths = tuple(sizes[i] for i in chosen)
    remaining = tuple(int(p * m + 0.5) for m in widths)
    if law == "count":
        _require_rest(p, widths, remaining)
    source = generator(rng, "landscape")
    factors = dict.fromkeys(chosen, 1.0 / p)
    if law == "count":
        factors = {i: m / k for i, m, k in zip(chosen, widths, remaining, strict=True)}
    f = subject.predict(state)
    losses, changes = np.empty(draws), np.empty(draws)
    group = max(1, DRAW_BYTES // (8 * (3 * f.size + 2 * sum(widths))))
    for low in range(0, draws, group):
        masks = [
            {i: _mask(source, law, p, m, k) for i, m, k in zip(chosen, widths, remaining, strict=True)}
            for _ in range(low, min(draws, low + group))
        ]
        for i, one in enumerate(subject.thinned(state, masks, factors), low):
            losses[i], changes[i] = loss_of(subject, one), _mean(subject, np.square(one - f))
    variance = None
    if len(chosen) == 1:
        share = p if law == "coins" else remaining[0] / widths[0]
        variance = _variance(subject.squares(state, chosen[0]), law, share, widths[0])
    return DropoutReport(
        loss=loss_of(subject, f),
        losses=losses,
        changes=changes,
        expected=None if variance is None else _mean(subject, variance),
        expected_loss=_expectedloss_of(subject, f, variance),
        law=law,
        keep=p,
        widths=widths,
        remaining=remaining,
        layers=chosen,
        subject=repr(subject),
    )


def _require_rest(p: float, widths: tuple[int, ...], remaining: tuple[int, ...]) -> None:
    for m, k in zip(widths, remaining, strict=True):
        if k == 0:
            raise InputError(f"keep={p:g} of {m} neuron(s) leaves none; take a larger keep, or more neurons")
        if k == m and p < 1.0:
            raise InputError(
                f"keep={p:g} of {m} neuron(s) drops none; take a smaller keep, more neurons, or law='coins'"
            )


def _mask(source: np.random.Generator, law: str, p: float, m: int, k: int) -> Array:
    if law == "coins":
        return np.asarray(source.random(m) < p, dtype=np.float64)
    mask = np.zeros(m)
    mask[source.permutation(m)[:k]] = 1.0
    return mask


def _variance(found: tuple[Array, Array] | None, law: str, p: float, m: int) -> Array | None:
    """Var f' on the data, from sums of squares of the neurons' parts of f, and those about their mean."""
    if found is None:
        return None
    square, spread = found
    if law == "coins":
        return np.asarray((1.0 / p - 1.0) * square)
    return np.asarray((1.0 / p - 1.0) * m / (m - 1) * spread) if m > 1 else np.zeros_like(spread)


def _mean(subject: Any, values: Array) -> float:
    """Over data, with their weights; summed over outputs."""
    each = values.reshape(len(values), -1).sum(axis=1)
    return float(np.average(each, weights=subject.options.get("weights")))


def _expectedloss_of(subject: Any, f: Array, variance: Array | None) -> float | None:
    if variance is None or type(subject.loss_function) is not SquaredLoss:
        return None
    # half the variance in the loss's own reduction
    rise = subject.loss_function.value(np.sqrt(variance), np.zeros_like(variance), **subject.options)
    return loss_of(subject, f) + float(rise)

"""The calls: drop neurons by name, drop them at random, join two solutions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from meanfield.diagnostics._landscape.connection import Connection
from meanfield.diagnostics._landscape.measures import Neurons
from meanfield.diagnostics._landscape.stability import DropoutReport
from meanfield.objective import Objective
from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.losses import SquaredLoss
from solvers.protocols import Array

LAWS = ("count", "coins")
PATHS = ("dropout", "line", "aligned")


def drop(problem: Any, state: Any, kept: Any, *, layer: int | None = None) -> Any:
    """The network with the neurons that are not in `kept` dropped, the rest multiplied by m over their number.

    Parameters
    ----------
    problem : Objective or mf.finite.deep.Problem
        Or a run of one.
    state : ParticleMeasure, Weights or run
    kept : array_like of int, (k,)
        Which neurons remain, each once.
    layer : int, optional
        Of a deep network, the hidden layer, from 0 on; by default the last one.

    Returns
    -------
    ParticleMeasure of k neurons, or Weights of the same sizes with zeros where dropped units were read.

    Raises
    ------
    InputError
    """
    subject = _subject(problem)
    state = subject.check(_final(state), "state")
    sizes = subject.sizes(state)
    chosen = _layers(None if layer is None else (layer,), len(sizes))[-1]
    m = sizes[chosen]
    units = _check.array(kept, "kept", ndim=1)
    if (
        (units != np.floor(units)).any()
        or units.min() < 0
        or units.max() >= m
        or len(set(units)) < units.size
    ):
        raise InputError(f"kept must be different numbers of neurons, from 0 to {m - 1}")
    return subject.drop(state, {chosen: units.astype(np.intp)}, {chosen: m / units.size})


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
    subject = _subject(problem)
    if state is None and not hasattr(problem, "final"):
        raise InputError(
            "state is missing: pass the network that is thinned, or a run in place of the problem"
        )
    state = subject.check(_final(problem if state is None else state), "state")
    p = float(_check.number(keep, "keep", positive=True))
    if p > 1.0:
        raise InputError(f"keep is the share of neurons that remain, in (0, 1], not {p:g}")
    draws = _check.number(draws, "draws", positive=True, integer=True)
    _check.choice(law, "law", LAWS)
    sizes = subject.sizes(state)
    chosen = _layers(layers, len(sizes))
    widths = tuple(sizes[i] for i in chosen)
    remaining = tuple(int(p * m + 0.5) for m in widths)
    if law == "count":
        _require_rest(p, widths, remaining)
    source = generator(rng, "landscape")
    masks = [
        {i: _mask(source, law, p, m, k) for i, m, k in zip(chosen, widths, remaining, strict=True)}
        for _ in range(draws)
    ]
    f = subject.predict(state)
    if law == "coins":
        found = subject.thinned(state, masks, dict.fromkeys(chosen, 1.0 / p))
    else:
        factors = {i: m / k for i, m, k in zip(chosen, widths, remaining, strict=True)}
        found = subject.thinned(state, masks, factors)
    variance = None
    if len(chosen) == 1:
        share = p if law == "coins" else remaining[0] / widths[0]
        variance = _variance(subject.squares(state, chosen[0]), law, share, widths[0])
    return DropoutReport(
        loss=_loss(subject, f),
        losses=np.array([_loss(subject, one) for one in found]),
        changes=np.array([_mean(subject, np.square(one - f)) for one in found]),
        expected=None if variance is None else _mean(subject, variance),
        expected_loss=_expected_loss(subject, f, variance),
        law=law,
        keep=p,
        widths=widths,
        remaining=remaining,
        layers=chosen,
        subject=repr(subject),
    )


def connect(
    problem: Any,
    a: Any,
    b: Any,
    path: str = "dropout",
    *,
    points: int = 51,
    draws: int = 20,
    rng: Any = 0,
) -> Connection:
    """Losses along a path from a to b: ``barrier = max_t R(path(t)) - max(R(a), R(b))``.

    "dropout": through networks of half the neurons. One hidden layer: (1) the output weights of a move to those of a on
    a random half S, rescaled; (2) the neurons outside of S, which are not read, become b's; (3) the output weights move
    to those of b on its other half; (4) the neurons in S become b's; (5) the output weights become b's. Steps 1, 3, 5
    move the output layer alone: predictions are affine and R is convex in t, 2 and 4 change nothing. More hidden
    layers are halved one after the other, from the last one down: 4 H + 1 steps, of the same two kinds. The output
    layer of a measure are its masses, the path goes through measures of m neurons.

    "line": ``(1 - t) a + t b``, neuron by neuron. "aligned": the same after the neurons of b were permuted: of
    measures those of least squared distance (with equal masses a geodesic of W2), of deep networks the units of each
    layer with the nearest activations on the data. R is not convex there: the barrier is that of the points computed.

    All losses are R(f), without the penalty.

    Parameters
    ----------
    problem : Objective or mf.finite.deep.Problem
        Or a run of one.
    a, b : ParticleMeasure, Weights or run, or lists of them
        Of one network and one width; of lists, the first a goes to the first b and so on, and the confidence interval
        is over pairs.
    path : {"dropout", "line", "aligned"}
    points : int
        Values of t, at least; on a dropout path they include the ends of the steps.
    draws : int
        Of the random halves, on a dropout path.
    rng : int, SeedSequence or Generator

    Returns
    -------
    Connection

    Raises
    ------
    InputError
    """
    subject = _subject(problem)
    path = _check.choice(path, "path", PATHS)
    points = _check.number(points, "points", positive=True, integer=True)
    if points < 3:
        raise InputError(f"points must be 3 at least, the ends and one between, not {points}")
    draws = _check.number(draws, "draws", positive=True, integer=True)
    subject.require_path(path)
    pairs = _pairs(subject, a, b)
    if path != "dropout":
        return _straight(subject, pairs, path, points)
    source = generator(rng, "landscape")
    sizes = subject.sizes(pairs[0][0])
    if min(sizes) < 2:
        raise InputError(
            f"a path through networks of half the neurons needs 2 in every hidden layer at least, not {min(sizes)}"
        )
    halves = [[[_halves(source, m) for m in sizes] for _ in range(draws)] for _ in pairs]

    def nodes(pair: int, draw: int) -> list[Any]:
        chosen = halves[pair][draw]
        return list(subject.corners(*pairs[pair], [one for one, _ in chosen], [other for _, other in chosen]))

    moves = (True, *(False, True) * (2 * len(sizes)))
    each = max(2, -(-(points - 1) // len(moves)))
    inside = np.arange(each) / each
    losses = np.empty((len(pairs), draws, len(moves) * each + 1))
    for i, j in np.ndindex(*losses.shape[:2]):
        corners = nodes(i, j)
        f = subject.predict(corners[0])
        for piece, moving in enumerate(moves):
            ahead = subject.predict(corners[piece + 1]) if moving else f
            losses[i, j, piece * each : (piece + 1) * each] = [
                _loss(subject, (1.0 - s) * f + s * ahead) for s in inside
            ]
            f = ahead
        losses[i, j, -1] = _loss(subject, f)
    return Connection(
        kind=path,
        t=np.arange(losses.shape[2]) / (losses.shape[2] - 1),
        losses=losses,
        corners=np.arange(len(moves) + 1) / len(moves),
        output_only=moves,
        widths=sizes,
        subject=repr(subject),
        _nodes=nodes,
        _mix=subject.mix,
    )


def _straight(subject: Any, pairs: list[tuple[Any, Any]], path: str, points: int) -> Connection:
    if path == "aligned":
        pairs = [(one, subject.align(one, other)) for one, other in pairs]
    t = np.linspace(0.0, 1.0, points)
    losses = [
        [[_loss(subject, subject.predict(subject.mix(one, other, s))) for s in t]] for one, other in pairs
    ]
    return Connection(
        kind=path,
        t=t,
        losses=np.array(losses),
        corners=np.array([0.0, 1.0]),
        output_only=(False,),
        widths=subject.sizes(pairs[0][0]),
        subject=repr(subject),
        _nodes=lambda pair, draw: list(pairs[pair]),
        _mix=subject.mix,
    )


# -- what is given ------------------------------------------------------------------------------------------------


def _subject(problem: Any) -> Any:
    """What knows how to drop and join the networks of a problem, or one sentence."""
    flow = getattr(problem, "flow", None)
    if hasattr(problem, "final"):
        if flow is None:
            raise InputError(
                "this run was loaded from a file, which does not hold the problem; use run.attach(flow) first, or "
                "pass the objective"
            )
        problem = getattr(flow, "objective", getattr(flow, "problem", None))
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


def _final(state: Any) -> Any:
    return state.final if hasattr(state, "final") else state


def _pairs(subject: Any, a: Any, b: Any) -> list[tuple[Any, Any]]:
    several = [isinstance(one, (list, tuple)) for one in (a, b)]
    if several[0] != several[1] or (several[0] and len(a) != len(b)) or (several[0] and not len(a)):
        raise InputError("a and b must be two networks, or two lists of as many networks, one at least")
    pairs = list(zip(a, b, strict=True)) if several[0] else [(a, b)]
    names = [(f"a[{i}]", f"b[{i}]") if several[0] else ("a", "b") for i in range(len(pairs))]
    found = []
    widths = None
    for (one, other), (left, right) in zip(pairs, names, strict=True):
        left_state, right_state = subject.check(_final(one), left), subject.check(_final(other), right)
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


def _layers(layers: Iterable[int] | None, hidden: int) -> tuple[int, ...]:
    if layers is None:
        return tuple(range(hidden))
    try:
        chosen = tuple(_check.number(i, "a layer", integer=True, nonnegative=True) for i in layers)
    except TypeError:
        raise InputError(f"layers must be numbers of hidden layers such as (0, 1), not {layers!r}") from None
    if not chosen or max(chosen) >= hidden or len(set(chosen)) < len(chosen):
        raise InputError(
            f"layers must be different numbers of hidden layers, from 0 to {hidden - 1}, not {layers!r}"
        )
    return tuple(sorted(chosen))


# -- what is drawn and expected -------------------------------------------------------------------------------------


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


def _halves(source: np.random.Generator, m: int) -> tuple[Array, Array]:
    """Two disjoint sets of m // 2 neurons; of an odd number one is in neither."""
    order = source.permutation(m)
    return np.sort(order[: m // 2]), np.sort(order[m // 2 : 2 * (m // 2)])


def _variance(found: tuple[Array, Array] | None, law: str, p: float, m: int) -> Array | None:
    """Var f' on the data, from sums and sums of squares of the neurons' parts of f."""
    if found is None:
        return None
    total, square = found
    if law == "coins":
        return np.asarray((1.0 / p - 1.0) * square)
    if p == 1.0:
        return np.zeros_like(square)
    # square - total^2/m cancels where neurons are alike: rounding there must not become a negative variance
    return np.maximum((1.0 / p - 1.0) * m / (m - 1) * (square - total**2 / m), 0.0)


def _loss(subject: Any, f: Array) -> float:
    return float(subject.loss_function.value(f, subject.y, **subject.options))


def _mean(subject: Any, values: Array) -> float:
    """Over data, with their weights; summed over outputs."""
    each = values.reshape(len(values), -1).sum(axis=1)
    return float(np.average(each, weights=subject.options.get("weights")))


def _expected_loss(subject: Any, f: Array, variance: Array | None) -> float | None:
    if variance is None or type(subject.loss_function) is not SquaredLoss:
        return None
    # half the variance in the loss's own reduction
    rise = subject.loss_function.value(np.sqrt(variance), np.zeros_like(variance), **subject.options)
    return _loss(subject, f) + float(rise)

"""Two solutions joined: through networks of half the neurons, straight, or straight after a permutation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield.diagnostics._landscape.connection import Connection
from meanfield.diagnostics._landscape.given import loss_of, pairs_of, subject_of
from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array

PATHS = ("dropout", "line", "aligned")


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
    subject = subject_of(problem)
    path = _check.choice(path, "path", PATHS)
    points = _check.number(points, "points", positive=True, integer=True)
    if points < 3:
        raise InputError(f"points must be 3 at least, the ends and one between, not {points}")
    draws = _check.number(draws, "draws", positive=True, integer=True)
    subject.require_path(path)
    pairs = pairs_of(subject, a, b)
    if path != "dropout":
        return _straight(subject, pairs, path, points)
    source = generator(rng, "landscape")
    sizes = subject.sizes(pairs[0][0])
    if min(sizes) < 2:
        raise InputError(
            f"a path through networks of half the neurons needs 2 in every hidden layer at least, not {min(sizes)}"
        )
    nodes = _Corners(
        subject, pairs, [[[_halves(source, m) for m in sizes] for _ in range(draws)] for _ in pairs]
    )
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
                loss_of(subject, (1.0 - s) * f + s * ahead) for s in inside
            ]
            f = ahead
        losses[i, j, -1] = loss_of(subject, f)
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
        [[loss_of(subject, subject.predict(subject.mix(one, other, s))) for s in t]] for one, other in pairs
    ]
    return Connection(
        kind=path,
        t=t,
        losses=np.array(losses),
        corners=np.array([0.0, 1.0]),
        output_only=(False,),
        widths=subject.sizes(pairs[0][0]),
        subject=repr(subject),
        _nodes=_Corners(subject, pairs, None),
        _mix=subject.mix,
    )


@dataclass(frozen=True)
class _Corners:
    """Networks at the ends of a path's straight pieces, made when they are asked for; it can be pickled."""

    subject: Any
    pairs: list[tuple[Any, Any]]
    halves: list[list[list[tuple[Array, Array]]]] | None

    def __call__(self, pair: int, draw: int) -> list[Any]:
        if self.halves is None:
            return list(self.pairs[pair])
        chosen = self.halves[pair][draw]
        first, second = [one for one, _ in chosen], [other for _, other in chosen]
        return list(self.subject.corners(*self.pairs[pair], first, second))


def _halves(source: np.random.Generator, m: int) -> tuple[Array, Array]:
    """Two disjoint sets of m // 2 neurons; of an odd number one is in neither."""
    order = source.permutation(m)
    return np.sort(order[: m // 2]), np.sort(order[m // 2 : 2 * (m // 2)])

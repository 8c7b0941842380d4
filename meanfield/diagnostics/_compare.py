"""Two runs of one objective side by side: how far the predictions, the particle clouds and the objectives are apart."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield.plugins import check_functional
from solvers import _check, transport
from solvers._rng import generator
from solvers.errors import InputError
from solvers.measure import ParticleMeasure
from solvers.protocols import Array
from solvers.provenance import jsonable
from solvers.result import Trajectory
from solvers.spaces import Euclidean, unit_directions

DISTANCES = ("auto", "exact", "sliced", "none")
# What a description of a flow says about the dynamics rather than about the objective.
_DYNAMICS = {
    "flow",
    "time_unit",
    "step",
    "tau",
    "batch",
    "replace",
    "sampler",
    "key",
    "alpha",
    "beta",
    "retraction",
    "width",
}
# Times that a run was asked for and landed on are equal up to rounding.
_SAME_TIME = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Distances between two runs at the times that both saved.

    Attributes
    ----------
    t, other_t : ndarray, (s,)
        Times of the first run, and those of the second that were matched to them.
    sup, rms : ndarray, (s,)
        ``max_i |f(x_i) - g(x_i)|`` and ``(mean_i |f(x_i) - g(x_i)|^2)^(1/2)`` over all points and outputs.
    wasserstein : ndarray, (s,), or None
        W2 of the particle clouds (its sliced version where `transport` says so), in the unit of the positions.
    objective_difference : ndarray, (s,), or None
        ``F(mu_t) - F(nu_t)``, first run minus second; None where the objectives are not the same.
    transport : str
        How W2 was computed, or why it was not.
    points : int
        Points at which predictions were compared.
    """

    t: Array
    other_t: Array
    sup: Array
    rms: Array
    wasserstein: Array | None
    objective_difference: Array | None
    transport: str
    points: int

    @property
    def distances(self) -> dict[str, Array]:
        """The non-negative curves by the names under which they are drawn."""
        curves = {r"$\sup_x |f - g|$": self.sup, r"rms $|f - g|$": self.rms}
        if self.wasserstein is not None:
            curves["sliced $W_2$" if self.transport.startswith("sliced") else "$W_2$"] = self.wasserstein
        return curves

    @property
    def time_mismatch(self) -> float:
        """The largest difference between matched times."""
        return float(np.max(np.abs(self.t - self.other_t)))

    def __repr__(self) -> str:
        cloud = "" if self.wasserstein is None else f", W2 {self.wasserstein[-1]:.3g}"
        return (
            f"Comparison({len(self.t)} common times up to t = {self.t[-1]:g}; at the end sup |f - g| "
            f"{self.sup[-1]:.3g}, rms {self.rms[-1]:.3g}{cloud}; W2: {self.transport})"
        )

    def _columns(self) -> dict[str, Array]:
        columns = {"t": self.t, "other_t": self.other_t, "sup": self.sup, "rms": self.rms}
        if self.wasserstein is not None:
            columns["wasserstein"] = self.wasserstein
        if self.objective_difference is not None:
            columns["objective_difference"] = self.objective_difference
        return columns

    def _repr_html_(self) -> str:
        from meanfield import plotting

        columns = self._columns()
        worst = {name: float(np.max(np.abs(values))) for name, values in columns.items()}
        rows = [(name, float(v[0]), float(v[-1]), worst[name]) for name, v in columns.items()]
        head = ("", "first", "last", "largest size")
        caption = f"Comparison at {len(self.t)} common times on {self.points} points; W2: {self.transport}"
        return plotting.html_table(rows, head, caption)

    def plot(self, ax: Any = None, csv: Any = None) -> Any:
        """The distances over time, on a logarithmic axis if the saves span decades; `csv`, a path, gets the numbers."""
        from meanfield import plotting

        ax = plotting.comparison(self, ax=ax, csv=csv)
        positive = self.t[self.t > 0]
        if len(positive) > 2 and positive[-1] > 100 * positive[0]:
            ax.set_xscale("log")
        return ax

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write times, distances and the difference of the objectives, one row a time."""
        from meanfield import plotting

        plotting.write_csv(path, self._columns())


def compare(
    run: Any,
    other: Any,
    X: Any = None,
    distance: str = "auto",
    *,
    exact_up_to: int = 1_000_000,
    directions: int = 100,
    rng: Any = 0,
    time_tolerance: float | None = None,
) -> Comparison:
    """``sup_x |f_t - g_t|``, ``rms |f_t - g_t|``, ``W_2(mu_t, nu_t)`` and ``F(mu_t) - F(nu_t)`` of two runs.

    Parameters
    ----------
    run, other : Run
        Of flows of one objective, say a Wasserstein flow and SGD from the same start, or ``run.linearized()``; or of
        one problem of deep networks, whose predictions are compared. One of them may be loaded from a file. With
        ``keep="all"`` in both, all common save times are compared, else the first and last.
    X : array_like, (n, d), optional
        Inputs at which predictions are compared; the objective's data by default. With X, the runs may have
        different objectives of the same network (a population and a sample); the objectives are then not compared.
    distance : {"auto", "exact", "sliced", "none"}
        Of the clouds. "exact": quantiles on the line, linear programming beyond; "sliced": mean over random
        directions, a lower bound of W2 times about 1/sqrt(p); "auto": exact up to `exact_up_to` pairs of
        particles, then sliced; left out, with the reason, where W2 has no meaning (signs, unequal masses).
    exact_up_to : int
        The product of the two widths up to which "auto" is exact (0.2 s a time at 1000 x 1000).
    directions : int
        Of the sliced distance; the same ones at all times.
    rng : int, SeedSequence or Generator
        Draws the directions.
    time_tolerance : float, optional
        Matched times may differ by so much. Default: half the step of a run with fixed steps, which saves at the step
        nearest to the time that it was asked for; nothing but rounding otherwise. While f moves fast, this shows as a
        distance of up to half a step times its speed.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        Runs of different objectives, networks or clocks; loaded runs without objective; no common times.
    """
    _check.choice(distance, "distance", DISTANCES)
    exact_up_to = _check.number(exact_up_to, "exact_up_to", nonnegative=True, integer=True)
    directions = _check.number(directions, "directions", positive=True, integer=True)
    _check_run(run, "run")
    _check_run(other, "other")
    objective = _common_objective(run, other, X is not None)
    _check_clocks(run, other)
    left, right = _matched(run, other, time_tolerance)
    predict, points = predictor(_own(run, objective), X)
    predict_other, _ = predictor(_own(other, objective), X)
    pairs = [(run.states[i[1]], other.states[j[1]]) for i, j in zip(left, right, strict=True)]
    gaps = [predict(mu) - predict_other(nu) for mu, nu in pairs]
    cloud, how = cloud_distance(
        distance,
        *pairs[0],
        space=getattr(objective, "space", None),
        exact_up_to=exact_up_to,
        directions=directions,
        rng=rng,
        all_pairs=pairs,
    )
    difference = None
    if _same_objective(run, other) is None and "objective" in run and "objective" in other:
        difference = run["objective"][[i[0] for i in left]] - other["objective"][[j[0] for j in right]]
    return Comparison(
        t=_frozen([run.t[i[0]] for i in left]),
        other_t=_frozen([other.t[j[0]] for j in right]),
        sup=_frozen([np.max(np.abs(gap)) for gap in gaps]),
        rms=_frozen([np.sqrt(np.mean(np.square(gap))) for gap in gaps]),
        wasserstein=None if cloud is None else _frozen([cloud(mu, nu) for mu, nu in pairs]),
        objective_difference=None if difference is None else _frozen(difference),
        transport=how,
        points=points,
    )


# -- what chaos.py uses too ---------------------------------------------------------------------------------------


def predictor(objective: Any, X: Any) -> tuple[Callable[[Any], Array], int]:
    """``mu -> f_mu`` on X, or on the objective's data, and the number of points."""
    if X is None:
        if not (hasattr(objective, "predict") and hasattr(objective, "X")):
            raise InputError(
                f"{type(objective).__name__} has no data on which predictions could be compared; pass X="
            )
        return objective.predict, int(objective.X.shape[0])
    if hasattr(objective, "net"):
        points = objective.net.check_inputs(X)
        return lambda weights: np.asarray(objective.predict(weights, points)), len(points)
    network = getattr(objective, "network", None)
    if network is None:
        raise InputError(f"{type(objective).__name__} has no network, so X= cannot be used")
    inputs = _check.array(X, "X", ndim=(1, 2))
    if hasattr(network, "check_inputs"):
        inputs = network.check_inputs(inputs)
    if hasattr(objective, "base"):
        return lambda measure: np.asarray(objective.predict(measure, inputs)), int(inputs.shape[0])
    from meanfield.networks.feature_map import predict

    return lambda measure: np.asarray(predict(network, measure, inputs)), int(inputs.shape[0])


def cloud_distance(
    distance: str,
    mu: ParticleMeasure,
    nu: ParticleMeasure,
    *,
    space: Any,
    exact_up_to: int,
    directions: int,
    rng: Any,
    all_pairs: Any = (),
) -> tuple[Callable[[Any, Any], float] | None, str]:
    """The function (mu, nu) -> W2 for clouds like these two, and in words how it computes; None and why not."""
    if distance == "none":
        return None, "not asked for"
    if _is_deep(mu) or _is_deep(nu):
        if distance != "auto":
            raise InputError(
                f"distance={distance!r} is one of particle clouds; weights of a deep network are none"
            )
        return None, "left out: weights of a deep network are no cloud"
    curved = space is not None and not isinstance(space, Euclidean)
    if distance == "auto":
        for one, two in all_pairs or [(mu, nu)]:
            if one.signs is not None or two.signs is not None:
                return None, "left out: the measures are signed"
            if abs(one.mass - two.mass) > 1e-9 * max(one.mass, two.mass):
                return None, "left out: the masses differ"
    if distance == "sliced" and curved:
        raise InputError(f"the sliced distance is for Euclidean space, not {space!r}; take distance='exact'")
    if mu.dim == 1 and not curved and distance != "sliced":
        return transport.wasserstein, "exact, by quantiles on the line"
    if distance == "exact" or (distance == "auto" and mu.width * nu.width <= exact_up_to):
        return lambda a, b: transport.wasserstein(
            a, b, space=space
        ), f"exact, {mu.width} x {nu.width} particles"
    if curved:
        return None, f"left out: {mu.width} x {nu.width} particles are beyond exact_up_to={exact_up_to}"
    lines = unit_directions(directions, mu.dim, generator(rng, "compare"))
    return (
        lambda a, b: transport.sliced_wasserstein(a, b, directions=lines),
        f"sliced, {directions} directions ({mu.width} x {nu.width} particles)",
    )


# -- inside -------------------------------------------------------------------------------------------------------


def _frozen(values: Any) -> Array:
    array = np.asarray(values, dtype=np.float64)
    array.flags.writeable = False
    return array


def _check_run(run: Any, name: str) -> None:
    if not isinstance(run, Trajectory):
        raise InputError(
            f"{name} must be a run, as integrate or mf.train returns it, not {type(run).__name__}"
        )
    if not run.states or not all(
        isinstance(state, ParticleMeasure) or _is_deep(state) for state in run.states
    ):
        raise InputError(
            f"{name} must hold particle measures or weights of a deep network as states; compare() is for their flows"
        )


def _is_deep(state: Any) -> bool:
    """Whether a state is the weights of a deep network."""
    from meanfield.finite.deep.weights import Weights

    return isinstance(state, Weights)


def _description(run: Any) -> Mapping[str, Any] | None:
    """What the run's objective says about itself, also for a run from a file; None if it says nothing."""
    objective = getattr(run.flow, "objective", None)
    if objective is not None:
        objective = getattr(objective, "base", objective)  # of a linearization, that of which it is one
        return dict(jsonable(objective.describe())) if hasattr(objective, "describe") else None
    configuration = run.provenance.get("configuration", {})
    described = configuration.get("flow") if isinstance(configuration, Mapping) else None
    if not isinstance(described, Mapping):
        return None
    return {key: value for key, value in described.items() if key not in _DYNAMICS}


def _same_objective(run: Any, other: Any) -> str | None:
    """None if the objectives agree, else what differs, in words."""
    mine, theirs = (getattr(one.flow, "objective", None) for one in (run, other))
    if mine is not None and mine is theirs:
        return None
    left, right = _description(run), _description(other)
    if left is None or right is None:
        return "they are not the same object and do not describe themselves"
    if left.keys() != right.keys():
        kinds = " and ".join(str(d.get("functional", "an Objective on data")) for d in (left, right))
        return f"they are of different kinds ({kinds})"
    for key in left:
        if left[key] != right[key]:
            if key.endswith("sha256"):
                return "their data differ"
            return f"{key} is {left[key]} in one and {right[key]} in the other"
    return None


def _own(run: Any, objective: Any) -> Any:
    """What predicts for a run: its own linearization where it has one, else the common objective, not linearized."""
    mine = getattr(run.flow, "objective", None)
    return mine if hasattr(mine, "base") else getattr(objective, "base", objective)


def _common_objective(run: Any, other: Any, has_inputs: bool) -> Any:
    for one in (run, other):
        if getattr(one.flow, "objective", None) is None and "linearized_at_sha256" in (
            _description(one) or {}
        ):
            raise InputError(
                "a run of a linearized network was loaded from a file; use run.attach(flow) first"
            )
    objectives = [getattr(one.flow, "objective", None) for one in (run, other)]
    known = next((one for one in objectives if one is not None), None)
    if known is None:
        raise InputError(
            "neither run knows its objective, which files do not hold; use run.attach(flow) on a loaded run"
        )
    if not hasattr(known, "net"):
        check_functional(known)
    if not has_inputs:
        difference = _same_objective(run, other)
        if difference is not None:
            raise InputError(
                f"the runs have different objectives: {difference}; pass X= to compare their predictions alone"
            )
        return known
    networks = [
        (_description(r) or {}).get("network", repr(getattr(one, "network", None)))
        for r, one in zip((run, other), objectives, strict=True)
    ]
    if networks[0] != networks[1]:
        raise InputError(
            f"the runs have different networks, {networks[0]} and {networks[1]}; they cannot be compared"
        )
    return known


def _check_clocks(run: Any, other: Any) -> None:
    """One sentence if the two runs measure time in different units."""
    factors = []
    for one in (run, other):
        described = (one.provenance.get("configuration") or {}).get("flow")
        described = described if isinstance(described, Mapping) else {}
        factors.append(getattr(one.flow, "time_unit", described.get("time_unit", "flow")))
    scale = max(float(getattr(getattr(getattr(r.flow, "objective", None), "network", None), "scale", 1.0))
                for r in (run, other))  # fmt: skip
    if factors[0] != factors[1] and scale != 1.0:
        raise InputError(
            f"the runs have different clocks (time_unit={factors[0]!r} and {factors[1]!r}, a factor "
            f"{scale**2:g} apart); run both with the same time_unit"
        )


def _saves(run: Any) -> list[tuple[int, int]]:
    """Pairs (index of the save, index of its state)."""
    if len(run.states) == len(run.t):
        return [(k, k) for k in range(len(run.t))]
    return [(0, 0), (len(run.t) - 1, len(run.states) - 1)]


def _step(run: Any) -> float:
    """The step of a run with fixed steps, which saves up to half a step away from the time asked for; else 0."""
    found = re.search(r"\(step=([0-9.eE+-]+)\)", str(run.stats.get("method", "")))
    return float(found.group(1)) if found else 0.0


def _matched(run: Any, other: Any, tolerance: Any) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The saves of both that belong together: each other's nearest, and near enough."""
    mine, theirs = _saves(run), _saves(other)
    t = np.array([run.t[k] for k, _ in mine])
    s = np.array([other.t[k] for k, _ in theirs])
    rounding = _SAME_TIME * max(float(np.max(np.abs(t))), float(np.max(np.abs(s))))
    allowed = 0.5 * (_step(run) + _step(other)) * (1 + 1e-9) + rounding
    if tolerance is not None:
        allowed = _check.number(tolerance, "time_tolerance", nonnegative=True) + rounding
    gaps = np.abs(t[:, None] - s[None, :])
    nearest, back = gaps.argmin(axis=1), gaps.argmin(axis=0)
    kept = [i for i, j in enumerate(nearest) if back[j] == i and gaps[i, j] <= allowed]
    # Starts alone say nothing about two runs that went on.
    if not kept or (kept == [0] and len(t) > 1 and len(s) > 1):
        raise InputError(
            f"the runs have no common times after the start (one has states at {_times(t)}, the other at "
            f"{_times(s)}, and times may differ by {allowed:.3g}); save both at the same times and pass keep='all'"
        )
    return [mine[i] for i in kept], [theirs[nearest[i]] for i in kept]


def _times(t: Array) -> str:
    shown = ", ".join(f"{x:g}" for x in t[:3])
    return f"t = {shown}" if len(t) <= 3 else f"t = {shown}, ..., {t[-1]:g}"

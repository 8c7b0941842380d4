"""Propagation of chaos, measured: networks of finite width and finite step against the mean-field flow.

``width_study`` couples students of width m to the flow of a very wide measure by shared starts; ``step_study``
couples (stochastic) gradient descent to the flow from one start. Both return a frozen `ChaosReport`.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.diagnostics._compare import DISTANCES, cloud_distance, predictor
from meanfield.flows import SGD, WassersteinFlow
from meanfield.plugins import check_functional
from solvers import _check, integrate
from solvers._rng import generator, seed_words
from solvers.errors import InputError
from solvers.explicit import DormandPrince, Euler
from solvers.measure import ParticleMeasure
from solvers.protocols import Array
from solvers.schedule import save_times

if TYPE_CHECKING:
    from meanfield.plotting._curves import SlopeFit

LABELS = {
    "sup": r"$\sup_x |f_m - f|$",
    "rms": r"rms $|f_m - f|$",
    "square": r"$E|f_m - f|^2$",
    "coupled": r"$(\mathrm{mean}_j |\theta_j^m - \theta_j|^2)^{1/2}$",
    "wasserstein": r"$W_2$(student, flow)",
    "independent": r"$W_2$ of two independent samples",
}

# Memory for the states of runs that go at once.
HELD_BYTES = 256_000_000


@dataclass(frozen=True, eq=False, repr=False)
class ChaosReport:
    """Distances to the flow for each width (or step), repeat and time, and the power laws fitted to them.

    Attributes
    ----------
    axis : {"width", "step"}
    values : ndarray, (k,)
        The widths m, or the steps h.
    t : ndarray, (s,)
        Times of the comparison (for steps: each run is compared at its own step nearest to them).
    distances : mapping of str to ndarray, (k, repeats, s)
        "sup" and "rms": ``max_i`` and root mean square over the points of ``|f_m - f|``; "square": rms squared;
        "coupled": ``(mean_j |theta_j^m(t) - theta_j(t)|^2)^(1/2)`` over particles that started in the same places.
    clouds : mapping of str to ndarray, (k, repeats)
        At the last time: "wasserstein", W2 of the student's cloud and the reference (without the particles that they
        share, which would bias it), and "independent", W2 of two disjoint samples of m particles of the reference.
    theory : mapping of str to float
        Exponents that theory states for each.
    corrected : bool
        Whether `distances` were divided by the finite-population factor (see `width_study`).
    transport : str
        How W2 was computed, or why it was not.
    settings : mapping
        What was run, in words.
    reference : Trajectory
        The run of the flow.
    """

    axis: str
    values: Array
    t: Array
    distances: Mapping[str, Array]
    clouds: Mapping[str, Array]
    theory: Mapping[str, float]
    corrected: bool
    transport: str
    settings: Mapping[str, str]
    reference: Any = field(repr=False)

    def measured(self, name: str, t: float | None = None) -> Array:
        """(k, repeats): the distance `name` at the save nearest to t, or its largest value over all times.

        For "square" the largest over times is that of the mean over repeats, ``max_t E|f_m - f|^2``.
        """
        if name in self.clouds:
            if t is not None:
                raise InputError(f"{name} was measured at the last time only; drop t=")
            return self.clouds[name]
        values = self.distances[_check.choice(name, "name", (*self.distances, *self.clouds))]
        if t is not None:
            return values[:, :, int(np.argmin(np.abs(self.t - _check.number(t, "t"))))]
        if name == "square":
            worst = values.mean(axis=1).argmax(axis=1)
            return np.take_along_axis(values, worst[:, None, None], axis=2)[:, :, 0]
        return np.asarray(values.max(axis=2))

    def slope(self, name: str, t: float | None = None) -> SlopeFit:
        """The exponent of ``measured(name, t)`` in the width or step, with the half-width of its 95 % interval.

        Least squares through the logarithms of the means over repeats. The interval is Student's: from the jackknife
        over repeats where there are three or more, otherwise from the scatter about the line.
        """
        from meanfield import plotting

        values = self.measured(name, t)
        return plotting.fit_slope(self.values, values[:, 0] if values.shape[1] == 1 else values)

    @property
    def slopes(self) -> dict[str, SlopeFit]:
        """The exponents of all that was measured and is positive; `slope` says how."""
        names = (*self.distances, *self.clouds)
        return {name: self.slope(name) for name in names if (self.measured(name) > 0).all()}

    def table(self) -> list[tuple[str, float, float, float, float]]:
        """Rows (name, slope, lower end, upper end, slope of the theory)."""
        return [
            (name, fit.slope, fit.slope - fit.half_width, fit.slope + fit.half_width, self.theory[name])
            for name, fit in self.slopes.items()
        ]

    def __repr__(self) -> str:
        fits = ", ".join(f"{k} {v.slope:.3f} ± {v.half_width:.2g}" for k, v in self.slopes.items())
        return f"ChaosReport({len(self.values)} {self.axis}s, slopes: {fits})"

    def _repr_html_(self) -> str:
        import html

        from meanfield import plotting

        head = ("distance", f"slope in the {self.axis}", "95 % from", "to", "theory")
        notes = {**self.settings, "W2": self.transport}
        lines = "".join(f"<li>{html.escape(k)}: {html.escape(v)}</li>" for k, v in notes.items())
        return (
            plotting.html_table(self.table(), head, f"Distance to the flow by {self.axis}")
            + f"<ul>{lines}</ul>"
        )

    def plot(self, names: Sequence[str] = ("rms",), ax: Any = None, t: float | None = None) -> Any:
        """The distances `names` at time t (see `measured`) against width or step on log axes, with slopes."""
        from meanfield import plotting

        label = "width $m$" if self.axis == "width" else "step $h$"
        for k, name in enumerate([names] if isinstance(names, str) else names):
            values = self.measured(name, t)
            ax = plotting.slope(
                self.values,
                values[:, 0] if values.shape[1] == 1 else values,
                expected=self.theory[name],
                label=LABELS[name],
                colour=plotting.COLOURS[k % len(plotting.COLOURS)],
                xlabel=label,
                ylabel="distance to the flow",
                ax=ax,
            )
        return ax

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write every measured distance, one row for each value, repeat and time."""
        from meanfield import plotting

        shape = (len(self.values), next(iter(self.distances.values())).shape[1], len(self.t))
        columns: dict[str, Any] = {
            self.axis: np.broadcast_to(self.values[:, None, None], shape).ravel(),
            "repeat": np.broadcast_to(np.arange(shape[1])[None, :, None], shape).ravel(),
            "t": np.broadcast_to(self.t, shape).ravel(),
        }
        columns |= {name: values.ravel() for name, values in self.distances.items()}
        for name, values in self.clouds.items():
            late = np.full(shape, np.nan)
            late[:, :, -1] = values
            columns[name] = late.ravel()
        plotting.write_csv(path, columns)


def width_study(
    objective_or_flow: Any,
    reference: ParticleMeasure,
    widths: Any,
    t_end: float,
    repeats: int = 8,
    rng: Any = 0,
    *,
    step: float | None = None,
    batch: int | None = None,
    sampler: Any = None,
    X: Any = None,
    save: Any = 11,
    method: Any = None,
    correct: bool | None = None,
    distance: str = "auto",
    exact_up_to: int = 4_000_000,
    directions: int = 100,
) -> ChaosReport:
    """Students of width m against the flow of `reference`, whose particles they share at the start.

    A student is ``reference.subsample(m)`` and is compared with the flow of the whole reference, the stand-in for
    infinite width: ``E|f_m - f|^2 ~ 1/m``, and particle j stays within about ``m^(-1/2)`` of the particle of the
    reference that started in its place, while ``W_2`` of the clouds only falls like that of samples,
    ``m^(-1/p)`` in dimension p > 2.

    Parameters
    ----------
    objective_or_flow : Objective, functional or WassersteinFlow
    reference : ParticleMeasure
        Start of the flow, equal weights, of a width M much larger than the widths (at least twice for W2).
    widths : array_like of int, (k,)
    t_end : float
    repeats : int
        Students of each width.
    rng : int, SeedSequence or Generator
        A cell (width, repeat) has a seed of its own, whatever the other widths and repeats are.
    step, batch, sampler : optional
        Students are trained by `SGD` with this step, in the time unit of the flow (rounded to whole steps); by the
        flow itself if step is None. SGD adds a distance that does not shrink with the width.
    X : array_like, (n, d), optional
        Points at which predictions are compared; the objective's data by default.
    save : int, array_like or schedule
        Times of the comparison.
    method : optional
        Of integration of the flows.
    correct : bool, optional
        m particles drawn from M without replacement fluctuate less than independent ones, by the factor
        ``((M - m)/(M - 1))^(1/2)``: exactly in ``E|f_m - f|^2`` at the start, and to leading order in 1/m in all of
        `distances` later, since the flow carries a small perturbation linearly. True divides by it. Default: True for
        students that follow the flow, False for SGD, whose own noise it would inflate. W2 is never corrected; it is
        taken between disjoint sets of particles: take M large.
    distance : {"auto", "exact", "sliced", "none"}
        Of the clouds at the last time, as in `compare`; exact up to `exact_up_to` pairs of particles under "auto".
    directions : int
        Of the sliced distance.

    Returns
    -------
    ChaosReport

    Raises
    ------
    InputError
        Widths not below that of the reference (half of it with W2), unequal weights, negative times.

    References
    ----------
    Sznitman, "Topics in propagation of chaos", 1991; Mei, Montanari, Nguyen, 2018 (1804.06561); Rotskoff,
    Vanden-Eijnden, 2018 (1805.00915).
    """
    flow = _flow(objective_or_flow)
    _check_reference(reference, "reference")
    sizes = _check.array(widths, "widths", ndim=1)
    m_all = [_check.number(m, "an entry of widths", positive=True, integer=True) for m in sizes]
    if len(set(m_all)) < len(m_all):
        raise InputError("widths must be different from each other")
    M = reference.width
    _check.choice(distance, "distance", DISTANCES)
    limit = M - 1 if distance == "none" else M // 2
    if max(m_all) > limit:
        wanted = "below" if distance == "none" else "at most half of"
        raise InputError(
            f"widths must be {wanted} the width {M} of the reference, but {max(m_all)} is not; "
            "take a wider reference"
        )
    repeats = _check.number(repeats, "repeats", positive=True, integer=True)
    predict, _ = predictor(flow.objective, X)
    times = _times(save, t_end)
    if step is None:
        if batch is not None or sampler is not None:
            raise InputError("batch= and sampler= are for SGD students: give step= too")
    else:
        step = _check.number(step, "step", positive=True)
        times = np.unique(_whole_steps(times, step))
    whole = integrate(flow, reference, float(times[-1]), save=times, keep="all", method=method)
    targets = [predict(state) for state in whole.states]
    final = whole.final
    space = getattr(flow.objective, "space", None)
    words = seed_words(rng, "chaos")
    distances = {
        name: np.empty((len(m_all), repeats, len(times))) for name in ("sup", "rms", "square", "coupled")
    }
    # One way for all widths, chosen by the largest: a slope through two kinds of distance would mean nothing.
    largest = _part(final, np.arange(max(m_all)))
    cloud, how = cloud_distance(distance, largest, final, space=space, exact_up_to=exact_up_to, directions=directions,
                                rng=0)  # fmt: skip
    clouds: dict[str, Array] = {}
    if cloud is not None:
        clouds = {name: np.empty((len(m_all), repeats)) for name in ("wasserstein", "independent")}
    with _progress(sum(m_all) * repeats, "width") as advance:
        for i, m in enumerate(m_all):
            for some in _together(repeats, len(times) * m * reference.dim):
                seeds = [_cell(words, m, r) for r in some]
                chosen = [_choose(M, m, seed) for seed in seeds]
                students = [_part(reference, indices) for indices in chosen]
                if step is None:
                    runs = integrate(flow, students, float(times[-1]), save=times, keep="all", method=method)
                else:
                    runs = _descend(flow, students, times, step, batch, sampler, seeds)
                for r, seed, indices, run in zip(some, seeds, chosen, runs, strict=True):
                    for k, state in enumerate(run.states):
                        _record(distances, (i, r, k), predict(state) - targets[k],
                                state.positions - whole.states[k].positions[indices])  # fmt: skip
                    if cloud is not None:
                        pair = generator(seed, "pair").permutation(M)[: 2 * m]
                        others = _part(final, np.delete(np.arange(M), indices))
                        clouds["wasserstein"][i, r] = cloud(run.final, others)
                        clouds["independent"][i, r] = cloud(_part(final, pair[:m]), _part(final, pair[m:]))
                advance(m * len(some))
    corrected = step is None if correct is None else bool(correct)
    if corrected:
        share = (M - 1) / (M - np.array(m_all, dtype=np.float64))
        for name, values in distances.items():
            values *= (share if name == "square" else np.sqrt(share))[:, None, None]
    rate = -0.5 if reference.dim <= 2 else -1.0 / reference.dim
    theory = {
        "sup": -0.5,
        "rms": -0.5,
        "square": -1.0,
        "coupled": -0.5,
        "wasserstein": rate,
        "independent": rate,
    }
    dynamics = "the flow itself" if step is None else f"SGD, step {step:g}, batch {batch or 'of all data'}"
    settings = {
        "students": f"{dynamics}, {repeats} of each width",
        "reference": f"the flow of {M} particles up to t = {times[-1]:g}",
        "finite population": f"divided by ((M - m)/(M - 1))^(1/2), M = {M}" if corrected else "not corrected",
    }
    return ChaosReport("width", np.array(m_all, dtype=np.float64), times, distances, clouds, theory, corrected, how,
                       settings, whole)  # fmt: skip


def step_study(
    objective_or_flow: Any,
    start: ParticleMeasure,
    steps: Any,
    t_end: float,
    repeats: int | None = None,
    rng: Any = 0,
    *,
    batch: int | None = None,
    sampler: Any = None,
    X: Any = None,
    save: Any = 11,
    method: Any = None,
) -> ChaosReport:
    """Gradient descent of step h, or SGD, against the flow from the same start: the flow is its limit as h -> 0.

    The distance is of order h for the full batch, and of order ``h^(1/2)`` along each path with minibatches, whose
    noise has variance h a unit of time. (ReLU on data has a discontinuous velocity: expect orders of smooth
    activations only.)

    Parameters
    ----------
    objective_or_flow : Objective, functional or WassersteinFlow
    start : ParticleMeasure
    steps : array_like, (k,)
        In the time unit of the flow.
    t_end : float
    repeats : int, optional
        Runs of each step: 1 for the full batch, which is deterministic, else 8 by default.
    rng : int, SeedSequence or Generator
        A cell (step, repeat) has a seed of its own.
    batch, sampler : optional
        Of `SGD`; the full batch by default.
    X, save
        As in `width_study`. Each run is compared at its own step nearest to the times of `save`.
    method : optional
        Of the flow; by default Dormand-Prince with rtol 1e-9, far below what steps do (Auto where the velocity jumps).

    Returns
    -------
    ChaosReport
    """
    flow = _flow(objective_or_flow)
    _check_reference(start, "start")
    h_all = [
        _check.number(h, "an entry of steps", positive=True) for h in _check.array(steps, "steps", ndim=1)
    ]
    if len(set(h_all)) < len(h_all):
        raise InputError("steps must be different from each other")
    times = _times(save, t_end)
    if max(h_all) > times[-1]:
        raise InputError(f"steps must be at most t_end = {times[-1]:g}, but {max(h_all):g} is not")
    if batch is None and sampler is None:
        if repeats not in (None, 1):
            raise InputError("the full batch is deterministic: leave repeats out, or give batch=")
        count = 1
    else:
        count = _check.number(8 if repeats is None else repeats, "repeats", positive=True, integer=True)
    predict, _ = predictor(flow.objective, X)
    if method is None and bool(getattr(flow.objective, "smooth", True)):
        method = DormandPrince(rtol=1e-9, atol=1e-12)
    own = [_whole_steps(times, h) for h in h_all]
    union = np.unique(np.concatenate(own))
    whole = integrate(flow, start, float(union[-1]), save=union, keep="all", method=method)
    targets = [predict(state) for state in whole.states]
    words = seed_words(rng, "chaos")
    distances = {
        name: np.empty((len(h_all), count, len(times))) for name in ("sup", "rms", "square", "coupled")
    }
    with _progress(sum(float(t[-1]) / h for h, t in zip(h_all, own, strict=True)) * count, "step") as advance:
        for i, h in enumerate(h_all):
            grid, back = np.unique(own[i], return_inverse=True)
            at = [int(np.argmin(np.abs(whole.t - t))) for t in grid]
            for some in _together(count, len(grid) * start.positions.size):
                if batch is None and sampler is None:
                    runs = [integrate(flow, start, float(grid[-1]), save=grid, keep="all", method=Euler(h))]
                else:
                    bits = int.from_bytes(struct.pack(">d", h), "big")
                    seeds = [_cell(words, bits, r) for r in some]
                    runs = _descend(flow, [start] * len(some), grid, h, batch, sampler, seeds)
                for r, run in zip(some, runs, strict=True):
                    for k, where in enumerate(back):
                        state, goal = run.states[where], at[where]
                        _record(distances, (i, r, k), predict(state) - targets[goal],
                                state.positions - whole.states[goal].positions)  # fmt: skip
                advance(len(some) * grid[-1] / h)
    order = 1.0 if batch is None and sampler is None else 0.5
    theory = {"sup": order, "rms": order, "square": 2 * order, "coupled": order}
    settings = {
        "runs": "gradient descent" if order == 1.0 else f"SGD, batch {batch}, {count} runs of each step",
        "reference": f"the flow from the same {start.width} particles up to t = {times[-1]:g}",
    }
    return ChaosReport(
        "step", np.array(h_all), times, distances, {}, theory, False, "not asked for", settings, whole
    )


# -- inside -------------------------------------------------------------------------------------------------------


def _flow(given: Any) -> WassersteinFlow:
    if isinstance(given, WassersteinFlow):
        return given
    if hasattr(given, "objective"):
        raise InputError(
            f"chaos studies know the Wasserstein flow and its SGD, not {type(given).__name__}; pass a WassersteinFlow "
            "or its objective"
        )
    check_functional(given)
    return WassersteinFlow(given)


def _check_reference(measure: Any, name: str) -> None:
    if not isinstance(measure, ParticleMeasure):
        raise InputError(f"{name} must be a ParticleMeasure, not {type(measure).__name__}")
    if np.ptp(measure.weights) > 1e-12 * measure.weights.max():
        raise InputError(f"{name} must have equal weights; call {name}.resample(width, rng) first")


def _times(save: Any, t_end: Any) -> Array:
    end = _check.number(t_end, "t_end", positive=True)
    return save_times(save, 0.0, end)


def _whole_steps(times: Array, step: float) -> Array:
    """The multiples of the step nearest to the times; the last one is a step at least."""
    counts = np.rint(times / step)
    counts[-1] = max(counts[-1], 1.0)
    return counts * step


def _cell(words: Any, *key: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(entropy=[int(word) for word in words], spawn_key=key)


def _choose(M: int, m: int, seed: Any) -> Any:
    """m of M indices, in order."""
    return np.sort(generator(seed, "subsample").choice(M, size=m, replace=False))


def _part(measure: ParticleMeasure, chosen: Any) -> ParticleMeasure:
    """The chosen particles with the mass of all: `subsample`, with the choice known."""
    m = len(chosen)
    signs = None if measure.signs is None else measure.signs[chosen]
    return ParticleMeasure(measure.positions[chosen], np.full(m, measure.mass / m), signs, measure.layout)


def _together(count: int, numbers: int) -> Iterator[range]:
    """Runs that go at once, as replicas: so many that their kept states, `numbers` float64 each, fit in memory."""
    most = max(1, HELD_BYTES // (8 * numbers))
    for first in range(0, count, most):
        yield range(first, min(first + most, count))


def _descend(
    flow: WassersteinFlow,
    starts: list[ParticleMeasure],
    times: Array,
    step: float,
    batch: Any,
    sampler: Any,
    seeds: list[Any],
) -> Any:
    """SGD on the clock of the flow, saved at `times`, which are whole multiples of the step; a seed each."""
    descents = [
        SGD(flow.objective, step, batch=batch, rng=seed, sampler=sampler, time_unit=flow.time_unit)
        for seed in seeds
    ]
    return integrate(descents, starts, float(times[-1]), save=times, keep="all")


def _record(distances: dict[str, Array], cell: tuple[int, int, int], gap: Array, shift: Array) -> None:
    square = float(np.mean(np.square(gap)))
    distances["sup"][cell] = np.max(np.abs(gap))
    distances["rms"][cell] = np.sqrt(square)
    distances["square"][cell] = square
    distances["coupled"][cell] = np.sqrt(np.mean(np.sum(np.square(shift), axis=1)))


@contextmanager
def _progress(total: float, what: str) -> Iterator[Any]:
    """A bar on stderr, silent when stderr is not a terminal; advanced by work done, not by runs."""
    from tqdm import tqdm

    bar = tqdm(total=total, desc=f"{what}s", file=sys.stderr, disable=not sys.stderr.isatty(), leave=False,
               bar_format="{desc} |{bar}| {percentage:3.0f}% [{elapsed} < {remaining}]")  # fmt: skip
    try:
        yield bar.update
    finally:
        bar.close()

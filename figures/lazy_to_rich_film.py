"""From lazy to rich in one parameter: the neurons of a network and what it predicts, at equal training loss.

Source: Chizat, Oyallon, Bach, 1812.07956 (2019) and Geiger, Spigler, Jacot, Wyart, 1906.08034 (2020), for the factor
alpha that multiplies the network; no single figure of theirs, the problem is this project's.

Quick preset: about 4 s, the film 10 s more. Paper preset: 1000 neurons and 64 frames, 7 s and 20 s (CPU).

f(x) = alpha (1/m) sum_j a_j sigma(w_j x + b_j) learns five points of the line from neurons on the circle |(w, b)| = 1,
in pairs a = +-1 (f = 0 at the start); sigma is a smooth ReLU, log(1 + e^(10 z))/10. Time is divided by alpha^2. Large
alpha: neurons stay where they are, and the network predicts what its linearization at the start does (dashed), which
ends at kernel regression (dotted). Small alpha: neurons leave, a few directions take all the mass |a| |(w, b)|, and the
function bends where they are. In each frame the three networks have the same training loss.

From a doubled start relative movement is of order 1/alpha, and the first-order terms of the change of kernel and of the
distance to the kernel predictor cancel: both are of order 1/alpha^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import meanfield as mf
import solvers
from meanfield.gallery import Claim, check_sizes
from solvers.errors import InputError
from solvers.protocols import Array

LAZY = "Chizat, Oyallon, Bach 2019 (1812.07956), as remembered: movement 1/alpha, the limit is the linearized model"
DOUBLED = "shared/theory/flows.md: slope -2 from a doubled start, whose second-order term cancels; smooth activations"
OURS = "found for this project"

X = np.array([-1.0, -0.55, -0.05, 0.45, 1.0])
Y = np.array([0.35, -0.45, 0.25, 0.6, -0.35])
BENDS = 10.0  # beta of the smooth ReLU
SHOWN = np.linspace(-1.3, 1.3, 157)
BIN = 5.0  # degrees of a bin of directions


@dataclass(frozen=True)
class Config:
    """Scales of the film, further ones for slopes, and how finely it is made."""

    scales: tuple[float, ...] = (0.01, 1.0, 300.0)  # rich, intermediate, lazy
    further: tuple[float, ...] = (30.0, 300.0, 3000.0)  # for slopes
    width: int = 200
    frames: int = 32
    level: float = 1e-4  # of the loss at the start, at which the film ends
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        if len(self.scales) != 3 or len(self.further) < 2:
            raise InputError("scales must be three (rich, intermediate, lazy) and further at least two")
        if self.width % 2 or self.frames < 4 or not 0 < self.level < 0.1:
            raise InputError("width must be even, frames at least 4, and level between 0 and .1")

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(width=1000, frames=64, further=(30.0, 100.0, 300.0, 1000.0, 3000.0))


def objective(scale: float) -> mf.Objective:
    """Five points on the line."""
    return mf.Objective(mf.TwoLayer(mf.Softplus(BENDS), d=1), X[:, None], Y, scale=scale)


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Runs down to the same loss, frames at equal losses, and ends at one time for slopes."""
    start = mf.ParticleMeasure.sphere(objective(1.0).network, config.width, rng=rng, doubled=True)
    early = config.frames // 2
    late = np.geomspace(0.1, config.level, config.frames - early + 1)[1:]
    levels = np.concatenate([np.linspace(1.0, 0.1, early), late])
    arrays: dict[str, Any] = {"scales": np.array(config.scales), "levels": levels}
    films = [_film(scale, start, levels) for scale in config.scales]
    for name in films[0]:
        arrays[name] = np.array([film[name] for film in films])
    t_end = float(arrays["t"][-1, -1])
    arrays["further"] = np.array(config.further)
    reports = [_run(scale, start, t_end).regime(SHOWN[:, None]) for scale in config.further]
    for name in ("relative_movement", "kernel_change", "kernel_distance"):
        arrays[f"further_{name}"] = np.array([getattr(report, name) for report in reports])
    return arrays


def _run(scale: float, start: mf.ParticleMeasure, t_end: float, **options: Any) -> Any:
    flow = mf.WassersteinFlow(objective(scale), time_unit="alpha")
    return solvers.integrate(
        flow, start, t_end, save=options.pop("save", 2), method=solvers.Auto(1e-7), **options
    )


def _film(scale: float, start: mf.ParticleMeasure, levels: Array) -> dict[str, Any]:
    """The run of one scale at the times where its loss has fallen to `levels` of the start."""
    inputs, of = SHOWN[:, None], objective(scale)
    first = of.value(start)
    longest = 1e6 * min(scale, 1.0)

    def low(measure: mf.ParticleMeasure) -> bool:
        return bool(of.value(measure) < levels[-1] * first)

    rough = _run(scale, start, longest, save=solvers.logspace(1e-6 * longest, longest, 150), until=low)
    t = times_of(levels, rough.t, rough["objective"] / first)
    # once more around the times that were found, whose losses lie between those of saves
    close = np.unique(np.concatenate([t[1:] * factor for factor in (0.98, 1.0, 1.02)]))
    near = _run(scale, start, close[-1], save=np.append(0.0, close))
    t = times_of(levels, near.t, near["objective"] / first)
    run = _run(scale, start, t[-1], save=t, keep="all")
    linear = mf.LinearizedFlow(run.objective, start, time_unit="alpha")
    kernel = solvers.integrate(linear, start, t[-1], save=t, keep="all")
    report = run.regime(inputs)
    return {
        "t": run.t,
        "left": run["objective"] / first,
        "positions": np.array([state.positions for state in run.states]),
        "predictions": np.array([run.objective.predict(state, inputs) for state in run.states]),
        "kernel": np.array([linear.objective.predict(state, inputs) for state in kernel.states]),
        "regression": linear.objective.predict(linear.limit(start), inputs),
        "relative_movement": np.array(report.relative_movement),
        "kernel_change": np.array(report.kernel_change),
    }


def times_of(levels: Array, t: Array, left: Array) -> Array:
    """When a loss that falls as `left` at the times t has fallen to `levels`: its logarithm is taken as linear in t."""
    falling = np.minimum.accumulate(left)
    times = np.interp(-np.log(levels), -np.log(falling), t)
    times[0] = 0.0
    return np.asarray(times)


def bends(f: Array) -> float:
    """The share of the interval shown on which half of ``int |f''|`` lies, where f bends most."""
    sizes = np.sort(np.abs(np.diff(f, 2)))[::-1]
    return float(np.searchsorted(np.cumsum(sizes), 0.5 * sizes.sum()) + 1) / sizes.size


def masses(positions: Array) -> tuple[Array, Array, Array]:
    """Angles of (w, b) in degrees, shares of the mass ``|a| |(w, b)|``, and signs of a, each (..., m)."""
    a, w, b = np.moveaxis(positions, -1, 0)
    mass = np.abs(a) * np.hypot(w, b)
    return np.degrees(np.arctan2(b, w)), mass / mass.sum(axis=-1, keepdims=True), np.sign(a)


def directions(positions: Array) -> float:
    """How many bins of 5 degrees the mass of one measure fills: ``exp`` of its entropy, signs apart."""
    angle, share, sign = masses(positions)
    if not np.isfinite(share).all():
        return float("nan")
    bins = np.floor((angle + 180.0) / BIN).astype(int) + 1000 * (sign > 0)
    _, which = np.unique(bins, return_inverse=True)
    p = np.bincount(which, weights=share)
    p = p[p > 0]
    return float(np.exp(-np.sum(p * np.log(p))))


def turned(positions: Array) -> float:
    """The mean angle between (w, b) at the start and at the end, in degrees, weighted with the mass at the end."""
    first, last = masses(positions[0])[0], masses(positions[-1])[0]
    gap = np.abs((last - first + 180.0) % 360.0 - 180.0)
    return float(np.sum(masses(positions[-1])[1] * gap))


def away(arrays: dict[str, Any]) -> Array:
    """Distance to the kernel predictor of the same time in each frame, in rms of the targets: (scales, frames)."""
    gap = arrays["predictions"] - arrays["kernel"]
    return np.asarray(np.sqrt(np.mean(gap**2, axis=2) / np.mean(Y**2)))


def draw(arrays: dict[str, Any]) -> Any:
    """The last frame of each scale, and what changes over all of them."""
    with mf.plotting.style():
        figure, axes = mf.plotting.figure(2, 4, size=(14.4, 6.6))
        for i in range(3):
            _circle(axes[0, i], arrays, i, -1)
            _prediction(axes[1, i], arrays, i, -1)
        axes[1, 0].legend(loc="lower left")
        _slopes(axes[0, 3], arrays)
        ax = axes[1, 3]
        for i, scale in enumerate(arrays["scales"]):
            ax.loglog(arrays["left"][i][::-1], away(arrays)[i][::-1], color=_colour(i), label=_name(i, scale))
        ax.invert_xaxis()
        ax.set_ylim(1e-6, 3.0)
        ax.set_xlabel("loss left, as a share of the start")
        ax.set_ylabel("distance to the kernel predictor")
        ax.legend()
    return figure


def animate(arrays: dict[str, Any]) -> Any:
    """Above the neurons on the circle, below what the network and its linearization predict."""
    from matplotlib.animation import FuncAnimation

    with mf.plotting.style():
        figure, axes = mf.plotting.figure(2, 3, size=(9.6, 6.0))
        circles = [_circle(axes[0, i], arrays, i, -1) for i in range(3)]
        lines = [_prediction(axes[1, i], arrays, i, -1) for i in range(3)]
        axes[1, 0].legend(loc="lower left")
        # Once laid out, frames do not tremble.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")

    def frame(k: int) -> list[Any]:
        for i, ((dots, words), (network, kernel)) in enumerate(zip(circles, lines, strict=True)):
            places, sizes, colours = _dots(arrays["positions"][i, k])
            dots.set_offsets(places)
            dots.set_sizes(sizes)
            dots.set_facecolors(colours)
            words.set_text(_words(arrays, i, k))
            network.set_ydata(arrays["predictions"][i, k])
            kernel.set_ydata(arrays["kernel"][i, k])
        return []

    return FuncAnimation(figure, frame, frames=len(arrays["levels"]), interval=120, init_func=list)


def _name(i: int, scale: float) -> str:
    words = ("rich", "intermediate", "lazy")
    return rf"$\alpha = {scale:g}$, {words[i]}" if i < 3 else rf"$\alpha = {scale:g}$"


def _colour(i: int) -> str:
    return mf.plotting.COLOURS[(1, 2, 0)[i % 3]]


def _dots(positions: Array) -> tuple[Array, Array, Any]:
    """Where directions of (w, b) are drawn, how large, and how: positive outer weights outside, area is mass."""
    angle, share, sign = masses(positions)
    radius, turn = np.where(sign > 0, 1.0, 0.8), np.radians(angle)
    places = np.column_stack([radius * np.cos(turn), radius * np.sin(turn)])
    colours = np.where(sign > 0, mf.plotting.POSITIVE, mf.plotting.NEGATIVE)
    return places, 1.0 + 12.0 * share.size * share, colours


def _words(arrays: dict[str, Any], i: int, k: int) -> str:
    t = arrays["t"][i, k]
    clock = f"t = {t:.0f}" if t >= 100 else f"t = {t:.3g}"
    return f"{clock}\n{100 * arrays['left'][i, k]:.2g} % of the loss"


def _circle(ax: Any, arrays: dict[str, Any], i: int, k: int) -> tuple[Any, Any]:
    places, sizes, colours = _dots(arrays["positions"][i, k])
    turn = np.radians(np.linspace(0, 360, 181))
    for r in (1.0, 0.8):
        ax.plot(r * np.cos(turn), r * np.sin(turn), color="#dddddd", lw=0.8, zorder=0)
    dots = ax.scatter(*places.T, s=sizes, c=colours, alpha=0.45, linewidths=0)
    ax.set_xlim(-1.25, 1.25)
    ax.set_ylim(-1.25, 1.25)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_title(_name(i, arrays["scales"][i]))
    return dots, ax.text(0, 0, _words(arrays, i, k), ha="center", va="center", fontsize=8.5)


def _prediction(ax: Any, arrays: dict[str, Any], i: int, k: int) -> tuple[Any, Any]:
    ax.plot(SHOWN, arrays["regression"][i], ":", color="#999999", lw=1.3, label="kernel regression")
    (network,) = ax.plot(SHOWN, arrays["predictions"][i, k], color=_colour(i), lw=2.4, label="network")
    (kernel,) = ax.plot(
        SHOWN, arrays["kernel"][i, k], "--", color="#333333", lw=1.0, label="linearized, at this time"
    )
    ax.plot(X, Y, "o", mfc="white", color="#333333", zorder=3)
    ax.set_ylim(-1.3, 1.0)
    ax.set_xticks([-1, 0, 1])  # text is what a frame costs
    ax.set_yticks([-1, 0, 1])
    ax.set_xlabel("$x$")
    ax.set_ylabel("$f(x)$" if i == 0 else "")
    return network, kernel


def _slopes(ax: Any, arrays: dict[str, Any]) -> None:
    scales = arrays["further"]
    for j, (name, label, slope) in enumerate((
        ("relative_movement", "movement of neurons", -1),
        ("kernel_change", "change of the kernel", -2),
        ("kernel_distance", "distance to its predictor", -2),
    )):  # fmt: skip
        values = arrays[f"further_{name}"]
        ax.loglog(scales, values, "osD"[j], color=mf.plotting.COLOURS[j], mfc="none", label=label)
        ax.loglog(
            scales, values[-1] * (scales / scales[-1]) ** slope, "-", color=mf.plotting.COLOURS[j], lw=1
        )
    ax.set_xlabel(r"$\alpha$; lines have slopes $-1$, $-2$, $-2$")
    ax.set_ylabel("relative size, at one time")
    ax.legend()


def slope(arrays: dict[str, Any], name: str) -> float:
    """Of the logarithm over the two largest scales."""
    x, y = arrays["further"][-2:], arrays[f"further_{name}"][-2:]
    return float(np.diff(np.log(y))[0] / np.diff(np.log(x))[0])


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """One parameter leads from the kernel to features: what stays, what leaves, and how fast in alpha."""
    order = np.argsort(arrays["scales"])
    rich, lazy = order[0], order[-1]
    gaps = away(arrays)
    filled = [directions(arrays["positions"][rich, k]) for k in (0, -1)]
    steps = {name: np.diff(np.log(arrays[name][order])) for name in ("relative_movement", "kernel_change")}
    regression = arrays["predictions"][:, -1] - arrays["regression"]
    apart = np.sqrt(np.mean(regression**2, axis=1) / np.mean(Y**2))
    return [
        Claim.below("All networks end at the same training loss, fitted: largest share left",
                    arrays["left"][:, -1].max(), 1.5e-4, source=OURS),
        Claim.below("... and frames show them at equal losses: largest difference in log(loss)",
                    np.abs(np.log(arrays["left"] / arrays["levels"])).max(), 0.02, source=OURS),
        Claim.below("The smaller alpha, the farther neurons move: largest ratio of the next movement to the last",
                    np.exp(steps["relative_movement"].max()), 0.2, source=LAZY),
        Claim.below("... and the more their kernel changes", np.exp(steps["kernel_change"].max()), 0.1, source=LAZY),
        Claim.within("Movement in the lazy regime: slope in alpha", slope(arrays, "relative_movement"), -1.0,
                     absolute=0.02, source=LAZY),
        Claim.within("Kernel change from a doubled start: slope in alpha", slope(arrays, "kernel_change"), -2.0,
                     absolute=0.05, source=DOUBLED),
        Claim.within("Distance to the kernel predictor from a doubled start: slope in alpha",
                     slope(arrays, "kernel_distance"), -2.0, absolute=0.05, source=DOUBLED),
        Claim.between("Lazy: the predictor is the kernel's in every frame: largest distance, in rms of y",
                      gaps[lazy].max(), 0.0, 0.02, source=LAZY),
        Claim.below("... and ends at kernel regression: distance", apart[lazy], 0.03, source=LAZY),
        Claim.above("Rich: another function fits the same data: distance from kernel regression over the lazy one's",
                    apart[rich] / apart[lazy], 10.0, source=OURS),
        Claim.below("Rich: the function bends at few places: half of |f''| lies on this share of the interval",
                    bends(arrays["predictions"][rich, -1]), 0.06, source=OURS),
        Claim.above("... lazy: on this", bends(arrays["predictions"][lazy, -1]), 0.15, source=OURS),
        Claim.below("Rich: mass gathers in few directions: filled bins of 5 degrees, end over start",
                    filled[1] / filled[0], 0.2, source=OURS),
        Claim.between("Lazy: neurons stay where they were: mean angle that they turn by, in degrees",
                      turned(arrays["positions"][lazy]), 0.0, 1.0, source=LAZY),
        Claim.above("... rich", turned(arrays["positions"][rich]), 10.0, source=OURS),
    ]  # fmt: skip

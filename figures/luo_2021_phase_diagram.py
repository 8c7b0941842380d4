"""How far neurons travel as the width grows: the slopes of a two-layer ReLU net over the plane of its scalings.

Source: Luo, Xu, Ma and Zhang (2021), Phase diagram for two-layer ReLU neural networks at infinite-width limit, arXiv
2007.07497. The slopes are those of this project's notes on regimes (derived there, and again here).

Quick preset: about 4 s. Paper preset: about 127 s (processor time on a busy machine, one thread).

f(x) = (1/alpha) sum_k a_k sigma(w_k.x), a ~ N(0, beta1^2), w ~ N(0, beta2^2 I), gradient flow on the mean of
(f - y)^2/2 over four points of the circle, pairs (a, w), (-a, w) at the start so that f = 0 there. Coordinates of the
plane: kappa = beta1 beta2/alpha = m^-gamma, kappa' = beta1/beta2 = m^-gamma'. Of RD = |w(T) - w(0)|/|w(0)|, over all
inner weights once the loss has vanished, the slope in log m is measured.

Their net in this library: a = beta1 A and w = beta2 W give f = kappa sum A sigma(W.x), a mean over neurons with
``scale`` = m kappa and A, W of deviation 1. Their flow is then beta1 beta2 A' = -(kappa/kappa') g_A, beta1 beta2 W' =
-kappa kappa' g_W, g the gradient of the loss in f against sigma(W.x) and A sigma'(W.x) x; ours has scale times g and a
factor for each layer: ``rates`` c/kappa' and c kappa' make them one flow, with t = (their t)/(beta1 beta2 m c). RD is
the same number. c is chosen for a time in which all of the plane trains at one speed: 1/(m c) is the larger of
kappa^2 m (kappa' + 1/kappa'), the tangent kernel at the start, and kappa, at which small neurons grow.

Where f must come to y, of order 1: if w moves alone, kappa m |dw| ~ 1 and RD ~ m^(gamma - 1); if a does, |da| ~
m^(gamma - 1) takes w with it by kappa'^2 (a da + da^2/2): RD ~ m^(gamma - 1 - 2 gamma') while da < 1, m^(2 (gamma - 1 -
gamma')) beyond; if both grow, a = w/kappa' and kappa m a w ~ 1: RD ~ m^((gamma - 1 - gamma')/2). The four are one
continuous function of the plane, so that crossovers are where its slope jumps. The method is held to steps of at most
2: where gamma > 1, f is within the tolerance of 0 for a while, and an error in f does not see the neurons grow. Starts
of the quick preset are scrambled Sobol points of the same law, whose kernels fluctuate less than those of independent
neurons, which the paper preset has: with three widths and four starts these alone would move slopes by .1.
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

ANGLES = np.deg2rad([20.0, 105.0, 200.0, 290.0])
POINTS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
LABELS = np.array([1.0, -0.6, -0.8, 0.5])
# (gamma, gamma') and slopes that this project's notes report, from another program.
LISTED = ((0.5, 0.0, -0.53), (0.75, 0.0, -0.21), (1.0, 0.0, 0.004), (0.5, 0.5, -1.49), (1.25, 0.25, -0.004),
          (1.5, 0.0, 0.26))  # fmt: skip
# Cells nearer than this to a line where theory changes its slope are reported apart.
NEAR = 0.2
PAPER = "Luo, Xu, Ma, Zhang 2021, arXiv:2007.07497"
NOTES = "notes on regimes, derived"


@dataclass(frozen=True)
class Config:
    """The grid runs over gamma from `gamma_low` to `gamma_high` and gamma' from -`height` to `height`."""

    gamma_low: float = 0.5
    gamma_high: float = 1.75
    height: float = 0.75
    spacing: float = 0.25
    widths: tuple[int, ...] = (512, 1024, 2048)
    starts: int = 4
    draws: str = "sobol"  # or "random"
    t_end: float = 100.0
    rtol: float = 1e-3
    max_step: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        if self.draws not in ("sobol", "random"):
            raise InputError(f"draws must be sobol or random, not {self.draws!r}")
        for name in ("spacing", "t_end", "rtol", "max_step"):
            if getattr(self, name) == 0:
                raise InputError(f"{name} must be positive, not 0")
        if len(self.widths) < 2 or tuple(sorted(set(self.widths))) != self.widths:
            raise InputError(f"widths must hold two numbers or more and rise, not {self.widths}")
        if any(m % 2 for m in self.widths):
            raise InputError(f"widths must be even, since neurons come in pairs, not {self.widths}")
        if self.gamma_high <= self.gamma_low:
            raise InputError(
                f"gamma_high must be above gamma_low = {self.gamma_low:g}, not {self.gamma_high:g}"
            )

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            gamma_high=2.0,
            height=1.0,
            spacing=0.125,
            widths=(512, 1024, 2048, 4096),
            starts=16,
            draws="random",
        )

    @property
    def gammas(self) -> Array:
        """The columns of the grid."""
        return steps(self.gamma_low, self.gamma_high, self.spacing)

    @property
    def gamma_primes(self) -> Array:
        """The rows of the grid; 0 is one of them."""
        up = steps(0.0, self.height, self.spacing)
        return np.concatenate([-up[:0:-1], up])


def steps(low: float, high: float, size: float) -> Array:
    """low, low + size, ... up to high."""
    return np.asarray(low + size * np.arange(int((high - low) / size + 1e-9) + 1))


# Theory -----------------------------------------------------------------------------------------------------


def theory(gamma: Any, gamma_prime: Any) -> Array:
    """The slope of log RD in log m."""
    g, p = np.broadcast_arrays(np.asarray(gamma, dtype=np.float64), np.asarray(gamma_prime, dtype=np.float64))
    inner_moves = p <= np.minimum(0.0, 1.0 - g)
    return np.select(
        [inner_moves, g <= 1.0, p >= g - 1.0],
        [g - 1.0, g - 1.0 - 2.0 * p, 2.0 * (g - 1.0 - p)],
        (g - 1.0 - p) / 2.0,
    )


# From (1, 0): gamma' = 0 to the left, gamma = 1 upwards, gamma' = gamma - 1 and gamma' = 1 - gamma to the right.
LINES = ((-1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, -1.0))


def distance(gamma: Any, gamma_prime: Any) -> Array:
    """Distance in the plane to the nearest half-line on which theory changes its slope."""
    x, y = np.asarray(gamma, dtype=np.float64) - 1.0, np.asarray(gamma_prime, dtype=np.float64)
    found = []
    for u, v in LINES:
        along = np.maximum(0.0, (x * u + y * v) / (u * u + v * v))
        found.append(np.hypot(x - along * u, y - along * v))
    return np.asarray(np.min(found, axis=0))


def criticality(gamma: Any, gamma_prime: Any) -> Array:
    """Below 0 where theory has the linear regime (gamma < 1 or gamma' > gamma - 1), above 0 in the condensed one."""
    g, p = np.asarray(gamma, dtype=np.float64), np.asarray(gamma_prime, dtype=np.float64)
    return np.asarray(np.minimum(g - 1.0, g - 1.0 - p))


# Runs -------------------------------------------------------------------------------------------------------


def problem(gamma: float, gamma_prime: float, m: int) -> mf.WassersteinFlow:
    """The flow at one point of the plane, on its own clock."""
    kappa, ratio = float(m) ** -gamma, float(m) ** -gamma_prime
    unit = 1.0 / (m * max(kappa * kappa * m * (ratio + 1.0 / ratio), kappa))
    network = mf.TwoLayer(
        mf.ReLU(), d=2, bias=False, scale=kappa * m, rates={"a": unit / ratio, "w": unit * ratio}
    )
    return mf.WassersteinFlow(mf.Objective(network, POINTS, LABELS))


def relative_distance(run: Any) -> float:
    """RD = |w(T) - w(0)|/|w(0)| over all inner weights."""
    start, end = run.initial.positions[:, 1:], run.final.positions[:, 1:]
    return float(np.linalg.norm(end - start) / np.linalg.norm(start))


def cell(config: Config, gamma: float, gamma_prime: float, starts: list[Any]) -> tuple[list[float], float]:
    """RD of each start, NaN where a run does not end; the largest final loss over the first."""
    runs = solvers.integrate(
        problem(gamma, gamma_prime, starts[0].width),
        starts,
        config.t_end,
        method=solvers.DormandPrince(rtol=config.rtol, atol=1e-3 * config.rtol, max_step=config.max_step),
        save=np.array([0.0, config.t_end]),
        on_divergence="record",
    )
    ended = [run.status is solvers.Status.reached_end for run in runs]
    moved = [relative_distance(run) if end else np.nan for run, end in zip(runs, ended, strict=True)]
    left = max(float(run["objective"][-1] / run["objective"][0]) for run in runs) if all(ended) else np.nan
    return moved, left


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """RD (gamma', gamma, widths, starts), what is left of the losses (gamma', gamma, widths), fitted slopes."""
    network = mf.TwoLayer(mf.ReLU(), d=2, bias=False)
    # One set of starts for the whole plane: what differs between cells is the scaling.
    starts = [
        [
            mf.ParticleMeasure.gaussian(network, m, rng=stream, doubled=True, method=config.draws)
            for stream in rng.spawn(config.starts)
        ]
        for m in config.widths
    ]
    gammas, primes = config.gammas, config.gamma_primes
    moved = np.empty((primes.size, gammas.size, len(config.widths), config.starts))
    left = np.empty(moved.shape[:3])
    for i, j, k in np.ndindex(left.shape):
        moved[i, j, k], left[i, j, k] = cell(config, float(gammas[j]), float(primes[i]), starts[k])
    slopes, errors = np.full((2, primes.size, gammas.size), np.nan)
    for i, j in np.ndindex(slopes.shape):
        if np.isfinite(moved[i, j]).all():
            fit = mf.plotting.fit_slope(np.array(config.widths, dtype=np.float64), moved[i, j])
            slopes[i, j], errors[i, j] = fit.slope, fit.half_width
    return {
        "gammas": gammas,
        "gamma_primes": primes,
        "widths": np.array(config.widths),
        "moved": moved,
        "left": left,
        "slopes": slopes,
        "errors": errors,
    }


# The picture ------------------------------------------------------------------------------------------------

SCALE = 2.0  # of the colours
SHOWN = ((1.5, -0.75), (1.5, 0.0), (1.0, 0.0), (0.75, 0.0), (0.5, 0.0), (0.5, 0.5))
NAMES = ("only $w$ moves", r"$a$ moves, $\gamma \leq 1$", r"$a$ grows, $\gamma > 1$", "both grow")


def draw(arrays: dict[str, Any]) -> Any:
    """Above: measured slopes and theory on the plane. Below: RD against width, and deviations near the lines."""
    with mf.plotting.style():
        figure, panels = mf.plotting.figure(2, 2, size=(11.4, 9.0))
        _measured(panels[0, 0], arrays)
        _theory(panels[0, 1], arrays)
        _growth(panels[1, 0], arrays)
        _deviations(panels[1, 1], arrays)
    return figure


def _plane(ax: Any, arrays: dict[str, Any]) -> tuple[Array, Array]:
    """Limits, labels and the lines of theory; the edges of the cells."""
    edges = []
    for name in ("gammas", "gamma_primes"):
        x = arrays[name]
        half = 0.5 * (x[1] - x[0]) if x.size > 1 else 0.125
        edges.append(np.concatenate([x - half, x[-1:] + half]))
    ax.set(xlim=edges[0][[0, -1]], ylim=edges[1][[0, -1]], aspect="equal")
    for u, v in LINES:
        ax.plot(
            [1, 1 + 9 * u], [0, 9 * v], color="#333333", lw=0.9, ls=(0, (4, 2)), scalex=False, scaley=False
        )
    # The critical line, from far below up to (1, 0) and on along gamma' = gamma - 1.
    ax.plot([1.0, 1.0, 10.0], [-9.0, 0.0, 9.0], color="#111111", lw=2.2, scalex=False, scaley=False)
    ax.set_xlabel(r"$\gamma = -\log(\beta_1\beta_2/\alpha)\,/\log m$")
    ax.set_ylabel(r"$\gamma' = -\log(\beta_1/\beta_2)\,/\log m$")
    return edges[0], edges[1]


def _bar(ax: Any, shades: Any) -> None:
    bar = ax.get_figure().colorbar(shades, ax=ax, shrink=0.75, pad=0.02, extend="both")
    bar.set_label(r"slope of $\log$ RD in $\log m$")
    bar.outline.set_visible(False)


def _measured(ax: Any, arrays: dict[str, Any]) -> None:
    x, y = _plane(ax, arrays)
    slopes = arrays["slopes"]
    shades = ax.pcolormesh(x, y, np.ma.masked_invalid(slopes), cmap="RdBu_r", vmin=-SCALE, vmax=SCALE)
    _bar(ax, shades)
    for i, j in np.ndindex(slopes.shape):
        if not np.isfinite(slopes[i, j]):
            # A run that did not end: hatched.
            ax.fill(
                x[[j, j + 1, j + 1, j]], y[[i, i, i + 1, i + 1]], fill=False, hatch="////", lw=0, ec="#777777"
            )
        elif slopes.size <= 60:
            # Off the centre, where the lines of theory pass.
            ax.annotate(f"{slopes[i, j]:.2f}", (arrays["gammas"][j], arrays["gamma_primes"][i]), xytext=(0, -8),
                        textcoords="offset points", ha="center", va="center", fontsize=7.5,
                        color="white" if slopes[i, j] < -0.6 * SCALE else "black")  # fmt: skip
    ax.set_title(f"Measured, widths {int(arrays['widths'][0])} to {int(arrays['widths'][-1])}")


def _theory(ax: Any, arrays: dict[str, Any]) -> None:
    x, y = _plane(ax, arrays)
    fine_x, fine_y = np.linspace(x[0], x[-1], 241), np.linspace(y[0], y[-1], 241)
    values = theory(fine_x[None, :], fine_y[:, None])
    shades = ax.pcolormesh(fine_x, fine_y, values, cmap="RdBu_r", vmin=-SCALE, vmax=SCALE, shading="gouraud",
                           rasterized=True)  # fmt: skip
    _bar(ax, shades)
    levels = [k / 4 for k in range(-12, 5) if k != 0]
    lines = ax.contour(
        fine_x, fine_y, values, levels=levels, colors="#666666", linewidths=0.6, linestyles="-"
    )
    ax.clabel(lines, levels=[-2.0, -0.5, 0.5], fontsize=7)
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
    for name, g, p, place, side in (("NTK", 0.5, 0.0, (6, -9), "left"), ("LeCun, He", 0.5, 0.5, (6, 10), "left"),
                                    ("mean field, Xavier", 1.0, 0.0, (9, 0), "left")):  # fmt: skip
        ax.plot(g, p, "o", color="#111111", ms=5)
        ax.annotate(name, (g, p), xytext=place, textcoords="offset points", fontsize=8.5, ha=side, va="center",
                    bbox=box)  # fmt: skip
    for name, g, p in (("linear", 0.72, -0.4), ("linear", 1.22, 0.6), ("condensed", 1.55, -0.2)):
        ax.text(g, p, name, fontsize=10.5, style="italic", ha="center", va="center", bbox=box)
    ax.set_title("Theory; on the thick line RD is of order 1")


def _growth(ax: Any, arrays: dict[str, Any]) -> None:
    m = arrays["widths"].astype(float)
    for colour, (g, p) in zip(mf.plotting.COLOURS, SHOWN, strict=False):
        found = _index(arrays, g, p)
        if found is None or not np.isfinite(arrays["moved"][found]).all():
            continue
        mean = arrays["moved"][found].mean(axis=-1)
        expected = float(theory(g, p))
        ax.loglog(m, arrays["moved"][found], ".", color=colour, alpha=0.35, ms=4)
        ax.loglog(m, mean, "o", color=colour)
        ax.loglog(m, mean[-1] * (m / m[-1]) ** expected, color=colour, lw=1.0, ls=(0, (4, 2)))
        ax.text(1.12 * m[-1], mean[-1], f"({g:g}, {p:g}): {arrays['slopes'][found]:.3f}\ntheory {expected:g}",
                color=colour, fontsize=8, va="center")  # fmt: skip
    ax.set_xlim(0.85 * m[0], m[-1] * (m[-1] / m[0]) ** 0.5)
    ax.set_xticks(m, [f"{int(width)}" for width in m])
    ax.set_xticks([], minor=True)
    ax.set(xlabel="width $m$", ylabel=r"RD $= |w(T) - w(0)|\,/\,|w(0)|$")
    ax.set_title(r"Points $(\gamma, \gamma')$ and slopes; dashed: theory's")


def _deviations(ax: Any, arrays: dict[str, Any]) -> None:
    gamma, prime = np.meshgrid(arrays["gammas"], arrays["gamma_primes"])
    far, off, which = distance(gamma, prime), arrays["slopes"] - theory(gamma, prime), region(gamma, prime)
    ax.axhspan(-0.1, 0.1, color="#999999", alpha=0.15, lw=0)
    ax.axhline(0.0, color="#333333", lw=0.8)
    ax.axvline(NEAR, color="#333333", lw=0.8, ls=":")
    for k, name in enumerate(NAMES):
        here = which == k
        # Side by side, where cells of several regions are at one distance.
        ax.errorbar(far[here] + 0.004 * (k - 1.5), off[here], arrays["errors"][here], fmt="o", ms=3.5, lw=0.8,
                    color=mf.plotting.COLOURS[k], label=name)  # fmt: skip
    ax.set(xlabel=r"distance of $(\gamma, \gamma')$ to the lines where theory changes its formula")
    ax.set_ylabel("measured minus theory, 95 % interval")
    ax.set_ylim(-0.21, 0.21)
    ax.set_title("Deviations from theory")
    ax.legend(loc="lower right", ncols=2)


def _index(arrays: dict[str, Any], gamma: float, gamma_prime: float) -> tuple[int, int] | None:
    """Where a point of the plane is in the grid, if it is."""
    i, j = np.argmin(abs(arrays["gamma_primes"] - gamma_prime)), np.argmin(abs(arrays["gammas"] - gamma))
    off = max(abs(arrays["gamma_primes"][i] - gamma_prime), abs(arrays["gammas"][j] - gamma))
    return (int(i), int(j)) if off < 1e-9 else None


def region(gamma: Any, gamma_prime: Any) -> Array:
    """0 to 3, the four formulas of `theory` in their order."""
    g, p = np.broadcast_arrays(gamma, gamma_prime)
    return np.select([p <= np.minimum(0.0, 1.0 - g), g <= 1.0, p >= g - 1.0], [0, 1, 2], 3)


# The claims -------------------------------------------------------------------------------------------------


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """Slopes against theory away from the lines and near them, the listed points, the two regimes by sign."""
    gamma, prime = np.meshgrid(arrays["gammas"], arrays["gamma_primes"])
    slopes = arrays["slopes"]
    off = np.abs(slopes - theory(gamma, prime))
    away = distance(gamma, prime) > NEAR
    critical = criticality(gamma, prime)
    settled, edge = np.abs(critical) > 1e-9, np.abs(critical) <= 1e-9
    right = np.sign(slopes[settled]) == np.sign(critical[settled])
    found = [
        Claim.below(
            f"Farther than {NEAR:g} from the lines ({away.sum()} of {away.size} cells) slopes are those of theory: "
            "largest deviation",
            off[away].max(),
            0.1,
            source=NOTES,
        ),
        Claim.below(
            "Nearer they deviate by less than .15 at these widths: largest deviation",
            off[~away].max(),
            0.15,
            source=NOTES,
        ),
    ]
    for g, p, expected in LISTED:
        index = _index(arrays, g, p)
        if index is not None:
            found.append(
                Claim.within(
                    f"At ({g:g}, {p:g}), where theory has {float(theory(g, p)):g}, the slope is the one that another "
                    "program measured",
                    slopes[index],
                    expected,
                    absolute=0.1,
                    source="notes on regimes, measured",
                )
            )
    return [
        *found,
        Claim.true(
            "RD falls with the width in the linear regime (gamma < 1 or gamma' > gamma - 1) and grows in the condensed",
            right.all(),
            measured=f"{right.sum()} of {right.size} cells",
            source=PAPER,
        ),
        Claim.below(
            "and stays of order 1 on the critical line: largest slope there",
            np.abs(slopes[edge]).max() if edge.any() else np.nan,
            0.1,
            source=PAPER,
        ),
        Claim.below(
            "All runs have been trained: largest final loss over the first",
            np.abs(arrays["left"]).max(),
            1e-3,
            source="this computation",
        ),
    ]

"""Four points interpolated by wide ReLU nets, from the kernel regime to feature learning, beside both exact limits.

Source: Bach, Chizat (2021), Gradient descent on infinitely wide neural networks: global convergence and generalization,
arXiv:2110.08084, setup (theory notes, E9) as remembered, not re-read; the exact values were computed for these notes by
another program, the sweep of the start's size and the least variation norm were added for this project.

Quick preset: about 6 s. Paper preset: about 21 s (processor time on one core).

Points (-1, -1), (-1/16, 1/2), (1/16, -1/2), (1, 1), neurons b (a.(x, 1))_+, squared loss, both layers trained. At the
start |a| = s and b = +-kappa s, in pairs of opposite sign, so that f = 0. For large s training is lazy and the limit is
the interpolant of least norm in the kernel K_out + kappa^2 K_in, exactly; K_out alone (kappa = 0) and with K_in differ
a lot. For small s it tends to the interpolant of least variation norm, which `mf.norms.interpolate_f1` finds exactly:
lines through neighbours, continued beyond the data. Neurons gather at its four atoms. No theorem known to us says so
for the squared loss; it is measured here. In between, the passage is not monotone: with kappa = 1 and s about 10 nets
lie outside both limits, at x = -1/2 and beyond the data.

Angles are equispaced: kernels of random ones are off by tens of percent at any width that one would try, and fall with
the root of the width. Runs stop at a loss of 1e-8; lazy ones get there in times of order 1/s^2.
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

POINTS = np.array([-1.0, -1 / 16, 1 / 16, 1.0])
LABELS = np.array([-1.0, 0.5, -0.5, 1.0])
KAPPAS = (0.0, 1.0)
# Where flows.md states the kernels' predictions, among evenly spaced points and the data.
GRID = np.unique(np.concatenate([np.linspace(-1.3, 1.3, 209), POINTS, [-0.5, 1.2]]))
NEAR = 3.0  # degrees from an atom
NOTES = "theory notes E9: computed by another program; setup of arXiv:2110.08084 as remembered"
OWN = "measured for this project"


@dataclass(frozen=True)
class Config:
    """The published net has m = 5000 and |a| = 50."""

    width: int = 2000  # m, in opposite pairs
    scales: tuple[float, ...] = (1.0, 3.0, 6.0, 10.0, 18.0, 32.0, 100.0)  # s = |a| at the start
    widths: tuple[int, ...] = (500, 1000, 2000, 5000)  # of kernels of random directions
    draws: int = 20  # of each
    t_end: float = 3000.0  # of runs with s < 10
    loss: float = 1e-8  # at which runs stop
    rtol: float = 1e-3  # of runs with s < 20; lazier ones choose their method
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        for name in ("scales", "widths"):
            if tuple(sorted(set(getattr(self, name)))) != getattr(self, name):
                raise InputError(f"{name} must rise, not {getattr(self, name)}")
        if 1000 not in self.widths:
            raise InputError(f"widths must hold 1000, of which a claim speaks, not {self.widths}")
        if self.scales[0] == 0.0:
            raise InputError("scales must be positive: from s = 0 nothing moves")
        if any(m % 2 for m in (self.width, *self.widths)):
            raise InputError("width and widths must be even: neurons come in opposite pairs")
        if len(self.widths) < 2:
            raise InputError("widths must hold two at least, for a slope")

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            width=5000,
            scales=(1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 14.0, 20.0, 32.0, 50.0, 100.0, 200.0),
            widths=(200, 500, 1000, 2000, 5000, 10_000),
            draws=100,
        )


def network() -> mf.TwoLayer:
    """Neurons b (a.(x, 1))_+; the library calls b the outer weight a, and a = (w, b)."""
    return mf.TwoLayer(mf.ReLU(), d=1, bias=True)


def start(m: int, scale: float, kappa: float, rng: Any, method: str = "equispaced") -> mf.ParticleMeasure:
    """Opposite pairs with |a| = scale and |b| = kappa scale."""
    return mf.ParticleMeasure.sphere(
        network(), m, rng, radius=scale, outer=kappa * scale, method=method, doubled=True
    )


def kernel_limit(kappa: float, law: str = "sphere") -> Array:
    """The least-norm interpolant in K_out + kappa^2 K_in on the grid."""
    fit = mf.kernels.ridgeless(mf.kernels.tangent(POINTS, a_sq=kappa**2, w_law=law, bias=True), LABELS)
    return fit.predict(mf.kernels.tangent(GRID, POINTS, a_sq=kappa**2, w_law=law, bias=True))


def train(config: Config, scale: float, kappa: float, rng: Any) -> Any:
    """Gradient flow of both layers until the loss is as small as asked."""
    flow = mf.WassersteinFlow(mf.Objective(network(), POINTS, LABELS))
    t_end = min(config.t_end, 3e5 / scale**2)
    method = solvers.BogackiShampine(rtol=config.rtol) if scale < 20.0 else solvers.Auto()
    return solvers.integrate(
        flow,
        start(config.width, scale, kappa, rng),
        t_end=t_end,
        method=method,
        save=solvers.logspace(1e-4 * t_end, t_end, 60),
        until=solvers.stop_when("objective", below=config.loss),
    )


def finite_kernel(m: int, rng: Any, method: str) -> float:
    """f(-1/2) of the least-norm interpolant in the tangent kernel of m neurons, kappa = 1."""
    here = np.append(POINTS, -0.5)
    K = mf.kernels.empirical(network(), start(m, 1.0, 1.0, rng, method), here)
    return float(mf.kernels.ridgeless(K[:4, :4], LABELS).predict(K[4, :4]))


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Predictions: exact (2, grid), least_norm (grid,), trained (2, scales, grid); kernels of finite width."""
    for_runs, for_kernels = rng.spawn(2)
    fit = mf.norms.interpolate_f1(POINTS[:, None], LABELS, bias=True)
    trained = np.empty((len(KAPPAS), len(config.scales), GRID.size))
    losses, variations = np.empty(trained.shape[:2]), np.empty(trained.shape[:2])
    for k, kappa in enumerate(KAPPAS):
        for j, scale in enumerate(config.scales):
            run = train(config, scale, kappa, for_runs)
            trained[k, j] = network().predict(run.final, GRID)
            losses[k, j] = run["objective"][-1]
            angles, masses = on_circle(run.final)
            variations[k, j] = np.abs(masses).sum()
            if scale == config.scales[0]:
                richest = angles, masses  # the last is that of kappa = 1
    atom_angles, atom_masses = on_circle(fit.measure)
    drawn = [
        [finite_kernel(m, stream, "random") for stream in for_kernels.spawn(config.draws)]
        for m in config.widths
    ]
    return {
        "x": GRID,
        "exact": np.array([kernel_limit(kappa) for kappa in KAPPAS]),
        "gaussian": kernel_limit(1.0, "gaussian"),
        "least_norm": fit.predict(GRID[:, None]),
        "norm": np.array([fit.lower, fit.norm]),
        "atoms": np.array([atom_angles, atom_masses]),
        "scales": np.array(config.scales),
        "trained": trained,
        "loss": losses,
        "variation": variations,
        "richest": np.array(richest),
        "widths": np.array(config.widths),
        "random": np.array(drawn),
        "equispaced": np.array([finite_kernel(m, for_kernels, "equispaced") for m in config.widths]),
        "own": np.array(finite_kernel(config.width, for_kernels, "equispaced")),
    }


def on_circle(measure: mf.ParticleMeasure) -> tuple[Array, Array]:
    """Angles of a = (w, b) in degrees, and signed masses of the lift to the circle."""
    outer, w, b = measure.positions.T
    return np.degrees(np.arctan2(b, w)), measure.weights * outer * np.hypot(w, b)


# The picture ------------------------------------------------------------------------------------------------


def draw(arrays: dict[str, Any]) -> Any:
    """Predictors; f(-1/2) from rich to lazy; neurons of the richest net; kernels of random directions."""
    with mf.plotting.style():
        figure, panels = mf.plotting.figure(2, 2, size=(11.6, 8.4))
        _predictors(panels[0, 0], arrays)
        _passage(panels[0, 1], arrays)
        _atoms(panels[1, 0], arrays)
        _directions(panels[1, 1], arrays)
    return figure


def _predictors(ax: Any, arrays: dict[str, Any]) -> None:
    x, scales = arrays["x"], arrays["scales"]
    first, second, third = mf.plotting.COLOURS[:3]
    few = slice(None, None, 6)
    for k, colour in enumerate((first, second)):
        ax.plot(
            x,
            arrays["exact"][k],
            color=colour,
            lw=1.4,
            label=rf"exact kernel limit, $\kappa = {KAPPAS[k]:g}$",
        )
        ax.plot(x[few], arrays["trained"][k, -1][few], "o", color=colour, mfc="white", ms=4,
                label=rf"trained, $s = {scales[-1]:g}$")  # fmt: skip
    ax.plot(x, arrays["least_norm"], color="#333333", lw=1.4, label="least variation norm")
    ax.plot(x[few], arrays["trained"][1, 0][few], "s", color=third, mfc="white", ms=4,
            label=rf"trained, $\kappa = 1$, $s = {scales[0]:g}$")  # fmt: skip
    ax.plot(POINTS, LABELS, "o", color="black", ms=7, zorder=5)
    ax.set_xlabel("$x$")
    ax.set_ylabel("$f(x)$")
    ax.set_title("Interpolants: kernel limits and least variation norm")
    ax.legend(loc="upper left", fontsize=8)


def _passage(ax: Any, arrays: dict[str, Any]) -> None:
    scales = arrays["scales"]
    for k, colour in enumerate(mf.plotting.COLOURS[:2]):
        for place, marker, dash in ((-0.5, "o", "-"), (1.2, "^", (0, (4, 2)))):
            i = at(place)
            ax.semilogx(scales, arrays["trained"][k, :, i], marker=marker, color=colour, mfc="white", lw=1, ls=dash,
                        label=rf"$f({place:g})$, $\kappa = {KAPPAS[k]:g}$")  # fmt: skip
            ax.plot([scales[-1] * 1.25], [arrays["exact"][k, i]], marker="<", color=colour, ms=8)
    for place in (-0.5, 1.2):
        ax.plot([scales[0] / 1.25], [arrays["least_norm"][at(place)]], marker=">", color="#333333", ms=8)
    ax.set_xlabel("size $s$ of the inner weights at the start")
    ax.set_ylabel("prediction at the end")
    ax.set_title("From rich to lazy; triangles: exact limits")
    ax.set_ylim(top=2.4)
    ax.legend(loc="upper left", ncols=2, fontsize=8)


def _atoms(ax: Any, arrays: dict[str, Any]) -> None:
    angles, masses = arrays["richest"]
    bins = np.linspace(-180.0, 180.0, 121)
    mass, _ = np.histogram(angles, bins=bins, weights=masses)
    ax.bar(
        bins[:-1],
        mass,
        width=3.0,
        align="edge",
        color=mf.plotting.COLOURS[2],
        label="trained net, in bins of 3°",
    )
    ax.plot(*arrays["atoms"], "x", color="#333333", ms=8, mew=1.6, label="atoms of the least variation norm")
    ax.axhline(0.0, color="#999999", lw=0.6)
    ax.set_xlim(-184, 184)
    ax.set_xticks(range(-180, 181, 60))
    ax.set_xlabel("direction of $a = (w, b)$ in degrees")
    ax.set_ylabel(r"mass $\frac{1}{m}\sum b\,|a|$")
    ax.set_title(rf"Where neurons end, $\kappa = 1$, $s = {arrays['scales'][0]:g}$")
    ax.legend(loc="upper left", fontsize=8)


def _directions(ax: Any, arrays: dict[str, Any]) -> None:
    m, limit = arrays["widths"], arrays["exact"][1, at(-0.5)]
    off = np.abs(arrays["random"] / limit - 1.0)
    ax.loglog(np.repeat(m, off.shape[1]), off.reshape(-1), ".", color=mf.plotting.COLOURS[0], ms=3, alpha=0.6)
    mf.plotting.slope(m, np.sqrt((off**2).mean(axis=1)), ax=ax, label="random directions, root mean square")
    ax.plot(m, np.abs(arrays["equispaced"] / limit - 1.0), "s-", color=mf.plotting.COLOURS[1], mfc="white", lw=1,
            label="equispaced directions")  # fmt: skip
    ax.set_xticks(m, [str(width) for width in m])
    ax.minorticks_off()
    ax.set_xlabel("width $m$")
    ax.set_ylabel(r"relative deviation of $f(-1/2)$")
    ax.set_title(r"Tangent kernels of finite width, $\kappa = 1$")
    ax.legend(loc="lower left", fontsize=8)


# The claims -------------------------------------------------------------------------------------------------


def at(place: float) -> int:
    """Index of a point of the grid."""
    return int(np.argmin(np.abs(GRID - place)))


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """The exact values, both limits of training, and what random directions do."""
    plain, both = arrays["exact"]
    half, beyond, datum = at(-0.5), at(1.2), at(-1 / 16)
    left = (GRID >= -1.0) & (GRID <= 0.0)
    top = float(both[left].max())
    lazy = np.abs(arrays["trained"][:, -1] - arrays["exact"]).max(axis=1) / np.abs(arrays["exact"]).max(
        axis=1
    )
    rich = (
        np.abs(arrays["trained"][:, 0] - arrays["least_norm"]).max(axis=1)
        / np.abs(arrays["least_norm"]).max()
    )
    low, norm = arrays["norm"]
    angles, masses = arrays["richest"]
    apart = np.abs((angles[:, None] - arrays["atoms"][0] + 180.0) % 360.0 - 180.0).min(axis=1)
    share = np.abs(masses)[apart < NEAR].sum() / np.abs(masses).sum()
    off = arrays["random"] / both[half] - 1.0
    slope = np.polyfit(np.log(arrays["widths"]), 0.5 * np.log((off**2).mean(axis=1)), 1)[0]
    return [
        Claim.within("The kernel limit of output layers, kappa = 0, at x = -1/2", plain[half], 1.06212, absolute=1e-5,
                     source=NOTES),
        Claim.within("That of both layers, kappa = 1, at x = -1/2", both[half], -0.16373, absolute=1e-5, source=NOTES),
        Claim.within("The same at x = 1.2", both[beyond], 1.15292, absolute=1e-5, source=NOTES),
        Claim.true("Its largest value on [-1, 0] is 1/2, at the datum -1/16",
                   abs(top - 0.5) < 1e-9 and top == both[datum], measured=f"{top:.9f}", source=NOTES),
        Claim.within("With Gaussian inner weights, kappa = 1, at x = -1/2", arrays["gaussian"][half], -0.147,
                     absolute=6e-4, source=NOTES),
        *(Claim.below(f"Trained from the largest start, kappa = {kappa:g}, nets are the kernel limit: largest "
                      "deviation over the limit's maximum", lazy[k], 0.01, source=NOTES)
          for k, kappa in enumerate(KAPPAS)),
        Claim.true("All runs interpolate: loss at the end at most 1e-6",
                   ((arrays["loss"] >= 0) & (arrays["loss"] <= 1e-6)).all(), measured=f"{arrays['loss'].max():.1g}",
                   source=OWN),
        Claim.below("The least variation norm is known to rounding: upper over lower bound less 1", norm / low - 1.0,
                    1e-9, source=OWN),
        Claim.within("Its interpolant joins neighbours by lines, at x = -1/2", arrays["least_norm"][half], -0.2,
                     absolute=1e-9, source="geometry"),
        Claim.within("and continues them beyond the data, at x = 1.2", arrays["least_norm"][beyond], 1.32,
                     absolute=1e-9, source="geometry"),
        Claim.below("Trained from the smallest start, nets tend to its interpolant: largest deviation over its "
                    "maximum, both kappas", rich.max(), 0.015, source=OWN),
        Claim.between("Their variation norm is the least one and a little of the start's: largest ratio",
                      (arrays["variation"][:, 0] / norm).max(), 1.0, 1.1, source=OWN),
        Claim.above(f"Their mass lies at the atoms: share within {NEAR:g} degrees, kappa = 1", share, 0.9, source=OWN),
        Claim.between("Kernels of random directions deviate with the root of the width: slope", slope, -0.75, -0.3,
                      source=OWN),
        Claim.above("At width 1000 the worst of them is off by tens of percent",
                    np.abs(off[np.abs(arrays["widths"]) == 1000]).max(), 0.2, source=NOTES),
        Claim.below("Equispaced ones, at the width of the runs", abs(arrays["own"] / both[half] - 1.0), 0.015,
                    source=OWN),
    ]  # fmt: skip

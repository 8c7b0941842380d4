"""Feature and lazy training: kernel change and test error against alpha sqrt(h) for one hidden layer.

Source: Geiger, Spigler, Jacot, Wyart (2020), Disentangling feature and lazy training in deep neural networks,
arXiv:1906.08034. Conventions, loss and stop rule as in the authors' code; the slopes as remembered, not re-read.

Quick preset: about 8 s. Paper preset: about 145 s (CPU time of one core of a busy machine), at the notes' widths 64
and 256.

F = alpha (f - f_0), f(x) = h^(-1/2) sum_n a_n sigma(w_n.x/sqrt(d) + b_n), all N(0, 1) at the start, is trained on the
soft hinge with beta = 20 until all margins are 1. As a mean over neurons f has the factor A = alpha sqrt(h), the
`scale` of the objective, so that curves for several h collapse where the start counts through its law alone. The
published nets learn images; data here are normal in R^5, labelled by the sign of x_1 or by |x|^2. sigma is the
published softplus (beta = 5) without its normalization, a factor of alpha. Time is in the unit "alpha" and RKC2 holds
the error of F to 1e-3: some hundred steps whatever alpha, and kernel changes within 1 % of those at 1e-4.

What is measured. For small A the change falls as 1/A (the remembered -2L/(L+1) for L = 1) and curves collapse, the
spread between starts apart. For large A it falls as 1/A again, but there curves do NOT collapse: to first order in 1/A
the change is a mean over neurons of a function that is odd in a, 0 for the law of the start and of the size h^(-1/2)
for h neurons, so it is one in 1/(alpha h). Between the two the second order shows, with slopes beyond -1 that tend to
-2 as h grows; a start in pairs (a, w, b), (-a, w, b) has slope -2 all the way.

The notes give relative changes of 622, 54, 3.6 (h = 64) and 645, 54, 3.9 (256) at A = .01, .1, 1 for data that they do
not name. The paper preset has 3136, 263, 22.6 and 2818, 238, 19.8: the same slopes to .12 and a larger constant, which
depends on data and sigma (ReLU without b and 20 points: 676, 67, 5.6 in one run).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import meanfield as mf
import solvers
from meanfield._confidence import half_width
from meanfield.gallery import Claim, check_sizes
from solvers.errors import InputError
from solvers.protocols import Array

PAPER = "Geiger, Spigler, Jacot, Wyart 2020, arXiv:1906.08034, as remembered"
NOTES = "theory notes, regimes: alpha-scaling"
HERE = "derived and measured for this project"
TASKS = ("direction", "shell")
SIGMA = mf.Softplus(5.0)
# Starts in pairs are trained for products from here on; below they are like any other.
LAZY_FROM = 10.0


class SoftHinge(NamedTuple):
    """``R(f) = mean_i log(1 + exp(beta (1 - y_i f_i))) / beta`` with labels y_i = -1 or 1: a smooth hinge."""

    beta: float = 20.0
    reduction: str = "mean"

    @property
    def kind(self) -> str:
        return "soft_hinge"

    def value(self, f: Array, y: Any, weights: Array | None = None) -> float:
        """R(f)."""
        each = np.logaddexp(0.0, self.beta * (1.0 - y * f)) / self.beta
        return float(np.sum(shares(f, weights) * each))

    def gradient(self, f: Array, y: Any, weights: Array | None = None) -> Array:
        """R'(f) = -w y / (1 + exp(-beta (1 - y f)))."""
        z = self.beta * (1.0 - y * f)
        small = np.exp(-np.abs(z))
        return np.asarray(shares(f, weights) * (-y * np.where(z > 0.0, 1.0, small) / (1.0 + small)))

    def total(self, f: Array, y: Array, w: Array) -> float:
        """R(f) for compiled code."""
        value = 0.0
        for i in range(f.size):
            z = self.beta * (1.0 - y[i] * f[i])
            # written so that a NaN stays
            value += w[i] * (math.log1p(math.exp(-abs(z))) + (0.0 if z < 0.0 else z)) / self.beta
        return value

    def fill(self, f: Array, y: Array, w: Array, out: Array) -> None:
        """R'(f) for compiled code."""
        for i in range(f.size):
            z = self.beta * (1.0 - y[i] * f[i])
            small = math.exp(-abs(z))
            out[i] = -w[i] * y[i] * ((small if z < 0.0 else 1.0) / (1.0 + small))


def shares(f: Array, weights: Array | None) -> Any:
    """What each datum counts in the mean."""
    return 1.0 / f.shape[0] if weights is None else weights / weights.sum()


@dataclass(frozen=True)
class Config:
    """`products` are the values of A = alpha sqrt(h)."""

    widths: tuple[int, ...] = (16, 64)  # h
    products: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4)
    trials: int = 3  # data and starts
    n: int = 64
    d: int = 5
    test: int = 2000
    rtol: float = 1e-3  # of F
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        for name in ("widths", "products"):
            values = getattr(self, name)
            if tuple(sorted(set(values))) != values or values[0] <= 0 or len(values) < 2:
                raise InputError(f"{name} must hold at least two positive values that rise, not {values}")
        if self.products[1] > 1 or self.products[-2] < 100:
            raise InputError(
                f"products must hold two values up to 1 and two from 100 on, for the slopes, not {self.products}"
            )
        if self.widths[0] % 2:
            raise InputError(f"the first of widths must be even, for a start in pairs, not {self.widths[0]}")
        if self.trials < 2:
            raise InputError(f"trials must be at least 2, for bands, not {self.trials}")

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            n=100,
            widths=(64, 256),
            products=tuple(float(f"{10**k:.4g}") for k in np.arange(-6, 9) / 2),
            trials=8,
        )


def points(task: str, n: int, d: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """n normal points over sqrt(d), and the sign of x_1 or of |x|^2 minus its median (about d - 2/3)."""
    x = rng.standard_normal((n, d))
    label = x[:, 0] if task == "direction" else (x**2).sum(axis=1) - (d - 2 / 3)
    return x / np.sqrt(d), np.where(label > 0, 1.0, -1.0)


class Trained(NamedTuple):
    """Relative change of the kernel on the data, test error, steps, and whether all margins reached 1."""

    change: float
    error: float
    steps: int
    fitted: bool


def train(config: Config, start: Any, scale: float, data: Any, test: Any) -> Trained:
    """``F = scale (mean a sigma(w.x + b) - its start)`` until all margins are 1."""
    network = mf.TwoLayer(SIGMA, config.d)
    (X, y), (X_test, y_test) = data, test
    objective = mf.Objective(network, X, y, loss=SoftHinge(), scale=scale, centre=start)

    def margin(mu: Any) -> float:
        return float(np.min(y * objective.predict(mu)))

    run = solvers.integrate(
        mf.WassersteinFlow(objective, time_unit="alpha"),
        start,
        t_end=1e6,
        method=solvers.RKC2(rtol=config.rtol, atol=config.rtol / 10),
        save=2,
        until=solvers.stop_when(margin, above=1.0, every=1),
        max_steps=10_000,
    )
    kernels = [mf.kernels.empirical(network, mu, X) for mu in (start, run.final)]
    wrong = objective.predict(run.final, X_test) * y_test <= 0
    return Trained(
        mf.kernels.change(*kernels), float(wrong.mean()), run.stats["steps"], margin(run.final) >= 1.0
    )


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Changes, steps: (width, A, trial) for labels by direction; errors: (task, A, trial) at the largest width."""
    network = mf.TwoLayer(SIGMA, config.d)
    shape = (len(config.products), config.trials)
    change, steps = np.empty((2, len(config.widths), *shape))
    error, doubled = np.empty((len(TASKS), *shape)), np.empty(shape)
    fitted = []

    for k, stream in enumerate(rng.spawn(config.trials)):
        for_data, for_test, for_pairs, *for_starts = stream.spawn(3 + len(config.widths))
        sets = {
            task: [
                points(task, size, config.d, draws)
                for size, draws in ((config.n, for_data), (config.test, for_test))
            ]
            for task in TASKS
        }
        starts = [
            mf.ParticleMeasure.gaussian(network, h, rng=draws)
            for h, draws in zip(config.widths, for_starts, strict=True)
        ]
        pairs = mf.ParticleMeasure.gaussian(network, config.widths[0], rng=for_pairs, doubled=True)
        for j, scale in enumerate(config.products):
            for i, start in enumerate(starts):
                found = train(config, start, scale, *sets["direction"])
                change[i, j, k], steps[i, j, k] = found.change, found.steps
                fitted.append(found.fitted)
            # of the last, widest one
            error[0, j, k] = found.error
            found = train(config, starts[-1], scale, *sets["shell"])
            error[1, j, k] = found.error
            fitted.append(found.fitted)
            doubled[j, k] = np.nan
            if scale >= LAZY_FROM:
                found = train(config, pairs, scale, *sets["direction"])
                doubled[j, k] = found.change
                fitted.append(found.fitted)
    return {
        "widths": np.array(config.widths),
        "products": np.array(config.products),
        "change": change,
        "doubled": doubled,
        "error": error,
        "steps": steps,
        "fitted": np.array(fitted),
    }


# The picture ------------------------------------------------------------------------------------------------


def middle(values: Array) -> Array:
    """The geometric mean over trials, the last axis."""
    return np.asarray(np.exp(np.log(values).mean(axis=-1)))


def draw(arrays: dict[str, Any]) -> Any:
    """The picture, no computing."""
    figure, (left, right) = mf.plotting.figure(1, 2, size=(10.6, 4.4))
    with mf.plotting.style():
        _changes(left, arrays)
        _errors(right, arrays)
    return figure


def _changes(ax: Any, arrays: dict[str, Any]) -> None:
    products, colours = arrays["products"], mf.plotting.COLOURS
    for i, h in enumerate(arrays["widths"]):
        values = arrays["change"][i]
        ax.fill_between(products, values.min(axis=-1), values.max(axis=-1), color=colours[i], alpha=0.2, lw=0)
        ax.plot(products, middle(values), "osD^v"[i % 5] + "-", color=colours[i], label=f"$h = {h}$")
    lazy = products >= LAZY_FROM
    h = arrays["widths"][0]
    ax.plot(
        products[lazy], middle(arrays["doubled"][lazy]), "x--", color="#777777", label=f"$h = {h}$, in pairs"
    )
    x = products[products <= 1]
    y = 0.35 * middle(arrays["change"][0])[0]
    ax.plot(x, y * x[0] / x, color="#333333", lw=1, ls=":", label="slope -1")
    x = products[products >= 100]
    y = 3 * middle(arrays["change"][0])[products >= 100][0]
    ax.plot(x, y * x[0] / x, color="#333333", lw=1, ls=":")
    ax.set(xscale="log", yscale="log", xlabel=r"$A = \alpha \sqrt{h}$", title="Kernel change")
    ax.set_ylabel(r"$|K_T - K_0| / |K_0|$")
    ax.legend(loc="lower left")


def _errors(ax: Any, arrays: dict[str, Any]) -> None:
    products, colours = arrays["products"], mf.plotting.COLOURS
    for i, label in enumerate((r"labels sign$(x_1)$", r"labels sign$(|x|^2 - c)$")):
        mean, half = arrays["error"][i].mean(axis=-1), half_width(arrays["error"][i])
        ax.fill_between(products, mean - half, mean + half, color=colours[i + 2], alpha=0.2, lw=0)
        ax.plot(products, mean, "os"[i] + "-", color=colours[i + 2], label=label)
    ax.set(xscale="log", xlabel=r"$A = \alpha \sqrt{h}$", ylabel="test error")
    ax.set_title(f"Which regime is better depends on the data, $h = {arrays['widths'][-1]}$")
    ax.set_ylim(0, 1.35 * arrays["error"].mean(axis=-1).max())
    ax.legend(loc="upper right")


# The claims -------------------------------------------------------------------------------------------------


def slopes(products: Array, values: Array) -> Array:
    """Slopes in log-log between neighbouring products, of geometric means over trials."""
    return np.asarray(np.diff(np.log(middle(values))) / np.diff(np.log(products)))


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """Slopes at either end, where curves collapse and where not, and the test errors."""
    products, widths, change = arrays["products"], arrays["widths"], arrays["change"]
    lazy = products >= LAZY_FROM
    local = np.array([slopes(products, values) for values in change])
    logs = np.log10(np.array([middle(values) for values in change]))
    # what one and the same curve in alpha would be apart in A, where the slope is -1
    apart = 0.5 * np.log10(widths[-1] / widths[0])
    pairs = slopes(products[lazy], arrays["doubled"][lazy])
    direction, shell = arrays["error"].mean(axis=-1)
    per_run = arrays["steps"].mean(axis=-1)
    return [
        Claim.true("All runs end with every margin at 1 or more", arrays["fitted"].all(),
                   measured=f"{arrays['fitted'].sum()} of {arrays['fitted'].size}", source=HERE),
        Claim.below("Steps of RKC2 are uniform in alpha: most over least, means over trials",
                    per_run.max() / per_run.min(), 3.0, source=HERE),
        Claim.within("At the smallest A the change falls as A^(-2L/(L+1)), 1/A for L = 1: mean of the widths' slopes",
                     local[:, 0].mean(), -1.0, absolute=0.1, source=PAPER),
        Claim.below("For A <= 1 curves of all h collapse in A: largest distance in decades, over that of curves that "
                    "collapse in alpha", np.ptp(logs[:, products <= 1], axis=0).max() / apart, 0.7, source=NOTES),
        *[
            Claim.within(f"h = {h}: at the largest A the change falls as 1/A", local[i, -1], -1.0, absolute=0.05,
                         source=PAPER)
            for i, h in enumerate(widths)
        ],
        Claim.between("There curves do NOT collapse in A but in alpha h: distance of the least and largest h over "
                      "(1/2) log10 of the ratio of h", (logs[0, -1] - logs[-1, -1]) / apart, 0.5, 1.5, source=HERE),
        Claim.between("Between, the second order shows: steepest slope at the largest h", local[-1].min(), -2.1, -1.3,
                      source=HERE),
        Claim.within("A start in pairs has no first order: slope at the largest A", pairs[-1], -2.0, absolute=0.05,
                     source=HERE),
        Claim.above("Labels that depend on one direction: lazy test error over that of feature training",
                    direction[-1] / direction[0], 1.3, source=HERE),
        Claim.above("Labels that depend on |x|: feature test error over that of lazy training", shell[0] / shell[-1],
                    1.1, source=HERE),
    ]  # fmt: skip

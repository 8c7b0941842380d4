"""Wide deep ReLU nets hardly move while they learn: weights, flips and kernel as powers of the width.

Source: Allen-Zhu, Li, Song (2019), A convergence theory for deep learning via over-parameterization, arXiv:1811.03962;
its statements in shape and as remembered. The paper has no such figure: widths, data and numbers are this project's.

Quick preset: about 9 s. Paper preset: about 100 s (processor time on one core of a busy machine).

Nets h_0 = relu(A x), h_l = relu(W_l h_{l-1}), f = B h_L with L = 2, one output, A and W from N(0, 2/m), B from N(0, 1),
of which only W_1 and W_2 learn: n = 10 points with |x| = 1 and last coordinate 1/root 2, at least 0.4 apart, labels
+-1, gradient descent with the step 0.2/m on F = 1/2 sum (f - y)^2 until F < 1e-3. Each seed draws data, the same for
all widths, and starts. Shown is how far weights moved (spectral and Frobenius norm, all layers together in the latter),
the share of activations that flipped, the relative change of the tangent kernel; intervals are Student's over the
slopes of the seeds.

The theorem in shape: weights move by m^(-1/2) up to factors of n and L; with omega = |dW|_2 flips are O(omega^(2/3) L)
and the kernel moves by O(omega^(1/3) L^3), so that flips have a slope of at most -1/3 and the kernel of at most -1/6:
upper bounds, and both are measured to be steeper. |grad F|^2 is between delta m/(d n^2) and L n m/d times F, up to
constants; with constants 1 it is measured to be 25 times the first at least, and .55 of the second at most.

The slope of the weights is measured a little below -1/2, and the reason is in the kernel of the start. One that stays
would move weights by root <y - f, K_0^-1 (y - f)>, and that is how far they do move, the closer the wider. The least
eigenvalue of K_0 still grows a little faster than m, so movement falls a little faster than m^(-1/2): the slope of
|dW|_2 is -.56 [-.61, -.51] for m = 128 to 2048 and ten seeds (-.53 [-.59, -.48] with the kernel of the start), so that
the interval does not hold -1/2, though the gate of +- .1 does hold. Narrower nets are further from the power: with
m = 64 to 1024 and four seeds the slope is -.67 [-.83, -.51], outside the gate, and the presets begin at 128.
The quick preset is at its edge: the slope of |dW|_F is -.60 +- .12, and with seed=1 just outside. The rate of the loss
is not quite constant either: it falls on the way, as fast modes of the kernel die out first.
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

PAPER = "Allen-Zhu, Li, Song 2019, arXiv:1811.03962, in shape and as remembered"
OWN = "measured for this project"
SLOPES = (
    "spectral", "frobenius", "frozen_movement", "flips", "kernel_change", "flips_ratio", "kernel_ratio",
    "eigenvalue_start", "gradient_low",
)  # fmt: skip
NUMBERS = (
    "objective_end", "accuracy", "contraction", "r_squared", "rate_early", "rate_late", "gradient_low",
    "gradient_high", "lower_ratio", "upper_ratio", "hidden_low", "hidden_high", "eigenvalue_end", "delta",
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Sizes; the step is that many over the width."""

    widths: tuple[int, ...] = (128, 256, 512, 1024)
    seeds: int = 5
    n: int = 10
    d: int = 10  # of the inputs, the constant coordinate among them
    delta: float = 0.4  # distance of points at least
    depth: int = 2  # layers that learn
    step: float = 0.2
    goal: float = 1e-3
    most: int = 3000  # steps
    every: int = 5  # steps between saves
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        if len(set(self.widths)) < 3:
            raise InputError(f"widths must be three different ones at least, not {self.widths}")
        if list(self.widths) != sorted(self.widths):
            raise InputError(f"widths must ascend, not {self.widths}")
        if self.seeds < 3:
            raise InputError(f"seeds must be at least 3, for confidence intervals, not {self.seeds}")
        if self.n < 2:
            raise InputError(f"n must be at least 2, for points apart, not {self.n}")
        if self.d < 3:
            raise InputError(
                f"d must be at least 3, for points that differ beside the constant, not {self.d}"
            )
        if min(self.step, self.goal, self.delta) <= 0:
            raise InputError("step, goal and delta must be positive")
        if self.most < 4 * self.every:
            raise InputError(f"most must be at least four times every ({self.every}), not {self.most}")

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(widths=(128, 256, 512, 1024, 2048), seeds=10)


def trained(m: int, X: Array, y: Array, config: Config, word: int) -> Any:
    """The report on one net of width m, trained until the loss is below the goal, and its run."""
    net = mf.finite.deep.Dense((X.shape[1], *[m] * (config.depth + 1), 1), parametrization="allen_zhu")
    problem = mf.finite.deep.Problem(net, X, y, loss=mf.SquaredLoss(reduction="sum"))
    step = config.step / m
    run: Any = solvers.integrate(
        mf.finite.deep.SGD(problem, step),
        net.init(rng=word),
        config.most * step,
        save=step * np.arange(0, config.most + 1, config.every),
        until=solvers.stop_when("objective", below=config.goal),
        record={"dissipation": mf.overparametrization.dissipation(problem)},
    )
    return mf.overparametrization.report(run, goal=config.goal)


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Numbers of every report by width and seed, fitted slopes, and the loss curves."""
    words = rng.integers(2**31, size=(config.seeds, 1 + len(config.widths)))
    reports = []
    for word in words:
        X, y = mf.data.separated(config.n, config.d, delta=config.delta, rng=int(word[0]))
        reports.append([
            trained(m, X, y, config, int(start)) for m, start in zip(config.widths, word[1:], strict=True)
        ])  # fmt: skip
    flat = [one for row in reports for one in row]
    # runs that did not converge stay in: a claim says whether there are any
    slopes = mf.overparametrization.slopes(flat, SLOPES, goal=max(one.objective[-1] for one in flat))
    longest = max(len(one.t) for row in reports for one in row)
    loss = np.full((len(config.widths), config.seeds, longest), np.nan)
    for s, row in enumerate(reports):
        for w, one in enumerate(row):
            loss[w, s, : len(one.t)] = one.objective
    widths = np.array(config.widths, dtype=np.float64)
    fine = np.geomspace(widths[0], widths[-1], 50)
    found: dict[str, Any] = {
        "widths": widths, "fine": fine, "loss": loss, "goal": np.array(config.goal), "every": np.array(config.every),
    }  # fmt: skip
    for name in sorted({*NUMBERS, *SLOPES}):
        found[name] = np.array([[one.get(name, np.nan) for one in row] for row in reports]).T
    for name in SLOPES:
        found["fit_" + name] = np.array(slopes[name][:3])
        found["line_" + name] = np.array(slopes.line(name, fine))
    return found


# The picture ------------------------------------------------------------------------------------------------


def draw(arrays: dict[str, Any]) -> Any:
    """Movement, flips and kernel over the width with fits and bands; gradients, sizes, and the loss."""
    with mf.plotting.style():
        figure, panels = mf.plotting.figure(2, 3, size=(13.6, 7.4))
        movement, flips, kernel, gradients, sizes, loss = panels.ravel()
        _power(movement, arrays, "spectral", 0, r"$|\Delta W|_2$, largest layer", "o")
        _power(movement, arrays, "frobenius", 1, r"$|\Delta W|_F$, all layers", "s")
        m, frozen = arrays["widths"], np.exp(np.log(arrays["frozen_movement"]).mean(axis=1))
        movement.loglog(m, frozen, "k+", ms=9, label="... if the kernel stayed")
        _theory(movement, arrays, "spectral", -0.5, "theorem: slope $-1/2$", 0.6)
        movement.set_ylabel("movement of the weights")
        movement.set_title("Weights move by about $m^{-1/2}$")
        _power(flips, arrays, "flips", 2, "both layers", "o")
        _theory(flips, arrays, "flips", -1 / 3, "theorem: slope at most $-1/3$", 1.7)
        flips.set_ylabel("share of activations that flipped")
        flips.set_title("Few activations change sides")
        _power(kernel, arrays, "kernel_change", 3, "Frobenius norm", "o")
        _theory(kernel, arrays, "kernel_change", -1 / 6, "theorem: slope at most $-1/6$", 1.7)
        kernel.set_ylabel(r"$|K_T - K_0| / |K_0|$")
        kernel.set_title("The tangent kernel changes less and less")
        _gradients(gradients, arrays)
        _sizes(sizes, arrays)
        _loss(loss, arrays)
        for ax in panels.ravel()[:5]:
            ax.set_xticks(arrays["widths"], [f"{m:g}" for m in arrays["widths"]])
            ax.xaxis.minorticks_off()
            ax.set_xlabel("width $m$")
            low, high = ax.get_ylim()
            # room for the legend above what is drawn
            ax.set_ylim(low, high * (high / low) ** 0.35 if ax.get_yscale() == "log" else high)
            ax.legend(loc="lower right" if ax is sizes else "upper right")
    return figure


def _power(ax: Any, arrays: dict[str, Any], name: str, k: int, label: str, mark: str) -> None:
    """Seeds, their geometric means, the fitted power and its band."""
    m, colour = arrays["widths"], mf.plotting.COLOURS[k]
    values, (slope, low, high) = arrays[name], arrays["fit_" + name]
    ax.loglog(np.repeat(m, values.shape[1]), values.ravel(), ".", color=colour, alpha=0.35, ms=4)
    middle, under, over = arrays["line_" + name]
    ax.loglog(arrays["fine"], middle, color=colour, lw=1.3)
    ax.fill_between(arrays["fine"], under, over, color=colour, alpha=0.2, lw=0)
    text = f"{label}: ${slope:.2f}$ [${low:.2f}$, ${high:.2f}$]"
    ax.loglog(m, np.exp(np.log(values).mean(axis=1)), mark, color=colour, label=text)


def _theory(ax: Any, arrays: dict[str, Any], name: str, power: float, label: str, beside: float) -> None:
    fine, middle = arrays["fine"], arrays["line_" + name][0]
    height = beside * middle[len(fine) // 2] / fine[len(fine) // 2] ** power
    ax.loglog(fine, height * fine**power, "--", color="#333333", lw=1.0, label=label)


def _across(ax: Any, m: Array, values: Array, colour: str, label: str, mark: str) -> None:
    """Seeds side by side at each width."""
    spread = np.exp(np.linspace(-0.12, 0.12, values.shape[1]))
    ax.plot((m[:, None] * spread).ravel(), values.ravel(), mark, color=colour, ms=4, label=label)


def _gradients(ax: Any, arrays: dict[str, Any]) -> None:
    m = arrays["widths"]
    _across(ax, m, arrays["gradient_high"], mf.plotting.POSITIVE, "largest of each run", "v")
    _across(ax, m, arrays["gradient_low"], mf.plotting.NEGATIVE, "least of each run", "^")
    ax.axhspan(0.39, 3.8, color="#999999", alpha=0.15, lw=0, label="one earlier run: 0.39 to 3.8")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylabel(r"$|\nabla F|^2 / (F m)$")
    ax.set_title("Gradients of the size of the loss, all along")


def _sizes(ax: Any, arrays: dict[str, Any]) -> None:
    m = arrays["widths"]
    _across(ax, m, arrays["hidden_high"], mf.plotting.POSITIVE, "largest over data", "v")
    _across(ax, m, arrays["hidden_low"], mf.plotting.NEGATIVE, "least over data", "^")
    ax.axhspan(0.9, 1.1, color="#999999", alpha=0.15, lw=0, label="0.9 to 1.1")
    ax.set_xscale("log")
    ax.set_ylabel("$|h_L(x)|$ at the start")
    ax.set_title("Sizes are kept through the layers")


def _loss(ax: Any, arrays: dict[str, Any]) -> None:
    steps = float(arrays["every"]) * np.arange(arrays["loss"].shape[2])
    shown = (0, len(arrays["widths"]) // 2, len(arrays["widths"]) - 1)
    for k, w in enumerate(shown):
        for s, curve in enumerate(arrays["loss"][w]):
            label = f"$m = {arrays['widths'][w]:g}$" if s == 0 else None
            ax.semilogy(steps, curve, color=mf.plotting.COLOURS[k], lw=0.9, alpha=0.8, label=label)
    ax.axhline(float(arrays["goal"]), color="#999999", lw=0.8, ls=":")
    ax.set_xlabel("step")
    ax.set_ylabel("loss $F$")
    least = np.nanmin(arrays["r_squared"])
    ax.set_title(f"Linear convergence: $R^2$ of log $F$ at least {least:.3f}")
    ax.legend()


# The claims -------------------------------------------------------------------------------------------------


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """Powers of the width, gradients, sizes, convergence."""
    fit = {name: arrays["fit_" + name][0] for name in SLOPES}
    interval = {name: "95 % interval {1:.2f} to {2:.2f}".format(*arrays["fit_" + name]) for name in SLOPES}
    kept = arrays["eigenvalue_end"] / arrays["eigenvalue_start"] * np.sign(arrays["eigenvalue_end"])
    wide = {name: arrays[name][-1] for name in ("hidden_low", "hidden_high", "gradient_low", "gradient_high")}
    lazy = np.mean(arrays["frobenius"][-1] / arrays["frozen_movement"][-1] * np.sign(arrays["frobenius"][-1]))
    return [
        Claim.within("Every run learns its labels: least training accuracy", arrays["accuracy"].min(), 1.0,
                     absolute=1e-9, source=PAPER),
        Claim.between("and reaches zero loss as far as it was to go: largest F at the end over the goal 1e-3",
                      np.abs(arrays["objective_end"]).max() / arrays["goal"], 0.0, 1.0, source=PAPER),
        Claim.above("at a linear rate: R^2 of the line through log F, median over runs",
                    np.median(arrays["r_squared"]), 0.95, source=PAPER),
        Claim.between("that is slower in the second half of the steps: its rate over that of the first, median",
                      np.median(arrays["rate_late"] / arrays["rate_early"]) * np.sign(arrays["rate_late"].min()),
                      0.4, 1.0, source=OWN),
        Claim.between("Each step takes its share of the loss: factor, largest over runs", arrays["contraction"].max(),
                      0.0, 0.99, source=PAPER),
        Claim.within(f"Weights move about like m^(-1/2): slope of |dW|_2 ({interval['spectral']})", fit["spectral"],
                     -0.5, absolute=0.1, source=PAPER),
        Claim.within(f"slope of |dW|_F ({interval['frobenius']})", fit["frobenius"], -0.5, absolute=0.1, source=OWN),
        Claim.within("and so they would with a kernel that stays: slope of |dW|_F over that movement",
                     fit["frobenius"] - fit["frozen_movement"], 0.0, absolute=0.1, source=OWN),
        Claim.within("as far as with a kernel that stays: |dW|_F over that at the largest width, mean over seeds",
                     lazy, 1.0, absolute=0.1, source=OWN),
        Claim.between(f"whose least eigenvalue grows a little faster than m: slope ({interval['eigenvalue_start']})",
                      fit["eigenvalue_start"], 1.0, 1.5, source=OWN),
        Claim.between(f"Flips become few: slope ({interval['flips']})", fit["flips"], -1.0, -0.3, source=OWN),
        Claim.between(f"The kernel moves less and less: slope of its relative change ({interval['kernel_change']})",
                      fit["kernel_change"], -1.0, -0.3, source=OWN),
        Claim.between("Flips are O(omega^(2/3)), an upper bound: slope of flips/omega^(2/3), at most 0.1",
                      fit["flips_ratio"], -1.0, 0.1, source=PAPER),
        Claim.between("The kernel moves by O(omega^(1/3)), an upper bound: slope of its change/omega^(1/3)",
                      fit["kernel_ratio"], -1.0, 0.1, source=PAPER),
        Claim.above("|grad F|^2 is above delta m/(d n^2) F with the constant 1: least quotient over runs and saves",
                    arrays["lower_ratio"].min() * np.sign(arrays["delta"].min()), 1.0, source=PAPER),
        Claim.between("and below L n m/d F: largest quotient", arrays["upper_ratio"].max(), 0.0, 1.0, source=PAPER),
        Claim.between("The least |grad F|^2/(F m) of a run does not fall with the width: slope", fit["gradient_low"],
                      -0.1, 0.5, source=PAPER),
        Claim.between("At the largest width it is, median over seeds", np.median(wide["gradient_low"]), 0.2, 1.0,
                      source=OWN),
        Claim.between("and the largest", np.median(wide["gradient_high"]), 1.0, 10.0, source=OWN),
        Claim.above("The kernel of the start stays definite: least share of lambda_min that is left", kept.min(), 0.3,
                    source=PAPER),
        Claim.between("Sizes are kept: least |h_L| over data at the largest width, mean over seeds",
                      wide["hidden_low"].mean(), 0.9, 1.0, source=PAPER),
        Claim.between("and largest", wide["hidden_high"].mean(), 1.0, 1.1, source=PAPER),
    ]  # fmt: skip

"""Diagonal linear networks: between the l1 and the l2 interpolant, by the size of the start and by depth.

Source: Woodworth, Gunasekar, Lee, Moroshko, Savarese, Golan, Soudry, Srebro (2020), Kernel and rich regimes in
overparametrized models, arXiv 2002.09277 (as remembered, not re-read: the sparse regression, theorems 1 to 3).

Quick preset: about 6 s. Paper preset: about 60 s (processor time on one core of a busy machine).

Gradient flow of w = u^D - v^D from u = v = alpha on X w = y ends in the interpolant of least Q_(alpha, D), which is
computed here in closed form (`meanfield.finite.diagonal`), up to rounding; that the flow ends there is checked by
running it. Sparse regression: x ~ N(0, I_d), y = x.beta + N(0, .01), beta with five entries 1/sqrt 5; n < d. What
stands on the axes is alpha^D, the size of the weights that a start can make: large, the least l2 norm (kernel); small,
the least l1 norm (rich), which recovers beta.

Depth 2 gets there slowly: its excess l1 norm falls like a small power of the scale, so that a scale exponentially small
in what one wants is needed; with depth 3 and 4 it falls almost in proportion to the scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import meanfield as mf
import solvers
from meanfield.finite import diagonal
from meanfield.gallery import Claim, check_sizes
from solvers.errors import InputError
from solvers.protocols import Array

DEPTHS = (2, 3, 4)
PAPER = "Woodworth et al. 2020, arXiv:2002.09277, as remembered"
OWN = "derived and measured for this project"
TRUTH = np.array([[0.06685802, 0.46657099], [0.19921138, 0.40039431]])  # x = (1, 2), y = 1; alpha = .1 and 1


@dataclass(frozen=True)
class Config:
    """Sizes of the regression, scales alpha^D of the starts, and of the flows that are run to their ends."""

    d: int = 240
    n: int = 60
    sparsity: int = 5
    noise: float = 0.1  # deviation of labels
    draws: int = 2
    smallest: float = 1e-14  # scales alpha^D, spread evenly over their logarithms
    largest: float = 1e3
    scales: int = 18
    sizes: tuple[int, ...] = (45, 60, 80, 120)  # numbers of data
    threshold: float = 0.1  # population error that counts as learnt
    flow_data: int = 1  # the flows: 1 and 2 for x = (1, 2), y = 1, random data otherwise
    flow_weights: int = 2
    starts: tuple[float, ...] = (1e-3, 1e-2, 0.1, 1.0, 10.0)  # alpha of the flows
    rtol: float = 1e-7
    paths: tuple[float, ...] = (0.03, 0.2, 0.5, 1.0, 3.0)  # alpha of the trajectories that are drawn
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        if not self.n < self.d or not self.sparsity <= self.d:
            raise InputError(f"n and sparsity must be less than d={self.d}, not {self.n} and {self.sparsity}")
        if not max(self.sizes) < self.d or tuple(sorted(set(self.sizes))) != self.sizes:
            raise InputError(f"sizes must rise and stay below d={self.d}, not {self.sizes}")
        if not 0 < self.smallest <= 1e-12 < 10 < self.largest or self.scales < 10:
            raise InputError("smallest must be at most 1e-12, largest above 10, and scales at least 10")
        for name in ("noise", "threshold", "rtol"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("starts", "paths"):
            if min(getattr(self, name)) <= 0:
                raise InputError(f"{name} must be positive, not {getattr(self, name)}")
        if not self.flow_data < self.flow_weights:
            raise InputError(
                f"flow_data must be less than flow_weights={self.flow_weights}, not {self.flow_data}"
            )

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            d=1000,
            n=100,
            scales=35,
            sizes=(75, 100, 150, 250),
            threshold=0.025,
            flow_data=3,
            flow_weights=6,
            rtol=1e-8,
        )


def regression(config: Config, n: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Inputs (n, d), labels (n,) and the sparse weights (d,) behind them."""
    beta = np.zeros(config.d)
    beta[: config.sparsity] = config.sparsity**-0.5
    X = rng.standard_normal((n, config.d))
    return X, X @ beta + config.noise * rng.standard_normal(n), beta


def sweep(config: Config, scales: Array, depth: int, X: Array, y: Array) -> Array:
    """The limits of gradient flow at all scales, (scales, d)."""
    return np.array([found.w for found in diagonal.limits(X, y, scales ** (1.0 / depth), depth)])


def flow_problem(config: Config, rng: np.random.Generator) -> tuple[Array, Array]:
    if (config.flow_data, config.flow_weights) == (1, 2):
        return np.array([[1.0, 2.0]]), np.ones(1)
    X = rng.standard_normal((config.flow_data, config.flow_weights))
    return X, X[:, 0] - 0.5 * X[:, 1] + 0.1 * rng.standard_normal(config.flow_data)


def long_enough(dual: diagonal.DualFlow, found: diagonal.Limit) -> float:
    """The escape from the start, then thirty times the slowest time at the end."""
    slope = dual.mirror.at(dual.X.T @ found.nu).slope
    rate = 4.0 if dual.depth == 2 else dual.depth * (dual.depth - 2.0)
    slowest = np.linalg.eigvalsh((rate / dual.n * dual.X * slope) @ dual.X.T)[0]
    return float(30.0 / slowest + 50.0 * float(found.alpha[0]) ** (2 - dual.depth))


def flow_errors(config: Config, X: Array, y: Array, depth: int, alpha: float) -> tuple[float, float]:
    """How far the ends of both flows, in (u, v) and in dual variables, are from the closed form."""
    found = diagonal.limit(X, y, alpha, depth)
    flow, dual = diagonal.DiagonalFlow(X, y, depth), diagonal.DualFlow(X, y, alpha, depth)
    end = long_enough(dual, found)
    errors = []
    # w = u^D - v^D with u and v near alpha: what is lost of them counts alpha^D times
    tight = config.rtol / max(1.0, alpha**depth)
    for moved, state, rtol in ((flow, flow.start(alpha), tight), (dual, dual.start(), 100 * config.rtol)):
        method = solvers.RODAS4(rtol=rtol, atol=1e-5 * rtol)
        run = solvers.integrate(moved, state, end, method=method, save=[end])
        errors.append(float(np.abs(moved.predictor(run.final) - found.w).max()))
    return errors[0], errors[1]


def trajectory(alpha: float, times: Array) -> Array:
    """w(t) of the network of depth 2 on x = (1, 2), y = 1: (times, 2)."""
    dual = diagonal.DualFlow([[1.0, 2.0]], [1.0], alpha)
    run = solvers.integrate(
        dual, dual.start(), times[-1], save=times, keep="all", method=solvers.RODAS4(rtol=1e-7)
    )
    return np.array([dual.predictor(state) for state in run.states])


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Excess norms and errors (draws, depths, scales), errors of flows (depths, starts), thresholds (depths, sizes)."""
    for_data, for_sizes, for_flow = rng.spawn(3)
    scales = np.geomspace(config.smallest, config.largest, config.scales)
    shape = (config.draws, len(DEPTHS), len(scales))
    excess, apart, error = np.empty(shape), np.empty(shape), np.empty(shape)
    ends, l1_norms = np.empty((config.draws, 2)), np.empty(config.draws)
    for k in range(config.draws):
        X, y, beta = regression(config, config.n, for_data)
        sparse, dense = diagonal.basis_pursuit(X, y), diagonal.least_norm(X, y)
        ends[k] = np.sum((sparse - beta) ** 2), np.sum((dense - beta) ** 2)
        l1_norms[k] = np.abs(sparse).sum()
        for i, depth in enumerate(DEPTHS):
            w = sweep(config, scales, depth, X, y)
            excess[k, i] = np.abs(w).sum(axis=1) - l1_norms[k]
            apart[k, i] = np.linalg.norm(w - dense, axis=1)
            error[k, i] = np.sum((w - beta) ** 2, axis=1)
    allowed = np.empty((config.draws, len(DEPTHS), len(config.sizes)))
    for k in range(config.draws):
        for j, n in enumerate(config.sizes):
            X, y, beta = regression(config, n, for_sizes)
            for i, depth in enumerate(DEPTHS):
                found = np.sum((sweep(config, scales, depth, X, y) - beta) ** 2, axis=1)
                allowed[k, i, j] = largest_allowed(scales, found, config.threshold)
    X, y = flow_problem(config, for_flow)
    flows = np.array(
        [[flow_errors(config, X, y, depth, alpha) for alpha in config.starts] for depth in DEPTHS]
    )
    times = np.concatenate([[0.0], np.geomspace(1e-3, 40.0, 80)])
    plane = diagonal.limits([[1.0, 2.0]], [1.0], np.geomspace(1e-4, 30, 60))
    return {
        "scales": scales,
        "excess": excess,
        "apart": apart,
        "error": error,
        "ends": ends,
        "l1": l1_norms,
        "kernel_share": np.array(1.0 - config.n / config.d),
        "sizes": np.array(config.sizes),
        "allowed": allowed,
        "threshold": np.array(config.threshold),
        "starts": np.array(config.starts),
        "flow_error": flows[..., 0],
        "dual_error": flows[..., 1],
        "truth": np.array([diagonal.limit([[1.0, 2.0]], [1.0], alpha).w for alpha in (0.1, 1.0)]),
        "paths": np.array([trajectory(alpha, times) for alpha in config.paths]),
        "path_starts": np.array(config.paths),
        "plane": np.array([found.w for found in plane]),
    }


def largest_allowed(scales: Array, error: Array, threshold: float) -> float:
    """The scale up to which the error stays below the threshold, log-linear between scales; the least one if none."""
    bad = np.flatnonzero(error > threshold)
    if bad.size == 0:
        return float(scales[-1])
    k = int(bad[0])
    if k == 0:
        return float(scales[0])
    share = np.log(threshold / error[k - 1]) / np.log(error[k] / error[k - 1])
    return float(scales[k - 1] * (scales[k] / scales[k - 1]) ** share)


# The picture ------------------------------------------------------------------------------------------------


def draw(arrays: dict[str, Any]) -> Any:
    """Trajectories in the plane, error and excess norms against scale, flow against closed form, scale against n."""
    with mf.plotting.style():
        figure, panels = mf.plotting.figure(2, 3, size=(14.4, 8.6))
        _plane(panels[0, 0], arrays)
        _errors(panels[0, 1], arrays)
        _excess(panels[0, 2], arrays)
        _apart(panels[1, 0], arrays)
        _flows(panels[1, 1], arrays)
        _allowed(panels[1, 2], arrays)
    return figure


def _plane(ax: Any, arrays: dict[str, Any]) -> None:
    line = np.array([-0.02, 0.42])
    ax.plot(line, (1 - line) / 2, color="#bbbbbb", lw=1.0, label="$w_1 + 2 w_2 = 1$")
    for k, (alpha, path) in enumerate(zip(arrays["path_starts"], arrays["paths"], strict=True)):
        ax.plot(*path.T, color=mf.plotting.COLOURS[k % 7], lw=1.4, label=rf"$\alpha = {alpha:g}$")
        ax.plot(*path[-1], "o", color=mf.plotting.COLOURS[k % 7], ms=5)
    ax.plot(*arrays["plane"].T, color="#333333", lw=3, alpha=0.35, label="all limits")
    ax.plot(0, 0.5, "s", color="#333333", mfc="white", label=r"least $\ell_1$")
    ax.plot(0.2, 0.4, "D", color="#333333", mfc="white", label=r"least $\ell_2$")
    ax.set_xlim(-0.02, 0.32)
    ax.set_ylim(-0.02, 0.56)
    ax.set_xlabel("$w_1$")
    ax.set_ylabel("$w_2$")
    ax.set_title("Depth 2, $x = (1, 2)$, $y = 1$: where flows go")
    ax.legend(loc="lower right", fontsize=8)


def _each_depth(ax: Any, x: Array, values: Array) -> None:
    for i, depth in enumerate(DEPTHS):
        for k, each in enumerate(values[:, i]):
            ax.plot(x, each, color=mf.plotting.COLOURS[i], lw=1.3, ls="-" if k == 0 else (0, (4, 2)),
                    label=f"$D = {depth}$" if k == 0 else None)  # fmt: skip


def _errors(ax: Any, arrays: dict[str, Any]) -> None:
    _each_depth(ax, arrays["scales"], arrays["error"])
    for k, (rich, kernel) in enumerate(arrays["ends"]):
        ax.axhline(rich, color="#777777", lw=0.9, ls=":", label=r"least $\ell_1$" if k == 0 else None)
        ax.axhline(kernel, color="#777777", lw=0.9, ls="-.", label=r"least $\ell_2$" if k == 0 else None)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(r"scale of the start $\alpha^D$")
    ax.set_ylabel(r"population error $|w - \beta|^2$")
    ax.set_ylim(5e-3, 2.0)
    ax.set_title("Sparse regression (solid, dashed: two draws)")
    ax.legend(loc="center left")


def _excess(ax: Any, arrays: dict[str, Any]) -> None:
    _each_depth(ax, arrays["scales"], arrays["excess"] / arrays["l1"][:, None, None])
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(1e-14, 20)
    ax.set_xlabel(r"scale of the start $\alpha^D$")
    ax.set_ylabel(r"$|w|_1 / \min |w|_1 - 1$")
    ax.set_title(r"Excess $\ell_1$ norm")
    ax.legend(loc="upper left")


def _apart(ax: Any, arrays: dict[str, Any]) -> None:
    _each_depth(ax, arrays["scales"], arrays["apart"])
    scales = arrays["scales"][arrays["scales"] >= 1.0]
    ax.plot(scales, 0.3 * scales**-2.0, color="#777777", lw=0.9, ls=":", label="slope $-2$")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(r"scale of the start $\alpha^D$")
    ax.set_ylabel(r"$|w - w_{\ell_2}|$")
    ax.set_title(r"Distance from the least $\ell_2$ norm")
    ax.legend(loc="lower left")


def _flows(ax: Any, arrays: dict[str, Any]) -> None:
    for i, depth in enumerate(DEPTHS):
        colour = mf.plotting.COLOURS[i]
        for name, marker, label in (("flow_error", "o", "$(u, v)$"), ("dual_error", "s", "dual")):
            ax.loglog(arrays["starts"], np.maximum(arrays[name][i], 1e-17), marker, color=colour, ls="-", lw=0.8,
                      mfc=colour if marker == "o" else "white", label=rf"$D = {depth}$, {label}")  # fmt: skip
    ax.axhline(1e-8, color="#333333", lw=1.0, ls="--")
    ax.set_ylim(1e-17, 1e-6)
    ax.set_xlabel(r"start $\alpha$")
    ax.set_ylabel("largest error of a weight")
    ax.set_title("End of gradient flow against the closed form")
    ax.legend(loc="upper right", ncols=3, fontsize=7)


def _allowed(ax: Any, arrays: dict[str, Any]) -> None:
    for i, depth in enumerate(DEPTHS):
        mean = np.exp(np.log(arrays["allowed"][:, i]).mean(axis=0))
        ax.loglog(arrays["sizes"], mean, "o-", color=mf.plotting.COLOURS[i], lw=1.3, label=f"$D = {depth}$")
        for each in arrays["allowed"][:, i]:
            ax.plot(arrays["sizes"], each, ".", color=mf.plotting.COLOURS[i], ms=4, alpha=0.6)
    ax.set_xticks(arrays["sizes"], [f"{n}" for n in arrays["sizes"]])
    ax.minorticks_off()
    ax.set_xlabel("number of data $n$")
    ax.set_ylabel(rf"largest $\alpha^D$ with error $\leq {float(arrays['threshold']):g}$")
    ax.set_title("More data forgive a larger start")
    ax.legend(loc="lower right")


# The claims -------------------------------------------------------------------------------------------------


def slopes(x: Array, values: Array) -> Array:
    """Slope of log values against log x between the first and the last point, for each row."""
    return np.asarray(np.log(values[..., -1] / values[..., 0]) / np.log(x[-1] / x[0]))


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """The flow is where the closed form says; both ends; depth."""
    scales, excess, error = arrays["scales"], arrays["excess"], arrays["error"]
    rich, kernel = arrays["ends"].T
    least = scales <= 1.001e-10
    low = slopes(scales[least], excess[..., least])
    high = slopes(scales[-3:], arrays["apart"][..., -3:])
    middle = int(np.argmin(np.abs(np.log(scales / 1e-6))))
    by_depth = excess[:, :, middle].mean(axis=0)
    logs = np.log10(arrays["allowed"]).mean(axis=0)
    starts, l1 = arrays["starts"], arrays["l1"][:, None, None]
    return [
        Claim.below(f"Gradient flow in (u, v) ends in the closed form, depths 2 to 4, alpha from {starts.min():g} to "
                    f"{starts.max():g}: largest error of a weight", arrays["flow_error"].max(), 1e-8, source=PAPER),
        Claim.below("So does the flow of the dual variables", arrays["dual_error"].max(), 1e-8, source=OWN),
        Claim.below("The closed form for x = (1, 2), y = 1 at alpha = .1 and 1, largest difference from the known "
                    "weights", np.abs(arrays["truth"] - TRUTH).max(), 5.1e-9, source=OWN),
        Claim.below("Large starts: population error over that of the least l2 norm, minus 1",
                    np.abs(error[..., -1] / kernel[:, None] - 1).max(), 1e-3, source=PAPER),
        Claim.within("which is what the data do not see of beta, 1 - n/d, beside noise",
                     kernel.mean(), float(np.abs(arrays["kernel_share"])), relative=0.15, source=OWN),
        Claim.below("Small starts, depth 3 and 4: population error over that of the least l1 norm, minus 1",
                    np.abs(error[:, 1:, 0] / rich[:, None] - 1).max(), 0.05, source=PAPER),
        Claim.above("From kernel to rich the population error falls, all depths: least ratio",
                    (error[..., -1] / error[..., 0]).min(), 10.0, source=PAPER),
        Claim.true("The excess l1 norm rises with the scale of the start",
                   np.all(np.diff(excess, axis=-1) > -1e-12 * l1) and np.all(excess[..., -1] > 0.1 * l1[..., 0]),
                   measured=f"least step {np.diff(excess, axis=-1).min():.2g}", source=OWN),
        Claim.above("At alpha^D = 1e-6 it falls with depth, each time: least ratio of means",
                    (by_depth[:-1] / by_depth[1:]).min(), 2.0, source=PAPER),
        Claim.below("Depth 2 is rich for tiny starts only: below alpha^2 = 1e-10 its excess l1 norm falls like a power "
                    "of the scale of at most", low[:, 0].max() if low[:, 0].min() > 0 else np.nan, 0.2, source=PAPER),
        Claim.above("Depth 3 and 4: almost in proportion to it, least power", low[:, 1:].min(), 0.5, source=PAPER),
        Claim.within("The distance from the least l2 norm falls like alpha^(-2 D), all depths: the power of alpha^D "
                     "farthest from -2", high.flat[np.argmax(np.abs(high + 2))], -2.0, absolute=0.02, source=OWN),
        Claim.above("More data allow a larger start: gain of log10 of the largest scale from the least to the largest "
                    "n, all depths", (logs[:, -1] - logs[:, 0]).min(), 0.5, source=PAPER),
        Claim.true("At any n the largest scale is the larger, the deeper the network",
                   np.all(np.diff(logs, axis=0) > 0),
                   measured=f"least step {np.diff(logs, axis=0).min():.2g} decades", source=OWN),
    ]  # fmt: skip

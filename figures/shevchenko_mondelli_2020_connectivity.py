"""Solutions of SGD are connected: dropping half of the neurons matters like 1/m, and so does the barrier on the way.

Source: Shevchenko, Mondelli (2020), Landscape connectivity and dropout stability of SGD solutions for
over-parameterized neural networks, arXiv:1912.10095 (its abstract re-read: change and barrier vanish as the width
grows, free of the dimension; the exponents, data, widths and starts are this project's); the path through dropped-out
networks is that of Kuditipudi et al. (2019), arXiv:1906.06247, as remembered.

Quick preset: about 6 s. Paper preset: about 30 s (processor time on one core).

Networks f = 1/m sum_j a_j sigma(w_j . x + b_j) are trained by SGD on one draw of teacher data from independent starts,
over which all intervals are. Of m neurons a random half is dropped and the rest doubled: the mean square change of
predictions is (1/k - 1/m) S^2, k of m neurons remaining and S^2 the variance of their outputs over neurons, exactly;
that it falls like 1/m says that S^2 stays bounded. For tanh it hardly moves with m; for ReLU it still grows over these
widths, and the change falls like m^(-.90 +- .03) (paper preset), not like 1/m. The change depends on how many neurons
remain and not on how many there were (beyond the factor 1 - k/m). It does not grow with the dimension of the inputs; if
anything it falls, like d^(-.06 +- .06) for tanh and d^(-.10 +- .08) for ReLU.

Two solutions are joined through halves of both. Pieces that move the output layer alone are convex in the loss, the
others change nothing, so that the barrier is the loss at one of the corners: it falls like 1/m. On the straight line
between two solutions it does not fall; after the neurons were permuted (optimal assignment) it is the lowest of the
three at every width here. At the smallest width the straight line is lower than the path through halves.

Two hidden layers, both halved: with hidden weights of size 1/m a unit, which is the mean-field scaling of the theorem,
change and barrier fall like m^(-.96 +- .05) and m^(-.86 +- .16) (paper preset). With the usual random hidden weights
of size 1/root m (muP, the start of the library's mean-field parametrization) 1/m is not reproduced: inputs of the
second layer are random sums, which halving changes by order one at any width, and the change falls like m^(-.62 +- .04)
here, and like m^-.36 between the two largest widths. Dropping neurons of the last hidden layer alone costs 1/m there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import meanfield as mf
from meanfield._confidence import bounds, half_width
from meanfield.gallery import Claim, check_sizes
from meanfield.plotting import fit_slope
from solvers import integrate
from solvers.errors import InputError
from solvers.protocols import Array

PAPER = "Shevchenko, Mondelli 2020, arXiv:1912.10095"
VANISHES = f"{PAPER}: it vanishes; the exponent is this project's"
PATH = "Kuditipudi et al. 2019, arXiv:1906.06247, as remembered"
OWN = "derived and measured for this project"
ACTIVATIONS = ("tanh", "relu")
KINDS = ("dropout", "line", "aligned")
# How far the whole confidence interval of a slope may reach from the stated one: 1/m is told from 1/root m, and from
# no fall at all; the narrow one where the theory is exact but for S^2.
WIDE, NARROW = 0.4, 0.2
# Growth with the dimension is told from none by half the exponent of a square root.
GROWTH = 0.25
STARTS = ("mean field, $1/m$", r"muP, $1/\sqrt{m}$")


@dataclass(frozen=True)
class Config:
    """Data, widths, pairs of solutions, draws of the dropped halves."""

    n: int = 200
    d: int = 10
    teacher: int = 5
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    pairs: int = 6
    draws: int = 10
    points: int = 21
    step: float = 0.1
    batch: int = 20
    t_end: float = 50.0
    dims: tuple[int, ...] = (5, 20, 80)
    dim_width: int = 64
    dim_seeds: int = 6
    dim_time: float = 20.0
    deep_widths: tuple[int, ...] = (16, 48, 144)
    deep_pairs: int = 6
    deep_time: float = 20.0
    deep_step: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        for name in ("widths", "dims", "deep_widths"):
            sizes = getattr(self, name)
            if len(sizes) < 3 or min(sizes) < 4 or list(sizes) != sorted(set(sizes)):
                raise InputError(f"{name} must be three increasing sizes of 4 at least, not {sizes}")
        if min(self.pairs, self.deep_pairs, self.dim_seeds) < 3:
            raise InputError("pairs, deep_pairs and dim_seeds must be at least 3, for confidence intervals")
        if self.points < 5 or self.draws < 2:
            raise InputError("points must be at least 5, and draws at least 2")
        if min(self.step, self.t_end, self.dim_time, self.deep_time, self.deep_step) <= 0:
            raise InputError("step, t_end, dim_time, deep_time and deep_step must be positive")

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            widths=(16, 32, 64, 128, 256, 512, 1024),
            pairs=8,
            dims=(5, 10, 20, 40, 80),
            dim_width=128,
            dim_seeds=12,
            deep_widths=(16, 32, 64, 128, 256, 512),
            deep_pairs=6,
        )


def data(n: int, d: int, neurons: int, rng: Any) -> tuple[Array, Array]:
    """Teacher data with labels of variance one."""
    X, y = mf.data.relu_teacher(n=n, d=d, neurons=neurons, rng=rng)
    return X, y / y.std()


def solution(objective: Any, width: int, time: float, config: Config, word: int) -> Any:
    """Where SGD ends, from a start of its own."""
    d = objective.network.d
    std = {"a": 1.0, "w": d**-0.5, "b": d**-0.5}
    start = mf.ParticleMeasure.gaussian(objective.network, width, rng=word, std=std)
    flow = mf.SGD(objective, step=config.step, batch=config.batch, rng=word)
    return integrate(flow, start, time, save=[0.0, time]).final


def deep_solution(problem: Any, start: int, config: Config, word: int) -> Any:
    """The same of a network with two hidden layers, whose hidden weights begin with size 1/m or 1/root m."""
    d, m = problem.net.widths[:2]
    arrays = problem.net.init(rng=word).to_arrays()
    arrays["W0"] = arrays["W0"] / np.sqrt(d)
    if start == 0:
        arrays["W1"] = arrays["W1"] / np.sqrt(m)
    flow = mf.finite.deep.SGD(problem, step=config.deep_step, batch=config.batch, rng=word)
    weights = mf.finite.deep.Weights(arrays)
    return integrate(flow, weights, config.deep_time, save=[0.0, config.deep_time]).final


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Changes by dropout over widths, numbers that remain and dimensions; losses along paths and their barriers."""
    X, y = data(config.n, config.d, config.teacher, rng)
    most = max(2 * config.pairs, 2 * config.deep_pairs, config.dim_seeds)
    words = [int(word) for word in rng.integers(2**31, size=most)]
    found = two_layers(config, X, y, words)
    found |= dimensions(config, words)
    found |= two_hidden_layers(config, X, y, words)
    return found


def two_layers(config: Config, X: Array, y: Array, words: list[int]) -> dict[str, Any]:
    """Changes, barriers, and one pair's losses along its paths."""
    count, widths = 2 * config.pairs, config.widths
    shape = (len(ACTIVATIONS), len(widths), count)
    change, exact, rise, exact_rise, loss = (np.empty(shape) for _ in range(5))
    barriers = np.empty((len(KINDS), len(widths), config.pairs))
    remaining: list[tuple[int, int]] = []
    by_remaining: list[list[float]] = []
    shown, checks = [], np.empty((2, len(widths)))
    for i, activation in enumerate(ACTIVATIONS):
        objective = mf.Objective(mf.TwoLayer(activation, d=config.d), X, y)
        for j, m in enumerate(widths):
            solutions = [solution(objective, m, config.t_end, config, word) for word in words[:count]]
            reports: list[Any] = [
                mf.landscape.dropout(objective, one, draws=config.draws, rng=word)
                for one, word in zip(solutions, words, strict=False)
            ]
            change[i, j] = [report.changes.mean() for report in reports]
            exact[i, j] = [report.expected for report in reports]
            rise[i, j] = [report.losses.mean() - report.loss for report in reports]
            exact_rise[i, j] = [report.expected_loss - report.loss for report in reports]
            loss[i, j] = [report.loss for report in reports]
            if i:
                continue
            for k in (size for size in widths if size < m):
                thinned = [
                    mf.landscape.dropout(objective, one, k / m, config.draws, rng=word).changes.mean()
                    for one, word in zip(solutions, words, strict=False)
                ]
                remaining.append((m, k))
                by_remaining.append(thinned)
            a, b = solutions[: config.pairs], solutions[config.pairs :]
            paths = [
                mf.landscape.connect(
                    objective, a, b, kind, points=config.points, draws=config.draws, rng=words[0]
                )
                for kind in KINDS
            ]
            barriers[:, j] = [path.barriers.mean(axis=1) for path in paths]
            checks[:, j] = pieces(paths[0], objective.value)
            if j == len(widths) // 2:
                shown = [np.vstack([path.t, path.losses[0]]) for path in paths]
    return {
        "widths": np.array(widths), "change": change, "exact": exact, "rise": rise, "exact_rise": exact_rise,
        "loss": loss, "barriers": barriers, "remaining": np.array(remaining), "by_remaining": np.array(by_remaining),
        "shown_width": np.array(widths[len(widths) // 2]), "checks": checks,
        **{f"path_{kind}": one for kind, one in zip(KINDS, shown, strict=True)},
    }  # fmt: skip


def pieces(path: Any, value: Any) -> tuple[float, float]:
    """From networks on the path: least second difference where the output layer moves, largest change elsewhere.

    Both in units of the largest loss.
    """
    inside = np.linspace(0.0, 1.0, 5)
    count = len(path.output_only)
    bend, shift = np.inf, 0.0
    for k, moving in enumerate(path.output_only):
        losses = np.array([value(path.path(min(1.0, (k + s) / count))) for s in inside])
        if moving:
            bend = min(bend, float(np.diff(losses, 2).min()))
        else:
            shift = max(shift, float(np.ptp(losses)))
    size = float(path.losses.max())
    return bend / size, shift / size


def dimensions(config: Config, words: list[int]) -> dict[str, Any]:
    """m times the change at one width over the dimension of the inputs, each seed with a teacher of its own."""
    found = np.empty((len(ACTIVATIONS), len(config.dims), config.dim_seeds))
    for i, j, s in np.ndindex(*found.shape):
        d, word = config.dims[j], words[s]
        X, y = data(20 * d, d, config.teacher, word)
        objective = mf.Objective(mf.TwoLayer(ACTIVATIONS[i], d=d), X, y)
        end = solution(objective, config.dim_width, config.dim_time, config, word)
        report: Any = mf.landscape.dropout(objective, end, draws=1, rng=word)
        found[i, j, s] = config.dim_width * report.expected
    return {"dims": np.array(config.dims), "by_dim": found}


def two_hidden_layers(config: Config, X: Array, y: Array, words: list[int]) -> dict[str, Any]:
    """Changes by halving both layers, or the last one, for two sizes of the hidden weights; barriers for the first."""
    count, widths = 2 * config.deep_pairs, config.deep_widths
    both, last = np.empty((2, len(widths), count)), np.empty((2, len(widths), count))
    barriers = np.empty((len(KINDS), len(widths), config.deep_pairs))
    losses = np.empty((2, len(widths), count))
    for i, j in np.ndindex(2, len(widths)):
        m = widths[j]
        net = mf.finite.deep.Dense(
            (config.d, m, m, 1), activation=mf.Tanh(), parametrization="mean_field", bias=True
        )
        problem = mf.finite.deep.Problem(net, X, y)
        solutions = [deep_solution(problem, i, config, word) for word in words[:count]]
        for s, (end, word) in enumerate(zip(solutions, words, strict=False)):
            report = mf.landscape.dropout(problem, end, draws=config.draws, rng=word)
            both[i, j, s], losses[i, j, s] = report.changes.mean(), report.loss
            last[i, j, s] = mf.landscape.dropout(problem, end, draws=1, layers=[1], rng=word).expected
        if i:
            continue
        a, b = solutions[: config.deep_pairs], solutions[config.deep_pairs :]
        paths = [
            mf.landscape.connect(problem, a, b, kind, points=config.points, draws=config.draws, rng=words[0])
            for kind in KINDS
        ]
        barriers[:, j] = [path.barriers.mean(axis=1) for path in paths]
        if m == widths[-1]:
            checks = np.array(pieces(paths[0], problem.value))
            shown = np.vstack([paths[0].t, paths[0].losses[0]])
    return {
        "deep_widths": np.array(widths), "deep_both": both, "deep_last": last, "deep_barriers": barriers,
        "deep_losses": losses, "deep_checks": checks, "deep_path": shown,
    }  # fmt: skip


# The picture ------------------------------------------------------------------------------------------------


def draw(arrays: dict[str, Any]) -> Any:
    """Two-layer networks above: paths, barriers, dropout over width, over what remains; below dimension and depth."""
    with mf.plotting.style():
        figure, panels = mf.plotting.figure(2, 4, size=(17.2, 7.4))
        _paths(panels[0, 0], arrays)
        _barriers(
            panels[0, 1], arrays["widths"], arrays["barriers"], "Barrier over width, one hidden layer (tanh)"
        )
        _changes(panels[0, 2], arrays)
        _remaining(panels[0, 3], arrays)
        _dimensions(panels[1, 0], arrays)
        _deep_changes(panels[1, 1], arrays)
        _deep_path(panels[1, 2], arrays)
        _barriers(
            panels[1, 3],
            arrays["deep_widths"],
            arrays["deep_barriers"],
            "Barrier, two hidden layers, mean field",
        )
    return figure


def _paths(ax: Any, arrays: dict[str, Any]) -> None:
    for kind, colour in zip(KINDS, mf.plotting.COLOURS, strict=False):
        t, *losses = arrays[f"path_{kind}"]
        if len(losses) > 1:
            ax.plot(t, np.transpose(losses), color=colour, lw=0.6, alpha=0.3)
        ax.plot(t, np.mean(losses, axis=0), color=colour, label=kind + (", mean" if len(losses) > 1 else ""))
    for at in (0.2, 0.4, 0.6, 0.8):
        ax.axvline(at, color="#999999", lw=0.6, ls=":")
    ax.set_xlabel("$t$ along the path (dotted: its corners)")
    ax.set_ylabel("loss $R$")
    ax.set_ylim(bottom=0)
    ax.set_title(f"One pair of solutions, $m = {int(arrays['shown_width'])}$")
    ax.legend()


def _power(ax: Any, x: Array, y: Array, colour: str, label: str, marker: str = "o") -> None:
    """Means with the 95 % interval of each, and the fitted power law."""
    means, half = y.mean(axis=1), half_width(y)
    low = np.minimum(half, 0.9 * means)  # the bar of an interval that reaches below zero ends on the axis
    if (means > 0).all():
        fit = fit_slope(x, y)
        label += rf": slope ${fit.slope:.2f} \pm {fit.half_width:.2f}$"
        ends = np.array([x[0], x[-1]], dtype=np.float64)
        ax.plot(ends, np.exp(fit.intercept) * ends**fit.slope, color=colour, lw=1.1)
    ax.errorbar(x, means, yerr=(low, half), fmt=marker, color=colour, ms=4, lw=1, capsize=2, label=label)
    ax.set_yscale("log")
    _sizes(ax, x)


def _sizes(ax: Any, sizes: Array) -> None:
    """A log axis whose ticks are the sizes, every second one of many."""
    ax.set_xscale("log")
    shown = sizes[:: 1 if len(sizes) < 6 else 2]
    ax.set_xticks(shown, [str(one) for one in shown])
    ax.minorticks_off()


def _barriers(ax: Any, widths: Array, barriers: Array, title: str) -> None:
    for kind, values, colour in zip(KINDS, barriers, mf.plotting.COLOURS, strict=False):
        if kind == "aligned":  # may be zero
            ax.plot(widths, values.mean(axis=1), "s", color=colour, ms=4, label="aligned (not shown: 0)")
        else:
            _power(ax, widths, values, colour, kind)
    ax.set_xlabel("width $m$")
    ax.set_ylabel("barrier of the loss")
    ax.set_title(title)
    ax.set_ylim(top=30 * barriers.mean(axis=2).max())
    ax.legend(loc="upper right")


def _changes(ax: Any, arrays: dict[str, Any]) -> None:
    for i, (name, colour) in enumerate(zip(("tanh", "ReLU"), mf.plotting.COLOURS, strict=False)):
        _power(ax, arrays["widths"], arrays["change"][i], colour, name)
        ax.plot(arrays["widths"], arrays["exact"][i].mean(axis=1), "x", color="#333333", ms=7, zorder=5,
                label="exact expectation" if i else None)  # fmt: skip
    ax.set_xlabel("width $m$")
    ax.set_ylabel("mean $|f' - f|^2$")
    ax.set_ylim(top=8 * arrays["change"].mean(axis=2).max())
    ax.set_title("Half of the neurons dropped")
    ax.legend(loc="upper right")


def _remaining(ax: Any, arrays: dict[str, Any]) -> None:
    (m, k), values = arrays["remaining"].T, arrays["by_remaining"].mean(axis=1)
    for i, width in enumerate(np.unique(m)):
        mine = m == width
        colour = mf.plotting.COLOURS[i % 6]
        ax.loglog(k[mine], values[mine], "o-", color=colour, ms=4, lw=0.9, label=f"$m = {width}$")
    constant = np.mean(arrays["exact"][0] * arrays["widths"][:, None])
    ends = np.array([k.min(), k.max()])
    ax.loglog(ends, constant / ends, "--", color="#333333", lw=1.1, label="$S^2/k$")
    _sizes(ax, np.unique(k))
    ax.set_xlabel("neurons that remain, $k$")
    ax.set_ylabel("mean $|f' - f|^2$")
    ax.set_title("What counts is how many remain")
    ax.legend()


def _dimensions(ax: Any, arrays: dict[str, Any]) -> None:
    for i, (name, colour) in enumerate(zip(("tanh", "ReLU"), mf.plotting.COLOURS, strict=False)):
        _power(ax, arrays["dims"], arrays["by_dim"][i], colour, name)
    low, high = arrays["by_dim"].mean(axis=2).min(), arrays["by_dim"].mean(axis=2).max()
    ax.set_ylim(low / 3, high * 6)
    ax.set_xlabel("dimension $d$ of the inputs")
    ax.set_ylabel("$m$ times mean $|f' - f|^2$")
    ax.set_title("It does not grow with the dimension")
    ax.legend(loc="upper right")


def _deep_changes(ax: Any, arrays: dict[str, Any]) -> None:
    for i, (name, colour) in enumerate(zip(STARTS, mf.plotting.COLOURS, strict=False)):
        _power(ax, arrays["deep_widths"], arrays["deep_both"][i], colour, name)
    _power(ax, arrays["deep_widths"], arrays["deep_last"][1], mf.plotting.COLOURS[2], "muP, last layer", "s")
    ax.set_xlabel("width $m$ of both hidden layers")
    ax.set_ylabel("mean $|f' - f|^2$")
    ax.set_ylim(top=10 * arrays["deep_both"].mean(axis=2).max())
    ax.set_title("Half of both hidden layers dropped")
    ax.legend(loc="upper right")


def _deep_path(ax: Any, arrays: dict[str, Any]) -> None:
    t, *losses = arrays["deep_path"]
    ax.plot(t, np.transpose(losses), color=mf.plotting.COLOURS[0], lw=0.6, alpha=0.3)
    ax.plot(t, np.mean(losses, axis=0), color=mf.plotting.COLOURS[0], label="mean over halves")
    for at in np.arange(1, 9) / 9:
        ax.axvline(at, color="#999999", lw=0.6, ls=":")
    ax.set_xlabel("$t$ along the path (dotted: its corners)")
    ax.set_ylabel("loss $R$")
    ax.set_title(f"Two hidden layers, mean field, $m = {int(arrays['deep_widths'][-1])}$")
    ax.legend()


# The claims -------------------------------------------------------------------------------------------------


def slope_ends(x: Array, y: Array) -> tuple[float, float]:
    """The ends of the 95 % confidence interval of the log-log slope, over seeds."""
    fit = fit_slope(x, y)
    return fit.slope - fit.half_width, fit.slope + fit.half_width


def farther(x: Array, y: Array, expected: float) -> float:
    """Of these ends the one that is farther from `expected`."""
    return max(slope_ends(x, y), key=lambda end: abs(end - expected))


def off(measured: Array, exact: Array) -> float:
    """Distance from 1 of the mean quotient, in half-widths of its 95 % interval over seeds, which are the last axis."""
    each = (measured / exact).mean(axis=(0, 1))
    return float(abs(each.mean() - 1.0) / half_width(each))


def lowest(barriers: Array) -> float:
    """By how much the aligned barrier is below both others: lower end over pairs, over the mean on the line.

    The least over widths; barriers are (kinds, widths, pairs).
    """
    gaps = np.minimum(barriers[0], barriers[1]) - barriers[2]
    return min(bounds(gap)[0] / float(line.mean()) for gap, line in zip(gaps, barriers[1], strict=True))


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """Dropout stability and connectivity over width, and where they end."""
    m, deep = arrays["widths"], arrays["deep_widths"]
    change, barriers = arrays["change"], arrays["barriers"]
    (total, k), thinned = arrays["remaining"].T, arrays["by_remaining"]
    per_neuron = thinned / (1.0 / k - 1.0 / total)[:, None]
    fixed = k == k.min()
    both, deep_barriers = arrays["deep_both"], arrays["deep_barriers"]
    return [
        Claim.within("One hidden layer, half of the neurons dropped: the mean square change of predictions falls like "
                     "1/m, tanh: the end of the interval of the log-log slope that is farther from -1",
                     farther(m, change[0], -1.0), -1.0, absolute=NARROW, source=VANISHES),
        Claim.below("ReLU, whose neurons are unbounded: faster than 1/root m at least, upper end of the interval",
                    slope_ends(m, change[1])[1], -0.5, source=VANISHES),
        Claim.below("It is the variance over draws (1/k - 1/m) S^2: quotient of measured and exact, distance from 1 "
                    "in half-widths of its 95 % interval (2 are reached by chance about twice in 1000)",
                    off(change, arrays["exact"]), 2.0, source=OWN),
        Claim.below("and the squared loss rises by half of it: the same", off(arrays["rise"], arrays["exact_rise"]),
                    2.0, source=OWN),
        Claim.within("It depends on how many neurons remain: slope of the change over k, but for the factor "
                     "1 - k/m, farther end", farther(k, per_neuron / k[:, None], -1.0), -1.0, absolute=NARROW,
                     source=PAPER),
        Claim.within("and not on how many there were: slope over m at the smallest k, farther end",
                     farther(total[fixed], per_neuron[fixed], 0.0), 0.0, absolute=NARROW, source=PAPER),
        Claim.below("nor does it grow with the dimension of the inputs: slope of m times the change over d, tanh, "
                    "upper end", slope_ends(arrays["dims"], arrays["by_dim"][0])[1], GROWTH, source=PAPER),
        Claim.below("ReLU", slope_ends(arrays["dims"], arrays["by_dim"][1])[1], GROWTH, source=PAPER),
        Claim.above("On pieces of the path that move the output layer alone the loss is convex: least second "
                    "difference over the largest loss, networks of one and two hidden layers",
                    min(arrays["checks"][0].min(), arrays["deep_checks"][0]), -1e-12, source=PATH),
        Claim.below("on the others it is constant: largest relative change",
                    max(np.abs(arrays["checks"][1]).max(), np.abs(arrays["deep_checks"][1])), 1e-11,
                    source=PATH),
        Claim.within("The barrier on the path through halves falls like 1/m: slope, farther end",
                     farther(m, barriers[0], -1.0), -1.0, absolute=WIDE, source=VANISHES),
        Claim.within("On the straight line it does not fall: slope, farther end", farther(m, barriers[1], 0.0), 0.0,
                     absolute=WIDE, source=OWN),
        Claim.above("so that at the largest width it is higher there: quotient of the two, lower end over pairs",
                    bounds(barriers[1, -1] / barriers[0, -1])[0], 1.0, source=OWN),
        Claim.above("With the neurons permuted the straight line has the lowest barrier of the three at every width: "
                    "gap to the next, lower end over pairs, over the mean without permutation, least over widths",
                    lowest(barriers), 0.0, source=OWN),
        Claim.within("Two hidden layers with weights of size 1/m, both halved: slope of the change, farther end",
                     farther(deep, both[0], -1.0), -1.0, absolute=WIDE, source=VANISHES),
        Claim.within("and of the barrier", farther(deep, deep_barriers[0], -1.0), -1.0, absolute=WIDE,
                     source=VANISHES),
        Claim.within("while that of the straight line stays", farther(deep, deep_barriers[1], 0.0), 0.0,
                     absolute=WIDE, source=OWN),
        Claim.above("With random hidden weights of size 1/root m the change falls more slowly, and not like 1/m: "
                    "slope of its quotient by the former, lower end", slope_ends(deep, both[1] / both[0])[0], 0.0,
                    source=OWN),
        Claim.above("and of the change itself", slope_ends(deep, both[1])[0], -1.0, source=OWN),
        Claim.within("Dropping neurons of their last hidden layer alone costs 1/m there, too: slope, farther end",
                     farther(deep, arrays["deep_last"][1], -1.0), -1.0, absolute=NARROW, source=OWN),
    ]  # fmt: skip

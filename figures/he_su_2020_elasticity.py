"""Local elasticity on a torus: of ReLU nets a step's effect fades with distance, of linear nets it does not.

Source: He, Su (2020), The local elasticity of neural networks, arXiv:1910.06943 (data as in the authors' code, r = 8,
k = 4); the curves of infinite width, the comparison of classes and all confidence bounds are this project's.

Quick preset: about 3 s. Paper preset: about 80 s (processor time on one core).

S_rel(x, x') = |f(x', w+) - f(x', w)| / |f(x, w+) - f(x, w)|, w+ after one step at x. Over the angle between pairs of
one class it falls for two-layer ReLU nets; for linear two-layer nets (the same without the activation) it is about
|cos|, which comes back at the antipode. Finite widths follow the tangent kernel of infinite width. That linear nets
come back is a matter of the absolute value: their S_ker is about the cosine and falls with the distance as that of ReLU
nets does.

Classes: on this torus the two curves are 2 apart and 8 from the axis, and S_rel of two-layer nets, trained until they
separate the classes or not, is the same within a class and between: what is claimed of classes does not show here. It
shows where classes are apart: of two opposite clusters N(+-3 e_1, I) a ReLU net hardly moves the other, and far less
after training on the logistic loss (on the squared loss the quotient rises by 1.2 only, which six seeds do not tell
from 1); a linear net moves both alike.

Smaller than published: width 200 (300 in the paper preset) instead of 40960, with f = 0 at the start and the scale 30
of lazy training (about the published one in this respect), gradient descent. The test steps are small (the published
code takes 1e-6, more where nothing moves).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import meanfield as mf
from meanfield._confidence import bounds
from meanfield.gallery import Claim, check_sizes
from solvers import integrate
from solvers.errors import InputError
from solvers.protocols import Array

PAPER = "He, Su 2020, arXiv:1910.06943"
OWN = "derived and measured for this project"
NETS = ("relu", "identity")
WORDS = ("ReLU net", "linear net")


@dataclass(frozen=True)
class Config:
    """Sizes of the nets and of their training, probes, and the steps whose effect is compared with the limit."""

    n: int = 100  # data
    width: int = 200
    scale: float = 30.0
    t_end: float = 40.0
    train_step: float = 0.02
    probes: int = 24  # angles, of each class
    cluster_n: int = 60
    cluster_time: float = 10.0
    step: float = 1e-7
    steps: tuple[float, ...] = (
        1e-6,
        3e-6,
        1e-5,
        3e-5,
        1e-4,
    )  # of the comparison with the limit, on three nets
    seeds: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        if self.seeds < 3:
            raise InputError(f"seeds must be at least 3, for confidence bounds, not {self.seeds}")
        if self.probes % 4:
            raise InputError(f"probes must be a multiple of 4 (quarters of the circle), not {self.probes}")
        if self.width % 2:
            raise InputError(f"width must be even (starts are doubled), not {self.width}")
        if min(self.scale, self.t_end, self.train_step, self.cluster_time, self.step, *self.steps) <= 0:
            raise InputError("scale, t_end, train_step, cluster_time, step and steps must be positive")

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(width=300, t_end=400.0, probes=60, cluster_n=200, seeds=20)


def trained(
    activation: str, X: Array, y: Array, config: Config, loss: str, scale: float, time: float, seed: int
) -> Any:
    """A run of gradient descent, and its network."""
    network = mf.TwoLayer(activation, d=3)
    start = mf.ParticleMeasure.gaussian(network, config.width, rng=seed, doubled=True)
    objective = mf.Objective(network, X, y, loss=loss, scale=scale)
    run: Any = integrate(
        mf.SGD(objective, step=config.train_step, time_unit="alpha"), start, time, save=[0.0, time]
    )
    return run, objective.network


def over_distance(table: Array, labels: Array, probes: int) -> Array:
    """Means over pairs of one class at each distance 0, 1, ..., probes/2 of the grid of angles."""
    place = np.arange(len(labels)) // 2
    apart = np.abs(place[:, None] - place)
    apart = np.minimum(apart, probes - apart)
    one = labels[:, None] == labels
    return np.array([table[one & (apart == k)].mean() for k in range(probes // 2 + 1)])


def correlation(table: Array, distance: Array, labels: Array) -> float:
    """Pearson's, over pairs of one class, a point's pair with itself left out."""
    mask = (labels[:, None] == labels) & ~np.eye(len(labels), dtype=bool)
    return float(np.corrcoef(distance[mask], table[mask])[0, 1])


def infinite(activation: str, X: Array) -> Array:
    """S_rel of the tangent kernel at the start, of infinite width."""
    kernel = mf.kernels.tangent(X, activation=activation, w_law="gaussian", bias=True)
    return np.abs(kernel) / np.diag(kernel)[:, None]


def opposite(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two clusters N(+-3 e_1, I) in three dimensions."""
    y = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    X = rng.standard_normal((n, 3))
    X[:, 0] += 3.0 * y
    return X, y


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """For each net and seed, at start and end: S_rel over the distance, correlations, medians of pairs by class."""
    words = [int(word) for word in rng.integers(2**31, size=config.seeds)]
    grid = np.linspace(-np.pi, np.pi, config.probes, endpoint=False)
    P, labels, theta = mf.data.torus(2 * config.probes, angles=np.repeat(grid, 2), return_angles=True)
    distance = mf.data.circle_distance(theta)
    shape = (len(NETS), 2, config.seeds)
    curves = np.empty((*shape, config.probes // 2 + 1))
    pearson, ker = np.empty(shape), np.empty(shape)
    splits, clusters = np.empty((*shape, 2)), np.empty((*shape, 2))
    losses, accuracy = np.empty((len(NETS), config.seeds)), np.empty((len(NETS), config.seeds))
    errors = np.zeros((len(NETS), len(config.steps)))
    scatter = np.empty((len(NETS), *distance.shape))
    for s, word in enumerate(words):
        draw = np.random.default_rng(word)
        X, y = mf.data.torus(config.n, rng=draw)
        X2, y2 = opposite(config.cluster_n, draw)
        Z, z = opposite(config.cluster_n, draw)
        for a, activation in enumerate(NETS):
            run, network = trained(activation, X, y, config, "squared", config.scale, config.t_end, word)
            losses[a, s] = run["objective"][-1] / run["objective"][0]
            accuracy[a, s] = np.mean(np.sign(run.predict(X)) == y)
            for e, measure in enumerate((run.initial, run.final)):
                report = mf.elasticity((network, measure), P, y=labels, step=config.step)
                curves[a, e, s] = over_distance(report.s_rel, labels, config.probes)
                pearson[a, e, s] = correlation(report.s_rel, distance, labels)
                ker[a, e, s] = correlation(report.s_ker, distance, labels)
                splits[a, e, s] = report.classes(labels)
            if s == 0:
                scatter[a] = report.s_rel
            if s < 3:
                errors[a] += np.array([_error(network, run.final, P, labels, h) for h in config.steps]) / 3
            run, network = trained(activation, X2, y2, config, "logistic", 1.0, config.cluster_time, word)
            for e, measure in enumerate((run.initial, run.final)):
                clusters[a, e, s] = mf.elasticity((network, measure), Z, y=z, step=config.step).classes(z)
    known = np.array([over_distance(infinite(name, P), labels, config.probes) for name in NETS])
    return {
        "P": P, "labels": labels, "distance": distance,
        "angles": 2 * np.pi / config.probes * np.arange(curves.shape[-1]),
        "curves": curves, "known": known, "pearson": pearson, "pearson_ker": ker, "splits": splits,
        "clusters": clusters, "losses": losses, "accuracy": accuracy, "scatter": scatter,
        "steps": np.array(config.steps), "errors": errors,
    }  # fmt: skip


def _error(network: Any, measure: Any, P: Array, labels: Array, step: float) -> float:
    """Of S_rel after a finite step against its limit: mean size over pairs, the few that cross a kink among them."""
    report = mf.elasticity((network, measure), P, y=labels, step=step)
    return float(np.mean(np.abs(report.s_rel - report.rel_limit)))


# The picture ------------------------------------------------------------------------------------------------


def draw(arrays: dict[str, Any]) -> Any:
    """Data, S_rel over the distance for both nets; correlations, classes, and finite steps against the limit."""
    with mf.plotting.style():
        figure, panels = mf.plotting.figure(2, 3, size=(13.6, 7.6))
        _data(panels[0, 0], arrays)
        for a in range(2):
            _fading(panels[0, 1 + a], arrays, a)
        _correlations(panels[1, 0], arrays)
        _classes(panels[1, 1], arrays)
        _steps(panels[1, 2], arrays)
    return figure


def _data(ax: Any, arrays: dict[str, Any]) -> None:
    fine = np.linspace(-np.pi, np.pi, 400)
    for sign, colour, label in ((1, mf.plotting.POSITIVE, "$y = 1$"), (-1, mf.plotting.NEGATIVE, "$y = -1$")):
        out = 8 + sign * np.sin(4 * fine)
        ax.plot(out * np.cos(fine), out * np.sin(fine), color=colour, lw=1.0)
        mine = arrays["labels"] == sign
        ax.plot(*arrays["P"][mine, :2].T, "o", color=colour, label=label)
    ax.set_aspect("equal")
    ax.set_xlabel("$x_1$")
    ax.set_ylabel("$x_2$")
    ax.set_title("Two curves on a torus, seen from above")
    ax.legend(loc="center")


def _fading(ax: Any, arrays: dict[str, Any], a: int) -> None:
    colour, x = mf.plotting.COLOURS[a], arrays["angles"]
    one = arrays["labels"][:, None] == arrays["labels"]
    ax.plot(
        arrays["distance"][one],
        arrays["scatter"][a][one],
        ".",
        color="#bbbbbb",
        ms=2.5,
        label="pairs of one class, one net",
    )
    curves = arrays["curves"][a, 1]
    ends = np.array([bounds(values) for values in curves.T])
    ax.fill_between(x, ends[:, 0], ends[:, 1], color=colour, alpha=0.25, lw=0)
    ax.plot(x, curves.mean(axis=0), "o-", color=colour, ms=3.5, label="trained, mean and 95 % band")
    ax.plot(x, arrays["curves"][a, 0].mean(axis=0), ":", color=colour, lw=2.2, label="at the start")
    ax.plot(x, arrays["known"][a], "--", color="#333333", lw=1.0, label="infinite width, at the start")
    ax.set_ylim(0, 1.55)
    ax.set_xticks(
        [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4, np.pi], ["0", r"$\pi/4$", r"$\pi/2$", r"$3\pi/4$", r"$\pi$"]
    )
    ax.set_xlabel("geodesic distance, angle")
    ax.set_ylabel(r"$S_{rel}(x, x')$")
    ax.set_title(WORDS[a])
    ax.legend(loc="upper center", ncols=2, fontsize=7.5)


def _strips(ax: Any, groups: list[tuple[str, Array, str]]) -> None:
    """Values of seeds side by side, with the confidence interval of their mean."""
    for k, (_, values, colour) in enumerate(groups):
        ax.plot(k + np.linspace(-0.22, 0.22, len(values)), values, ".", color=colour, ms=4, alpha=0.6)
        low, high = bounds(values)
        ax.plot([k - 0.3, k + 0.3], [values.mean()] * 2, color=colour, lw=1.8)
        ax.fill_between([k - 0.3, k + 0.3], low, high, color=colour, alpha=0.25, lw=0)
    ax.set_xticks(np.arange(len(groups)), [label for label, _, _ in groups], fontsize=7.5)


def _correlations(ax: Any, arrays: dict[str, Any]) -> None:
    groups = [
        (f"{WORDS[a]}\n{when}\n{name}", arrays[key][a, e], mf.plotting.COLOURS[a])
        for a in range(2)
        for name, key, e, when in (
            (r"$S_{rel}$", "pearson", 0, "start"), (r"$S_{rel}$", "pearson", 1, "trained"),
            (r"$S_{ker}$", "pearson_ker", 1, "trained"),
        )
    ]  # fmt: skip
    _strips(ax, groups)
    ax.axhline(0, color="#999999", lw=0.8)
    ax.set_ylim(-1.05, 0.2)
    ax.set_ylabel("correlation with the distance")
    ax.set_title("Pearson's correlation, pairs of one class")


def quotients(arrays: dict[str, Any], key: str) -> Array:
    """Median of S_rel within classes over that between them, (nets, start or end, seeds)."""
    return np.asarray(arrays[key][..., 0] / arrays[key][..., 1])


def _classes(ax: Any, arrays: dict[str, Any]) -> None:
    groups = [
        (f"{data}\n{WORDS[a].split()[0]}\n{when}", quotients(arrays, key)[a, e], mf.plotting.COLOURS[a])
        for key, data in (("splits", "torus"), ("clusters", "clusters"))
        for a in range(2)
        for e, when in enumerate(("start", "trained"))
    ]
    _strips(ax, groups)
    ax.axhline(1, color="#999999", lw=0.8)
    ax.set_yscale("log")
    ax.set_yticks([1, 3, 10, 30, 100, 300], ["1", "3", "10", "30", "100", "300"])
    ax.minorticks_off()
    ax.set_ylabel("median within / between classes")
    ax.set_title(r"$S_{rel}$ by class: torus, and two opposite clusters")


def _steps(ax: Any, arrays: dict[str, Any]) -> None:
    h, e = arrays["steps"], arrays["errors"]
    for a in range(2):
        ax.loglog(h, e[a], "os"[a] + "-", color=mf.plotting.COLOURS[a], label=f"trained {WORDS[a]}s")
    ax.loglog(h, e[1, 0] * h / h[0], "--", color="#777777", lw=1.0, label="slope 1")
    ax.set_xlabel(r"step $\eta$")
    ax.set_ylabel(r"$S_{rel}$ less its limit, mean size over pairs")
    ax.set_title("Finite steps against the tangent kernel")
    ax.legend(loc="upper left")


# The claims -------------------------------------------------------------------------------------------------


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """Decay for ReLU nets and not for linear ones; classes; the limit."""
    pearson = arrays["pearson"]
    middle, last = arrays["curves"].shape[-1] // 2, -1
    curve = arrays["curves"].mean(axis=2)
    finite = np.abs(curve[:, 0] - arrays["known"]).max(axis=1)
    relu, linear = (bounds(pearson[a, 1]) for a in range(2))
    torus, clusters = quotients(arrays, "splits"), quotients(arrays, "clusters")
    ends = np.array([bounds(torus[0, e]) for e in range(2)])
    return [
        Claim.below("S_rel of trained ReLU nets falls with geodesic distance: correlation, upper 95 % bound over seeds",
                    relu[1], -0.8, source=PAPER),
        Claim.below("at the antipode it is small: mean of S_rel", np.abs(curve[0, 1, last]), 0.2, source=PAPER),
        Claim.within("Linear nets do not: the bound of the correlation that is farther from 0",
                     linear[int(np.argmax(np.abs(linear)))], 0.0, absolute=0.1, source=PAPER),
        Claim.above("theirs comes back: mean S_rel at the antipode over that at a right angle",
                    curve[1, 1, last] / curve[1, 1, middle], 3.0, source=OWN),
        Claim.below("S_ker of trained ReLU nets falls too: correlation, upper bound",
                    bounds(arrays["pearson_ker"][0, 1])[1], -0.8, source=PAPER),
        Claim.below("but so does that of linear nets, about a cosine (S_ker does not tell them apart): the same",
                    bounds(arrays["pearson_ker"][1, 1])[1], -0.8, source=OWN),
        Claim.below("At the start S_rel is that of infinite width: ReLU, largest distance of the means over seeds",
                    finite[0], 0.05, source=OWN),
        Claim.below("and of linear nets", finite[1], 0.05, source=OWN),
        Claim.between("Trained ReLU nets tell the classes apart: accuracy on the data, least over seeds",
                      arrays["accuracy"][0].min(), 0.7, 1.0, source=OWN),
        Claim.between("yet S_rel is not larger within classes than between on this torus (not here): quotient "
                      "of medians, lower bound of all", ends.min(), 0.85, 1.15,
                      source=OWN),
        Claim.between("and upper", ends.max(), 0.85, 1.15, source=OWN),
        Claim.above("Of classes that are apart S_rel is larger within than between: trained ReLU nets on opposite "
                    "clusters, quotient, lower bound", bounds(clusters[0, 1])[0], 10.0,
                    source=PAPER),
        Claim.above("training on the logistic loss sharpens it: quotient over that at the start, lower bound",
                    bounds(clusters[0, 1] / clusters[0, 0])[0], 1.2, source=OWN),
        Claim.below("Linear nets have none of it: quotient, upper bound",
                    bounds(clusters[1, 1])[1], 2.0, source=PAPER),
        Claim.within("Small steps have the limit of the tangent kernel, linear nets: log10 slope of error over step",
                     np.polyfit(np.log10(arrays["steps"]), np.log10(arrays["errors"][1]), 1)[0], 1.0, absolute=0.05,
                     source=OWN),
        Claim.below("and of ReLU nets, whose kinks come in with larger steps: error at the smallest step",
                    np.abs(arrays["errors"][0, 0]), 1e-4, source=OWN),
    ]  # fmt: skip

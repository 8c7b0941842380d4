"""Local elasticity over training: the semi-analytic ridge model, and a classifier by its KL form.

Source: Dan, Das, Gampa, Mukherjee (2021), Dynamics of local elasticity during training of neural nets, arXiv:2111.01166
(setup as in the authors' code); formulas corrected and medians measured for this project.

Quick preset: about 3 s. Paper preset: about 35 s (processor time on one core).

Ridge: features relu(U x), U p x 100 normal, a linear head of two outputs, x ~ N(9 1, I) ("far") or N(1, 4 I) ("near"),
1000 each, gamma = 1000, W_0 normal, t <= 8000 in the published unit (1e-6 of the flow's). S_rel of a step at a far x is
about 1 within the class at all times; at near x', p = 10, its median over 60 draws of U is .140, .159 and .157 at
t = 0, 1000 and 8000. The numbers to reproduce, .158, .206 and .172, are one draw, within one standard deviation of
these.

The phases over time are mild: W_0 h is far above the labels, which enter S_rel only when e^{-gamma t} has taken it
down, after t = 4000; before, S_rel moves while directions with larger rates fade. The published formula has h h'/N in
the numerator and h h' in the denominator; with it S_rel starts near 0 and rises more than tenfold: in this model the
elastic phase followed by an inelastic one is that factor's. And S_rel is not symmetric: of a step at a near x the
effect on far x' is larger than on near ones, since their features are.

Classifier: three normal clusters, a two-layer ReLU net of three outputs under the cross entropy. S_KL, the quotient of
divergences of softmax outputs, tells the classes apart more sharply than S_rel, of which it is about the square. The
published code hands probabilities to a routine that expects logarithms: what it divides is -(H(p) + |p|^2)/k to leading
order, which vanishes neither with the step nor from p to p itself, and is about the same for all classes.

Not for images: the published networks and data (SVHN, CIFAR) are out of reach of this figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import meanfield as mf
from meanfield._confidence import bounds
from meanfield.diagnostics import RidgeFlow
from meanfield.gallery import Claim, check_sizes
from solvers import integrate
from solvers.errors import InputError
from solvers.protocols import Array

PAPER = "Dan, Das, Gampa, Mukherjee 2021, arXiv:2111.01166"
OWN = "derived and measured for this project"
UNIT = 1e-6  # of the flow's time in the published one
SHOWN = (0.0, 1000.0, 8000.0)
# One draw of the features: medians between the classes and within, p = 10, at SHOWN.
REFERENCE = np.array([[0.158, 0.206, 0.172], [1.01, 0.98, 1.01]])
PAIRS = ("far to near", "far to far", "near to far", "near to near")


@dataclass(frozen=True)
class Config:
    """Sizes of the ridge model, of its sampling, and of the classifier."""

    features: tuple[int, ...] = (10, 100)  # p
    dim: int = 100
    each: int = 1000  # data of a class
    gamma: float = 1000.0
    t_end: float = 8000.0
    times: int = 24
    draws: int = 12  # of U and the data
    starts: int = 4  # W_0, for each
    points: int = 20  # of a class in pairs
    width: int = 200
    n: int = 36  # data of the classifier, three classes
    distance: float = 2.5  # of its clusters from the origin
    horizon: float = 100.0
    train_step: float = 0.1
    checks: int = 6
    step: float = 1e-3  # of elasticity
    steps: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2)  # of the denominators
    seeds: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        if self.features[0] != 10 or len(self.features) != 2:
            raise InputError(f"features must be 10 and another p, not {self.features}")
        if (
            self.t_end < SHOWN[-1]
            or min(self.gamma, self.distance, self.horizon, self.train_step, self.step) <= 0
        ):
            raise InputError(
                "t_end must be at least 8000; gamma, distance, horizon, train_step and step positive"
            )
        if self.n % 3 or min(self.draws, self.seeds) < 3:
            raise InputError("n must be a multiple of 3, draws and seeds at least 3")
        if 2 * self.points > self.each or min(self.steps) <= 0:
            raise InputError("points must be at most half of each; steps positive")

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(times=48, draws=60, starts=10, n=60, seeds=12, checks=11)


# The semi-analytic model ------------------------------------------------------------------------------------


def published(flow: RidgeFlow, t: Array, h: Array, y: Array, h_prime: Array) -> Array:
    """S_rel with h h'/N in the numerator alone, (T, n, m): what the code computes."""
    n = len(flow.features)
    W = flow.weights(t)
    cross = h @ h_prime.T
    pull = np.swapaxes(W @ h.T, -1, -2)[:, :, None] / n - y[:, None]
    change = pull * cross[:, :, None] + flow.gamma * np.swapaxes(W @ h_prime.T, -1, -2)[:, None]
    own = np.linalg.norm(flow.changes(t, h, y), axis=-1)
    return np.asarray(np.linalg.norm(change, axis=-1) / np.where(own > 0, own, np.nan)[..., None])


def ridge(config: Config, p: int, times: Array, rng: np.random.Generator) -> tuple[Array, Array, float]:
    """Medians over pairs and starts: of the four kinds (4, T), of the first two by the published formula; a check."""
    U = rng.standard_normal((p, config.dim))
    shape = (config.each, config.dim)
    near, far = (
        np.maximum(x @ U.T, 0) for x in (1 + 2 * rng.standard_normal(shape), 9 + rng.standard_normal(shape))
    )
    data, labels = np.vstack([near, far]), np.repeat(np.eye(2), config.each, axis=0)
    k = config.points
    pairs = ((far, near, 1), (far, far, 1), (near, far, 0), (near, near, 0))
    right: list[list[Array]] = [[] for _ in pairs]
    wrong: list[list[Array]] = [[] for _ in pairs[:2]]
    check = 0.0
    for start in range(config.starts):
        flow = RidgeFlow(data, labels, config.gamma, rng.standard_normal((2, p)))
        for j, (here, there, label) in enumerate(pairs):
            y = np.eye(2)[np.full(k, label)]
            table = flow.elasticity(UNIT * times, here[:k], y, there[k : 2 * k])
            right[j].append(table.reshape(len(times), -1))
            if j < 2:
                wrong[j].append(
                    published(flow, UNIT * times, here[:k], y, there[k : 2 * k]).reshape(len(times), -1)
                )
            if j == 0 and start == 0:
                at = int(np.argmin(np.abs(times - 1000.0)))
                report = mf.elasticity(
                    flow.at(UNIT * times[at]), far[:2], near[k : k + 3], y[:2], step=1e-6, decay=config.gamma
                )
                check = float(np.abs(report.s_rel / table[at][:2, :3] - 1).max())
    medians = [
        np.array([np.nanmedian(np.hstack(part), axis=1) for part in parts]) for parts in (right, wrong)
    ]
    return medians[0], medians[1], check


# The classifier ---------------------------------------------------------------------------------------------


def clusters(n: int, distance: float, rng: np.random.Generator) -> tuple[Array, Any]:
    """Three classes N(c_k, I) in the plane, centres at 120 degrees."""
    y = np.arange(n) % 3
    angle = 2 * np.pi * y / 3
    return distance * np.column_stack([np.cos(angle), np.sin(angle)]) + rng.standard_normal((n, 2)), y


def softmax(f: Array) -> Array:
    mass = np.exp(f - f.max(axis=-1, keepdims=True))
    return np.asarray(mass / mass.sum(axis=-1, keepdims=True))


def routine(after: Array, before: Array) -> Array:
    """Mean over classes of ``p (log p - p+)``: the published numerator, p before the step and p+ after it."""
    p = softmax(before)
    return np.asarray(np.mean(p * (np.log(p) - softmax(after)), axis=-1))


def after_step(objective: mf.Objective, measure: Any, i: int, step: float, P: Array) -> Array:
    """f(P) after one step of SGD at datum i of the objective."""
    flow = mf.SGD(objective.on(objective.X[i : i + 1], objective.y[i : i + 1]), step=step)
    z = flow.pack(measure).copy()
    flow.prepare(measure).step(z, step, 0)
    return np.asarray(objective.network.predict(flow.unpack(z, measure), P))


def classifier(config: Config, saves: Array, seed: int) -> dict[str, Array]:
    """Medians (measures, checks, intra or inter) of S_KL, S_rel and the published quotient; denominators over steps."""
    draw = np.random.default_rng(seed)
    X, y = clusters(config.n, config.distance, draw)
    P, classes = clusters(config.n, config.distance, draw)
    network = mf.TwoLayer("relu", d=2, outputs=3)
    start = mf.ParticleMeasure.gaussian(network, config.width, rng=seed, doubled=True)
    objective = mf.Objective(network, X, y, loss="cross_entropy")
    probe = mf.Objective(network, P, classes, loss="cross_entropy")
    flow = mf.SGD(objective, step=config.train_step)
    run: Any = integrate(flow, start, float(saves[-1]), save=saves, keep="all")
    medians = np.empty((3, len(saves), 2))
    equal = classes[:, None] == classes
    other = ~np.eye(config.n, dtype=bool)
    for c, state in enumerate(run.states):
        report = mf.elasticity((network, state), P, y=classes, loss="cross_entropy", step=config.step)
        medians[0, c] = report.classes(classes, which="s_kl")
        medians[1, c] = report.classes(classes)
        before = network.predict(state, P)
        table = np.stack([
            routine(after_step(probe, state, i, config.step, P), before) for i in range(config.n)
        ])  # fmt: skip
        table = table / np.diag(table)[:, None]
        medians[2, c] = [np.median(table[mask & other]) for mask in (equal, ~equal)]
    middle = run.states[len(saves) // 2]
    before, few = network.predict(middle, P), min(12, config.n)
    bits = np.empty((2, len(config.steps)))
    for s, step in enumerate(config.steps):
        report = mf.elasticity(
            (network, middle), P[:few], P[:1], classes[:few], loss="cross_entropy", step=step
        )
        bits[0, s] = np.median(report.kl_denominator)
        wrong = [routine(after_step(probe, middle, i, step, P), before)[i] for i in range(few)]
        bits[1, s] = -np.median(wrong)
    p = softmax(before)
    size = np.median(np.mean(p * (p - np.log(p)), axis=1)[:few])
    same = mf.diagnostics.softmax_divergence(before, np.zeros_like(before))
    return {"medians": medians, "bits": bits, "size": np.array(size), "loss": run["objective"],
            "self": np.array(np.abs(same).max())}  # fmt: skip


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Medians of both ridge models over draws, and the classifier over seeds."""
    words = rng.integers(2**31, size=config.seeds)
    times = np.unique(np.r_[SHOWN, np.geomspace(10.0, config.t_end, config.times)])
    found = [[ridge(config, p, times, rng) for _ in range(config.draws)] for p in config.features]
    saves = np.r_[0.0, np.geomspace(0.01, 1.0, config.checks - 1)] * config.horizon
    saves = np.round(saves / config.train_step) * config.train_step
    nets = [classifier(config, saves, int(word)) for word in words]
    return {
        "p": np.array(config.features), "times": times,
        "right": np.array([[one[0] for one in part] for part in found]),  # (p, draws, kinds, T)
        "wrong": np.array([[one[1] for one in part] for part in found]),
        "check": np.array([[one[2] for one in part] for part in found]),
        "saves": saves, "steps": np.array(config.steps),
        **{name: np.array([net[name] for net in nets]) for name in nets[0]},
    }  # fmt: skip


# The picture ------------------------------------------------------------------------------------------------


def draw(arrays: dict[str, Any]) -> Any:
    """Ridge: between and within classes, the published formula; classifier: S_KL, sharpness, denominators."""
    with mf.plotting.style():
        figure, panels = mf.plotting.figure(2, 3, size=(13.6, 7.6))
        _ridge(panels[0, 0], arrays, "right", (0, 2), "Ridge model, between the classes")
        _ridge(panels[0, 1], arrays, "right", (1, 3), "Ridge model, within a class")
        _ridge(panels[0, 2], arrays, "wrong", (0, 1), "The published formula")
        _classifier(panels[1, 0], arrays)
        _sharpness(panels[1, 1], arrays)
        _denominators(panels[1, 2], arrays)
    return figure


def _ridge(ax: Any, arrays: dict[str, Any], key: str, kinds: tuple[int, int], title: str) -> None:
    t = np.maximum(arrays["times"], 5.0)  # t = 0 at the left edge
    for i, p in enumerate(arrays["p"]):
        for style, j in zip(("-", "--"), kinds, strict=True):
            values, colour = arrays[key][i, :, j], mf.plotting.COLOURS[i]
            low, middle, high = np.quantile(values, (0.1, 0.5, 0.9), axis=0)
            ax.fill_between(t, low, high, color=colour, alpha=0.15, lw=0)
            ax.plot(t, middle, style, color=colour, lw=1.4, label=f"$p = {p}$, {PAIRS[j]}")
    if key == "right" and kinds[0] < 2:
        ax.plot(
            np.maximum(SHOWN, 5.0),
            REFERENCE[kinds[0]],
            "x",
            color="#333333",
            ms=7,
            label="one draw, $p = 10$",
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks([5, 10, 100, 1000, 8000], ["0", "10", "100", "1000", "8000"])
    ax.minorticks_off()
    ax.set_ylim(*((5e-4, 1e3) if key == "wrong" else (0.05, 30)))
    ax.set_xlabel("time $t$, published unit")
    ax.set_ylabel(r"$S_{rel}$, median over pairs")
    ax.set_title(title)
    ax.legend(loc="upper left", ncols=2, fontsize=7.5)


def _band(ax: Any, x: Array, values: Array, colour: str, style: str, label: str) -> None:
    """Mean over seeds and its 95 % confidence band."""
    ends = np.array([bounds(column) for column in values.T])
    ax.fill_between(x, ends[:, 0], ends[:, 1], color=colour, alpha=0.2, lw=0)
    face = "white" if "--" in style else colour
    ax.plot(x, values.mean(axis=0), style, color=colour, mfc=face, ms=3.5, label=label)


def _time(ax: Any, arrays: dict[str, Any]) -> Array:
    x = np.maximum(arrays["saves"], 0.5 * arrays["saves"][1])  # t = 0 at the left edge
    ax.set_xscale("log")
    ax.set_xlabel("time of training (the leftmost is 0)")
    return np.asarray(x)


def _classifier(ax: Any, arrays: dict[str, Any]) -> None:
    x = _time(ax, arrays)
    for k, name in enumerate((r"$S_{KL}$", r"$S_{rel}$")):
        for e, (style, kind) in enumerate((("o-", "within a class"), ("o--", "between"))):
            _band(ax, x, arrays["medians"][:, k, :, e], mf.plotting.COLOURS[k], style, f"{name} {kind}")
    loss = arrays["loss"].mean(axis=0)
    ax.plot(x, loss / loss[0], ":", color="#777777", lw=1.5, label="cross entropy, over its start")
    ax.set_ylim(0, 1.75)
    ax.set_ylabel("median over pairs")
    ax.set_title("Three classes under the cross entropy")
    ax.legend(loc="upper left", ncols=2, fontsize=7.5)


def sharpness(arrays: dict[str, Any]) -> Array:
    """Median within over median between classes, (seeds, measures, checks)."""
    return np.asarray(arrays["medians"][..., 0] / arrays["medians"][..., 1])


def _sharpness(ax: Any, arrays: dict[str, Any]) -> None:
    x, values = _time(ax, arrays), sharpness(arrays)
    for k, label in enumerate((r"$S_{KL}$", r"$S_{rel}$", "published KL")):
        _band(ax, x, np.log10(values[:, k]), mf.plotting.COLOURS[k], "o-", label)
    _band(ax, x, 2 * np.log10(values[:, 1]), "#777777", ":", r"$S_{rel}$, squared")
    ticks = np.array([0.5, 1, 3, 10, 30, 100, 300, 1000])
    ax.set_ylim(np.log10(0.5), 4.2)  # room for the key
    ax.set_yticks(np.log10(ticks), [f"{tick:g}" for tick in ticks])
    ax.set_ylabel("within / between classes")
    ax.set_title("How sharply classes are told apart")
    ax.legend(loc="upper left", ncols=2, fontsize=7.5)


def _denominators(ax: Any, arrays: dict[str, Any]) -> None:
    h = arrays["steps"]
    right, wrong = arrays["bits"].mean(axis=0)
    ax.loglog(h, right, "o-", color=mf.plotting.COLOURS[0], label=r"$KL(p^+ | p)$ at $x$")
    ax.loglog(h, wrong, "s-", color=mf.plotting.COLOURS[2], label="published, less its sign")
    ax.loglog(h, right[0] * (h / h[0]) ** 2, "--", color="#777777", lw=1.0, label="slope 2")
    ax.axhline(
        arrays["size"].mean(), color=mf.plotting.COLOURS[2], lw=0.9, ls=":", label="$(H(p) + |p|^2)/k$"
    )
    ax.set_xlabel(r"step $\eta$")
    ax.set_ylabel("median of the denominator")
    ax.set_title("What is divided by")
    ax.legend(loc="center left", bbox_to_anchor=(0.02, 0.68), fontsize=7.5)


# The claims -------------------------------------------------------------------------------------------------


def deviations(arrays: dict[str, Any]) -> Array:
    """Reference less the median over draws, in standard deviations of a draw, (inter or intra, shown times)."""
    at = np.searchsorted(arrays["times"], SHOWN)
    values = arrays["right"][0, :, :2][:, :, at]
    return np.asarray((REFERENCE - np.median(values, axis=0)) / values.std(axis=0, ddof=1))


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """The reference medians, phases by both formulas, asymmetry; the KL form against S_rel and the published one."""
    middle = np.median(arrays["right"], axis=1)  # (p, kinds, T)
    wrong = np.median(arrays["wrong"], axis=1)
    at = np.searchsorted(arrays["times"], SHOWN)
    far = deviations(arrays)
    draws = arrays["right"][0, :, 0][:, at]
    share = np.where(np.isnan(draws), np.nan, draws < REFERENCE[0]).mean(axis=0)
    worst = middle[:, 1].flat[np.argmax(np.abs(middle[:, 1] - 1))]
    sharp = sharpness(arrays)
    logs = np.log(sharp)
    late = sharp.shape[2] // 2
    slopes = [np.polyfit(np.log(arrays["steps"]), np.log(row), 1)[0] for row in arrays["bits"].mean(axis=0)]
    return [
        *(
            Claim.between(f"Ridge, p = 10, between the classes at t = {t:g}: share of draws below the reference "
                          f"{REFERENCE[0, k]:g}", share[k], 0.05, 0.95, source=OWN)
            for k, t in enumerate(SHOWN)
        ),
        Claim.within("within the class the median is 1.01, .98, 1.01: the largest difference of the three",
                     np.abs(middle[0, 1, at] - REFERENCE[1]).max(), 0.0, absolute=0.06, source=OWN),
        Claim.below("The reference is one draw among ours: its distance from their median in standard deviations of a "
                    "draw, largest of six", np.abs(far).max(), 2.5, source=OWN),
        Claim.within("Within the far class S_rel is about 1 at all times, both p: farthest", worst, 1.0, absolute=0.1,
                     source=OWN),
        Claim.above("Within the class it is above that between, at all times, for steps at far x: least quotient",
                    (middle[:, 1] / middle[:, 0]).min(), 3.0, source=PAPER),
        Claim.above("but not for steps at near x, p = 100: between over within, least (S_rel is not symmetric)",
                    (middle[1, 2] / middle[1, 3]).min(), 2.0, source=OWN),
        Claim.below("Phases are mild: largest over smallest S_rel in time, p = 10, between", middle[0, 0].max()
                    / middle[0, 0].min(), 2.0, source=OWN),
        Claim.below("and p = 100", middle[1, 0].max() / middle[1, 0].min(), 2.0, source=OWN),
        Claim.above("The published formula rises between the classes: last over first, p = 10",
                    wrong[0, 0, -1] / wrong[0, 0, 0], 10.0, source=OWN),
        Claim.above("and p = 100", wrong[1, 0, -1] / wrong[1, 0, 0], 10.0, source=OWN),
        Claim.below("Closed form against finite steps of the model: largest relative difference", arrays["check"].max(),
                    1e-6, source=OWN),
        Claim.above("Classifier: S_KL is larger within classes than between, at all times: least quotient, lower 95 % "
                    "bound over seeds", np.exp(min(bounds(column)[0] for column in logs[:, 0].T)), 1.5, source=PAPER),
        Claim.above("it tells classes apart more sharply than S_rel: quotient of the two over all times, lower bound",
                    np.exp(bounds((logs[:, 0] - logs[:, 1]).mean(axis=1))[0]), 1.2, source=PAPER),
        Claim.between("by about a square: exponent of S_KL's quotient in that of S_rel",
                      logs[:, 0].mean() / logs[:, 1].mean(), 1.5, 2.5, source=OWN),
        Claim.within("The published quotient hardly tells classes apart in the second half of training: within over "
                     "between, mean", np.exp(logs[:, 2, late:].mean()), 1.0, absolute=0.25, source=OWN),
        Claim.within("KL(p | p) is 0", arrays["self"].max(), 0.0, absolute=0.0, source=OWN),
        Claim.within("KL at x falls with the square of the step: slope", slopes[0], 2.0, absolute=0.05, source=OWN),
        Claim.within("the published denominator does not: slope", slopes[1], 0.0, absolute=0.05, source=OWN),
        Claim.within("but is (H(p) + |p|^2)/k: over it, at the smallest step",
                     arrays["bits"].mean(axis=0)[1, 0] / arrays["size"].mean(), 1.0, absolute=0.02, source=OWN),
    ]  # fmt: skip

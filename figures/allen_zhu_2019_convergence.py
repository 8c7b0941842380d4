"""Deep ReLU nets, fully connected, convolutional, residual, learn their data: loss to zero, accuracy to 100 %.

Source: Allen-Zhu, Li, Song (2019), A convergence theory for deep learning via over-parameterization, arXiv:1811.03962;
its theorems are shown as they are remembered, no figure of the paper is copied (none is remembered either).

Quick preset: about 5 s. Paper preset: about 200 s (processor time on one core).

Nets have the theorem's parametrization: N(0, 2/m) weights, first and last layer fixed, inputs of length 1 with a
constant last coordinate, all data in every step. Steps are c/m (m channels of convolutional nets), with one c for all
widths and starts of a kind of net on given points: a share of m/lambda_max of the tangent kernel of one wide net, over
the curvature of the loss. That is the theorem's Theta(1/m) without its powers of n and L, by which it is far smaller.
What the theorem says in shape is claimed: all labels are learnt by all three nets, random labels of random points and
those of real images; the loss falls at every step, linearly where it is the squared one, at a rate per step that has no
factor 1/m left. (At these widths it still grows a little with m, log-log slope 0.1 to 0.25 in the paper preset: kernels
of narrower nets shrink while they learn.)

This project adds what the rate is: that of the least eigenvalue of the tangent kernel, 2 eta lambda_min, up to what the
kernel moves. The theorem's lower bound has eta m delta/n^2 there, times a constant that it does not say. Digits are so
alike that lambda_max/lambda_min is in the hundreds: their labels are learnt early, while the linear tail of the squared
loss lies beyond the steps of the paper preset, in which the loss falls faster than lambda_min says. With the logistic
loss and cross-entropy all labels are learnt too, but the loss does not fall linearly: it goes as a power of the steps.

Fits are over the second half of the steps; R^2 hardly tells a line from a power of the steps there, so that rates of
its two halves are compared too. Widths are compared on one set of points, with starts of their own; other tasks have
data of their own for each seed. Bounds are 95 % ones of the mean over starts or seeds (Student's t); slopes over widths
are fitted for each start first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import meanfield as mf
from meanfield.gallery import Claim, check_sizes
from solvers import integrate
from solvers.errors import InputError
from solvers.protocols import Array

PAPER = "Allen-Zhu, Li, Song 2019, arXiv:1811.03962, as remembered"
OWN = "derived and measured for this project"
NETS = ("fully connected", "convolutional", "residual")
TASKS = ("points, logistic", "digits 3 and 8, squared", "digits 0, 1, 2, cross-entropy")
# Lipschitz constants of the gradients of the losses, summed over data.
CURVATURES = {"squared": 1.0, "logistic": 0.25, "cross_entropy": 0.5}


@dataclass(frozen=True)
class Config:
    """Data, widths that are compared, the width of other tasks, and the steps."""

    n: int = 6  # points
    d: int = 8
    delta: float = 0.5
    n_digits: int = 6
    widths: tuple[int, ...] = (40, 80, 160)
    channels: tuple[int, ...] = (10, 20, 40)  # of the convolutional nets in their place
    starts: int = 5  # of each width
    width: int = 96
    width_channels: int = 24
    image_channels: int = 8
    hidden: int = 3  # layers, of which all but the first move
    step: float = 0.5  # over 1/lambda_max
    iterations: int = 100
    seeds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        for name in ("starts", "seeds"):
            if getattr(self, name) < 3:
                raise InputError(
                    f"{name} must be at least 3, for confidence bounds, not {getattr(self, name)}"
                )
        if not 0.0 < self.step <= 1.0:
            raise InputError(f"step must lie in (0, 1], in units of 1/lambda_max, not {self.step:g}")
        if len(self.widths) != len(self.channels) or len(self.widths) < 3:
            raise InputError("widths and channels must be as many, and three at least")
        if self.hidden < 2:
            raise InputError(f"hidden must be at least 2 (the first layer is fixed), not {self.hidden}")
        if self.iterations < 20:
            raise InputError(f"iterations must be at least 20, for the fits, not {self.iterations}")

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            n=10, d=10, n_digits=20, widths=(64, 128, 256, 512, 1024), channels=(16, 32, 64, 128, 256), starts=10,
            width=256, width_channels=64, image_channels=32, iterations=240, seeds=10,
        )  # fmt: skip


@dataclass(frozen=True)
class Data:
    """Inputs as rows and as a convolutional net takes them, labels, the loss and the number of outputs."""

    X: Array
    images: Array
    shape: tuple[int, ...]
    y: Array
    loss: Any
    outputs: int = 1


def points(config: Config, word: int, loss: Any) -> Data:
    """Random points with random signs."""
    X, y = mf.data.separated(config.n, config.d, config.delta, rng=word)
    return Data(X, X, (config.d, 1), y, loss(reduction="sum"))


def digits(config: Config, word: int, classes: tuple[int, ...], loss: Any, outputs: int) -> Data:
    """Digits of some classes, as rows and as images."""
    rows, images = (
        mf.data.real("digits", classes=classes, n=config.n_digits, normalize="unit", rng=word, images=shaped)
        for shaped in (False, True)
    )
    assert images.shape is not None
    return Data(rows.X, images.X, images.shape, rows.y, loss(reduction="sum"), outputs)


def network(kind: int, data: Data, width: int, channels: int, hidden: int) -> tuple[Any, Array]:
    """A net of the theorem, and the inputs in its form."""
    deep = mf.finite.deep
    if kind == 1:
        net: Any = deep.ConvNet(
            shape=data.shape, channels=(channels,) * hidden, outputs=data.outputs, parametrization="allen_zhu"
        )
        return net, data.images
    made = deep.Dense if kind == 0 else deep.ResNet
    return made((data.X.shape[1], *(width,) * hidden, data.outputs), parametrization="allen_zhu"), data.X


class Watched(mf.finite.deep.SGD):
    """Gradient descent that records the accuracy with the loss, of the same predictions."""

    def default_record(self, t: float, z: Array) -> dict[str, float]:
        problem = self.problem
        f = problem.net.values(z, problem.X)
        right = f.argmax(axis=1) == problem.y if problem.classes else f[:, 0] * problem.y > 0.0
        return {"objective": problem.loss.value(problem.shaped(f), problem.y), "accuracy": right.mean()}


def scale(net: Any, X: Array, data: Data, config: Config, word: int) -> float:
    """c of steps c/m: the share of m/lambda_max of a net at its start, over the curvature of the loss."""
    largest = float(np.linalg.eigvalsh(net.tangent_kernel(net.init(rng=word), X))[-1])
    return float(config.step * net.layers[0].out / (CURVATURES[data.loss.kind] * largest))


def trained(net: Any, X: Array, data: Data, c: float, iterations: int, word: int) -> dict[str, Any]:
    """Gradient descent: loss and accuracy after every step, the step, least eigenvalues of the kernel at both ends."""
    start, step = net.init(rng=word), c / net.layers[0].out
    problem = mf.finite.deep.Problem(net, X, data.y, data.loss)
    run: Any = integrate(Watched(problem, step=step), start, iterations * step, save=iterations + 1)
    least = [np.linalg.eigvalsh(net.tangent_kernel(state, X))[0] for state in (run.initial, run.final)]
    return {"loss": run["objective"], "accuracy": run["accuracy"], "step": step, "least": np.array(least)}


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Losses, accuracies, steps and least eigenvalues: of nets and widths on points, and of tasks and nets."""
    found: dict[str, list[Any]] = {}

    def keep(part: str, result: dict[str, Any]) -> None:
        for name, value in result.items():
            found.setdefault(f"{part}_{name}", []).append(value)

    first, *words = [int(word) for word in rng.integers(2**31, size=1 + max(config.starts, config.seeds))]
    data, last = points(config, first, mf.SquaredLoss), (config.widths[-1], config.channels[-1])
    shares = [
        scale(*network(kind, data, *last, config.hidden), data, config, first) for kind in range(len(NETS))
    ]
    for word in words[: config.starts]:
        for kind, c in enumerate(shares):
            for m, channels in zip(config.widths, config.channels, strict=True):
                net, X = network(kind, data, m, channels, config.hidden)
                keep("width", trained(net, X, data, c, config.iterations, word))
    for word in words[: config.seeds]:
        tasks = (
            points(config, word, mf.LogisticLoss), digits(config, word, (3, 8), mf.SquaredLoss, 1),
            digits(config, word, (0, 1, 2), mf.CrossEntropy, 3),
        )  # fmt: skip
        for kind in range(len(NETS)):
            for task in tasks:
                channels = config.width_channels if task is tasks[0] else config.image_channels
                net, X = network(kind, task, config.width, channels, config.hidden)
                keep(
                    "task", trained(net, X, task, scale(net, X, task, config, word), config.iterations, word)
                )
    arrays: dict[str, Any] = {}
    for name, values in found.items():
        table, runs = np.array(values), config.starts if name.startswith("width") else config.seeds
        arrays[name] = table.reshape(runs, len(NETS), -1, *table.shape[1:])  # runs, nets, widths or tasks
    units = np.array([config.channels if kind == 1 else config.widths for kind in range(len(NETS))])
    return arrays | {
        "widths": np.array(config.widths), "units": units, "n": np.array(config.n),
        "apart": np.array(mf.data.separation(data.X)),
    }  # fmt: skip


# What is made of them ---------------------------------------------------------------------------------------


def late(losses: Array) -> tuple[Array, Array]:
    """Rate and R^2 of log-linear fits to the second half of the steps (last axis)."""
    k = losses.shape[-1] // 2
    t, z = np.arange(losses.shape[-1])[k:], np.log(losses[..., k:])
    t = t - t.mean()
    z = z - z.mean(axis=-1, keepdims=True)
    slope = (z * t).sum(axis=-1) / (t**2).sum()
    rest = ((z - slope[..., None] * t) ** 2).sum(axis=-1)
    return -slope, 1.0 - rest / (z**2).sum(axis=-1)


def power(losses: Array) -> Array:
    """Slope of log loss over log steps in the second half."""
    k = losses.shape[-1] // 2
    t = np.log(np.arange(losses.shape[-1])[k:])
    t = t - t.mean()
    return np.asarray((np.log(losses[..., k:]) * t).sum(axis=-1) / (t**2).sum())


def steady(losses: Array) -> Array:
    """The rate of the last quarter of the steps over that of the quarter before: 1 if linear, 0.71 of any power."""
    k = losses.shape[-1] - 1
    first, middle, last = (np.log(losses[..., i]) for i in (k - 2 * (k // 4), k - k // 4, k))
    return np.asarray((middle - last) / (first - middle))


def predicted(steps: Array, least: Array) -> Array:
    """The rate of a kernel that stays, ``-2 log(1 - eta lambda_min)``."""
    return np.asarray(-2.0 * np.log1p(-steps * least))


def width_slopes(values: Array, widths: Array) -> Array:
    """Slopes of log values over log widths, (seeds, nets), from (seeds, nets, widths)."""
    x = np.log(widths) - np.log(widths).mean()
    return np.asarray((np.log(values) * x).sum(axis=-1) / (x**2).sum())


def bounds(values: Array) -> tuple[float, float]:
    """The two ends of the 95 % confidence interval of the mean, by Student's t over seeds."""
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def farther(values: Array, centre: float) -> float:
    """That bound of the mean over seeds which is farther from `centre`."""
    return max(bounds(values), key=lambda end: abs(end - centre))


# The picture ------------------------------------------------------------------------------------------------


def draw(arrays: dict[str, Any]) -> Any:
    """Points above: losses, widths, rates, accuracy; below digits, and the losses that fall as powers."""
    with mf.plotting.style():
        figure, panels = mf.plotting.figure(2, 4, size=(17.2, 7.6))
        _losses(panels[0, 0], arrays["width_loss"][:, :, -1], True)
        panels[0, 0].set_title("Random points, squared loss, widest nets")
        _widths(panels[0, 1], arrays)
        _rates(panels[0, 2], arrays)
        accuracy = arrays["task_accuracy"]
        _accuracy(
            panels[0, 3], (("squared", arrays["width_accuracy"][:, :, -1]), ("logistic", accuracy[:, :, 0]))
        )
        panels[0, 3].set_title("Random points, random labels")
        _losses(panels[1, 0], arrays["task_loss"][:, :, 1], False)
        panels[1, 0].set_title("Digits 3 and 8, squared loss")
        _accuracy(
            panels[1, 1],
            (("3 and 8, squared", accuracy[:, :, 1]), ("0, 1, 2, cross-entropy", accuracy[:, :, 2])),
        )
        panels[1, 1].set_title("Digits")
        _powers(panels[1, 2], arrays)
        _kernels(panels[1, 3], arrays)
    return figure


def _losses(ax: Any, losses: Array, fits: bool) -> None:
    """Losses of seeds (seeds, nets, steps), their geometric means, and lines of the late rate."""
    t = np.arange(losses.shape[-1])
    rates, _ = late(losses)
    for a, name in enumerate(NETS):
        colour = mf.plotting.COLOURS[a]
        ax.semilogy(t, losses[:, a].T, color=colour, lw=0.6, alpha=0.35)
        middle = np.exp(np.log(losses[:, a]).mean(axis=0))
        ax.semilogy(t, middle, color=colour, lw=1.8, label=name)
        if fits:
            rate = rates[:, a].mean()
            ax.semilogy(t, middle[-1] * np.exp(rate * (t[-1] - t)), "--", color=colour, lw=0.9,
                        label=f"rate {rate:.3f} a step")  # fmt: skip
    ax.set_xlabel("steps")
    ax.set_ylabel("loss $F$")
    ax.legend(loc="lower left" if fits else "upper right", fontsize=7.5)


def _widths(ax: Any, arrays: dict[str, Any]) -> None:
    losses = arrays["width_loss"]
    for w, m in enumerate(arrays["widths"]):
        shade = 0.25 + 0.75 * (w + 1) / len(arrays["widths"])
        for a in range(len(NETS)):
            middle = np.exp(np.log(losses[:, a, w]).mean(axis=0))
            ax.semilogy(middle, color=mf.plotting.COLOURS[a], alpha=shade, lw=0.8 + w * 0.3,
                        label=f"m = {m}" if a == 0 else None)  # fmt: skip
    ax.set_xlabel("steps")
    ax.set_ylabel("loss $F$, geometric mean over seeds")
    ax.set_title("Random points, all widths, steps $c/m$")
    ax.legend(loc="lower left", fontsize=7.5)


def _rates(ax: Any, arrays: dict[str, Any]) -> None:
    rates, _ = late(arrays["width_loss"])
    known = predicted(arrays["width_step"], arrays["width_least"][..., 0])
    for a, name in enumerate(NETS):
        colour, x = mf.plotting.COLOURS[a], arrays["widths"] * 1.05 ** (a - 1)
        ends = np.array([bounds(one) for one in rates[:, a].T])
        middle = rates[:, a].mean(axis=0)
        ax.errorbar(x, middle, [middle - ends[:, 0], ends[:, 1] - middle], fmt="o-", color=colour, ms=4, lw=1.2,
                    capsize=2.5, label=name)  # fmt: skip
        ax.plot(x, known[:, a].mean(axis=0), "_", color=colour, ms=13, mew=1.6)
    ax.plot(
        [],
        [],
        "_",
        color="#333333",
        ms=13,
        mew=1.6,
        label=r"$-2\log(1 - \eta\lambda_{min})$, kernel at the start",
    )
    ax.set_xscale("log", base=2)
    ax.set_xticks(arrays["widths"], [str(m) for m in arrays["widths"]])
    ax.set_ylim(0, 1.45 * max(known.mean(axis=0).max(), rates.mean(axis=0).max()))
    ax.set_xlabel("width $m$ (convolutional: a quarter as many channels)")
    ax.set_ylabel("rate a step, mean and 95 % bounds")
    ax.set_title("Rates of the second half")
    ax.legend(loc="upper center", ncols=2, fontsize=7.5)


def _accuracy(ax: Any, groups: tuple[tuple[str, Array], ...]) -> None:
    for line, (word, accuracy) in zip(("-", ":"), groups, strict=True):
        for a in range(len(NETS)):
            mean = accuracy[:, a].mean(axis=0)
            ax.plot(np.arange(1, len(mean) + 1), 100 * mean, line, color=mf.plotting.COLOURS[a], lw=1.6)
        ax.plot([], [], line, color="#333333", label=word)
    for a, name in enumerate(NETS):
        ax.plot([], [], "-", color=mf.plotting.COLOURS[a], label=name)
    ax.set_xscale("log")
    ax.set_xlabel("1 + steps")
    ax.set_ylabel("training accuracy, %, mean over seeds")
    ax.legend(loc="lower right", fontsize=7.5)


def _powers(ax: Any, arrays: dict[str, Any]) -> None:
    t, lowest = np.arange(arrays["task_loss"].shape[-1]), np.inf
    for line, task in zip(("-", ":"), (0, 2), strict=True):
        for a in range(len(NETS)):
            middle = np.exp(np.log(arrays["task_loss"][:, a, task]).mean(axis=0))
            ax.loglog(t[1:], middle[1:], line, color=mf.plotting.COLOURS[a], lw=1.6)
            lowest = min(lowest, middle[-1])
        ax.plot([], [], line, color="#333333", label=TASKS[task])
    half = t[len(t) // 4 :]
    ax.loglog(half, 0.6 * lowest * t[-1] / half, "--", color="#777777", lw=1.0, label="slope -1")
    ax.set_xlabel("steps")
    ax.set_ylabel("loss $F$, geometric mean over seeds")
    ax.set_title("Not linear: losses of classification")
    ax.legend(loc="lower left", fontsize=7.5)


def _kernels(ax: Any, arrays: dict[str, Any]) -> None:
    """Measured rates against those of the kernel at the end, of all runs with the squared loss."""
    from matplotlib.ticker import LogLocator, NullLocator

    rates, _ = late(arrays["width_loss"])
    known = predicted(arrays["width_step"], arrays["width_least"][..., 1])
    other, _ = late(arrays["task_loss"][:, :, 1])
    theirs = predicted(arrays["task_step"], arrays["task_least"][..., 1])[:, :, 1]
    for a, name in enumerate(NETS):
        ax.loglog(known[:, a], rates[:, a], ".", color=mf.plotting.COLOURS[a], ms=4, alpha=0.5)
        ax.loglog(
            known[:, a, -1],
            rates[:, a, -1],
            "o",
            color=mf.plotting.COLOURS[a],
            label=f"points, widest: {name}",
        )
        ax.loglog(theirs[:, a], other[:, a], "x", color=mf.plotting.COLOURS[a], ms=5)
    ax.plot([], [], ".", color="#333333", ms=4, label="points, narrower")
    ax.plot([], [], "x", color="#333333", ms=5, label="digits 3 and 8")
    ends = np.array([min(known.min(), theirs.min()), max(known.max(), theirs.max())])
    ax.loglog(ends, ends, "--", color="#777777", lw=1.0)
    ax.set_xlabel(r"$-2\log(1 - \eta\lambda_{min})$, kernel at the end")
    ax.set_ylabel("rate a step, second half")
    ax.set_title("Rates are the tangent kernel's")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    ax.legend(loc="upper left", fontsize=7.5)


# The claims -------------------------------------------------------------------------------------------------


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """Accuracy, descent at every step, linear rates and what they are, widths; losses that are not linear."""
    losses, widest = arrays["task_loss"], arrays["width_loss"][:, :, -1]
    rates, straight = late(arrays["width_loss"])
    start, end = (predicted(arrays["width_step"], arrays["width_least"][..., e]) for e in range(2))
    each = -np.diff(np.log(widest), axis=-1).max(axis=-1) / start[:, :, -1]
    reached = [min(arrays["width_accuracy"][:, a, -1, -1].min(), arrays["task_accuracy"][:, a, :, -1].min())
               for a in range(len(NETS))]  # fmt: skip
    climbs = [
        np.exp(np.diff(np.log(one), axis=-1)).max()
        for one in (widest, losses, arrays["width_loss"][:, :, 1:])
    ]
    ratio = (rates / end)[:, :, -1].mean(axis=1)
    flat = width_slopes(rates, arrays["widths"]).mean(axis=1)
    theorem = arrays["width_step"] * arrays["units"] * arrays["apart"] / arrays["n"] ** 2
    left = losses[:, :, 1, -1] / losses[:, :, 1, 0]
    made = [
        Claim.above(f"All labels are learnt by {name} nets: least training accuracy, four tasks and all their seeds",
                    share, 0.9999, source=PAPER)
        for name, share in zip(NETS, reached, strict=True)
    ]  # fmt: skip
    made += [
        Claim.below("The loss falls at every step: largest quotient of successive losses, widest nets on points",
                    climbs[0], 1.0, source=PAPER),
        Claim.below("the same of the other tasks", climbs[1], 1.0, source=PAPER),
        Claim.below("and of all widths but the narrowest with steps c/m, one c for each kind of net", climbs[2], 1.0,
                    source=PAPER),
    ]  # fmt: skip
    for a, name in enumerate(NETS):
        made += [
            Claim.above(f"Linear rate, {name} (squared loss, random points, widest): R^2 of log-linear fits, least "
                        "over starts", straight[:, a, -1].min(), 0.98, source=PAPER),
            Claim.above("and steady: rate of the last quarter of the steps over that of the quarter before (a power of "
                        "the steps has 0.71), least over starts", steady(widest)[:, a].min(), 0.85, source=PAPER),
            Claim.above("the rate a step, lower 95 % bound of the mean over starts", bounds(rates[:, a, -1])[0], 0.01,
                        source=PAPER),
            Claim.above("every single step falls by a share of the kernel's rate at the start: least over steps and "
                        "starts", each[:, a].min(), 0.25, source=OWN),
        ]  # fmt: skip
    made += [
        Claim.within("The rate is that of the tangent kernel's least eigenvalue at the end, widest: mean quotient, the "
                     "bound farther from 1", farther(ratio, 1.0), 1.0, absolute=0.2, source=OWN),
        Claim.below("Rates a step do not grow with m as they would at one step for all widths (slope 1): log-log slope "
                    "over widths, mean over nets, the bound farther from 0, its size",
                    np.abs(farther(flat, 0.0)), 0.75, source=PAPER),
        Claim.above("They are faster than eta m delta/n^2, the shape of the theorem's bound: least quotient",
                    (rates / theorem).min(), 1.0, source=OWN),
        Claim.below("On digits 3 and 8 the squared loss falls too: share left after all steps, upper bound of "
                    "the mean over seeds, worst net", max(bounds(one)[1] for one in left.T), 0.2, source=PAPER),
    ]  # fmt: skip
    for task, name in ((0, "logistic loss"), (2, "cross-entropy")):
        made += [
            Claim.below(f"The {name} does not fall linearly (its nets learn all labels): rate of the last quarter over "
                        "that of the quarter before, mean over seeds and nets",
                        np.abs(steady(losses[:, :, task]).mean()), 0.85, source=OWN),
            Claim.between("but about as a power of the steps: log-log slope of the second half, mean over seeds and "
                          "nets", power(losses[:, :, task]).mean(), -2.5, -0.75, source=OWN),
        ]  # fmt: skip
    return made

"""Deep ReLU nets, fully connected, convolutional, residual, learn their data: loss to zero, accuracy to 100 %.

Source: Allen-Zhu, Li, Song (2019), A convergence theory for deep learning via over-parameterization, arXiv:1811.03962;
its theorems are shown as they are remembered, no figure of the paper is copied (none is remembered either).

Quick preset: about 9 s. Paper preset: about 280 s (processor time on one core).

Nets have the theorem's parametrization: N(0, 2/m) weights, first and last layer fixed, inputs of length 1 with a
constant last coordinate, all data in every step. Steps are c/m (m channels of convolutional nets), with one c for all
widths and starts of a kind of net on given points: a share of m/lambda_max of the tangent kernel of one wide net, over
the curvature of the loss. That is the theorem's Theta(1/m) without its powers of n and L, by which it is far smaller.
What the theorem says in shape is claimed: all labels are learnt by all three nets, random labels of random points and
those of real images; the loss falls at every step, linearly where it is the squared one, by the theorem's share
eta m delta/(d n^2) with the constant 1 at least; steps c/m need no more steps where m is larger.

That rates a step are the same for all widths is NOT reproduced: at m = 64 to 1024 they still grow, with log-log slopes
.24 [.13, .35] (fully connected), .08 [-.02, .17] (convolutional) and .20 [.12, .27] (residual). About two thirds of it
is in the kernels of the start, whose least eigenvalues grow a little faster than m (slopes .16, .05, .12 of their
m-th part); the rest in that narrower nets are farther from their kernels.

This project adds what the rate is: that of the least eigenvalue of the tangent kernel, 2 eta lambda_min, up to what the
kernel moves. It is a little lower where nets are narrow, and down to half of it in single runs on digits, although the
loss falls steadily there: some activations (2 to 8 of 1728 in the three nets looked at) flip at every step to the end,
so that the nets slide along kinks, more slowly than with any of the kernels on their way.

Digits are so alike that lambda_max/lambda_min is about a hundred: their labels are learnt early, and the linear tail of
the squared loss comes late, so that they have more steps. (Of twenty digits residual nets were still short of their
tail after 2000 steps, hence the paper preset has twelve.) With the logistic loss and cross-entropy all labels are
learnt too, but the loss does not fall linearly: it goes as a power of the steps, about -1.1 to -1.4 here.

Rates are those of `mf.overparametrization.report` for the second half of the steps; R^2 hardly tells a line from a
power of the steps there, so that rates of its two halves are compared too. Widths are compared on one set of points,
with starts of their own; other tasks have data of their own for each seed. Bounds are 95 % ones of the mean over starts
(Student's t), slopes those of `mf.overparametrization.slopes`.
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

PAPER = "Allen-Zhu, Li, Song 2019, arXiv:1811.03962, as remembered"
OWN = "derived and measured for this project"
NETS = ("fully connected", "convolutional", "residual")
TASKS = ("points, logistic", "digits 3 and 8, squared", "digits 0, 1, 2, cross-entropy")
# Lipschitz constants of the gradients of the losses, summed over data.
CURVATURES = {"squared": 1.0, "logistic": 0.25, "cross_entropy": 0.5}
# A loss that is this share of its start falls no further.
ROUNDING = 1e-25


@dataclass(frozen=True)
class Config:
    """Data, widths that are compared, the width of other tasks, and the steps."""

    n: int = 6  # points
    d: int = 8
    delta: float = 0.5
    n_digits: int = 6
    widths: tuple[int, ...] = (48, 144, 432)
    channels: tuple[int, ...] = (12, 36, 108)  # of the convolutional nets in their place
    starts: int = 6  # of each width
    width: int = 96
    width_channels: int = 24
    image_channels: int = 8
    hidden: int = 3  # layers, of which all but the first move
    step: float = 0.5  # over 1/lambda_max
    iterations: int = 100
    digit_iterations: int = 600
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
        for name in ("widths", "channels"):
            if list(getattr(self, name)) != sorted(set(getattr(self, name))):
                raise InputError(f"{name} must ascend, each once, not {getattr(self, name)}")
        if self.hidden < 2:
            raise InputError(f"hidden must be at least 2 (the first layer is fixed), not {self.hidden}")
        for name in ("iterations", "digit_iterations"):
            if getattr(self, name) < 20:
                raise InputError(f"{name} must be at least 20, for the fits, not {getattr(self, name)}")

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            n=10, d=10, n_digits=12, widths=(64, 128, 256, 512, 1024), channels=(16, 32, 64, 128, 256), starts=10,
            width=256, width_channels=64, image_channels=16, iterations=240, digit_iterations=2000, seeds=10,
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


def trained(
    net: Any, X: Array, data: Data, c: float, iterations: int, word: int
) -> tuple[Any, dict[str, Any]]:
    """Gradient descent: the report on it, its rate that of the second half; loss and accuracy after every step."""
    step = c / net.layers[0].out
    problem = mf.finite.deep.Problem(net, X, data.y, data.loss)
    run: Any = integrate(Watched(problem, step), net.init(rng=word), iterations * step, save=iterations + 1)
    if not run["objective"][-1] > ROUNDING * run["objective"][0]:
        raise InputError(
            f"the loss is at the level of rounding before {iterations} steps are done: take fewer iterations (of "
            "digits, digit_iterations), or more data"
        )
    report = mf.overparametrization.report(run, window=(0.5 * run.t[-1], run.t[-1]))
    fit = report.decay
    return report, {
        "loss": run["objective"], "accuracy": run["accuracy"], "step": step, "rate": fit.rate * step,
        "straight": fit.r_squared, "steady": fit.late / fit.early,
        "least": np.array([report.eigenvalues_start[-1], report.eigenvalues_end[-1]]),
    }  # fmt: skip


def tabled(results: list[dict[str, Any]], *shape: int) -> dict[str, Array]:
    """Numbers of all runs, which come in the order of the axes of `shape`."""
    return {
        name: np.array([one[name] for one in results]).reshape(*shape, *np.shape(results[0][name]))
        for name in results[0]
    }


def across_widths(config: Config, first: int, words: list[int]) -> dict[str, Any]:
    """Random points with the squared loss: starts, nets, widths; slopes of rates (per time) over the width."""
    data, last = points(config, first, mf.SquaredLoss), (config.widths[-1], config.channels[-1])
    shares = [
        scale(*network(kind, data, *last, config.hidden), data, config, first) for kind in range(len(NETS))
    ]
    reports: list[list[Any]] = [[] for _ in NETS]
    results = []
    for word in words:
        for kind, c in enumerate(shares):
            for m, channels in zip(config.widths, config.channels, strict=True):
                net, X = network(kind, data, m, channels, config.hidden)
                report, found = trained(net, X, data, c, config.iterations, word)
                reports[kind].append(report)
                results.append(found)
    everyone = max(one.objective[-1] for some in reports for one in some)
    fits = [
        mf.overparametrization.slopes(some, ("rate", "eigenvalue_start"), goal=everyone) for some in reports
    ]
    units = np.array([config.channels if kind == 1 else config.widths for kind in range(len(NETS))])
    found = tabled(results, len(words), len(NETS), len(config.widths))
    return {f"width_{name}": values for name, values in found.items()} | {
        "widths": np.array(config.widths), "units": units, "n": np.array(config.n),
        "apart": np.array(mf.data.separation(data.X)),
        "slopes": np.array([[fit[name][:3] for fit in fits] for name in ("rate", "eigenvalue_start")]),
    }  # fmt: skip


def on_tasks(config: Config, words: list[int]) -> dict[str, Any]:
    """Random points with the logistic loss, digits with two losses: seeds, nets, and for digits the loss."""
    results: tuple[list[Any], list[Any]] = ([], [])
    for word in words:
        tasks = (
            points(config, word, mf.LogisticLoss), digits(config, word, (3, 8), mf.SquaredLoss, 1),
            digits(config, word, (0, 1, 2), mf.CrossEntropy, 3),
        )  # fmt: skip
        for kind in range(len(NETS)):
            for k, task in enumerate(tasks):
                channels, steps = (
                    (config.image_channels, config.digit_iterations)
                    if k
                    else (config.width_channels, config.iterations)
                )
                net, X = network(kind, task, config.width, channels, config.hidden)
                c = scale(net, X, task, config, word)
                results[k > 0].append(trained(net, X, task, c, steps, word)[1])
    runs = (len(words), len(NETS))
    return {
        f"{part}_{name}": values
        for part, some, shape in (("points", results[0], runs), ("digits", results[1], (*runs, 2)))
        for name, values in tabled(some, *shape).items()
    }


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Losses, accuracies, steps, rates and least eigenvalues: of nets and widths on points, and of other tasks."""
    first, *words = [int(word) for word in rng.integers(2**31, size=1 + max(config.starts, config.seeds))]
    # digits first: where scikit-learn is missing, that is said at once
    tasks = on_tasks(config, words[: config.seeds])
    return across_widths(config, first, words[: config.starts]) | tasks


# What is made of them ---------------------------------------------------------------------------------------


def power(losses: Array) -> Array:
    """Slope of log loss over log steps in the second half."""
    k = losses.shape[-1] // 2
    t = np.log(np.arange(losses.shape[-1])[k:])
    t = t - t.mean()
    return np.asarray((np.log(losses[..., k:]) * t).sum(axis=-1) / (t**2).sum())


def predicted(steps: Array, least: Array) -> Array:
    """The rate of a kernel that stays, ``-2 log(1 - eta lambda_min)``."""
    return np.asarray(-2.0 * np.log1p(-steps * least))


def contraction(losses: Array, least: Any) -> Array:
    """``min_t log F(t)/F(t+1)`` over a rate a step: 1 at least where F(t+1) <= e^(-rate) F(t), always."""
    return np.asarray(-np.diff(np.log(losses), axis=-1).max(axis=-1) / least)


# The picture ------------------------------------------------------------------------------------------------


def draw(arrays: dict[str, Any]) -> Any:
    """Points above: losses, widths, rates, accuracy; below digits, and the losses that fall as powers."""
    with mf.plotting.style():
        figure, panels = mf.plotting.figure(2, 4, size=(17.2, 7.6))
        _losses(panels[0, 0], arrays["width_loss"][:, :, -1], arrays["width_rate"][:, :, -1])
        panels[0, 0].set_title("Random points, squared loss, widest nets")
        _widths(panels[0, 1], arrays)
        _rates(panels[0, 2], arrays)
        accuracy = arrays["digits_accuracy"]
        _accuracy(
            panels[0, 3],
            (("squared", arrays["width_accuracy"][:, :, -1]), ("logistic", arrays["points_accuracy"])),
        )
        panels[0, 3].set_title("Random points, random labels")
        _losses(panels[1, 0], arrays["digits_loss"][:, :, 0], arrays["digits_rate"][:, :, 0])
        panels[1, 0].set_title("Digits 3 and 8, squared loss")
        _accuracy(
            panels[1, 1],
            (("3 and 8, squared", accuracy[:, :, 0]), ("0, 1, 2, cross-entropy", accuracy[:, :, 1])),
        )
        panels[1, 1].set_title("Digits")
        _powers(panels[1, 2], arrays)
        _kernels(panels[1, 3], arrays)
    return figure


def _losses(ax: Any, losses: Array, rates: Array) -> None:
    """Losses of seeds (seeds, nets, steps), their geometric means, and lines of the late rate."""
    t = np.arange(losses.shape[-1])
    for a, name in enumerate(NETS):
        colour = mf.plotting.COLOURS[a]
        ax.semilogy(t, losses[:, a].T, color=colour, lw=0.6, alpha=0.35)
        middle = np.exp(np.log(losses[:, a]).mean(axis=0))
        ax.semilogy(t, middle, color=colour, lw=1.8, label=name)
        rate = rates[:, a].mean()
        ax.semilogy(t, middle[-1] * np.exp(rate * (t[-1] - t)), "--", color=colour, lw=0.9,
                    label=f"rate {rate:.2g} a step")  # fmt: skip
    ax.set_xlabel("steps")
    ax.set_ylabel("loss $F$")
    low, high = losses.min(), losses.max()
    ax.set_ylim(low * (low / high) ** 0.05, high * (high / low) ** 0.25)
    ax.legend(loc="upper right", fontsize=7.5)


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
    rates = arrays["width_rate"]
    known = predicted(arrays["width_step"], arrays["width_least"][..., 0])
    for a, name in enumerate(NETS):
        colour, x = mf.plotting.COLOURS[a], arrays["widths"] * 1.05 ** (a - 1)
        ends = np.array([bounds(one) for one in rates[:, a].T])
        middle = rates[:, a].mean(axis=0)
        ax.errorbar(x, middle, [middle - ends[:, 0], ends[:, 1] - middle], fmt="o-", color=colour, ms=4, lw=1.2,
                    capsize=2.5, label=f"{name}: slope ${arrays['slopes'][0, a, 0] - 1:.2f}$")  # fmt: skip
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
    ax.set_ylim(0, 1.8 * max(known.mean(axis=0).max(), rates.mean(axis=0).max()))
    ax.set_xlabel("width $m$ (convolutional: a quarter as many channels)")
    ax.set_ylabel("rate a step, mean and 95 % bounds")
    ax.set_title("Rates of the second half")
    ax.legend(loc="upper left", fontsize=7.5)


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
    for line, name, losses in (
        ("-", TASKS[0], arrays["points_loss"]),
        (":", TASKS[2], arrays["digits_loss"][:, :, 1]),
    ):
        t = np.arange(losses.shape[-1])
        for a in range(len(NETS)):
            middle = np.exp(np.log(losses[:, a]).mean(axis=0))
            ax.loglog(t[1:], middle[1:], line, color=mf.plotting.COLOURS[a], lw=1.6)
        ax.plot([], [], line, color="#333333", label=name)
        half = t[len(t) // 4 :]
        lowest = np.exp(np.log(losses[..., -1]).mean(axis=0)).min()
        ax.loglog(half, 0.6 * lowest * t[-1] / half, "--", color="#777777", lw=1.0)
    ax.plot([], [], "--", color="#777777", lw=1.0, label="slope -1")
    ax.set_xlabel("steps")
    ax.set_ylabel("loss $F$, geometric mean over seeds")
    ax.set_title("Not linear: losses of classification")
    ax.legend(loc="lower left", fontsize=7.5)


def _kernels(ax: Any, arrays: dict[str, Any]) -> None:
    """Measured rates against those of the kernel at the end, of all runs with the squared loss."""
    from matplotlib.ticker import LogLocator, NullLocator

    rates, other = arrays["width_rate"], arrays["digits_rate"][:, :, 0]
    known = predicted(arrays["width_step"], arrays["width_least"][..., 1])
    theirs = predicted(arrays["digits_step"], arrays["digits_least"][..., 1])[:, :, 0]
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
    least, step = arrays["width_least"], arrays["width_step"]
    quotient = arrays["width_rate"] / predicted(step, least[..., 1])
    kernels = bounds(quotient[:, :, -1].mean(axis=1))
    theirs = arrays["digits_rate"] / predicted(arrays["digits_step"], arrays["digits_least"][..., 1])
    theorem = step * arrays["units"] * arrays["apart"] / arrays["n"] ** 2
    shares = contraction(arrays["width_loss"], theorem)
    others = [contraction(arrays[part], 1.0).min() for part in ("points_loss", "digits_loss")]
    made = [
        Claim.above(f"All labels are learnt by {name} nets: least training accuracy, four tasks and all their seeds",
                    min(arrays[f"{part}_accuracy"][:, a, ..., -1].min() for part in ("points", "digits"))
                    * arrays["width_accuracy"][:, a, -1, -1].min(), 0.9999, source=PAPER)
        for a, name in enumerate(NETS)
    ] + [
        Claim.above("Every single step takes a share eta m delta/n^2 of the loss, the theorem's contraction with the "
                    "constant 1 (squared loss, points): least of what it takes over that, widest nets",
                    shares[:, :, -1].min(), 1.0, source=PAPER),
        Claim.above("and all widths but the narrowest, with steps c/m, one c for each kind of net",
                    shares[:, :, 1:].min(), 1.0, source=PAPER),
        Claim.above("The loss falls at every step of the other tasks too: least log of F(t)/F(t+1)", min(others), 0.0,
                    source=PAPER),
    ]  # fmt: skip
    for a, name in enumerate(NETS):
        made += [
            Claim.above(f"Linear rate, {name} (squared loss, random points, widest): R^2 of log-linear fits to the "
                        "second half, least over starts", arrays["width_straight"][:, a, -1].min(), 0.98, source=PAPER),
            Claim.above("and steady: rate of the last quarter of the steps over that of the quarter before (a power of "
                        "the steps has 0.71), mean", arrays["width_steady"][:, a, -1].mean(), 0.85, source=PAPER),
            Claim.above("the rate a step, lower 95 % bound of the mean", bounds(arrays["width_rate"][:, a, -1])[0], 0.0,
                        source=PAPER),
        ]  # fmt: skip
    made += [
        Claim.above("Linear rate on digits 3 and 8, squared loss: R^2, median over seeds and nets",
                    np.median(arrays["digits_straight"][:, :, 0]), 0.98, source=PAPER),
        Claim.above("and steady: rate of the last quarter over that of the quarter before, median",
                    np.median(arrays["digits_steady"][:, :, 0]), 0.85, source=PAPER),
    ]  # fmt: skip
    per_step = arrays["slopes"][0] - 1.0
    made += [
        Claim.within("The rate is that of the tangent kernel's least eigenvalue at the end, points, widest: mean "
                     "quotient over starts and nets, the bound farther from 1",
                     max(kernels, key=lambda end: abs(end - 1.0)), 1.0, absolute=0.2, source=OWN),
        Claim.within("and on digits 3 and 8, where single runs have from half of it to one and a half: median over "
                     "seeds and nets", np.median(theirs[:, :, 0]), 1.0, absolute=0.3, source=OWN),
        Claim.above("Steps c/m need no more steps at larger m: log-log slope of the rate a step over m, mean over nets",
                    per_step[:, 0].mean(), -0.1, source=PAPER),
        Claim.between("That rates are flat in m, slope 0 +- 0.1, is NOT reproduced at these widths: the upper 95 % "
                      "bound of the slope, mean over nets, is above 0.1 (but nearer to 0 than to 1, that of one step "
                      "for all widths)", per_step[:, 2].mean(), 0.1, 0.5, source=OWN),
    ]  # fmt: skip
    for name, steady, losses in (
        ("logistic loss", arrays["points_steady"], arrays["points_loss"]),
        ("cross-entropy", arrays["digits_steady"][:, :, 1], arrays["digits_loss"][:, :, 1]),
    ):
        made += [
            Claim.between(f"The {name} does not fall linearly (its nets learn all labels): rate of the last quarter "
                          "over that of the quarter before, mean over seeds and nets", steady.mean(), 0.5, 0.85,
                          source=OWN),
            Claim.between("but about as a power of the steps: log-log slope of the second half, mean over seeds and "
                          "nets", power(losses).mean(), -1.5, -0.75, source=OWN),
        ]  # fmt: skip
    return made

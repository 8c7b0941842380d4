"""Deep networks become their tangent kernel: finite nets against the ensemble of infinite width, with its band.

Source: Jacot, Gabriel, Hongler (2018), Neural tangent kernel, arXiv:1806.07572, and Lee et al. (2019), Wide neural
networks of any depth evolve as linear models, arXiv:1902.06720; data, bands and fits are this project's.

Quick preset: about 6 s. Paper preset: about 95 s (processor time on one core).

Nets with two hidden layers, dense, residual and convolutional with ReLU, dense with erf, all in the "ntk"
parametrization with biases, learn five labels on a circle. The squared loss is followed along its gradient flow to
t = 2, and by gradient descent to the limit. Shown are functions on the circle, of the largest nets and of the
infinitely wide ensemble; over the width the distance of tangent kernels at the start from their limit, and their change
in training; and the spread of functions over nets, beside what as many Gaussian functions of the predicted law would
show.

Nets start from functions that are not zero, so that some have more to learn: change of the kernel and movement of
weights are divided by the norm (r' T^-1 r)^(1/2) of the error r at the start. For smooth activations the kernel changes
by 1/m, as Lee et al. see; for ReLU, measured, by m^-3/4: weights move by m^-1/2, so that m^1/2 of m units cross their
kink at a point, on and off alike (the sign is that of a weight of the next layer), and m^1/4 of them are left over in
the kernel, in units of 1/m. A bound of m^-1/2 alone would let all of them count with one sign. In the paper preset
slopes are -.73 to -.74 (+- .05) and -.97 (+- .04), with jackknife intervals over nets.

The movement of the second layer is not by m^-1/2 over all widths: slopes are -.56 to -.63 (+- .02), and between the two
largest widths -.50 to -.53. Kernels at the start of narrow nets have smaller eigenvalues than their limit, and so more
to move: divided by (r' K_0^-1 r)^(1/2) with the net's own kernel instead, slopes of dense and residual nets are -.54
to -.55, and those of change -.68 to -.71 and -.93.

Monte Carlo bands are for all comparisons together, of mean and variance, at two times, of four architectures. This was
chosen after one of sixteen had left its own band of 99 %: the mean of convolutional nets in the limit, by 8 % in the
paper preset. Small nets do have another mean than the ensemble: over 150 convolutional nets of 32 channels it is off by
.6 deviations near data. Differences of a quarter of a deviation are too small for 40 nets to be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import meanfield as mf
from meanfield.gallery import Claim, check_sizes
from solvers import RK4, integrate
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

JACOT = "Jacot, Gabriel, Hongler 2018, arXiv:1806.07572"
LEE = "Lee et al. 2019, arXiv:1902.06720"
OWN = "derived and measured for this project"
NAMES = ("dense", "residual", "convolutional", "smooth")
WORDS = ("dense ReLU net", "residual ReLU net", "convolutional ReLU net", "dense erf net")
W_VAR, B_VAR = 2.0, 0.1
# Five points with a gap, and labels that are no function of one frequency.
ANGLES = np.array([-2.4, -1.1, -0.2, 0.9, 1.8])
LABELS = np.array([1.0, -1.0, 0.5, -1.0, 1.0])


@dataclass(frozen=True)
class Config:
    """Sizes; `channels` are those of the convolutional nets, as many sizes as there are widths."""

    widths: tuple[int, ...] = (16, 64, 256)
    channels: tuple[int, ...] = (8, 32, 128)
    nets: int = 16  # of each width that are trained
    starts: int = 40  # of each width at the start, those among them
    positions: int = 6  # of a signal that a convolution sees
    time: float = 2.0  # of gradient flow, the earlier of the two times that are compared
    iterations: int = 70  # of gradient descent to the limit
    grid: int = 49  # angles
    draws: int = 4000  # of the Monte Carlo band
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        for name, least in (("widths", 2), ("channels", 2)):
            sizes = getattr(self, name)
            if len(sizes) < least or tuple(sorted(set(sizes))) != sizes:
                raise InputError(f"{name} must be two or more, and rise, not {sizes}")
        if len(self.widths) != len(self.channels):
            raise InputError(
                f"channels must be as many as widths ({len(self.widths)}), not {len(self.channels)}"
            )
        if self.nets < 3 or self.positions < 3 or self.draws < 100 or self.starts < self.nets:
            raise InputError(
                "nets and positions must be at least 3, draws at least 100, starts not below nets"
            )
        if not self.time > 0.0:
            raise InputError(f"time must be positive, not {self.time}")

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            widths=(16, 32, 64, 128, 256, 512),
            channels=(8, 16, 32, 64, 128, 256),
            nets=40,
            starts=200,
            iterations=80,
            grid=121,
        )


def points(name: str, angles: Array, positions: int) -> Array:
    """``root 2 (cos, sin)``, or the signals ``root 2 cos(angle - 2 pi p/positions)`` for convolutions."""
    if name == "convolutional":
        at = 2.0 * np.pi * np.arange(positions) / positions
        return np.asarray(np.sqrt(2.0) * np.cos(angles[:, None] - at)[:, :, None])
    return np.asarray(np.sqrt(2.0) * np.column_stack([np.cos(angles), np.sin(angles)]))


def finite(name: str, size: int, positions: int) -> Any:
    """A net of two hidden layers, or with two residual branches, with biases."""
    nets = mf.finite.deep
    more: dict[str, Any] = {"bias": True, "w_var": W_VAR, "b_var": B_VAR}
    if name == "convolutional":
        return nets.ConvNet(shape=(positions, 1), channels=(size, size), **more)
    if name == "residual":
        return nets.ResNet(widths=(2, size, size, size, 1), **more)
    return nets.Dense(widths=(2, size, size, 1), activation="erf" if name == "smooth" else "relu", **more)


def infinite(name: str) -> Any:
    """The same in the limit."""
    k = mf.kernels.deep
    dense, unit = k.Dense(w_var=W_VAR, b_var=B_VAR), k.Erf() if name == "smooth" else k.ReLU()
    if name == "convolutional":
        conv = k.Conv(3, W_VAR, B_VAR)
        return k.serial(conv, k.ReLU(), conv, k.ReLU(), k.Flatten(), dense)
    if name == "residual":
        branch = k.Residual(k.ReLU(), dense, scale=0.5)
        return k.serial(dense, branch, branch, k.ReLU(), dense)
    return k.serial(dense, unit, dense, unit, dense)


def early(net: Any, X: Array, start: Any, K: Array, config: Config) -> Any:
    """Weights at `time` of the gradient flow; K is the kernel at the start."""
    count = int(np.ceil(config.time * np.linalg.eigvalsh(K)[-1] / len(X) / 1.5))
    flow = mf.finite.deep.GradientFlow(mf.finite.deep.Problem(net, X, LABELS))
    return integrate(flow, start, config.time, method=RK4(step=config.time / count), save=2).final


def late(net: Any, X: Array, start: Any, K: Array, config: Config) -> tuple[Any, float]:
    """Weights in the limit, and the share of the loss left."""
    # a limit does not depend on the size of small steps: descent gets there in a quarter of the gradients
    step = len(X) / np.linalg.eigvalsh(K)[-1]
    descent = mf.finite.deep.SGD(mf.finite.deep.Problem(net, X, LABELS), step=step)
    run: Any = integrate(descent, start, config.iterations * step, save=2)
    return run.final, float(run["objective"][-1] / run["objective"][0])


def extremes(covariance: Array, nets: int, draws: int, rng: np.random.Generator) -> Array:
    """By how much mean and variance of so many Gaussian functions miss theirs, largest over points, (2, draws).

    The mean in units of its standard error, the variance as `deviation` has it.
    """
    sd = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(sd, sd))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    found = np.empty((2, draws))
    for low in range(0, draws, 100):
        f = rng.standard_normal((min(100, draws - low), nets, len(sd))) @ root.T
        found[0, low : low + 100] = np.abs(f.mean(axis=1)).max(axis=1) * np.sqrt(nets)
        found[1, low : low + 100] = np.abs(deviation(f.var(axis=1, ddof=1), nets)).max(axis=1)
    return found


def deviation(ratio: Any, nets: int) -> Array:
    """A variance of so many Gaussian numbers, over the true one, as a nearly standard normal number.

    Cube roots of chi^2/k are nearly normal, with mean 1 - 2/(9 k) and variance 2/(9 k) (Wilson and Hilferty, 1931): too
    large a variance counts as much as one as improbably small. Logarithms are skew.
    """
    unit = 2.0 / (9.0 * (nets - 1))
    return np.asarray((np.cbrt(ratio) - (1.0 - unit)) / np.sqrt(unit))


def band(drawn: Array) -> Array:
    """Limits that all comparisons, (..., draws), stay within in 99 % of cases, each as likely to leave its own."""
    alone = np.quantile(drawn, 0.99, axis=-1)
    together = (drawn / alone[..., None]).reshape(-1, drawn.shape[-1]).max(axis=0)
    return np.asarray(alone * np.quantile(together, 0.99))


# Spectral norms of small matrices: two threads take longer than one on a busy machine, and their sums may differ.
@one_blas_thread()
def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """For each architecture: kernels and their change over width; functions on the circle, of nets and of the limit."""
    shape, G = (len(NAMES), len(config.widths), config.nets), config.grid
    grid = np.linspace(-np.pi, np.pi, G)
    rows: dict[str, Array] = {key: np.empty(shape) for key in ("change", "moved", "left")}
    distance = np.empty((*shape[:2], config.starts))
    functions = np.empty((len(NAMES), 2, config.nets, G))
    mean, sd = np.empty((len(NAMES), 2, G)), np.empty((len(NAMES), 2, G))
    drawn = np.empty((len(NAMES), 2, 2, config.draws))
    for_nets, for_bands = rng.spawn(2)
    for a, name in enumerate(NAMES):
        X, new = points(name, ANGLES, config.positions), points(name, grid, config.positions)
        layers = infinite(name)
        T = layers(X)[1]
        for w, size in enumerate(config.channels if name == "convolutional" else config.widths):
            net = finite(name, size, config.positions)
            for k, seed in enumerate(for_nets.integers(2**31, size=config.starts).tolist()):
                start = net.init(rng=seed)
                K = net.tangent_kernel(start, X)
                distance[a, w, k] = np.linalg.norm(K - T) / np.linalg.norm(T)
                if k >= config.nets:
                    continue
                final, rows["left"][a, w, k] = late(net, X, start, K, config)
                # starts are not zero, and what is left to learn differs: all that moves is in units of its size
                error = LABELS - net.predict(start, X)
                learnt = np.sqrt(error @ np.linalg.solve(T, error))
                change = np.linalg.norm(net.tangent_kernel(final, X) - K) / np.linalg.norm(K)
                move = np.linalg.norm(final["W1"] - start["W1"], 2) / np.linalg.norm(start["W1"], 2)
                rows["change"][a, w, k], rows["moved"][a, w, k] = change / learnt, move / learnt
                if w == len(config.widths) - 1:
                    functions[a, 0, k] = net.predict(early(net, X, start, K, config), new)
                    functions[a, 1, k] = net.predict(final, new)
        for s, t in enumerate((config.time, np.inf)):
            limit = layers.predict(X, LABELS, new, t)
            mean[a, s], sd[a, s] = limit.mean, np.sqrt(limit.variance)
            # of labels that are a basis the mean is the matrix A of f(t) = f0 + A (y - f0)
            A = layers.predict(X, np.eye(len(X)), new, t).mean
            cross = A @ layers(X, new)[0]
            whole = layers(new)[0] - cross - cross.T + A @ layers(X)[0] @ A.T
            far = apart(sd[a, s])
            drawn[a, s] = extremes(whole[np.ix_(far, far)], config.nets, config.draws, for_bands)
    sizes = [config.channels if name == "convolutional" else config.widths for name in NAMES]
    found = {
        "distance": distance,
        "grid": grid,
        "functions": functions,
        "mean": mean,
        "sd": sd,
        "bands": band(drawn),
    }
    return rows | found | {"time": np.array(config.time), "sizes": np.array(sizes)}


def apart(sd: Array) -> Array:
    """Where the ensemble varies: away from data that all of it goes through."""
    return np.asarray(sd > 0.1 * sd.max())


def ratios(arrays: dict[str, Any], a: int) -> Array:
    """Deviations of mean and variance over the nets from the prediction, largest over points, (2 times, 2).

    In units of what as many Gaussian functions of the predicted laws stay below, all comparisons in 99 % of cases.
    """
    found = np.empty((2, 2))
    for s in range(2):
        sd = arrays["sd"][a, s]
        far = apart(sd)
        f = arrays["functions"][a, s][:, far]
        error = np.abs(f.mean(axis=0) - arrays["mean"][a, s, far]) / sd[far]
        spread = deviation(f.var(axis=0, ddof=1) / sd[far] ** 2, len(f))
        found[s] = error.max() * np.sqrt(len(f)), np.abs(spread).max()
    return np.asarray(found / arrays["bands"][a])


# The picture ------------------------------------------------------------------------------------------------


def draw(arrays: dict[str, Any]) -> Any:
    """Functions of an early time and of the limit; kernels over width; the spread of the ensemble."""
    with mf.plotting.style():
        figure, panels = mf.plotting.figure(2, 3, size=(13.6, 7.6))
        for ax, a, s in zip(panels[0], (0, 0, 2), (0, 1, 1), strict=True):
            _functions(ax, arrays, a, s)
        panels[0, 0].legend(loc="lower left", fontsize=7.5)
        _over_width(panels[1, 0], arrays, "distance", (-0.5,))
        panels[1, 0].set_ylabel(r"$|\hat T_0 - T|_F / |T|_F$")
        panels[1, 0].set_title("At the start: distance to the limit")
        _over_width(panels[1, 1], arrays, "change", (-0.75, -1.0))
        panels[1, 1].set_ylabel(r"$|\hat T_\infty - \hat T_0|_F / |\hat T_0|_F$ over the norm learnt")
        panels[1, 1].set_title("Change of the kernel in training")
        _spread(panels[1, 2], arrays)
    return figure


def _functions(ax: Any, arrays: dict[str, Any], a: int, s: int) -> None:
    x, mean, sd = arrays["grid"], arrays["mean"][a, s], arrays["sd"][a, s]
    ax.fill_between(x, mean - 2 * sd, mean + 2 * sd, color=mf.plotting.COLOURS[a], alpha=0.2, lw=0,
                    label="infinite width, mean and 2 deviations")  # fmt: skip
    ax.plot(x, mean, color=mf.plotting.COLOURS[a], lw=1.8)
    f = arrays["functions"][a, s]
    ax.plot(x, f[:8].T, color="#777777", lw=0.6, label=["8 finite nets", *[None] * (min(8, len(f)) - 1)])
    ax.plot(x, f.mean(axis=0), "--", color="black", lw=1.2, label=f"mean of {len(f)} nets")
    ax.plot(ANGLES, LABELS, "o", color="black", ms=4.5, label="data")
    ax.set_xlim(-np.pi, np.pi)
    ax.set_ylim(-3.8, 4.2)
    ax.set_xticks(
        [-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], [r"$-\pi$", r"$-\pi/2$", "0", r"$\pi/2$", r"$\pi$"]
    )
    ax.set_xlabel("angle of the input")
    ax.set_ylabel("$f(x)$")
    when = r"$t = \infty$" if s else f"$t = {float(arrays['time']):g}$"
    ax.set_title(f"{WORDS[a]}s, {arrays['sizes'][a, -1]} units, {when}")


def _over_width(ax: Any, arrays: dict[str, Any], key: str, guides: tuple[float, ...]) -> None:
    for a, word in enumerate(WORDS):
        sizes, values = arrays["sizes"][a], arrays[key][a]
        fit = mf.plotting.fit_slope(sizes, values)
        error = 2.0 * values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
        ax.errorbar(sizes, values.mean(axis=1), error, fmt="os^D"[a] + "-", ms=4, lw=1.2,
                    color=mf.plotting.COLOURS[a], label=f"{word}: {fit.slope:.2f} ± {fit.half_width:.2f}")  # fmt: skip
    # one guide above the dense ReLU nets, one below the smooth ones
    sizes = arrays["sizes"][0]
    for guide, line, a, factor in zip(guides, ("--", ":"), (0, 3), (1.4, 0.7), strict=False):
        top = factor * arrays[key][a, 0].mean()
        ax.plot(
            sizes, top * (sizes / sizes[0]) ** guide, line, color="#777777", lw=1.0, label=f"slope {guide:g}"
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ticks = np.unique(arrays["sizes"])
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set_ylim(bottom=0.2 * min(ax.get_ylim()[0], arrays[key].mean(axis=2).min()))
    ax.set_xlabel("units, or channels, of a layer")
    ax.legend(loc="lower left", fontsize=7.5)


def _spread(ax: Any, arrays: dict[str, Any]) -> None:
    for a, word in enumerate(WORDS):
        sd = arrays["sd"][a, 1]
        ratio = arrays["functions"][a, 1].std(axis=0, ddof=1) / sd
        ax.plot(arrays["grid"], np.where(apart(sd), ratio, np.nan), "os^D"[a] + "-", ms=2.5, lw=1.0,
                color=mf.plotting.COLOURS[a], label=word)  # fmt: skip
    nets = arrays["functions"].shape[2]
    unit = 2.0 / (9.0 * (nets - 1))
    reach = float(arrays["bands"][:, 1, 1].max()) * np.sqrt(unit)
    low, high = ((1.0 - unit + sign * reach) ** 1.5 for sign in (-1, 1))
    ax.axhspan(low, high, color="#999999", alpha=0.2, lw=0, label="99 % of as many Gaussian functions")
    ax.axhline(1.0, color="#777777", lw=0.8)
    for angle in ANGLES:
        ax.axvline(angle, color="black", lw=0.6, ls=":")
    ax.set_yscale("log")
    ax.set_ylim(0.2, 8.0)
    ax.set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    ax.minorticks_off()
    ax.set_xlabel("angle of the input (data: dotted)")
    ax.set_ylabel("deviation of nets / predicted")
    ax.set_title(r"Spread of the ensemble at $t = \infty$")
    ax.legend(loc="upper left", fontsize=7, ncols=2)


# The claims -------------------------------------------------------------------------------------------------


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """Slopes over width, the ensemble, the limit reached."""
    found = []
    for a, word in enumerate(WORDS):
        sizes, smooth = arrays["sizes"][a], NAMES[a] == "smooth"
        law = "m^-1," if smooth else "m^-3/4, as kinks are crossed at random:"
        shares = ratios(arrays, a)
        fits = {key: mf.plotting.fit_slope(sizes, arrays[key][a]) for key in ("distance", "change", "moved")}
        # half of what is between -1/2, -3/4 and -1 at most: no slope is near two of them
        for key, text, expected, allowed, source in (
            ("distance", "the tangent kernel at the start is m^-1/2 from its limit,", -0.5, 0.1, JACOT),
            ("change", f"in training it changes by {law}", -1.0 if smooth else -0.75, 0.125, OWN),
        ):
            fit = fits[key]
            text = f"{word}: {text} slope (95 % interval over nets: +- {fit.half_width:.2f})"
            found.append(Claim.within(text, fit.slope, expected, absolute=allowed, source=source))
        found += [
            Claim.between(
                f"{word}: the second layer's movement, in spectral norms, falls faster; m^-1/2 is NOT what is measured "
                f"over all widths, slope (95 % interval over nets: +- {fits['moved'].half_width:.2f})",
                fits["moved"].slope,
                -0.7,
                -0.5,
                source=OWN,
            ),
            Claim.below(
                f"{word}: the mean over nets of {sizes[-1]} units is the ensemble's but for chance, at both times: "
                "largest difference over points, in units of the Monte Carlo band",
                shares[:, 0].max(),
                1.0,
                source=LEE,
            ),
            Claim.below(f"{word}: and the variance", shares[:, 1].max(), 1.0, source=LEE),
        ]
    found.append(
        Claim.below("All nets have reached the limit: what is left of the loss, largest of the two largest widths",
                    np.abs(arrays["left"][:, -2:]).max(), 1e-3, source=OWN)
    )  # fmt: skip
    return found

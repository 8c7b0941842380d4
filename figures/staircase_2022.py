"""Hierarchical targets: mean-field networks climb the staircase from O(d) samples, kernels miss its last step.

Source: Abbe, Boix-Adsera, Misiakiewicz (2022), The merged-staircase property, arXiv:2202.08658, and (2023), SGD
learning on neural networks: leap complexity and saddle-to-saddle dynamics, arXiv:2302.11055; statements as remembered,
not re-read; no single figure of theirs. The bound for kernels and the rate of leap 2 are derived for this project.

Quick preset: about 18 s. Paper preset: about 105 s (processor time on one core, of a busy machine).

x is uniform on {-1, 1}^d. Targets: the staircase x1 + x1 x2 + x1 x2 x3 (leap 1), x1 + x1 x2 x3 (leap 2) and x1 x2 x3
alone (leap 3). Networks f = (4/m) sum_j a_j erf((w_j.x + b_j)/sqrt 2) with f = 0 at the start (a = +-1 in pairs,
w ~ N(0, I/(4d)), b at the quantiles of N(0, 1)) are trained by SGD that sees each of n = 50 d samples once; f^(S) is
the Fourier coefficient E f(x) prod_(i in S) x_i.

The limit d -> infinity has no d: a neuron is (a, u, b, s), u its weights on the relevant coordinates (0 at the start)
and s the norm of all others, whose sum is normal: Phi = a E erf((u.z + b + s G)/sqrt 2), on the 2^3 points z. Without
x1 x2, the weights on x2 and x3 stay 0 in it, and x1 x2 x3 is never learned. SGD comes near the limit as step and
1/batch vanish; here step = 2/d at most and batch = d, from the same biases. The same flow from weights u of size
d^(-1/2), "reduced", tells what large d does: after x1 is learned, u_2 and u_3 of a neuron grow together as exp(lam t),
lam = 4 |a E z_1 sigma''(u_1 z_1 + b + s G)|, and u_2 u_3 has to grow from 1/d: its time is ln d/(2 max lam) to leading
order. Neurons of the largest lam are few and take over slowly: the slope is 1.12 +- .02 of that from d = 100 to 10^4
and 1.05 +- .01 from 10^8 to 10^10 in the paper preset. The distance of SGD to the limit falls as d^(-.58 +- .04) from
d = 8 on, as d^(-.53 +- .08) from 16 on.

Kernels of <x, x'> (random features and tangent kernel of the same networks, inner weights in units of their size;
measured once, plain units of w change errors by 3 % at most; ridge regression, its penalty the best of three for the
test error): with n samples the span of K(x_i, .) has n dimensions, and by the symmetry of the cube each monomial of
degree k gets the same share of them, at most n/C(d, k), and no two can join. So the error is at least
sum_S c_S^2 (1 - n/C(d, |S|))_+ for any such kernel, and with a penalty fixed beforehand the coefficient that it learns
of a monomial is n/C(d, k) at most; both in the mean over samples.

What does not show as stated: x1 + x1 x2 x3 is learned from 50 d samples in these dimensions too, but later the larger d
(.94 +- .08 a unit of ln d in the paper preset; the reduced flow has .42 to .45). Noise of batches enlarges s and slows
SGD: in batches eight times as large it has .58 +- .22 between d = 32 and 128, and for the staircase needs 3.3, not 4.8.
SGD's time for the staircase is not quite constant either: 4.3 in d = 16, 4.9 in 128, 5.1 in 512, still rising a little
(.14 +- .06 a unit of ln d from 128 on). And kernels learn what there are fewer of than samples: x1 x2 and most of x1
x2 x3 in d = 16; in d = 64 half of x1 x2 (with less penalty .8 of it, and a larger error) and nothing of x1 x2 x3. That
they learn x1 alone holds for d far above 100, where only the bound is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np

import meanfield as mf
import solvers
from figures._staircase_2022 import SCALE, START, biases, fastest, limit, outer
from meanfield._confidence import bounds, farther
from meanfield.gallery import Claim, check_sizes
from solvers.errors import InputError
from solvers.protocols import Array

PAPERS = "Abbe, Boix-Adsera, Misiakiewicz 2022-23, arXiv:2202.08658 and 2302.11055, as remembered"
OWN = "derived and measured for this project"
STAIRCASE = mf.data.staircase(3)
TARGETS = (STAIRCASE, mf.data.Monomials([(0,), (0, 1, 2)]), mf.data.Monomials([(0, 1, 2)]))
NAMES = ("$x_1 + x_1x_2 + x_1x_2x_3$", "$x_1 + x_1x_2x_3$", "$x_1x_2x_3$")
STEPS = ("$x_1$", "$x_1x_2$", "$x_1x_2x_3$")
KERNELS = ("random features", "tangent kernel")
PENALTIES = (1e-9, 1e-6, 1e-3)


@dataclass(frozen=True)
class Config:
    """Dimensions, samples, sizes of the networks; kernels see kernel_ratios * kernel_dims samples."""

    dims: tuple[int, ...] = (16, 32, 128)
    samples: int = 50  # n/d of SGD
    step: float = 0.1
    t_end: float = 10.0
    intervals: int = 50  # between times that are saved
    width: int = 200
    seeds: int = 8
    kernel_dims: tuple[int, ...] = (16, 32)
    kernel_ratios: tuple[int, ...] = (50, 50)
    kernel_seeds: int = 8
    limit_dims: tuple[int, ...] = (8, 16, 32, 64)
    limit_seeds: int = 5
    far_dims: tuple[int, ...] = (100, 10**6, 10**10)  # of the reduced flow from small weights
    rests: int = 32  # draws of the irrelevant coordinates, each with all 8 points of the relevant ones
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        if min(self.step, self.t_end) <= 0:
            raise InputError("step and t_end must be positive")
        if self.width % 2:
            raise InputError(f"width must be even (neurons start in pairs), not {self.width}")
        for name in ("dims", "limit_dims", "kernel_dims"):
            if min(getattr(self, name)) < 4:
                raise InputError(f"{name} must be at least 4 (three coordinates and a rest)")
        for name, least in (("dims", 2), ("limit_dims", 3), ("far_dims", 3)):
            if len(set(getattr(self, name))) < least:
                raise InputError(f"{name} must hold at least {least} dimensions, for a slope")
        if min(self.seeds, self.kernel_seeds, self.limit_seeds) < 3:
            raise InputError("seeds, kernel_seeds and limit_seeds must be at least 3, for confidence bounds")
        if len(self.kernel_dims) != len(self.kernel_ratios):
            raise InputError("kernel_ratios must be as many as kernel_dims")
        if self.samples not in self.kernel_ratios or not set(self.kernel_dims) <= set(self.dims):
            raise InputError(
                "kernel_ratios must hold samples and dims all kernel_dims: networks and kernels are compared in one "
                "dimension, from as many samples"
            )
        for d in self.dims:
            if abs(self.batch(d) - round(self.batch(d))) > 1e-9 or round(self.batch(d)) < 1:
                raise InputError(
                    f"samples must make whole batches, samples * d * step / t_end, not {self.batch(d):g} of them in "
                    f"d = {d}: SGD sees each sample once"
                )

    @property
    def true_step(self) -> float:
        """The step that SGD takes: `step`, or less, that times of saving are steps."""
        return dividing(self.t_end / self.intervals, self.step)

    def batch(self, d: int) -> float:
        """Samples of a step in d dimensions, for samples * d by t_end."""
        return self.samples * d * self.true_step / self.t_end

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            dims=(16, 32, 64, 128, 256, 512),
            width=300,
            seeds=10,
            kernel_dims=(16, 32, 64, 32),
            kernel_ratios=(50, 50, 50, 100),
            kernel_seeds=4,
            limit_dims=(8, 16, 32, 64, 128),
            limit_seeds=8,
            far_dims=(100, 10**4, 10**6, 10**8, 10**10),
            rests=64,
        )


# Networks ---------------------------------------------------------------------------------------------------


def network(d: int) -> Any:
    """The network in d dimensions: `start` gives its neurons."""
    return mf.TwoLayer("erf", d=d, scale=SCALE)


def start(d: int, width: int, rng: np.random.Generator) -> mf.ParticleMeasure:
    """f = 0: pairs of neurons that differ in the sign of a, w ~ N(0, START^2 I/d)."""
    w = np.tile(START / np.sqrt(d) * rng.standard_normal((width // 2, d)), (2, 1))
    return mf.ParticleMeasure.from_arrays(a=outer(width), w=w, b=biases(width))


def dividing(interval: float, step: float) -> float:
    """The largest step, `step` at most, that divides an interval: what is saved is then where it is said to be."""
    return float(interval / np.ceil(interval / step - 1e-9))


def reduced(config: Config, times: Array, words: list[int]) -> tuple[Array, Array]:
    """Times, and the coefficient of x1 x2 x3 along the flow from weights d^(-1/2): (targets, dims, seeds, times).

    A seed draws the same normals in each dimension: what differs is their size alone.
    """
    times = 1.5 * times
    found = np.empty((2, len(config.far_dims), config.limit_seeds, times.size))
    for s in range(config.limit_seeds):
        normals = np.random.default_rng(words[s]).standard_normal((config.width // 2, 3))
        for j, d in enumerate(config.far_dims):
            u = np.tile(START / np.sqrt(d) * normals, (2, 1))
            for i in range(2):
                found[i, j, s] = coefficients(limit(TARGETS[i], times, config.width, u)[0])[:, 2]
    return times, found


def probe(d: int, rests: int, rng: np.random.Generator) -> Array:
    """Points (8 * rests, d): for each draw of the rest all points of the first three coordinates."""
    Z, _ = STAIRCASE.cube()
    X = np.where(rng.integers(0, 2, (rests, d)) == 1, 1.0, -1.0).repeat(len(Z), axis=0)
    X[:, :3] = np.tile(Z, (rests, 1))
    return X


def coefficients(f: Array) -> Array:
    """f^(S) for the three steps of the staircase, from values (..., 8 * rests) at points of `probe`."""
    Z, _ = STAIRCASE.cube()
    return np.asarray(f.reshape(*f.shape[:-1], -1, len(Z)).mean(axis=-2) @ STAIRCASE.features(Z) / len(Z))


def online(
    d: int, target: mf.data.Monomials, config: Config, step: float, batch: int, save: Array, word: int
) -> tuple[Array, Array]:
    """Points of a probe, and f there along SGD on fresh data: (8 * rests, d), (times, 8 * rests)."""
    draw = np.random.default_rng([word, d])
    mu = start(d, config.width, draw)
    X = probe(d, config.rests, draw)
    # the objective's own data only record a value that nothing here uses
    objective = mf.Objective(network(d), X[:1], target.value(X[:1]))
    run: Any = solvers.integrate(
        mf.SGD(objective, step, batch, rng=draw, sampler=mf.data.HypercubeSampler(target, d)),
        mu,
        save[-1],
        save=save,
        record={"f": lambda mu: objective.predict(mu, X)},
    )
    return X, np.asarray(run["f"])


# Kernels ----------------------------------------------------------------------------------------------------


def kernel(name: str, X: Array, Z: Array | None = None) -> Array:
    """Random features of a network at its start, or the tangent kernel with inner weights in units of their size."""
    size = START / np.sqrt(X.shape[1])
    make = mf.kernels.random_features if name == KERNELS[0] else _tangent
    return np.asarray(make(size * X, None if Z is None else size * Z, activation="erf", bias=True))


def _tangent(X: Array, Z: Array | None, **options: Any) -> Array:
    return mf.kernels.tangent(X, Z, w_law="gaussian", **options)


def ridge(name: str, d: int, n: int, config: Config, word: int) -> tuple[Array, Array]:
    """Test errors and coefficients of the staircase and of its last step alone, penalty by test error: (2,), (2, 3)."""
    draw = np.random.default_rng([word, d, n])
    targets = (TARGETS[0], TARGETS[2])
    X, _ = mf.data.hypercube(n, d, STAIRCASE, rng=draw)
    T = probe(d, 2 * config.rests, draw)
    y, h = (np.stack([target.value(P) for target in targets]) for P in (X, T))
    K, K_test = kernel(name, X), kernel(name, T, X)
    fits = [mf.kernels.ridge(K, y.T, lam).predict(K_test).T for lam in PENALTIES]
    errors = np.array([np.mean((f - h) ** 2, axis=1) for f in fits])
    best = np.argmin(errors, axis=0)
    return errors.min(axis=0), coefficients(np.array([fits[k][i] for i, k in enumerate(best)]))


def bound(target: mf.data.Monomials, d: Any, n: Any) -> Array:
    """``sum_S c_S^2 (1 - n/C(d, |S|))_+``: what any kernel of <x, x'> leaves of a target, in the mean."""
    pairs = zip(*np.broadcast_arrays(d, n), strict=True)
    return np.array(
        [
            sum(
                c**2 * max(0.0, 1.0 - m / comb(int(k), len(S)))
                for S, c in zip(target.sets, target.coefficients, strict=True)
            )
            for k, m in pairs
        ]
    )


# The figure -------------------------------------------------------------------------------------------------


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Coefficients (targets, dims, seeds, times, 3) and errors along SGD, in the limit, of kernels; distances."""
    most = max(config.seeds, config.kernel_seeds, config.limit_seeds)
    words = [int(word) for word in rng.integers(2**31, size=most)]
    times = np.linspace(0.0, config.t_end, config.intervals + 1)
    interval = times[1]
    flows = [limit(target, times, config.width) for target in TARGETS]
    limits = np.array([f for f, _ in flows])
    shape = (len(TARGETS), len(config.dims), config.seeds)
    learned, errors = np.empty((*shape, times.size, 3)), np.empty((*shape, times.size))
    for i, target in enumerate(TARGETS):
        for j, d in enumerate(config.dims):
            batch = round(config.batch(d))
            for s in range(config.seeds):
                X, f = online(d, target, config, config.true_step, batch, times, words[s])
                learned[i, j, s] = coefficients(f)
                errors[i, j, s] = np.mean((f - target.value(X)) ** 2, axis=1)
    shape = (len(KERNELS), len(config.kernel_dims), config.kernel_seeds)
    kernel_errors, kernel_learned = np.empty((*shape, 2)), np.empty((*shape, 2, 3))
    for k, name in enumerate(KERNELS):
        for j, (d, ratio) in enumerate(zip(config.kernel_dims, config.kernel_ratios, strict=True)):
            for s in range(config.kernel_seeds):
                kernel_errors[k, j, s], kernel_learned[k, j, s] = ridge(name, d, ratio * d, config, words[s])
    far_times, far = reduced(config, times, words)
    distances = np.empty((len(config.limit_dims), config.limit_seeds))
    for j, d in enumerate(config.limit_dims):
        for s in range(config.limit_seeds):
            _, f = online(d, STAIRCASE, config, dividing(interval, 2.0 / d), d, times, words[s])
            gaps = f - np.tile(limits[0], config.rests)
            distances[j, s] = np.sqrt(np.mean(gaps**2, axis=1)).max()
    return {
        "t": times, "samples": np.array(config.samples), "dims": np.array(config.dims), "learned": learned,
        "errors": errors, "limits": coefficients(limits), "kernel_dims": np.array(config.kernel_dims),
        "kernel_ratios": np.array(config.kernel_ratios), "kernel_errors": kernel_errors,
        "kernel_learned": kernel_learned, "far_dims": np.array(config.far_dims),
        "far_times": half_times(far_times, far), "fastest": np.array(fastest(flows[1][1])),
        "limit_dims": np.array(config.limit_dims), "distances": distances,
    }  # fmt: skip


def half_times(t: Array, curves: Array) -> Array:
    """When curves (..., times) first pass 1/2, between times on a line; NaN where they do not."""
    above = curves >= 0.5
    k = np.argmax(above, axis=-1)
    found = above.any(axis=-1) & (k > 0)
    k = np.maximum(k, 1)
    low, high = (np.take_along_axis(curves, at[..., None], axis=-1)[..., 0] for at in (k - 1, k))
    share = (0.5 - low) / np.where(found, high - low, 1.0)
    return np.where(found, t[k - 1] + share * (t[k] - t[k - 1]), np.nan)


def growth(dims: Array, times: Array) -> Array:
    """Slope of times (dims, ...) over ln d, one for each column."""
    centred = np.log(dims) - np.log(dims).mean()
    return np.asarray(np.tensordot(centred, times, axes=(0, 0)) / (centred @ centred))


# The picture ------------------------------------------------------------------------------------------------


def draw(arrays: dict[str, Any]) -> Any:
    """Climbing the staircase, by target and dimension; times; kernels; the way to the limit."""
    with mf.plotting.style():
        figure, panels = mf.plotting.figure(2, 3, size=(13.8, 7.8))
        _climbing(panels[0, 0], arrays)
        _dimensions(panels[0, 1], arrays)
        _times(panels[0, 2], arrays)
        _errors(panels[1, 0], arrays)
        _steps(panels[1, 1], arrays)
        _limit(panels[1, 2], arrays)
    return figure


def _climbing(ax: Any, arrays: dict[str, Any]) -> None:
    t, curves = arrays["t"], arrays["learned"][0, -1]
    for k, name in enumerate(STEPS):
        colour = mf.plotting.COLOURS[k]
        ends = np.array([bounds(values) for values in curves[:, :, k].T])
        ax.fill_between(t, ends[:, 0], ends[:, 1], color=colour, alpha=0.25, lw=0)
        ax.plot(t, curves[:, :, k].mean(axis=0), color=colour, label=name)
        ax.plot(t, arrays["limits"][0, :, k], "--", color=colour, lw=1.1)
    ax.axhline(1, color="#999999", lw=0.8)
    ax.set_xlabel(rf"time $t$ ({arrays['samples'] / t[-1]:g}$\,t$ samples for each dimension)")
    ax.set_ylabel(r"Fourier coefficient $\hat f(S)$")
    ax.set_title(f"Staircase, SGD in $d = {arrays['dims'][-1]}$; dashed: infinite $d$")
    ax.legend(loc="lower right")


def _dimensions(ax: Any, arrays: dict[str, Any]) -> None:
    t, dims = arrays["t"], arrays["dims"]
    for i, name in enumerate(NAMES):
        for j in range(len(dims)):
            share = 0.35 + 0.65 * j / (len(dims) - 1)
            last = j == len(dims) - 1
            ax.plot(t, arrays["learned"][i, j, :, :, 2].mean(axis=0), color=mf.plotting.COLOURS[i], alpha=share,
                    lw=0.8 + share, label=name if last else None)  # fmt: skip
    ax.axhline(0.5, color="#999999", lw=0.8, ls=":")
    ax.set_xlabel("time $t$")
    ax.set_ylabel(r"coefficient of $x_1x_2x_3$")
    ax.set_title(f"Three targets, $d = {dims[0]}$ (pale) to ${dims[-1]}$")
    ax.legend(loc="upper left")


def _times(ax: Any, arrays: dict[str, Any]) -> None:
    for i in range(2):
        colour, times = mf.plotting.COLOURS[i], passed(arrays, i)
        ends = np.array([bounds(values) for values in times])
        slope = growth(arrays["dims"], times)
        ax.errorbar(arrays["dims"], times.mean(axis=1), np.ptp(ends, axis=1) / 2, fmt="os"[i], color=colour,
                    label=f"{NAMES[i]}: {slope.mean():.2f} a unit of $\\ln d$")  # fmt: skip
        ax.plot(arrays["far_dims"], arrays["far_times"][i].mean(axis=1), "os"[i] + "--", color=colour, lw=1.0,
                mfc="white", label="reduced flow" if i == 0 else None)  # fmt: skip
    ax.set_xscale("log")
    line = np.array([arrays["far_dims"][0], arrays["far_dims"][-1]])
    rise = np.log(line / line[-1]) / (2 * arrays["fastest"])
    ax.plot(line, arrays["far_times"][1, -1].mean() + 0.4 + rise, color="#333333", lw=1.1, ls=(0, (4, 2)),
            label=r"slope $1/(2 \max\lambda)$")  # fmt: skip
    ax.set_ylim(0, 1.9 * np.nanmax([1.0, *passed(arrays, 1).flat, *arrays["far_times"].flat]))
    ax.set_xlabel("dimension $d$")
    ax.set_ylabel("$t$ where it passes 1/2")
    ax.set_title("When $x_1x_2x_3$ is learned (alone: never)")
    ax.legend(loc="upper left")


def _errors(ax: Any, arrays: dict[str, Any]) -> None:
    dims, errors, colours = arrays["dims"], arrays["errors"][..., -1], mf.plotting.COLOURS
    for i, name in enumerate(NAMES):
        ends = np.array([bounds(values) for values in errors[i]]) / TARGETS[i].variance
        means = errors[i].mean(axis=1) / TARGETS[i].variance
        ax.fill_between(dims, np.maximum(ends[:, 0], 1e-4), ends[:, 1], color=colours[i], alpha=0.2, lw=0)
        ax.plot(dims, means, "o-", color=colours[i], label=f"SGD, {name}")
    same = arrays["kernel_ratios"] == arrays["samples"]
    for k, name in enumerate(KERNELS):
        values = arrays["kernel_errors"][k, same, :, 0].mean(axis=1) / STAIRCASE.variance
        ax.plot(
            arrays["kernel_dims"][same], values, "sD"[k], color=colours[3 + k], label=f"{name}, staircase"
        )
    line = np.unique(np.geomspace(dims[0], 20 * dims[-1], 200).astype(int))
    ax.plot(line, bound(STAIRCASE, line, arrays["samples"] * line) / STAIRCASE.variance, "k--", lw=1.1,
            label=r"least of kernels of $\langle x, x'\rangle$, staircase")  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(5e-4, 400)
    ax.set_xlabel("dimension $d$")
    ax.set_ylabel("test error over variance")
    ax.set_title(f"All see $n = {arrays['samples']}\\,d$ samples")
    ax.legend(loc="upper right", fontsize=6.8, ncols=2, columnspacing=1.0)


def _steps(ax: Any, arrays: dict[str, Any]) -> None:
    one = fair(arrays)
    d = int(arrays["kernel_dims"][one])
    at = int(np.flatnonzero(arrays["dims"] == d)[0])
    groups = [("SGD", 0, [*arrays["learned"][0, at, :, -1].T, arrays["learned"][2, at, :, -1, 2]])]
    for k, name in enumerate(KERNELS):
        found = arrays["kernel_learned"][k, one]
        groups.append((name, 3 + k, [*found[:, 0].T, found[:, 1, 2]]))
    for g, (label, c, columns) in enumerate(groups):
        ends = np.array([bounds(values) for values in columns])
        means = [values.mean() for values in columns]
        ax.bar(np.arange(4) + 0.27 * (g - 1), means, 0.25, yerr=np.ptp(ends, axis=1) / 2,
               color=mf.plotting.COLOURS[c], label=label, error_kw={"lw": 1.0})  # fmt: skip
    ax.axhline(0, color="#999999", lw=0.8)
    ax.set_xticks(range(4), [*STEPS, f"{STEPS[2]}\nalone"])
    ax.set_ylabel(r"coefficient learned, $\hat f(S)$")
    ax.set_title(f"Learned in $d = {d}$ from $n = {arrays['samples']}\\,d$")
    ax.legend(loc="upper right")


def _limit(ax: Any, arrays: dict[str, Any]) -> None:
    d, values = arrays["limit_dims"], arrays["distances"]
    mf.plotting.slope(d, values, ax=ax, xlabel="dimension $d$", label="SGD, step $2/d$, batch $d$",
                      ylabel=r"$\sup_t\,(E|f - f_\infty|^2)^{1/2}$")  # fmt: skip
    ax.plot(d, 0.7 * values[-1].mean() * (d / d[-1]) ** -0.5, color="#333333", lw=1.1, ls=(0, (4, 2)),
            label="slope $-1/2$, that of the weights on $x_1, x_2, x_3$")  # fmt: skip
    ax.legend(loc="upper right")
    ax.set_xticks(d, [str(k) for k in d])
    ax.set_xticks([], minor=True)
    ax.set_title("Staircase: distance to infinite dimension")


def passed(arrays: dict[str, Any], i: int) -> Array:
    """When the coefficient of x1 x2 x3 passes 1/2, (dims, seeds)."""
    return half_times(arrays["t"], arrays["learned"][i, ..., 2])


def least_bound(values: Array) -> float:
    """The least lower end of the intervals over seeds, the last axis."""
    return min(bounds(row)[0] for row in values.reshape(-1, values.shape[-1]))


def fair(arrays: dict[str, Any], sign: int = 1) -> int:
    """Kernels in the largest dimension (the smallest for sign -1) where they see as many samples as SGD."""
    same = np.flatnonzero(arrays["kernel_ratios"] == arrays["samples"])
    return int(same[np.argmax(sign * arrays["kernel_dims"][same])])


# The claims -------------------------------------------------------------------------------------------------


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """Who learns what from n = 50 d samples, in which order, how its time grows with d; kernels; the limit."""
    dims, t, n = arrays["dims"], arrays["t"], int(arrays["samples"])
    final, error = arrays["learned"][..., -1, :], arrays["errors"][..., -1]
    order = np.array([half_times(t, arrays["learned"][0, ..., k]) for k in range(3)])
    gaps = np.diff(order, axis=0).reshape(2, -1)
    slopes = [growth(dims, passed(arrays, i)) for i in range(2)]
    rate = 1 / (2 * float(arrays["fastest"]))
    far = [growth(arrays["far_dims"][at:], arrays["far_times"][i, at:]) for i, at in ((0, 0), (1, -2))]
    same, least, most = fair(arrays), fair(arrays, -1), int(np.argmax(arrays["kernel_ratios"]))
    d = int(arrays["kernel_dims"][same])
    trained = {int(k): bounds(values)[1] for k, values in zip(dims, error[0], strict=True)}
    kernels, learned = arrays["kernel_errors"], arrays["kernel_learned"]
    floor = bound(STAIRCASE, arrays["kernel_dims"], arrays["kernel_ratios"] * arrays["kernel_dims"])
    shares = np.array([min(1.0, r * k / comb(int(k), 3)) for k, r in zip(
        arrays["kernel_dims"], arrays["kernel_ratios"], strict=True
    )])  # fmt: skip
    nearing = bounds(growth(arrays["limit_dims"], np.log(arrays["distances"])))
    found = [
        Claim.below(f"SGD learns the staircase from n = {n} d samples: test error over variance, upper 95 % bound over "
                    "seeds, largest of all d", max(bounds(values)[1] for values in error[0]) / STAIRCASE.variance, 0.05,
                    source=PAPERS),
        Claim.above("step by step: x1 passes 1/2 before x1 x2, time between, lower bound", bounds(gaps[0])[0], 0.5,
                    source=PAPERS),
        Claim.above("and x1 x2 before x1 x2 x3", bounds(gaps[1])[0], 0.5, source=PAPERS),
        Claim.above("With leap 2 the time for x1 x2 x3 grows with d: slope over ln d, lower bound",
                    bounds(slopes[1])[0], 0.0, source=PAPERS),
        Claim.above("and faster than with leap 1: difference of the slopes, lower bound",
                    bounds(slopes[1] - slopes[0])[0], 0.0, source=PAPERS),
        Claim.above(f"so that here x1 + x1 x2 x3 is learned from {n} d samples too (the asymptotic statement does not "
                    "show in these dimensions): coefficient in the largest d, lower bound",
                    bounds(final[1, -1, :, 2])[0], 0.5, source=OWN),
        Claim.within("The reduced flow says of much larger d that the time of leap 1 does not grow: slope over ln d, "
                     "farther bound", farther(far[0], 0.0), 0.0, absolute=0.05, source=PAPERS),
        Claim.within("and that of leap 2 by 1/(2 max lam): slope between the two largest d over that, farther bound",
                     farther(far[1] / rate, 1.0), 1.0, absolute=0.1, source=OWN),
        Claim.above("SGD does not reproduce the first in these dimensions, its time of leap 1 still grows: slope, "
                    "lower bound", bounds(slopes[0])[0], 0.0, source=OWN),
        Claim.above("nor the second, its time of leap 2 grows faster: slope over 1/(2 max lam), lower bound",
                    bounds(slopes[1] / rate)[0], 1.0, source=OWN),
        Claim.below("With leap 3 x1 x2 x3 is not learned: coefficient in the largest d, farther bound from 0",
                    np.abs(bounds(final[2, -1, :, 2])).max(), 0.1, source=PAPERS),
        Claim.above("and nothing else: error over variance, lower bound", bounds(error[2, -1])[0], 0.9, source=PAPERS),
        Claim.below("In infinite d the coefficient of x1 x2 x3 stays 0 with leap 2 and 3: largest size",
                    np.abs(arrays["limits"][1:, :, 2]).max(), 1e-12, source=PAPERS),
        Claim.above("and with leap 1 it is learned: at the end", arrays["limits"][0, -1, 2], 0.9, source=PAPERS),
        Claim.below("SGD comes near the limit, as d^(-1/2), the size of weights on x1, x2, x3, or faster, within .1: "
                    "log-log slope of the distance, upper bound", nearing[1], -0.4, source=OWN),
        Claim.above("No kernel of <x, x'> beats the bound: least difference of error and bound, lower bound over seeds",
                    least_bound(kernels[..., 0] - floor[:, None]), 0.0, source=OWN),
        Claim.above(f"From as many samples in d = {d} kernels with the best penalty err ten times more than SGD: "
                    "least quotient of errors, lower bound against its upper",
                    least_bound(kernels[:, same, :, 0]) / trained[d], 10.0, source=PAPERS),
        Claim.below("and learn of x1 x2 x3 no more than n/C(d, 3), in any d: largest quotient, upper bound",
                    -least_bound(-learned[..., 0, 2] / shares[:, None]), 1.0, source=OWN),
        Claim.above("and nothing of it alone: least error over variance, lower bound",
                    least_bound(kernels[:, same, :, 1]), 0.9, source=PAPERS),
        Claim.above("and of x1 x2 they learn less than in the smallest d: least difference, lower bound",
                    least_bound(learned[:, least, :, 0, 1] - learned[:, same, :, 0, 1]), 0.0, source=PAPERS),
        Claim.above("There they do learn it, with more samples than such monomials: least coefficient, lower bound",
                    least_bound(learned[:, least, :, 0, 1]), 0.9, source=OWN),
    ]  # fmt: skip
    if arrays["kernel_ratios"][most] > arrays["samples"]:
        d, more = int(arrays["kernel_dims"][most]), int(arrays["kernel_ratios"][most])
        found.append(
            Claim.above(f"From {more} d samples in d = {d} kernels still err more than SGD from {n} d: that quotient",
                        least_bound(kernels[:, most, :, 0]) / trained[d], 10.0, source=OWN)
        )  # fmt: skip
    return found

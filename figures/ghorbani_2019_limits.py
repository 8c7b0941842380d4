"""A quadratic target and N neurons: random features, tangent features and a trained network in the population.

Source: Ghorbani, Mei, Misiakiewicz and Montanari (2019), Limitations of lazy training of two-layers neural networks,
arXiv 1906.08899, the quadratic model with d = 450: setup as read in the published code, statements as remembered. All
formulas below are derived for this project.

Quick preset: about 4 s. Paper preset: about 80 s (processor time on a busy machine, one thread).

x ~ N(0, I_d), y = (sum gamma_i x_i^2 - sum gamma_i)/sqrt(d) = x'Bx - tr B, gamma ~ Exp(1). With quadratic neurons and a
constant each of the three is f = x'Mx + c, and with the best c the risk is E(f - y)^2 = 2 |M - B|^2 (Frobenius), drawn
over 2 |B|^2, that of f = 0. No sample is needed:

- random features, M = sum a_i w_i w_i': normal equations with the matrix (w_i.w_j)^2 and right side w_i'Bw_i;
- tangent features, M = sum (a_i w_i' + w_i a_i')/2: with P the projection on the complement of the span of the w_i,
  M is any matrix with PMP = 0, so that PBP is left;
- network, M = sum w_i w_i': at best the N largest eigenvalues of B. Gradient flow on E(f - y)^2/2 in the neurons is
  M' = 4 (BM + MB) - 8 M^2, and exactly W(t) = e^{4Bt} W (1 + W' ((e^{8Bt} - 1)/B) W)^{-1/2}; in the library's mean over
  neurons with ``scale`` = N that is time t/N.

Means over random directions w_i: tangent features leave |PBP|^2 with the moments of a random projection, (1 - rho)^2 +
rho (1 - rho)/2 of |B|^2 for N = rho d and d large; the best network 1 - rho (1 - log rho + (log rho)^2/2). Random
features see the trace of B well, and of the rest no more than their share in its dimension: with D = d(d + 1)/2,
1 - [g (tr B)^2/d + (N - g)/(D - 1) (|B|^2 - (tr B)^2/d)]/|B|^2, where g is the share of the identity in their span.
That is exact; g = s/(1 + s) with s = N/((d - 1)(1 - N/(D - 1))) takes the w_i w_i' less their mean for isotropic. For
N ~ d it is rho/(1 + rho), and (tr B)^2/(d |B|^2) tends to 1/2: more than half of the risk stays at any rho.
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

PAPER = "Ghorbani et al. 2019, arXiv:1906.08899, as remembered"
OWN = "derived for this project"
TIMES = 33  # moments shown


@dataclass(frozen=True)
class Config:
    """Widths are fractions of d, those of random features also fractions of D = d(d + 1)/2 in dimension `d_far`."""

    d: int = 120
    ratios: tuple[float, ...] = (0.1, 0.25, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0)
    d_far: int = 30
    far: tuple[float, ...] = (0.03, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1)
    draws: int = 6
    t_end: float = 60.0
    shown: tuple[float, ...] = (0.1, 0.4, 0.8, 1.2)
    sgd_ratio: float = 0.4
    sgd_step: float = 0.01
    sgd_batch: int = 240
    sgd_t_end: float = 12.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        for name in ("ratios", "far"):
            if tuple(sorted(set(getattr(self, name)))) != getattr(self, name) or getattr(self, name)[0] <= 0:
                raise InputError(f"{name} must be positive and rise, not {getattr(self, name)}")
        if not set(self.shown) <= set(self.ratios):
            raise InputError(f"shown must be some of ratios = {self.ratios}, not {self.shown}")
        if min(self.ratios) >= 1.0 or max(self.ratios) < 1.0:
            raise InputError(f"ratios must lie on both sides of 1, not {self.ratios}")
        for name in ("t_end", "sgd_ratio", "sgd_step", "sgd_t_end"):
            if getattr(self, name) == 0:
                raise InputError(f"{name} must be positive, not 0")

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            d=450,
            ratios=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0),
            d_far=40,
            draws=4,
            t_end=120.0,
            sgd_batch=900,
            sgd_t_end=25.0,
        )


def count(ratio: float, whole: int) -> int:
    """A fraction of `whole` neurons, at least one."""
    return max(1, round(ratio * whole))


def target(d: int, rng: np.random.Generator) -> Array:
    """Eigenvalues gamma_i/sqrt(d) of B, falling; B is diagonal."""
    return np.asarray(np.sort(rng.exponential(size=d))[::-1] / np.sqrt(d))


# Exact risks over the risk of 0 -----------------------------------------------------------------------------


def random_features(B: Array, W: Array) -> float:
    """The least 2 |M - diag(B)|^2 over M = sum a_i w_i w_i', over 2 |B|^2, for the rows w_i of W (N, d)."""
    W = W / np.linalg.norm(W, axis=1, keepdims=True)
    seen = (W * W) @ B
    # Beyond D neurons the matrix is singular: least squares.
    fitted = np.linalg.lstsq((W @ W.T) ** 2, seen, rcond=1e-12)[0]
    return float(1.0 - seen @ fitted / (B @ B))


def tangent_features(B: Array, W: Array) -> float:
    """|PBP|^2 over |B|^2, P the projection on the complement of the rows of W."""
    values, directions = np.linalg.svd(W, full_matrices=W.shape[0] < B.size)[1:]
    rest = directions[np.sum(values > 1e-10 * values[0]) :].T
    return float(np.sum((rest.T * B @ rest) ** 2) / (B @ B))


def best_network(B: Array, N: int) -> float:
    """What the N largest eigenvalues leave."""
    return float(np.sum(B[N:] ** 2) / (B @ B))


def network_flow(B: Array, W: Array, times: Array) -> Array:
    """|M(t) - diag(B)|^2 over |B|^2 at rising `times` along the gradient flow from the rows of W, exactly.

    The solution is applied over pieces of time in which no exponential exceeds e^8: it is a flow, so nothing is lost.
    """
    # M is what counts: beyond d neurons, d of them with the same M.
    U = W.T.copy() if W.shape[0] <= B.size else np.asarray(np.linalg.qr(W, mode="r")).T
    t, found = 0.0, []
    for end in times:
        pieces = max(1, int(np.ceil((end - t) * B[0]))) if end > t else 0
        for _ in range(pieces):
            U = advance(B, U, (end - t) / pieces)
        t = float(end)
        found.append(relative_risk(B, U.T))
    return np.array(found)


def advance(B: Array, U: Array, time: float) -> Array:
    """Some U (d, N) with U U' = M(t + time), from U U' = M(t)."""
    from scipy.linalg import solve_triangular

    growth = np.expm1(8 * B * time) / B
    factor = np.linalg.cholesky(np.eye(U.shape[1]) + (U.T * growth) @ U)
    # A factor of the square root's square serves as well: M is the same.
    return np.asarray(solve_triangular(factor, U.T * np.exp(4 * B * time), lower=True).T)


def relative_risk(B: Array, W: Array) -> float:
    """|M - diag(B)|^2 over |B|^2, M = sum w_i w_i'."""
    return float(np.sum((W.T @ W - np.diag(B)) ** 2) / (B @ B))


# Their means over random directions -------------------------------------------------------------------------


def random_features_mean(B: Array, N: Array) -> Array:
    """The docstring's formula."""
    d = B.size
    D, N = d * (d + 1) / 2, np.minimum(np.asarray(N, dtype=np.float64), d * (d + 1) / 2)
    flat = B.sum() ** 2 / d
    room = np.maximum(1.0 - N / (D - 1), 1e-12)
    s = N / ((d - 1) * room)
    g = s / (1 + s)
    return np.asarray(1.0 - (g * flat + np.minimum(1.0, (N - g) / (D - 1)) * (B @ B - flat)) / (B @ B))


def tangent_features_mean(B: Array, N: Array) -> Array:
    """E |PBP|^2/|B|^2, exactly: E P_ij P_kl = a d_ij d_kl + b (d_ik d_jl + d_il d_jk) for a random projection P.

    The traces of its contractions, k^2 and k for rank k = d - N, give a and b.
    """
    d, k = B.size, np.maximum(0.0, B.size - np.asarray(N, dtype=np.float64))
    a, b = np.linalg.solve([[d * d, 2 * d], [d, d * (d + 1)]], np.stack([k * k, k]).reshape(2, -1))
    return np.asarray(a + b + b * B.sum() ** 2 / (B @ B)).reshape(k.shape)


# The network by SGD -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CentredSquare:
    """``Phi(w; x) = (w.x)^2 - |w|^2``: a quadratic neuron beside the best constant, which is never trained.

    f = scale * int Phi dmu = x'Mx - tr M with M = scale * int w w' dmu.
    """

    d: int
    scale: float = 1.0

    @property
    def dim(self) -> int:
        """Coordinates of a neuron."""
        return self.d

    def features(self, positions: Array, X: Array) -> Array:
        """(m, n)."""
        return np.asarray((positions @ X.T) ** 2 - np.sum(positions**2, axis=1)[:, None])

    def vjp(self, positions: Array, X: Array, q: Array) -> Array:
        """sum_i q_i 2 ((w_j.x_i) x_i - w_j), (m, d)."""
        return np.asarray(2 * (((positions @ X.T) * q) @ X - np.sum(q) * positions))


def online_sgd(config: Config, B: Array, W: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Times and exact relative risks along SGD, each batch drawn afresh; rate `sgd_step` for each neuron."""
    N, d = W.shape

    def sampler(generator: np.random.Generator, size: int) -> tuple[Array, Array]:
        X = generator.standard_normal((size, d))
        return X, X**2 @ B - B.sum()

    # The objective's own data only record a value that nothing here uses.
    objective = mf.Objective(CentredSquare(d, scale=float(N)), *sampler(rng, 1))
    steps = np.unique(np.round(np.geomspace(1.0, config.sgd_t_end / config.sgd_step, 16)))
    run = solvers.integrate(
        mf.SGD(objective, step=config.sgd_step / N, batch=config.sgd_batch, rng=rng, sampler=sampler),
        mf.ParticleMeasure(W),
        steps[-1] * config.sgd_step / N,
        save=steps * config.sgd_step / N,
        record={"risk": lambda mu: relative_risk(B, mu.positions)},
    )
    return run.t * N, np.asarray(run["risk"])


# The figure -------------------------------------------------------------------------------------------------


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Relative risks: (ratios, draws) in the dimension d, (far, draws) in d_far, (shown, times) along the flow."""
    for_target, for_weights, for_far, for_flow, for_sgd = rng.spawn(5)
    d = config.d
    B = target(d, for_target)
    widths = np.array([count(ratio, d) for ratio in config.ratios])
    times = np.concatenate([[0.0], np.geomspace(0.1, config.t_end, TIMES)])
    risks = np.empty((3, widths.size, config.draws))
    flows = np.empty((widths.size, times.size))
    for i, N in enumerate(widths):
        for k in range(config.draws):
            W = for_weights.standard_normal((N, d))
            risks[0, i, k], risks[1, i, k] = random_features(B, W), tangent_features(B, W)
        risks[2, i] = best_network(B, N)
        flows[i] = network_flow(B, start(N, B, for_flow), times)
    far = target(config.d_far, for_target)
    dimension = config.d_far * (config.d_far + 1) // 2
    many = np.array([count(ratio, dimension) for ratio in config.far])
    far_risks = np.array(
        [
            [random_features(far, for_far.standard_normal((N, config.d_far))) for _ in range(config.draws)]
            for N in many
        ]
    )
    N = count(config.sgd_ratio, d)
    W = start(N, B, for_flow)
    t_sgd, sgd = online_sgd(config, B, W, for_sgd)
    return {
        "B": B,
        "widths": widths,
        "random": risks[0],
        "tangent": risks[1],
        "best": risks[2, :, 0],
        "times": times,
        "flows": flows,
        "shown": np.array([config.ratios.index(ratio) for ratio in config.shown]),
        "B_far": far,
        "many": many,
        "random_far": far_risks,
        "sgd_width": np.array(N),
        "t_sgd": t_sgd,
        "sgd": sgd,
        "sgd_flow": network_flow(B, W, t_sgd),
    }


def start(N: int, B: Array, rng: np.random.Generator) -> Array:
    """Normal neurons, whose M has a quarter of the trace of B in the mean."""
    return np.asarray(0.5 * np.sqrt(B.sum() / (N * B.size)) * rng.standard_normal((N, B.size)))


# The picture ------------------------------------------------------------------------------------------------


def draw(arrays: dict[str, Any]) -> Any:
    """Risks against N/d; random features up to all that there are; the network in training."""
    with mf.plotting.style():
        figure, (left, middle, right) = mf.plotting.figure(1, 3, size=(13.2, 4.1))
        _limits(left, arrays)
        _far(middle, arrays)
        _training(right, arrays)
    return figure


RISK = r"risk $E(f - y)^2\,/\,E y^2$"


def _limits(ax: Any, arrays: dict[str, Any]) -> None:
    B, colours = arrays["B"], mf.plotting.COLOURS
    d = B.size
    ratio, line = arrays["widths"] / d, np.linspace(0.0, 1.04 * arrays["widths"][-1] / d, 400)
    ax.plot(line, random_features_mean(B, line * d), color=colours[1], lw=1.2)
    ax.plot(line, tangent_features_mean(B, line * d), color=colours[0], lw=1.2)
    N = np.arange(d + 1)
    ax.plot(N / d, [best_network(B, n) for n in N], color=colours[2], lw=1.2)
    for name, values, marker, k in (("random features", arrays["random"].mean(axis=1), "o", 1),
                                    ("tangent features", arrays["tangent"].mean(axis=1), "s", 0),
                                    ("network, gradient flow", arrays["flows"][:, -1], "^", 2)):  # fmt: skip
        ax.plot(
            ratio, values, marker, color=colours[k], mfc="white", mew=1.3, ms=5.5, label=name, clip_on=False
        )
    ax.plot(
        arrays["sgd_width"] / d, arrays["sgd"][-1], "x", color="#333333", mew=1.6, ms=7, label="network, SGD"
    )
    ax.axvline(1.0, color="#999999", lw=0.8, ls=":")
    ax.set(xlim=(0, line[-1]), ylim=(0, 1.02), xlabel="neurons over inputs $N/d$", ylabel=RISK)
    ax.set_title(f"$d = {d}$; marks: drawn neurons, lines: theory")
    ax.legend(loc="upper right", bbox_to_anchor=(1.0, 0.52))


def _far(ax: Any, arrays: dict[str, Any]) -> None:
    B, colours = arrays["B_far"], mf.plotting.COLOURS
    d = B.size
    D = d * (d + 1) // 2
    line = np.linspace(0.0, arrays["many"][-1] / D, 600)
    ax.plot(line, random_features_mean(B, line * D), color=colours[1], lw=1.2)
    ax.plot(arrays["many"] / D, arrays["random_far"].mean(axis=1), "o", color=colours[1], mfc="white", mew=1.3, ms=5.5,
            clip_on=False)  # fmt: skip
    ax.axvline(2 / (d + 1), color="#999999", lw=0.8, ls=":")
    ax.annotate(
        "$N = d$", (2 / (d + 1), 1), xytext=(4, -4), textcoords="offset points", fontsize=8.5, va="top"
    )
    ax.set(xlim=(0, line[-1]), ylim=(0, 1.02), xlabel="$N$ over the number of quadratic forms $d(d + 1)/2$")
    ax.set(ylabel=RISK)
    ax.set_title(f"Random features need them all ($d = {d}$)")


def _training(ax: Any, arrays: dict[str, Any]) -> None:
    t, colours = arrays["times"], mf.plotting.COLOURS
    d = arrays["B"].size
    for k, i in enumerate(arrays["shown"]):
        best = arrays["best"][i]
        ax.plot(
            t[1:],
            arrays["flows"][i, 1:],
            color=colours[k % 7],
            label=f"$N/d = {arrays['widths'][i] / d:.2g}$",
        )
        # that of d or more neurons is 0
        if best > 0:
            ax.axhline(best, color=colours[k % 7], lw=0.9, ls=(0, (4, 2)))
    ax.plot(arrays["t_sgd"][1:], arrays["sgd"][1:], "x", color="#333333", mew=1.3,
            label=f"SGD, $N/d = {arrays['sgd_width'] / d:.2g}$")  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="time of gradient flow in the neurons", ylabel=RISK)
    ax.set_ylim(2e-5, 1.5)
    ax.set_xlim(left=t[1])
    ax.set_title("Network: exact flow, dashed: the best of rank $N$")
    ax.legend(loc="lower left")


# The claims -------------------------------------------------------------------------------------------------


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """The three limits against exact risks, who reaches 0 and who does not, and the network's training."""
    B, widths, best = arrays["B"], arrays["widths"], arrays["best"]
    d, D = B.size, arrays["B_far"].size * (arrays["B_far"].size + 1) // 2
    few, enough, many = widths < d, widths >= d, arrays["many"]
    random, tangent, network = (
        arrays["random"].mean(axis=1),
        arrays["tangent"].mean(axis=1),
        arrays["flows"][:, -1],
    )
    far = arrays["random_far"].mean(axis=1)
    at = int(np.argmin(abs(widths - arrays["sgd_width"])))
    # In 30 dimensions a draw scatters about its mean by .03, six of them by .01, and the formula for g is off by .01.
    return [
        Claim.below("Random features see the trace and little more: largest deviation from the formula",
                    np.abs(random - random_features_mean(B, widths)).max(), 0.02, source=OWN),
        Claim.below("Tangent features leave what lies across N directions: largest deviation from the exact mean",
                    np.abs(tangent - tangent_features_mean(B, widths)).max(), 0.02, source=OWN),
        Claim.below("Gradient flow ends at the best network of its width: largest excess",
                    np.abs(network - best).max(), 0.005, source=PAPER),
        Claim.below("For N >= d tangent features reach 0", np.abs(tangent[enough]).max(), 1e-12, source=PAPER),
        Claim.below("and so does the network", np.abs(network[enough]).max(), 1e-3, source=PAPER),
        Claim.above("and random features do not: least risk", random[enough].min(), 0.5, source=PAPER),
        Claim.true("At every width below d the network beats tangent features, and these random ones",
                   np.all((network < tangent) & (tangent < random), where=few),
                   measured=f"{np.sum((network < tangent) & (tangent < random) & few)} of {few.sum()} widths",
                   source=PAPER),
        Claim.below("Random features up to d(d + 1)/2 neurons: largest deviation from the formula",
                    np.abs(far - random_features_mean(arrays["B_far"], many)).max(), 0.04, source=OWN),
        Claim.above("They miss something just before: least risk of fewer", far[many < D].min(), 0.01, source=OWN),
        Claim.below("and nothing from d(d + 1)/2 on", np.abs(far[many >= D]).max(), 1e-6, source=OWN),
        Claim.below("Online SGD follows the exact flow: largest difference",
                    np.abs(arrays["sgd"] - arrays["sgd_flow"]).max(), 0.05, source=OWN),
        Claim.above("and ends below the least risk of as many tangent features: theirs over its",
                    tangent[at] / arrays["sgd"][-1], 2.0, source=PAPER),
    ]  # fmt: skip

"""How many particles are enough: success maps for spikes on the circle and for a network.

Source: Chizat (2019), Sparse optimization on measures with over-parameterized gradient descent, arXiv:1907.10300,
its two maps of success against the number of particles and the ratio of step sizes. Parameters are those of the
author's published code.

Quick preset: about 3 s. Paper preset: about 5 min (CPU time on one core).
Spikes: J(nu) = 1/2 |int Phi dnu - y|^2 + .3 |nu| on the circle, frequencies up to 8, five random spikes; mirror
descent from m equispaced particles, alpha = .002. Network: m neurons relu((w |w|).x) in dimension 20 learn a teacher
of five, with the penalty (lam/m) sum |w|^2, lam = 5e-4, by SGD on fresh samples of the sphere; the part of the
gradient along w moves at rate alpha, the rest at rate beta. Both maps show, for each cell, the objective after a fixed
number of iterations minus the least of all cells, averaged over random problems, over the largest such average.

Random problems are not the paper's (its generator is Julia's), and all networks of one problem see the same batches.
The quick preset has two of the five ratios for spikes, and for the network one problem of five, two of the three
ratios, and 4000 steps of .1 (time 400, as in the paper) for 100000 of .004.
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

SPIKES = mf.Spikes(dim=1, frequencies=8)
SPIKE_PENALTY, NEURON_PENALTY = 0.3, 5e-4
TRUE_SPIKES = TRUE_NEURONS = 5


@dataclass(frozen=True)
class Config:
    """Two experiments: spikes, then networks."""

    draws: int = 10  # random sets of spikes
    widths: tuple[int, ...] = (4, 5, 6, 7, 8, 9, 10)
    ratios: tuple[float, ...] = (1.0, 0.0625)  # beta / alpha
    alpha: float = 0.002
    iterations: int = 1000
    problems: int = 1  # random teachers
    network_widths: tuple[int, ...] = (1, 3, 5, 7)
    network_ratios: tuple[float, ...] = (1.0, 4.0)
    network_step: float = 0.1
    network_iterations: int = 4000
    batch: int = 500
    d: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            ratios=(1.0, 0.5, 0.25, 0.125, 0.0625),
            problems=5,
            network_ratios=(1.0, 2.0, 4.0),
            network_step=0.004,
            network_iterations=100_000,
        )


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Final objectives of all cells: (draws, ratios, widths) for spikes, (problems, ratios, widths) for networks."""
    for name, given, needed in (
        ("widths", config.widths, (4, 5, 6, 7, 8)),
        ("network_widths", config.network_widths, (1, 7)),
    ):
        if not set(needed) <= set(given):
            raise InputError(f"{name} must contain {needed}, about which the claims speak, not only {given}")
    for_spikes, for_networks = rng.spawn(2)
    finals = spike_cells(config, for_spikes)
    curves = np.array([network_cells(config, for_networks) for _ in range(config.problems)])
    # As published: the mean over the last hundred batches.
    last = min(100, config.network_iterations)
    blocks = min(100, config.network_iterations)
    length = config.network_iterations // blocks
    thinned = (
        curves[:, : blocks * length].reshape(config.problems, blocks, length, *curves.shape[2:]).mean(axis=2)
    )
    return {
        "widths": np.array(config.widths),
        "ratios": np.array(config.ratios),
        "finals": finals,
        "network_widths": np.array(config.network_widths),
        "network_ratios": np.array(config.network_ratios),
        "network_finals": curves[:, -last:].mean(axis=1),
        "network_curves": thinned.mean(axis=0),
        "network_time": config.network_step * length * (np.arange(blocks) + 0.5),
    }


def spike_cells(config: Config, rng: np.random.Generator) -> Array:
    """J after the last iteration, (draws, ratios, widths), for random sets of spikes: replicas, all at once."""
    flows, starts = [], []
    for _ in range(config.draws):
        positions, masses = mf.data.spikes(TRUE_SPIKES, dim=1, rng=rng)
        objective = mf.Objective.deconvolution(SPIKES, positions, masses, mf.TotalVariation(SPIKE_PENALTY))
        for ratio in config.ratios:
            flow = mf.ConicFlow(objective, config.alpha, ratio * config.alpha)
            for m in config.widths:
                flows.append(flow)
                starts.append(mf.ParticleMeasure(2 * np.pi * np.arange(m)[:, None] / m, np.full(m, 0.25 / m)))
    runs = solvers.integrate(
        flows, starts, config.iterations, method=solvers.Euler(step=1.0), save=[0, config.iterations]
    )
    finals = np.array([run["objective"][-1] for run in runs])
    return finals.reshape(config.draws, len(config.ratios), len(config.widths))


def split(velocity: Array, w: Array, ratio: Any) -> Array:
    """The part of a velocity along w, plus `ratio` times the part across it: ``dr^2/alpha + r^2 |du|^2/beta``."""
    along = (np.einsum("ij,ij->i", velocity, w) / np.einsum("ij,ij->i", w, w))[:, None] * w
    return np.asarray(along + np.reshape(ratio, (-1, 1)) * (velocity - along))


class Stack:
    """Many networks that see the same batches, advanced as one array of neurons."""

    def __init__(self, d: int, widths: Any) -> None:
        self.network = mf.SignedSquareReLU(d)
        self.widths = np.asarray(widths)
        self.owner = np.repeat(np.arange(self.widths.size), self.widths)
        #: (networks, neurons): what is multiplied by it is averaged over the neurons of each network
        self.mean = (self.owner == np.arange(self.widths.size)[:, None]) / self.widths[:, None]

    def velocity(self, w: Array, X: Array, y: Array) -> tuple[Array, Array]:
        """Objective of each network on the batch, and -grad F' of each neuron."""
        residual = self.mean @ self.network.features(w, X) - y
        penalty = self.mean @ np.einsum("ij,ij->i", w, w)
        value = 0.5 * np.einsum("ij,ij->i", residual, residual) / len(y) + NEURON_PENALTY * penalty
        # One residual a neuron: vjp takes them as rows.
        pulled = self.network.vjp(w, X, (residual / len(y))[self.owner])
        return value, -pulled - 2 * NEURON_PENALTY * w


def network_cells(config: Config, rng: np.random.Generator) -> Array:
    """The objective on every batch, (iterations, ratios, widths), for one random teacher."""
    from threadpoolctl import threadpool_limits

    directions = rng.standard_normal((TRUE_NEURONS, config.d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # As a plain ReLU teacher: inner weights w |w|, sum over neurons instead of the mean.
    teacher = mf.ParticleMeasure.from_arrays(
        a=np.full(TRUE_NEURONS, float(TRUE_NEURONS)), w=directions * np.abs(directions)
    )
    sampler = mf.data.TeacherSampler(teacher, "relu", inputs="sphere")
    # Networks of one width start alike, whatever the ratio.
    first = np.vstack([rng.standard_normal((m, config.d)) for m in config.network_widths])
    count = len(config.network_ratios)
    stack = Stack(config.d, config.network_widths * count)
    w = np.tile(first, (count, 1))
    ratio = np.repeat(config.network_ratios, len(first))
    values = np.empty((config.network_iterations, len(stack.widths)))
    # One thread of BLAS: the bits do not depend on how many there are.
    with threadpool_limits(limits=1, user_api="blas"):
        for k in range(config.network_iterations):
            X, y = sampler(rng, config.batch)
            values[k], velocity = stack.velocity(w, X, y)
            w = w + config.network_step * split(velocity, w, ratio)
    return values.reshape(-1, count, len(config.network_widths))


def normalized(finals: Array) -> Array:
    """Mean over problems of (objective - least of all cells), over its largest entry: (ratios, widths)."""
    excess = (finals - finals.min(axis=(1, 2), keepdims=True)).mean(axis=0)
    return np.asarray(excess / excess.max())


def draw(arrays: dict[str, Any]) -> Any:
    """Two maps, and beneath them what they average."""
    with mf.plotting.style():
        figure, axes = mf.plotting.figure(2, 2, size=(10.5, 6.6), height_ratios=(1, 1.3))
        _map(axes[0, 0], normalized(arrays["finals"]), arrays["widths"], arrays["ratios"], "particles $m$")
        axes[0, 0].set_title("Spikes on the circle ($m_0 = 5$): normalized gap")
        _map(axes[0, 1], normalized(arrays["network_finals"]), arrays["network_widths"], arrays["network_ratios"],
             "neurons $m$")  # fmt: skip
        axes[0, 1].set_title("Network, $d = 20$ ($m_0 = 5$): normalized gap")
        _draws(axes[1, 0], arrays)
        _curves(axes[1, 1], arrays)
    return figure


def _map(ax: Any, values: Array, widths: Array, ratios: Array, label: str) -> None:
    ax.pcolormesh(values, cmap="gray_r", vmin=0, vmax=1, edgecolors="white", linewidth=1)
    for (i, j), value in np.ndenumerate(values):
        ax.text(j + 0.5, i + 0.5, f"{value:.2f}", ha="center", va="center", fontsize=8,
                color="white" if value > 0.5 else "black")  # fmt: skip
    ax.set_xticks(np.arange(widths.size) + 0.5, [str(m) for m in widths])
    ax.set_yticks(np.arange(ratios.size) + 0.5, [f"{r:g}" if r >= 1 else f"1/{round(1 / r)}" for r in ratios])
    ax.tick_params(length=0)
    ax.set_xlabel(label)
    ax.set_ylabel(r"$\beta / \alpha$")


def _draws(ax: Any, arrays: dict[str, Any]) -> None:
    finals, widths = arrays["finals"], arrays["widths"]
    excess = (finals - finals.min(axis=(1, 2), keepdims=True)).mean(axis=1)
    scale = excess.mean(axis=0).max()
    for row in excess:
        ax.plot(widths, row / scale, ".-", color="#999999", lw=0.6, ms=4)
    ax.plot([], [], ".-", color="#999999", lw=0.6, ms=4, label="one set of spikes")
    ax.plot(widths, excess.mean(axis=0) / scale, "o-", label=f"mean of {len(excess)}")
    ax.axvline(TRUE_SPIKES, color="#333333", lw=0.9, ls=(0, (4, 2)), label="$m = m_0$")
    ax.set_xlabel("particles $m$")
    ax.set_ylabel(r"normalized gap, mean over $\beta/\alpha$")
    ax.legend(loc="upper right")


def _curves(ax: Any, arrays: dict[str, Any]) -> None:
    curves, time, styles = arrays["network_curves"], arrays["network_time"], ("-", "--", ":")
    for j, m in enumerate(arrays["network_widths"]):
        for i in range(curves.shape[1]):
            ax.loglog(time, curves[:, i, j], ls=styles[i % 3], color=mf.plotting.COLOURS[j], lw=1.2,
                      label=f"$m = {m}$" if i == 0 else None)  # fmt: skip
    for i, ratio in enumerate(arrays["network_ratios"]):
        ax.plot([], [], color="#333333", ls=styles[i % 3], lw=1.2, label=rf"$\beta/\alpha = {ratio:g}$")
    ax.set_xlabel("time $t$ = step $\\times$ iterations")
    ax.set_ylabel("objective $F$ on fresh batches")
    ax.legend(loc="upper right", ncols=2)


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """Where particles suffice, and that the ratio of step sizes does not matter."""
    paper = (
        "Chizat 2019, arXiv:1907.10300, success map for deconvolution, read off the figure beside its code"
    )
    nets = "Chizat 2019, arXiv:1907.10300, success map for networks, read off the figure beside its code"
    spikes, network = normalized(arrays["finals"]), normalized(arrays["network_finals"])
    widths, neurons = arrays["widths"], arrays["network_widths"]
    column, neuron = list(widths).index, list(neurons).index
    return [
        Claim.above("One spike too few fails: normalized gap about 1 at m = 4, mean over the ratios",
                    spikes[:, column(4)].mean(), 0.9, source=paper),
        Claim.between("The normalized gap is about .3 at m = 5 and 6: distance of our mean from .3, in standard errors "
                      "of the difference of two such maps",
                      surprise(arrays["finals"], [column(5), column(6)], 0.3), 0.0, 2.0, source=paper),
        Claim.between("About 0 at m = 7 (in our problems one or two sets of spikes still need more)",
                      spikes[:, column(7)].mean(), 0.0, 0.15, source=paper),
        Claim.between("0 from m = 8 on: largest normalized gap", spikes[:, widths >= 8].max(), 0.0, 0.02,
                      source=paper),
        Claim.between("The map is flat in beta/alpha: largest difference between ratios at one m",
                      np.ptp(spikes, axis=0).max(), 0.0, 0.1, source=paper),
        Claim.above("A network of one neuron fails: least normalized gap over the ratios at m = 1",
                    network[:, neuron(1)].min(), 0.8, source=nets),
        Claim.between("Networks of 7 neurons succeed: largest normalized gap over the ratios at m = 7",
                      network[:, neuron(7)].max(), 0.0, 0.2, source=nets),
        Claim.true("More neurons are better, on average over the ratios",
                   np.all(np.diff(network.mean(axis=0)) < 0),
                   measured=", ".join(f"{value:.2f}" for value in network.mean(axis=0)), source=nets),
    ]  # fmt: skip


def surprise(finals: Array, columns: Any, stated: float) -> float:
    """|mean normalized gap - stated| over its standard error, if `stated` is such a mean over 10 other problems."""
    excess = (finals - finals.min(axis=(1, 2), keepdims=True)).mean(axis=1)
    each = excess[:, columns].mean(axis=1) / excess.mean(axis=0).max()
    error = each.std(ddof=1) * np.sqrt(1 / len(each) + 1 / 10)
    return float(abs(each.mean() - stated) / error)

"""Both layers or the output layer: two max-margin classifiers, one blind to coordinates of noise.

Source: Chizat and Bach (2020), Implicit bias of gradient descent for wide two-layer neural networks trained with the
logistic loss, arXiv 2002.04486, its numerical experiments (parameters as in the authors' code).

Quick preset: about 7 s (smaller in every respect). Paper preset: about 45 min of CPU on one core, as `benchmarks/
margins.py` extrapolates; run were its margins, and its sweeps with m = 500 and 15000 iterations, ten draws: test errors
of both layers .150, .054, .030 for n = 128, 256, 512 (d = 15) and .002, .054, .140 for d = 5, 15, 25 (n = 256), of the
output layer .300, .292, .279 and .184, .292, .326. Labels of clusters matter more than the rest (bands of +-.1), so
curves are compared draw by draw; from n = 256 on, at d <= 15, the bands of the means are disjoint as well.
Data: k^2 clusters of the plane with random labels, a constant and d - 3 coordinates of noise. Gradient ascent on the
soft-min of the margins, f = (1/m) sum_j b_j relu(w_j . x), N(0, 1) start, step .5/sqrt(t + 1); or of b alone, from
b = 0, steps times max(1, root mean b^2). The first goes to the largest margin gamma_1 in the variation norm F1, the
second to the largest, gamma_2, in the kernel of its features, which noise makes small.

Margins: a network's margin/TV is a lower certificate of gamma_1; `mf.norms.margin_f1`, begun from the neurons of the
widest network, closes the bracket, exactly in rank 3 (d = 3), its upper end heuristic above. Networks alone stop short:
the published steps shake once step times mass is about 1; the flow, integrated with error control (RKC2), lacks
log(n)/TV, and waits for neurons whose mass fell behind while others served the data: with growth rate 2 g, 2 gamma_1
for the leading ones, a share e^-s of the mass needs a time s/(2 g - 2 gamma_1), in which TV grows beyond all bounds.
With n = 256, d = 3, m = 1024 a network of TV = 40000 has 94 % of gamma_1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

import meanfield as mf
import solvers
from meanfield._confidence import half_width
from meanfield.gallery import Claim, check_sizes
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.protocols import Array

K = 3  # clusters along each axis
LONGEST = 300.0  # time of the flow, if its mass stays small
LARGEST_CUBE = 8  # dimension of the exclusive or: 256 points


@dataclass(frozen=True)
class Config:
    """Sizes of the two sweeps, of the margins and of the picture of classifiers."""

    ns: tuple[int, ...] = (32, 128)
    d: int = 15  # of the sweep over n
    n: int = 128  # of the sweep over d
    ds: tuple[int, ...] = (5, 15)
    width: int = 128
    iterations: int = 3000
    step: float = 0.5
    draws: int = 10
    test: int = 4000
    margin_n: int = 48
    margin_widths: tuple[int, ...] = (16, 64, 256)
    margin_ds: tuple[int, ...] = (3,)
    margin_mass: float = 500.0  # total variation at which the flow is stopped
    margin_tolerance: float = 1e-3  # of the bracket of gamma_1
    paddings: tuple[int, ...] = (3, 25)
    cubes: tuple[int, ...] = (2, 4)  # dimensions of the exclusive or whose gamma_1 is bracketed
    picture_clusters: int = 3
    picture_n: int = 60
    picture_width: int = 200
    picture_iterations: int = 10_000
    picture_side: int = 81
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        if min(self.ds + self.paddings + self.margin_ds + (self.d,)) < 3:
            raise InputError(
                "ds, d, margin_ds and paddings must be at least 3: a constant and two signal coordinates"
            )
        if min(self.paddings) != 3 or len(self.paddings) < 2:
            raise InputError(f"paddings must contain 3, the signal alone, and more, not only {self.paddings}")
        if min(self.cubes) != 2 or not 2 < max(self.cubes) <= LARGEST_CUBE:
            raise InputError(f"cubes must contain 2 and more, up to {LARGEST_CUBE}, not {self.cubes}")
        if self.draws < 2:
            raise InputError("draws must be at least 2: bands need a spread")
        if max(self.ns + (self.n,)) < 128:
            raise InputError("ns or n must reach 128, from where on the claims compare the curves")

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            ns=(32, 64, 128, 256, 512),
            n=256,
            ds=(5, 10, 15, 20, 25),
            width=1000,
            iterations=50_000,
            draws=10,
            margin_n=256,
            margin_widths=(8, 16, 32, 64, 128, 256, 512, 1024),
            margin_ds=(3, 15),
            margin_mass=20_000.0,
            margin_tolerance=5e-3,
            paddings=(3, 4, 6, 9, 12, 18, 25),
            cubes=(2, 3, 4),
            picture_clusters=4,
            picture_n=100,
            picture_width=500,
            picture_iterations=300_000,
            picture_side=161,
        )


# The published updates ---------------------------------------------------------------------------------------


def schedule(config: Config, iterations: int) -> Array:
    """Sizes of the steps: step/sqrt(t + 1), t = 1, 2, ... as in the authors' code."""
    return np.asarray(config.step / np.sqrt(np.arange(iterations) + 2.0))


def network(d: int) -> mf.TwoLayer:
    """f = (1/m) sum_j b_j relu(w_j . x); a coordinate of x is the constant 1."""
    return mf.TwoLayer(mf.ReLU(), d=d, bias=False)


def both_layers(
    Xs: list[Array], ys: list[Array], starts: list[Any], steps: Array, **options: Any
) -> list[Any]:
    """Gradient ascent of the soft-min of the margins from each start on its data."""
    flows = [
        mf.WassersteinFlow(mf.Objective(network(X.shape[1]), X, y, loss=mf.SoftMinMargin()))
        for X, y in zip(Xs, ys, strict=True)
    ]
    options = {"save": 2} | options
    runs = solvers.integrate(flows, starts, steps.sum(), method=solvers.Euler(step=steps), **options)
    return list(runs)


def output_layer(Xs: list[Array], ys: list[Array], starts: list[Any], steps: Array) -> list[Any]:
    """The same ascent of the outer weights alone, from b = 0, steps times max(1, root mean b^2): final measures.

    b stays in the span of the features: b = S c with S = relu(W X'), (m, n). An ascent step of b by h S q is one of c
    by h q, f = S'b/m = K c, and mean b^2 = c.Kc, with the kernel K = S'S/m of the features: an iteration costs n^2
    instead of m n d, and all starts go at once.
    """
    S = [
        network(X.shape[1]).features(with_outer(mu, 1.0).positions, X)
        for X, mu in zip(Xs, starts, strict=True)
    ]
    y = np.array(ys)
    with one_blas_thread():
        kernels = np.array([s.T @ s / len(s) for s in S])

        def ascent(c: Array) -> Array:
            f = np.matmul(kernels, c[:, :, None])[:, :, 0]
            speed = np.sqrt(np.maximum(1.0, np.einsum("ri,ri->r", c, f)))
            return np.asarray(speed[:, None] * softmin_weights(y * f) * y)

        run = solvers.integrate(
            ascent, np.zeros(y.shape), steps.sum(), method=solvers.Euler(step=steps), save=2
        )
        return [with_outer(mu, s @ c) for mu, s, c in zip(starts, S, run.final, strict=True)]


def with_outer(mu: Any, b: Any) -> Any:
    """The measure with other outer weights, a number or (m,)."""
    positions = mu.positions.copy()
    positions[:, 0] = b
    return mu.with_positions(positions)


def softmin_weights(margins: Array) -> Array:
    """p_i proportional to exp(-margin_i), along the last axis."""
    p = np.exp(margins.min(axis=-1, keepdims=True) - margins)
    return np.asarray(p / p.sum(axis=-1, keepdims=True))


# The sweeps --------------------------------------------------------------------------------------------------


def cells(config: Config) -> list[tuple[int, int]]:
    """(n, d) of both sweeps, each once."""
    return list(dict.fromkeys([(n, config.d) for n in config.ns] + [(config.n, d) for d in config.ds]))


def errors(config: Config, rng: np.random.Generator) -> Array:
    """Test errors, (cells, 2, draws): both layers, output layer.

    A draw has its labels of clusters, the same in all cells; as published, fewer data are the first of more.
    """
    steps = schedule(config, config.iterations)
    streams = rng.spawn(config.draws)
    labels = [mf.data.cluster_labels(K, stream) for stream in streams]
    found = np.empty((len(cells(config)), 2, config.draws))
    for d in sorted({d for _, d in cells(config)}):
        here = [(i, n) for i, (n, other) in enumerate(cells(config)) if other == d]
        net, most = network(d), max(n for _, n in here)
        train = [
            mf.data.clusters(most, d, K, stream, labels=s) for s, stream in zip(labels, streams, strict=True)
        ]
        test = [
            mf.data.clusters(config.test, d, K, stream, labels=s)
            for s, stream in zip(labels, streams, strict=True)
        ]
        starts = [mf.ParticleMeasure.gaussian(net, config.width, rng=stream) for stream in streams]
        for i, n in here:
            Xs, ys = [X[:n] for X, _ in train], [y[:n] for _, y in train]
            ends = (
                [run.final for run in both_layers(Xs, ys, starts, steps)],
                output_layer(Xs, ys, starts, steps),
            )
            for j, finals in enumerate(ends):
                found[i, j] = [
                    np.mean(y * net.predict(mu, X) <= 0) for mu, (X, y) in zip(finals, test, strict=True)
                ]
    return found


# Margins -----------------------------------------------------------------------------------------------------


def variation(mu: Any) -> float:
    """Total variation of the signed measure on the sphere, (1/m) sum |b_j| |w_j|."""
    return float(np.mean(np.abs(mu.positions[:, 0]) * np.linalg.norm(mu.positions[:, 1:], axis=1)))


def by_width(config: Config, X: Array, y: Array, rng: np.random.Generator) -> dict[str, Any]:
    """Margins of trained networks of each width, and the bracket of gamma_1 found from the neurons of the widest.

    `published`: 2 margin/beta of the published updates at its best; beta = (1/m) sum |theta_j|^2 is 2 TV for balanced
    neurons, whence the 2. `lower`: margin/TV of the gradient flow when TV has come to `margin_mass`, and `upper`: the
    least bound that weights p of the data give which are those of training or best for the network's directions.
    """
    net, steps = network(X.shape[1]), schedule(config, config.iterations)
    looks = np.cumsum(steps)[np.unique(np.geomspace(1, steps.size, 40).astype(int)) - 1]
    flow = mf.WassersteinFlow(mf.Objective(net, X, y, loss=mf.SoftMinMargin()))

    def over_beta(mu: Any) -> float:
        return 2 * float((y * net.predict(mu, X)).min()) / float(np.mean(np.sum(mu.positions**2, axis=1)))

    table = []
    for m in config.margin_widths:
        start = mf.ParticleMeasure.gaussian(net, m, rng=rng)
        published = both_layers([X], [y], [start], steps, save=looks, record={"margin": over_beta})[0]
        # The updates shake once step times mass is about 1; a method that holds the error of predictions does not.
        run = solvers.integrate(
            flow, start, LONGEST, method=solvers.RKC2(rtol=1e-2, atol=1e-2), save=np.linspace(0, LONGEST, 301),
            until=lambda mu: variation(mu) > config.margin_mass,
        )  # fmt: skip
        table.append((published["margin"].max(), *mf.norms.margins(run), variation(run.final)))
    found = mf.norms.margin_f1(X, y, starts=run.final, tolerance=config.margin_tolerance)
    columns = dict(zip(("published", "lower", "upper", "mass"), np.array(table).T, strict=True))
    return columns | {"gamma_1": np.array([found.low, found.high]), "certified": np.array(found.certified)}


def margins(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Margins against width and against padding, for one set of data: its first d coordinates, or signal and zeros."""
    for_data, for_starts = rng.spawn(2)
    X, y = mf.data.clusters(config.margin_n, max(config.margin_ds + config.paddings), K, for_data)
    each = [by_width(config, np.ascontiguousarray(X[:, :d]), y, for_starts) for d in config.margin_ds]
    found = {name: np.array([one[name] for one in each]) for name in each[0]}
    zeros = [np.hstack([X[:, :3], np.zeros((config.margin_n, d - 3))]) for d in config.paddings]
    found["gamma_1_zeros"] = np.array([tuple(mf.norms.margin_f1(Z, y, tolerance=1e-4)) for Z in zeros])
    found["gamma_2_zeros"] = np.array([mf.norms.margin_f2(Z, y) for Z in zeros])
    cubes = {d: exclusive_or(d) for d in range(2, LARGEST_CUBE + 1)}
    found["gamma_1_cubes"] = np.array(
        [tuple(mf.norms.margin_f1(*cubes[d], tolerance=1e-6)) for d in config.cubes]
    )
    found["gamma_2_cubes"] = np.array([mf.norms.margin_f2(*cube) for cube in cubes.values()])
    return found


def exclusive_or(d: int) -> tuple[Array, Array]:
    """All x in {-1, 1}^d with labels x_1 x_2: d - 2 coordinates of noise, in all their combinations."""
    X = np.array(list(product([-1.0, 1.0], repeat=d)))
    return X, X[:, 0] * X[:, 1]


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Test errors of both sweeps, margins, and the two classifiers of the plane on a grid."""
    for_errors, for_margins, for_picture = rng.spawn(3)
    return {
        "ns": np.array(config.ns),
        "d": np.array(config.d),
        "n": np.array(config.n),
        "margin_n": np.array(config.margin_n),
        "ds": np.array(config.ds),
        "width": np.array(config.width),
        "cells": np.array(cells(config)),
        "errors": errors(config, for_errors),
        "margin_widths": np.array(config.margin_widths),
        "margin_ds": np.array(config.margin_ds),
        "paddings": np.array(config.paddings),
        "cubes": np.array(config.cubes),
        **margins(config, for_margins),
        **classifiers(config, for_picture),
    }


def classifiers(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Both classifiers of the plane on a grid: (side, side), rows along x_2."""
    X, y = mf.data.clusters(config.picture_n, 3, config.picture_clusters, rng)
    net = network(3)
    start = mf.ParticleMeasure.gaussian(net, config.picture_width, rng=rng)
    steps = schedule(config, config.picture_iterations)
    side = np.linspace(-0.7, 0.7, config.picture_side)
    grid = np.stack([np.ones((side.size, side.size)), *np.meshgrid(side, side)], axis=-1).reshape(-1, 3)
    ends = both_layers([X], [y], [start], steps)[0].final, output_layer([X], [y], [start], steps)[0]
    return {
        "picture_X": X[:, 1:],
        "picture_y": y,
        "side": side,
        "classifiers": np.array([net.predict(mu, grid).reshape(side.size, side.size) for mu in ends]),
        "picture_margins": np.array([(y * net.predict(mu, X)).min() for mu in ends]),
    }


# The picture -------------------------------------------------------------------------------------------------

NAMES = ("both layers", "output layer only")


def draw(arrays: dict[str, Any]) -> Any:
    """Above: the two classifiers of the plane, margins against dimension. Below: test errors, margin against width."""
    with mf.plotting.style():
        figure, panels = mf.plotting.figure(2, 3, size=(13.2, 8.0))
        for j, (ax, name) in enumerate(zip(panels[0, :2], NAMES, strict=True)):
            _classifier(ax, arrays, j, name)
        _paddings(panels[0, 2], arrays)
        _errors(panels[1, 0], arrays, arrays["ns"], [(n, int(arrays["d"])) for n in arrays["ns"]])
        panels[1, 0].set(xscale="log", xlabel="training data $n$", title=f"Test error, $d = {arrays['d']}$")
        panels[1, 0].set_xticks(arrays["ns"], [str(n) for n in arrays["ns"]], minor=False)
        panels[1, 0].minorticks_off()
        _errors(panels[1, 1], arrays, arrays["ds"], [(int(arrays["n"]), d) for d in arrays["ds"]])
        panels[1, 1].set(xlabel="dimension $d$, of which 2 matter", title=f"Test error, $n = {arrays['n']}$")
        _widths(panels[1, 2], arrays)
    return figure


def _classifier(ax: Any, arrays: dict[str, Any], j: int, name: str) -> None:
    side, values = arrays["side"], arrays["classifiers"][j]
    sign = np.where(values > 0, 1.0, -1.0)
    ax.contourf(
        side, side, sign, levels=[-2, 0, 2], colors=[mf.plotting.NEGATIVE, mf.plotting.POSITIVE], alpha=0.25
    )
    ax.contour(side, side, values, levels=[0.0], colors="#333333", linewidths=1.4)
    for label, colour, marker in ((1, mf.plotting.POSITIVE, "o"), (-1, mf.plotting.NEGATIVE, "s")):
        chosen = arrays["picture_y"] == label
        ax.plot(
            *arrays["picture_X"][chosen].T, marker, color=colour, mec="white", mew=0.5, ms=5, ls="", zorder=3
        )
    ax.set(aspect="equal", xlabel="$x_1$", ylabel="$x_2$", title=f"Sign of $f$: {name}")


def _band(values: Array) -> tuple[Array, Array]:
    """Mean over the last axis, and half the width of its 95 % band (Student)."""
    return values.mean(axis=-1), half_width(values)


def _errors(ax: Any, arrays: dict[str, Any], x: Array, where: list[tuple[int, int]]) -> None:
    rows = [int(np.flatnonzero((arrays["cells"] == cell).all(axis=1))[0]) for cell in where]
    for j, (name, colour) in enumerate(zip(NAMES, mf.plotting.COLOURS, strict=False)):
        mean, half = _band(arrays["errors"][rows, j])
        ax.plot(x, arrays["errors"][rows, j], color=colour, lw=0.6, alpha=0.25)
        ax.fill_between(x, mean - half, mean + half, color=colour, alpha=0.2, lw=0)
        ax.plot(x, mean, "o-", color=colour, label=name)
    ax.set_ylim(0, None)
    ax.set_ylabel("test error")
    draws = arrays["errors"].shape[-1]
    ax.legend(
        title=f"$m = {arrays['width']}$, {draws} draws; 95 % bands of means", loc="best", title_fontsize=8.5
    )


def _paddings(ax: Any, arrays: dict[str, Any]) -> None:
    d, every, colours = arrays["paddings"], np.arange(2, LARGEST_CUBE + 1), mf.plotting.COLOURS
    cube, zeros = arrays["gamma_1_cubes"].mean(axis=1), arrays["gamma_1_zeros"].mean(axis=1)
    ax.loglog(arrays["cubes"], cube, "o-", color=colours[0], label=r"$\gamma_1$, exclusive or and all noise")
    ax.loglog(every, arrays["gamma_2_cubes"], "o-", color=colours[1], label=r"$\gamma_2$, the same")
    ax.loglog(d, zeros, "s--", color=colours[0], mfc="white", label=r"$\gamma_1$, clusters and zeros")
    ax.loglog(d, arrays["gamma_2_zeros"], "s--", color=colours[1], mfc="white", label=r"$\gamma_2$, the same")
    for x, y, power in ((every, arrays["gamma_2_cubes"], -1.0), (d, arrays["gamma_2_zeros"], -0.5)):
        law = 0.85 * y[0] * (x / x[0]) ** power
        ax.loglog(x, law, color="#777777", lw=1, ls=(0, (1, 1.5)))
        text = "$d^{-1}$" if power == -1 else "$d^{-1/2}$"
        ax.annotate(
            text, (x[-1], law[-1]), xytext=(4, -11), textcoords="offset points", ha="right", fontsize=8.5
        )
    ax.set_ylim(bottom=0.2 * arrays["gamma_2_zeros"][-1])
    ticks = [t for t in (2, 3, 4, 6, 8, 12, 25, 50) if t <= max(d[-1], every[-1])]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set(
        xlabel="dimension $d$, of which 2 matter",
        ylabel="margin",
        title="What coordinates of noise do to margins",
    )
    ax.legend(loc="lower left", fontsize=7.5)


def _widths(ax: Any, arrays: dict[str, Any]) -> None:
    m = arrays["margin_widths"]
    for i, d in enumerate(arrays["margin_ds"]):
        colour = mf.plotting.COLOURS[i]
        low, high = arrays["gamma_1"][i]
        ax.axhspan(low, high, color=colour, alpha=0.3, lw=2.0)
        kind = "certified" if arrays["certified"][i] else "heuristic above"
        ax.plot([], [], color=colour, lw=5, alpha=0.3, label=rf"$\gamma_1$, $d = {d}$ ({kind})")
        ax.plot(m, arrays["upper"][i], "^:", color=colour, lw=1, label="dual certificate, gradient flow")
        ax.plot(m, arrays["lower"][i], "o-", color=colour, label="margin/TV, gradient flow")
        ax.plot(
            m,
            arrays["published"][i],
            "v--",
            color=colour,
            mfc="white",
            lw=1,
            label=r"2 margin/$\beta$, published steps",
        )
    ax.axhline(0, color="#999999", lw=0.7)
    ax.set(
        xscale="log",
        xlabel="width $m$",
        ylabel="normalized margin",
        title="Margin against width: both layers",
    )
    ax.set_xticks(m, [str(one) for one in m])
    ax.minorticks_off()
    ax.legend(loc="lower right")


# The claims --------------------------------------------------------------------------------------------------

PAPER = "Chizat and Bach (2020), experiments"
OWN = "computed here; theory notes, E8 and regimes"
THEORY = "Chizat and Bach (2020), theory"


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """Order of the curves; margins."""
    n, d = arrays["cells"].T
    many = n >= 128
    mean, half = _band(arrays["errors"][many, 1] - arrays["errors"][many, 0])
    low, high = arrays["gamma_1"].T
    zeros, cubes = arrays["gamma_1_zeros"], arrays["gamma_1_cubes"]
    power = np.polyfit(np.log(np.arange(2, LARGEST_CUBE + 1)), np.log(arrays["gamma_2_cubes"]), 1)[0]
    alone = arrays["lower"] / high[:, None]
    law = arrays["gamma_2_zeros"] * np.sqrt(arrays["paddings"])
    found = [
        Claim.above(
            f"Training both layers errs less than training the output layer, for n >= 128: least lower end of the 95 % "
            f"band of the difference ({arrays['errors'].shape[-1]} draws)",
            (mean - half).min(), 0.0, source=PAPER,
        ),
        Claim.below(
            "gamma_1, bracketed from the neurons of the widest network: largest relative width of the bracket",
            (1 - low / high).max(), 0.01, source=THEORY,
        ),
        Claim.above(
            "The widest networks alone certify most of gamma_1: least share of its upper end",
            alone[:, -1].min(), 0.8, source=OWN,
        ),
        Claim.below(
            "and no network has a larger margin: largest share", alone.max(), 1.0 + 1e-9, source=THEORY
        ),
        Claim.above(
            "nor a dual certificate below it: least one, in lower ends of gamma_1",
            (arrays["upper"] / low[:, None]).min(), 1.0 - 1e-9, source=THEORY,
        ),
        Claim.above(
            "The widest network has a larger margin than the narrowest: least difference, in gamma_1",
            (alone[:, -1] - alone[:, 0]).min(), 0.0, source=PAPER,
        ),
        Claim.below(
            "gamma_1 of the exclusive or is 2^(1/2)/4 whatever the coordinates of noise: largest deviation, relative",
            abs(cubes / (np.sqrt(2) / 4) - 1).max(), 1e-5, source=OWN,
        ),
        Claim.within(
            "and gamma_2 falls as 1/d: fitted power, d = 2 to 8", power, -1.0, absolute=0.05, source=OWN,
        ),
        Claim.below(
            "gamma_1 does not depend on coordinates 0: spread over paddings and brackets, relative",
            zeros.max() / zeros.min() - 1, 5e-4, source=THEORY,
        ),
        Claim.below(
            "gamma_2 falls as d^(-1/2) with them: spread of gamma_2 d^(1/2), relative",
            law.max() / law.min() - 1, 1e-6, source=THEORY,
        ),
        Claim.above(
            "Both layers: the classifier of the plane has all training data on their side, least margin",
            arrays["picture_margins"][0], 0.0, source=PAPER,
        ),
    ]  # fmt: skip
    return found

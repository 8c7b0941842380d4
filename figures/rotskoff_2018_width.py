"""Learning a 3-spin energy: the error of networks of n sigmoid units against n, in several dimensions.

Source: Rotskoff and Vanden-Eijnden (2018), Parameters as interacting particles: long time convergence and asymptotic
error scaling of neural networks, arXiv 1805.00915, the 3-spin experiment (as remembered, not re-read: loss ~ 1/n with
a slope that does not depend on d, up to d = 25).

Quick preset: about 15 s. f(x) = (1/d) sum a_pqr x_p x_q x_r on the sphere of radius sqrt(d) is learnt by
f_n = (1/n) sum a_j sigmoid(w_j.x + b_j) with SGD on fresh samples; losses are divided by the variance of f. Two
things fall with n. The *fluctuation* of f_n between networks drawn independently, E |f_n - E f_n|^2 at one time of
training (all see the same samples), is the part of the loss that theory gives 1/n. The *loss* at the end of training
also holds what the limit n = infinity has not learnt by then, and for n below the d (d+1) (d+2) / 6 cubic forms what no
network of that size can represent: slopes of it are reported as they come out.

The paper preset (d up to 25, n up to 512, five times as long) has not been run: its time and its slopes are unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import meanfield as mf
import solvers
from meanfield.gallery import Claim, check_sizes

REMEMBERED = "Rotskoff, Vanden-Eijnden 2018, 3-spin experiment (as remembered, not re-read)"
HERE = "found here"


@dataclass(frozen=True)
class Config:
    """Sizes of the sweep: every width in every dimension, several times."""

    dimensions: tuple[int, ...] = (5, 10)
    widths: tuple[int, ...] = (16, 32, 64, 128)
    networks: int = 3  # independent networks for each width that are trained to the end
    copies: int = 12  # and to the early time, for fluctuations
    step: float = 4.0  # of SGD, in the time of the flow
    batch: int = 150  # fresh samples a step
    early: float = 100.0  # time at which fluctuations are measured
    t_end: float = 4000.0
    outer: float = 5.0  # standard deviation of a_j at the start; those of w_j and b_j are 1
    test: int = 1000  # points in which losses are measured
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            dimensions=(5, 10, 15, 25), widths=(32, 64, 128, 256, 512), step=2.0, t_end=20000.0, test=4000
        )


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Relative losses at the end (d, n, network) and fluctuations at the early time (d, n, copy)."""
    sizes = (len(config.dimensions), len(config.widths))
    loss, fluctuation = np.empty((*sizes, config.networks)), np.empty((*sizes, config.copies))
    for i, d in enumerate(config.dimensions):
        spin = mf.data.three_spin(d, rng=rng)
        network = mf.TwoLayer(mf.Sigmoid(), d)
        test = mf.Objective(network, *spin.sample(config.test, rng))
        variance = float(np.mean(test.y**2))
        # One stream of samples for all: networks then differ by their starts alone.
        stream = int(rng.integers(2**62))
        flow = mf.SGD(test, step=config.step, batch=config.batch, rng=stream, sampler=spin.__call__)
        deviations = {"a": config.outer, "w": 1.0, "b": 1.0}
        for j, width in enumerate(config.widths):
            starts = [
                mf.ParticleMeasure.gaussian(network, width=width, rng=rng, std=deviations)
                for _ in range(config.copies + config.networks)
            ]
            runs = solvers.integrate(flow, starts[: config.copies], t_end=config.early, save=2)
            predictions = np.array([test.predict(run.final) for run in runs])
            # The sample mean is nearer to its copies than the expectation: the usual copies - 1.
            spread = np.mean((predictions - predictions.mean(axis=0)) ** 2, axis=1)
            fluctuation[i, j] = spread * config.copies / (config.copies - 1) / variance
            runs = solvers.integrate(flow, starts[config.copies :], t_end=config.t_end, save=2)
            loss[i, j] = [2 * run["objective"][-1] / variance for run in runs]
    return {
        "dimensions": np.array(config.dimensions),
        "widths": np.array(config.widths),
        "early": np.array(config.early),
        "t_end": np.array(config.t_end),
        "loss": loss,
        "fluctuation": fluctuation,
    }


def draw(arrays: dict[str, Any]) -> Any:
    """The picture, no computing."""
    picture, (left, right) = mf.plotting.figure(1, 2, size=(10.4, 4.2))
    last = len(arrays["dimensions"]) - 1
    with mf.plotting.style():
        # The theoretical line is drawn over one curve: where it crosses no other.
        for ax, key, beside in ((left, "loss", 0), (right, "fluctuation", last)):
            for k, d in enumerate(arrays["dimensions"]):
                mf.plotting.slope(
                    arrays["widths"],
                    arrays[key][k],
                    expected=-1.0 if k == beside else None,
                    label=f"$d = {d}$",
                    colour=mf.plotting.COLOURS[k],
                    xlabel="units $n$",
                    ax=ax,
                )
            ax.set_xticks(arrays["widths"], [str(n) for n in arrays["widths"]])
            ax.xaxis.minorticks_off()
            low, high = ax.get_ylim()
            # Room for the legend, below the curves where they fall.
            ax.set_ylim(low / 4, high)
            ax.legend(loc="lower left")
        left.set_ylabel(r"loss $E\,(f_n - f)^2 / E f^2$")
        left.set_title(f"At the end of training, $t = {float(arrays['t_end']):g}$")
        right.set_ylabel(r"fluctuation $E\,(f_n - E f_n)^2 / E f^2$")
        right.set_title(f"Between independent networks, $t = {float(arrays['early']):g}$")
    return picture


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """Slopes in n: those of the fluctuation as theory has them, those of the loss as they come out."""
    widths = arrays["widths"]
    found, slopes = [], []
    for k, d in enumerate(arrays["dimensions"]):
        fit = mf.plotting.fit_slope(widths, arrays["fluctuation"][k])
        slopes.append(fit.slope)
        found.append(
            Claim.within(
                f"d = {d}: the fluctuation between networks falls as 1/n, to .2 in the slope (95 % interval of the "
                f"measured one: +- {fit.half_width:.2f})",
                fit.slope,
                -1.0,
                absolute=0.2,
                source=REMEMBERED,
            )
        )
    found.append(
        Claim.below(
            "That slope hardly depends on d: the slopes differ by less than .25",
            max(slopes) - min(slopes),
            0.25,
            source=REMEMBERED,
        )
    )
    fit = mf.plotting.fit_slope(widths, arrays["loss"][0])
    found.append(
        Claim.between(
            f"d = {arrays['dimensions'][0]}: the loss at the end of training falls about as 1/n (95 % interval of the "
            f"measured slope: +- {fit.half_width:.2f})",
            fit.slope,
            -1.3,
            -0.7,
            source=REMEMBERED,
        )
    )
    for k, d in enumerate(arrays["dimensions"][1:], start=1):
        forms = d * (d + 1) * (d + 2) // 6
        if widths[-1] > forms:
            continue
        fit = mf.plotting.fit_slope(widths, arrays["loss"][k])
        found.append(
            Claim.between(
                f"d = {d}: slope -1 of the loss is NOT reproduced with n <= {widths[-1]}, fewer than the {forms} cubic "
                "forms: the loss falls with n, but more slowly (slope between -.8 and 0)",
                fit.slope,
                -0.8,
                0.0,
                source=HERE,
            )
        )
    return found

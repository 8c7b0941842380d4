"""The mathematics inside the figure on interpolation: starts, limits, and the lift to the circle."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import meanfield as mf
from figures import bach_chizat_2021_interpolation as figure
from solvers.errors import InputError


@pytest.mark.parametrize("kappa", figure.KAPPAS)
def test_limits_interpolate_and_are_odd(kappa: float) -> None:
    limit = figure.kernel_limit(kappa)
    places = [figure.at(x) for x in figure.POINTS]
    np.testing.assert_allclose(limit[places], figure.LABELS, atol=1e-9)
    mirrored = [figure.at(-x) for x in (-0.5, 0.25, 1.0)]
    np.testing.assert_allclose(limit[mirrored], [-limit[figure.at(x)] for x in (-0.5, 0.25, 1.0)], atol=1e-9)


@pytest.mark.parametrize("kappa", [0.0, 1.0, 0.5])
def test_the_start_is_zero_and_has_the_kernel(kappa: float) -> None:
    s, m = 50.0, 20_000
    mu = figure.start(m, s, kappa, 0)
    np.testing.assert_allclose(figure.network().predict(mu, figure.GRID), 0.0, atol=1e-9)
    K = mf.kernels.empirical(figure.network(), mu, figure.POINTS)
    # the rule of 10 000 angles jumps with slopes: 1/10 000 of the largest entry
    expected = s**2 * mf.kernels.tangent(figure.POINTS, a_sq=kappa**2, bias=True)
    np.testing.assert_allclose(K, expected, atol=2e-4 * expected.max())


def test_the_lift_to_the_circle_carries_the_predictions() -> None:
    mu = mf.ParticleMeasure.gaussian(figure.network(), 30, rng=0)
    angles, masses = figure.on_circle(mu)
    directions = np.column_stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))])
    inputs = np.column_stack([figure.GRID, np.ones_like(figure.GRID)])
    expected = np.maximum(inputs @ directions.T, 0.0) @ masses
    np.testing.assert_allclose(figure.network().predict(mu, figure.GRID), expected, atol=1e-12)


def test_lazier_starts_are_nearer_to_the_limit_of_their_own_kernel() -> None:
    """Deviations go with 1/alpha = s^-2: slopes of ReLU jump, pairs of opposite neurons do not cancel that."""
    config = dataclasses.replace(figure.Config.quick(), loss=1e-12)
    deviations = []
    for s in (30.0, 90.0):
        run = figure.train(config, s, 1.0, 0)
        mu = figure.start(config.width, s, 1.0, 0)
        K = mf.kernels.empirical(figure.network(), mu, figure.GRID, figure.POINTS)
        here = [figure.at(x) for x in figure.POINTS]
        limit = mf.kernels.ridgeless(K[here], figure.LABELS).predict(K)
        deviations.append(np.abs(figure.network().predict(run.final, figure.GRID) - limit).max())
    # measured .042 and .0034, where the integrator's tolerance of 1e-3 in f begins
    assert deviations[0] < 0.06
    assert deviations[1] < deviations[0] / 6


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"scales": (3.0, 1.0)}, "scales must rise"),
        ({"scales": (0.0, 1.0)}, "scales must be positive"),
        ({"width": 101}, "width and widths must be even"),
        ({"widths": (1000,)}, "two at least"),
        ({"widths": (500, 2000)}, "1000"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)

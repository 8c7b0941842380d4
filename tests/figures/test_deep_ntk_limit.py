"""The mathematics inside the figure on tangent kernels of deep nets: slopes with intervals, bands, limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from figures import deep_ntk_limit as figure
from solvers.errors import InputError


def test_slopes_of_powers_and_their_intervals() -> None:
    sizes = np.array([8, 16, 32, 64])
    rng = np.random.default_rng(0)
    noise = np.exp(0.2 * rng.standard_normal((4, 200)))
    at, low, high = figure.slope(sizes[:, None] ** -0.75 * noise, sizes)
    assert low < -0.75 < high
    # a standard error of .2/root 200 at each width, over log widths of standard deviation .78
    assert high - low == pytest.approx(3.92 * 0.2 / np.sqrt(200) / (0.775 * 2), rel=0.15)
    assert at == pytest.approx((low + high) / 2, abs=0.01)


def test_bands_of_one_point_are_those_of_a_normal_mean_and_a_variance() -> None:
    drawn = figure.extremes(np.array([[4.0]]), 10, 4000, np.random.default_rng(1))
    mean, variance = np.quantile(drawn, 0.99, axis=1)
    assert mean == pytest.approx(2.576, rel=0.05)  # 99 % of a standard normal number
    # chi^2/9 with nine degrees of freedom; 4000 draws know its quantiles to 3 %
    law = chi2(9)
    assert law.cdf(9 * np.exp(-variance)) + law.sf(9 * np.exp(variance)) == pytest.approx(0.01, rel=0.5)
    # independent points are more than one
    assert np.quantile(figure.extremes(np.eye(30), 10, 500, np.random.default_rng(1))[0], 0.99) > 1.2 * mean


def test_bands_hold_for_all_comparisons_together() -> None:
    drawn = np.random.default_rng(2).standard_normal((4, 2, 2, 5000)) * np.array([1.0, 3.0])[:, None]
    limits = figure.band(drawn)
    assert (drawn < limits[..., None]).all(axis=(0, 1, 2)).mean() == pytest.approx(0.99, abs=1e-3)
    # of 16 numbers, one side: 1 - .01/16 is at 3.23, and limits go with the size of each
    np.testing.assert_allclose(limits / [1.0, 3.0], 3.23, rtol=0.12)


@pytest.mark.parametrize("name", figure.NAMES)
def test_nets_and_their_limits_are_of_one_architecture(name: str) -> None:
    X = figure.points(name, figure.ANGLES, 6)
    T = figure.infinite(name)(X)[1]
    net = figure.finite(name, 100, 6)
    found = np.mean([net.tangent_kernel(net.init(rng=i), X) for i in range(10)], axis=0)
    # fluctuations of some (10 width)^(-1/2), and more in deep ReLU nets: 3 to 10 % here
    assert np.linalg.norm(found - T) < 0.2 * np.linalg.norm(T)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"widths": (32, 16)}, "widths"),
        ({"channels": (8, 16)}, "channels"),
        ({"starts": 5}, "starts"),
        ({"time": 0.0}, "time"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)

"""Student's intervals of means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from meanfield._confidence import bounds, farther, half_width


def test_intervals_are_students() -> None:
    draw = np.random.default_rng(0)
    for count, level in ((2, 0.95), (3, 0.5), (10, 0.99)):
        x = draw.standard_normal(count)
        known = stats.ttest_1samp(x, 0.0).confidence_interval(level)
        np.testing.assert_allclose(bounds(x, level), known, rtol=1e-10)  # two codes for the quantile
    table = draw.standard_normal((4, 2, 5))
    halves = half_width(table)
    assert halves.shape == (4, 2)
    assert halves[3, 1] == pytest.approx(np.ptp(bounds(table[3, 1])) / 2, rel=1e-12)


def test_one_value_and_lost_ones_have_no_interval() -> None:
    assert np.isnan(bounds([1.0])).all() and np.isnan(bounds([1.0, np.nan, 2.0])).all()
    assert bounds([2, 2, 2]) == (2.0, 2.0)


def test_the_farther_end() -> None:
    low, high = bounds([1.0, 2.0, 3.0])
    assert farther([1.0, 2.0, 3.0], 0.0) == high and farther([1.0, 2.0, 3.0], 5.0) == low
    assert np.isnan(farther([np.nan, 1.0], 0.0))

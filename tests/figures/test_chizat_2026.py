"""The mathematics inside the figure on ResNets of all shapes: unbiased squares, exponents and their intervals."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from figures import chizat_2026_resnets as figure
from meanfield.plotting import fit_slope
from solvers.errors import InputError


def test_products_of_two_references_are_unbiased() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(1000)
    value = truth + 0.01
    found = [
        figure.squared(value, [truth + 0.1 * rng.standard_normal(1000) for _ in range(2)]) for _ in range(400)
    ]
    # one reference would give 1e-2; the standard error of the mean is 0.01/sqrt(1000 400)
    assert np.mean(found) == pytest.approx(1e-4, abs=6.5e-5)


def test_exponents_are_those_of_the_mean_with_the_interval_of_the_jackknife() -> None:
    rng = np.random.default_rng(1)
    x = np.array([1.0, 2.0, 4.0, 8.0])
    squares = 3.0 / x[:, None] * (1 + 0.1 * rng.standard_normal((4, 5)))
    slope, width, factor = figure.power(x, squares)
    known = fit_slope(x, squares)
    assert slope == pytest.approx(known.slope / 2) and width == pytest.approx(known.half_width / 2)
    assert slope == pytest.approx(-0.5, abs=width) and factor == pytest.approx(np.sqrt(3.0), rel=0.1)
    with pytest.raises(InputError, match="positive"):
        figure.power(x, -squares)
    # a seed that leaves nothing behind leaves no interval, not an error
    assert figure.fitted(x, squares.mean(axis=1), np.zeros((4, 5)))[1] == np.inf


def test_the_square_of_a_mean_is_taken_over_different_seeds() -> None:
    products = np.random.default_rng(2).standard_normal((2, 4, 4))
    whole, left_out = figure.biases(products)
    for i, one in enumerate(products):
        pairs = list(permutations(range(4), 2))
        assert whole[i] == pytest.approx(np.mean([one[p] for p in pairs]))
        for s in range(4):
            assert left_out[i, s] == pytest.approx(np.mean([one[p] for p in pairs if s not in p]))


def test_the_largest_nets_are_left_out_and_narrow_ones_added() -> None:
    config = figure.Config(widths=(1, 10, 50), dims=(20, 50, 200), largest=1000, narrow=(3, 5, 7))
    grid = [(50, 1, 20), (50, 10, 20), (50, 50, 20), (50, 1, 50), (50, 10, 50), (50, 1, 200)]
    assert config.shapes == [*grid, (3, 1, 20), (5, 1, 20), (7, 1, 20)]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seeds": 2}, "seeds"),
        ({"eta": 0.0}, "eta"),
        ({"deep_seeds": 2}, "deep_seeds"),
        ({"widths": (1, 2)}, "widths"),
        ({"largest": 100}, "largest"),
        ({"points": 20}, "points"),
        ({"units": 8}, "units"),
        ({"nodes": 2}, "nodes"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)

"""The mathematics inside the figure on diagonal networks: its regression, its flows, what it reads off them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from figures import woodworth_2020_bias as figure
from meanfield.finite import diagonal
from solvers.errors import InputError

CONFIG = dataclasses.replace(figure.Config.quick(), d=40, n=15, sizes=(12, 20))


def test_the_regression_is_the_papers() -> None:
    X, y, beta = figure.regression(CONFIG, 15, np.random.default_rng(0))
    assert X.shape == (15, 40) and np.linalg.norm(beta) == pytest.approx(1.0)
    assert np.count_nonzero(beta) == 5 and len(set(beta[:5])) == 1
    # 15 labels with noise of deviation .1
    assert 0.05 < np.std(y - X @ beta) < 0.2


@pytest.mark.parametrize("depth", figure.DEPTHS)
def test_the_sweep_is_the_limit_at_each_scale(depth: int) -> None:
    X, y, _ = figure.regression(CONFIG, 15, np.random.default_rng(1))
    scales = np.array([1e-6, 1e-2, 10.0])
    for scale, w in zip(scales, figure.sweep(CONFIG, scales, depth, X, y), strict=True):
        # both solve X w = y to rounding, by different continuations
        np.testing.assert_allclose(w, diagonal.limit(X, y, scale ** (1 / depth), depth).w, atol=1e-11)
        np.testing.assert_allclose(X @ w, y, atol=1e-12)


def test_flows_are_run_for_long_enough() -> None:
    X, y = figure.flow_problem(CONFIG, np.random.default_rng(0))
    for depth, alpha in ((2, 0.1), (3, 1.0), (4, 0.3)):
        assert max(figure.flow_errors(CONFIG, X, y, depth, alpha)) < 1e-8
    path = figure.trajectory(0.2, np.array([0.0, 0.1, 40.0]))
    assert not path[0].any()
    np.testing.assert_allclose(path[-1], diagonal.limit(X, y, 0.2).w, atol=1e-6)
    wide = dataclasses.replace(CONFIG, flow_data=2, flow_weights=4)
    assert figure.flow_problem(wide, np.random.default_rng(0))[0].shape == (2, 4)


def test_the_largest_allowed_scale() -> None:
    scales = np.array([1e-3, 1e-2, 1e-1, 1.0])
    # log error is linear in log scale: the crossing is in the middle
    assert figure.largest_allowed(scales, np.array([1e-4, 1e-2, 1.0, 2.0]), 0.1) == pytest.approx(10**-1.5)
    assert figure.largest_allowed(scales, np.full(4, 1e-3), 0.1) == 1.0
    assert figure.largest_allowed(scales, np.ones(4), 0.1) == 1e-3


def test_slopes_of_powers() -> None:
    x = np.geomspace(1e-3, 1.0, 7)
    np.testing.assert_allclose(figure.slopes(x, np.stack([x**0.5, 3 * x**2])), [0.5, 2.0], rtol=1e-13)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"n": 40}, "n and sparsity"),
        ({"sizes": (20, 12)}, "sizes"),
        ({"sizes": (40,)}, "sizes"),
        ({"smallest": 1e-3}, "smallest"),
        ({"flow_data": 2}, "flow_data"),
        ({"starts": (0.0,)}, "starts"),
        ({"rtol": 0.0}, "rtol"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        dataclasses.replace(CONFIG, **change)

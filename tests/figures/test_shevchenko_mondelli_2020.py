"""The mathematics inside the figure on connectivity: ends of intervals, checks of pieces, settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import meanfield as mf
from figures import shevchenko_mondelli_2020_connectivity as figure
from solvers.errors import InputError


def test_the_farther_end_of_an_interval() -> None:
    x = np.array([1.0, 10.0, 100.0])
    y = x[:, None] ** np.array([-1.1, -1.0, -0.9])
    fit = mf.plotting.fit_slope(x, y)
    assert fit.half_width > 0
    # the mean of powers is flatter than the power of the mean
    assert fit.slope > -1 and figure.farther(x, y, -1.0) == pytest.approx(fit.slope + fit.half_width)
    assert figure.farther(x, y, 0.0) == pytest.approx(fit.slope - fit.half_width)


def test_pieces_are_measured_on_the_networks_themselves() -> None:
    X, y = figure.data(20, 3, 2, 0)
    assert np.std(y) == pytest.approx(1.0)
    objective = mf.Objective(mf.TwoLayer("tanh", d=3), X, y)
    a, b = (mf.ParticleMeasure.gaussian(objective.network, 6, rng=seed) for seed in (1, 2))
    bend, shift = figure.pieces(mf.landscape.connect(objective, a, b, draws=1), objective.value)
    assert bend > 0 and shift < 1e-14
    # a loss that is concave in predictions is told
    bend, _ = figure.pieces(mf.landscape.connect(objective, a, b, draws=1), lambda s: -objective.value(s))
    assert bend < 0


def test_the_start_of_the_mean_field_scaling_is_small() -> None:
    X, y = figure.data(20, 3, 2, 0)
    net = mf.finite.deep.Dense((3, 64, 64, 1), activation="tanh", parametrization="mean_field", bias=True)
    problem = mf.finite.deep.Problem(net, X, y)
    config = figure.Config(deep_time=0.2)
    sizes = [np.std(figure.deep_solution(problem, start, config, 0)["W1"]) for start in (0, 1)]
    assert sizes[0] < 0.2 and sizes[1] == pytest.approx(1.0, abs=0.05)  # 1/root 64, moved by one step


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"widths": (16, 32)}, "widths"),
        ({"dims": (5, 4, 3)}, "dims"),
        ({"deep_widths": (2, 4, 8)}, "deep_widths"),
        ({"pairs": 2}, "pairs"),
        ({"points": 3}, "points"),
        ({"step": 0.0}, "step"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)

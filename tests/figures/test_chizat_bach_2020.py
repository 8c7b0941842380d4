"""The mathematics inside the figure on margins: the published updates, and what stands for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import meanfield as mf
from figures import chizat_bach_2020_margins as figure
from solvers.errors import InputError
from solvers.protocols import Array

CONFIG = figure.Config.quick()


def published(X: Array, y: Array, positions: Array, steps: Array, both: bool) -> Array:
    """Ascent of the soft-min as the paper writes it, neuron by neuron, both layers or b alone from 0."""
    b, W = positions[:, 0].copy(), positions[:, 1:].copy()
    if not both:
        b[:] = 0.0
    for h in steps:
        z = W @ X.T
        s = np.maximum(z, 0.0)
        margins = y * (b @ s) / len(b)
        q = np.exp(margins.min() - margins)
        q *= y / q.sum()
        if both:
            b, W = b + h * (s @ q), W + h * ((b[:, None] * (z > 0) * q) @ X)
        else:
            b = b + h * max(1.0, np.sqrt(np.mean(b**2))) * (s @ q)
    return np.column_stack([b, W])


def problem(d: int = 5, n: int = 30, m: int = 20) -> tuple[Array, Array, Any]:
    X, y = mf.data.clusters(n, d, rng=1)
    return X, y, mf.ParticleMeasure.gaussian(figure.network(d), m, rng=2)


def test_steps_fall_as_published() -> None:
    np.testing.assert_allclose(figure.schedule(CONFIG, 3), 0.5 / np.sqrt([2.0, 3.0, 4.0]), rtol=1e-15)


def test_both_layers_follow_the_published_updates() -> None:
    X, y, start = problem()
    steps = figure.schedule(CONFIG, 200)
    (run,) = figure.both_layers([X], [y], [start], steps)
    # sums in another order, over 200 steps without a kink crossed a step apart
    np.testing.assert_allclose(
        run.final.positions, published(X, y, start.positions, steps, both=True), atol=1e-11
    )


def test_the_output_layer_in_the_span_of_the_data_is_the_published_ascent_of_all_outer_weights() -> None:
    problems = [problem(), (*mf.data.clusters(30, 5, rng=7), problem()[2])]
    steps = figure.schedule(CONFIG, 1500)
    Xs, ys, starts = (list(part) for part in zip(*problems, strict=True))
    for (X, y, start), found in zip(problems, figure.output_layer(Xs, ys, starts, steps), strict=True):
        expected = published(X, y, start.positions, steps, both=False)
        # long enough for the factor of the step to count
        assert np.mean(expected[:, 0] ** 2) > 1.5
        np.testing.assert_allclose(found.positions, expected, rtol=1e-9, atol=1e-9)


def test_margins_of_the_flow_lie_below_the_bracket_and_near_it() -> None:
    X, y = mf.data.clusters(20, 3, rng=3)
    config = figure.Config(margin_widths=(64,), margin_mass=500.0, iterations=50)
    found = figure.by_width(config, X, y, np.random.default_rng(0))
    low, high = found["gamma_1"]
    # any network bounds gamma_1 from below; log(20)/500 is what the soft-min may cost
    assert found["certified"] and high - np.log(20) / 500 - 0.05 * high < found["lower"][0] <= high
    assert low <= found["upper"][0]
    assert found["mass"][0] > 500.0 and low <= high


def test_a_cell_of_both_sweeps_is_computed_once() -> None:
    config = figure.Config(ns=(32, 128), d=7, n=128, ds=(5, 7))
    assert figure.cells(config) == [(32, 7), (128, 7), (128, 5)]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"ds": (2, 15)}, "at least 3"),
        ({"paddings": (5, 9)}, "paddings"),
        ({"draws": 1}, "draws"),
        ({"cubes": (2, 9)}, "cubes"),
        ({"ns": (32,), "n": 64}, "128"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)

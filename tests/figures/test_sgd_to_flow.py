"""The mathematics of the figure's own helpers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from figures import sgd_to_flow


@pytest.mark.parametrize("d", [2, 5])
def test_random_networks_fluctuate_by_the_variance_of_a_neuron(d: int) -> None:
    """E f_m^2 = |x|^2/(2 d m): signs have mean 0, and E relu(w.x)^2 = |x|^2/(2d) for w uniform on the sphere."""
    config = dataclasses.replace(
        sgd_to_flow.Config.quick(), start_inputs=d, start_widths=(4, 16), start_repeats=1500
    )
    squares = sgd_to_flow.start_fluctuations(config, np.random.default_rng(0))
    assert squares.shape == (2, 1500)
    error = squares.std(axis=1) / np.sqrt(1500)
    expected = 1 / (2 * d * np.array([4.0, 16.0]))
    assert (np.abs(squares.mean(axis=1) - expected) < 5 * error).all()
    assert (5 * error < 0.2 * expected).all()  # the test has power


@pytest.mark.parametrize("p", [1, 3, 4, 7])
def test_neurons_have_the_dimension_asked_for(p: int) -> None:
    objective = sgd_to_flow.problem(p, sgd_to_flow.Config.quick(), np.random.default_rng(0))
    assert objective.network.dim == p
    assert objective.X.shape == (20, max(1, p - 2))


def test_rates_of_samples() -> None:
    assert [sgd_to_flow.rate(p) for p in (1, 2, 4, 5)] == [-0.5, -0.5, -0.25, -0.2]


def test_presets_name_as_many_repeats_as_dimensions() -> None:
    for config in (sgd_to_flow.Config.quick(), sgd_to_flow.Config.paper()):
        assert len(config.cloud_repeats) == len(config.dimensions)
        assert max(config.widths) * 8 <= config.particles  # few particles of the reference are shared
        assert max(config.cloud_widths) * 8 <= config.cloud_particles

"""The mathematics inside the figures on the ReLU gate and Neuro-Tron: their settings, and what they read off runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from figures import karmakar_mukherjee_2020_gate as gate
from figures import karmakar_mukherjee_2020_poison as poison
from solvers.errors import InputError


def test_the_sweeps_are_the_published_ones() -> None:
    config = poison.Config.paper()
    step, beta, theta = poison.settings(config, 1e-4)
    first, second = len(config.thetas), len(config.thetas) + len(config.betas)
    assert set(beta[:first]) == {0.5} and theta[first - 1] == 4 and set(theta[first:second]) == {0.25}
    assert set(step[:second]) == {1e-4} and set(theta[second:]) == {config.strength}
    np.testing.assert_allclose(step[second:], 1e-4 * np.array(config.steps))
    made = poison.setup(config, "wide", 0)
    assert (made.net.n, made.net.r, made.net.k, made.step) == (50, 25, 10, 5e-5)


def test_attacks_are_found_in_the_tables() -> None:
    arrays = {
        "counts": np.array([2, 3]), "factors": np.array([0.5, 1.0]), "others": np.array([[5.0, 6.0], [7.0, 8.0]]),
        "random_known": np.array(5.5), "correlated_known": np.array(7.5),
    }  # fmt: skip
    for attack, start in (("alternating", 10.0), ("constant", 20.0)):
        for k, name in enumerate(("tron", "sgd", "floor")):
            arrays[f"{attack}_{name}"] = start + 100 * k + np.arange(5.0)[None]
    ends, known = poison.attacks(arrays)
    np.testing.assert_array_equal(ends, [[14, 114], [5, 6], [24, 124], [7, 8]])
    np.testing.assert_array_equal(known, [214, 5.5, 224, 7.5])


def test_speed_and_lag_of_two_decays() -> None:
    t = np.arange(400)
    paths = np.array([3 * 0.9**t, 3 * 0.9 ** np.maximum(t - 10, 0), 3 * 0.9**t])
    speed, behind = gate.lag({"paths": paths})
    # SGD waits for ten iterations, then has the same rate
    assert behind == 10 and speed == pytest.approx(1.0, rel=1e-12)


def test_regressions_without_poison_are_exact() -> None:
    config = dataclasses.replace(gate.Config.quick(), n=3, samples=150, fits=1, beta=1e-12)
    errors = gate.regressions(config, gate.axis(3, 1.0), 1.0, 0.2, np.random.default_rng(0))
    np.testing.assert_allclose(errors, 0.0, atol=1e-9)


@pytest.mark.parametrize(
    ("config", "change", "word"),
    [
        (gate.Config, {"dims": (10,)}, "dims"),
        (gate.Config, {"factors": (0.5, 2.5)}, "factors"),
        (gate.Config, {"sizes": (1.0, 2.0)}, "sizes"),
        (gate.Config, {"beta": 0.0}, "beta"),
        (gate.Config, {"samples": 100}, "samples"),
        (poison.Config, {"inputs": (20,)}, "inputs"),
        (poison.Config, {"gates": 3}, "gates"),
        (poison.Config, {"thetas": (0.5, 1.0, 2.0)}, "thetas"),
        (poison.Config, {"betas": (0.0, 0.5, 1.5)}, "betas"),
        (poison.Config, {"steps": (0.5, 2.0)}, "steps"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(
    config: Any, change: dict[str, Any], word: str
) -> None:
    with pytest.raises(InputError, match=word):
        config(**change)

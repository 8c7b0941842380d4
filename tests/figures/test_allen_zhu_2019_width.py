"""The mathematics inside the figure on powers of the width: its stop rule, a small version of it, bad settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import meanfield as mf
from figures import allen_zhu_2019_width as figure
from solvers.errors import InputError


def test_a_run_stops_at_its_goal_and_takes_gradients_at_every_save() -> None:
    config = figure.Config(most=400, goal=0.05)
    X, y = mf.data.separated(4, 5, rng=0)
    found = figure.trained(32, X, y, config, 0)
    assert found.converged and found.objective[-2] > 0.05 >= found.objective[-1]
    assert len(found.gradients) == len(found.t) and found.steps < 400
    np.testing.assert_allclose(np.diff(found.t), 5 * 0.2 / 32)


def test_a_small_version_holds_what_does_not_need_width() -> None:
    config = figure.Config(widths=(16, 32, 64), n=4, d=6, seeds=3, goal=0.01)
    arrays = figure.compute(config, np.random.default_rng(0))
    figure.draw(arrays)
    held = {claim.statement: claim.holds for claim in figure.claims(arrays)}
    for start in ("Every run learns", "and reaches zero loss", "Each step takes", "|grad F|^2 is above"):
        assert all(holds for statement, holds in held.items() if statement.startswith(start))
    means = np.log(arrays["spectral"]).mean(axis=1)
    slope = np.polyfit(np.log(arrays["widths"]), means, 1)[0]
    assert arrays["fit_spectral"][0] == pytest.approx(slope) and slope < 0
    middle, low, high = arrays["line_spectral"]
    assert (low < middle).all() and (middle < high).all()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"widths": (8, 16)}, "three different"),
        ({"widths": (8, 32, 16)}, "ascend"),
        ({"seeds": 2}, "seeds"),
        ({"n": 1}, "n must be"),
        ({"d": 2}, "d must be"),
        ({"step": 0.0}, "step"),
        ({"most": 10}, "most"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)

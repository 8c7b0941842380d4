"""The mathematics inside the figure on exact training: what is drawn is what was trained, and one unit serves all."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import meanfield as mf
import solvers
from figures import arora_2018_exact as figure
from solvers.errors import InputError

SMALL = dataclasses.replace(
    figure.Config.quick(), data=9, widths=(1, 2, 3, 8), exact=3, starts=3, t_end=20.0, sizes=(5, 10), draws=1
)


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    return figure.compute(SMALL, np.random.default_rng(0))


def test_losses_are_those_of_the_fits_in_units_of_the_zero_network(arrays: dict[str, Any]) -> None:
    X, y = arrays["X"], arrays["y"]
    for w, drawn, value in zip((1, 2, 3), arrays["fits"], arrays["exact"], strict=True):
        best = solvers.exact_erm(X, y, w)
        np.testing.assert_array_equal(best.predict(arrays["grid"]), drawn)
        # roundings of nine terms
        assert np.sum((best.predict(X) - y) ** 2) / np.sum(y**2) == pytest.approx(value, rel=1e-12)


def test_a_run_that_starts_at_the_optimum_stays_there(arrays: dict[str, Any]) -> None:
    """The flow's objective and the exact one are the same function of the same networks."""
    X, y = arrays["X"], arrays["y"]
    best = solvers.exact_erm(X, y, 2)
    objective = mf.Objective(mf.TwoLayer("relu", d=1), X[:, None], y)
    run = solvers.integrate(
        mf.WassersteinFlow(objective), best.measure(), 1.0, method=solvers.Euler(step=0.01), save=2
    )
    assert run["objective"][0] == pytest.approx(best.value, rel=1e-12)
    assert run["objective"][-1] >= best.bound - 1e-12


def test_shapes_and_counts(arrays: dict[str, Any]) -> None:
    assert arrays["flow"].shape == arrays["sgd"].shape == (4, 3)
    assert arrays["ordered"].tolist() == [[20.0, 400.0, 8000.0], [40.0, 1600.0, 64000.0]]
    assert arrays["completions"][0].tolist() == [18.0, 18 * 17 / 2, 18 * 17 * 16 / 6]
    assert (arrays["programs"] > 0).all()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"widths": (1, 3, 2, 9)}, "widths"),
        ({"exact": 7}, "exact"),
        ({"exact": 2}, "exact"),
        ({"data": 4}, "data"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)

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
    assert figure.slope_ends(x, y) == pytest.approx((fit.slope - fit.half_width, fit.slope + fit.half_width))


def as_in_theory() -> dict[str, np.ndarray[Any, Any]]:
    """Numbers for which all claims hold, with two per cent of noise over seeds."""
    draw = np.random.default_rng(0)

    def power(x: Any, exponent: float, seeds: int = 6) -> Any:
        return np.asarray(x, dtype=float)[:, None] ** exponent * (
            1 + 0.02 * draw.standard_normal((len(x), seeds))
        )

    m = np.array([16, 32, 64, 128])
    remaining = np.array([(a, k) for a in m for k in m if k < a])
    change = np.array([power(m, -1.0), power(m, -0.9)])
    noise = 1 + 0.02 * draw.standard_normal((2, *change.shape))
    factor = (1 / remaining[:, 1] - 1 / remaining[:, 0])[:, None]
    barriers = np.array([power(m, -1.0), power(m, 0.0), 0.1 * power(m, -1.0)])
    return {
        "widths": m, "change": change, "exact": change * noise[0], "rise": change / 2,
        "exact_rise": change / 2 * noise[1], "remaining": remaining,
        "by_remaining": factor * power(remaining[:, 1], 0.0), "dims": m, "barriers": barriers, "deep_widths": m,
        "by_dim": np.array([power(m, -0.1), power(m, 0.0)]), "checks": np.array([m * 1e-3, m * 0.0]),
        "deep_both": np.array([power(m, -1.0), power(m, -0.6)]), "deep_barriers": barriers,
        "deep_last": np.array([power(m, -1.0)] * 2), "deep_checks": np.array([1e-3, 0.0]),
    }  # fmt: skip


def times_power(name: str, exponent: float, *where: int) -> Any:
    """A change of one array by a power of the widths."""

    def ruin(arrays: Any) -> None:
        part = arrays[name][where]
        part *= (np.arange(1.0, len(part) + 1) ** exponent)[:, None]

    return ruin


# What is done to the numbers, and the claims that fail then.
RUINED = [
    (times_power("change", 0.5, 0), {0, 2}),  # like 1/root m, which is not the exact one either
    (times_power("change", 0.8, 1), {1, 2}),
    (lambda a: a.update(exact=2 * a["exact"]), {2}),  # as if drawn with replacement
    (lambda a: a.update(exact_rise=2 * a["exact_rise"]), {3}),
    (lambda a: a.update(by_remaining=a["by_remaining"] * a["remaining"][:, 1:] ** 0.5), {4}),
    (lambda a: a.update(by_remaining=a["by_remaining"] * a["remaining"][:, :1] ** 0.5), {4, 5}),
    (times_power("by_dim", 0.6, 0), {6}),
    (times_power("by_dim", 0.6, 1), {7}),
    (lambda a: a["checks"].__setitem__((0, 1), -1e-6), {8}),
    (lambda a: a["deep_checks"].__setitem__(0, -1e-6), {8}),
    (lambda a: a["checks"].__setitem__((1, 1), 1e-6), {9}),
    (lambda a: a["deep_checks"].__setitem__(1, -1e-6), {9}),
    (lambda a: a["barriers"].__setitem__(0, a["barriers"][1] * 2), {10, 12}),
    (times_power("barriers", -0.8, 1), {11}),
    (lambda a: a["barriers"].__setitem__((2, 2), a["barriers"][0, 2]), {13}),
    (times_power("deep_both", 0.8, 0), {14, 17}),  # then muP is not slower
    (times_power("deep_barriers", 0.8, 0), {15}),
    (times_power("deep_barriers", -0.8, 1), {16}),
    (lambda a: a["deep_both"].__setitem__(1, a["deep_both"][0]), {17, 18}),
    (times_power("deep_last", 0.5, 1), {19}),
]


@pytest.mark.parametrize(("ruin", "fail"), RUINED)
def test_each_claim_fails_where_its_number_is_another(ruin: Any, fail: set[int]) -> None:
    arrays = {name: np.array(one, copy=True) for name, one in as_in_theory().items()}
    assert all(claim.holds for claim in figure.claims(arrays))
    ruin(arrays)
    claims = figure.claims(arrays)
    assert {i for i, claim in enumerate(claims) if not claim.holds} == fail
    assert set.union(*(one for _, one in RUINED)) == set(range(len(claims)))


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

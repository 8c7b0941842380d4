"""The mathematics inside the figure on ResNets of all shapes: unbiased squares, exponents and their intervals."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from figures import chizat_2026_resnets as figure
from figures._chizat_2026 import squared
from meanfield.plotting import fit_slope
from solvers.errors import InputError


def test_products_of_two_references_are_unbiased() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(1000)
    value = truth + 0.01
    found = [squared(value, [truth + 0.1 * rng.standard_normal(1000) for _ in range(2)]) for _ in range(400)]
    # one reference would give 1e-2; the standard error of the mean is 0.01/sqrt(1000 400)
    assert np.mean(found) == pytest.approx(1e-4, abs=6.5e-5)


def test_exponents_of_roots_are_halves_of_those_of_squares() -> None:
    x = np.array([1.0, 2.0, 4.0, 8.0])
    squares = 3.0 / x[:, None] * (1 + 0.1 * np.random.default_rng(1).standard_normal((4, 5)))
    fit, known = figure.power(x, squares), fit_slope(x, squares)
    assert fit.slope == known.slope / 2 and fit.half_width == known.half_width / 2
    with pytest.raises(InputError, match="take more seeds or larger references"):
        figure.power(x, -squares)
    assert figure.along(fit, x) == pytest.approx(np.sqrt(squares.mean(axis=1)), rel=0.1)


def test_the_square_of_a_mean_is_taken_over_different_seeds() -> None:
    products = np.random.default_rng(2).standard_normal((2, 4, 4))
    whole, left_out = figure.biases(products)
    for i, one in enumerate(products):
        pairs = list(permutations(range(4), 2))
        assert whole[i] == pytest.approx(np.mean([one[p] for p in pairs]))
        for s in range(4):
            assert left_out[i, s] == pytest.approx(np.mean([one[p] for p in pairs if s not in p]))


def test_the_largest_nets_are_left_out_and_narrow_ones_added() -> None:
    config = figure.Config(widths=(1, 10, 50), dims=(20, 50, 200), largest=1000, narrow=(40, 60, 70))
    grid = [(50, 1, 20), (50, 10, 20), (50, 50, 20), (50, 1, 50), (50, 10, 50), (50, 1, 200)]
    assert config.shapes == [*grid, (40, 1, 20), (60, 1, 20), (70, 1, 20)]


def ideal() -> dict[str, Any]:
    """What a figure would find if all laws held to 1 %."""
    config, rng = figure.Config(), np.random.default_rng(3)
    shapes, dims, depths = np.array(config.shapes), np.array(config.limit_dims), np.array(config.depths)
    L, M, D = shapes.T

    def about(values: Any) -> Any:
        return np.asarray(values)[:, None] * (1 + 0.01 * rng.standard_normal((len(values), 4)))

    own, finite, y = about(0.5 * D / (L * M)), about(6 / D), np.array([0.6, 0.8, 0.0, 0.0, 0.0])
    noise = np.einsum("s,ab->sab", 1 / depths, np.eye(4))
    linear = np.minimum(0.128 * np.arange(config.steps + 1), 1.0)[:, None] * y
    nodes = np.array([17, 33, 65])
    return {
        "shapes": shapes, "own": own, "finite": finite, "total": own + finite, "own_output": about(0.64 / (L * M)),
        "travelled": about(np.full(len(L), 0.5)), "limit_dims": dims, "limit_error": about(6 / dims),
        "first_output": about(5 / dims), "depths": depths, "y": y,
        "products": (0.13 / depths[:, None, None]) ** 2 * (1 + 0.01 * rng.standard_normal((3, 4, 4))) + noise,
        "linear": linear, "linear_finite": np.array([linear] * 3), "linear_closed": np.array([linear[1]] * 3),
        "linear_nets": np.array([linear] * 3), "nodes": nodes, "node_errors": 1.0 / nodes**2,
    }  # fmt: skip


def of_D(arrays: dict[str, Any], exponent: float) -> Any:
    return arrays["shapes"][:, 2:] ** exponent


@pytest.mark.parametrize(
    ("key", "spoil", "statements"),
    [
        ("own", lambda a: a["own"] * a["shapes"][:, 1:2] ** 0.2, ["M^(-1/2)", "on one line"]),
        ("own", lambda a: a["own"] * of_D(a, 0.3), ["D^(1/2), from"]),
        ("own", lambda a: a["own"] * a["shapes"][:, :1] ** 0.3, ["of width 1"]),
        ("own", lambda a: a["own"] * figure.fractions(a)[:, None] ** np.linspace(-0.3, 0.3, 4), ["95 % interval lies"]),
        ("own", lambda a: np.where(figure.many(a)[:, None], 1.0, 3.0) * a["own"], ["not above", "add up"]),
        ("total", lambda a: a["total"] * 1.2, ["add up"]),
        ("total", lambda a: a["finite"], ["a best D"]),
        ("limit_error", lambda a: a["limit_error"] * a["limit_dims"][:, None] ** 0.3, ["tends to that of infinite D"]),
        ("products", lambda a: a["products"] * a["depths"][:, None, None], ["order 1/L", "tells from L^(-1/2)"]),
        ("own_output", lambda a: a["own_output"] * of_D(a, 1.0) ** 2, ["In outputs"]),
        ("travelled", lambda a: a["travelled"] / of_D(a, 1.0), ["Features move", "largest over the least"]),
        ("linear", lambda a: a["linear"] * (1 + 1e-11), ["0.128 y to rounding"]),
        ("linear_closed", lambda a: a["linear_closed"] + 1e-11, ["closed form"]),
        ("first_output", lambda a: a["first_output"] * a["limit_dims"][:, None] ** 0.3, ["f_0 is not 0"]),
        ("node_errors", lambda a: 1.0 / a["nodes"], ["second order"]),
    ],
)  # fmt: skip
def test_each_claim_fails_where_its_law_does(key: str, spoil: Any, statements: list[str]) -> None:
    good = ideal()
    assert all(claim.holds for claim in figure.claims(good))
    failed = [claim.statement for claim in figure.claims({**good, key: spoil(good)}) if not claim.holds]
    for statement in statements:
        assert any(statement in one for one in failed), failed


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
        ({"dims": (180, 60, 20), "largest": 10**5}, "dims must increase"),
        ({"limit_dims": (10, 20, 100)}, "limit_dims must hold two values of at least 100"),
        ({"depths": (1, 2, 4)}, "depths must hold two values of at least 4"),
        ({"dims": (1, 2, 3)}, "two shapes for each slope, with D of at least 20"),
        ({"narrow": (1, 2, 3)}, "two shapes for each slope"),
        ({"widths": (1, 2, 4)}, r"D/\(L M\) at most 0.05; take larger widths"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)

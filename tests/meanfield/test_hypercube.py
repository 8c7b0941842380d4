"""Targets on the hypercube: values, Fourier coefficients, the merged-staircase property, what is refused."""

from __future__ import annotations

import json
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest

from meanfield import data
from solvers.errors import InputError

LADDER = [(0,), (0, 1), (0, 1, 2)]


def test_labels_are_sums_of_products() -> None:
    X, y = data.hypercube(50, 6, [(4,), (), (1, 3)], coefficients=[2.0, 0.5, -1.0], rng=0)
    assert X.shape == (50, 6) and set(X.ravel()) == {-1.0, 1.0}
    np.testing.assert_array_equal(y, 2.0 * X[:, 4] + 0.5 - X[:, 1] * X[:, 3])
    np.testing.assert_array_equal(X, data.hypercube(50, 6, LADDER, rng=0)[0])  # whatever the target is
    again, other = (data.hypercube(50, 6, LADDER, rng=seed)[0] for seed in (0, 1))
    np.testing.assert_array_equal(X, again)
    assert not np.array_equal(X, other)
    # a target made before, and numbers as numpy has them
    sets = data.Monomials(np.array([[0, 1], [2, 0]]))
    np.testing.assert_array_equal(data.hypercube(50, 6, sets)[1], X[:, 0] * (X[:, 1] + X[:, 2]))


def test_inputs_are_uniform_and_noise_has_its_size() -> None:
    X, y = data.hypercube(4000, 5, LADDER, noise=0.5, rng=1)
    # entries are signs: the standard error of a mean is 1/sqrt(4000); four of them, also for products of two
    assert np.abs(X.mean(axis=0)).max() < 4 / np.sqrt(4000)
    assert np.abs(X.T @ X / 4000 - np.eye(5)).max() < 4 / np.sqrt(4000)
    noise = y - data.staircase(3).value(X)
    assert np.std(noise) == pytest.approx(0.5, rel=4 / np.sqrt(8000)) and abs(noise.mean()) < 2 / np.sqrt(
        4000
    )


def test_monomials_are_orthonormal_on_their_cube() -> None:
    sets = [S for k in range(4) for S in combinations(range(3), k)]
    target = data.Monomials(sets, coefficients=np.arange(1.0, 9.0))
    Z, h = target.cube()
    assert Z.shape == (8, 3) and len({tuple(z) for z in Z}) == 8
    columns = target.features(Z)
    np.testing.assert_array_equal(columns.T @ columns, 8 * np.eye(8))
    np.testing.assert_array_equal(columns.T @ h / 8, np.arange(1.0, 9.0))  # Fourier coefficients
    assert target.variance == pytest.approx(np.var(h), rel=1e-14)


def test_the_cube_has_the_relevant_coordinates_only() -> None:
    target = data.Monomials([(7,), (2, 7)], coefficients=[3.0, 1.0])
    assert target.coordinates == (2, 7) and target.dim == 8
    Z, h = target.cube()
    np.testing.assert_array_equal(h, 3.0 * Z[:, 1] + Z[:, 0] * Z[:, 1])
    assert repr(target) == "Monomials(3 x_7 + x_2 x_7)"
    assert repr(data.Monomials([(), (1,)], [2.0, -1.5])) == "Monomials(2 - 1.5 x_1)"


@pytest.mark.parametrize(
    ("sets", "leap"),
    [
        (LADDER, 1),
        ([(0, 1, 2), (0, 1), (0,)], 1),  # in any order
        ([(0,), (1,), (0, 1, 2)], 1),  # merged: neither of the first two alone is enough
        ([(0, 1, 2)], 3),
        ([(0,), (0, 1, 2)], 2),
        ([(0, 1), (2, 3), (0, 1, 2, 3)], 2),
        ([(0,), (0, 1, 2), (0, 1, 2, 3)], 2),
        ([()], 0),
    ],
)
def test_leap_of_known_targets(sets: Any, leap: int) -> None:
    found = data.merged(sets)
    assert found.leap == leap == max(found.new)
    assert bool(found) is found.holds is (leap <= 1)
    assert f"leap {leap}" in repr(found)


def test_leap_is_the_least_over_all_orders() -> None:
    def largest(order: Any) -> int:
        return max(len(set(S).difference(*order[:k])) for k, S in enumerate(order))

    draw = np.random.default_rng(0)
    every = [S for k in range(1, 5) for S in combinations(range(4), k)]
    seen = set()
    for _ in range(30):
        sets = [every[k] for k in draw.choice(len(every), 4, replace=False)]
        found = data.merged(sets)
        assert found.leap == min(largest(order) for order in permutations(sets)) == largest(found.order)
        assert sorted(found.order) == sorted(sets)
        seen.add(found.leap)
    assert {1, 2} <= seen


def test_staircase_and_sampler() -> None:
    target = data.staircase(3)
    assert target.sets == tuple(LADDER) and data.merged(target)
    sampler = data.HypercubeSampler(target, d=7, noise=0.1)
    generator = np.random.default_rng(0)
    (X, y), (other, _) = sampler(generator, 9), sampler(generator, 9)
    assert X.shape == (9, 7) and y.shape == (9,) and not np.array_equal(X, other)
    assert sampler.describe()["target"] == "x_0 + x_0 x_1 + x_0 x_1 x_2"


def test_descriptions_tell_targets_apart() -> None:
    """Runs are resumed by what their sampler shows of itself: every digit counts, and numbers are plain ones."""
    one, other = (data.HypercubeSampler(data.Monomials([(0,)], [c]), np.int64(3), np.float32(0.5)) for c in (
        1.0, 1.0 + 1e-15
    ))  # fmt: skip
    assert repr(one) != repr(other) and one.describe()["target"] != other.describe()["target"]
    assert json.loads(json.dumps(one.describe())) == {
        "data": "hypercube",
        "d": 3,
        "target": "x_0",
        "noise": 0.5,
    }


def test_refusals() -> None:
    cases: list[tuple[Any, str]] = [
        (lambda: data.hypercube(0, 5, LADDER), "n must be positive"),
        (lambda: data.hypercube(-2, 5, LADDER), "n must be positive"),
        (lambda: data.hypercube(5, 2, LADDER), "d must be at least 3, not 2: the target uses coordinate 2"),
        (lambda: data.hypercube(5, 0, LADDER), "d must be positive"),
        (lambda: data.hypercube(5, 3, []), "target is empty"),
        (
            lambda: data.hypercube(5, 3, [(0,), (1, 1)]),
            r"target\[1\] = \(1, 1\) repeats coordinate 1; x_1\^2 = 1",
        ),
        (lambda: data.hypercube(5, 3, [(-1,)]), r"a coordinate in target\[0\] must be non-negative"),
        (lambda: data.hypercube(5, 3, [(0.5,)]), r"a coordinate in target\[0\] must be an integer"),
        (lambda: data.hypercube(5, 3, [(0, 1), (1, 0)]), "is there already, as target"),
        (lambda: data.hypercube(5, 3, (0, 1)), r"target\[0\] must be a set of coordinates"),
        (lambda: data.hypercube(5, 3, 3), "target must be a list of sets"),
        (lambda: data.hypercube(5, 3, "x1"), "target must be a list of sets"),
        (lambda: data.hypercube(5, 3, LADDER, coefficients=[1.0, 2.0]), "each of the 3 monomials, not 2"),
        (lambda: data.hypercube(5, 3, LADDER, coefficients=[1.0, 0.0, 2.0]), r"coefficients\[1\] is 0"),
        (lambda: data.hypercube(5, 3, data.staircase(2), coefficients=[1.0, 2.0]), "has its own"),
        (lambda: data.hypercube(5, 3, LADDER, noise=-1.0), "noise must be non-negative"),
        (lambda: data.staircase(3).value(np.ones((4, 2))), "X must have at least 3 columns, not 2: the"),
        (lambda: data.staircase(3).value([[1, 1, -1], [1, 0, 1]]), r"X\[1, 1\] is 0; of bits pass 1 - 2"),
        (lambda: data.staircase(0), "steps must be positive"),
        (lambda: data.staircase(21).cube(), "but the target has 21"),
        (lambda: data.Monomials([()]).cube(), "but the target has 0"),
        (lambda: data.merged([]), "target is empty"),
        (lambda: data.Monomials(3), "sets must be a list"),  # by the name that the user wrote
        (lambda: data.Monomials(np.array(3)), "sets must be a list"),
        (
            lambda: data.hypercube(5, 3, {(0,): 2.0}),
            "target must be a list of sets, not a dict; .* coefficients",
        ),
        (lambda: data.hypercube(5, 3, {(0,), (1,)}, [1.0, 2.0]), "order coefficients cannot follow"),
        (lambda: data.hypercube(10**9, 10**6, LADDER), "GiB, and this machine has"),
        (lambda: data.staircase(10**7), "steps = 10000000 would take"),
    ]
    for make, message in cases:
        with pytest.raises(InputError, match=message):
            make()

"""Points of length 1 that keep a distance: the bound, what is drawn, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import meanfield as mf
from solvers.errors import InputError


@pytest.mark.parametrize(("n", "d", "delta"), [(10, 10, 0.5), (10, 10, 1.05), (6, 3, 0.7), (19, 10, 0.9)])
def test_points_are_on_the_theorems_sphere_and_apart(n: int, d: int, delta: float) -> None:
    """The first by drawing again where points are too close, the others by pushing."""
    X, y = mf.data.separated(n, d, delta, rng=0)
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(X[:, -1], np.sqrt(0.5), rtol=1e-15)
    assert delta <= mf.data.separation(X) <= mf.data.separation_bound(n, d)
    assert set(y) == {-1.0, 1.0} and abs(y.sum()) <= 1
    np.testing.assert_array_equal(mf.data.separated(n, d, delta, rng=0)[0], X)


def test_what_is_far_apart_already_is_left_alone() -> None:
    X, y = mf.data.separated(8, 6, rng=3)
    same, again = mf.data.separated(8, 6, 0.9 * mf.data.separation(X), rng=3)
    np.testing.assert_array_equal(same, X)
    np.testing.assert_array_equal(again, y)
    other, _ = mf.data.separated(8, 6, 1.01 * mf.data.separation(X), rng=3)
    moved = (other != X).any(axis=1)
    assert 0 < moved.sum() < 8  # one of a pair is drawn anew


def test_the_bound_is_reached_where_it_is_said_to_be() -> None:
    def on_sphere(points: Any) -> float:
        return mf.data.separation(mf.data.unit_inputs(points))

    assert mf.data.separation_bound(2, 2) == pytest.approx(np.sqrt(2), rel=1e-15)
    for d in (3, 5):
        simplex = np.linalg.svd(np.eye(d) - 1.0 / d)[0][:, : d - 1]  # n = d points in R^(d-1)
        assert on_sphere(simplex) == pytest.approx(mf.data.separation_bound(d, d), rel=1e-14)
        cross = np.vstack([np.eye(d - 1), -np.eye(d - 1)])
        assert on_sphere(cross) == pytest.approx(mf.data.separation_bound(2 * d - 2, d), rel=1e-14)
    angles = 2 * np.pi * np.arange(7) / 7
    heptagon = np.column_stack([np.cos(angles), np.sin(angles)])
    assert on_sphere(heptagon) == pytest.approx(mf.data.separation_bound(7, 3), rel=1e-12)
    bounds = [mf.data.separation_bound(n, 6) for n in (2, 6, 7, 10, 11, 40, 1000)]
    assert bounds == sorted(bounds, reverse=True) and bounds[-1] < 0.5
    # twelve points of the sphere in three dimensions: the icosahedron's edge, 4/root(10 + 2 root 5), is possible
    edge = 4 / np.sqrt(10 + 2 * np.sqrt(5)) / np.sqrt(2)
    assert edge < mf.data.separation_bound(12, 4) < 1.1 * edge


def test_labels() -> None:
    y = mf.data.separated(10, 5, labels=3, rng=0)[1]
    np.testing.assert_array_equal(np.sort(np.bincount(y.astype(int))), [3, 3, 4])
    normal = mf.data.separated(400, 5, labels="gaussian", rng=0)[1]
    assert abs(normal.mean()) < 4 / 20 and normal.std() == pytest.approx(1.0, rel=4 / np.sqrt(800))
    X, _ = mf.data.separated(10, 5, labels="gaussian", rng=0)
    np.testing.assert_array_equal(X, mf.data.separated(10, 5, labels=3, rng=0)[0])


def test_points_do_not_depend_on_the_kind_of_labels_or_of_rng() -> None:
    X, y = mf.data.separated(10, 5, rng=np.random.default_rng(4))
    other, normal = mf.data.separated(10, 5, labels="gaussian", rng=np.random.default_rng(4))
    np.testing.assert_array_equal(other, X)  # labels are drawn after them
    assert len(set(normal)) == 10
    for pair in zip(mf.data.separated(9, 4, 0.5, rng=7), mf.data.separated(9, 4, 0.5, rng=np.random.SeedSequence(7)),
                    strict=True):  # fmt: skip
        np.testing.assert_array_equal(*pair)


def test_one_point_keeps_any_distance() -> None:
    X, y = mf.data.separated(1, 3, delta=1e300)
    assert X.shape == (1, 3) and y.shape == (1,)


def test_separation_is_the_least_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).standard_normal((30, 2, 3))
    gaps = np.linalg.norm((X[:, None] - X).reshape(30, 30, 6), axis=2) + 1e9 * np.eye(30)
    assert mf.data.separation(X) == pytest.approx(gaps.min(), rel=1e-14)
    monkeypatch.setattr("meanfield.data.separated_points.BLOCK", 100)
    assert mf.data.separation(X) == pytest.approx(gaps.min(), rel=1e-14)
    for size in (2.0**600, 2.0**-600):  # whose squares leave the numbers
        assert mf.data.separation(size * X) == size * mf.data.separation(X)
    X[7] = X[20]
    assert mf.data.separation(X) == 0.0
    assert mf.data.separation([[1e9, 0.0], [1e9 + 1e-3, 0.0], [0.0, 1.0]]) == pytest.approx(1e-3, rel=1e-3)


def test_unit_inputs_of_any_size() -> None:
    X = np.array([[3.0, 4.0], [3e200, 4e200], [3e-200, 4e-200]])
    expected = [0.6 / np.sqrt(2), 0.8 / np.sqrt(2), 1 / np.sqrt(2)]
    np.testing.assert_allclose(mf.data.unit_inputs(X), [expected] * 3, rtol=1e-14)
    channels = mf.data.unit_inputs(X, channels=True).reshape(3, 2, 2)
    np.testing.assert_allclose(channels[..., 0], [expected[:2]] * 3, rtol=1e-14)
    np.testing.assert_allclose(channels[..., 1], 0.5, rtol=1e-15)


def test_refusals() -> None:
    cases: list[tuple[Any, str]] = [
        (
            lambda: mf.data.separated(10, 5, 1.2),
            "delta=1.2 is too large for 10 points in 5 coordinates.*than 1;",
        ),
        (lambda: mf.data.separated(3, 2, 0.1), "none are farther apart than 0"),
        (lambda: mf.data.separated(12, 4, 0.76), "was not reached"),
        (lambda: mf.data.separated(6, 4, 1.0), "the largest distance that 6 points.*such as delta=0.999$"),
        (lambda: mf.data.separated(10**9, 1000), "larger than memory"),
        (lambda: mf.data.separated(4, 1), "d must be at least 2"),
        (lambda: mf.data.separated(0, 4), "n must be positive"),
        (lambda: mf.data.separated(4, 4, -1), "delta must be non-negative"),
        (lambda: mf.data.separated(4, 4, labels=1), "labels=1 classes"),
        (lambda: mf.data.separated(4, 4, labels=5), "labels=5 classes"),
        (lambda: mf.data.separated(4, 4, labels="sign"), "did you mean 'signs'"),
        (lambda: mf.data.separated(4, 4, labels=2.5), "number of classes.*integer"),
        (lambda: mf.data.unit_inputs([[1.0], [0.0]]), "row 1 of X is 0"),
        (lambda: mf.data.separation([1.0, 2.0]), "two points at least"),
        (lambda: mf.data.separation([[1.0, 2.0]]), "two points at least"),
    ]
    for make, message in cases:
        with pytest.raises(InputError, match=message):
            make()


def test_many_points_are_not_pushed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meanfield.data.separated_points.MOST", 18)
    with pytest.raises(
        InputError, match="delta=0.9 leaves no room.*n=19 points.*at most 18 are pushed apart"
    ):
        mf.data.separated(19, 10, 0.9)

"""Points of length 1 that keep a distance: the bound, what is drawn, what is refused; real data with classes."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import meanfield as mf
from meanfield.data import bundled
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


def test_separation_is_the_least_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).standard_normal((30, 2, 3))
    gaps = np.linalg.norm((X[:, None] - X).reshape(30, 30, 6), axis=2) + 1e9 * np.eye(30)
    assert mf.data.separation(X) == pytest.approx(gaps.min(), rel=1e-14)
    monkeypatch.setattr("meanfield.data.separated_points.BLOCK", 100)
    assert mf.data.separation(X) == pytest.approx(gaps.min(), rel=1e-14)
    X[7] = X[20]
    assert mf.data.separation(X) == 0.0


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


# Real data --------------------------------------------------------------------------------------------------


def test_digits_as_rows_and_as_images() -> None:
    pytest.importorskip("sklearn")
    flat = mf.data.real("digits", classes=(3, 8), n=40, normalize="unit", test_fraction=0.2, rng=1)
    assert flat.X.shape == (40, 65) and flat.X_test is not None and flat.X_test.shape == (71, 65)
    np.testing.assert_allclose(np.linalg.norm(flat.X, axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(flat.X[:, -1], np.sqrt(0.5), rtol=1e-15)
    assert (flat.y == 1).sum() == 20 and "8 (1)" in repr(flat) and flat.describe()["unit length"]
    shaped = mf.data.real(
        "digits", classes=(3, 8), n=40, normalize="unit", test_fraction=0.2, rng=1, images=True
    )
    assert shaped.shape == (8, 8, 2)
    images = shaped.X.reshape(-1, *shaped.shape)
    np.testing.assert_array_equal(images[..., 0].reshape(40, 64), flat.X[:, :64])
    np.testing.assert_allclose(np.linalg.norm(shaped.X, axis=1), 1.0, rtol=1e-14)
    # images and rows are at the same distances, the constant being constant in both
    assert mf.data.separation(shaped.X) == pytest.approx(mf.data.separation(flat.X), rel=1e-12)
    net = mf.finite.deep.ConvNet(shape=shaped.shape, channels=(4, 4), parametrization="allen_zhu")
    assert net.predict(net.init(rng=0), shaped.X).shape == (40,)
    raw = mf.data.real("digits", classes=("3", "8"), normalize=None)
    assert raw.X.max() == 16.0 and raw.n == 357
    np.testing.assert_array_equal(shaped.transform(raw.X[:5]), mf.data.unit_inputs(raw.X[:5], channels=True))
    standard = mf.data.real("digits", test_fraction=0.5, images=True)
    assert standard.shape == (8, 8, 1) and len(set(standard.y)) == 10 and standard.dropped == ()
    assert standard.X.mean() == pytest.approx(0.0, abs=1e-13) and standard.X.std() == pytest.approx(1.0)
    assert standard.X_test is not None and 0.01 > abs(standard.X_test.mean()) > 0.0


def test_tables_with_classes_and_targets() -> None:
    pytest.importorskip("sklearn")
    wine = mf.data.real("wine", classes=("class_2", 0), n=21, labels="classes", test_fraction=0.1)
    assert wine.target_names == ("class_2 (0) or class_0 (1)",) and sorted(
        np.bincount(wine.y.astype(int))
    ) == [10, 11]
    np.testing.assert_allclose(wine.X.std(axis=0), 1.0, rtol=1e-12)
    assert mf.data.real("wine", classes=(0, 1), n=130).n == 130  # of 59 and 71
    diabetes = mf.data.real("diabetes", standardize_target=True, normalize="unit")
    assert diabetes.d == 11 and diabetes.y.std() == pytest.approx(1.0) and diabetes.feature_names[2] == "bmi"
    raw = mf.data.real("diabetes", normalize=None)
    np.testing.assert_allclose(diabetes.transform(raw.X[:3]), diabetes.X[:3], rtol=1e-12)
    assert mf.data.real("linnerud").y.shape == (20, 3)


def test_examples_that_coincide_are_told() -> None:
    pytest.importorskip("sklearn")
    iris = mf.data.real("iris")  # it holds one flower twice
    assert iris.n == 149 and iris.notes == ("1 example(s) that occur twice, with one label, are kept once",)
    assert "occur twice" in repr(iris)


def test_examples_that_contradict_each_other_are_left_out() -> None:
    X = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [2.0, 4.0], [5.0, 5.0], [5.0, 5.0]])
    y = np.array([1.0, 1.0, -1.0, 1.0, 1.0, 1.0])
    with pytest.warns(UserWarning, match="2 example.*labels that differ, are left out"):
        keep, notes = bundled.distinct(X, y)
    assert keep.tolist() == [1, 3, 4] and len(notes) == 2
    with pytest.warns(UserWarning, match="3 example"):
        keep, _ = bundled.distinct(X, y, directions=True)  # (2, 4) is (1, 2) made longer
    assert keep.tolist() == [1, 4]
    keep, notes = bundled.distinct(X, np.ones(6))
    assert keep.tolist() == [0, 1, 3, 4] and "2 example(s) that occur twice" in notes[0]


def test_a_set_that_contradicts_itself_is_trained_without_those(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(
        data=np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]), target=np.array([0, 1, 1, 0]),
        target_names=["no", "yes"], feature_names=["p", "q"],
    )  # fmt: skip
    monkeypatch.setattr(bundled, "bunch", lambda name: found)
    with pytest.warns(UserWarning, match="left out"):
        data = mf.data.real("wine", normalize=None)
    assert data.n == 2 and data.y.tolist() == [1.0, -1.0]
    net = mf.finite.deep.Dense(widths=(2, 4, 4, 1), parametrization="allen_zhu")
    mf.finite.deep.Problem(net, data.X, data.y)
    with pytest.raises(InputError, match="coincide, but their labels differ"):
        mf.finite.deep.Problem(net, found.data, 2.0 * found.target - 1.0)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": "digit"}, "did you mean 'digits'"),
    ({"name": "digits", "classes": 3}, "two or more of those of 'digits'"),
    ({"name": "digits", "classes": (3,)}, "two classes or more"),
    ({"name": "digits", "classes": (3, 3)}, "each once"),
    ({"name": "digits", "classes": (3, 11)}, "a class of 'digits' must be one of"),
    ({"name": "iris", "classes": ("setosa", "virginia")}, "did you mean 'virginica'"),
    ({"name": "wine", "images": True}, "'wine' is a table"),
    ({"name": "wine", "normalize": "units"}, "did you mean 'unit'"),
    ({"name": "wine", "labels": "signs"}, "there are 3: choose two"),
    ({"name": "wine", "standardize_target": True}, "is for regression"),
    ({"name": "diabetes", "classes": (0, 1)}, "leave out classes="),
    ({"name": "diabetes", "labels": "signs"}, "leave out labels="),
    ({"name": "iris", "n": 200}, "n=200 is more than the 149"),
    ({"name": "iris", "n": 0}, "n must be positive"),
    ({"name": "iris", "test_fraction": 1.0}, "leaves 0 for training"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_what_real_refuses(settings: dict[str, Any], message: str) -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(InputError, match=message):
        mf.data.real(**settings)


def test_scikit_learn_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match=r"'digits' needs scikit-learn.*meanfield-nets\[data\]"):
        mf.data.real("digits")

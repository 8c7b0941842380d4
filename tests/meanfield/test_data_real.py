"""Real data by name: classes, examples, normalization, points that coincide, what is refused."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import meanfield as mf
from meanfield.data import bundled
from solvers.errors import InputError


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
    ({"name": "digits", "classes": {3, 8}}, "in an order, which a set has not"),
    ({"name": "digits", "rng": "first"}, "rng must be a non-negative integer"),
    ({"name": "iris", "n": 1}, "constant in the training part.*take more examples, or do not standardize"),
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

"""Small real data sets, images and tables, that come inside scikit-learn's wheel: nothing is downloaded."""

from __future__ import annotations

import warnings
from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np

from meanfield.data.dataset import Dataset, build, frozen, split
from meanfield.data.separated_points import unit_inputs
from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array

BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine")
REGRESSION = ("diabetes", "linnerud")
IMAGES = {"digits": (8, 8)}
# Points that are closer than this, relative to the longest, coincide.
COINCIDE = 1e-10


def bunch(name: str, what: str = "name", asked: str | None = None) -> Any:
    """One of the data sets of scikit-learn, in raw units, or one sentence."""
    name = _check.choice(name, what, BUNDLED)
    try:
        from sklearn import datasets
    except ImportError:
        raise InputError(
            f"{asked or f'the data set {name!r}'} needs scikit-learn, which is not installed; run: "
            "pip install scikit-learn, or install this library as 'meanfield-nets[data]'"
        ) from None
    settings = {"scaled": False} if name == "diabetes" else {}
    return getattr(datasets, f"load_{name}")(**settings)


def real(
    name: str,
    classes: Sequence[Any] | None = None,
    n: int | None = None,
    normalize: str | None = "standard",
    test_fraction: float = 0.0,
    rng: Any = 0,
    *,
    labels: str | None = None,
    images: bool = False,
    standardize_target: bool = False,
) -> Dataset:
    """Real data by name, some classes or examples of them, ready for a network.

    ============= ===================== ==========================================
    name          examples, features    target
    ============= ===================== ==========================================
    breast_cancer 569, 30               "malignant", "benign"
    diabetes      442, 10               progression of the disease
    digits        1797 images, 8 x 8    0 to 9
    iris          150, 4                "setosa", "versicolor", "virginica"
    linnerud      20, 3                 weight, waist, pulse
    wine          178, 13               "class_0", "class_1", "class_2"
    ============= ===================== ==========================================

    Examples that occur twice are kept once, and left out where their labels differ, with a warning: no network fits
    both. `Dataset.notes` says so.

    Parameters
    ----------
    name : str
    classes : sequence, optional
        By name, or by number from 0: these alone, in this order.
    n : int, optional
        Training examples, drawn at random, as many of each class as there are to have; all by default.
    normalize : {"standard", "unit"} or None
        Mean 0 and standard deviation 1 in the training part: of each feature (constant ones are left out), of all
        pixels of images together. Or `unit_inputs`, the theorem's, of standardized features, and of pixels as they are.
        Or raw.
    test_fraction : float
        Part of the examples, drawn at random, that is set apart first; in [0, 1).
    rng : int, SeedSequence or Generator
        Draws test part and examples; an integer from streams of their own.
    labels : {"signs", "classes"}, optional
        Two classes as -1 and 1, the default for two; or any number as 0, 1, ..., in the order of `classes`.
    images : bool
        For convolutions: `Dataset.shape` is set, and with "unit" the constant is a second channel. Rows stay flat, the
        form in which `mf.finite.deep.ConvNet` takes them too.
    standardize_target : bool
        Of regression; `Dataset.restore` takes predictions back.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        Also where scikit-learn is missing: it comes with ``pip install 'meanfield-nets[data]'``.

    Examples
    --------
    >>> import meanfield as mf
    >>> data = mf.data.real("digits", classes=(3, 8), n=100, normalize="unit", test_fraction=0.2, images=True)
    >>> data.X.shape, data.shape, data.X_test.shape
    ((100, 128), (8, 8, 2), (71, 128))
    """
    name = _check.choice(name, "name", BUNDLED)
    if normalize is not None:
        _check.choice(normalize, "normalize (or None)", ("standard", "unit"))
    if images and name not in IMAGES:
        raise InputError(f"images=True needs images, such as 'digits'; {name!r} is a table")
    fraction = _check.number(test_fraction, "test_fraction", nonnegative=True)
    draw = generator(rng, "examples")
    found = bunch(name)
    X, y = np.asarray(found.data, dtype=np.float64), np.asarray(found.target)
    if name in REGRESSION:
        _without_classes(name, classes, labels)
        y = y.astype(np.float64)
        targets = list(found.target_names) if y.ndim == 2 else ["target"]
        kinds = np.zeros(len(X), dtype=int)
    else:
        if standardize_target:
            raise InputError(f"standardize_target=True is for regression; the target of {name!r} are classes")
        chosen = _chosen([str(one) for one in found.target_names], classes, name)
        rows = np.flatnonzero(np.isin(y, chosen))
        X, kinds = X[rows], np.array([chosen.index(int(one)) for one in y[rows]])
        y, coding = _coded(kinds, len(chosen), labels)
        shown = [f"{found.target_names[c]} ({code})" for c, code in zip(chosen, coding, strict=True)]
        targets = [f"{', '.join(shown[:-1])} or {shown[-1]}"]
    keep, notes = distinct(X, y, directions=normalize == "unit" and name in IMAGES)
    X, y, kinds = X[keep], y[keep], kinds[keep]
    X_test = y_test = None
    if fraction > 0.0:
        which = np.arange(len(X), dtype=np.float64)
        train, _, test, _ = (part.astype(int) for part in split(which, which, fraction, rng))
        X, X_test, y, y_test, kinds = X[train], X[test], y[train], y[test], kinds[train]
    if n is not None:
        drawn = _drawn(kinds, n, draw, name)
        X, y = X[drawn], y[drawn]
    standardize = normalize is not None and name not in IMAGES
    data = build(
        X, y, X_test, y_test, feature_names=[str(one) for one in found.feature_names], target_names=targets,
        source=f"sklearn:{name}", standardize=standardize, standardize_target=standardize_target,
        constant="drop" if standardize else "refuse", test_fraction=0.0, rng=rng,
    )  # fmt: skip
    if normalize == "standard" and name in IMAGES:
        data = _by_one_number(data)
    if images:
        data = replace(data, shape=(*IMAGES[name], 1))
    if normalize == "unit":
        data = _unit(data)
    return replace(data, notes=notes)


def distinct(X: Array, y: Array, directions: bool = False) -> tuple[Any, tuple[str, ...]]:
    """Rows to keep so that no two points (or their directions) coincide, and what was found, in words."""
    from scipy.spatial import cKDTree

    points = X / np.linalg.norm(X, axis=1)[:, None] if directions else X
    reach = COINCIDE * float(np.abs(points).max())
    pairs = cKDTree(points).query_pairs(reach, output_type="ndarray")
    if len(pairs) == 0:
        return np.arange(len(X)), ()
    # each point stands under the first one that it coincides with
    first = np.arange(len(X))
    for i, j in pairs[np.lexsort(pairs.T[::-1])]:
        first[j] = min(first[j], first[i])
    table = y.reshape(len(y), -1)
    differ = np.unique(first[(table != table[first]).any(axis=1)])
    contradicted = np.isin(first, differ)
    twice = ~contradicted & (first != np.arange(len(X)))
    notes = []
    if twice.any():
        notes.append(f"{int(twice.sum())} example(s) that occur twice, with one label, are kept once")
    if contradicted.any():
        notes.append(
            f"{int(contradicted.sum())} example(s) that coincide, with labels that differ, are left out: no network "
            "fits them"
        )
        warnings.warn(notes[-1], stacklevel=3)
    return np.flatnonzero(~contradicted & ~twice), tuple(notes)


def _without_classes(name: str, classes: Any, labels: Any) -> None:
    for given, what in ((classes, "classes"), (labels, "labels")):
        if given is not None:
            raise InputError(f"{name!r} is for regression and has no classes; leave out {what}=")


def _chosen(names: list[str], classes: Any, where: str) -> list[int]:
    """Numbers of the classes asked for."""
    if classes is None:
        return list(range(len(names)))
    if isinstance(classes, (str, int, Set)) or not hasattr(classes, "__len__"):
        what = "in an order, which a set has not, as in" if isinstance(classes, Set) else "as in"
        raise InputError(
            f"classes must be two or more of those of {where!r}, {what} classes=(0, 1), not {classes!r}"
        )
    found = []
    for one in classes:
        if not isinstance(one, str) and 0 <= _check.number(one, "a class", integer=True) < len(names):
            found.append(int(one))
        else:
            found.append(names.index(_check.choice(str(one), f"a class of {where!r}", names)))
    if len(found) < 2 or len(set(found)) < len(found):
        raise InputError(f"classes must name two classes or more, each once, not {classes!r}")
    return found


def _coded(kinds: Array, count: int, labels: str | None) -> tuple[Array, list[str]]:
    """y, and how each class is written in it."""
    default = "signs" if count == 2 else "classes"
    if _check.choice(labels or default, "labels", ("signs", "classes")) == "classes":
        return kinds.astype(np.float64), [str(k) for k in range(count)]
    if count != 2:
        raise InputError(f"labels='signs' needs two classes, but there are {count}: choose two with classes=")
    return 2.0 * kinds - 1.0, ["-1", "1"]


def _drawn(kinds: Array, n: Any, draw: np.random.Generator, name: str) -> Array:
    """n rows, in order: of each class the first, of each the second, ... of a random order."""
    n = _check.number(n, "n", positive=True, integer=True)
    if n > len(kinds):
        raise InputError(
            f"n={n} is more than the {len(kinds)} training examples that {name!r} has for this choice of classes and "
            "test_fraction"
        )
    order = draw.permutation(len(kinds))
    turn = np.empty(len(kinds))
    for kind in np.unique(kinds):
        mine = order[kinds[order] == kind]
        turn[mine] = np.arange(len(mine))
    return np.sort(order[np.argsort(turn[order], kind="stable")][:n])


def _by_one_number(data: Dataset) -> Dataset:
    """Images less the mean of all pixels, over their standard deviation: shapes stay, and constant pixels."""
    mean, std = float(data.X.mean()), float(data.X.std())
    X_test = None if data.X_test is None else frozen((data.X_test - mean) / std)
    return replace(
        data, X=frozen((data.X - mean) / std), X_test=X_test, mean=np.full(data.d, mean), std=np.full(data.d, std)
    )  # fmt: skip


def _unit(data: Dataset) -> Dataset:
    channels = data.shape is not None
    shape = None if data.shape is None else (*data.shape[:-1], 2)
    X_test = None if data.X_test is None else frozen(unit_inputs(data.X_test, channels))
    return replace(data, X=frozen(unit_inputs(data.X, channels)), X_test=X_test, unit=True, shape=shape)

"""A data set ready for training: split, standardized by its training part, and able to say what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield.data.separated_points import unit_inputs
from solvers import _check
from solvers._rng import generator
from solvers.errors import InputError
from solvers.protocols import Array


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test examples, with what is needed to treat new ones alike.

    Attributes
    ----------
    X, y : ndarray, (n, d) and (n,) or (n, k)
        The training part, standardized where `mean` or `target_mean` are not None. Arrays are read-only.
    X_test, y_test : ndarray or None
        The test part, transformed by the statistics of the training part.
    feature_names, target_names : tuple of str
    mean, std : ndarray (d,) or None
        Statistics of the raw training features: X = (raw - mean) / std, std with divisor n.
    target_mean, target_std : ndarray (k,) or None
        The same of the target.
    dropped : tuple of str
        Features left out because they are constant in the training part.
    source : str
        Where the data came from.
    unit : bool
        Whether inputs, standardized or not, were brought to length 1 with a constant, by `unit_inputs`.
    shape : tuple of int or None
        Of one input where they are images: (height, width, channels), as of `mf.finite.deep.ConvNet`, which takes the
        rows as they are; ``X.reshape(-1, *shape)`` are the images.
    notes : tuple of str
        What else was done or found.
    """

    X: Array
    y: Array
    X_test: Array | None
    y_test: Array | None
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    mean: Array | None
    std: Array | None
    target_mean: Array | None
    target_std: Array | None
    dropped: tuple[str, ...]
    source: str
    unit: bool = False
    shape: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Training examples."""
        return int(self.X.shape[0])

    @property
    def d(self) -> int:
        """Coordinates of the inputs: features, and what `unit_inputs` adds."""
        return int(self.X.shape[1])

    def transform(self, X: Any) -> Array:
        """Raw features, (n, d) in the order of `feature_names`, as the network wants them."""
        raw = _check.array(X, "X", shape=(None, len(self.feature_names)))
        inputs = raw if self.mean is None or self.std is None else np.asarray((raw - self.mean) / self.std)
        return unit_inputs(inputs, channels=self.shape is not None) if self.unit else inputs

    def restore(self, f: Any) -> Array:
        """Predictions in the unit of the raw target."""
        values = _check.array(f, "f", ndim=(1, 2))
        if self.target_mean is None or self.target_std is None:
            return values
        if values.ndim == 1:
            return np.asarray(values * self.target_std[0] + self.target_mean[0])
        return np.asarray(values * self.target_std + self.target_mean)

    def describe(self) -> dict[str, Any]:
        """What was loaded and what was done to it, in plain numbers and strings."""
        return {
            "source": self.source,
            "training examples": self.n,
            "test examples": 0 if self.X_test is None else len(self.X_test),
            "features": list(self.feature_names),
            "targets": list(self.target_names),
            "dropped": list(self.dropped),
            "mean": _numbers(self.mean),
            "std": _numbers(self.std),
            "target mean": _numbers(self.target_mean),
            "target std": _numbers(self.target_std),
            "unit length": self.unit,
            "shape": None if self.shape is None else list(self.shape),
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        test = "no test part" if self.X_test is None else f"{len(self.X_test)} test"
        done = [name for name, x in (("X", self.mean), ("y", self.target_mean)) if x is not None]
        scaled = f"{' and '.join(done)} standardized by the training part" if done else "as given"
        more = [*(["X of length 1"] if self.unit else []), *self.notes]
        return (
            f"Dataset({self.source}: {self.n} training, {test}; {len(self.feature_names)} features -> "
            f"{', '.join(self.target_names)}; {'; '.join([scaled, *more])})"
        )


def build(
    X: Any,
    y: Any,
    X_test: Any = None,
    y_test: Any = None,
    *,
    feature_names: Sequence[str] | None = None,
    target_names: Sequence[str] | None = None,
    source: str,
    standardize: bool,
    standardize_target: bool,
    constant: str,
    test_fraction: float,
    rng: Any,
) -> Dataset:
    """Split, drop or refuse constant features, standardize. Arguments as in `load`."""
    X, y = _examples(X, y, "X", "y")
    names = tuple(feature_names) if feature_names is not None else tuple(f"x{j}" for j in range(X.shape[1]))
    columns = 1 if y.ndim == 1 else y.shape[1]
    if target_names is None:
        target_names = ("y",) if columns == 1 else [f"y{j}" for j in range(columns)]
    if len(names) != X.shape[1]:
        raise InputError(f"feature_names has {len(names)} names, but X has {X.shape[1]} columns")
    fraction = _check.number(test_fraction, "test_fraction", nonnegative=True)
    if X_test is not None:
        if fraction > 0.0:
            raise InputError("test_fraction must be 0 when the data come with a test part of their own")
        X_test, y_test = _examples(X_test, y_test, "X_test", "y_test")
        if X_test.shape[1:] != X.shape[1:] or y_test.shape[1:] != y.shape[1:]:
            raise InputError(
                f"the test part has shapes {X_test.shape} and {y_test.shape}, the training part {X.shape} and "
                f"{y.shape}; their columns must agree"
            )
    elif fraction > 0.0:
        X, y, X_test, y_test = split(X, y, fraction, rng)
    X, X_test, names, dropped = _constant(X, X_test, names, constant, standardize)
    mean = std = target_mean = target_std = None
    if standardize:
        mean, std = X.mean(axis=0), X.std(axis=0)
        X = (X - mean) / std
        X_test = None if X_test is None else (X_test - mean) / std
    if standardize_target:
        table = y.reshape(len(y), -1)
        still = [name for name, column in zip(target_names, table.T, strict=True) if np.ptp(column) == 0.0]
        if still:
            raise InputError(
                f"the target {', '.join(still)} is constant in the training part; nothing to learn"
            )
        target_mean, target_std = table.mean(axis=0), table.std(axis=0)
        shift, scale = (target_mean[0], target_std[0]) if y.ndim == 1 else (target_mean, target_std)
        y = (y - shift) / scale
        y_test = None if y_test is None else (y_test - shift) / scale
    return Dataset(
        X=frozen(X),
        y=frozen(y),
        X_test=None if X_test is None else frozen(X_test),
        y_test=None if y_test is None else frozen(y_test),
        feature_names=names,
        target_names=tuple(target_names),
        mean=mean,
        std=std,
        target_mean=target_mean,
        target_std=target_std,
        dropped=dropped,
        source=source,
    )


def _examples(X: Any, y: Any, X_name: str, y_name: str) -> tuple[Array, Array]:
    features = _check.array(X, X_name, ndim=(1, 2))
    features = features[:, None] if features.ndim == 1 else features
    if y is None:
        raise InputError(f"{y_name} is missing: examples need targets")
    targets = _check.array(y, y_name, ndim=(1, 2))
    if len(targets) != len(features):
        raise InputError(
            f"{y_name} has {len(targets)} rows, but {X_name} has {len(features)}; they must agree"
        )
    return features, targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets


def split(X: Array, y: Array, fraction: float, rng: Any) -> tuple[Array, Array, Array, Array]:
    """Training and test part, X and y of each, drawn at random."""
    n = len(X)
    held_out = round(fraction * n)
    if not 1 <= held_out < n:
        raise InputError(
            f"test_fraction = {fraction:g} of {n} examples leaves {n - held_out} for training and {held_out} for "
            "testing; both need at least 1"
        )
    test = np.zeros(n, dtype=bool)
    test[generator(rng, "split").permutation(n)[:held_out]] = True
    return X[~test], y[~test], X[test], y[test]  # each part in the order of the file


def _constant(
    X: Array, X_test: Array | None, names: tuple[str, ...], constant: str, standardize: bool
) -> tuple[Array, Array | None, tuple[str, ...], tuple[str, ...]]:
    _check.choice(constant, "constant", ("refuse", "drop"))
    still = np.ptp(X, axis=0) == 0.0
    if not still.any() or (constant == "refuse" and not standardize):
        return X, X_test, names, ()
    named = [name for name, fixed in zip(names, still, strict=True) if fixed]
    shown = ", ".join(named[:8]) + (f" and {len(named) - 8} more" if len(named) > 8 else "")
    if constant == "refuse":
        raise InputError(
            f"constant in the training part, hence impossible to standardize: {shown}; "
            "pass constant='drop', name other features=, or standardize=False"
        )
    if still.all():
        raise InputError(
            f"every feature is constant in the training part: {shown}; take more examples, or do not standardize"
        )
    kept = tuple(name for name, fixed in zip(names, still, strict=True) if not fixed)
    return X[:, ~still], None if X_test is None else X_test[:, ~still], kept, tuple(named)


def frozen(x: Array) -> Array:
    """A read-only copy."""
    x = np.array(x, dtype=np.float64, order="C")
    x.flags.writeable = False
    return x


def _numbers(x: Array | None) -> list[float] | None:
    return None if x is None else [float(v) for v in x]

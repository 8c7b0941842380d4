"""`load`: one door for the user's own data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meanfield.data.bundled import bunch
from meanfield.data.dataset import Dataset, build
from meanfield.data.tables import columns_of, nearest, read_csv, read_npz, relabel
from solvers.errors import InputError


def load(
    source: Any,
    target: str | Sequence[str] | None = None,
    features: str | Sequence[str] | None = None,
    standardize: bool = True,
    test_fraction: float = 0.0,
    rng: Any = 0,
    *,
    standardize_target: bool = False,
    labels: Mapping[str, float] | None = None,
    constant: str = "refuse",
    delimiter: str | None = None,
) -> Dataset:
    """Read a data set, split it, and standardize it by its training part: ``X = (raw - mean) / std``.

    Parameters
    ----------
    source : path, str, (X, y), mapping or data frame
        A ``.csv``, ``.tsv`` or ``.txt`` file whose first row names the columns; an ``.npz`` file; arrays; a
        mapping or data frame of columns; or ``"sklearn:diabetes"`` and the like: data sets that come with
        scikit-learn.
    target : str or list of str
        Column(s) to predict. In an NPZ file or mapping, "y" by default.
    features : str or list of str, optional
        Columns to predict from; all others by default. In an NPZ file or mapping, a string names a matrix (n,
        d), "X" by default; arrays ``X_test`` and ``y_test`` (target name + "_test") are its test part if
        present.
    standardize : bool
        Features to mean 0 and standard deviation 1 (divisor n) in the training part.
    test_fraction : float
        Part of the examples, drawn at random, that is set apart; in [0, 1).
    rng : int, SeedSequence or Generator
        Draws the test part.
    standardize_target : bool
        The same for the target (regression); `Dataset.restore` takes predictions back.
    labels : mapping of str to number, optional
        Numbers for classes of the target by their text: ``{"no": -1, "yes": 1}``.
    constant : {"refuse", "drop"}
        What to do with features that are constant in the training part.
    delimiter : str, optional
        Of a text file; the most frequent of comma, semicolon and tab in the header by default.

    Returns
    -------
    Dataset

    Raises
    ------
    FileFormatError
        An empty, ragged, truncated or non-numeric file (row and column are named); pickled objects.
    InputError
        Unknown columns (with the nearest spelling), NaN in arrays, impossible splits, constant features.
    """
    options: dict[str, Any] = {
        "standardize": standardize,
        "standardize_target": standardize_target,
        "constant": constant,
        "test_fraction": test_fraction,
        "rng": rng,
    }
    if isinstance(source, str) and source.startswith("sklearn:"):
        return _from_sklearn(source, target, features, labels, options)
    if isinstance(source, str | Path):
        return _from_file(Path(source), target, features, labels, delimiter, options)
    if hasattr(source, "columns") and hasattr(source, "to_numpy"):
        table = {str(name): source[name].to_numpy() for name in source.columns}
        return _from_columns(table, target, features, labels, "the data frame", options)
    if isinstance(source, Mapping):
        return _from_arrays(dict(source), target, features, labels, "the mapping", options)
    if isinstance(source, tuple | list) and len(source) == 2:
        if target is not None or isinstance(features, str):
            raise InputError(
                "arrays (X, y) need no target=; features= may be the list of names of their columns"
            )
        X, y = source
        y = y if labels is None else relabel(y, labels, "y")
        return build(X, y, feature_names=features, source="arrays", **options)
    raise InputError(
        "source must be a path, 'sklearn:NAME', (X, y), a mapping of arrays or a data frame, "
        f"not a {type(source).__name__}"
    )


def _from_file(
    path: Path, target: Any, features: Any, labels: Any, delimiter: str | None, options: dict[str, Any]
) -> Dataset:
    if not path.is_file():
        import difflib

        beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=1)
        hint = f"did you mean {str(path.with_name(near[0]))!r}?" if near else "check the path"
        raise InputError(f"there is no file {str(path)!r}; {hint}")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _from_arrays(read_npz(path), target, features, labels, str(path), options)
    if suffix not in (".csv", ".tsv", ".txt"):
        raise InputError(
            f"{path} must be a .csv, .tsv, .txt or .npz file, not {suffix or 'without an ending'}"
        )
    mark = delimiter or ("\t" if suffix == ".tsv" else None)
    X, y, names, targets = read_csv(path, target, features, labels, mark)
    return build(X, y, feature_names=names, target_names=targets, source=str(path), **options)


def _from_arrays(
    arrays: dict[str, Any], target: Any, features: Any, labels: Any, where: str, options: dict[str, Any]
) -> Dataset:
    name_X, name_y = "X" if features is None else features, "y" if target is None else target
    columns = features is None and target is not None and "X" not in arrays  # all but the target are features
    if columns or not (isinstance(name_X, str) and isinstance(name_y, str)):
        return _from_columns(arrays, target, features, labels, where, options)
    for name in (name_X, name_y):
        if name not in arrays:
            raise InputError(f"{where} has no array {name!r}; {nearest(name, arrays)}")
    parts = {
        part: arrays.get(key)
        for part, key in (
            ("X", name_X),
            ("y", name_y),
            ("X_test", f"{name_X}_test"),
            ("y_test", f"{name_y}_test"),
        )
    }
    if labels is not None:
        for part in ("y", "y_test"):
            parts[part] = None if parts[part] is None else relabel(parts[part], labels, f"{part} of {where}")
    names = arrays.get("feature_names")
    listed = None if names is None else [str(name) for name in np.asarray(names).tolist()]
    return build(
        parts["X"],
        parts["y"],
        parts["X_test"],
        parts["y_test"],
        feature_names=listed,
        source=where,
        **options,
    )


def _from_columns(
    table: dict[str, Any], target: Any, features: Any, labels: Any, where: str, options: dict[str, Any]
) -> Dataset:
    X, y, names, targets = columns_of(table, target, features, labels, where)
    return build(X, y, feature_names=names, target_names=targets, source=where, **options)


def _from_sklearn(source: str, target: Any, features: Any, labels: Any, options: dict[str, Any]) -> Dataset:
    found = bunch(source.removeprefix("sklearn:"), "the data set after 'sklearn:'", f"source {source!r}")
    values = np.asarray(found.target)
    several = values.ndim == 2
    targets = list(found.target_names) if several else ["target"]
    if labels is not None and not several and hasattr(found, "target_names"):
        values = np.asarray(found.target_names)[values].astype(str)  # classes by name, as people write them
    table = {str(column): found.data[:, j] for j, column in enumerate(found.feature_names)}
    table |= {column: values[:, j] if several else values for j, column in enumerate(targets)}
    return _from_columns(table, targets if target is None else target, features, labels, source, options)

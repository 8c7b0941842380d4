"""The user's own data: text, NPZ, arrays, bundled sets; what is refused, and in which words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meanfield.data import Dataset, load
from solvers.errors import FileFormatError, InputError


@pytest.fixture
def table(tmp_path: Path) -> tuple[Path, Any]:
    values = np.random.default_rng(0).normal(3.0, 2.0, (40, 3))
    lines = ["age,income,price"] + [",".join(repr(float(v)) for v in row) for row in values]
    path = tmp_path / "houses.csv"
    path.write_text("\n".join(lines) + "\n")
    return path, values


def write(tmp_path: Path, text: str, name: str = "file.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_csv_round_trip(table: tuple[Path, Any]) -> None:
    path, values = table
    raw = load(path, target="price", standardize=False)
    np.testing.assert_array_equal(raw.X, values[:, :2])  # repr round-trips
    np.testing.assert_array_equal(raw.y, values[:, 2])
    assert raw.feature_names == ("age", "income") and raw.X_test is None and raw.mean is None
    one = load(str(path), target=["price", "age"], features="income", standardize=False)
    np.testing.assert_array_equal(one.X, values[:, 1:2])
    np.testing.assert_array_equal(one.y, values[:, [2, 0]])


def test_statistics_come_from_the_training_part_only(table: tuple[Path, Any]) -> None:
    path, values = table
    split = load(path, target="price", test_fraction=0.25, rng=1, standardize_target=True)
    assert (split.n, split.d) == (30, 2) and split.X_test is not None and len(split.X_test) == 10
    # n additions and one division: a few ulp
    np.testing.assert_allclose(split.X.mean(axis=0), 0.0, atol=1e-14)
    np.testing.assert_allclose(split.X.std(axis=0), 1.0, rtol=1e-14)
    assert split.y.mean() == pytest.approx(0.0, abs=1e-14) and split.y.std() == pytest.approx(1.0, rel=1e-14)
    assert abs(split.X_test.mean()) > 1e-3  # not centred by itself
    assert split.mean is not None and split.std is not None
    raw = np.vstack([split.X, split.X_test]) * split.std + split.mean
    # the two parts are the file's rows, each in the order of the file
    order = [int(np.argmin(np.abs(values[:, :2] - row).sum(axis=1))) for row in raw]
    assert (
        sorted(order) == list(range(40))
        and order[:30] == sorted(order[:30])
        and order[30:] == sorted(order[30:])
    )
    np.testing.assert_allclose(raw, values[order, :2], rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(split.restore(split.y), values[order[:30], 2], rtol=1e-13)
    np.testing.assert_allclose(split.transform(values[order[:30], :2]), split.X, rtol=1e-12, atol=1e-14)
    same = load(path, target="price", test_fraction=0.25, rng=1, standardize_target=True)
    np.testing.assert_array_equal(same.X, split.X)
    other = load(path, target="price", test_fraction=0.25, rng=2)
    assert not np.array_equal(other.X, split.X)


def test_describe_is_json_and_arrays_are_read_only(table: tuple[Path, Any]) -> None:
    split = load(table[0], target="price", test_fraction=0.25)
    described = json.loads(json.dumps(split.describe()))
    assert described["training examples"] == 30 and described["features"] == ["age", "income"]
    assert "30 training, 10 test; 2 features -> price; X standardized" in repr(split)
    with pytest.raises(ValueError, match="read-only"):
        split.X[0, 0] = 1.0


def test_other_delimiters_quotes_and_a_byte_order_mark(tmp_path: Path) -> None:
    semicolons = write(tmp_path, '\ufeff"length, cm";y\n"1.5";2\n\n 2.5 ;-1e-3\n')
    data = load(semicolons, target="y", standardize=False)
    assert data.feature_names == ("length, cm",) and data.X.ravel().tolist() == [1.5, 2.5]
    assert data.y.tolist() == [2.0, -0.001]
    tabs = write(tmp_path, "x\ty\r\n1\t2\r\n3\t4\r\n", "file.tsv")
    assert load(tabs, target="y", standardize=False).y.tolist() == [2.0, 4.0]
    numbered = write(tmp_path, "0,1\n5,6\n7,8\n")  # as pandas writes unnamed columns
    assert load(numbered, target="1", standardize=False).y.tolist() == [6.0, 8.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; a header"),
        ("x,y\n", "has a header but no rows"),
        ("1,2\n3,4\n", "first row of .* holds numbers; a header"),
        ("x,y\n1,2\n3\n", r"row 2 of .* \(line 3\) has 1 cells, but the header has 2"),
        ("x,y\n1,2\n3,4,5\n", r"row 2 .* has 3 cells"),
        ("x,y\n1,2\n\nabc,4\n", r"row 2, column 'x' of .* \(line 4\) holds 'abc', which is not a number"),
        ("x,y\n1,2\n,4\n", r"row 2, column 'x' .* is missing \(''\)"),
        ("x,y\n1,NaN\n", r"row 1, column 'y' .* is missing \('NaN'\)"),
        ("x,y\n1,inf\n", "holds 'inf'; only finite"),
        ("x,y\n1_000,2\n", "'1_000', which is not a number"),
        ('x,y\n"1,5",2\n', "'1,5', which is not a number"),
        ("x,x,y\n1,2,3\n", "two columns named 'x'"),
        (",x,y\n0,1,2\n", "column 1 of .* has no name"),
    ],
)
def test_bad_text_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        load(write(tmp_path, text), target="y")


def test_an_unnamed_index_column_may_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, ",x,y\n0,1,2\n1,5,2\n")
    assert load(path, target="y", features=["x"], standardize=False).X.ravel().tolist() == [1.0, 5.0]


def test_columns_are_named_with_the_nearest_spelling(table: tuple[Path, Any]) -> None:
    path = table[0]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"target": "Price"}, "no column 'Price'; did you mean 'price'"),
        ({"target": "price", "features": ["incom"]}, "did you mean 'income'"),
        ({"target": "zzz"}, "there are 'age', 'income', 'price'"),
        ({}, "target= is needed.*there are 'age'"),
        ({"target": "price", "features": ["price"]}, "named as a feature and as a target"),
        ({"target": "price", "features": ["age", "age"]}, "names a column twice"),
        ({"target": "price", "features": []}, "at least one column"),
        ({"target": "price", "test_fraction": 1.0}, "leaves 0 for training and 40"),
        ({"target": "price", "test_fraction": 0.001}, "and 0 for testing"),
        ({"target": "price", "constant": "keep"}, "constant must be one of"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            load(path, **options)
    with pytest.raises(InputError, match=r"no file .*did you mean '.*houses\.csv'"):
        load(path.with_name("house.csv"), target="price")
    with pytest.raises(InputError, match="check the path"):
        load(path.parent / "nowhere" / "x.csv", target="price")
    with pytest.raises(InputError, match="not .xlsx"):
        load(write(path.parent, "x", "book.xlsx"), target="price")


def test_binary_files_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(b"x,y\n\xff\xfe\x00,2\n")
    with pytest.raises(FileFormatError, match="UTF-8"):
        load(path, target="y")


def test_classes_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "x,answer\n1,yes\n2, no\n4,yes\n")
    data = load(path, target="answer", labels={"yes": 1, "no": -1})
    assert data.y.tolist() == [1.0, -1.0, 1.0]
    with pytest.raises(FileFormatError, match="row 2, column 'answer'.*'no', which labels= does not list"):
        load(path, target="answer", labels={"yes": 1, "nope": -1})
    with pytest.raises(FileFormatError, match="labels="):
        load(path, target="answer")
    assert load(([1, 2, 3], [0, 1, 0]), labels={"0": -1, "1": 1}).y.tolist() == [-1.0, 1.0, -1.0]


def test_constant_columns_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b,c,y\n0.1,1,7,1\n0.1,2,7,2\n0.1,5,7,3\n")
    with pytest.raises(InputError, match="impossible to standardize: a, c; pass constant='drop'"):
        load(path, target="y")
    dropped = load(path, target="y", constant="drop")
    assert dropped.feature_names == ("b",) and dropped.dropped == ("a", "c") and dropped.d == 1
    assert load(path, target="y", standardize=False).d == 3
    with pytest.raises(InputError, match="every feature is constant"):
        load(path, target="y", features=["a", "c"], constant="drop")
    with pytest.raises(InputError, match="target y is constant"):
        load(([1, 2], [3, 3]), standardize_target=True)


def test_npz(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 2)), rng.standard_normal(6)
    path = tmp_path / "data.npz"
    np.savez(path, X=X, y=y, X_test=X[:2], y_test=y[:2], feature_names=np.array(["u", "v"]))
    data = load(path, standardize=False)
    np.testing.assert_array_equal(data.X, X)
    assert (
        data.y_test is not None
        and data.y_test.tolist() == y[:2].tolist()
        and data.feature_names == ("u", "v")
    )
    with pytest.raises(InputError, match="test part of their own"):
        load(path, test_fraction=0.5)
    with pytest.raises(InputError, match="no array 'Y'; did you mean 'y'"):
        load(path, target="Y")
    np.savez(path, inputs=X, labels=y)
    np.testing.assert_array_equal(load(path, "labels", "inputs", standardize=False).y, y)
    np.savez_compressed(path, u=X[:, 0], v=X[:, 1], w=y)
    columns = load(path, target="w", standardize=False)
    np.testing.assert_array_equal(columns.X, X)
    np.testing.assert_array_equal(load(path, "w", ["v"], standardize=False).X, X[:, 1:])


def test_npz_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, X=np.array([{"a": 1}, None], dtype=object), y=np.zeros(2))
    with pytest.raises(FileFormatError, match="array 'X' .* Python objects, which are never unpickled"):
        load(path)
    rng = np.random.default_rng(0)
    for save in (np.savez, np.savez_compressed):
        save(path, X=rng.standard_normal((200, 3)), y=np.zeros(200))
        content = path.read_bytes()
        for cut in (0, 10, len(content) // 2, len(content) - 5):
            path.write_bytes(content[:cut])
            with pytest.raises(FileFormatError, match="not a readable NPZ"):
                load(path)
        damaged = bytearray(content)
        damaged[len(content) // 3] ^= 0xFF
        path.write_bytes(bytes(damaged))
        with pytest.raises(FileFormatError, match="not a readable NPZ"):
            load(path)
    import pickle

    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(FileFormatError, match="not a readable NPZ"):
        load(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(FileFormatError, match="single array"):
        load(path)


def test_arrays_and_mappings() -> None:
    X, y = np.arange(8.0).reshape(4, 2), np.arange(4.0)
    named = load((X, y), features=["p", "q"], standardize=False)
    assert named.feature_names == ("p", "q") and named.source == "arrays"
    assert load((X, y), standardize=False).feature_names == ("x0", "x1")
    np.testing.assert_array_equal(load({"X": X, "y": y}, standardize=False).X, X)
    by_column = load({"u": X[:, 0], "y": y}, target="y", standardize=False)
    assert by_column.feature_names == ("u",) and isinstance(by_column, Dataset)
    with pytest.raises(InputError, match="y has 3 rows, but X has 4"):
        load((X, y[:3]))
    with pytest.raises(InputError, match="X holds 1 value.*NaN"):
        load((np.where(X == 3, np.nan, X), y))
    with pytest.raises(InputError, match="column 'u' .* first in row 2"):
        load({"u": [1.0, np.nan], "y": [1, 2]}, target="y")
    with pytest.raises(InputError, match=r"different lengths: \[2, 3\]"):
        load({"u": [1.0, 2.0], "y": [1, 2, 3]}, target="y")
    with pytest.raises(InputError, match="no target="):
        load((X, y), target="y")
    with pytest.raises(InputError, match="source must be a path"):
        load(3)
    with pytest.raises(InputError, match="X is empty"):
        load((np.zeros((0, 2)), np.zeros(0)))


def test_bundled_data_sets() -> None:
    pytest.importorskip("sklearn")
    diabetes = load("sklearn:diabetes", test_fraction=0.2, standardize_target=True)
    assert (diabetes.n, diabetes.d) == (354, 10) and "bmi" in diabetes.feature_names
    assert diabetes.mean is not None and diabetes.mean[0] > 30  # years, not scikit-learn's scaled column
    cancer = load("sklearn:breast_cancer", labels={"malignant": -1, "benign": 1})
    assert (cancer.y == 1).sum() == 357 and cancer.n == 569
    assert load("sklearn:linnerud").y.shape == (20, 3)
    with pytest.raises(InputError, match="did you mean 'diabetes'"):
        load("sklearn:diabetis")


def test_scikit_learn_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match="needs scikit-learn.*pip install scikit-learn"):
        load("sklearn:diabetes")

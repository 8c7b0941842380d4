"""Trajectories: reading them, writing them, and refusing files that are not theirs."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

import solvers
from solvers import _files
from solvers.errors import FileFormatError, InputError
from solvers.result import Status, Trajectory


@pytest.fixture
def run():
    return solvers.integrate(
        lambda x: -x,
        np.arange(6.0).reshape(2, 3) + 1,
        1.0,
        save=5,
        keep="all",
        record={"sum": np.sum, "row": lambda x: x[0], "a/b c": lambda x: float(x[0, 0])},
    )


def test_reading(run):
    assert run.names == ("sum", "row", "a/b c")
    assert run["t"] is run.t
    assert run["row"].shape == (5, 3)
    assert "sum" in run
    assert "loss" not in run
    assert len(run) == 5
    assert run.advice == Status.reached_end.value
    with pytest.raises(InputError, match="'loss' was not recorded; this run recorded 'sum', 'row', 'a/b c'"):
        run["loss"]
    assert repr(run).startswith("Trajectory(t = 0 ... 1, 5 saves, ")
    assert repr(run).endswith("reached_end)")
    assert len(repr(run)) < 200
    page = run._repr_html_()
    assert page.startswith("<table>")
    assert "a/b c (last)" in page
    assert f"<td>{run.stats['seconds']:.3g}</td>" in page


def test_frozen(run):
    with pytest.raises(FrozenInstanceError):
        run.t = None
    with pytest.raises(ValueError, match="read-only"):
        run.t[0] = 5.0
    with pytest.raises(ValueError, match="read-only"):
        run["sum"][0] = 5.0


def test_html_is_escaped():
    run = solvers.integrate(lambda x: -x, [1.0], 1.0, record={"<script>": np.sum})
    assert "<script>" not in run._repr_html_()


def test_provenance_says_what_is_needed_to_repeat(run):
    told = run.provenance
    assert told["versions"]["numpy"] == np.__version__
    assert told["configuration"]["method"] == "DormandPrince(rtol=1e-06, atol=1e-09)"
    assert told["configuration"]["t_end"] == 1.0
    assert told["threads"]["cpus"] == os.cpu_count()
    assert "created" in told
    json.dumps(told)


def equal(a, b):
    assert np.array_equal(a.t, b.t)
    assert a.names == b.names
    for name in a.names:
        assert np.array_equal(a[name], b[name])
        assert a[name].dtype == b[name].dtype
    assert (a.status, a.message) == (b.status, b.message)
    assert json.loads(json.dumps(dict(a.stats))) == b.stats
    assert a.provenance == b.provenance


def test_save_and_load(run, tmp_path):
    path = tmp_path / "run.npz"
    run.save(path)
    back = solvers.load(path)
    equal(run, back)
    assert back.flow is None
    for x, y in zip(run.states, back.states, strict=True):
        assert np.array_equal(x, y)
        assert x.shape == y.shape
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_same_run_same_bytes(run, tmp_path):
    run.save(tmp_path / "a.npz")
    run.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_diverged_run_is_saved_too(tmp_path):
    run = solvers.integrate(
        lambda x: x**2, 1.0, 3.0, method=solvers.Euler(step=0.1), on_divergence="record", record={"x": float}
    )
    run.save(tmp_path / "run.npz")
    equal(run, solvers.load(tmp_path / "run.npz"))


class MeasureFlow:
    """Moves the positions of a measure towards the origin."""

    kind = "ode"

    def pack(self, state):
        return np.array(state.positions).reshape(-1)

    def unpack(self, z, like):
        return like.with_positions(z.reshape(like.positions.shape).copy())

    def velocity(self, t, z, out):
        return np.negative(z, out=out)


def test_measures_round_trip(tmp_path):
    generator = np.random.default_rng(0)
    for options in (
        {},
        {"weights": generator.random(5)},
        {"signs": [1, -1, 1, 1, -1], "layout": {"a": (0, 1), "w": (1, 3)}},
    ):
        start = solvers.ParticleMeasure(generator.normal(size=(5, 3)), **options)
        run = solvers.integrate(MeasureFlow(), start, 1.0)
        run.save(tmp_path / "run.npz")
        back = solvers.load(tmp_path / "run.npz")
        for x, y in ((run.initial, back.initial), (run.final, back.final)):
            assert isinstance(y, solvers.ParticleMeasure)
            assert np.array_equal(x.positions, y.positions)
            assert np.array_equal(x.weights, y.weights)
            assert (x.signs is None and y.signs is None) or np.array_equal(x.signs, y.signs)
        if "layout" in options:
            assert np.array_equal(back.final.w, run.final.w)


def test_a_state_of_a_users_class(tmp_path):
    class Box:
        def __init__(self, x):
            self.x = x

        def to_arrays(self):
            return {"x": self.x}

        @classmethod
        def from_dict(cls, arrays):
            return cls(arrays["x"])

    run = Trajectory(np.array([0.0]), {}, (Box(np.ones(2)),), Status.reached_end)
    with pytest.raises(InputError, match="cannot be saved; give it to_arrays and from_dict"):
        run.save(tmp_path / "run.npz")
    with pytest.raises(InputError, match="needs a method to_arrays"):
        _files.register_state("dict", dict)


def test_a_subclass_comes_back_as_asked(run, tmp_path):
    class Mine(Trajectory):
        pass

    class Flow(MeasureFlow):
        trajectory_type = Mine

    mine = solvers.integrate(Flow(), solvers.ParticleMeasure(np.ones((2, 1))), 1.0)
    assert type(mine) is Mine
    assert repr(mine).startswith("Mine(")
    mine.save(tmp_path / "run.npz")
    assert type(solvers.load(tmp_path / "run.npz", Mine)) is Mine


def test_csv(run, tmp_path):
    text = run.to_csv(tmp_path / "run.csv")
    lines = text.splitlines()
    assert lines[0] == "t,sum,row[0],row[1],row[2],a/b c"
    assert len(lines) == 6
    # written with repr: nothing is lost
    assert [float(v) for v in lines[3].split(",")] == [
        run.t[2],
        run["sum"][2],
        *run["row"][2],
        run["a/b c"][2],
    ]
    assert (tmp_path / "run.csv").read_text() == text


def test_xarray(run):
    pytest.importorskip("xarray")
    data = run.to_xarray()
    assert np.array_equal(data["sum"].values, run["sum"])
    assert data["row"].dims == ("t", "row_0")
    assert data.attrs["status"] == "reached_end"


def test_xarray_absent(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    with pytest.raises(InputError, match="to_xarray needs the package xarray"):
        run.to_xarray()


# -- files that are refused -----------------------------------------------------------------------------------


class Bomb:
    """Writes a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def refused(path):
    with pytest.raises(FileFormatError) as caught:
        solvers.load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    return text


def test_a_file_cut_anywhere_is_refused(run, tmp_path):
    path = tmp_path / "run.npz"
    run.save(path)
    whole = path.read_bytes()
    for size in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:size])
        refused(path)


def test_a_damaged_file_is_refused_or_reads_the_same(run, tmp_path):
    path = tmp_path / "run.npz"
    run.save(path)
    whole = bytearray(path.read_bytes())
    generator = np.random.default_rng(0)
    refusals = 0
    for place in generator.integers(0, len(whole), size=60):
        broken = bytearray(whole)
        broken[place] ^= 0xFF
        path.write_bytes(bytes(broken))
        try:
            back = solvers.load(path)
        except FileFormatError as error:
            assert "\n" not in str(error)
            refusals += 1
        else:  # a byte that carries nothing (a date, say)
            equal(run, back)
    assert refusals > 30


def test_nothing_is_ever_unpickled(tmp_path):
    sign = tmp_path / "exploded"
    pickled = tmp_path / "pickle.npz"
    pickled.write_bytes(pickle.dumps(Bomb(sign)))
    refused(pickled)

    inside = tmp_path / "inside.npz"
    np.savez(inside, header=np.array([Bomb(sign)], dtype=object))
    assert "pickled Python objects, which are never loaded" in refused(inside)

    run = solvers.integrate(lambda x: -x, [1.0], 1.0)
    mixed = tmp_path / "mixed.npz"
    run.save(mixed)
    with zipfile.ZipFile(mixed, "a") as archive, archive.open("extra.npy", "w") as member:
        np.lib.format.write_array(member, np.array([Bomb(sign)], dtype=object), allow_pickle=True)
    assert "never loaded" in refused(mixed)
    assert not sign.exists()


def test_other_files_are_refused(run, tmp_path):
    text = tmp_path / "text.npz"
    text.write_text("t,x\n0,1\n")
    assert "not a solvers-trajectory file" in refused(text)
    plain = tmp_path / "plain.npz"
    np.savez(plain, x=np.ones(3))
    assert "no readable header" in refused(plain)
    single = tmp_path / "single.npy"
    np.save(single, np.ones(3))
    refused(single)
    other = tmp_path / "other.npz"
    _files.write_arrays(other, "measure", 1, {}, {"x": np.ones(3)})
    assert "is a 'measure' file, not a 'solvers-trajectory' file" in refused(other)
    newer = tmp_path / "newer.npz"
    _files.write_arrays(newer, "solvers-trajectory", 99, {}, {})
    assert "format number 99, newer than 1" in refused(newer)
    hollow = tmp_path / "hollow.npz"
    header = {"records": ["x"], "states": [], "status": "reached_end", "message": ""}
    _files.write_arrays(hollow, "solvers-trajectory", 1, header, {"t": np.ones(1)})
    assert "lacks 'record_0'" in refused(hollow)
    with pytest.raises(InputError, match="there is no file"):
        solvers.load(tmp_path / "nothing.npz")


def test_objects_are_not_written(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(InputError, match="only arrays of numbers"):
        _files.write_arrays(path, "measure", 1, {}, {"x": np.array([{}], dtype=object)})
    assert not path.exists()


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    _files.write_text(path, "old")
    with pytest.raises(RuntimeError, match="midway"), _files.replacing(path) as file:
        file.write(b"new")
        raise RuntimeError("midway")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]
    with pytest.raises(InputError, match="the folder .* does not exist"):
        _files.write_text(tmp_path / "no" / "x.txt", "text")


def test_headers_take_what_configurations_hold(tmp_path):
    from solvers.provenance import jsonable

    path = tmp_path / "x.npz"
    header = {
        "nan": float("nan"),
        "seed": np.int64(3),
        "array": np.arange(100.0),
        "path": tmp_path,
        "f": np.sum,
    }
    _files.write_arrays(path, "measure", 1, header, {})
    back, _ = _files.read_arrays(path, "measure", 1)
    assert back["nan"] == "nan"
    assert back["seed"] == 3
    assert len(back["array"]["sha256"]) == 64
    # addresses would make two descriptions of one thing differ
    assert "0x" not in json.dumps(jsonable({"o": object(), "f": lambda x: x, "m": [].append}))

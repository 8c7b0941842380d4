"""Studies: one table whatever computes it, nothing finished is lost, and every refusal is one sentence."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter, deque
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import meanfield as mf
from meanfield import cli
from meanfield._study import encode, identity, store
from meanfield._study.table import Table
from solvers.errors import DivergenceError, FileFormatError, InputError

# A module of its own, which workers can import, and which needs NumPy only.
CELLS = '''
import os
import signal
import time
from pathlib import Path

import numpy as np

SHIFT = 0.25
DATA = np.arange(3.0)


def helper(x):
    return x + SHIFT + DATA.sum()


def cell(scale, width, rng):
    draw = np.random.default_rng(rng)
    return {"error": helper(scale) * draw.normal() / width, "double": 2 * width, "name": f"seed {rng}",
            "profile": draw.normal(size=2).astype(np.float32)}


def fragile(scale, width, folder, rng):
    """Is killed at (1, 20, 1), once."""
    here = Path(folder)
    (here / f"{scale}-{width}-{rng} {os.getpid()} ran").touch()
    if (scale, width, rng) == (1.0, 20, 1) and not (here / "killed").exists():
        (here / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return cell(scale, width, rng)


def killer(scale, rng):
    if scale == 2.0:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": scale + rng}


def parent(scale, folder, rng):
    """Is killed at 2.0, once, and leaves a child behind."""
    child = Path(folder) / "child"
    if scale == 2.0 and not child.exists():
        number = os.fork()
        if not number:
            time.sleep(300)
            os._exit(0)
        child.write_text(str(number))
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": scale}


def sleeper(seconds, folder, rng):
    if seconds >= 1:
        (Path(folder) / "slow").touch()
    time.sleep(seconds)
    return {"slept": seconds}
'''
AXES = {"scale": [0.1, 1.0, np.float64(10.0)], "width": [10, np.int64(20)]}


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("cells")
    (folder / "tiny_study_cells.py").write_text(CELLS)
    sys.path.insert(0, str(folder))  # spawn hands the path on to workers
    importlib.invalidate_caches()
    yield importlib.import_module("tiny_study_cells")
    sys.path.remove(str(folder))
    del sys.modules["tiny_study_cells"]


def text(table: Table, folder: Path) -> str:
    """All of a table, with all digits."""
    return table.to_csv(folder / "table.csv").read_text()


def simple(scale: float, rng: int) -> dict[str, float]:
    return {"value": scale + rng}


# -- one table, whatever computes it -------------------------------------------------------------------------------


class Strange(Executor):
    """Runs every call twice, in threads, in an order of its own."""

    def __init__(self) -> None:
        self.calls: list[tuple[Future[Any], Any]] = []
        self.count = 0

    def submit(self, function: Any, /, *args: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append((future, lambda: function(*args, **options)))
        if len(self.calls) == 18:
            random.Random(0).shuffle(self.calls)
            threading.Thread(target=self.work).start()
        return future

    def work(self) -> None:
        for future, call in self.calls:
            twins = [threading.Thread(target=self.run, args=(call,)) for _ in range(2)]
            for twin in twins:
                twin.start()
            for twin in twins:
                twin.join()
            future.set_result(call())

    def run(self, call: Any) -> None:
        call()
        self.count += 1


def test_every_engine_gives_the_same_table(cells: ModuleType, tmp_path: Path) -> None:
    serial = mf.study(cells.cell, AXES, seeds=3, folder=tmp_path / "serial")
    assert len(serial) == 18 and serial.status == "complete"
    assert serial.columns == ("scale", "width", "seed", "status", "error", "double", "name", "profile")
    row = serial.rows[7]
    assert (row["scale"], row["width"], row["seed"]) == (1.0, 10, 1)
    alone = cells.cell(1.0, 10, rng=1)
    assert row["error"] == alone["error"] and row["profile"].dtype == np.float32
    assert np.array_equal(row["profile"], alone["profile"])
    expected = text(serial, tmp_path)

    with ThreadPoolExecutor(3) as threads:
        threaded = mf.study(cells.cell, AXES, seeds=3, folder=tmp_path / "threads", executor=threads)
    assert text(threaded, tmp_path) == expected
    strange = Strange()
    twice = mf.study(cells.cell, AXES, seeds=3, folder=tmp_path / "twice", executor=strange)
    assert strange.count == 36
    assert text(twice, tmp_path) == expected
    # and from the folder of another engine
    again = mf.study(cells.cell, AXES, seeds=3, folder=tmp_path / "twice")
    assert text(again, tmp_path) == expected and again.stats["computed"] == 0
    assert not [path for path in tmp_path.rglob("*.tmp")]


def test_dask_gives_the_same_table(cells: ModuleType, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    expected = text(mf.study(cells.cell, AXES, seeds=3, folder=tmp_path / "serial"), tmp_path)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.run(sys.path.insert, 0, str(Path(cells.__file__ or "").parent))
        found = mf.study(cells.cell, AXES, seeds=3, folder=tmp_path / "dask", executor=client.get_executor())
        assert text(found, tmp_path) == expected
        local = 3.0  # a closure travels by cloudpickle
        lazy = mf.study(
            lambda scale, rng: {"value": local * scale + rng},
            {"scale": [1.0, 2.0]},
            2,
            tmp_path / "lambda",
            client.get_executor(),
        )
        assert lazy["value"].tolist() == [3.0, 4.0, 6.0, 7.0]
        for wrong in (client, cluster):
            with pytest.raises(InputError, match=r"is a Dask .*get_executor\(\)"):
                mf.study(cells.cell, AXES, folder=tmp_path / "no", executor=wrong)


def test_cells_have_their_own_copies_of_their_arguments() -> None:
    """What one does to them reached the next here, and not in another process."""

    def cell(X: Any, queue: list[int], rng: int) -> dict[str, float]:
        X /= 2
        queue.append(rng)
        return {"sum": X.sum(), "length": len(queue)}

    table = mf.study(cell, {"queue": [[1], [1, 2]]}, 3, fixed={"X": np.ones(4)})
    assert table["sum"].tolist() == [2.0] * 6 and table["length"].tolist() == [2] * 3 + [3] * 3


def test_adding_values_and_seeds_computes_only_those(tmp_path: Path) -> None:
    calls: deque[tuple[float, int]] = deque()  # a list that a cell changes would count as a changed cell

    def cell(scale: float, rng: int, power: int = 1) -> dict[str, float]:
        calls.append((scale, rng))
        return {"value": scale**power + rng}

    def calls_of() -> list[tuple[float, int]]:
        return [calls.popleft() for _ in range(len(calls))]

    mf.study(cell, {"scale": [1.0, 2.0]}, 2, tmp_path / "s")
    assert calls_of() == [(1.0, 0), (1.0, 1), (2.0, 0), (2.0, 1)]
    table = mf.study(cell, {"scale": [3.0, 1.0, 2.0]}, [1, 0, 5], tmp_path / "s")
    assert calls_of() == [(3.0, 1), (3.0, 0), (3.0, 5), (1.0, 5), (2.0, 5)]
    assert table["scale"].tolist() == [3.0] * 3 + [1.0] * 3 + [2.0] * 3
    assert table["seed"].tolist() == [1, 0, 5] * 3
    assert table.stats["computed"] == 5 and table.stats["reused"] == 4
    # fixed or an axis: the same parameter
    mf.study(cell, {"scale": [1.0]}, 1, tmp_path / "s", fixed={"power": 2})
    assert calls_of() == [(1.0, 0)]
    mf.study(cell, {"power": [2], "scale": [1.0]}, 1, tmp_path / "s")
    assert calls_of() == []
    # one and 1.0 are told apart, numpy's numbers and Python's are not
    mf.study(cell, {"scale": [1]}, 1, tmp_path / "s")
    mf.study(cell, {"scale": np.array([1.0])}, 1, tmp_path / "s")
    assert calls_of() == [(1, 0)]


def test_all_seeds_of_a_configuration_at_once(tmp_path: Path) -> None:
    """A cell that takes rngs gives the same records as one seed at a time, and computes missing seeds only."""
    batches: deque[tuple[float, list[int]]] = deque()

    def several(scale: float, rngs: list[int]) -> list[Any]:
        batches.append((scale, rngs))
        if scale == 3.0 and 1 in rngs:
            if len(rngs) > 1:
                raise DivergenceError("one of them diverged")
            return [DivergenceError("this one")]
        return [{"value": scale + seed} for seed in rngs]

    mf.study(several, {"scale": [1.0]}, 2, tmp_path / "s")
    table = mf.study(several, {"scale": [1.0, 3.0]}, 3, tmp_path / "s")
    assert list(batches) == [(1.0, [0, 1]), (1.0, [2]), (3.0, [0, 1, 2]), (3.0, [0]), (3.0, [1]), (3.0, [2])]
    one = mf.study(simple, {"scale": [1.0]}, 3)
    assert table.select(scale=1.0).rows == one.rows
    assert table["status"].tolist() == ["done"] * 4 + ["diverged", "done"]
    assert table.select(scale=3.0)["value"].tolist()[::2] == [3.0, 5.0]
    with pytest.raises(InputError, match="returns a list of 2 results, one a seed, not a dict of 1"):
        mf.study(lambda rngs: {"value": 1.0}, {}, 2)


def test_replicas_are_a_batch() -> None:
    """The runs of all seeds in one `integrate` of a list give what each gives alone."""
    import solvers

    def one(rate: float, rng: int) -> dict[str, Any]:
        run = solvers.integrate(lambda x: -rate * x**3, np.random.default_rng(rng).normal(size=2), t_end=1.0)
        return {"end": run.final}

    def all_of_them(rate: float, rngs: list[int]) -> list[dict[str, Any]]:
        starts = [np.random.default_rng(rng).normal(size=2) for rng in rngs]
        runs = solvers.integrate(lambda x: -rate * x**3, starts, t_end=1.0)
        return [{"end": run.final} for run in runs]

    axes = {"rate": [1.0, 2.0]}
    assert mf.study(one, axes, 3).csv_text() == mf.study(all_of_them, axes, 3).csv_text()


# -- what goes wrong -----------------------------------------------------------------------------------------------


def test_divergence_is_data_and_failures_are_tried_again(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()

    def cell(scale: float, rng: int) -> dict[str, Any]:
        if scale == 2.0:
            run = type("Run", (), {"t": np.array([0.0, 0.75])})()
            raise DivergenceError("the run left\n the finite numbers", run)
        if scale == 3.0 and broken.exists():
            raise ZeroDivisionError("by zero")
        if scale == 4.0 and broken.exists():
            sys.exit(3)
        return {"value": scale, "steps": 3, "name": "a", "curve": np.arange(2), "fits": True}

    axes = {"scale": [1.0, 2.0, 3.0, 4.0]}
    with pytest.warns(
        RuntimeWarning, match=r"^2 of 4 cells failed, the first at scale=3.0, seed=0: ZeroDivision"
    ):
        table = mf.study(cell, axes, folder=tmp_path / "s")
    assert table["status"].tolist() == ["done", "diverged", "failed", "failed"]
    assert np.isnan(table["value"][1:]).all() and np.isnan(table["steps"][1:]).all()
    assert table["name"].tolist() == ["a", None, None, None] and table["curve"].shape == (4, 2)
    diverged, failed, left = table.problems
    assert (diverged["message"], diverged["time"]) == ("the run left the finite numbers", 0.75)
    assert "in cell" in failed["traceback"] and "run_task" not in failed["traceback"]
    assert left["message"] == "SystemExit: 3"
    broken.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = mf.study(cell, axes, folder=tmp_path / "s")
    assert again["status"].tolist() == ["done", "diverged", "done", "done"]
    assert again.stats["computed"] == 2
    assert not list((tmp_path / "s").rglob("*.failed.json"))


def test_a_killed_worker_loses_nothing(cells: ModuleType, tmp_path: Path) -> None:
    """Processes give the serial table, though one is killed in the middle; its cell alone is computed again."""
    marks = tmp_path / "marks"
    marks.mkdir()
    table = mf.study(cells.fragile, AXES, 3, tmp_path / "s", executor=2, fixed={"folder": str(marks)})
    assert table.csv_text() == mf.study(cells.cell, AXES, 3).csv_text()
    ran = Counter(path.name.partition(" ")[0] for path in marks.glob("* ran"))
    assert len(ran) == 18 and ran.pop("1.0-20-1") == 2 and set(ran.values()) == {1}


@pytest.mark.slow
def test_an_executor_that_breaks_is_relieved(cells: ModuleType, tmp_path: Path) -> None:
    """A killed worker fails every unfinished future of a ProcessPoolExecutor; the study goes on without it."""
    fixed = {"folder": str(tmp_path)}
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(2, mp_context=context) as executor,
        pytest.warns(RuntimeWarning, match="as many processes of its own"),
    ):
        table = mf.study(cells.fragile, AXES, 3, tmp_path / "s", executor, fixed=fixed)
    assert table.csv_text() == mf.study(cells.cell, AXES, 3).csv_text()


@pytest.mark.slow
def test_a_cell_that_keeps_killing_is_tried_twice(cells: ModuleType, tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match=r"killed its worker \(SIGKILL.*\(2 times\)"):
        table = mf.study(cells.killer, {"scale": [2.0, 0.0]}, 2, tmp_path / "s", executor=2)
    assert table["status"].tolist() == ["failed", "failed", "done", "done"]
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_killed_worker_whose_children_live_on(cells: ModuleType, tmp_path: Path) -> None:
    """What it forked holds its pipes open: nothing tells of its death, which must be looked for."""
    fixed = {"folder": str(tmp_path)}
    table = mf.study(cells.parent, {"scale": [1.0, 2.0]}, 1, tmp_path / "s", 1, fixed=fixed)
    assert table["value"].tolist() == [1.0, 2.0]
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)  # it is there still


def test_an_executor_that_loses_tasks(tmp_path: Path) -> None:
    class Lossy(ThreadPoolExecutor):
        def submit(self, function: Any, /, *args: Any, **options: Any) -> Future[Any]:
            if args[1].values["scale"] == 2.0:
                future: Future[Any] = Future()
                future.set_exception(OSError("node 7 is down"))
                return future
            return super().submit(function, *args, **options)

    class Broken(ThreadPoolExecutor):
        def submit(self, function: Any, /, *args: Any, **options: Any) -> Future[Any]:
            raise BrokenExecutor("no node is left")

    with (
        Lossy(2) as lossy,
        pytest.warns(RuntimeWarning, match=r"was lost: OSError: node 7 is down \(3 times\)"),
    ):
        table = mf.study(simple, {"scale": [1.0, 2.0]}, 1, tmp_path / "a", lossy, attempts=3)
    assert table["status"].tolist() == ["done", "failed"]
    with Broken() as broken, pytest.raises(InputError, match="the executor broke .no node is left."):
        mf.study(simple, {"scale": [1.0, 2.0]}, 1, tmp_path / "b", broken)
    done = ThreadPoolExecutor(1)
    done.shutdown()
    with pytest.raises(InputError, match="takes no tasks: cannot schedule"):
        mf.study(simple, {"scale": [1.0]}, 1, tmp_path / "b", done)


def test_workers_that_do_not_see_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(ThreadPoolExecutor):
        def submit(self, function: Any, /, *args: Any, **options: Any) -> Future[Any]:
            work, task = args
            return super().submit(function, work, task._replace(folder=str(there)))

    there = tmp_path / "there"
    with Elsewhere(1) as engine, pytest.raises(InputError, match="a worker could not write its result into"):
        mf.study(simple, {"scale": [1.0]}, 1, tmp_path / "here", engine)
    (there / "cells").mkdir(parents=True)
    monkeypatch.setattr(store, "PATIENCE", 0.05)
    with Elsewhere(1) as engine, pytest.raises(InputError, match="a file system that all of them share"):
        mf.study(simple, {"scale": [1.0]}, 1, tmp_path / "here", engine)


def test_ctrl_c_leaves_a_study_that_goes_on(tmp_path: Path) -> None:
    """Also where the cell catches it, as `integrate` does: what it then returns is not finished."""

    def cell(scale: float, rng: int) -> dict[str, float]:
        if scale == 2.0 and not (tmp_path / "pressed").exists():
            (tmp_path / "pressed").touch()
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                return {"value": -1.0}
        return {"value": scale + rng}

    axes = {"scale": [1.0, 2.0, 3.0]}
    with pytest.warns(RuntimeWarning, match="interrupted with 2 of 6 cells done; call it again"):
        table = mf.study(cell, axes, 2, tmp_path / "s")
    assert table.status == "interrupted" and table["value"].tolist() == [1.0, 2.0]
    assert table.missing[0] == {"scale": 2.0, "seed": 0} and len(table.missing) == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    whole = mf.study(cell, axes, 2, tmp_path / "s")
    assert whole.status == "complete" and whole["value"].tolist() == [1.0, 2.0, 2.0, 3.0, 3.0, 4.0]
    assert whole.stats["computed"] == 4


def test_ctrl_c_ends_the_processes(cells: ModuleType, tmp_path: Path) -> None:
    axes = {"seconds": [0.0, 0.01, 60.0, 61.0], "folder": [str(tmp_path)]}

    def press() -> None:
        until = time.monotonic() + 60
        while not (tmp_path / "slow").exists() and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.warns(RuntimeWarning, match="interrupted with 2 of 4 cells done"):
        table = mf.study(cells.sleeper, axes, 1, tmp_path / "s", executor=1)
    assert table["seconds"].tolist() == [0.0, 0.01]
    assert not multiprocessing.active_children()


def test_two_studies_in_one_folder_at_once(tmp_path: Path) -> None:
    """Whoever comes second finds, or computes, the same; a failure never replaces a result."""
    tables: list[Table] = []

    def go() -> None:
        tables.append(mf.study(simple, {"scale": np.linspace(0, 1, 12)}, 3, tmp_path / "s"))

    pair = [threading.Thread(target=go) for _ in range(2)]
    for one in pair:
        one.start()
    for one in pair:
        one.join()
    assert tables[0].csv_text() == tables[1].csv_text() and len(tables[0]) == 36
    key = next(path.stem for path in (tmp_path / "s" / "cells").rglob("*.json"))
    store.write_result(tmp_path / "s", key, {"status": "failed", "message": "a worker that was late"})
    again = mf.study(simple, {"scale": np.linspace(0, 1, 12)}, 3, tmp_path / "s")
    assert again.csv_text() == tables[0].csv_text()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_counts_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cell(scale: float) -> dict[str, float]:
        if scale == 2.0:
            raise DivergenceError("far")
        return {"value": scale}

    for options, shown in (({}, "2/2"), ({"progress": False}, "")):
        monkeypatch.setattr(sys, "stderr", Terminal())
        mf.study(cell, {"scale": [1.0, 2.0]}, **options)  # type: ignore[arg-type]
        drawn = sys.stderr.getvalue()  # type: ignore[attr-defined]
        assert shown in drawn and bool(shown) == ("1 diverged" in drawn)


def test_values_that_json_has_not(tmp_path: Path) -> None:
    def cell(scale: complex) -> dict[str, Any]:
        return {"value": -abs(scale), "same": scale, "nothing": np.nan, "zero": -0.0}

    table = mf.study(cell, {"scale": [np.inf, -np.inf, 1j]}, folder=tmp_path / "s")
    assert table["value"].tolist() == [-np.inf, -np.inf, -1.0] and np.isnan(table["nothing"]).all()
    assert [row["scale"] for row in table] == [row["same"] for row in table] == [np.inf, -np.inf, 1j]
    assert np.signbit(table["zero"]).all()


def test_lists_and_arrays_of_results() -> None:
    def cell(width: int) -> dict[str, Any]:
        return {"zero": np.array(2.5), "list": [1, 2], "texts": ["a", "b"], "large": 2**70}

    (row,) = mf.study(cell, {"width": [1]}).rows
    assert type(row["zero"]) is float and row["list"].tolist() == [1, 2] and row["large"] == 2**70
    assert row["texts"].tolist() == ["a", "b"]


def test_files_of_results_import_nothing(tmp_path: Path) -> None:
    """A folder that somebody sends can be looked at: a type in it would be called with what the file says."""
    mf.study(simple, {"scale": [1.0]}, folder=tmp_path / "s")
    (path,) = (tmp_path / "s" / "cells").rglob("*.json")
    record = json.loads(path.read_text())
    record["values"]["value"] = {
        "tuple": [{"object": "os:mkdir", "fields": {"path": str(tmp_path / "made")}}]
    }
    path.write_text(json.dumps(record))
    with pytest.raises(FileFormatError, match="names types or functions, which results do not hold; delete"):
        mf.study(simple, {"scale": [1.0]}, folder=tmp_path / "s")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "text", ["", "null", '{"key": "KEY", "status": "done"}', '{"key": "KEY", "status": "odd"}']
)
def test_a_file_that_is_no_record_is_computed_again(tmp_path: Path, text: str) -> None:
    before = mf.study(simple, {"scale": [1.0]}, folder=tmp_path / "s").csv_text()
    (path,) = (tmp_path / "s" / "cells").rglob("*.json")
    path.write_text(text.replace("KEY", path.stem))
    again = mf.study(simple, {"scale": [1.0]}, folder=tmp_path / "s")
    assert again.csv_text() == before and again.stats["computed"] == 1


def test_a_damaged_result_is_computed_again(tmp_path: Path) -> None:
    before = mf.study(simple, {"scale": [1.0, 2.0]}, 2, tmp_path / "s").csv_text()
    first, second = sorted((tmp_path / "s" / "cells").rglob("*.json"))[:2]
    first.write_text(first.read_text()[:40])
    second.write_text(sorted((tmp_path / "s" / "cells").rglob("*.json"))[2].read_text())  # of another cell
    again = mf.study(simple, {"scale": [1.0, 2.0]}, 2, tmp_path / "s")
    assert again.csv_text() == before and again.stats["computed"] == 2


# -- what a cell is ------------------------------------------------------------------------------------------------


def module_of(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of that source, imported afresh."""
    monkeypatch.syspath_prepend(str(folder))
    (folder / "changing_study_cell.py").write_text(source)
    monkeypatch.delitem(sys.modules, "changing_study_cell", raising=False)
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    importlib.invalidate_caches()
    return importlib.import_module("changing_study_cell")


def test_a_changed_cell_does_not_mix_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = CELLS + "\n\ndef other(scale, rng):\n    return {'value': scale}\n"

    def go(text: str, **options: Any) -> Table:
        module = module_of(text, tmp_path, monkeypatch)
        return mf.study(module.cell, {"scale": [1.0], "width": [2]}, 1, tmp_path / "s", **options)

    before = go(source)
    # Comments, docstrings, other functions and the order of lines do not matter.
    same = source.replace(
        "def cell(scale, width, rng):", 'def cell(scale, width, rng):\n    """Doc."""  # why'
    )
    same = same.replace("'value': scale}", "'value': -scale}") + "\nEXTRA = 1\n"
    assert go(same).stats["reused"] == 1
    for old, new, name in (
        ("SHIFT = 0.25", "SHIFT = 0.5", "SHIFT"),
        ("np.arange(3.0)", "np.arange(3.0) + 1e-9", "DATA"),
        ("return x + SHIFT", "return x - SHIFT", "helper"),
        ("draw.normal() / width", "draw.normal() * width", "its code"),
    ):
        with pytest.raises(
            InputError, match=rf"another cell than 'cell' is now \({name} changed\): pass changed="
        ):
            go(source.replace(old, new))
    changed = source.replace("SHIFT = 0.25", "SHIFT = 0.5")
    kept = go(changed, changed="keep")
    assert kept.csv_text() == before.csv_text()
    assert go(changed).stats["reused"] == 1  # it was said once
    anew = go(source.replace("SHIFT = 0.25", "SHIFT = 0.75"), changed="recompute")
    assert anew.stats["computed"] == 1 and anew.rows[0]["error"] != before.rows[0]["error"]
    module = module_of(source, tmp_path, monkeypatch)
    # A cell that never gave a result may be mended: nothing could be mixed.
    broken = module_of(source.replace("return x + SHIFT", "raise ValueError"), tmp_path, monkeypatch)
    with pytest.warns(RuntimeWarning, match="1 of 1 cells failed"):
        mf.study(broken.cell, {"scale": [1.0], "width": [2]}, 1, tmp_path / "broken")
    module = module_of(source, tmp_path, monkeypatch)
    mended = mf.study(module.cell, {"scale": [1.0], "width": [2]}, 1, tmp_path / "broken")
    assert mended.csv_text() == before.csv_text()
    with pytest.raises(InputError, match="that of 'cell'"):
        mf.study(module.other, {"scale": [1.0]}, 1, tmp_path / "s")


class Thing:
    def __init__(self, size: float) -> None:
        self.size = size


def test_what_a_cell_captures_is_part_of_it() -> None:
    import pandas

    def capturing(value: Any) -> dict[str, str]:
        def cell(scale: float) -> dict[str, Any]:
            return {"value": scale if value is None else value}

        return identity.parts(cell)

    def net(ridge: float) -> mf.Objective:
        X, y = mf.data.relu_teacher(n=5, d=2, neurons=2, rng=0)
        return mf.Objective(mf.TwoLayer("relu", d=2), X, y, regularizer=mf.Ridge(ridge))

    def start(rng: int) -> mf.ParticleMeasure:
        return mf.ParticleMeasure.gaussian(mf.TwoLayer("relu", d=2), 5, rng=rng)

    makers: list[tuple[Any, Any, Any]] = [
        (float, 1.0, 2.0),
        (lambda x: x, 1, 1.0),
        (lambda x: {"a": [x, (x, {x})]}, 1, 2),
        (lambda x: np.arange(x), 5, 6),
        (lambda x: np.array([x, None]), 1, 2),
        (net, 0.1, 0.2),
        (start, 0, 1),
        (mf.Ridge, 0.1, 0.2),
        (lambda x: x(), mf.ReLU, mf.Tanh),
        (Thing, 1.0, 2.0),
        (lambda x: pandas.DataFrame({"a": [x]}), 1, 2),
        (lambda x: functools.lru_cache(lambda y: y + x), 1, 2),
    ]
    for make, one, other in makers:
        assert capturing(make(one)) == capturing(make(one))
        assert capturing(make(one)) != capturing(make(other)), (one, other)
    loop: list[Any] = [1]
    loop.append(loop)
    assert capturing(loop) == capturing(loop)
    # of a generator only the type is known
    assert capturing(np.random.default_rng(0)) == capturing(np.random.default_rng(1))


@dataclasses.dataclass(frozen=True)
class Method:
    order: int = 1
    label: str = "a"


def test_plug_ins_are_told_apart_by_type_and_fields(tmp_path: Path) -> None:
    """As tuples ReLU() and Tanh() may be equal; to a study they are two."""

    def cell(activation: Any, method: Any, table: Any, rng: int) -> dict[str, Any]:
        assert isinstance(table, np.ndarray)
        return {"value": float(activation.value(-1.0)), "order": method.order, "sum": table.sum()}

    axes = {
        "activation": [mf.ReLU(), mf.Tanh(), mf.LeakyReLU(0.5)],
        "method": [Method(1), Method(2)],
        "table": [np.zeros(2), np.ones((2, 2)), np.arange(20)],
    }
    table = mf.study(cell, axes, folder=tmp_path / "s")
    assert len(table) == 18 and len({tuple(map(str, row.values())) for row in table}) == 18
    assert table.select(activation=mf.Tanh())["value"].tolist() == [np.tanh(-1.0)] * 6
    assert table.select(method=Method(2), activation=mf.LeakyReLU(0.5))["order"].tolist() == [2, 2, 2]
    assert table.select(table=np.ones((2, 2)))["sum"].tolist() == [4.0] * 6
    assert mf.study(cell, axes, folder=tmp_path / "s").stats["computed"] == 0


@settings(max_examples=15)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_values_return_as_they_were(value: Any) -> None:
    written = json.dumps(encode.encode(value, "value"), allow_nan=False)
    again = encode.decode(json.loads(written))
    assert repr(again) == repr(value)


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "f4", "i2", "?", "U3", "c16"])
def test_arrays_return_with_all_their_bits(dtype: str) -> None:
    value = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)[:, ::-1]
    again = encode.decode(json.loads(json.dumps(encode.encode(value, "value"))))
    assert again.dtype == value.dtype.newbyteorder("<") and again.flags.writeable
    assert np.array_equal(again, value)


# -- refusals ------------------------------------------------------------------------------------------------------


class Point:
    pass


class Engineer:
    def cell(self, scale: float, rng: int) -> dict[str, float]:
        return {"value": scale}


def test_refusals_are_one_sentence(tmp_path: Path) -> None:
    def refused(match: str, *given: Any, cell: Any = simple, **options: Any) -> None:
        with pytest.raises(InputError, match=match) as found:
            mf.study(cell, *given, **options)
        assert "\n" not in str(found.value)
        assert not list(tmp_path.iterdir())  # nothing is written

    good = {"scale": [1.0]}
    # axes
    refused(
        "unknown axis 'scal': the cell 'simple' has no such parameter: did you mean 'scale'", {"scal": [1.0]}
    )
    refused("unknown axis 'width'.*; known are scale", {"scale": [1.0], "width": [1]})
    refused("the parameter 'scale' of the cell 'simple' has no value: make it an axis", {})
    refused("axis 'scale' is empty; give it at least one value", {"scale": []})
    refused("axis 'scale' has 1.0 twice; leave one out", {"scale": [1.0, 2.0, np.float64(1.0)]})
    refused("axis 'scale' must be a list of values, not 1.0; for a single one write", {"scale": 1.0})
    refused("axis 'scale' must be a list of values, not 'ab'", {"scale": "ab"})
    refused("must be a list of values; for a single LeakyReLU write", {"scale": mf.LeakyReLU(0.1)})
    refused("must be a list of values, not array", {"scale": np.array(1.0)})
    refused("axis 'scale' holds NaN", {"scale": [1.0, np.nan]})
    refused(
        "axis 'scale' holds a value of type Point, which cannot be written down; known are",
        {"scale": [Point()]},
    )
    refused("axis 'scale' holds a value of type set", {"scale": [{1}]})
    refused("axis 'scale' is a set, which has no order", {"scale": {1.0, 2.0}})
    refused("<lambda>.*has no name in a module", {"scale": [lambda x: x]})
    refused("an array of object", {"scale": [np.array([None])]})
    refused(
        "an array of 32 MB; write it to a file", good, fixed={"rate": np.zeros(2**22)}, cell=lambda **x: x
    )
    refused("axis 'scale' holds a value of type longdouble", {"scale": [np.longdouble(1)]})
    refused("an array of (longdouble|float)", {"scale": [np.zeros(2, dtype=np.longdouble)]})
    refused("a masked array, whose mask would be lost", {"scale": [np.ma.masked_array([1.0], [True])]})
    refused("an integer of 9001 bits; at most 8192", {"scale": [2**9000]})
    refused("axis 'scale' has 1 and 1.0, which are equal; keep one", {"scale": [1, 2.0, 1.0]})
    refused("axis 'scale' has 0.0 and -0.0, which are equal", [{"scale": 0.0}, {"scale": -0.0}])
    refused("cannot be called 'time', as table.mean or table.problems has that", {"time": [1]})
    refused("cannot be called 'low', as table.mean", [{"low": 1}])
    refused("axes must be a mapping of lists", 3)
    refused("an axis or fixed parameter cannot be called 'seed'", {"seed": [1]})
    refused("cannot be called 'status'", {"status": [1]})
    refused("has a name such as 'scale', not 3", {3: [1]})
    refused("an empty list; give at least one", [])
    refused("one mapping of parameter to value for each", [1.0, 2.0])
    refused("configurations 0 and 2 are the same", [{"scale": 1.0}, {"scale": 2.0}, {"scale": 1.0}])
    refused(r"configuration 1 has the parameters \['width'\]", [{"scale": 1.0}, {"width": 2.0}])
    # fixed
    refused("unknown fixed parameter 'width'", good, fixed={"width": 1})
    refused("'scale' is an axis and among fixed", good, fixed={"scale": 1})
    refused("fixed must be a mapping", good, fixed=[1])
    # seeds
    refused("seeds must be at least 1, or a list of seeds, not 0", good, seeds=0)
    refused("seeds must be an integer, not 2.5", good, seeds=2.5)
    refused("seeds is empty", good, seeds=[])
    refused(
        "a number of seeds, or a list of integers each of which a cell gets as rng, not a Seed",
        good,
        seeds=np.random.SeedSequence(0),
    )
    refused("seeds has 3 twice", good, seeds=[3, 1, 3])
    refused("each seed must be non-negative", good, seeds=[-1])
    refused("seeds must be an integer, not 'eight'", good, seeds="eight")
    refused("takes no seed, so 2 seeds would repeat one computation", good, seeds=2, cell=lambda scale: {})
    # cell
    refused("cell must be a function of its axes and a seed, not 3", good, cell=3)
    refused("cell must be a function", good, cell=Point)
    refused("cell must be a Python function, not a partial", good, cell=functools.partial(simple))
    refused("takes 'scale' by position only", good, cell=lambda scale, /, rng: {})
    refused("rng is one seed, rngs all of them", good, cell=lambda scale, rng, rngs: {})
    refused("mapping of names to numbers, texts or small arrays.*not a float", good, cell=lambda scale: scale)
    refused("'point' holds a value of type Point", good, cell=lambda scale: {"point": Point()})
    refused("'a' is a list of lists of different lengths", good, cell=lambda scale: {"a": [[1], [1, 2]]})
    refused(r"returned 'a' = {b: ReLU\(.*; return numbers", good, cell=lambda scale: {"a": {"b": mf.ReLU()}})
    refused(r"returned 'a' = \[ReLU\(", good, cell=lambda scale: {"a": [mf.ReLU(), mf.Tanh()]})
    refused("returned 'a' = simple; return numbers", good, cell=lambda scale: {"a": simple})
    refused("'a' is a list of texts and numbers", good, cell=lambda scale: {"a": [1, "a"]})
    refused("but 3 is no text", good, cell=lambda scale: {3: 3})
    refused("returned 'scale' = 2.0, but 'scale' is a column", good, cell=lambda scale: {"scale": 2 * scale})
    refused("'status' is a column of its own", good, cell=lambda scale: {"status": "fine"})
    odd = {"scale": [1.0, 2.0]}
    refused(
        "returned 'a' at scale=1.0, seed=0, but 'b' at scale=2.0, seed=0; return the same names everywhere",
        odd,
        cell=lambda scale: {"a" if scale == 1.0 else "b": 1.0},
    )
    # executor and options
    there = str(tmp_path)
    refused("executor must be None, a number of processes, 'processes'", good, folder=there, executor="dask")
    refused("executor must be at least 1 process", good, folder=there, executor=0)
    refused("executor .a number of processes. must be an integer", good, folder=there, executor=True)
    refused(
        "'processes' or an executor of concurrent.futures, not a Point", good, folder=there, executor=Point()
    )
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as forks:
        refused("executor forks this process.*get_context", good, folder=there, executor=forks)
    refused("executor is the class ThreadPoolExecutor", good, folder=there, executor=ThreadPoolExecutor)
    refused("folder must be a path, not 3", good, folder=3)
    with ThreadPoolExecutor(1) as threads:
        refused("folder is needed: the executor's workers write there", good, executor=threads)
    refused("folder is needed: nothing is computed now", good, run=False)
    for local in (lambda scale, rng: {}, Engineer().cell):
        refused("cannot find the cell '.*' by its name: define", good, folder=there, run=False, cell=local)
    refused("cannot be sent to another process", good, folder=there, executor=1, cell=lambda scale, rng: {})
    refused("changed must be one of 'refuse', 'recompute', 'keep'", good, folder=there, changed="fresh")
    refused("attempts must be positive", good, folder=there, attempts=0)


def test_cells_of_an_interactive_session_are_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: ModuleType
) -> None:
    """A notebook has no file that a process that starts afresh could import."""
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec(compile("def cell(scale, rng):\n    return {'value': scale}\n", "<input>", "exec"), vars(main))
    given: tuple[Any, ...] = (vars(main)["cell"], {"scale": [1.0]}, 1, tmp_path)
    with pytest.raises(
        InputError, match="another process cannot load the cell 'cell', which is defined in an inter"
    ):
        mf.study(*given, executor=1)
    assert len(mf.study(*given)) == 1
    with ThreadPoolExecutor(1) as threads:
        assert len(mf.study(*given, executor=threads)) == 1


@pytest.mark.slow
def test_a_cell_that_workers_cannot_load(tmp_path: Path) -> None:
    """Its module was made here, and is in no file."""
    module = ModuleType("made_here_only")
    exec("def cell(scale, rng):\n    return {'value': scale}\n", vars(module))
    sys.modules["made_here_only"] = module
    try:
        with pytest.raises(
            InputError, match="a worker process cannot load the cell .ModuleNotFoundError: No module"
        ):
            mf.study(module.cell, {"scale": [1.0]}, folder=tmp_path / "s", executor=1)
    finally:
        del sys.modules["made_here_only"]
    assert not multiprocessing.active_children()


def test_dask_clients_are_told(tmp_path: Path) -> None:
    """By what they offer: Dask need not be there."""
    for name, told in (("get_executor", "Dask client"), ("get_client", "Dask cluster")):
        double = type("Double", (), {name: lambda self: None})()
        with pytest.raises(InputError, match=told):
            mf.study(simple, {"scale": [1.0]}, folder=tmp_path, executor=double)


def test_folders_that_are_something_else(tmp_path: Path) -> None:
    def refused(folder: Path, match: str, kind: Any = InputError) -> None:
        with pytest.raises(kind, match=match):
            mf.study(simple, {"scale": [1.0]}, folder=folder)

    (tmp_path / "file").write_text("mine")
    refused(tmp_path / "file", "is a file; choose another")
    refused(Path("/proc/self/nowhere"), "of the study cannot be written .No such file or directory.; choose")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    refused(tmp_path / "full", "holds other files .'thesis.tex' for one. and no study")
    for text in ("{", "[]", '{"format": "other"}', '{"format": "meanfield-study", "version": 1}'):
        (tmp_path / "damaged").mkdir(exist_ok=True)
        (tmp_path / "damaged" / "study.json").write_text(text)
        refused(tmp_path / "damaged", "is damaged or not the study.json of a study", FileFormatError)
    (tmp_path / "damaged" / "study.json").write_text('{"format": "meanfield-study", "version": 9}')
    refused(tmp_path / "damaged", "format number 9, newer than 1", FileFormatError)


def test_a_report_may_repeat_its_parameter() -> None:
    """`mf.regime` returns the scale, which is the axis: one column."""

    @dataclasses.dataclass
    class Report:
        scale: float
        change: float

    class Other:
        def as_dict(self) -> dict[str, float]:
            return {"scale": 2.0, "change": 0.5}

    assert (
        mf.study(lambda scale: Report(scale, 0.5), {"scale": [2.0]}).rows
        == mf.study(lambda scale: Other(), {"scale": [2.0]}).rows
    )
    assert mf.study(lambda scale: Other(), {"scale": [2.0]}).columns == ("scale", "seed", "status", "change")


# -- the table -----------------------------------------------------------------------------------------------------


def noisy(scale: float, width: int, rng: int) -> dict[str, Any]:
    if scale > 50 and (width < 100 or rng == 0):
        raise DivergenceError("left the finite numbers")
    draw = np.random.default_rng(rng).normal()
    return {"error": (1 + 0.1 * draw) * scale / width, "sign": draw, "name": "a"}


def curve(make: Any, scale: float) -> dict[str, Any]:
    return {"curve": make(2), "nothing": np.nan}


@pytest.fixture(scope="module")
def table() -> Table:
    return mf.study(noisy, {"scale": [0.1, 1.0, 10.0, 100.0], "width": [10, 100, 1000]}, seeds=5)


def test_means_and_intervals(table: Table) -> None:
    first = table.mean("error")[0]
    draws = np.array([np.random.default_rng(k).normal() for k in range(5)])
    values = (1 + 0.1 * draws) * 0.1 / 10
    half = 2.7764451051977987 * values.std(ddof=1) / np.sqrt(5)  # the 97.5 % point of Student's t with 4
    low, high = values.mean() - half, values.mean() + half
    assert (first["scale"], first["width"], first["seeds"], first["diverged"]) == (0.1, 10, 5, 0)
    assert first["mean"] == pytest.approx(values.mean(), rel=1e-14)
    assert (first["low"], first["high"]) == pytest.approx((low, high), rel=1e-12)
    last = {(row["scale"], row["width"]): row for row in table.mean("error", level=0.5)}
    assert (last[100.0, 100]["seeds"], last[100.0, 100]["diverged"]) == (4, 1)
    assert last[100.0, 10]["diverged"] == 5 and np.isnan(last[100.0, 10]["mean"])
    again = table.mean("error", interval="bootstrap")[0]
    assert values.min() < again["low"] < values.mean() < again["high"] < values.max()
    assert again == table.mean("error", interval="bootstrap")[0]
    alone = table.select(seed=0).mean("error")[0]
    assert alone["seeds"] == 1 and np.isnan(alone["low"])
    for arguments, match in (
        ({"value": "name"}, "the column 'name' holds 'a'; means need numbers"),
        ({"value": "eror"}, "no such column 'eror': did you mean 'error'"),
        ({"value": "error", "interval": "normal"}, "interval must be one of"),
        ({"value": "error", "level": 95}, "level must be between 0 and 1"),
    ):
        with pytest.raises(InputError, match=match):
            table.mean(**arguments)


def test_rows_columns_and_files(table: Table, tmp_path: Path) -> None:
    assert len(table) == 60 and list(table) == table.rows
    assert table["width"].dtype == np.int64 and table["error"].dtype == np.float64
    assert table["name"].dtype == object and table.select(scale=0.1)["name"].dtype.kind == "U"
    some = table.select(width=[10, 1000], scale=lambda scale: scale > 5, seed=range(2))
    assert {(row["width"], row["scale"], row["seed"]) for row in some} == {
        (w, s, k) for w in (10, 1000) for s in (10.0, 100.0) for k in (0, 1)
    }
    assert len(some.problems) == 3
    assert len(table.select(scale=0.1 + 1e-12)) == 15  # a value typed with fewer digits
    with pytest.raises(InputError, match=r"no row has width = 11; there are 10, 100, 1000"):
        table.select(width=11)
    with pytest.raises(InputError, match="no such column 'widht': did you mean 'width'"):
        table["widht"]
    curves = mf.study(curve, {"make": [np.zeros, np.ones], "scale": [1.0, 2.0]})
    assert len(curves.select(curve=np.ones(2))) == len(curves.select(nothing=np.nan)) // 2 == 2
    assert curves.select(make=np.ones).rows == curves.select(make="ones").rows
    with pytest.raises(InputError, match=r"no row has curve = 3; there are \[0. 0.\], \[1. 1.\]"):
        curves.select(curve=3)
    frame = table.to_pandas()
    assert list(frame.columns) == list(table.columns) and len(frame) == 60
    lines = table.to_csv(tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == "scale,width,seed,status,error,sign,name" and len(lines) == 61
    assert float(lines[1].split(",")[4]) == table.rows[0]["error"]
    assert "60 cells: 4 scale x 3 width x 5 seed; 53 done, 7 diverged" in repr(table)
    assert "the first 20 of 60 rows" in table._repr_html_()
    assert table.to_text().splitlines()[0].split() == list(table.columns)


def test_pictures(table: Table, tmp_path: Path) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    ax = table.plot("scale", "error", hue="width", csv=tmp_path / "curves.csv")
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) == ("log", "log", "error")
    labels = ax.get_legend_handles_labels()[1]
    assert labels == ["width = 10", "width = 100", "width = 1000", "some seeds diverged",
                      "all seeds diverged"]  # fmt: skip
    assert len(ax.collections) == 3  # bands
    rows = (tmp_path / "curves.csv").read_text().splitlines()
    assert rows[0] == "scale,width,mean,low,high,seeds,diverged,failed,nonfinite" and len(rows) == 13
    plain = table.select(width=10, scale=[0.1, 1.0]).plot("scale", "sign")
    assert plain.get_yscale() == "linear" and plain.get_legend() is None
    narrow = table.select(scale=1.0, width=[10, 100]).plot("width", "sign")
    assert narrow.get_xscale() == "log"

    # a NaN that a cell returned is no divergence
    def never(scale: float, width: int) -> dict[str, float]:
        return {"hit": np.nan if scale > width else scale}

    hits = mf.study(never, {"scale": [1.0, 2.0, 3.0], "width": [1, 2]})
    assert [(row["seeds"], row["diverged"], row["nonfinite"]) for row in hits.mean("hit")][2:4] == [
        (0, 0, 1),
        (1, 0, 0),
    ]
    assert "all seeds not finite" in hits.plot("scale", "hit", "width").get_legend_handles_labels()[1]
    assert hits.map("scale", "width", "hit").get_legend().get_texts()[0].get_text() == "all seeds not finite"
    # names of plug-ins stand aslant where they would run into each other
    units = [mf.ReLU(), mf.Tanh(), mf.LeakyReLU(0.5)]
    for chosen, angle in ((units, 25.0), (units[:1], 0.0)):
        named = mf.study(lambda unit: {"value": unit.value(1.0)}, {"unit": chosen}).plot("unit", "value")
        assert {tick.get_rotation() for tick in named.get_xticklabels()} == {angle}

    ax = table.map("scale", "width", "error", csv=tmp_path / "map.csv")
    (mesh,) = [c for c in ax.collections if hasattr(c, "get_array") and c.get_array() is not None]
    assert isinstance(mesh.norm, LogNorm) and mesh.get_array().mask.sum() == 1
    hatched = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert sorted(patch.get_hatch() for patch in hatched) == ["//", "//", "////"]
    whole = next(patch for patch in hatched if patch.get_hatch() == "////")
    # Around (100, 10), from half a step below to half a step above, on log axes.
    assert whole.get_x() == pytest.approx(10**1.5) and whole.get_y() == pytest.approx(10**0.5)
    assert len((tmp_path / "map.csv").read_text().splitlines()) == 13
    for method, words, match in (
        (
            "plot",
            ("scale", "error"),
            r"the axis 'width' has 3 values here; choose one, table.select\(width=10\), or",
        ),
        ("plot", ("error", "scale"), "no such column 'error'; known are scale, width"),
        ("plot", ("scale", "name", "width"), "means need numbers"),
        ("map", ("scale", "scale", "error"), "'scale' is named twice"),
        ("map", ("scale", "width", "nothing"), "no such column 'nothing'"),
    ):
        with pytest.raises(InputError, match=match):
            getattr(table, method)(*words)
    lost = table.select(scale=100.0, width=10)
    with pytest.raises(InputError, match="there is nothing to draw: no cell gave a finite 'error'"):
        lost.plot("scale", "error")
    assert lost.map("scale", "width", "error").patches


# -- the command line ----------------------------------------------------------------------------------------------


def command(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> str:
    assert cli.main(["study", *map(str, words)]) == status
    caught = capsys.readouterr()
    assert status or not caught.err
    assert caught.err.count("\n") <= 1
    return caught.err if status else caught.out


def test_shards_are_the_whole(cells: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "s"
    prepared = mf.study(cells.cell, AXES, 3, folder, run=False)
    assert prepared.status == "prepared" and len(prepared) == 0 and len(prepared.missing) == 18
    assert "18 missing" in command(capsys, "status", folder)
    for i in (3, 1, 2):
        assert f"computed 6 cells in shard {i}/3" in command(capsys, "run", folder, "--shard", f"{i}/3")
        assert "computed 0 cells" in command(capsys, "run", folder, "--shard", f"{i}/3")
    whole = mf.study(cells.cell, AXES, 3)
    assert command(capsys, "table", folder, "--csv") == whole.csv_text()
    command(capsys, "table", folder, "--csv", tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == whole.csv_text()
    assert len(command(capsys, "table", folder).splitlines()) == 19
    assert "18 done" in command(capsys, "status", folder)
    assert mf.study(cells.cell, AXES, 3, folder).stats["computed"] == 0
    # the seeds of a cell that takes all at once stay together
    from meanfield._study import definition, shards

    asked = definition.define(lambda scale, rngs: [], {"scale": [1, 2, 3, 4, 5]}, 4, None)
    parts = [shards.part(asked, k, 3) for k in (1, 2, 3)]
    assert sorted(map(len, parts)) == [4, 8, 8] and len(set().union(*parts)) == 20


def test_a_study_written_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "by hand.py").write_text(
        "def cell(scale, power, rng):\n    if scale == 3: raise ValueError('three')\n"
        "    return {'value': scale**power + rng}\n"
    )
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "study.toml").write_text(
        "cell = '../by hand.py:cell'\nseeds = 2\n[axes]\nscale = [1.0, 2.0]\n[fixed]\npower = 2\n"
    )
    assert "computed 4 cells" in command(capsys, "run", folder)
    assert command(capsys, "table", folder, "--csv").splitlines()[-1] == "2.0,1,done,5.0"
    (folder / "study.toml").write_text(
        "cell = '../by hand.py:cell'\nseeds = 2\n[axes]\nscale = [1.0, 3]\n[fixed]\npower = 2\n"
    )
    assert "2 cells failed; `meanfield study status" in command(capsys, "run", folder, status=1)
    assert "failed at scale=3, seed=0: ValueError: three" in command(capsys, "status", folder)
    for text, match in (
        ("cell = 'cell'", "must name the cell"),
        ("cell = ", "is not a TOML file"),
        ("cell = 'nowhere_to_be_found:cell'", "'nowhere_to_be_found' of the cell cannot be imported"),
        ("cell = '../none.py:cell'", "none.py, is not there"),
        ("cell = '../by hand.py:cell'\nsede = 2", "unknown key 'sede'"),
        ("cell = '../by hand.py:cell'\n[axes]\nscale = 1", "must be a list of values"),
    ):
        (folder / "study.toml").write_text(text)
        assert match in command(capsys, "run", folder, status=2)
    sys.path.remove(str(tmp_path))


def test_the_command_refuses_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no study in" in command(capsys, "run", tmp_path / "none", status=2)
    assert "there is no study in" in command(capsys, "table", tmp_path / "none", status=2)
    module = module_of("def cell(scale, rng):\n    return {'value': scale}\n", tmp_path, monkeypatch)
    mf.study(module.cell, {"scale": [1.0]}, folder=tmp_path / "s", run=False)
    for shard in ("0/3", "4/3", "1-3", "a/b", "1/0"):
        assert "--shard must be I/N" in command(capsys, "run", tmp_path / "s", "--shard", shard, status=2)
    assert "--processes must be" in command(capsys, "run", tmp_path / "s", "--processes", "0", status=2)
    # two shards whose cells return different names
    table = mf.study(module.cell, {"scale": [1.0, 2.0]}, folder=tmp_path / "t")
    files = list((tmp_path / "t" / "cells").rglob("*.json"))
    files[0].write_text(files[0].read_text().replace('"value"', '"other"'))
    assert len(table) == 2
    assert "return the same names everywhere" in command(capsys, "table", tmp_path / "t", status=2)
    assert "unknown action 'rnu': did you mean 'run'" in command(capsys, "rnu", tmp_path / "s", status=2)
    changed = "def cell(scale, rng):\n    return {'value': -scale}\n"
    module_of(changed, tmp_path, monkeypatch)
    assert "is not the one for which" in command(capsys, "run", tmp_path / "s", status=2)


SCRIPT = """
import meanfield as mf

class Offset:
    def __init__(self):
        self.size = 0.0

OFFSET = Offset()

def cell(scale, rng):
    return {{"value": scale + rng + OFFSET.size}}

def main():
    print(mf.study(cell, {{"scale": [1.0, 2.0]}}, seeds=2, folder="s", {options}))

{call}
"""


def script(folder: Path, options: str, call: str) -> subprocess.CompletedProcess[str]:
    (folder / "sweep.py").write_text(SCRIPT.format(options=options, call=call))
    home = str(Path(mf.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "sweep.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": home},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_script_without_a_guard_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Processes that start afresh import the script, and would start the study in it."""
    done = script(tmp_path, "executor=2", "main()")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "call the study once more: put the call under `if __name__" in last and "in sweep.py" in last
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_cells_of_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = script(tmp_path, "executor=2", "if __name__ == '__main__':\n    main()")
    assert done.returncode == 0 and "4 done" in done.stdout, done.stderr
    shutil.rmtree(tmp_path / "s")
    done = script(tmp_path, "run=False", "if __name__ == '__main__':\n    main()")
    assert done.returncode == 0 and "4 missing" in done.stdout, done.stderr
    assert "computed 2 cells" in command(capsys, "run", tmp_path / "s", "--shard", "1/2")
    assert "computed 2 cells" in command(capsys, "run", tmp_path / "s", "--processes", "1")
    # without a guard the import would start the study again
    shutil.rmtree(tmp_path / "s")
    assert script(tmp_path, "run=False", "main()").returncode == 0
    told = command(capsys, "run", tmp_path / "s", status=2)
    assert "sweep.py calls a study when it is imported" in told
    sys.path.remove(str(tmp_path))


@pytest.mark.slow
def test_a_study_that_is_killed_goes_on(tmp_path: Path) -> None:
    """SIGKILL of the whole study, in mid-air: nothing finished is lost, nothing half-written is read."""
    source = SCRIPT.replace("return", "import time; time.sleep(0.05); return")
    (tmp_path / "sweep.py").write_text(
        source.format(options="executor=2", call="if __name__ == '__main__':\n    main()").replace(
            "[1.0, 2.0]", "[k / 8 for k in range(100)]"
        )
    )
    env = {**os.environ, "PYTHONPATH": str(Path(mf.__file__).parents[1])}
    words = [sys.executable, "sweep.py"]
    process = subprocess.Popen(words, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while len(list((tmp_path / "s").rglob("??*.json"))) < 10 and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.wait()
    there = len(list((tmp_path / "s" / "cells").rglob("*.json")))
    assert 9 <= there < 200
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "200 done" in done.stdout, done.stderr

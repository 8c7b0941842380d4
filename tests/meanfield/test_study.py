"""Studies: one table whatever computes it, nothing finished is lost, and every refusal is one sentence."""

from __future__ import annotations

import importlib
import random
import sys
import threading
from collections import deque
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import meanfield as mf
from meanfield._study import Table
from solvers.errors import InputError

# A module of its own, which workers can import, and which needs NumPy only.
CELLS = '''
import os
import signal
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


def killer(scale, folder, rng):
    """Kills its worker: the first time at scale 1, always at scale 2."""
    (Path(folder) / f"ran-{scale}-{rng}-{os.getpid()}").touch()
    mark = Path(folder) / "killed"
    if scale == 2.0 or (scale == 1.0 and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": scale + rng}
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

    pool = mf.study(cells.cell, AXES, seeds=3, folder=tmp_path / "pool", executor=2)
    assert text(pool, tmp_path) == expected
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

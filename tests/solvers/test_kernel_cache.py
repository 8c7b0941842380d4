"""Machine code on disk: other processes load it, and never any that is out of date. Processes of their own, counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Prints what a plug-in gives at 2.0, and what Numba compiled for it.
SCRIPT = """
import json, sys
from numba.core import event

class Listener(event.Listener):
    def on_start(self, found): compiled.append(found.data["dispatcher"].py_func.__qualname__)
    def on_end(self, found): pass

compiled = []
event.register("numba:compile", Listener())

import numpy as np
from meanfield._kernels.elementwise import activate
from typing import NamedTuple
{prelude}

class Plug(NamedTuple):
    gain: float = 1.0

    def value(self, z):
        return {value}

def at(plugin):
    out = np.empty(1)
    activate(plugin, np.full(1, 2.0), out)
    return float(out[0])

print(json.dumps([{result}, compiled]))
"""

# A process that has imported all and compiled nothing of ours: its children save the second that either takes. It reads
# the folder, the script and the cache of each from a line, and answers with the exit status.
PARENT = """
import itertools, json, os, runpy, secrets, sys, traceback
import numba
import numpy as np
from numba.core import config
from numba.core.bytecode import FunctionIdentity
import meanfield
from meanfield._kernels.elementwise import activate
from solvers import _jit, _kernel_cache

numba.njit(lambda x: x + 1.0)(np.ones(1))  # wakes the compiler

def child(folder, script, cache):
    for number, file in ((1, "out.txt"), (2, "err.txt")):
        os.dup2(os.open(os.path.join(folder, file), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder)
    os.environ["NUMBA_CACHE_DIR"] = cache
    config.reload_config()
    _kernel_cache.folder.cache_clear()
    FunctionIdentity._unique_ids = itertools.count(secrets.randbits(40))  # as every process begins, in `_jit`
    sys.path.insert(0, folder)
    sys.argv = [script]
    runpy.run_path(script, run_name="__main__")

for line in sys.stdin:
    number = os.fork()
    if not number:
        status = 1
        try:
            child(*json.loads(line))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), flush=True)
"""
HOME = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def fork() -> Iterator[Callable[..., tuple[Any, list[str]]]]:
    """`run` in a child of `PARENT`; where no process can be forked, `run` itself."""
    if not hasattr(os, "fork"):
        yield run
        return
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert parent.stdin is not None and parent.stdout is not None
    order, answer = parent.stdin, parent.stdout

    def in_child(folder: Path, name: str = "script.py", **parts: str) -> tuple[Any, list[str]]:
        path = folder / name
        path.write_text(script(**parts))
        order.write(json.dumps([str(folder), str(path), str(folder / "cache")]) + "\n")
        order.flush()
        assert answer.readline() == "0\n", (folder / "err.txt").read_text()
        value, compiled = json.loads((folder / "out.txt").read_text().splitlines()[-1])
        return value, compiled

    with parent:
        yield in_child
        order.close()


def run(folder: Path, name: str = "script.py", **parts: str) -> tuple[float, list[str]]:
    """The value that a script prints and the names of what it compiled; its kernels are kept in the folder."""
    return execute(folder, name, script(**parts))


def script(prelude: str = "", value: str = "self.gain * z", result: str = "at(Plug())") -> str:
    text = SCRIPT
    for key, part in (("prelude", prelude), ("value", value), ("result", result)):
        text = text.replace("{" + key + "}", part)
    return text


def execute(folder: Path, name: str, text: str, *arguments: str) -> tuple[Any, list[str]]:
    path = folder / name
    path.write_text(text)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(HOME)}
    command = [sys.executable, *(arguments or [str(path)])]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    value, compiled = json.loads(done.stdout.splitlines()[-1])
    return value, compiled


def test_a_second_process_compiles_nothing_and_an_edited_one_does(tmp_path: Path) -> None:
    first, compiled = run(tmp_path)
    assert first == 2.0 and any(name.startswith("activate_") for name in compiled)
    assert run(tmp_path) == (2.0, [])
    again, compiled = run(tmp_path, value="3.0 * self.gain * z")
    assert again == 6.0 and compiled
    assert run(tmp_path) == (2.0, [])  # the old source finds its old code


def test_globals_and_helpers_that_change_are_noticed(tmp_path: Path, fork: Any) -> None:
    helper = "import numba\nC = {}\n@numba.njit(cache=False)\ndef helper(z): return C * z"
    for constant in (2.0, 5.0, 2.0):
        value, _ = fork(tmp_path, prelude=helper.format(constant), value="helper(z)")
        assert value == 2.0 * constant
    _, compiled = fork(tmp_path, prelude=helper.format(2.0), value="helper(z)")
    assert compiled == []  # the helper is in the kernel's file
    module = tmp_path / "mine.py"
    for constant in (2.0, 5.0):
        module.write_text(helper.format(constant))
        value, compiled = fork(tmp_path, prelude="import mine", value="mine.helper(z) + mine.C")
        assert value == 3.0 * constant and compiled


def test_classes_of_one_name_do_not_share_code(tmp_path: Path) -> None:
    """Two files with a class of the same name, and one process that loads both, each from its own process."""
    body = (
        "from typing import NamedTuple\nclass Plug(NamedTuple):\n    gain: float = 1.0\n"
        "    def value(self, z): return z + {}"
    )
    (tmp_path / "one.py").write_text(body.format("1.0"))
    (tmp_path / "two.py").write_text(body.format("2.0"))
    assert run(tmp_path, prelude="import one", result="at(one.Plug())")[0] == 3.0
    assert run(tmp_path, prelude="import two", result="at(two.Plug())")[0] == 4.0
    both = "10 * at(two.Plug()) + at(one.Plug())"
    assert run(tmp_path, prelude="import one, two", result=both) == (43.0, [])
    # A class with the name of one of ours.
    ours = "10 * at(Tanh(1.0)) + at(meanfield.Tanh(0.0))"
    own = "import meanfield\n" + body.replace("Plug", "Tanh").format("1.0")
    assert run(tmp_path, prelude=own, result=ours)[0] == 30.0


def test_a_class_without_a_digest_is_compiled_in_every_process(tmp_path: Path, fork: Any) -> None:
    plain = "from numba.extending import register_jitable\n@register_jitable\ndef helper(z): return {} * z"
    for factor in (2.0, 3.0, 3.0):
        value, compiled = fork(tmp_path, prelude=plain.format(factor), value="helper(z)")
        assert value == 2.0 * factor and compiled
    assert not list((tmp_path / "cache").rglob("*activate_*.nbc"))


def test_source_typed_at_a_prompt_is_kept_too(tmp_path: Path) -> None:
    assert execute(tmp_path, "unused.py", "", "-c", script())[1]
    assert execute(tmp_path, "unused.py", "", "-c", script()) == (2.0, [])


def test_a_damaged_file_is_compiled_anew(tmp_path: Path, fork: Any) -> None:
    fork(tmp_path)
    files = sorted((tmp_path / "cache").rglob("*.nbc"))
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[:-100])
    value, compiled = fork(tmp_path)
    assert value == 2.0 and compiled
    assert fork(tmp_path) == (2.0, [])


def test_code_that_nobody_used_for_long_is_dropped(tmp_path: Path, fork: Any) -> None:
    fork(tmp_path)
    (old,) = [path for path in (tmp_path / "cache").rglob("*.nbc") if ".activate_" in path.name]
    sources = old.name.rsplit("-", 2)[1]
    other = old.with_name(old.name.replace(sources, "0" * 8))
    stranger = old.with_name("of_another_package-0.py311.1.nbc")
    for path, age in ((old, 61), (other, 3), (stranger, 400)):
        path.write_bytes(old.read_bytes())
        seconds = path.stat().st_mtime - age * 86_400
        os.utime(path, (seconds, seconds))
    fork(tmp_path, value="4.0 * z")  # whoever saves clears up
    assert not old.exists() and not other.exists() and stranger.exists()


TRAIN = """
X, y = mf.data.relu_teacher(n=40, d={inputs}, neurons=2, rng=0)
run = mf.train(X, y, activation="tanh", width=150, t_max=2.0, rng=0)
found.append(run.final.positions)
"""
MOVE = """
X, y = mf.data.relu_teacher(n=40, d={inputs}, neurons=2, rng=0)
network = mf.TwoLayer("tanh", d={inputs})
found.append(mf.Objective(network, X, y).velocity(mf.ParticleMeasure.gaussian(network, 150, rng=0)))
"""


@pytest.mark.parametrize(
    "problems",
    [
        # a run in compiled code; then with tiles, and with BLAS, which Numba must find again (test_kernels.py has
        # the kernels of both)
        TRAIN.format(inputs=2),
        pytest.param(MOVE.format(inputs=12) + MOVE.format(inputs=300), marks=pytest.mark.slow),
        pytest.param(TRAIN.format(inputs=12) + TRAIN.format(inputs=300), marks=pytest.mark.slow),
    ],
    ids=["small run", "kernels", "runs"],
)
def test_loaded_code_gives_the_bits_of_compiled_code(tmp_path: Path, problems: str) -> None:
    start = SCRIPT[: SCRIPT.index("import numpy")] + "import meanfield as mf\nfound = []\n"
    text = start + problems + "print(json.dumps([[array.tobytes().hex() for array in found], compiled]))"
    first, compiled = execute(tmp_path, "train.py", text)
    assert compiled
    assert execute(tmp_path, "train.py", text) == (first, [])


def test_a_plug_in_deep_in_another_is_told_from_its_like(tmp_path: Path, fork: Any) -> None:
    """The classes of the two outer layers are those of the first call; a class of the innermost was edited."""
    prelude = (
        "from typing import Any\n"
        "class Inner(NamedTuple):\n    plug: Any\n    def value(self, z): return self.plug.value(z)\n"
        "class Outer(NamedTuple):\n    inner: Any\n    def value(self, z): return self.inner.value(z)\n"
        "class Other(NamedTuple):\n    gain: float = 1.0\n    def value(self, z): return z\n"
    )
    result = "10 * at(Outer(Inner(Plug()))) + at(Outer(Inner(Other())))"
    swapped = "at(Outer(Inner(Other()))) + 10 * at(Outer(Inner(Plug())))"
    for factor in (2.0, 3.0):
        for order in (result, swapped):
            value, _ = fork(tmp_path, prelude=prelude, value=f"{factor} * z", result=order)
            assert value == 20.0 * factor + 2.0


def test_nothing_is_kept_once_the_sources_were_edited(tmp_path: Path, fork: Any) -> None:
    """The digest on disk would be of the new sources, the code in memory is of the old."""
    edited = "from solvers import _jit\n_jit._IMPORTED = 0.0"
    assert fork(tmp_path, prelude=edited)[1]
    assert not list((tmp_path / "cache").rglob("*.nbc"))

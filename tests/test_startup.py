"""Start-up: what an import leaves alone, and that a second process finds all its machine code on disk."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
COUNT = """
import json
from numba.core import event

class Listener(event.Listener):
    def on_start(self, found): compiled.append(found.data["dispatcher"].py_func.__qualname__)
    def on_end(self, found): pass

compiled = []
event.register("numba:compile", Listener())
"""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_the_first_example_compiles_nothing_the_second_time() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (HOME / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert "mf.train(" in blocks[0]
    code = COUNT + blocks[0] + "\nprint(json.dumps(compiled))"
    python(code)  # whatever the disk does not hold yet
    assert json.loads(python(code)) == []


def test_importing_leaves_alone_what_only_some_need() -> None:
    heavy = (
        "matplotlib",
        "ot",
        "tqdm",
        "pandas",
        "sklearn",
        "xarray",
        "torch",
        "scipy.linalg",
        "scipy.optimize",
        "meanfield.diagnostics._overparametrization",
    )
    found = python(
        f"import sys, json, meanfield; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    )
    assert json.loads(found) == []


def test_loading_machine_code_does_not_wake_the_compiler() -> None:
    """Numba's implementations of NumPy and of its own containers take a quarter of a second to register."""
    code = """
import json, sys
import meanfield as mf
network = mf.TwoLayer("tanh", d=2)
network.predict(mf.ParticleMeasure.gaussian(network, 10, rng=0), [[1.0, 2.0]])
print(json.dumps("numba.np.arraymath" in sys.modules))
"""
    python(code)
    assert json.loads(python(code)) is False

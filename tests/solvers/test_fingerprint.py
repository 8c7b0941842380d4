"""The digest of a plug-in's class: the same for the same code, another when anything that is compiled changes."""

from __future__ import annotations

import math
import sys
import types
from typing import Any

import numba
import numpy as np
import pytest

from solvers._fingerprint import fingerprint, first_fingerprint

SOURCE = """
import math
import numba
import numpy as np
from typing import NamedTuple

C = 2.0
TABLE = np.array([1.0, 2.0])
unused = object()

@numba.njit
def deep(z):
    return C * z

@numba.njit
def helper(z):
    return deep(z) + 1.0

class Plug(NamedTuple):
    gain: float = 1.0
    degree = 1

    def value(self, z):
        return helper(z) * self.gain + TABLE[0] + math.sqrt(2.0) + np.exp(z)

    def slope(self, z):
        return 0.5 if z in {1, 2} else shift(z)

    def other(self):
        return unused

@numba.njit
def shift(z, by=3.0):
    return z + by
"""


def digest(
    source: str = SOURCE, methods: tuple[str, ...] = ("value", "slope"), name: str = "Plug"
) -> str | None:
    space: dict[str, Any] = {"__name__": "scratch"}
    exec(compile(source, "scratch.py", "exec"), space)
    return fingerprint(space[name], methods)


def test_the_same_code_has_the_same_digest() -> None:
    reference = digest()
    assert reference is not None
    assert digest() == reference
    moved = "# a comment\n\n" + SOURCE.replace("    gain: float", "    # how steep\n    gain: float")
    assert digest(moved) == reference
    assert digest(SOURCE.replace("return unused", "return math")) == reference  # never compiled


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("C = 2.0", "C = 2.5"),
        ("C = 2.0", "C = 2"),
        ("C = 2.0", "C = -2.0"),
        ("[1.0, 2.0]", "[1.0, 2.5]"),
        ("[1.0, 2.0]", "[1, 2]"),
        ("C * z", "C + z"),
        ("deep(z) + 1.0", "deep(z) + 1.5"),
        ("math.sqrt(2.0)", "math.sqrt(3.0)"),
        ("np.exp(z)", "np.expm1(z)"),
        ("{1, 2}", "{1, 3}"),
        ("by=3.0", "by=4.0"),
        ("gain", "slant"),
        ("degree = 1", "degree = 2"),
        ("@numba.njit\ndef deep", "@numba.njit(fastmath=True)\ndef deep"),
        ("class Plug(", "class Plug_(NamedTuple): pass\nclass Plug("),
    ],
)
def test_what_is_compiled_enters_the_digest(old: str, new: str) -> None:
    changed = SOURCE.replace(old, new)
    assert changed != SOURCE
    if "Plug_" in new:  # a class nobody refers to
        assert digest(changed) == digest()
    else:
        assert digest(changed) not in (None, digest())


@pytest.mark.parametrize(
    "value", ["[1.0]", "object()", "lambda: 1.0", "{'a': 1}", "type('T', (), {})", "np.array([{}])"]
)
def test_what_is_not_understood_has_no_digest(value: str) -> None:
    assert digest(SOURCE.replace("C = 2.0", f"C = {value}")) is None


def test_closures_count_by_value() -> None:
    def define(factor: Any) -> type:
        class Closed:
            _fields = ("gain",)

            def value(self, z: float) -> float:
                return float(factor * z)

        return Closed

    digests = {fingerprint(define(factor), ["value"]) for factor in (1.0, 1, True, 2.0, 0.0, -0.0, "1.0")}
    assert None not in digests and len(digests) == 7
    assert fingerprint(define(2.0), ["value"]) == fingerprint(define(2.0), ["value"])
    assert fingerprint(define(math), ["value"]) is not None
    assert fingerprint(define(object()), ["value"]) is None


def test_inherited_methods_and_foreign_modules() -> None:
    module = types.ModuleType("scratch_helpers")
    exec("import numba\nGAIN = 2.0\n@numba.njit\ndef twice(z): return GAIN * z", module.__dict__)
    space: dict[str, Any] = {"scratch_helpers": module, "__name__": "scratch"}
    exec(
        "class Base:\n    _fields = ('gain',)\n    def value(self, z): return scratch_helpers.twice(z)\n"
        "class Plug(Base):\n    pass",
        space,
    )
    first = fingerprint(space["Plug"], ["value"])
    module.GAIN = 3.0  # type: ignore[attr-defined]
    second = fingerprint(space["Plug"], ["value"])
    assert first is not None and second is not None and first != second
    assert sys.modules.get("scratch_helpers") is None


def test_functions_that_call_each_other_end() -> None:
    space: dict[str, Any] = {"numba": numba, "np": np, "__name__": "scratch"}
    exec(
        "@numba.njit\ndef even(n): return True if n == 0 else odd(n - 1)\n"
        "@numba.njit\ndef odd(n): return False if n == 0 else even(n - 1)\n"
        "class Plug:\n    _fields = ('gain',)\n    def value(self, z): return 1.0 if even(3) else np.float64(z)",
        space,
    )
    assert fingerprint(space["Plug"], ["value"]) is not None


def test_code_that_froze_what_has_changed_since_has_no_digest() -> None:
    space: dict[str, Any] = {"__name__": "scratch"}
    exec(compile(SOURCE, "scratch.py", "exec"), space)
    first = first_fingerprint(space["Plug"], ["value"])
    assert first == fingerprint(space["Plug"], ["value"])
    space["helper"](1.0)
    assert first_fingerprint(space["Plug"], ["value"]) == first  # compiled after it was looked at
    space["C"] = 3.0
    assert first_fingerprint(space["Plug"], ["value"]) is None
    space["C"] = 2.0
    assert first_fingerprint(space["Plug"], ["value"]) == first


def test_functions_compiled_before_anybody_looked_have_no_digest() -> None:
    space: dict[str, Any] = {"__name__": "scratch"}
    exec(compile(SOURCE, "scratch.py", "exec"), space)
    space["helper"](1.0)
    space["C"] = 3.0  # the helper goes on with 2
    assert first_fingerprint(space["Plug"], ["value"]) is None

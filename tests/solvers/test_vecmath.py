"""Vector mathematics against 200-bit arithmetic: errors in units in the last place, and the ends of the range."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

from solvers import _vecmath

mpmath.mp.prec = 200
EXACT: dict[str, Any] = {
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
}
# Measured worst cases on these points: .89, 1.59, 2.42, 2.28, 2.33.
ULP = {"exp": 1.0, "expm1": 2.0, "tanh": 3.0, "sigmoid": 3.0, "softplus": 3.0}


def points() -> Any:
    rng = np.random.default_rng(0)
    small = 10.0 ** rng.uniform(-320, -1, 300)
    return np.concatenate(
        [
            rng.uniform(-1, 1, 1000),
            rng.uniform(-40, 40, 1000),
            rng.uniform(-745, 709.7, 1000),
            small,
            -small,
            np.arange(-40, 41) * np.log(2) / 2,  # where the multiple of log 2 changes
            [0.0, -0.0, 5e-324, -5e-324, 709.78, -745.1],
        ]
    )


@pytest.mark.parametrize("name", EXACT)
def test_units_in_the_last_place(name: str) -> None:
    function, exact = getattr(_vecmath, name), EXACT[name]
    for x in points():
        found, true = function(float(x)), exact(mpmath.mpf(float(x)))
        unit = np.spacing(abs(float(true)))
        assert abs(mpmath.mpf(found) - true) <= ULP[name] * mpmath.mpf(float(unit)), (name, x, found, true)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("exp", 0.0, np.inf),
        ("expm1", -1.0, np.inf),
        ("tanh", -1.0, 1.0),
        ("sigmoid", 0.0, 1.0),
        ("softplus", 0.0, np.inf),
    ],
)
def test_ends_of_the_range(name: str, low: float, high: float) -> None:
    function = getattr(_vecmath, name)
    assert np.isnan(function(np.nan))
    assert function(-np.inf) == low and function(np.inf) == high
    assert function(-1e308) == low and function(1e308) == (1e308 if name == "softplus" else high)


def test_tanh_is_odd_and_keeps_the_sign_of_zero() -> None:
    for x in points():
        assert _vecmath.tanh(float(-x)) == -_vecmath.tanh(float(x))
    assert np.signbit(_vecmath.tanh(-0.0)) and not np.signbit(_vecmath.tanh(0.0))

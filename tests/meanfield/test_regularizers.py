"""Regularizers: the compiled form of one particle against the vectorized one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from meanfield.regularizers import LayerRidge, NoRegularizer, PathNorm, Ridge, TotalVariation
from solvers._jit import kernel

ALL = [
    NoRegularizer(),
    Ridge(0.3),
    LayerRidge(0.3, 0.2, 0.5, outer=2, inner=4),
    PathNorm(0.7, outer=2),
    PathNorm(0.7, 0, 1.5),
    TotalVariation(0.4),
]


@kernel()
def one_particle(regularizer: Any, theta: Any, out: Any) -> Any:
    regularizer.push(theta, out)
    return regularizer.potential(theta)


@pytest.mark.parametrize("regularizer", ALL, ids=repr)
@pytest.mark.parametrize("zeros", [(), (0, 1), (2, 3, 4), (0, 1, 2, 3, 4)])
def test_compiled_forms_are_the_value_and_the_gradient(regularizer: Any, zeros: tuple[int, ...]) -> None:
    theta = np.random.default_rng(0).standard_normal(5)
    theta[list(zeros)] = 0.0
    out = np.ones(5)
    value = one_particle(regularizer, theta, out)
    # sums of five squares: a few ulp
    assert value == pytest.approx(regularizer.value(theta[None])[0], rel=1e-14)
    np.testing.assert_allclose(out, 1.0 + regularizer.gradient(theta[None])[0], rtol=1e-14)

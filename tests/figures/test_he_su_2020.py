"""The mathematics inside the figure on elasticity on a torus: averages over distance, kernels, confidence bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import meanfield as mf
from figures import he_su_2020_elasticity as figure
from solvers.errors import InputError


def test_pairs_are_averaged_by_their_distance_on_the_circle() -> None:
    probes = 8
    grid = np.linspace(-np.pi, np.pi, probes, endpoint=False)
    _, labels, theta = mf.data.torus(2 * probes, angles=np.repeat(grid, 2), return_angles=True)
    distance = mf.data.circle_distance(theta)
    # pairs of two classes must not enter
    table = np.where(labels[:, None] == labels, distance, 1e9)
    np.testing.assert_allclose(figure.over_distance(table, labels, probes), np.arange(5) * np.pi / 4)
    assert figure.correlation(table, distance, labels) == pytest.approx(1.0)
    assert figure.correlation(
        np.where(labels[:, None] == labels, -distance, 0), distance, labels
    ) == pytest.approx(-1)


def test_infinite_width_of_a_linear_net_is_affine_in_the_product() -> None:
    X = np.random.default_rng(0).standard_normal((5, 3))
    # E a^2 (x.z + 1) + E (w.x + b)(w.z + b), a and w normal
    K = 2.0 * (X @ X.T + 1.0)
    np.testing.assert_allclose(figure.infinite("identity", X), np.abs(K) / np.diag(K)[:, None], rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"seeds": 2}, "seeds"), ({"probes": 10}, "probes"), ({"width": 11}, "width"), ({"step": 0.0}, "step")],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)

"""Spaces: sampling, wrapping, distances."""

from __future__ import annotations

import numpy as np
import pytest

from solvers import InputError
from solvers.spaces import Euclidean, Sphere, Torus, unit_directions


def test_torus_distance_is_the_shortest_way_round() -> None:
    torus = Torus(1, 2 * np.pi)
    assert np.isclose(torus.distance([0.1], [2 * np.pi - 0.1]), 0.2, rtol=1e-12)
    assert torus.wrap(np.array([-1e-20])) == 0.0  # the representative stays in [0, period)
    assert np.all(torus.wrap(np.array([-0.1, 6.5, 2 * np.pi])) < 2 * np.pi)


def test_torus_grid_needs_a_power() -> None:
    grid = Torus(2).sample("grid", 9, 0)
    assert grid.shape == (9, 2) and np.isclose(grid.min(), 1 / 6)
    with pytest.raises(InputError, match=r"k\^2"):
        Torus(2).sample("grid", 8, 0)


def test_sphere_distance_is_stable_for_near_and_opposite_points() -> None:
    sphere = Sphere(2)
    for angle in (1e-9, 1.0, np.pi - 1e-9):
        other = np.array([np.cos(angle), np.sin(angle)])
        # arccos of the inner product would lose half the digits at both ends.
        assert np.isclose(sphere.distance(np.array([1.0, 0.0]), other), angle, rtol=1e-6, atol=1e-15)


def test_sphere_projection_and_tangent() -> None:
    points = np.array([[3.0, 4.0], [0.0, 2.0]])
    assert Sphere(2).project(points)
    assert np.allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-15)
    tangent = Sphere(2).tangent(points, np.ones((2, 2)))
    assert np.allclose(np.sum(tangent * points, axis=1), 0, atol=1e-15)


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_directions_are_uniform(method: str) -> None:
    points = unit_directions(4096, 3, np.random.default_rng(0), method)
    assert np.allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-14)
    # E u u' = I/3; random entries deviate by about sqrt(4/45/4096) = .005, Sobol less: five sigma.
    assert np.abs(points.T @ points / 4096 - np.eye(3) / 3).max() < 0.025


def test_sobol_beats_random_in_the_mean() -> None:
    errors = {}
    for method in ("random", "sobol"):
        means = [unit_directions(1024, 3, np.random.default_rng(s), method).mean(axis=0) for s in range(10)]
        errors[method] = np.sqrt(np.mean(np.square(means)))
    # Measured .018 and .0009: a factor 3 is safe.
    assert errors["sobol"] < errors["random"] / 3


def test_equispaced_directions_in_the_plane_only() -> None:
    points = unit_directions(8, 2, np.random.default_rng(0), "equispaced")
    assert np.abs(points.sum(axis=0)).max() < 1e-15
    with pytest.raises(InputError, match="plane"):
        unit_directions(8, 3, np.random.default_rng(0), "equispaced")


@pytest.mark.parametrize("build", [lambda: Euclidean(0), lambda: Torus(2, -1.0), lambda: Sphere(1.5)])  # type: ignore[arg-type]
def test_bad_spaces(build: object) -> None:
    with pytest.raises(InputError):
        build()  # type: ignore[operator]

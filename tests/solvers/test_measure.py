"""Particle measures: construction, statistics, new measures from old, files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import FileFormatError, InputError
from solvers.measure import ParticleMeasure
from solvers.spaces import Euclidean, Sphere, Torus


def test_default_weights_make_a_probability_measure() -> None:
    measure = ParticleMeasure([[0.0, 1.0], [2.0, 3.0]])
    assert measure.width == 2 and measure.dim == 2
    assert np.array_equal(measure.weights, [0.5, 0.5]) and measure.mass == 1.0
    assert np.array_equal(measure.coefficients, [0.5, 0.5])


def test_signed_integral() -> None:
    measure = ParticleMeasure([[1.0], [2.0]], weights=[0.5, 2.0], signs=[1, -1])
    assert measure.integrate(lambda p: p[:, 0] ** 2) == 0.5 * 1 - 2.0 * 4
    assert measure.mass == 2.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"positions": np.zeros((0, 2))}, "positions is empty"),
        ({"positions": [[np.nan, 0.0]]}, "NaN or infinite"),
        ({"positions": [["a"]]}, "real numbers"),
        ({"positions": np.zeros((2, 2, 2))}, "axes"),
        ({"positions": [[0.0], [1.0]], "weights": [1.0]}, "weights must have shape"),
        ({"positions": [[0.0], [1.0]], "weights": [1.0, -1.0]}, "signs="),
        ({"positions": [[0.0], [1.0]], "weights": [-1.0, -5.0]}, r"weights\[1\] = -5"),
        ({"positions": [[0.0], [1.0]], "signs": [1.0, 0.5]}, "signs must be"),
        ({"positions": [[0.0, 1.0]], "layout": {"w": (0, 1)}}, "layout"),
    ],
)
def test_bad_inputs_are_refused_in_one_sentence(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        ParticleMeasure(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_measure_is_immutable_and_copies_its_input() -> None:
    source = np.zeros((3, 2))
    measure = ParticleMeasure(source)
    source[0, 0] = 7.0
    assert measure.positions[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        measure.positions[0, 0] = 1.0
    with pytest.raises(AttributeError, match="replace"):
        measure.positions = source  # type: ignore[misc]


def test_the_layout_cannot_be_changed_from_outside() -> None:
    measure = ParticleMeasure.from_arrays(a=[1.0, 2.0], w=[[3.0], [4.0]])
    layout = measure.layout
    assert layout is not None
    layout["a"] = (1, 2)
    assert np.array_equal(measure.a, [1.0, 2.0])


def test_layers_are_views() -> None:
    measure = ParticleMeasure.from_arrays(a=[1.0, 2.0], w=[[3.0, 4.0], [5.0, 6.0]], b=[7.0, 8.0])
    assert np.array_equal(measure.positions, [[1, 3, 4, 7], [2, 5, 6, 8]])
    assert measure.a.shape == (2,) and measure.w.shape == (2, 2) and np.array_equal(measure.b, [7, 8])
    assert np.shares_memory(measure.w, measure.positions)
    with pytest.raises(AttributeError, match="positions"):
        ParticleMeasure([[1.0]]).a  # noqa: B018


def test_moments_are_those_of_the_weighted_cloud() -> None:
    measure = ParticleMeasure([[0.0], [4.0]], weights=[3.0, 1.0])
    moments = measure.moments()
    assert moments.mass == 4.0
    assert np.allclose(moments.mean, [1.0], rtol=1e-15) and np.allclose(
        moments.covariance, [[3.0]], rtol=1e-15
    )


def test_entropy_of_a_gaussian() -> None:
    # 1/2 log(2 pi e) per coordinate. Over 20 seeds at m = 4000 the error was at most 0.05 (2-D): four sigma below .1.
    draw = np.random.default_rng(0).standard_normal((4000, 2))
    assert abs(ParticleMeasure(draw).entropy() - np.log(2 * np.pi * np.e)) < 0.1
    scaled = ParticleMeasure(3 * draw).entropy() - ParticleMeasure(draw).entropy()
    assert abs(scaled - 2 * np.log(3)) < 1e-10  # exact scaling law
    with pytest.raises(InputError, match="resample"):
        ParticleMeasure([[0.0], [1.0]], weights=[1.0, 2.0]).entropy()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 10**6))
def test_systematic_resampling_counts(m: int, width: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    weights = draw.random(m) + 1e-3
    measure = ParticleMeasure(np.arange(m, dtype=float), weights)
    resampled = measure.resample(width, seed)
    counts = np.bincount(resampled.positions[:, 0].astype(int), minlength=m)
    expected = width * weights / weights.sum()
    # Floor or ceil, with an ulp of slack where the expected count is a whole number.
    assert (counts >= np.floor(expected - 1e-9)).all() and (counts <= np.ceil(expected + 1e-9)).all()
    assert np.isclose(resampled.mass, measure.mass, rtol=1e-12)


def test_subsample_takes_distinct_particles_and_keeps_the_mass() -> None:
    measure = ParticleMeasure(np.arange(10.0), np.full(10, 0.3))
    part = measure.subsample(4, rng=0)
    assert np.unique(part.positions).size == 4 and np.isclose(part.mass, 3.0)
    assert part == measure.subsample(4, rng=0)
    with pytest.raises(InputError, match="resample"):
        measure.subsample(11)


def test_push_forward_and_merge() -> None:
    measure = ParticleMeasure([[0.0], [1.0], [-1.0]], weights=[1.0, 2.0, 4.0])
    folded = measure.push_forward(lambda p: np.abs(p)).merge()
    assert folded.width == 2 and sorted(folded.weights) == [1.0, 6.0]
    with pytest.raises(InputError, match="3 rows"):
        measure.push_forward(lambda p: p[:2])


def test_signs_keep_particles_apart_in_merge() -> None:
    measure = ParticleMeasure([[0.0], [0.0]], signs=[1, -1])
    assert measure.merge().width == 2


def test_files_round_trip(tmp_path: object) -> None:
    measure = ParticleMeasure.from_arrays(a=[1.0, 2.0], w=[[3.0], [4.0]], weights=[0.1, 0.2], signs=[1, -1])
    path = tmp_path / "measure.npz"  # type: ignore[operator]
    measure.save(path)
    again = ParticleMeasure.load(path)
    assert again == measure and again.layout == measure.layout
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError):
        ParticleMeasure.load(path)


@pytest.mark.parametrize("space", [Euclidean(3), Torus(2, 2 * np.pi), Sphere(3)])
def test_sampling_asks_the_space(space: object) -> None:
    kind = "gaussian" if isinstance(space, Euclidean) else "uniform"
    build = ParticleMeasure.gaussian if kind == "gaussian" else ParticleMeasure.uniform
    measure = build(space, 50, rng=3)
    assert measure.width == 50 and measure == build(space, 50, rng=3)
    assert measure != build(space, 50, rng=4)


def test_the_same_seed_gives_independent_streams_to_different_purposes() -> None:
    from solvers._rng import generator

    one, two = generator(0, "data").standard_normal(1000), generator(0, "measure").standard_normal(1000)
    # Correlation of independent normals has deviation 1/sqrt(1000) = .03.
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.15

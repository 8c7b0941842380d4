"""The measurements inside the film from lazy to rich, and the film."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import meanfield as mf
from figures import lazy_to_rich_film as figure
from solvers.errors import InputError


def test_times_are_found_where_a_loss_crosses_its_levels() -> None:
    t = np.linspace(0.0, 10.0, 50)
    levels = np.array([1.0, 0.5, 0.1, 0.01])
    # an exponential is linear in the logarithm: exact up to rounding
    assert np.allclose(figure.times_of(levels, t, np.exp(-t)), -np.log(levels), atol=1e-12)
    stuck = np.exp(-np.minimum(t, 3.0))  # times stay in order where the loss does not fall
    assert np.all(np.diff(figure.times_of(levels, t, stuck)) >= 0)


def test_masses_directions_and_angles() -> None:
    turn = np.radians([0.0, 90.0, 180.0, -90.0])
    positions = np.column_stack([[2.0, -2.0, 2.0, 2.0], np.cos(turn), np.sin(turn)])
    angle, share, sign = figure.masses(positions)
    assert (
        np.allclose(angle, [0, 90, 180, -90]) and np.allclose(share, 0.25) and sign.tolist() == [1, -1, 1, 1]
    )
    assert figure.directions(positions) == pytest.approx(4.0)
    positions[:3, 0] = 0.0  # one neuron has it all
    assert figure.directions(positions) == pytest.approx(1.0)
    # across the cut at 180 degrees the shorter way counts; scale of a neuron is none of its direction
    ends = np.array([[[1.0, np.cos(a), np.sin(a)]] for a in np.radians([178.0, -179.0])])
    assert figure.turned(ends) == pytest.approx(3.0)
    assert figure.turned(ends * [5.0, 2.0, 2.0]) == pytest.approx(3.0)


def test_a_broken_line_bends_at_its_corners() -> None:
    x = figure.SHOWN
    assert figure.bends(np.abs(x - x[40])) == pytest.approx(1 / (x.size - 2))
    assert figure.bends(x**2) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scales": (1.0, 2.0)}, "scales must be three"),
        ({"further": (3.0,)}, "at least two"),
        ({"width": 7}, "width must be even"),
        ({"level": 0.5}, "level between"),
        ({"frames": 2}, "frames at least 4"),
    ],
)
def test_settings_that_make_no_film_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(figure.Config(), **change)


def test_the_film_has_a_frame_for_each_level(tmp_path: Path) -> None:
    from PIL import Image

    config = dataclasses.replace(figure.Config(), width=20, frames=4, scales=(0.5, 1.0, 300.0), level=0.05)
    arrays = figure.compute(config, np.random.default_rng(0))
    assert np.allclose(arrays["left"], arrays["levels"], rtol=0.02)
    path = mf.plotting.save(figure.animate(arrays), tmp_path / "film.gif")
    with Image.open(path) as film:
        assert film.format == "GIF" and film.n_frames == 4

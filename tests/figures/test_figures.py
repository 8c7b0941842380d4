"""Every figure that is found: its form, its quick preset, its claims, and that the claims can fail."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meanfield import _settings, gallery
from solvers.errors import InputError

FIGURES = sorted(gallery.discover())
FILMS = [
    name
    for name, info in gallery.discover().items()
    if "\ndef animate(" in info.path.read_text(encoding="utf-8")
]
PUBLISHED = [
    "allen_zhu_2019_convergence",
    "allen_zhu_2019_width",
    "arora_2018_exact",
    "bach_chizat_2021_interpolation",
    "chen_2020_clt",
    "chizat_2019_deconvolution",
    "chizat_2019_lazy",
    "chizat_2019_mirror_ista",
    "chizat_2019_success",
    "chizat_2026_resnets",
    "chizat_bach_2018_complexity",
    "chizat_bach_2018_trajectories",
    "chizat_bach_2020_margins",
    "dan_2021_elasticity",
    "deep_ntk_limit",
    "domingo_enrich_2020_games",
    "fokker_planck_vs_particles",
    "free_energy_landscape",
    "geiger_2020_phase",
    "ghorbani_2019_limits",
    "gopalani_mukherjee_2022_sgd",
    "he_su_2020_elasticity",
    "karmakar_mukherjee_2020_gate",
    "karmakar_mukherjee_2020_poison",
    "langevin_chaos",
    "lazy_to_rich_film",
    "luo_2021_phase_diagram",
    "mean_field_langevin_2022",
    "mei_2018_isotropic",
    "pilanci_ergen_2020_convex",
    "rangamani_2018_autoencoder",
    "rotskoff_2018_width",
    "rotskoff_2019_birth_death",
    "sgd_to_flow",
    "shevchenko_mondelli_2020_connectivity",
    "shi_su_jordan_2020_rates",
    "staircase_2022",
    "tokens_2024_clusters",
    "woodworth_2020_bias",
    "zweig_bruna_2020_symmetric",
]

# Ten seconds and more, with what they compile: tests of their own compute them small, `-m slow` as they are.
HEAVY = {
    "allen_zhu_2019_width",
    "free_energy_landscape",
    "gopalani_mukherjee_2022_sgd",
    "karmakar_mukherjee_2020_poison",
    "lazy_to_rich_film",
    "luo_2021_phase_diagram",
    "mean_field_langevin_2022",
    "rotskoff_2018_width",
    "sgd_to_flow",
    "shi_su_jordan_2020_rates",
    "staircase_2022",
    "woodworth_2020_bias",
}

# The same, and here is how small: the settings, and how the claims begin that these sizes do not resolve.
SMALL: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "allen_zhu_2019_convergence": (
        {
            "n": 5,
            "widths": (24, 48, 96),
            "channels": (6, 12, 24),
            "starts": 3,
            "width": 64,
            "width_channels": 16,
            "iterations": 60,
            "digit_iterations": 150,
        },
        ("The rate is that of the tangent kernel's", "That rates are flat in m"),
    ),
    "chen_2020_clt": (
        {"runs": 6, "particles": 64, "directions": 64, "t_end": 40.0, "times": 4},
        (
            "without penalty: the Volterra equation predicts",
            "without penalty: m Var f",
            "without penalty m Var f decays",
            "lam = 0.02: m Var f stays below",
            "with the penalty it falls far more slowly",
        ),
    ),
    "fokker_planck_vs_particles": (
        {"widths": (64, 256, 1024), "repeats": 40, "shown": 4000, "quantiles": 150, "etas": (0.4, 0.2, 0.1)},
        ("W2 between grid and independent samples", "Squared error of the predictions"),
    ),
    "karmakar_mukherjee_2020_gate": (
        {
            "dims": (10, 20),
            "batches": (1, 8),
            "seeds": 6,
            "shift_iterations": 1500,
            "poison_iterations": 600,
            "samples": 2000,
        },
        ("SGD is behind by", "Known failure, n = 20", "Both rest at the exact bias"),
    ),
    "langevin_chaos": (
        {
            "widths": (16, 64),
            "chains": 50,
            "net_time": 10.0,
            "cells": 200,
            "kinetic_chains": 16,
            "frictions": (0.7, 9.0),
        },
        ("Tanh network: the gap falls faster",),
    ),
}


def test_the_published_figures_are_found() -> None:
    assert set(PUBLISHED) <= set(FIGURES)
    assert set(FIGURES) >= HEAVY


@pytest.mark.parametrize("name", FIGURES)
def test_docstring_says_title_source_and_time(name: str) -> None:
    info = gallery.discover()[name]
    assert info.title and len(info.title) <= 120
    assert info.source, "the docstring needs a paragraph `Source: ...`"
    assert info.quick_time, "the docstring needs `Quick preset: about N s`"


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_every_setting_can_be_given_as_text(name: str, preset: str) -> None:
    config = getattr(gallery.load_figure(name).Config, preset)()
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        assert _settings.parse(as_typed(value), hints[field.name], field.name) == value


@pytest.mark.parametrize("name", FIGURES)
def test_sizes_and_steps_below_zero_are_refused_before_any_computing(name: str) -> None:
    config = gallery.load_figure(name).Config.quick()
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, tuple):
            bad_ones = ["", *(["-1"] if not isinstance(value[0], str) else [])]
        else:
            bad_ones = ["-3", "0" if isinstance(value, int) and field.name != "seed" else "-1"]
        for bad in bad_ones:
            with pytest.raises(InputError, match=field.name):
                gallery.configure(name, "quick", {field.name: bad})


def as_typed(value: Any) -> str:
    """A value as a person types it after ``--set key=``."""
    if isinstance(value, tuple):
        return ",".join(as_typed(entry) for entry in value)
    return str(value)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY | set(SMALL) else name for name in FIGURES],
)
def test_quick_preset(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = gallery.run_figure(name)
    assert result.claims.hold, f"\n{result.claims}"
    check_form(name, result, tmp_path, monkeypatch)


@pytest.mark.parametrize("name", SMALL)
def test_smaller_than_the_quick_preset(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, unresolved = SMALL[name]
    result = gallery.run_figure(name, overrides=settings)
    for claim in result.claims:
        assert claim.holds or claim.statement.startswith(unresolved), f"\n{result.claims}"
    check_form(name, result, tmp_path, monkeypatch)


def check_form(
    name: str, result: gallery.FigureResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What drawing, saving and claims keep to."""
    if name in FILMS:  # they take long: tests of their own make them with few frames
        monkeypatch.delattr(result.module, "animate")

    # Drawing computes nothing and changes nothing; the same arrays give the same bytes.
    before = {key: value.copy() for key, value in result.arrays.items()}
    (tmp_path / "again").mkdir()
    first = result.save(tmp_path, ["svg", "png"])
    second = result.save(tmp_path / "again", ["svg"])
    assert_equal(result.arrays, before)
    assert next(p for p in first if p.suffix == ".svg").read_bytes() == second[-1].read_bytes()
    assert_equal(gallery.load_result(first[0])[0], before)

    assert_claims_can_fail(result)
    # "about 10 s of CPU, one main figure up to a minute" once compiled; twice that on a busy machine.
    assert result.cpu_seconds < 120


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_paper_preset(name: str) -> None:
    result = gallery.run_figure(name, "paper")
    assert result.claims.hold, f"\n{result.claims}"


@pytest.mark.slow
@pytest.mark.parametrize("name", FILMS)
def test_film_of_the_quick_preset(name: str, tmp_path: Path) -> None:
    assert gallery.run_figure(name).save(tmp_path)[-1].suffix == ".gif"


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_equal_seeds_give_equal_bits(name: str) -> None:
    assert_equal(gallery.run_figure(name).arrays, gallery.run_figure(name).arrays)


def assert_equal(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_array_equal(left[key], right[key], err_msg=key)


def assert_claims_can_fail(result: gallery.FigureResult) -> None:
    """Ruin the numbers, all of them and then array by array: each claim must fail at least once.

    That `claims` refuses ruined numbers says nothing of any one claim and does not count.
    """
    module = result.module
    assert module is not None
    survivors = set(range(len(result.claims)))
    for arrays in ruined(result.arrays):
        try:
            with np.errstate(all="ignore"):
                claims = module.claims(arrays)
        except (ValueError, ArithmeticError, LookupError, TypeError):
            continue
        survivors &= {k for k, claim in enumerate(claims) if claim.holds}
        if not survivors:
            return
    raise AssertionError([result.claims[k].statement for k in sorted(survivors)])


def ruined(arrays: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for ruin in (lose_floats, negate, np.zeros_like):
        yield {key: ruin(value) for key, value in arrays.items()}
    for key, value in arrays.items():
        for ruin in (
            lose_floats,
            negate,
            np.zeros_like,
            grow,
            shift,
            lambda x: x[::-1],
            lambda x: x[..., ::-1],
        ):
            if value.ndim or ruin in (lose_floats, negate, np.zeros_like, shift):
                yield {**arrays, key: ruin(value)}
    # what concerns one row only, which its neighbours' slopes would hide
    for key, value in arrays.items():
        if value.dtype.kind in "fc" and value.ndim:
            for row in range(min(len(value), 20)):
                for factor in (30.0, np.geomspace(1.0, 1e3, value[row].size).reshape(value[row].shape)):
                    changed = value.copy()
                    changed[row] *= factor
                    yield {**arrays, key: changed}


def lose_floats(value: Any) -> Any:
    return np.full_like(value, np.nan) if value.dtype.kind in "fc" else value


def grow(value: Any) -> Any:
    """Other powers of whatever runs along the array."""
    return (
        value * np.geomspace(1.0, 1e6, value.size).reshape(value.shape) if value.dtype.kind in "fc" else value
    )


def shift(value: Any) -> Any:
    return value + 3.0 * np.nanmax(np.abs(value)) if value.dtype.kind in "fc" and value.size else value


def negate(value: Any) -> Any:
    if value.dtype.kind == "b":
        return ~value
    return -value if value.dtype.kind in "ifc" else value

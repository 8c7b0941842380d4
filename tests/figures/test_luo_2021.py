"""The mathematics inside the phase diagram: the paper's net is the library's, the slopes, lazy cells exactly."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import meanfield as mf
import solvers
from figures import luo_2021_phase_diagram as figure
from solvers.errors import InputError
from solvers.protocols import Array

SMALL = figure.Config(widths=(64, 128), starts=2)


def starts(m: int, count: int) -> list[Any]:
    network = mf.TwoLayer(mf.ReLU(), d=2, bias=False)
    return [
        mf.ParticleMeasure.gaussian(network, m, rng=r, doubled=True, method="sobol") for r in range(count)
    ]


@pytest.mark.parametrize(("gamma", "gamma_prime"), [(0.7, 0.4), (1.6, -0.3), (0.5, 0.0)])
def test_the_flow_is_the_papers_gradient_flow(gamma: float, gamma_prime: float) -> None:
    """Their net with alpha, beta1, beta2 as they write it; the gradient by central differences."""
    m, rng, alpha = 6, np.random.default_rng(0), 0.3
    kappa, ratio = m**-gamma, m**-gamma_prime
    beta1, beta2 = np.sqrt(kappa * alpha * ratio), np.sqrt(kappa * alpha / ratio)
    A, W = rng.standard_normal(m), rng.standard_normal((m, 2))

    def loss(theta: Array) -> float:
        a, w = theta[:, 0], theta[:, 1:]
        f = np.maximum(figure.POINTS @ w.T, 0.0) @ a / alpha
        return float(0.5 * np.mean((f - figure.LABELS) ** 2))

    theta = np.column_stack([beta1 * A, beta2 * W])
    theirs = np.empty_like(theta)
    for index in np.ndindex(theta.shape):
        change = np.zeros_like(theta)
        change[index] = 1e-6
        theirs[index] = -(loss(theta + change) - loss(theta - change)) / 2e-6
    ours = figure.problem(gamma, gamma_prime, m).velocity(mf.ParticleMeasure.from_arrays(a=A, w=W))
    c = 1 / (m * max(kappa**2 * m * (ratio + 1 / ratio), kappa))
    clock = beta1 * beta2 * m * c
    # rounding 1e-16/1e-6 of a loss of order 1; f is quadratic in theta
    np.testing.assert_allclose(ours * [beta1, beta2, beta2], clock * theirs, rtol=1e-6, atol=1e-8 * clock)


def test_a_cell_runs_as_replicas_in_compiled_code() -> None:
    runs = solvers.integrate(
        figure.problem(1.0, 0.5, 64),
        starts(64, 3),
        1.0,
        method=solvers.DormandPrince(rtol=1e-3, max_step=2.0),
    )
    assert [run.stats["replicas"] for run in runs] == [3, 3, 3]


@pytest.mark.parametrize(("gamma", "gamma_prime"), [(0.5, 0.25), (0.5, 0.0), (0.5, -0.5)])
def test_lazy_cells_move_as_their_linearization_does(gamma: float, gamma_prime: float) -> None:
    """Where neurons move little, the end is the least movement that fits: rates J' (J rates J')^-1 y."""
    m = 2048
    config = dataclasses.replace(figure.Config.quick(), t_end=400.0)
    (start,) = starts(m, 1)
    network = figure.problem(gamma, gamma_prime, m).objective.network
    J = np.stack([
        network.scale / m * network.vjp(start.positions, figure.POINTS[i : i + 1], np.ones(1)) for i in range(4)
    ])  # fmt: skip
    K = np.einsum("imp,p,jmp->ij", J, network.mobility, J)
    least = network.mobility * np.einsum("i,imp->mp", np.linalg.solve(K, figure.LABELS), J)
    expected = np.linalg.norm(least[:, 1:]) / np.linalg.norm(start.positions[:, 1:])
    (moved,), left = figure.cell(config, gamma, gamma_prime, [start])
    assert expected < 0.05 and left < 1e-10
    # a change of the kernel by about twice RD, and kinks that data cross
    assert moved == pytest.approx(expected, rel=0.1 if gamma_prime == -0.5 else 0.05)


@pytest.mark.parametrize(("gamma", "gamma_prime"), [(1.75, 0.0), (1.75, -1.0), (1.5, 0.75)])
def test_the_cap_on_steps_is_small_enough(gamma: float, gamma_prime: float) -> None:
    finer = dataclasses.replace(SMALL, rtol=1e-5, max_step=0.2)
    (rough,), _ = figure.cell(SMALL, gamma, gamma_prime, starts(128, 1))
    (fine,), _ = figure.cell(finer, gamma, gamma_prime, starts(128, 1))
    # kinks that data cross are stepped over at the looser tolerance: measured .005, a slope moves by .003
    assert rough == pytest.approx(fine, rel=0.01)


def test_theory_is_continuous_and_flat_only_where_it_says() -> None:
    rng = np.random.default_rng(1)
    p, q = rng.uniform([0.0, -1.5], [2.5, 1.5], (2, 20_000, 2))
    near = p + 0.05 * (q - p)
    jump = np.abs(figure.theory(*p.T) - figure.theory(*near.T))
    # the steepest of the four gradients is (2, -2)
    assert (jump <= np.sqrt(8.0) * np.linalg.norm(near - p, axis=1) + 1e-12).all()
    # inside a region it is linear: the midpoint has the mean
    same = (figure.region(*p.T) == figure.region(*near.T)) & (
        figure.region(*p.T) == figure.region(*(p + near).T / 2)
    )
    middle = figure.theory(*((p + near) / 2).T)
    np.testing.assert_allclose(
        middle[same], (figure.theory(*p.T) + figure.theory(*near.T))[same] / 2, atol=1e-12
    )


def test_theory_has_the_sign_of_the_papers_regimes() -> None:
    gamma, prime = np.meshgrid(np.linspace(0.0, 2.5, 51), np.linspace(-1.5, 1.5, 61))
    linear = (gamma < 1 - 1e-9) | (prime > gamma - 1 + 1e-9)
    condensed = (gamma > 1 + 1e-9) & (prime < gamma - 1 - 1e-9)
    assert (figure.theory(gamma, prime)[linear] < 0).all()
    assert (figure.theory(gamma, prime)[condensed] > 0).all()
    assert (figure.criticality(gamma, prime)[linear] < 0).all()
    assert (figure.criticality(gamma, prime)[condensed] > 0).all()


def test_distance_is_that_to_the_nearest_line() -> None:
    along = np.linspace(0.0, 6.0, 6001)
    lines = np.concatenate([[[1 + u * s, v * s] for s in along] for u, v in figure.LINES])
    for point in np.random.default_rng(2).uniform([0.0, -1.5], [2.5, 1.5], (50, 2)):
        # points on the lines are at most .0015 apart
        nearest = np.linalg.norm(lines - point, axis=1).min()
        assert float(figure.distance(*point)) == pytest.approx(nearest, abs=1.5e-3)
    # and where a region ends, a line is near
    p = np.random.default_rng(3).uniform([0.0, -1.5], [2.5, 1.5], (5000, 2))
    other = figure.region(*p.T) != figure.region(*(p + [0.01, 0.003]).T)
    assert other.any() and (figure.distance(*p[other].T) < 0.011).all()


def test_cells_that_do_not_end_are_data_and_hatched(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import pyplot

    config = dataclasses.replace(SMALL, gamma_high=1.25, height=0.25, starts=1)
    whole = solvers.integrate

    def cut_short(flow: Any, states: Any, t_end: float, **options: Any) -> Any:
        if abs(flow.objective.network.scale - 128**-0.25) < 1e-9:
            options["max_steps"] = 3
        return whole(flow, states, t_end, **options)

    monkeypatch.setattr(solvers, "integrate", cut_short)
    arrays = figure.compute(config, np.random.default_rng(0))
    lost = ~np.isfinite(arrays["slopes"])
    assert lost.tolist() == [[False, False, False, True]] * 3
    drawn = figure.draw(arrays)
    assert sum(patch.get_hatch() is not None for patch in drawn.axes[0].patches) == lost.sum()
    pyplot.close(drawn)
    assert not all(claim.holds for claim in figure.claims(arrays))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"widths": (512,)}, "widths"),
        ({"widths": (512, 256)}, "widths"),
        ({"widths": (255, 512)}, "even"),
        ({"gamma_high": 0.5}, "gamma_high"),
        ({"spacing": 0.0}, "spacing"),
        ({"draws": "grid"}, "draws"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)


def test_the_grid_has_the_named_points() -> None:
    config = figure.Config.quick()
    assert config.gammas.tolist() == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
    assert config.gamma_primes.tolist() == [-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75]

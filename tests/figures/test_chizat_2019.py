"""The mathematics inside the figures of Chizat (2019), against closed forms and against the library's own objects."""

from __future__ import annotations

import numpy as np
import pytest

import meanfield as mf
import solvers
from figures import chizat_2019_deconvolution as deconvolution
from figures import chizat_2019_success as success

# One spike of mass w at t on the circle, frequencies up to 3: D(0) = 7, -D''(0) = 2 (1 + 4 + 9).
PEAK, CURVATURE = 7.0, 28.0
MASS, PENALTY, PLACE = 1.3, 0.7, 2.0


def one_spike() -> mf.Objective:
    spikes = mf.Spikes(dim=1, frequencies=3)
    return mf.Objective.deconvolution(
        spikes, positions=[PLACE], weights=[MASS], regularizer=mf.TotalVariation(PENALTY)
    )


def test_optimum_of_one_spike_is_the_soft_threshold() -> None:
    objective = one_spike()
    best = deconvolution.optimum(objective, [[PLACE + 0.05]], [0.8 * MASS])
    # Newton's method stops at rounding: 1e-12 leaves three digits.
    np.testing.assert_allclose(best.weights, [MASS - PENALTY / PEAK], rtol=1e-12)
    np.testing.assert_allclose(best.positions, [[PLACE]], rtol=1e-12)
    assert objective.value(best) == pytest.approx(PENALTY * MASS - PENALTY**2 / (2 * PEAK), rel=1e-12)
    assert objective.certificate(best).gap < 1e-12


@pytest.mark.parametrize(("alpha", "beta"), [(0.004, 0.003), (0.0001, 0.003), (0.01, 0.0005)])
def test_predicted_rates_of_one_spike(alpha: float, beta: float) -> None:
    objective = one_spike()
    best = deconvolution.optimum(objective, [[PLACE]], [MASS])
    few, many = deconvolution.predicted_rates(objective, best, alpha, beta)
    left = MASS - PENALTY / PEAK
    in_mass, in_place = 4 * alpha * left * PEAK, beta * MASS * CURVATURE
    spread = beta * PENALTY / PEAK * CURVATURE
    # Central differences of step 1e-5: rounding eps/h and truncation h^2 stay below 1e-8 of the largest rate.
    assert few == pytest.approx(-2 * np.log1p(-min(in_mass, in_place)), rel=1e-7)
    assert many == pytest.approx(-2 * np.log1p(-min(in_mass, in_place, spread)), rel=1e-7)


def test_the_predicted_rates_differ_by_what_limits_them() -> None:
    objective = one_spike()
    best = deconvolution.optimum(objective, [[PLACE]], [MASS])
    few, many = deconvolution.predicted_rates(objective, best, 0.004, 0.003)
    assert many < 0.5 * few
    # With slow masses both are limited by the mass.
    few, many = deconvolution.predicted_rates(objective, best, 1e-5, 0.003)
    assert many == few


def test_log_rate_of_an_exponential() -> None:
    k = np.arange(0.0, 101.0, 10.0)
    assert deconvolution.log_rate(k, 5 * np.exp(-0.03 * k), 20, 90) == pytest.approx(0.03, rel=1e-12)


def test_clusters_are_centres_of_mass() -> None:
    arrays = {
        "best_positions": np.array([[[0.0, 0.0]], [[1.0, 1.0]]]),
        "positions_100": np.array([[[9.0, 9.0]] * 3, [[0.9, 1.0], [1.2, 1.0], [4.0, 4.0]]]),
        "masses_100": np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 5.0]]),
    }
    mass, centre = deconvolution.clusters(arrays)
    np.testing.assert_allclose(mass, [3.0])
    np.testing.assert_allclose(centre, [[1.0, 1.0]])


def networks(rng: np.random.Generator, widths: tuple[int, ...], d: int) -> list[mf.ParticleMeasure]:
    return [mf.ParticleMeasure(rng.standard_normal((m, d))) for m in widths]


def test_the_stack_moves_as_each_network_alone() -> None:
    rng = np.random.default_rng(0)
    widths, d = (1, 3, 2), 6
    X, y = rng.standard_normal((40, d)), rng.standard_normal(40)
    measures = networks(rng, widths, d)
    values, velocity = success.Stack(d, widths).velocity(np.vstack([mu.positions for mu in measures]), X, y)
    # Ridge is strength/2 |w|^2, the published penalty lam |w|^2.
    objective = mf.Objective(mf.SignedSquareReLU(d), X, y, regularizer=mf.Ridge(2 * success.NEURON_PENALTY))
    # Sums of 40 products in another order.
    np.testing.assert_allclose(values, [objective.value(mu) for mu in measures], rtol=1e-12)
    alone = np.vstack([objective.velocity(mu) for mu in measures])
    np.testing.assert_allclose(velocity, alone, rtol=1e-11, atol=1e-13)


def test_splitting_a_velocity_is_the_conic_flow_in_polar_coordinates() -> None:
    rng = np.random.default_rng(1)
    d, ratio = 5, 3.0
    X, y = rng.standard_normal((30, d)), rng.standard_normal(30)
    network = mf.SignedSquareReLU(d)
    mu = networks(rng, (4,), d)[0]
    w, r = mu.positions, np.linalg.norm(mu.positions, axis=1)
    moved = success.split(mf.Objective(network, X, y, regularizer=mf.Ridge(0.2)).velocity(mu), w, ratio)
    # The same network as masses r^2 at directions u, with lam |w|^2 = lam r^2 as total variation.
    u = w / r[:, None]
    conic = mf.ConicFlow(
        mf.Objective(network, X, y, regularizer=mf.TotalVariation(0.1)), alpha=1.0, beta=ratio
    )
    in_mass, in_place = conic.velocity(mf.ParticleMeasure(u, r**2 / 4))
    tangent = in_place - np.einsum("ij,ij->i", in_place, u)[:, None] * u
    # w' = r' u + r u' with (log r^2)' from the flow.
    expected = (0.5 * in_mass * r)[:, None] * u + r[:, None] * tangent
    np.testing.assert_allclose(moved, expected, rtol=1e-11, atol=1e-12)


def test_splitting_at_ratio_one_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    v, w = rng.standard_normal((2, 7, 3))
    np.testing.assert_allclose(success.split(v, w, 1.0), v, rtol=1e-13, atol=1e-15)
    # Along w alone, the ratio does not matter; each neuron may have its own.
    np.testing.assert_allclose(success.split(2 * w, w, np.arange(7.0)), 2 * w, rtol=1e-13)


def test_network_cells_are_repeatable_and_start_alike() -> None:
    config = success.Config(
        network_iterations=3, network_widths=(1, 2), network_ratios=(1.0, 4.0), d=4, batch=20
    )
    values = success.network_cells(config, np.random.default_rng(3))
    assert values.shape == (3, 2, 2)
    np.testing.assert_array_equal(values, success.network_cells(config, np.random.default_rng(3)))
    np.testing.assert_array_equal(values[0, 0], values[0, 1])
    assert (values[1, 0] != values[1, 1]).any()


def test_normalized_map() -> None:
    finals = np.array([[[3.0, 1.0]], [[7.0, 2.0]]])
    np.testing.assert_allclose(success.normalized(finals), [[1.0, 0.0]])
    finals = np.array([[[3.0, 1.0], [2.0, 1.0]]])
    np.testing.assert_allclose(success.normalized(finals), [[1.0, 0.0], [0.5, 0.0]])


def test_surprise_is_a_z_score_between_two_maps() -> None:
    # Normalized gaps 0 and 1 at the middle width, mean .5, standard deviation sqrt(1/2) over two problems.
    finals = np.array([[[1.0, 0.0, 0.0]], [[1.0, 1.0, 0.0]]])
    columns = np.array([False, True, False])
    error = np.sqrt(0.5) * np.sqrt(1 / 2 + 1 / 10)
    assert success.surprise(finals, columns, 0.5) == pytest.approx(0.0, abs=1e-15)
    assert success.surprise(finals, columns, 0.2) == pytest.approx(0.3 / error, rel=1e-12)


def test_spike_cells_are_in_the_bits_of_runs_alone() -> None:
    config = success.Config(draws=2, widths=(4, 6), ratios=(1.0, 0.0625), iterations=30)
    together = success.spike_cells(config, np.random.default_rng(4))
    rng = np.random.default_rng(4)
    for cells in together:
        positions, masses = mf.data.spikes(success.TRUE_SPIKES, dim=1, rng=rng)
        objective = mf.Objective.deconvolution(
            success.SPIKES, positions, masses, mf.TotalVariation(success.SPIKE_PENALTY)
        )
        for (i, j), value in np.ndenumerate(cells):
            m, ratio = config.widths[j], config.ratios[i]
            alone = solvers.integrate(
                mf.ConicFlow(objective, config.alpha, ratio * config.alpha),
                mf.ParticleMeasure(2 * np.pi * np.arange(m)[:, None] / m, np.full(m, 0.25 / m)),
                30,
                method=solvers.Euler(step=1.0),
            )
            assert value == alone["objective"][-1]


def test_first_below_finds_the_first_save_by_its_certificate() -> None:
    objective = one_spike()
    run = solvers.integrate(
        mf.ConicFlow(objective, 0.01, 0.01),
        mf.ParticleMeasure([[1.0], [2.2], [4.0]], [0.1, 0.1, 0.1]),
        600,
        method=solvers.Euler(step=1.0),
        save=np.arange(0, 601, 50),
        keep="all",
    )
    gaps = np.array([objective.certificate(nu).gap for nu in run.states])
    for accuracy in (gaps[3] + 1e-12, gaps[7] + 1e-12):
        at = int(np.argmax(gaps < accuracy))
        assert deconvolution.first_below(accuracy, objective, run) == (run.t[at], gaps[at])
    assert deconvolution.first_below(0.0, objective, run) == (600.0, gaps[-1])

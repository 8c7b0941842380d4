"""`mf.compare`: zeros for a run with itself, closed forms for shifted linear runs, refusals in words."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import meanfield as mf
import solvers
from meanfield.diagnostics._compare import cloud_distance

X = np.linspace(-1.0, 1.5, 12)[:, None]
KAPPA = float(np.mean(X**2))
TARGET = 0.7


def linear(shift: float = 0.0, target: float = TARGET, **options: Any) -> Any:
    """f(x) = q x with q the mean of the particles: q' = -kappa (q - q*), all particles move alike."""
    network = mf.TwoLayer("identity", d=1, bias=False, a=1.0)
    objective = mf.Objective(network, X, target * X[:, 0])
    start = mf.ParticleMeasure(np.linspace(-1.0, 2.0, 9)[:, None] + shift)
    return solvers.integrate(
        mf.WassersteinFlow(objective), start, 3.0, **{"save": 7, "keep": "all", **options}
    )


def tanh_run(width: int = 20, rng: int = 0, **options: Any) -> Any:
    network = mf.TwoLayer("tanh", d=2)
    Z, y = mf.data.relu_teacher(n=15, d=2, rng=0)
    start = mf.ParticleMeasure.gaussian(network, width, rng)
    flow = mf.WassersteinFlow(mf.Objective(network, Z, y))
    return solvers.integrate(flow, start, 2.0, **{"save": 5, "keep": "all", **options})


def test_a_run_with_itself() -> None:
    run = tanh_run()
    report = mf.compare(run, run)
    np.testing.assert_array_equal(report.t, run.t)
    for values in (report.sup, report.rms, report.wasserstein, report.objective_difference):
        np.testing.assert_array_equal(values, np.zeros(5))
    assert report.time_mismatch == 0
    assert report.transport == "exact, 20 x 20 particles"
    assert report.points == 15


def test_shifted_linear_runs_have_closed_forms() -> None:
    shift = 0.3
    run, other = linear(shift), linear()
    report = mf.compare(run, other)
    gap = shift * np.exp(-KAPPA * report.t)
    # Measured: 4e-9 in the distances; the integrator's default tolerance is 1e-6 in f, which is of order 1.
    tolerance = {"rtol": 0, "atol": 1e-7}
    np.testing.assert_allclose(report.sup, gap * np.abs(X).max(), **tolerance)
    np.testing.assert_allclose(report.rms, gap * np.sqrt(KAPPA), **tolerance)
    np.testing.assert_allclose(report.wasserstein, gap, **tolerance)
    q = 0.5 + np.array([shift, 0.0])[:, None]
    values = 0.5 * KAPPA * ((q - TARGET) * np.exp(-KAPPA * report.t)) ** 2
    np.testing.assert_allclose(report.objective_difference, values[0] - values[1], **tolerance)
    assert "quantiles" in report.transport

    elsewhere = mf.compare(run, other, X=[[10.0]])
    np.testing.assert_allclose(elsewhere.sup, 10 * gap, rtol=0, atol=1e-6)
    assert elsewhere.points == 1


def test_keep_ends_compares_the_ends() -> None:
    report = mf.compare(linear(0.3, keep="ends"), linear())
    np.testing.assert_array_equal(report.t, [0.0, 3.0])
    assert report.sup.shape == (2,)
    both = mf.compare(linear(0.3, keep="ends"), linear(keep="ends"))
    np.testing.assert_array_equal(both.sup, report.sup)


def test_sgd_is_matched_at_its_nearest_steps() -> None:
    run = tanh_run()
    step = 0.03
    descent = run.sgd(step=step, rng=1)
    report = mf.compare(run, descent)
    assert len(report.t) == 5
    assert 0 < report.time_mismatch <= step / 2 * (1 + 1e-9)
    # Euler's error is of order h: 0.0074 was measured here at the worst time.
    assert 1e-4 < report.sup.max() < 0.03
    np.testing.assert_array_equal(report.other_t, descent.t)


def test_a_lazy_run_and_its_sgd_share_a_clock() -> None:
    Z, y = mf.data.relu_teacher(n=15, d=2, rng=0)
    run = mf.train(Z, y, activation="tanh", width=20, scale=4.0, t_max=1.0, rng=0)
    report = mf.compare(run, run.sgd(step=1e-2))
    # Measured: 0.005 with labels up to 2.8; on the wrong clock, the runs end 16 times apart in time.
    assert report.sup.max() < 0.02
    on_the_wrong_clock = solvers.integrate(
        mf.SGD(run.objective, 1e-3), run.initial, 1.0, save=run.t, keep="all"
    )
    with pytest.raises(mf.InputError, match="different clocks .* factor 16"):
        mf.compare(run, on_the_wrong_clock)


def test_a_loaded_run_is_compared_with_the_objective_of_the_other(tmp_path: Path) -> None:
    run, other = tanh_run(), tanh_run(rng=1)
    run.save(tmp_path / "run.npz")
    loaded = mf.load(tmp_path / "run.npz")
    expected = mf.compare(run, other)
    for pair in ((loaded, other), (loaded.attach(run.flow), other)):
        np.testing.assert_array_equal(mf.compare(*pair).sup, expected.sup)
    with pytest.raises(mf.InputError, match="attach"):
        mf.compare(loaded, loaded)
    Z, y = mf.data.relu_teacher(n=15, d=2, rng=5)
    strange = mf.WassersteinFlow(mf.Objective(other.objective.network, Z, y))
    with pytest.raises(mf.InputError, match="their data differ"):
        mf.compare(loaded, other.attach(strange))


def test_different_objectives_of_one_network_share_predictions_only() -> None:
    run, other = linear(), linear(target=-1.0)
    with pytest.raises(mf.InputError, match="their data differ; pass X="):
        mf.compare(run, other)
    report = mf.compare(run, other, X=X)
    assert report.objective_difference is None
    gap = (TARGET + 1.0) * (1 - np.exp(-KAPPA * report.t))
    np.testing.assert_allclose(report.wasserstein, gap, rtol=0, atol=1e-6)  # tolerance of the integrator
    with pytest.raises(mf.InputError, match="different networks"):
        mf.compare(linear(), tanh_run(), X=X)
    with pytest.raises(mf.InputError, match="network is .* in one and"):
        mf.compare(linear(), tanh_run())


@pytest.mark.usefixtures("step_by_step")
def test_regularizers_make_objectives_different() -> None:
    network = mf.TwoLayer("identity", d=1, bias=False, a=1.0)
    ridge = mf.Objective(network, X, TARGET * X[:, 0], regularizer=mf.Ridge(0.1))
    run = linear()
    other = solvers.integrate(mf.WassersteinFlow(ridge), run.initial, 3.0, save=7, keep="all")
    with pytest.raises(mf.InputError, match="regularizer is .*Ridge"):
        mf.compare(run, other)


def test_times_that_do_not_match_are_refused() -> None:
    run = linear()
    shorter = solvers.integrate(run.flow, run.initial, 1.7, save=3, keep="all")
    with pytest.raises(mf.InputError, match="no common times after the start"):
        mf.compare(run, shorter)
    assert len(mf.compare(run, shorter, time_tolerance=0.2).t) == 3
    partly = solvers.integrate(run.flow, run.initial, 1.5, save=4, keep="all")
    np.testing.assert_allclose(mf.compare(run, partly).t, [0.0, 0.5, 1.0, 1.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"run": "run"}, "run must be a run"),
        ({"other": solvers.integrate(lambda x: -x, np.ones(2), 1.0)}, "other must hold particle measures"),
        ({"distance": "exakt"}, "did you mean 'exact'"),
        ({"X": [[1.0, 2.0]]}, r"X must have shape \(n, 1\)"),
        ({"time_tolerance": -1.0}, "time_tolerance must be non-negative"),
        ({"directions": 0}, "directions must be positive"),
        ({"exact_up_to": -3}, "exact_up_to must be non-negative"),
    ],
)
def test_bad_inputs(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(mf.InputError, match=message):
        mf.compare(**{"run": linear(), "other": linear(), **arguments})


def test_a_population_needs_points() -> None:
    network = mf.TwoLayer("erf", d=2, bias=False)
    teacher = mf.ParticleMeasure.gaussian(network, 2, 0)
    start = mf.ParticleMeasure.gaussian(network, 5, 1)
    run = solvers.integrate(mf.WassersteinFlow(mf.GaussianPopulation(network, teacher)), start, 0.5, save=2)
    with pytest.raises(mf.InputError, match="pass X="):
        mf.compare(run, run)
    assert mf.compare(run, run, X=np.eye(2)).sup.max() == 0


def test_transport_exact_sliced_and_left_out() -> None:
    run, other = tanh_run(), tanh_run(rng=1)
    exact = mf.compare(run, other)
    sliced = mf.compare(run, other, exact_up_to=10)
    assert sliced.transport.startswith("sliced, 100 directions")
    assert exact.wasserstein is not None and sliced.wasserstein is not None
    assert (sliced.wasserstein < exact.wasserstein).all()  # each projection is 1-Lipschitz
    assert "sliced $W_2$" in sliced.distances
    np.testing.assert_array_equal(sliced.wasserstein, mf.compare(run, other, distance="sliced").wasserstein)
    assert mf.compare(run, other, distance="none").wasserstein is None

    signed = solvers.integrate(
        run.flow, run.initial.replace(signs=np.where(np.arange(20) % 2, 1.0, -1.0)), 2.0, save=5, keep="all"
    )
    report = mf.compare(run, signed)
    assert report.wasserstein is None and report.transport == "left out: the measures are signed"
    with pytest.raises(mf.InputError, match="signed"):
        mf.compare(run, signed, distance="exact")


def test_clouds_on_a_torus_are_compared_around_it() -> None:
    mu, nu = mf.ParticleMeasure([[0.1, 1.0]]), mf.ParticleMeasure([[2 * np.pi - 0.1, 1.0]])
    options = {"space": solvers.Torus(2, 2 * np.pi), "directions": 10, "rng": 0}
    cloud, _ = cloud_distance("auto", mu, nu, exact_up_to=1, **options)
    assert cloud is not None
    assert cloud(mu, nu) == pytest.approx(0.2, abs=1e-14)  # rounding of 2 pi - 0.1
    assert cloud_distance("auto", mu, nu, exact_up_to=0, **options)[0] is None
    with pytest.raises(mf.InputError, match="Euclidean"):
        cloud_distance("sliced", mu, nu, exact_up_to=0, **options)


def test_the_report_draws_prints_and_writes_itself(tmp_path: Path) -> None:
    report = mf.compare(linear(0.3), linear())
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.t = report.other_t
    with pytest.raises(ValueError, match="read-only"):
        report.sup[0] = 1.0
    report.to_csv(tmp_path / "report.csv")
    with open(tmp_path / "report.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["t", "other_t", "sup", "rms", "wasserstein", "objective_difference"]
    np.testing.assert_array_equal([float(row["sup"]) for row in rows], report.sup)
    assert "7 common times" in report._repr_html_() and "7 common times" in repr(report)
    ax = report.plot()
    assert len(ax.get_lines()) == 3
    assert ax.get_xscale() == "linear"
    times = solvers.logspace(1e-3, 3.0, 10)
    assert mf.compare(linear(0.3, save=times), linear(save=times)).plot().get_xscale() == "log"

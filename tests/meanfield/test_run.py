"""Runs that know their objective: train, SGD beside the flow, files, the regime, the start's support."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import meanfield as mf
import solvers

X, Y = mf.data.relu_teacher(n=60, d=2, neurons=2, rng=0)


@pytest.fixture(scope="module")
def run() -> Any:
    return mf.train(X, Y, width=200, ridge=1e-2, t_max=200.0, gap=1e-2, rng=0)


def test_train_stops_on_the_certificate(run: Any) -> None:
    assert run.status.name == "stopped_by_rule" and run.t[-1] < 200
    assert run.certificate.exact and run.certificate.gap < 1e-2 * run["objective"][0]
    assert run.certificate is run.certificate  # computed once
    assert len(run.states) == len(run.t)
    assert np.allclose(run.predict(X[:3]), run.predict()[:3], rtol=1e-12)


def test_train_is_reproducible() -> None:
    runs = [mf.train(X, Y, width=20, t_max=1.0, rng=5) for _ in range(2)]
    assert runs[0].final == runs[1].final
    assert runs[0].final != mf.train(X, Y, width=20, t_max=1.0, rng=6).final


def test_t_max_guards() -> None:
    run = mf.train(X, Y, width=20, t_max=0.5, gap=1e-9, rng=0)
    assert run.status.name == "reached_end" and run.t[-1] == 0.5


@pytest.mark.usefixtures("step_by_step")
def test_lazy_training_starts_at_zero_and_hardly_moves(run: Any) -> None:
    lazy = mf.train(X, Y, width=200, scale=100.0, ridge=0.0, activation="tanh", t_max=20.0, rng=0)
    assert np.abs(lazy.objective.predict(lazy.initial)).max() < 1e-12
    report, rich = lazy.regime(), run.regime()
    # Movement is of order 1/scale; measured .0057 against .77.
    assert report.relative_movement < 0.03 < 0.3 < rich.relative_movement
    assert report.kernel_change < 0.05 < rich.kernel_change
    assert report.activation_flips < rich.activation_flips


@pytest.mark.usefixtures("step_by_step")
@pytest.mark.parametrize(
    ("loss", "labels"),
    [("logistic", np.where(X[:, 0] > 0, 1, -1)), ("cross_entropy", (X[:, 0] > 0).astype(int))],
)
def test_train_classifies(loss: str, labels: Any) -> None:
    run = mf.train(X, labels, width=50, loss=loss, t_max=30.0, rng=0)
    assert run["objective"][-1] < 0.6 * run["objective"][0]


@pytest.mark.usefixtures("step_by_step")
def test_sgd_beside_the_flow(run: Any) -> None:
    sgd = run.sgd(step=0.05, batch=20, rng=1)
    assert sgd.initial == run.initial and abs(sgd.t[-1] - run.t[-1]) <= 0.05
    assert abs(sgd["objective"][-1] - run["objective"][-1]) < 0.2 * run["objective"][0]
    narrow = run.sgd(step=0.05, width=10)
    assert narrow.initial.width == 10


def test_files(run: Any, tmp_path: Path) -> None:
    run.save(tmp_path / "run.npz")
    again = mf.load(tmp_path / "run.npz")
    assert isinstance(again, mf.Run) and again.final == run.final and len(again.states) == len(run.states)
    assert np.array_equal(again["objective"], run["objective"])
    assert "chizat2018global" in again.cite() and again.cite() == run.cite()
    with pytest.raises(mf.InputError, match="attach"):
        again.certificate  # noqa: B018
    assert again.attach(run.flow).certificate.gap == run.certificate.gap


def test_a_population_has_no_certificate() -> None:
    network = mf.TwoLayer("relu", d=2, bias=False)
    population = mf.GaussianPopulation(network, mf.ParticleMeasure.gaussian(network, 2, rng=0))
    run: Any = solvers.integrate(
        mf.WassersteinFlow(population), mf.ParticleMeasure.gaussian(network, 10, rng=1), 1.0
    )
    assert run["objective"][-1] < run["objective"][0]
    with pytest.raises(mf.InputError, match="no certificate"):
        run.certificate  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"width": 0}, "width must be positive"),
        ({"t_max": -1.0}, "t_max must be positive"),
        ({"gap": -1.0}, "gap must be positive"),
        ({"ridge": -1.0}, "non-negative"),
        ({"activation": "rellu"}, "relu"),
        ({"start": "cube"}, "gaussian"),
        ({"width": 11, "scale": 2.0}, "width must be even"),
    ],
)
def test_train_refuses_in_one_sentence(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(mf.InputError, match=words) as caught:
        mf.train(X, Y, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [np.full(len(Y), np.nan), ["a"] * len(Y), np.full(len(Y), 0.5)])
def test_train_refuses_labels_that_are_no_classes(labels: Any) -> None:
    with pytest.raises(mf.InputError, match="^y "):
        mf.train(X, labels, loss="cross_entropy")


@pytest.mark.usefixtures("step_by_step")
def test_train_may_start_below_zero() -> None:
    """The soft-min of margins is negative at a start that classifies well."""
    network = mf.TwoLayer("relu", X.shape[1])
    labels = np.sign(network.predict(mf.ParticleMeasure.gaussian(network, 10, 0), X))
    run = mf.train(X, labels, loss="soft_min_margin", width=10, ridge=1e-9, t_max=0.1)
    assert run["objective"][0] < 0 and run["objective"][-1] < run["objective"][0]


def test_massless_particles_are_not_in_the_support() -> None:
    network = mf.TwoLayer("relu", d=2, bias=False)
    mu = mf.ParticleMeasure.sphere(network, 40, method="equispaced")
    one = mf.support_report(mu.replace(weights=np.eye(40)[0]), network)
    assert one.covering_radius == {"+": np.pi, "-": np.inf} and not one.meets_hypothesis
    with pytest.raises(mf.InputError, match="no support"):
        mf.support_report(mu.replace(weights=np.zeros(40)), network)
    several = mf.TwoLayer("relu", d=2, outputs=2)
    with pytest.raises(mf.InputError, match="one output"):
        mf.support_report(mf.ParticleMeasure.gaussian(several, 5), several)
    with pytest.raises(mf.InputError, match="not ndarray"):
        mf.support_report(mu.positions, network)  # type: ignore[arg-type]


def test_data_too_large_to_square_are_refused() -> None:
    with pytest.raises(mf.InputError, match="rescale"):
        mf.train(X, 1e200 * Y, width=10)


def test_support_on_the_circle_is_exact() -> None:
    network = mf.TwoLayer("relu", d=2, bias=False)
    mu = mf.ParticleMeasure.sphere(network, 40, method="equispaced")
    report = mf.support_report(mu, network)
    # Signs alternate: 20 directions of each, 2 pi/20 apart.
    assert report.exact and report.meets_hypothesis
    assert np.allclose(list(report.covering_radius.values()), np.pi / 20, rtol=1e-12)
    one_sign = mf.ParticleMeasure.from_arrays(a=np.ones(40), w=mu.w)
    report = mf.support_report(one_sign, network)
    assert not report.meets_hypothesis and report.covering_radius["-"] == np.inf


def test_support_in_other_cases() -> None:
    three = mf.TwoLayer("relu", d=2)
    report = mf.support_report(mf.ParticleMeasure.gaussian(three, 2000, rng=0), three)
    assert not report.exact and report.meets_hypothesis and 0 < report.covering_radius["+"] < 0.5
    sigmoid = mf.TwoLayer("sigmoid", d=2)
    start = mf.ParticleMeasure.gaussian(sigmoid, 500, rng=0)
    assert not mf.support_report(start, sigmoid).meets_hypothesis
    zero = start.with_positions(np.column_stack([np.zeros(500), start.positions[:, 1:]]))
    assert mf.support_report(zero, sigmoid).meets_hypothesis
    spikes = mf.Spikes(1, 3)
    grid = mf.ParticleMeasure.grid(spikes.space, 16)
    radius = mf.support_report(grid, spikes).covering_radius["all"]
    assert 0.95 * np.pi / 16 < radius <= np.pi / 16  # estimated from below by 20000 random points
    with pytest.raises(mf.InputError, match="torus or sphere"):
        mf.support_report(grid, object())
    with pytest.raises(mf.InputError, match="1-homogeneous"):
        mf.lift(start, sigmoid)

"""The mathematics that the figures of Chizat and Bach (2018) add to the library."""

from __future__ import annotations

import numpy as np
import pytest

import meanfield as mf
import solvers
from figures import chizat_bach_2018_complexity as complexity
from figures import chizat_bach_2018_trajectories as trajectories
from figures._chizat_bach_2018 import ForwardBackward, distance_to_spikes, truths

SPIKES = mf.Spikes(1, 4)


def problem(penalty: float, h: float = 1e-3, mobility: float = 0.1) -> tuple[ForwardBackward, np.ndarray]:
    rng = np.random.default_rng(3)
    flow = ForwardBackward(SPIKES, rng.standard_normal((2, 9)), penalty, h, mobility)
    state = np.stack([rng.standard_normal((2, 6)), rng.uniform(0, 2 * np.pi, (2, 6))], axis=-1)
    return flow, state


def test_forward_backward_objective_is_that_of_the_library() -> None:
    flow, state = problem(0.3)
    for values, particles, y in zip(flow.objective(state), state, flow.targets, strict=True):
        w, theta = particles.T
        measure = mf.ParticleMeasure(theta[:, None], np.abs(w) / w.size, np.sign(w))
        objective = mf.Objective(
            SPIKES, SPIKES.codes, y, loss=mf.SquaredLoss(reduction="sum"), regularizer=mf.TotalVariation(0.3)
        )
        assert values == pytest.approx(objective.value(measure), rel=1e-12)  # sums in another order


def test_forward_backward_step_is_the_gradient_of_the_objective() -> None:
    flow, state = problem(0.0)
    z = flow.pack(state)
    flow.step(z, flow.h, 0)
    moved = (flow.unpack(z, state) - state) / flow.h
    m, eps = state.shape[1], 1e-6
    for index in np.ndindex(state.shape):
        shift = np.zeros(state.shape)
        shift[index] = eps
        slope = (flow.objective(state + shift) - flow.objective(state - shift))[index[0]] / (2 * eps)
        rate = 1.0 if index[2] == 0 else flow.mobility
        # Central differences: eps^2 and rounding/eps are both about 1e-9 here; h cancels, theta stays in (0, 2 pi).
        assert moved[index] == pytest.approx(-m * rate * slope, rel=1e-6, abs=1e-7)


def test_forward_backward_rests_at_the_closed_form_of_one_spike() -> None:
    # One spike w = 1: the minimizer is w - lam/phi(0), phi(0) = 2 nf + 1, F* = lam w - lam^2/(2 phi(0)).
    y = SPIKES.features(np.array([[1.0]]), SPIKES.codes)
    flow = ForwardBackward(SPIKES, y, 0.5, 0.05, 0.01)
    run = solvers.integrate(flow, np.array([[[0.0, 1.3]]]), 200.0)
    assert run.final[0, 0] == pytest.approx([1.0 - 0.5 / 9, 1.0], abs=1e-10)
    assert flow.objective(run.final)[0] == pytest.approx(0.5 - 0.25 / 18, rel=1e-12)


def test_truths_are_certified_minimizers() -> None:
    truth = truths(mf.Spikes(1, 7), 2, 3, 1.2, 0.1, np.random.default_rng(0))
    # BFGS stops at a gradient of 1e-11; the gap is second order in it, measured 1e-12 and below.
    assert (truth.gap < 1e-9).all()
    assert (np.sign(truth.optimal_weights) == np.sign(truth.weights)).all()


def test_distance_to_spikes_wraps_and_needs_the_sign() -> None:
    w, theta = np.array([1.0, -3.0]), np.array([0.1, 3.0])
    spikes = np.array([2.0, -1.0]), np.array([2 * np.pi - 0.1, 3.2])
    assert distance_to_spikes(w, theta, *spikes) == pytest.approx((0.2 + 3 * 0.2) / 4)
    assert distance_to_spikes(-w[:1], theta[:1], spikes[0][:1], spikes[1][:1]) == pytest.approx(np.pi)


def test_distance_to_lines_does_not_see_orientation() -> None:
    measure = mf.ParticleMeasure.from_arrays(a=[1.0, -2.0], w=[[1.0, 0.0], [0.0, -1.0]])
    assert trajectories.distance_to_lines(measure, np.array([np.pi, 0.4 + np.pi / 2])) == pytest.approx(
        0.8 / 3
    )


def test_dual_bound_lies_below_every_value() -> None:
    network = mf.TwoLayer(mf.ReLU(), d=2, bias=False)
    teacher = mf.data.teacher(2, 2, rng=1)
    population = mf.GaussianPopulation(network, teacher, mf.Ridge(0.01))
    rng = np.random.default_rng(0)
    # The teacher's neurons at balance |a| = |w| do well.
    size = np.sqrt(np.abs(teacher.a))
    good = mf.ParticleMeasure.from_arrays(a=np.sign(teacher.a) * size, w=teacher.w * size[:, None])
    bounds = [trajectories.dual_bound(population, good, 0.01)]
    bounds += [
        trajectories.dual_bound(population, mf.ParticleMeasure.gaussian(network, 5, rng=rng), 0.01)
        for _ in range(3)
    ]
    assert max(bounds) <= population.value(good)
    # One teacher neuron of mass 2 alone: F(c) = (c - 2)^2/4 + lam c, as E relu^2 = 1/2; least at c = 2 - 2 lam.
    one = mf.ParticleMeasure.from_arrays(a=[2.0], w=[[0.6, 0.8]])
    alone = mf.GaussianPopulation(network, one, mf.Ridge(0.01))
    root = np.sqrt(2.0 - 0.02)
    best = mf.ParticleMeasure.from_arrays(a=[root], w=[[0.6 * root, 0.8 * root]])
    value = 0.02 - 0.0001
    assert alone.value(best) == pytest.approx(value, rel=1e-12)
    # The grid of angles misses the maximum of <r, phi> by (step/2)^2/2 = 3e-7 of it.
    assert trajectories.dual_bound(alone, best, 0.01) == pytest.approx(value, rel=1e-6)


def test_separated_angles() -> None:
    angles = trajectories.separated_angles(4, 0.5, np.random.default_rng(0))
    gaps = np.abs(angles[:, None] - angles)[~np.eye(4, dtype=bool)] % np.pi
    assert np.minimum(gaps, np.pi - gaps).min() >= 0.5


def test_on_fixed_directions_is_the_minimum_over_weights() -> None:
    network = mf.TwoLayer(mf.ReLU(), d=5, bias=False)
    population = mf.GaussianPopulation(network, mf.data.teacher(5, 3, rng=0))
    rng = np.random.default_rng(1)
    directions = complexity.unit(4, 5, rng)
    best = complexity.on_fixed_directions(population, directions)
    # Independently: gradient descent on the outer weights alone.
    frozen = mf.TwoLayer(mf.ReLU(), d=5, bias=False, train=("a",))
    run = solvers.integrate(
        mf.WassersteinFlow(mf.GaussianPopulation(frozen, population.teacher)),
        mf.ParticleMeasure.from_arrays(a=np.zeros(4), w=directions),
        500.0,
        method=solvers.Euler(1.0),
    )
    assert run["objective"][-1] == pytest.approx(best, rel=1e-9)
    # On the teacher's own directions nothing is left.
    assert complexity.on_fixed_directions(population, population.teacher.w) == pytest.approx(0.0, abs=1e-14)


@pytest.mark.parametrize("name", complexity.STARTS)
def test_starts(name: str) -> None:
    mu = complexity.start(name, 12, 6, np.random.default_rng(0))
    assert mu.positions.shape == (12, 7)
    norms = np.linalg.norm(mu.w, axis=1)
    if name == "small sphere":
        np.testing.assert_allclose(norms, 0.1)
        np.testing.assert_allclose(np.abs(mu.a), 0.1)
    elif name != "standard Gaussian":
        np.testing.assert_allclose(norms, 0.5)
        assert not mu.a.any()

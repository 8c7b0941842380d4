"""The figure on feature and lazy training: the published loss and net, and why lazy curves do not collapse."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import meanfield as mf
from figures import geiger_2020_phase as figure
from solvers.errors import InputError


def net(start: Any, W: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``f = h^(-1/2) sum_n a_n sigma(w_n.x/sqrt(d) + b_n)`` for rows (a, w, b) of W, in NumPy."""
    z = x @ W[:, 1:-1].T / np.sqrt(x.shape[1]) + W[:, -1]
    return np.asarray(np.logaddexp(0.0, 5.0 * z) / 5.0 @ W[:, 0] / np.sqrt(len(W)))


@pytest.mark.parametrize("alpha", [0.02, 3.0])
def test_the_flow_is_the_papers_with_its_time(alpha: float) -> None:
    """``theta' = -grad mean l(alpha y (f - f_0)) / alpha^2``, by central differences."""
    rng = np.random.default_rng(0)
    h, d = 6, 3
    x = rng.standard_normal((10, d))
    y = np.where(x[:, 0] > 0, 1.0, -1.0)
    start = mf.ParticleMeasure.gaussian(mf.TwoLayer(figure.SIGMA, d), h, rng=1)
    W = start.positions + 0.3 * rng.standard_normal(start.positions.shape)

    def loss(W: np.ndarray) -> float:
        F = alpha * (net(start, W, x) - net(start, start.positions, x))
        return float(np.mean(np.logaddexp(0.0, 20.0 * (1.0 - y * F)) / 20.0) / alpha**2)

    gradient = np.empty_like(W)
    for index in np.ndindex(W.shape):
        change = np.zeros_like(W)
        change[index] = 1e-5
        gradient[index] = (loss(W + change) - loss(W - change)) / 2e-5
    objective = mf.Objective(
        mf.TwoLayer(figure.SIGMA, d),
        x / np.sqrt(d),
        y,
        loss=figure.SoftHinge(),
        scale=alpha * np.sqrt(h),
        centre=start,
    )
    flow = mf.WassersteinFlow(objective, time_unit="alpha")
    # truncation and rounding of differences, 1e-9 of the largest entry and eps/1e-5 of a loss of 1/alpha^2
    np.testing.assert_allclose(
        flow.velocity(start.with_positions(W)),
        -gradient,
        atol=1e-8 * np.abs(gradient).max() + 1e-10 / alpha**2,
    )


def test_soft_hinge_and_its_compiled_forms() -> None:
    loss = figure.SoftHinge(beta=7.0)
    rng = np.random.default_rng(0)
    # margins of both signs, next to 1, and so far off that an exponential would overflow
    f = np.concatenate([rng.uniform(-3, 3, 20), [1.0, -1.0, 500.0, -500.0]])
    y = np.where(rng.random(f.size) < 0.5, 1.0, -1.0)
    w = np.full(f.size, 1.0 / f.size)
    direct = np.mean([np.log1p(np.exp(7 * (1 - m))) / 7 if m > -50 else 1 - m for m in y * f])
    assert loss.value(f, y) == pytest.approx(direct, rel=1e-13)
    assert loss.total(f, y, w) == pytest.approx(direct, rel=1e-13)
    out = np.empty_like(f)
    loss.fill(f, y, w, out)
    np.testing.assert_allclose(out, loss.gradient(f, y), rtol=1e-13, atol=1e-300)
    for i in range(20):
        step = np.zeros_like(f)
        step[i] = 1e-5
        slope = (loss.value(f + step, y) - loss.value(f - step, y)) / 2e-5
        # eps times a value of about 20, over 1e-5
        assert out[i] == pytest.approx(slope, abs=1e-9)
    assert loss.value(f[:2], y[:2], np.array([3.0, 1.0])) == pytest.approx(
        0.75 * loss.value(f[:1], y[:1]) + 0.25 * loss.value(f[1:2], y[1:2]), rel=1e-13
    )


def rate_of_the_kernel(h: int, seed: int, doubled: bool = False) -> float:
    """``|dK/dt| / |K|`` at the start in the limit of large A, times A."""
    X, y = figure.points("direction", 20, 3, np.random.default_rng(0))
    network = mf.TwoLayer(figure.SIGMA, 3)
    start = mf.ParticleMeasure.gaussian(network, h, rng=seed, doubled=doubled)
    objective = mf.Objective(network, X, y, loss=figure.SoftHinge(), centre=start)
    K = mf.kernels.empirical(network, start, X)
    return float(
        np.linalg.norm(mf.kernels.derivative(mf.WassersteinFlow(objective), start, X)) / np.linalg.norm(K)
    )


def test_the_first_order_of_the_kernel_is_a_fluctuation() -> None:
    """It is 0 for pairs, and falls as h^(-1/2) for independent neurons: lazy curves collapse in alpha h."""
    assert rate_of_the_kernel(64, seed=0, doubled=True) < 1e-14
    small, large = (np.mean([rate_of_the_kernel(h, seed) for seed in range(24)]) for h in (32, 512))
    # norms of a tensor with a few dozen independent entries: 24 draws leave about 6 % each
    assert small / large == pytest.approx(4.0, rel=0.2)


def test_training_ends_at_margins_of_one_and_reports_the_change_of_the_kernel() -> None:
    config = dataclasses.replace(figure.Config.quick(), n=12, d=3, test=50)
    data, test = (figure.points("direction", n, 3, np.random.default_rng(n)) for n in (12, 50))
    network = mf.TwoLayer(figure.SIGMA, 3)
    start = mf.ParticleMeasure.gaussian(network, 16, rng=2)
    found = figure.train(config, start, 2.0, data, test)
    fine = figure.train(dataclasses.replace(config, rtol=1e-5), start, 2.0, data, test)
    assert found.fitted and fine.fitted and fine.steps > 2 * found.steps
    # Steps are controlled at 1e-3; runs stop at the first step beyond a margin of 1, which is not the same for both.
    assert found.change == pytest.approx(fine.change, rel=0.03)
    assert 0.0 <= found.error < 0.5


def test_points_are_of_both_classes_about_equally() -> None:
    for task in figure.TASKS:
        X, y = figure.points(task, 4000, 5, np.random.default_rng(0))
        assert X.shape == (4000, 5)
        # three deviations of a fair coin; the median of a chi-square is d - 2/3 to .03
        assert abs(y.mean()) < 0.05
        assert np.mean(np.sum(X**2, axis=1)) == pytest.approx(1.0, rel=0.05)


def test_slopes_are_of_geometric_means() -> None:
    products = np.array([1.0, 10.0, 100.0])
    values = np.array([[2.0, 8.0], [0.2, 0.8], [0.002, 0.008]])
    np.testing.assert_allclose(figure.slopes(products, values), [-1.0, -2.0], rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"widths": (64,)}, "widths"),
        ({"widths": (64, 16)}, "widths"),
        ({"widths": (15, 64)}, "even"),
        ({"products": (0.1, 1.0, 10.0, 100.0)}, "two from 100"),
        ({"products": (0.0, 0.1, 1.0, 10.0, 100.0)}, "products"),
        ({"trials": 1}, "trials"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)

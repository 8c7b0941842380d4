"""The largest stable step: closed forms, and Euler's method just below and just above it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import meanfield as mf
import solvers
from meanfield.diagnostics import _stable_step

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((14, 2)), RNG.standard_normal(14)


def linear(m: int) -> tuple[mf.LinearizedFlow, mf.ParticleMeasure]:
    network = mf.TwoLayer("tanh", d=2, train=("a", "w"))
    at = mf.ParticleMeasure.gaussian(network, m, rng=0, doubled=True)
    return mf.LinearizedFlow(mf.Objective(network, X, Y, regularizer=mf.Ridge(0.1), scale=3.0), at), at


@pytest.mark.parametrize("m", [40, 200])  # dense, and by Lanczos
def test_euler_decays_below_and_grows_above(m: int) -> None:
    flow, at = linear(m)
    step = mf.largest_stable_step(flow, at)
    kernel = mf.kernels.empirical(flow.objective.network, at, X)
    assert step == pytest.approx(2 / (9.0 * np.linalg.eigvalsh(kernel / 14)[-1] + 0.1), rel=1e-6)
    sizes = {}
    for factor in (0.99, 1.01):
        run: Any = solvers.integrate(flow, at, 600 * factor * step, method=solvers.Euler(step=factor * step))
        sizes[factor] = run["objective"]
    # .98^600 = 5e-6 of the fastest mode is left, or 1.02^600 = 1e5 times it
    assert sizes[0.99][-1] < sizes[0.99][0] and np.all(np.diff(sizes[0.99][-20:]) <= 0)
    assert sizes[1.01][-1] > 1e4 * sizes[1.01][0]


@pytest.mark.parametrize(
    ("method", "interval"),
    [
        (None, 2.0),
        (solvers.Euler(step=1.0), 2.0),
        (solvers.Heun, 2.0),
        (solvers.BogackiShampine(), 2.512745),
        (solvers.RK4, 2.785294),
        (solvers.DormandPrince(), 3.306569),
    ],
)
def test_methods_have_their_intervals(method: Any, interval: float) -> None:
    # Hairer and Wanner, Solving Ordinary Differential Equations II, IV.2 as remembered; checked by the next lines.
    step = mf.largest_stable_step(lambda x: -4.0 * x, np.ones(3), method=method)
    assert step == pytest.approx(interval / 4.0, rel=1e-6)
    tableau = getattr(method, "tableau", None)
    if tableau is not None:
        for factor, grows in ((0.999, False), (1.001, True)):
            run = solvers.steps(lambda x: -4.0 * x, np.ones(1), 3 * factor * step,
                                method=solvers.RungeKutta(factor * step, tableau))  # fmt: skip
            assert (abs(next(run).z[0]) > 1) == grows


def test_rotations_are_judged_by_their_complex_rates() -> None:
    # lambda = -1 +- 3i: |1 + h lambda| = 1 at h = 2/10
    matrix = np.array([[-1.0, 3.0], [-3.0, -1.0]])
    assert mf.largest_stable_step(lambda x: matrix @ x, np.ones(2)) == pytest.approx(0.2, rel=1e-7)
    turn = np.array([[0.0, 3.0], [-3.0, 0.0]])
    assert mf.largest_stable_step(lambda x: turn @ x, np.ones(2)) == 0.0
    # the fourth-order method damps i s up to s = 2 sqrt(2)
    fourth = mf.largest_stable_step(lambda x: turn @ x, np.ones(2), method=solvers.RK4)
    assert fourth == pytest.approx(np.sqrt(8) / 3, rel=1e-6)


def test_growing_modes_set_no_limit() -> None:
    assert mf.largest_stable_step(lambda x: np.array([5.0, -1.0]) * x, np.ones(2)) == pytest.approx(
        2.0, rel=1e-7
    )
    assert mf.largest_stable_step(lambda x: x, np.ones(2)) == np.inf
    assert mf.largest_stable_step(lambda x: 0.0 * x, np.ones(2)) == np.inf


def test_large_problems_agree_with_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    network = mf.TwoLayer("tanh", d=2)
    mu = mf.ParticleMeasure.gaussian(network, 30, rng=0)
    flow = mf.WassersteinFlow(mf.Objective(network, X, Y, scale=4.0))
    spikes = mf.Spikes(1, 4)
    conic = mf.ConicFlow(
        mf.Objective.deconvolution(spikes, [[1.0], [3.0]], [1.0, 2.0], mf.TotalVariation(0.1)), 0.1
    )
    nu = mf.ParticleMeasure(np.linspace(0.3, 6.0, 12)[:, None], np.full(12, 0.2))
    dense = [mf.largest_stable_step(flow, mu), mf.largest_stable_step(conic, nu)]
    monkeypatch.setattr(_stable_step, "DENSE", 0)
    assert mf.largest_stable_step(flow, mu) == pytest.approx(dense[0], rel=1e-6)
    # the Jacobian of the conic flow is not symmetric; its fastest rate is real here
    assert mf.largest_stable_step(conic, nu) == pytest.approx(dense[1], rel=0.05)


def test_sgd_and_noise_have_the_step_of_their_drift() -> None:
    network = mf.TwoLayer("tanh", d=2)
    mu = mf.ParticleMeasure.gaussian(network, 10, rng=0)
    objective = mf.Objective(network, X, Y, regularizer=mf.Ridge(0.1), scale=4.0)
    step = mf.largest_stable_step(mf.WassersteinFlow(objective), mu)
    assert mf.largest_stable_step(mf.SGD(objective, 0.1, batch=3), mu) == step
    assert mf.largest_stable_step(mf.SGD(objective, 0.1, time_unit="alpha"), mu) == pytest.approx(16 * step)
    noisy = mf.LangevinFlow(objective, tau=0.1)
    assert mf.largest_stable_step(noisy, mu, method=solvers.EulerMaruyama(0.1)) == step


def test_what_has_no_largest_step_is_refused_in_one_sentence() -> None:
    flow, at = linear(10)

    class Hat:
        dim, smooth = 2, False

        def features(self, positions: Any, X: Any) -> Any:
            return np.maximum(1 - np.abs(positions[:, None] - X[None]).sum(axis=2), 0.0)

        def vjp(self, positions: Any, X: Any, q: Any) -> Any:
            gap = positions[:, None] - X[None]
            return -np.einsum("ji,jid->jd", (np.abs(gap).sum(axis=2) < 1) * q, np.sign(gap))

    kinked = mf.WassersteinFlow(mf.Objective(Hat(), X, Y))
    refused: list[tuple[Any, str]] = [
        (lambda: mf.largest_stable_step(flow, at, method=solvers.RODAS4()), "explicit Runge-Kutta"),
        (lambda: mf.largest_stable_step(flow, at, method="euler"), "explicit Runge-Kutta"),
        (lambda: mf.largest_stable_step(flow, at, t=np.nan), "t must be finite"),
        (lambda: mf.largest_stable_step(flow, X), "ParticleMeasure"),
        (lambda: mf.largest_stable_step(kinked, mf.ParticleMeasure(X)), "give the flow a method .*z.$"),
    ]
    for call, words in refused:
        with pytest.raises(mf.InputError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)

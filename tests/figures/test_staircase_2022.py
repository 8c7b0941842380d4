"""The mathematics inside the figure on staircases: the limit, kernels and their bound, and a small run of all of it."""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pytest
from scipy.special import erf

import meanfield as mf
from figures import _staircase_2022 as limits
from figures import staircase_2022 as figure
from meanfield import gallery
from solvers.errors import InputError


def test_the_neuron_with_a_rest_is_the_mean_over_that_rest() -> None:
    draw = np.random.default_rng(0)
    network = limits.WithRest(3)
    theta = draw.standard_normal((4, network.dim))
    Z, _ = figure.STAIRCASE.cube()
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    a, u, b, s = theta[:, :1], theta[:, 1:4], theta[:, 4:5], theta[:, 5:]
    inner = (u @ Z.T + b)[:, :, None] + s[:, :, None] * nodes
    mean = a * (erf(inner / np.sqrt(2)) @ weights) / weights.sum()
    # 80 Gauss points integrate an erf of this slope to 1e-10
    np.testing.assert_allclose(network.features(theta, Z), mean, atol=1e-8)
    q = draw.standard_normal(8)
    gradient = network.vjp(theta, Z, q)
    for p in range(network.dim):
        step = 1e-6 * np.eye(network.dim)[p]
        central = (network.features(theta + step, Z) - network.features(theta - step, Z)) @ q / 2e-6
        np.testing.assert_allclose(gradient[:, p], central, atol=1e-8)  # rounding 1e-10, h^2 1e-12


def test_coefficients_are_exact_on_probes() -> None:
    draw = np.random.default_rng(1)
    X = figure.probe(9, 5, draw)
    target = mf.data.Monomials([(0,), (0, 1), (0, 1, 2), (2,)], [0.5, -2.0, 3.0, 7.0])
    np.testing.assert_allclose(figure.coefficients(target.value(X)), [0.5, -2.0, 3.0], atol=1e-14)
    rest = X[:, 5] * X[:, 7]  # what depends on the rest alone is orthogonal to all
    np.testing.assert_allclose(figure.coefficients(rest), 0.0, atol=1e-14)


def test_kernels_are_those_of_the_start() -> None:
    """Random features and tangent kernel against neurons as `start` draws them."""
    d, width = 6, 40_000
    X, _ = mf.data.hypercube(5, d, figure.STAIRCASE, rng=0)
    mu = figure.start(d, width, np.random.default_rng(0))
    z = mu.w @ X.T + mu.b.reshape(-1, 1)
    value = erf(z / np.sqrt(2))
    np.testing.assert_allclose(mu.a.reshape(-1) @ value / width, 0.0, atol=1e-14)  # f = 0
    slope = np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2)
    features = value.T @ value / width
    # 20000 draws of products at most 1: four standard errors are .03, times 2 for the second factor
    np.testing.assert_allclose(figure.kernel("random features", X), features, atol=0.03)
    size = limits.START**2 / d
    tangent = features + (size * (X @ X.T) + 1) * (slope.T @ slope / width)
    np.testing.assert_allclose(figure.kernel("tangent kernel", X), tangent, atol=0.06)


def test_no_kernel_beats_the_bound_and_one_reaches_it() -> None:
    """Of the kernel of all monomials of degree 3, which has no more to learn, the share is exactly n/C(d, 3)."""
    d, n, words = 10, 40, range(40)
    cubic = figure.TARGETS[2]
    low = figure.bound(cubic, [d], [n])[0]
    assert low == pytest.approx(1 - n / comb(d, 3), rel=1e-14)
    left = []
    for word in words:
        X, y = mf.data.hypercube(n, d, cubic, rng=word)
        s = X @ X.T
        K = (s**3 - (3 * d - 2) * s) / 6  # e_3 of the products x_i x'_i
        left.append(1 - y @ np.linalg.lstsq(K, y, rcond=1e-10)[0])
    # 1 - y'K^+y is the part of a function of norm 1 outside the span: the mean of 40, four standard errors
    assert np.mean(left) == pytest.approx(low, abs=4 * np.std(left) / np.sqrt(len(left)))
    assert figure.bound(figure.STAIRCASE, [10, 10], [10**6, 0]).tolist() == [0.0, 3.0]


def test_ridge_regression_learns_no_more_of_a_degree_than_its_share() -> None:
    """Of all C(d, k) monomials of a degree, each learned alone, the coefficients add up to a trace: n at most."""
    d, n = 7, 15
    Z, _ = mf.data.Monomials([range(d)]).cube()
    X, _ = mf.data.hypercube(n, d, [(0,)], rng=0)
    for name in figure.KERNELS:
        K, K_test = figure.kernel(name, X), figure.kernel(name, Z, X)
        total = 0.0
        for k in range(d + 1):
            every = mf.data.Monomials(list(combinations(range(d), k)))
            f = mf.kernels.ridge(K, every.features(X), 1e-9).predict(K_test)
            learned = np.einsum("ns,ns->s", f, every.features(Z)) / len(Z)
            assert -1e-9 < learned.sum() <= comb(d, k)  # rounding of a solution with a condition of 1e6
            total += learned.sum()
        # where penalties are small all n dimensions are used
        assert total == pytest.approx(n, rel=1e-3) and total <= n * (1 + 1e-9)


def test_the_reduced_flow_differs_between_dimensions_by_the_size_of_weights() -> None:
    config = figure.Config(width=20, far_dims=(100, 400, 10**10), limit_seeds=3)
    t, found = figure.reduced(config, np.linspace(0.0, 4.0, 9), [1, 2, 3])
    assert t[-1] == 6.0 and found.shape == (2, 3, 3, 9)
    normals = np.random.default_rng(2).standard_normal((10, 3))
    f, _ = limits.limit(figure.TARGETS[1], t, 20, np.tile(normals / 40, (2, 1)))  # 1/2 divided by 20
    np.testing.assert_allclose(found[1, 1, 1], figure.coefficients(f)[:, 2], atol=1e-13)
    # before it is learned the coefficient is of second order in the weights: four times d, a quarter of it
    np.testing.assert_allclose(found[1, 0, :, 4] / found[1, 1, :, 4], 4.0, rtol=0.5)


def test_times_are_read_off_between_saves() -> None:
    t = np.array([0.0, 1.0, 2.0])
    curves = np.array([[0.0, 0.4, 0.6], [0.0, 1.0, 0.0], [0.0, 0.1, 0.2]])
    np.testing.assert_allclose(figure.half_times(t, curves), [1.5, 0.5, np.nan])
    dims = np.array([2, 4, 8])
    np.testing.assert_allclose(figure.growth(dims, np.log(dims)[:, None] * [3.0, -1.0]), [3.0, -1.0])


class InNumPy:
    """The network as a feature map, a neuron with no rest: nothing to compile for a few steps of small runs."""

    def __init__(self, d: int) -> None:
        self.dim, self.scale, self._neuron = d + 2, limits.SCALE, limits.WithRest(d)

    def features(self, positions: Any, X: Any) -> Any:
        return self._neuron.features(np.pad(positions, ((0, 0), (0, 1))), X)

    def vjp(self, positions: Any, X: Any, q: Any) -> Any:
        return self._neuron.vjp(np.pad(positions, ((0, 0), (0, 1))), X, q)[:, :-1]


def test_the_staircase_is_climbed_and_its_last_step_alone_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure, "network", InNumPy)
    config = figure.Config(width=100, rests=8)
    times = np.linspace(0.0, 10.0, 11)
    ends = [
        figure.coefficients(figure.online(32, target, config, 0.1, 16, times, 0)[1])[-1]
        for target in figure.TARGETS
    ]
    assert np.abs(ends[0] - 1).max() < 0.2  # 1600 samples; the limit is .98 there
    assert abs(ends[1][1]) < 0.1  # there is no x1 x2 in the second target
    assert np.abs(ends[2]).max() < 0.2


def test_the_limit_keeps_what_is_zero_and_its_rate_is_that_of_small_weights() -> None:
    times = np.linspace(0.0, 8.0, 17)
    u = 1e-6 * np.tile(np.random.default_rng(0).standard_normal((40, 3)), (2, 1))
    f, neurons = limits.limit(figure.TARGETS[1], times, 80)
    assert np.abs(figure.coefficients(f)[:, 1:]).max() < 1e-13
    assert np.abs(neurons[:, 2:4]).max() < 1e-13 and figure.coefficients(f)[-1, 0] == pytest.approx(
        1.0, abs=1e-3
    )
    small, _ = limits.limit(figure.TARGETS[1], times, 80, u)
    grown = np.log(figure.coefficients(small)[[8, 16], 2])
    # the fastest neurons have b near 0, and take over slowly: a mean of rates, a little below the largest
    assert 0.85 < (grown[1] - grown[0]) / 4 / (2 * limits.fastest(neurons)) < 1.0


def test_equal_coefficients_can_hide_a_step() -> None:
    """A target of leap 1 at whose saddle x_3 stays unseen: x_1 and x_2 change places with their signs."""
    sets = [(0,), (1,), (0, 2), (1, 2)]
    times = np.linspace(0.0, 10.0, 21)
    for second, seen in ((1.0, False), (0.5, True)):
        target = mf.data.Monomials(sets, [1.0, second, 1.0, -1.0])
        Z, _ = target.cube()
        assert mf.data.merged(target).leap == 1
        found = limits.limit(target, times, 40)[0][-1] @ target.features(Z) / 8
        assert np.abs(found[:2] - [1.0, second]).max() < 0.1
        assert np.abs(found[2:]).max() < 1e-6 if not seen else np.abs(found[2:]).min() > 0.8


# Far from what is published: that all parts fit, and that nothing holds of numbers that are lost.
TINY = {
    "dims": "8,12", "seeds": "3", "width": "20", "rests": "2", "samples": "10", "t_end": "2", "intervals": "10",
    "kernel_dims": "8,12", "kernel_ratios": "10,10", "kernel_seeds": "3", "limit_dims": "4,6,8",
    "limit_seeds": "3", "far_dims": "10,20,30",
}  # fmt: skip


def test_a_tiny_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure, "network", InNumPy)
    result = gallery.run_figure("staircase_2022", "quick", TINY)
    arrays = result.arrays
    assert arrays["learned"].shape == (3, 2, 3, 11, 3) and not result.claims.hold
    assert result.module is not None and len(result.module.draw(arrays).axes) == 6
    lost = {key: np.full_like(v, np.nan) if v.dtype.kind == "f" else v for key, v in arrays.items()}
    assert not any(claim.holds for claim in result.module.claims(lost))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"width": 11}, "width"),
        ({"seeds": 2}, "seeds"),
        ({"kernel_ratios": (50,)}, "kernel_ratios"),
        ({"kernel_ratios": (40, 40)}, "kernel_ratios"),
        ({"dims": (16, 64, 128)}, "kernel_ratios"),
        ({"dims": (32,)}, "dims"),
        ({"limit_dims": (3, 8, 16)}, "limit_dims"),
        ({"step": 0.0}, "step"),
        ({"dims": (16, 32, 33)}, "samples"),  # 16.5 samples a step
        ({"t_end": 1000.0}, "samples"),  # fewer than one
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)

"""The mathematics inside the figure on tangent kernels of deep nets: bands, limits, claims that tell powers apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2
from threadpoolctl import threadpool_info, threadpool_limits

from figures import deep_ntk_limit as figure
from solvers.errors import InputError


def test_bands_of_one_point_are_those_of_a_normal_mean_and_a_variance() -> None:
    drawn = figure.extremes(np.array([[4.0]]), 10, 4000, np.random.default_rng(1))
    mean, variance = np.quantile(drawn, 0.99, axis=1)
    assert mean == pytest.approx(2.576, rel=0.05)  # 99 % of a standard normal number
    # chi^2/9 with nine degrees of freedom: .5 % on either side, to the error of 4000 draws and of the cube root
    law, unit = chi2(9), 2 / 81
    low, high = ((1 - unit + sign * variance * np.sqrt(unit)) ** 3 for sign in (-1, 1))
    np.testing.assert_allclose([law.cdf(9 * low), law.sf(9 * high)], 0.005, rtol=0.5)
    # independent points are more than one
    assert np.quantile(figure.extremes(np.eye(30), 10, 500, np.random.default_rng(1))[0], 0.99) > 1.2 * mean


def test_bands_hold_for_all_comparisons_together() -> None:
    drawn = np.random.default_rng(2).standard_normal((4, 2, 2, 5000)) * np.array([1.0, 3.0])[:, None]
    limits = figure.band(drawn)
    assert (drawn < limits[..., None]).all(axis=(0, 1, 2)).mean() == pytest.approx(0.99, abs=1e-3)
    # of 16 numbers, one side: 1 - .01/16 is at 3.23, and limits go with the size of each
    np.testing.assert_allclose(limits / [1.0, 3.0], 3.23, rtol=0.12)


def test_variances_as_nearly_normal_numbers() -> None:
    found = figure.deviation(chi2(9).rvs(100_000, random_state=0) / 9, 10)
    # Wilson and Hilferty's cube root: skewness under .05 here, that of the logarithm is -.5
    assert abs(found.mean()) < 0.02 and found.std() == pytest.approx(1, abs=0.02)
    assert abs(np.mean(found**3)) < 0.1


def test_claims_tell_the_powers_apart() -> None:
    sizes = np.array([[8, 32, 128]] * 4)
    powers = {"distance": [-0.5] * 4, "change": [-0.75, -0.75, -0.75, -1.0], "moved": [-0.55] * 4}

    def failing(**change: list[float]) -> list[str]:
        arrays = {
            key: sizes[0, :, None] ** np.reshape(p, (4, 1, 1)) * np.ones(5) for key, p in powers.items()
        }
        for key, p in change.items():
            arrays[key] = sizes[0, :, None] ** np.reshape(p, (4, 1, 1)) * np.ones(5)
        f = np.random.default_rng(0).standard_normal((4, 2, 5, 3))
        more = {"sizes": sizes, "left": np.zeros((4, 3, 5)), "functions": f, "mean": np.zeros((4, 2, 3))}
        more |= {"sd": np.ones((4, 2, 3)), "bands": np.full((4, 2, 2), 9.0)}
        return [claim.statement for claim in figure.claims(arrays | more) if not claim.holds]

    assert not failing()
    assert len(failing(change=[-0.75, -0.5, -1.0, -0.75])) == 3
    assert len(failing(distance=[-0.65, -0.5, -0.35, -1.0])) == 3
    # a movement by m^-1/2, which is not measured, would be told
    assert len(failing(moved=[-0.49, -0.45, -0.55, -1.0])) == 3


@pytest.mark.parametrize("name", figure.NAMES)
def test_nets_and_their_limits_are_of_one_architecture(name: str) -> None:
    X = figure.points(name, figure.ANGLES, 6)
    T = figure.infinite(name)(X)[1]
    net = figure.finite(name, 100, 6)
    found = np.mean([net.tangent_kernel(net.init(rng=i), X) for i in range(10)], axis=0)
    # fluctuations of some (10 width)^(-1/2), and more in deep ReLU nets: 3 to 10 % here
    assert np.linalg.norm(found - T) < 0.2 * np.linalg.norm(T)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"widths": (32, 16)}, "widths"),
        ({"channels": (8, 16)}, "channels"),
        ({"starts": 5}, "starts"),
        ({"time": 0.0}, "time"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        figure.Config(**change)


def test_all_of_it_is_computed_on_one_thread_of_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Singular values on two threads took longer, and sums would depend on the machine."""
    threads: list[int] = []

    def stop(*_: Any) -> Any:
        threads.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        raise LookupError

    monkeypatch.setattr(figure, "points", stop)
    with threadpool_limits(2), pytest.raises(LookupError):
        figure.compute(figure.Config(), np.random.default_rng(0))
    assert threads and set(threads) == {1}

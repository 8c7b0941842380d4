"""The fluctuation that the figure reports, against its closed form at the start."""

from __future__ import annotations

import dataclasses

import numpy as np

import meanfield as mf
from figures import rotskoff_2018_width as figure


def test_fluctuation_at_the_start_has_its_exact_constant() -> None:
    # One step so short that nothing moves: E |f_n - f|^2 = (1/n) (E a^2) E sigma(w.x + b)^2, as a has mean 0.
    config = dataclasses.replace(
        figure.Config.quick(),
        dimensions=(5,),
        widths=(16, 64),
        networks=1,
        copies=400,
        step=1e-9,
        early=1e-9,
        t_end=1e-9,
        test=200,
    )
    arrays = figure.compute(config, np.random.default_rng(0))
    spin = mf.data.three_spin(5, rng=np.random.default_rng(0))
    _, y = spin.sample(100_000, np.random.default_rng(1))
    # w.x + b is N(0, 6) at |x|^2 = 5.
    z, weights = np.polynomial.hermite_e.hermegauss(80)
    second = weights @ (1 / (1 + np.exp(-np.sqrt(6) * z))) ** 2 / weights.sum()
    expected = config.outer**2 * second / np.array(config.widths) / np.mean(y**2)
    measured = arrays["fluctuation"][0].mean(axis=1)
    # 400 copies and a variance of f from 200 points: measured within 8 %; a factor 2 would be seen.
    np.testing.assert_allclose(measured, expected, rtol=0.2)
    np.testing.assert_allclose(measured[0] / measured[1], 4.0, rtol=0.15)


def test_a_width_beyond_the_cubic_forms_makes_no_excuse() -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "dimensions": np.array([3, 4]),
        "widths": np.array([16, 32, 64]),
        "loss": rng.uniform(0.1, 0.2, (2, 3, 3)),
        "fluctuation": rng.uniform(0.1, 0.2, (2, 3, 12)),
    }
    statements = [claim.statement for claim in figure.claims(arrays)]
    assert not any("NOT reproduced" in s for s in statements)
    assert any("d = 4" in s and "1/n" in s for s in statements)

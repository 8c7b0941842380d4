"""Kernel norms, the norms of a network, the margins of a run, and the measure on the sphere."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.typing import NDArray

import meanfield as mf
import solvers

Array = NDArray[np.float64]
XOR = np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
XOR_LABELS = np.array([1.0, 1.0, -1.0, -1.0])
RELU = mf.ReLU()


def sphere_kernel(X: Array, Z: Array) -> Array:
    return mf.kernels.random_features(X, Z, directions="sphere", bias=True)


def trained(train: tuple[str, ...] = ("a", "w", "b"), width: int = 100) -> mf.Run:
    network = mf.TwoLayer(RELU, d=2, bias=False, train=train)
    objective = mf.Objective(network, XOR, XOR_LABELS, loss=mf.SoftMinMargin())
    run: mf.Run = solvers.integrate(
        mf.WassersteinFlow(objective), mf.ParticleMeasure.gaussian(network, width, rng=0), 10.0
    )
    return run


# -- kernel norms -------------------------------------------------------------------------------------------------


def test_kernel_margin_of_xor_by_hand() -> None:
    """p = 1/4: p'YKYp = (K(x, x) + K(x, -x) - 2 K(x, x'))/4, x' at a right angle, |x|^2 = 2.

    On the circle K = |x|^2 (sin psi + (pi - psi) cos psi)/(2 pi)/2: 1/2, 0 and 1/(2 pi).
    """
    assert mf.norms.margin_f2(XOR, XOR_LABELS) == pytest.approx(np.sqrt((0.5 - 1 / np.pi) / 4), rel=1e-9)


@pytest.mark.parametrize("padding", [1, 3, 10])
def test_padding_leaves_gamma_1_and_shrinks_gamma_2(padding: int) -> None:
    """Coordinates that are always 0: gamma_2^2 is divided by d/2, the dimension over which directions are spread."""
    padded = np.column_stack([XOR, np.zeros((4, padding))])
    low, high = mf.norms.margin_f1(padded, XOR_LABELS)
    assert low == pytest.approx(np.sqrt(2) / 4, rel=1e-9) and high == pytest.approx(np.sqrt(2) / 4, rel=1e-9)
    ratio = mf.norms.margin_f2(padded, XOR_LABELS) / mf.norms.margin_f2(XOR, XOR_LABELS)
    assert ratio == pytest.approx(np.sqrt(2 / (2 + padding)), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bias", [False, True])
def test_the_variation_norm_is_at_most_the_kernel_norm(seed: int, bias: bool) -> None:
    """|f|_F1 <= |f|_F2, hence gamma_2 <= gamma_1: a density is a measure, and its L1 norm at most its L2 norm."""
    draw = np.random.default_rng(seed)
    X, y = draw.normal(size=(9, 2)), draw.choice([-1.0, 1.0], 9)
    norms = mf.norms.of_data(X, y, RELU, bias, tolerance=1e-4)
    assert norms.f1.norm <= norms.f2
    assert norms.f1.lower <= norms.f1.norm
    assert mf.norms.margin_f2(X, y, RELU, bias) <= mf.norms.margin_f1(X, y, RELU, bias, tolerance=1e-4).low


def test_interpolation_in_a_kernel_space() -> None:
    x, y = np.array([-1.0, -0.3, 0.2, 1.0]), np.array([1.0, -1.0, 0.5, 2.0])
    fit = mf.norms.interpolate_f2(x, y, sphere_kernel)
    K = sphere_kernel(x[:, None], x[:, None])
    # two ways of solving a system of condition number 1e4
    assert fit.norm == pytest.approx(np.sqrt(y @ np.linalg.solve(K, y)), rel=1e-9)
    assert fit.predict(x) == pytest.approx(y, abs=1e-10) and fit.residual <= 1e-10
    twice = mf.norms.interpolate_f2(np.append(x, x[0]), np.append(y, y[0]), sphere_kernel)
    assert twice.norm == pytest.approx(fit.norm, rel=1e-9)


def test_what_kernel_norms_refuse() -> None:
    with pytest.raises(mf.InputError, match="same for this kernel"):
        mf.norms.interpolate_f2([0.0, 0.0], [1.0, 2.0], sphere_kernel)
    with pytest.raises(mf.InputError, match="singular"):
        mf.norms.interpolate_f2([0.0, 1.0, 2.0], [1.0, 0.0, 1.0], lambda X, Z: X @ Z.T)
    with pytest.raises(mf.InputError, match="kernel must be a function"):
        mf.norms.interpolate_f2([0.0, 1.0], [1.0, 2.0], np.eye(2))
    with pytest.raises(mf.InputError, match="kernel\\(X, Z\\) must have shape"):
        mf.norms.interpolate_f2([0.0, 1.0], [1.0, 2.0], lambda X, Z: X)
    with pytest.raises(mf.InputError, match="X must have 1 columns"):
        mf.norms.interpolate_f2([0.0, 1.0], [1.0, 2.0], sphere_kernel).predict(np.ones((2, 2)))
    with pytest.raises(mf.InputError, match="separable"):
        mf.norms.margin_f2([[1.0, 0.0], [2.0, 0.0]], [1, -1])
    with pytest.raises(mf.InputError, match="labels -1 and 1"):
        mf.norms.margin_f2(XOR, [0, 0, 1, 1])


# -- the measure on the sphere --------------------------------------------------------------------------------------


def test_the_sphere_holds_the_network() -> None:
    network = mf.TwoLayer(RELU, d=2, bias=True)
    start = mf.ParticleMeasure.gaussian(network, 30, rng=0)
    centred = mf.TwoLayer(
        RELU, d=2, bias=True, scale=3.0, centre=mf.ParticleMeasure.gaussian(network, 20, rng=1)
    )
    X = np.random.default_rng(2).normal(size=(7, 2))
    for net in (network, centred):
        nu = mf.norms.SphereMeasure.of(start, net)
        assert nu.predict(X) == pytest.approx(net.predict(start, X), abs=1e-12)
    assert mf.norms.SphereMeasure.of(start, network).mass == pytest.approx(mf.lift(start, network).mass)


def test_what_cancels_on_the_sphere_is_no_variation() -> None:
    """A doubled start is the zero function: its path norm is positive, its variation 0."""
    network = mf.TwoLayer(RELU, d=2, bias=True)
    nu = mf.norms.SphereMeasure.of(mf.ParticleMeasure.gaussian(network, 20, rng=0, doubled=True), network)
    assert nu.mass > 0.1 and nu.variation <= 1e-15
    u = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    joined = mf.norms.SphereMeasure(u, np.array([1.0, -3.0, 0.5]), RELU, False).merged()
    assert sorted(joined.masses) == pytest.approx([-2.0, 0.5])
    with pytest.raises(mf.InputError, match="unit vectors"):
        mf.norms.SphereMeasure(2 * u, np.ones(3), RELU, False)
    with pytest.raises(mf.InputError, match="1-homogeneous"):
        mf.norms.SphereMeasure(u, np.ones(3), mf.Tanh(), False)


def test_the_plot_shows_the_dual_function_on_its_level(tmp_path: Path) -> None:
    x, y = np.array([-1.0, 0.0, 1.0]), np.array([1.0, 0.0, 1.0])
    fit = mf.norms.interpolate_f1(x, y, bias=True)
    nu = mf.norms.SphereMeasure.of(fit.measure, fit.network)
    nu.plot(x, fit.q, csv=tmp_path / "g.csv")
    table = np.genfromtxt(tmp_path / "g.csv", delimiter=",", names=True)
    assert np.abs(table["value"]).max() == pytest.approx(1.0, abs=1e-6)
    nu.plot(csv=tmp_path / "atoms.csv")
    atoms = np.genfromtxt(tmp_path / "atoms.csv", delimiter=",", names=True)
    assert np.abs(atoms["value"]).sum() == pytest.approx(2.0, rel=1e-6)
    with pytest.raises(mf.InputError, match="q is given without X"):
        nu.plot(q=fit.q)
    plt.close("all")


# -- norms of a network, margins of a run ---------------------------------------------------------------------------


def test_the_norms_of_a_network_are_ordered() -> None:
    network = mf.TwoLayer(RELU, d=1, bias=True)
    measure = mf.ParticleMeasure.gaussian(network, 40, rng=0)
    X = np.linspace(-1, 1, 6)[:, None]
    norms = mf.norms.of_measure(measure, network, X)
    assert norms.data is not None
    least = norms.data.f1
    assert (
        least.lower <= least.norm <= norms.variation <= norms.path * (1 + 1e-12) <= norms.decay * (1 + 1e-12)
    )
    assert least.predict(X) == pytest.approx(network.predict(measure, X), abs=1e-10)
    # int |a| |(w, b)| dmu, by its definition
    by_hand = float(np.mean(np.abs(measure.a) * np.hypot(measure.w[:, 0], measure.b)))
    assert norms.path == pytest.approx(by_hand, rel=1e-12)
    assert norms.features == pytest.approx(np.sqrt(np.mean(measure.a**2)), rel=1e-12)


def test_margins_of_a_run_of_both_layers_bracket_gamma_1() -> None:
    run = trained()
    found = mf.norms.margins(run)
    exact_low, exact_high = mf.norms.margin_f1(XOR, XOR_LABELS)
    assert found.certified and found.low <= exact_high and exact_low <= found.high
    # t = 10 of the soft-min flow: within 2 % on either side
    assert found.gap <= 0.02 * found.high
    network = run.objective.network
    normalized = XOR_LABELS * network.predict(found.measure, XOR)
    assert normalized.min() == pytest.approx(found.low, rel=1e-9)
    assert mf.lift(found.measure, network).mass == pytest.approx(1.0, rel=1e-9)
    # weights of training alone, given by hand: softmin of the margins
    margins = XOR_LABELS * run.predict()
    p = np.exp(-(margins - margins.min()))
    given = mf.norms.margins(run, weights=p)
    assert given.p == pytest.approx(p / p.sum(), rel=1e-12)
    assert found.high <= given.high * (1 + 1e-12) and exact_low <= given.high


def test_margins_of_a_run_of_the_output_layer_bracket_its_kernel_margin() -> None:
    run = trained(train=("a",), width=200)
    found = mf.norms.margins(run)
    network, final = run.objective.network, run.final
    features = np.maximum(final.w @ XOR.T, 0)
    exact = mf.kernels.hard_margin(features.T @ features / 200, XOR_LABELS)
    assert found.certified
    assert found.low <= exact.bounds[1] * (1 + 1e-9) and exact.bounds[0] * (1 - 1e-9) <= found.high
    by_hand = float((XOR_LABELS * network.predict(final, XOR)).min() / np.sqrt(np.mean(final.a**2)))
    assert found.low == pytest.approx(by_hand, rel=1e-12)
    # trained for F2, it is worse in F1 than the best there
    assert mf.norms.margins(run, space="f1").low < mf.norms.margin_f1(XOR, XOR_LABELS).low


def test_any_weights_bound_the_margin() -> None:
    low, _ = mf.norms.margin_f1(XOR, XOR_LABELS)
    network = mf.TwoLayer(RELU, d=2, bias=False)
    measure = mf.ParticleMeasure.gaussian(network, 50, rng=0)
    draw = np.random.default_rng(0)
    for _ in range(5):
        found = mf.norms.margins(measure, network, XOR, XOR_LABELS, weights=draw.random(4))
        assert found.high >= low and found.low <= found.high


def test_what_margins_of_runs_refuse() -> None:
    network = mf.TwoLayer(RELU, d=2, bias=False)
    measure = mf.ParticleMeasure.gaussian(network, 10, rng=0)
    refused = [
        ((measure,), {}, "needs the arguments network"),
        ((3,), {}, "margins needs a run, or a measure"),
        ((measure, network, XOR, [0, 0, 1, 1]), {}, "labels -1 and 1"),
        ((measure, network, XOR, XOR_LABELS), {"space": "f3"}, "space must be one of"),
        ((measure, network, XOR, XOR_LABELS), {"weights": [-1.0, 1, 1, 1]}, "weights must be non-negative"),
        (
            (measure, mf.TwoLayer(mf.Tanh(), d=2, bias=False), XOR, XOR_LABELS),
            {},
            "margins needs an activation",
        ),
    ]
    for arguments, options, message in refused:
        with pytest.raises(mf.InputError, match=message):
            mf.norms.margins(*arguments, **options)


def test_neurons_that_cancel_have_no_margin() -> None:
    network = mf.TwoLayer("relu", d=2)
    half = np.random.default_rng(0).normal(size=(3, 3))
    w, b, a = np.vstack([half, half])[:, :2], np.tile(half[:, 2], 2), np.repeat([1.0, -1.0], 3)
    doubled = mf.ParticleMeasure.from_arrays(a=a, w=w, b=b)
    with pytest.raises(mf.InputError, match="the neurons cancel: the network is zero and has no margin"):
        mf.norms.margins(doubled, network, np.eye(2), [1.0, -1.0], space="f1")

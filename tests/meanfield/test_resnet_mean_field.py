"""Residual networks on the mean-field scale: gradients, starts, steps, the limits of L, M and D, files, refusals."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import meanfield as mf
import solvers
from meanfield.flows.resnet_mean_field import linear, network
from solvers._threads import one_blas_thread
from solvers.errors import DivergenceError, InputError

R = mf.resnet_mean_field


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def joined(parts: Any) -> Any:
    return np.concatenate([part.reshape(-1) for part in parts])


def moved(net: Any, weights: Any, z: Any) -> Any:
    return R.Weights(*net.views(z), weights.W_E, weights.W_U)


@pytest.mark.parametrize("activation", ["tanh", "relu", "identity"])
def test_gradients_against_differences(activation: str, rng: np.random.Generator) -> None:
    net = R.ResNet(2, 3, depth=3, width=4, dim=5, activation=activation, scale=1.7, u_std=0.8, v_std=1.2)
    weights, X, q = net.init(rng=1), rng.standard_normal((4, 2)), rng.standard_normal((4, 3))
    z, found = weights.flat, joined(net.gradient(weights, X, q))
    expected = np.empty_like(z)
    for i in range(z.size):
        shift = np.zeros_like(z)
        shift[i] = 1e-5
        high, low = (net.predict(moved(net, weights, z + sign * shift), X) for sign in (1, -1))
        expected[i] = np.sum(q * (high - low)) / 2e-5
    # step^2 f'''/6 and rounding over the step, both below 1e-10 for f of order one
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_gradients_against_autograd(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    net = R.ResNet(3, 2, depth=6, width=7, dim=12, scale=1.3)
    weights, X, y = net.init(rng=0), rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    found = R.GradientDescent(net, X, y, step=1.0).gradient(weights)
    U, V = (torch.tensor(part, requires_grad=True) for part in (weights.U, weights.V))
    h = torch.tensor(X @ weights.W_E.T)
    for u, v in zip(U, V, strict=True):
        h = h + 1.3 / (6 * 7) * torch.tanh(h @ u / 12) @ v.T
    f = h @ torch.tensor(weights.W_U) / 12
    (((f - torch.tensor(y)) ** 2).sum() / 10).backward()
    for mine, theirs in zip(found, (U.grad.numpy(), V.grad.numpy()), strict=True):
        assert np.abs(mine - theirs).max() < 1e-10 * np.abs(theirs).max()


def test_a_step_is_the_gradient_times_the_size(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    net = R.ResNet(2, 1, depth=4, width=3, dim=6)
    X, y, weights = rng.standard_normal((7, 2)), rng.standard_normal(7), net.init(rng=0)
    descent = R.GradientDescent(net, X, y, step=0.3, rates={"U": 2.0})
    gU, gV = descent.gradient(weights)
    once = solvers.integrate(descent, weights, 0.3).final
    # sums of some tens of numbers
    np.testing.assert_allclose(once.U, weights.U - 0.6 * 72 * gU, rtol=0, atol=1e-13)
    np.testing.assert_allclose(once.V, weights.V - 0.3 * 72 * gV, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(once.W_E, weights.W_E)
    monkeypatch.setattr(network, "BLOCK_BYTES", 1500)
    assert len(net._blocks(7)) > 2
    cut = solvers.integrate(descent, weights, 0.3).final
    np.testing.assert_allclose(cut.flat, once.flat, rtol=0, atol=1e-13)
    assert net.features(weights, X).shape == (5, 7, 6)


def test_a_step_of_descent_is_one_of_euler_along_the_flow(rng: np.random.Generator) -> None:
    net = R.ResNet(2, 1, depth=4, width=3, dim=6, scale=1.5)
    X, y, rates = rng.standard_normal((3, 2)), rng.standard_normal(3), {"U": 0.0, "V": 0.5}
    for one in (net, R.MeanODE.of(net, nodes=4, points=16)):
        start = one.init(rng=1)
        euler, descent = (
            solvers.integrate(flow, start, 0.2, **options).final
            for flow, options in (
                (R.GradientFlow(one, X, y, rates=rates), {"method": solvers.Euler(step=0.2)}),
                (R.GradientDescent(one, X, y, 0.2, rates=rates), {}),
            )
        )
        np.testing.assert_array_equal(descent.U, start.U)
        # sums of some tens of numbers of order ten
        np.testing.assert_allclose(euler.flat, descent.flat, rtol=0, atol=1e-12)


def test_descent_with_small_steps_is_the_flow(rng: np.random.Generator) -> None:
    net = R.ResNet(2, 1, depth=4, width=3, dim=6)
    X, y, weights = rng.standard_normal((3, 2)), rng.standard_normal(3), net.init(rng=0)
    flow = solvers.integrate(R.GradientFlow(net, X, y), weights, 1.0)
    f = net.predict(flow.final, X)
    errors = []
    for step in (0.02, 0.01):
        run = solvers.integrate(R.GradientDescent(net, X, y, step), weights, 1.0)
        errors.append(np.abs(net.predict(run.final, X) - f).max())
    # first order, up to the tolerance of the flow, 1e-6
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)
    assert flow["objective"][-1] < flow["objective"][0]


def test_starts_of_one_seed_are_nested() -> None:
    large = R.ResNet(2, 3, depth=4, width=9, dim=7).init(rng=5)
    small = R.ResNet(2, 3, depth=2, width=5, dim=4).init(rng=5)
    # equal but for the factor root D, rounded
    np.testing.assert_allclose(small.U / 2.0, large.U[:2, :4, :5] / np.sqrt(7.0), rtol=1e-15)
    np.testing.assert_allclose(small.V / 2.0, large.V[:2, :4, :5] / np.sqrt(7.0), rtol=1e-15)
    np.testing.assert_array_equal(small.embeddings, large.embeddings[:4])
    many = R.ResNet(2, 3, depth=3, width=200, dim=30, u_std=0.5).init(rng=0)
    # 18000 entries, 60 and 90: four standard deviations of sums of squares
    assert np.mean(many.U**2) == pytest.approx(30 * 0.25, rel=0.05)
    assert np.mean(many.V**2) == pytest.approx(30, rel=0.05)
    assert np.mean(many.W_E**2) == pytest.approx(1 / 2, rel=0.75)
    assert np.mean(many.W_U**2) == pytest.approx(3, rel=0.6)


# -- the limits --------------------------------------------------------------------------------------------------


def test_the_first_step_of_a_linear_net_in_closed_form(rng: np.random.Generator) -> None:
    net = R.ResNet(
        3, 2, 9, 9, 9, activation="identity", scale=1.1, u_std=0.7, v_std=1.3, in_std=0.9, out_std=0.8
    )
    x, y, rates = rng.standard_normal(3), rng.standard_normal(2), {"U": 0.5, "V": 2.0}
    expected = 1.1**2 * 0.1 * (0.5 * 1.3**2 + 2.0 * 0.7**2) * 0.9**2 * 0.8**2 * (x @ x) * y
    np.testing.assert_allclose(R.first_step(net, x, y, 0.1, rates=rates), expected, rtol=1e-14)
    # the published numbers: |x| = 0.8, eta = 0.1 gives 0.128 y
    plain = R.ResNet(2, 1, 1, 1, 1, activation=mf.Identity(), in_std=1.0, out_std=1.0)
    assert R.first_step(plain, [0.48, 0.64], 2.0, 0.1) == pytest.approx(0.256, rel=1e-14)
    for embeddings in (None, net.init(rng=1), net.embed(rng=2)):
        found = R.linear_limit(net, [x], [y], 1, 0.1, rates=rates, embeddings=embeddings).predictions
        closed = R.first_step(net, x, y, 0.1, rates=rates, embeddings=embeddings)
        np.testing.assert_allclose(found[1, 0], closed, rtol=1e-12)  # rounding of a system of 100 equations
        # the trap: f_0 is 0 for infinite D only
        f0 = np.zeros(2)
        if embeddings is not None:
            W_E, W_U = pair_of(embeddings)
            f0 = W_U.T @ W_E @ x / 9
        np.testing.assert_allclose(found[0, 0], f0, rtol=0, atol=1e-14)


def pair_of(embeddings: Any) -> Any:
    return (embeddings.W_E, embeddings.W_U) if isinstance(embeddings, R.Weights) else embeddings


@pytest.mark.parametrize("dim", [2, 8])
def test_the_linear_limit_lives_in_the_span_of_the_embeddings(dim: int, rng: np.random.Generator) -> None:
    """Second moments in all D dimensions, against those in d_in + d_out: smaller than D or larger."""
    net = R.ResNet(2, 2, 1, 1, dim, activation="identity")
    X, Y, (W_E, W_U) = rng.standard_normal((3, 2)), rng.standard_normal((3, 2)), net.embed(rng=3)
    found = R.linear_limit(net, X, Y, 3, 0.3, embeddings=(W_E, W_U), nodes=16)
    along, back = linear.integrals(16)
    C = np.tile(dim * np.eye(2 * dim), (16, 1, 1))
    for k in range(4):
        h = linear.collocated(C[:, dim:, :dim] / dim, along, W_E @ X.T)
        f = (W_U.T @ h[-1]).T / dim
        np.testing.assert_allclose(found.predictions[k], f, rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            found.coefficients[k] @ np.hstack([W_E, W_U]).T, h[-1].T, rtol=0, atol=1e-11
        )
        b = linear.collocated(C[:, :dim, dim:] / dim, back, W_U @ (f - Y).T / 3)
        outer = 0.3 / dim * h @ b.transpose(0, 2, 1)
        zero = np.tile(np.eye(dim), (16, 1, 1))
        T = np.block([[zero, -outer], [-outer.transpose(0, 2, 1), zero]])
        C = T @ C @ T.transpose(0, 2, 1)


def test_the_mean_ode_of_linear_nets_is_of_second_order_in_depth(rng: np.random.Generator) -> None:
    """Two methods: collocation of moments, and quasi-random units with exact covariance."""
    net = R.ResNet(2, 2, 1, 1, 6, activation="identity")
    X, Y, embeddings = rng.standard_normal((3, 2)), rng.standard_normal((3, 2)), net.embed(rng=3)
    exact = R.linear_limit(net, X, Y, 4, 0.3, embeddings=embeddings)
    errors = []
    for nodes in (17, 33, 65):
        limit = R.MeanODE.of(net, nodes=nodes, points=32)
        run = solvers.integrate(
            R.GradientDescent(limit, X, Y, 0.3), limit.init(rng=0, embeddings=embeddings), 1.2
        )
        errors.append(np.abs(limit.predict(run.final, X) - exact.predictions[-1]).max())
        h = limit.lift(run.final, X, embeddings)
        expected = exact.coefficients[-1] @ np.hstack(embeddings).T
        assert np.abs(h - expected).max() < 20 * errors[-1]
    for coarse, fine in pairwise(errors):
        assert 3.0 < coarse / fine < 5.5


def test_nets_tend_to_the_mean_ode_at_their_embeddings(rng: np.random.Generator) -> None:
    X, Y = rng.standard_normal((4, 2)), rng.standard_normal((4, 2))
    sizes, errors = [(2, 40), (20, 40), (20, 400)], []
    for depth, width in sizes:
        net = R.ResNet(2, 2, depth, width, 12)
        start = net.init(rng=0)
        limit = R.MeanODE.of(net, nodes=33, points=512)
        first = limit.init(rng=0, embeddings=start)
        # with one rate of 0 the other half stays
        descent = [R.GradientDescent(one, X, Y, 0.4) for one in (net, limit)]
        run, reference = (
            solvers.integrate(d, s, 2.0).final for d, s in zip(descent, (start, first), strict=True)
        )
        h = net.features(run, X)[-1]
        errors.append(np.sqrt(np.mean((h - limit.lift(reference, X, start)) ** 2)))
        travelled = np.sqrt(np.mean((h - X @ start.W_E.T) ** 2))
        assert travelled > 3 * errors[-1] if width > 40 else True
    # root(D/(L M)) is .39, .12, .04; the first net has the error of its depth beside it
    assert errors[1] < 0.55 * errors[0] and errors[2] < 0.5 * errors[1] and errors[2] < 0.06


def test_the_gradient_of_a_limit_is_that_of_its_predictions_to_first_order_in_nodes(
    rng: np.random.Generator,
) -> None:
    """Linear activations, whose covariances are exact: no noise of samples, along a direction smooth in depth."""
    net, X, q = R.ResNet(2, 3, 3, 4, 6, activation="identity"), rng.standard_normal((4, 2)), np.ones((4, 3))
    errors = []
    for nodes in (17, 33):
        limit, s = R.MeanODE.of(net, nodes=nodes, points=32), np.linspace(0.0, 2.0, nodes)[:, None, None]
        one = limit.init(rng=0, embeddings=net.init(rng=1))
        weights = R.Weights(one.U + 0.3 * one.V, one.V + 0.2 * one.U, one.W_E, one.W_U)
        along = joined([np.cos(s) * weights.V, np.sin(s) * weights.U])
        high, low = (
            np.sum(q * limit.predict(moved(limit, weights, weights.flat + sign * 1e-5 * along), X))
            for sign in (1, -1)
        )
        slope = (high - low) / 2e-5
        errors.append(abs(joined(limit.gradient(weights, X, q)) @ along - slope))
        assert errors[-1] < 2.0 / nodes * abs(slope)
    assert 1.6 < errors[0] / errors[1] < 2.5


def test_infinite_embeddings_are_the_limit_of_large_ones(rng: np.random.Generator) -> None:
    X, Y = rng.standard_normal((3, 2)), rng.standard_normal((3, 1))
    net = R.ResNet(2, 1, 1, 1, 1)
    limit = R.MeanODE.of(net, nodes=9, points=64)
    descent = R.GradientDescent(limit, X, Y, 0.5)
    f = limit.predict(solvers.integrate(descent, limit.init(rng=0), 2.0).final, X)
    errors = []
    for dim in (10**2, 10**4, 10**6):
        W = R.ResNet(2, 1, 1, 1, dim).embed(rng=1)
        run = solvers.integrate(descent, limit.init(rng=0, embeddings=W), 2.0)
        errors.append(np.abs(limit.predict(run.final, X) - f).max() * np.sqrt(dim))
    # of order 1/root D: one seed, hence within a factor
    assert max(errors) < 8 * min(errors)


def test_points_have_the_moments_of_the_law() -> None:
    net = R.ResNet(2, 1, 1, 1, 1, u_std=0.6)
    weights = R.MeanODE.of(net, nodes=3, points=50).init(rng=0)
    for U, V in zip(weights.U, weights.V, strict=True):
        both = np.vstack([U / (0.6 * np.sqrt(3)), V / np.sqrt(3)])
        np.testing.assert_allclose(both @ both.T / 50, np.eye(6), atol=1e-12)  # rounding
        np.testing.assert_allclose(both.mean(axis=1), 0.0, atol=1e-12)


# -- habits ------------------------------------------------------------------------------------------------------


def test_states_are_saved_and_runs_resumed(tmp_path: Path, rng: np.random.Generator) -> None:
    net = R.ResNet(2, 1, depth=4, width=3, dim=6)
    X, y, start = rng.standard_normal((3, 2)), rng.standard_normal(3), net.init(rng=0)
    descent = R.GradientDescent(net, X, y, step=0.1)
    run = solvers.integrate(descent, start, 1.0)
    run.save(tmp_path / "run.npz")
    again = mf.load(tmp_path / "run.npz")
    checkpoint = solvers.Checkpoint(tmp_path / "half.npz", steps=1)
    solvers.integrate(descent, start, 1.0, observers=[checkpoint], max_steps=4)
    resumed = solvers.integrate(descent, start, 1.0, resume=tmp_path / "half.npz")
    for other in (again.final, resumed.final, pickle.loads(pickle.dumps(run.final))):
        for name, part in run.final.to_arrays().items():
            np.testing.assert_array_equal(part, other.to_arrays()[name])
    np.testing.assert_array_equal(run.predict(), net.predict(run.final, X))
    assert "2603.18168" in run.cite()
    assert repr(run.final) == "Weights(depth=4, width=3, dim=6, d_in=2, d_out=1)"
    assert run.t[-1] == pytest.approx(1.0) and "ResNet" in repr(descent)


def test_descent_that_diverges_says_so(rng: np.random.Generator) -> None:
    net = R.ResNet(2, 1, depth=4, width=3, dim=6, activation="relu")
    X, y = rng.standard_normal((3, 2)), 100 * rng.standard_normal(3)
    with pytest.raises(DivergenceError) as caught:
        solvers.integrate(R.GradientDescent(net, X, y, step=50.0), net.init(rng=0), 5000.0)
    assert np.isfinite(caught.value.run.final.U).all()


def test_labels_of_every_loss(rng: np.random.Generator) -> None:
    net, X = R.ResNet(2, 3, depth=2, width=3, dim=4), rng.standard_normal((4, 2))
    classes, rows = [0, 2, 1, 1], np.eye(3)[[0, 2, 1, 1]]
    runs = [
        solvers.integrate(R.GradientDescent(net, X, y, 0.5, "cross_entropy"), net.init(rng=0), 5.0)
        for y in (classes, rows)
    ]
    np.testing.assert_allclose(runs[0]["objective"], runs[1]["objective"], rtol=1e-12)  # rounding
    assert runs[0]["objective"][-1] < 0.9 * runs[0]["objective"][0]
    with pytest.warns(UserWarning, match="rows 1 and 2 of X coincide.*no weights reach zero loss"):
        R.GradientDescent(net, X[[0, 1, 1]], classes[:3], 0.5, "cross_entropy")


def test_limits_do_not_depend_on_threads_of_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    """What calls LAPACK holds BLAS to one thread."""
    held: list[int] = []
    for name in ("svd", "solve", "lstsq", "eigh"):
        real = getattr(np.linalg, name)

        def watched(*args: Any, real: Any = real, **options: Any) -> Any:
            held.append(one_blas_thread._depth)
            return real(*args, **options)

        monkeypatch.setattr(np.linalg, name, watched)
    net = R.ResNet(2, 1, 1, 1, 5, activation="identity")
    limit, pair = R.MeanODE.of(net, nodes=3, points=16), net.embed()
    start = limit.init(embeddings=pair)
    limit.lift(start, [[1.0, 2.0]], pair)
    R.linear_limit(net, [[1.0, 2.0]], [1.0], 1, 0.1, embeddings=pair)
    R.first_step(net, [1.0, 2.0], 1.0, 0.1, embeddings=pair)
    assert len(held) > 8 and all(held)


NET = R.ResNet(2, 1, depth=2, width=3, dim=4)
LINEAR = R.ResNet(2, 1, 1, 1, 1, activation="identity")
GOOD = NET.init(rng=0)
PAIR = (GOOD.W_E, GOOD.W_U)
# of D = 1: h.b > 0 at x = (1, 1), y = 1
GROWING = (np.full((1, 2), 0.5), np.full((1, 1), 1e-4))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: R.ResNet(2, 1, depth=0, width=3, dim=4), "depth must be positive"),
        (lambda: R.ResNet(2, 1, depth=2, width=3.5, dim=4), "width must be an integer"),
        (lambda: R.ResNet(2, 1, depth=2, width=3, dim=-1), "dim"),
        (lambda: R.ResNet(2, 1, 2, 3, 4, activation="tanhh"), "did you mean 'tanh'"),
        (lambda: R.ResNet(2, 1, 2, 3, 4, scale=np.nan), "scale must be finite"),
        (lambda: R.ResNet(2, 1, 2, 3, 4, in_std=0.0), "in_std must be positive"),
        (lambda: R.ResNet(2, 1, 10**6, 10**6, 4).init(), "GiB"),
        (lambda: NET.predict(GOOD, np.ones((3, 5))), r"X must have shape \(n, 2\)"),
        (lambda: NET.predict(GOOD, [[np.nan, 1.0]]), "X holds 1 value"),
        (lambda: NET.predict(GOOD, None), r"X must have shape \(n, 2\)"),
        (lambda: NET.predict(GOOD, np.ones(2)), r"pass X\[None\] for one point"),
        (lambda: NET.predict(GOOD.U, np.ones((3, 2))), "weights must be mf.resnet_mean_field.Weights.*not ndarray"),
        (lambda: NET.predict(mf.finite.deep.Dense((2, 3, 1)).init(), [[1.0, 2.0]]), "not meanfield.finite.deep"),
        (lambda: NET.predict(R.Weights.over(GOOD.U * np.nan, GOOD.V, *PAIR), [[1.0, 2.0]]), "weights must be finite"),
        (lambda: NET.predict(R.ResNet(2, 1, 2, 3, 5).init(), np.ones((3, 2))), "another network"),
        (lambda: NET.gradient(GOOD, np.ones((3, 2)), np.ones(4)), "q must have shape"),
        (lambda: R.Weights(GOOD.U, GOOD.V[:1], GOOD.W_E, GOOD.W_U), "V must have the shape of U"),
        (lambda: R.Weights(GOOD.U, GOOD.V, GOOD.W_E[:2], GOOD.W_U), "W_E must have one row per coordinate"),
        (lambda: R.Weights(GOOD.U * np.inf, GOOD.V, GOOD.W_E, GOOD.W_U), "U holds"),
        (lambda: R.GradientDescent(GOOD, np.ones((3, 2)), np.ones(3), 0.1), "net must be a network"),
        (lambda: R.GradientDescent(NET, np.ones((3, 2)), np.ones((3, 2)), 0.1), r"y has 2 column\(s\)"),
        (lambda: R.GradientDescent(NET, np.ones((3, 2)), [0.0, 1.0, 1.0], 0.1, "logistic"), "pass 2 . y - 1"),
        (lambda: R.GradientDescent(NET, np.ones((3, 2)), [0, 1, 1], 0.1, "cross_entropy"), "2 outputs at least"),
        (lambda: R.GradientDescent(NET, np.ones((3, 2)), np.ones(3), 0.0), "step must be positive"),
        (lambda: R.GradientDescent(NET, np.ones((3, 2)), np.ones(3), 0.1, rates={"W": 1}), "rates"),
        (lambda: R.GradientDescent(NET, np.ones((3, 2)), np.ones(3), 0.1, rates={"U": 0, "V": 0}), "all 0"),
        (lambda: R.GradientDescent(NET, np.ones((3, 2)), np.ones(3), 0.1, loss="squard"), "squared"),
        (lambda: R.MeanODE.of(NET, nodes=2), "nodes"),
        (lambda: R.MeanODE.of(NET, points=5), "points must be at least 12"),
        (lambda: R.MeanODE.of(GOOD), "net must be"),
        (lambda: R.MeanODE(2, 1, 20, 50, 100), "MeanODE.of"),
        (lambda: R.MeanODE.of(NET).init(embeddings=3), "embeddings must be Weights"),
        (lambda: R.MeanODE.of(NET).init(embeddings=(np.ones((4, 2)), np.ones((4, 2)))), "embeddings must be W_E"),
        (lambda: R.MeanODE.of(NET).init(embeddings=PAIR[::-1]), r"W_E of shape \(D, 2\), then W_U of shape \(D, 1\)"),
        (lambda: R.MeanODE.of(NET).init(embeddings=R.ResNet(1, 2, 2, 3, 4).init()), "embeddings must be W_E"),
        (lambda: R.MeanODE.of(NET).init(embeddings=(PAIR[0], PAIR[1][:2])), "not 4 and 2"),
        (lambda: R.linear_limit(LINEAR, [[9.0, 9.0]], [1.0], 60, 9.0), "nodes=20 do not resolve h .* step=9"),
        (lambda: R.linear_limit(LINEAR, [[1.1, 0.0]], [3.0], 60, 0.1), "take more nodes"),
        (lambda: R.linear_limit(LINEAR, [[1.0, 1.0]], [1.0], 1, 0.1, nodes=10**5), "100000 nodes .* fewer nodes"),
        (lambda: R.first_step(LINEAR, np.ones((1, 2)), 1.0, 0.1), r"x must have shape \(2,\)"),
        (lambda: R.first_step(LINEAR, np.ones(2), np.ones(2), 0.1), r"y must have shape \(1,\)"),
        (lambda: R.first_step(LINEAR, 1e3 * np.ones(2), 1.0, 1e4, embeddings=GROWING), "step=10000 .* smaller"),
        (lambda: R.linear_limit(NET, np.ones((3, 2)), np.ones(3), 1, 0.1), "identity"),
        (lambda: R.linear_limit(LINEAR, np.ones((3, 2)), np.ones(3), -1, 0.1), "steps"),
        (lambda: R.first_step(NET, np.ones(2), np.ones(1), 0.1), "identity"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_words(make: Any, word: str) -> None:
    with pytest.raises(InputError, match=word) as caught:
        make()
    assert "\n" not in str(caught.value)

"""Deep networks: gradients against differences, TwoLayer as the case of one hidden layer, training, files, refusals."""

from __future__ import annotations

import importlib
import pickle
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import meanfield as mf
import solvers
from meanfield.finite import deep
from solvers import _files
from solvers.errors import DivergenceError, InputError, PluginError

NETS = [
    (cls, parametrization, activation, bias)
    for cls, parametrization, activation, bias in product(
        (deep.Dense, deep.ResNet),
        ("ntk", "standard", "mean_field", "allen_zhu"),
        (mf.ReLU(), mf.Tanh()),
        (False, True),
    )
    if not (bias and parametrization == "allen_zhu")
]


def differences(net: Any, weights: Any, X: Any, q: Any) -> Any:
    """``sum q grad f`` by central differences."""
    found = np.empty(net.size)
    for i in range(net.size):
        shift = np.zeros(net.size)
        shift[i] = 1e-5
        found[i] = np.sum(q * (net.predict(weights.flat + shift, X) - net.predict(weights.flat - shift, X)))
    return found / 2e-5


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(("cls", "parametrization", "activation", "bias"), NETS)
def test_gradients_and_kernels(
    cls: Any, parametrization: str, activation: Any, bias: bool, rng: np.random.Generator
) -> None:
    for outputs in (1, 3):
        widths = (3, 4, 4, 4, outputs)
        net = cls(widths, activation=activation, parametrization=parametrization, bias=bias)
        weights, X, Z = net.init(rng=1), rng.standard_normal((4, 3)), rng.standard_normal((2, 3))
        q = rng.standard_normal(net.predict(weights, X).shape)
        found = net.gradient(weights, X, q).flat
        # step^2 f'''/6 of differences, about 1e-9 here
        np.testing.assert_allclose(found, differences(net, weights, X, q), rtol=0, atol=3e-8)
        rows, others = net.jacobian(weights, X), net.jacobian(weights, Z)
        assert rows.shape == (4, outputs, net.size)
        # sums of some tens of numbers of order one
        np.testing.assert_allclose(
            np.tensordot(q.reshape(4, outputs), rows, 2), found * (net.rates > 0), rtol=0, atol=1e-12
        )
        flat = rows.reshape(-1, net.size) * net.rates
        K = net.tangent_kernel(weights, X)
        np.testing.assert_allclose(K, flat @ rows.reshape(-1, net.size).T, rtol=0, atol=1e-11)
        np.testing.assert_array_equal(K, K.T)
        np.testing.assert_allclose(
            net.tangent_kernel(weights, X, Z), flat @ others.reshape(-1, net.size).T, rtol=0, atol=1e-11
        )


@pytest.mark.parametrize("shape", [(4, 2), (3, 4, 1)])
@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize("readout", ["flatten", "mean"])
def test_convolutions(shape: Any, padding: str, readout: str, rng: np.random.Generator) -> None:
    """Values by their definition, gradients by differences, the kernel by the gradients, both ways round."""
    for parametrization, outputs in (("ntk", 2), ("mean_field", 1), ("allen_zhu", 2)):
        net = deep.ConvNet(
            shape,
            (2, 3),
            outputs,
            padding=padding,
            readout=readout,
            parametrization=parametrization,
            bias=parametrization == "ntk",
        )
        weights, X = net.init(rng=1), rng.standard_normal((2, *shape))
        f = np.reshape([convolved(net, weights, x) for x in X], net.predict(weights, X).shape)
        np.testing.assert_allclose(net.predict(weights, X), f, rtol=0, atol=1e-13)  # sums of some tens
        q = rng.standard_normal(f.shape)
        found = net.gradient(weights, X, q).flat
        np.testing.assert_allclose(found, differences(net, weights, X, q), rtol=0, atol=3e-8)
        rows = net.jacobian(weights, X)
        np.testing.assert_allclose(
            np.tensordot(q.reshape(2, outputs), rows, 2), found * (net.rates > 0), rtol=0, atol=1e-12
        )
        flat = rows.reshape(-1, net.size)
        K = net.tangent_kernel(weights, X)
        np.testing.assert_allclose(K, (flat * net.rates) @ flat.T, rtol=0, atol=1e-11)
        np.testing.assert_allclose(net.tangent_kernel(weights, X, X[1:]), K[:, outputs:], rtol=0, atol=1e-11)


def convolved(net: Any, weights: Any, x: Any) -> Any:
    """f(x) by loops over positions and shifts."""
    places = x.shape[:-1]
    h = x
    for i, layer in enumerate(net.layers[:-1]):
        W, b = weights[f"W{i}"], layer.shift * weights[f"b{i}"] if layer.bias else 0.0
        z = np.zeros((*places, layer.out))
        for p in np.ndindex(*places):
            for s, shift in enumerate(product((-1, 0, 1), repeat=len(places))):
                there = np.add(p, shift)
                if net.padding == "circular" or ((there >= 0) & (there < places)).all():
                    part = W[:, s * h.shape[-1] : (s + 1) * h.shape[-1]]
                    z[p] += layer.factor * part @ h[tuple(there % places)]
            z[p] += b
        h = np.maximum(z, 0)
    u = h.reshape(-1) if net.readout == "flatten" else h.reshape(-1, h.shape[-1]).mean(axis=0)
    last = net.layers[-1]
    return last.factor * weights["W2"] @ u + (last.shift * weights["b2"] if last.bias else 0.0)


def test_kernels_of_convolutions_cost_what_is_cheaper(rng: np.random.Generator) -> None:
    """Pairs of positions, or gradients of each sample: the same matrix."""
    from meanfield.finite.deep.tangent import contracted

    layer = deep.Dense((6, 5, 2)).layers[0]._replace(bias=True)
    for positions in (1, 40):  # pairs, gradients
        u, g = rng.standard_normal((3, positions, 6)), rng.standard_normal((3, 2, positions, 5))
        gradients = np.einsum("nkpo,npf->nkof", g, u).reshape(6, -1)
        biases = layer.shift * g.sum(axis=2).reshape(6, -1)
        expected = layer.factor**2 * gradients @ gradients.T + biases @ biases.T
        # sums of some thousand numbers
        np.testing.assert_allclose(contracted(layer, (u, g), (u, g)), expected, rtol=0, atol=1e-10)
        np.testing.assert_allclose(contracted(layer, (u, g), (u + 0, g)), expected, rtol=0, atol=1e-10)


def test_sizes_of_convolutions_are_kept() -> None:
    """Patches of a circle hold every unit q times: with N(0, 2/(q m)) layers keep |h|."""
    net = deep.ConvNet((16, 4), (300, 300), 5, padding="circular", parametrization="allen_zhu")
    X = np.random.default_rng(0).standard_normal((1, 16, 4))
    for h in net.activations(net.init(rng=0), X):
        # 4 standard deviations of about root(5/m) each layer, less with 16 positions
        assert abs(np.sum(h**2) / np.sum(X**2) - 1) < 4 * np.sqrt(10 / 300)
    assert net.layers[-1].std == np.sqrt(1 / 5)


def test_inputs_of_convolutions_may_be_flat(rng: np.random.Generator) -> None:
    net = deep.ConvNet((3, 4, 1), (2,))
    X, w = rng.standard_normal((5, 3, 4)), net.init(rng=0)
    for other in (X[..., None], X.reshape(5, 12)):
        np.testing.assert_array_equal(net.predict(w, other), net.predict(w, X))
    problem = deep.Problem(net, X, rng.standard_normal(5))
    assert solvers.integrate(deep.SGD(problem, 0.1, batch=2), w, 1.0).status.name == "reached_end"


@pytest.mark.parametrize("activation", [mf.ReLU(), mf.Tanh()])
@pytest.mark.parametrize("kind", ["Dense", "ResNet", "ConvNet"])
def test_gradients_of_autograd(kind: str, activation: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    sigma = torch.relu if isinstance(activation, mf.ReLU) else torch.tanh
    settings = {"activation": activation, "bias": True}
    if kind == "ConvNet":
        net: Any = deep.ConvNet((6, 5, 2), (4, 3), 2, padding="circular", **settings)
    else:
        net = getattr(deep, kind)((4, 8, 8, 8, 2), **settings)
    weights = net.init(rng=0)
    X = rng.standard_normal((5, 6, 5, 2) if kind == "ConvNet" else (5, 4))
    q = rng.standard_normal((5, 2))
    held = {name: torch.from_numpy(one.copy()).requires_grad_() for name, one in weights.to_arrays().items()}
    h = torch.from_numpy(X).movedim(-1, 1)
    z = None
    for i, layer in enumerate(net.layers):
        W, b = held[f"W{i}"], layer.shift * held[f"b{i}"]
        if kind == "ConvNet" and i < 2:
            kernels = W.reshape(layer.out, 3, 3, -1).movedim(-1, 1)
            linear = functional.conv2d(
                functional.pad(h, [1, 1, 1, 1], mode="circular"), layer.factor * kernels, b
            )
        else:
            if kind == "ConvNet":
                h = h.movedim(1, -1).reshape(5, -1)
            linear = layer.factor * functional.linear(h, W) + b
        z = linear if kind != "ResNet" or i in (0, 3) else z + linear
        h = sigma(z)
    found = torch.autograd.grad((z * torch.from_numpy(q)).sum(), list(held.values()))
    np.testing.assert_allclose(net.predict(weights, X), z.detach().numpy(), rtol=0, atol=1e-12)
    for mine, theirs in zip(net.gradient(weights, X, q), found, strict=True):
        # the promise is 1e-10
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=1e-12)


def test_the_formulas_of_the_papers_networks(rng: np.random.Generator) -> None:
    """h_0 = relu(Ax), h_l = relu(W_l h_{l-1}), Bh; with skips h_l = relu(h_{l-1} + tau W_l h_{l-1})."""
    X = rng.standard_normal((5, 3))
    for cls in (deep.Dense, deep.ResNet):
        net = cls((3, 6, 6, 6, 2), parametrization="allen_zhu")
        A, W1, W2, B = weights = net.init(rng=0)
        h = np.maximum(X @ A.T, 0)
        for W in (W1, W2):
            h = np.maximum(h @ W.T if cls is deep.Dense else h + 0.5 * h @ W.T, 0)
        np.testing.assert_allclose(net.predict(weights, X), h @ B.T, rtol=1e-13)  # rounding
        np.testing.assert_allclose(net.activations(weights, X)[-1], h, rtol=1e-13)
        assert net.trained == (1, 2)
        assert net.gradient(weights, X, np.ones((5, 2)))["W0"].any()  # frozen layers have one too


@pytest.mark.parametrize("parametrization", ["ntk", "standard", "mean_field"])
def test_the_table_of_parametrizations(parametrization: str, rng: np.random.Generator) -> None:
    """f by the formulas of the table, with biases, variances and branches that are not 1; biases by their law."""
    X, settings = rng.standard_normal((5, 3)), {"bias": True, "w_var": 1.7, "b_var": 0.3}
    shift = 1.0 if parametrization == "standard" else np.sqrt(0.3)

    def linear(i: int, w: Any, u: Any) -> Any:
        W, b = w[f"W{i}"], shift * w[f"b{i}"] if f"b{i}" in w.shapes else 0.0
        factor = 1.0 if parametrization == "standard" else np.sqrt(1.7 / u.shape[1])
        if parametrization == "mean_field" and i in (0, 3):
            factor = 1.0 if i == 0 else 1.0 / u.shape[1]
        return factor * u @ W.T + b

    for skip in (None, "pre", "post"):
        more = {} if skip is None else {"skip": skip, "branch": 0.7}
        net: Any = (deep.ResNet if skip else deep.Dense)(
            (3, 6, 6, 6, 2), "tanh", parametrization, **settings, **more
        )
        w = net.init(rng=0)
        z = linear(0, w, X)
        h = np.tanh(z)
        for i in (1, 2):
            before = {None: 0.0, "pre": z, "post": h}[skip]
            z = before + (0.7 if skip else 1.0) * linear(i, w, h)
            h = np.tanh(z)
        np.testing.assert_allclose(net.predict(w, X), linear(3, w, h), rtol=0, atol=1e-14)  # rounding
    b = deep.Dense((2, 5000, 1), "relu", parametrization, **settings).init(rng=0)["b0"]
    # 4 standard deviations of a variance of so many samples
    assert abs(np.var(b) / (0.3 if parametrization == "standard" else 1.0) - 1) < 4 * np.sqrt(2 / 5000)


def test_slope_at_the_kink_is_zero() -> None:
    """relu'(0) = 0, as in `mf.ReLU` and in PyTorch: units at 0 do not move."""
    net = deep.Dense((2, 4, 1), bias=True)
    w = deep.Weights({"W0": np.ones((4, 2)), "b0": np.zeros(4), "W1": np.ones((1, 4)), "b1": np.ones(1)})
    moved = net.gradient(w, [[1.0, -1.0]], [1.0])
    assert not moved["W0"].any() and not moved["b0"].any() and moved["b1"].all()


def test_sizes_at_the_start() -> None:
    net = deep.Dense((50, 400, 300, 20), parametrization="allen_zhu")
    A, W, B = net.init(rng=0)
    for one, var in ((A, 2 / 400), (W, 2 / 300), (B, 1 / 20)):
        # 4 standard deviations of a variance of so many samples
        assert abs(np.mean(one**2) / var - 1) < 4 * np.sqrt(2 / one.size)
    # |h| is kept: E |relu(W h)|^2 = |h|^2, to 4 standard deviations of about root(5/m)
    x = np.ones((1, 50)) / np.sqrt(50)
    assert all(
        abs(np.sum(h**2) - 1) < 4 * np.sqrt(5 * (1 / 400 + 1 / 300))
        for h in net.activations(net.init(rng=0), x)
    )
    standard, ntk = (deep.Dense((50, 40, 3), parametrization=name) for name in ("standard", "ntk"))
    # one law of functions: weights differ by the factor
    w = ntk.init(rng=3)
    same = deep.Weights({name: one * np.sqrt(2 / one.shape[1]) for name, one in w.to_arrays().items()})
    np.testing.assert_allclose(standard.init(rng=3).flat, same.flat, rtol=1e-14)
    np.testing.assert_allclose(standard.predict(same, x), ntk.predict(w, x), rtol=1e-12)


def test_one_hidden_layer_is_two_layer(rng: np.random.Generator, step_by_step: None) -> None:
    two = mf.TwoLayer(mf.ReLU(), d=3)
    mu = mf.ParticleMeasure.gaussian(two, width=12, rng=0)
    net = deep.Dense((3, 12, 1), parametrization="mean_field", bias=True)
    weights, X = net.from_measure(mu), rng.standard_normal((15, 3))
    np.testing.assert_array_equal(net.to_measure(weights).positions, mu.positions)
    y = np.sin(X[:, 0])
    objective, problem = mf.Objective(two, X, y), deep.Problem(net, X, y)
    for theirs, ours, method in (
        (mf.SGD(objective, 0.1, batch=5, rng=3), deep.SGD(problem, 0.1, batch=5, rng=3), None),
        (mf.WassersteinFlow(objective), deep.GradientFlow(problem), solvers.Euler(step=0.1)),
    ):
        a = solvers.integrate(theirs, mu, 5.0, method=method)
        b = solvers.integrate(ours, weights, 5.0, method=method)
        # 50 steps of sums in another order; no unit crosses a kink within rounding
        np.testing.assert_allclose(net.to_measure(b.final).positions, a.final.positions, rtol=0, atol=1e-13)
        np.testing.assert_allclose(b["objective"], a["objective"], rtol=0, atol=1e-14)
        assert b["objective"][-1] < 0.9 * b["objective"][0]
    np.testing.assert_allclose(
        net.tangent_kernel(weights, X), mf.kernels.empirical(two, mu, X), rtol=0, atol=1e-13
    )


def test_one_hidden_layer_with_several_outputs(rng: np.random.Generator) -> None:
    two = mf.TwoLayer(mf.ReLU(), d=3, outputs=2, bias=False)
    mu = mf.ParticleMeasure.gaussian(two, width=12, rng=0)
    net = deep.Dense((3, 12, 2), parametrization="mean_field")
    w, X, q = net.from_measure(mu), rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    np.testing.assert_allclose(
        net.predict(w, X), two.features(mu.positions, X).mean(axis=0), rtol=0, atol=1e-14
    )
    # a particle's gradient is its unit's, times the rate m
    moved = deep.Weights.over(net.rates * net.gradient(w, X, q).flat, net.shapes)
    np.testing.assert_allclose(
        net.to_measure(moved).positions, two.vjp(mu.positions, X, q), rtol=0, atol=1e-13
    )


def test_blocks_change_nothing_but_rounding(rng: np.random.Generator, monkeypatch: Any) -> None:
    net = deep.Dense((3, 8, 8, 2), activation=mf.Tanh(), parametrization="ntk", bias=True)
    w, X, q = net.init(rng=0), rng.standard_normal((9, 3)), rng.standard_normal((9, 2))
    problem = deep.Problem(net, X, q)

    def everything() -> tuple[Any, ...]:
        moved = w.flat.copy()
        problem.descend(moved, 0.1)
        found = net.predict(w, X), net.gradient(w, X, q).flat, net.tangent_kernel(w, X), net.jacobian(w, X)
        return (*found, moved)

    whole = everything()
    monkeypatch.setattr("meanfield.finite.deep.network.BLOCK_BYTES", 1500)
    monkeypatch.setattr("meanfield.finite.deep.tangent.BLOCK_BYTES", 1500)
    assert len(list(net.blocks(9))) > 2
    for a, b in zip(whole, everything(), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-12)  # sums of some tens in another order
    np.testing.assert_allclose(whole[-1], w.flat - 0.1 * problem.gradient(w).flat, rtol=0, atol=1e-14)


@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_passes_inside_each_other_share_no_memory_and_see_nothing_of_those_before(
    padding: str, rng: np.random.Generator
) -> None:
    net = deep.ConvNet((4, 4, 2), (3, 3), padding=padding)
    w, X, q = net.init(rng=0), rng.standard_normal((5, 4, 4, 2)), rng.standard_normal((5, 1))
    g, other = net.gradient(w, X, q).flat, np.empty(net.size)

    def respond(f: Any) -> Any:
        net.evaluate(-w.flat, X[:2], lambda f: f, other)
        return q

    inside = np.empty(net.size)
    net.evaluate(w.flat, X, respond, inside)
    np.testing.assert_array_equal(inside, g)
    kept = net.predict(w, X)
    with np.errstate(invalid="ignore"):
        net.evaluate(np.full(net.size, np.nan), np.concatenate([X, X]), lambda f: f, other)
    np.testing.assert_array_equal(net.predict(w, X), kept)
    np.testing.assert_array_equal(net.gradient(w, X, q).flat, g)


@pytest.mark.parametrize("shape", [(6, 2), (4, 4, 2)])
def test_patches_a_few_points_at_a_time_are_those_of_all(
    shape: tuple[int, ...], rng: np.random.Generator, monkeypatch: Any
) -> None:
    net = deep.ConvNet(shape, (3, 3, 3))
    w, X, q = net.init(rng=0), rng.standard_normal((5, *shape)), rng.standard_normal(5)
    whole = net.gradient(w, X, q).flat
    points = 8 * int(np.prod(shape[:-1])) * 3 ** len(shape)  # bytes of the patches of one
    monkeypatch.setattr("meanfield.finite.deep.convolution.CACHED_BYTES", 2 * points)
    np.testing.assert_allclose(net.gradient(w, X, q).flat, whole, rtol=0, atol=1e-13)  # sums of some hundred


@pytest.mark.parametrize("loss", ["squared", "logistic", "cross_entropy"])
def test_losses_are_trained(loss: str, rng: np.random.Generator) -> None:
    X = rng.standard_normal((12, 3))
    classes = loss == "cross_entropy"
    y: Any = rng.integers(0, 3, 12) if classes else rng.choice([-1.0, 1.0], 12)
    net = deep.Dense((3, 100, 100, 3 if classes else 1), parametrization="ntk")
    problem = deep.Problem(net, X, y, loss=loss)
    w, step = net.init(rng=0), 1e-5
    g = problem.gradient(w).flat
    direction = rng.standard_normal(net.size)
    slope = (problem.value(w.flat + step * direction) - problem.value(w.flat - step * direction)) / (2 * step)
    assert slope == pytest.approx(float(g @ direction), abs=1e-6)  # step^2 R'''/6, with |direction| about 100
    run = solvers.integrate(
        deep.SGD(problem, step=0.5), w, 150.0, save=3, record={"accuracy": problem.accuracy}
    )
    assert run["accuracy"][-1] == 1.0 > run["accuracy"][0]
    assert run["objective"][-1] == problem.value(run.final) < 0.2 * run["objective"][0]


def test_summed_losses_and_unbiased_batches(rng: np.random.Generator) -> None:
    X, y = rng.standard_normal((6, 3)), rng.standard_normal(6)
    net = deep.Dense((3, 5, 1), parametrization="ntk")
    w = net.init(rng=0)
    problem = deep.Problem(net, X, y, loss=mf.SquaredLoss(reduction="sum"))
    whole, part = problem.gradient(w).flat, np.empty(net.size)
    mean = sum(problem.slope(w.flat, part, (X[[i]], y[[i]], np.array([6.0]))).copy() for i in range(6)) / 6
    np.testing.assert_allclose(mean, whole, rtol=0, atol=1e-12)  # sums in another order
    np.testing.assert_allclose(whole, 6 * deep.Problem(net, X, y).gradient(w).flat, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cls", [deep.Dense, deep.ResNet])
def test_mean_field_features_move_alike_at_all_widths(cls: Any, rng: np.random.Generator) -> None:
    """Pulled the same way, by order one under the mean-field scaling, by 1/root m in the tangent regime."""
    X, q = rng.standard_normal((6, 5)), rng.standard_normal(6)

    def moved(parametrization: str, m: int, seed: int) -> float:
        net = cls((5, m, m, m, 1), parametrization=parametrization)
        w = net.init(rng=seed)
        pulled = w.flat - 1e-3 * net.rates * net.gradient(w, X, q).flat
        a, b = net.activations(w, X)[-1], net.activations(pulled, X)[-1]
        return float(np.log(np.linalg.norm(a - b) / np.linalg.norm(a)))

    for parametrization, expected in (("mean_field", 1.0), ("ntk", 0.5)):
        ratio = np.mean([moved(parametrization, 256, s) - moved(parametrization, 64, s) for s in range(4)])
        # draws differ by a quarter, 24 of them; the mean of four by half of that: three deviations
        assert abs(ratio - np.log(expected)) < 0.375


def test_rates_of_layers_of_any_widths(rng: np.random.Generator) -> None:
    """Each hidden layer alone moves its features by as much wherever one layer is wider than the others."""
    X, q = rng.standard_normal((6, 5)), rng.standard_normal(6) / 6

    def moved(widths: Any) -> Any:
        found = []
        for seed in range(4):
            net = deep.Dense(widths, parametrization="mean_field")
            w = net.init(rng=seed)
            pull = 1e-3 * net.rates * net.gradient(w, X, q).flat
            for i in range(3):
                alone = np.concatenate(
                    [np.full(one.size, float(name == f"W{i}")) for name, one in w.to_arrays().items()]
                )
                h, other = (net.activations(z, X)[i] for z in (w.flat, w.flat - alone * pull))
                found.append(np.log(np.sqrt(np.mean((h - other) ** 2))))
        return np.reshape(found, (4, 3)).mean(axis=0)

    usual = moved((5, 64, 64, 64, 1))
    for wide in range(3):
        widths = [64, 64, 64]
        widths[wide] = 1024
        # means of four draws differ by a fifth at most (seeds 0 to 7); a wrong rate is one by root 16 or its root
        assert np.abs(moved((5, *widths, 1)) - usual).max() < 0.5


def test_flow_is_the_limit_of_descent(rng: np.random.Generator) -> None:
    X, y = rng.standard_normal((6, 2)), rng.standard_normal(6)
    net = deep.Dense((2, 8, 8, 1), activation=mf.Tanh(), parametrization="standard")
    problem, w = deep.Problem(net, X, y), net.init(rng=0)
    exact = solvers.integrate(deep.GradientFlow(problem), w, 1.0, save=2)
    assert "DormandPrince" in exact.stats["method"]
    errors = [
        np.linalg.norm(solvers.integrate(deep.SGD(problem, h), w, 1.0, save=2).final.flat - exact.final.flat)
        for h in (0.02, 0.01)
    ]
    assert errors[0] / errors[1] == pytest.approx(2.0, abs=0.1)  # first order


def test_killed_and_resumed_runs_end_in_the_same_bits(rng: np.random.Generator, tmp_path: Path) -> None:
    X, y = rng.standard_normal((6, 3)), rng.standard_normal(6)
    net = deep.ResNet((3, 5, 5, 1), parametrization="allen_zhu")
    problem, w, path = deep.Problem(net, X, y), net.init(rng=0), tmp_path / "run.ckpt"
    flow = deep.SGD(problem, 0.05, batch=2, rng=7)
    whole = solvers.integrate(flow, w, 1.0, save=5)
    solvers.integrate(flow, w, 1.0, save=5, max_steps=9, observers=[solvers.Checkpoint(path)])
    resumed = solvers.integrate(flow, w, 1.0, save=5, resume=path)
    np.testing.assert_array_equal(resumed.final.flat, whole.final.flat)
    np.testing.assert_array_equal(resumed["objective"], whole["objective"])
    np.testing.assert_array_equal(whole.final["W0"], w["W0"])  # frozen
    whole.save(tmp_path / "run.npz")
    loaded = mf.load(tmp_path / "run.npz")
    assert loaded.final.shapes == w.shapes
    np.testing.assert_array_equal(loaded.final.flat, whole.final.flat)
    again = pickle.loads(pickle.dumps((flow, w)))
    np.testing.assert_array_equal(solvers.integrate(*again, 1.0, save=2).final.flat, whole.final.flat)


def test_divergence_is_told(rng: np.random.Generator) -> None:
    # the read-out alone is linear: above 2 over its largest eigenvalue descent grows without bound
    net = deep.Dense((3, 20, 1), parametrization="standard", train=(1,))
    problem = deep.Problem(net, rng.standard_normal((5, 3)), rng.standard_normal(5))
    with pytest.raises(DivergenceError, match="smaller"):
        solvers.integrate(deep.SGD(problem, 100.0), net.init(rng=0), 1e5)
    flow = deep.SGD(deep.Problem(deep.Dense((3, 20, 20, 1)), problem.X, problem.y), 1e4)
    run = solvers.integrate(flow, flow.problem.net.init(rng=0), 1e6, save=2, on_divergence="record")
    report = run.regime()  # data for a study, without warnings
    assert run.status.name == "diverged" and report.relative_movement > 1e3 and report.activation_flips > 0.0


def test_a_run_knows_its_problem(rng: np.random.Generator, tmp_path: Path, monkeypatch: Any) -> None:
    X, y = rng.standard_normal((6, 3)), rng.standard_normal(6)
    problem = deep.Problem(deep.Dense((3, 8, 8, 1)), X, y)
    run = solvers.integrate(deep.GradientFlow(problem), problem.net.init(rng=0), 1.0, save=3)
    assert isinstance(run, mf.Run) and run.objective is problem
    np.testing.assert_array_equal(run.predict(), problem.predict(run.final))
    assert problem.value(run.final) == run["objective"][-1]
    again = run.sgd(step=0.125, batch=2, rng=1)
    np.testing.assert_array_equal(again.t, run.t)
    flow = deep.SGD(problem, 0.125, 2, 1)
    np.testing.assert_array_equal(
        again.final.flat, solvers.integrate(flow, run.initial, 1.0, save=3).final.flat
    )
    gap = run.predict() - again.predict()
    compared = mf.compare(run, again)
    assert compared.sup[-1] == np.abs(gap).max() > 0.0 and "no cloud" in compared.transport
    assert mf.compare(run, again, X=X[:2]).sup[-1] == pytest.approx(np.abs(gap[:2]).max(), rel=1e-12)
    with pytest.raises(InputError, match="one of particle clouds"):
        mf.compare(run, again, distance="exact")
    run.save(tmp_path / "run.npz")
    monkeypatch.delitem(_files._KINDS, "deep weights")
    importlib.reload(mf.finite)  # all that a process which never met a deep network has imported
    loaded = mf.load(tmp_path / "run.npz")
    assert "1811.03962" in run.cite() == loaded.cite()
    np.testing.assert_array_equal(loaded.attach(run.flow).predict(X), run.predict())
    assert loaded.plot().get_ylabel() == "objective $R(f_t)$"
    with pytest.raises(InputError, match="keeps the widths"):
        run.sgd(0.1, width=3)
    with pytest.raises(InputError, match="run.regime"):
        run.linearized()


def test_regime_of_one_hidden_layer_is_that_of_particles(
    rng: np.random.Generator, step_by_step: None
) -> None:
    """Movement, kernels, flips and the kernel predictor on the run's clock, weighted data included."""
    X, y, weight = rng.standard_normal((15, 2)), rng.standard_normal(15), rng.uniform(0.5, 2.0, 15)
    two = mf.TwoLayer("tanh", d=2)
    mu = mf.ParticleMeasure.gaussian(two, width=12, rng=0)
    net = deep.Dense((2, 12, 1), mf.Tanh(), "mean_field", bias=True)
    for sample_weight in (None, weight):
        theirs = mf.Objective(two, X, y, sample_weight=sample_weight)
        ours = deep.Problem(net, X, y, sample_weight=sample_weight)
        a = solvers.integrate(mf.SGD(theirs, 0.1, batch=5, rng=3), mu, 2.0, save=2)
        b = solvers.integrate(deep.SGD(ours, 0.1, batch=5, rng=3), net.from_measure(mu), 2.0, save=2)
        assert b["objective"][-1] == pytest.approx(a["objective"][-1], rel=1e-12)
        left, right = a.regime(X[:4], y[:4]), b.regime(X[:4], y[:4])
        assert left.keys() == right.keys() and len(left) > 12
        for name in left:
            # rounding, and for the predictor two ways to exponentials of one kernel
            assert right[name] == pytest.approx(left[name], rel=1e-9), name
        steps = mf.elasticity(a, X[:3], y=y[:3]), mf.elasticity(b, X[:3], y=y[:3])
        np.testing.assert_allclose(steps[1].s_ker, steps[0].s_ker, rtol=1e-6)  # differences of predictions


def test_models_leave_out_what_is_frozen(rng: np.random.Generator) -> None:
    X = rng.standard_normal((4, 3))
    for parametrization in ("ntk", "mean_field", "allen_zhu"):
        net = deep.Dense((3, 6, 6, 2), parametrization=parametrization)
        w = net.init(rng=0)
        model = net.model(w)
        assert model.parameters.size == np.count_nonzero(net.rates)
        rows = model.rows(X)
        # sums of some tens
        np.testing.assert_allclose(rows @ rows.T, net.tangent_kernel(w, X), rtol=0, atol=1e-11)
        np.testing.assert_allclose(model.at(model.parameters).values(X), net.predict(w, X), rtol=1e-14)
    conv = deep.ConvNet((5, 2), (3, 2))
    assert conv.model(conv.init()).active(rng.standard_normal((4, 5, 2))).shape == (4, 25)


@pytest.mark.parametrize("cls", [deep.Dense, deep.ConvNet])
def test_weighted_data(cls: Any, rng: np.random.Generator) -> None:
    """A weight of 2 is a datum that is there twice; one of weight 0 is not there."""
    X, y = rng.standard_normal((4, 3)), rng.integers(0, 2, 4)
    net = deep.Dense((3, 5, 2)) if cls is deep.Dense else deep.ConvNet((3, 1), (4,), 2)
    w, weight = net.init(rng=0), np.array([2.0, 1.0, 0.0, 2.0])
    for loss in (mf.CrossEntropy(), mf.CrossEntropy(reduction="sum")):
        one = deep.Problem(net, X, y, loss, sample_weight=weight)
        other = deep.Problem(net, X[[0, 0, 1, 3, 3]], y[[0, 0, 1, 3, 3]], loss)
        assert one.value(w) == pytest.approx(other.value(w), rel=1e-14)
        assert one.accuracy(w) == other.accuracy(w)
        np.testing.assert_allclose(one.gradient(w).flat, other.gradient(w).flat, rtol=0, atol=1e-14)
        assert one.describe() != deep.Problem(net, X, y, loss, sample_weight=np.ones(4)).describe()
        assert one.describe() != deep.Problem(net, X, 1 - y, loss, sample_weight=weight).describe()
    flow, mean = deep.SGD(one, 0.1, batch=1, rng=0), np.zeros(net.size)
    batches = [flow.batch_at(k) for k in range(200)]
    shares = np.mean([(batch[0].reshape(1, 3) == X).all(axis=1) for batch in batches], axis=0)
    # drawn with their weights: 4 standard deviations of a share of 200
    assert shares[2] == 0.0 and np.abs(shares - weight / 5).max() < 4 * np.sqrt(0.24 / 200)
    for i in (0, 1, 3):
        single = (one.X[[i]], one.y[[i]], batches[0][2])
        mean += weight[i] / 5 * one.slope(w.flat, np.empty(net.size), single)
    np.testing.assert_allclose(mean, one.gradient(w).flat, rtol=0, atol=1e-13)  # sums in another order
    # a datum of weight 0 may contradict another one
    X[2], y[2] = X[0], 1 - y[0]
    deep.Problem(net, X, y, "cross_entropy", weight)


def test_batches_are_those_of_particles(rng: np.random.Generator, step_by_step: None) -> None:
    """Without replacement, and fresh from a population."""
    two = mf.TwoLayer(mf.ReLU(), d=3, bias=False)
    mu = mf.ParticleMeasure.gaussian(two, width=6, rng=0)
    net = deep.Dense((3, 6, 1), parametrization="mean_field")
    X, y = rng.standard_normal((15, 3)), rng.standard_normal(15)

    def sampler(draw: Any, size: int) -> Any:
        points = draw.standard_normal((size, 3))
        return points, points[:, :1]

    for loss in ("squared", mf.SquaredLoss(reduction="sum")):
        theirs, ours = mf.Objective(two, X, y, loss), deep.Problem(net, X, y, loss)
        for settings in ({"replace": False}, {"sampler": sampler}):
            a = solvers.integrate(mf.SGD(theirs, 0.02, batch=5, rng=3, **settings), mu, 0.2, save=2)
            flow = deep.SGD(ours, 0.02, batch=5, rng=3, **settings)
            b = solvers.integrate(flow, net.from_measure(mu), 0.2, save=2)
            # sums in another order
            np.testing.assert_allclose(
                net.to_measure(b.final).positions, a.final.positions, rtol=0, atol=1e-12
            )
    assert len(set(flow.describe()) & {"replace", "sampler"}) == 2
    drawn = deep.SGD(ours, 0.02, batch=15, replace=False).batch_at(3)
    np.testing.assert_array_equal(np.sort(drawn[1]), np.sort(y))
    y[0] += 1.0  # data that are changed afterwards do not change the problem
    X[0] += 1.0
    assert ours.y[0] == y[0] - 1.0 and (ours.X[0] != X[0]).all()


NET = deep.Dense((2, 4, 4, 1))
CONV = deep.ConvNet((8, 1), (4,))
X2, Y2 = np.eye(2), np.array([1.0, -1.0])
REFUSED = [
    (lambda: deep.Dense((3,)), "widths must be the inputs, one hidden layer at least"),
    (lambda: deep.Dense(5), "widths must be the inputs"),
    (lambda: deep.Dense((3, [4], 1)), "each of widths must be an integer"),
    (lambda: deep.Dense((3, 0, 1)), "each of widths must be positive, not 0"),
    (lambda: deep.Dense({3, 4, 1}), "widths must be the inputs"),
    (lambda: deep.Dense((3, 4, 1), b_var=-1.0), "b_var must be non-negative"),
    (lambda: deep.ResNet((3, 4, 4, 1), skip=""), "skip must be one of"),
    (lambda: NET.predict(NET.init(), np.ones(2)), r"its shape is \(2,\); pass X\[None\] for one point"),
    (lambda: deep.Dense((1, 2, 1)).check_inputs(np.ones(5)), r"pass X\[:, None\]"),
    (lambda: CONV.predict(CONV.init(), np.ones((3, 1, 8))), "channels come last"),
    (lambda: CONV.predict(CONV.init(), 3.0), r"its shape is \(\)"),
    (lambda: CONV.predict(CONV.init(), None), r"its shape is \(\)"),
    (lambda: NET.predict(np.full(28, np.nan), X2), "the training that made them diverged"),
    (lambda: mf.SGD(deep.Problem(NET, X2, Y2), 0.1), "trained by mf.finite.deep.SGD"),
    (
        lambda: deep.Problem(deep.Dense((2, 4, 2)), X2, 2.0 * X2).accuracy(deep.Dense((2, 4, 2)).init()),
        "accuracy of several outputs needs classes",
    ),
    (lambda: deep.Dense((3, 2.5, 1)), "each of widths must be an integer"),
    (lambda: deep.Dense((3, 4, 1), parametrization="NTK"), "parametrization must be one of"),
    (lambda: deep.Dense((3, 4, 1), parametrization="allen_zhu"), "two hidden layers at least"),
    (lambda: deep.Dense((3, 4, 4, 1), parametrization="allen_zhu", bias=True), "no biases"),
    (lambda: deep.Dense((3, 4, 1), train=(2,)), "layers 0 to 1"),
    (lambda: deep.Dense((3, 4, 1), train="a"), "a layer in train must be an integer"),
    (lambda: deep.Dense((3, 4, 1), w_var=-1.0), "w_var must be positive"),
    (lambda: deep.Dense((3, 4, 1), bias=1), "bias must be True or False"),
    (lambda: deep.ResNet((3, 4, 5, 1)), "widths must be equal between the ends"),
    (lambda: deep.ResNet((3, 4, 1)), "two hidden layers at least"),
    (lambda: deep.ResNet((3, 4, 4, 1), skip="both"), "skip must be one of"),
    (lambda: deep.ResNet((3, 4, 4, 1), branch=0.0), "branch must be positive"),
    (lambda: deep.ConvNet((8,), (4,)), r"shape must be \(length, channels\) or"),
    (lambda: deep.ConvNet((8, 8, 8, 1), (4,)), "one or two axes of positions"),
    (lambda: deep.ConvNet((8, 1), ()), "channels must be those of the hidden layers"),
    (lambda: deep.ConvNet((8, 1), (0,)), "each of channels must be positive"),
    (lambda: deep.ConvNet((8, 1), (4,), kernel=2), "kernel must be odd"),
    (lambda: deep.ConvNet((5, 1), (4,), kernel=7, padding="circular"), "kernel=7 is larger than"),
    (lambda: deep.ConvNet((8, 1), (4,), padding="same"), "padding must be one of"),
    (lambda: deep.ConvNet((8, 1), (4,), readout="max"), "readout must be one of"),
    (lambda: deep.ConvNet((8, 1), (4,), parametrization="allen_zhu"), "two hidden layers at least"),
    (lambda: CONV.predict(CONV.init(), np.ones((3, 9))), r"X must have shape \(n, 8, 1\) or \(n, 8\)"),
    (lambda: NET.predict(NET.init(), np.ones((3, 5))), r"X must have shape \(n, 2\)"),
    (lambda: NET.predict(NET.init(), [[np.nan, 1.0]]), "X holds 1 value"),
    (lambda: NET.predict(np.ones(3), X2), "a vector of all 28 of them"),
    (lambda: NET.predict(deep.Dense((2, 3, 1)).init(), X2), "belong to another network"),
    (lambda: NET.gradient(NET.init(), X2, np.ones(3)), "q must have shape"),
    (lambda: NET.from_measure(None), "one hidden layer and parametrization='mean_field'"),
    (lambda: deep.Weights({"a": [1.0]}), "weights are named W0"),
    (lambda: deep.Weights({0: [1.0]}), "weights are named W0"),
    (lambda: deep.Weights({"W0": [1.0]}), "W0 must have 2 axes"),
    (lambda: deep.Problem("net", X2, Y2), "net must be a network"),
    (lambda: deep.Problem(NET, X2, [1.0]), "one entry per row of X"),
    (lambda: deep.Problem(NET, X2, [1.0, np.nan]), "y holds 1 value"),
    (lambda: deep.Problem(NET, X2, np.ones((2, 2))), r"y has 2 column\(s\), but the network has 1 output"),
    (lambda: deep.Problem(NET, X2, [0.0, 1.0], loss="logistic"), "labels"),
    (lambda: deep.Problem(NET, X2, [0, 1], loss="cross_entropy"), "2 outputs at least"),
    (
        lambda: deep.Problem(deep.Dense((2, 4, 2)), X2, [0, 2], loss="cross_entropy"),
        "class 2, but .* 2 outputs",
    ),
    (lambda: deep.Problem(NET, X2, [0.5, 2.0]).accuracy(NET.init()), "labels -1 and 1"),
    (lambda: deep.SGD(NET, 0.1), "needs a mf.finite.deep.Problem"),
    (lambda: deep.SGD(deep.Problem(NET, X2, Y2), -0.1), "step must be positive"),
    (lambda: deep.SGD(deep.Problem(NET, X2, Y2), 0.1, batch=0), "batch must be positive"),
    (lambda: deep.SGD(deep.Problem(NET, X2, Y2), 0.1, batch=3, replace=False), "as many data, not 2"),
    (lambda: deep.SGD(deep.Problem(NET, X2, Y2), 0.1, sampler=print), "say how many a step"),
    (lambda: deep.SGD(deep.Problem(NET, X2, Y2), 0.1, 2, sampler="x"), "sampler must be a function"),
    (lambda: deep.SGD(deep.Problem(NET, X2, Y2), 0.1, 2, sampler=lambda g, n: X2).batch_at(0), "return X, y"),
    (
        lambda: deep.SGD(deep.Problem(NET, X2, Y2), 0.1, 2, sampler=lambda g, n: (X2, [1.0])).batch_at(0),
        "one label for each of its 2 points",
    ),
    (lambda: deep.Problem(NET, X2, Y2, sample_weight=[1.0]), "sample_weight must have shape"),
    (lambda: deep.Problem(NET, X2, Y2, sample_weight=[1.0, -1.0]), "non-negative with a positive sum"),
    (
        lambda: solvers.integrate(deep.GradientFlow(deep.Problem(NET, X2, Y2)), np.ones(3), 1.0),
        "weights must be",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_points_that_coincide_with_other_labels() -> None:
    X, y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), [1.0, 1.0, -1.0]
    with pytest.raises(InputError, match="rows 0 and 2 of X coincide.* the theorem needs points apart"):
        deep.Problem(deep.Dense((2, 4, 4, 1), parametrization="allen_zhu"), X, y)
    with pytest.warns(UserWarning, match="rows 0 and 2 of X coincide.* no weights reach zero loss"):
        deep.Problem(NET, X, y)
    deep.Problem(NET, X, [1.0, -1.0, 1.0])  # alike: nothing to say


def test_what_is_larger_than_memory(monkeypatch: Any) -> None:
    w = NET.init()
    monkeypatch.setattr("solvers._memory.fits", lambda needed: needed < 100)
    with pytest.raises(InputError, match="28 weights would take .* take smaller widths"):
        NET.init()
    with pytest.raises(InputError, match="activations of all layers at 4 points would take"):
        NET.activations(w, np.ones((4, 2)))
    with pytest.raises(InputError, match="a kernel of 4 by 4 predictions would take .* fewer points"):
        NET.tangent_kernel(w, np.ones((4, 2)))
    with pytest.raises(InputError, match="the gradients of 2 predictions in 28 weights would take"):
        NET.jacobian(w, X2)


def test_what_two_layer_networks_offer_says_what_serves_deep_ones() -> None:
    net = deep.Dense((2, 8, 1))
    problem, weights, X = deep.Problem(net, np.eye(2), [1.0, -1.0]), net.init(rng=0), np.eye(2)
    np.testing.assert_array_equal(
        mf.kernels.empirical(net, weights, X, X[:1]), net.tangent_kernel(weights, X, X[:1])
    )
    with pytest.raises(InputError, match="layers are those of TwoLayer"):
        mf.kernels.empirical(net, weights, X, layers="a")
    for flow in (mf.WassersteinFlow, mf.LangevinFlow):
        with pytest.raises(PluginError, match=r"mf\.finite\.deep\.SGD"):
            flow(problem, **({"tau": 0.1} if flow is mf.LangevinFlow else {}))
    for kinked in (deep.SGD(problem, 0.1), deep.GradientFlow(problem)):
        with pytest.raises(InputError, match="stable_step of mf.overparametrization"):
            mf.largest_stable_step(kinked, weights)
    with pytest.raises(InputError, match=r"pass net\.model\(weights\)"):
        mf.elasticity((net, weights), X, X, step=1e-3)
    with pytest.raises(InputError, match=r"mf\.kernels\.deep\.serial"):
        mf.fluctuations.predict(solvers.integrate(deep.SGD(problem, 0.1), weights, 0.2))
    smooth = deep.Problem(deep.Dense((2, 8, 1), "tanh"), np.eye(2), [1.0, -1.0])
    assert 0.0 < mf.largest_stable_step(deep.GradientFlow(smooth), weights) < np.inf


def test_a_checkpoint_of_other_data_says_so(tmp_path: Any) -> None:
    net = deep.Dense((2, 8, 1))
    flows = [deep.SGD(deep.Problem(net, np.eye(2), y), 0.1) for y in ([1.0, -1.0], [1.0, 1.0])]
    solvers.integrate(
        flows[0], net.init(rng=0), 1.0, observers=[solvers.Checkpoint(tmp_path / "c.npz", steps=2)]
    )
    with pytest.raises(solvers.FileFormatError, match="data_sha256 of its flow was"):
        solvers.integrate(flows[1], net.init(rng=0), 1.0, resume=tmp_path / "c.npz")

"""Dropping neurons against all subsets, paths against the networks on them, permutations undone, refusals."""

from __future__ import annotations

import pickle
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import meanfield as mf
import solvers
from meanfield.diagnostics._landscape import dropping, measures
from meanfield.finite import deep
from solvers.errors import InputError


def objective(outputs: int = 1, **options: Any) -> Any:
    draw = np.random.default_rng(0)
    X, y = draw.standard_normal((7, 3)), draw.standard_normal((7, outputs))
    return mf.Objective(mf.TwoLayer("relu", d=3, outputs=outputs), X, y, **options)


def neurons(problem: Any, width: int, seed: int = 0) -> Any:
    return mf.ParticleMeasure.gaussian(problem.network, width, rng=seed)


def conv(readout: str = "flatten") -> Any:
    net = deep.ConvNet((5, 1), (4, 5), 2, readout=readout, bias=True)
    draw = np.random.default_rng(1)
    X, y = draw.standard_normal((6, 5)), draw.standard_normal((6, 2))
    return deep.Problem(net, X, y, sample_weight=np.arange(1.0, 7.0))


def dense(widths: Any = (3, 6, 7, 5, 1), cls: Any = deep.Dense, **options: Any) -> Any:
    draw = np.random.default_rng(1)
    net = cls(widths, bias=True, **options)
    return deep.Problem(net, draw.standard_normal((6, 3)), draw.standard_normal(6))


# -- dropping -----------------------------------------------------------------------------------------------------


def test_dropping_one_of_each_pair_of_twins_changes_nothing() -> None:
    problem = objective()
    half = neurons(problem, 5)
    pairs = mf.ParticleMeasure(np.repeat(half.positions, 2, axis=0))
    thin = mf.landscape.drop(problem, pairs, [0, 3, 4, 7, 8])
    assert thin.width == 5 and thin.mass == pytest.approx(1.0)
    # sums of ten numbers of order one
    np.testing.assert_allclose(problem.predict(thin), problem.predict(pairs), rtol=0, atol=1e-14)
    alike = mf.ParticleMeasure(np.repeat(half.positions[:1], 8, axis=0))
    report = mf.landscape.dropout(problem, alike, draws=3)
    assert report.expected == pytest.approx(0.0, abs=1e-15) and report.changes.max() < 1e-28


@pytest.mark.parametrize("kind", ["one output", "two outputs", "signed", "dense", "conv", "mean"])
def test_variances_are_those_of_all_subsets(kind: str) -> None:
    """Every set of k neurons, and every outcome of the coins with its probability."""
    if kind in ("one output", "two outputs", "signed"):
        problem = objective(1 + (kind == "two outputs"), sample_weight=np.arange(1.0, 8.0), scale=2.0)
        state, m, layers = neurons(problem, 5), 5, None
        if kind == "signed":
            draw = np.random.default_rng(3)
            state = mf.ParticleMeasure(state.positions, draw.random(5), [1, -1, 1, 1, -1])
        weights = np.arange(1.0, 8.0) / 28
    else:
        problem = dense((3, 4, 5, 1)) if kind == "dense" else conv("flatten" if kind == "conv" else "mean")
        state, m, layers = problem.net.init(rng=2), 5, [1]
        weights = np.full(6, 1 / 6) if kind == "dense" else np.arange(1.0, 7.0) / 21
    f = problem.predict(state)
    p = 0.4  # two of five
    subsets = [problem.predict(mf.landscape.drop(problem, state, s)) for s in combinations(range(m), 2)]
    np.testing.assert_allclose(np.mean(subsets, axis=0), f, rtol=0, atol=1e-13)

    def square(values: Any, probability: Any = None) -> float:
        gaps = np.square(np.array(values) - f).reshape(len(values), len(f), -1).sum(axis=2) @ weights
        return float(np.average(gaps, weights=probability))

    found = mf.landscape.dropout(problem, state, p, draws=2, layers=layers)
    assert found.remaining == (2,) and found.expected == pytest.approx(square(subsets), rel=1e-12)
    loss = np.mean([problem.loss.value(one, problem.y, **_weights(problem)) for one in subsets])
    assert found.expected_loss == pytest.approx(loss, rel=1e-12)

    # coins: f' - f is linear in the coins, so that single drops give the variance
    rest = _rest(problem, f, state)
    without = [
        problem.predict(mf.landscape.drop(problem, state, np.delete(np.arange(m), j))) for j in range(m)
    ]
    parts = [f - rest - (1 - 1 / m) * (one - rest) for one in without]
    outcomes = list(product((0, 1), repeat=m))
    thinned = [f + sum((coin / p - 1) * part for coin, part in zip(o, parts, strict=True)) for o in outcomes]
    chance = [p ** sum(o) * (1 - p) ** (m - sum(o)) for o in outcomes]
    coins = mf.landscape.dropout(problem, state, p, draws=2, law="coins", layers=layers)
    assert coins.expected == pytest.approx(square(thinned, chance), rel=1e-11)


def _weights(problem: Any) -> dict[str, Any]:
    weight = getattr(problem, "sample_weight", None)
    return {} if weight is None else {"weights": weight}


def _rest(problem: Any, f: Any, state: Any) -> Any:
    """What is left of f without any neuron: the bias of the output."""
    if not isinstance(problem, deep.Problem):
        return np.zeros_like(f)
    last = problem.net.layers[-1]
    return np.zeros_like(f) + last.shift * state[f"b{len(problem.net.layers) - 1}"]


@pytest.mark.parametrize("law", ["count", "coins"])
@pytest.mark.parametrize("make", [lambda: (objective(), None), lambda: (dense(), [2])])
def test_draws_have_the_expected_mean(law: str, make: Any) -> None:
    problem, layers = make()
    state = problem.net.init(rng=0) if layers else neurons(problem, 40)
    report = mf.landscape.dropout(problem, state, 0.5, draws=400, law=law, layers=layers, rng=1)
    rise = report.expected_loss - report.loss
    for found, exact in ((report.mean_square, report.expected), (report.loss_change, rise)):
        # within twice the confidence interval: fails by chance once in 10^4
        assert abs(found.mean - exact) < 2 * (found.high - found.low) / 2
    assert report.largest_loss_change >= report.loss_change.mean


def test_the_variance_of_neurons_that_are_nearly_alike() -> None:
    """No digits are lost to their mean, in one block of neurons or in several."""
    problem = objective()
    state = neurons(problem, 12)
    near = (
        state.positions[:1] + 1e-8 * np.eye(5)[0] * np.arange(12.0)[:, None]
    )  # outer weights: phi is linear in them
    hidden = problem.network.features(near[:1], problem.X)[0] / near[0, 0]
    expected = 1 / 12 * np.var(1e-8 * np.arange(12.0), ddof=1) * np.mean(hidden**2)
    for size in (measures.BLOCK_BYTES, 5 * 8 * 7):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(measures, "BLOCK_BYTES", size)
            found = mf.landscape.dropout(problem, mf.ParticleMeasure(near), draws=2)
            # gaps of 1e-8 between numbers of order one have eight digits
            assert found.expected == pytest.approx(expected, rel=1e-6, abs=0)


def test_draws_in_groups_and_neurons_in_blocks_are_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for problem, state in ((objective(), neurons(objective(), 6)), (dense(), dense().net.init(rng=0))):
        whole = mf.landscape.dropout(problem, state, draws=7, rng=3)
        monkeypatch.setattr(dropping, "DRAW_BYTES", 8 * (3 * len(problem.y) + 2 * sum(whole.widths)) * 3)
        monkeypatch.setattr(measures, "BLOCK_BYTES", 4 * 8 * 7)  # and neurons in blocks of four
        parts = mf.landscape.dropout(problem, state, draws=7, rng=3)
        monkeypatch.undo()
        np.testing.assert_allclose(parts.losses, whole.losses, rtol=1e-13)
        np.testing.assert_allclose(parts.changes, whole.changes, rtol=1e-12)


def test_blas_of_thinned_networks_runs_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sums depend on the number of threads."""
    problem = objective()
    state, seen = neurons(problem, 6), []
    tensordot = np.tensordot

    def watched(*given: Any, **options: Any) -> Any:
        seen.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return tensordot(*given, **options)

    monkeypatch.setattr(measures.np, "tensordot", watched)
    with threadpool_limits(2, "blas"):
        mf.landscape.dropout(problem, state, draws=2)
    assert seen and set(seen) == {1}


def test_independent_neurons_change_by_their_mean_square() -> None:
    problem, p = objective(), 0.25
    state = neurons(problem, 30)
    phi = problem.network.features(state.positions, problem.X)
    found = mf.landscape.dropout(problem, state, p, draws=1, law="coins")
    assert found.expected == pytest.approx((1 / p - 1) / 30 * np.mean(phi**2), rel=1e-12)
    assert np.isnan(found.mean_square.low)  # one draw says nothing about its error


def test_nothing_is_dropped_with_keep_one_and_all_may_be_by_coins() -> None:
    problem = objective()
    for m in (1, 4):
        for law in ("count", "coins"):
            report = mf.landscape.dropout(problem, neurons(problem, m), 1.0, draws=2, law=law)
            assert report.expected == 0.0 and report.changes.max() < 1e-28
    report = mf.landscape.dropout(problem, neurons(problem, 1), 0.5, draws=20, law="coins")
    f = problem.predict(neurons(problem, 1))
    np.testing.assert_allclose(report.changes, np.mean(f**2))  # f is doubled or 0


def test_deep_networks_are_thinned_layer_by_layer() -> None:
    problem = dense((3, 4, 4, 1))
    state = problem.net.init(rng=0)
    report = mf.landscape.dropout(problem, state, 0.5, draws=5)
    assert report.expected is None and report.widths == (4, 4) and report.layers == (0, 1)
    thin = mf.landscape.drop(problem, mf.landscape.drop(problem, state, [0, 2], layer=0), [1, 3])
    hidden = [problem.net.activations(state, problem.X)[0]]
    z = np.sqrt(2 / 4) * 2 * hidden[0][:, [0, 2]] @ state["W1"][:, [0, 2]].T + state["b1"]
    f = np.sqrt(2 / 4) * 2 * np.maximum(z, 0)[:, [1, 3]] @ state["W2"][0, [1, 3]] + state["b2"]
    np.testing.assert_allclose(problem.predict(thin), f, rtol=1e-13)


# -- paths --------------------------------------------------------------------------------------------------------


def check_path(problem: Any, found: Any, a: Any, b: Any, loss: Any) -> None:
    """Losses are those of the networks on the path; output-only pieces are convex; the others change nothing."""
    values = np.array([[loss(found.path(t, draw=j)) for t in found.t] for j in range(found.losses.shape[1])])
    np.testing.assert_allclose(found.losses[0], values, rtol=1e-11)
    assert found.path(0.0) is not None and loss(found.path(1.0)) == pytest.approx(loss(b), rel=1e-13)
    pieces, each = len(found.output_only), (len(found.t) - 1) // len(found.output_only)
    for k in range(pieces):
        piece = values[:, k * each : (k + 1) * each + 1]
        if found.output_only[k]:
            assert np.diff(piece, 2).min() > -1e-12
        else:
            np.testing.assert_allclose(piece, piece[:, :1] + 0 * piece, rtol=1e-11)
    assert found.barrier == pytest.approx(np.mean(values.max(axis=1) - max(loss(a), loss(b))))


@pytest.mark.parametrize("width", [2, 7, 10])
def test_the_path_through_half_the_neurons(width: int) -> None:
    problem = objective()
    a, b = neurons(problem, width, 1), neurons(problem, width, 2)
    found = mf.landscape.connect(problem, a, b, points=21, draws=3)
    check_path(problem, found, a, b, problem.value)
    for t in np.linspace(0, 1, 17):
        state = found.path(t)
        assert state.width == width and state.mass == pytest.approx(1.0)
    np.testing.assert_array_equal(found.path(0.0).positions, a.positions)
    np.testing.assert_array_equal(found.path(1.0).positions, b.positions)
    assert found.barriers[0, found.best] == found.barriers.min()


def test_one_hidden_layer_is_the_measure() -> None:
    problem = objective()
    net = deep.Dense((3, 6, 1), parametrization="mean_field", bias=True)
    same = deep.Problem(net, problem.X, problem.y)
    a, b = neurons(problem, 6, 1), neurons(problem, 6, 2)
    left, right = net.from_measure(a), net.from_measure(b)
    for path in ("dropout", "line"):
        ours = mf.landscape.connect(problem, a, b, path, draws=3, rng=4)
        theirs = mf.landscape.connect(same, left, right, path, draws=3, rng=4)
        np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-12)
    assert mf.landscape.dropout(problem, a).expected == pytest.approx(
        mf.landscape.dropout(same, left).expected, rel=1e-12
    )


@pytest.mark.parametrize("make", [lambda: dense((3, 5, 2)[:2] + (1,)), dense, conv, lambda: conv("mean")])
def test_deep_paths_halve_layer_after_layer(make: Any) -> None:
    problem = make()
    a, b = problem.net.init(rng=1), problem.net.init(rng=2)
    found = mf.landscape.connect(problem, a, b, points=3, draws=2)
    layers = len(problem.net.layers)
    assert len(found.output_only) == 4 * (layers - 1) + 1
    check_path(problem, found, a, b, problem.value)
    np.testing.assert_array_equal(found.path(1.0).flat, b.flat)
    for k, moving in enumerate(found.output_only):
        if moving:  # all but the output layer stays
            one, other = (found.path(found.corners[i], draw=1) for i in (k, k + 1))
            for i in range(layers - 1):
                np.testing.assert_array_equal(one[f"W{i}"], other[f"W{i}"])


@pytest.mark.parametrize("make", [objective, dense, lambda: dense((3, 4, 5, 1)), conv])
def test_paths_lead_through_networks_thinned_by_dropping(make: Any) -> None:
    """The corner where every layer is halved, and rescaled, on either side."""
    problem = make()
    two_layers = isinstance(problem, mf.Objective)
    a, b = (neurons(problem, 7, s) if two_layers else problem.net.init(rng=s) for s in (1, 2))
    found = mf.landscape.connect(problem, a, b, points=3, draws=1)
    halves = found._nodes.halves[0][0]
    hidden = len(halves)
    for state, side, corner in ((a, 0, 2 * hidden - 1), (b, 1, 2 * hidden + 2)):
        thin = state
        for layer, half in enumerate(halves):
            thin = mf.landscape.drop(problem, thin, half[side], layer=layer)
        f = problem.predict(found.path(found.corners[corner]))
        np.testing.assert_allclose(f, problem.predict(thin), rtol=0, atol=1e-13 * np.abs(f).max())
        assert not set(halves[0][0]) & set(halves[0][1])


@pytest.mark.parametrize(
    "make", [dense, conv, lambda: conv("mean"), lambda: dense((3, 5, 5, 5, 1), deep.ResNet)]
)
def test_deep_units_in_another_order_are_found(make: Any) -> None:
    from meanfield.diagnostics._landscape.deep import Layers

    problem = make()
    a, draw = problem.net.init(rng=1), np.random.default_rng(0)
    orders = [draw.permutation(layer.out) for layer in problem.net.layers[:-1]]
    if isinstance(problem.net, deep.ResNet):
        orders = [orders[0]] * len(orders)
    b = Layers(problem).permuted(a, orders)
    np.testing.assert_allclose(problem.predict(b), problem.predict(a), rtol=0, atol=1e-13)
    assert np.ptp(mf.landscape.connect(problem, a, b, "line", points=5).losses) > 1e-3
    found = mf.landscape.connect(problem, a, b, "aligned", points=5)
    # units that are dead on all data can stand anywhere: the function is the same, but for rounding
    assert np.ptp(found.losses) < 1e-12


def test_neurons_in_another_order_are_found() -> None:
    problem = objective()
    a = mf.ParticleMeasure(neurons(problem, 9).positions, np.arange(1.0, 10.0) / 45)
    order = np.random.default_rng(0).permutation(9)
    b = mf.ParticleMeasure(a.positions[order], a.weights[order])
    line = mf.landscape.connect(problem, a, b, "line")
    assert np.ptp(line.losses) > 1e-3 and line.t[0] == 0.0 and line.t[-1] == 1.0
    np.testing.assert_array_equal(line.losses[0, 0], [problem.value(line.path(t)) for t in line.t])
    found = mf.landscape.connect(problem, a, b, "aligned")
    assert np.ptp(found.losses) < 1e-14
    np.testing.assert_array_equal(found.path(0.5).positions, a.positions)
    # of two different clouds, the matching is that of W2
    a, other = neurons(problem, 40), neurons(problem, 40, 5)
    end = mf.landscape.connect(problem, a, other, "aligned").path(1.0)
    length = np.mean(np.sum((end.positions - a.positions) ** 2, axis=1)) ** 0.5
    assert length == pytest.approx(solvers.wasserstein(a, other), rel=1e-9)


def test_lines_on_a_torus_go_the_short_way_and_signs_may_flip() -> None:
    network = mf.Spikes(1, 3)
    problem = mf.Objective.deconvolution(network, [0.1], [1.0])
    a = mf.ParticleMeasure([[0.2]], [1.0], [1.0])
    b = mf.ParticleMeasure([[2 * np.pi - 0.2]], [1.0], [-1.0])
    middle = mf.landscape.connect(problem, a, b, "line", points=3).path(0.5)
    assert np.cos(middle.positions[0, 0]) == pytest.approx(1.0) and middle.mass == pytest.approx(
        0.0, abs=1e-15
    )


def test_confidence_is_over_pairs_where_there_are_several() -> None:
    problem = objective()
    states = [neurons(problem, 8, seed) for seed in range(6)]
    found = mf.landscape.connect(problem, states[:3], states[3:], draws=4)
    means = found.barriers.mean(axis=1)
    half = 4.302653 * means.std(ddof=1) / np.sqrt(3)
    assert found.interval.high - found.interval.mean == pytest.approx(half, rel=1e-6)
    line = mf.landscape.connect(problem, states[:3], states[3:], "line")
    assert line.losses.shape[:2] == (3, 1) and np.isfinite(line.interval.low)
    np.testing.assert_array_equal(found.path(1.0, draw=3, pair=2).positions, states[5].positions)


# -- shown, and refused -------------------------------------------------------------------------------------------


def test_reports_are_shown(tmp_path: Path) -> None:
    problem = objective()
    runs = [solvers.integrate(mf.SGD(problem, step=0.1), neurons(problem, 6, seed), 0.3) for seed in (0, 1)]
    report = mf.landscape.dropout(runs[0], draws=4)
    assert report.loss == pytest.approx(runs[0]["objective"][-1])
    assert "of 6 neurons exactly 3 kept" in repr(report) and "in expectation" in repr(report)
    few = repr(mf.landscape.dropout(runs[0], keep=0.05, draws=2, law="coins"))
    assert "each by a coin, on average 0.3 kept" in few
    found = mf.landscape.connect(runs[0], *runs, draws=3)
    assert repr(found).startswith("Connection(dropout path, TwoLayer(") and "3 draw(s)" in repr(found)
    for one in (report, found):
        assert "<table" in one._repr_html_()
        one.plot(csv=tmp_path / "a.csv")
        one.to_csv(tmp_path / "b.csv")
    lines = (tmp_path / "b.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "t,pair_0_draw_0,pair_0_draw_1,pair_0_draw_2" and len(lines) == len(found.t) + 1


TWO = objective()
DEEP = dense()
MU, NU = neurons(TWO, 6), neurons(TWO, 8)
WIDER = mf.ParticleMeasure.gaussian(mf.TwoLayer("relu", d=2, outputs=2), 6, rng=0)
TANH = mf.Objective(mf.TwoLayer("tanh", d=3), TWO.X, TWO.y)
WEIGHTS = DEEP.net.init(rng=0)
NAN = deep.Weights.over(np.full(DEEP.net.size, np.nan), DEEP.net.shapes)
OTHER = deep.Dense((3, 4, 1)).init(rng=0)
SKIPS = dense((3, 5, 5, 1), deep.ResNet)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mf.landscape.dropout(3, MU), "problem must be an mf.Objective"),
        (lambda: mf.landscape.dropout(TWO, WEIGHTS), "must be a ParticleMeasure"),
        (lambda: mf.landscape.dropout(TWO), "state is missing"),
        (lambda: mf.landscape.dropout(TWO, 0.25), "passed as keep=0.25"),
        (lambda: mf.landscape.dropout(DEEP, MU), "state must be Weights"),
        (lambda: mf.landscape.dropout(DEEP, OTHER), "2 layers instead of 4"),
        (lambda: mf.landscape.dropout(DEEP, NAN), "NaN or infinite"),
        (lambda: mf.landscape.dropout(TWO, mf.ParticleMeasure([[1.0]])), "R\\^1, .* another network"),
        (lambda: mf.landscape.dropout(TWO, WIDER), "of the parts .*'a': \\(0, 2\\).*another network"),
        (lambda: mf.landscape.dropout(mf.LinearizedFlow(TANH, MU).objective, MU), "tied to the neurons"),
        (lambda: mf.landscape.dropout(TWO, MU, 0.0), "share .* in \\(0, 1\\], not 0"),
        (lambda: mf.landscape.dropout(TWO, MU, 1.5), "keep .* in \\(0, 1\\]"),
        (lambda: mf.landscape.dropout(TWO, MU, 0.01), "leaves none"),
        (lambda: mf.landscape.dropout(TWO, MU, 0.99), "drops none"),
        (lambda: mf.landscape.dropout(TWO, neurons(TWO, 1), 0.4), "1 neuron\\(s\\) leaves none"),
        (lambda: mf.landscape.dropout(TWO, MU, law="half"), "law must be"),
        (lambda: mf.landscape.dropout(TWO, MU, layers=[1]), "from 0 to 0"),
        (lambda: mf.landscape.dropout(DEEP, WEIGHTS, layers=2), "numbers of hidden layers"),
        (
            lambda: mf.landscape.dropout(DEEP, WEIGHTS, layers=[True]),
            "layers must be .* from 0 to 2, not \\[True\\]",
        ),
        (lambda: mf.landscape.dropout(DEEP, WEIGHTS, layers=[1, 1.0]), "layers must be different"),
        (lambda: mf.landscape.dropout(DEEP, WEIGHTS, layers=[-1]), "layers must be .* not \\[-1\\]"),
        (lambda: mf.landscape.drop(DEEP, WEIGHTS, [0], layer=3), "layer must be .* from 0 to 2, not 3"),
        (lambda: mf.landscape.dropout(SKIPS, SKIPS.net.init()), "skips tie"),
        (lambda: mf.landscape.drop(TWO, MU, [0, 0]), "different numbers"),
        (lambda: mf.landscape.drop(TWO, MU, [6]), "from 0 to 5"),
        (lambda: mf.landscape.drop(TWO, MU, []), "kept is empty"),
        (lambda: mf.landscape.drop(TWO, MU, [True, False] * 3), "kept is a mask; .*flatnonzero"),
        (lambda: mf.landscape.drop(TWO, MU, 2), "kept must be a list .* its shape is \\(\\)"),
        (lambda: mf.landscape.drop(TWO, MU, [0, 0.5]), "different numbers"),
        (lambda: mf.landscape.connect(TWO, MU, NU), "6 neurons and b has 8"),
        (lambda: mf.landscape.connect(TWO, neurons(TWO, 1), neurons(TWO, 1)), "half the neurons needs 2"),
        (lambda: mf.landscape.connect(TWO, MU, [MU]), "two lists"),
        (lambda: mf.landscape.connect(TWO, [MU, NU], [MU, NU]), "all pairs must have one width"),
        (lambda: mf.landscape.connect(DEEP, WEIGHTS, OTHER), "b has 2 layers instead of 4"),
        (lambda: mf.landscape.connect(DEEP, WEIGHTS, NAN), "b holds .* NaN"),
        (lambda: mf.landscape.connect(TWO, MU, MU, "curve"), "path must be one of"),
        (lambda: mf.landscape.connect(TWO, MU, MU, points=2), "points must be 3"),
        (lambda: mf.landscape.connect(SKIPS, SKIPS.net.init(), SKIPS.net.init()), "skips tie"),
        (lambda: mf.landscape.connect(TWO, MU, MU).path(1.5), "between 0, which is a"),
        (lambda: mf.landscape.connect(TWO, MU, MU).path(0.5, draw=20), "draw must be below 20"),
    ],
)
def test_refused_in_one_sentence(call: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_paths_and_reports_can_be_pickled() -> None:
    a, b = MU, neurons(TWO, 6, 1)
    for found in (
        mf.landscape.connect(TWO, a, b, points=3, draws=2),
        mf.landscape.connect(TWO, a, b, "line"),
    ):
        again = pickle.loads(pickle.dumps(found))
        np.testing.assert_array_equal(again.losses, found.losses)
        np.testing.assert_array_equal(again.path(0.3).positions, found.path(0.3).positions)
    deeper = mf.landscape.connect(DEEP, WEIGHTS, DEEP.net.init(rng=1), points=3, draws=2)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(deeper)).path(0.3).flat, deeper.path(0.3).flat)
    report = mf.landscape.dropout(TWO, a, draws=2)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(report)).changes, report.changes)


def test_a_run_from_a_file_does_not_know_its_problem(tmp_path: Path) -> None:
    run = solvers.integrate(mf.SGD(TWO, step=0.1), MU, 0.1)
    run.save(tmp_path / "run.npz")
    loaded = mf.load(tmp_path / "run.npz")
    with pytest.raises(InputError, match="attach"):
        mf.landscape.dropout(loaded)
    assert mf.landscape.dropout(TWO, loaded, draws=2).loss == pytest.approx(TWO.value(run.final))

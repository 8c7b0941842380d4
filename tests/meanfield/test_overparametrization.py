"""Reports on over-parametrized training: every number against its definition, slopes against exact powers, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import meanfield as mf
import solvers
from meanfield.diagnostics._overparametrization import decay, ends, estimates
from meanfield.finite import deep
from solvers._threads import one_blas_thread
from solvers.errors import InputError

X = np.random.default_rng(0).standard_normal((5, 4))
X = np.hstack([X / np.linalg.norm(X, axis=1, keepdims=True), np.ones((5, 1))]) / 2**0.5
SIGNS = np.array([1.0, -1.0, 1.0, 1.0, -1.0])
SUM = mf.SquaredLoss(reduction="sum")


def trained(
    net: Any, X: Any = X, y: Any = SIGNS, loss: Any = SUM, step: float = 0.004, **options: Any
) -> Any:
    problem = deep.Problem(net, X, y, loss=loss)
    return solvers.integrate(
        deep.SGD(problem, step), net.init(rng=1), options.pop("t_end", 50 * step), save=26, **options
    )


@pytest.fixture(scope="module")
def dense() -> Any:
    return trained(deep.Dense((5, 16, 16, 16, 1), parametrization="allen_zhu"), keep="all", t_end=1.6)


@pytest.fixture(scope="module")
def found(dense: Any) -> Any:
    return mf.overparametrization.report(dense)


# The numbers -------------------------------------------------------------------------------------------------

NETS = [
    (deep.Dense((5, 8, 8, 8, 1), parametrization="allen_zhu"), X, SIGNS, (1, 2)),
    (deep.Dense((5, 8, 6, 2), parametrization="ntk", bias=True), X, np.eye(2)[[0, 1, 0, 0, 1]], (0, 1, 2)),
    (deep.ResNet((5, 8, 8, 8, 1), parametrization="allen_zhu"), X, SIGNS, (1, 2)),
    (deep.ConvNet((5, 1), (4, 4), parametrization="allen_zhu"), X, SIGNS, (1,)),
]


@pytest.mark.parametrize(("net", "X", "y", "layers"), NETS, ids=lambda value: type(value).__name__)
def test_movement_flips_kernels_and_gradients_are_what_they_are_called(
    net: Any, X: Any, y: Any, layers: tuple[int, ...]
) -> None:
    run = trained(net, X, y)
    found = mf.overparametrization.report(run)
    problem, start, end = run.flow.problem, run.initial, run.final
    assert found.layers == layers
    moved = [end[f"W{i}"] - start[f"W{i}"] for i in layers]
    np.testing.assert_allclose(found.spectral_by_layer, [np.linalg.svd(A)[1][0] for A in moved], rtol=1e-12)
    assert found.frobenius == pytest.approx(np.sqrt(sum(np.sum(A**2) for A in moved)), rel=1e-12)
    sizes = np.sqrt(sum(np.sum(start[f"W{i}"] ** 2) for i in layers))
    assert found.relative_frobenius == pytest.approx(found.frobenius / sizes, rel=1e-12)
    signs = [[z > 0 for z in net.activations(w, X, before=True)] for w in (start, end)]
    np.testing.assert_allclose(
        found.flips_by_layer, [np.mean(a != b) for a, b in zip(*signs, strict=True)], rtol=1e-12
    )
    reached = range(min(layers), len(signs[0]))
    both = [np.concatenate([part[i].ravel() for i in reached]) for part in signs]
    assert found.flips == pytest.approx(np.mean(both[0] != both[1]), rel=1e-12)
    kernels = []
    for weights in (start, end):
        rows = net.jacobian(weights, X).reshape(len(X) * net.outputs, -1)
        kernels.append(rows @ rows.T)
    change = kernels[1] - kernels[0]
    assert found.kernel_change == pytest.approx(np.linalg.norm(change) / np.linalg.norm(kernels[0]), rel=1e-9)
    assert found.kernel_change_spectral == pytest.approx(
        np.linalg.norm(change, 2) / np.linalg.norm(kernels[0], 2), rel=1e-9
    )
    # eigenvalues to rounding of the largest one
    np.testing.assert_allclose(
        found.eigenvalues_end, np.linalg.eigvalsh(kernels[1])[::-1], atol=1e-10 * np.trace(kernels[1])
    )
    # |grad F|^2 = <R', K R'>
    q = [np.ravel(problem.loss.gradient(problem.predict(w), problem.y)) for w in (start, end)]
    speeds = [a @ K @ a / problem.value(w) for a, K, w in zip(q, kernels, (start, end), strict=True)]
    np.testing.assert_allclose(found.gradients, speeds, rtol=1e-9)
    assert found.gradient_high == pytest.approx(max(speeds) / min(found.widths), rel=1e-9)
    assert found.accuracy == problem.accuracy(end)


def test_gradients_add_up_to_the_fall_of_a_flow() -> None:
    net = deep.Dense((5, 16, 16, 1), parametrization="mean_field")
    flow = deep.GradientFlow(deep.Problem(net, X, SIGNS))
    run = solvers.integrate(flow, net.init(rng=0), 0.5, method=solvers.RK4(step=0.005), save=101, keep="all")
    found = mf.overparametrization.report(run)
    # int |grad F|^2/F dt = log F_0/F_T; the trapezoidal rule with 100 steps, kinks among them: 1.4e-4
    total = np.trapezoid(found.gradients, found.gradient_times)
    assert total == pytest.approx(np.log(found.objective[0] / found.objective[-1]), rel=1e-3)
    assert found.gradient_low == pytest.approx(found.gradients.min() * 5 / 16)  # of the sum over data
    dissipation = mf.overparametrization.dissipation(flow.problem)
    run = solvers.integrate(flow, net.init(rng=0), 0.1, record={"dissipation": dissipation}, save=3)
    np.testing.assert_allclose(
        mf.overparametrization.report(run).gradients[[0, -1]],
        mf.overparametrization.report(
            dataclasses.replace(run, records={"objective": run["objective"]})
        ).gradients,
    )
    assert np.isnan(found.step) and np.isnan(found.lower_ratio) and "step" not in found


def test_the_theorems_ratios(found: Any) -> None:
    apart = min(np.linalg.norm(X[i] - X[j]) for i in range(5) for j in range(i))
    assert found.delta == pytest.approx(apart, rel=1e-12)
    assert found.lower_ratio == pytest.approx(found.gradient_low * 25 / apart)
    assert found.upper_ratio == pytest.approx(found.gradient_high / (2 * 5))
    assert found.flips_ratio == pytest.approx(found.flips / (found.spectral ** (2 / 3) * 2))
    assert found.kernel_ratio == pytest.approx(found.kernel_change / (found.spectral ** (1 / 3) * 8))
    assert found.step_ratio == pytest.approx(0.004 * 16 / apart)
    assert found.stable_step == pytest.approx(2 / found.eigenvalues_start[0])
    assert found.kernel_rates[1] == pytest.approx(2 * found.eigenvalues_end[-1])
    assert found.depth == 2 and found.width == 16 and len(found.gradients) == 26


def test_a_net_that_hardly_moves_its_kernel_moves_as_the_frozen_one() -> None:
    net = deep.Dense((5, 256, 256, 256, 1), parametrization="allen_zhu")
    found = mf.overparametrization.report(trained(net, step=4e-4, t_end=0.1))
    # the kernel changes by 4 % here, F ends at 1e-5
    assert found.frobenius == pytest.approx(found.frozen_movement, rel=0.1)
    other = deep.Dense((5, 8, 8, 1), parametrization="mean_field")
    assert np.isnan(mf.overparametrization.report(trained(other)).frozen_movement)


def test_norms_of_large_matrices() -> None:
    rng = np.random.default_rng(0)
    A = rng.standard_normal((300, 280))
    assert ends.spectral_norm(A) == pytest.approx(np.linalg.norm(A, 2), rel=1e-7)
    assert ends.spectral_norm(np.zeros((300, 300))) == 0.0
    for size in (1e-200, 1e200):  # whose squares are not numbers
        assert ends.spectral_norm(size * A) == pytest.approx(size * np.linalg.norm(A, 2), rel=1e-7)


def test_kernels_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    # eigenvalues of 400 x 400 had other last digits on two threads: all of it runs on one
    depths, eigvalsh = [], np.linalg.eigvalsh
    monkeypatch.setattr(np.linalg, "eigvalsh", lambda K: depths.append(one_blas_thread._depth) or eigvalsh(K))
    net = deep.Dense((5, 8, 8, 1))
    ends.kernels(net, net.init(rng=0), net.init(rng=1), X, None)
    assert len(depths) == 3 and min(depths) > 0


def test_kernels_that_are_tiny_singular_or_zero() -> None:
    net = deep.Dense((5, 8, 8, 1), parametrization="ntk")
    start, end = net.init(rng=0), net.init(rng=1)
    whole = ends.kernels(net, start, end, X, SIGNS)
    # kernels are quadratic in the inputs; their squares are below the least number here
    tiny = ends.kernels(net, start, end, 1e-90 * X, SIGNS)
    assert (tiny.change, tiny.change_spectral) == pytest.approx((whole.change, whole.change_spectral))
    assert tiny.frozen == pytest.approx(1e90 * whole.frozen)
    assert np.isnan(ends.kernels(net, start, end, np.vstack([X[:1], X[:1]]), SIGNS[:2]).frozen)
    dead = ends.kernels(net, start, end, np.zeros((2, 5)), SIGNS[:2])
    assert np.isnan([dead.change, dead.change_spectral, dead.frozen]).all() and not dead.start.any()


# The rate ----------------------------------------------------------------------------------------------------


def test_an_exponential_has_its_rate_and_another_curve_two() -> None:
    t = np.linspace(0.0, 2.0, 41)
    fit = decay.fit(t, 3.0 * np.exp(-4.0 * t), None)
    # rounding of logarithms
    np.testing.assert_allclose(fit[:7], (4, 4, 4, np.log(3), 1, 4, 4), rtol=1e-12, atol=1e-12)
    broken = np.exp(-4.0 * t + 2.0 * np.maximum(t - 1.0, 0.0))
    fit = decay.fit(t, broken, None)
    assert (fit.early, fit.late) == pytest.approx((4.0, 2.0)) and fit.low < fit.rate < fit.high
    assert fit.r_squared < 0.99 and 2.0 < fit.rate < 4.0
    assert decay.checked_window(np.array([1.0, 2.0])) == (1.0, 2.0)
    part = decay.fit(t, broken, decay.checked_window((1.0, np.inf)))
    assert part.rate == pytest.approx(2.0) and (part.begin, part.end, part.saves) == (1.0, 2.0, 21)
    # what is below rounding of the start is left out, and few saves make no rate
    low = np.where(t < 1.0, np.exp(-4.0 * t), 1e-40)
    assert decay.fit(t, low, None).rate == pytest.approx(4.0) and decay.fit(t, low, None).end < 1.0
    assert np.isnan(decay.fit(t[:3], broken[:3], None).rate)


# Slopes over widths ------------------------------------------------------------------------------------------


def of_width(found: Any, m: int, spectral: float, **change: Any) -> Any:
    return dataclasses.replace(found, widths=(m, m, m), spectral_by_layer=np.array([spectral]), **change)


def test_slopes_of_exact_powers(found: Any) -> None:
    widths, factors = (64, 128, 256, 512), (1.0, 2.0, 5.0)
    # replicates of other sizes and one power: paired, nothing is left to chance
    reports = [of_width(found, m, c * m**-0.5) for m in widths for c in factors]
    slopes = mf.overparametrization.slopes(reports, ["spectral", "delta"])
    np.testing.assert_allclose(slopes["spectral"][:3], -0.5, rtol=1e-10)
    np.testing.assert_allclose(slopes["spectral"][4:], 0.0, atol=1e-12)
    assert slopes["delta"].slope == pytest.approx(0.0, abs=1e-12)
    middle, low, high = slopes.line("spectral", [100.0])
    assert middle[0] == pytest.approx(10 ** (1 / 3) / 10) and low[0] < middle[0] < high[0]
    bent = [of_width(found, m, np.exp(-0.5 * np.log(m) + 0.1 * np.log(m) ** 2)) for m in widths]
    assert mf.overparametrization.slopes(bent, "spectral")["spectral"].bend == pytest.approx(0.1)


def test_intervals_by_three_rules(found: Any) -> None:
    from scipy import stats

    rng, x = np.random.default_rng(0), np.log([10.0, 20.0, 40.0])
    logs = [rng.standard_normal(4) for _ in x]
    weights = estimates.contrast(x, 1)
    # replicates: the one-sample interval of their own slopes
    each = [np.polyfit(x, [one[r] for one in logs], 1)[0] for r in range(4)]
    known = stats.ttest_1samp(each, 0.0).confidence_interval(0.95)
    assert estimates.estimate(weights, logs, x)[1:] == pytest.approx(tuple(known))
    # independent samples of two widths: Welch's interval of a difference
    pair = [logs[0], logs[1][:3]]
    known = stats.ttest_ind(pair[1], pair[0], equal_var=False).confidence_interval(0.95)
    assert estimates.estimate(np.array([-1.0, 1.0]), pair, x[:2])[1:] == pytest.approx(tuple(known))
    # one a width: that of a line, as the plots have it
    values = np.exp([one[0] for one in logs])
    line = mf.plotting.fit_slope(np.exp(x), values)
    fit = mf.overparametrization.slopes(
        [of_width(found, round(m), v) for m, v in zip(np.exp(x), values, strict=True)], "spectral"
    )["spectral"]
    assert (fit.slope, fit.high - fit.slope) == pytest.approx((line.slope, line.half_width))


def test_what_has_no_logarithm_or_has_not_converged_is_told(found: Any) -> None:
    flat = dataclasses.replace(found, kernel_change=0.0)
    reports = [of_width(flat, m, m**-0.5) for m in (8, 16) for _ in range(2)]
    late = of_width(flat, 16, 9.0, goal=1e-9)
    slopes = mf.overparametrization.slopes([*reports, late], goal=found.objective[-1] * 2)
    assert slopes["spectral"].slope != pytest.approx(-0.5) and slopes.counts == (2, 3)
    with pytest.raises(InputError, match=r"reports\[4\], of width 16, has not converged"):
        mf.overparametrization.slopes([*reports, late])
    slow = dataclasses.replace(late, objective=np.array([1.0, 0.9]))
    slopes = mf.overparametrization.slopes([*reports, slow], goal=0.5)
    assert slopes["spectral"].slope == pytest.approx(-0.5) and slopes.left_out == {16: 1}
    assert "no logarithm" in slopes.skipped["kernel_change"] and "kernel_change" not in slopes
    assert "had not converged" in str(slopes) and "Welch" in slopes._repr_html_()


# Shown -------------------------------------------------------------------------------------------------------


def test_reports_and_slopes_draw_and_print_themselves(found: Any, tmp_path: Path) -> None:
    text = str(found)
    assert "not computable" in text and "O(omega^1/3 L^3)" in text and "as if poly(n, L) =" in text
    assert "training accuracy" in found._repr_html_() and "m = 16" in repr(found)
    assert found.accuracy == 1.0 and found.converged and found["spectral"] == found.spectral
    assert set(found) == set(found.as_dict()) and len(found) > 30
    found.plot(csv=tmp_path / "loss.csv")
    found.to_csv(tmp_path / "numbers.csv")
    slopes = mf.overparametrization.slopes([of_width(found, m, m**-0.5) for m in (8, 16, 32)])
    slopes.plot("spectral", csv=tmp_path / "slope.csv")
    slopes.to_csv(tmp_path / "slopes.csv")
    assert "-0.500" in str(slopes) and "spectral" in repr(slopes)
    assert len((tmp_path / "slope.csv").read_text().splitlines()) == 4


def test_notes_say_what_limits_the_comparison(found: Any) -> None:
    assert len(found.notes) == 1 and "not computable" in found.notes[0]
    assert "last coordinate 1/root 2" in dataclasses.replace(found, last=np.nan).notes[0]
    twice = np.vstack([X[:3], X[:1]]) * 2
    net = deep.Dense((5, 8, 6, 2), parametrization="ntk")
    run = trained(net, twice, np.array([0, 1, 1, 0]), loss=mf.CrossEntropy(), step=1e-4, t_end=5e-4)
    other = mf.overparametrization.report(run, points=3)
    notes = " ".join(other.notes)
    for words in (
        "not converged", "allen_zhu", "cross_entropy loss", "widths (8, 6)", "delta = 0", "|x| is in", "two ends",
        "on 3 of 4 points",
    ):  # fmt: skip
        assert words in notes
    assert 0.0 <= other.accuracy <= 1.0 and other.kernel_points == 3
    assert np.isnan(other.kernel_rates[0]) and np.isnan(other.stable_step)
    shown = dataclasses.replace(
        found, objective=np.array([1.0, 2.0, 1.0]), decay=found.decay._replace(early=3.0, late=1.0)
    )
    assert "rose at 1 of 2 saves" in shown.notes[1] and "not constant" in shown.notes[2]
    still = dataclasses.replace(found, decay=found.decay._replace(early=0.0, late=0.0))
    assert "not constant" in " ".join(still.notes)  # no rate at all is no constant rate
    others = " ".join(dataclasses.replace(found, layers=(0, 1, 2, 3), activation="Tanh").notes)
    assert "here layers (0, 1, 2, 3) move" in others and "about ReLU, this is Tanh" in others
    none = dataclasses.replace(found, decay=decay.fit(found.t[:2], found.objective[:2], None))
    assert "no fit: 2 save(s)" in str(none)


def test_weighted_data_and_fresh_batches() -> None:
    net, weights = deep.Dense((5, 8, 8, 8, 1), parametrization="allen_zhu"), [1.0, 0.0, 2.0, 3.0, 1.0]
    problem = deep.Problem(net, X, SIGNS, sample_weight=weights)
    flow = deep.SGD(problem, 0.01, batch=3, sampler=lambda rng, size: (X[:size], SIGNS[:size]))
    found = mf.overparametrization.report(solvers.integrate(flow, net.init(rng=0), 0.05, save=6))
    kept = [0, 2, 3, 4]
    K = net.tangent_kernel(net.init(rng=0), X[kept])
    assert found.points == 4 and found.delta == mf.data.separation(X[kept])
    # w = 1/7 and 3/7 at least and at most
    assert found.kernel_rates[0] == pytest.approx(2 / 7 * np.linalg.eigvalsh(K)[0])
    assert found.stable_step == pytest.approx(2 / (3 / 7 * np.linalg.eigvalsh(K)[-1]))
    assert "fresh samples" in str(found) and "unequal weights" in str(found)


def test_accuracy_needs_classes() -> None:
    net = deep.Dense((5, 8, 8, 1))
    assert np.isnan(mf.overparametrization.report(trained(net, y=SIGNS * 0.5)).accuracy)
    net = deep.Dense((5, 8, 8, 2))
    for y in (np.zeros((5, 2)), np.arange(10.0).reshape(5, 2)):
        assert np.isnan(mf.overparametrization.report(trained(net, y=y)).accuracy)


# Files and refusals ------------------------------------------------------------------------------------------


def test_one_point_has_no_separation() -> None:
    one = mf.overparametrization.report(trained(deep.Dense((5, 8, 8, 1)), X[:1], SIGNS[:1]))
    assert one.delta == np.inf and np.isnan(one.step_ratio) and "inf" in str(one)


def test_a_run_from_a_file_needs_its_flow(dense: Any, found: Any, tmp_path: Path) -> None:
    dense.save(tmp_path / "run.npz")
    run = solvers.load(tmp_path / "run.npz")
    with pytest.raises(InputError, match="flow="):
        mf.overparametrization.report(run)
    assert mf.overparametrization.report(run, flow=dense.flow).as_dict() == found.as_dict()


@pytest.mark.filterwarnings("ignore:rows 0 and 1 of X coincide")
def test_runs_that_cannot_be_reported_on(dense: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    report = mf.overparametrization.report

    def refused(words: str, run: Any, **options: Any) -> None:
        with pytest.raises(InputError, match=words):
            report(run, **options)

    with pytest.raises(InputError, match=r"problem must be a mf.finite.deep.Problem"):
        mf.overparametrization.dissipation(dense)
    refused("must be a run of mf.finite.deep", dense.flow.problem)
    refused("run must be one of mf.finite.deep.SGD .* not of float", dataclasses.replace(dense, flow=1.0))
    refused("flow must be one", dense, flow=mf.TwoLayer("relu", d=2))
    refused("holds 1 state", dataclasses.replace(dense, states=dense.states[:1]))
    refused("take a smaller step", dataclasses.replace(dense, status=solvers.Status.diverged))
    refused("'objective' was not recorded", dataclasses.replace(dense, records={}))
    refused("nothing left to learn", dataclasses.replace(dense, records={"objective": np.zeros(26)}))
    refused("not finite", dataclasses.replace(dense, records={"objective": np.full(26, np.nan)}))
    other = deep.SGD(deep.Problem(deep.Dense((5, 8, 8, 1)), X, SIGNS), 0.1)
    refused("belong to another network", dense, flow=other)
    twice = trained(deep.Dense((5, 8, 8, 1)), np.vstack([X[:1], X[:1]]), SIGNS[:2])
    refused("rows 0 and 1 of X coincide, but their labels differ: delta = 0", twice)
    refused("window must be two times", dense, window=3)
    refused("the first smaller", dense, window=(0.2, 0.1))
    refused("the last time of window must be a number", dense, window=(0.2, None))
    refused("the first time of window must be finite", dense, window=(float("inf"), float("inf")))
    refused("rng must be", dense, rng="a")
    refused("ends where it starts", dataclasses.replace(dense, t=np.zeros(26)))
    refused(r"holds 0 saves .* wider", dense, window=(5.0, 6.0))
    refused("goal must be positive", dense, goal=0.0)
    refused("points must be an integer", dense, points=2.5)
    monkeypatch.setattr("solvers._memory.fits", lambda needed: needed < 100)
    refused("tangent kernels of 5 predictions would take .* points=1000", dense)


def test_reports_that_have_no_slopes(found: Any) -> None:
    def refused(words: str, reports: Any, *names: Any, **options: Any) -> None:
        with pytest.raises(InputError, match=words):
            mf.overparametrization.slopes(reports, *names, **options)

    refused("must be a list", found)
    refused("must be a list", 3)
    refused("is empty", [])
    refused(r"reports\[1\] must be made by", [found, 2.0])
    refused("two widths at least", [found, dataclasses.replace(found)])
    refused(r"reports\[2\] is reports\[0\] again", [found, dataclasses.replace(found), found])
    pair = [found, of_width(found, 32, 0.1)]
    refused(
        "differ in width only, but they have points 5 and 6", [found, dataclasses.replace(pair[1], points=6)]
    )
    for change, words in (
        ({"architecture": "ResNet"}, "architecture Dense and ResNet"),
        ({"activation": "Tanh"}, "activation ReLU and Tanh"),
        ({"reduction": 5.0}, r"reduction 1.0 and 5.0"),
        ({"kernel_points": 3}, "kernel_points 3 and 5"),
        ({"layers": (1,)}, "layers"),
    ):
        refused(f"they have {words}", [found, dataclasses.replace(pair[1], **change)])
    refused("did you mean 'spectral'", pair, ["spektral"])
    refused("names is empty; name a quantity", pair, [])
    refused("no report of width 16", [dataclasses.replace(found, objective=np.ones(3)), pair[1]], goal=0.5)
    refused("no quantity has a slope", [dataclasses.replace(one, delta=0.0) for one in pair], "delta")
    refused("names must be a list", pair, 5)
    slopes = mf.overparametrization.slopes(pair, "spectral")
    assert "none, of two reports" in str(slopes) and np.isnan(slopes["spectral"].low)
    with pytest.raises(InputError, match="positive widths"):
        slopes.line("spectral", [10.0, -1.0])
    with pytest.raises(InputError, match="name must be one of 'spectral'"):
        slopes.plot("flips")


def test_a_run_is_reported_on_with_the_problem_it_was_on(dense: Any, tmp_path: Path) -> None:
    dense.save(tmp_path / "run.npz")
    loaded, problem = mf.load(tmp_path / "run.npz"), dense.flow.problem
    again = mf.overparametrization.report(loaded, flow=deep.SGD(problem, 0.1))  # a step of its own
    assert again.accuracy == mf.overparametrization.report(dense).accuracy
    tanh = deep.Dense((5, 16, 16, 16, 1), "tanh", parametrization="allen_zhu")
    for other, what in (
        (deep.Problem(problem.net, X, -SIGNS, loss=SUM), "data"),
        (deep.Problem(problem.net, X, SIGNS), "loss"),
        (deep.Problem(tanh, X, SIGNS, loss=SUM), "network"),
    ):
        with pytest.raises(InputError, match=f"the run was on another {what}"):
            mf.overparametrization.report(loaded.attach(deep.SGD(other, 0.1)))

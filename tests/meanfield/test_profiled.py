"""Objectives with outer weights eliminated: against brute force, finite differences, duality and two timescales."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import meanfield as mf
import solvers
from meanfield import InputError
from solvers._low_rank import assembled

RNG = np.random.default_rng(3)
X = RNG.standard_normal((12, 2))
Y = np.sin(X[:, 0]) + X[:, 1]
CIRCLE = X / np.linalg.norm(X, axis=1)[:, None]


def problem(
    activation: str = "tanh",
    outputs: int = 1,
    weighted: bool = False,
    loss: Any = None,
    regularizer: Any = None,
    **network: Any,
) -> mf.Objective:
    y = Y if outputs == 1 else np.column_stack([(c + 1) * Y + c for c in range(outputs)])
    weight = np.linspace(0.0, 2.0, len(X)) if weighted else None
    whole = mf.TwoLayer(activation, d=2, outputs=outputs, **network)
    return mf.Objective(whole, X, y, loss=loss, regularizer=regularizer, sample_weight=weight)


CASES: list[dict[str, Any]] = [
    {},
    {"activation": "relu", "outputs": 2, "weighted": True, "scale": 1.7},
    {"weighted": True, "loss": mf.SquaredLoss("sum"), "scale": 0.3, "bias": False},
    {"outputs": 3, "regularizer": mf.LayerRidge(w=0.2, b=0.1), "rates": {"w": 2.0}},
    {"centre": lambda inputs: 0.3 * inputs[:, 0], "scale": 2.0, "regularizer": mf.TotalVariation(0.1)},
]


def start(profiled: Any, width: int) -> mf.ParticleMeasure:
    measure = mf.ParticleMeasure.gaussian(profiled.network, width, rng=1)
    return measure.replace(weights=np.random.default_rng(2).random(width))


def brute_force(objective: mf.Objective, measure: Any, ridge: float) -> tuple[float, Any]:
    """The best outer weights by least squares on residuals and penalties stacked, knowing only features."""
    network: Any = objective.network
    inner = mf.TwoLayer(network.activation, d=2, bias=network.bias, a=1.0)
    phi = network.scale * inner.features(measure.positions, objective.X) * measure.weights[:, None]
    n = len(objective.X)
    weight = np.ones(n) if objective.sample_weight is None else objective.sample_weight
    if objective.loss.reduction == "mean":
        weight = weight / weight.sum()
    centre = 0.0 if network.centre is None else network.scale * network.centre(objective.X)
    target = (objective.y.T + centre).T.reshape(n, -1)
    rows = np.vstack([np.sqrt(weight)[:, None] * phi.T, np.diag(np.sqrt(ridge * measure.weights))])
    right = np.vstack([np.sqrt(weight)[:, None] * target, np.zeros((measure.width, target.shape[1]))])
    a = np.linalg.lstsq(rows, right, rcond=None)[0]
    return 0.5 * float(np.sum((rows @ a - right) ** 2)), a


@pytest.mark.parametrize("width", [5, 30])
@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_value_and_outer_weights_are_those_of_brute_force(case: dict[str, Any], width: int) -> None:
    objective = problem(**case)
    profiled = objective.profiled(1e-3)
    measure = start(profiled, width)
    best, a = brute_force(objective, measure, 1e-3)
    best += float(measure.weights @ profiled.regularizer.value(measure.positions))
    assert profiled.value(measure) == pytest.approx(best, abs=1e-10)
    found = profiled.outer(measure).reshape(width, -1)
    np.testing.assert_allclose(found, a, atol=1e-10 * np.abs(a).max())
    # the lifted measure is a measure of the whole network, at the minimum over its outer weights
    lifted = profiled.lift(measure)
    penalty = 0.5e-3 * float(measure.weights @ np.sum(found**2, axis=1))
    assert objective.value(lifted) + penalty == pytest.approx(best, abs=1e-10)
    np.testing.assert_allclose(profiled.predict(measure), objective.predict(lifted), atol=1e-10)
    fresh = np.random.default_rng(5).standard_normal((4, 2))
    np.testing.assert_allclose(profiled.predict(measure, fresh), objective.predict(lifted, fresh), atol=1e-10)
    assert profiled.inner(lifted) == measure


def test_formula_of_the_issue() -> None:
    # F = (lam/2) y'(K + n lam)^-1 y, first variation -(lam/2)(phi . alpha)^2
    profiled = problem().profiled(1e-2)
    measure = mf.ParticleMeasure.gaussian(profiled.network, 40, rng=0)
    phi = profiled.network.features(measure.positions, X)
    alpha = np.linalg.solve(phi.T @ phi / 40 + len(X) * 1e-2 * np.eye(len(X)), Y)
    assert profiled.value(measure) == pytest.approx(0.5e-2 * Y @ alpha, abs=1e-12)
    np.testing.assert_allclose(
        profiled.first_variation(measure, measure.positions), -0.5e-2 * (phi @ alpha) ** 2, atol=1e-12
    )


@pytest.mark.parametrize("width", [5, 20])
@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_first_variation_and_velocity_are_derivatives(case: dict[str, Any], width: int) -> None:
    profiled = problem(**case).profiled(3e-2)
    measure, h = start(profiled, width), 3e-6
    points = np.random.default_rng(4).standard_normal((3, profiled.network.dim))

    def with_mass(theta: Any, mass: float) -> float:
        return profiled.value(
            mf.ParticleMeasure(np.vstack([measure.positions, theta]), np.append(measure.weights, mass))
        )

    # one-sided, of second order: h^2 F''' and eps/h
    slopes = [
        (-3 * with_mass(theta, 0.0) + 4 * with_mass(theta, h) - with_mass(theta, 2 * h)) / (2 * h)
        for theta in points
    ]
    np.testing.assert_allclose(profiled.first_variation(measure, points), slopes, rtol=1e-6, atol=1e-7)

    def moved(j: int, k: int, by: float) -> float:
        positions = measure.positions.copy()
        positions[j, k] += by
        return profiled.value(measure.with_positions(positions))

    mobility = np.ones(profiled.network.dim) if profiled.mobility is None else profiled.mobility
    velocity = profiled.velocity(measure)
    for j in range(3):
        for k in range(profiled.network.dim):
            slope = (moved(j, k, 1e-5) - moved(j, k, -1e-5)) / 2e-5
            # central differences: 1e-10 from the step squared, 1e-11 from rounding
            expected = -mobility[k] * slope / measure.weights[j]
            assert velocity[j, k] == pytest.approx(expected, abs=1e-8 * (1 + abs(expected)))


def test_energy_falls_as_the_dissipation_says() -> None:
    profiled = problem(regularizer=mf.LayerRidge(a=1e-2, w=1e-2, b=3e-2), rates={"w": 2.0}).profiled()
    measure = start(profiled, 10)
    v, h = profiled.velocity(measure), 1e-4
    sides = [profiled.value(measure.with_positions(measure.positions + s * h * v)) for s in (-1, 1)]
    assert (sides[1] - sides[0]) / (2 * h) == pytest.approx(-profiled.dissipation(measure), rel=1e-7)
    run = solvers.integrate(mf.WassersteinFlow(profiled), measure, t_end=20.0)
    assert (np.diff(run["objective"]) < 0).all()
    assert run["objective"][-1] == pytest.approx(profiled.value(run.final), rel=1e-14)


@pytest.mark.parametrize("width", [6, 20])
@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[4], {"regularizer": mf.LayerRidge(w=0.2, b=0.1)}])
def test_jacobian(case: dict[str, Any], width: int) -> None:
    profiled = problem(**case).profiled(2e-2)
    measure = start(profiled, width)
    flow = mf.WassersteinFlow(profiled).prepare(measure)
    z = flow.pack(measure)
    linear = flow.linearize(0.0, z)
    direction = np.random.default_rng(6).standard_normal(z.size)
    product = linear.product(direction, np.empty_like(z))
    h = 1e-5
    sides = [flow.velocity(0.0, z + s * h * direction, np.empty_like(z)) for s in (-1, 1)]
    np.testing.assert_allclose(product, (sides[1] - sides[0]) / (2 * h), atol=1e-7 * np.abs(product).max())
    matrix = assembled(linear.low_rank(), z.size)
    np.testing.assert_allclose(matrix @ direction, product, atol=1e-13 * np.abs(matrix).max() * z.size)
    symmetric = linear.weight[:, None] * matrix
    np.testing.assert_allclose(symmetric, symmetric.T, atol=1e-13 * np.abs(symmetric).max())


def test_implicit_methods_agree() -> None:
    profiled = problem().profiled(1e-4)
    measure = mf.ParticleMeasure.gaussian(profiled.network, 15, rng=0)
    flow = mf.WassersteinFlow(profiled)
    reference = solvers.integrate(flow, measure, 20.0, method=solvers.DormandPrince(rtol=1e-8, atol=1e-11))
    for method in (solvers.RODAS4(rtol=1e-6, atol=1e-9), solvers.EXPRB32(rtol=1e-6, atol=1e-9)):
        run = solvers.integrate(flow, measure, 20.0, method=method)
        # the sum of some hundred steps' errors, each 1e-6 of positions of size 1
        np.testing.assert_allclose(run.final.positions, reference.final.positions, atol=2e-5)
    long = solvers.integrate(flow, measure, 1e5)
    assert "RODAS4" in long.stats["method"]


def test_two_timescale_training_tends_to_the_profiled_flow() -> None:
    ridge, times = 1e-2, np.linspace(0.0, 10.0, 21)
    profiled = problem(regularizer=mf.LayerRidge(a=ridge)).profiled()
    measure = mf.ParticleMeasure.gaussian(profiled.network, 20, rng=1)
    tight = solvers.DormandPrince(rtol=1e-8, atol=1e-11)
    limit = solvers.integrate(
        mf.WassersteinFlow(profiled),
        measure,
        10.0,
        method=tight,
        save=times,
        record={"f": profiled.predict},
        keep="all",
    )
    assert np.abs(limit["f"][-1] - limit["f"][0]).max() > 0.2  # something happens
    differences = []
    for eps in (0.1, 0.01, 0.001):
        whole = problem(regularizer=mf.LayerRidge(a=ridge), rates={"a": 1 / eps})
        run = solvers.integrate(
            mf.WassersteinFlow(whole),
            profiled.lift(measure),
            10.0,
            method=solvers.RODAS4(rtol=1e-7, atol=1e-10),
            save=times,
            record={"f": whole.predict},
        )
        differences.append(np.abs(run["f"] - limit["f"]).max())
    # first order in eps once eps is small against ridge, the slowest rate of outer weights
    assert differences[2] < 5e-3 and differences[1] < 0.6 * differences[0]
    assert 8 < differences[1] / differences[2] < 12


def test_convex_in_the_measure() -> None:
    profiled = problem().profiled(1e-2)
    first, second = (mf.ParticleMeasure.gaussian(profiled.network, 8, rng=seed) for seed in (0, 1))
    both = np.vstack([first.positions, second.positions])
    values = [
        profiled.value(mf.ParticleMeasure(both, np.repeat([1 - t, t], 8) / 8)) for t in np.linspace(0, 1, 11)
    ]
    assert (np.diff(values, 2) > 0).all()


# -- certificates --------------------------------------------------------------------------------------------------


def relu_on_circle(regularizer: Any = None) -> mf.Objective:
    y = np.maximum(CIRCLE @ [1.0, 0.3], 0) - np.maximum(CIRCLE @ [-0.5, 1.0], 0)
    return mf.Objective(mf.TwoLayer("relu", d=2, bias=False), CIRCLE, y, regularizer=regularizer)


def test_certificate_of_weight_decay_is_that_of_the_whole_network() -> None:
    # min over a: ridge/2 (a^2 + |w|^2) is one variational form of the variation norm, certified either way
    objective = relu_on_circle(mf.Ridge(1e-2))
    profiled = objective.profiled()
    measure = mf.ParticleMeasure.sphere(profiled.network, 60, rng=1, method="equispaced")
    run = solvers.integrate(mf.WassersteinFlow(profiled), measure, t_end=300.0)
    gap = run.certificate
    assert gap.exact and 0 < gap.gap < 1e-4
    assert gap.worst.shape == (2,)
    assert objective.certificate(profiled.lift(run.final)).gap == pytest.approx(gap.gap, rel=1e-6)
    early = profiled.certificate(measure)
    assert early.exact and early.lower <= run["objective"][-1] and early.lower <= gap.value


def best_on_angles(profiled: Any, count: int = 360, rounds: int = 1500) -> float:
    """min F over probability measures on equispaced directions, by multiplicative updates of their masses."""
    angles = 2 * np.pi * np.arange(count) / count
    directions = np.column_stack([np.cos(angles), np.sin(angles)])
    phi = profiled.network.features(directions, profiled.X)
    mass, n, ridge = np.full(count, 1 / count), len(profiled.X), profiled.ridge
    for _ in range(rounds):
        alpha = np.linalg.solve((phi.T * mass) @ phi + n * ridge * np.eye(n), profiled.y)
        mass = mass * np.abs(phi @ alpha)
        mass /= mass.sum()
    alpha = np.linalg.solve((phi.T * mass) @ phi + n * ridge * np.eye(n), profiled.y)
    return float(0.5 * ridge * profiled.y @ alpha)


def test_certificate_on_the_sphere_brackets_the_optimum() -> None:
    profiled = relu_on_circle().profiled(1e-2, space=solvers.Sphere(2))
    measure = mf.ParticleMeasure.sphere(profiled.network, 60, rng=1, method="equispaced")
    run = solvers.integrate(mf.WassersteinFlow(profiled), measure, t_end=300.0)
    np.testing.assert_allclose(np.linalg.norm(run.final.positions, axis=1), 1.0, rtol=1e-12)
    best = best_on_angles(profiled)
    for state in (measure, run.final):
        bound = profiled.certificate(state)
        assert bound.exact and bound.lower <= best * (1 + 1e-9)
    # half a degree off the best angles
    assert run["objective"][-1] >= best * (1 - 1e-3)
    assert 0 < run.certificate.gap < profiled.certificate(measure).gap


def test_certificate_closes_where_masses_are_free() -> None:
    objective = relu_on_circle(mf.TotalVariation(1e-2))
    profiled = objective.profiled(1e-2, space=solvers.Sphere(2))
    measure = mf.ParticleMeasure.sphere(profiled.network, 40, rng=1, method="equispaced")
    run = solvers.integrate(mf.ConicFlow(profiled), measure, t_end=3000.0)
    found = run.certificate
    assert found.exact and found.gap < 1e-3 * found.value


def test_certificates_elsewhere() -> None:
    quadratic = mf.Objective(mf.TwoLayer("quadratic", d=2, bias=False), X, Y)
    profiled = quadratic.profiled(1e-2, space=solvers.Sphere(2))
    measure = mf.ParticleMeasure.sphere(profiled.network, 10, rng=0)
    found = profiled.certificate(measure)
    angles = np.linspace(0, np.pi, 2001)
    grid = np.column_stack([np.cos(angles), np.sin(angles)])
    assert found.exact
    # spacing of angles squared
    assert found.violation == pytest.approx(1e-2 * np.abs(profiled.outer(measure, grid)).max(), rel=1e-5)
    # neurons of any norm: nothing but 0 bounds F
    free = relu_on_circle().profiled(1e-2)
    circle = mf.ParticleMeasure.sphere(free.network, 10, rng=0)
    assert free.certificate(circle).gap == free.value(circle)
    smooth = problem(outputs=2).profiled(1e-2)
    several = smooth.certificate(mf.ParticleMeasure.gaussian(smooth.network, 10, rng=0))
    assert not several.exact and 0 <= several.lower <= several.value
    confined = problem(regularizer=mf.LayerRidge(w=0.1, b=0.2)).profiled(1e-2)
    run = solvers.integrate(
        mf.WassersteinFlow(confined), mf.ParticleMeasure.gaussian(confined.network, 10, rng=0), 1000.0
    )
    assert not run.certificate.exact and run.certificate.gap < 0.1 * run.certificate.value
    unbounded = problem("quadratic", regularizer=mf.Ridge(0.1)).profiled()
    large = mf.ParticleMeasure.gaussian(unbounded.network, 3, rng=0)
    assert unbounded.certificate(large).gap == unbounded.value(large)
    far = mf.ParticleMeasure.gaussian(free.network, 3, rng=0)
    with pytest.raises(InputError, match="off the unit sphere"):
        relu_on_circle().profiled(1e-2, space=solvers.Sphere(2)).certificate(far)


class Quartic(NamedTuple):
    """V = strength |theta|^4: of another degree than the neurons."""

    strength: float

    def value(self, positions: Any) -> Any:
        return self.strength * np.sum(positions**2, axis=1) ** 2

    def gradient(self, positions: Any) -> Any:
        return 4 * self.strength * np.sum(positions**2, axis=1, keepdims=True) * positions


@pytest.mark.parametrize(
    "regularizer", [mf.LayerRidge(w=5.0, b=9.0), mf.LayerRidge(w=0.02, b=1.0), Quartic(0.5)]
)
def test_certificate_of_homogeneous_neurons_bounds_those_of_any_norm(regularizer: Any) -> None:
    # neurons near 0 are better where they are dear: a search on the unit sphere missed them
    profiled = problem("relu").profiled(0.5, regularizer=regularizer)
    measure = mf.ParticleMeasure.gaussian(profiled.network, 30, rng=1)
    found = profiled.certificate(measure)
    others = [profiled.value(measure.with_positions(r * measure.positions)) for r in (0, 0.1, 0.3, 0.6, 1, 2)]
    assert 0 < found.lower <= min(others)
    if isinstance(regularizer, mf.LayerRidge):
        assert found.exact
        # over the strengths of each coordinate the worst neuron is worst: against a grid of directions
        grid = np.random.default_rng(0).standard_normal((4000, 3))
        strength = np.array([regularizer.w, regularizer.w, regularizer.b])
        share = [
            np.abs(profiled.outer(measure, u)) / np.sqrt(np.sum(strength * u**2, axis=1))
            for u in (found.worst[None], grid)
        ]
        assert share[0][0] >= share[1].max() >= 0.95 * share[0][0]


# -- flows and refusals --------------------------------------------------------------------------------------------


def test_flows_with_noise_and_replicas() -> None:
    profiled = problem(regularizer=mf.LayerRidge(a=1e-2, w=0.1, b=0.1)).profiled()
    starts = [mf.ParticleMeasure.gaussian(profiled.network, 30, rng=seed) for seed in range(2)]
    noisy = mf.LangevinFlow(profiled, tau=1e-2, rng=0)
    hot = solvers.integrate(noisy, starts[0], 5.0, method=solvers.EulerMaruyama(0.1))
    assert np.isfinite(hot["free_energy"]).all() and hot["free_energy"][-1] < hot["free_energy"][0]
    flow = mf.WassersteinFlow(profiled)
    together = solvers.integrate(flow, starts, t_end=2.0)
    for run, state in zip(together, starts, strict=True):
        assert run.final == solvers.integrate(flow, state, t_end=2.0).final


def test_the_density_rests_where_noisy_particles_do() -> None:
    data = np.linspace(-2, 2, 8)[:, None]
    network = mf.TwoLayer("tanh", d=1, bias=False)
    objective = mf.Objective(
        network, data, np.sin(1.5 * data[:, 0]), regularizer=mf.LayerRidge(a=0.05, w=0.1)
    )
    profiled = objective.profiled()
    potential = profiled.potential()
    grid = solvers.Grid([(-6.0, 6.0, 120)])
    fp = solvers.FokkerPlanck(grid, potential, tau=0.02)
    rho = fp.solve(grid.normalized(lambda x: np.exp(-((x[..., 0] - 1) ** 2))), t_end=3.0)
    assert (np.diff(rho["free_energy"]) < 0).all()
    cells = mf.ParticleMeasure(
        grid.centers.reshape(-1, 1), (np.asarray(rho.final) * grid.volumes).reshape(-1)
    )
    f = potential.features(cells.positions).T @ cells.weights
    penalty = cells.weights @ profiled.regularizer.value(cells.positions)
    assert potential.value(f) + penalty == pytest.approx(profiled.value(cells), rel=1e-10)
    variation = potential.features(cells.positions) @ potential.gradient(f) + potential.external(
        cells.positions
    )
    np.testing.assert_allclose(variation, profiled.first_variation(cells, cells.positions), atol=1e-12)
    change = np.random.default_rng(0).standard_normal(f.size) * 1e-2
    slope = (potential.gradient(f + 1e-4 * change) - potential.gradient(f - 1e-4 * change)) / 2e-4
    np.testing.assert_allclose(potential.hessian(f, change), slope, atol=1e-7 * np.abs(slope).max())
    # at rest rho is the Gibbs density of its own first variation
    rest = np.asarray(fp.stationary())
    still = mf.ParticleMeasure(cells.positions, (rest * grid.volumes).reshape(-1))
    level = profiled.first_variation(still, cells.positions) + 0.02 * np.log(rest.reshape(-1))
    assert np.ptp(level[rest.reshape(-1) > 1e-8]) < 1e-6


def test_a_network_without_outer_weights_gets_some() -> None:
    spikes = mf.Spikes(dim=1, frequencies=3)
    objective = mf.Objective.deconvolution(spikes, [[1.0], [3.0]], [1.0, -0.6])
    profiled = objective.profiled(1e-3)
    measure = mf.ParticleMeasure(np.linspace(0, 6, 9)[:, None])
    lifted = profiled.lift(measure)
    np.testing.assert_allclose(profiled.predict(measure), objective.predict(lifted), atol=1e-12)
    assert profiled.inner(measure) == measure
    run = solvers.integrate(mf.WassersteinFlow(profiled), measure, t_end=200.0)
    assert run["objective"][-1] < 0.7 * run["objective"][0]


@pytest.mark.parametrize("ridge", [0, -1.0, np.inf, np.nan, "1", None])
def test_refused_ridges(ridge: Any) -> None:
    with pytest.raises(InputError, match="ridge"):
        problem().profiled(ridge)


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(InputError, match="needs SquaredLoss, not HuberLoss"):
        problem(loss=mf.HuberLoss()).profiled(0.1)
    with pytest.raises(InputError, match="contradicts Ridge.*leave ridge out"):
        problem(regularizer=mf.Ridge(0.2)).profiled(0.1)
    with pytest.raises(InputError, match="pass regularizer="):
        problem(regularizer=mf.PathNorm(0.2)).profiled(0.1)
    assert problem(regularizer=mf.PathNorm(0.2)).profiled(
        0.1, regularizer=mf.Ridge(0.3)
    ).regularizer == mf.Ridge(0.3)
    with pytest.raises(InputError, match="put 'a' in train"):
        problem(train=("w",)).profiled(0.1)
    with pytest.raises(InputError, match="put 'w' in train"):
        problem(train=("a",)).profiled(0.1)
    with pytest.raises(InputError, match="dim=3"):
        problem().profiled(0.1, space=solvers.Sphere(2))
    profiled = problem().profiled(0.1)
    whole = mf.ParticleMeasure.gaussian(profiled.objective.network, 5, rng=0)
    with pytest.raises(InputError, match=r"profiled.inner\(measure\)"):
        profiled.value(whole)
    signed = mf.ParticleMeasure.gaussian(profiled.network, 2, rng=0).replace(signs=[1.0, -1.0])
    with pytest.raises(InputError, match="without signs"):
        profiled.value(signed)
    with pytest.raises(InputError, match=r"solvers.Euler\(step\) on WassersteinFlow"):
        mf.SGD(profiled, step=0.1)  # type: ignore[arg-type]
    twice = mf.Objective(mf.TwoLayer("tanh", d=2), np.vstack([X, X]), np.append(Y, Y)).profiled(1e-30)
    with pytest.raises(InputError, match="lost in the rounding"):
        twice.value(mf.ParticleMeasure.gaussian(twice.network, 50, rng=0))
    with pytest.raises(InputError, match=r"needs a layer b.*leave b out"):
        problem(bias=False, regularizer=mf.LayerRidge(b=0.1))
    with pytest.raises(InputError, match="non-negative"):
        problem(regularizer=mf.LayerRidge(w=-0.1))


def test_strengths_are_read_off_the_objective() -> None:
    decay = problem(regularizer=mf.Ridge(0.2)).profiled()
    assert decay.ridge == 0.2 and decay.regularizer == mf.Ridge(0.2)
    layers = problem(regularizer=mf.LayerRidge(a=0.2, w=0.1)).profiled()
    assert layers.ridge == 0.2 and layers.regularizer.w == 0.1 and layers.regularizer.b == 0.0
    assert isinstance(problem(regularizer=mf.LayerRidge(a=0.2)).profiled().regularizer, mf.NoRegularizer)
    assert layers.describe()["ridge"] == 0.2 and "ridge=0.2" in repr(layers)

"""Jacobians of particle flows: true derivatives, symmetric in their weights, equal to their low-rank form."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import meanfield as mf
import solvers
from meanfield import activations
from meanfield._linear import features, particles, two_layer

N, WIDTH = 30, 12


class Swish(NamedTuple):
    """A user's activation, without curvature."""

    beta: float = 1.3

    def value(self, z: float) -> float:
        return z / (1.0 + np.exp(-self.beta * z))

    def slope(self, z: float) -> float:
        s = 1.0 / (1.0 + np.exp(-self.beta * z))
        return s + self.beta * z * s * (1.0 - s)


class Quartic(NamedTuple):
    """A user's loss, without hessian."""

    factor: float = 1.0

    def value(self, f: Any, y: Any, weights: Any = None) -> float:
        return float(self.factor * np.mean((f - y) ** 4))

    def gradient(self, f: Any, y: Any, weights: Any = None) -> Any:
        return 4 * self.factor * (f - y) ** 3 / f.size


class LogNorm(NamedTuple):
    """A user's regularizer, without second: log(1 + |theta|^2)."""

    strength: float = 0.1

    def value(self, positions: Any) -> Any:
        return self.strength * np.log1p((positions**2).sum(axis=1))

    def gradient(self, positions: Any) -> Any:
        return 2 * self.strength * positions / (1 + (positions**2).sum(axis=1))[:, None]


class Bump:
    """A user's feature map: exp(-|theta - x|^2 / 2), in three dimensions."""

    dim = 3

    def features(self, positions: Any, X: Any) -> Any:
        return np.exp(-0.5 * ((positions[:, None] - X[None]) ** 2).sum(axis=2))

    def vjp(self, positions: Any, X: Any, q: Any) -> Any:
        return np.einsum("ji,jid->jd", self.features(positions, X) * q, X[None] - positions[:, None])


class Hat(Bump):
    """A kinked one, which does not know its second derivatives."""

    smooth = False

    def features(self, positions: Any, X: Any) -> Any:
        return np.maximum(1 - np.abs(positions[:, None] - X[None]).sum(axis=2), 0.0)

    def vjp(self, positions: Any, X: Any, q: Any) -> Any:
        gap = positions[:, None] - X[None]
        active = (np.abs(gap).sum(axis=2) < 1) * q
        return -np.einsum("ji,jid->jd", active, np.sign(gap))


class KnownHat(Hat):
    """The same with its derivatives: what its pattern leaves is linear in theta."""

    def jvp(self, positions: Any, X: Any, direction: Any) -> Any:
        gap = positions[:, None] - X[None]
        return (np.abs(gap).sum(axis=2) < 1) * -np.einsum("jid,jd->ji", np.sign(gap), direction)

    def curved(self, positions: Any, X: Any, q: Any, direction: Any) -> Any:
        return np.zeros(positions.shape)


def objective(activation: Any, d: int = 2, weighted: bool = False, **settings: Any) -> mf.Objective:
    rng = np.random.default_rng(3)
    chosen = {name: settings.pop(name) for name in ("loss", "regularizer", "y") if name in settings}
    network = mf.TwoLayer(activation, d=d, **settings)
    X = rng.standard_normal((N, d))
    y = np.sign(rng.standard_normal(N) if network.outputs == 1 else rng.standard_normal((N, network.outputs)))
    chosen.setdefault("regularizer", mf.Ridge(1e-2))
    weight = rng.random(N) + 0.1 if weighted else None
    return mf.Objective(network, X, chosen.pop("y", y), sample_weight=weight, **chosen)


def particles_of(functional: Any, signs: bool = True, weights: bool = True) -> mf.ParticleMeasure:
    rng = np.random.default_rng(5)
    positions = rng.standard_normal((WIDTH, functional.network.dim))
    return mf.ParticleMeasure(
        positions,
        weights=rng.random(WIDTH) + 0.1 if weights else None,
        signs=np.where(rng.random(WIDTH) < 0.5, -1.0, 1.0) if signs else None,
    )


def deconvolution(dim: int, frequencies: int) -> mf.Objective:
    rng = np.random.default_rng(1)
    return mf.Objective.deconvolution(
        mf.Spikes(dim, frequencies),
        rng.random((3, dim)) * 6,
        [1.0, 0.5, -0.3],
        regularizer=mf.TotalVariation(0.5),
    )


def user(network: Any, **settings: Any) -> mf.Objective:
    rng = np.random.default_rng(3)
    return mf.Objective(network, 0.5 * rng.standard_normal((N, 3)), rng.standard_normal(N), **settings)


LABELS = np.random.default_rng(0).integers(0, 3, N)
SMOOTH: dict[str, Any] = {
    **{
        name: mf.WassersteinFlow(objective(name))
        for name in ("tanh", "sigmoid", "softplus", "erf", "quadratic", "identity")
    },
    "gain": mf.WassersteinFlow(objective(mf.Tanh(2.5))),
    "user's activation": mf.WassersteinFlow(objective(Swish())),
    "one input": mf.WassersteinFlow(objective("tanh", d=1, bias=False)),
    "three inputs": mf.WassersteinFlow(objective("tanh", d=3)),
    "five inputs": mf.WassersteinFlow(objective("tanh", d=5)),
    "twelve inputs": mf.WassersteinFlow(objective("tanh", d=12)),
    "no bias": mf.WassersteinFlow(objective("tanh", d=12, bias=False)),
    "fixed a": mf.WassersteinFlow(objective("tanh", a=1.5, regularizer=mf.PathNorm(0.1))),
    "fixed a, twelve inputs": mf.WassersteinFlow(objective("tanh", d=12, a=1.5)),
    "three outputs": mf.WassersteinFlow(objective("tanh", outputs=3, regularizer=mf.PathNorm(0.1))),
    "three outputs, twelve inputs": mf.WassersteinFlow(objective("tanh", d=12, outputs=3)),
    "lazy": mf.WassersteinFlow(
        objective("tanh", scale=10.0, centre=lambda X: np.sin(X[:, 0]), rates={"a": 0.3, "w": 2.0}),
        time_unit="alpha",
    ),
    "frozen": mf.WassersteinFlow(objective("tanh", train=("w",))),
    "weighted": mf.WassersteinFlow(objective("tanh", weighted=True, regularizer=mf.PathNorm(0.1))),
    **{
        loss: mf.WassersteinFlow(objective("tanh", loss=loss, weighted=True))
        for loss in ("huber", "logistic", "exponential", "soft_min_margin")
    },
    "cross_entropy": mf.WassersteinFlow(
        objective("tanh", outputs=3, loss="cross_entropy", y=LABELS, weighted=True)
    ),
    "user's loss": mf.WassersteinFlow(objective("tanh", loss=Quartic())),
    "user's regularizer": mf.WassersteinFlow(objective("tanh", regularizer=LogNorm())),
    "user's features": mf.WassersteinFlow(user(Bump())),
    "features on a sphere": mf.ConicFlow(user(Bump()), space=solvers.Sphere(3)),
    **{
        f"conic {retraction}": mf.ConicFlow(
            objective("tanh", outputs=2, rates={"a": 0.3, "w": 2.0}), 0.5, 0.3, retraction=retraction
        )
        for retraction in ("mirror", "canonical")
    },
    **{
        f"conic {retraction} on a sphere": mf.ConicFlow(
            objective("tanh", bias=False, loss="soft_min_margin"),
            0.5,
            0.3,
            retraction=retraction,
            space=solvers.Sphere(3),
        )
        for retraction in ("mirror", "canonical")
    },
    "spikes": mf.ConicFlow(deconvolution(1, 10), 0.5, 0.3),
    "spikes, canonical": mf.ConicFlow(deconvolution(1, 10), 0.5, 0.3, retraction="canonical"),
    "spikes in the plane": mf.ConicFlow(deconvolution(2, 3), 0.5, 0.3),
    "spikes in space": mf.ConicFlow(deconvolution(3, 1), 0.5, 0.3),
    "spikes of equal mass": mf.WassersteinFlow(deconvolution(2, 3)),
}
KINKED: dict[str, Any] = {
    "relu": mf.WassersteinFlow(objective("relu")),
    "leaky_relu": mf.WassersteinFlow(objective("leaky_relu", d=3, regularizer=mf.PathNorm(0.1))),
    "no bias": mf.WassersteinFlow(objective("relu", d=1, bias=False)),
    "fixed a": mf.WassersteinFlow(objective("relu", a=1.5)),
    "five inputs": mf.WassersteinFlow(objective("relu", d=5)),
    "twelve inputs": mf.WassersteinFlow(objective("relu", d=12)),
    "three outputs": mf.WassersteinFlow(objective("relu", outputs=3)),
    "conic": mf.ConicFlow(objective("relu"), 0.5, 0.3),
    "conic, canonical": mf.ConicFlow(objective("relu"), 0.5, 0.3, retraction="canonical"),
    "signed squares": mf.WassersteinFlow(user(mf.SignedSquareReLU(3), regularizer=mf.Ridge(0.1))),
    "user's features": mf.WassersteinFlow(user(KnownHat())),
}
EVERY = {**SMOOTH, **{f"kinked, {name}": flow for name, flow in KINKED.items()}}


def start(flow: Any) -> tuple[Any, Any]:
    """The flow bound to a signed measure of unequal weights, and a state whose roots of mass have both signs."""
    measure = particles_of(flow.objective)
    bound = flow.prepare(measure)
    z = bound.pack(measure)
    if getattr(flow, "retraction", "") == "canonical":
        z[:2] *= -1.0
    bound.project(z)
    return bound, z


def dense(linear: Any, size: int) -> Any:
    return np.array([linear.product(axis, np.empty(size)) for axis in np.eye(size)]).T


def by_differences(flow: Any) -> bool:
    """Whether features or loss are the user's, without second derivatives; spikes in space count as such."""
    network, loss = flow.objective.network, flow.objective.loss
    own = isinstance(network, mf.TwoLayer) or hasattr(network, "jvp") or getattr(network, "dim", 0) < 3
    return not own or isinstance(loss, Quartic)


@pytest.mark.parametrize("flow", SMOOTH.values(), ids=SMOOTH)
def test_products_are_derivatives_of_the_velocity(flow: Any) -> None:
    bound, z = start(flow)
    direction = np.random.default_rng(0).standard_normal(z.size)
    step = 2e-5
    high = bound.velocity(0.0, z + step * direction, np.empty_like(z))
    low = bound.velocity(0.0, z - step * direction, np.empty_like(z))
    difference = (high - low) / (2 * step)
    found = bound.linearize(0.0, z).product(direction, np.empty_like(z))
    # Truncation step^2/6 |v'''| and rounding eps |v|/step: 1e-7 at worst, in a direction of length 7.
    assert np.abs(found - difference).max() < 1e-6 * np.abs(difference).max()


@pytest.mark.parametrize("flow", KINKED.values(), ids=KINKED)
def test_kinked_products_are_derivatives_where_no_kink_is_near(flow: Any) -> None:
    """A step of 1e-8 crosses none of the 360 kinks here: the closest is 1e-4 away, in units of the direction."""
    bound, z = start(flow)
    direction = np.random.default_rng(0).standard_normal(z.size)
    step = 1e-8
    high = bound.velocity(0.0, z + step * direction, np.empty_like(z))
    low = bound.velocity(0.0, z - step * direction, np.empty_like(z))
    found = bound.linearize(0.0, z).product(direction, np.empty_like(z))
    # Rounding eps |v|/step is 1e-8 to 1e-7; truncation is nothing.
    assert np.abs(found - (high - low) / (2 * step)).max() < 1e-6 * np.abs(found).max()


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh"])
def test_products_equal_a_plain_assembly(activation: str) -> None:
    """Entry by entry in plain Python: ``-M_j (s_j scale^2 c_l G_j W G_l' + delta_jl (s_j Hess <q, Phi> + ridge))``."""
    rates = np.array([0.3, 2.0, 2.0, 1.0])
    functional = objective(activation, scale=3.0, rates={"a": 0.3, "w": 2.0}, weighted=True)
    measure = particles_of(functional)
    bound = mf.WassersteinFlow(functional).prepare(measure)
    z = bound.pack(measure)
    sigma, X = functional.network.activation, functional.X
    weight = functional.sample_weight / functional.sample_weight.sum()
    q = 3.0 * weight * (functional.predict(measure) - functional.y)
    gradient = np.zeros((WIDTH, 4, N))
    expected = np.zeros((WIDTH, 4, WIDTH, 4))
    for j, (a, *w, b) in enumerate(measure.positions):
        hessian = np.zeros((4, 4))
        for i in range(N):
            x = np.array([*X[i], 1.0])
            pre = float(np.dot(w, X[i]) + b)
            gradient[j, :, i] = [sigma.value(pre), *(a * sigma.slope(pre) * x)]
            hessian[0, 1:] += q[i] * sigma.slope(pre) * x
            hessian[1:, 0] += q[i] * sigma.slope(pre) * x
            hessian[1:, 1:] += q[i] * a * sigma.curvature(pre) * np.outer(x, x)
        expected[j, :, j, :] -= rates[:, None] * (measure.signs[j] * hessian + 0.01 * np.eye(4))
    for j in range(WIDTH):
        for k in range(WIDTH):
            coupling = (
                9.0 * measure.signs[j] * measure.coefficients[k] * (gradient[j] * weight) @ gradient[k].T
            )
            expected[j, :, k, :] -= rates[:, None] * coupling
    found = dense(bound.linearize(0.0, z), z.size)
    # Sums of 30 terms in another order.
    assert np.abs(found - expected.reshape(z.size, z.size)).max() < 1e-13 * np.abs(found).max()


@pytest.mark.parametrize("flow", EVERY.values(), ids=EVERY)
def test_low_rank_form_is_the_jacobian(flow: Any) -> None:
    bound, z = start(flow)
    linear = bound.linearize(0.0, z)
    form = linear.low_rank()
    (m, q), r = form.indices.shape, linear.rank
    assert form.H.shape == (m, q, r) and form.B.shape == (m, q, q) and bound.rank == r
    P = form.P if form.P.ndim == 3 else form.P[:, :, None] * form.H
    assert P.shape == (m, q, r)
    assert np.array_equal(np.sort(form.indices, axis=None), np.arange(z.size))
    left, right = np.zeros((z.size, r)), np.zeros((z.size, r))
    left[form.indices.reshape(-1)], right[form.indices.reshape(-1)] = (
        P.reshape(-1, r),
        form.H.reshape(-1, r),
    )
    matrix = -(left * form.S if form.S.ndim == 1 else left @ form.S) @ right.T
    for j in range(m):
        matrix[np.ix_(form.indices[j], form.indices[j])] -= form.B[j]
    found = dense(linear, z.size)
    # Differences along other directions, where the parts do not know their derivatives.
    assert np.abs(found - matrix).max() < (1e-8 if by_differences(flow) else 1e-12) * np.abs(found).max()


@pytest.mark.parametrize("flow", EVERY.values(), ids=EVERY)
def test_weights_make_it_symmetric(flow: Any) -> None:
    bound, z = start(flow)
    linear = bound.linearize(0.0, z)
    if isinstance(flow, mf.ConicFlow):
        assert linear.weight is None
        return
    g = linear.weight
    found = dense(linear, z.size)
    assert not found[g == 0].any() and (g >= 0).all()
    if flow.objective.mobility is None:
        assert (g > 0).all()
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((2, z.size)) * (g > 0)
    left, right = u @ (g * (found @ v)), (g * (found @ u)) @ v
    size = np.linalg.norm(u) * np.linalg.norm(g * (found @ v))
    assert abs(left - right) < (1e-8 if by_differences(flow) else 1e-12) * size


def test_massless_particles_leave_no_weight() -> None:
    functional = objective("tanh")
    measure = particles_of(functional)
    bound = mf.WassersteinFlow(functional).prepare(
        measure.replace(weights=measure.weights * (np.arange(WIDTH) > 0))
    )
    assert bound.linearize(0.0, bound.pack(measure)).weight is None


def test_the_largest_eigenvalue_of_relu_is_right_where_differences_fail() -> None:
    """The pattern held fixed: an eigenvalue of the plain assembly above, whatever step a difference would take."""
    bound, z = start(KINKED["relu"])
    found = dense(bound.linearize(0.0, z), z.size)
    v = np.random.default_rng(0).standard_normal(z.size)
    linear = bound.linearize(0.0, z)
    for _ in range(300):
        v = linear.product(v / np.linalg.norm(v), np.empty_like(z))
    assert np.linalg.norm(v) == pytest.approx(np.abs(np.linalg.eigvals(found)).max(), rel=1e-6)


@pytest.mark.parametrize("name", ["tanh", "twelve inputs", "three outputs", "kinked, five inputs"])
def test_nothing_stored_gives_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bound, z = start(EVERY[name])
    v = np.random.default_rng(0).standard_normal(z.size)
    stored = bound.linearize(0.0, z)
    monkeypatch.setattr(two_layer, "STORE_BYTES", 0)
    again = bound.linearize(0.0, z)
    first, second = (linear.product(v, np.empty_like(z)) for linear in (stored, again))
    # The same operations in another order.
    assert np.allclose(first, second, rtol=0, atol=1e-14 * np.abs(first).max())
    for one, other in zip(stored.low_rank(), again.low_rank(), strict=True):
        assert np.allclose(one, other, rtol=0, atol=1e-14 * np.abs(one).max())


def test_blocks_of_features_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    bound, z = start(SMOOTH["user's features"])
    v = np.random.default_rng(0).standard_normal(z.size)
    whole = bound.linearize(0.0, z).product(v, np.empty_like(z))
    monkeypatch.setattr(features, "BLOCK_BYTES", 8 * N * 5)
    parts = bound.linearize(0.0, z).product(v, np.empty_like(z))
    assert np.allclose(whole, parts, rtol=0, atol=1e-14 * np.abs(whole).max())


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("d", [2, 12])
@pytest.mark.parametrize("stored", [True, False])
def test_threads_do_not_change_a_bit(
    activation: str, d: int, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    network = mf.TwoLayer(activation, d=d)
    functional = mf.Objective(network, rng.standard_normal((300, d)), rng.standard_normal(300))
    bound = mf.WassersteinFlow(functional).prepare(mf.ParticleMeasure.gaussian(network, 700, rng=0))
    z = rng.standard_normal(700 * network.dim)
    if not stored:
        monkeypatch.setattr(two_layer, "STORE_BYTES", 0)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr("solvers._threads.thread_count", lambda threads=threads: threads)
        found.append(bound.linearize(0.0, z).product(z[::-1].copy(), np.empty_like(z)))
    assert two_layer.PARALLEL_FROM_PAIRS <= 300 * 700
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_flows_without_derivatives_offer_none() -> None:
    class OtherSpace:
        dim = 3

        def tangent(self, positions: Any, vectors: Any) -> Any:
            return 0.5 * vectors

    measure = particles_of(SMOOTH["user's features"].objective)
    for flow in (
        mf.WassersteinFlow(user(Hat())),
        mf.ConicFlow(user(Bump()), space=OtherSpace()),
        mf.SGD(user(Bump()), step=0.1),
    ):
        assert not hasattr(flow.prepare(measure), "linearize")
    assert hasattr(mf.WassersteinFlow(user(Bump())).prepare(measure), "linearize")


@pytest.mark.parametrize("name", sorted(set(activations.BY_NAME) - {"piecewise_linear"}))
def test_curvature_is_the_derivative_of_the_slope(name: str) -> None:
    activation = activations.resolve(name)
    h = 1e-5
    for z in np.linspace(-4, 4, 83) + 0.003:
        difference = (activation.slope(z + h) - activation.slope(z - h)) / (2 * h)
        # Truncation h^2/6 |sigma''''| < 1e-9, rounding 1e-16/1e-5.
        assert abs(activation.curvature(z) - difference) < 1e-8
        if hasattr(activation, "curvature_from_value"):
            shortcut = activation.curvature_from_value(activation.value(z))
            assert shortcut == pytest.approx(activation.curvature(z), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("outer, fixed", [(1, None), (3, None), (0, 1.5)])
def test_second_derivatives_of_regularizers(outer: int, fixed: float | None) -> None:
    network = mf.TwoLayer("tanh", d=3, outputs=max(outer, 1), a=fixed)
    positions = np.random.default_rng(0).standard_normal((6, network.dim))
    for regularizer in (mf.Ridge(0.7), mf.PathNorm(0.7), mf.TotalVariation(0.7)):
        bound = regularizer.bind(network) if hasattr(regularizer, "bind") else regularizer
        found = particles.regularizer_second(bound, positions)
        found = (
            found
            if isinstance(found, np.ndarray)
            else np.broadcast_to(found * np.eye(network.dim), (6,) + (network.dim,) * 2)
        )
        for k in range(network.dim):
            shift = np.zeros(network.dim)
            shift[k] = 1e-5
            difference = (bound.gradient(positions + shift) - bound.gradient(positions - shift)) / 2e-5
            # Truncation h^2/6 |V''''| and rounding 1e-16/1e-5.
            assert np.allclose(found[:, :, k], difference, atol=1e-8)


def test_path_norm_is_flat_where_its_gradient_is_set_to_zero() -> None:
    bound = mf.PathNorm(1.0).bind(mf.TwoLayer("tanh", d=2))
    second = bound.second(np.array([[0.0, 1.0, 2.0, 2.0], [1.0, 0.0, 0.0, 0.0]]))
    assert np.isfinite(second).all() and not second[1].any()


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus", "relu", "quadratic"])
@pytest.mark.parametrize("loss", [mf.SquaredLoss("sum"), mf.SoftMinMargin(), mf.LogisticLoss()])
@pytest.mark.parametrize("a", [None, 1.5])
def test_the_radius_from_norms_is_never_below_the_largest_eigenvalue(
    activation: str, loss: Any, a: float | None
) -> None:
    rng = np.random.default_rng(3)
    network = mf.TwoLayer(activation, d=3, scale=2.0, a=a, rates={"w": 3.0})
    labels = np.where(rng.random(12) < 0.5, -1.0, 1.0)
    objective = mf.Objective(network, rng.standard_normal((12, 3)), labels, loss, mf.Ridge(0.3))
    for size in (0.1, 1.0, 4.0):
        measure = mf.ParticleMeasure.gaussian(network, 8, rng=1, std=size)
        bound = mf.WassersteinFlow(objective).prepare(measure)
        z = bound.pack(measure)
        linear = bound.linearize(0.0, z)
        J = np.array([linear.product(e, np.empty_like(z)) for e in np.eye(z.size)])
        largest = float(np.max(np.abs(np.linalg.eigvals(J))))
        most = bound.radius_bound(z)
        if activation == "quadratic":  # its slope has no bound
            assert most == np.inf
        else:
            assert largest <= most <= 300.0 * largest


def test_predictions_are_those_of_the_state_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    network = mf.TwoLayer("tanh", d=2)
    objective = mf.Objective(network, rng.standard_normal((20, 2)), rng.standard_normal(20))
    measure = mf.ParticleMeasure.gaussian(network, 64, rng=1)
    bound = mf.WassersteinFlow(objective).prepare(measure)
    z, error = bound.pack(measure), 1e-3 * rng.standard_normal(measure.positions.size)
    fresh = bound.error_norm(z, error, 1e-3, 1e-6)
    bound.velocity(0.0, z, np.empty_like(z))
    assert bound.error_norm(z, error, 1e-3, 1e-6) == fresh  # what the velocity has seen, in the same bits
    z[0] += 1.0
    moved = mf.WassersteinFlow(objective).prepare(measure).error_norm(z, error, 1e-3, 1e-6)
    assert bound.error_norm(z, error, 1e-3, 1e-6) == moved != fresh

"""Objectives with the outer weights eliminated: ``F(mu) = min over a(theta) of R(f_(a, mu)) + ridge/2 int a^2 dmu``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from meanfield.networks.feature_map import BLOCK_BYTES, as_inputs, bind, centre_of
from meanfield.profiled.network import inner_part, outer_strength, without_outer
from meanfield.regularizers import checked
from solvers import _check
from solvers._reduction import datum_weights
from solvers._threads import one_blas_thread
from solvers.errors import InputError
from solvers.losses import SquaredLoss
from solvers.measure import ParticleMeasure
from solvers.protocols import Array
from solvers.spaces import Euclidean

if TYPE_CHECKING:
    from meanfield.certificate import Certificate
    from meanfield.objective import Objective
    from meanfield.profiled.potential import ProfiledPotential


class ProfiledObjective:
    """``F(mu) = min over a of 1/2 mean |f - y|^2 + ridge/2 int |a|^2 dmu + int V dmu``, ``f = scale int a phi dmu``.

    Over measures mu of neurons without outer weight, theta = (w, b), with phi(theta; x) = sigma(w.x + b). With
    ``K_mu = scale^2 int phi phi' dmu`` on the n data

        alpha = (K_mu + n ridge)^-1 y,    a(theta) = scale <alpha, phi(theta)>,    f = K_mu alpha,
        F(mu) = ridge/2 <y, alpha> + int V dmu,    F'(mu)(theta) = V(theta) - ridge/2 |a(theta)|^2:

    F is convex in mu. Its flow is that of the inner weights of the network while outer weights are always optimal: the
    limit of two-timescale training, ``rates={"a": 1/eps}`` with `LayerRidge` on a alone, as eps -> 0. Made by
    `Objective.profiled`. Data may be weighted (n ridge becomes ridge/weight), have several outputs (one alpha each),
    and the network a centre (added to y).

    Parameters
    ----------
    objective : Objective
        Of a `TwoLayer` with a trained outer weight, or of any feature map with one output and no outer weight, which
        gets one; with `SquaredLoss`.
    ridge : float, optional
        Positive. By default the strength with which the objective penalizes outer weights, by `Ridge` or `LayerRidge`.
    regularizer : plug-in, optional
        V, a function of theta = (w, b). By default what the objective's `Ridge`, `LayerRidge` or `TotalVariation`
        puts on it.
    space : Space, optional
        Where theta lives: ``solvers.Sphere(d)`` keeps homogeneous neurons on the unit sphere. By default the network's.

    Attributes
    ----------
    network : feature map
        That of one neuron without outer weight: ``ParticleMeasure.gaussian(profiled.network, width)`` is a start.

    Raises
    ------
    InputError

    Notes
    -----
    A velocity costs O(n m min(n, m)) and O(min(n, m)^3), in memory min(n, m)^2 numbers and blocks of 16 MB. Values are
    right to about 1e-16 |K|/ridge relatively, squared. Methods that choose their steps hold the error of positions to
    the tolerance, not that of predictions, which fit the data wherever neurons are when ridge is small.

    References
    ----------
    Variable projection: Golub and Pereyra, 1973. Two timescales and the convex functional: Takakura and Suzuki, 2024;
    Barboni, Peyre and Vialard, 2025 (not re-read here).
    """

    def __init__(
        self, objective: Objective, ridge: float | None = None, regularizer: Any = None, space: Any = None
    ) -> None:
        network = objective.network
        if type(objective.loss) is not SquaredLoss:
            raise InputError(
                f"profiled() eliminates outer weights by a linear system: it needs SquaredLoss, not {objective.loss!r}"
            )
        self.objective = objective
        self.network = without_outer(network)
        self.ridge = outer_strength(objective.regularizer, network, ridge, regularizer is not None)
        inner = inner_part(objective.regularizer, self.network) if regularizer is None else regularizer
        self.regularizer = checked(inner, self.network)
        self._space = space
        if space is not None and getattr(space, "dim", None) != int(self.network.dim):
            raise InputError(
                f"space must have dim={int(self.network.dim)}, the coordinates of a neuron without its outer weight, "
                f"but it is {space!r}"
            )
        self.X, self.y, self.loss = objective.X, objective.y, objective.loss
        self.sample_weight = objective.sample_weight
        self.outputs = 1 if self.y.ndim == 1 else int(self.y.shape[1])
        self._scale, self._centre = objective._scale, objective._centre
        self._operator = bind(self.network, self.X)
        n = self.X.shape[0]
        weights = datum_weights(self.loss.reduction, np.empty(n), self.sample_weight)
        self._root = np.sqrt(np.broadcast_to(weights, (n,)))
        # What int a phi dmu is to fit, with the roots of the data's weights.
        self._target = self._root[:, None] * (self.y + self._scale * self._centre).reshape(n, -1)
        self._outer = "a" in (getattr(network, "layout", None) or {})
        if self.outputs == 1 and _differentiable(self):
            self.linearization = self._linearization

    def __repr__(self) -> str:
        weighted = "" if self.sample_weight is None else ", weighted"
        where = "" if self._space is None else f", on {self._space!r}"
        return (
            f"ProfiledObjective({self.network!r}, n={self.X.shape[0]}, ridge={self.ridge:g} on outer weights, "
            f"regularizer={self.regularizer!r}{weighted}{where})"
        )

    def describe(self) -> dict[str, Any]:
        """Configuration for provenance."""
        return {
            **self.objective.describe(),
            "functional": "ProfiledObjective",
            "ridge": self.ridge,
            "inner_regularizer": repr(self.regularizer),
            "space": repr(self.space),
        }

    # -- what flows ask ----------------------------------------------------------------------------------------

    @property
    def space(self) -> Any:
        """Where neurons without outer weight live."""
        return self._space or getattr(self.network, "space", None) or Euclidean(int(self.network.dim))

    @property
    def smooth(self) -> bool:
        """Whether the velocity is continuous in the particles."""
        return bool(getattr(self.network, "smooth", True)) and bool(getattr(self.regularizer, "smooth", True))

    @property
    def mobility(self) -> Array | None:
        """Factor of each coordinate's velocity, (p,): 0 frozen; None where all are 1."""
        mobility = getattr(self.network, "mobility", None)
        return None if mobility is None or np.all(np.asarray(mobility) == 1.0) else np.asarray(mobility)

    def value(self, measure: ParticleMeasure) -> float:
        """``F(mu)``.

        It is the value at the outer weights that were found, hence off by the square of their error.
        """
        self._check_measure(measure)
        found = self._solve(measure)
        penalty = np.sum(measure.weights * self.regularizer.value(measure.positions))
        return float(found.loss + 0.5 * self.ridge * found.square + penalty)

    def loss_value(self, measure: ParticleMeasure) -> float:
        """``R(f)`` alone, at the optimal outer weights."""
        self._check_measure(measure)
        return self._solve(measure).loss

    def first_variation(self, measure: ParticleMeasure, positions: Any, signs: Any = None) -> Array:
        """``F'(mu)(theta) = V(theta) - ridge/2 |a(theta)|^2`` at any points, (k,).

        Parameters
        ----------
        measure : ParticleMeasure
        positions : array_like, (k, p)
        signs : None
            There are none: outer weights carry the signs.
        """
        return self.first_variation_with_gradient(measure, positions, signs)[0]

    def first_variation_with_gradient(
        self, measure: ParticleMeasure, positions: Any = None, signs: Any = None
    ) -> tuple[Array, Array]:
        """``F'(mu)`` (k,) and its gradient (k, p), at the particles of mu by default."""
        self._check_measure(measure)
        if signs is not None:
            raise InputError("signs must be None: the outer weights of a profiled objective carry the signs")
        points = measure.positions if positions is None else self._points(positions)
        return self._variation(self._charges(measure), points)

    def velocity(self, measure: ParticleMeasure) -> Array:
        """``-mobility * grad F'(mu)(theta_j)`` at every particle, (m, p)."""
        self._check_measure(measure)
        return self._velocity(measure)

    def _velocity(self, measure: ParticleMeasure) -> Array:
        gradient = -self._variation(self._charges(measure), measure.positions)[1]
        return np.asarray(gradient if self.mobility is None else gradient * self.mobility)

    def dissipation(self, measure: ParticleMeasure) -> float:
        """``-dF/dt = int |grad F'(mu)|^2 dmu`` along the flow (mobility-weighted where layers have rates)."""
        _, gradient = self.first_variation_with_gradient(measure)
        squares = gradient**2 if self.mobility is None else self.mobility * gradient**2
        return float(np.sum(measure.weights * squares.sum(axis=1)))

    # -- beside the flow ---------------------------------------------------------------------------------------

    def outer(self, measure: ParticleMeasure, positions: Any = None) -> Array:
        """The optimal outer weights ``a(theta) = scale <alpha, phi(theta)>``: (k,), or (k, outputs).

        Parameters
        ----------
        measure : ParticleMeasure
        positions : array_like, (k, p), optional
            Where; at the particles of mu by default.
        """
        self._check_measure(measure)
        points = measure.positions if positions is None else self._points(positions)
        values = np.column_stack([self._operator.pullback(points, q)[0] for q in self._charges(measure).T])
        return values[:, 0] if self.y.ndim == 1 else values

    def predict(self, measure: ParticleMeasure, X: Any = None) -> Array:
        """``f(x) = scale (int a phi(.; x) dmu - centre(x))`` on the data, or on other inputs: (n,) or (n, k)."""
        outer = self.outer(measure).reshape(measure.width, -1)
        inputs = self.X if X is None else as_inputs(self.network, X)
        operator = self._operator if X is None else bind(self.network, inputs)
        columns = [operator.integrate(measure.positions, measure.weights * a) for a in outer.T]
        raw = columns[0] if self.y.ndim == 1 else np.column_stack(columns)
        centre = self._centre if X is None else centre_of(self.objective.network, inputs)
        return np.asarray(self._scale * (raw - centre))

    def lift(self, measure: ParticleMeasure) -> ParticleMeasure:
        """The measure of the whole network: every neuron with its optimal outer weight.

        Particles (a(theta_j), theta_j) for a `TwoLayer`; for a network without outer weights the signed measure
        a(theta) mu, masses |a_j| p_j with signs.

        Parameters
        ----------
        measure : ParticleMeasure
        """
        outer = self.outer(measure)
        if self._outer:
            positions = np.hstack([outer.reshape(measure.width, -1), measure.positions])
            return ParticleMeasure(positions, measure.weights, layout=self.objective.network.layout)
        signs = np.where(outer < 0, -1.0, 1.0)
        return ParticleMeasure(
            measure.positions, measure.weights * np.abs(outer), signs, layout=measure.layout
        )

    def inner(self, measure: ParticleMeasure) -> ParticleMeasure:
        """The measure of a whole network without its outer weights: what this objective is a function of.

        Parameters
        ----------
        measure : ParticleMeasure
            Of the objective that was profiled; without signs.
        """
        self.objective._check_measure(measure)
        if measure.signs is not None:
            raise InputError("the measure has signs; the outer weights of a profiled objective carry them")
        positions = (
            measure.positions[:, self.objective.network.layout["a"][1] :]
            if self._outer
            else measure.positions
        )
        return ParticleMeasure(positions, measure.weights, layout=getattr(self.network, "layout", None))

    def certificate(self, measure: ParticleMeasure, **options: Any) -> Certificate:
        """An upper bound of ``F(mu) - inf F`` by convex duality, with the worst neuron; see `Certificate`.

        Parameters
        ----------
        measure : ParticleMeasure
        **options
            ``rng`` (0 by default) for the starts of heuristic searches, ``starts`` (k, p): further neurons from which
            they start.
        """
        from meanfield.profiled.certificate import certify

        self._check_measure(measure)
        return certify(self, measure, **options)

    def potential(self) -> ProfiledPotential:
        """``F'(mu)`` as a potential that depends on the density: what `solvers.FokkerPlanck` takes; up to 80 data.

        Raises
        ------
        InputError
            If there are more data, or coordinates are frozen or move at rates of their own.
        """
        from meanfield.profiled.potential import ProfiledPotential

        return ProfiledPotential(self)

    def program_of(self, bound: Any) -> None:
        """None: these flows have no compiled form of their own.

        Parameters
        ----------
        bound : flow bound to a measure
        """

    # -- inside ------------------------------------------------------------------------------------------------

    def _charges(self, measure: ParticleMeasure) -> Array:
        """``scale alpha``, (n, outputs): what phi(theta) is paired with for a(theta)."""
        return np.asarray(self._scale * self._root[:, None] * self._solve(measure).dual)

    def _variation(self, charges: Array, points: Array) -> tuple[Array, Array]:
        values, gradient = np.zeros(points.shape[0]), np.zeros(points.shape)
        for q in charges.T:
            a, slope = self._operator.pullback(points, np.ascontiguousarray(q))
            values -= 0.5 * self.ridge * a * a
            gradient -= (self.ridge * a)[:, None] * slope
        return values + self.regularizer.value(points), gradient + self.regularizer.gradient(points)

    def _solve(self, measure: ParticleMeasure) -> _Solution:
        """The least-squares problem for the outer weights, in the smaller of its two forms.

        With the rows ``A = sqrt(p_j) scale phi(theta_j; x_i) sqrt(w_i)`` and the weighted targets t:
        ``dual = (A'A + ridge)^-1 t``, one row a datum, or ``(t - A'u)/ridge`` with ``u = (A A' + ridge)^-1 A t``.
        """
        with one_blas_thread():
            if self.X.shape[0] <= measure.width:
                gram = self._gram(measure)
                dual = self._solved(gram, self._target)
                image = gram @ dual
                square = float(np.sum(dual * image))
            else:
                gram, moment = self._outer_gram(measure)
                u = self._solved(gram, moment)
                image = np.vstack([A.T @ u for A in self._columns(measure)])
                dual = (self._target - image) / self.ridge
                square = float(np.sum(u * u))
        return _Solution(dual, 0.5 * float(np.sum((self._target - image) ** 2)), square)

    def _gram(self, measure: ParticleMeasure) -> Array:
        """A'A, (n, n), a block of particles at a time; equal masses are a factor of the whole."""
        n, mass = self.X.shape[0], measure.weights
        equal = bool(np.all(mass == mass[0]))
        gram = np.zeros((n, n))
        size = max(1, BLOCK_BYTES // (8 * n))
        for low in range(0, measure.width, size):
            block = slice(low, low + size)
            rows = np.asarray(self.network.features(measure.positions[block], self.X))
            if not equal:
                rows = np.sqrt(mass[block, None]) * rows
            gram += rows.T @ rows
        gram *= self._root[:, None] * self._root * (self._scale**2 * (mass[0] if equal else 1.0))
        return gram

    def _columns(self, measure: ParticleMeasure) -> Any:
        """A, a block of data at a time: (m, size)."""
        size = max(1, BLOCK_BYTES // (8 * measure.width))
        root = self._scale * np.sqrt(measure.weights)
        for low in range(0, self.X.shape[0], size):
            block = slice(low, low + size)
            A = np.asarray(self.network.features(measure.positions, self.X[block]))
            yield root[:, None] * A * self._root[block]

    def _outer_gram(self, measure: ParticleMeasure) -> tuple[Array, Array]:
        """A A', (m, m), and A t, (m, outputs)."""
        gram, moment, low = (
            np.zeros((measure.width, measure.width)),
            np.zeros((measure.width, self.outputs)),
            0,
        )
        for A in self._columns(measure):
            gram += A @ A.T
            moment += A @ self._target[low : low + A.shape[1]]
            low += A.shape[1]
        return gram, moment

    def _solved(self, gram: Array, right: Array) -> Array:
        """``(gram + ridge)^-1 right`` by Cholesky's method."""
        from scipy.linalg import lapack

        if not np.isfinite(gram).all():
            return np.full(right.shape, np.nan)  # a diverged run: the flow will say so
        matrix = gram.copy()
        matrix.flat[:: len(gram) + 1] += self.ridge
        factor, info = lapack.dpotrf(matrix, lower=True, overwrite_a=True)
        if info != 0:
            raise InputError(
                f"ridge={self.ridge:g} is lost in the rounding of the kernel, of trace {np.trace(gram):.3g}; "
                f"choose at least {1e-14 * float(np.trace(gram)):.1g}"
            )
        return np.asarray(lapack.dpotrs(factor, right, lower=True)[0])

    def curvature_factor(self, measure: ParticleMeasure) -> Array:
        """``scale^2 (K_mu + ridge/w)^-1``, (n, n): minus what a change of K_mu makes of scale alpha.

        w are the weights of the data, and the change is that of K_mu alpha / scale.

        Parameters
        ----------
        measure : ParticleMeasure
        """
        with one_blas_thread():
            inverse = self._solved(self._gram(measure), np.eye(self.X.shape[0]))
        root = self._scale * self._root
        return np.asarray(root[:, None] * inverse * root)

    def _linearization(self, measure: ParticleMeasure, rate: float) -> Any:
        """The Jacobian of ``rate`` times the velocity: what implicit methods ask for."""
        from meanfield._linear.profiled import ProfiledLinearization

        return ProfiledLinearization(self, measure, rate)

    def _points(self, positions: Any) -> Array:
        points = _check.array(positions, "positions", ndim=(1, 2), empty=True)
        dim = int(self.network.dim)
        if points.ndim == 1 and (dim == 1 or points.size == dim):
            points = points.reshape(-1, dim)
        if points.shape[1:] != (dim,):
            raise InputError(f"positions must have shape (k, {dim}), but their shape is {points.shape}")
        return points

    def _check_measure(self, measure: Any) -> None:
        if not hasattr(measure, "positions") or not hasattr(measure, "coefficients"):
            raise InputError(f"expected a ParticleMeasure, not {type(measure).__name__}")
        dim, found = int(self.network.dim), measure.positions.shape[1]
        if found != dim:
            whole = self._outer and found == int(self.objective.network.dim)
            hint = "; profiled.inner(measure) leaves out outer weights" if whole else ""
            raise InputError(
                f"the measure lives in R^{found}, but neurons of a profiled objective have no outer weight and "
                f"{dim} coordinates{hint}"
            )
        if measure.signs is not None:
            raise InputError(
                "a profiled objective takes a measure without signs: the outer weights carry them"
            )


class _Solution(NamedTuple):
    """``dual`` (n, outputs), where ``scale alpha = scale sqrt(w) dual``; the loss, and int |a|^2 dmu."""

    dual: Array
    loss: float
    square: float


def _differentiable(profiled: ProfiledObjective) -> bool:
    from meanfield._kernels import TwoLayerOnData
    from meanfield._linear.features import differentiable

    return isinstance(profiled._operator, TwoLayerOnData) or differentiable(profiled.network)
